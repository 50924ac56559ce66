// SPDX-License-Identifier: Apache-2.0
//! From what is touched on the host to the objects that it concerns, a moment later and each but once.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::host::units::{Bell, listen};
use crate::host::{HostError, ReadHost as _, RealHost, RulesetMonitor, Touched, Watcher};
use crate::resources::accounts::{PUBLIC, SHADOW};
use crate::resources::{Concerned, Watchlist};

/// Who changes a file seldom does so with one call; and what is done in this time is looked at once.
const FILES_SETTLE: Duration = Duration::from_millis(10);

/// Who changes users with usermod(8) or the like changes several files, and locks them all until the last is written.
const ACCOUNTS_LOOK: Duration = Duration::from_millis(5);

/// Who keeps them locked for longer, as an editor may, is not waited for: a repair waits for the lock itself.
const ACCOUNTS_PATIENCE: Duration = Duration::from_secs(2);

/// Who loads a block list does so in one transaction, of which the kernel tells line by line.
const RULESET_SETTLE: Duration = Duration::from_millis(20);

/// Who restarts a unit stops it for a moment.
const UNITS_SETTLE: Duration = Duration::from_millis(150);

/// When more is touched at once, all is looked at.
const TOUCHED_MAX: usize = 4096;

/// What follows where nothing is seen.
const BLIND: &str = "what changes there is put right at the next full check";

/// Watches what the declared objects of one host depend on.
pub struct Watch {
    host: Arc<RealHost>,
    /// `None` once the kernel has taken it away.
    files: Option<Watcher>,
    units: watch::Sender<BTreeSet<String>>,
    bell: Arc<Bell>,
    listener: Option<JoinHandle<()>>,
    /// Whether the packet filter can be listened to: not under another root, and not without the kernel's netfilter.
    hears_ruleset: bool,
    /// `None` while no object depends on the packet filter.
    ruleset: Option<RulesetMonitor>,
    watchlist: Arc<Watchlist>,
    touched: BTreeSet<Touched>,
    /// When what was touched is handed out.
    due: Option<Instant>,
    /// Until when it is held back because somebody is still changing accounts.
    accounts_due: Option<Instant>,
}

impl Watch {
    /// Begins to watch, at first nothing. Must be called inside a runtime.
    ///
    /// # Errors
    /// The kernel gives no queue of events.
    pub fn new(host: &Arc<RealHost>) -> Result<Self, HostError> {
        let (units, wanted) = watch::channel(BTreeSet::new());
        let bell = Arc::new(Bell::default());
        // Under another root nothing runs.
        let listener = host.is_live().then(|| tokio::spawn(listen(wanted, Arc::clone(&bell))));
        Ok(Self {
            host: Arc::clone(host),
            files: Some(Watcher::new(host.root())?),
            units,
            bell,
            listener,
            hears_ruleset: host.is_live(),
            ruleset: None,
            watchlist: Arc::new(Watchlist::default()),
            touched: BTreeSet::new(),
            due: None,
            accounts_due: None,
        })
    }

    /// Watches for these and for nothing else. Returns whether there is a place or unit now that was not watched before:
    /// what happened there meanwhile was not seen.
    pub fn set(&mut self, watchlist: Arc<Watchlist>) -> bool {
        let directories = watchlist.directories();
        let units = watchlist.units();
        let mut is_new = !units.is_subset(&self.units.borrow());
        if let Some(files) = &mut self.files {
            let before = self.watchlist.directories();
            is_new |= directories.iter().any(|(path, depth)| before.get(path).is_none_or(|before| before < depth));
            let unwatched = files.unwatched().len();
            files.set(directories);
            // The limit may have been raised.
            is_new |= files.unwatched().len() < unwatched;
        }
        self.units.send_if_modified(|before| {
            let is_other = *before != units;
            *before = units;
            is_other
        });
        is_new |= self.listen_to_ruleset(watchlist.has_ruleset());
        self.watchlist = watchlist;
        is_new
    }

    /// Returns whether the packet filter is listened to that was not before.
    fn listen_to_ruleset(&mut self, is_wanted: bool) -> bool {
        if !is_wanted || !self.hears_ruleset {
            self.ruleset = None;
            return false;
        }
        if self.ruleset.is_some() {
            return false;
        }
        match RulesetMonitor::new() {
            Ok(monitor) => self.ruleset = Some(monitor),
            Err(error) => {
                warn!("cannot listen to the packet filter: {error}; what changes there is seen at the next full check");
                self.hears_ruleset = false;
            }
        }
        self.ruleset.is_some()
    }

    /// Returns how many directories are watched.
    pub fn directories(&self) -> usize {
        self.files.as_ref().map_or(0, Watcher::watches)
    }

    /// Returns in which directories nothing is seen, and why, in a sentence; `None` if all are watched.
    pub fn blind(&self) -> Option<String> {
        let Some(files) = &self.files else {
            return Some(format!("the kernel tells no more of changes to files; {BLIND}"));
        };
        let (path, why) = files.unwatched().first_key_value()?;
        let others = match files.unwatched().len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let remedy = match why {
            Errno::ENOSPC => "; the limit is reached: raise fs.inotify.max_user_watches with sysctl",
            _ => "",
        };
        Some(format!("{}{others} cannot be watched ({why}); {BLIND}{remedy}", path.display()))
    }

    /// Waits until some object is concerned. May be dropped at any time; nothing is lost by that.
    pub async fn next(&mut self) -> Concerned {
        loop {
            tokio::select! {
                () = until(self.due) => {
                    self.due = None;
                    self.drain();
                    if self.is_amid_accounts() {
                        self.due = Some(Instant::now() + ACCOUNTS_LOOK);
                        continue;
                    }
                    let concerned = self.watchlist.touched_by(&self.touched);
                    self.touched.clear();
                    if concerned != Concerned::Objects(BTreeSet::new()) {
                        return concerned;
                    }
                }
                // Not drained before it is due: until then the kernel joins what is alike.
                ready = ready(self.files.as_ref()), if self.due.is_none() => {
                    if ready.is_err() {
                        self.files = None;
                        return Concerned::All("the kernel's list of changes is gone");
                    }
                    self.due = Some(Instant::now() + FILES_SETTLE);
                }
                told = changed(self.ruleset.as_ref()) => {
                    // Others change their tables too, and often: fail2ban, Docker.
                    if told.is_ok() && self.ruleset.as_ref().is_some_and(RulesetMonitor::drain) {
                        self.touched.insert(Touched::Ruleset);
                        self.due.get_or_insert(Instant::now() + RULESET_SETTLE);
                    } else if told.is_err() {
                        self.ruleset = None;
                        return Concerned::All("the kernel tells no more of the packet filter");
                    }
                }
                () = self.bell.rung() => {
                    self.touched.extend(self.bell.take());
                    self.due.get_or_insert(Instant::now() + UNITS_SETTLE);
                }
            }
        }
    }

    /// Whether account files were touched by somebody who has not finished, and who is still waited for.
    fn is_amid_accounts(&mut self) -> bool {
        let is_amid = self.touched.iter().any(is_of_accounts)
            && Instant::now() < *self.accounts_due.get_or_insert_with(|| Instant::now() + ACCOUNTS_PATIENCE)
            && self.host.are_accounts_locked();
        if !is_amid {
            self.accounts_due = None;
        }
        is_amid
    }

    fn drain(&mut self) {
        let (watchlist, all) = (&self.watchlist, &mut self.touched);
        let Some(files) = &mut self.files else { return };
        files.drain(&mut |touched| {
            if matches!(&touched, Touched::Path(path) if !watchlist.concerns(path)) {
                return;
            }
            if all.len() >= TOUCHED_MAX {
                all.insert(Touched::Everything("very much changed at once"));
            } else {
                all.insert(touched);
            }
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

fn is_of_accounts(touched: &Touched) -> bool {
    matches!(touched, Touched::Path(path) if PUBLIC.iter().chain([&SHADOW]).any(|file| path == Path::new(file)))
}

async fn ready(files: Option<&Watcher>) -> std::io::Result<()> {
    match files {
        Some(files) => files.ready().await,
        None => pending().await,
    }
}

async fn changed(ruleset: Option<&RulesetMonitor>) -> std::io::Result<()> {
    match ruleset {
        Some(ruleset) => ruleset.ready().await,
        None => pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}
