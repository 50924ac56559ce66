// SPDX-License-Identifier: Apache-2.0
//! What the holder of an old, stolen or other key can do.

use std::time::Duration;

use super::*;
use crate::fixture::Keyring;

#[test]
fn key_that_ran_out_with_the_commit_dated_back() {
    let keys = Keyring::new();
    let then = ["--faked-system-time", "20240101T000000!"];
    let [alice, bob] = ["alice", "bob"].map(|name| keys.key_of(name, "ed25519", "never", &then));
    // The thief has the secret key from before; only the certificate in the policy says when it ends.
    let thief = Keyring::new();
    thief.gpg(&["--import"], &keys.gpg(&["--export-secret-keys", &bob.fingerprint], b""));
    keys.gpg(
        &["--faked-system-time", "20240102T000000!", "--quick-set-expire", &bob.fingerprint, "20250101T000000"],
        b"",
    );
    let mut fleet = Fleet::of(keys, alice);
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    let tree = fleet.repo.write_tree();
    fleet.root = signed_at(&fleet, &fleet.alice, &tree, &[], "20240201T000000!");
    let by_bob = |parent: &Oid, time: &str| {
        let commit = payload(&tree, &[*parent], "change");
        assert!(commit.contains(" 1700000000 "), "its dates lie before the end of the key");
        let options = ["--faked-system-time", time];
        let armor = thief.sign(&bob, commit.as_bytes(), if time.is_empty() { &[] } else { &options });
        fleet.repo.object("commit", with_header(&commit, "gpgsig", &armor).as_bytes())
    };
    let pin = signed_at(&fleet, &fleet.alice, &tree, &[fleet.root], "20260101T000000!");
    // git's dates do not count; the signature's own time does.
    refused(&fleet, Some(&pin), &by_bob(&pin, ""), Code::KeyExpired);
    // And that cannot lie before what the commit stands on.
    let dated_back = by_bob(&pin, "20240601T000000!");
    let tip = commit(&fleet, &fleet.alice, &tree, &[dated_back], "upon it");
    assert_eq!(refused(&fleet, Some(&pin), &tip, Code::TimeBackwards).commit(), Some(&dated_back));
    // On an old branch it can, but a merge brings in only what is still good when it is merged.
    let branch = by_bob(&fleet.root, "20240601T000000!");
    let merge = commit(&fleet, &fleet.alice, &tree, &[pin, branch], "merge");
    assert_eq!(refused(&fleet, Some(&pin), &merge, Code::KeyExpired).commit(), Some(&branch));
    // Signed and merged in its time it stays good.
    let merge = signed_at(&fleet, &fleet.alice, &tree, &[fleet.root, branch], "20240602T000000!");
    let tip = commit(&fleet, &fleet.alice, &tree, &[merge], "upon it");
    assert_eq!(accepted(&fleet, None, &tip), ["alice", "bob", "alice", "alice"]);
}

#[test]
fn compromised_key_counts_against_the_past() {
    let (fleet, bob) = pair();
    let by_bob = fleet.repo.commit("by bob", Some(&bob));
    let pin = fleet.change("by alice");
    let bobs = format!("openpgp:{}", bob.fingerprint);
    let revoking = |list: &str| {
        fleet.repo.checkout(&pin);
        let path = fleet.repo.path().join("policy/policy.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}revoked:\n{list}\n").replace("version: 2", "version: 3")).unwrap();
        fleet.repo.commit("revoke", Some(&fleet.alice))
    };
    let hard = revoking(&format!("  - {{key: \"{bobs}\"}}"));
    for from in [None, Some(&fleet.root), Some(&pin)] {
        assert_eq!(refused(&fleet, from, &hard, Code::KeyRevoked).commit(), Some(&by_bob));
    }
    // A signed list excepts what people have looked at.
    let excepting = revoking(&format!("  - {{key: \"{bobs}\", except: [{by_bob}]}}"));
    for from in [None, Some(&fleet.root), Some(&pin)] {
        accepted(&fleet, from, &excepting);
    }
    refused(&fleet, Some(&excepting), &fleet.repo.commit("bob again", Some(&bob)), Code::KeyRevoked);
    // A soft revocation lets the past be.
    let now = humantime(SystemTime::now() + Duration::from_secs(60));
    let soft = revoking(&format!("  - {{key: \"{bobs}\", since: {now}}}"));
    accepted(&fleet, None, &soft);

    // The next policy must keep it.
    for (list, code) in
        [(String::new(), Some(Code::RevocationDropped)), (format!("  - {{key: \"{bobs}\", except: [{by_bob}]}}"), None)]
    {
        fleet.repo.checkout(&excepting);
        fleet.policy(4, &[("alice", &fleet.alice), ("bob", &bob)]);
        let path = fleet.repo.path().join("policy/policy.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, if list.is_empty() { text } else { format!("{text}revoked:\n{list}\n") }).unwrap();
        let next = fleet.repo.commit("the next policy", Some(&fleet.alice));
        match code {
            Some(code) => drop(refused(&fleet, Some(&excepting), &next, code)),
            None => drop(accepted(&fleet, Some(&excepting), &next)),
        }
    }
}

fn humantime(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[test]
fn revoked_signer_whose_commit_is_applied_already() {
    let (fleet, bob) = pair();
    let pin = fleet.repo.commit("by bob", Some(&bob));
    let tip = fleet.change("by alice");
    let store = fleet.repo.store();
    let mut anchor = fleet.anchor();
    anchor.revoked = revocations(&format!("  - {{key: \"openpgp:{}\"}}\n", bob.fingerprint));
    // Nothing new is taken, and what is there stays: there is no going back by itself.
    assert_eq!(refused_by(&store, &anchor, Some(&pin), &tip, Code::KeyRevoked).commit(), Some(&pin));
    assert!(judge(&store, &anchor, Some(&pin), &pin).is_ok());
    anchor.revoked = revocations(&format!("  - {{key: \"openpgp:{}\", except: [{pin}]}}\n", bob.fingerprint));
    assert!(judge(&store, &anchor, Some(&pin), &tip).is_ok());
}

#[test]
fn weak_hash_or_key() {
    let keys = Keyring::new();
    let alice = keys.key("alice");
    let short = keys.key_of("short", "rsa2048", "never", &[]);
    let mut fleet = Fleet::of(keys, alice);
    fleet.policy(2, &[("alice", &fleet.alice), ("short", &short)]);
    fleet.root = fleet.repo.commit("root", Some(&fleet.alice));
    refused(&fleet, None, &signed(&fleet, &short, &["--digest-algo", "SHA512"], str::to_owned), Code::WeakSignature);
    refused(
        &fleet,
        None,
        &signed(&fleet, &fleet.alice, &["--digest-algo", "SHA1"], str::to_owned),
        Code::WeakSignature,
    );
    accepted(&fleet, None, &signed(&fleet, &fleet.alice, &["--digest-algo", "SHA256"], str::to_owned));
}

#[test]
fn signature_made_for_something_else() {
    let fleet = Fleet::new();
    // A signature of text, over the same bytes, is of another type; and one without a type of its own is an inline message.
    let text = signed(&fleet, &fleet.alice, &["--textmode"], str::to_owned);
    refused(&fleet, None, &text, Code::MalformedSignature);
    // Of a tag, or of a mail that quotes the commit.
    let bare = payload(&tree_of(&fleet, &fleet.root), &[fleet.root], "change");
    for other in [format!("> {bare}"), bare.replacen("tree", "object", 1), format!("{bare}\n")] {
        let armor = fleet.keys.sign(&fleet.alice, other.as_bytes(), &[]);
        let moved = fleet.repo.object("commit", with_header(&bare, "gpgsig", &armor).as_bytes());
        refused(&fleet, None, &moved, Code::BadSignature);
    }
    accepted(&fleet, None, &signed(&fleet, &fleet.alice, &[], str::to_owned));
}

#[test]
fn key_of_a_robot_that_may_only_say_that_all_is_well() {
    let fleet = Fleet::new();
    let ci = fleet.keys.key("ci");
    fleet.policy(2, &[("alice", &fleet.alice), ("ci", &ci)]);
    let path = fleet.repo.path().join("policy/policy.yaml");
    let text = std::fs::read_to_string(&path).unwrap().replace("all: [alice, ci]", "all: [alice]");
    std::fs::write(&path, format!("{text}freshness: {{max_age: 2d, heartbeat: [ci]}}\n")).unwrap();
    let pin = fleet.repo.commit("heartbeats by ci", Some(&fleet.alice));
    accepted(&fleet, None, &pin);
    refused(&fleet, Some(&pin), &fleet.repo.commit("empty, even", Some(&ci)), Code::HeartbeatKey);
    fleet.repo.checkout(&pin);
    let side = fleet.change("side");
    fleet.repo.checkout(&pin);
    refused(&fleet, Some(&pin), &fleet.repo.merge(&side, &ci), Code::HeartbeatKey);
    accepted(&fleet, Some(&pin), &side);
}
