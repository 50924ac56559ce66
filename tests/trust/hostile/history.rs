// SPDX-License-Identifier: Apache-2.0
//! What the owner of a server can do with signed commits, and a signer with the policy.

use std::time::Duration;

use super::*;
use crate::fixture::{FLEET, REF};
use crate::office::{self, Office};

#[test]
fn rollback_to_an_old_signed_commit() {
    let fleet = Fleet::new();
    let (old, pin) = (fleet.change("vulnerable"), fleet.change("mended"));
    refused(&fleet, Some(&pin), &old, Code::Rollback);
    fleet.repo.git(&["revert", "--no-edit", &format!("-S{}", fleet.alice.fingerprint), "HEAD"]);
    let back = fleet.repo.id("HEAD");
    assert_eq!(tree_of(&fleet, &back), tree_of(&fleet, &old));
    accepted(&fleet, Some(&pin), &back);
}

#[test]
fn fork_served_to_some_hosts() {
    let fleet = Fleet::new();
    let one = fleet.change("for all");
    let here = fleet.change("for these");
    fleet.repo.checkout(&one);
    let there = fleet.change("for those");
    // Each is a good successor of what both hosts had. Once taken, no way leads from one to the other.
    for (taken, offered) in [(&here, &there), (&there, &here)] {
        accepted(&fleet, Some(&one), taken);
        refused(&fleet, Some(taken), offered, Code::NotDescendant);
        fleet.repo.checkout(offered);
        let later = fleet.change("and on");
        refused(&fleet, Some(taken), &later, Code::NotDescendant);
    }
}

#[test]
fn teleport_of_a_signed_commit() {
    let fleet = Fleet::new();
    let tree = tree_of(&fleet, &fleet.root);
    let trailers = |fleet: &str, git_ref: &str, seq: &str| {
        format!("change\n\nHostwrit-Repo: {fleet}\nHostwrit-Ref: {git_ref}\nHostwrit-Seq: {seq}")
    };
    let on = |parents: &[Oid], message: &str| commit(&fleet, &fleet.alice, &tree, parents, message);
    let good = on(&[fleet.root], &trailers(FLEET, REF, "7"));
    accepted(&fleet, None, &good);
    for message in [trailers(FLEET, "refs/heads/test", "8"), trailers("other.example.org", REF, "8")] {
        let moved = on(&[good], &message);
        refused(&fleet, Some(&good), &moved, Code::Teleport);
        // Merged with a merge that was made for this place, it is where it belongs.
        let merge = on(&[good, moved], &trailers(FLEET, REF, "8"));
        accepted(&fleet, Some(&good), &merge);
        // But not as the first parent: then the ref itself would have been there.
        let merge = on(&[moved, good], &trailers(FLEET, REF, "9"));
        refused(&fleet, Some(&good), &merge, Code::Teleport);
    }
    for seq in ["7", "6", "0"] {
        refused(&fleet, Some(&good), &on(&[good], &trailers(FLEET, REF, seq)), Code::Sequence);
    }
    refused(&fleet, Some(&good), &on(&[good], "no number after numbers"), Code::Sequence);
    for seq in ["8\nHostwrit-Seq: 9", "08", "+8", "8.0", "", "18446744073709551616"] {
        refused(&fleet, Some(&good), &on(&[good], &trailers(FLEET, REF, seq)), Code::MalformedTrailers);
    }
    accepted(&fleet, Some(&good), &on(&[good], &trailers(FLEET, REF, "8")));
    accepted(&fleet, Some(&good), &on(&[good], &trailers(FLEET, REF, "800")));

    // A policy can ask for them on every commit.
    fleet.repo.checkout(&good);
    let policy = fleet.repo.path().join("policy/policy.yaml");
    let text = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, text.replace("roles:", "trailers: required\nroles:").replace("version: 1", "version: 2"))
        .unwrap();
    let asking = commit(&fleet, &fleet.alice, &fleet.repo.write_tree(), &[fleet.root], "ask for trailers");
    let asked = tree_of(&fleet, &asking);
    accepted(&fleet, None, &asking);
    for message in
        ["change", "change\n\nHostwrit-Seq: 1", "Hostwrit-Seq: 1\nHostwrit-Repo: x\n\nnot the last paragraph"]
    {
        let without = commit(&fleet, &fleet.alice, &asked, &[asking], message);
        refused(&fleet, Some(&asking), &without, Code::TrailersMissing);
    }
    accepted(&fleet, None, &commit(&fleet, &fleet.alice, &asked, &[asking], &trailers(FLEET, REF, "1")));
}

#[test]
fn merge_parent_that_nobody_or_a_stranger_signed() {
    let fleet = Fleet::new();
    let mallory = fleet.keys.key("mallory");
    let main = fleet.change("main");
    for (key, verdict) in
        [(None, Some(Code::Unsigned)), (Some(&mallory), Some(Code::UnknownSigner)), (Some(&fleet.alice), None)]
    {
        fleet.repo.checkout(&fleet.root);
        fleet.repo.write("files/side", "side");
        let side = fleet.repo.commit("side", key);
        let tree = tree_of(&fleet, &main);
        for parents in [[main, side], [side, main]] {
            let merge = commit(&fleet, &fleet.alice, &tree, &parents, "merge");
            match verdict {
                Some(code) => assert_eq!(refused(&fleet, Some(&main), &merge, code).commit(), Some(&side)),
                None => assert_eq!(accepted(&fleet, Some(&main), &merge), ["alice", "alice"]),
            }
        }
    }
}

#[test]
fn history_that_is_cut_off_or_grafted() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.change("one"), fleet.change("two"));
    accepted(&fleet, None, &two);
    // A shallow store: the commit is there, its parent is not.
    let mut shallow = fleet.repo.store();
    shallow.objects.remove(&one);
    refused_by(&shallow, &fleet.anchor(), None, &two, Code::ObjectMissing);
    // A graft says otherwise than the commit; git believes it.
    let tree = tree_of(&fleet, &two);
    let orphan = commit(&fleet, &fleet.alice, &tree, &[], "orphan");
    fleet.repo.git(&["replace", "--graft", &orphan.to_string(), &fleet.root.to_string()]);
    assert_eq!(fleet.repo.id(&format!("{orphan}^")), fleet.root);
    for pin in [None, Some(&one)] {
        refused(&fleet, pin, &orphan, Code::NotDescendant);
    }
    // Nor does a merge of it help, or a root of the attacker's own.
    let merge = commit(&fleet, &fleet.alice, &tree, &[two, orphan], "merge");
    refused(&fleet, Some(&two), &merge, Code::NotDescendant);
}

#[test]
fn policy_deleted_emptied_weakened() {
    let office = Office::new();
    let root = office.fleet.root;
    let repo = &office.fleet.repo;
    repo.git(&["rm", "-q", "policy/policy.yaml"]);
    office.denied(&root, &office.commit("deleted", &office.alice), Code::PolicyMissing);
    repo.checkout(&root);
    repo.write("policy/policy.yaml", "");
    office.denied(&root, &office.commit("emptied", &office.alice), Code::PolicyUnreadable);
    repo.checkout(&root);
    office.policy(1, office::RULES);
    office.denied(&root, &office.commit("turned back", &office.alice), Code::PolicyRollback);
    for weaker in [
        office::RULES.replace("signers: 2", "signers: 1"),
        office::RULES.replace("owners: [alice, bob, carol]", "owners: [alice, bob, carol, dan]"),
        office::RULES.replace(
            "  - {change: [\"file:/vault\"]",
            "  - {change: [\"*\"], needs: {role: dbas}}\n  - {change: [\"file:/vault\"]",
        ),
    ] {
        repo.checkout(&root);
        office.policy(3, &weaker);
        let weakened = office.commit("weakened", &office.alice);
        office.denied(&root, &weakened, Code::NeedsApproval);
        office.allowed(&root, &office.approve(&root, &weakened, &office.bob));
    }
    repo.checkout(&root);
    office.policy_of(
        3,
        &[("alice", &office.alice), ("bob", &office.bob), ("carol", &office.carol), ("dan", &office.mallory)],
        office::RULES,
    );
    let swapped = office.commit("dan's key is mallory's", &office.dan);
    office.denied(&root, &swapped, Code::NotAuthorized);
}

/// What is remembered makes nothing good that would not be so without it.
#[test]
fn cache_that_remembers_too_much() {
    let (fleet, bob) = pair();
    let by_bob = fleet.repo.commit("by bob", Some(&bob));
    let tip = fleet.change("by alice");
    let store = fleet.repo.store();
    let mut cache = Cache::default();
    let ask = |anchor: &Anchor, pin: Option<&Oid>, tip: &Oid, now: SystemTime, cache: &mut Cache| {
        let cold = authenticate(&store, anchor, pin, tip, now, &mut Cache::default()).map(drop);
        let warm = authenticate(&store, anchor, pin, tip, now, cache).map(drop);
        let code =
            |verdict: Result<(), Refusal>| verdict.err().map(|refusal| (refusal.code(), refusal.commit().copied()));
        let (cold, warm) = (code(cold), code(warm));
        assert_eq!(cold, warm);
        warm.map(|(code, _)| code)
    };
    let (now, anchor) = (SystemTime::now(), fleet.anchor());
    for pin in [None, Some(&fleet.root), Some(&by_bob)] {
        assert_eq!(ask(&anchor, pin, &tip, now, &mut cache), None);
    }
    assert!(cache.proven().next().is_some());
    // The same commits under other circumstances: each would be let through if only the commit were remembered.
    let mut distrusting = anchor.clone();
    distrusting.revoked = revocations(&format!("  - {{key: \"openpgp:{}\"}}\n", bob.fingerprint));
    let mut elsewhere = anchor.clone();
    elsewhere.fleet = "other.example.org".to_owned();
    let mut by_others = anchor.clone();
    by_others.signers = vec![format!("openpgp:{}", bob.fingerprint).parse().unwrap()];
    let mut later_root = anchor.clone();
    later_root.root = tip;
    let long_ago = now - Duration::from_secs(24 * 3600);
    for _ in 0..2 {
        for pin in [None, Some(&by_bob)] {
            assert_eq!(ask(&distrusting, pin, &tip, now, &mut cache), Some(Code::KeyRevoked));
        }
        assert_eq!(ask(&elsewhere, None, &tip, now, &mut cache), Some(Code::WrongFleet));
        assert_eq!(ask(&by_others, None, &tip, now, &mut cache), Some(Code::RootSigner));
        assert_eq!(ask(&later_root, None, &by_bob, now, &mut cache), Some(Code::NotDescendant));
        assert_eq!(ask(&anchor, None, &tip, long_ago, &mut cache), Some(Code::SignatureFromFuture));
        assert_eq!(ask(&anchor, Some(&tip), &by_bob, now, &mut cache), Some(Code::Rollback));
    }
}
