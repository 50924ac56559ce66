// SPDX-License-Identifier: Apache-2.0
//! `schemas/examples/invalid-config/`: each file has a mistake, and beside it the exact words that it is met with.
//!
//! `HOSTWRIT_BLESS=1 cargo test --test cli configs` rewrites the expected files.

use std::fs;
use std::path::{Path, PathBuf};

use hostwrit::engine::Config;

use super::{shown, site};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/examples")
}

#[test]
fn every_invalid_configuration_is_refused_with_the_expected_words() {
    let mut tried = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(examples().join("invalid-config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            assert!(path.with_extension("yaml").exists(), "{} belongs to no example", path.display());
            continue;
        }
        tried += 1;
        let found = match Config::parse("config.yaml", &fs::read(&path).unwrap(), None) {
            Ok(_) => "no fault was found\n".to_owned(),
            Err(faults) => format!("{faults}\n"),
        };
        let file = path.with_extension("expected");
        if std::env::var_os("HOSTWRIT_BLESS").is_some_and(|value| value == "1") {
            fs::write(&file, &found).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if expected != found || found.starts_with("no fault") {
            wrong.push(format!("{}: expected\n{expected}found\n{found}", path.display()));
        }
    }
    assert!(tried >= 15 && wrong.is_empty(), "{tried} tried\n{}", wrong.join("\n"));
}

#[test]
fn the_valid_configuration_is_accepted_by_the_reader_and_by_the_schema() {
    let text = fs::read(examples().join("config.yaml")).unwrap();
    Config::parse("config.yaml", &text, None).unwrap();
    let value: serde_json::Value = hostwrit::yaml::read("config.yaml", &text).unwrap();
    super::is_valid("config", &value.to_string());
}

#[test]
fn a_broken_configuration_is_a_usage_error() {
    let site = site();
    site.put("/etc/hostwrit/config.yaml", "fleet: x\n");
    insta::assert_snapshot!(shown(&site.run(&["plan"])), @r#"
    --- stderr
    Error: /etc/hostwrit/config.yaml is not sound:
    /etc/hostwrit/config.yaml:1:1: "remote" is missing
    --- exit code 2
    "#);
    std::fs::remove_file(site.path("/etc/hostwrit/config.yaml")).unwrap();
    insta::assert_snapshot!(shown(&site.run(&["apply"])), @r"
    --- stderr
    Error: there is no /etc/hostwrit/config.yaml; docs/how-to/install.md shows one to start from
    --- exit code 2
    ");
}
