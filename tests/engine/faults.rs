// SPDX-License-Identifier: Apache-2.0
//! A fault at every write of an apply: the next one finishes the work, and nothing is forgotten or taken that is not ours.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hostwrit::engine::{Cycle, State};
use hostwrit::host::RealHost;
use hostwrit::model::ObjectId;

use super::faulty_host::{Fault, FaultyHost, RunningService};
use super::site::{Listed, Site};

const FIRST: &str = r#"
groups:
  shop: {gid: 4000}
users:
  deploy:
    uid: 4001
    groups: [shop]
    password: locked
    sudo: "ALL=(root) NOPASSWD: /usr/bin/true"
    ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIA8rskiY262hIdqG9uZyeXH7CwnkDun+ZgTncrMQJ2t alice"]
files:
  /etc/motd: {content: "hello\n"}
  /etc/shop: {type: directory, exact: true}
  /etc/shop/a: {content: "a\n", mode: "0600"}
  /etc/shop/current: {type: link, target: a}
services:
  hello:
    unit: {content: "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"}
    drop_ins: {limits: {content: "[Service]\nMemoryMax=1G\n"}}
    enabled: true
"#;

/// Adds, alters and removes an object of every kind.
const SECOND: &str = r#"
groups:
  shop: {gid: 4000}
  more: {gid: 4005}
users:
  other: {uid: 4002, group: more, password: locked}
files:
  /etc/motd: {content: "hello again\n"}
  /etc/shop: {type: directory, exact: true, mode: "0750"}
  /etc/shop/b: {content: "b\n"}
services:
  hello:
    unit: {content: "[Service]\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n"}
    enabled: false
"#;

/// Runs one apply on a host with this fault; returns whether the fault was met.
fn apply_with(site: &Site, fault: Fault, at: usize) -> bool {
    apply_on(site, fault, at, None)
}

fn apply_on(site: &Site, fault: Fault, at: usize, service: Option<&RunningService>) -> bool {
    let (real, config, stop) = (site.open(), site.config(), AtomicBool::new(false));
    let lock = real.lock(Duration::ZERO).unwrap();
    real.ensure_dir(Path::new("/var/lib/hostwrit"), 0o700).unwrap();
    let mirror = site.source();
    let host = FaultyHost::new(&real, fault, at);
    let host = match service {
        Some(service) => host.with_service(service),
        None => host,
    };
    let report = Cycle::of(&config, &host, &mirror, lock, &stop).apply(&mut |_, _| {});
    if !host.struck() {
        assert!(report.is_ok_and(|report| report.converged()));
    }
    host.struck()
}

/// Runs one apply that is killed right after its n-th write.
pub fn kill_at_write_of_apply(site: &Site, at: usize) {
    assert!(apply_with(site, Fault::KillAfter, at), "fewer than {at} writes");
}

fn apply(site: &Site) {
    let (host, config, stop) = (site.open(), site.config(), AtomicBool::new(false));
    let report = Cycle::begin(&config, &host, &site.source(), &stop).unwrap().apply(&mut |_, _| {}).unwrap();
    assert!(report.converged(), "{:?} {:?}", report.outcomes, report.remaining);
}

fn finds_nothing_to_do(site: &Site) {
    let (host, config, stop) = (site.open(), site.config(), AtomicBool::new(false));
    let plan = Cycle::begin(&config, &host, &site.source(), &stop).unwrap().plan().unwrap().plan;
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
    let verified = hostwrit::audit::verify::verify(site.log().as_bytes());
    assert_eq!((verified.problems, verified.open_intents), (vec![], vec![]), "{}", site.log());
}

fn state(host: &RealHost) -> State {
    State::read(host).unwrap()
}

fn owned(site: &Site) -> Vec<ObjectId> {
    state(&site.open()).owned.objects().cloned().collect()
}

/// The managed tree without locks, and without the backups of the account files that shadow-utils leave too.
fn tree(site: &Site) -> Vec<Listed> {
    site.listing().into_iter().filter(|one| !one.path.ends_with(".lock") && !one.path.ends_with('-')).collect()
}

/// Puts the fault at every write of an apply of `second` on a host where `first` holds, if there is a first.
fn at_every_write(fault: Fault, first: Option<&str>, second: &str) {
    let site = Site::new(&[("hosts/web1.yaml", first.unwrap_or(second))]);
    let fresh = tree(&site);
    if first.is_some() {
        apply(&site);
        site.host_file(second);
    }
    let prepared = site.snapshot();

    apply(&site);
    let (expected, expected_owned) = (tree(&site), owned(&site));
    let mut at = 0;
    loop {
        at += 1;
        site.restore(&prepared);
        let struck = apply_with(&site, fault, at);
        apply(&site);
        finds_nothing_to_do(&site);
        assert_eq!(tree(&site), expected, "{fault:?} at write {at}");
        assert_eq!(owned(&site), expected_owned, "{fault:?} at write {at}");
        let state = state(&site.open());
        assert!(state.pending.0.is_empty() && !state.applying, "{fault:?} at write {at}: {state:?}");
        if !struck {
            break;
        }
    }
    assert!(at > 12, "only {at} writes");

    // What is left is what hostwrit made, so an empty repo leads back to the fresh host.
    site.host_file("labels: {}\n");
    apply(&site);
    finds_nothing_to_do(&site);
    let known: Vec<String> = fresh.into_iter().map(|one| one.path).collect();
    let left = tree(&site).into_iter().map(|one| one.path).filter(|path| !known.contains(path));
    // A removed user's home stays, for it may hold work.
    assert_eq!(left.filter(|path| !path.starts_with("/home/")).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(owned(&site), []);
}

#[test]
fn a_failed_write_of_the_first_apply_is_made_good_by_the_next() {
    at_every_write(Fault::Fail, None, FIRST);
}

#[test]
fn a_kill_before_any_write_of_the_first_apply_is_made_good_by_the_next() {
    at_every_write(Fault::KillBefore, None, FIRST);
}

#[test]
fn a_kill_after_any_write_of_the_first_apply_is_made_good_by_the_next() {
    at_every_write(Fault::KillAfter, None, FIRST);
}

#[test]
fn a_failed_write_of_a_change_is_made_good_by_the_next_apply() {
    at_every_write(Fault::Fail, Some(FIRST), SECOND);
}

#[test]
fn a_kill_after_any_write_of_a_change_is_made_good_by_the_next_apply() {
    at_every_write(Fault::KillAfter, Some(FIRST), SECOND);
}

#[test]
fn an_append_cut_off_anywhere_is_made_good_by_the_next_apply() {
    at_every_write(Fault::Tear, Some(FIRST), SECOND);
}

#[test]
fn a_restart_that_is_owed_is_paid_whatever_write_failed() {
    let text = |content: &str| {
        format!(
            "files:\n  /etc/hello.conf: {{content: \"{content}\"}}\n  /etc/other: {{content: \"{content}\"}}\n\
             services:\n  hello: {{restart_when: [file:/etc/hello.conf]}}\n"
        )
    };
    let site = Site::new(&[("hosts/web1.yaml", &text("old"))]);
    let service = RunningService { config: site.path("/etc/hello.conf"), read: RefCell::default() };
    const NEVER: usize = usize::MAX;
    apply_on(&site, Fault::Fail, NEVER, Some(&service));
    site.host_file(&text("new"));
    let prepared = site.snapshot();
    for fault in [Fault::Fail, Fault::KillBefore, Fault::KillAfter, Fault::Tear] {
        for at in 1.. {
            site.restore(&prepared);
            *service.read.borrow_mut() = b"old".to_vec();
            let struck = apply_on(&site, fault, at, Some(&service));
            apply_on(&site, Fault::Fail, NEVER, Some(&service));
            assert_eq!(service.read.borrow().as_slice(), b"new", "{fault:?} at write {at}");
            let state = state(&site.open());
            assert!(state.pending.0.is_empty() && !state.applying, "{fault:?} at write {at}: {state:?}");
            if !struck {
                assert!(at > 5, "only {at} writes");
                break;
            }
        }
    }
}
