// SPDX-License-Identifier: Apache-2.0

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::audit::verify::{verify, verify_on_host};
use crate::audit::{Head, LOG};
use crate::engine::State;
use crate::host::{ReadHost, RealHost};
use crate::model::chain;

use super::{CommandError, Exit, output};

/// Prove the audit log intact
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that no entry of the log was changed, removed, moved or added by another hand
    ///
    /// On the host itself the log's end is also compared with what hostwrit remembers. Somebody who is root can rewrite
    /// both: write the printed head down elsewhere to prove a later rewrite.
    Verify {
        /// Check this file, instead of the host's own log
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Print the result as JSON (schemas/audit-verify.json)
        #[arg(long)]
        json: bool,
    },
}

impl Audit {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let AuditCommand::Verify { file, json } = &self.command;
        let (text, remembered, name) = match file {
            Some(file) => {
                let file = std::path::absolute(file).map_err(|error| CommandError::new(Exit::Usage, error))?;
                let text = RealHost::open(Path::new("/"))?.read(&file)?;
                let missing = || CommandError::new(Exit::Usage, format!("there is no file {}", file.display()));
                (text.ok_or_else(missing)?, None, file.display().to_string())
            }
            None => {
                let host = RealHost::open(root)?;
                let remembered = State::read(&host).map(|state| state.log).unwrap_or_else(|error| {
                    output::warning(format!("the log's end cannot be compared: {}", chain(&error)));
                    None
                });
                (host.read(Path::new(LOG))?.unwrap_or_default(), remembered, LOG.to_owned())
            }
        };
        let verified = match remembered {
            Some(Head { seq, digest }) if seq > 0 => verify_on_host(&text, seq, &digest.to_string()),
            _ => verify(&text),
        };
        if *json {
            output::answer(serde_json::to_string_pretty(&verified).unwrap_or_default());
        } else {
            for problem in &verified.problems {
                output::answer(format!("{name}: {problem}"));
            }
            for intent in &verified.open_intents {
                output::answer(format!("{name}: entry {intent} is an intent without an outcome yet"));
            }
            if verified.problems.is_empty() {
                output::answer(format!("{name} is intact: {} entries, head {}", verified.entries, verified.head));
            }
        }
        Ok(if verified.problems.is_empty() { Exit::Done } else { Exit::Failed })
    }
}
