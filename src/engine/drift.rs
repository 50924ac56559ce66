// SPDX-License-Identifier: Apache-2.0
//! Seeing drift and putting it right between two pulls, for the daemon.
//!
//! What is watched is a hint. The truth is the look at the whole host that the daemon takes every `full_check`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use crate::audit::OutcomeResult;
use crate::host::RealHost;
use crate::memory;
use crate::model::{ObjectId, Record, chain};
use crate::resources::Concerned;

use super::CycleError;
use super::enforced::Enforced;
use super::fights::{Fights, Fought};
use super::repair::{Repair, Repaired, repair};
use super::watch::Watch;
use super::who;

/// A look at the whole host that events ask for comes at the most so often.
const FULL_LOOKS_APART: Duration = Duration::from_secs(10);

/// As many objects are looked at in one go when all must be: what is touched meanwhile need not wait long, and memory stays
/// small.
const BATCH: usize = 256;

/// Repairs often follow one another. After so long without one, memory keeps nothing for the next.
const REST_AFTER: Duration = Duration::from_secs(10);

/// What is watched of a host, and what is fought over on it.
pub struct Drift {
    host: Arc<RealHost>,
    /// `None` where the kernel does not let us watch.
    watch: Option<Watch>,
    /// Why not, in a sentence.
    why_unwatched: Option<String>,
    enforced: Option<Enforced>,
    /// What is remembered of all objects, as it was read last; `None` after some rest.
    record: Option<Record>,
    /// When what the last repair left in memory is given back.
    rest: Option<Instant>,
    /// The first of the objects that are to be looked at because they are watched only now.
    unseen: Option<usize>,
    fights: Fights,
    /// Objects of which is told more than how they differ.
    told_of: BTreeSet<ObjectId>,
    /// Whether one of these was touched.
    is_touched: bool,
    /// Objects that are to be looked at, and when.
    waiting: BTreeSet<ObjectId>,
    due: Option<Instant>,
    /// What maintenance holds back, as far as a look at the whole host has told of it or is owed.
    held: BTreeSet<ObjectId>,
    /// When a look at the whole host is owed.
    full_look: Option<Instant>,
    last_full_look: Instant,
    /// Who changes what is fought over, as it is found out.
    found: (Sender<Blame>, Receiver<Blame>),
    /// The repair under way.
    work: Option<JoinHandle<Worked>>,
    stop: Arc<AtomicBool>,
}

/// An object that is fought over, and who changes it.
type Blame = (ObjectId, String);

/// What the daemon has to know of.
#[derive(Debug)]
pub enum Next {
    /// Something was put right, or could not be.
    Repaired(Box<Repaired>),
    /// The whole host must be looked at.
    Cycle,
}

/// What a repair came to.
struct Worked {
    repaired: Option<Box<Repaired>>,
    /// What maintenance holds back of it.
    held: BTreeSet<ObjectId>,
    /// The repair could not be made, or numbers of accounts changed.
    needs_cycle: bool,
    /// What was put away cannot be had back, so the next cycle has to give it anew.
    is_lost: bool,
    /// What the host is held to by a repair that changed where objects are.
    enforced: Option<Enforced>,
    record: Option<Record>,
}

impl Drift {
    /// Prepares to watch the host; [`Drift::after_cycle`] says for what.
    pub fn new(host: Arc<RealHost>) -> Self {
        let (watch, why_unwatched) = match Watch::new(&host) {
            Ok(watch) => (Some(watch), None),
            Err(error) => (None, Some(format!("drift is seen at full checks alone: {}", chain(&error)))),
        };
        Self {
            host,
            watch,
            why_unwatched,
            enforced: None,
            record: None,
            rest: None,
            unseen: None,
            fights: Fights::default(),
            told_of: BTreeSet::new(),
            is_touched: false,
            waiting: BTreeSet::new(),
            due: None,
            held: BTreeSet::new(),
            full_look: None,
            last_full_look: Instant::now(),
            found: channel(),
            work: None,
            stop: Arc::default(),
        }
    }

    /// Returns the commit that is watched over.
    pub fn commit(&self) -> Option<String> {
        self.enforced.as_ref().map(|enforced| enforced.commit().to_owned())
    }

    /// Returns what the host is held to.
    pub fn enforced(&self) -> Option<&Enforced> {
        self.enforced.as_ref()
    }

    /// Returns what something else on the host changes again and again.
    pub fn fought(&self) -> Vec<Fought> {
        self.fights.fought()
    }

    /// Returns where drift is seen at full checks alone, and why, in a sentence; `None` if it is seen everywhere.
    pub fn blind(&self) -> Option<String> {
        match &self.watch {
            Some(watch) => watch.blind(),
            None => self.why_unwatched.clone(),
        }
    }

    /// Whether since the last call something was touched of which more is told than how it differs: what is true of it now only
    /// a look at the whole host says.
    pub fn take_touched(&mut self) -> bool {
        std::mem::take(&mut self.is_touched)
    }

    /// Watches over what a cycle left, which looked at the whole host: `enforced` if that is new to us. `told_of` are the objects of
    /// which it told more than how they differ.
    pub fn after_cycle(&mut self, enforced: Option<Enforced>, told_of: BTreeSet<ObjectId>) {
        self.told_of = told_of;
        self.last_full_look = Instant::now();
        self.full_look = None;
        // What could not be watched may be watched now.
        let again = || self.enforced.clone().filter(|_| self.watch.is_some() && self.blind().is_some());
        if let Some(enforced) = enforced.or_else(again) {
            self.set(enforced);
        }
    }

    fn set(&mut self, enforced: Enforced) {
        if enforced.declared().at_hand().maintenance.is_none() {
            self.held.clear();
        }
        if let Some(watch) = &mut self.watch {
            // What happened to a new object was, until now, no matter of ours, although its directory may have been watched.
            let is_new = self.enforced.as_ref().is_none_or(|before| !before.is_of(&enforced));
            if watch.set(Arc::clone(enforced.watchlist())) || is_new || self.unseen.is_some() {
                // Something may have happened after the look and before the watch stood.
                self.unseen = Some(0);
            }
            debug!(watched = watch.directories(), "directories");
        }
        self.enforced = Some(enforced);
    }

    /// Puts right what drifts until there is something to tell. May be dropped at any time: it goes on where it was.
    pub async fn next(&mut self) -> Next {
        loop {
            if let Some(work) = &mut self.work {
                let worked = work.await;
                self.work = None;
                match worked {
                    Ok(worked) => {
                        if let Some(repaired) = self.done(worked) {
                            return Next::Repaired(repaired);
                        }
                    }
                    Err(fault) => {
                        error!("a repair ended in a way that is a fault of hostwrit: {}", chain(&fault));
                        self.owe_full_look();
                    }
                }
                continue;
            }
            let unseen = self.unseen.map(|_| Instant::now());
            let due = [self.due, self.full_look, unseen, self.rest].into_iter().flatten().min();
            let concerned = tokio::select! {
                // What was just touched comes before what perhaps was.
                biased;
                concerned = watched(self.watch.as_mut()) => Some(concerned),
                () = until(due) => None,
            };
            match concerned {
                Some(Concerned::Objects(objects)) => {
                    self.is_touched |= objects.iter().any(|object| self.told_of.contains(object));
                    self.begin(objects);
                }
                Some(Concerned::All(why)) => {
                    info!("the whole host is looked at: {why}");
                    self.owe_full_look();
                }
                None if self.full_look.is_some_and(|due| due <= Instant::now()) => {
                    self.full_look = None;
                    return Next::Cycle;
                }
                None if self.due.is_some_and(|due| due <= Instant::now()) => {
                    self.due = None;
                    let waiting = std::mem::take(&mut self.waiting);
                    self.begin(waiting);
                }
                None if self.unseen.is_some() => self.begin_unseen(),
                None => self.rest(),
            }
        }
    }

    /// Finishes the step that is under way.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(work) = self.work.take() {
            let _ = work.await;
        }
    }

    /// Looks at these objects, in a thread of its own, and puts right what differs.
    fn begin(&mut self, objects: BTreeSet<ObjectId>) {
        let held = self.fights.held(Instant::now());
        let (later, objects): (BTreeSet<_>, BTreeSet<_>) =
            objects.into_iter().partition(|object| held.contains(object));
        self.wait_for(later);
        let Some(enforced) = self.enforced.clone().filter(|_| !objects.is_empty()) else { return };
        let (host, stop, record) = (Arc::clone(&self.host), Arc::clone(&self.stop), self.record.take());
        self.work = Some(tokio::task::spawn_blocking(move || work(&enforced, objects, &held, &host, &stop, record)));
    }

    /// Looks at the next of the objects that are watched only now.
    fn begin_unseen(&mut self) {
        let (Some(from), Some(enforced)) = (self.unseen, &self.enforced) else {
            self.unseen = None;
            return;
        };
        if from >= enforced.watchlist().len() {
            self.unseen = None;
            return self.rest();
        }
        let objects = enforced.watchlist().objects(from, BATCH);
        self.unseen = Some(from + BATCH);
        self.begin(objects);
    }

    /// Gives back what looks and repairs took, and what only the next one would need.
    fn rest(&mut self) {
        (self.record, self.rest) = (None, None);
        memory::give_back();
    }

    fn wait_for(&mut self, objects: BTreeSet<ObjectId>) {
        let release = self.fights.release(&objects);
        self.waiting.extend(objects);
        self.due = [self.due, release].into_iter().flatten().min();
    }

    /// Finds out who changes the object, in a thread of its own: the next repair tells it.
    fn find_out(&self, object: ObjectId) {
        let (host, found) = (Arc::clone(&self.host), self.found.0.clone());
        tokio::task::spawn_blocking(move || {
            if let Some(by) = who::changes(&object, &host) {
                warn!(object = %object, by, "fought over");
                // Nobody listens any more where the daemon is about to end.
                let _ = found.send((object, by));
            }
        });
    }

    fn owe_full_look(&mut self) {
        self.full_look.get_or_insert(Instant::now().max(self.last_full_look + FULL_LOOKS_APART));
    }

    fn done(&mut self, worked: Worked) -> Option<Box<Repaired>> {
        self.record = worked.record;
        self.rest = Some(Instant::now() + REST_AFTER);
        // What is held back is told by a cycle, once and not at each change.
        let is_new = worked.held.iter().any(|object| !self.held.contains(object));
        self.held.extend(worked.held);
        if worked.needs_cycle || is_new {
            self.owe_full_look();
        }
        let is_current = |enforced: &Enforced| self.enforced.as_ref().is_some_and(|current| current.is_of(enforced));
        if worked.is_lost {
            self.enforced = None;
        } else if let Some(enforced) = worked.enforced.filter(is_current) {
            self.set(enforced);
        }
        let repaired = worked.repaired?;
        let now = Instant::now();
        let known: BTreeSet<ObjectId> = self.fights.fought().into_iter().map(|fought| fought.object).collect();
        let objects: BTreeSet<&ObjectId> = repaired.outcomes.iter().map(|outcome| &outcome.object).collect();
        objects.into_iter().for_each(|object| self.fights.repaired(object, now));
        for (object, by) in self.found.1.try_iter() {
            self.fights.blame(&object, by);
        }
        for fought in self.fights.fought() {
            if !known.contains(&fought.object) {
                warn!(object = %fought.object, "{fought}");
            }
            if fought.by.is_none() && repaired.outcomes.iter().any(|outcome| outcome.object == fought.object) {
                self.find_out(fought.object);
            }
        }
        Some(repaired)
    }
}

fn work(
    enforced: &Enforced,
    objects: BTreeSet<ObjectId>,
    held: &BTreeSet<ObjectId>,
    host: &RealHost,
    stop: &AtomicBool,
    mut record: Option<Record>,
) -> Worked {
    let done = repair(enforced, objects, held, host, stop, &mut record, &mut |step, outcome| match outcome.result {
        OutcomeResult::Done => info!(object = %step.object, action = ?step.action, "drift was put right"),
        _ => warn!(object = %step.object, "{}", outcome.message.as_deref().unwrap_or_default()),
    });
    host.forget_ruleset();
    let is_lost = matches!(done, Err(CycleError::Shelf(_)));
    let mut held_back = BTreeSet::new();
    let (repaired, mut needs_cycle) = match done {
        Ok(Repair::Nothing) => (None, false),
        Ok(Repair::Held(objects)) => {
            held_back = objects;
            (None, false)
        }
        Ok(Repair::NeedsCycle) => (None, true),
        Ok(Repair::Done(repaired)) => {
            held_back = repaired.plan.held.iter().map(|step| step.object.clone()).collect();
            (Some(repaired), false)
        }
        Err(error) => {
            warn!("drift cannot be put right: {}", chain(&error));
            (None, true)
        }
    };
    // Owners of files are compared by number, wherever the files are.
    needs_cycle |= enforced.watchlist().is_renumbered(host).unwrap_or(true);
    let moves =
        |repaired: &Repaired| repaired.plan.steps.iter().any(|step| enforced.watchlist().may_move_with(&step.object));
    let is_other = needs_cycle || repaired.as_deref().is_some_and(moves);
    let known = record.as_ref().filter(|_| is_other);
    let enforced = known.and_then(|record| enforced.moved(record, host).ok().flatten());
    Worked { repaired, held: held_back, needs_cycle, is_lost, enforced, record }
}

async fn watched(watch: Option<&mut Watch>) -> Concerned {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
