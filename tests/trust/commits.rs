// SPDX-License-Identifier: Apache-2.0
//! The grammar of commits, with signatures that are good: git accepts most of these.

use hostwrit::trust::Code;

use super::*;

/// Signs a commit that `change` made of a plain one, and writes it with the signature where it belongs.
fn commit(fleet: &Fleet, change: impl Fn(String) -> String) -> Oid {
    let tree = fleet.repo.id(&format!("{}^{{tree}}", fleet.root));
    let commit = change(payload(&tree, &[fleet.root], "change"));
    let armor = fleet.keys.sign(&fleet.alice, commit.as_bytes(), &[]);
    fleet.repo.object("commit", with_header(&commit, "gpgsig", &armor).as_bytes())
}

#[test]
fn a_commit_with_anything_more_is_refused() {
    let fleet = Fleet::new();
    accepted(&fleet, None, &commit(&fleet, |commit| commit));
    accepted(&fleet, None, &commit(&fleet, |commit| with_header(&commit, "encoding", "ISO-8859-1")));
    accepted(&fleet, None, &commit(&fleet, |commit| commit.replace("\n\nchange", "\n\n\u{fc}: gpgsig no header")));

    let late_parent = format!("{}", fleet.root);
    let malformed: [&dyn Fn(String) -> String; 11] = [
        &|commit| with_header(&commit, "mergetag", "object 1234\ntype commit"),
        &|commit| with_header(&commit, "gpgsig-sha256", "-----BEGIN"),
        &|commit| with_header(&commit, "gpgsigfoo", "x"),
        &|commit| with_header(&commit, "parent", &late_parent),
        &|commit| format!("{}{commit}", &commit[..46]),
        &|commit| commit.replacen("Test <", "Te\0st <", 1),
        &|commit| commit.replace("change", "cha\0nge"),
        &|commit| commit.replacen("author", "committer", 1),
        &|commit| commit.replacen(" +0000", "", 1),
        &|commit| with_header(&commit, "encoding", "UTF-8\nUTF-16"),
        &|commit| {
            let tree = &commit[5..45];
            commit.replacen(tree, &tree.to_uppercase(), 1)
        },
    ];
    for change in malformed {
        refused(&fleet, None, &commit(&fleet, change), Code::MalformedCommit);
    }
}

#[test]
fn two_signatures_are_refused() {
    let fleet = Fleet::new();
    let tree = fleet.repo.id("HEAD^{tree}");
    let unsigned = payload(&tree, &[fleet.root], "change");
    let armor = fleet.keys.sign(&fleet.alice, unsigned.as_bytes(), &[]);
    let once = with_header(&unsigned, "gpgsig", &armor);
    let twice = with_header(&once, "gpgsig", &armor);
    accepted(&fleet, None, &fleet.repo.object("commit", once.as_bytes()));
    refused(&fleet, None, &fleet.repo.object("commit", twice.as_bytes()), Code::MalformedCommit);
}

#[test]
fn the_same_parent_twice_is_refused() {
    let fleet = Fleet::new();
    let twice = commit(&fleet, |commit| commit.replacen("author", &format!("parent {}\nauthor", fleet.root), 1));
    refused(&fleet, None, &twice, Code::MalformedCommit);
}
