// SPDX-License-Identifier: Apache-2.0
//! A file without a name, for what would be too much in memory: gone with the process, however that ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::HostError;
use super::append::own_path;
use super::files::Root;

/// Bytes that are put away. They are not synced: nobody looks for them after a crash.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    file: File,
    length: u64,
}

/// Makes a scratch file on the file system of `path`, which has that name for a moment. Only root may write there, and one
/// process at a time.
pub(super) fn scratch(root: &Root, path: &Path) -> Result<Scratch, HostError> {
    let make = || -> io::Result<File> {
        let own = own_path(root, path);
        match std::fs::remove_file(&own) {
            // Left by a process that was killed in this moment.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&own)?;
        std::fs::remove_file(&own)?;
        Ok(file)
    };
    let file = make().map_err(HostError::file("make the scratch file", path))?;
    Ok(Scratch { path: path.to_owned(), file, length: 0 })
}

impl Scratch {
    /// Puts bytes away, behind all others, and returns where they end.
    ///
    /// # Errors
    /// They cannot be written, as on a full disk.
    pub fn put(&mut self, bytes: &[u8]) -> Result<u64, HostError> {
        self.file.write_all(bytes).map_err(HostError::file("write to the scratch file", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(self.length)
    }

    /// Returns the bytes between two places.
    ///
    /// # Errors
    /// They cannot be read, or there are not so many.
    pub fn get(&self, begin: u64, end: u64) -> Result<Vec<u8>, HostError> {
        let read = || {
            let length = end.checked_sub(begin).and_then(|length| usize::try_from(length).ok());
            let mut bytes = vec![0; length.ok_or(std::io::ErrorKind::InvalidInput)?];
            self.file.read_exact_at(&mut bytes, begin).map(|()| bytes)
        };
        read().map_err(HostError::file("read from the scratch file", &self.path))
    }

    /// Returns the file itself, to be damaged.
    #[cfg(test)]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}
