// SPDX-License-Identifier: Apache-2.0
//! The process that talks to the network, without a right or a secret of the host: fetches into its mirror, and gives
//! objects of it to the steward.
//!
//! It serves the socket that is its standard input: one that listens, as systemd gives it, for as long as it lives; one
//! that is connected, as a steward gives it that has started a courier of its own, until that steward is gone.

#![allow(clippy::disallowed_methods, reason = "its directory is its own, and no part of the managed host")]

mod desk;
mod hint;
mod outbox;
mod probe;
mod prometheus;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{getsockopt, sockopt};
use tracing::{info, warn};

use crate::source::{Access, CREDENTIALS_VARIABLE};

use desk::Desk;
use outbox::Outbox;
pub use outbox::Settings;

/// How many stewards may be connected at once: the daemon, and some commands.
const MAX_CONNECTIONS: usize = 16;
/// How long another courier of the same directory may take to end.
const LOCK_WAIT: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// How much memory it may fill. A remote can make the Git library hold what it sends; the host must not run out of memory.
const MEMORY: u64 = 512 * 1024 * 1024;

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
    #[error("cannot read the credentials")]
    Credentials(#[source] io::Error),
    #[error("cannot accept connections")]
    Accept(#[source] io::Error),
}

/// Serves the socket on standard input, with a mirror below `directory`. A courier that listens asks for its settings;
/// one that serves a single steward tells nobody anything.
///
/// # Errors
/// The directory cannot be used, or standard input is no socket.
pub fn serve(directory: &Path, settings: impl FnOnce() -> Settings) -> Result<(), ServeError> {
    limit_memory();
    let not_usable = |source| ServeError::Directory { directory: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(not_usable)?;
    let _lock = lock(directory)?;
    let access = match std::env::var_os(CREDENTIALS_VARIABLE) {
        Some(credentials) => Access::in_directory(Path::new(&credentials)).map_err(ServeError::Credentials)?,
        None => Access::default(),
    };

    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(ServeError::Socket)?;
    if !getsockopt(&socket, sockopt::AcceptConn).map_err(|errno| ServeError::Socket(errno.into()))? {
        Desk::new(directory, access, None).attend(UnixStream::from(socket));
        return Ok(());
    }
    info!("listening");
    let outbox = Outbox::open(directory, settings());
    listen(socket, &Arc::new(Desk::new(directory, access, Some(outbox))))
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
            let can_go_on = desk.attend(stream);
            counter.fetch_sub(1, Ordering::Relaxed);
            if !can_go_on {
                // Whoever comes next is still waiting at systemd's socket, and systemd starts another.
                info!("a fetch hangs and cannot be ended but with this process");
                std::process::exit(0);
            }
        };
        if let Err(error) = thread::Builder::new().name("steward".to_owned()).spawn(attend) {
            connected.fetch_sub(1, Ordering::Relaxed);
            warn!("cannot start a thread: {error}");
        }
    }
}

/// Has the process end, and not the host suffer, when it asks for too much memory.
fn limit_memory() {
    // Packs are mapped for reading alone, and so are not counted.
    let limited = getrlimit(Resource::RLIMIT_DATA).and_then(|(soft, hard)| {
        // A unit's LimitDATA= may be lower; and then it may also be forbidden to change it.
        if soft <= MEMORY { Ok(()) } else { setrlimit(Resource::RLIMIT_DATA, MEMORY, hard.min(MEMORY)) }
    });
    if let Err(errno) = limited {
        warn!("cannot limit the memory of this process: {errno}");
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
