// SPDX-License-Identifier: Apache-2.0
//! One reconciliation, top to bottom: pull, prove, compile, authorize, plan, apply, observe again.

mod record;
mod report;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::audit::{AuditError, Event, Log};
use crate::host::{HostError, RealHost, RunLock, WriteHost};
use crate::model::git::{Objects, Oid};
use crate::model::{Maintenance, Step};
use crate::resources::{Desired, ObserveError, Operation, ShelfError, triggers};
use crate::source::{Ask, FetchError, Fetched, Source};
use crate::trust::{Allowance, Authorized, Cache, HEARTBEAT_REF};

use super::agreement::Agreement;
use super::alarm;
use super::apply::{Outcome, carry_out};
use super::checks::Checked;
use super::claims::{close_interrupted, forget_the_gone, forget_the_unmade, promise};
use super::confirm::{self, BackError, Memory, Need, Verdict};
use super::desired::{Hindrance, Judge};
use super::hold::Bad;
use super::last_good::Store;
use super::pause::{self, Kept, PauseError};
use super::pin::{self, Known};
use super::planning::{Planned, allowance};
use super::rollout::Rollout;
use super::state::{self, StateError};
use super::trust_cache;
use super::{Config, Plan, State};
use crate::model::chain;

pub use report::Report;
pub(super) use report::report;

/// How long a cycle waits for another one to end.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(60);

/// One reconciliation of one host. Holds the run lock as long as it lives.
pub struct Cycle<'c> {
    pub(super) config: &'c Config,
    pub(super) host: &'c dyn WriteHost,
    pub(super) stop: &'c AtomicBool,
    pub(super) store: Store<'c>,
    _lock: RunLock,
}

/// Why a cycle ended early.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Pause(#[from] PauseError),
    #[error(transparent)]
    Back(#[from] BackError),
    /// There is no commit to obey: the tip does not count, and no earlier one was accepted or can still be read.
    #[error(transparent)]
    Hindered(#[from] Hindrance),
    #[error("cannot observe the host")]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("no commit was accepted yet; run `hostwrit apply` first")]
    NothingAccepted,
}

impl<'c> Cycle<'c> {
    /// Waits for the run lock.
    ///
    /// # Errors
    /// Another process keeps the lock, or a directory of hostwrit's own cannot be made.
    pub fn begin(
        config: &'c Config,
        host: &'c RealHost,
        source: &'c dyn Source,
        stop: &'c AtomicBool,
    ) -> Result<Self, CycleError> {
        let lock = host.lock(LOCK_WAIT)?;
        host.ensure_dir(Path::new(state::DIR), 0o700)?;
        host.ensure_dir(Path::new(pin::COPY_DIR), 0o755)?;
        Ok(Self::of(config, host, source, lock, stop))
    }

    /// Reconciles `host`, whose run lock the caller has taken and whose directories he has made.
    pub fn of(
        config: &'c Config,
        host: &'c dyn WriteHost,
        source: &'c dyn Source,
        lock: RunLock,
        stop: &'c AtomicBool,
    ) -> Self {
        Self { config, host, stop, store: Store::new(host, source), _lock: lock }
    }

    /// Returns the objects that were fetched or kept.
    pub fn objects(&self) -> &dyn Objects {
        &self.store
    }

    /// Says what `apply` would do, and changes nothing.
    ///
    /// # Errors
    /// There is nothing to obey, or the host cannot be observed.
    pub fn plan(&self) -> Result<Report, CycleError> {
        let (pause, unreadable) = Kept::read(self.host, self.host.now())?.standing();
        let fetched = self.fetch();
        let mut state = State::recall(self.host)?;
        if let Some(report) = self.agrees_still(&state, &fetched) {
            return Ok(report.under(pause, unreadable));
        }
        let heartbeat = heartbeat_of(&fetched);
        let known = self.known(&state)?;
        let Planned { selected, plan, ahead, objection } =
            self.select_and_plan(fetched, &known, &state, &mut trust_cache::read(self.host))?;
        state.ordered = known.ordered;
        state.rollout = Rollout { ring: selected.ring, waiting: selected.waiting };
        let refused = state.learn(&selected.times, heartbeat, self.host.now());
        let mut report = report(selected.hindrance, plan, &selected.desired, &state, self.host.now());
        (report.ahead, report.objection) = (ahead, objection);
        if report.accepted {
            state.ordered = None;
        }
        report.alarms = alarm::of(&state, refused, self.host.now());
        report.found = self.look_around(&selected.desired);
        Ok(report.under(pause, unreadable))
    }

    /// Returns the desired state of the last good commit, without asking the remote.
    ///
    /// # Errors
    /// No commit was accepted yet, none was good, or it cannot be read any more.
    pub fn last_good(&self) -> Result<Authorized<Desired>, CycleError> {
        let state = State::recall(self.host)?;
        let Some(good) = state.ground(&self.known(&state)?)? else {
            return Err(match state.held {
                Some(held) => Hindrance::Held(Box::new(held)).into(),
                None => CycleError::NothingAccepted,
            });
        };
        Ok(self.judge(&mut trust_cache::read(self.host), None).last_good(good)?.desired)
    }

    /// Asks the remote, and makes the host agree with its tip, or with the last good state.
    ///
    /// `watch` is told of each step's outcome as it happens.
    ///
    /// # Errors
    /// There is nothing to obey, the host cannot be observed, or state or log cannot be written.
    pub fn apply(&self, watch: &mut dyn FnMut(&Step<Operation>, &Outcome)) -> Result<Report, CycleError> {
        self.apply_fetched(self.fetch(), watch)
    }

    /// Does what [`Cycle::apply`] does with what the remote was just found to have.
    ///
    /// # Errors
    /// As [`Cycle::apply`].
    pub fn apply_fetched(
        &self,
        fetched: Result<Fetched, FetchError>,
        watch: &mut dyn FnMut(&Step<Operation>, &Outcome),
    ) -> Result<Report, CycleError> {
        let mut state = State::recall(self.host)?;
        self.take_up(&mut state)?;
        let (pause, unreadable) = pause::settle(self.host, &mut state)?.standing();
        // What is only told is looked at although nothing has changed, and the repo says how.
        let is_told = state.checked.as_ref().is_some_and(|checked| checked.observed > 0);
        if let Some(report) = self.agrees_still(&state, &fetched).filter(|_| !is_told) {
            return Ok(report.under(pause, unreadable));
        }
        let before = state.clone();
        let heartbeat = heartbeat_of(&fetched);
        let known = self.known(&state)?;
        state.ordered = None;
        if let Some(ordered) = known.ordered.clone() {
            state.adopt(ordered, self.root());
        }
        let mut cache = trust_cache::read(self.host);
        let answered = cache.clone();
        let selected = self.select_and_plan(fetched, &known, &state, &mut cache);
        if cache != answered
            && let Err(error) = trust_cache::write(&cache, self.host)
        {
            // Without them the next cycle proves again, and that is all.
            tracing::warn!("cannot keep what was proven: {}", chain(&error));
        }
        let Planned { selected, plan, ahead, objection } = match selected {
            Err(CycleError::Hindered(hindrance)) => {
                // Nothing to fall back to; what was refused is recorded all the same.
                self.record_refusal(&hindrance, &mut state)?;
                return Err(hindrance.into());
            }
            other => other?,
        };
        match (&selected.hindrance, &objection) {
            (None | Some(Hindrance::Rollout(_) | Hindrance::Held(_)), Some(objection)) => {
                self.record_refused(Some(plan.commit.clone()), objection.code, objection.to_string(), &mut state)?;
            }
            (None | Some(Hindrance::Rollout(_) | Hindrance::Held(_)), None) => state.refused = None,
            (Some(hindrance), _) => self.record_refusal(hindrance, &mut state)?,
        }
        state.rollout = Rollout { ring: selected.ring, waiting: selected.waiting };
        if state.rollout.waiting != before.rollout.waiting {
            // When it was first seen counts, whatever becomes of this cycle.
            state.write(self.host)?;
        }

        // The tip, or the pin, was just proven from this root.
        if state.pin.is_some() {
            state.root = Some(self.root());
        }
        let refused = state.learn(&selected.times, heartbeat, self.host.now());
        let mut desired = selected.desired;
        let report = report(selected.hindrance, plan, &desired, &state, self.host.now());
        let mut report = report.under(pause, unreadable);
        (report.ahead, report.objection) = (ahead, objection);
        if report.is_held() {
            report.found = self.look_around(&desired);
            self.look_for_way_in(desired.desired(), &mut state);
            return self.hold(report, refused, state, &before);
        }
        match (self.keep(desired.commit()), report.accepted) {
            (Err(error), true) => return Err(error),
            // It is enforced already, and may be so for as long as the courier has it.
            (Err(error), false) => tracing::warn!("cannot keep the objects of the last good commit: {}", chain(&error)),
            (Ok(()), _) => {}
        }
        let mut bad = None;
        if report.accepted || state.applying || !report.plan.steps.is_empty() {
            bad = self.carry_out(&desired, &mut report, &mut state, watch)?;
            // A commit that was accepted takes the place of one that is held.
            report.put_back = state.held_pin().cloned();
        }
        self.record_maintenance(report.plan.maintenance.as_ref(), &mut state)?;
        self.settle(&desired, &report, &mut state)?;
        if let Some(bad) = bad.or_else(|| self.examine(&desired, &mut report, &mut state)) {
            desired = self.put_back(bad, &mut report, &mut state, watch)?;
            confirm::forget_reverted(self.host)?;
            self.settle(&desired, &report, &mut state)?;
            // Whether the way back was one is told as well.
            self.examine(&desired, &mut report, &mut state);
        }
        self.look_for_way_in(desired.desired(), &mut state);
        self.record_staleness(&mut state)?;
        report.alarms.extend(alarm::of(&state, refused, self.host.now()));
        if state != before {
            state.write(self.host)?;
        }
        self.copy_pin(&report, &state)?;
        self.keep_only(&state)?;
        report.found = self.look_and_keep(&desired, &report, &state)?;
        report.enforced = Some(desired);
        Ok(report)
    }

    /// Changes nothing but what hostwrit remembers of the remote: the pin stays, and the plan is left as it is.
    fn hold(
        &self,
        mut report: Report,
        refused: Option<String>,
        mut state: State,
        before: &State,
    ) -> Result<Report, CycleError> {
        report.remaining = report.plan.steps.iter().map(|step| step.object.clone()).collect();
        self.record_staleness(&mut state)?;
        report.alarms.extend(alarm::of(&state, refused, self.host.now()));
        if state != *before {
            state.write(self.host)?;
        }
        Ok(report)
    }

    /// Accepts the commit, carries out the plan and observes again. Returns why the commit must go back, if the host could not
    /// prove that it is reached as before; its changes are undone then.
    pub(super) fn carry_out(
        &self,
        desired: &Authorized<Desired>,
        report: &mut Report,
        state: &mut State,
        watch: &mut dyn FnMut(&Step<Operation>, &Outcome),
    ) -> Result<Option<Bad>, CycleError> {
        let plan = &report.plan;
        let memory = Memory::of(state);
        let mut log = Log::open(self.host, state.log)?;
        if state.applying {
            close_interrupted(&mut log)?;
        }
        if report.accepted {
            log.append([Event::Accepted {
                commit: plan.commit.clone(),
                signers: report.signers.clone(),
                policy_version: desired.policy_version(),
                root: Some(self.root()),
            }])?;
            state.pin = Some(plan.commit.clone());
            state.root = Some(self.root());
            state.ordered = None;
            state.held = None;
            state.removals = match allowance(&desired.commit().to_string(), desired.removals(), state) {
                Allowance::Granted(number) => Some(number),
                Allowance::Unasked | Allowance::Denied(_) => None,
            };
        }
        if !plan.steps.is_empty() {
            promise(plan, &mut log, state)?;
            state.pending = triggers::owed(plan.steps.iter().chain(&plan.held));
        }
        state.applying = !plan.steps.is_empty();
        state.log = Some(log.head());
        // From here on a kill is found by the next start: the state says that an apply was under way.
        state.write(self.host)?;
        // Where this fails the work is done all the same; it is tried again after it, and then its failure is told.
        let _ = self.copy_pin(report, state);
        if report.plan.steps.is_empty() {
            return Ok(None);
        }
        let plan = &report.plan;

        let mut bad = None;
        report.outcomes = match self.confirm(desired.desired(), plan, memory, state, &mut log)? {
            Need::Nothing => carry_out(plan, self.host, &mut log, state, self.stop, watch)?,
            Need::Proof(confirm) => {
                let outcomes = match carry_out(plan, confirm.host(), &mut log, state, self.stop, watch) {
                    Ok(outcomes) => outcomes,
                    Err(error) => {
                        confirm.abandon();
                        return Err(error.into());
                    }
                };
                if let Verdict::Back(why) = confirm.conclude(state, &mut log)? {
                    bad = why;
                }
                outcomes
            }
            Need::Refusal(why) => {
                bad = Some(why);
                Vec::new()
            }
        };
        let again = Plan::make(&plan.commit, desired.desired(), state, self.host)?;
        report.remaining = again.steps.iter().map(|step| step.object.clone()).collect();
        forget_the_unmade(&again, state);
        let owned = state.owned.objects().cloned().collect();
        forget_the_gone(owned, desired.desired(), &again, state);
        state.applying = false;
        state.log = Some(log.head());
        Ok(bad)
    }

    pub(super) fn fetch(&self) -> Result<Fetched, FetchError> {
        self.store.source.fetch(&ask(self.config), self.stop)
    }

    /// Returns an empty report if the remote's tip is the pin and the host is as it was when it last agreed with it.
    fn agrees_still(&self, state: &State, fetched: &Result<Fetched, FetchError>) -> Option<Report> {
        let now = self.host.now();
        let tip = fetched.as_ref().ok()?.tip.to_string();
        let freshness = &state.freshness;
        let settled = state.pin.as_ref() == Some(&tip)
            && state.converged.as_deref() == state.enforced()
            && state.good.as_deref() == state.enforced()
            && state.checked.as_ref().is_none_or(Checked::is_well)
            && state.root.as_ref() == Some(&self.root())
            && state.refused.is_none()
            && state.no_way_in.is_none()
            && !state.applying
            && Some(&freshness.heartbeat) == heartbeat_of(fetched).as_ref()
            && !freshness.doubts(now)
            && !freshness.told
            && freshness.stale(now).is_none()
            && state::log_bytes(self.host).ok() == Some(state.log_bytes)
            && pin::is_copied(self.host, &tip).unwrap_or(false);
        if !settled {
            return None;
        }
        // What cannot be asked is looked at, and told, the long way.
        let agreement = Agreement::that_holds(self.config, self.host).ok().flatten()?;
        let maintenance = agreement.maintenance;
        let is_in_force = |maintenance: &&Maintenance| maintenance.is_in_force(freshness.at_least(now));
        if maintenance.as_ref().filter(is_in_force) != state.maintenance.as_ref() {
            return None;
        }
        let maintenance_turns = maintenance.and_then(|maintenance| maintenance.next_change(freshness.at_least(now)));
        Some(Report {
            plan: Plan { maintenance: state.maintenance.clone(), ..Plan::of_nothing(state.enforced()?) },
            objects: agreement.objects,
            kinds: agreement.kinds,
            outcomes: Vec::new(),
            remaining: Vec::new(),
            hindrance: state.held_pin().map(|held| Hindrance::Held(Box::new(held.clone()))),
            alarms: alarm::of(state, None, now),
            found: agreement.found,
            ahead: None,
            ring: state.rollout.ring.clone(),
            accepted: false,
            pause: None,
            objection: None,
            checked: state.checked.clone().filter(|_| state.maintenance.is_none()),
            put_back: state.held_pin().cloned(),
            pin: state.pin.clone(),
            signers: Vec::new(),
            stale_from: freshness.stale_from(),
            maintenance_turns,
            enforced: None,
        })
    }

    pub(super) fn judge<'j>(&'j self, cache: &'j mut Cache, heartbeat: Option<Oid>) -> Judge<'j> {
        Judge { config: self.config, objects: &self.store, host: self.host, cache, heartbeat }
    }

    /// Returns what the copies of the pin come to.
    pub(super) fn known(&self, state: &State) -> Result<Known, StateError> {
        Known::of(self.host, state, &self.config.anchor.root, &self.store)
    }

    /// Makes the third copy of the pin, unless the copies contradict each other.
    fn copy_pin(&self, report: &Report, state: &State) -> Result<(), HostError> {
        match report.hindrance {
            Some(Hindrance::PinConflict(_)) => Ok(()),
            _ => pin::copy(self.host, state),
        }
    }

    /// Returns the configuration's root commit as the state writes it.
    pub(super) fn root(&self) -> String {
        self.config.anchor.root.to_string()
    }
}

/// Returns what is asked of the remote.
pub fn ask(config: &Config) -> Ask {
    Ask {
        remote: config.remote.clone(),
        git_ref: config.anchor.git_ref.clone(),
        beside: Some(HEARTBEAT_REF.to_owned()),
        hint: config.poll_hint.clone(),
        max_quiet: config.max_quiet.as_secs(),
        limits: config.fetch,
    }
}

/// Returns the commit at the heartbeat ref as the state writes it; the outer `None` where the remote cannot be asked.
fn heartbeat_of(fetched: &Result<Fetched, FetchError>) -> Option<Option<String>> {
    fetched.as_ref().ok().map(|fetched| fetched.beside.map(|commit| commit.to_string()))
}
