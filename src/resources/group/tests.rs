// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use crate::host::RealHost;
use crate::model::{Action, Location, Mode};

use super::*;

fn origin() -> Origin {
    Origin { object: Location { file: "hosts/a.yaml".into(), line: 3, column: 5 }, fields: BTreeMap::new() }
}

fn declared(name: &str, want: Option<Desired>) -> Declared<Desired> {
    Declared { name: name.to_owned(), mode: Mode::Enforce, want, origin: origin() }
}

fn wants(name: &str, gid: Option<u32>) -> Declared<Desired> {
    declared(name, Some(Desired { gid, system: false }))
}

fn owning(names: &[&str]) -> Owned {
    let mut owned = Owned::default();
    for name in names {
        let change = crate::model::ownership::OwnershipChange::claim_whole();
        owned.claim(&ObjectId::new("group", *name), &change);
    }
    owned
}

use crate::model::ObjectId;

fn host(passwd: &str, group: &str) -> (tempfile::TempDir, RealHost) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
    std::fs::write(dir.path().join("etc/group"), group).unwrap();
    std::fs::write(dir.path().join("etc/gshadow"), "").unwrap();
    let host = RealHost::open(dir.path()).unwrap();
    (dir, host)
}

fn plan(desired: &[Declared<Desired>], owned: &Owned, host: &RealHost) -> Vec<Step<Operation>> {
    Group::diff(desired, &Group::observe(desired, owned, host).unwrap(), owned)
}

/// Applies the plan and expects the next one to be empty.
fn converge(desired: &[Declared<Desired>], owned: &mut Owned, host: &RealHost) -> Vec<Action> {
    let steps = plan(desired, owned, host);
    for step in &steps {
        owned.claim(&step.object, &step.ownership);
        Group::apply(&step.operation, host).unwrap();
        Group::apply(&step.operation, host).expect("doing it twice does no harm");
        owned.give_up(&step.object, &step.ownership);
    }
    let again = plan(desired, owned, host);
    assert!(again.is_empty(), "{again:?}");
    steps.iter().map(|step| step.action).collect()
}

fn read(dir: &tempfile::TempDir, name: &str) -> String {
    std::fs::read_to_string(dir.path().join("etc").join(name)).unwrap()
}

#[test]
fn numbers_asked_for_are_kept_from_groups_that_ask_for_none() {
    let (dir, host) = host("", "root:x:0:\n");
    let desired = [wants("a", None), wants("b", Some(1000)), wants("c", None)];
    let mut owned = Owned::default();
    assert_eq!(converge(&desired, &mut owned, &host), [Action::Add; 3]);
    assert_eq!(read(&dir, "group"), "root:x:0:\na:x:1001:\nb:x:1000:\nc:x:1002:\n");
    assert_eq!(read(&dir, "gshadow"), "a:!::\nb:!::\nc:!::\n");
    assert!(owned.is_whole(&ObjectId::new("group", "b")));
}

#[test]
fn system_groups_come_from_the_range_of_the_system() {
    let (_dir, host) = host("", "");
    let steps = plan(&[declared("a", Some(Desired { gid: None, system: true }))], &Owned::default(), &host);
    assert_eq!(steps[0].operation, Operation::Add { name: "a".into(), gid: 101 });
}

#[test]
fn a_new_number_moves_the_users_of_the_group_and_does_not_make_it_ours() {
    let (dir, host) = host("al:x:5:50::/:/bin/sh\n", "staff:x:50:al\n");
    let mut owned = Owned::default();
    assert_eq!(converge(&[wants("staff", Some(500))], &mut owned, &host), [Action::Alter]);
    assert_eq!(read(&dir, "group"), "staff:x:500:al\n");
    assert_eq!(read(&dir, "passwd"), "al:x:5:500::/:/bin/sh\n");
    assert_eq!(owned, Owned::default());
}

#[test]
fn a_number_of_another_group_is_refused() {
    let (dir, host) = host("", "staff:x:50:\n");
    for desired in [wants("new", Some(50)), wants("staff", Some(50))] {
        let steps = plan(&[desired], &Owned::default(), &host);
        for step in steps {
            let error = Group::apply(&step.operation, &host).unwrap_err();
            assert_eq!(error.to_string(), "gid 50 belongs to the group staff; give new another one, or none");
        }
    }
    assert_eq!(read(&dir, "group"), "staff:x:50:\n");
}

#[test]
fn only_owned_groups_go_with_the_repo_and_declared_absence_removes_any() {
    let (dir, host) = host("", "ours:x:1:\ntheirs:x:2:\nunwanted:x:3:\n");
    let mut owned = owning(&["ours", "gone"]);
    let actions = converge(&[declared("unwanted", None)], &mut owned, &host);
    assert_eq!(actions, [Action::Remove; 3]);
    assert_eq!(read(&dir, "group"), "theirs:x:2:\n");
    assert_eq!(owned, Owned::default());
}

#[test]
fn the_primary_group_of_a_user_is_not_removed() {
    let (dir, host) = host("al:x:5:50::/:/bin/sh\n", "staff:x:50:\nroot:x:0:\n");
    let error = Group::apply(&Operation::Remove { name: "staff".into() }, &host).unwrap_err();
    let expected = "will not remove the group staff: it is the primary group of the user al; give al another one first";
    assert_eq!(error.to_string(), expected);
    assert!(Group::apply(&Operation::Remove { name: "root".into() }, &host).is_err());
    assert_eq!(read(&dir, "group"), "staff:x:50:\nroot:x:0:\n");
}

#[test]
fn every_fault_is_reported_where_it_was_written() {
    struct NoContents;
    impl Contents for NoContents {
        fn source(&self, _: &str) -> Result<std::sync::Arc<[u8]>, String> {
            Err("none".into())
        }
        fn template(&self, _: &str) -> Result<std::sync::Arc<[u8]>, String> {
            Err("none".into())
        }

        fn addresses(
            &self,
            place: &crate::resources::firewall::Place,
        ) -> Result<Vec<crate::resources::firewall::Network>, String> {
            Err(format!("there is no {place}"))
        }
    }
    let mut origin = origin();
    origin.fields.insert("gid".into(), Location { file: "profiles/p.yaml".into(), line: 9, column: 1 });
    let faults = Group::resolve("Web", Spec { gid: Some(0), system: None }, &origin, &NoContents).unwrap_err();
    let text: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.at, fault.message)).collect();
    assert_eq!(
        text,
        ["hosts/a.yaml:3: \"Web\" cannot be the name of a user or group", "profiles/p.yaml:9: gid 0 is root's"]
    );
    assert!(Group::resolve("root", Spec { gid: Some(0), system: None }, &origin, &NoContents).is_ok());
}
