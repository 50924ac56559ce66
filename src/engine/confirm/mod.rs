// SPDX-License-Identifier: Apache-2.0
//! A dead-man's switch around changes that can cut a host off: unless the host proves in time that it is reached as before, they go
//! back by themselves, whatever becomes of this process (docs/decisions/0021-confirm.md).

mod accounts;
pub mod back;
mod journal;
mod login;
mod marker;
mod notes;
mod prove;
mod revert;
mod risk;
mod sockets;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::audit::entry::Cause;
use crate::audit::{Event, Log};
use crate::host::{Timer, WriteHost};
use crate::model::chain;
use crate::resources::{self, Desired};

use super::hold::Bad;
use super::{Cycle, CycleError, Plan, State, cycle};

pub use back::BackError;
use journal::Journal;
use marker::{By, DIR, REVERTED, Reverted, Unproven};
use notes::JOURNAL;
use prove::{Before, Network};
use revert::Moment;

pub(super) use marker::Memory;
pub use marker::UNPROVEN;

/// The code of a commit that was put back because the host could not prove that it is reached.
const UNCONFIRMED: &str = "unconfirmed";
/// The code of a commit for whose changes no way back can be kept.
const NO_WAY_BACK: &str = "no-way-back";

/// How long what was changed has to take effect before it is looked at.
const SETTLE: Duration = Duration::from_secs(3);
/// The time between two attempts to prove.
const AGAIN: Duration = Duration::from_secs(1);
/// How long before the timer the steward takes the way back itself: it has a log, and knows the reason.
const MARGIN: Duration = Duration::from_secs(15);

/// Where the package has the program.
const PROGRAM: &str = "/usr/bin/hostwrit";

/// What a plan needs before it is carried out.
pub(super) enum Need<'c> {
    Nothing,
    /// It must be proven: its steps go through [`Confirm::host`].
    Proof(Box<Confirm<'c>>),
    /// Nothing of it may be done.
    Refusal(Bad),
}

/// A change that is under way and not proven.
pub(super) struct Confirm<'c> {
    cycle: &'c Cycle<'c>,
    desired: &'c Desired,
    journal: Journal<'c>,
    unproven: Unproven,
    before: Before,
    begun: Instant,
}

/// What became of a change.
pub(super) enum Verdict {
    Confirmed,
    /// All is as it was before; the commit is held, unless it is not to blame.
    Back(Option<Bad>),
}

impl<'c> Cycle<'c> {
    /// Finds out whether the plan must be proven. If so, the way back is armed when this returns, and nothing is changed yet.
    ///
    /// `memory` is what the state remembered before the plan's promises.
    pub(super) fn confirm(
        &'c self,
        desired: &'c Desired,
        plan: &Plan,
        memory: Memory,
        state: &State,
        log: &mut Log<'_>,
    ) -> Result<Need<'c>, CycleError> {
        let objects = risk::risky(&plan.steps);
        // What is put right is proven already, and so is what a way back leads to.
        let is_proven = plan.cause == Cause::Drift || state.is_way_back(&plan.commit);
        if objects.is_empty() || is_proven || !self.host.is_live() {
            return Ok(Need::Nothing);
        }
        if let Some(why) = rehearse(plan, self.host) {
            return Ok(Need::Refusal(Bad { code: NO_WAY_BACK, message: why }));
        }
        let before = Before::look(&self.network(desired))?;
        let now = self.host.now();
        let id = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
        let within = self.config.confirm_within;
        log.append([Event::Confirming {
            id: id.clone(),
            commit: plan.commit.clone(),
            within: humantime::format_duration(within).to_string(),
            objects: objects.clone(),
        }])?;
        self.host.make_dir(Path::new(DIR), None, 0o700)?;
        self.host.remove(Path::new(JOURNAL))?;
        let since = humantime::format_rfc3339_seconds(now).to_string();
        let running = self.host.units(&risk::LIFELINES)?.into_iter().filter(revert::is_running).map(|unit| unit.name);
        let unproven =
            Unproven::new(id, plan.commit.clone(), since, within.as_secs(), objects, memory, running.collect());
        let begun = Instant::now();
        marker::write(&unproven, UNPROVEN, self.host).map_err(BackError::from)?;
        arm(&unproven.id, within, self.host)?;
        let journal = Journal::of(self.host);
        Ok(Need::Proof(Box::new(Confirm { cycle: self, desired, journal, unproven, before, begun })))
    }

    fn network<'n>(&'n self, desired: &'n Desired) -> Network<'n> {
        Network { host: self.host, desired, source: self.store.source, ask: cycle::ask(self.config), stop: self.stop }
    }

    /// Takes up what an earlier process has left: puts back what it has not proven, and enters what was put back from outside.
    pub(super) fn take_up(&self, state: &mut State) -> Result<(), CycleError> {
        if self.host.list(Path::new(DIR))?.is_none_or(|names| names.is_empty()) {
            return Ok(());
        }
        if let Some(unproven) = marker::unproven(self.host).map_err(BackError::from)? {
            // Once may be chance; a commit that ends hostwrit a second time is not tried a third time.
            let holds = state.interrupted.as_ref() == Some(&unproven.commit);
            let (why, timer) = ("hostwrit ended before the change was proven".to_owned(), back::timer(&unproven.id));
            back::put_back(self.host, unproven, (By::Start, why, holds), Moment::Running)?;
            self.host.disarm(&timer)?;
        }
        if let Some(reverted) = marker::reverted(self.host).map_err(BackError::from)? {
            self.enter(reverted, state)?;
        }
        self.host.remove(Path::new(REVERTED))?;
        Ok(self.host.remove(Path::new(JOURNAL))?)
    }

    /// Enters into log and state what was put back.
    fn enter(&self, reverted: Reverted, state: &mut State) -> Result<(), CycleError> {
        if state.held.as_ref().is_some_and(|held| held.commit == reverted.commit) {
            // hostwrit ended between that and the removal of the word.
            return Ok(());
        }
        let mut log = Log::open(self.host, state.log)?;
        log.append([reverted.event()])?;
        state.log = Some(log.head());
        let bad = reverted.holds.then(|| Bad { code: UNCONFIRMED, message: reverted.words() });
        state.interrupted = bad.is_none().then(|| reverted.commit.clone());
        let commit = reverted.commit.clone();
        reverted.memory.put_back(state);
        match bad {
            Some(bad) => drop(self.hold_commit(bad, commit, state)?),
            None => state.write(self.host)?,
        }
        Ok(())
    }
}

impl Confirm<'_> {
    /// Returns the host through which the steps are carried out.
    pub(super) fn host(&self) -> &dyn WriteHost {
        &self.journal
    }

    /// Lets the change take effect, has the host prove that it is reached as before, and else puts it back.
    ///
    /// # Errors
    /// What was to go back could not; the timer does it again.
    pub(super) fn conclude(self, state: &mut State, log: &mut Log<'_>) -> Result<Verdict, CycleError> {
        match self.prove() {
            Ok(proofs) => {
                back::forget(self.cycle.host)?;
                state.interrupted = None;
                let Unproven { id, commit, .. } = self.unproven;
                log.append([Event::Confirmed { id: id.clone(), commit, proofs }])?;
                if let Err(error) = self.cycle.host.disarm(&back::timer(&id)) {
                    // It finds nothing to put back.
                    tracing::warn!("the timer of a change that is proven could not be stopped: {}", chain(&error));
                }
                Ok(Verdict::Confirmed)
            }
            Err(why) => {
                // Whoever stops hostwrit does not say anything about the commit.
                let holds = !self.cycle.stop.load(Ordering::Relaxed);
                self.put_back(why, holds, state, log)
            }
        }
    }

    /// Puts the change back because hostwrit itself cannot go on, and leaves the reason to its error.
    pub(super) fn abandon(self) {
        let timer = back::timer(&self.unproven.id);
        let host = self.cycle.host;
        let why = "hostwrit could not go on".to_owned();
        let done = back::put_back(host, self.unproven, (By::Steward, why, false), Moment::Running);
        if let Err(error) = done.and_then(|()| Ok(host.disarm(&timer)?)) {
            tracing::error!("a change that is not proven is left to the timer: {}", chain(&error));
        }
    }

    fn put_back(self, why: String, holds: bool, state: &mut State, log: &mut Log<'_>) -> Result<Verdict, CycleError> {
        let host = self.cycle.host;
        let (timer, memory) = (back::timer(&self.unproven.id), self.unproven.memory.clone());
        back::put_back(host, self.unproven, (By::Steward, why, holds), Moment::Running)?;
        host.disarm(&timer)?;
        memory.put_back(state);
        let Some(reverted) = marker::reverted(host).map_err(BackError::from)? else {
            // Not one step has changed anything.
            return Ok(Verdict::Back(None));
        };
        log.append([reverted.event()])?;
        if !holds {
            forget_reverted(host)?;
        }
        Ok(Verdict::Back(holds.then(|| Bad { code: UNCONFIRMED, message: reverted.words() })))
    }

    fn prove(&self) -> Result<Vec<String>, String> {
        let within = self.cycle.config.confirm_within;
        let (settle, again, margin) = (SETTLE.min(within / 20), AGAIN.min(within / 20), MARGIN.min(within / 4));
        let give_up = self.begun + (within - margin);
        let network = self.cycle.network(self.desired);
        self.rest(settle);
        loop {
            let proven = self.before.prove(&network);
            let is_stopped = self.cycle.stop.load(Ordering::Relaxed);
            match proven {
                Err(why) if is_stopped => {
                    return Err(format!("hostwrit was told to stop before the change was proven: {why}"));
                }
                Err(why) if Instant::now() + again >= give_up => return Err(why),
                Err(_) => self.rest(again),
                proven => return proven,
            }
        }
    }

    /// Waits, but not for longer than until hostwrit is to stop.
    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.cycle.stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(100).min(time));
        }
    }
}

/// Forgets the word that was left of a change that was put back, once it stands in log and state.
pub(super) fn forget_reverted(host: &dyn WriteHost) -> Result<(), CycleError> {
    Ok(host.remove(Path::new(REVERTED))?)
}

/// Returns why no way back from the plan could be kept, if so. Changes nothing.
fn rehearse(plan: &Plan, host: &dyn WriteHost) -> Option<String> {
    let rehearsal = Journal::rehearsal(host);
    for step in plan.steps.iter().filter(|step| !risk::is_of_firewall(&step.object)) {
        // A step may fail here because it needs what an earlier one only pretended to make.
        let _ = resources::apply(&step.operation, &rehearsal);
    }
    rehearsal.refusal()
}

/// Has systemd put the change back unless it is proven by then.
fn arm(id: &str, within: Duration, host: &dyn WriteHost) -> Result<(), CycleError> {
    let name = back::timer(id);
    let timer = Timer {
        name: &name,
        description: "hostwrit: puts back a change that is not proven in time",
        after: within,
        program: &program(host)?,
        args: &["revert"],
    };
    Ok(host.arm(&timer)?)
}

/// Returns the program that the package has installed, or this one where there is none.
fn program(host: &dyn WriteHost) -> Result<PathBuf, CycleError> {
    let installed = Path::new(PROGRAM);
    match host.stat(installed)? {
        Some(_) => Ok(installed.to_owned()),
        None => Ok(std::env::current_exe().unwrap_or_else(|_| installed.to_owned())),
    }
}
