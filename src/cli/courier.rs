// SPDX-License-Identifier: Apache-2.0

use std::path::PathBuf;

use clap::Args;

use crate::courier;
use crate::source::COURIER_DIRECTORY;

use super::{CommandError, Exit, messages};

/// Fetch the infra repo for this host's daemon; systemd starts it
///
/// Serves the socket that is its standard input. Talks to the network and needs no right: it runs as the user hostwrit.
#[derive(Debug, Args)]
#[command(name = "courier")]
pub struct CourierCommand {
    /// Keep the mirror of the infra repo in DIR
    #[arg(long, value_name = "DIR", default_value = COURIER_DIRECTORY)]
    directory: PathBuf,
}

impl CourierCommand {
    pub fn run(&self) -> Result<Exit, CommandError> {
        messages::start();
        courier::serve(&self.directory).map_err(|error| CommandError::new(Exit::Failed, error))?;
        Ok(Exit::Done)
    }
}
