// SPDX-License-Identifier: Apache-2.0
//! Carries out the steps of a plan, and nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::audit::entry::LoggedChange;
use crate::audit::{AuditError, Event, Log, OutcomeResult};
use crate::host::WriteHost;
use crate::model::{ObjectId, Step, chain};
use crate::resources::{self, Operation, order, triggers};

use super::{Plan, State};

/// How one step ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub object: ObjectId,
    pub result: OutcomeResult,
    /// Why it failed or was skipped.
    pub message: Option<String>,
}

/// Outcomes are synced in groups of this many; those lost in a crash are recorded as interrupted by the next start.
const GROUP: usize = 32;

/// Carries out the plan, whose ownership claims and debts the caller has made durable in `state`.
///
/// `watch` is told of each outcome as it happens. When `stop` is set, the step under way is finished and the rest skipped.
///
/// # Errors
/// The log cannot be written. Steps not yet carried out are then not carried out.
pub fn carry_out(
    plan: &Plan,
    host: &dyn WriteHost,
    log: &mut Log<'_>,
    state: &mut State,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Step<Operation>, &Outcome),
) -> Result<Vec<Outcome>, AuditError> {
    let first_intent = log.append(plan.steps.iter().map(|step| Event::Intent {
        plan: plan.digest,
        object: step.object.clone(),
        action: step.action,
        changes: step.changes.iter().map(LoggedChange::from).collect(),
    }))?;

    let mut outcomes = Vec::with_capacity(plan.steps.len());
    let mut unwritten = Vec::new();
    let mut broken: BTreeMap<ObjectId, OutcomeResult> = BTreeMap::new();
    for (intent, step) in (first_intent..).zip(&plan.steps) {
        let (result, message) = match hindrance(step, &broken, stop) {
            Some(why) => (OutcomeResult::Skipped, Some(why)),
            None => match resources::apply(&step.operation, host) {
                Ok(()) => (OutcomeResult::Done, None),
                Err(error) => (OutcomeResult::Failed, Some(chain(&error))),
            },
        };
        if result == OutcomeResult::Done {
            state.owned.give_up(&step.object, &step.ownership);
            if let Some(object) = triggers::paid(step) {
                state.pending.0.remove(object);
            }
        } else {
            broken.insert(step.object.clone(), result);
        }
        let outcome = Outcome { object: step.object.clone(), result, message: message.clone() };
        watch(step, &outcome);
        outcomes.push(outcome);
        unwritten.push(Event::Outcome { intent, result, message });
        if unwritten.len() == GROUP {
            log.append(unwritten.drain(..))?;
        }
    }
    log.append(unwritten)?;
    Ok(outcomes)
}

/// Returns why the step must not be tried, if so.
fn hindrance(step: &Step<Operation>, broken: &BTreeMap<ObjectId, OutcomeResult>, stop: &AtomicBool) -> Option<String> {
    if stop.load(Ordering::Relaxed) {
        return Some("hostwrit was told to stop".to_owned());
    }
    let mut needs = order::needs(step);
    // A later step of the same object builds on the earlier one.
    needs.push(step.object.clone());
    needs.iter().find_map(|need| {
        broken.get(need).map(|result| match result {
            OutcomeResult::Failed => format!("needs {need}, which failed"),
            _ => format!("needs {need}, which was skipped"),
        })
    })
}
