// SPDX-License-Identifier: Apache-2.0
//! The stories of git's own `t/t7510-signed-commit.sh`: what `git verify-commit` refuses, we refuse.
//!
//! What it takes for good and we do not is in `differences.rs`.

use super::*;

fn git_says_good(fleet: &Fleet, commit: &Oid) -> bool {
    fleet.repo.says_yes(&["verify-commit", &commit.to_string()], b"")
}

/// Refused here, and by git.
#[track_caller]
fn both_refuse(fleet: &Fleet, commit: &Oid, code: Code) {
    refused(fleet, None, commit, code);
    assert!(!git_says_good(fleet, commit), "git says good");
}

/// Accepted here, and by git.
#[track_caller]
fn both_accept(fleet: &Fleet, commit: &Oid) {
    accepted(fleet, None, commit);
    assert!(git_says_good(fleet, commit), "git says bad");
}

#[test]
fn commits_merges_and_amended_commits_by_git_are_good() {
    let fleet = Fleet::new();
    let second = fleet.change("second");
    let sign = format!("-S{}", fleet.alice.fingerprint);
    fleet.repo.checkout(&fleet.root);
    fleet.repo.write("elif", "3");
    let third = fleet.repo.commit("third on side", Some(&fleet.alice));
    fleet.repo.checkout(&second);
    let merge = fleet.repo.merge(&third, &fleet.alice);
    both_accept(&fleet, &merge);
    fleet.repo.write("file", "4");
    let unsigned = fleet.repo.commit("fourth unsigned", None);
    both_refuse(&fleet, &unsigned, Code::Unsigned);
    fleet.repo.git(&["commit", "--quiet", "--amend", "--no-edit", &sign]);
    both_accept(&fleet, &fleet.repo.id("HEAD"));
    // A signed commit amended is signed anew.
    fleet.repo.git(&["commit", "--quiet", "--amend", "--no-edit", "--date=2001-01-01T00:00:00Z", &sign]);
    both_accept(&fleet, &fleet.repo.id("HEAD"));
    let plumbed = fleet.repo.git(&["commit-tree", &sign, "-p", "HEAD", "-m", "tenth signed", "HEAD^{tree}"]);
    both_accept(&fleet, &plumbed.trim().parse().unwrap());
}

#[test]
fn a_rebase_drops_a_signature_unless_it_is_told_to_sign() {
    let fleet = Fleet::new();
    let sixth = fleet.change("sixth");
    fleet.change("seventh");
    fleet.repo.git(&["rebase", "--quiet", "-f", &fleet.root.to_string(), "--no-gpg-sign"]);
    refused(&fleet, None, &fleet.repo.id("HEAD"), Code::Unsigned);
    fleet.repo.git(&[
        "rebase",
        "--quiet",
        "--signoff",
        &format!("-S{}", fleet.alice.fingerprint),
        &fleet.root.to_string(),
    ]);
    let tip = fleet.repo.id("HEAD");
    both_accept(&fleet, &tip);
    // To a host that stands on the old commit that is rewritten history all the same.
    refused(&fleet, Some(&sixth), &tip, Code::NotDescendant);
}

#[test]
fn a_fudged_commit_is_refused() {
    let fleet = Fleet::new();
    let seventh = fleet.change("seventh");
    let raw = fleet.repo.git(&["cat-file", "commit", &seventh.to_string()]);
    both_accept(&fleet, &seventh);
    let forged = raw.replace("\n\nseventh", "\n\n7th forged");
    both_refuse(&fleet, &fleet.repo.object("commit", forged.as_bytes()), Code::BadSignature);
    let with_nul = format!("{raw}\0wik\n");
    both_refuse(&fleet, &fleet.repo.object("commit", with_nul.as_bytes()), Code::MalformedCommit);
}

#[test]
fn a_good_signature_does_not_hide_a_bad_one_in_the_same_armor() {
    let fleet = Fleet::new();
    let mallory = fleet.keys.key("mallory");
    let (bare, other) = (unsigned(&fleet), "something else");
    let packet =
        |key: &Key, data: &str| fleet.keys.gpg(&["--local-user", &key.fingerprint, "--detach-sign"], data.as_bytes());
    let combined = |packets: [Vec<u8>; 2]| {
        let armor = String::from_utf8(fleet.keys.gpg(&["--enarmor"], &packets.concat())).unwrap();
        let armor = armor.replace("PGP ARMORED FILE", "PGP SIGNATURE");
        let armor: String =
            armor.lines().filter(|line| !line.starts_with("Comment")).map(|line| format!("{line}\n")).collect();
        fleet.repo.object("commit", with_header(&bare, "gpgsig", &armor).as_bytes())
    };
    let alice = &fleet.alice;
    for packets in [
        [packet(alice, other), packet(&mallory, &bare)],
        [packet(&mallory, &bare), packet(alice, other)],
        [packet(alice, &bare), packet(&mallory, &bare)],
        [packet(alice, &bare), packet(alice, &bare)],
    ] {
        both_refuse(&fleet, &combined(packets), Code::MalformedSignature);
    }
    both_accept(&fleet, &fleet.repo.object("commit", sign(&fleet, alice, &bare).as_bytes()));
}

#[test]
fn a_signature_of_no_known_kind_is_refused() {
    let fleet = Fleet::new();
    for prank in ["Y prank signature\n", "-----BEGIN PGP SIGNATURE-----\n", "\n", "-----BEGIN PGP MESSAGE-----\n"] {
        let commit = with_header(&unsigned(&fleet), "gpgsig", prank);
        both_refuse(&fleet, &fleet.repo.object("commit", commit.as_bytes()), Code::ArmorNotCanonical);
    }
    let smime = "-----BEGIN SIGNED MESSAGE-----\nZmFrZXBheWxvYWQ=\n-----END SIGNED MESSAGE-----\n";
    let commit = with_header(&unsigned(&fleet), "gpgsig", smime);
    both_refuse(&fleet, &fleet.repo.object("commit", commit.as_bytes()), Code::UnsupportedSignature);
}

#[test]
fn a_message_in_another_encoding_is_signed_as_it_is() {
    let fleet = Fleet::new();
    let message = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(message.path(), b"caf\xe9 ferm\xe9\n").unwrap();
    fleet.repo.git(&[
        "-c",
        "i18n.commitEncoding=ISO-8859-1",
        "commit",
        "--quiet",
        "--allow-empty",
        "-F",
        message.path().to_str().unwrap(),
        &format!("-S{}", fleet.alice.fingerprint),
    ]);
    let latin = fleet.repo.id("HEAD");
    both_accept(&fleet, &latin);
    let mut store = fleet.repo.store();
    let mut data = store.objects[&latin].data.clone();
    assert!(data.windows(20).any(|window| window == b"encoding ISO-8859-1\n"));
    let accent = data.iter().rposition(|byte| *byte == 0xe9).unwrap();
    data[accent] = 0xe8;
    let forged = gix::objs::compute_hash(latin.kind(), ObjectType::Commit, &data).unwrap();
    store.objects.insert(forged, RawObject { kind: ObjectType::Commit, data });
    refused_by(&store, &fleet.anchor(), None, &forged, Code::BadSignature);
}

/// Whom gpg trusts is nobody's business but gpg's: the policy says whose keys they are.
#[test]
fn trust_levels_of_gpg_change_nothing() {
    let fleet = Fleet::new();
    let tip = fleet.change("one");
    for level in [2, 3, 6] {
        let ownertrust = format!("{}:{level}:\n", fleet.alice.fingerprint);
        fleet.keys.gpg(&["--import-ownertrust"], ownertrust.as_bytes());
        let ultimate = level == 6;
        let verdict = ["-c", "gpg.minTrustLevel=ultimate", "verify-commit", "HEAD"];
        assert_eq!(fleet.repo.says_yes(&verdict, b""), ultimate, "level {level}");
        accepted(&fleet, None, &tip);
    }
}

#[test]
fn a_tip_by_a_key_that_has_expired_or_was_revoked_is_refused() {
    let keys = fixture::Keyring::new();
    let alice = keys.key_of("alice", "ed25519", "20250101T000000", &["--faked-system-time", "20240101T000000!"]);
    let bob = keys.key("bob");
    let mut fleet = Fleet::of(keys, bob.clone());
    fleet.policy(2, &[("alice", &alice), ("bob", &bob)]);
    fleet.root = fleet.repo.commit("root", Some(&bob));
    let in_time = ["--faked-system-time", "20240601T000000!"];
    both_refuse(&fleet, &signed(&fleet, &alice, &in_time, str::to_owned), Code::KeyExpired);

    let fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.repo.commit("welcome bob", Some(&fleet.alice));
    let by_bob = fleet.repo.commit("by bob", Some(&bob));
    both_accept(&fleet, &by_bob);
    fleet.keys.revoke(&bob);
    assert!(!git_says_good(&fleet, &by_bob), "gpg knows of the revocation");
    // The policy does not, yet: its certificates alone count here. Once it does, the past counts no more either, for
    // a revocation without a reason may mean that the key was stolen.
    accepted(&fleet, None, &by_bob);
    fleet.policy(3, &[("alice", &fleet.alice), ("bob", &bob)]);
    let told = fleet.repo.commit("bob's key is revoked", Some(&fleet.alice));
    assert_eq!(refused(&fleet, Some(&by_bob), &told, Code::KeyRevoked).commit(), Some(&by_bob));
}
