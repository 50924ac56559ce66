// SPDX-License-Identifier: Apache-2.0
//! What is claimed before a plan is carried out, and what becomes of the claims after it.

use std::collections::BTreeSet;

use crate::audit::{AuditError, Event, Log, OutcomeResult};
use crate::model::ownership::{OwnershipChange, Parts};
use crate::model::{Mode, ObjectId};
use crate::resources::check::Check;
use crate::resources::{Desired, Resource as _};

use super::{Plan, State};

/// Records an outcome for each intent that a kill left without one.
pub(super) fn close_interrupted(log: &mut Log<'_>) -> Result<(), AuditError> {
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

/// Records what is planned, and claims what it is about to make: durable once the state is written.
pub(super) fn promise(plan: &Plan, log: &mut Log<'_>, state: &mut State) -> Result<(), AuditError> {
    log.append([Event::Planned {
        commit: plan.commit.clone(),
        plan: plan.digest,
        cause: plan.cause,
        steps: plan.steps.len(),
    }])?;
    plan.steps.iter().for_each(|step| state.owned.claim(&step.object, &step.ownership));
    Ok(())
}

/// Forgets claims of what the second plan would still have to make: it was not made, so it is not ours if somebody else
/// makes it.
pub(super) fn forget_the_unmade(again: &Plan, state: &mut State) {
    for step in &again.steps {
        let unmade = OwnershipChange { claims: Parts::new(), gives_up: step.ownership.claims.clone() };
        state.owned.give_up(&step.object, &unmade);
    }
}

/// Forgets those of the `owned` objects that are neither declared nor, by the plan, on the host any more: somebody else may
/// have removed them, and may make others of the same name.
pub(super) fn forget_the_gone(owned: BTreeSet<ObjectId>, desired: &Desired, plan: &Plan, state: &mut State) {
    let declared: BTreeSet<ObjectId> =
        desired.objects().into_iter().filter(|object| !object.absent).map(|object| object.id).collect();
    let still_there: BTreeSet<&ObjectId> =
        plan.steps.iter().chain(&plan.reported).chain(&plan.held).map(|step| &step.object).chain(&declared).collect();
    owned.iter().filter(|id| !still_there.contains(id)).for_each(|id| state.owned.forget(id));
}

/// Notes declared objects that hostwrit did not make, to list them when they leave the repo, and drops those it removed.
pub(super) fn remember_the_altered(state: &mut State, desired: &Desired, remaining: &[ObjectId]) {
    let remaining: BTreeSet<&ObjectId> = remaining.iter().collect();
    for object in desired.objects() {
        // A check is nothing on the host that could be left behind.
        if object.id.kind() == Check::KIND || object.mode != Mode::Enforce || remaining.contains(&object.id) {
            continue;
        }
        if object.absent || state.owned.is_whole(&object.id) {
            state.altered.remove(&object.id);
        } else {
            state.altered.insert(object.id);
        }
    }
}
