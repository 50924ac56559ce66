// SPDX-License-Identifier: Apache-2.0
//! The commands as people and programs meet them: words, JSON, exit codes. What they do is tested elsewhere.
#![allow(clippy::disallowed_methods)]

#[path = "../fixture/mod.rs"]
mod fixture;
#[path = "../site/mod.rs"]
mod site;

mod approve;
mod commands;
mod configs;
mod control;
mod demo;
mod fleet;
mod hooks;
mod init;
mod team;
mod terminal;
mod trust;

use site::{Ran, Site};

const HOST: &str = r#"users:
  deploy: {uid: 4001, password: locked}
files:
  /etc/motd: {content: "Kept by hostwrit.\n"}
  /etc/issue: {content: "x\n", observe: true}
"#;

fn site() -> Site {
    Site::new(&[("hosts/web1.yaml", HOST)])
}

/// Returns all that a command left, without what differs from run to run.
fn shown(ran: &Ran) -> String {
    let mut text = ran.stdout.clone();
    if !ran.stderr.is_empty() {
        text.push_str(&format!("--- stderr\n{}", ran.stderr));
    }
    text.push_str(&format!("--- exit code {}", ran.code));
    // Only root compares and sets owners.
    for owners in [", owner root, group root", ", owner, group"] {
        text = text.replace(owners, "");
    }
    without_digests(&without_times(&text))
}

/// Replaces `2026-01-02T03:04:05Z` by a word.
fn without_times(text: &str) -> String {
    let is_time = |word: &[u8]| {
        word.iter().zip(b"0000-00-00T00:00:00Z").all(|(found, form)| match form {
            b'0' => found.is_ascii_digit(),
            _ => found == form,
        })
    };
    replace(text, 20, is_time, "TIME")
}

fn without_digests(text: &str) -> String {
    let is_digest = |word: &[u8]| word.starts_with(b"sha256:") && word[7..].iter().all(u8::is_ascii_hexdigit);
    replace(text, 7 + 64, is_digest, "DIGEST")
}

/// Replaces each run of `length` bytes that `matches` by `word`.
fn replace(text: &str, length: usize, matches: impl Fn(&[u8]) -> bool, word: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match rest.as_bytes().get(..length) {
            Some(found) if matches(found) => {
                kept.push_str(word);
                rest = &rest[length..];
            }
            _ => {
                kept.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    kept
}

/// Demands that JSON is as its published schema says.
fn is_valid(schema: &str, json: &str) -> serde_json::Value {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{schema}.json"));
    let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let errors: Vec<String> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&value).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new(), "{json}");
    value
}
