// SPDX-License-Identifier: Apache-2.0

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::Args;
use tracing_subscriber::EnvFilter;

use crate::engine::daemon::{self, DaemonError};

use super::{CommandError, Exit};

/// Keep this host as the infra repo says, pulling every `interval`
///
/// SIGHUP reads the configuration again and pulls at once. SIGTERM finishes the step that is under way and ends.
#[derive(Debug, Args)]
#[command(name = "daemon")]
pub struct DaemonCommand {}

impl DaemonCommand {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        // Under systemd the journal adds the time.
        let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
        let filter = EnvFilter::try_from_env("HOSTWRIT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
        let format = tracing_subscriber::fmt()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .with_env_filter(filter);
        if under_systemd {
            format.without_time().init()
        } else {
            format.init()
        }
        match daemon::run(root.to_owned()) {
            Ok(()) => Ok(Exit::Done),
            Err(DaemonError::Config(error)) => Err(error.into()),
            Err(error) => Err(CommandError::new(Exit::Failed, error)),
        }
    }
}
