// SPDX-License-Identifier: Apache-2.0
//! What can go wrong at the host's door: one variant per operation that failed.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("cannot {action} {}", path.display())]
    File {
        /// A verb: `read`, `replace`.
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Somebody who is not root could turn the path elsewhere.
    #[error("will not go through {}: {why}", path.display())]
    UnsafePath { path: PathBuf, why: String },
    #[error("cannot run {program}")]
    Run {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} did not end within {seconds} s and was killed")]
    Timeout { program: String, seconds: u64 },
    /// The check command of a file refused its new content.
    #[error("the new content of {} was refused by its check: {command}: {output}", path.display())]
    Check { path: PathBuf, command: String, output: String },
    #[error("cannot lock {}: {why}", path.display())]
    Lock { path: PathBuf, why: String },
    /// The account databases cannot be changed as asked.
    #[error("cannot change the account files: {0}")]
    Accounts(String),
    #[error("systemd cannot {action} {unit}: {why}")]
    Unit { action: &'static str, unit: String, why: String },
    /// `nft` or the kernel's packet filter refused; no table was changed.
    #[error("cannot {action} the packet filter's ruleset: {why}")]
    Ruleset {
        /// `read` or `load`.
        action: &'static str,
        why: String,
    },
    #[error("cannot ask systemd: {0}")]
    Systemd(String),
}

impl HostError {
    /// Returns a closure that says which operation on which path an I/O error ended.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }
}
