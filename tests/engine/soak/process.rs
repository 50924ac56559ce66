// SPDX-License-Identifier: Apache-2.0
//! The two processes, and what each of them holds.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::site::{Site, ran};

/// As in packaging/systemd: by itself the allocator keeps more and more of what many threads have used.
const TUNABLES: &str = "glibc.malloc.tcache_count=0:glibc.malloc.trim_threshold=131072:glibc.malloc.arena_max=1";
/// What a process may have more of at the end than when it was warm: the allocator keeps some of what it had.
const SLACK_KIB: u64 = 2 * 1024;

/// A process that is killed with SIGKILL when it is dropped.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process has of what could leak.
#[derive(Clone, Debug)]
pub struct Holdings {
    descriptors: usize,
    threads: usize,
    watches: usize,
    anonymous_kib: u64,
}

impl Process {
    pub fn holdings(&self) -> Holdings {
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

    /// Demands that it holds no more than when it was warm.
    #[track_caller]
    pub fn demand_no_more_than(&self, warm: &Holdings, name: &str) {
        let end = self.holdings();
        println!("{name}: {warm:?} when warm, {end:?} at the end");
        assert!(end.descriptors <= warm.descriptors + 2, "{name}: {warm:?} {end:?}");
        assert!(end.threads <= warm.threads + 2, "{name}: {warm:?} {end:?}");
        assert_eq!(end.watches, warm.watches, "{name}: {warm:?} {end:?}");
        assert!(end.anonymous_kib <= warm.anonymous_kib + SLACK_KIB, "{name}: {warm:?} {end:?}");
    }
}

pub fn daemon(site: &Site) -> Process {
    let mut command = site.command(&["daemon"]);
    command.env("GLIBC_TUNABLES", TUNABLES);
    let daemon = Process(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    // It listens once it is there; `sync` says so if it does not.
    let begin = Instant::now();
    while ran(&mut site.command(&["sync", "--wait"])).code != 0 {
        assert!(begin.elapsed() < Duration::from_secs(120), "the daemon does not answer");
        thread::sleep(Duration::from_millis(50));
    }
    daemon
}

pub fn courier(site: &Site, listener: &UnixListener) -> Process {
    let directory = site.path("/var/lib/hostwrit-courier");
    let mut command = site.command(&["courier", "--directory", directory.to_str().unwrap()]);
    command.env("GLIBC_TUNABLES", TUNABLES);
    let listener = OwnedFd::from(listener.try_clone().unwrap());
    Process(command.stdin(Stdio::from(listener)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}
