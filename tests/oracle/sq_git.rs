// SPDX-License-Identifier: Apache-2.0
//! The program that is asked. `tests/oracle/install` builds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hostwrit::model::git::Oid;

use crate::history::History;

pub struct SqGit {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl SqGit {
    /// Returns it, or says that the test cannot run; where CI is set that is a failure.
    pub fn find() -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/sq-git");
        if program.exists() {
            return Some(Self { program, home: tempfile::tempdir().unwrap() });
        }
        assert!(std::env::var_os("CI").is_none(), "sq-git is missing: run tests/oracle/install");
        println!("SKIP: sq-git is not there to compare with; tests/oracle/install builds it");
        None
    }

    /// Whether it finds an authenticated path from the history's root to `tip`.
    pub fn accepts(&self, history: &History<'_>, tip: &Oid) -> bool {
        // It remembers what it verified; each question is to be answered anew.
        let _ = fs::remove_file(self.home.path().join("sq-git.verification.cache"));
        let output = Command::new(&self.program)
            .current_dir(history.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("XDG_CACHE_HOME", self.home.path())
            .args(["log", "--trust-root", &history.root().to_string(), &tip.to_string()])
            .output()
            .unwrap();
        let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // A crash or a complaint about something else would look like a refusal.
        assert!(
            output.status.success() || output.status.code() == Some(1) && error.contains("Could not verify commits"),
            "{}\n{said}\n{error}",
            output.status
        );
        output.status.success()
    }
}
