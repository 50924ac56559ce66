// SPDX-License-Identifier: Apache-2.0

use std::path::Path;

use clap::Args;

use crate::host::{HostError, RealHost};
use crate::resources::firewall::load_kept;

use super::{CommandError, Exit};

/// Load the ports, egress and block lists that this host had last; systemd runs it at boot
///
/// Needs neither the network nor the infra repo nor a configuration. What is in force already is replaced, in one
/// transaction for each of the three.
#[derive(Debug, Args)]
pub struct Firewall {}

impl Firewall {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let host = RealHost::open(root)?;
        load_kept(&host).map_err(|faults| {
            let why = faults.join("; ");
            CommandError::new(Exit::Failed, HostError::Ruleset { action: "load", why })
        })?;
        Ok(Exit::Done)
    }
}
