// SPDX-License-Identifier: Apache-2.0
//! A state that lasts is told once, again after `repeat_after`, and when it is gone.

use super::*;
use crate::model::ObjectId;

/// An entry `minutes` after noon.
fn at(minutes: u64, kind: Kind, code: &str) -> Entry {
    let time = humantime::format_rfc3339_seconds(now() + Duration::from_secs(60 * minutes)).to_string();
    Entry {
        time,
        code: Some(code.to_owned()),
        commit: Some("c1".to_owned()),
        ..entry(kind, &format!("{code} at {minutes}"))
    }
}

fn failed(minutes: u64, object: &str) -> Entry {
    Entry { object: Some(ObjectId::new("user", object)), ..at(minutes, Kind::Failed, "step-failed") }
}

/// Pushes cycles, ships after each, and returns what arrived as `kind code repeats`.
fn told(post: &mut Post, server: &Server, cycles: &[Vec<Entry>]) -> Vec<Vec<String>> {
    let mut told = Vec::new();
    for (number, cycle) in cycles.iter().enumerate() {
        let before = server.received().len();
        post.spool.push_cycle(cycle, true).unwrap();
        post.ship_later(number as u64);
        let text = |entry: &serde_json::Value| {
            let word = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let object = entry["object"].as_str().map(|object| format!(" {object}")).unwrap_or_default();
            let repeats = entry["repeats"].as_u64().map(|repeats| format!(" +{repeats}")).unwrap_or_default();
            format!("{} {}{object}{repeats}", word("kind"), word("code"))
        };
        let requests = server.received().split_off(before);
        told.push(
            requests.iter().flat_map(|r| r.json().as_array().unwrap().iter().map(text).collect::<Vec<_>>()).collect(),
        );
    }
    told
}

fn hourly(server: &Server) -> Post {
    Post::of(&webhook(server).replace("{webhook", "{repeat_after: 1h, webhook"))
}

#[test]
fn an_identical_problem_of_consecutive_cycles_is_told_once_then_after_repeat_after_then_when_it_is_gone() {
    let server = Server::start();
    let mut post = hourly(&server);
    let cycles = [0, 20, 40, 61, 70].map(|minutes| vec![at(minutes, Kind::Hindered, "fetch-failed")]);
    let mut cycles = cycles.to_vec();
    cycles.push(vec![at(80, Kind::Cycle, "converged")]);
    cycles.push(vec![at(90, Kind::Hindered, "fetch-failed"), at(90, Kind::Cycle, "last-good")]);
    let told = told(&mut post, &server, &cycles);
    let none: Vec<String> = Vec::new();
    assert_eq!(
        told,
        [
            vec!["hindered fetch-failed".to_owned()],
            none.clone(),
            none.clone(),
            vec!["hindered fetch-failed +2".to_owned()],
            none,
            vec!["cycle converged".to_owned(), "resolved fetch-failed".to_owned()],
            vec!["hindered fetch-failed".to_owned(), "cycle last-good".to_owned()],
        ]
    );
    let resolved = server.received()[2].json()[1].clone();
    assert_eq!(resolved["time"], "2026-03-01T13:20:00Z");
    assert_eq!(resolved["message"], "no longer: fetch-failed at 61");
    assert_eq!((&resolved["severity"], &resolved["fields"]["was"]), (&"info".into(), &"hindered".into()));
}

#[test]
fn two_places_are_two_subjects() {
    let server = Server::start();
    let mut post = hourly(&server);
    let place = |minutes, place: &str| {
        let fields = [(crate::report::entry::PLACE.to_owned(), place.into())].into();
        Entry { fields, ..at(minutes, Kind::Alarm, "foreign-drop") }
    };
    let cycles = [
        vec![place(0, "inet a b"), place(0, "inet a c")],
        vec![place(1, "inet a b"), place(1, "inet a c")],
        vec![place(2, "inet a c"), at(2, Kind::Cycle, "converged")],
    ];
    let told = told(&mut post, &server, &cycles);
    let expected: [&[&str]; 3] =
        [&["alarm foreign-drop", "alarm foreign-drop"], &[], &["cycle converged", "resolved foreign-drop"]];
    assert_eq!(told, expected);
    assert_eq!(server.received()[1].json()[1]["fields"]["place"], "inet a b");
}

#[test]
fn what_is_different_is_told_at_once() {
    let server = Server::start();
    let mut post = hourly(&server);
    let other = |minutes| Entry { commit: Some("c2".to_owned()), ..at(minutes, Kind::Refused, "unsigned") };
    let cycles = [
        vec![failed(0, "a"), at(0, Kind::Refused, "unsigned")],
        vec![failed(1, "a"), failed(1, "b"), at(1, Kind::Refused, "unsigned")],
        vec![failed(2, "b"), other(2)],
        vec![failed(3, "b"), other(3)],
    ];
    let told = told(&mut post, &server, &cycles);
    assert_eq!(told[0], ["failed step-failed user:a", "refused unsigned"]);
    assert_eq!(told[1], ["failed step-failed user:b"]);
    assert_eq!(told[2], ["refused unsigned", "resolved step-failed user:a"]);
    assert!(told[3].is_empty());
}

#[test]
fn events_are_told_each_time() {
    let server = Server::start();
    let mut post = Post::of(&webhook(&server).replace("{webhook", "{only: [drift, changed, audit], webhook"));
    let cycle = vec![at(0, Kind::Drift, "x"), at(0, Kind::Changed, "x"), at(0, Kind::Audit, "x")];
    let told = told(&mut post, &server, &[cycle.clone(), cycle]);
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].len(), 3);
}

#[test]
fn a_cycle_that_ended_early_ends_no_problem() {
    let server = Server::start();
    let mut post = hourly(&server);
    post.spool.push_cycle(&[failed(0, "a")], true).unwrap();
    post.spool.push_cycle(&[at(1, Kind::Hindered, "cycle-failed")], false).unwrap();
    post.spool.push_cycle(&[failed(2, "a")], true).unwrap();
    post.ship();
    assert_eq!(messages(&server).concat(), ["step-failed at 0", "cycle-failed at 1", "no longer: cycle-failed at 1"]);
}

#[test]
fn a_restart_does_not_tell_it_all_again() {
    let server = Server::start();
    let mut post = hourly(&server);
    for minutes in 0..3 {
        post.spool.push_cycle(&[failed(minutes, "a")], true).unwrap();
        post = post.again();
    }
    post.spool.push_cycle(&[], true).unwrap();
    post.spool.push_cycle(&[failed(5, "a")], true).unwrap();
    post.ship();
    assert_eq!(
        messages(&server).concat(),
        ["step-failed at 0", "step-failed at 5"],
        "an empty cycle has no time to tell"
    );
}

#[test]
fn each_sink_has_its_own_time_and_hears_only_the_end_of_what_it_heard() {
    let (often, seldom) = (Server::start(), Server::start());
    let reports = webhook(&often).replace("{webhook", "{name: often, repeat_after: 0s, webhook")
        + &webhook(&seldom).replace("{webhook", "{name: seldom, only: [alarm], webhook");
    let mut post = Post::of(&reports);
    for minutes in 0..3 {
        post.spool.push_cycle(&[failed(minutes, "a")], true).unwrap();
    }
    post.spool.push_cycle(&[at(3, Kind::Cycle, "converged")], true).unwrap();
    post.ship();
    assert_eq!(messages(&often).concat().len(), 5);
    assert!(seldom.received().is_empty());
}

#[test]
fn a_cycle_with_nothing_new_writes_nothing() {
    let server = Server::start();
    let post = hourly(&server);
    let listing = || {
        let entries = std::fs::read_dir(post.dir.path().join("spool")).unwrap();
        let facts = entries.map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            (entry.file_name(), std::os::unix::fs::MetadataExt::ino(&meta), meta.modified().unwrap())
        });
        let mut facts: Vec<_> = facts.collect();
        facts.sort();
        facts
    };
    let cycle = |minutes| [failed(minutes, "a"), at(minutes, Kind::Cycle, "failing")];
    post.spool.push_cycle(&cycle(0), true).unwrap();
    let before = listing();
    for minutes in 1..60 {
        post.spool.push_cycle(&cycle(minutes), true).unwrap();
    }
    assert_eq!(listing(), before);
    post.spool.push_cycle(&cycle(60), true).unwrap();
    assert_ne!(listing(), before);
}

#[test]
fn a_clock_that_is_set_back_does_not_silence_a_problem() {
    let server = Server::start();
    let mut post = hourly(&server);
    post.spool.push_cycle(&[failed(500, "a")], true).unwrap();
    post.spool.push_cycle(&[failed(0, "a")], true).unwrap();
    post.ship();
    assert_eq!(messages(&server).concat().len(), 2);
}

#[test]
fn more_subjects_than_are_remembered_are_told_and_memory_does_not_grow() {
    let server = Server::start();
    let post = hourly(&server);
    let problems: Vec<Entry> = (0..1500).map(|number| failed(0, &format!("u{number}"))).collect();
    post.spool.push_cycle(&problems, true).unwrap();
    assert_eq!(post.spool.waiting(), 1500);
    let remembered = std::fs::read(post.dir.path().join("spool/repeats.json")).unwrap();
    let remembered: serde_json::Value = serde_json::from_slice(&remembered).unwrap();
    assert_eq!(remembered.as_object().unwrap().len(), 1000);
}
