// SPDX-License-Identifier: Apache-2.0
//! gittuf's thresholds and persons (`verify_test.go`), told with approval merges.

use super::*;
use crate::office::Office;

#[test]
fn a_change_that_takes_two_is_refused_from_one_and_accepted_from_two() {
    let office = Office::new();
    let root = office.fleet.root;
    let change = office.change(&root, "/etc/passwd", "x", &office.alice);
    let refusal = office.denied(&root, &change, Code::NeedsApproval);
    assert!(refusal.detail().contains("file:/etc/passwd"), "{refusal}");
    let approved = office.approve(&root, &change, &office.bob);
    assert_eq!(office.allowed(&root, &approved), [["alice", "bob"]]);
    // Only on the ref itself does it count: not below a merge by one.
    let motd = office.change(&root, "/motd", "hi", &office.carol);
    assert_eq!(office.allowed(&root, &motd), [["carol"]]);
}

#[test]
fn one_person_with_two_keys_is_one_person() {
    let office = Office::new();
    let token = office.fleet.keys.key("token");
    office.fleet.repo.write("policy/keys/token.asc", &office.fleet.keys.public(&token));
    office.replace("alice: {openpgp: [keys/alice.asc]}", "alice: {openpgp: [keys/alice.asc, keys/token.asc]}");
    let added = office.commit("a second key for alice", &office.bob);
    let base = office.approve(&office.fleet.root, &added, &office.carol);
    office.allowed(&office.fleet.root, &base);
    for (first, second) in [(&office.alice, &token), (&token, &office.alice), (&token, &token)] {
        let change = office.change(&base, "/etc/passwd", "x", first);
        office.denied(&base, &office.approve(&base, &change, second), Code::NeedsApproval);
    }
    let change = office.change(&base, "/etc/passwd", "x", &token);
    assert_eq!(office.allowed(&base, &office.approve(&base, &change, &office.bob)), [["alice", "bob"]]);
}

#[test]
fn three_take_an_approval_of_an_approval() {
    let office = Office::new();
    let root = office.fleet.root;
    let change = office.change(&root, "/vault", "gold", &office.alice);
    let twice = office.approve(&root, &change, &office.bob);
    office.denied(&root, &twice, Code::NeedsApproval);
    let thrice = office.approve(&root, &twice, &office.carol);
    assert!(office.allowed(&root, &thrice).contains(&["alice", "bob", "carol"].map(str::to_owned).to_vec()));
    // Whoever signed below counts once.
    for again in [&office.alice, &office.bob] {
        office.denied(&root, &office.approve(&root, &twice, again), Code::NeedsApproval);
    }
}

#[test]
fn an_approval_by_somebody_without_the_role_does_not_count() {
    let office = Office::new();
    let root = office.fleet.root;
    let change = office.change(&root, "/etc/passwd", "x", &office.alice);
    office.denied(&root, &office.approve(&root, &change, &office.dan), Code::NeedsApproval);
    office.denied(&root, &office.approve(&root, &change, &office.mallory), Code::UnknownSigner);
    // Nor do the approvals of two owners make a proposal of somebody without the role one of their own.
    let change = office.change(&root, "/etc/passwd", "x", &office.dan);
    let approved = office.approve(&root, &office.approve(&root, &change, &office.alice), &office.bob);
    assert_eq!(office.denied(&root, &approved, Code::NotAuthorized).commit(), Some(&change));
}

#[test]
fn an_approval_is_of_the_tree_as_it_was_proposed() {
    let office = Office::new();
    let root = office.fleet.root;
    let change = office.change(&root, "/etc/passwd", "x", &office.alice);
    for (file, content) in [("/etc/passwd", "evil"), ("/etc/shadow", "evil"), ("/motd", "evil")] {
        office.fleet.repo.checkout(&root);
        office.fleet.repo.git(&["merge", "--quiet", "--no-ff", "--no-commit", &change.to_string()]);
        office.write(file, content);
        let altered = office.commit("approved, with something more", &office.bob);
        office.denied(&root, &altered, Code::NeedsApproval);
    }
    office.allowed(&root, &office.approve(&root, &change, &office.bob));
}

#[test]
fn an_approval_stands_on_what_the_branch_stands_on() {
    let office = Office::new();
    let root = office.fleet.root;
    let change = office.change(&root, "/etc/passwd", "x", &office.alice);
    let moved = office.change(&root, "/motd", "moved on", &office.carol);
    let merge = office.approve(&moved, &change, &office.bob);
    office.denied(&root, &merge, Code::NeedsApproval);
    // Brought up to date first, the branch can be approved.
    let rebased = office.approve(&change, &moved, &office.alice);
    office.allowed(&root, &office.approve(&moved, &rebased, &office.bob));
}

#[test]
fn an_approval_with_its_parents_swapped_is_none() {
    let office = Office::new();
    let root = office.fleet.root;
    let change = office.change(&root, "/etc/passwd", "x", &office.alice);
    let tree = office.fleet.repo.id(&format!("{change}^{{tree}}"));
    let merge = |parents: &[Oid]| {
        let merge = sign(&office.fleet, &office.bob, &payload(&tree, parents, "approve"));
        office.fleet.repo.object("commit", merge.as_bytes())
    };
    office.allowed(&root, &merge(&[root, change]));
    office.denied(&root, &merge(&[change, root]), Code::NeedsApproval);
    // A mere commit upon it approves nothing either.
    office.denied(&root, &merge(&[change]), Code::NeedsApproval);
}

#[test]
fn two_halves_by_two_people_are_not_one_change_by_two() {
    let office = Office::new();
    let root = office.fleet.root;
    let half = office.change(&root, "/etc/passwd", "half", &office.alice);
    let whole = office.change(&half, "/etc/passwd", "whole", &office.bob);
    assert_eq!(office.denied(&root, &whole, Code::NeedsApproval).commit(), Some(&half));
    // With carol as the third it is.
    office.allowed(&root, &office.approve(&root, &whole, &office.carol));
    // Either of the two approving would put his name to his own work.
    for own in [&office.alice, &office.bob] {
        office.denied(&root, &office.approve(&root, &whole, own), Code::NeedsApproval);
    }
}

#[test]
fn a_change_that_was_taken_back_still_took_two_on_the_ref() {
    let office = Office::new();
    let root = office.fleet.root;
    let change = office.change(&root, "/etc/passwd", "x", &office.alice);
    office.fleet.repo.git(&["rm", "-q", "files/etc/passwd"]);
    let back = office.commit("taken back", &office.alice);
    assert_eq!(office.denied(&root, &back, Code::NeedsApproval).commit(), Some(&change));
    office.allowed(&root, &office.approve(&root, &back, &office.bob));
}

#[test]
fn a_policy_that_asks_for_less_counts_from_the_commit_after_it() {
    let office = Office::new();
    let root = office.fleet.root;
    office.policy(3, &office::RULES.replace("signers: 2", "signers: 1"));
    let alone = office.commit("one is enough", &office.alice);
    office.denied(&root, &alone, Code::NeedsApproval);
    let approved = office.approve(&root, &alone, &office.bob);
    office.allowed(&root, &approved);
    let change = office.change(&approved, "/etc/passwd", "x", &office.alice);
    assert_eq!(office.allowed(&approved, &change), [["alice"]]);
    // What was proposed under the old policy is judged by the old one, wherever it is merged.
    let early = office.change(&root, "/etc/passwd", "early", &office.carol);
    let late = office.approve(&approved, &early, &office.carol);
    assert_eq!(office.denied(&approved, &late, Code::NeedsApproval).commit(), Some(&early));
}

#[test]
fn what_no_rule_names_nobody_may_change() {
    let office = Office::new();
    let root = office.fleet.root;
    office.denied(&root, &office.change(&root, "/elsewhere", "x", &office.alice), Code::NoRule);
    office.denied(&root, &office.change(&root, "/srv/db", "x", &office.carol), Code::NotAuthorized);
    assert_eq!(office.allowed(&root, &office.change(&root, "/srv/db", "x", &office.dan)), [["dan"]]);
}

#[test]
fn a_host_cannot_be_relabelled_into_somebodys_reach_and_back() {
    let office = Office::new();
    office.fleet.repo.write("labels/tenant", "bank");
    let bank = office.commit("another tenant", &office.alice);
    office.allowed(&office.fleet.root, &bank);
    let srv = office.change(&bank, "/srv/db", "x", &office.dan);
    office.denied(&bank, &srv, Code::NoRule);
    // Dan may not change the label, and an object that changes with it needs the rights on both sides.
    office.fleet.repo.checkout(&bank);
    office.fleet.repo.write("labels/tenant", "shop");
    office.write("/srv/db", "x");
    office.denied(&bank, &office.commit("mine", &office.dan), Code::NoRule);
    office.fleet.repo.checkout(&bank);
    office.fleet.repo.write("labels/tenant", "shop");
    let mine = office.commit("mine", &office.dan);
    office.denied(&bank, &mine, Code::NotAuthorized);
}
