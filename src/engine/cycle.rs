// SPDX-License-Identifier: Apache-2.0
//! One reconciliation, top to bottom: pull, prove, compile, authorize, plan, apply, observe again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::audit::entry::Signer;
use crate::audit::{self, AuditError, Event, Log, OutcomeResult};
use crate::host::{HostError, RealHost, RunLock, WriteHost};
use crate::model::git::{Objects, Oid};
use crate::model::ownership::{OwnershipChange, Parts};
use crate::model::{Mode, ObjectId, Step};
use crate::resources::{Desired, ObserveError, Operation, triggers};
use crate::source::{FetchError, Limits, Mirror, MirrorError};
use crate::trust::Authorized;

use super::agreement::Agreement;
use super::apply::{Outcome, carry_out, chain};
use super::desired::{Hindrance, Pin, Selected, last_good, select};
use super::state::{self, Refused, StateError};
use super::{Config, Plan, State};

/// How long a cycle waits for another one to end.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// One reconciliation of one host. Holds the run lock as long as it lives.
pub struct Cycle<'c> {
    config: &'c Config,
    host: &'c dyn WriteHost,
    stop: &'c AtomicBool,
    mirror: Mirror,
    _lock: RunLock,
}

/// What a cycle found and did.
#[derive(Debug)]
pub struct Report {
    /// What was to do when the cycle began.
    pub plan: Plan,
    /// Number of declared objects.
    pub objects: usize,
    /// How each step of the plan ended; none if only a plan was asked for.
    pub outcomes: Vec<Outcome>,
    /// Steps that the second observation, after apply, still asks for.
    pub remaining: Vec<ObjectId>,
    /// Why the last good state was enforced and not the remote's tip.
    pub hindrance: Option<Hindrance>,
    /// The pin moved.
    pub accepted: bool,
    pub signers: Vec<Signer>,
}

impl Report {
    /// Whether every step was carried out and the host, observed again, agrees with the plan's commit.
    pub fn converged(&self) -> bool {
        self.remaining.is_empty() && self.outcomes.iter().all(|outcome| outcome.result == OutcomeResult::Done)
    }
}

/// Why a cycle ended early.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("cannot open the mirror of the infra repo")]
    Mirror(#[from] MirrorError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// There is no commit to obey: the tip does not count, and no earlier one was accepted or can still be read.
    #[error(transparent)]
    Hindered(#[from] Hindrance),
    #[error("cannot observe the host")]
    Observe(#[from] ObserveError),
    #[error("no commit was accepted yet; run `hostwrit apply` first")]
    NothingAccepted,
}

impl<'c> Cycle<'c> {
    /// Waits for the run lock and opens the mirror.
    ///
    /// # Errors
    /// Another process keeps the lock, or the mirror cannot be opened or made.
    pub fn begin(config: &'c Config, host: &'c RealHost, stop: &'c AtomicBool) -> Result<Self, CycleError> {
        let lock = host.lock(LOCK_WAIT)?;
        host.ensure_dir(Path::new(state::DIR), 0o700)?;
        let path = host.root().join(state::MIRROR.trim_start_matches('/'));
        let mirror = Mirror::open(&path, config.anchor.root.kind(), Limits::default())?;
        Ok(Self::of(config, host, mirror, lock, stop))
    }

    /// Reconciles `host`, whose mirror and run lock the caller has opened and taken.
    pub fn of(
        config: &'c Config,
        host: &'c dyn WriteHost,
        mirror: Mirror,
        lock: RunLock,
        stop: &'c AtomicBool,
    ) -> Self {
        Self { config, host, stop, mirror, _lock: lock }
    }

    /// Returns the objects of the mirror, as the last pull left them.
    pub fn objects(&self) -> &dyn Objects {
        &self.mirror
    }

    /// Says what `apply` would do, and changes nothing but the mirror.
    ///
    /// # Errors
    /// There is nothing to obey, or the host cannot be observed.
    pub fn plan(&self) -> Result<Report, CycleError> {
        let state = State::read(self.host)?;
        let tip = self.fetch();
        if let Some(report) = self.agrees_still(&state, &tip) {
            return Ok(report);
        }
        let (selected, plan) = self.select_and_plan(tip, &state)?;
        Ok(report(selected.hindrance, plan, &selected.desired, &state))
    }

    /// Returns the desired state of the last good commit, without asking the remote.
    ///
    /// # Errors
    /// No commit was accepted yet, or it cannot be read any more.
    pub fn last_good(&self) -> Result<Authorized<Desired>, CycleError> {
        let state = State::read(self.host)?;
        let pin = self.pin(&state)?.ok_or(CycleError::NothingAccepted)?;
        Ok(last_good(self.config, &self.mirror, pin, self.host)?)
    }

    /// Makes the host agree with the remote's tip, or with the last good state.
    ///
    /// `watch` is told of each step's outcome as it happens.
    ///
    /// # Errors
    /// There is nothing to obey, the host cannot be observed, or state or log cannot be written.
    pub fn apply(&self, watch: &mut dyn FnMut(&Step<Operation>, &Outcome)) -> Result<Report, CycleError> {
        let mut state = State::read(self.host)?;
        let tip = self.fetch();
        if let Some(report) = self.agrees_still(&state, &tip) {
            return Ok(report);
        }
        let before = state.clone();
        let (selected, plan) = match self.select_and_plan(tip, &state) {
            Err(CycleError::Hindered(hindrance)) => {
                // Nothing to fall back to; what was refused is recorded all the same.
                self.record_refusal(&hindrance, &mut state)?;
                return Err(hindrance.into());
            }
            other => other?,
        };
        if let Some(hindrance) = &selected.hindrance {
            self.record_refusal(hindrance, &mut state)?;
        } else {
            state.refused = None;
        }

        // The tip, or the pin, was just proven from this root.
        if state.pin.is_some() {
            state.root = Some(self.root());
        }
        let mut report = report(selected.hindrance, plan, &selected.desired, &state);
        if report.accepted || state.applying || !report.plan.steps.is_empty() {
            self.carry_out(&selected.desired, &mut report, &mut state, watch)?;
        }
        remember_the_altered(&mut state, selected.desired.desired(), &report.remaining);
        if report.converged() && state.converged.as_deref() != Some(&report.plan.commit) {
            let mut log = Log::open(self.host, state.log)?;
            log.append([Event::Converged { commit: report.plan.commit.clone() }])?;
            state.log = Some(log.head());
            state.converged = Some(report.plan.commit.clone());
        }
        if state != before {
            state.write(self.host)?;
        }
        if report.converged() && report.hindrance.is_none() {
            let (desired, commit) = (selected.desired.desired(), &report.plan.commit);
            if let Some(agreement) = Agreement::find(self.config, desired, commit, &state, self.host)? {
                // Without it the next cycle compiles the repo again, and that is all.
                if let Err(error) = agreement.write(self.host) {
                    tracing::warn!("cannot keep what the host looks like now: {}", chain(&error));
                }
            }
        }
        Ok(report)
    }

    /// Accepts the commit, carries out the plan and observes again.
    fn carry_out(
        &self,
        desired: &Authorized<Desired>,
        report: &mut Report,
        state: &mut State,
        watch: &mut dyn FnMut(&Step<Operation>, &Outcome),
    ) -> Result<(), CycleError> {
        let plan = &report.plan;
        let mut log = Log::open(self.host, state.log)?;
        if state.applying {
            close_interrupted(&mut log)?;
        }
        if report.accepted {
            log.append([Event::Accepted {
                commit: plan.commit.clone(),
                signers: report.signers.clone(),
                policy_version: desired.policy_version(),
            }])?;
            state.pin = Some(plan.commit.clone());
            state.root = Some(self.root());
        }
        if !plan.steps.is_empty() {
            log.append([Event::Planned {
                commit: plan.commit.clone(),
                plan: plan.digest,
                cause: plan.cause,
                steps: plan.steps.len(),
            }])?;
            plan.steps.iter().for_each(|step| state.owned.claim(&step.object, &step.ownership));
            state.pending = triggers::owed(&plan.steps);
        }
        state.applying = !plan.steps.is_empty();
        state.log = Some(log.head());
        // From here on a kill is found by the next start: the state says that an apply was under way.
        state.write(self.host)?;
        if plan.steps.is_empty() {
            return Ok(());
        }

        report.outcomes = carry_out(plan, self.host, &mut log, state, self.stop, watch)?;
        let again = Plan::make(&plan.commit, desired.desired(), state, self.host)?;
        report.remaining = again.steps.iter().map(|step| step.object.clone()).collect();
        // What the second plan would still have to make was not made, so it is not ours if somebody else makes it.
        for step in &again.steps {
            let unmade = OwnershipChange { claims: Parts::new(), gives_up: step.ownership.claims.clone() };
            state.owned.give_up(&step.object, &unmade);
        }
        forget_the_gone(state, desired.desired(), &again);
        state.applying = false;
        state.log = Some(log.head());
        Ok(())
    }

    fn fetch(&self) -> Result<Oid, FetchError> {
        self.mirror.fetch(&self.config.remote, &self.config.anchor.git_ref, self.stop)
    }

    /// Returns an empty report if the remote's tip is the pin and the host is as it was when it last agreed with it.
    fn agrees_still(&self, state: &State, tip: &Result<Oid, FetchError>) -> Option<Report> {
        let tip = tip.as_ref().ok()?.to_string();
        let settled = state.pin.as_ref() == Some(&tip)
            && state.converged.as_ref() == Some(&tip)
            && state.root.as_ref() == Some(&self.root())
            && state.refused.is_none()
            && !state.applying
            && state::log_bytes(self.host).ok() == Some(state.log_bytes);
        if !settled {
            return None;
        }
        // What cannot be asked is looked at, and told, the long way.
        let agreement = Agreement::that_holds(self.config, self.host).ok().flatten()?;
        Some(Report {
            plan: Plan::of_nothing(&tip),
            objects: agreement.objects,
            outcomes: Vec::new(),
            remaining: Vec::new(),
            hindrance: None,
            accepted: false,
            signers: Vec::new(),
        })
    }

    fn select_and_plan(&self, tip: Result<Oid, FetchError>, state: &State) -> Result<(Selected, Plan), CycleError> {
        let pin = self.pin(state)?;
        let selected = select(self.config, &self.mirror, tip, pin, self.host)?;
        let commit = selected.desired.commit().to_string();
        let plan = Plan::make(&commit, selected.desired.desired(), state, self.host)?;
        Ok((selected, plan))
    }

    /// Returns the pin: of the state, or of the audit log where that knows of a later one or the state is lost, so that
    /// old commits stay refused.
    fn pin(&self, state: &State) -> Result<Option<Pin>, CycleError> {
        let mut pin = state.pin.clone();
        if pin.is_none() || state::log_bytes(self.host)? != state.log_bytes {
            // Entries that the state knows of cannot be later than its pin.
            let known = state.log.filter(|_| pin.is_some()).map_or(0, |head| head.seq);
            pin = audit::log::last_accepted(self.host, known)?.or(pin);
        }
        let Some(pin) = pin else { return Ok(None) };
        let commit = Oid::from_hex(pin.as_bytes()).map_err(|_| StateError::Pin(pin))?;
        Ok(Some(Pin { commit, same_root: state.root.as_deref() == Some(&self.root()) }))
    }

    /// Returns the configuration's root commit as the state writes it.
    fn root(&self) -> String {
        self.config.anchor.root.to_string()
    }

    /// Records a refused commit once, not at every pull.
    fn record_refusal(&self, hindrance: &Hindrance, state: &mut State) -> Result<(), CycleError> {
        if matches!(hindrance, Hindrance::Fetch(_) | Hindrance::Facts(_)) {
            return Ok(());
        }
        let commit = hindrance.commit().map(|commit| commit.to_string());
        let refused = Refused { commit: commit.clone(), code: hindrance.code().to_owned() };
        if state.refused.as_ref() != Some(&refused) {
            let mut log = Log::open(self.host, state.log)?;
            log.append([Event::Refused { commit, code: refused.code.clone(), message: hindrance.to_string() }])?;
            state.log = Some(log.head());
            state.refused = Some(refused);
            state.write(self.host)?;
        }
        Ok(())
    }
}

fn report(hindrance: Option<Hindrance>, plan: Plan, desired: &Authorized<Desired>, state: &State) -> Report {
    Report {
        accepted: state.pin.as_deref() != Some(&plan.commit),
        plan,
        objects: desired.desired().objects().len(),
        outcomes: Vec::new(),
        remaining: Vec::new(),
        hindrance,
        signers: signers(desired),
    }
}

/// Records an outcome for each intent that a kill left without one.
fn close_interrupted(log: &mut Log<'_>) -> Result<(), AuditError> {
    let mut open = BTreeSet::new();
    for entry in log.entries()? {
        match entry.event {
            Event::Intent { .. } => drop(open.insert(entry.seq)),
            Event::Outcome { intent, .. } => drop(open.remove(&intent)),
            _ => {}
        }
    }
    let message = "hostwrit ended before it recorded an outcome";
    log.append(open.into_iter().map(|intent| Event::Outcome {
        intent,
        result: OutcomeResult::Interrupted,
        message: Some(message.to_owned()),
    }))?;
    Ok(())
}

/// Forgets owned objects that are neither declared nor, by the plan, on the host any more: somebody else may have removed
/// them, and may make others of the same name.
fn forget_the_gone(state: &mut State, desired: &Desired, plan: &Plan) {
    let declared: BTreeSet<ObjectId> =
        desired.objects().into_iter().filter(|object| !object.absent).map(|object| object.id).collect();
    let still_there: BTreeSet<&ObjectId> =
        plan.steps.iter().chain(&plan.reported).map(|step| &step.object).chain(&declared).collect();
    let gone: Vec<ObjectId> = state.owned.objects().filter(|id| !still_there.contains(id)).cloned().collect();
    gone.iter().for_each(|id| state.owned.forget(id));
}

/// Notes declared objects that hostwrit did not make, to list them when they leave the repo, and drops those it removed.
fn remember_the_altered(state: &mut State, desired: &Desired, remaining: &[ObjectId]) {
    let remaining: BTreeSet<&ObjectId> = remaining.iter().collect();
    for object in desired.objects() {
        if object.mode != Mode::Enforce || remaining.contains(&object.id) {
            continue;
        }
        if object.absent || state.owned.is_whole(&object.id) {
            state.altered.remove(&object.id);
        } else {
            state.altered.insert(object.id);
        }
    }
}

fn signers(desired: &Authorized<Desired>) -> Vec<Signer> {
    desired
        .signers()
        .iter()
        .map(|signer| Signer {
            commit: signer.commit.to_string(),
            principal: signer.principal.clone(),
            key: signer.key.to_string(),
        })
        .collect()
}
