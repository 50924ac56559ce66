// SPDX-License-Identifier: Apache-2.0
//! The run lock: one apply at a time on a host.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::HostError;
use super::append::{ensure_dir, own_path};
use super::files::Root;

/// Where the lock lives; a kernel lock, so that it ends with the process that holds it.
const LOCK: &str = "/run/hostwrit/lock";

/// What the kernel calls a process of ours.
const PROGRAM: &str = "hostwrit";

/// How long a process may take to end, or to come to an end by itself, before the lock is taken from it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often that is tried.
const TRIES: usize = 10;

/// How often a lock that somebody else holds is asked for.
const POLL: Duration = Duration::from_millis(100);

/// Held while a process plans or applies; gone when dropped.
#[derive(Debug)]
pub struct RunLock {
    _file: Flock<File>,
}

impl RunLock {
    pub(super) fn take(root: &Root, wait: Duration) -> Result<Self, HostError> {
        let path = Path::new(LOCK);
        ensure_dir(root, Path::new("/run/hostwrit"), 0o755)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(own_path(root, path))
            .map_err(HostError::file("open", path))?;
        let until = Instant::now() + wait;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut locked) => {
                    // Who holds the lock, for the message that others see; a failure to say so harms nobody.
                    let _ = locked.rewind().and_then(|()| locked.set_len(0));
                    let _ = write!(*locked, "{}", std::process::id());
                    return Ok(Self { _file: locked });
                }
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < until => file = back,
                Err((mut back, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                    let mut holder = String::new();
                    let _ = back.rewind().and_then(|()| back.read_to_string(&mut holder).map(drop));
                    let why = format!("process {} holds it", if holder.is_empty() { "?" } else { &holder });
                    return Err(HostError::Lock { path: path.to_owned(), why });
                }
                Err((_, errno)) => return Err(HostError::file("lock", path)(errno.into())),
            }
            std::thread::sleep(POLL);
        }
    }
    pub(super) fn seize(root: &Root) -> Result<Option<Self>, HostError> {
        for _ in 0..TRIES {
            match Self::take(root, PATIENCE) {
                Err(HostError::Lock { .. }) => kill_holder(root)?,
                other => return other.map(Some),
            }
        }
        Ok(None)
    }
}

/// Kills the process that says in the lock's file that it holds it, if that is a hostwrit: numbers are used again.
fn kill_holder(root: &Root) -> Result<(), HostError> {
    let path = Path::new(LOCK);
    let read = std::fs::read_to_string(own_path(root, path)).map_err(HostError::file("read", path))?;
    let Ok(number) = read.trim().parse::<i32>() else { return Ok(()) };
    let name = std::fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
    if name.trim_end() == PROGRAM && number != std::process::id().cast_signed() {
        tracing::warn!("process {number} does not give up the run lock and is killed");
        // It may have ended just now.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), nix::sys::signal::Signal::SIGKILL);
    }
    Ok(())
}
