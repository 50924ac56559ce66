// SPDX-License-Identifier: Apache-2.0
//! Whether there is room to write, without writing.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use super::HostError;
use super::append::own_path;
use super::files::Root;

/// What a directory's file system has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Why this process cannot write there, in the system's words.
    pub refuses: Option<String>,
    /// Bytes that are left, for an ordinary user.
    pub bytes: u64,
    /// Files that can still be made; `None` where the file system does not count them.
    pub files: Option<u64>,
}

pub(super) fn room(root: &Root, path: &Path) -> Result<Room, HostError> {
    let look = || -> Result<Room, Errno> {
        let path = own_path(root, path);
        let stats = statvfs(&path)?;
        let refuses = access(&path, AccessFlags::W_OK).err().map(|errno| errno.desc().to_owned());
        let bytes = stats.blocks_available().saturating_mul(stats.fragment_size());
        Ok(Room { refuses, bytes, files: (stats.files() > 0).then(|| stats.files_available()) })
    };
    look().map_err(|errno| HostError::file("look for room in", path)(errno.into()))
}
