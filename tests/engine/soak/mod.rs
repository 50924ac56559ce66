// SPDX-License-Identifier: Apache-2.0
//! Many cycles with commits, drift, new keys, refusals, a remote that is away, kills and restarts leave nothing behind: no
//! descriptors, memory, watches or files.
//!
//! `HOSTWRIT_SOAK_CYCLES=20000` makes it a matter of an hour or more; `-- --nocapture` prints what was held. What a run of that kind showed
//! stands in docs/reference/compared.md.
#![allow(clippy::print_stdout)]

mod outside;
mod process;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use hostwrit::source::SOCKET;

use crate::site::{Site, ran};

use outside::{Owner, Receiver, set_away};
use process::{courier, daemon};

/// Enough for each kind of trouble to come in each half.
const CYCLES: usize = 120;
/// After so many cycles a process is warm.
const WARM: usize = 20;
/// What is revoked stays in the policy for ever, and so in memory; nobody has more keys than this.
const MOST_KEYS: usize = 50;

const REFUSED: i32 = 4;
const NOT_FETCHED: i32 = 1;

/// Returns every file of hostwrit's own, but for what comes and goes: the mirror and the spool.
fn own_files(site: &Site) -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["/etc", "/var/lib", "/var/log", "/run"] {
        found.extend(files_below(&site.path(directory), &|path| {
            path.ends_with("mirror.git") || path.ends_with("spool")
        }));
    }
    let mut found: Vec<String> =
        found.iter().map(|path| path.strip_prefix(site.root()).unwrap().display().to_string()).collect();
    found.sort();
    found
}

fn files_below(directory: &Path, is_left_out: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true if is_left_out(&entry.path()) => {}
                true => left.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found
}

/// Demands that the mirror has finished packs, loose objects and refs, and nothing of fetches that were cut off.
fn demand_tidy_mirror(site: &Site) {
    let is_finished = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let extension = path.extension().and_then(|extension| extension.to_str());
        match path.components().any(|part| part.as_os_str() == "pack") {
            true => name.starts_with("pack-") && matches!(extension, Some("pack" | "idx" | "rev")),
            false => !name.contains("tmp") && extension != Some("lock"),
        }
    };
    let unfinished: Vec<PathBuf> =
        files_below(&site.mirror(), &|_| false).into_iter().filter(|path| !is_finished(path)).collect();
    assert!(unfinished.is_empty(), "left behind in the mirror: {unfinished:?}");
}

struct Soak {
    site: Site,
    owner: Owner,
    receiver: Receiver,
    key_changes: usize,
}

impl Soak {
    fn new() -> Self {
        let site = Site::new(&[("hosts/web1.yaml", &state(0))]);
        let receiver = Receiver::new();
        site.put("/run/hostwrit/.keep", "");
        let config = site.get("/etc/hostwrit/config.yaml").unwrap();
        // All is told, so that the spool goes through some files.
        let reports = format!(
            "reports:\n  - webhook: {{url: \"{}\"}}\n    only: [changed, drift, cycle, refused, hindered, audit]\n    repeat_after: 0s\n",
            receiver.url
        );
        site.put("/etc/hostwrit/config.yaml", &format!("{config}interval: 1h\n{reports}"));
        let owner = Owner::new(&site);
        Self { site, owner, receiver, key_changes: 0 }
    }

    /// What happens in most rounds of twenty cycles, and a cycle after it.
    fn cycle(&mut self, number: usize) {
        let site = &self.site;
        match number % 20 {
            2 => self.owner.order(site, &state(number)),
            4 => site.put("/etc/motd", "drift\n"),
            6 => fs::remove_file(site.path("/etc/soak/f3")).unwrap(),
            8 if number % 40 == 8 && self.key_changes < MOST_KEYS => {
                self.key_changes += 1;
                self.owner.rotate(site);
            }
            10 => {
                let good = self.owner.order_wrongly(site);
                site.put("/etc/motd", "drift\n");
                self.sync(number, REFUSED);
                self.site.repo.git(&["reset", "--quiet", "--hard", &good]);
            }
            14 => {
                set_away(site, true);
                self.receiver.is_away.store(true, Ordering::Relaxed);
                site.put("/etc/motd", "drift\n");
                self.sync(number, NOT_FETCHED);
                self.sync(number, NOT_FETCHED);
                self.receiver.is_away.store(false, Ordering::Relaxed);
                set_away(&self.site, false);
            }
            _ => {}
        }
        self.sync(number, 0);
    }

    /// Has the steward begin a cycle that has something to do.
    fn begin_cycle(&self, number: usize) {
        self.owner.order(&self.site, &state(number));
        self.site.put("/etc/motd", "drift\n");
        assert_eq!(ran(&mut self.site.command(&["sync"])).code, 0);
    }

    #[track_caller]
    fn sync(&self, number: usize, code: i32) {
        let synced = ran(&mut self.site.command(&["sync", "--wait"]));
        assert_eq!(synced.code, code, "cycle {number}: {synced:?}");
        assert_ne!(self.site.get("/etc/motd").unwrap(), "drift\n", "cycle {number}: {synced:?}");
    }
}

fn state(number: usize) -> String {
    let files: String =
        (0..40).map(|number| format!("  /etc/soak/f{number}: {{content: \"{number}\\n\"}}\n")).collect();
    format!("files:\n  /etc/motd: {{content: \"{number}\\n\"}}\n  /etc/soak: {{type: directory}}\n{files}")
}

#[test]
fn many_cycles_with_kills_and_restarts_leave_nothing_behind() {
    let begin = Instant::now();
    let cycles = std::env::var("HOSTWRIT_SOAK_CYCLES").map_or(CYCLES, |cycles| cycles.parse().unwrap());
    let mut soak = Soak::new();
    let listener = UnixListener::bind(soak.site.path(SOCKET)).unwrap();
    let half = cycles / 2;

    // In the first half couriers are killed, and the steward lives.
    let (mut fetcher, mut steward) = (courier(&soak.site, &listener), daemon(&soak.site));
    let (mut warm, mut files) = (None, Vec::new());
    for number in 1..=half {
        if number % 20 == 17 {
            // In the middle of a fetch, as far as chance has it.
            soak.begin_cycle(number);
            thread::sleep(Duration::from_millis(number as u64 % 50));
            drop(fetcher);
            fetcher = courier(&soak.site, &listener);
        }
        soak.cycle(number);
        if number == WARM {
            (warm, files) = (Some(steward.holdings()), own_files(&soak.site));
        }
    }
    steward.demand_no_more_than(&warm.unwrap(), "steward, couriers killed");

    // Then the warm steward is killed in the middle of a cycle, and both live to the end.
    soak.begin_cycle(0);
    drop(steward);
    steward = daemon(&soak.site);
    let mut warm = None;
    for number in half + 1..=cycles {
        soak.cycle(number);
        if number == half + WARM {
            warm = Some((steward.holdings(), fetcher.holdings()));
        }
    }
    let (steward_warm, fetcher_warm) = warm.unwrap();
    steward.demand_no_more_than(&steward_warm, "steward");
    fetcher.demand_no_more_than(&fetcher_warm, "courier");
    demand_nothing_left(&soak, &files);
    demand_told(&soak);
    drop(steward);
    soak.site.agrees();
    println!("{cycles} cycles, {} changes of keys, {} s", soak.key_changes, begin.elapsed().as_secs());
}

fn demand_nothing_left(soak: &Soak, first: &[String]) {
    let last = own_files(&soak.site);
    let last_good = |name: &String| name.starts_with("var/lib/hostwrit/last-good/");
    let others = |files: &[String]| files.iter().filter(|name| !last_good(name)).cloned().collect::<Vec<_>>();
    assert_eq!(others(first), others(&last), "files were left behind");
    assert_eq!(last.iter().filter(|name| last_good(name)).count(), 1, "one commit is kept");
    demand_tidy_mirror(&soak.site);
}

/// Demands that the whole log is told in the end, and that what was told takes no room.
fn demand_told(soak: &Soak) {
    let spool = soak.site.path("/var/lib/hostwrit-courier/spool");
    let waiting = || {
        files_below(&spool, &|_| false).iter().filter(|path| path.extension().is_some_and(|end| end == "jsonl")).count()
    };
    let (logged, begin) = (soak.site.log().lines().count(), Instant::now());
    while waiting() > 0 || soak.receiver.taken.load(Ordering::Relaxed) < logged {
        let taken = soak.receiver.taken.load(Ordering::Relaxed);
        assert!(begin.elapsed() < Duration::from_secs(120), "{} files wait, {taken} of {logged} were told", waiting());
        thread::sleep(Duration::from_millis(100));
    }
    println!("{} entries were told, {logged} lines of the log among them", soak.receiver.taken.load(Ordering::Relaxed));
}
