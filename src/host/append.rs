// SPDX-License-Identifier: Apache-2.0
//! Durable appends, for the audit log.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::HostError;
use super::files::Root;

/// Returns the path of one of hostwrit's own files in the terms of the running system.
///
/// Only root writes to the directories above these, so no symbolic link is looked for.
pub(super) fn own_path(root: &Root, path: &Path) -> PathBuf {
    root.path().join(path.strip_prefix("/").unwrap_or(path))
}

pub(super) fn append(root: &Root, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
    let append = |file: &Path| {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(file)?;
        file.write_all(bytes)?;
        file.sync_data()
    };
    let file = own_path(root, path);
    match append(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(dir) = path.parent() {
                ensure_dir(root, dir, 0o700)?;
            }
            append(&file).and_then(|()| sync_dir(&file)).map_err(HostError::file("append to", path))
        }
        done => done.map_err(HostError::file("append to", path)),
    }
}

/// Makes the directory with those above it; the last one gets `mode`, the others 0755.
pub(super) fn ensure_dir(root: &Root, path: &Path, mode: u32) -> Result<(), HostError> {
    let make = || {
        let dir = own_path(root, path);
        if dir.is_dir() {
            return Ok(());
        }
        if let Some(above) = dir.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(above)?;
        }
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(&dir)?;
        sync_dir(&dir)
    };
    make().map_err(HostError::file("make the directory", path))
}

/// Makes the entry of `path` in its directory durable.
fn sync_dir(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(dir) => std::fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
