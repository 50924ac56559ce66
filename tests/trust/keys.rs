// SPDX-License-Identifier: Apache-2.0
//! Whose signature counts, and when.

use hostwrit::trust::Code;

use super::fixture::Keyring;
use super::*;

/// Two keys: alice, of the policy, and mallory.
fn with_mallory() -> (Fleet, Key) {
    let fleet = Fleet::new();
    let mallory = fleet.keys.key("mallory");
    (fleet, mallory)
}

#[test]
fn a_stranger_is_refused_and_may_sign_once_the_parent_lists_them() {
    let (fleet, bob) = with_mallory();
    fleet.repo.write("files/motd", "bob was here");
    let early = fleet.repo.commit("early", Some(&bob));
    refused(&fleet, None, &early, Code::UnknownSigner);

    fleet.repo.checkout(&fleet.root);
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    let welcome = fleet.repo.commit("welcome bob", Some(&fleet.alice));
    let tip = fleet.repo.commit("by bob", Some(&bob));
    assert_eq!(accepted(&fleet, None, &tip), ["alice", "alice", "bob"]);
    assert_eq!(accepted(&fleet, Some(&welcome), &tip), ["bob"]);
}

#[test]
fn nobody_lets_themselves_in() {
    let (fleet, mallory) = with_mallory();
    fleet.policy(2, &[("alice", &fleet.alice), ("mallory", &mallory)]);
    let tip = fleet.repo.commit("let me in", Some(&mallory));
    refused(&fleet, None, &tip, Code::UnknownSigner);
    refused(&fleet, Some(&fleet.root), &tip, Code::UnknownSigner);
}

#[test]
fn a_merge_needs_a_signer_whom_both_parents_know() {
    let (fleet, bob) = with_mallory();
    let side = fleet.change("side");
    fleet.repo.checkout(&fleet.root);
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    let main = fleet.repo.commit("welcome bob", Some(&fleet.alice));
    let by_bob = fleet.repo.merge(&side, &bob);
    refused(&fleet, Some(&main), &by_bob, Code::UnknownSigner);
    fleet.repo.checkout(&main);
    let by_alice = fleet.repo.merge(&side, &fleet.alice);
    assert_eq!(accepted(&fleet, Some(&main), &by_alice), ["alice", "alice"]);
}

#[test]
fn a_principal_who_was_removed_signs_no_more() {
    let (fleet, bob) = with_mallory();
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.repo.commit("welcome bob", Some(&fleet.alice));
    fleet.policy(3, &[("alice", &fleet.alice)]);
    // Judged by the parent's policy, bob may still take himself out.
    let farewell = fleet.repo.commit("farewell bob", Some(&bob));
    assert_eq!(accepted(&fleet, None, &farewell), ["alice", "alice", "bob"]);
    let tip = fleet.repo.commit("bob again", Some(&bob));
    refused(&fleet, None, &tip, Code::UnknownSigner);
}

#[test]
fn the_root_counts_only_if_a_signer_of_the_anchor_signed_it() {
    let (fleet, mallory) = with_mallory();
    let store = fleet.repo.store();
    let mut anchor = fleet.anchor();
    anchor.signers = vec![format!("openpgp:{}", mallory.fingerprint).parse().unwrap()];
    refused_by(&store, &anchor, None, &fleet.root, Code::RootSigner);
    anchor.signers.push(format!("openpgp:{}", fleet.alice.fingerprint.to_lowercase()).parse().unwrap());
    assert!(judge(&store, &anchor, None, &fleet.root).is_ok());
}

#[test]
fn the_roots_signer_must_be_in_the_roots_own_policy() {
    let (mut fleet, mallory) = with_mallory();
    fleet.root = fleet.repo.commit("root", Some(&mallory));
    let mut anchor = fleet.anchor();
    anchor.signers = vec![format!("openpgp:{}", mallory.fingerprint).parse().unwrap()];
    refused_by(&fleet.repo.store(), &anchor, None, &fleet.root, Code::UnknownSigner);
}

#[test]
fn an_expired_key_signs_no_tip_but_its_old_commits_stay_good() {
    let keys = Keyring::new();
    let old = ["--faked-system-time", "20240101T000000!"];
    let alice = keys.key_of("alice", "ed25519", "20250101T000000", &old);
    let bob = keys.key_of("bob", "ed25519", "never", &old);
    let mut fleet = Fleet::of(keys, bob.clone());
    fleet.policy(2, &[("alice", &alice), ("bob", &bob)]);
    fleet.repo.git(&["add", "--all"]);
    let tree = fleet.repo.git(&["write-tree"]).trim().parse().unwrap();
    fleet.root = signed_at(&fleet, &bob, &tree, &[], "20240201T000000!");
    fleet.alice = bob.clone();

    // Signed in its time: good below a tip by another, not as the tip.
    let in_time = signed_at(&fleet, &alice, &tree, &[fleet.root], "20240601T000000!");
    refused(&fleet, None, &in_time, Code::KeyExpired);
    fleet.repo.checkout(&in_time);
    let tip = fleet.repo.commit("by bob", Some(&bob));
    assert_eq!(accepted(&fleet, None, &tip), ["bob", "alice", "bob"]);
}

#[test]
fn a_backdated_committer_date_does_not_revive_an_expired_key() {
    let keys = Keyring::new();
    let alice = keys.key_of("alice", "ed25519", "2d", &[]);
    let fleet = Fleet::of(keys, alice);
    let tip = signed(&fleet, &fleet.alice, &[], str::to_owned);
    let store = fleet.repo.store();
    let anchor = fleet.anchor();
    let day = std::time::Duration::from_secs(24 * 3600);
    let at = |time| {
        authenticate(&store, &anchor, None, &tip, time, &mut Cache::default())
            .map(drop)
            .map_err(|refusal| refusal.code())
    };
    assert_eq!(at(SystemTime::now() + day), Ok(()));
    assert_eq!(at(SystemTime::now() + 3 * day), Err(Code::KeyExpired));
    // A host that accepted the commit while the key was good keeps enforcing it.
    assert!(
        authenticate(&store, &anchor, Some(&tip), &tip, SystemTime::now() + 3 * day, &mut Cache::default()).is_ok()
    );
}

#[test]
fn a_revoked_key_signs_nothing() {
    let (fleet, bob) = with_mallory();
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.repo.commit("welcome bob", Some(&fleet.alice));
    let good = fleet.repo.commit("by bob", Some(&bob));
    assert_eq!(accepted(&fleet, None, &good).last().unwrap(), "bob");

    // The policy that judges him says that his key is revoked; the signature is from before.
    let commit = |parent: &Oid| {
        let tree = fleet.repo.id(&format!("{parent}^{{tree}}"));
        payload(&tree, &[*parent], "by bob")
    };
    let secret = fleet.keys.gpg(&["--export-secret-keys", &bob.fingerprint], b"");
    fleet.keys.revoke(&bob);
    fleet.policy(3, &[("alice", &fleet.alice), ("bob", &bob)]);
    let parent = fleet.repo.commit("bob's key is revoked", Some(&fleet.alice));
    let thief = Keyring::new();
    thief.gpg(&["--import"], &secret);
    let armor = thief.sign(&bob, commit(&parent).as_bytes(), &[]);
    let tip = fleet.repo.object("commit", with_header(&commit(&parent), "gpgsig", &armor).as_bytes());
    refused(&fleet, None, &tip, Code::KeyRevoked);
}

#[test]
fn a_signature_from_before_its_key_is_refused() {
    let fleet = Fleet::new();
    let options = ["--faked-system-time", "20200101T000000!", "--ignore-time-conflict", "--ignore-valid-from"];
    refused(&fleet, None, &signed(&fleet, &fleet.alice, &options, str::to_owned), Code::KeyUnusable);
    accepted(&fleet, None, &signed(&fleet, &fleet.alice, &[], str::to_owned));
}

#[test]
fn a_signature_from_the_future_is_refused() {
    let fleet = Fleet::new();
    let tip = signed(&fleet, &fleet.alice, &["--faked-system-time", "20990101T000000!"], str::to_owned);
    refused(&fleet, None, &tip, Code::SignatureFromFuture);
}

#[test]
fn a_small_skew_of_the_clocks_is_allowed() {
    let fleet = Fleet::new();
    let store = fleet.repo.store();
    let earlier = |seconds| SystemTime::now() - std::time::Duration::from_secs(seconds);
    let at = |now| authenticate(&store, &fleet.anchor(), None, &fleet.root, now, &mut Cache::default()).map(drop);
    assert!(at(earlier(0)).is_ok());
    assert_eq!(at(earlier(3600)).unwrap_err().code(), Code::SignatureFromFuture);
}
