// SPDX-License-Identifier: Apache-2.0
//! Replays what the fuzzers found and what they started from, so that it holds in every `cargo test`.

#![allow(clippy::disallowed_methods, reason = "reads the corpus")]

use std::fs;
use std::path::Path;

use super::*;

/// Gives each file of `fuzz/corpus/TARGET` to the door.
#[track_caller]
fn replay(target: &str, door: fn(&[u8]) -> bool) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let (mut accepted, mut refused) = (0, 0);
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        match std::panic::catch_unwind(|| door(&data)) {
            Ok(true) => accepted += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("{} breaks what must hold of every input", path.display()),
        }
    }
    // A door that refuses everything, or nothing, would test nothing.
    assert!(accepted > 0 && refused > 0, "{target}: {accepted} accepted, {refused} refused");
}

#[test]
fn the_corpus_of_commits_holds() {
    replay("commit", commit);
}

#[test]
fn the_corpus_of_trees_holds() {
    replay("tree", tree);
}

#[test]
fn the_corpus_of_policies_holds() {
    replay("policy", policy);
}

#[test]
fn the_corpus_of_openpgp_holds() {
    replay("openpgp", openpgp);
}

#[test]
fn the_corpus_of_ssh_holds() {
    replay("ssh", ssh);
}

#[test]
fn the_fixtures_are_accepted_and_verify() {
    for fixture in FIXTURES.iter().filter(|fixture| fixture.path.ends_with(".asc")) {
        assert!(openpgp(fixture.key) && openpgp(fixture.signature), "{}", fixture.path);
        let cert = Cert::from_bytes(fixture.key).unwrap();
        let signature = OpenPgp::parse(fixture.signature).unwrap();
        signature.verify(PAYLOAD, &cert).unwrap();
    }
    for fixture in FIXTURES.iter().filter(|fixture| fixture.path.ends_with(".pub")) {
        assert!(ssh(fixture.key) && ssh(fixture.signature), "{}", fixture.path);
        Ssh::parse(fixture.signature, GIT).unwrap().verify(PAYLOAD).unwrap();
    }
}
