// SPDX-License-Identifier: Apache-2.0
//! Whether an administrator could log in now. The lockout guard refuses a plan that takes the last way in; where there was none before
//! either, nothing is refused, and somebody must know.

use crate::model::chain;
use crate::resources::Desired;

use super::guard::lockout;
use super::{Cycle, State};

impl Cycle<'_> {
    /// Looks, where a port is declared on which administrators log in, whether one of them could, and remembers the answer.
    ///
    /// A host without such a port may be one with a console alone.
    pub(super) fn look_for_way_in(&self, desired: &Desired, state: &mut State) {
        let mut wanted = desired.ports.iter().filter_map(|port| port.want.as_ref());
        if !self.host.is_live() || !wanted.any(|port| port.management) {
            state.no_way_in = None;
            return;
        }
        match lockout::why_nobody_gets_in(self.host) {
            Ok(why) => state.no_way_in = why,
            // What was true at the last look stays until it is known to be otherwise.
            Err(error) => tracing::warn!("cannot find out whether an administrator could log in: {}", chain(&error)),
        }
    }
}
