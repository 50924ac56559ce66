// SPDX-License-Identifier: Apache-2.0
//! The stories of gittuf: `gitobject_test.go`, `replace_ref_test.go`, and `verify_test.go` as far as they are about
//! history. Its thresholds and persons are in `two_persons.rs`.

use super::*;

#[test]
fn only_the_key_that_signed_verifies() {
    let fleet = Fleet::new();
    let other = fleet.keys.key("other");
    let good = signed(&fleet, &fleet.alice, &[], str::to_owned);
    accepted(&fleet, None, &good);
    // The key that signed is unknown, and the key that is known did not sign.
    refused(&fleet, None, &signed(&fleet, &other, &[], str::to_owned), Code::UnknownSigner);
    let empty = with_header(&unsigned(&fleet), "gpgsig", "");
    refused(&fleet, None, &fleet.repo.object("commit", empty.as_bytes()), Code::ArmorNotCanonical);
    let doubled = signed(&fleet, &fleet.alice, &[], |armor| format!("{armor}{armor}"));
    refused(&fleet, None, &doubled, Code::ArmorNotCanonical);
    // The other key's signature in the name of the known one: its id and fingerprint put in.
    let forged = signed(&fleet, &other, &[], |armor| {
        let hex = |fingerprint: &str| -> Vec<u8> {
            (0..20).map(|at| u8::from_str_radix(&fingerprint[2 * at..2 * at + 2], 16).unwrap()).collect()
        };
        let (from, to) = (hex(&other.fingerprint), hex(&fleet.alice.fingerprint));
        let mut packet = fleet.keys.gpg(&["--dearmor"], armor.as_bytes());
        for part in [0..20, 12..20] {
            while let Some(at) = packet.windows(part.len()).position(|window| *window == from[part.clone()]) {
                packet[at..at + part.len()].copy_from_slice(&to[part.clone()]);
            }
        }
        let armor = String::from_utf8(fleet.keys.gpg(&["--enarmor"], &packet)).unwrap();
        let armor = armor.replace("PGP ARMORED FILE", "PGP SIGNATURE");
        armor.lines().filter(|line| !line.starts_with("Comment")).map(|line| format!("{line}\n")).collect()
    });
    refused(&fleet, None, &forged, Code::BadSignature);
}

/// `git replace` shows other bytes under an id; whoever asks git reads those.
#[test]
fn a_replaced_object_is_not_what_its_id_says() {
    let fleet = Fleet::new();
    let evil = fleet.change("evil");
    fleet.repo.checkout(&fleet.root);
    let good = fleet.change("good");
    fleet.repo.git(&["replace", &good.to_string(), &evil.to_string()]);
    let shown = fleet.repo.git(&["cat-file", "commit", &good.to_string()]);
    assert!(shown.ends_with("\nevil\n"), "git follows the replacement");
    let mut store = fleet.repo.store();
    accepted(&fleet, None, &good);
    store.objects.get_mut(&good).unwrap().data = shown.into_bytes();
    refused_by(&store, &fleet.anchor(), None, &good, Code::ObjectMismatch);

    // A file or a tree replaced below a good commit is no better.
    fleet.repo.git(&["replace", "-d", &good.to_string()]);
    let (tree, other) = (fleet.repo.id(&format!("{good}^{{tree}}")), fleet.repo.id(&format!("{evil}^{{tree}}")));
    let mut store = fleet.repo.store();
    let replaced = store.objects[&other].clone();
    store.objects.insert(tree, replaced);
    refused_by(&store, &fleet.anchor(), None, &good, Code::ObjectMismatch);
}

#[test]
fn a_policy_cannot_be_rolled_back_and_then_used() {
    let fleet = Fleet::new();
    let mallory = fleet.keys.key("mallory");
    fleet.policy(2, &[("alice", &fleet.alice), ("mallory", &mallory)]);
    let two = fleet.repo.commit("policy 2 knows mallory", Some(&fleet.alice));
    fleet.policy(3, &[("alice", &fleet.alice)]);
    let three = fleet.repo.commit("policy 3 does not", Some(&fleet.alice));
    for version in [2, 3] {
        fleet.repo.checkout(&three);
        fleet.policy(version, &[("alice", &fleet.alice), ("mallory", &mallory)]);
        let back = fleet.repo.commit("mallory is back", Some(&mallory));
        refused(&fleet, Some(&three), &back, Code::UnknownSigner);
    }
    fleet.repo.checkout(&three);
    fleet.policy(2, &[("alice", &fleet.alice), ("mallory", &mallory)]);
    let back = fleet.repo.commit("the old policy", Some(&fleet.alice));
    refused(&fleet, Some(&three), &back, Code::PolicyRollback);
    assert_eq!(
        refused(&fleet, Some(&three), &fleet.repo.commit("used", Some(&mallory)), Code::PolicyRollback).commit(),
        Some(&back)
    );
    assert_eq!(accepted(&fleet, Some(&two), &three), ["alice"]);
}

/// There a bad entry that a later one repairs may be skipped. Here it stays in the way.
#[test]
fn what_was_repaired_later_is_still_refused() {
    let fleet = Fleet::new();
    let mallory = fleet.keys.key("mallory");
    let good = fleet.change("good");
    fleet.repo.write("files/motd", "bad");
    let bad = fleet.repo.commit("bad", Some(&mallory));
    let sign = format!("-S{}", fleet.alice.fingerprint);
    fleet.repo.git(&["revert", "--no-edit", &sign, "HEAD"]);
    let fixed = fleet.repo.id("HEAD");
    assert_eq!(fleet.repo.id(&format!("{fixed}^{{tree}}")), fleet.repo.id(&format!("{good}^{{tree}}")));
    assert_eq!(refused(&fleet, Some(&good), &fixed, Code::UnknownSigner).commit(), Some(&bad));
    // The way out is a branch that never had it.
    fleet.repo.checkout(&good);
    assert_eq!(accepted(&fleet, Some(&good), &fleet.change("onward")), ["alice"]);
}

#[test]
fn a_forced_push_is_refused() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.change("one"), fleet.change("two"));
    let sign = format!("-S{}", fleet.alice.fingerprint);
    fleet.repo.git(&["commit", "--quiet", "--amend", "-m", "two, again", &sign]);
    let amended = fleet.repo.id("HEAD");
    refused(&fleet, Some(&two), &amended, Code::NotDescendant);
    assert_eq!(accepted(&fleet, Some(&one), &amended), ["alice"]);
}
