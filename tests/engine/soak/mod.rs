// SPDX-License-Identifier: Apache-2.0
//! Many cycles with commits, drift, kills and restarts leave nothing behind: no descriptors, memory, watches or files.
//!
//! `HOSTWRIT_SOAK_CYCLES=20000` makes it a matter of hours; `-- --nocapture` prints what was held.
#![allow(clippy::print_stdout)]

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hostwrit::source::SOCKET;

use crate::site::Site;

/// Enough for each kind of kill to come some times.
const CYCLES: usize = 120;
/// As in packaging/systemd: by itself the allocator keeps more and more of what many threads have used.
const TUNABLES: &str = "glibc.malloc.tcache_count=0:glibc.malloc.trim_threshold=131072:glibc.malloc.arena_max=1";
/// What a process may have more of at the end than when it was warm: the allocator keeps some of what it had.
const SLACK_KIB: u64 = 2 * 1024;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process has of what could leak.
#[derive(Clone, Debug)]
struct Holdings {
    descriptors: usize,
    threads: usize,
    watches: usize,
    anonymous_kib: u64,
}

impl Process {
    fn holdings(&self) -> Holdings {
        let proc = PathBuf::from(format!("/proc/{}", self.0.id()));
        let count = |name: &str| fs::read_dir(proc.join(name)).unwrap().count();
        let infos = fs::read_dir(proc.join("fdinfo")).unwrap().flatten();
        let infos = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
        let watches = infos.map(|info| info.lines().filter(|line| line.starts_with("inotify ")).count()).sum();
        let status = fs::read_to_string(proc.join("status")).unwrap();
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        Holdings {
            descriptors: count("fd"),
            threads: count("task"),
            watches,
            anonymous_kib: anonymous.trim().trim_end_matches(" kB").parse().unwrap(),
        }
    }
}

fn daemon(site: &Site) -> Process {
    let mut command = site.command(&["daemon"]);
    command.env("GLIBC_TUNABLES", TUNABLES);
    let daemon = Process(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    // It listens once it is there; `sync` says so if it does not.
    let begin = Instant::now();
    while site.run(&["sync", "--wait"]).code != 0 {
        assert!(begin.elapsed() < Duration::from_secs(30), "the daemon does not answer");
        thread::sleep(Duration::from_millis(50));
    }
    daemon
}

fn courier(site: &Site, listener: &UnixListener) -> Process {
    let directory = site.path("/var/lib/hostwrit-courier");
    let mut command = site.command(&["courier", "--directory", directory.to_str().unwrap()]);
    command.env("GLIBC_TUNABLES", TUNABLES);
    let listener = OwnedFd::from(listener.try_clone().unwrap());
    Process(command.stdin(Stdio::from(listener)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// Every file of hostwrit's own, but for what a fetch leaves in the mirror.
fn own_files(site: &Site) -> Vec<String> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> =
        ["/etc", "/var/lib", "/var/log", "/run"].iter().map(|directory| site.path(directory)).collect();
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            match entry.file_type().unwrap().is_dir() {
                true if path.ends_with("mirror.git") => {}
                true => left.push(path),
                false => found.push(path.strip_prefix(site.root()).unwrap().display().to_string()),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn many_cycles_with_kills_and_restarts_leave_nothing_behind() {
    let cycles = std::env::var("HOSTWRIT_SOAK_CYCLES").map_or(CYCLES, |cycles| cycles.parse().unwrap());
    let files: String =
        (0..40).map(|number| format!("  /etc/soak/f{number}: {{content: \"{number}\\n\"}}\n")).collect();
    let state = |number: usize| {
        format!("files:\n  /etc/motd: {{content: \"{number}\\n\"}}\n  /etc/soak: {{type: directory}}\n{files}")
    };
    let site = Site::new(&[("hosts/web1.yaml", &state(0))]);
    site.put("/run/hostwrit/.keep", "");
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    site.put("/etc/hostwrit/config.yaml", &format!("{config}interval: 1h\n"));
    let listener = UnixListener::bind(site.path(SOCKET)).unwrap();
    let (mut fetcher, mut steward) = (courier(&site, &listener), daemon(&site));
    let (mut warm, mut first_files) = (None, Vec::new());
    for cycle in 1..=cycles {
        match cycle % 20 {
            5 => {
                site.host_file(&state(cycle));
            }
            7 => site.put("/etc/motd", "drift\n"),
            11 => fs::remove_file(site.path("/etc/soak/f3")).unwrap(),
            13 => {
                drop(fetcher);
                fetcher = courier(&site, &listener);
            }
            // Once, so that what comes after is the same process for long.
            17 if cycle < 20 => {
                drop(steward);
                steward = daemon(&site);
            }
            _ => {}
        }
        let synced = site.run(&["sync", "--wait"]);
        assert_eq!(synced.code, 0, "cycle {cycle}: {synced:?}");
        if cycle == 30 {
            warm = Some(steward.holdings());
            first_files = own_files(&site);
        }
    }
    let (warm, end) = (warm.unwrap(), steward.holdings());
    println!("{cycles} cycles: {warm:?} when warm, {end:?} at the end");
    assert!(end.descriptors <= warm.descriptors + 2, "{warm:?} {end:?}");
    assert!(end.threads <= warm.threads + 2, "{warm:?} {end:?}");
    assert_eq!(end.watches, warm.watches, "{warm:?} {end:?}");
    assert!(end.anonymous_kib <= warm.anonymous_kib + SLACK_KIB, "{warm:?} {end:?}");
    let last_good = |name: &String| name.starts_with("var/lib/hostwrit/last-good/");
    let (first, last): (Vec<_>, Vec<_>) = (first_files, own_files(&site));
    let others = |files: &[String]| files.iter().filter(|name| !last_good(name)).cloned().collect::<Vec<_>>();
    assert_eq!(others(&first), others(&last), "files were left behind");
    assert_eq!(last.iter().filter(|name| last_good(name)).count(), 1, "one commit is kept");
    drop(steward);
    site.agrees();
}
