// SPDX-License-Identifier: Apache-2.0
//! The stories of `guix git authenticate` (`tests/git-authenticate.scm`, and one of `tests/channels.scm`).
//!
//! Its list of authorized keys is our policy, its channel introduction our anchor.

use super::*;

#[test]
fn unsigned_commits_are_refused_at_the_first() {
    let fleet = Fleet::new();
    fleet.repo.write("a.txt", "A");
    let first = fleet.repo.commit("first commit", None);
    fleet.repo.write("b.txt", "B");
    let second = fleet.repo.commit("second commit", None);
    assert_eq!(refused(&fleet, None, &second, Code::Unsigned).commit(), Some(&first));
    fleet.repo.checkout(&fleet.root);
    assert_eq!(accepted(&fleet, None, &fleet.change("signed")), ["alice", "alice"]);
}

#[test]
fn a_sha1_signature_is_refused() {
    let fleet = Fleet::new();
    refused(
        &fleet,
        None,
        &signed(&fleet, &fleet.alice, &["--digest-algo", "SHA1"], str::to_owned),
        Code::WeakSignature,
    );
    accepted(&fleet, None, &signed(&fleet, &fleet.alice, &["--digest-algo", "SHA512"], str::to_owned));
}

/// There keys given from outside stand in where no list is yet. Here nothing does: the root has its own policy.
#[test]
fn history_from_before_the_first_policy_needs_a_root_that_has_one() {
    let keys = fixture::Keyring::new();
    let alice = keys.key("alice");
    let mut fleet = Fleet::of(keys, alice);
    fleet.repo.git(&["checkout", "--quiet", "--orphan", "without"]);
    fleet.repo.git(&["rm", "-rqf", "."]);
    fleet.repo.write("a.txt", "A");
    let zeroth = fleet.repo.commit("zeroth commit", Some(&fleet.alice));
    fleet.policy(1, &[("alice", &fleet.alice)]);
    let first = fleet.repo.commit("first commit", Some(&fleet.alice));
    fleet.root = zeroth;
    refused(&fleet, None, &zeroth, Code::PolicyMissing);
    refused(&fleet, None, &first, Code::PolicyMissing);
    fleet.root = first;
    assert_eq!(accepted(&fleet, None, &first), ["alice"]);
}

#[test]
fn who_leaves_the_list_may_sign_that_and_nothing_after() {
    let fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    let first = fleet.change("first commit");
    fleet.repo.write("policy/keys/alice.asc", "");
    fleet.policy(2, &[("bob", &bob)]);
    let second = fleet.repo.commit("second commit: bob instead of alice", Some(&fleet.alice));
    let third = fleet.change("third commit");
    assert_eq!(accepted(&fleet, None, &second).len(), 3);
    for pin in [None, Some(&first), Some(&second)] {
        assert_eq!(refused(&fleet, pin, &third, Code::UnknownSigner).commit(), Some(&third));
    }
    fleet.repo.checkout(&second);
    assert_eq!(accepted(&fleet, Some(&second), &fleet.repo.commit("by bob", Some(&bob))), ["bob"]);
}

#[test]
fn an_authorized_merge_does_not_excuse_a_branch_by_a_stranger() {
    let fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    let first = fleet.change("first commit");
    fleet.repo.write("devel/1.txt", "1");
    let devel = fleet.repo.commit("first devel commit", Some(&bob));
    fleet.repo.checkout(&first);
    let second = fleet.change("second commit");
    let merge = fleet.repo.merge(&devel, &fleet.alice);
    assert_eq!(accepted(&fleet, None, &second).len(), 3);
    for tip in [&devel, &merge] {
        assert_eq!(refused(&fleet, None, tip, Code::UnknownSigner).commit(), Some(&devel));
    }
}

#[test]
fn a_branch_that_lets_its_second_signer_in_first_is_fine() {
    let fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    let first = fleet.change("first commit");
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.repo.commit("first devel commit", Some(&fleet.alice));
    fleet.repo.write("devel/2.txt", "2");
    let devel = fleet.repo.commit("second devel commit", Some(&bob));
    fleet.repo.checkout(&first);
    fleet.change("second commit");
    let merge = fleet.repo.merge(&devel, &fleet.alice);
    fleet.repo.write("c.txt", "C");
    let third = fleet.repo.commit("third commit", Some(&bob));
    assert_eq!(accepted(&fleet, Some(&merge), &third), ["bob"]);
    assert_eq!(accepted(&fleet, None, &third).iter().filter(|name| *name == "bob").count(), 2);

    // Bob may not make that merge himself: main, one of its parents, does not know him.
    fleet.repo.checkout(&first);
    fleet.change("another second commit");
    refused(&fleet, None, &fleet.repo.merge(&devel, &bob), Code::UnknownSigner);
}

#[test]
fn a_list_that_was_removed_stays_a_fault_of_that_commit() {
    let fleet = Fleet::new();
    let first = fleet.change("first commit");
    fleet.repo.git(&["rm", "-q", "policy/policy.yaml"]);
    let second = fleet.repo.commit("second commit", Some(&fleet.alice));
    let third = fleet.change("third commit");
    for tip in [&second, &third] {
        assert_eq!(refused(&fleet, Some(&first), tip, Code::PolicyMissing).commit(), Some(&second));
    }
}

#[test]
fn the_first_commit_has_another_signer_than_was_introduced() {
    let fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    let tip = fleet.change("second commit");
    let mut anchor = fleet.anchor();
    anchor.signers = vec![format!("openpgp:{}", bob.fingerprint).parse().unwrap()];
    let refusal = refused_by(&fleet.repo.store(), &anchor, None, &tip, Code::RootSigner);
    assert_eq!(refusal.commit(), Some(&fleet.root));
    assert_eq!(accepted(&fleet, None, &tip).len(), 2);
}
