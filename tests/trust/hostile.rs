// SPDX-License-Identifier: Apache-2.0
//! The attacks of docs/threat-model.md, one test each: what is refused, with which code, and its benign twin.
//!
//! README.md has them as a table, with those that are tested elsewhere because they are not about commits.

use std::time::Duration;

use hostwrit::model::{Digest, RepoFiles as _};
use hostwrit::trust::Revocations;

use super::fixture::{FLEET, Keyring, REF, Repo};
use super::office::{self, Office};
use super::*;

/// Signs a commit of a tree as it is.
fn commit(fleet: &Fleet, key: &Key, tree: &Oid, parents: &[Oid], message: &str) -> Oid {
    let commit = payload(tree, parents, message);
    let armor = fleet.keys.sign(key, commit.as_bytes(), &[]);
    fleet.repo.object("commit", with_header(&commit, "gpgsig", &armor).as_bytes())
}

fn tree_of(fleet: &Fleet, id: &Oid) -> Oid {
    fleet.repo.id(&format!("{id}^{{tree}}"))
}

/// An alice and a bob who may both do everything.
fn pair() -> (Fleet, Key) {
    let mut fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.root = fleet.repo.commit("root of two", Some(&fleet.alice));
    (fleet, bob)
}

fn revocations(list: &str) -> Revocations {
    Revocations::parse("revocations.yaml", format!("format: 1\nrevoked:\n{list}").as_bytes())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

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
fn forged_collision_of_hashes() {
    // The first 320 bytes of the two files that collide (shattered.io); the hash of objects sees the attack in them.
    let shattered = include_bytes!("shattered");
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(shattered);
    assert!(hasher.try_finalize().is_err());
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&shattered[..192]);
    assert!(hasher.try_finalize().is_ok());
    // Whatever else a store gives for an id is not of that id.
    let fleet = Fleet::new();
    let tip = fleet.change("one");
    let mut store = fleet.repo.store();
    store.objects.get_mut(&tip).unwrap().data.extend_from_slice(shattered);
    refused_by(&store, &fleet.anchor(), None, &tip, Code::ObjectMismatch);
    // And SHA-256 has no known collisions.
    let keys = Keyring::new();
    let (alice, repo) = (keys.key("alice"), Repo::with_format(&keys, "sha256"));
    let fleet = Fleet::in_repo(keys, alice, repo);
    accepted(&fleet, None, &fleet.change("one"));
}

#[test]
fn signature_header_twice_missing_or_foreign() {
    let fleet = Fleet::new();
    let bare = payload(&tree_of(&fleet, &fleet.root), &[fleet.root], "change");
    let armor = fleet.keys.sign(&fleet.alice, bare.as_bytes(), &[]);
    let write = |commit: String| fleet.repo.object("commit", commit.as_bytes());
    let once = with_header(&bare, "gpgsig", &armor);
    accepted(&fleet, None, &write(once.clone()));
    refused(&fleet, None, &write(bare.clone()), Code::Unsigned);
    refused(&fleet, None, &write(with_header(&once, "gpgsig", &armor)), Code::MalformedCommit);
    for name in ["gpgsig-sha256", "gpgsig-", "gpgsigs", "sshsig", "GPGSIG"] {
        refused(&fleet, None, &write(with_header(&bare, name, &armor)), Code::MalformedCommit);
        refused(&fleet, None, &write(with_header(&once, name, &armor)), Code::MalformedCommit);
    }
}

#[test]
fn bytes_that_parsers_read_differently() {
    let fleet = Fleet::new();
    let bare = payload(&tree_of(&fleet, &fleet.root), &[fleet.root], "change");
    let signed = |commit: &str| {
        let armor = fleet.keys.sign(&fleet.alice, commit.as_bytes(), &[]);
        fleet.repo.object("commit", with_header(commit, "gpgsig", &armor).as_bytes())
    };
    accepted(&fleet, None, &signed(&bare));
    let (tree, parent) = (&bare[..46], &bare[46..94]);
    assert!(tree.starts_with("tree ") && parent.starts_with("parent ") && parent.ends_with('\n'));
    for odd in [
        bare.replacen(tree, &format!("{tree}{tree}"), 1),
        bare.replacen(parent, &format!("{parent}{parent}"), 1),
        bare.replacen(&format!("{tree}{parent}"), &format!("{parent}{tree}"), 1),
        with_header(&bare, "parent", &fleet.root.to_string()),
        with_header(&bare, "encoding", "UTF-8\nUTF-16"),
        bare.replacen("tree ", "tree  ", 1),
        bare.replacen("tree ", "Tree ", 1),
        bare.replacen('\n', "\r\n", 1),
        bare.replacen(&tree[5..45], &tree[5..45].to_uppercase(), 1),
        bare.replacen(&tree[5..45], &tree[5..44], 1),
        bare.replacen("Test <", "Te\0st <", 1),
        bare.replacen("change", "cha\0nge", 1),
    ] {
        refused(&fleet, None, &signed(&odd), Code::MalformedCommit);
    }
}

/// Anyone can turn an ECDSA signature (r, s) into (r, n - s), which is as good: one commit, two ids.
#[test]
fn second_id_for_a_signed_commit() {
    let keys = Keyring::new();
    let alice = keys.key_of("alice", "nistp256", "never", &[]);
    let fleet = Fleet::of(keys, alice);
    let bare = payload(&tree_of(&fleet, &fleet.root), &[fleet.root], "change");
    let armor = fleet.keys.sign(&fleet.alice, bare.as_bytes(), &["--digest-algo", "SHA256"]);
    let write = |armor: &str| fleet.repo.object("commit", with_header(&bare, "gpgsig", armor).as_bytes());
    let other_s = |mut packet: Vec<u8>| {
        let order = "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
        let order = openssl::bn::BigNum::from_hex_str(order).unwrap();
        let at = 2 + 6 + usize::from(packet[7]);
        let at = at + 2 + usize::from(packet[at + 1]) + 2;
        let r = 2 + usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]).div_ceil(8));
        let s = openssl::bn::BigNum::from_slice(&packet[at + r + 2..]).unwrap();
        let mut other = openssl::bn::BigNum::new().unwrap();
        other.checked_sub(&order, &s).unwrap();
        packet.truncate(at + r);
        packet.extend_from_slice(&u16::try_from(other.num_bits()).unwrap().to_be_bytes());
        packet.extend_from_slice(&other.to_vec());
        packet[1] = u8::try_from(packet.len() - 2).unwrap();
        packet
    };
    let packet = other_s(fleet.keys.gpg(&["--dearmor"], armor.as_bytes()));
    let text = String::from_utf8(fleet.keys.gpg(&["--enarmor"], &packet)).unwrap();
    let text = text.replace("PGP ARMORED FILE", "PGP SIGNATURE");
    let twin: String =
        text.lines().filter(|line| !line.starts_with("Comment")).map(|line| format!("{line}\n")).collect();
    let (one, two) = (write(&armor), write(&twin));
    assert_ne!(one, two);
    for id in [&one, &two] {
        accepted(&fleet, None, id);
    }
    // So a list of bad commits goes by what was signed, which both share; a neighbour is not hit.
    let mut anchor = fleet.anchor();
    anchor.revoked = revocations(&format!("  - {{commit: \"{}\"}}\n", Digest::of(bare.as_bytes())));
    let store = fleet.repo.store();
    for id in [&one, &two] {
        refused_by(&store, &anchor, None, id, Code::CommitRevoked);
    }
    let other = fleet.change("another");
    assert!(judge(&fleet.repo.store(), &anchor, None, &other).is_ok());
    // All that can be altered without mathematics is refused.
    let comment = armor.replacen("\n\n", "\nComment: hello\n\n", 1);
    refused(&fleet, None, &write(&comment), Code::ArmorNotCanonical);
    let mut unhashed = fleet.keys.gpg(&["--dearmor"], armor.as_bytes());
    let at = 2 + 6 + usize::from(unhashed[7]);
    unhashed[at + 4] ^= 1;
    let text = String::from_utf8(fleet.keys.gpg(&["--enarmor"], &unhashed)).unwrap();
    let text = text.replace("PGP ARMORED FILE", "PGP SIGNATURE");
    let text: String =
        text.lines().filter(|line| !line.starts_with("Comment")).map(|line| format!("{line}\n")).collect();
    refused(&fleet, None, &write(&text), Code::MalformedSignature);
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
fn attributes_filters_links_and_submodules() {
    let fleet = Fleet::new();
    let text = "line\r\n$Id$\n";
    fleet.repo.write("files/motd", text);
    fleet.repo.git(&["add", "files/motd"]);
    // Written after the file, so that git itself leaves the file as it is.
    fleet.repo.write(".gitattributes", "files/* filter=evil ident text eol=crlf working-tree-encoding=UTF-16\n");
    let blob = fleet.repo.object("blob", text.as_bytes());
    fleet.repo.git(&[
        "-c",
        "core.autocrlf=false",
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("100644,{blob},files/motd"),
    ]);
    fleet.repo.git(&["update-index", "--add", ".gitattributes"]);
    let tree: Oid = fleet.repo.git(&["write-tree"]).trim().parse().unwrap();
    let tip = commit(&fleet, &fleet.alice, &tree, &[fleet.root], "attributes");
    let store = fleet.repo.store();
    let proven = judge(&store, &fleet.anchor(), None, &tip).unwrap();
    assert_eq!(proven.read("files/motd").unwrap().unwrap(), text.as_bytes(), "read as it is stored");

    let policy = fleet.repo.id(&format!("{}:policy", fleet.root));
    let entry = |mode: &str, name: &str, id: &Oid| [format!("{mode} {name}\0").as_bytes(), id.as_slice()].concat();
    for (mode, name, id, fine) in [
        ("120000", "link", &blob, false),
        ("160000", "module", &fleet.root, false),
        ("100644", ".gitmodules", &blob, false),
        ("40000", ".git", &policy, false),
        ("100644", ".gitconfig", &blob, false),
        ("100644", "gitmodules", &blob, true),
        ("100755", ".gitattributes", &blob, true),
    ] {
        let mut entries = [entry(mode, name, id), entry("40000", "policy", &policy)];
        entries.sort_by_key(|entry| entry.split(|byte| *byte == b' ').nth(1).unwrap().to_vec());
        let tip = commit(&fleet, &fleet.alice, &fleet.repo.object("tree", &entries.concat()), &[fleet.root], name);
        if fine {
            accepted(&fleet, None, &tip);
        } else {
            refused(&fleet, None, &tip, Code::MalformedTree);
        }
    }
}

#[test]
fn paths_that_lead_out_or_look_alike() {
    let fleet = Fleet::new();
    let blob = fleet.repo.object("blob", b"x");
    let policy = fleet.repo.id(&format!("{}:policy", fleet.root));
    let entry = |name: &str| [format!("100644 {name}\0").as_bytes(), blob.as_slice()].concat();
    let with = |names: &[&str]| {
        let files = names.iter().map(|name| entry(name)).collect::<Vec<_>>().concat();
        let files = fleet.repo.object("tree", &files);
        let top = [(&files, "files"), (&policy, "policy")]
            .map(|(id, name)| [format!("40000 {name}\0").as_bytes(), id.as_slice()].concat());
        commit(&fleet, &fleet.alice, &fleet.repo.object("tree", &top.concat()), &[fleet.root], "change")
    };
    let long = "n".repeat(201);
    for names in [
        vec![".."],
        vec!["."],
        vec!["a/b"],
        vec!["../../etc/passwd"],
        vec!["/etc/passwd"],
        vec!["a\\b"],
        vec!["README", "readme"],
        vec!["e\u{301}"],
        vec!["\u{e9}"],
        vec!["p\u{43e}licy"],
        vec!["a\u{202e}b"],
        vec!["a b"],
        vec!["a\n"],
        vec!["b", "a"],
        vec![&long],
        vec![""],
    ] {
        refused(&fleet, None, &with(&names), Code::MalformedTree);
    }
    accepted(&fleet, None, &with(&["...", "..a", "README", "readme.txt", "user@host-1_2"]));
}

/// What is remembered makes nothing good that would not be so without it.
#[test]
fn cache_that_remembers_too_much() {
    let (fleet, bob) = pair();
    let by_bob = fleet.repo.commit("by bob", Some(&bob));
    let tip = fleet.change("by alice");
    let store = fleet.repo.store();
    let mut cache = Cache::default();
    let mut ask = |anchor: &Anchor, pin: Option<&Oid>, tip: &Oid, now: SystemTime, cache: &mut Cache| {
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

#[test]
fn every_attack_is_in_the_table() {
    let (table, tests) = (include_str!("README.md"), include_str!("hostile.rs"));
    let names = tests.split("#[test]\nfn ").skip(1).map(|test| test.split('(').next().unwrap());
    let missing: Vec<_> = names.filter(|name| !table.contains(name) && !name.starts_with("every_")).collect();
    assert!(missing.is_empty(), "tests/trust/README.md does not name {missing:?}");
}
