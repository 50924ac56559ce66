// SPDX-License-Identifier: Apache-2.0
//! `schemas/*.json` say what the reader does.

use hostwrit::manifest::schema;

use super::{Files, blesses, folders, in_repo};

#[test]
fn schemas_are_not_stale() {
    let mut named = 0;
    for (name, schema) in hostwrit::cli::schemas() {
        let path = in_repo(&format!("schemas/{name}.json"));
        let fresh = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if blesses() {
            std::fs::write(&path, &fresh).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == fresh,
            "schemas/{name}.json is stale; HOSTWRIT_BLESS=1 cargo test --test manifest rewrites it"
        );
        named += 1;
    }
    let files = folders("schemas").into_iter().filter(|path| path.extension().is_some_and(|end| end == "json"));
    assert_eq!(files.count(), named, "a schema of nothing lies in schemas/");
}

/// Returns the name of the schema for a file of a repo.
fn schema_for(path: &str) -> Option<&'static str> {
    match path.split_once('/') {
        Some(("hosts", file)) if file.ends_with(".yaml") => Some("host"),
        Some(("profiles", file)) if file.ends_with(".yaml") => Some("profile"),
        Some(("policy", "policy.yaml")) => Some("policy"),
        None if path == "hostwrit.yaml" => Some("hostwrit"),
        _ => None,
    }
}

fn errors(schema: &str, text: &[u8]) -> Vec<String> {
    let (_, schema) = schema::all().into_iter().find(|(name, _)| *name == schema).unwrap();
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    let value: serde_json::Value = hostwrit::yaml::read("x.yaml", text).unwrap();
    validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn what_the_reader_accepts_the_schemas_accept() {
    let mut tried = 0;
    for case in folders("schemas/examples/valid").into_iter().chain([in_repo("example-repo")]) {
        for (path, text) in Files::read(&case).0 {
            if let Some(schema) = schema_for(&path) {
                assert_eq!(errors(schema, &text), Vec::<String>::new(), "{} {path}", case.display());
                tried += 1;
            }
        }
    }
    assert!(tried >= 5);
}

#[test]
fn common_mistakes_are_seen_by_the_schemas_too() {
    for wrong in [
        "users: {a: {shel: /bin/sh}}",
        "users: {a: {uid: \"5\"}}",
        "users: {a: {shell: }}",
        "users: {a: {absent: true, shell: /bin/sh}}",
        "files: {/a: {mode: 644}}",
        "files: {/a: {observe: yes}}",
        "usres: {}",
        "profiles: [a, a]",
    ] {
        assert!(!errors("host", wrong.as_bytes()).is_empty(), "{wrong}");
    }
    assert!(!errors("profile", b"labels: {a: b}").is_empty());
    assert!(!errors("hostwrit", b"format: 1").is_empty());
    assert!(errors("host", b"users: {a: , b: {absent: true, observe: true}}").is_empty());
}
