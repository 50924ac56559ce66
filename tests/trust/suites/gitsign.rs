// SPDX-License-Identifier: Apache-2.0
//! The objects of gitsign's `pkg/git/rawobj_test.go` and `internal/gitsign/invalid_object_test.go`, signed in earnest.

use super::*;

/// Writes a commit with these header lines between the committer and the message.
fn with_lines(fleet: &Fleet, lines: &str) -> Oid {
    let commit = unsigned(fleet).replacen("\n\n", &format!("\n{lines}\n"), 1);
    fleet.repo.object("commit", commit.as_bytes())
}

/// A signature of the plain commit, as lines of a header.
fn header(fleet: &Fleet, name: &str) -> String {
    let armor = fleet.keys.sign(&fleet.alice, unsigned(fleet).as_bytes(), &[]);
    format!("{name} {}\n", armor.trim_end_matches('\n').replace('\n', "\n "))
}

#[test]
fn one_signature_header_counts_and_no_other_constellation() {
    let fleet = Fleet::new();
    let (gpgsig, sha256) = (header(&fleet, "gpgsig"), header(&fleet, "gpgsig-sha256"));
    accepted(&fleet, None, &with_lines(&fleet, &gpgsig));
    for lines in [
        format!("{gpgsig}{gpgsig}"),
        format!("{sha256}{sha256}"),
        format!("{gpgsig}{sha256}"),
        format!("{sha256}{gpgsig}"),
        // It signs the ids of a SHA-256 repository, which this one is not.
        sha256,
        format!("{gpgsig}gpgsig-key-id ABCDEF0123456789\n"),
        format!("gpgsig-fingerprint 0011223344556677\n{gpgsig}"),
        // A tab does not continue a line.
        gpgsig.replace("\n ", "\n\t"),
    ] {
        refused(&fleet, None, &with_lines(&fleet, &lines), Code::MalformedCommit);
    }
    refused(&fleet, None, &with_lines(&fleet, &gpgsig.replace("\n ", "\n  ")), Code::ArmorNotCanonical);
    refused(&fleet, None, &with_lines(&fleet, ""), Code::Unsigned);
}

#[test]
fn what_looks_like_a_header_in_the_message_is_message() {
    let fleet = Fleet::new();
    let talkative = unsigned(&fleet)
        + "gpgsig pretend-sig-here\ngpgsig-sha256 pretend-other-sig\n indented\ngpgsig second-fake\n\ntree 1234\n";
    accepted(&fleet, None, &fleet.repo.object("commit", sign(&fleet, &fleet.alice, &talkative).as_bytes()));
    // A signature that stands there signs nothing.
    let below = unsigned(&fleet) + &header(&fleet, "gpgsig");
    refused(&fleet, None, &fleet.repo.object("commit", below.as_bytes()), Code::Unsigned);
}

#[test]
fn merges_have_two_parents() {
    let fleet = Fleet::new();
    let tree = fleet.repo.id("HEAD^{tree}");
    let sides = [1, 2, 3].map(|number| {
        let side = payload(&tree, &[fleet.root], &format!("side {number}"));
        fleet.repo.object("commit", sign(&fleet, &fleet.alice, &side).as_bytes())
    });
    let merge = |parents: &[Oid]| {
        let merge = payload(&tree, parents, "merge commit");
        fleet.repo.object("commit", sign(&fleet, &fleet.alice, &merge).as_bytes())
    };
    accepted(&fleet, None, &merge(&sides[..2]));
    refused(&fleet, None, &merge(&sides), Code::Octopus);
}

#[test]
fn headers_without_an_end_are_refused() {
    let fleet = Fleet::new();
    let commit = sign(&fleet, &fleet.alice, &unsigned(&fleet));
    let (headers, _) = commit.split_once("\n\n").unwrap();
    for cut in [&commit[..46], headers, &format!("{headers}\n"), ""] {
        refused(&fleet, None, &fleet.repo.object("commit", cut.as_bytes()), Code::MalformedCommit);
    }
    // An empty message is a message.
    let (headers, _) = unsigned(&fleet).split_once("\n\n").map(|(a, b)| (format!("{a}\n\n"), b.to_owned())).unwrap();
    accepted(&fleet, None, &fleet.repo.object("commit", sign(&fleet, &fleet.alice, &headers).as_bytes()));
}

/// A good signature moved to a commit that has another tree beside the signed one.
#[test]
fn a_second_tree_does_not_borrow_a_signature() {
    let fleet = Fleet::new();
    let commit = sign(&fleet, &fleet.alice, &unsigned(&fleet));
    let signed_tree = commit.lines().next().unwrap().to_owned();
    fleet.repo.write("files/evil", "evil");
    let evil_tree = format!("tree {}", fleet.repo.write_tree());
    accepted(&fleet, None, &fleet.repo.object("commit", commit.as_bytes()));
    for trees in [format!("{evil_tree}\n{signed_tree}"), format!("{signed_tree}\n{evil_tree}")] {
        let both = commit.replacen(&signed_tree, &trees, 1);
        refused(&fleet, None, &fleet.repo.object("commit", both.as_bytes()), Code::MalformedCommit);
    }
    let instead = commit.replacen(&signed_tree, &evil_tree, 1);
    refused(&fleet, None, &fleet.repo.object("commit", instead.as_bytes()), Code::BadSignature);
}
