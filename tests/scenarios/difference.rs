// SPDX-License-Identifier: Apache-2.0
//! What differs between two states of a host, as text that people can review.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::site::Listed;

/// Where the owner stands in a line, in front of the path.
const OWNER: &str = " owner ";

/// Returns a line for each path that is new, gone or changed, and below it the content that it has now.
pub fn between(before: &[Listed], after: &[Listed], owners: bool) -> String {
    fn by_path(tree: &[Listed]) -> BTreeMap<&str, &Listed> {
        // Locks and the backups of the account files are there for others, and are what shadow-utils leave too.
        let kept = tree.iter().filter(|one| !one.path.ends_with(".lock") && !one.path.ends_with('-'));
        kept.map(|one| (one.path.as_str(), one)).collect()
    }
    let (before, after) = (by_path(before), by_path(after));
    let mut text = String::new();
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        writeln!(text, "- {path}").unwrap();
    }
    for (path, new) in after {
        let sign = match before.get(path) {
            None => '+',
            Some(old) if old.mode != new.mode || old.content != new.content || owners && old.owner != new.owner => '~',
            Some(_) => continue,
        };
        let kind = match new.mode & 0o170000 {
            0o040000 => "directory",
            0o120000 => "link",
            _ => "file",
        };
        write!(text, "{sign} {path}  {kind} {:04o}", new.mode & 0o7777).unwrap();
        if owners {
            write!(text, "{OWNER}{}:{}", new.owner.0, new.owner.1).unwrap();
        }
        writeln!(text).unwrap();
        for line in content(path, new).lines() {
            writeln!(text, "    {line}").unwrap();
        }
    }
    text
}

/// Returns what stands in a file, or where a link leads.
fn content(path: &str, listed: &Listed) -> String {
    let text = String::from_utf8_lossy(&listed.content).into_owned();
    if path != "/etc/shadow" {
        return text;
    }
    // The third field is the day of the last change of the password; the fresh host has a day of its own.
    let dated = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if fields[2] != "20000" {
            fields[2] = "TODAY";
        }
        fields.join(":")
    };
    text.lines().map(|line| dated(line) + "\n").collect()
}

/// Returns the expected text as an ordinary user finds it.
pub fn without_owners(expected: &str) -> String {
    expected.lines().map(|line| line.split(OWNER).next().unwrap_or_default().to_owned() + "\n").collect()
}

/// Returns the signs and objects of a plan, whose fields depend on whether owners can be set.
pub fn only_objects(plan: &str) -> String {
    let steps = plan.lines().filter(|line| line.starts_with(['+', '~', '-']));
    steps.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ") + "\n").collect()
}
