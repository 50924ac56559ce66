// SPDX-License-Identifier: Apache-2.0
//! Commits signed with SSH keys: the stories of git's own tests (t7528), and where git says good and we do not.
//!
//! | story | git | here | why |
//! |---|---|---|---|
//! | the armor is wrapped otherwise | good | `armor-not-canonical` | anybody could give the commit a second id |
//! | a merge is signed, its second parent is not | good | `unsigned` | what a merge brings in counts too |
//! | the key is good until a date; the committer date, which the signer writes, is before it | good | the date is not read | a key counts while the parents' policies list it |
//! | the key is good from a date on, or in a span of time | by the committer date | the same | the same |
//! | the key was taken off the list; the committer date is from before | by the list of today | `unknown-signer` | the same |
//! | the key is of RSA with 2048 bits, or a certificate | good | `weak-signature`, `unsupported-signature` | |
//! | the signature of a tag is put into a commit | bad | `bad-signature` | |

use std::path::Path;
use std::process::{Child, Command, Stdio};

use hostwrit::trust::{Code, KeyName};

use super::fixture::{Keyring, Repo};
use super::*;

/// A fleet whose owner signs with an SSH key.
fn ssh_fleet() -> Fleet {
    let keys = Keyring::new();
    let alice = keys.ssh_key("alice", "ed25519");
    Fleet::of(keys, alice)
}

/// Tells whether git takes the commit, with this key alone on its list, and `options` such as times beside it.
fn git_says_good(fleet: &Fleet, commit: &Oid, key: &Key, options: &str) -> bool {
    let list = fleet.keys.home().join("allowed_signers");
    std::fs::write(&list, format!("someone@example.org {options} {}", fleet.keys.public(key))).unwrap();
    let list = format!("gpg.ssh.allowedSignersFile={}", list.to_str().unwrap());
    Command::new("git")
        .current_dir(fleet.repo.path())
        .args(["-c", &list, "verify-commit", &commit.to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// Returns the raw commit.
fn raw(fleet: &Fleet, commit: &Oid) -> String {
    fleet.repo.git(&["cat-file", "commit", &commit.to_string()])
}

#[test]
fn every_kind_of_ssh_key_signs_beside_openpgp() {
    let keys = Keyring::new();
    let (alice, carol) = (keys.ssh_key("alice", "ed25519"), keys.key("carol"));
    let others = ["nistp256", "nistp384", "nistp521", "rsa3072"].map(|kind| (kind, keys.ssh_key(kind, kind)));
    let fleet = Fleet::of(keys, alice);
    let mut principals = vec![("alice", &fleet.alice), ("carol", &carol)];
    principals.extend(others.iter().map(|(name, key)| (*name, key)));
    fleet.policy(2, &principals);
    fleet.repo.commit("welcome all", Some(&fleet.alice));
    for (_, key) in &principals {
        fleet.repo.commit("mine", Some(key));
    }
    let tip = fleet.repo.id("HEAD");
    let names: Vec<_> = principals.iter().map(|(name, _)| *name).collect();
    let signers = accepted(&fleet, None, &tip);
    assert_eq!(signers[..2], ["alice", "alice"]);
    assert_eq!(signers[2..], names);
}

#[test]
fn a_signature_names_its_key_and_no_time() {
    let fleet = ssh_fleet();
    let tip = fleet.change("one");
    let store = fleet.repo.store();
    let tree = judge(&store, &fleet.anchor(), None, &tip).unwrap();
    let signers = tree.signers();
    let last = signers.last().unwrap();
    assert_eq!(last.key, fleet.alice.name());
    assert!(matches!(last.key, KeyName::Ssh(_)));
    assert_eq!(last.created, None);
}

#[test]
fn a_repository_of_sha_256_has_a_header_of_its_own() {
    let keys = Keyring::new();
    let alice = keys.ssh_key("alice", "ed25519");
    let repo = Repo::with_format(&keys, "sha256");
    let fleet = Fleet::in_repo(keys, alice, repo);
    let tip = fleet.change("one");
    assert!(raw(&fleet, &tip).contains("\ngpgsig-sha256 -----BEGIN SSH SIGNATURE-----\n"));
    accepted(&fleet, None, &tip);
}

#[test]
fn an_agent_signs_in_the_same_form() {
    let keys = Keyring::new();
    let alice = keys.ssh_key("alice", "ed25519");
    let others = ["nistp256", "rsa3072"].map(|kind| (kind, keys.ssh_key(kind, kind)));
    let fleet = Fleet::of(keys, alice);
    let mut principals = vec![("alice", &fleet.alice)];
    principals.extend(others.iter().map(|(name, key)| (*name, key)));
    fleet.policy(2, &principals);
    fleet.repo.commit("welcome all", Some(&fleet.alice));
    let agent = Agent::start(fleet.keys.home());
    for (name, key) in &principals {
        agent.add(&fleet.keys.home().join(format!("{name}.ssh")));
        let line = fleet.keys.public(key);
        // git hands the public key to ssh-keygen, which asks the agent.
        let sign = format!("-Skey::{}", line.trim_end());
        let args = ["-c", "gpg.format=ssh", "commit", "-q", "--allow-empty", &sign, "-m", "by agent"];
        fleet.repo.git_env(&[("SSH_AUTH_SOCK", agent.socket.to_str().unwrap())], &args);
    }
    let signers = accepted(&fleet, None, &fleet.repo.id("HEAD"));
    assert_eq!(signers[2..], ["alice", "nistp256", "rsa3072"]);
}

#[test]
fn a_commit_or_a_merged_parent_without_a_signature_is_refused() {
    let fleet = ssh_fleet();
    let main = fleet.change("one");
    accepted(&fleet, None, &main);
    fleet.repo.write("files/motd", "two");
    let unsigned = fleet.repo.commit("unsigned", None);
    refused(&fleet, None, &unsigned, Code::Unsigned);
    fleet.repo.git_signed(&fleet.alice, &["commit", "--amend", "--no-edit", "--quiet"]);
    accepted(&fleet, None, &fleet.repo.id("HEAD"));

    fleet.repo.checkout(&fleet.root);
    fleet.repo.write("files/other", "three");
    let side = fleet.repo.commit("side", None);
    fleet.repo.checkout(&main);
    let merge = fleet.repo.merge(&side, &fleet.alice);
    assert!(git_says_good(&fleet, &merge, &fleet.alice, ""));
    assert_eq!(refused(&fleet, None, &merge, Code::Unsigned).commit(), Some(&side));
}

#[test]
fn a_key_that_is_not_listed_is_refused() {
    let fleet = ssh_fleet();
    let mallory = fleet.keys.ssh_key("mallory", "ed25519");
    fleet.repo.write("files/motd", "mine");
    let by_mallory = fleet.repo.commit("by mallory", Some(&mallory));
    let refusal = refused(&fleet, None, &by_mallory, Code::UnknownSigner);
    assert!(refusal.detail().contains(&mallory.name().to_string()), "{refusal}");
    // Listed from the next commit on.
    fleet.repo.checkout(&fleet.root);
    fleet.policy(2, &[("alice", &fleet.alice), ("mallory", &mallory)]);
    fleet.repo.commit("welcome", Some(&fleet.alice));
    accepted(&fleet, None, &fleet.repo.commit("by mallory", Some(&mallory)));
}

#[test]
fn what_was_changed_after_it_was_signed_is_refused() {
    let fleet = ssh_fleet();
    let good = raw(&fleet, &fleet.change("seventh"));
    for (forged, code) in [
        (good.replace("\n\nseventh", "\n\n7th forged"), Code::BadSignature),
        (good.replacen("Test", "Mallory", 1), Code::BadSignature),
        (format!("{good}\n"), Code::BadSignature),
        (format!("{good}Qwik\0"), Code::MalformedCommit),
    ] {
        assert_ne!(forged, good);
        refused(&fleet, None, &fleet.repo.object("commit", forged.as_bytes()), code);
    }
}

#[test]
fn another_form_of_the_same_signature_is_refused_though_git_takes_it() {
    let fleet = ssh_fleet();
    accepted(&fleet, None, &signed(&fleet, &fleet.alice, &[], str::to_owned));
    let wrapped = signed(&fleet, &fleet.alice, &[], |armor| {
        let base64: String = armor.lines().filter(|line| !line.starts_with('-')).collect();
        format!("-----BEGIN SSH SIGNATURE-----\n{base64}\n-----END SSH SIGNATURE-----\n")
    });
    assert!(git_says_good(&fleet, &wrapped, &fleet.alice, ""));
    refused(&fleet, None, &wrapped, Code::ArmorNotCanonical);
    let twice = signed(&fleet, &fleet.alice, &[], |armor| format!("{armor}{armor}"));
    refused(&fleet, None, &twice, Code::ArmorNotCanonical);
    let blank = signed(&fleet, &fleet.alice, &[], |armor| format!("{armor} "));
    refused(&fleet, None, &blank, Code::ArmorNotCanonical);
}

#[test]
fn a_signature_for_something_else_than_a_commit_is_refused() {
    let fleet = ssh_fleet();
    let other_namespace = signed(&fleet, &fleet.alice, &["-n", "file"], str::to_owned);
    refused(&fleet, None, &other_namespace, Code::MalformedSignature);
    // Tags are signed in the same namespace; what they say is not what a commit says.
    fleet.repo.git(&["-c", "gpg.format=ssh", "tag", "-m", "a tag", &format!("-u{}", ssh_path(&fleet, "alice")), "v1"]);
    let tag = fleet.repo.git(&["cat-file", "tag", "v1"]);
    let armor = &tag[tag.find("-----BEGIN").unwrap()..];
    refused(&fleet, None, &signed(&fleet, &fleet.alice, &[], |_| armor.to_owned()), Code::BadSignature);
}

#[test]
fn a_weak_key_or_a_certificate_is_refused() {
    let fleet = ssh_fleet();
    let weak = fleet.keys.ssh_key("weak", "rsa2048");
    let by_weak = signed(&fleet, &weak, &[], str::to_owned);
    assert!(git_says_good(&fleet, &by_weak, &weak, ""));
    refused(&fleet, None, &by_weak, Code::WeakSignature);
    // Nor can it be listed.
    fleet.policy(2, &[("alice", &fleet.alice), ("weak", &weak)]);
    let listed = fleet.repo.commit("welcome", Some(&fleet.alice));
    let refusal = refused(&fleet, None, &listed, Code::PolicyUnreadable);
    assert!(refusal.detail().contains("2048 bits"), "{refusal}");

    let path = ssh_path(&fleet, "alice");
    let certify = ["-q", "-s", &path, "-I", "alice", "-n", "alice", &format!("{path}.pub")];
    assert!(Command::new("ssh-keygen").args(certify).status().unwrap().success());
    let certificate = format!("-S{path}-cert.pub");
    fleet.repo.checkout(&fleet.root);
    fleet.repo.git(&["-c", "gpg.format=ssh", "commit", "-q", "--allow-empty", &certificate, "-m", "by certificate"]);
    refused(&fleet, None, &fleet.repo.id("HEAD"), Code::UnsupportedSignature);
}

#[test]
fn a_committer_date_neither_helps_nor_harms_a_key() {
    let fleet = ssh_fleet();
    let dated = |name: &str, year: &str| {
        let date = format!("{year}-06-01T00:00:00Z");
        let sign = format!("-S{}", ssh_path(&fleet, name));
        let args = ["-c", "gpg.format=ssh", "commit", "-q", "--allow-empty", "-m", year, &sign];
        fleet.repo.git_env(&[("GIT_COMMITTER_DATE", &date)], &args);
        fleet.repo.id("HEAD")
    };
    // A key that ran out in 2021 signs today: git believes the date that the signer wrote.
    let backdated = dated("alice", "2020");
    let until_2021 = "valid-before=\"20210101\"";
    assert!(git_says_good(&fleet, &backdated, &fleet.alice, until_2021));
    assert!(!git_says_good(&fleet, &dated("alice", "2022"), &fleet.alice, until_2021));
    // Here the parents' policies say who counts, whatever the date.
    accepted(&fleet, None, &fleet.repo.id("HEAD"));

    // So somebody who was taken off the list stays off it.
    let bob = fleet.keys.ssh_key("bob", "ed25519");
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.repo.commit("welcome bob", Some(&fleet.alice));
    fleet.policy(3, &[("alice", &fleet.alice)]);
    fleet.repo.commit("farewell bob", Some(&fleet.alice));
    let backdated = dated("bob", "2020");
    assert!(git_says_good(&fleet, &backdated, &bob, until_2021));
    refused(&fleet, None, &backdated, Code::UnknownSigner);
}

#[test]
fn a_revoked_ssh_key_counts_until_then_or_never() {
    let fleet = ssh_fleet();
    let bob = fleet.keys.ssh_key("bob", "ed25519");
    let both = [("alice", &fleet.alice), ("bob", &bob)];
    fleet.policy(2, &both);
    fleet.repo.commit("welcome bob", Some(&fleet.alice));
    let by_bob = fleet.repo.commit("by bob", Some(&bob));
    let revoke = |how: &str| {
        fleet.repo.checkout(&by_bob);
        fleet.policy(3, &both);
        let policy = fleet.repo.path().join("policy/policy.yaml");
        let text = std::fs::read_to_string(policy).unwrap();
        fleet.repo.write("policy/policy.yaml", &format!("{text}revoked:\n  - {{key: \"{}\"{how}}}\n", bob.name()));
        fleet.repo.commit("revoke bob's key", Some(&fleet.alice))
    };
    // An SSH signature has no time: what is below the policy that revokes the key stays good, what is above is not.
    accepted(&fleet, None, &revoke(", since: 2026-01-01T00:00:00Z"));
    let later = fleet.repo.commit("by bob again", Some(&bob));
    assert_eq!(refused(&fleet, None, &later, Code::KeyRevoked).commit(), Some(&later));
    // Without a time, nothing that it signed counts but what is named.
    assert_eq!(refused(&fleet, None, &revoke(""), Code::KeyRevoked).commit(), Some(&by_bob));
    accepted(&fleet, None, &revoke(&format!(", except: [{by_bob}]")));
    let later = fleet.repo.commit("by bob again", Some(&bob));
    assert_eq!(refused(&fleet, None, &later, Code::KeyRevoked).commit(), Some(&later));
}

#[test]
fn a_root_may_be_signed_with_ssh_and_only_by_a_signer_of_the_anchor() {
    let fleet = ssh_fleet();
    accepted(&fleet, None, &fleet.root);
    let mallory = fleet.keys.ssh_key("mallory", "ed25519");
    let mut anchor = fleet.anchor();
    anchor.signers = vec![mallory.name()];
    refused_by(&fleet.repo.store(), &anchor, None, &fleet.root, Code::RootSigner);
}

/// Returns where the fixture keeps a secret key.
fn ssh_path(fleet: &Fleet, name: &str) -> String {
    fleet.keys.home().join(format!("{name}.ssh")).to_str().unwrap().to_owned()
}

/// An agent that ends with its test.
struct Agent {
    child: Child,
    socket: std::path::PathBuf,
}

impl Agent {
    fn start(directory: &Path) -> Self {
        let socket = directory.join("agent");
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self { child, socket };
        while !agent.socket.exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        agent
    }

    /// Gives it a secret key, which is then nowhere else.
    fn add(&self, key: &Path) {
        let added = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).status().unwrap();
        assert!(added.success());
        std::fs::remove_file(key).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
