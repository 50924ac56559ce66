// SPDX-License-Identifier: Apache-2.0
//! What is taken today and should not be. Each test says what would be right, and fails once it is.

use super::fixture::{Keyring, Repo};
use super::office::Office;
use super::*;

/// A key that ran out cannot sign for an old branch that is merged now, nor can one that its certificate revokes; one
/// that the policy's list revokes since a date can, if it dates its signature back. A merge of what it signed should be
/// `key-revoked` once the merge is later than that date.
#[test]
fn a_key_of_the_list_that_dates_back_is_merged() {
    let keys = Keyring::new();
    let then = ["--faked-system-time", "20240101T000000!"];
    let [alice, bob] = ["alice", "bob"].map(|name| keys.key_of(name, "ed25519", "never", &then));
    let repo = Repo::new(&keys);
    let mut fleet = Fleet { keys, repo, alice, root: Oid::null(gix::hash::Kind::Sha1) };
    fleet.policy(1, &[("alice", &fleet.alice), ("bob", &bob)]);
    let tree = fleet.repo.write_tree();
    fleet.root = signed_at(&fleet, &fleet.alice, &tree, &[], "20240201T000000!");
    let path = fleet.repo.path().join("policy/policy.yaml");
    let text = std::fs::read_to_string(&path).unwrap().replace("version: 1", "version: 2");
    let list = format!("revoked: [{{key: \"openpgp:{}\", since: 2025-01-01T00:00:00Z}}]\n", bob.fingerprint);
    std::fs::write(&path, text + &list).unwrap();
    let revoking = fleet.repo.write_tree();
    let pin = signed_at(&fleet, &fleet.alice, &revoking, &[fleet.root], "20250102T000000!");
    // Signed in truth long after.
    let dated_back = signed_at(&fleet, &bob, &tree, &[fleet.root], "20240601T000000!");
    for parents in [[pin, dated_back], [dated_back, pin]] {
        let merge = signed_at(&fleet, &fleet.alice, &revoking, &parents, "20260101T000000!");
        accepted(&fleet, Some(&pin), &merge);
    }
    refused(&fleet, Some(&pin), &signed_at(&fleet, &bob, &revoking, &[pin], "20260101T000000!"), Code::KeyRevoked);
}

/// The other way round, what an expired key signed is not looked at: it is the first parent that is merged into.
#[test]
fn a_merge_with_its_parents_swapped_brings_in_an_expired_key() {
    let keys = Keyring::new();
    let then = ["--faked-system-time", "20240101T000000!"];
    let alice = keys.key_of("alice", "ed25519", "never", &then);
    let bob = keys.key_of("bob", "ed25519", "20250101T000000", &then);
    let repo = Repo::new(&keys);
    let mut fleet = Fleet { keys, repo, alice, root: Oid::null(gix::hash::Kind::Sha1) };
    fleet.policy(1, &[("alice", &fleet.alice), ("bob", &bob)]);
    let tree = fleet.repo.write_tree();
    fleet.root = signed_at(&fleet, &fleet.alice, &tree, &[], "20240201T000000!");
    let pin = signed_at(&fleet, &fleet.alice, &tree, &[fleet.root], "20250102T000000!");
    let dated_back = signed_at(&fleet, &bob, &tree, &[fleet.root], "20240601T000000!");
    let merge = |parents: [Oid; 2]| signed_at(&fleet, &fleet.alice, &tree, &parents, "20260101T000000!");
    refused(&fleet, Some(&pin), &merge([pin, dated_back]), Code::KeyExpired);
    accepted(&fleet, Some(&pin), &merge([dated_back, pin]));
}

/// A principal renews a key of his own alone, and that may leave packets out: whoever has the stolen subkey of somebody
/// who has shortened its life can put the old certificate back. Only what adds to a certificate should be a renewal;
/// sequoia-git (`keyring-update.rs`, "remove packet") asks for the right to retire.
#[test]
fn a_renewal_may_take_back_an_earlier_end() {
    let office = Office::new();
    let root = office.fleet.root;
    let keys = &office.fleet.keys;
    let before = keys.public(&office.dan);
    keys.gpg(&["--quick-set-expire", &office.dan.fingerprint, "5d"], b"");
    office.fleet.repo.write("policy/keys/dan.asc", &keys.public(&office.dan));
    let shorter = office.commit("until Friday", &office.dan);
    office.allowed(&root, &shorter);
    office.fleet.repo.write("policy/keys/dan.asc", &before);
    let back = office.commit("for ever", &office.dan);
    assert_eq!(office.allowed(&shorter, &back), [["dan"]]);
}
