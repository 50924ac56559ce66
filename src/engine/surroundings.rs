// SPDX-License-Identifier: Apache-2.0
//! A look around at the end of a cycle: what is found there, and whether the host agrees, is kept for the next cycle.

use crate::model::chain;
use crate::resources::Desired;
use crate::resources::findings::{self, Found};
use crate::trust::Authorized;

use super::agreement::Agreement;
use super::{Cycle, CycleError, Report, State};

impl Cycle<'_> {
    /// Keeps what the host looks like now where it agrees and nothing disturbs it, and returns what is found around.
    ///
    /// # Errors
    /// The host cannot be observed.
    pub(super) fn look_and_keep(
        &self,
        desired: &Authorized<Desired>,
        report: &Report,
        state: &State,
    ) -> Result<Found, CycleError> {
        if !(report.converged() && report.is_undisturbed()) {
            return Ok(self.look_around(desired));
        }
        let commit = &report.plan.commit;
        let Some(agreement) = Agreement::find(self.config, desired.desired(), commit, state, self.host)? else {
            return Ok(self.look_around(desired));
        };
        // Without it the next cycle compiles the repo again, and that is all.
        if let Err(error) = agreement.write(self.host) {
            tracing::warn!("cannot keep what the host looks like now: {}", chain(&error));
        }
        Ok(agreement.found)
    }

    /// Returns what is found around what is declared.
    pub(super) fn look_around(&self, desired: &Authorized<Desired>) -> Found {
        findings::of(desired.desired(), self.host)
    }
}
