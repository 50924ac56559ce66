// SPDX-License-Identifier: Apache-2.0
//! The process that talks to the network, without a right or a secret of the host: fetches into its mirror, and gives
//! objects of it to the steward.
//!
//! It serves the socket that is its standard input: one that listens, as systemd gives it, for as long as it lives; one
//! that is connected, as a steward gives it that has started a courier of its own, until that steward is gone.

#![allow(clippy::disallowed_methods, reason = "its directory is its own, and no part of the managed host")]

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use tracing::{info, warn};

use crate::model::chain;
use crate::model::git::{ObjectError, Objects as _, Oid};
use crate::source::wire::{self, Answer, Request};
use crate::source::{Ask, HashKind, Limits, Mirror, MirrorError};

/// How many stewards may be connected at once: the daemon, and some commands.
const MAX_CONNECTIONS: usize = 16;
/// How long another courier of the same directory may take to end.
const LOCK_WAIT: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Why the courier ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot use the directory {}", directory.display())]
    Directory {
        directory: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another courier uses the directory {}", .0.display())]
    Busy(PathBuf),
    #[error("standard input is no socket; systemd starts the courier (hostwrit-courier.socket)")]
    Socket(#[source] io::Error),
    #[error("cannot accept connections")]
    Accept(#[source] io::Error),
}

/// Serves the socket on standard input, with a mirror below `directory`.
///
/// # Errors
/// The directory cannot be used, or standard input is no socket.
pub fn serve(directory: &Path) -> Result<(), ServeError> {
    let not_usable = |source| ServeError::Directory { directory: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(not_usable)?;
    let _lock = lock(directory)?;
    let desk = Arc::new(Desk { mirror: directory.join("mirror.git"), opening: Mutex::default() });

    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(ServeError::Socket)?;
    if !getsockopt(&socket, sockopt::AcceptConn).map_err(|errno| ServeError::Socket(errno.into()))? {
        desk.attend(UnixStream::from(socket));
        return Ok(());
    }
    info!("listening");
    listen(socket, &desk)
}

fn listen(socket: OwnedFd, desk: &Arc<Desk>) -> Result<(), ServeError> {
    let listener = UnixListener::from(socket);
    let connected = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener.accept().map_err(ServeError::Accept)?;
        if connected.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            connected.fetch_sub(1, Ordering::Relaxed);
            warn!("more than {MAX_CONNECTIONS} connections: one is closed");
            continue;
        }
        let (desk, counter) = (Arc::clone(desk), Arc::clone(&connected));
        let attend = move || {
            desk.attend(stream);
            counter.fetch_sub(1, Ordering::Relaxed);
        };
        if let Err(error) = thread::Builder::new().name("steward".to_owned()).spawn(attend) {
            connected.fetch_sub(1, Ordering::Relaxed);
            warn!("cannot start a thread: {error}");
        }
    }
}

/// Waits until no other courier uses the directory: two would clear away each other's half-written packs.
fn lock(directory: &Path) -> Result<Flock<std::fs::File>, ServeError> {
    let not_usable = |source| ServeError::Directory { directory: directory.to_owned(), source };
    let mut file = std::fs::File::create(directory.join("lock")).map_err(not_usable)?;
    let mut waited = Duration::ZERO;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err(_) if waited >= LOCK_WAIT => return Err(ServeError::Busy(directory.to_owned())),
            Err((back, _)) => file = back,
        }
        thread::sleep(LOCK_POLL);
        waited += LOCK_POLL;
    }
}

/// Where stewards come to ask.
struct Desk {
    mirror: PathBuf,
    /// Held while the mirror is opened, which clears up, or fetched into. Whether it has been opened.
    opening: Mutex<bool>,
}

impl Desk {
    /// Answers one steward until it goes.
    fn attend(&self, stream: UnixStream) {
        if let Err(error) = self.converse(&stream) {
            warn!("a connection ended: {error}");
        }
    }

    fn converse(&self, mut stream: &UnixStream) -> io::Result<()> {
        let mut mirror: Option<Mirror> = None;
        while let Some((tag, body)) = wire::read_frame(&mut stream, wire::MAX_REQUEST)? {
            let request =
                Request::parse(tag, &body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let answer = match request {
                Request::Fetch(hash, ask) => self.fetch(&mut mirror, hash, &ask, stream),
                Request::Object(id) => self.object(&mut mirror, &id),
            };
            stream.write_all(&answer.to_bytes())?;
        }
        Ok(())
    }

    fn fetch(&self, mirror: &mut Option<Mirror>, hash: HashKind, ask: &Ask, stream: &UnixStream) -> Answer {
        let mut is_open = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let mirror = match self.open(mirror, hash, &mut is_open) {
            Ok(mirror) => mirror,
            Err(error) => return Answer::Failed(chain(&error)),
        };
        let stop = AtomicBool::new(false);
        let fetch = || mirror.fetch(&ask.remote, &ask.git_ref, ask.beside.as_deref(), &stop);
        match while_connected(stream, &stop, fetch) {
            Ok(Ok(fetched)) => Answer::Fetched(fetched),
            Ok(Err(error)) => Answer::Failed(chain(&error)),
            Err(error) => Answer::Failed(format!("cannot watch the connection: {error}")),
        }
    }

    fn object(&self, mirror: &mut Option<Mirror>, id: &Oid) -> Answer {
        let opened = match mirror {
            Some(mirror) => Ok(&*mirror),
            None => {
                let mut is_open = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
                self.open(mirror, id.kind(), &mut is_open)
            }
        };
        match opened.map(|mirror| mirror.object(id)) {
            Ok(Ok(object)) => Answer::Object(object),
            Ok(Err(ObjectError::Missing { .. })) => Answer::Missing,
            Ok(Err(ObjectError::TooLarge { limit, .. })) => Answer::TooLarge(limit),
            Ok(Err(error)) => Answer::Failed(chain(&error)),
            Err(error) => Answer::Failed(chain(&error)),
        }
    }

    /// Opens the mirror, if this connection has not done so. The first to do it clears up or makes it.
    fn open<'m>(
        &self,
        mirror: &'m mut Option<Mirror>,
        hash: HashKind,
        is_open: &mut bool,
    ) -> Result<&'m Mirror, MirrorError> {
        let limits = Limits::default();
        let opened = match mirror.take() {
            Some(opened) => opened,
            None if *is_open => Mirror::reopen(&self.mirror, hash, limits)?,
            None => Mirror::open(&self.mirror, hash, limits)?,
        };
        *is_open = true;
        Ok(mirror.insert(opened))
    }
}

/// Does `work` and sets `stop` when the steward hangs up meanwhile: it was told to stop, and nobody waits for an answer.
fn while_connected<R>(stream: &UnixStream, stop: &AtomicBool, work: impl FnOnce() -> R) -> io::Result<R> {
    let (over, done) = io::pipe()?;
    Ok(thread::scope(|scope| {
        scope.spawn(move || {
            // That it hung up is told unasked; that it asks something else meanwhile is no reason to stop.
            let mut fds =
                [PollFd::new(stream.as_fd(), PollFlags::empty()), PollFd::new(over.as_fd(), PollFlags::POLLIN)];
            while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
            if fds[0].any() == Some(true) {
                stop.store(true, Ordering::Relaxed);
            }
        });
        let result = work();
        drop(done);
        result
    }))
}
