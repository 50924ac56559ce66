// SPDX-License-Identifier: Apache-2.0

mod order;

use std::path::Path;

use clap::{Args, Subcommand};

use super::{CommandError, Exit};

/// Show and verify who may change what, and obey signed orders
#[derive(Debug, Args)]
pub struct Trust {
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    Obey(order::Obey),
}

impl Trust {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        match &self.command {
            TrustCommand::Obey(obey) => obey.run(root),
        }
    }
}
