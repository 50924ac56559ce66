// SPDX-License-Identifier: Apache-2.0
//! Commits that `git verify-commit` takes for good and that we refuse: each row of the table in ../README.md.
//!
//! Git is asked each time, so that the table stays true when git changes its mind.

use super::*;
use crate::fixture::{Keyring, Repo};

const README: &str = include_str!("../README.md");

/// Git says good, we say `code`, and the README tells why.
#[track_caller]
fn differ(fleet: &Fleet, row: &str, commit: &Oid, code: Code) {
    assert!(fleet.repo.says_yes(&["verify-commit", &commit.to_string()], b""), "git no longer says good: {row}");
    refused(fleet, None, commit, code);
    let line = format!("| {row} | `{code}` |");
    assert!(README.contains(&line), "tests/trust/README.md lacks {line}");
}

/// Signs the plain commit as `change` made it.
fn changed(fleet: &Fleet, change: impl Fn(String) -> String) -> Oid {
    fleet.repo.object("commit", sign(fleet, &fleet.alice, &change(unsigned(fleet))).as_bytes())
}

#[test]
fn forms_that_git_takes_and_we_do_not() {
    let fleet = Fleet::new();
    let twin = changed(&fleet, |commit| commit);
    assert!(fleet.repo.says_yes(&["verify-commit", &twin.to_string()], b""));
    accepted(&fleet, None, &twin);

    let comment = signed(&fleet, &fleet.alice, &["--comment", "hello"], str::to_owned);
    differ(&fleet, "armor with a comment", &comment, Code::ArmorNotCanonical);
    let wrapped = signed(&fleet, &fleet.alice, &[], |armor| {
        let (head, base64) = armor.split_once("\n\n").unwrap();
        format!("{head}\n\n{}\n{}", &base64[..30], &base64[30..])
    });
    differ(&fleet, "armor with other line breaks", &wrapped, Code::ArmorNotCanonical);

    let bare = unsigned(&fleet);
    let armor = fleet.keys.sign(&fleet.alice, bare.as_bytes(), &[]);
    let once = with_header(&bare, "gpgsig", &armor);
    let sha256 = fleet.repo.object("commit", with_header(&once, "gpgsig-sha256", &armor).as_bytes());
    differ(&fleet, "a second signature, for SHA-256", &sha256, Code::MalformedCommit);

    let unknown = changed(&fleet, |commit| with_header(&commit, "reviewed-by", "carol"));
    differ(&fleet, "an unknown header", &unknown, Code::MalformedCommit);
    let tagged = changed(&fleet, |commit| with_header(&commit, "mergetag", "object 1234\ntype commit"));
    differ(&fleet, "a merged tag", &tagged, Code::MalformedCommit);
    let late = changed(&fleet, |commit| with_header(&commit, "parent", &fleet.root.to_string()));
    differ(&fleet, "a parent after the committer", &late, Code::MalformedCommit);
    let two_trees = changed(&fleet, |commit| format!("{}{commit}", &commit[..46]));
    differ(&fleet, "two trees", &two_trees, Code::MalformedCommit);
    let nul = changed(&fleet, |commit| commit.replace("change", "cha\0nge"));
    differ(&fleet, "a NUL in the message", &nul, Code::MalformedCommit);
}

#[test]
fn signers_that_git_takes_and_we_do_not() {
    let fleet = Fleet::new();
    let mallory = fleet.keys.key("mallory");
    let strange = signed(&fleet, &mallory, &[], str::to_owned);
    differ(&fleet, "a key that only gpg's keyring knows", &strange, Code::UnknownSigner);
}

#[test]
fn weak_signatures_that_git_takes_and_we_do_not() {
    let keys = Keyring::new();
    let alice = keys.key("alice");
    let bob = keys.key_of("bob", "rsa2048", "never", &[]);
    let carol = keys.key_of("carol", "brainpoolP256r1", "never", &[]);
    let mut fleet = Fleet::of(keys, alice);
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob), ("carol", &carol)]);
    fleet.root = fleet.repo.commit("welcome", Some(&fleet.alice));
    let sha224 = signed(&fleet, &bob, &["--digest-algo", "SHA224"], str::to_owned);
    differ(&fleet, "SHA-224", &sha224, Code::WeakSignature);
    let sha1 = signed(&fleet, &bob, &["--digest-algo", "SHA1"], str::to_owned);
    differ(&fleet, "SHA-1", &sha1, Code::WeakSignature);
    differ(&fleet, "RSA of 2048 bits", &signed(&fleet, &bob, &[], str::to_owned), Code::WeakSignature);
    differ(&fleet, "a Brainpool curve", &signed(&fleet, &carol, &[], str::to_owned), Code::WeakSignature);
}

#[test]
fn histories_that_git_takes_and_we_do_not() {
    let fleet = Fleet::new();
    let alice = &fleet.alice;
    let one = fleet.change("one");
    fleet.repo.checkout(&fleet.root);
    fleet.repo.write("files/side", "side");
    let side = fleet.repo.commit("side", None);
    fleet.repo.checkout(&one);
    differ(&fleet, "a signed merge of an unsigned branch", &fleet.repo.merge(&side, alice), Code::Unsigned);
    fleet.repo.checkout(&side);
    differ(&fleet, "a signed commit upon an unsigned one", &fleet.change("two"), Code::Unsigned);

    let tree = fleet.repo.id(&format!("{}^{{tree}}", fleet.root));
    let sides = [1, 2, 3].map(|number| {
        let side = payload(&tree, &[fleet.root], &format!("side {number}"));
        fleet.repo.object("commit", sign(&fleet, alice, &side).as_bytes())
    });
    let octopus = sign(&fleet, alice, &payload(&tree, &sides, "octopus"));
    differ(&fleet, "three parents", &fleet.repo.object("commit", octopus.as_bytes()), Code::Octopus);
    let orphan = sign(&fleet, alice, &payload(&tree, &[], "another root"));
    differ(&fleet, "an unrelated root", &fleet.repo.object("commit", orphan.as_bytes()), Code::NotDescendant);

    fleet.repo.checkout(&fleet.root);
    fleet.policy(1, &[("alice", alice)]);
    fleet.repo.git(&["rm", "-rq", "policy"]);
    differ(&fleet, "no policy", &fleet.repo.commit("no policy", Some(alice)), Code::PolicyMissing);
    fleet.repo.checkout(&fleet.root);
    std::os::unix::fs::symlink("/etc/shadow", fleet.repo.path().join("link")).unwrap();
    differ(&fleet, "a symbolic link in the tree", &fleet.repo.commit("link", Some(alice)), Code::MalformedTree);
}

/// To git, the time of a signature from the future or from before its key is a curiosity.
#[test]
fn times_that_git_takes_and_we_do_not() {
    let fleet = Fleet::new();
    let future = signed(&fleet, &fleet.alice, &["--faked-system-time", "20990101T000000!"], str::to_owned);
    differ(&fleet, "a signature from the future", &future, Code::SignatureFromFuture);
}

/// A commit says neither where it belongs nor that it is the newest.
#[test]
fn an_old_commit_and_another_fleets_commit_stay_good_to_git() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.change("one"), fleet.change("two"));
    let good = |repo: &Repo, id: &Oid| repo.says_yes(&["verify-commit", &id.to_string()], b"");
    assert!(good(&fleet.repo, &one));
    refused(&fleet, Some(&two), &one, Code::Rollback);
    let mut anchor = fleet.anchor();
    anchor.fleet = "other.example.org".to_owned();
    refused_by(&fleet.repo.store(), &anchor, None, &two, Code::WrongFleet);
    anchor.fleet = fixture::FLEET.to_owned();
    anchor.git_ref = "refs/heads/production".to_owned();
    refused_by(&fleet.repo.store(), &anchor, None, &two, Code::WrongRef);
    for row in ["an older commit than the last | `rollback`", "another fleet's or ref's commit | `wrong-fleet`"] {
        assert!(README.contains(row), "tests/trust/README.md lacks {row}");
    }
}
