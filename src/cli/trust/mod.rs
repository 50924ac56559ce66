// SPDX-License-Identifier: Apache-2.0

pub mod judge;
mod log;
mod order;
mod show;
mod verify;

use std::path::Path;

use clap::{Args, Subcommand};

use super::{CommandError, Exit};

pub use log::Line;
pub use show::Answer as ShowAnswer;
pub use verify::Answer as VerifyAnswer;

/// Show and verify who may change what, and obey signed orders
#[derive(Debug, Args)]
pub struct Trust {
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    Show(show::Show),
    Verify(verify::Verify),
    Log(log::LogCommand),
    Obey(order::Obey),
}

impl Trust {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        match &self.command {
            TrustCommand::Show(show) => show.run(root),
            TrustCommand::Verify(verify) => verify.run(root),
            TrustCommand::Log(log) => log.run(root),
            TrustCommand::Obey(obey) => obey.run(root),
        }
    }
}
