// SPDX-License-Identifier: Apache-2.0
//! The hooks of a clone that end the message of each commit with the trailers that bind it to its fleet, branch and place.
//!
//! They need git and a shell alone, so that whoever commits needs no hostwrit.

use std::path::Path;

use crate::host::{NewFile, ReadHost as _, RealHost, WriteHost as _};

use super::clone::GitClone;
use super::{CommandError, Exit};

/// What does the work; the hooks only call it.
const SCRIPT: &str = include_str!("trailers.sh");
const SCRIPT_NAME: &str = "hostwrit-trailers";
/// An editor is not always used, nor is `commit-msg` always run; together they see every commit.
const HOOKS: [&str; 2] = ["prepare-commit-msg", "commit-msg"];
const MARK: &str = "# Written by `hostwrit init`.";

/// Installs the hooks, or says what to do by hand.
///
/// # Errors
/// A hook of another hand is there, or the hooks lie outside of the clone; nothing of that is changed.
pub fn install(clone: &GitClone) -> Result<(), CommandError> {
    let failed = |text: String| CommandError::new(Exit::Failed, text);
    let git_dir = RealHost::open(clone.git_dir())?;
    let own = Path::new("/hooks");
    git_dir.ensure_dir(own, 0o755)?;
    let write = |name: &str, text: &str| {
        git_dir
            .replace_file(&own.join(name), &NewFile { content: text.as_bytes(), owner: None, mode: 0o755, check: None })
    };
    write(SCRIPT_NAME, SCRIPT)?;

    if let Some(path) = clone.ask_whether(&["config", "--get", "core.hooksPath"])?.filter(|path| !path.is_empty()) {
        let lines: Vec<String> = HOOKS.iter().map(|hook| format!("  in {hook}:  {}", line(hook))).collect();
        let why = format!("core.hooksPath is {path}, which other clones may share");
        return Err(failed(format!(
            "the hooks were not installed: {why}; add to the hooks there\n{}",
            lines.join("\n")
        )));
    }
    let mut in_use = Vec::new();
    for hook in HOOKS {
        let there = git_dir.read(&own.join(hook))?.map(|text| String::from_utf8_lossy(&text).into_owned());
        match there {
            Some(text) if !text.contains(SCRIPT_NAME) => in_use.push(hook),
            Some(text) if !text.contains(MARK) => {}
            // With exec, the script sees as its parent the git that it works for.
            _ => write(hook, &format!("#!/bin/sh\n{MARK}\nexec {}\n", call(hook)))?,
        }
    }
    if in_use.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        in_use.iter().map(|hook| format!("  {}/hooks/{hook}:  {}", clone.git_dir().display(), line(hook))).collect();
    Err(failed(format!("a hook is there already, and stays as it is; add this line to it\n{}", lines.join("\n"))))
}

fn call(hook: &str) -> String {
    format!("sh \"$(git rev-parse --git-common-dir)/hooks/{SCRIPT_NAME}\" {hook} \"$@\"")
}

/// What somebody else's hook has to run.
fn line(hook: &str) -> String {
    format!("{} || exit", call(hook))
}
