// SPDX-License-Identifier: Apache-2.0
//! What a cycle found and did, for those who tell of it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::audit::OutcomeResult;
use crate::audit::entry::Signer;
use crate::engine::alarm::Alarm;
use crate::engine::apply::Outcome;
use crate::engine::checks::Checked;
use crate::engine::desired::Hindrance;
use crate::engine::guard::Objection;
use crate::engine::hold::HeldCommit;
use crate::engine::pause::Pause;
use crate::engine::{Plan, State};
use crate::model::ObjectId;
use crate::resources::Desired;
use crate::resources::findings::Found;
use crate::trust::Authorized;

/// What a cycle found and did.
#[derive(Debug)]
pub struct Report {
    /// What was to do when the cycle began.
    pub plan: Plan,
    /// Number of declared objects.
    pub objects: usize,
    /// Number of declared objects of each kind.
    pub kinds: BTreeMap<String, usize>,
    /// How each step of the plan ended; none if only a plan was asked for.
    pub outcomes: Vec<Outcome>,
    /// Steps that the second observation, after apply, still asks for.
    pub remaining: Vec<ObjectId>,
    /// Why the last good state was enforced and not the remote's tip.
    pub hindrance: Option<Hindrance>,
    /// What somebody must know, although it keeps nothing from being done.
    pub alarms: Vec<Alarm>,
    /// What was found around what is declared.
    pub found: Found,
    /// What the commit would change that waits for its turn; `None` if none waits.
    pub ahead: Option<Plan>,
    /// The host's ring.
    pub ring: Option<String>,
    /// The pin moved, or would have if there were no pause.
    pub accepted: bool,
    /// Nothing is changed because of this.
    pub pause: Option<Pause>,
    /// Why a guard lets nothing of the plan be done.
    pub objection: Option<Objection>,
    /// What the checks came to when they last ran; `None` during maintenance, in which none run.
    pub checked: Option<Checked>,
    /// The commit that was put back, as long as it is the last one accepted.
    pub put_back: Option<HeldCommit>,
    /// The pin before the cycle: what a held host is left with.
    pub pin: Option<String>,
    pub signers: Vec<Signer>,
    /// When what is signed becomes too old, if nothing new comes: a cycle then has something to say.
    pub stale_from: Option<SystemTime>,
    /// When maintenance begins or ends.
    pub maintenance_turns: Option<SystemTime>,
    /// What is enforced, where the cycle had to read it.
    pub enforced: Option<Authorized<Desired>>,
}

impl Report {
    /// Whether a pause or a guard holds back a commit or steps.
    pub fn is_held(&self) -> bool {
        let is_kept = self.pause.is_some() || self.objection.is_some();
        is_kept && (self.accepted || !self.plan.steps.is_empty())
    }

    /// Whether the host may be known to agree until something changes.
    pub(in crate::engine) fn is_undisturbed(&self) -> bool {
        matches!(self.hindrance, None | Some(Hindrance::Held(_)))
    }

    /// Notes the pause under which the cycle ran.
    pub(super) fn under(mut self, pause: Option<Pause>, unreadable: Option<Alarm>) -> Self {
        self.pause = pause;
        self.alarms.extend(unreadable);
        self
    }

    /// Whether no check failed that counts.
    pub fn is_well(&self) -> bool {
        self.checked.as_ref().is_none_or(Checked::is_well)
    }

    /// Whether every step was carried out and the host, observed again, is as the plan wants it.
    pub fn is_done(&self) -> bool {
        self.remaining.is_empty() && self.outcomes.iter().all(|outcome| outcome.result == OutcomeResult::Done)
    }

    /// Whether all is done and nothing was held back: the host agrees with the plan's commit.
    pub fn converged(&self) -> bool {
        self.is_done() && self.plan.held.is_empty()
    }
}

/// Returns the report of a cycle that has not changed anything yet.
pub(in crate::engine) fn report(
    hindrance: Option<Hindrance>,
    plan: Plan,
    desired: &Authorized<Desired>,
    state: &State,
    now: SystemTime,
) -> Report {
    let now = state.freshness.at_least(now);
    let maintenance = desired.desired().maintenance.as_ref();
    // What failed before a maintenance began is looked at again when it ends.
    let checked = state.checked.clone().filter(|_| plan.maintenance.is_none());
    Report {
        accepted: state.pin.as_deref() != Some(&plan.commit) && state.enforced() != Some(&plan.commit),
        plan,
        objects: desired.desired().objects().len(),
        kinds: desired.desired().kinds(),
        outcomes: Vec::new(),
        remaining: Vec::new(),
        hindrance,
        alarms: Vec::new(),
        found: Found::default(),
        ahead: None,
        ring: state.rollout.ring.clone(),
        pause: None,
        objection: None,
        checked,
        put_back: state.held_pin().cloned(),
        pin: state.pin.clone(),
        signers: signers(desired),
        stale_from: state.freshness.stale_from(),
        maintenance_turns: maintenance.and_then(|maintenance| maintenance.next_change(now)),
        enforced: None,
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
