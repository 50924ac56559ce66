// SPDX-License-Identifier: Apache-2.0
//! Removal of single things and of whole trees.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::{UnlinkatFlags, dup, unlinkat};

use super::lookup::{Directory, Root};
use super::names;
use crate::host::HostError;

/// Each level holds a descriptor, and a process has 1024 by default.
const MAX_DEPTH: usize = 256;

/// Removes the file, link or *empty* directory at `path`; nothing there is fine.
///
/// # Errors
/// The directory is not empty, or the removal is not permitted.
pub fn remove(root: &Root, path: &Path) -> Result<(), HostError> {
    let Some((directory, name)) = parent_if_there(root, path)? else { return Ok(()) };
    let remove = || -> io::Result<()> {
        match unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => unlinkat(&directory, name, UnlinkatFlags::RemoveDir)?,
            // POSIX's word for a directory, which some file systems use.
            Err(Errno::EPERM) if is_directory(&directory, name)? => {
                unlinkat(&directory, name, UnlinkatFlags::RemoveDir)?;
            }
            Err(Errno::ENOENT) => return Ok(()),
            result => result?,
        }
        directory.sync()
    };
    remove().map_err(HostError::file("remove", path))
}

/// Removes what is at `path` with all that it holds, crossing neither symbolic links nor mount points.
///
/// # Errors
/// A part of it cannot be removed; the error names the part.
pub fn remove_tree(root: &Root, path: &Path) -> Result<(), HostError> {
    let Some((directory, name)) = parent_if_there(root, path)? else { return Ok(()) };
    remove_below(directory.as_fd(), name, path, 0)?;
    directory.sync().map_err(HostError::file("remove", path))
}

/// As [`Root::parent`], but `None` if the directory that would hold `path` is not there either.
fn parent_if_there<'a>(root: &Root, path: &'a Path) -> Result<Option<(Directory, &'a OsStr)>, HostError> {
    match root.parent("remove", path) {
        Ok(found) => Ok(Some(found)),
        Err(HostError::File { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_directory(directory: &Directory, name: &OsStr) -> io::Result<bool> {
    Ok(directory.stat(name)?.is_some_and(|stat| super::lookup::kind(&stat) == crate::host::FileKind::Directory))
}

fn remove_below(parent: impl AsFd + Copy, name: &OsStr, path: &Path, depth: usize) -> Result<(), HostError> {
    let failed = |error: io::Error| HostError::file("remove", path)(error);
    if let Some(inside) = open_directory(parent, name).map_err(failed)? {
        if depth == MAX_DEPTH {
            return Err(failed(io::Error::other(format!("it lies more than {MAX_DEPTH} directories deep"))));
        }
        let listing = dup(&inside).map_err(io::Error::from).and_then(names).map_err(failed)?;
        for entry in listing {
            let below: PathBuf = path.join(&entry);
            remove_below(inside.as_fd(), &entry, &below, depth + 1)?;
        }
        return unlinkat(parent, name, UnlinkatFlags::RemoveDir).map_err(|error| failed(error.into()));
    }
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(failed(error.into())),
    }
}

/// Opens the directory called `name`; `None` if that is something else or nothing.
pub(super) fn open_directory(parent: impl AsFd, name: &OsStr) -> io::Result<Option<OwnedFd>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(parent, name, how) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENOENT) => Ok(None),
        Err(Errno::EXDEV) => Err(io::Error::new(io::ErrorKind::CrossesDevices, "it is a mount point")),
        Err(error) => Err(error.into()),
    }
}
