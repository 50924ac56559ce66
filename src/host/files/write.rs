// SPDX-License-Identifier: Apache-2.0
//! Changes of single files, directories and links; each is whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmod, fchmodat, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat};

use super::lookup::{Directory, Root, is_trusted, kind};
use super::{proc_path, special};
use crate::host::{Check, FileKind, HostError, NewFile, Owner, command};
use crate::model::Digest;

/// The longest name that Linux file systems take.
const NAME_MAX: usize = 255;

/// As much of a check's output as goes into an error.
const CHECK_OUTPUT_MAX: usize = 2048;

/// Replaces the file at `path`, or makes it: written aside, checked, synced, renamed, the directory synced.
///
/// A symbolic link at `path` is replaced, not followed, and so is one of several names of a file.
///
/// # Errors
/// The parent does not exist, a directory or device is there, the check refused the content, or the file cannot be
/// written; what was there is still there.
pub fn replace(root: &Root, path: &Path, file: &NewFile<'_>) -> Result<(), HostError> {
    let (directory, name) = root.parent("replace", path)?;
    let failed = |error: io::Error| HostError::file("replace", path)(error);

    let old = directory.stat(name).map_err(failed)?;
    let kept = match old.as_ref().map(kind) {
        Some(FileKind::Directory) => return Err(failed(io::ErrorKind::IsADirectory.into())),
        Some(FileKind::Special) => return Err(failed(special())),
        Some(FileKind::File) => old.map(|stat| Owner { uid: stat.st_uid, gid: stat.st_gid }),
        Some(FileKind::Link) | None => None,
    };
    let aside = Aside::new(&directory, name).map_err(failed)?;
    aside.write(file.content, file.owner.or(kept), file.mode).map_err(failed)?;
    if let Some(check) = file.check {
        run_check(check, path, &root.outside(&path.with_file_name(&aside.name)))?;
    }
    aside.rename_to(name).and_then(|()| directory.sync()).map_err(failed)
}

/// Makes the directory at `path`, whose parent must exist, or sets owner and mode of the one that is there.
///
/// # Errors
/// Something else than a directory is there, or the directory cannot be made.
pub fn make_dir(root: &Root, path: &Path, owner: Option<Owner>, mode: u32) -> Result<(), HostError> {
    let (parent, name) = root.parent("make the directory", path)?;
    let make = || -> io::Result<()> {
        // Nobody else gets in before owner and mode are as they shall be.
        match mkdirat(&parent, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let handle = open_handle(&parent, name)?;
        let stat = fstat(&handle)?;
        if kind(&stat) != FileKind::Directory {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a directory is there"));
        }
        set(&handle, &stat, owner, Some(mode))?;
        parent.sync()
    };
    make().map_err(HostError::file("make the directory", path))
}

/// Makes the symbolic link at `path`, or replaces the one that is there.
///
/// # Errors
/// Something else than a symbolic link is there, or the link cannot be made.
pub fn make_link(root: &Root, path: &Path, target: &Path, owner: Option<Owner>) -> Result<(), HostError> {
    let (directory, name) = root.parent("make the link", path)?;
    let make = || -> io::Result<()> {
        let old = directory.stat(name)?;
        if old.as_ref().is_some_and(|stat| kind(stat) != FileKind::Link) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a symbolic link is there"));
        }
        let owner = owner.or(old.map(|stat| Owner { uid: stat.st_uid, gid: stat.st_gid }));
        let aside = Aside::new(&directory, name)?;
        symlinkat(target, &directory, aside.name.as_os_str())?;
        if let Some(owner) = owner {
            let handle = open_handle(&directory, &aside.name)?;
            set_owner(&handle, &fstat(&handle)?, owner)?;
        }
        aside.rename_to(name)?;
        directory.sync()
    };
    make().map_err(HostError::file("make the link", path))
}

/// Sets owner and mode of the file or directory at `path`, never through a symbolic link.
///
/// # Errors
/// Nothing, a symbolic link or a device is there, an ordinary user may have put a second name of somebody else's file
/// there, or the owner or mode cannot be set.
pub fn set_attributes(root: &Root, path: &Path, owner: Option<Owner>, mode: Option<u32>) -> Result<(), HostError> {
    let action = "set owner and mode of";
    let (directory, name) = root.parent(action, path)?;
    let failed = |error: io::Error| HostError::file(action, path)(error);
    let open = || -> io::Result<(OwnedFd, FileStat, FileStat)> {
        let handle = open_handle(&directory, name)?;
        let stat = fstat(&handle)?;
        Ok((handle, stat, fstat(&directory)?))
    };
    let (handle, stat, parent) = open().map_err(failed)?;
    match kind(&stat) {
        FileKind::File | FileKind::Directory => {}
        FileKind::Link => {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link")));
        }
        FileKind::Special => return Err(failed(special())),
    }
    let others_write = !is_trusted(parent.st_uid) || parent.st_mode & 0o002 != 0;
    if kind(&stat) == FileKind::File && stat.st_nlink > 1 && others_write {
        return Err(HostError::UnsafePath {
            path: path.to_owned(),
            why: "the file has other names (hard links), and users other than root may write in its directory".into(),
        });
    }
    set(&handle, &stat, owner, mode).map_err(failed)?;
    sync_handle(&handle).and_then(|()| directory.sync()).map_err(failed)
}

/// Opens what is called `name` in `directory` to look at it and change its attributes, whatever it is.
fn open_handle(directory: &Directory, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(openat(directory, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?)
}

fn set(handle: &OwnedFd, stat: &FileStat, owner: Option<Owner>, mode: Option<u32>) -> io::Result<()> {
    // The owner first: a change of owner clears the set-id bits.
    let chowned = owner.map(|owner| set_owner(handle, stat, owner)).transpose()?.unwrap_or(false);
    if let Some(mode) = mode
        && (chowned || stat.st_mode & 0o7777 != mode)
    {
        let path = proc_path(handle);
        fchmodat(nix::fcntl::AT_FDCWD, &path, bits(mode), FchmodatFlags::FollowSymlink)?;
    }
    Ok(())
}

/// Sets the owner if it is another, so that an ordinary user can "set" it to what it is; returns whether it was.
fn set_owner(handle: &OwnedFd, stat: &FileStat, owner: Owner) -> io::Result<bool> {
    if (stat.st_uid, stat.st_gid) == (owner.uid, owner.gid) {
        return Ok(false);
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    fchownat(handle, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
    Ok(true)
}

/// Makes attributes durable. An ordinary user who may not read the file cannot, and needs it least.
fn sync_handle(handle: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    match nix::fcntl::open(&proc_path(handle), flags, Mode::empty()) {
        Ok(fd) => Ok(nix::unistd::fsync(&fd)?),
        Err(Errno::EACCES) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn bits(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o7777)
}

/// A name beside the target under which something new is prepared. Dropped before the rename, it leaves nothing.
struct Aside<'a> {
    directory: &'a Directory,
    name: OsString,
}

impl<'a> Aside<'a> {
    /// Clears the name that belongs to `target`. It is always the same one, so what a killed run left goes away here.
    fn new(directory: &'a Directory, target: &OsStr) -> io::Result<Self> {
        let aside = Self { directory, name: aside_name(target) };
        aside.clear()?;
        Ok(aside)
    }

    fn clear(&self) -> io::Result<()> {
        match unlinkat(self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(io::Error::new(
                io::Error::from(error).kind(),
                format!("{} is in the way: {}", self.name.display(), error.desc()),
            )),
        }
    }

    fn write(&self, content: &[u8], owner: Option<Owner>, mode: u32) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(self.directory, self.name.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let mut file = File::from(fd);
        file.write_all(content)?;
        if let Some(owner) = owner {
            let stat = fstat(&file)?;
            if (stat.st_uid, stat.st_gid) != (owner.uid, owner.gid) {
                fchown(&file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
            }
        }
        // After the owner: a change of owner clears the set-id bits.
        fchmod(&file, bits(mode))?;
        file.sync_all()
    }

    fn rename_to(self, target: &OsStr) -> io::Result<()> {
        Ok(renameat(self.directory, self.name.as_os_str(), self.directory, target)?)
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        // After the rename nothing has this name, and after an error the error that led here says more than this one.
        let _ = self.clear();
    }
}

fn aside_name(target: &OsStr) -> OsString {
    let mut name = OsString::from(".");
    name.push(target);
    name.push(".hostwrit-new");
    if name.len() > NAME_MAX {
        let digest = Digest::of(target.as_encoded_bytes());
        name = format!(".{}.hostwrit-new", digest.short()).into();
    }
    name
}

/// Has the check look at the new content, in the file `candidate`.
fn run_check(check: Check<'_>, path: &Path, candidate: &Path) -> Result<(), HostError> {
    let named: Vec<&str> = match check {
        Check::Own(words) => words.to_vec(),
        Check::Declared(words) => words.iter().map(String::as_str).collect(),
    };
    let candidate = candidate.to_string_lossy();
    let words: Vec<String> = named.iter().map(|word| word.replace("{}", &candidate)).collect();
    let Some((program, args)) = words.split_first() else { return Ok(()) };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = match check {
        Check::Own(_) => command::run(program, &args)?,
        Check::Declared(_) => command::run_declared(command::LIMIT, program, &args)?,
    };
    if output.success {
        return Ok(());
    }
    let mut said = format!("{} ", output.status);
    for stream in [&output.stderr, &output.stdout] {
        said.push_str(String::from_utf8_lossy(&stream[..stream.len().min(CHECK_OUTPUT_MAX)]).trim());
        said.push(' ');
    }
    Err(HostError::Check { path: path.to_owned(), command: named.join(" "), output: said.trim().to_owned() })
}
