// SPDX-License-Identifier: Apache-2.0
//! From a path to a descriptor, without ever leaving the root.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::geteuid;

use crate::host::{FileKind, HostError, Owner, Stat};

/// As many symbolic links as the kernel itself follows in one path.
const MAX_LINKS: usize = 40;

/// The directory that stands for `/`.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

impl Root {
    /// Opens the directory.
    ///
    /// # Errors
    /// It does not exist or is not a directory.
    pub fn open(path: &Path) -> Result<Self, HostError> {
        let open = || -> io::Result<Self> {
            let path = std::path::absolute(path)?;
            let fd = open(&path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
            Ok(Self { path, fd })
        };
        open().map_err(HostError::file("open", path))
    }

    /// Returns the directory's absolute path in the running system.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what is at `path`, not following a symbolic link in the last place.
    pub(super) fn stat(&self, path: &Path) -> io::Result<FileStat> {
        // The kernel's own `/` cannot be left, so one call does; a no-op cycle is mostly this call.
        if self.path == Path::new("/") {
            absolute(path)?;
            return Ok(fstatat(&self.fd, path, AtFlags::AT_SYMLINK_NOFOLLOW)?);
        }
        Ok(fstat(self.open_inside(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?)?)
    }

    /// Returns the path in the running system of `path` of the managed host, for messages to other programs.
    pub(super) fn outside(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Opens `path` with every symbolic link on the way resolved inside the root; the last one unless `O_NOFOLLOW`.
    pub(in crate::host) fn open_inside(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        self.resolve(path, flags, ResolveFlag::empty())
    }

    /// Opens `path` if no symbolic link is on the way; else fails with `ELOOP`.
    pub(super) fn open_straight(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        self.resolve(path, flags, ResolveFlag::RESOLVE_NO_SYMLINKS)
    }

    fn resolve(&self, path: &Path, flags: OFlag, resolve: ResolveFlag) -> io::Result<OwnedFd> {
        absolute(path)?;
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve | ResolveFlag::RESOLVE_IN_ROOT);
        // EAGAIN: something was renamed meanwhile, and the kernel cannot say that a `..` stayed inside.
        let mut attempts = 32;
        loop {
            match openat2(&self.fd, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) if attempts > 0 => attempts -= 1,
                result => return result.map_err(io::Error::from),
            }
        }
    }

    /// Opens the directory that holds `path`, for a change in it, and returns it with the last part of `path`.
    ///
    /// A symbolic link on the way that belongs to an ordinary user is followed only into a directory of that same
    /// user: who may rename what we are about to write under must not be able to send us to somebody else's files.
    pub(super) fn parent<'a>(&self, action: &'static str, path: &'a Path) -> Result<(Directory, &'a OsStr), HostError> {
        let split = || -> io::Result<(&'a Path, &'a OsStr)> {
            absolute(path)?;
            path.parent()
                .zip(path.file_name())
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no last part"))
        };
        let (parent, name) = split().map_err(HostError::file(action, path))?;
        let fd = match self.open_straight(parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => self.walk(action, path, parent)?,
            result => result.map_err(HostError::file(action, path))?,
        };
        Ok((Directory(fd), name))
    }

    /// Opens `directory` part by part and judges every symbolic link on the way.
    fn walk(&self, action: &'static str, path: &Path, directory: &Path) -> Result<OwnedFd, HostError> {
        let mut walk = Walk { root: self, way: Vec::new(), left: parts(directory), links: Vec::new() };
        while let Some(part) = walk.left.pop_front() {
            walk.enter(part).map_err(HostError::file(action, path))?;
        }
        let fd = openat(walk.here(), ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        let finish = |fd: nix::Result<OwnedFd>| -> io::Result<(OwnedFd, u32)> {
            let fd = fd?;
            let uid = fstat(&fd)?.st_uid;
            Ok((fd, uid))
        };
        let (fd, uid) = finish(fd).map_err(HostError::file(action, path))?;
        match walk.links.into_iter().find(|link| link.uid != uid && !is_trusted(link.uid)) {
            None => Ok(fd),
            Some(link) => Err(HostError::UnsafePath {
                path: link.path,
                why: format!(
                    "this symbolic link belongs to user {} and leads to a directory that belongs to user {uid}",
                    link.uid
                ),
            }),
        }
    }
}

/// Whether this user may send us anywhere: root, and whoever runs the program.
pub(super) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

fn absolute(path: &Path) -> io::Result<()> {
    if path.is_absolute() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not absolute"))
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components().map(|part| part.as_os_str().to_owned()).collect()
}

/// A way through the root that holds every directory it went through, so that `..` needs no second look-up.
struct Walk<'a> {
    root: &'a Root,
    way: Vec<(OsString, OwnedFd)>,
    left: VecDeque<OsString>,
    links: Vec<FollowedLink>,
}

struct FollowedLink {
    path: PathBuf,
    uid: u32,
}

impl Walk<'_> {
    fn here(&self) -> &OwnedFd {
        self.way.last().map_or(&self.root.fd, |(_, fd)| fd)
    }

    fn enter(&mut self, part: OsString) -> io::Result<()> {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => self.way.clear(),
            // In the root directory, as everywhere in Unix, `..` is the directory itself.
            Some(Component::ParentDir) => drop(self.way.pop()),
            Some(Component::Normal(_)) => {
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let fd = openat(self.here(), part.as_os_str(), flags, Mode::empty())?;
                let stat = fstat(&fd)?;
                match kind(&stat) {
                    FileKind::Directory => self.way.push((part, fd)),
                    FileKind::Link => self.follow(&part, &fd, stat.st_uid)?,
                    FileKind::File | FileKind::Special => return Err(Errno::ENOTDIR.into()),
                }
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
        Ok(())
    }

    fn follow(&mut self, name: &OsStr, link: &OwnedFd, uid: u32) -> io::Result<()> {
        if self.links.len() == MAX_LINKS {
            return Err(Errno::ELOOP.into());
        }
        let mut path = PathBuf::from("/");
        path.extend(self.way.iter().map(|(name, _)| name));
        path.push(name);
        self.links.push(FollowedLink { path, uid });
        let target = PathBuf::from(readlinkat(link, "")?);
        for part in parts(&target).into_iter().rev() {
            self.left.push_front(part);
        }
        Ok(())
    }
}

/// An open directory in which something is to change.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

impl Directory {
    /// Makes the changes of names in the directory durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::fsync(&self.0)?)
    }

    /// Returns what is called `name` in it, not following a symbolic link; `None` if nothing is.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Option<FileStat>> {
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns what kind of thing has this status.
pub(super) fn kind(stat: &FileStat) -> FileKind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => FileKind::File,
        SFlag::S_IFDIR => FileKind::Directory,
        SFlag::S_IFLNK => FileKind::Link,
        _ => FileKind::Special,
    }
}

impl From<FileStat> for Stat {
    fn from(stat: FileStat) -> Self {
        Self {
            kind: kind(&stat),
            mode: stat.st_mode & 0o7777,
            owner: Owner { uid: stat.st_uid, gid: stat.st_gid },
            size: u64::try_from(stat.st_size).unwrap_or(0),
        }
    }
}
