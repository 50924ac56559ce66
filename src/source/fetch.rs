// SPDX-License-Identifier: Apache-2.0
//! Fetches one ref, and a second one where there is one, with a limit on everything that a remote could stretch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use gix::bstr::ByteSlice as _;
use gix::url::Scheme;

use crate::model::git::Oid;

use super::courier::CourierError;
use super::exchange::{Exchange, Failure};
use super::leftovers;
use super::mirror::{self, Mirror};
use super::ssh;

/// How often the limits are looked at.
const WATCH: Duration = Duration::from_millis(50);
/// How long a fetch that was told to stop has to clear up before it is left behind.
const GRACE: Duration = Duration::from_secs(1);
/// What is fetched even onto a disk that is nearly full: it may be the commit that makes room.
const SMALL: u64 = 1024 * 1024;

/// Why a fetch brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("\"{git_ref}\" is not a full ref name; write it out, such as refs/heads/main")]
    Ref { git_ref: String },
    #[error("\"{remote}\" is no remote that can be fetched from; write a path, or an https, http, ssh or git URL")]
    Remote { remote: String },
    #[error("cannot reach {remote} to fetch {git_ref}; {}", help(*.scheme))]
    Connect {
        remote: String,
        git_ref: String,
        scheme: RemoteKind,
        #[source]
        source: Cause,
    },
    #[error("{remote} has no {git_ref}; push it there, or correct ref in the configuration")]
    MissingRef { remote: String, git_ref: String },
    #[error("cannot fetch {git_ref} from {remote}")]
    Receive {
        remote: String,
        git_ref: String,
        #[source]
        source: Cause,
    },
    #[error("fetching {git_ref} from {remote} took more than the {} s allowed; if the line is that slow, raise fetch.timeout", limit.as_secs_f32())]
    Deadline { remote: String, git_ref: String, limit: Duration },
    #[error(
        "fetching {git_ref} from {remote} would bring more than the {limit} bytes allowed; if the repo is that large, \
         raise fetch.max_mib"
    )]
    TooLarge { remote: String, git_ref: String, limit: u64 },
    #[error("fetching {git_ref} from {remote} would leave less than {reserve} bytes of the disk; make room")]
    NoRoom { remote: String, git_ref: String, reserve: u64 },
    #[error("what was fetched cannot be written to the disk; look at it, and make room")]
    Sync {
        #[source]
        source: std::io::Error,
    },
    #[error("fetching {git_ref} from {remote} was stopped")]
    Stopped { remote: String, git_ref: String },
    #[error("cannot start a thread to fetch in")]
    Thread(#[source] std::io::Error),
    /// The words of the courier, who did the fetching.
    #[error("{0}")]
    Told(String),
    #[error(transparent)]
    Courier(#[from] CourierError),
}

/// By which way a remote is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteKind {
    Path,
    Ssh,
    Http,
    Git,
}

/// Where a remote is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub kind: RemoteKind,
    /// A name or a number; `None` of a path.
    pub host: Option<String>,
    /// The port, if the remote names one.
    pub port: Option<u16>,
    /// Whether nobody on the way can read what is sent.
    pub is_encrypted: bool,
}

/// Returns where a remote is; `None` if there is no way to it.
pub fn place(remote: &str) -> Option<Place> {
    let url = gix::url::parse(remote.as_bytes().as_bstr()).ok()?;
    let kind = kind_of(&url.scheme)?;
    let is_encrypted = matches!(url.scheme, Scheme::Ssh | Scheme::Https);
    Some(Place { kind, host: url.host().map(str::to_owned), port: url.port, is_encrypted })
}

fn kind_of(scheme: &Scheme) -> Option<RemoteKind> {
    match scheme {
        Scheme::File => Some(RemoteKind::Path),
        Scheme::Ssh => Some(RemoteKind::Ssh),
        Scheme::Http | Scheme::Https => Some(RemoteKind::Http),
        Scheme::Git => Some(RemoteKind::Git),
        _ => None,
    }
}

fn help(kind: RemoteKind) -> &'static str {
    match kind {
        RemoteKind::Path => {
            "a path is read by git-upload-pack: git must be installed, and the repository this user's own, \
             or named by `git config --system --add safe.directory PATH`"
        }
        RemoteKind::Ssh => {
            "ssh must be installed, the server's key known and a key of this user, or the credential ssh-key, accepted \
             without a question"
        }
        RemoteKind::Http => "the server must answer, and ask for no password or take the credential git-token",
        RemoteKind::Git => "the server must answer",
    }
}

/// What the Git library says, in one line and without passwords.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl Cause {
    /// Keeps the words of `error` and of its causes, but for what stands before the host in `remote`.
    pub(super) fn of(error: &gix::Error, remote: Option<&str>) -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut next: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if !words.iter().any(|before| before.contains(&text)) {
                words.push(text);
            }
            next = error.source();
        }
        let mut words = words.join(": ").replace('\n', "; ");
        if let Some(secret) = remote.and_then(user_info) {
            words = words.replace(secret, "***");
            if let Some((_, password)) = secret.split_once(':').filter(|(_, password)| !password.is_empty()) {
                words = words.replace(password, "***");
            }
        }
        Self(words)
    }
}

/// Returns what stands between the scheme and the host.
pub(super) fn user_info(remote: &str) -> Option<&str> {
    let (_, rest) = remote.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@').map(|(user_info, _)| user_info)
}

/// A remote as it may be shown: without user and password.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match user_info(self.0) {
            Some(secret) if secret.contains(':') => f.write_str(&self.0.replacen(&format!("{secret}@"), "***@", 1)),
            _ => f.write_str(self.0),
        }
    }
}

/// What the remote has where it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The id that the ref has.
    pub tip: Oid,
    /// The id that the second ref has; `None` where there is no such ref.
    pub beside: Option<Oid>,
}

impl Mirror {
    /// Fetches `git_ref` of `remote` into `refs/hostwrit/incoming` and, in the same exchange, `beside` where the remote
    /// has it. Returns the ids that the remote has there.
    ///
    /// `remote` is a path or an http, https, ssh or git URL. Ends, one way or the other, soon after the time limit or after
    /// `stop` was set. A handshake cannot be interrupted; a thread that hangs in one is left behind and harms nothing.
    ///
    /// # Errors
    /// The remote cannot be reached, lacks the ref, or broke a limit. The mirror is as good as before.
    pub fn fetch(
        &self,
        remote: &str,
        git_ref: &str,
        beside: Option<&str>,
        stop: &AtomicBool,
    ) -> Result<Fetched, FetchError> {
        let shown = || Shown(remote).to_string();
        let name = || git_ref.to_owned();
        for git_ref in [Some(git_ref), beside].into_iter().flatten() {
            // Also keeps `+`, `:` and `*` out of the refspec.
            if !git_ref.starts_with("refs/") || gix::validate::reference::name(git_ref.into()).is_err() {
                return Err(FetchError::Ref { git_ref: git_ref.to_owned() });
            }
        }
        let no_remote = || FetchError::Remote { remote: shown() };
        let url = gix::url::parse(remote.as_bytes().as_bstr()).map_err(|_| no_remote())?;
        let scheme = kind_of(&url.scheme).ok_or_else(no_remote)?;

        let interrupt = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = mpsc::channel();
        // A thread that was left behind must own all that it uses.
        let exchange = Exchange {
            options: mirror::options(&self.directory, self.limits, &self.access),
            directory: self.directory.clone(),
            url,
            access: self.access.clone(),
            time: self.limits.time + GRACE / 2,
            advertised: self.advertised.clone(),
            git_ref: name(),
            beside: beside.map(str::to_owned),
            interrupt: Arc::clone(&interrupt),
        };
        // Nobody listens any more if the answer came too late.
        let work = move || drop(sender.send(exchange.receive()));
        thread::Builder::new().name("fetch".to_owned()).spawn(work).map_err(FetchError::Thread)?;

        let begin = Instant::now();
        let size_before = leftovers::pack_bytes(&self.directory).unwrap_or(0);
        let mut broken = None;
        loop {
            match receiver.recv_timeout(WATCH) {
                Ok(Ok(fetched)) => {
                    if leftovers::pack_bytes(&self.directory).ok() != Some(size_before) {
                        leftovers::sync_fetched(&self.directory).map_err(|source| FetchError::Sync { source })?;
                    }
                    return Ok(fetched);
                }
                // What was told to stop fails in its own words; why it was told is what counts.
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) if broken.is_some() => break,
                Ok(Err(failure)) => {
                    return Err(match failure {
                        Failure::MissingRef => FetchError::MissingRef { remote: shown(), git_ref: name() },
                        Failure::Connect(error) => {
                            let source = self.cause(&error, remote, scheme);
                            FetchError::Connect { remote: shown(), git_ref: name(), scheme, source }
                        }
                        Failure::Receive(error) => {
                            let source = self.cause(&error, remote, scheme);
                            FetchError::Receive { remote: shown(), git_ref: name(), source }
                        }
                    });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let source = Cause("the Git library gave up on what the remote sent".to_owned());
                    return Err(FetchError::Receive { remote: shown(), git_ref: name(), source });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            match broken {
                Some((_, since)) if Instant::now().duration_since(since) > GRACE => {
                    self.left_behind.set(true);
                    break;
                }
                Some(_) => {}
                None => {
                    let size = leftovers::pack_bytes(&self.directory).unwrap_or(0);
                    let brought = size.saturating_sub(size_before);
                    let is_disk_full = || {
                        let free = leftovers::free_bytes(&self.directory);
                        brought > SMALL && free.is_ok_and(|free| free < self.limits.free_bytes)
                    };
                    let why = if stop.load(Ordering::Relaxed) {
                        Broken::Stop
                    } else if begin.elapsed() > self.limits.time {
                        Broken::Time
                    } else if brought > self.limits.pack_bytes {
                        Broken::Size
                    } else if is_disk_full() {
                        Broken::Room
                    } else {
                        continue;
                    };
                    interrupt.store(true, Ordering::Relaxed);
                    broken = Some((why, Instant::now()));
                }
            }
        }
        let (remote, git_ref) = (shown(), name());
        Err(match broken {
            Some((Broken::Size, _)) => FetchError::TooLarge { remote, git_ref, limit: self.limits.pack_bytes },
            Some((Broken::Room, _)) => FetchError::NoRoom { remote, git_ref, reserve: self.limits.free_bytes },
            Some((Broken::Time, _)) => FetchError::Deadline { remote, git_ref, limit: self.limits.time },
            Some((Broken::Stop, _)) | None => FetchError::Stopped { remote, git_ref },
        })
    }
}

impl Mirror {
    /// Returns what the Git library says, and before it what it did not hear.
    fn cause(&self, error: &gix::Error, remote: &str, scheme: RemoteKind) -> Cause {
        let Cause(words) = Cause::of(error, Some(remote));
        match ssh::last_words(&self.directory).filter(|_| scheme == RemoteKind::Ssh) {
            Some(said) => Cause(format!("ssh says: {said}: {words}")),
            None => Cause(words),
        }
    }
}

/// Why a fetch was told to stop.
enum Broken {
    Stop,
    Time,
    Size,
    Room,
}

/// Returns a remote as it may be shown: without a user's name and password.
pub fn redact(remote: &str) -> String {
    Shown(remote).to_string()
}
