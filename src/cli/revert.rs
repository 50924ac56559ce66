// SPDX-License-Identifier: Apache-2.0

use std::path::Path;

use clap::Args;

use crate::engine::confirm::back;
use crate::host::RealHost;

use super::{CommandError, Exit, messages, output};

/// Put back a change that this host has not proven yet
///
/// systemd runs this when the time in which the change had to be proven is over, and at boot. A hostwrit that still works on the
/// change is killed. Where nothing waits to be proven, nothing is done.
#[derive(Debug, Args)]
pub struct Revert {
    /// The host boots: units are not waited for
    #[arg(long)]
    boot: bool,
}

impl Revert {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        messages::start();
        let host = RealHost::open(root)?;
        let commit = back::from_outside(&host, self.boot).map_err(|error| CommandError::new(Exit::Failed, error))?;
        output::answer(match commit {
            Some(commit) => format!("The change of {} was put back.", output::short(&commit)),
            None => "No change waits to be proven.".to_owned(),
        });
        Ok(Exit::Done)
    }
}
