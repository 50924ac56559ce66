// SPDX-License-Identifier: Apache-2.0
//! Files below a root directory: looked up without leaving it, replaced whole or not at all.
//!
//! No path is looked up twice between a check and its use: what is checked is a descriptor, and the change is made
//! through that descriptor. A symbolic link that an ordinary user made cannot turn a change elsewhere.

mod lookup;
mod remove;
mod write;

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::fstat;

use super::{Dated, FileKind, HostError, Stat};

pub use lookup::Root;
pub use remove::{remove, remove_tree};
pub use write::{make_dir, make_link, replace, set_attributes};

/// How a file is opened to be read.
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// The largest file that is read. What is declared comes out of a Git repository, and memory is to stay flat.
const READ_MAX: usize = 256 * 1024 * 1024;

/// Returns what is at `path`, not following a symbolic link in the last place; `None` if nothing is.
///
/// # Errors
/// The path cannot be looked up.
pub fn stat(root: &Root, path: &Path) -> Result<Option<Stat>, HostError> {
    if_there(root.stat(path).map(Stat::from)).map_err(HostError::file("look at", path))
}

/// Returns the content of the regular file at `path`, following symbolic links; `None` if there is none.
///
/// # Errors
/// Something else than a regular file is there, or it cannot be read.
pub fn read(root: &Root, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
    let read = || -> io::Result<Vec<u8>> {
        let (mut file, size) = open_regular(root, path)?;
        if size > READ_MAX {
            let why = format!("it has {size} bytes, and {READ_MAX} is the most that is read");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        // A read that asks for more than there is and gets all of it has met the end; a second would only say so.
        let mut content = vec![0; size + 1];
        let length = file.read(&mut content)?;
        content.truncate(length);
        if length != size {
            file.take(READ_MAX as u64).read_to_end(&mut content)?;
        }
        Ok(content)
    };
    if_there(read()).map_err(HostError::file("read", path))
}

/// Returns what the regular file at `path` holds from the byte `from` on; `None` if there is none.
///
/// # Errors
/// Something else than a regular file is there, or it cannot be read.
pub fn read_from(root: &Root, path: &Path, from: u64) -> Result<Option<Vec<u8>>, HostError> {
    let read = || -> io::Result<Vec<u8>> {
        let (mut file, size) = open_regular(root, path)?;
        file.seek(io::SeekFrom::Start(from))?;
        let left = (size as u64).saturating_sub(from).min(READ_MAX as u64);
        let mut content = Vec::with_capacity(usize::try_from(left).unwrap_or(0));
        file.take(READ_MAX as u64).read_to_end(&mut content)?;
        Ok(content)
    };
    if_there(read()).map_err(HostError::file("read", path))
}

/// Returns since when the regular file at `path` holds what it holds, and the first `most` bytes of that, not following a symbolic
/// link in the last place; `None` if nothing is there.
///
/// # Errors
/// Something else than a regular file is there, or it cannot be read.
pub fn dated(root: &Root, path: &Path, most: usize) -> Result<Option<Dated>, HostError> {
    let read = || -> io::Result<Dated> {
        let handle = root.open_inside(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        let stat = fstat(&handle)?;
        if Stat::from(stat).kind == FileKind::Link {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"));
        }
        let size = regular_size(&handle)?;
        let mut begin = Vec::with_capacity(size.min(most));
        if most > 0 {
            open_handle(&handle)?.take(most as u64).read_to_end(&mut begin)?;
        }
        let (changed, touched) = (time_of(stat.st_mtime), time_of(stat.st_ctime.saturating_add(1)));
        Ok(Dated { changed, touched, size: size as u64, begin })
    };
    if_there(read()).map_err(HostError::file("read", path))
}

/// Returns the time that a file has. One before 1970 counts as 1970.
fn time_of(seconds: i64) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    UNIX_EPOCH.checked_add(seconds).unwrap_or(UNIX_EPOCH)
}

/// Opens a regular file and nothing else: a FIFO could block for ever, and opening a device can set it off.
fn open_regular(root: &Root, path: &Path) -> io::Result<(File, usize)> {
    let fd = match root.open_straight(path, READ) {
        // A symbolic link may have been set to a device by anybody, so it is looked at before it is opened.
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            let handle = root.open_inside(path, OFlag::O_PATH)?;
            regular_size(&handle)?;
            open_handle(&handle)?.into()
        }
        result => result?,
    };
    let size = regular_size(&fd)?;
    Ok((File::from(fd), size))
}

/// Opens for reading what an `O_PATH` descriptor stands for.
fn open_handle(handle: &OwnedFd) -> io::Result<File> {
    let fd = nix::fcntl::open(&proc_path(handle), READ | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
    Ok(File::from(fd))
}

fn regular_size(fd: &OwnedFd) -> io::Result<usize> {
    let stat = Stat::from(fstat(fd)?);
    match stat.kind {
        FileKind::File => Ok(usize::try_from(stat.size).unwrap_or(usize::MAX)),
        FileKind::Directory => Err(io::ErrorKind::IsADirectory.into()),
        FileKind::Link | FileKind::Special => Err(special()),
    }
}

/// The path under which this process finds what an `O_PATH` descriptor stands for, to do with it what needs a path.
fn proc_path(fd: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn special() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is a device, socket or FIFO")
}

/// Returns the target of the symbolic link at `path`, or `None` if nothing is there.
///
/// # Errors
/// Something else than a symbolic link is there, or it cannot be read.
pub fn read_link(root: &Root, path: &Path) -> Result<Option<PathBuf>, HostError> {
    let read = || -> io::Result<PathBuf> {
        let fd = root.open_inside(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        match readlinkat(&fd, "") {
            Ok(target) => Ok(target.into()),
            // What the kernel says of an empty path to something that is not a link.
            Err(Errno::ENOENT | Errno::EINVAL) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a symbolic link"))
            }
            Err(error) => Err(error.into()),
        }
    };
    if_there(read()).map_err(HostError::file("read the link", path))
}

/// Returns the sorted names in the directory at `path`, or `None` if nothing is there.
///
/// # Errors
/// Something else than a directory is there, or it cannot be read.
pub fn list(root: &Root, path: &Path) -> Result<Option<Vec<OsString>>, HostError> {
    let fd = match root.open_inside(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        // Either the path itself or a part of the way is something else; only the latter means that nothing is there.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && stat(root, path)?.is_some() => Err(error),
        Err(error) => if_there(Err(error)),
        Ok(fd) => Ok(Some(fd)),
    };
    let names = |fd: Option<OwnedFd>| fd.map(names).transpose();
    fd.and_then(names).map_err(HostError::file("list", path))
}

/// Returns the sorted names in an open directory.
fn names(fd: OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::from_fd(fd)?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Turns the two errors that mean "nothing is there" into `None`.
fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}
