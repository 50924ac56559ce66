// SPDX-License-Identifier: Apache-2.0

use std::path::{Path, PathBuf};

use clap::Args;

use crate::courier::{self, Settings};
use crate::engine::Config;
use crate::host::RealHost;
use crate::model::chain;
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
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        messages::start();
        courier::serve(&self.directory, || settings(root)).map_err(|error| CommandError::new(Exit::Failed, error))?;
        Ok(Exit::Done)
    }
}

/// Returns whom to tell what. A configuration that cannot be read is the daemon's to complain of; fetching goes on.
fn settings(root: &Path) -> Settings {
    let read = || -> Result<Config, CommandError> { Ok(Config::read(&RealHost::open(root)?)?) };
    match read() {
        Ok(config) => Settings { outlets: config.reports, listen: config.metrics.listen, root: root.to_owned() },
        Err(error) => {
            tracing::warn!("nothing is reported: {}", chain(error.source.as_ref()));
            Settings::default()
        }
    }
}
