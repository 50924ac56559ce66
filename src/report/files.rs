// SPDX-License-Identifier: Apache-2.0
//! Files of the spool: whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Files that are not whole yet begin with this.
pub(super) const UNFINISHED: &str = ".new-";

/// Makes the directory, for its owner alone.
pub(super) fn ensure_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Takes the lock that a file stands for, or fails at once.
pub(super) fn lock(path: &Path) -> io::Result<Flock<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EAGAIN => io::Error::new(io::ErrorKind::ResourceBusy, "another process has it"),
        other => other.into(),
    })
}

/// Writes a file so that after a kill or a power cut there is all of it or what was there before.
pub(super) fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let unfinished = dir.join(format!("{UNFINISHED}{name}"));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, dir.join(name))?;
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        // It would be removed at the next start; on a full disk its room is wanted now.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
