// SPDX-License-Identifier: Apache-2.0
//! `schemas/examples/invalid/`: small repos, each with a mistake and the exact words that it is met with.

use super::{Files, blesses, folders};

/// Lies beside the repo that it is about, and is no part of it.
pub const EXPECTED: &str = "expected-error.txt";

#[test]
fn every_invalid_example_is_refused_with_the_expected_words() {
    let mut wrong = Vec::new();
    let cases = folders("schemas/examples/invalid");
    assert!(cases.len() >= 40, "only {} cases were found", cases.len());
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let checked = hostwrit::manifest::check(&Files::completed(&case));
        if checked.faults.is_empty() {
            wrong.push(format!("{name}: no fault was found"));
            continue;
        }
        let found = format!("{}\n", checked.faults);
        if blesses() {
            std::fs::write(case.join(EXPECTED), &found).unwrap();
        }
        match std::fs::read_to_string(case.join(EXPECTED)) {
            Ok(expected) if expected == found => {}
            Ok(expected) => wrong.push(format!("{name}: expected\n{expected}found\n{found}")),
            Err(_) => wrong.push(format!("{name}: there is no {EXPECTED}; found\n{found}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_valid_example_is_accepted() {
    let cases = folders("schemas/examples/valid");
    assert!(!cases.is_empty());
    for case in cases {
        let checked = hostwrit::manifest::check(&Files::completed(&case));
        assert!(checked.faults.is_empty(), "{}:\n{}", case.display(), checked.faults);
        assert!(checked.hosts > 0, "{} has no host", case.display());
    }
}

#[test]
fn faults_of_all_files_are_reported_in_one_run() {
    let files = Files::of([
        ("hosts/a.yaml", "profiles: [base]\nusres: {}\n"),
        ("hosts/b.yaml", "profiles: [bsae]\n"),
        ("profiles/base.yaml", "users: {x: {shel: /bin/sh, uid: a}}\ngroups: {g: {gid: \"5\"}}\n"),
        ("profiles/unused.yaml", "files: {/a: {content: 5}}\n"),
    ]);
    let found: Vec<String> =
        hostwrit::manifest::check(&files).faults.iter().map(|fault| fault.at.to_string()).collect();
    let expected = [
        "hosts/a.yaml:2",
        "hosts/b.yaml:1",
        "profiles/base.yaml:1",
        "profiles/base.yaml:1",
        "profiles/base.yaml:2",
        "profiles/unused.yaml:1",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let large = format!("# {}\n", "x".repeat(1024 * 1024));
    let faults = hostwrit::manifest::check(&Files::of([("hosts/a.yaml", &large)])).faults;
    assert_eq!(faults.to_string(), "hosts/a.yaml: the file is larger than 1 MiB\n  split it");
}
