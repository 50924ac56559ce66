// SPDX-License-Identifier: Apache-2.0
//! Puts right what somebody just changed: only the objects concerned are looked at, and nobody is asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::audit::{Log, OutcomeResult};
use crate::host::{ReadHost, RealHost};
use crate::model::{ObjectId, Step};
use crate::resources::{Desired, Interests, ObserveError, Operation, Part, triggers};
use crate::trust::Authorized;

use super::apply::{Outcome, carry_out};
use super::claims::{forget_the_gone, forget_the_unmade, promise, remember_the_altered};
use super::cycle::LOCK_WAIT;
use super::guard::{self, Proposal};
use super::planning::allowance;
use super::{CycleError, Pause, Plan, State};

/// What a host is held to, and what that depends on.
#[derive(Clone, Debug)]
pub struct Enforced {
    pub desired: Arc<Authorized<Desired>>,
    pub interests: Arc<Interests>,
}

impl Enforced {
    /// Finds out what on this host `desired` depends on.
    ///
    /// # Errors
    /// The host or its state cannot be read.
    pub fn of(desired: Arc<Authorized<Desired>>, host: &dyn ReadHost) -> Result<Self, CycleError> {
        let interests = Interests::of(desired.desired(), &State::read(host)?.owned, host)?;
        Ok(Self { desired, interests: Arc::new(interests) })
    }

    /// Returns every declared object.
    pub fn objects(&self) -> BTreeSet<ObjectId> {
        self.desired.desired().objects().into_iter().map(|object| object.id).collect()
    }
}

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
/// `watch` is told of each step's outcome as it happens.
///
/// # Errors
/// The host cannot be observed, or state or log cannot be written.
pub fn repair(
    enforced: &Enforced,
    concerned: BTreeSet<ObjectId>,
    held: &BTreeSet<ObjectId>,
    host: &RealHost,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Step<Operation>, &Outcome),
) -> Result<Repair, CycleError> {
    let _lock = host.lock(LOCK_WAIT)?;
    // What a pause holds back is put right when it ends.
    if Pause::active(host, host.now())?.is_some() {
        return Ok(Repair::Nothing);
    }
    let mut state = State::read(host)?;
    let commit = enforced.desired.commit().to_string();
    if state.applying || state.enforced() != Some(&commit) {
        return Ok(Repair::NeedsCycle);
    }
    let desired = enforced.desired.desired();
    let make = |objects: BTreeSet<ObjectId>, with_reactions: bool, state: &State| -> Result<_, ObserveError> {
        let part = Part::around(objects, with_reactions, desired, &state.owned, &state.pending);
        let mut plan = Plan::of_part(&commit, &part, state, host)?;
        plan.hold(held);
        Ok((part, plan))
    };
    // As a rule nothing differs, for we see what we do ourselves: then no service need be asked for.
    let (part, plan) = make(concerned, false, &state)?;
    if plan.steps.is_empty() {
        return Ok(Repair::of_nothing(&plan));
    }
    let (part, plan) = make(part.objects, true, &state)?;
    if plan.steps.is_empty() {
        return Ok(Repair::of_nothing(&plan));
    }
    let allowance = allowance(&enforced.desired, &state);
    // A cycle looks at the whole, and says what a guard objects to.
    if guard::judge(&Proposal { plan: &plan, desired, host, allowance: &allowance, is_way_back: false }).is_err() {
        return Ok(Repair::NeedsCycle);
    }

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
    let (_, again) = make(part.objects.clone(), true, &state)?;
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
    Ok(Repair::Done(Box::new(Repaired { plan, outcomes, remaining })))
}
