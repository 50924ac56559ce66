// SPDX-License-Identifier: Apache-2.0
//! The steward's side of the courier: asks for objects and fetches, and believes no answer.
#![expect(clippy::disallowed_methods, reason = "a courier that is started here is no command of the managed host")]

use std::cell::RefCell;
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::User;

use crate::model::chain;
use crate::model::git::{ObjectError, Objects, Oid, RawObject};

use super::wire::{self, Answer, Backlog, Request};
use super::{Ask, FetchError, Fetched, HashKind, Limits, NoAnswer, NoNumber, Probe, Query, Source};

/// Where systemd listens for the courier; root alone may connect.
pub const SOCKET: &str = "/run/hostwrit/courier.sock";
/// The directory of a courier: its mirror and its spool.
pub const DIRECTORY: &str = "/var/lib/hostwrit-courier";
/// Where the unit of the courier takes its credentials from.
pub const CREDENTIALS: &str = "/etc/hostwrit/credentials";
/// Names the directory in which a courier finds them: systemd.exec(5).
pub const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Who the courier runs as.
pub const USER: &str = "hostwrit";

/// How long an object may take.
const OBJECT_TIME: Duration = Duration::from_secs(30);
/// How long an answer of Prometheus may take, which the courier itself waits for no longer than 30 s.
const NUMBER_TIME: Duration = Duration::from_secs(40);
/// How long it may take to take something.
const HAND_OVER_TIME: Duration = Duration::from_secs(5);
/// How much longer than its own limit a fetch may take, for the courier to say so.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked whether to stop.
const WATCH: Duration = Duration::from_millis(50);

/// Why the courier was of no use.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    #[error("cannot reach the courier at {}; `systemctl status hostwrit-courier` tells more", path.display())]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start a courier")]
    Start(#[source] io::Error),
    #[error("the courier does not answer")]
    Broken(#[source] io::Error),
    #[error("the courier took more than {} s", .0.as_secs())]
    Slow(Duration),
    #[error("the courier was asked for one thing and sent another")]
    Confused,
    #[error("the courier sent what is no answer")]
    Malformed(#[from] wire::Malformed),
    #[error("told to stop")]
    Stopped,
}

/// Why the courier did not take something.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    #[error("no courier listens")]
    Nobody,
    #[error("the courier did not take it: {0}")]
    Refused(String),
    #[error(transparent)]
    Courier(#[from] CourierError),
}

/// A courier, connected when it is first needed.
pub struct Courier {
    /// Where it listens.
    socket: PathBuf,
    /// The directory of one that is started here because nothing listens.
    directory: PathBuf,
    /// Whether this is the running system's.
    is_live: bool,
    /// Where a child looks for credentials, unless it is told otherwise.
    credentials: PathBuf,
    hash: HashKind,
    limits: Limits,
    line: RefCell<Line>,
}

enum Line {
    Unused,
    Open(UnixStream, Option<Child>),
    /// It broke once; what comes next on it could be the answer to an older question.
    Broken,
}

impl Courier {
    /// Returns the courier of the host below `root`, which gives ids of type `hash`: the one that listens there, or else a child
    /// of this process. On the running system the child gives up root; for another root it fetches as whoever builds that.
    pub fn of(root: &Path, hash: HashKind) -> Self {
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        Self {
            is_live: root == Path::new("/"),
            socket: below(SOCKET),
            directory: below(DIRECTORY),
            credentials: below(CREDENTIALS),
            hash,
            limits: Limits::default(),
            line: RefCell::new(Line::Unused),
        }
    }

    /// Returns a courier at the other end of `stream`.
    pub fn at(stream: UnixStream, hash: HashKind, limits: Limits) -> Self {
        let line = RefCell::new(Line::Open(stream, None));
        let (socket, directory, credentials) = Default::default();
        Self { socket, directory, is_live: false, credentials, hash, limits, line }
    }

    /// Asks, and waits for the answer no longer than `time` and no longer than until `stop`.
    fn ask(&self, request: &Request, time: Duration, stop: &AtomicBool) -> Result<Answer, CourierError> {
        let mut line = self.line.borrow_mut();
        if let Line::Unused = &*line {
            *line = self.open()?;
        }
        let Line::Open(stream, _) = &*line else {
            let why = "the connection to it broke before";
            return Err(CourierError::Broken(io::Error::new(io::ErrorKind::NotConnected, why)));
        };
        let answer = self.converse(stream, request, time, stop);
        if answer.is_err() {
            *line = Line::Broken;
        }
        answer
    }

    fn converse(
        &self,
        mut stream: &UnixStream,
        request: &Request,
        time: Duration,
        stop: &AtomicBool,
    ) -> Result<Answer, CourierError> {
        stream.set_write_timeout(Some(OBJECT_TIME)).map_err(CourierError::Broken)?;
        stream.write_all(&request.to_bytes()).map_err(CourierError::Broken)?;
        let mut patient = Patient { stream, until: Instant::now() + time, stop };
        // Room for the name of the object's type.
        let limit = usize::try_from(self.limits.object_bytes).unwrap_or(usize::MAX).saturating_add(16);
        match wire::read_frame(&mut patient, limit) {
            Ok(Some((tag, body))) => Ok(Answer::parse(tag, body, self.hash)?),
            Ok(None) => Err(CourierError::Broken(io::ErrorKind::UnexpectedEof.into())),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(CourierError::Slow(time)),
            Err(_) if stop.load(Ordering::Relaxed) => Err(CourierError::Stopped),
            Err(error) => Err(CourierError::Broken(error)),
        }
    }

    /// Hands over something that the courier shall keep or tell, if one listens: what a child of ours took would go with it.
    /// Returns how many reports wait in its spool, and how many were lost.
    ///
    /// # Errors
    /// The courier cannot be reached or did not take it.
    pub fn hand_over(&self, request: &Request) -> Result<Backlog, HandOverError> {
        if !self.socket.exists() {
            return Err(HandOverError::Nobody);
        }
        match self.ask(request, HAND_OVER_TIME, &AtomicBool::new(false))? {
            Answer::Taken(backlog) => Ok(backlog),
            Answer::Failed(words) => Err(HandOverError::Refused(words)),
            _ => Err(CourierError::Confused.into()),
        }
    }

    fn open(&self) -> Result<Line, CourierError> {
        match UnixStream::connect(&self.socket) {
            Ok(stream) => Ok(Line::Open(stream, None)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.start().map_err(CourierError::Start),
            Err(source) => Err(CourierError::Connect { path: self.socket.clone(), source }),
        }
    }

    /// Starts a courier of our own, as the courier's user if we may and there is one.
    fn start(&self) -> io::Result<Line> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("courier").arg("--directory").arg(&self.directory).stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stdout(Stdio::null());
        std::fs::create_dir_all(&self.directory)?;
        if self.is_live
            && nix::unistd::geteuid().is_root()
            && let Some(user) = User::from_name(USER)?
        {
            // What a courier of root has left, before there was such a user, its courier could not change.
            if std::fs::metadata(&self.directory)?.uid() != user.uid.as_raw() {
                std::fs::remove_dir_all(&self.directory)?;
                std::fs::create_dir(&self.directory)?;
            }
            nix::unistd::chown(&self.directory, Some(user.uid), Some(user.gid))?;
            // Of root's rights and groups nothing is left.
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        // systemd shows them to the courier of the running system alone; another root belongs to whoever builds it.
        if !self.is_live && std::env::var_os(CREDENTIALS_VARIABLE).is_none() {
            command.env(CREDENTIALS_VARIABLE, &self.credentials);
        }
        Ok(Line::Open(ours, Some(command.spawn()?)))
    }
}

/// A courier of our own ends with us.
impl Drop for Line {
    fn drop(&mut self) {
        let Self::Open(stream, Some(child)) = self else { return };
        // It ends when nobody asks any more. One that hangs in a handshake has nothing to lose.
        let _ = stream.shutdown(std::net::Shutdown::Both);
        for _ in 0..20 {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Reads, until it was enough.
struct Patient<'s> {
    stream: &'s UnixStream,
    until: Instant,
    stop: &'s AtomicBool,
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("told to stop"));
            }
            self.stream.set_read_timeout(Some(left.min(WATCH)))?;
            match self.stream.read(buffer) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                done => return done,
            }
        }
    }
}

impl Objects for Courier {
    fn object(&self, id: &Oid) -> Result<RawObject, ObjectError> {
        let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| ObjectError::Unreadable { id: *id, source };
        match self.ask(&Request::Object(*id), OBJECT_TIME, &AtomicBool::new(false)) {
            Ok(Answer::Object(object)) => Ok(object),
            Ok(Answer::Missing) => Err(ObjectError::Missing { id: *id }),
            Ok(Answer::TooLarge(limit)) => Err(ObjectError::TooLarge { id: *id, limit }),
            Ok(Answer::Failed(words)) => Err(unreadable(words.into())),
            Ok(_) => Err(unreadable(CourierError::Confused.into())),
            Err(error) => Err(unreadable(error.into())),
        }
    }
}

impl Source for Courier {
    fn fetch(&self, ask: &Ask, stop: &AtomicBool) -> Result<Fetched, FetchError> {
        match self.ask(&Request::Fetch(self.hash, ask.clone()), ask.limits.time + GRACE, stop) {
            Ok(Answer::Fetched(fetched)) => Ok(fetched),
            Ok(Answer::Failed(words)) => Err(FetchError::Told(words)),
            Ok(_) => Err(CourierError::Confused.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn number(&self, query: &Query, stop: &AtomicBool) -> Result<f64, NoNumber> {
        let words = |error: CourierError| NoNumber(chain(&error));
        match self.ask(&Request::Number(query.clone()), NUMBER_TIME, stop).map_err(words)? {
            Answer::Number(number) => Ok(number),
            Answer::Failed(words) => Err(NoNumber(words)),
            _ => Err(words(CourierError::Confused)),
        }
    }

    fn probe(&self, probe: &Probe, stop: &AtomicBool) -> Result<(), NoAnswer> {
        let words = |error: CourierError| NoAnswer(chain(&error));
        match self.ask(&Request::Probe(probe.clone()), probe.time() + GRACE, stop).map_err(words)? {
            Answer::Probed => Ok(()),
            Answer::Failed(why) => Err(NoAnswer(why)),
            _ => Err(words(CourierError::Confused)),
        }
    }
}
