// SPDX-License-Identifier: Apache-2.0

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;

use crate::cli::{CommandError, Exit, courier, open, output};
use crate::engine::Cycle;
use crate::host::{ReadHost, RealHost};

/// Move the pin of this host to where a signed order says
///
/// FILE is the order and FILE.sig its signature by a key of trust.break_glass, as `ssh-keygen -Y sign -n
/// hostwrit-order@v1` makes it. The audit log has the order before the pin moves; the next cycle enforces the commit.
#[derive(Debug, Args)]
pub struct Obey {
    /// The order
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Obey {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let (host, config) = open(root)?;
        let text = read(&self.file)?;
        let mut signature = OsString::from(&self.file);
        signature.push(".sig");
        let signature = read(Path::new(&signature))?;
        let stop = AtomicBool::new(false);
        let source = courier(&host, &config);
        let order = Cycle::begin(&config, &host, &source, &stop)?.obey(&text, &signature)?;
        let commit = order.commit().to_string();
        output::answer(format!("The pin of {} is {commit}, by the {} {}.", config.host, order.kind(), order.nonce()));
        output::note("The next cycle enforces it; `hostwrit apply` is one.");
        Ok(Exit::Done)
    }
}

/// Reads a file of the machine on which the command runs, which `--root` does not move.
fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    let file = std::path::absolute(file).map_err(|error| CommandError::new(Exit::Usage, error))?;
    let missing = || CommandError::new(Exit::Usage, format!("there is no file {}", file.display()));
    RealHost::open(Path::new("/"))?.read(&file)?.ok_or_else(missing)
}
