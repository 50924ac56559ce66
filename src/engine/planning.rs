// SPDX-License-Identifier: Apache-2.0
//! Which commit's plan a cycle carries out: the tip's, if it counts, it is this host's turn, and no guard objects; else that
//! of the last good commit.

use crate::resources::Desired;
use crate::source::{FetchError, Fetched};
use crate::trust::{Allowance, Authorized, Cache};

use super::desired::{Hindrance, Selected, Times};
use super::guard::{self, Objection, Proposal};
use super::pin::Known;
use super::{Cycle, CycleError, Plan, State};

/// What a cycle is about to do.
pub(super) struct Planned {
    pub(super) selected: Selected,
    pub(super) plan: Plan,
    /// The plan of a commit that is not followed now.
    pub(super) ahead: Option<Plan>,
    /// Why nothing of `plan` may be done.
    pub(super) objection: Option<Objection>,
}

impl Cycle<'_> {
    /// Selects a commit and plans it. Changes nothing.
    ///
    /// # Errors
    /// There is nothing to obey, or the host cannot be observed.
    pub(super) fn select_and_plan(
        &self,
        fetched: Result<Fetched, FetchError>,
        known: &Known,
        state: &State,
        cache: &mut Cache,
    ) -> Result<Planned, CycleError> {
        let heartbeat = fetched.as_ref().ok().and_then(|fetched| fetched.beside);
        let tip = self.may_follow(known, state).and_then(|()| Ok(fetched?.tip));
        let tip = tip.and_then(|tip| state.may_try(&tip).map(|()| tip));
        let ground = state.ground(known)?;
        let selected = self.judge(cache, heartbeat).select(tip, known.pin, ground)?;
        let selected = self.in_turn(selected, ground, state, cache)?;
        let plan = self.plan_of(&selected.desired, state)?;
        let objection = self.objection(&selected.desired, &plan, state);
        let is_new = ground.is_none_or(|ground| ground.commit != *selected.desired.commit());
        let objection = match objection {
            Some(objection) if is_new => objection,
            // What is enforced already has drifted so far that only a signed commit puts it right.
            objection => {
                let ahead = selected.held.as_ref().map(|held| self.plan_of(held, state)).transpose()?;
                return Ok(Planned { selected, plan, ahead, objection });
            }
        };
        let hindrance = Hindrance::Guard { commit: *selected.desired.commit(), objection };
        let last = self.judge(cache, None).fall_back(hindrance, ground)?;
        // The commit that is refused is proven, and so is what it says of time.
        let times = Times { max_age: last.times.max_age, ..selected.times };
        let selected = Selected { times, waiting: selected.waiting, held: Some(selected.desired), ..last };
        let ahead = Some(plan);
        let plan = self.plan_of(&selected.desired, state)?;
        let objection = self.objection(&selected.desired, &plan, state);
        Ok(Planned { selected, plan, ahead, objection })
    }

    fn plan_of(&self, desired: &Authorized<Desired>, state: &State) -> Result<Plan, CycleError> {
        Ok(Plan::make(&desired.commit().to_string(), desired.desired(), state, self.host)?)
    }

    /// Returns why nothing of the plan may be done.
    pub(super) fn objection(&self, desired: &Authorized<Desired>, plan: &Plan, state: &State) -> Option<Objection> {
        let proposal = Proposal {
            plan,
            desired: desired.desired(),
            host: self.host,
            allowance: &allowance(&plan.commit, desired.removals(), state),
            is_way_back: state.is_way_back(&plan.commit),
        };
        guard::judge(&proposal).err()
    }

    /// Returns what keeps this host from following the remote, whatever the remote has.
    fn may_follow(&self, known: &Known, state: &State) -> Result<(), Hindrance> {
        let now = self.host.now();
        match (&known.conflict, state.freshness.newest()) {
            (Some(conflict), _) => Err(Hindrance::PinConflict(conflict.clone())),
            (None, Some(newest)) if state.freshness.doubts(now) => Err(Hindrance::ClockSuspect { now, newest }),
            _ => Ok(()),
        }
    }
}

/// Returns how many removals a commit allows: what its signers said when it was proven, which is not proven again.
pub(super) fn allowance(commit: &str, asked: &Allowance, state: &State) -> Allowance {
    match (asked, state.removals) {
        (Allowance::Unasked, Some(number)) if state.pin.as_deref() == Some(commit) => Allowance::Granted(number),
        (asked, _) => asked.clone(),
    }
}
