// SPDX-License-Identifier: Apache-2.0

use std::path::Path;

use clap::Args;

use crate::engine::State;
use crate::engine::status::{Health, Status};

use super::{CommandError, Exit, open, output};

/// Show what this host obeys, whether it agrees, and what is wrong
#[derive(Debug, Args)]
#[command(name = "status")]
pub struct StatusCommand {
    /// Print the status as JSON (schemas/status.json)
    #[arg(long)]
    json: bool,
}

impl StatusCommand {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let (host, config) = open(root)?;
        let Some(status) = Status::read(&host)? else {
            let state = State::read(&host).map_err(|error| CommandError::new(Exit::Failed, error))?;
            if self.json {
                output::answer("null");
            } else {
                output::answer(format!("{}: no cycle has run since the host started.", config.host));
                if let Some(pin) = &state.pin {
                    output::answer(format!("  last good commit  {pin}"));
                }
            }
            return Ok(Exit::Done);
        };
        if self.json {
            output::answer(serde_json::to_string_pretty(&status).unwrap_or_default());
        } else {
            lines(&status).iter().for_each(output::answer);
        }
        Ok(Exit::Done)
    }
}

fn lines(status: &Status) -> Vec<String> {
    let health = match status.health {
        Health::Converged => "agrees with the remote",
        Health::LastGood => "agrees with the last good commit, and does not follow the remote",
        Health::Failing => "does not agree",
    };
    let mut lines = vec![
        format!("{} {health}", status.host),
        format!("  commit      {}", status.commit.as_deref().unwrap_or("none accepted yet")),
        format!("  remote      {} {}", status.remote, status.git_ref),
        format!("  objects     {}", status.objects),
        format!("  last cycle  {}, {} {}", status.time, status.done, if status.done == 1 { "step" } else { "steps" }),
    ];
    let mut section = |title: &str, rows: Vec<String>| {
        if !rows.is_empty() {
            lines.push(format!("  {title}"));
            lines.extend(rows.into_iter().map(|row| format!("    {}", row.replace('\n', "\n    "))));
        }
    };
    section(
        "problems",
        status
            .problems
            .iter()
            .map(|trouble| match &trouble.object {
                Some(object) => format!("{object}: {} [{}]", trouble.message, trouble.code),
                None => format!("{} [{}]", trouble.message, trouble.code),
            })
            .collect(),
    );
    section("differ, only reported", status.reported.iter().map(ToString::to_string).collect());
    section("no longer in the repo, left alone", status.unmanaged.iter().map(ToString::to_string).collect());
    lines
}
