// SPDX-License-Identifier: Apache-2.0

use std::path::Path;

use crate::engine::daemon::{self, DaemonError};
use clap::Args;

use super::{CommandError, Exit, messages};

/// Keep this host as the infra repo says, pulling every `interval`
///
/// SIGHUP reads the configuration again and pulls at once. SIGTERM finishes the step that is under way and ends.
#[derive(Debug, Args)]
#[command(name = "daemon")]
pub struct DaemonCommand {}

impl DaemonCommand {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        messages::start();
        match daemon::run(root.to_owned()) {
            Ok(()) => Ok(Exit::Done),
            Err(DaemonError::Config(error)) => Err(error.into()),
            Err(error) => Err(CommandError::new(Exit::Failed, error)),
        }
    }
}
