// SPDX-License-Identifier: Apache-2.0
//! The arrows between modules point one way, and what must stay out of a module stays out.

#![allow(clippy::disallowed_methods, reason = "reads the project's own sources")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and the modules that it may name. ARCHITECTURE.md draws the same picture.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("host", &["model"]),
    ("yaml", &["model"]),
    ("source", &["model", "host", "web"]),
    ("trust", &["model", "yaml"]),
    ("resources", &["model", "host"]),
    ("manifest", &["model", "yaml", "trust", "resources", "host"]),
    ("audit", &["model", "host"]),
    ("control", &["model", "host"]),
    ("web", &[]),
    ("metrics", &[]),
    ("report", &["model", "web"]),
    (
        "engine",
        &[
            "control",
            "model",
            "host",
            "yaml",
            "source",
            "trust",
            "manifest",
            "resources",
            "audit",
            "metrics",
            "report",
            "web",
        ],
    ),
    ("courier", &["model", "source", "metrics", "report", "fleet", "web"]),
    ("doctor", &["model", "host", "source", "audit", "control", "engine"]),
    ("fleet", &["model", "metrics", "web"]),
    (
        "cli",
        &[
            "model",
            "host",
            "yaml",
            "source",
            "trust",
            "manifest",
            "resources",
            "audit",
            "control",
            "metrics",
            "report",
            "engine",
            "courier",
            "doctor",
            "fleet",
        ],
    ),
];

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    // Unit tests may bring together what the program keeps apart.
    found.retain(|path| !path.iter().any(|part| part == "tests" || part == "tests.rs"));
    found.sort();
    assert!(found.len() > 50, "the sources are not where this test looks for them");
    found
}

/// Returns the path below `src/` and the text without comments.
fn read(path: &Path) -> (String, String) {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let text = fs::read_to_string(path).unwrap();
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    (below.to_str().unwrap().to_owned(), code.join("\n"))
}

fn module_of(below: &str) -> Option<&str> {
    below.split_once('/').map(|(module, _)| module)
}

/// Every `crate::NAME` in the code, in `use` lines and elsewhere.
fn named_modules(code: &str) -> BTreeSet<&str> {
    let names = code
        .split("crate::")
        .skip(1)
        .map(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default());
    names.filter(|name| ARROWS.iter().any(|(module, _)| module == name)).collect()
}

#[test]
fn imports_follow_the_arrows() {
    let mut wrong = Vec::new();
    for path in sources() {
        let (below, code) = read(&path);
        let Some(module) = module_of(&below) else { continue };
        let (_, allowed) = ARROWS
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("src/{module}/ is not in the table of arrows"));
        for named in named_modules(&code) {
            if named != module && !allowed.contains(&named) {
                wrong.push(format!("src/{below} names {named}: {module} must not know it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_test_of_arrows_sees_an_arrow() {
    assert_eq!(named_modules("use crate::host::ReadHost; let x = crate::trust::Anchor;"), ["host", "trust"].into());
}

#[test]
fn diffs_are_pure() {
    for path in sources() {
        let (below, code) = read(&path);
        if below.starts_with("resources/") && below.ends_with("/diff.rs") {
            for word in ["ReadHost", "WriteHost", "std::fs", "std::env", "SystemTime"] {
                assert!(!code.contains(word), "src/{below} names {word}: a diff is given all that it needs");
            }
        }
    }
}

#[test]
fn trust_and_model_do_no_io() {
    for path in sources() {
        let (below, code) = read(&path);
        if below.starts_with("trust/") || below.starts_with("model/") {
            for word in ["std::fs", "std::net", "std::process", "std::env", "SystemTime::now", "Instant::now"] {
                assert!(!code.contains(word), "src/{below} names {word}");
            }
        }
    }
}

#[test]
fn only_one_module_knows_the_yaml_library() {
    for path in sources() {
        let (below, code) = read(&path);
        assert!(below.starts_with("yaml/") || !code.contains("serde_yaml"), "src/{below} names serde_yaml");
    }
}

#[test]
fn nothing_is_checked_out() {
    for path in sources() {
        let (below, code) = read(&path);
        for word in ["worktree", "checkout", "gix_worktree"] {
            assert!(!code.contains(word), "src/{below} names {word}: blobs are read by id, never checked out");
        }
    }
}

#[test]
fn kinds_do_not_name_one_another() {
    let kinds = ["file", "group", "service", "user"];
    for path in sources() {
        let (below, code) = read(&path);
        let Some(kind) = kinds.iter().find(|kind| below.starts_with(&format!("resources/{kind}/"))) else { continue };
        for other in kinds.iter().filter(|other| *other != kind) {
            for form in
                [format!("resources::{other}::"), format!("super::super::{other}::"), format!("super::{other}::")]
            {
                assert!(!code.contains(&form), "src/{below} names the kind {other}");
            }
        }
    }
}

#[test]
fn every_source_file_names_its_licence_first() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("// SPDX-License-Identifier: Apache-2.0\n"), "{}", path.display());
    }
}
