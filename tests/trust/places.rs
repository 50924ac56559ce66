// SPDX-License-Identifier: Apache-2.0
//! Where and when a commit counts: trailers that bind it to its place, times that do not run back, keys for one use.

use hostwrit::trust::Code;
use hostwrit::trust::authenticate as authenticate_with;
use proptest::prelude::*;

use super::*;

fn trailers(seq: u64, git_ref: &str) -> String {
    format!("change\n\nHostwrit-Repo: infra.example.org\nHostwrit-Ref: {git_ref}\nHostwrit-Seq: {seq}")
}

const MAIN: &str = "refs/heads/main";

/// A fleet whose policy requires trailers, and whose second commit has the number 7.
fn bound() -> (Fleet, Oid) {
    let fleet = Fleet::new();
    let policy = std::fs::read_to_string(fleet.repo.path().join("policy/policy.yaml")).unwrap();
    fleet.repo.write("policy/policy.yaml", &policy.replace("roles:", "trailers: required\nroles:"));
    // Judged by the policy of the parent, which does not require them.
    let bound = fleet.repo.commit(&trailers(7, MAIN), Some(&fleet.alice));
    (fleet, bound)
}

fn commit(fleet: &Fleet, onto: &Oid, message: &str) -> Oid {
    fleet.repo.checkout(onto);
    fleet.repo.commit(message, Some(&fleet.alice))
}

#[test]
fn a_commit_counts_only_where_it_was_made_for() {
    let (fleet, bound) = bound();
    accepted(&fleet, None, &commit(&fleet, &bound, &trailers(8, MAIN)));
    refused(&fleet, None, &commit(&fleet, &bound, &trailers(8, "refs/heads/feature")), Code::Teleport);
    let elsewhere = trailers(8, MAIN).replace("infra.example.org", "other.example.org");
    refused(&fleet, None, &commit(&fleet, &bound, &elsewhere), Code::Teleport);
    // Also where they are not required.
    refused(&fleet, None, &commit(&fleet, &fleet.root, &trailers(8, "refs/heads/feature")), Code::Teleport);
}

#[test]
fn a_branch_may_be_merged_but_not_put_in_the_place_of_the_ref() {
    let (fleet, bound) = bound();
    let feature = commit(&fleet, &bound, &trailers(8, "refs/heads/feature"));
    refused(&fleet, Some(&bound), &feature, Code::Teleport);
    fleet.repo.checkout(&bound);
    let sign = format!("-S{}", fleet.alice.fingerprint);
    fleet.repo.git(&["merge", "--quiet", "--no-ff", &sign, "-m", &trailers(8, MAIN), &feature.to_string()]);
    accepted(&fleet, Some(&bound), &fleet.repo.id("HEAD"));
    // The other way round the ref would have gone through the branch.
    fleet.repo.checkout(&feature);
    let main = commit(&fleet, &bound, &trailers(8, MAIN));
    fleet.repo.checkout(&feature);
    fleet.repo.git(&["merge", "--quiet", "--no-ff", &sign, "-m", &trailers(9, MAIN), &main.to_string()]);
    refused(&fleet, Some(&bound), &fleet.repo.id("HEAD"), Code::Teleport);
}

#[test]
fn required_trailers_must_be_there() {
    let (fleet, bound) = bound();
    refused(&fleet, None, &commit(&fleet, &bound, "no trailers"), Code::TrailersMissing);
    let repo_only = "change\n\nHostwrit-Repo: infra.example.org";
    refused(&fleet, None, &commit(&fleet, &bound, repo_only), Code::TrailersMissing);
    // Only the last paragraph has trailers.
    let in_the_middle = format!("{}\n\nthe end", trailers(8, MAIN));
    refused(&fleet, None, &commit(&fleet, &bound, &in_the_middle), Code::TrailersMissing);
}

#[test]
fn numbers_go_up() {
    let (fleet, bound) = bound();
    refused(&fleet, None, &commit(&fleet, &bound, &trailers(7, MAIN)), Code::Sequence);
    let unnumbered = "change\n\nHostwrit-Repo: infra.example.org\nHostwrit-Ref: refs/heads/main";
    refused(&fleet, None, &commit(&fleet, &bound, unnumbered), Code::Sequence);
    accepted(&fleet, None, &commit(&fleet, &bound, &trailers(100, MAIN)));
}

#[test]
fn a_trailer_has_one_form_and_stands_once() {
    let (fleet, bound) = bound();
    for message in [
        trailers(8, MAIN).replace("Seq: 8", "Seq: 08"),
        trailers(8, MAIN).replace("Seq: 8", "Seq: eight"),
        format!("{}\nHostwrit-Seq: 9", trailers(8, MAIN)),
        format!("{}\nHostwrit-Ref: {MAIN}", trailers(8, MAIN)),
    ] {
        refused(&fleet, None, &commit(&fleet, &bound, &message), Code::MalformedTrailers);
    }
}

/// A fleet whose root was signed in February 2024 by alice; bob's key is of January 2024, too, and runs out in 2025.
fn of_2024() -> (Fleet, Key, Oid) {
    let keys = fixture::Keyring::new();
    let old = ["--faked-system-time", "20240101T000000!"];
    let alice = keys.key_of("alice", "ed25519", "never", &old);
    let bob = keys.key_of("bob", "ed25519", "20250101T000000", &old);
    let mut fleet = Fleet::of(keys, alice);
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.repo.git(&["add", "--all"]);
    let tree = fleet.repo.git(&["write-tree"]).trim().parse().unwrap();
    fleet.root = signed_at(&fleet, &fleet.alice, &tree, &[], "20240201T000000!");
    (fleet, bob, tree)
}

#[test]
fn times_do_not_run_back_along_parents() {
    let (fleet, bob, tree) = of_2024();
    let june = signed_at(&fleet, &fleet.alice, &tree, &[fleet.root], "20240601T000000!");
    // Two minutes are clocks that differ, two hours are not.
    let nearly = signed_at(&fleet, &bob, &tree, &[june], "20240531T235800!");
    let tip = signed_at(&fleet, &fleet.alice, &tree, &[nearly], "20240701T000000!");
    accepted(&fleet, None, &tip);
    let before = signed_at(&fleet, &bob, &tree, &[june], "20240531T220000!");
    let tip = signed_at(&fleet, &fleet.alice, &tree, &[before], "20240701T000000!");
    let refusal = refused(&fleet, None, &tip, Code::TimeBackwards);
    assert_eq!(refusal.commit(), Some(&before));
    // Also against a pin that was judged long ago.
    refused(&fleet, Some(&june), &tip, Code::TimeBackwards);
}

#[test]
fn a_key_that_ran_out_cannot_come_back_by_way_of_an_old_branch() {
    let (fleet, bob, tree) = of_2024();
    let main = signed_at(&fleet, &fleet.alice, &tree, &[fleet.root], "20260101T000000!");
    // Signed today with a faked clock, for all we know.
    let stale = signed_at(&fleet, &bob, &tree, &[fleet.root], "20240601T000000!");
    let merge = signed_at(&fleet, &fleet.alice, &tree, &[main, stale], "20260201T000000!");
    let refusal = refused(&fleet, None, &merge, Code::KeyExpired);
    assert_eq!(refusal.commit(), Some(&stale));
    refused(&fleet, Some(&main), &merge, Code::KeyExpired);
    // While the key was good the same merge was, and stays so.
    let main = signed_at(&fleet, &fleet.alice, &tree, &[fleet.root], "20240701T000000!");
    let merge = signed_at(&fleet, &fleet.alice, &tree, &[main, stale], "20240801T000000!");
    accepted(&fleet, None, &signed_at(&fleet, &fleet.alice, &tree, &[merge], "20240901T000000!"));
}

#[test]
fn whoever_counts_for_the_tip_must_be_able_to_sign_now() {
    let (fleet, bob, tree) = of_2024();
    let branch = signed_at(&fleet, &bob, &tree, &[fleet.root], "20240601T000000!");
    let approval = signed_at(&fleet, &fleet.alice, &tree, &[fleet.root, branch], "20240701T000000!");
    let refusal = refused(&fleet, None, &approval, Code::KeyExpired);
    assert_eq!(refusal.commit(), Some(&branch));
    // Below the tip it is history.
    accepted(&fleet, None, &signed_at(&fleet, &fleet.alice, &tree, &[approval], "20240801T000000!"));
}

#[test]
fn an_expired_key_may_sign_its_own_extension() {
    let (fleet, bob, _) = of_2024();
    fleet.keys.gpg(&["--quick-set-expire", &bob.fingerprint, "5y"], b"");
    // The policy has the certificate as it was.
    fleet.repo.checkout(&fleet.root);
    refused(&fleet, None, &fleet.repo.commit("expired", Some(&bob)), Code::KeyExpired);
    fleet.repo.checkout(&fleet.root);
    fleet.repo.write("policy/keys/bob.asc", &fleet.keys.public(&bob));
    let renewed = fleet.repo.commit("five more years", Some(&bob));
    assert_eq!(accepted(&fleet, None, &renewed), ["alice", "bob"]);
}

#[test]
fn a_heartbeat_key_signs_no_commit_of_the_ref() {
    let fleet = Fleet::new();
    let ci = fleet.keys.key("ci");
    fleet.policy(2, &[("alice", &fleet.alice), ("ci", &ci)]);
    let policy = std::fs::read_to_string(fleet.repo.path().join("policy/policy.yaml")).unwrap();
    let policy = policy.replace("all: [alice, ci]", "all: [alice]");
    fleet.repo.write("policy/policy.yaml", &format!("{policy}freshness: {{max_age: 2d, heartbeat: [ci]}}\n"));
    let tip = fleet.repo.commit("freshness", Some(&fleet.alice));
    accepted(&fleet, None, &tip);
    refused(&fleet, None, &fleet.repo.commit("nothing", Some(&ci)), Code::HeartbeatKey);
}

/// Histories of a fixed set of commits, good and bad, in every shape that a few choices make.
struct Shapes {
    fleet: Fleet,
    tips: Vec<Oid>,
}

impl Shapes {
    fn new() -> Self {
        let fleet = Fleet::new();
        let stranger = fleet.keys.key("stranger");
        let mut tips = vec![fleet.root];
        for (number, parent) in [0, 1, 1, 2, 3, 3, 4].into_iter().enumerate() {
            fleet.repo.checkout(&tips[parent]);
            let key = if number == 4 { &stranger } else { &fleet.alice };
            fleet.repo.write("files/motd", &number.to_string());
            tips.push(fleet.repo.commit(&number.to_string(), Some(key)));
        }
        fleet.repo.checkout(&tips[3]);
        fleet.repo.write("other", "side");
        let side = fleet.repo.commit("side", Some(&fleet.alice));
        fleet.repo.checkout(&tips[2]);
        fleet.repo.git(&[
            "merge",
            "--quiet",
            "-s",
            "ours",
            "-m",
            "m",
            &format!("-S{}", fleet.alice.fingerprint),
            &side.to_string(),
        ]);
        tips.extend([side, fleet.repo.id("HEAD")]);
        Self { fleet, tips }
    }
}

#[test]
fn a_warm_cache_and_a_cold_one_give_the_same_answers() {
    let shapes = Shapes::new();
    let store = shapes.fleet.repo.store();
    let bob = format!("format: 1\nrevoked: [{{key: \"openpgp:{}\", except: []}}]\n", shapes.fleet.alice.fingerprint);
    let revoked = hostwrit::trust::Revocations::parse("r", bob.as_bytes()).unwrap();
    let anchors = [shapes.fleet.anchor(), Anchor { revoked, ..shapes.fleet.anchor() }];
    let now = SystemTime::now();
    let answer = |anchor: &Anchor, pin: Option<&Oid>, tip: &Oid, cache: &mut Cache| match authenticate_with(
        &store, anchor, pin, tip, now, cache,
    ) {
        Ok(tree) => Ok(format!("{:?}", tree.signers())),
        Err(refusal) => Err(refusal.to_string()),
    };
    let places = 0..shapes.tips.len();
    let question = (0..2usize, proptest::option::of(places.clone()), places);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(60));
    let verdict = runner.run(&proptest::collection::vec(question, 1..12), |questions| {
        let mut cache = Cache::default();
        for (anchor, pin, tip) in questions {
            let (anchor, pin, tip) = (&anchors[anchor], pin.map(|pin| &shapes.tips[pin]), &shapes.tips[tip]);
            let cold = answer(anchor, pin, tip, &mut Cache::default());
            prop_assert_eq!(answer(anchor, pin, tip, &mut cache), cold);
        }
        Ok(())
    });
    verdict.unwrap();
}
