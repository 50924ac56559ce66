// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, reason = "prepares a temporary root by hand")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::UNIX_EPOCH;

use super::super::State;
use super::super::status::Trouble;
use super::*;
use crate::audit::{Log, entry::Signer};
use crate::host::RealHost;
use crate::model::Digest;
use crate::resources::findings::{Code as FindingCode, Finding};

const COMMIT: &str = "4eba289bc64d885684246d34080b7eea6fba4566";

fn scene() -> (tempfile::TempDir, RealHost) {
    let root = tempfile::tempdir().unwrap();
    for dir in ["run", "var/lib/hostwrit", "var/lib/prometheus"] {
        fs::create_dir_all(root.path().join(dir)).unwrap();
    }
    let host = RealHost::open(root.path()).unwrap();
    (root, host)
}

fn status(health: Health) -> Status {
    Status {
        time: "2026-11-22T22:00:00Z".to_owned(),
        pulled: Some("2026-11-22T21:59:00Z".to_owned()),
        host: "web1".to_owned(),
        fleet: "infra.example.org".to_owned(),
        remote: "https://git.example.org/infra.git".to_owned(),
        git_ref: "refs/heads/main".to_owned(),
        commit: Some(COMMIT.to_owned()),
        health,
        objects: 3,
        kinds: BTreeMap::from([("file".to_owned(), 2), ("user".to_owned(), 1)]),
        done: 0,
        cause: None,
        problems: Vec::new(),
        paused: None,
        maintenance: None,
        ring: None,
        rollout: None,
        checked: None,
        put_back: None,
        held: 0,
        held_commit: None,
        findings: Vec::new(),
        due: BTreeMap::new(),
        bans: BTreeMap::new(),
        reported: Vec::new(),
        left_alone: Vec::new(),
        unmanaged: Vec::new(),
    }
}

fn trouble(code: &str, object: Option<ObjectId>) -> Trouble {
    Trouble { code: code.to_owned(), object, message: format!("of {code}") }
}

fn at(text: &str) -> SystemTime {
    humantime::parse_rfc3339(text).unwrap()
}

#[test]
fn cycles_and_their_steps_add_up() {
    let (_root, host) = scene();
    let mut counters = Counters::start(UNIX_EPOCH, None);
    let drift = Status { done: 2, cause: Some(Cause::Drift), ..status(Health::Converged) };
    let commit = Status {
        done: 3,
        cause: Some(Cause::Commit),
        problems: vec![trouble("step-failed", None), trouble("step-skipped", None), trouble("step-skipped", None)],
        ..status(Health::Failing)
    };
    counters.count(&drift, Duration::from_millis(250), &host);
    counters.count(&commit, Duration::from_millis(500), &host);
    let counts = &counters.counts;
    assert_eq!(counts.cycles, BTreeMap::from([("converged".to_owned(), 1), ("failing".to_owned(), 1)]));
    assert_eq!((counts.cycle_time, counts.last_cycle_time), (Duration::from_millis(750), Duration::from_millis(500)));
    assert_eq!(counts.steps, BTreeMap::from([("done", 5), ("failed", 1), ("skipped", 2)]));
    assert_eq!(counts.drift_repaired, 2, "what a commit asks for is no drift");
    assert_eq!(counts.last_success, Some(at("2026-11-22T22:00:00Z")));
}

#[test]
fn the_last_success_is_remembered_across_a_restart_and_is_no_failure() {
    let (_root, host) = scene();
    let mut counters = Counters::start(UNIX_EPOCH, Some(&status(Health::Converged)));
    let later = Status { time: "2026-11-22T23:00:00Z".to_owned(), ..status(Health::LastGood) };
    counters.count(&later, Duration::ZERO, &host);
    assert_eq!(counters.counts.last_success, Some(at("2026-11-22T22:00:00Z")));
    assert_eq!(Counters::start(UNIX_EPOCH, Some(&later)).counts.last_success, None);
}

#[test]
fn what_apt_said_is_told_and_what_it_did_not_say_is_not() {
    let (root, host) = scene();
    let counters = Counters::start(UNIX_EPOCH, None);
    let mut metrics = gather(&status(Health::Converged), &counters, &host);
    assert_eq!((&metrics.pending_updates, metrics.package_lists), (&BTreeMap::new(), None));
    let mut said = |updates: &str| {
        let kept =
            format!(r#"{{"basis": "{}", "updates": {{"asked": "2026-11-22T22:00:00Z", {updates}}}}}"#, Digest::ZERO);
        fs::create_dir_all(root.path().join("run/hostwrit")).unwrap();
        fs::write(root.path().join("run/hostwrit/updates.json"), kept).unwrap();
        note_pull(&mut metrics, &status(Health::Converged), &counters, &host);
        (metrics.pending_updates.clone(), metrics.package_lists)
    };
    let (pending, lists) =
        said(r#""pending": {"security": 2, "other": 0, "kept-back": 1}, "lists": "2026-11-21T00:00:00Z""#);
    assert_eq!(pending, BTreeMap::from([("security", 2), ("other", 0), ("kept-back", 1)]));
    assert_eq!(lists, Some(at("2026-11-21T00:00:00Z")));
    let words: BTreeSet<&str> = pending.into_keys().collect();
    assert_eq!(words, crate::metrics::UPDATES.iter().copied().collect(), "these are the documented words");
    assert_eq!(said(r#""unknown": "E: Unmet dependencies.""#), (BTreeMap::new(), None));
}

#[test]
fn a_pull_that_finds_nothing_shows_that_the_daemon_lives() {
    let (_root, host) = scene();
    let mut counters = Counters::start(UNIX_EPOCH, None);
    let (converged, later) = (status(Health::Converged), at("2026-11-22T22:30:00Z"));
    counters.count(&converged, Duration::ZERO, &host);
    counters.pulled(&converged, true, later);
    let metrics = gather(&converged, &counters, &host);
    assert_eq!((metrics.counts.alive, metrics.counts.last_success), (Some(later), Some(later)));
    assert_eq!(metrics.last_cycle, Some(at("2026-11-22T22:00:00Z")));
    assert_eq!(metrics.last_pull, Some(at("2026-11-22T21:59:00Z")));
    let latest = at("2026-11-22T23:00:00Z");
    counters.pulled(&status(Health::LastGood), true, latest);
    counters.pulled(&converged, false, latest);
    assert_eq!((counters.counts.alive, counters.counts.last_success), (Some(latest), Some(later)));
    assert_eq!(counters.counts.fetch_failures, 1, "a remote that does not answer confirms nothing");
}

#[test]
fn a_refusal_that_lasts_counts_once() {
    let (_root, host) = scene();
    let mut counters = Counters::start(UNIX_EPOCH, None);
    let refused = |code: &str| Status { problems: vec![trouble(code, None)], ..status(Health::LastGood) };
    for code in ["unsigned", "unsigned", "fetch-failed", "unsigned", "unsound", "stale", "unsigned"] {
        counters.count(&refused(code), Duration::ZERO, &host);
    }
    let expected = [("unsigned".to_owned(), 2), ("unsound".to_owned(), 1)];
    assert_eq!(counters.counts.refusals, BTreeMap::from(expected), "a failed fetch between two of them ends nothing");
    assert_eq!(counters.counts.fetch_failures, 1);
    let other = Status { problems: vec![trouble("step-failed", Some(ObjectId::new("file", "/a")))], ..refused("x") };
    counters.count(&other, Duration::ZERO, &host);
    assert!(!counters.counts.refusals.contains_key("step-failed"), "a failed step refuses no commit");
}

#[test]
fn findings_are_counted_by_code() {
    let (_root, host) = scene();
    let finding = |code, place: &str| Finding {
        code,
        object: None,
        place: Some(place.to_owned()),
        process: None,
        message: String::new(),
    };
    let findings = vec![
        finding(FindingCode::ForeignDrop, "inet a b"),
        finding(FindingCode::ForeignDrop, "inet a c"),
        finding(FindingCode::OtherFirewall, "ufw"),
    ];
    let metrics = gather(&Status { findings, ..status(Health::Converged) }, &Counters::start(UNIX_EPOCH, None), &host);
    assert_eq!(metrics.findings, BTreeMap::from([("foreign-drop", 2), ("other-firewall", 1)]));
    assert!(metrics.problems.is_empty(), "a finding is no problem");
    assert_eq!(metrics.bans, BTreeMap::new());
}

#[test]
fn bans_of_others_are_told_by_program() {
    let (_root, host) = scene();
    let bans = BTreeMap::from([("fail2ban".to_owned(), 3)]);
    let status = Status { bans: bans.clone(), ..status(Health::Converged) };
    assert_eq!(gather(&status, &Counters::start(UNIX_EPOCH, None), &host).bans, bans);
}

#[test]
fn an_object_with_several_problems_is_one_object() {
    let (_root, host) = scene();
    let (a, b) = (ObjectId::new("file", "/a"), ObjectId::new("user", "b"));
    let status = Status {
        problems: vec![
            trouble("step-failed", Some(a.clone())),
            trouble("step-skipped", Some(a)),
            trouble("unsigned", None),
            // It was put right, and will have to be again.
            trouble("fought-over", Some(ObjectId::new("file", "/c"))),
        ],
        reported: vec![b.clone(), b],
        left_alone: Vec::new(),
        unmanaged: vec![ObjectId::new("service", "old")],
        ..status(Health::Failing)
    };
    let metrics = gather(&status, &Counters::start(UNIX_EPOCH, None), &host);
    let expected = [
        ("file", "declared", 2),
        ("file", "failing", 1),
        ("file", "reported", 0),
        ("service", "unmanaged", 1),
        ("user", "declared", 1),
        ("user", "failing", 0),
        ("user", "reported", 1),
    ];
    assert_eq!(metrics.objects, expected.map(|(kind, state, number)| ((kind.to_owned(), state), number)).into());
    let expected =
        [("fought-over", "other"), ("step-failed", "step"), ("step-skipped", "step"), ("unsigned", "refusal")];
    assert_eq!(metrics.problems, expected.map(|(code, sort)| ((code.to_owned(), sort), 1)).into());
}

#[test]
fn every_health_is_a_state_that_is_written() {
    for health in [Health::Converged, Health::LastGood, Health::Failing, Health::Held] {
        assert!(crate::metrics::STATES.contains(&word(health).as_str()), "{health:?}");
    }
}

#[test]
fn every_code_of_trust_is_a_refusal_and_no_alarm_is() {
    assert!(Code::ALL.iter().all(|code| sort(code.as_str()) == "refusal"));
    for (code, expected) in [("stale", "other"), ("break-glass", "other"), ("fetch-failed", "fetch")] {
        assert_eq!(sort(code), expected);
        assert!(crate::metrics::SORTS.contains(&expected));
    }
}

#[test]
fn the_state_the_log_and_the_host_are_asked_for_the_rest() {
    let (root, host) = scene();
    let mut counters = Counters::start(UNIX_EPOCH, None);
    let bare = gather(&status(Health::Converged), &counters, &host);
    assert_eq!((bare.newest_statement, bare.audit_entries, bare.reboot_needed), (None, None, None));

    let mut state = State::read(&host).unwrap();
    state.freshness.allow(Some(Duration::from_secs(86_400)));
    state.freshness.learn(at("2026-11-22T20:00:00Z"), at("2026-11-22T22:00:00Z"));
    let mut log = Log::open(&host, None).unwrap();
    log.append([
        Event::Accepted { commit: COMMIT.to_owned(), signers: Vec::<Signer>::new(), policy_version: 7, root: None },
        Event::Converged { commit: COMMIT.to_owned() },
    ])
    .unwrap();
    state.log = Some(log.head());
    state.write(&host).unwrap();
    fs::write(root.path().join("run/reboot-required"), "").unwrap();
    counters.count(&status(Health::Converged), Duration::ZERO, &host);
    let metrics = gather(&status(Health::Converged), &counters, &host);
    assert_eq!(metrics.newest_statement, Some(at("2026-11-22T20:00:00Z")));
    assert_eq!(metrics.statement_max_age, Some(Duration::from_secs(86_400)));
    assert_eq!((metrics.audit_entries, metrics.policy_version, metrics.reboot_needed), (Some(2), Some(7), Some(true)));

    let other = Status { commit: Some("0".repeat(40)), ..status(Health::Converged) };
    counters.count(&other, Duration::ZERO, &host);
    assert_eq!(gather(&other, &counters, &host).policy_version, None, "the log does not know that commit");
}

#[test]
fn the_page_is_left_where_the_configuration_says() {
    let (root, host) = scene();
    let metrics = gather(&status(Health::Converged), &Counters::start(UNIX_EPOCH, None), &host);
    leave(&metrics.render(), &Settings::default(), &host).unwrap();
    let settings = Settings { textfile: Some("/var/lib/prometheus/hostwrit.prom".into()), listen: None };
    leave(&metrics.render(), &settings, &host).unwrap();
    let path = root.path().join("var/lib/prometheus/hostwrit.prom");
    assert_eq!(fs::read_to_string(&path).unwrap(), metrics.render());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644, "node_exporter is not root");

    let nowhere = Settings { textfile: Some("/nowhere/hostwrit.prom".into()), listen: None };
    assert!(leave("", &nowhere, &host).is_err(), "a directory that is not there is not made");
}
