// SPDX-License-Identifier: Apache-2.0
//! The account databases as shadow-utils keeps them: its locks, its backups, its atomic replace.
//!
//! Caches (nscd, sssd) are not told: nscd notices changed files by itself, and sssd does not cache local accounts.

mod lock;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::UnlinkatFlags;

use super::HostError;
use super::files::Root;

/// How long to wait for whoever holds a lock: as long as lckpwdf(3).
const PATIENCE: Duration = Duration::from_secs(15);

/// The four files as bytes; `None` where a host has no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFiles {
    pub passwd: Option<Vec<u8>>,
    pub shadow: Option<Vec<u8>>,
    pub group: Option<Vec<u8>>,
    pub gshadow: Option<Vec<u8>>,
}

pub(super) fn edit(
    root: &Root,
    edit: &mut dyn FnMut(AccountFiles) -> Result<AccountFiles, String>,
) -> Result<(), HostError> {
    edit_patiently(root, edit, PATIENCE)
}

fn edit_patiently(
    root: &Root,
    edit: &mut dyn FnMut(AccountFiles) -> Result<AccountFiles, String>,
    patience: Duration,
) -> Result<(), HostError> {
    let etc = Etc::open(root)?;
    // Dropped in reverse order: first the files' locks go, then the one that stands before them all.
    let _locks = lock::take(&etc, patience)?;

    let [passwd, shadow, group, gshadow] =
        [etc.read("passwd")?, etc.read("shadow")?, etc.read("group")?, etc.read("gshadow")?];
    let before = AccountFiles {
        passwd: passwd.content.clone(),
        shadow: shadow.content.clone(),
        group: group.content.clone(),
        gshadow: gshadow.content.clone(),
    };
    let gained = before.passwd.as_deref().map_or(0, lines);
    let after = edit(before).map_err(HostError::Accounts)?;

    // Killed between two files, a host must not be left with a user who is there by half. A new user comes to be with
    // the line in passwd, so that goes last: what was written before (a group without members, a hash of nobody) is
    // inert, and the same edit done again passes over it. Otherwise passwd goes first: a user who goes is gone at
    // once, and with a new gid the group that still has the old one shows that the work is unfinished.
    let grows = after.passwd.as_deref().map_or(0, lines) > gained;
    let mut files = [
        (passwd, after.passwd, 0o644),
        (shadow, after.shadow, 0o600),
        (group, after.group, 0o644),
        (gshadow, after.gshadow, 0o600),
    ];
    if grows {
        files.reverse();
    }
    // All are staged before the first is replaced: a full disk shows before anything has changed.
    let mut staged = Vec::new();
    for (old, new, mode) in files {
        match (&old.content, new) {
            (Some(_), None) => {
                return Err(HostError::Accounts(format!("{} would be removed", etc.shown(old.name).display())));
            }
            (was, Some(new)) if was.as_ref() != Some(&new) => staged.push(etc.stage(old, &new, mode)?),
            _ => {}
        }
    }
    staged.into_iter().try_for_each(Staged::put_in_place)
}

/// Whether somebody is about to write the account files, and has not finished.
pub(super) fn are_locked(root: &Root) -> bool {
    Etc::open(root).is_ok_and(|etc| lock::is_held(&etc))
}

fn lines(file: &[u8]) -> usize {
    file.iter().filter(|byte| **byte == b'\n').count()
}

/// The directory that holds the files.
struct Etc {
    fd: OwnedFd,
    path: PathBuf,
}

/// One of the four files as it is on the host.
struct Old {
    name: &'static str,
    content: Option<Vec<u8>>,
    metadata: Option<std::fs::Metadata>,
}

impl Etc {
    fn open(root: &Root) -> Result<Self, HostError> {
        let path = root.path().join("etc");
        let fd = root
            .open_inside(Path::new("/etc"), OFlag::O_RDONLY | OFlag::O_DIRECTORY)
            .map_err(HostError::file("open", &path))?;
        Ok(Self { fd, path })
    }

    /// Returns the path of a file in the directory, for messages.
    fn shown(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn open_at(&self, name: &str, flags: OFlag, mode: u32) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        Ok(nix::fcntl::openat(&self.fd, name, flags, Mode::from_bits_truncate(mode))?.into())
    }

    /// Unlinks a name; that there is none is fine.
    fn unlink(&self, name: &str) -> io::Result<()> {
        match nix::unistd::unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn link(&self, from: &str, to: &str) -> nix::Result<()> {
        nix::unistd::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())
    }

    fn read(&self, name: &'static str) -> Result<Old, HostError> {
        let read = || {
            let mut file = match self.open_at(name, OFlag::O_RDONLY, 0) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Old { name, content: None, metadata: None });
                }
                // Replacing a link would part it from the file that it stands for.
                Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => {
                    return Err(io::Error::other("it is a symbolic link; put the file itself in its place"));
                }
                Err(error) => return Err(error),
            };
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            Ok(Old { name, content: Some(content), metadata: Some(metadata) })
        };
        read().map_err(HostError::file("read", &self.shown(name)))
    }

    /// Writes the new content aside, with the owner and mode of the old file.
    fn stage(&self, old: Old, content: &[u8], mode: u32) -> Result<Staged<'_>, HostError> {
        let aside = format!("{}+", old.name);
        let stage = || {
            // One that is there is a leftover of a process that was killed: we hold the lock.
            self.unlink(&aside)?;
            let mut file = self.open_at(&aside, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
            let staged = Staged { etc: self, old, aside: aside.clone(), in_place: false };
            file.write_all(content)?;
            let mode = match &staged.old.metadata {
                Some(metadata) => {
                    std::os::unix::fs::fchown(file.as_fd(), Some(metadata.uid()), Some(metadata.gid()))?;
                    metadata.mode() & 0o777
                }
                None => mode,
            };
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
            file.sync_all()?;
            Ok(staged)
        };
        stage().map_err(HostError::file("write", &self.shown(&aside)))
    }
}

/// New content beside the file whose place it will take; removed if it never does.
struct Staged<'a> {
    etc: &'a Etc,
    old: Old,
    aside: String,
    in_place: bool,
}

impl Staged<'_> {
    /// Keeps the old file as `FILE-`, as shadow-utils does, and puts the new one in its place.
    fn put_in_place(mut self) -> Result<(), HostError> {
        let replace = || {
            if self.old.content.is_some() {
                let backup = format!("{}-", self.old.name);
                self.etc.unlink(&backup)?;
                // A second name for the old file keeps its owner, mode and time, and nothing is copied.
                self.etc.link(self.old.name, &backup)?;
            }
            nix::fcntl::renameat(&self.etc.fd, self.aside.as_str(), &self.etc.fd, self.old.name)?;
            // Before the next file follows, for the order of the files counts.
            nix::unistd::fsync(&self.etc.fd)?;
            Ok(())
        };
        replace().map_err(HostError::file("replace", &self.etc.shown(self.old.name)))?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.in_place {
            // There is nobody to tell; the next edit removes it first.
            let _ = self.etc.unlink(&self.aside);
        }
    }
}
