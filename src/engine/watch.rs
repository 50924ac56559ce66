// SPDX-License-Identifier: Apache-2.0
//! From what is touched on the host to the objects that it concerns, a moment later and each but once.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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

/// Who changes users with usermod(8) or the like changes several files, and homes after them.
const ACCOUNTS_SETTLE: Duration = Duration::from_millis(40);

/// Who loads a block list does so in one transaction, of which the kernel tells line by line.
const RULESET_SETTLE: Duration = Duration::from_millis(20);

/// Who restarts a unit stops it for a moment.
const UNITS_SETTLE: Duration = Duration::from_millis(150);

/// When more is touched at once, all is looked at.
const TOUCHED_MAX: usize = 4096;

/// Watches what the declared objects of one host depend on.
pub struct Watch {
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
    told_of_limit: bool,
}

impl Watch {
    /// Begins to watch, at first nothing. Must be called inside a runtime.
    ///
    /// # Errors
    /// The kernel gives no queue of events.
    pub fn new(host: &RealHost) -> Result<Self, HostError> {
        let (units, wanted) = watch::channel(BTreeSet::new());
        let bell = Arc::new(Bell::default());
        // Under another root nothing runs.
        let listener = host.is_live().then(|| tokio::spawn(listen(wanted, Arc::clone(&bell))));
        Ok(Self {
            files: Some(Watcher::new(host.root())?),
            units,
            bell,
            listener,
            hears_ruleset: host.is_live(),
            ruleset: None,
            watchlist: Arc::new(Watchlist::default()),
            touched: BTreeSet::new(),
            due: None,
            told_of_limit: false,
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
            files.set(directories);
            let unwatched = files.unwatched();
            if let Some((path, why)) = unwatched.first_key_value().filter(|_| !self.told_of_limit) {
                let (path, others) = (path.display(), unwatched.len() - 1);
                warn!(
                    "cannot watch {path} and {others} other directories: {why}; what changes there is seen at the next \
                     full check (if the limit is reached, raise fs.inotify.max_user_watches with sysctl)"
                );
            }
            self.told_of_limit = !unwatched.is_empty();
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

    /// Returns how many directories are watched, and how many should be and cannot.
    pub fn directories(&self) -> (usize, usize) {
        self.files.as_ref().map_or((0, 0), |files| (files.watches(), files.unwatched().len()))
    }

    /// Waits until some object is concerned. May be dropped at any time; nothing is lost by that.
    pub async fn next(&mut self) -> Concerned {
        loop {
            tokio::select! {
                () = until(self.due) => {
                    self.due = None;
                    let has_settled = self.touched.iter().any(is_of_accounts);
                    self.drain();
                    if !has_settled && self.touched.iter().any(is_of_accounts) {
                        self.due = Some(Instant::now() + ACCOUNTS_SETTLE);
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
