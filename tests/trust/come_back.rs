// SPDX-License-Identifier: Apache-2.0
//! What was ended must not come back: keys that are revoked or ran out, and an end that was undone.

use super::fixture::{Keyring, Repo};
use super::office::Office;
use super::*;

/// What a key that the policy's list revokes since a date signed is merged no more after that date, whatever time its
/// signature states.
#[test]
fn a_revoked_key_that_dates_back_is_not_merged() {
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
        refused(&fleet, Some(&pin), &merge, Code::KeyRevoked);
    }
    refused(&fleet, Some(&pin), &signed_at(&fleet, &bob, &revoking, &[pin], "20260101T000000!"), Code::KeyRevoked);
}

/// Whichever parent comes first: what leaves the pin is what is brought in.
#[test]
fn a_merge_with_its_parents_swapped_brings_in_no_expired_key() {
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
    refused(&fleet, Some(&pin), &merge([dated_back, pin]), Code::KeyExpired);
}

/// A principal renews a key of his own alone; but whoever has the stolen subkey of somebody who has shortened its life must
/// not put the old certificate back. sequoia-git (`keyring-update.rs`, "remove packet") asks for the right to retire, too.
#[test]
fn a_renewal_does_not_take_back_an_earlier_end() {
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
    office.denied(&shorter, &back, Code::NotAuthorized);
}
