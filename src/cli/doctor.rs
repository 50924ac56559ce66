// SPDX-License-Identifier: Apache-2.0

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::Args;

use crate::doctor::{CheckResult, examine};
use crate::engine::Config;
use crate::host::RealHost;

use super::{CommandError, Exit, output};

/// Look for what keeps this host from being kept, and say what to do
///
/// Changes nothing but the courier's mirror: whether a fetch works shows only when one is made.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print the checks as JSON (schemas/doctor.json)
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        if io::stderr().is_terminal() {
            output::note("The remote is asked, too; that may take a while ...");
        }
        let host = RealHost::open(root)?;
        let checks = examine(&host, &Config::read(&host));
        if self.json {
            output::answer(serde_json::to_string_pretty(&checks).unwrap_or_default());
        } else {
            let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
            for check in &checks {
                let word = match check.result {
                    CheckResult::Ok => "ok     ",
                    CheckResult::Warning => "warning",
                    CheckResult::Failed => "FAILED ",
                    CheckResult::Skipped => "skipped",
                };
                output::answer(format!("{word}  {:width$}  {}", check.name, check.found.replace('\n', "\n    ")));
                if let Some(advice) = &check.advice {
                    output::answer(format!("    {advice}"));
                }
            }
        }
        let failed = checks.iter().any(|check| check.result == CheckResult::Failed);
        Ok(if failed { Exit::Failed } else { Exit::Done })
    }
}
