// SPDX-License-Identifier: Apache-2.0
//! The plan: every step that would make the host agree, and what is only reported.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use crate::audit::entry::Cause;
use crate::host::ReadHost;
use crate::model::{Action, Change, Digest, Location, Maintenance, ObjectId, Step};
use crate::resources::findings::Finding;
use crate::resources::{self, Desired, Difference, ObserveError, Operation, Part, order};

use super::state::State;

/// Version of the JSON that `plan --json` prints.
const FORMAT: u32 = 1;

/// What would be done on this host, and why. The same inputs give the same bytes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The commit that the plan serves.
    pub commit: String,
    pub cause: Cause,
    /// Carried out in this order.
    pub steps: Vec<Step<Operation>>,
    /// Differences of objects with `observe: true`.
    pub reported: Vec<Step<Operation>>,
    /// Steps that maintenance holds back.
    pub held: Vec<Step<Operation>>,
    /// Objects that left the repo and that hostwrit did not make: left alone.
    pub unmanaged: Vec<ObjectId>,
    /// The maintenance that is in force.
    pub maintenance: Option<Maintenance>,
    /// Digest of what is shown of the plan; the log names the plan by it.
    pub digest: Digest,
}

impl Plan {
    /// Observes the host and compares. Changes nothing.
    ///
    /// # Errors
    /// The host cannot be observed.
    pub fn make(commit: &str, desired: &Desired, state: &State, host: &dyn ReadHost) -> Result<Self, ObserveError> {
        let observed = resources::observe(desired, &state.owned, host)?;
        let maintenance = in_force(desired, state, host);
        let difference = resources::diff(desired, &observed, &state.owned, &state.pending, maintenance.as_ref());
        let declared: BTreeSet<ObjectId> = desired.objects().into_iter().map(|object| object.id).collect();
        let unmanaged = state.altered.difference(&declared).cloned().collect();
        let cause = if state.converged.as_deref() == Some(commit) { Cause::Drift } else { Cause::Commit };
        Ok(Self::of(commit, cause, difference, unmanaged, maintenance))
    }

    /// Observes a part of the host and compares: what differs there is drift. Changes nothing.
    ///
    /// # Errors
    /// The host cannot be observed.
    pub fn of_part(commit: &str, part: &Part, state: &State, host: &dyn ReadHost) -> Result<Self, ObserveError> {
        let observed = resources::observe(&part.desired, &part.owned, host)?;
        let maintenance = in_force(&part.desired, state, host);
        let difference = resources::diff(&part.desired, &observed, &part.owned, &part.pending, maintenance.as_ref());
        Ok(Self::of(commit, Cause::Drift, difference, Vec::new(), maintenance))
    }

    fn of(
        commit: &str,
        cause: Cause,
        difference: Difference,
        unmanaged: Vec<ObjectId>,
        maintenance: Option<Maintenance>,
    ) -> Self {
        let Difference { enforced: steps, reported, held } = difference;
        let (commit, digest) = (commit.to_owned(), Digest::ZERO);
        let mut plan = Self { commit, cause, steps, reported, held, unmanaged, maintenance, digest };
        plan.digest = Digest::of(plan.view(None).to_json().as_bytes());
        plan
    }

    /// Takes out the steps of these objects, and those that need one that is taken out.
    pub fn hold(&mut self, objects: &BTreeSet<ObjectId>) {
        order::take_out(&mut self.steps, &mut objects.clone());
        self.digest = Digest::of(self.view(None).to_json().as_bytes());
    }

    /// Returns the plan of a host that is known to agree with `commit`.
    pub fn of_nothing(commit: &str) -> Self {
        Self::of(commit, Cause::Drift, Difference::default(), Vec::new(), None)
    }

    /// Returns what is shown of the plan: everything but secrets and the contents of files.
    pub fn view<'p>(&'p self, host: Option<&'p str>) -> PlanView<'p> {
        PlanView {
            format: FORMAT,
            host,
            commit: &self.commit,
            cause: self.cause,
            digest: host.map(|_| self.digest),
            steps: self.steps.iter().map(StepView::new).collect(),
            reported: self.reported.iter().map(StepView::new).collect(),
            maintenance: self.maintenance.as_ref(),
            held: self.held.iter().map(StepView::new).collect(),
            unmanaged: &self.unmanaged,
            findings: &[],
            objection: None,
            ahead: None,
        }
    }
}

/// What `hostwrit plan --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Plan")]
pub struct PlanView<'p> {
    /// Version of this format: 1.
    pub format: u32,
    /// The host's name in the infra repo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'p str>,
    /// The commit that the plan serves.
    pub commit: &'p str,
    pub cause: Cause,
    /// Digest of the plan; the audit log names it so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What `apply` would do, in this order.
    pub steps: Vec<StepView<'p>>,
    /// Differences of objects with `observe: true`, which are left alone.
    pub reported: Vec<StepView<'p>>,
    /// The maintenance that is in force; absent where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<&'p Maintenance>,
    /// What the maintenance holds back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub held: Vec<StepView<'p>>,
    /// Objects that left the repo and that hostwrit did not make, which are left alone.
    pub unmanaged: &'p [ObjectId],
    /// What was found around what is declared: nothing is done about it. No part of what the digest is of.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(default)]
    pub findings: &'p [Finding],
    /// Why a guard lets nothing of it be done; absent where it may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objection: Option<String>,
    /// What a commit brings that waits for this host's turn in the rollout, or that a guard refuses; absent where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Box<Self>>,
}

impl PlanView<'_> {
    /// Returns the plan as JSON, for programs.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists only: there is nothing in it that JSON cannot hold.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// One step as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Step")]
pub struct StepView<'p> {
    pub object: &'p ObjectId,
    pub action: Action,
    pub changes: &'p [Change],
    /// Where the infra repo asks for it; absent where the object left the repo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<&'p Location>,
}

impl<'p> StepView<'p> {
    fn new(step: &'p Step<Operation>) -> Self {
        Self { object: &step.object, action: step.action, changes: &step.changes, origin: step.origin.as_ref() }
    }
}

/// Returns the maintenance that is in force. Like the rollout it goes by a clock that is not behind what was signed.
fn in_force(desired: &Desired, state: &State, host: &dyn ReadHost) -> Option<Maintenance> {
    let maintenance = desired.maintenance.as_ref()?;
    let now = state.freshness.at_least(host.now());
    maintenance.is_in_force(now).then(|| maintenance.clone())
}
