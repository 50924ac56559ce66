// SPDX-License-Identifier: Apache-2.0
//! The merge shapes of sequoia-git (`tests/basics.rs`, `policy.rs` `via`, `unrelated-repo.rs`).
//!
//! There one proven path from the root is enough. Here every commit counts, so whatever holds a commit by a stranger is
//! refused, and what holds none is accepted as there.

use super::*;

/// Makes a fleet and a key that no policy knows.
fn history() -> (History, Key, Key) {
    let history = History::new();
    let (alice, xander) = (history.fleet.alice.clone(), history.fleet.keys.key("xander"));
    (history, alice, xander)
}

#[test]
fn a_feature_branch_counts_in_each_of_the_thirty_six_shapes() {
    let (mut history, alice, xander) = history();
    let root = history.fleet.root;
    let before_the_fork = history.line(&root, 2, Some(&alice));
    let mut shapes = 0;
    for fork in &before_the_fork {
        let main = history.line(fork, 4, Some(&alice));
        let known = history.line(fork, 4, Some(&alice));
        let strange = history.line(fork, 4, Some(&xander));
        for (feature, good) in [(&known, true), (&strange, false)] {
            for (feature, main) in [1, 4].iter().flat_map(|f| [0, 1, 4].map(|m| (&feature[..=*f], &main[..=m]))) {
                shapes += 1;
                let (feature_tip, main_tip) = (feature[feature.len() - 1], main[main.len() - 1]);
                let merge = history.commit(&[main_tip, feature_tip], Some(&alice));
                let tip = history.commit(&[merge], Some(&alice));
                if good {
                    // Main, feature, merge and what follows it; all of it is new to a host that stands at the fork.
                    let new = feature.len() - 1 + main.len() - 1 + 2;
                    assert_eq!(history.accepted(Some(fork), &tip), new);
                    assert_eq!(history.accepted(Some(&main_tip), &tip), feature.len() - 1 + 2);
                    assert_eq!(history.accepted(Some(&feature_tip), &tip), main.len() - 1 + 2);
                    assert!(history.accepted(None, &tip) > new);
                } else {
                    for pin in [None, Some(fork), Some(&main_tip)] {
                        let refusal = history.refused(pin, &tip, Code::UnknownSigner);
                        assert_eq!(refusal.commit(), Some(&feature[1]), "the oldest of the stranger's commits");
                    }
                    assert!(history.accepted(None, &main_tip) > 0);
                }
            }
        }
    }
    assert_eq!(shapes, 36);
}

#[test]
fn a_commit_without_a_policy_counts_on_no_branch() {
    let (mut history, alice, _) = history();
    let root = history.fleet.root;
    history.fleet.repo.git(&["rm", "-rq", "policy"]);
    let bare = history.fleet.repo.write_tree();
    history.store.objects.extend(history.fleet.repo.store().objects);
    let main = history.line(&root, 3, Some(&alice));
    for key in [None, Some(&alice)] {
        let without = history.commit_tree(&bare, &[root], key);
        let merge = history.commit(&[main[3], without], Some(&alice));
        let code = if key.is_some() { Code::PolicyMissing } else { Code::Unsigned };
        assert_eq!(history.refused(None, &merge, code).commit(), Some(&without));
    }
    let with = history.commit(&[root], Some(&alice));
    let merge = history.commit(&[main[3], with], Some(&alice));
    assert_eq!(history.accepted(None, &merge), 6);
}

/// Three branches, of which the middle one is a stranger's, joined across and at the end.
#[test]
fn no_path_through_a_strangers_commit_is_followed() {
    let (mut history, alice, xander) = history();
    let root = history.fleet.root;
    let fork = history.line(&root, 3, Some(&alice))[3];
    let a = history.line(&fork, 5, Some(&alice));
    let b = history.line(&fork, 4, Some(&alice));
    let b_with_a = history.commit(&[b[4], a[1]], Some(&alice));
    let bad = history.line(&fork, 3, Some(&xander));
    let bad_with_a = history.commit(&[bad[3], a[3]], Some(&alice));
    let bad_tip = history.line(&bad_with_a, 2, Some(&xander))[2];

    // Their merge of three branches at once is refused for its shape; two merges of two say the same.
    let octopus = history.commit(&[a[5], b_with_a, bad_tip], Some(&alice));
    history.refused(None, &octopus, Code::Octopus);
    let good = history.commit(&[a[5], b_with_a], Some(&alice));
    let all = history.commit(&[good, bad_tip], Some(&alice));
    for pin in [None, Some(&fork), Some(&a[1]), Some(&a[5]), Some(&b[2]), Some(&b_with_a), Some(&good)] {
        let refusal = history.refused(pin, &all, Code::UnknownSigner);
        assert_eq!(refusal.commit(), Some(&bad[1]));
        history.accepted(pin, &good);
    }
    // What a pin stands on was judged when it was pinned. Its own merge commits are not judged again.
    history.refused(Some(&good), &b_with_a, Code::Rollback);
}

#[test]
fn a_merge_of_an_unauthorized_branch_does_not_authorize_it() {
    let (mut history, alice, xander) = history();
    let root = history.fleet.root;
    let b = history.line(&root, 2, Some(&alice))[2];
    let d = history.line(&b, 2, Some(&alice))[2];
    let e = history.commit(&[b], Some(&xander));
    for merge in [[d, e], [e, d]] {
        let merge = history.commit(&merge, Some(&alice));
        for pin in [None, Some(&b), Some(&d)] {
            assert_eq!(history.refused(pin, &merge, Code::UnknownSigner).commit(), Some(&e));
        }
    }
    let e = history.commit(&[b], Some(&alice));
    let merge = history.commit(&[d, e], Some(&alice));
    assert_eq!(history.accepted(Some(&d), &merge), 2);
}

#[test]
fn another_repository_is_no_second_root_signed_or_not() {
    let (mut history, alice, _) = history();
    let root = history.fleet.root;
    let main = history.line(&root, 3, Some(&alice))[3];
    for key in [None, Some(&alice)] {
        let other_root = history.commit(&[], key);
        let other = history.line(&other_root, 3, key)[3];
        let merge = history.commit(&[main, other], Some(&alice));
        for pin in [None, Some(&main)] {
            assert_eq!(history.refused(pin, &merge, Code::NotDescendant).commit(), Some(&other_root));
        }
    }
    let side = history.line(&root, 3, Some(&alice))[3];
    let merge = history.commit(&[main, side], Some(&alice));
    assert_eq!(history.accepted(Some(&main), &merge), 4);
}
