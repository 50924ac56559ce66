// SPDX-License-Identifier: Apache-2.0
//! What somebody must know although it keeps nothing from being done.

use std::fmt;
use std::time::SystemTime;

use crate::trust::order;

use super::State;
use super::freshness::Stale;
use super::pause::PAUSE;
use super::pin::Ordered;

/// Something is not as it should be, and will not right itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Nothing that trusted keys signed is young enough.
    Stale(Stale),
    /// What is kept of a pause cannot be understood, so nothing is held.
    PauseUnreadable(String),
    /// A commit is enforced because an order says so.
    BreakGlass(Ordered),
    /// No administrator can log in and become root, although a port is declared for that. Why, of each.
    NoWayIn(String),
}

impl Alarm {
    /// Returns a stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Stale(_) => "stale",
            Self::BreakGlass(_) => "break-glass",
            Self::PauseUnreadable(_) => "pause-unreadable",
            Self::NoWayIn(_) => "no-way-in",
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale(stale) => stale.fmt(f),
            Self::PauseUnreadable(why) => {
                write!(f, "{PAUSE} cannot be understood, so this host is not paused: {why}")?;
                f.write_str("\n  `hostwrit resume` removes it, `hostwrit pause` replaces it")
            }
            Self::NoWayIn(why) => {
                write!(f, "no administrator can log in by SSH and become root now: {why}")?;
                f.write_str(
                    "\n  declare one with a login shell, a key, the right to become root, and an open port of sshd",
                )
            }
            Self::BreakGlass(ordered) => {
                let (commit, nonce, reason) = (&ordered.commit, &ordered.nonce, &ordered.reason);
                // Somebody else wrote the reason: it must not steer the terminal.
                write!(f, "commit {commit} counts because the order {nonce} says so: {}", reason.escape_debug())?;
                f.write_str("\n  a signed commit on top that counts by the policy ends this")
            }
        }
    }
}

/// Returns the alarms of a host with this state; `heartbeat` says why the heartbeat does not count.
pub fn of(state: &State, heartbeat: Option<String>, now: SystemTime) -> Vec<Alarm> {
    let stale = state.freshness.stale(now).map(|stale| Alarm::Stale(Stale { heartbeat, ..stale }));
    let ordered = state.ordered.clone().filter(|ordered| ordered.order == order::Kind::BreakGlass);
    let no_way_in = state.no_way_in.clone().map(Alarm::NoWayIn);
    stale.into_iter().chain(ordered.map(Alarm::BreakGlass)).chain(no_way_in).collect()
}
