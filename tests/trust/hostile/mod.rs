// SPDX-License-Identifier: Apache-2.0
//! The attacks of docs/threat-model.md, one test each: what is refused, with which code, and its benign twin.
//!
//! README.md has them as a table, with those that are tested elsewhere because they are not about commits.

mod forms;
mod history;
mod keys;

use hostwrit::trust::Revocations;

use super::*;

/// Signs a commit of a tree as it is.
fn commit(fleet: &Fleet, key: &Key, tree: &Oid, parents: &[Oid], message: &str) -> Oid {
    let commit = payload(tree, parents, message);
    let armor = fleet.keys.sign(key, commit.as_bytes(), &[]);
    fleet.repo.object("commit", with_header(&commit, "gpgsig", &armor).as_bytes())
}

fn tree_of(fleet: &Fleet, id: &Oid) -> Oid {
    fleet.repo.id(&format!("{id}^{{tree}}"))
}

/// An alice and a bob who may both do everything.
fn pair() -> (Fleet, Key) {
    let mut fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.root = fleet.repo.commit("root of two", Some(&fleet.alice));
    (fleet, bob)
}

fn revocations(list: &str) -> Revocations {
    Revocations::parse("revocations.yaml", format!("format: 1\nrevoked:\n{list}").as_bytes())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn every_attack_is_in_the_table() {
    let table = include_str!("../README.md");
    let tests = [include_str!("forms.rs"), include_str!("history.rs"), include_str!("keys.rs")].concat();
    let names = tests.split("#[test]\nfn ").skip(1).map(|test| test.split('(').next().unwrap());
    let missing: Vec<_> = names.filter(|name| !table.contains(name)).collect();
    assert!(missing.is_empty(), "tests/trust/README.md does not name {missing:?}");
}
