// SPDX-License-Identifier: Apache-2.0
//! A repair goes by what is enforced, which need not be the pin, and by the guards; it asks nobody and touches nothing else.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use hostwrit::engine::Cycle;
use hostwrit::engine::enforced::Enforced;
use hostwrit::engine::repair::{Repair, repair};
use hostwrit::model::ObjectId;
use hostwrit::resources::Desired;
use hostwrit::trust::Authorized;

use super::site::Site;

const EXACT: &str = "files:\n  /etc/motd: {content: \"one\\n\"}\n  /srv/exact: {type: directory, exact: true}\n";

/// Has the object looked at as the daemon does when it was touched.
pub fn look_at(site: &Site, enforced: Authorized<Desired>, object: &str) -> Repair {
    let host = site.open();
    let enforced = Enforced::of(enforced, &host).unwrap();
    let concerned = BTreeSet::from([object.parse::<ObjectId>().unwrap()]);
    let stop = AtomicBool::new(false);
    repair(&enforced, concerned, &BTreeSet::new(), &host, &stop, &mut None, &mut |_, _| {}).unwrap()
}

fn last_good(site: &Site) -> Authorized<Desired> {
    let (host, config, source, stop) = (site.open(), site.config(), site.source(), AtomicBool::new(false));
    Cycle::begin(&config, &host, &source, &stop).unwrap().last_good().unwrap()
}

/// Puts so many strays into the directory, and returns what a repair makes of them and how many are left.
fn stray(site: &Site, count: usize) -> (Repair, usize) {
    (0..count).for_each(|number| site.put(&format!("/srv/exact/{number}"), "x"));
    let repair = look_at(site, last_good(site), "file:/srv/exact");
    (repair, std::fs::read_dir(site.path("/srv/exact")).unwrap().count())
}

#[test]
fn what_a_guard_objects_to_is_left_to_a_cycle() {
    let site = Site::new(&[("hosts/web1.yaml", EXACT)]);
    site.converge();
    let (repair, left) = stray(&site, 10);
    assert!(matches!(repair, Repair::Done(ref repaired) if repaired.converged()), "{repair:?}");
    assert_eq!(left, 0);
    let log = site.log();
    let (repair, left) = stray(&site, 11);
    assert!(matches!(repair, Repair::NeedsCycle), "{repair:?}");
    assert_eq!((left, site.log()), (11, log));
}

#[test]
fn what_the_signers_of_the_commit_allow_a_repair_may_do() {
    let site = Site::new(&[("hosts/web1.yaml", EXACT)]);
    site.converge();
    site.repo.write("hosts/web1.yaml", &EXACT.replace("one", "two"));
    site.repo.commit("Two\n\nHostwrit-Allow-Removals: 11", Some(&site.keys.alice));
    site.converge();
    let (repair, left) = stray(&site, 11);
    assert!(matches!(repair, Repair::Done(ref repaired) if repaired.converged()), "{repair:?}");
    assert_eq!(left, 0);
    let (repair, left) = stray(&site, 12);
    assert!(matches!(repair, Repair::NeedsCycle), "{repair:?}");
    assert_eq!(left, 12);
}

#[test]
fn another_commit_than_the_enforced_is_left_to_a_cycle() {
    let site = Site::new(&[("hosts/web1.yaml", EXACT)]);
    site.converge();
    let before = last_good(&site);
    site.host_file(&EXACT.replace("one", "two"));
    site.converge();
    let repair = look_at(&site, before, "file:/etc/motd");
    assert!(matches!(repair, Repair::NeedsCycle), "{repair:?}");
    assert_eq!(site.get("/etc/motd").unwrap(), "two\n");
}
