// SPDX-License-Identifier: Apache-2.0
//! Puts right what somebody just changed: only the objects concerned are looked at, and nobody is asked.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use crate::audit::{Log, OutcomeResult};
use crate::host::{ReadHost as _, RealHost};
use crate::model::{ObjectId, Record, Step};
use crate::resources::{Operation, Part, triggers};

use super::apply::{Outcome, carry_out};
use super::claims::{forget_the_gone, forget_the_unmade, promise, remember_the_altered};
use super::cycle::LOCK_WAIT;
use super::enforced::Enforced;
use super::guard::{self, Proposal};
use super::planning::allowance;
use super::{CycleError, Pause, Plan, State};

/// What came of a repair.
#[derive(Debug)]
pub enum Repair {
    /// Nothing differs that may be put right now.
    Nothing,
    /// Maintenance holds back all that would be put right: these objects.
    Held(BTreeSet<ObjectId>),
    Done(Box<Repaired>),
    /// The host's memory is not as this repair knew it: only a whole cycle can go on from there.
    NeedsCycle,
}

impl Repair {
    /// Returns what comes of a plan without a step.
    fn of_nothing(plan: &Plan) -> Self {
        match plan.held.as_slice() {
            [] => Self::Nothing,
            held => Self::Held(held.iter().map(|step| step.object.clone()).collect()),
        }
    }
}

/// What was put right.
#[derive(Debug)]
pub struct Repaired {
    pub plan: Plan,
    /// How each step ended.
    pub outcomes: Vec<Outcome>,
    /// Those that still differ.
    pub remaining: Vec<ObjectId>,
}

impl Repaired {
    /// Whether every step was carried out and nothing of it still differs.
    pub fn converged(&self) -> bool {
        self.remaining.is_empty() && self.outcomes.iter().all(|outcome| outcome.result == OutcomeResult::Done)
    }
}

/// Makes the concerned objects agree with what is enforced. Those that are `held` are left as they are.
///
/// `record` is what was remembered of all objects when it was read last, and stays so. `watch` is told of each step's outcome
/// as it happens.
///
/// # Errors
/// The host cannot be observed, or state or log cannot be written.
pub fn repair(
    enforced: &Enforced,
    concerned: BTreeSet<ObjectId>,
    held: &BTreeSet<ObjectId>,
    host: &RealHost,
    stop: &AtomicBool,
    record: &mut Option<Record>,
    watch: &mut dyn FnMut(&Step<Operation>, &Outcome),
) -> Result<Repair, CycleError> {
    let _lock = host.lock(LOCK_WAIT)?;
    // What a pause holds back is put right when it ends.
    if Pause::active(host, host.now())?.is_some() {
        return Ok(Repair::Nothing);
    }
    let mut state = State::read_part(host, record.as_ref())?;
    let known = state.record().cloned().unwrap_or_default();
    *record = Some(known.clone());
    if state.applying || state.enforced() != Some(enforced.commit()) {
        return Ok(Repair::NeedsCycle);
    }
    let around =
        |objects, with_reactions| Part::around(objects, with_reactions, enforced.declared(), &known, &state.pending);
    let plan_of = |part: &Part, state: &State| -> Result<Plan, CycleError> {
        let mut plan = Plan::of_part(enforced.commit(), part, state, host)?;
        plan.hold(held);
        Ok(plan)
    };
    // As a rule nothing differs, for we see what we do ourselves: then no service need be asked for.
    let mut part = around(concerned, false)?;
    let mut plan = plan_of(&part, &state)?;
    if plan.steps.is_empty() {
        return Ok(Repair::of_nothing(&plan));
    }
    let whole = around(part.objects.clone(), true)?;
    if whole.objects != part.objects {
        part = whole;
        plan = plan_of(&part, &state)?;
    }
    if plan.steps.is_empty() {
        return Ok(Repair::of_nothing(&plan));
    }
    let allowance = allowance(enforced.commit(), enforced.removals(), &state);
    // Of the files a guard looks at those alone that have a step.
    let desired = enforced.declared().at_hand();
    // A cycle looks at the whole, and says what a guard objects to.
    if guard::judge(&Proposal { plan: &plan, desired, host, allowance: &allowance, is_way_back: false }).is_err() {
        return Ok(Repair::NeedsCycle);
    }

    state.enter(&part.objects);
    let mut log = Log::open(host, state.log)?;
    promise(&plan, &mut log, &mut state)?;
    // What services outside of this part are owed they are owed still.
    state.pending.0.retain(|object, _| !part.objects.contains(object) || held.contains(object));
    state.pending.0.extend(triggers::owed(plan.steps.iter().chain(&plan.held)).0);
    state.applying = true;
    state.log = Some(log.head());
    // From here on a kill is found by the next start, as with a cycle.
    state.write(host)?;
    let outcomes = carry_out(&plan, host, &mut log, &mut state, stop, watch)?;
    let after = Part { owned: state.owned.clone(), pending: state.pending.only(&part.objects), ..part.clone() };
    let again = plan_of(&after, &state)?;
    let remaining: Vec<ObjectId> = again.steps.iter().map(|step| step.object.clone()).collect();
    forget_the_unmade(&again, &mut state);
    let owned = part.owned.objects().filter(|object| !held.contains(*object)).cloned().collect();
    forget_the_gone(owned, &part.desired, &again, &mut state);
    let left = again.held.iter().map(|step| &step.object).chain(held);
    let differing: Vec<ObjectId> = remaining.iter().chain(left).cloned().collect();
    remember_the_altered(&mut state, &part.desired, &differing);
    state.applying = false;
    state.log = Some(log.head());
    state.write(host)?;
    *record = state.record().cloned();
    Ok(Repair::Done(Box::new(Repaired { plan, outcomes, remaining })))
}
