// SPDX-License-Identifier: Apache-2.0

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::Args;

use crate::control::client::{self, ClientError};
use crate::control::{Answer, Ask};
use crate::engine::status::{Health, Status};

use super::pause::unexpected;
use super::{CommandError, Exit, output};

/// Have the daemon pull now
///
/// With --wait, ends when the host agrees or cannot, and as `hostwrit apply` would.
#[derive(Debug, Args)]
pub struct Sync {
    /// Wait for the outcome
    #[arg(long)]
    wait: bool,
}

impl Sync {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        if self.wait && io::stderr().is_terminal() {
            output::note("The daemon pulls ...");
        }
        let mut watch = |answer: &Answer| {
            if let Answer::Step { object, action, result, message } = answer {
                let message = message.as_deref().map(|message| format!("\n  {result}: {}", output::plain(message)));
                output::progress(format!("{action} {object}{}", message.unwrap_or_default()));
            }
        };
        match client::ask(root, &Ask::Sync { wait: self.wait }, None, &mut watch) {
            Ok(Answer::Pulling) => {
                output::answer("The daemon pulls now; `hostwrit status` says what comes of it.");
                Ok(Exit::Done)
            }
            Ok(Answer::Synced { status }) => told(status),
            Ok(other) => Err(unexpected(other)),
            Err(error @ ClientError::NotRunning(_)) => {
                let text = format!("{error}; `hostwrit apply` does the same without it");
                Err(CommandError::new(Exit::Failed, text))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn told(status: serde_json::Value) -> Result<Exit, CommandError> {
    let status: Status = serde_json::from_value(status)
        .map_err(|error| CommandError::new(Exit::Failed, ClientError::Malformed(error)))?;
    if let Some(pause) = &status.paused {
        output::warning(pause.to_string());
    }
    if let Some(maintenance) = &status.maintenance {
        output::warning(maintenance.to_string());
    }
    for trouble in &status.problems {
        let object = trouble.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
        output::warning(format!("{object}{}", trouble.message));
    }
    let (host, done) = (&status.host, output::count(status.done, "step"));
    let commit = status.commit.as_deref().map_or("any commit", output::short);
    output::answer(match (status.health, status.done) {
        (Health::Held, done) if status.held == 0 => {
            format!("{} done: {host} agrees with {commit}, the last good commit.", output::count(done, "step"))
        }
        (Health::Held, _) => {
            let commit = status.held_commit.as_deref().map_or(commit, output::short);
            let why = if status.paused.is_some() { " while it is paused" } else { "" };
            format!("{} of {commit} held: {host} stays as it is{why}.", output::count(status.held, "step"))
        }
        (Health::Failing, _) => format!("{done} done: {host} does not agree with {commit} yet."),
        (_, 0) => {
            format!("{host} agrees with {commit}: {}, nothing to do.", output::count(status.objects, "object"))
        }
        _ => format!("{done} done: {host} agrees with {commit}."),
    });
    Ok(Exit::of_status(&status))
}
