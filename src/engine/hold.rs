// SPDX-License-Identifier: Apache-2.0
//! Going back: a commit that was accepted and does the host no good is held, and the last good one is enforced.
//!
//! The pin stays where it is, for trust must never fall behind what was proven; what is enforced is another matter
//! (docs/decisions/0020-good-and-pin.md). Whoever finds that a commit must go back calls [`Cycle::put_back`].

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::{Entry, Event, Log, log};
use crate::host::ReadHost;
use crate::model::Step;
use crate::model::git::Oid;
use crate::resources::{Desired, Operation};
use crate::trust::Authorized;

use super::apply::Outcome;
use super::desired::Hindrance;
use super::pin::{Known, Pin};
use super::state::StateError;
use super::{Cycle, CycleError, Plan, Report, State, cycle, trust_cache};

/// Why a commit must go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// A stable word, such as `check-failed`.
    pub code: &'static str,
    /// What was found, in words.
    pub message: String,
}

/// A commit that was accepted and that is not enforced any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeldCommit {
    pub commit: String,
    /// Why, as a stable word: `check-failed`, `unconfirmed`.
    pub code: String,
    /// Why, in words.
    pub message: String,
    /// Since when: RFC 3339, UTC.
    pub since: String,
    /// The last good commit, which is enforced instead; absent where none was good before: then nothing is enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
}

impl fmt::Display for HeldCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commit, message, since, good, .. } = self;
        write!(f, "commit {commit} is held since {since}: {message}")?;
        if good.is_none() {
            f.write_str("\n  no commit before it was good, so nothing is enforced")?;
        }
        f.write_str("\n  it is not tried again; a new signed commit on top of it is")
    }
}

impl std::error::Error for HeldCommit {}

impl State {
    /// Reads the state; one that was lost learns from the log that a commit is held, or that would be tried again.
    ///
    /// # Errors
    /// State or log cannot be read.
    pub(super) fn recall(host: &dyn ReadHost) -> Result<Self, StateError> {
        let mut state = Self::read(host)?;
        if state.pin.is_none()
            && let Some(Entry { time, event: Event::Held { commit, code, message, good }, .. }) = log::last_held(host)?
        {
            state.pin = Some(commit.clone());
            state.good.clone_from(&good);
            state.held = Some(HeldCommit { commit, code, message, since: time, good });
        }
        Ok(state)
    }

    /// Returns the commit that this host is held to: the pin, or the last good commit where the pin is held; `None` where
    /// nothing was accepted, or nothing was good.
    pub fn enforced(&self) -> Option<&str> {
        match self.held_pin() {
            Some(held) => held.good.as_deref(),
            None => self.pin.as_deref(),
        }
    }

    /// Returns what is held, if that is the pin. What was accepted after it counts.
    pub fn held_pin(&self) -> Option<&HeldCommit> {
        self.held.as_ref().filter(|held| self.pin.as_ref() == Some(&held.commit))
    }

    /// Whether the plan of this commit undoes what a held one did, or an order asks for it.
    pub fn is_way_back(&self, commit: &str) -> bool {
        let undoes = self.held_pin().is_some() && self.converged.is_none() && self.enforced() == Some(commit);
        undoes || self.ordered.as_ref().is_some_and(|ordered| ordered.commit == commit)
    }

    /// Returns the commit to fall back to where the tip does not count.
    ///
    /// # Errors
    /// The state names something else than a commit.
    pub(super) fn ground(&self, known: &Known) -> Result<Option<Pin>, StateError> {
        let Some(pin) = known.pin else { return Ok(None) };
        let Some(held) = self.held.as_ref().filter(|held| pin.commit == *held.commit) else {
            return Ok(Some(pin));
        };
        let oid = |good: &String| Oid::from_hex(good.as_bytes()).map_err(|_| StateError::Pin(good.clone()));
        Ok(held.good.as_ref().map(oid).transpose()?.map(|commit| Pin { commit, ..pin }))
    }

    /// Returns why the tip must not be followed, if it is the commit that is held.
    pub(super) fn may_try(&self, tip: &Oid) -> Result<(), Hindrance> {
        match &self.held {
            Some(held) if *tip == *held.commit => Err(Hindrance::Held(Box::new(held.clone()))),
            _ => Ok(()),
        }
    }
}

impl Cycle<'_> {
    /// Holds the commit that is enforced and puts the last good state back. `report` tells of that from then on.
    ///
    /// That the commit is held is durable before anything is changed: killed anywhere, the next start goes on back.
    ///
    /// # Errors
    /// No commit was good before, the last good one cannot be read, the host cannot be observed, or state or log cannot be
    /// written.
    pub(super) fn put_back(
        &self,
        bad: Bad,
        report: &mut Report,
        state: &mut State,
        watch: &mut dyn FnMut(&Step<Operation>, &Outcome),
    ) -> Result<Authorized<Desired>, CycleError> {
        let held = self.hold_commit(bad, report.plan.commit.clone(), state)?;
        let known = self.known(state)?;
        let hindrance = Hindrance::Held(Box::new(held));
        let Some(good) = state.ground(&known)? else { return Err(hindrance.into()) };
        let selected = match self.judge(&mut trust_cache::read(self.host), None).last_good(good) {
            Ok(selected) => selected,
            Err(source) => {
                return Err(Hindrance::NoLastGood { tip: Box::new(hindrance), source: Box::new(source) }.into());
            }
        };
        let desired = selected.desired;
        let plan = Plan::make(&desired.commit().to_string(), desired.desired(), state, self.host)?;
        let before = std::mem::replace(report, cycle::report(Some(hindrance), plan, &desired, state, self.host.now()));
        report.alarms = before.alarms;
        report.stale_from = before.stale_from;
        report.objection = self.objection(&desired, &report.plan, state);
        if report.is_held() {
            report.remaining = report.plan.steps.iter().map(|step| step.object.clone()).collect();
        } else if !report.plan.steps.is_empty() {
            self.carry_out(&desired, report, state, watch)?;
        }
        Ok(desired)
    }

    /// Enters, durably, that the commit is not enforced any more.
    pub(super) fn hold_commit(&self, bad: Bad, commit: String, state: &mut State) -> Result<HeldCommit, CycleError> {
        let held = HeldCommit {
            commit,
            code: bad.code.to_owned(),
            message: bad.message,
            since: humantime::format_rfc3339_seconds(self.host.now()).to_string(),
            good: state.good.clone(),
        };
        let mut log = Log::open(self.host, state.log)?;
        log.append([Event::Held {
            commit: held.commit.clone(),
            code: held.code.clone(),
            message: held.message.clone(),
            good: held.good.clone(),
        }])?;
        state.log = Some(log.head());
        state.held = Some(held.clone());
        // What the plan of the last good commit finds is no drift.
        state.converged = None;
        state.write(self.host)?;
        Ok(held)
    }
}
