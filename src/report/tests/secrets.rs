// SPDX-License-Identifier: Apache-2.0
//! No message has a secret in it, whoever brings it up.

use super::server::Act;
use super::*;

const SECRET: &str = "s3cr3t-s3cr3t";

#[test]
fn a_receiver_that_repeats_the_token_does_not_get_it_into_a_message() {
    let says = format!("token {SECRET} and Splunk {SECRET} are unknown");
    for status in [400, 403, 500] {
        let server = Server::scripted(&[Act::body(status, &says)]);
        let url = server.url();
        for reports in [
            format!("- {{splunk: {{url: '{url}'}}, token: {{credential: key}}, proxy: none}}"),
            format!("- {{webhook: {{url: '{url}', secret: {{credential: key}}}}, proxy: none}}"),
        ] {
            let mut post = Post::of(&reports);
            post.credential("key", SECRET);
            post.push(Kind::Drift, "a");
            let shipped = post.ship();
            assert!(Post::problem(&shipped).contains("token [secret] and"), "{shipped:?}");
            assert!(!format!("{shipped:?}{:?}", post.shipper).contains(SECRET));
        }
    }
}

#[test]
fn a_secret_address_is_in_no_message() {
    let server = Server::scripted(&[Act::body(404, &format!("/hooks/{SECRET} is not here"))]);
    let whole = format!("{}/hooks/{SECRET}", server.url());
    let reports = "- {webhook: {secret_url: {credential: hook}}, proxy: none, timeout: 1s}";
    for url in [
        whole.as_str(),
        &format!("https://127.0.0.1:1/{SECRET}"),
        &format!("http://hooks.example.org/{SECRET}"),
        &format!("https://{SECRET}.invalid/"),
        &format!("https://{SECRET}:{SECRET}@127.0.0.1/"),
        &format!("ftp://{SECRET}/"),
        &format!("{SECRET} {SECRET}"),
        &format!("https://host/\u{1}{SECRET}"),
    ] {
        let mut post = Post::of(reports);
        post.credential("hook", url);
        post.push(Kind::Drift, "a");
        let shipped = post.ship();
        assert_eq!(shipped.waiting(), 1, "{url}");
        let text = format!("{shipped:?}{:?}", post.shipper);
        assert!(!Post::problem(&shipped).is_empty() && !text.contains(SECRET), "{url}: {text}");
    }
    assert_eq!(server.the_request().line, format!("POST /hooks/{SECRET} HTTP/1.1"));
}

#[test]
fn a_credential_that_is_missing_empty_or_odd_is_named_and_the_entries_wait() {
    let server = Server::start();
    let reports = format!("- {{loki: {{url: '{}'}}, token: {{credential: key}}, proxy: none}}", server.url());
    let mut post = Post::of(&reports);
    post.push(Kind::Drift, "a");
    let shipped = post.ship();
    let wanted = "there is no credential \"key\": add LoadCredential=key:FILE to hostwrit-courier.service";
    assert_eq!((Post::problem(&shipped), shipped.waiting()), (wanted, 1));
    for (content, wanted) in [
        ("\n", "the credential \"key\" is empty"),
        ("s3cr3t\u{7f}x", "the credential \"key\" has characters that a header cannot carry"),
        (&"s3cr3t".repeat(10_000), "the credential \"key\" is longer than 16 KiB"),
    ] {
        post.credential("key", content);
        let shipped = post.ship_later(60);
        assert_eq!(Post::problem(&shipped), wanted);
        post = post.again();
    }
    post.credential("key", "good");
    assert_eq!(post.ship_later(120).sent(), 1);
}
