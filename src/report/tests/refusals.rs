// SPDX-License-Identifier: Apache-2.0
//! What a receiver will not have is dropped, counted and not sent for ever; what is not the entry's fault is kept.

use super::server::Act;
use super::*;
use crate::report::sink::{Answer, Elastic, Otlp, Sink, Splunk, Verdict, Webhook};

#[test]
fn a_4xx_drops_the_entry_counts_it_and_says_why() {
    let server = Server::scripted(&[Act::body(400, "no such\nfield"), Act::status(200)]);
    let mut post = Post::of(&webhook(&server));
    post.push(Kind::Drift, "a");
    let shipped = post.ship();
    let totals = shipped.sinks[0].totals;
    assert_eq!((totals.sent, totals.refused, totals.lost, shipped.waiting()), (0, 1, 0, 0));
    assert_eq!(Post::problem(&shipped), "entries were refused: it answers 400: no such\\nfield");
    post.ship_later(60);
    assert_eq!(server.received().len(), 1, "it was sent again");
    post.push(Kind::Drift, "b");
    let shipped = post.again().ship_later(61);
    assert_eq!((shipped.sent(), shipped.sinks[0].totals.refused, Post::problem(&shipped)), (1, 1, ""));
}

#[test]
fn one_entry_that_is_disliked_does_not_take_its_batch_along() {
    // The server refuses every request that has the word in it.
    let server = Server::start();
    let mut post = Post::of(&webhook(&server));
    let texts = ["a", "b", "c", "d", "e", "poison", "f", "g"];
    post.spool.push_all(&texts.map(|text| entry(Kind::Drift, text))).unwrap();
    server.otherwise(Act::status(422));
    // 8, 4, 2 and 1 are refused: "a" goes although it is harmless, for the server refuses all.
    let mut shipped = post.ship();
    assert!(shipped.sinks[0].totals.refused >= 1);
    let refused = shipped.sinks[0].totals.refused;
    server.otherwise(Act::status(200));
    shipped = post.ship_later(1);
    assert_eq!(shipped.sinks[0].totals.sent + refused, 8);
    assert_eq!(shipped.waiting(), 0);
}

#[test]
fn batches_are_halved_until_the_one_to_blame_is_found() {
    let refused = Act::status(413);
    let taken = Act::status(200);
    // 8: no. 4: yes. 4 left (2 x 4): no. 2 ("e", "poison"): no. 1 ("e"): yes. 2 ("poison", "f"): no. 1 ("poison"): no,
    // and dropped. 2: yes.
    let script = [&refused, &taken, &refused, &refused, &taken, &refused, &refused, &taken].map(Clone::clone);
    let server = Server::scripted(&script);
    let mut post = Post::of(&webhook(&server));
    let texts = ["a", "b", "c", "d", "e", "poison", "f", "g"];
    post.spool.push_all(&texts.map(|text| entry(Kind::Drift, text))).unwrap();
    let shipped = post.ship();
    assert_eq!((shipped.sinks[0].totals.sent, shipped.sinks[0].totals.refused, shipped.waiting()), (7, 1, 0));
    let taken = messages(&server).into_iter().zip([false, true, false, false, true, false, false, true]);
    let arrived: Vec<String> = taken.filter(|(_, taken)| *taken).flat_map(|(batch, _)| batch).collect();
    assert_eq!(arrived, ["a", "b", "c", "d", "e", "f", "g"]);
}

#[test]
fn a_wrong_token_or_address_keeps_the_entries_until_somebody_mends_it() {
    for status in [301, 401, 403, 404, 407, 408, 429, 500, 502, 503, 504] {
        let server = Server::scripted(&[Act::status(status), Act::status(200)]);
        let mut post = Post::of(&webhook(&server));
        post.push(Kind::Drift, "a");
        let shipped = post.ship();
        assert_eq!((shipped.waiting(), shipped.sinks[0].totals.refused), (1, 0), "{status}");
        assert_eq!(post.ship_later(1).sent(), 1, "{status}");
    }
}

#[test]
fn nothing_follows_a_redirect() {
    let other = Server::start();
    let location = Box::leak(format!("location: {}/\r\n", other.url()).into_boxed_str());
    for status in [301, 302, 307, 308] {
        let server = Server::scripted(&[Act::Answer(status, location, String::new())]);
        let mut post = Post::of(&webhook(&server));
        post.push(Kind::Drift, "a");
        assert_eq!(post.ship().waiting(), 1);
    }
    assert!(other.received().is_empty());
}

fn judged(sink: &dyn Sink, status: u16, body: &str) -> Verdict {
    sink.judge(&Answer { status, retry_after: None, body: body.as_bytes().to_vec() })
}

#[track_caller]
fn assert_later(verdict: Verdict, text: &str) {
    assert!(matches!(&verdict, Verdict::Later { why, .. } if why.contains(text)), "{verdict:?}");
}

const TAKEN: Verdict = Verdict::Taken { refused: 0, why: None };

#[test]
fn splunk_must_say_that_it_was_splunk() {
    let splunk = Splunk { index: None, sourcetype: String::new() };
    assert_eq!(judged(&splunk, 200, r#"{"text":"Success","code":0}"#), TAKEN);
    assert_eq!(judged(&splunk, 200, "\"OK\"\n"), TAKEN);
    assert_later(judged(&splunk, 200, "<html>welcome"), "not Splunk's collector");
    assert_later(judged(&splunk, 200, r#"{"text":"Server is busy","code":9}"#), "code 9: Server is busy");
    assert_later(judged(&splunk, 503, r#"{"text":"Server is busy","code":9}"#), "503");
    assert_later(judged(&splunk, 403, r#"{"text":"Invalid token","code":4}"#), "Invalid token");
    assert!(matches!(judged(&splunk, 400, r#"{"text":"Incorrect index","code":7}"#), Verdict::Refused(_)));
}

#[test]
fn elastic_answers_for_each_document() {
    let elastic = Elastic::new("logs");
    let items = |statuses: &[u16]| {
        let item = |status: &u16| format!(r#"{{"create":{{"status":{status},"error":{{"type":"t","reason":"r"}}}}}}"#);
        format!(r#"{{"errors":true,"items":[{}]}}"#, statuses.iter().map(item).collect::<Vec<_>>().join(","))
    };
    assert_eq!(judged(&elastic, 200, r#"{"errors":false}"#), TAKEN);
    assert_eq!(judged(&elastic, 200, &items(&[201, 409])), TAKEN);
    let why = Some("it answers 400 for an entry: t: r".to_owned());
    assert_eq!(judged(&elastic, 200, &items(&[201, 400, 400])), Verdict::Taken { refused: 2, why });
    assert_later(judged(&elastic, 200, &items(&[201, 400, 429])), "429 for an entry");
    assert_later(judged(&elastic, 200, &items(&[503])), "503 for an entry");
    assert_later(judged(&elastic, 200, "[]"), "not Elasticsearch's bulk API");
    assert_later(judged(&elastic, 401, ""), "401");
}

#[test]
fn otlp_is_sent_again_where_its_specification_says_so_and_nowhere_else() {
    for status in [429, 502, 503, 504] {
        assert_later(judged(&Otlp, status, ""), &status.to_string());
    }
    for status in [400, 413, 415, 422, 500, 501, 505, 599] {
        assert!(matches!(judged(&Otlp, status, ""), Verdict::Refused(_)), "{status}");
    }
    for body in ["", "{}", r#"{"partialSuccess":{}}"#, r#"{"partialSuccess":{"errorMessage":"take care"}}"#] {
        assert_eq!(judged(&Otlp, 200, body), TAKEN);
    }
    for number in ["2", "\"2\""] {
        let body = format!(r#"{{"partialSuccess":{{"rejectedLogRecords":{number},"errorMessage":"too old"}}}}"#);
        let why = Some("it rejects 2 entries: too old".to_owned());
        assert_eq!(judged(&Otlp, 200, &body), Verdict::Taken { refused: 2, why });
    }
}

#[test]
fn partly_rejected_entries_are_counted_and_not_sent_again() {
    let body = r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}"#;
    let server = Server::scripted(&[Act::body(200, body)]);
    let mut post = Post::of(&format!("- {{otlp: {{url: '{}'}}, proxy: none}}", server.url()));
    post.push(Kind::Drift, "a");
    post.push(Kind::Drift, "b");
    let shipped = post.ship();
    assert_eq!((shipped.sinks[0].totals.sent, shipped.sinks[0].totals.refused, shipped.waiting()), (1, 1, 0));
    post.ship_later(60);
    assert_eq!(server.received().len(), 1);
}

#[test]
fn what_a_receiver_says_is_cut_down_and_cannot_steer_a_terminal() {
    let Verdict::Refused(why) = judged(&Webhook, 400, &"\u{1b}[2J".repeat(1000)) else { panic!() };
    assert!(why.len() < 3000 && !why.contains('\u{1b}'), "{why}");
}
