// SPDX-License-Identifier: Apache-2.0
//! What a cycle enters into the log beside its steps: each once, and not at every pull.

use crate::audit::{AuditError, Event, Log};
use crate::engine::State;
use crate::engine::claims::remember_the_altered;
use crate::engine::desired::Hindrance;
use crate::engine::state::Refused;
use crate::model::{Maintenance, ObjectId};
use crate::resources::Desired;
use crate::trust::Authorized;

use super::{Cycle, CycleError, Report};

impl Cycle<'_> {
    /// Writes down what the second plan has shown.
    pub(super) fn settle(
        &self,
        desired: &Authorized<Desired>,
        report: &Report,
        state: &mut State,
    ) -> Result<(), CycleError> {
        let held = report.plan.held.iter().map(|step| step.object.clone());
        let differing: Vec<ObjectId> = report.remaining.iter().cloned().chain(held).collect();
        remember_the_altered(state, desired.desired(), &differing);
        if report.converged() && state.converged.as_deref() != Some(&report.plan.commit) {
            let mut log = Log::open(self.host, state.log)?;
            log.append([Event::Converged { commit: report.plan.commit.clone() }])?;
            state.log = Some(log.head());
            state.converged = Some(report.plan.commit.clone());
        }
        Ok(())
    }

    /// Records once that what was signed has become too old.
    pub(super) fn record_staleness(&self, state: &mut State) -> Result<(), AuditError> {
        let stale = state.freshness.stale(self.host.now());
        if let Some(stale) = stale.as_ref().filter(|_| !state.freshness.told) {
            let newest = stale.newest.map(|newest| humantime::format_rfc3339_seconds(newest).to_string());
            let max_age = humantime::format_duration(stale.max_age).to_string();
            let mut log = Log::open(self.host, state.log)?;
            log.append([Event::Stale { newest, max_age }])?;
            state.log = Some(log.head());
        }
        state.freshness.told = stale.is_some();
        Ok(())
    }

    /// Records that maintenance has begun, or has ended.
    pub(super) fn record_maintenance(
        &self,
        in_force: Option<&Maintenance>,
        state: &mut State,
    ) -> Result<(), AuditError> {
        if state.maintenance.as_ref() != in_force {
            let event = match in_force.cloned() {
                Some(Maintenance { from, until, reason, except }) => {
                    Event::MaintenanceBegun { from, until, reason, except }
                }
                None => Event::MaintenanceEnded {},
            };
            let mut log = Log::open(self.host, state.log)?;
            log.append([event])?;
            state.log = Some(log.head());
            state.maintenance = in_force.cloned();
        }
        Ok(())
    }

    /// Records a refused commit once, not at every pull.
    pub(super) fn record_refusal(&self, hindrance: &Hindrance, state: &mut State) -> Result<(), CycleError> {
        // What is held stands in the log already.
        let is_no_refusal =
            matches!(hindrance, Hindrance::Fetch(_) | Hindrance::Facts(_) | Hindrance::Rollout(_) | Hindrance::Held(_));
        if is_no_refusal {
            return Ok(());
        }
        let commit = hindrance.commit().map(|commit| commit.to_string());
        self.record_refused(commit, hindrance.code(), hindrance.to_string(), state)
    }

    pub(super) fn record_refused(
        &self,
        commit: Option<String>,
        code: &str,
        message: String,
        state: &mut State,
    ) -> Result<(), CycleError> {
        let refused = Refused { commit: commit.clone(), code: code.to_owned() };
        if state.refused.as_ref() != Some(&refused) {
            let mut log = Log::open(self.host, state.log)?;
            log.append([Event::Refused { commit, code: refused.code.clone(), message }])?;
            state.log = Some(log.head());
            state.refused = Some(refused);
            state.write(self.host)?;
        }
        Ok(())
    }
}
