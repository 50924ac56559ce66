// SPDX-License-Identifier: Apache-2.0
//! The reference says what the code does, and its links lead somewhere.
//!
//! `HOSTWRIT_BLESS=1 cargo test --test docs` rewrites what is generated: `docs/reference/cli.md` and the schemas of answers.

#![allow(clippy::disallowed_methods, reason = "reads and writes the project's own files")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Component, Path, PathBuf};

use clap::{Command, CommandFactory as _};
use hostwrit::audit::entry::{Cause, Event, RevertedBy, Signer};
use hostwrit::audit::{Entry, OutcomeResult};
use hostwrit::cli::{Cli, schemas};
use hostwrit::engine::State;
use hostwrit::model::{Action, Actor, Digest, ObjectId};
use hostwrit::resources::{EachKind, Resource, each_kind};
use hostwrit::trust::Code;
use serde_json::Value;

/// As wide as a line of text may get.
const WIDE: usize = 120;

fn in_repo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn blesses() -> bool {
    std::env::var_os("HOSTWRIT_BLESS").is_some()
}

fn page(name: &str) -> String {
    let path = in_repo(&format!("docs/reference/{name}.md"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the rows of all tables of a page by what stands in backquotes in their first column.
fn rows(page: &str) -> BTreeMap<&str, &str> {
    let entry = |line| {
        let (key, rest) = str::strip_prefix(line, "| `")?.split_once('`')?;
        Some((key, rest))
    };
    page.lines().filter_map(entry).collect()
}

/// Fails unless the stored file is what was just made; writes it where that is asked for.
fn assert_fresh(path: &str, fresh: &str) {
    if blesses() {
        fs::write(in_repo(path), fresh).unwrap();
    }
    let stored = fs::read_to_string(in_repo(path)).unwrap_or_default();
    assert!(stored == fresh, "{path} is stale; HOSTWRIT_BLESS=1 cargo test --test docs rewrites it");
}

#[test]
fn the_page_of_commands_is_what_help_says() {
    let mut text = "# Commands\n\n".to_owned();
    text.push_str("<!-- Made from the program's help: HOSTWRIT_BLESS=1 cargo test --test docs -->\n");
    let mut program = Cli::command();
    program.build();
    describe(&program, &mut text);
    text.push_str("\n## Exit codes\n\nThe same for every command: [exit-codes.md](exit-codes.md).\n");
    assert_fresh("docs/reference/cli.md", &text);
}

/// Writes a command and all below it.
fn describe(command: &Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    if command.get_name() != "hostwrit" {
        write!(text, "\n## {name}\n").unwrap();
    }
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    for paragraph in about.split("\n\n") {
        write!(text, "\n{}\n", wrapped(paragraph)).unwrap();
    }
    let usage = command.clone().render_usage().to_string();
    write!(text, "\n```text\n{}\n```\n", usage.trim_start_matches("Usage: ").trim()).unwrap();
    let own = |argument: &&clap::Arg| {
        !["help", "version"].contains(&argument.get_id().as_str())
            && (command.get_name() == "hostwrit" || !argument.is_global_set())
    };
    let arguments: Vec<_> = command.get_arguments().filter(own).collect();
    if !arguments.is_empty() {
        text.push_str("\n| argument | what for |\n|---|---|\n");
    }
    for argument in arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let takes = argument.get_action().takes_values();
        let default =
            if takes && !defaults.is_empty() { format!("; default `{}`", defaults.join(" ")) } else { String::new() };
        let shown = argument.to_string();
        writeln!(text, "| `{shown}` | {help}{default} |").unwrap();
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        describe(below, text);
    }
}

fn wrapped(paragraph: &str) -> String {
    let mut lines = vec![String::new()];
    for word in paragraph.split_whitespace() {
        let last = lines.last_mut().unwrap();
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= WIDE {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

#[test]
fn every_refusal_code_has_its_remedy_in_the_reference() {
    let page = page("refusals");
    let rows = rows(&page);
    for code in Code::ALL {
        let row = rows.get(code.as_str()).unwrap_or_else(|| panic!("refusals.md has no row for {code}"));
        assert!(row.contains(code.hint()), "refusals.md gives another remedy for {code} than: {}", code.hint());
    }
}

#[test]
fn every_code_of_a_finding_has_a_row() {
    let page = page("findings");
    for code in hostwrit::resources::findings::Code::ALL {
        assert!(rows(&page).contains_key(code.as_str()), "findings.md has no row for {code}");
    }
    let known: Vec<&str> = hostwrit::resources::findings::Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(hostwrit::metrics::FINDINGS, known, "the metric has one series for each code");
}

/// Returns what stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns what follows `- NAME: ` in a section, up to the next point or empty line.
fn point<'s>(section: &'s str, name: &str) -> Option<&'s str> {
    let (_, rest) = section.split_once(&format!("\n- {name}: "))?;
    let end = ["\n- ", "\n\n"].iter().filter_map(|end| rest.find(end)).min();
    Some(&rest[..end.unwrap_or(rest.len())])
}

#[test]
fn every_rule_of_the_specification_names_its_codes_and_tests_that_exist() {
    let page = fs::read_to_string(in_repo("docs/spec/trust.md")).unwrap();
    let known: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let mut used = BTreeSet::new();
    let mut number = 0;
    for section in page.split("\n### ").skip(1) {
        number += 1;
        let title = section.lines().next().unwrap();
        assert!(title.starts_with(&format!("T{number} ")), "\"{title}\" is rule {number}");
        let codes = point(section, "Codes").unwrap_or_else(|| panic!("{title}: which codes?"));
        for code in quoted(codes) {
            assert!(known.contains(code), "{title}: there is no code {code}");
            used.insert(code);
        }
        let tests = point(section, "Tests").unwrap_or_else(|| panic!("{title}: which tests?"));
        assert!(quoted(tests).next().is_some(), "{title}: which tests?");
        for test in quoted(tests) {
            let (file, name) = test.split_once(": ").unwrap_or_else(|| panic!("{title}: {test} is not FILE: TEST"));
            let source = fs::read_to_string(in_repo(file)).unwrap_or_else(|error| panic!("{title}: {file}: {error}"));
            assert!(source.contains(&format!("fn {name}(")), "{title}: {file} has no test {name}");
        }
    }
    let without: Vec<_> = known.difference(&used).collect();
    assert!(number > 30 && without.is_empty(), "no rule refuses with {without:?}");
}

#[test]
fn every_event_of_the_audit_log_has_an_example_with_all_its_fields() {
    let page = page("audit-log");
    for event in events() {
        let entry = Entry { seq: 1, prev: Digest::ZERO, time: String::new(), event };
        let value = serde_json::to_value(entry).unwrap();
        let name = value["event"].as_str().unwrap();
        let (_, section) =
            page.split_once(&format!("\n### {name}\n")).unwrap_or_else(|| panic!("audit-log.md has no section {name}"));
        let section = section.split("\n##").next().unwrap();
        let line = section.lines().find(|line| line.starts_with('{'));
        let line = line.unwrap_or_else(|| panic!("audit-log.md has no example of {name}"));
        let example: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
        serde_json::from_str::<Entry>(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
        for key in value.as_object().unwrap().keys() {
            assert!(example.get(key).is_some(), "the example of {name} in audit-log.md lacks {key}");
        }
    }
}

/// One event of each sort, with every field that it can have.
fn events() -> Vec<Event> {
    let text = String::new;
    let all = vec![
        Event::Accepted {
            commit: text(),
            signers: vec![Signer { commit: text(), principal: text(), key: text() }],
            policy_version: 1,
            root: Some(text()),
        },
        Event::Ordered {
            order: text(),
            commit: text(),
            from: Some(text()),
            root: text(),
            nonce: text(),
            key: text(),
            not_after: text(),
            reason: text(),
        },
        Event::Stale { newest: Some(text()), max_age: text() },
        Event::Refused { commit: Some(text()), code: text(), message: text() },
        Event::Held { commit: text(), code: text(), message: text(), good: Some(text()) },
        Event::Confirming { id: text(), commit: text(), within: text(), objects: vec![] },
        Event::Confirmed { id: text(), commit: text(), proofs: vec![] },
        Event::Reverted { id: text(), commit: text(), by: RevertedBy::Timer, why: text(), left: vec![text()] },
        Event::Planned { commit: text(), plan: Digest::ZERO, cause: Cause::Commit, steps: 1 },
        Event::Intent { plan: Digest::ZERO, object: ObjectId::new("user", "a"), action: Action::Add, changes: vec![] },
        Event::Outcome { intent: 1, result: OutcomeResult::Failed, message: Some(text()) },
        Event::Converged { commit: text() },
        Event::Paused { until: text(), reason: text(), by: actor() },
        Event::Resumed { by: Some(actor()) },
        Event::MaintenanceBegun {
            from: text(),
            until: text(),
            reason: text(),
            except: [ObjectId::new("service", "a")].into(),
        },
        Event::MaintenanceEnded {},
        Event::Recovered { bytes: 1, digest: Digest::ZERO },
        Event::Cut { remembered: 1, remembered_digest: Digest::ZERO },
    ];
    // A new event does not compile here until it is in the list above.
    for event in &all {
        match event {
            Event::Accepted { .. }
            | Event::Ordered { .. }
            | Event::Stale { .. }
            | Event::Refused { .. }
            | Event::Held { .. }
            | Event::Confirming { .. }
            | Event::Confirmed { .. }
            | Event::Reverted { .. }
            | Event::Planned { .. }
            | Event::Intent { .. }
            | Event::Outcome { .. }
            | Event::Converged { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::MaintenanceBegun { .. }
            | Event::MaintenanceEnded { .. }
            | Event::Recovered { .. }
            | Event::Cut { .. } => {}
        }
    }
    all
}

fn actor() -> Actor {
    Actor { uid: 0, user: Some(String::new()), login: Some(String::new()), claims: Some(String::new()) }
}

/// Returns the keys that a schema knows at its top.
fn keys_of(schema: &Value) -> Vec<String> {
    schema["properties"].as_object().map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn every_key_of_every_kind_has_a_row_on_the_page_of_its_kind() {
    struct Check;
    impl EachKind for Check {
        fn kind<R: Resource>(&mut self) {
            let page = page(R::KEY);
            let rows = rows(&page);
            let keys = keys_of(schemars::schema_for!(R::Spec).as_value());
            assert!(!keys.is_empty());
            for key in keys {
                assert!(rows.contains_key(key.as_str()), "{}.md has no row for {key}", R::KEY);
            }
            assert!(page.contains(&format!("`{}:", R::KIND)), "{}.md does not show how an object is written", R::KEY);
        }
    }
    each_kind(&mut Check);
}

#[test]
fn every_key_of_configuration_policy_and_top_file_has_a_row() {
    for (name, page_name) in [("config", "config"), ("policy", "policy"), ("hostwrit", "repo-format")] {
        let page = page(page_name);
        let rows = rows(&page);
        let (_, schema) = schemas().into_iter().find(|(known, _)| *known == name).unwrap();
        for key in keys_of(schema.as_value()) {
            assert!(rows.contains_key(key.as_str()), "{page_name}.md has no row for {key}");
        }
    }
}

#[test]
fn every_metric_has_a_row_that_says_what_its_help_says() {
    let page = page("metrics");
    let rows = rows(&page);
    for family in hostwrit::metrics::family::ALL {
        let name = family.name;
        let row = rows.get(name).unwrap_or_else(|| panic!("metrics.md has no row for {name}"));
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let expected = format!(" | {} | {} | {} |", family.kind.as_str(), labels.join(", "), family.help);
        assert_eq!(*row, expected, "{name}");
    }
    assert_eq!(rows.len(), hostwrit::metrics::family::ALL.len(), "metrics.md has a row of a metric that there is not");
}

#[test]
fn every_field_of_the_state_has_a_row() {
    let page = page("state-and-files");
    let rows = rows(&page);
    let state = serde_json::to_value(State::default()).unwrap();
    for key in state.as_object().unwrap().keys() {
        assert!(rows.contains_key(key.as_str()), "state-and-files.md has no row for {key}");
    }
}

#[test]
fn every_kind_and_every_key_of_reports_has_a_row() {
    let page = self::page("reports");
    for kind in hostwrit::report::Kind::ALL {
        assert!(rows(&page).contains_key(kind.as_str()), "reports.md has no row for {}", kind.as_str());
    }
    let page = self::page("config");
    for key in keys_of(schemars::schema_for!(hostwrit::report::ReportSpec).as_value()) {
        assert!(rows(&page).contains_key(key.as_str()), "config.md has no row for {key}");
    }
}

#[test]
fn every_exit_code_of_help_has_its_row() {
    let help = Cli::command().get_after_help().unwrap().to_string();
    let page = page("exit-codes");
    let rows = rows(&page);
    let codes: BTreeSet<&str> =
        help.lines().filter_map(|line| line.trim().split_once("  ")).map(|(code, _)| code).collect();
    assert!(codes.len() >= 6, "{help}");
    for code in codes {
        assert!(rows.contains_key(code), "exit-codes.md has no row for {code}");
    }
}

#[test]
fn every_schema_is_stored_and_named_once() {
    let page = page("json");
    let rows = rows(&page);
    let mut names = BTreeSet::new();
    for (name, schema) in schemas() {
        assert!(names.insert(name), "there are two schemas {name}");
        assert!(rows.contains_key(name), "json.md has no row for {name}");
        let fresh = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        assert_fresh(&format!("schemas/{name}.json"), &fresh);
    }
}

/// Every Markdown file of the project, by its path below the top.
fn markdown() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(in_repo("").join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            if entry.file_type().unwrap().is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 30, "the pages are not where this test looks for them");
    found
}

/// Returns the text without fenced blocks, in which nothing is a link or a heading.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let outside = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    };
    text.lines().filter(outside).collect::<Vec<_>>().join("\n")
}

/// Returns what a link to a heading has after the `#`.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let keep = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings.map(|heading| heading.to_lowercase().chars().filter(keep).collect::<String>().replace(' ', "-")).collect()
}

/// Takes `.` and `..` out of a path without asking the disk.
fn straight(path: &Path) -> PathBuf {
    let mut straight = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(straight.pop()),
            Component::CurDir => {}
            other => straight.push(other),
        }
    }
    straight
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut wrong = Vec::new();
    for path in markdown() {
        let text = prose(&fs::read_to_string(in_repo("").join(&path)).unwrap());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { straight(&path.with_file_name("").join(file)) };
            let there = in_repo("").join(&target);
            let leads = there.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&there).is_ok_and(|text| anchors(&prose(&text)).contains(anchor)));
            if !leads {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}
