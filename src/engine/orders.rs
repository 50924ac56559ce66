// SPDX-License-Identifier: Apache-2.0
//! Obeys an order: the pin moves to the commit that it names, once, and not before the log has it.

use humantime::format_rfc3339_seconds;

use crate::audit::{self, Event, Log};
use crate::model::git::Objects as _;
use crate::trust::{Code, Order, order};

use super::desired::Hindrance;
use super::pin::{self, Ordered, Pin};
use super::{Cycle, CycleError, State, trust_cache};

impl Cycle<'_> {
    /// Moves the pin to where a signed order says, and changes nothing else: the next cycle enforces the commit.
    ///
    /// The commit must have been fetched before or be in what the remote's ref reaches. A re-pin demands that it is proven from the
    /// root; break-glass only that its objects are whole and its tree is sound.
    ///
    /// # Errors
    /// The order does not count or was used, its commit cannot be enforced, or log or state cannot be written.
    pub fn obey(&self, text: &[u8], signature: &[u8]) -> Result<Order, CycleError> {
        let refused = |refusal| CycleError::from(Hindrance::from(Box::new(refusal)));
        let mut state = State::read(self.host)?;
        // A clock that was set back must not make an old order young.
        let now = state.freshness.at_least(self.host.now());
        let (keys, fleet, host) = (&self.config.break_glass, &self.config.anchor.fleet, &self.config.host);
        let order = Order::verify(text, signature, keys, fleet, host, now).map_err(refused)?;
        let logged = audit::log::was_ordered(self.host, order.nonce())?;
        order.check_unused(|nonce| logged || state.nonces.contains(nonce)).map_err(refused)?;

        // In an emergency the remote may be what is gone.
        let is_here = self.store.object(order.commit()).is_ok();
        let fetched = if is_here { Ok(()) } else { self.fetch().map(drop) };
        let mut cache = trust_cache::read(self.host);
        let mut judge = self.judge(&mut cache, None);
        let proven = match order.kind() {
            order::Kind::RePin => judge.accept(None, order.commit()),
            order::Kind::BreakGlass => judge.last_good(Pin { commit: *order.commit(), same_root: true }),
        };
        match (proven, fetched) {
            (Ok(_), _) => {}
            // Why it is not there says more than that it is not.
            (Err(Hindrance::Refused(refusal)), Err(fault)) if refusal.code() == Code::ObjectMissing => {
                return Err(Hindrance::from(fault).into());
            }
            (Err(hindrance), _) => return Err(hindrance.into()),
        }

        let known = self.known(&state)?;
        let ordered = Ordered {
            order: order.kind(),
            commit: order.commit().to_string(),
            nonce: order.nonce().to_owned(),
            reason: order.reason().to_owned(),
            from: known.pin.map(|pin| pin.commit.to_string()),
        };
        let mut log = Log::open(self.host, state.log)?;
        log.append([Event::Ordered {
            order: order.kind().to_string(),
            commit: ordered.commit.clone(),
            from: ordered.from.clone(),
            root: self.root(),
            nonce: ordered.nonce.clone(),
            key: order.key().to_string(),
            not_after: format_rfc3339_seconds(order.not_after()).to_string(),
            reason: ordered.reason.clone(),
        }])?;
        // From here on it is obeyed: were the rest lost, the next cycle would find it in the log.
        state.log = Some(log.head());
        state.refused = None;
        state.adopt(ordered, self.root());
        state.write(self.host)?;
        pin::copy(self.host, &state)?;
        Ok(order)
    }
}
