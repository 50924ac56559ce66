// SPDX-License-Identifier: Apache-2.0
//! The locks before the account files: those of lckpwdf(3) and of shadow-utils.
//!
//! Two kinds are in use, and every program takes at least one: a lock by fcntl(2) on `.pwd.lock` (glibc, systemd,
//! shadow-utils) and a file `FILE.lock` that holds a PID (shadow-utils, vipw). So both are taken here.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Etc;
use crate::host::HostError;

const PWD_LOCK: &str = ".pwd.lock";
/// In the order of useradd(8).
const FILES: [&str; 4] = ["passwd", "group", "gshadow", "shadow"];

/// The locks, held until dropped.
pub(super) struct Locks<'a> {
    _files: Vec<FileLock<'a>>,
    /// Closing the file ends its lock. It is never unlinked, or two processes could lock two different files.
    _pwd: File,
}

/// Takes all locks, waiting for at most `patience`.
pub(super) fn take(etc: &Etc, patience: Duration) -> Result<Locks<'_>, HostError> {
    let deadline = Instant::now() + patience;
    let pwd = take_pwd_lock(etc, deadline)?;
    let mut files = Vec::new();
    for name in FILES {
        files.push(FileLock::take(etc, name, deadline)?);
    }
    Ok(Locks { _files: files, _pwd: pwd })
}

/// Whether another program holds one of the locks now, or we do ourselves: then more is about to be written.
pub(super) fn is_held(etc: &Etc) -> bool {
    let by_kernel = |file: File| {
        let mut held = whole_file(libc::F_WRLCK);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut held)).is_ok() && i32::from(held.l_type) != libc::F_UNLCK
    };
    // What cannot be looked at is no reason to wait; whoever takes the locks says what is wrong.
    etc.open_at(PWD_LOCK, OFlag::O_RDONLY, 0).is_ok_and(by_kernel)
        || FILES.iter().any(|name| matches!(holder(etc, &format!("{name}.lock")), Ok(Holder::Alive(_))))
}

fn take_pwd_lock(etc: &Etc, deadline: Instant) -> Result<File, HostError> {
    let path = etc.shown(PWD_LOCK);
    let file = etc
        .open_at(PWD_LOCK, OFlag::O_WRONLY | OFlag::O_CREAT, 0o600)
        .map_err(HostError::file("open the lock", &path))?;
    // An open file description's lock shuts out the process-wide locks of others just as those do each other, and,
    // unlike those, also a second thread of ours; nor does it end when some other descriptor of the file is closed.
    loop {
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => return Ok(file),
            Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) => {}
            Err(error) => return Err(HostError::file("lock", &path)(error.into())),
        }
        if !wait(deadline) {
            let mut held = whole_file(libc::F_WRLCK);
            let holder = match fcntl(&file, FcntlArg::F_OFD_GETLK(&mut held)) {
                Ok(_) if held.l_pid > 0 => format!("process {} has held it", held.l_pid),
                _ => "another process has held it".to_owned(),
            };
            return Err(HostError::Lock { path, why: format!("{holder} for too long; is it stuck?") });
        }
    }
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Sleeps a little; returns false once the deadline has passed.
fn wait(deadline: Instant) -> bool {
    let now = Instant::now();
    if now >= deadline {
        return false;
    }
    std::thread::sleep(Duration::from_millis(50).min(deadline - now));
    true
}

/// `FILE.lock`, linked from `FILE.PID` so that it comes to be with its content.
struct FileLock<'a> {
    etc: &'a Etc,
    lock: String,
}

/// What stands in the way of a lock.
enum Holder {
    Alive(Pid),
    /// The process is dead: it was killed before it could unlock.
    Dead(Pid),
    Gone,
}

impl<'a> FileLock<'a> {
    fn take(etc: &'a Etc, name: &str, deadline: Instant) -> Result<Self, HostError> {
        let lock = format!("{name}.lock");
        let own = format!("{name}.{}", std::process::id());
        let taken = write_pid(etc, &own).map_err(HostError::file("write", &etc.shown(&own)));
        let taken = taken.and_then(|()| Self::link(etc, name, &own, &lock, deadline));
        let removed = etc.unlink(&own).map_err(HostError::file("remove", &etc.shown(&own)));
        taken?;
        let held = Self { etc, lock };
        removed?;
        Ok(held)
    }

    fn link(etc: &Etc, name: &str, own: &str, lock: &str, deadline: Instant) -> Result<(), HostError> {
        let path = etc.shown(lock);
        loop {
            match etc.link(own, lock) {
                Ok(()) => return Ok(()),
                Err(Errno::EEXIST) => {}
                Err(error) => return Err(HostError::file("make the lock", &path)(error.into())),
            }
            match holder(etc, lock) {
                Ok(Holder::Gone) => continue,
                // As shadow-utils does. All who could race with us for the takeover hold .pwd.lock first.
                Ok(Holder::Dead(pid)) => {
                    etc.unlink(lock).map_err(HostError::file("remove the stale lock", &path))?;
                    let leftover = format!("{name}.{pid}");
                    if leftover != own {
                        etc.unlink(&leftover).map_err(HostError::file("remove", &etc.shown(&leftover)))?;
                    }
                }
                Ok(Holder::Alive(pid)) => {
                    if !wait(deadline) {
                        let why = format!("process {pid} has held it for too long; is it stuck?");
                        return Err(HostError::Lock { path, why });
                    }
                }
                Err(error) => {
                    let why = format!("{error}; if no program is changing accounts, remove it");
                    return Err(HostError::Lock { path, why });
                }
            }
        }
    }
}

impl Drop for FileLock<'_> {
    fn drop(&mut self) {
        // If this fails nobody can be told, and the lock is stale as soon as this process has ended.
        let _ = self.etc.unlink(&self.lock);
    }
}

fn write_pid(etc: &Etc, name: &str) -> io::Result<()> {
    etc.unlink(name)?;
    let mut file = etc.open_at(name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
    // shadow-utils writes the NUL too.
    file.write_all(format!("{}\0", std::process::id()).as_bytes())?;
    file.sync_data()
}

fn holder(etc: &Etc, lock: &str) -> io::Result<Holder> {
    let mut file = match etc.open_at(lock, OFlag::O_RDONLY, 0) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Gone),
        Err(error) => return Err(error),
    };
    let mut content = [0; 32];
    let length = file.read(&mut content)?;
    let text = std::str::from_utf8(&content[..length]).unwrap_or_default().trim_end_matches(['\0', '\n']);
    let pid = match text.parse() {
        Ok(pid) if pid > 0 => Pid::from_raw(pid),
        _ => return Err(io::Error::other("it holds no PID")),
    };
    // Our own PID under .pwd.lock, which nobody else of this process can hold now: an earlier process had our number.
    if pid == Pid::this() {
        return Ok(Holder::Dead(pid));
    }
    match kill(pid, None) {
        Err(Errno::ESRCH) => Ok(Holder::Dead(pid)),
        // EPERM: it lives, and is another user's.
        _ => Ok(Holder::Alive(pid)),
    }
}
