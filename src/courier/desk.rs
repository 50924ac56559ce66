// SPDX-License-Identifier: Apache-2.0
//! What the courier answers to one steward or several, from one mirror.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::{info, warn};

use crate::memory;
use crate::model::chain;
use crate::model::git::{ObjectError, Objects as _, Oid};
use crate::source::wire::{self, Answer, Request};
use crate::source::{Access, Advertised, Ask, HashKind, Limits, Mirror, MirrorError};

use super::hint::{self, Remembered};
use super::outbox::Outbox;
use super::{probe, prometheus};

/// With more packs than this, a mirror is fetched anew: every one is looked into for every object.
const MAX_PACKS: usize = 64;

/// Where stewards come to ask.
pub(super) struct Desk {
    mirror: PathBuf,
    access: Access,
    /// What the Git server said that it can do.
    advertised: Advertised,
    outbox: Option<Outbox>,
    /// How many stewards are being answered.
    present: AtomicUsize,
    /// A fetch hangs that cannot be ended.
    is_spent: AtomicBool,
    /// More was done than a poll takes, and left in memory what no poll needs. So does the start.
    was_busy: AtomicBool,
    /// Held while the mirror is opened, which clears up, or fetched into.
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// The mirror has been opened once.
    is_open: bool,
    /// What the last fetch found.
    remembered: Option<Remembered>,
}

impl Desk {
    /// Returns a desk whose mirror is in `directory`, and that shows these credentials to remotes.
    pub(super) fn new(directory: &Path, access: Access, outbox: Option<Outbox>) -> Self {
        let mirror = directory.join("mirror.git");
        Self {
            mirror,
            access,
            advertised: Advertised::default(),
            outbox,
            present: AtomicUsize::new(0),
            is_spent: AtomicBool::new(false),
            was_busy: AtomicBool::new(true),
            books: Mutex::default(),
        }
    }

    /// Answers one steward until it goes. Returns whether this process can go on, and not only start anew.
    pub(super) fn attend(&self, stream: UnixStream) -> bool {
        self.present.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = self.converse(&stream) {
            warn!("a connection ended: {error}");
        }
        if self.was_busy.swap(false, Ordering::SeqCst) {
            memory::give_back();
        }
        let was_last = self.present.fetch_sub(1, Ordering::SeqCst) == 1;
        !(was_last && self.is_spent.load(Ordering::SeqCst))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn converse(&self, mut stream: &UnixStream) -> io::Result<()> {
        let mut mirror: Option<Mirror> = None;
        while let Some((tag, body)) = wire::read_frame(&mut stream, wire::MAX_REQUEST)? {
            let request =
                Request::parse(tag, &body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let answer = match request {
                Request::Fetch(hash, ask) => self.fetch(&mut mirror, hash, &ask, stream),
                Request::Object(id) => self.object(&mut mirror, &id),
                Request::Number(query) => match prometheus::ask(&query) {
                    Ok(number) => Answer::Number(number),
                    Err(error) => Answer::Failed(chain(&error)),
                },
                Request::Probe(probe) => match probe::attempt(&probe) {
                    Ok(()) => Answer::Probed,
                    Err(error) => Answer::Failed(chain(&error)),
                },
                Request::Report(batch) => self.outbox.as_ref().map_or_else(no_outbox, |outbox| outbox.spool(&batch)),
                Request::Publish(page) => self.outbox.as_ref().map_or_else(no_outbox, |outbox| outbox.publish(&page)),
                Request::Backlog => self.outbox.as_ref().map_or_else(no_outbox, Outbox::taken),
            };
            stream.write_all(&answer.to_bytes())?;
        }
        Ok(())
    }

    fn fetch(&self, slot: &mut Option<Mirror>, hash: HashKind, ask: &Ask, stream: &UnixStream) -> Answer {
        let mut books = self.books();
        // What the hint is like is found out before Git is asked: what changes in between is seen the next time.
        let seen = match (&ask.hint, books.remembered.as_ref().filter(|remembered| remembered.answers(ask))) {
            (None, _) => None,
            (Some(url), None) => hint::see(url, None),
            (Some(url), Some(remembered)) => match remembered.look(url) {
                Ok(fetched) => return Answer::Fetched(fetched),
                Err(seen) => seen,
            },
        };
        // Each fetch that brings something leaves a pack. Fetched anew they are one, and what nobody obeys, which may be
        // all that a hostile server could think of, is gone. The host keeps what it needs meanwhile.
        let (packs, bytes) = Mirror::packs(&self.mirror);
        if self.present.load(Ordering::SeqCst) == 1 && (packs > MAX_PACKS || bytes > ask.limits.pack_bytes) {
            books.is_open = false;
            match Mirror::discard(&self.mirror) {
                Ok(()) => info!(packs, bytes, "the mirror has become too large and is fetched anew"),
                Err(error) => return Answer::Failed(format!("cannot clear the mirror: {error}")),
            }
        }
        *slot = None;
        let mirror = match self.open(slot, hash, ask.limits, &mut books) {
            Ok(mirror) => mirror,
            Err(error) => return Answer::Failed(chain(&error)),
        };
        let stop = AtomicBool::new(false);
        let fetch = || mirror.fetch(&ask.remote, &ask.git_ref, ask.beside.as_deref(), &stop);
        let result = while_connected(stream, &stop, fetch);
        if mirror.has_left_a_thread() {
            self.is_spent.store(true, Ordering::SeqCst);
        }
        // An open store has room for few packs that come later; one that is opened now knows of all.
        *slot = None;
        match result {
            Ok(Ok(fetched)) => {
                books.remembered = seen.map(|seen| Remembered::new(ask.clone(), seen, fetched));
                Answer::Fetched(fetched)
            }
            Ok(Err(error)) => Answer::Failed(chain(&error)),
            Err(error) => Answer::Failed(format!("cannot watch the connection: {error}")),
        }
    }

    fn object(&self, mirror: &mut Option<Mirror>, id: &Oid) -> Answer {
        let opened = match mirror {
            Some(mirror) => Ok(&*mirror),
            None => {
                self.was_busy.store(true, Ordering::SeqCst);
                let mut books = self.books();
                self.open(mirror, id.kind(), Limits::default(), &mut books)
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
        limits: Limits,
        books: &mut Books,
    ) -> Result<&'m Mirror, MirrorError> {
        let opened = match mirror.take() {
            Some(opened) => opened,
            None if books.is_open => Mirror::reopen(&self.mirror, hash, limits)?,
            None => Mirror::open(&self.mirror, hash, limits)?,
        };
        books.is_open = true;
        Ok(mirror.insert(opened.with_access(self.access.clone()).with_advertised(self.advertised.clone())))
    }
}

fn no_outbox() -> Answer {
    Answer::Failed("this courier tells nobody anything".to_owned())
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
