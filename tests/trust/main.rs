// SPDX-License-Identifier: Apache-2.0
//! Each refusal code has a history that earns it, beside a like one that is accepted.
#![allow(clippy::disallowed_methods)]

#[path = "../fixture/mod.rs"]
mod fixture;

mod come_back;
mod commits;
mod each_rule;
mod history;
mod hostile;
mod keys;
mod objects;
mod office;
mod places;
mod policies;
mod revocations;
mod rules;
mod short_numbers;
mod signatures;
mod ssh;
mod suites;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::SystemTime;

use fixture::{Fleet, Key, payload, with_header};
use hostwrit::model::HostState;
use hostwrit::model::git::{Objects, Oid};
use hostwrit::trust::{Anchor, AuthenticTree, Cache, Code, Compile, Refusal, authenticate};

/// Returns the principals who signed what is new, oldest commit first.
#[track_caller]
fn accepted(fleet: &Fleet, pin: Option<&Oid>, tip: &Oid) -> Vec<String> {
    let store = fleet.repo.store();
    let tree = judge(&store, &fleet.anchor(), pin, tip).unwrap_or_else(|refusal| panic!("{refusal}"));
    tree.signers().iter().map(|signature| signature.principal.clone()).collect()
}

#[track_caller]
fn refused(fleet: &Fleet, pin: Option<&Oid>, tip: &Oid, code: Code) -> Refusal {
    refused_by(&fleet.repo.store(), &fleet.anchor(), pin, tip, code)
}

#[track_caller]
fn refused_by(store: &dyn Objects, anchor: &Anchor, pin: Option<&Oid>, tip: &Oid, code: Code) -> Refusal {
    match judge(store, anchor, pin, tip) {
        Ok(_) => panic!("accepted {tip}; {code} was expected"),
        Err(refusal) => {
            assert_eq!(refusal.code(), code, "{refusal}");
            refusal
        }
    }
}

fn judge<'o>(
    store: &'o dyn Objects,
    anchor: &Anchor,
    pin: Option<&Oid>,
    tip: &Oid,
) -> Result<AuthenticTree<'o>, Refusal> {
    authenticate(store, anchor, pin, tip, SystemTime::now(), &mut Cache::default())
}

/// Writes a commit of the root's tree that `key` signed with gpg `options`; `forge` may change the armor.
fn signed(fleet: &Fleet, key: &Key, options: &[&str], forge: impl Fn(&str) -> String) -> Oid {
    let tree = fleet.repo.id(&format!("{}^{{tree}}", fleet.root));
    let commit = payload(&tree, &[fleet.root], "change");
    let armor = fleet.keys.sign(key, commit.as_bytes(), options);
    fleet.repo.object("commit", with_header(&commit, "gpgsig", &forge(&armor)).as_bytes())
}

/// A compiler that judges no host.
struct NoHosts;

impl Compile for NoHosts {
    fn hosts(&mut self, _: &AuthenticTree<'_>) -> BTreeMap<String, Option<Rc<HostState>>> {
        BTreeMap::new()
    }
}

/// Writes a commit that `key` signed at `time`, as gpg's `--faked-system-time` has it.
fn signed_at(fleet: &Fleet, key: &Key, tree: &Oid, parents: &[Oid], time: &str) -> Oid {
    let commit = payload(tree, parents, time);
    let armor = fleet.keys.sign(key, commit.as_bytes(), &["--faked-system-time", time]);
    fleet.repo.object("commit", with_header(&commit, "gpgsig", &armor).as_bytes())
}

#[test]
fn every_code_has_a_test() {
    let tests = [
        include_str!("commits.rs"),
        include_str!("history.rs"),
        include_str!("hostile/history.rs"),
        include_str!("hostile/keys.rs"),
        include_str!("keys.rs"),
        include_str!("objects.rs"),
        include_str!("places.rs"),
        include_str!("policies.rs"),
        include_str!("revocations.rs"),
        include_str!("rules.rs"),
        include_str!("signatures.rs"),
        include_str!("ssh.rs"),
    ]
    .concat();
    // What is not about commits of the ref is tested where hosts are.
    let on_hosts = [include_str!("../engine/freshness.rs"), include_str!("../engine/orders.rs")].concat();
    let is_tested = |code: &&Code| {
        tests.contains(&format!("Code::{code:?})"))
            || on_hosts.contains(&format!("Code::{code:?}"))
            || on_hosts.contains(code.as_str())
    };
    let untested: Vec<_> = Code::ALL.iter().filter(|code| !is_tested(code)).collect();
    assert!(untested.is_empty(), "no test expects {untested:?}");
}
