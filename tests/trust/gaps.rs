// SPDX-License-Identifier: Apache-2.0
//! What is decided wrongly today. Each test says what would be right, and fails once it is.

use hostwrit::trust::Revocations;

use super::*;

/// Bob, beside alice, and a commit of his behind the root.
fn pair() -> (Fleet, Key, Oid) {
    let mut fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.root = fleet.repo.commit("root", Some(&fleet.alice));
    let by_bob = fleet.repo.commit("by bob", Some(&bob));
    (fleet, bob, by_bob)
}

/// A key of the host's own list that has `since` still signs: such a list is asked for hard revocations only. A new
/// commit by the key should be `key-revoked`.
#[test]
fn the_hosts_own_list_knows_no_soft_revocation() {
    let (fleet, bob, by_bob) = pair();
    let own = |how: &str| {
        let text = format!("format: 1\nrevoked: [{{key: \"{}\"{how}}}]\n", bob.name());
        Anchor { revoked: Revocations::parse("revoked.yaml", text.as_bytes()).unwrap(), ..fleet.anchor() }
    };
    let store = fleet.repo.store();
    assert!(judge(&store, &own(", since: 2020-01-01T00:00:00Z"), Some(&fleet.root), &by_bob).is_ok());
    refused_by(&store, &own(""), Some(&fleet.root), &by_bob, Code::KeyRevoked);
}

/// A soft revocation leaves good what its own policy stands on; but beside a hard revocation of any other key, or of a
/// commit, it counts against the past as well, from its date. Both should be accepted.
#[test]
fn a_soft_revocation_turns_hard_beside_a_hard_one() {
    let (fleet, bob, by_bob) = pair();
    let stranger = fleet.keys.key("stranger");
    let revoke = |more: &str| {
        fleet.repo.checkout(&by_bob);
        fleet.policy(3, &[("alice", &fleet.alice), ("bob", &bob)]);
        let policy = std::fs::read_to_string(fleet.repo.path().join("policy/policy.yaml")).unwrap();
        let list = format!("revoked: [{{key: \"{}\", since: 2020-01-01T00:00:00Z}}{more}]\n", bob.name());
        fleet.repo.write("policy/policy.yaml", &(policy + &list));
        fleet.repo.commit("revoke", Some(&fleet.alice))
    };
    accepted(&fleet, None, &revoke(""));
    let tip = revoke(&format!(", {{key: \"{}\"}}", stranger.name()));
    assert_eq!(refused(&fleet, None, &tip, Code::KeyRevoked).commit(), Some(&by_bob));
}
