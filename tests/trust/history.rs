// SPDX-License-Identifier: Apache-2.0
//! Which histories lead to an accepted tip.

use gix::hash::Kind as Hash;
use hostwrit::model::RepoFiles as _;
use hostwrit::model::git::{ObjectType, RawObject};
use hostwrit::trust::{Code, authorize};

use super::fixture::{Keyring, Repo, payload};
use super::*;

#[test]
fn a_signed_chain_is_accepted_from_the_root_and_from_the_pin() {
    let fleet = Fleet::new();
    let one = fleet.change("one");
    let two = fleet.change("two");
    assert_eq!(accepted(&fleet, None, &fleet.root), ["alice"]);
    assert_eq!(accepted(&fleet, None, &two), ["alice", "alice", "alice"]);
    assert_eq!(accepted(&fleet, Some(&one), &two), ["alice"]);
    assert!(accepted(&fleet, Some(&two), &two).is_empty());
}

#[test]
fn an_accepted_tree_gives_its_files_and_may_be_authorized() {
    let fleet = Fleet::new();
    let tip = fleet.change("hello");
    let store = fleet.repo.store();
    let tree = judge(&store, &fleet.anchor(), None, &tip).unwrap();
    let paths = ["files/motd", "hosts/web1.yaml", "policy/keys/alice.asc", "policy/policy.yaml"];
    assert_eq!(tree.paths().unwrap(), paths);
    assert_eq!(tree.read("files/motd").unwrap().unwrap(), b"hello");
    assert_eq!(tree.read("files").unwrap(), None);
    assert_eq!(*tree.tree(), fleet.repo.id("HEAD^{tree}"));
    assert_eq!(tree.policy_version(), 1);
    let authorized = authorize(&tree, "desired", &mut NoHosts).unwrap();
    assert_eq!((*authorized.desired(), authorized.commit()), ("desired", &tip));
    assert_eq!(authorized.signers().last().unwrap().key.to_string(), format!("openpgp:{}", fleet.alice.fingerprint));
}

#[test]
fn a_sha256_repository_is_accepted() {
    let keys = Keyring::new();
    let alice = keys.key("alice");
    let repo = Repo::with_format(&keys, "sha256");
    let fleet = Fleet::in_repo(keys, alice, repo);
    assert_eq!(fleet.root.kind(), Hash::Sha256);
    let tip = fleet.change("one");
    assert_eq!(accepted(&fleet, None, &tip), ["alice", "alice"]);
}

#[test]
fn an_unsigned_commit_is_refused_wherever_it_stands() {
    let fleet = Fleet::new();
    let one = fleet.change("one");
    fleet.repo.write("files/motd", "two");
    let unsigned = fleet.repo.commit("two", None);
    let tip = fleet.change("three");
    refused(&fleet, None, &unsigned, Code::Unsigned);
    let refusal = refused(&fleet, Some(&one), &tip, Code::Unsigned);
    assert_eq!(refusal.commit(), Some(&unsigned));
    assert_eq!(accepted(&fleet, None, &one), ["alice", "alice"]);
}

#[test]
fn every_merge_parent_counts() {
    let fleet = Fleet::new();
    let one = fleet.change("one");
    for (key, verdict) in [(None, Err(Code::Unsigned)), (Some(&fleet.alice), Ok(2))] {
        fleet.repo.checkout(&one);
        fleet.repo.write("files/side", "side");
        let side = fleet.repo.commit("side", key);
        fleet.repo.checkout(&one);
        let tip = fleet.repo.merge(&side, &fleet.alice);
        match verdict {
            Ok(commits) => assert_eq!(accepted(&fleet, Some(&one), &tip).len(), commits),
            Err(Code::Unsigned) => {
                assert_eq!(refused(&fleet, Some(&one), &tip, Code::Unsigned).commit(), Some(&side));
            }
            Err(code) => panic!("{code}"),
        }
    }
}

#[test]
fn a_branch_from_before_the_pin_is_proven_back_to_the_pins_own_past() {
    let fleet = Fleet::new();
    let one = fleet.change("one");
    let two = fleet.change("two");
    let pin = fleet.change("three");
    for (key, good) in [(Some(&fleet.alice), true), (None, false)] {
        fleet.repo.checkout(&one);
        fleet.repo.write("files/side", "side");
        let side = fleet.repo.commit("side", key);
        fleet.repo.checkout(&pin);
        let tip = fleet.repo.merge(&side, &fleet.alice);
        if good {
            // The side commit and the merge; not what the pin stands on.
            assert_eq!(accepted(&fleet, Some(&pin), &tip).len(), 2);
            assert_eq!(accepted(&fleet, Some(&two), &tip).len(), 3);
            assert_eq!(accepted(&fleet, None, &tip).len(), 6);
        } else {
            assert_eq!(refused(&fleet, Some(&pin), &tip, Code::Unsigned).commit(), Some(&side));
        }
    }
}

#[test]
fn the_pin_never_moves_back() {
    let fleet = Fleet::new();
    let one = fleet.change("one");
    let two = fleet.change("two");
    refused(&fleet, Some(&two), &one, Code::Rollback);
    refused(&fleet, Some(&two), &fleet.root, Code::Rollback);
    fleet.repo.git(&["revert", "--no-edit", &format!("-S{}", fleet.alice.fingerprint), "HEAD"]);
    assert_eq!(accepted(&fleet, Some(&two), &fleet.repo.id("HEAD")), ["alice"]);
}

#[test]
fn a_fork_from_before_the_pin_is_refused() {
    let fleet = Fleet::new();
    let pin = fleet.change("one");
    fleet.repo.checkout(&fleet.root);
    let fork = fleet.change("other");
    refused(&fleet, Some(&pin), &fork, Code::NotDescendant);
    assert_eq!(accepted(&fleet, None, &fork), ["alice", "alice"]);
}

#[test]
fn unrelated_history_is_refused_even_if_merged_by_a_principal() {
    let fleet = Fleet::new();
    let pin = fleet.change("one");
    fleet.repo.git(&["checkout", "--quiet", "--orphan", "stranger"]);
    fleet.repo.write("files/stranger", "x");
    let stranger = fleet.repo.commit("stranger", Some(&fleet.alice));
    refused(&fleet, None, &stranger, Code::NotDescendant);
    refused(&fleet, Some(&pin), &stranger, Code::NotDescendant);
    fleet.repo.checkout(&pin);
    fleet.repo.git(&["rm", "-rq", "files"]);
    fleet.repo.commit("make room", Some(&fleet.alice));
    fleet.repo.git(&[
        "merge",
        "-s",
        "ours",
        "--allow-unrelated-histories",
        "--no-edit",
        &format!("-S{}", fleet.alice.fingerprint),
        &stranger.to_string(),
    ]);
    let tip = fleet.repo.id("HEAD");
    refused(&fleet, None, &tip, Code::NotDescendant);
    refused(&fleet, Some(&pin), &tip, Code::NotDescendant);
}

#[test]
fn what_lies_before_the_root_does_not_count() {
    let mut fleet = Fleet::new();
    let old = fleet.root;
    fleet.root = fleet.change("the root of this host");
    let tip = fleet.change("one");
    assert_eq!(accepted(&fleet, None, &tip).len(), 2);
    refused(&fleet, None, &old, Code::NotDescendant);
    fleet.repo.checkout(&old);
    fleet.repo.write("files/side", "side");
    let side = fleet.repo.commit("side", Some(&fleet.alice));
    fleet.repo.checkout(&tip);
    let merge = fleet.repo.merge(&side, &fleet.alice);
    refused(&fleet, None, &merge, Code::NotDescendant);
}

#[test]
fn an_octopus_is_refused() {
    let fleet = Fleet::new();
    let branches: Vec<_> = ["one", "two", "three"]
        .map(|name| {
            fleet.repo.checkout(&fleet.root);
            fleet.repo.write(name, name);
            fleet.repo.commit(name, Some(&fleet.alice))
        })
        .into();
    let tree = fleet.repo.id("HEAD^{tree}");
    let merge = |parents: &[Oid]| {
        let commit = payload(&tree, parents, "merge");
        let armor = fleet.keys.sign(&fleet.alice, commit.as_bytes(), &[]);
        fleet.repo.object("commit", with_header(&commit, "gpgsig", &armor).as_bytes())
    };
    let (two, three) = (merge(&branches[..2]), merge(&branches));
    assert_eq!(accepted(&fleet, None, &two).len(), 4);
    refused(&fleet, None, &three, Code::Octopus);
}

#[test]
fn a_history_beyond_the_limit_is_refused() {
    let fleet = Fleet::new();
    let mut store = fleet.repo.store();
    let tree = fleet.repo.id("HEAD^{tree}");
    let mut tip = fleet.root;
    for _ in 0..=200_000 {
        let data = payload(&tree, &[tip], "x").into_bytes();
        tip = gix::objs::compute_hash(Hash::Sha1, ObjectType::Commit, &data).unwrap();
        store.objects.insert(tip, RawObject { kind: ObjectType::Commit, data });
    }
    refused_by(&store, &fleet.anchor(), None, &tip, Code::TooLong);
}
