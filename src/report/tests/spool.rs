// SPDX-License-Identifier: Apache-2.0
//! The spool keeps what it took, within its caps, and counts what it could not keep.

use std::os::unix::fs::PermissionsExt as _;

use super::server::Act;
use super::*;

fn files(post: &Post) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(post.dir.path().join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jsonl") || name.starts_with('.'))
        .collect();
    names.sort();
    names
}

fn caps(entries: u64) -> Caps {
    Caps { entries, ..Caps::default() }
}

#[test]
fn over_the_cap_the_oldest_goes_and_is_counted_for_whom_it_was() {
    let (first, second) = (Server::start(), Server::start());
    let reports = webhook(&first).replace("{webhook", "{name: first, only: [drift, alarm], webhook")
        + &webhook(&second).replace("{webhook", "{name: second, only: [drift], webhook");
    let mut post = Post::with(&reports, caps(4));
    post.push(Kind::Drift, "sent");
    assert_eq!(post.ship().sent(), 2);
    for text in ["a", "b"] {
        post.push(Kind::Drift, text);
    }
    // Only the first one wants these.
    for object in ["c", "d"] {
        let mut alarm = entry(Kind::Alarm, object);
        alarm.code = Some(object.to_owned());
        post.spool.push(&alarm).unwrap();
    }
    for text in ["e", "f", "g"] {
        post.push(Kind::Drift, text);
    }
    let stand = post.spool.by_sink();
    assert_eq!((stand["first"].0, stand["first"].1.lost), (4, 3), "a, b and c are gone");
    assert_eq!((stand["second"].0, stand["second"].1.lost), (3, 2), "a and b are gone");
    assert_eq!(post.spool.waiting(), 4);
    let shipped = post.ship_later(1);
    assert_eq!((shipped.sent(), shipped.waiting(), shipped.lost()), (7, 0, 5));
    assert_eq!(messages(&first).concat(), ["sent", "d", "e", "f", "g"]);
    assert_eq!(messages(&second).concat(), ["sent", "e", "f", "g"]);
    // The counts survive a restart.
    let post = post.again();
    assert_eq!((post.spool.by_sink()["first"].1.lost, post.spool.by_sink()["first"].1.sent), (3, 5));
}

#[test]
fn killed_between_counting_and_removing_the_oldest_it_is_counted_once() {
    let server = Server::start();
    let post = Post::with(&webhook(&server), caps(2));
    post.push(Kind::Drift, "a");
    post.push(Kind::Drift, "b");
    let oldest = post.dir.path().join("spool").join(&files(&post)[0]);
    let content = std::fs::read(&oldest).unwrap();
    post.push(Kind::Drift, "c");
    assert!(!oldest.exists());
    let post = post.close();
    std::fs::write(&oldest, content).unwrap();
    let mut post = post.open();
    assert!(!oldest.exists());
    assert_eq!(post.spool.by_sink()["webhook"], (2, crate::report::spool::Counters { lost: 1, ..Default::default() }));
    post.ship();
    assert_eq!(messages(&server).concat(), ["b", "c"]);
}

#[test]
fn bytes_are_capped_too_and_a_push_larger_than_the_cap_keeps_its_end() {
    let server = Server::start();
    let limit = 300_000;
    let post = Post::with(&webhook(&server), Caps { bytes: limit, entries: 1_000_000 });
    let long = "x".repeat(10_000);
    let entries: Vec<Entry> = (0..100).map(|number| entry(Kind::Drift, &format!("{number} {long}"))).collect();
    post.spool.push_all(&entries).unwrap();
    let dir = post.dir.path().join("spool");
    let size: u64 = files(&post).iter().map(|name| std::fs::metadata(dir.join(name)).unwrap().len()).sum();
    assert!(size <= limit, "{size}");
    let (waiting, totals) = post.spool.by_sink()["webhook"];
    assert!(waiting > 0);
    assert_eq!(waiting + totals.lost, 100);
    let mut post = post;
    post.ship();
    assert!(messages(&server).concat().last().unwrap().starts_with("99 "));
}

#[test]
fn what_every_sink_has_had_leaves_the_disk() {
    let server = Server::start();
    let mut post = Post::of(&webhook(&server));
    for number in 0..5 {
        post.push(Kind::Drift, &number.to_string());
    }
    assert_eq!(files(&post).len(), 5);
    post.ship();
    assert_eq!(files(&post), [""; 0]);
}

#[test]
fn what_nobody_wants_is_not_stored() {
    let server = Server::start();
    let post = Post::of(&webhook(&server).replace("{webhook", "{only: [refused, audit], webhook"));
    post.push(Kind::Drift, "a");
    assert_eq!((post.spool.waiting(), files(&post).len()), (0, 0));
    post.push(Kind::Audit, "b");
    post.push(Kind::Refused, "c");
    assert_eq!((post.spool.waiting(), post.shipper.state(now()).waiting_audit), (2, 1));
    let all_but_audit = Post::of(&webhook(&server));
    all_but_audit.push(Kind::Audit, "a");
    assert_eq!(all_but_audit.spool.waiting(), 0);
    let nobody = Post::of("[]");
    nobody.push(Kind::Alarm, "a");
    assert_eq!(nobody.spool.waiting(), 0);
}

#[test]
fn nobody_else_can_read_the_spool() {
    let server = Server::start();
    let post = Post::of(&webhook(&server));
    post.push(Kind::Drift, "a");
    let dir = post.dir.path().join("spool");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join(&files(&post)[0])), 0o600);
}

#[test]
fn a_restart_keeps_what_waits_and_ids_never_repeat() {
    let server = Server::start();
    let mut post = Post::of(&webhook(&server));
    post.push(Kind::Drift, "a");
    post = post.again();
    post.push(Kind::Drift, "b");
    post.ship();
    post = post.again();
    post.push(Kind::Drift, "c");
    post.ship();
    // A sink that is forgotten and comes back starts anew, with numbers of its own.
    let mut closed = post.close();
    let outlets = std::mem::take(&mut closed.outlets);
    closed = closed.open().close();
    closed.outlets = outlets;
    post = closed.open();
    post.push(Kind::Drift, "d");
    post.ship();
    assert_eq!(messages(&server).concat(), ["a", "b", "c", "d"]);
    let mut ids: Vec<String> = server
        .received()
        .iter()
        .flat_map(|request| request.json().as_array().unwrap().clone())
        .map(|entry| entry["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn what_was_stored_for_a_sink_that_is_gone_is_forgotten() {
    let (first, second) = (Server::start(), Server::start());
    let both = webhook(&first) + &webhook(&second).replace("{webhook", "{name: other, webhook");
    let mut post = Post::of(&both);
    post.push(Kind::Drift, "a");
    post.outlets.truncate(1);
    let mut post = post.again();
    assert_eq!(post.spool.waiting(), 1);
    post.ship();
    assert_eq!((post.spool.waiting(), files(&post).len()), (0, 0));
    assert!(second.received().is_empty());
}

#[test]
fn a_damaged_line_is_lost_once_and_the_others_go_on() {
    let server = Server::start();
    let post = Post::of(&webhook(&server));
    post.spool.push_all(&["a", "b", "c"].map(|text| entry(Kind::Drift, text))).unwrap();
    let path = post.dir.path().join("spool").join(&files(&post)[0]);
    let text = std::fs::read_to_string(&path).unwrap();
    let damaged: Vec<&str> = text.lines().enumerate().map(|(at, line)| if at == 1 { "\u{0}{" } else { line }).collect();
    std::fs::write(&path, damaged.join("\n")).unwrap();
    std::fs::write(post.dir.path().join("spool/.new-00000000000000000009.jsonl"), "half an ent").unwrap();
    std::fs::write(post.dir.path().join("spool/cursor-webhook.json"), "{").unwrap();
    let mut post = post.again().again();
    assert_eq!(files(&post).len(), 1, "what was not finished is still there");
    assert_eq!(post.spool.by_sink()["webhook"].1.lost, 1);
    post.ship();
    assert_eq!(messages(&server).concat(), ["a", "c"]);
}

#[test]
fn a_file_that_somebody_removes_or_damages_is_lost_and_the_others_go_on() {
    let server = Server::start();
    let mut post = Post::of(&webhook(&server));
    for text in ["a", "b", "c", "d"] {
        post.push(Kind::Drift, text);
    }
    let dir = post.dir.path().join("spool");
    std::fs::remove_file(dir.join(&files(&post)[0])).unwrap();
    std::fs::write(dir.join(&files(&post)[1]), "nonsense\n").unwrap();
    let shipped = post.ship();
    assert_eq!((shipped.sent(), shipped.waiting(), shipped.lost()), (2, 0, 2), "{shipped:?}");
    assert_eq!(messages(&server).concat(), ["b", "d"]);
    assert_eq!(post.again().spool.by_sink()["webhook"].1.lost, 2);
}

#[test]
fn a_spool_is_open_once() {
    let post = Post::of("[]");
    let error = Spool::open(&post.dir.path().join("spool"), &[], Caps::default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot lock /"), "{error}");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "another process has it");
}

#[test]
fn small_files_count_for_what_they_take() {
    let server = Server::start();
    let post = Post::with(&webhook(&server), Caps { bytes: 10 * 4096, entries: 1000 });
    for number in 0..15 {
        post.push(Kind::Drift, &number.to_string());
    }
    assert_eq!((post.spool.waiting(), post.spool.by_sink()["webhook"].1.lost), (10, 5));
}

#[test]
fn a_spool_that_cannot_be_written_counts_the_entry_and_says_so() {
    let server = Server::start();
    let mut post = Post::of(&webhook(&server));
    let dir = post.dir.path().join("spool");
    // Where the file would be written there is a directory. Root may write anywhere else.
    let in_the_way = dir.join(".new-00000000000000000001.jsonl");
    std::fs::create_dir(&in_the_way).unwrap();
    let error = post.spool.push(&entry(Kind::Drift, "a")).unwrap_err();
    assert!(error.to_string().starts_with("cannot write /") && !error.to_string().contains("directory)"), "{error}");
    assert_eq!(post.spool.by_sink()["webhook"].1.lost, 1);
    std::fs::remove_dir(&in_the_way).unwrap();
    post.push(Kind::Drift, "b");
    assert_eq!(post.ship().sent(), 1);
    // What was not stored was not told, so it is told by the next cycle.
    let in_the_way = dir.join(".new-00000000000000000002.jsonl");
    std::fs::create_dir(&in_the_way).unwrap();
    let alarm = entry(Kind::Alarm, "c");
    post.spool.push_cycle(std::slice::from_ref(&alarm), true).unwrap_err();
    std::fs::remove_dir(&in_the_way).unwrap();
    post.spool.push_cycle(&[alarm], true).unwrap();
    assert_eq!(post.ship_later(1).sent(), 1);
}

#[test]
fn an_entry_that_is_too_long_is_cut_and_still_one() {
    let server = Server::scripted(&[Act::status(200)]);
    let mut post = Post::of(&webhook(&server));
    let mut long = entry(Kind::Drift, &"ä".repeat(50_000));
    long.fields.insert("huge".to_owned(), "x".repeat(100_000).into());
    post.spool.push(&long).unwrap();
    post.ship();
    let body = server.the_request().json();
    assert_eq!(body[0]["message"].as_str().unwrap(), "ä".repeat(2048));
    assert!(body[0]["fields"]["cut"].as_u64().unwrap() > 200_000 && body[0]["fields"]["huge"].is_null());
}
