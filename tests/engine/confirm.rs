// SPDX-License-Identifier: Apache-2.0
//! A change that can cut a host off, with a fault at every write: the host is in the old or the new state, never between.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hostwrit::engine::confirm::back;
use hostwrit::engine::{Cycle, CycleError, Report, State};
use hostwrit::host::{ReadHost, RealHost};
use hostwrit::model::git::{ObjectError, Objects, Oid, RawObject};
use hostwrit::source::{Ask, FetchError, Fetched, Mirror, Source};

use super::faulty_host::{Fault, FaultyHost, RunningService};
use super::site::{Listed, Site};

const FIRST: &str = r#"
users:
  alice:
    uid: 4001
    password: locked
    ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIA8rskiY262hIdqG9uZyeXH7CwnkDun+ZgTncrMQJ2t alice"]
files:
  /etc/motd: {content: "hello\n"}
  /etc/ssh: {type: directory}
  /etc/ssh/sshd_config: {content: "Port 22\n"}
  /etc/ssh/old.conf: {content: "old\n"}
services:
  ssh: {restart_when: [file:/etc/ssh/sshd_config]}
"#;

const SECOND: &str = r#"
groups:
  ops: {gid: 4000}
users:
  alice: {uid: 4001, groups: [ops], password: locked, ssh_keys: []}
files:
  /etc/motd: {content: "hello again\n"}
  /etc/ssh: {type: directory, mode: "0750"}
  /etc/ssh/sshd_config: {content: "Port 2222\n"}
  /etc/ssh/new.d: {type: directory}
  /etc/ssh/new.d/new.conf: {content: "new\n"}
services:
  ssh: {restart_when: [file:/etc/ssh/sshd_config]}
"#;

/// A remote that does not answer a host whose sshd listens at another port: as if the change had cut it off.
struct CutOff<'h> {
    mirror: Mirror,
    host: &'h RealHost,
    cuts: bool,
}

impl Objects for CutOff<'_> {
    fn object(&self, id: &Oid) -> Result<RawObject, ObjectError> {
        self.mirror.object(id)
    }
}

impl Source for CutOff<'_> {
    fn fetch(&self, ask: &Ask, stop: &AtomicBool) -> Result<Fetched, FetchError> {
        let config = self.host.read(Path::new("/etc/ssh/sshd_config")).unwrap();
        match config {
            Some(text) if self.cuts && text == b"Port 2222\n" => Err(FetchError::Told("it is cut off".to_owned())),
            _ => Source::fetch(&self.mirror, ask, stop),
        }
    }
}

/// What one apply came to, and what it left.
struct Applied {
    report: Result<Report, CycleError>,
    struck: bool,
    timers: usize,
}

fn apply(site: &Site, fault: Fault, at: usize, cuts: bool) -> Applied {
    let (real, stop) = (site.open(), AtomicBool::new(false));
    let config = hostwrit::engine::Config { confirm_within: Duration::from_millis(200), ..site.config() };
    let lock = real.lock(Duration::ZERO).unwrap();
    real.ensure_dir(Path::new("/var/lib/hostwrit"), 0o700).unwrap();
    real.ensure_dir(Path::new("/etc/hostwrit"), 0o755).unwrap();
    let source = CutOff { mirror: site.source(), host: &real, cuts };
    let service = RunningService { config: site.path("/etc/ssh/sshd_config"), read: Default::default() };
    let host = FaultyHost::new(&real, fault, at).with_service(&service);
    let report = Cycle::of(&config, &host, &source, lock, &stop).apply(&mut |_, _| {});
    let timers = host.armed.borrow().len();
    Applied { report, struck: host.struck(), timers }
}

const NEVER: usize = usize::MAX;

/// The managed tree without locks, and without the backups of the account files.
fn tree(site: &Site) -> Vec<Listed> {
    site.listing().into_iter().filter(|one| !one.path.ends_with(".lock") && !one.path.ends_with('-')).collect()
}

fn left_behind(site: &Site) -> Vec<String> {
    let host = site.open();
    let names = host.list(Path::new("/var/lib/hostwrit/confirm")).unwrap().unwrap_or_default();
    names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

/// A host on which the first state holds, and whose repo asks for the second.
fn prepared() -> (Site, Vec<Listed>) {
    let site = Site::new(&[("hosts/web1.yaml", FIRST)]);
    assert!(apply(&site, Fault::Fail, NEVER, false).report.unwrap().converged());
    let old = tree(&site);
    site.host_file(SECOND);
    (site, old)
}

#[test]
fn a_change_that_is_proven_stays_and_leaves_nothing_behind() {
    let (site, old) = prepared();
    let applied = apply(&site, Fault::Fail, NEVER, true);
    assert!(applied.report.unwrap().hindrance.is_some(), "the remote is cut off");
    assert_eq!(tree(&site), old);
    // Another commit, on a host whose remote answers all the same.
    site.host_file(&SECOND.replace("hello again", "hello"));
    let applied = apply(&site, Fault::Fail, NEVER, false);
    assert!(applied.report.unwrap().converged());
    assert_eq!((applied.timers, left_behind(&site)), (0, vec![]));
    assert_eq!(site.get("/etc/ssh/sshd_config").unwrap(), "Port 2222\n");
    assert_eq!((site.events("confirmed"), site.events("reverted"), site.events("held")), (2, 1, 1));
}

#[test]
fn a_change_that_is_not_proven_goes_back_to_the_byte_and_is_not_tried_again() {
    let (site, old) = prepared();
    let owned = State::read(&site.open()).unwrap().owned;
    let applied = apply(&site, Fault::Fail, NEVER, true);
    let report = applied.report.unwrap();
    assert!(report.hindrance.unwrap().to_string().contains("the remote does not answer any more"));
    assert_eq!((applied.timers, left_behind(&site)), (0, vec![]));
    assert_eq!(tree(&site), old);
    assert_eq!(State::read(&site.open()).unwrap().owned, owned, "what is there again is owned as before");
    for _ in 0..2 {
        apply(&site, Fault::Fail, NEVER, true).report.unwrap();
        assert_eq!(tree(&site), old);
    }
    assert_eq!((site.events("confirming"), site.events("reverted"), site.events("held")), (2, 1, 1));
    let verified = hostwrit::audit::verify::verify(site.log().as_bytes());
    assert_eq!((verified.problems, verified.open_intents), (vec![], vec![]), "{}", site.log());
}

#[test]
fn under_another_root_nothing_is_armed() {
    let (site, _) = prepared();
    site.converge();
    assert_eq!(site.events("confirming"), 1, "only what the live host did before");
}

/// Puts the fault at every write of the change. `then` is given the host as the fault has left it.
fn at_every_write(fault: Fault, cuts: bool, then: impl Fn(&Site, &[Listed], usize)) {
    let (site, old) = prepared();
    let snapshot = site.snapshot();
    for at in 1.. {
        site.restore(&snapshot);
        if !apply(&site, fault, at, cuts).struck {
            assert!(at > 25, "only {at} writes");
            break;
        }
        then(&site, &old, at);
    }
}

fn ends_in_old_or_new(fault: Fault) {
    let (site, _) = prepared();
    apply(&site, Fault::Fail, NEVER, false).report.unwrap();
    let new = tree(&site);
    at_every_write(fault, false, |site, old, at| {
        back::from_outside(&site.open(), false).unwrap();
        let now = tree(site);
        assert!(now == old || now == new, "{fault:?} at write {at}: {now:?}");
        // Held by the timer or not, the next commit goes on.
        site.host_file(&format!("{SECOND}# {at}\n"));
        assert!(apply(site, Fault::Fail, NEVER, false).report.unwrap().converged(), "{fault:?} at write {at}");
        assert_eq!(left_behind(site), Vec::<String>::new(), "{fault:?} at write {at}");
        assert_eq!(site.get("/etc/ssh/sshd_config").unwrap(), "Port 2222\n");
    });
}

#[test]
fn killed_before_any_write_of_a_change_the_timer_leaves_the_old_state_or_the_new() {
    ends_in_old_or_new(Fault::KillBefore);
}

#[test]
fn killed_after_any_write_of_a_change_the_timer_leaves_the_old_state_or_the_new() {
    ends_in_old_or_new(Fault::KillAfter);
}

#[test]
fn killed_at_any_write_of_the_way_back_the_timer_finishes_it() {
    at_every_write(Fault::KillAfter, true, |site, old, at| {
        back::from_outside(&site.open(), false).unwrap();
        assert_eq!(tree(site), old, "at write {at}");
        assert_eq!(site.events("confirmed"), 1, "at write {at}: {}", site.log());
    });
}

#[test]
fn killed_at_any_write_of_the_way_back_the_next_start_finishes_it() {
    at_every_write(Fault::KillBefore, true, |site, old, at| {
        // The first start may try again what chance has ended; the remote is still cut off by it.
        let _ = apply(site, Fault::Fail, NEVER, true);
        assert_eq!(tree(site), old, "at write {at}");
        assert_eq!(left_behind(site), Vec::<String>::new(), "at write {at}");
    });
}

#[test]
fn a_commit_that_ends_hostwrit_twice_is_held() {
    let (site, old) = prepared();
    let journal = Path::new("/var/lib/hostwrit/confirm/journal.jsonl");
    let is_in_the_middle = |site: &Site, tries| {
        site.events("confirming") == tries && site.open().read(journal).unwrap().is_some_and(|text| !text.is_empty())
    };
    for tries in [2, 3] {
        let snapshot = site.snapshot();
        for at in (10..).step_by(4) {
            site.restore(&snapshot);
            assert!(apply(&site, Fault::KillBefore, at, false).struck, "no write is in the middle of the steps");
            if is_in_the_middle(&site, tries) {
                break;
            }
        }
    }
    let report = apply(&site, Fault::Fail, NEVER, false).report.unwrap();
    assert!(report.hindrance.unwrap().to_string().contains("hostwrit ended before the change was proven"));
    assert_eq!((tree(&site), site.events("reverted"), site.events("held")), (old, 2, 1), "{}", site.log());
}
