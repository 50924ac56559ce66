// SPDX-License-Identifier: Apache-2.0
//! What can be done with bytes alone.

use hostwrit::model::{Digest, RepoFiles as _};

use super::*;
use crate::fixture::{Keyring, Repo};

#[test]
fn forged_collision_of_hashes() {
    // The first 320 bytes of the two files that collide (shattered.io); the hash of objects sees the attack in them.
    let shattered = include_bytes!("../shattered");
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
