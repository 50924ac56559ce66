// SPDX-License-Identifier: Apache-2.0
//! Whose turn it is: a host follows a commit that counts when its ring's time has come and the ring's gate is open.
//!
//! What a host goes by is what it accepted last, not what the commit says that waits: nobody skips the rings by a
//! commit that changes them. A time counts from when this host itself first saw what is wanted of it; what people wrote into
//! commits can only make it later.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::rollout::{Gate, Ring};
use crate::model::Digest;
use crate::model::git::Oid;
use crate::source::{NoNumber, Query};
use crate::trust::{Cache, Urgency};

use super::desired::{Hindrance, Selected, Times};
use super::pin::Pin;
use super::{Cycle, Report, State};

/// A gate that has not answered for so long is told as something that is wrong.
const SILENT: Duration = Duration::from_secs(60 * 60);

/// What a host remembers of the rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The ring that the host is in by the commit that it enforces.
    #[serde(default)]
    pub ring: Option<String>,
    /// What the host has seen and does not follow yet.
    #[serde(default)]
    pub waiting: Option<Waiting>,
}

/// Something that is wanted of this host, and since when it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// Digest of all that is wanted: commits that want the same wait together.
    pub wants: Digest,
    /// When this host first saw it: seconds since 1970.
    pub since: u64,
}

/// A proven commit, and what the pinned one says of its turn on this host.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The host's ring by the pinned commit.
    pub ring: Ring,
    /// Digest of what the pinned commit wants of this host.
    pub has: Digest,
    /// Digest of what the new commit wants; `None` where that cannot be said.
    pub wants: Option<Digest>,
}

/// A commit that counts, and that this host does not follow yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    pub commit: Oid,
    pub ring: String,
    /// When the host first saw what the commit wants of it.
    pub since: SystemTime,
    pub why: Why,
    /// Why it must wait although it asks not to.
    pub denied: Option<String>,
}

/// What a commit waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// Its time, which is then.
    Soak(SystemTime),
    /// Another answer to the gate's query.
    Closed { query: String, answer: f64 },
    /// Any answer to it.
    Silent { why: String, is_long: bool },
}

/// What the clock says of a turn.
#[derive(Debug, PartialEq)]
enum Stand<'t> {
    /// It has come.
    Come,
    /// What is remembered, and when the time has come.
    Soaks(Waiting, SystemTime),
    /// The time has come; the gate is to be asked.
    Gate(Waiting, &'t Gate),
}

impl Turn {
    /// Says where the host stands at `now`, having remembered `before`.
    fn stand(&self, urgency: &Urgency, before: Option<&Waiting>, now: SystemTime) -> Stand<'_> {
        // What does not concern this host need not wait, and takes along what does: keys that were revoked.
        let Some(wants) = self.wants.filter(|wants| *wants != self.has) else { return Stand::Come };
        if *urgency == Urgency::Allowed {
            return Stand::Come;
        }
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // A time that is yet to come was read off a clock that was ahead: it begins anew, and is over some day.
        let known = before.filter(|before| before.wants == wants && before.since <= seconds);
        let waiting = known.cloned().unwrap_or(Waiting { wants, since: seconds });
        let until = waiting.seen() + self.ring.soak();
        match &self.ring.gate {
            _ if now < until => Stand::Soaks(waiting, until),
            Some(gate) => Stand::Gate(waiting, gate),
            None => Stand::Come,
        }
    }
}

impl Waiting {
    /// Returns when the host first saw it.
    fn seen(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.since)).unwrap_or(UNIX_EPOCH)
    }
}

impl Hold {
    /// Returns when the time has come; `None` where it has, and a gate is waited for.
    pub fn until(&self) -> Option<SystemTime> {
        match self.why {
            Why::Soak(until) => Some(until),
            Why::Closed { .. } | Why::Silent { .. } => None,
        }
    }

    /// Whether somebody must look into it.
    pub fn is_wrong(&self) -> bool {
        matches!(self.why, Why::Silent { is_long: true, .. })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Soak(until) => write!(f, "goes on at {}", format_rfc3339_seconds(*until)),
            Self::Closed { query, answer } => {
                // Somebody else wrote the query: it must not steer the terminal.
                write!(f, "the gate is closed: {} is {answer}", query.replace(char::is_control, " "))
            }
            Self::Silent { why, .. } => write!(f, "the gate has no answer: {why}"),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commit, ring, why, .. } = self;
        write!(f, "commit {commit} is held by the rollout: this host is in ring {ring:?}; {why}")?;
        if let Some(denied) = &self.denied {
            write!(f, "\n  it asks not to wait, which does not count: {denied}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Hold {}

/// A commit that waits for this host's turn, as the status has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// The commit that waits.
    pub commit: String,
    /// When this host first saw what the commit wants of it: RFC 3339, UTC.
    pub since: String,
    /// When its time has come; absent where it has, and a gate is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What it waits for, in words.
    pub waits_for: String,
}

impl From<&Hold> for Held {
    fn from(hold: &Hold) -> Self {
        let time = |time| format_rfc3339_seconds(time).to_string();
        Self {
            commit: hold.commit.to_string(),
            since: time(hold.since),
            until: hold.until().map(time),
            waits_for: hold.why.to_string(),
        }
    }
}

impl Report {
    /// Returns what keeps a commit that counts from this host's turn; `None` if none waits.
    pub fn hold(&self) -> Option<&Hold> {
        match &self.hindrance {
            Some(Hindrance::Rollout(hold)) => Some(hold),
            _ => None,
        }
    }
}

impl Cycle<'_> {
    /// Returns what was selected if it is this host's turn, or else the last good state.
    ///
    /// # Errors
    /// It is not its turn, and the last good state cannot be read.
    pub(super) fn in_turn(
        &self,
        mut selected: Selected,
        ground: Option<Pin>,
        state: &State,
        cache: &mut Cache,
    ) -> Result<Selected, Hindrance> {
        if selected.hindrance.is_some() {
            // What was seen stays seen.
            selected.waiting.clone_from(&state.rollout.waiting);
            return Ok(selected);
        }
        let Some((turn, ground)) = selected.turn.take().zip(ground) else { return Ok(selected) };
        let signed = selected.times.signed;
        let now = state.freshness.at_least(self.host.now());
        // A clock that has not been set yet would have the time come as soon as it is.
        let now = signed.map_or(now, |signed| now.max(signed));
        let urgency = selected.desired.urgency();
        let (waiting, why) = match turn.stand(urgency, state.rollout.waiting.as_ref(), now) {
            Stand::Come => return Ok(selected),
            Stand::Soaks(waiting, until) => (waiting, Why::Soak(until)),
            Stand::Gate(waiting, gate) => match self.ask(gate) {
                Ok(answer) if gate.opens(answer) => return Ok(selected),
                Ok(answer) => (waiting, Why::Closed { query: gate.query.clone(), answer }),
                Err(NoNumber(why)) => {
                    let is_long = now > waiting.seen() + turn.ring.soak() + SILENT;
                    (waiting, Why::Silent { why, is_long })
                }
            },
        };
        let hold = Box::new(Hold {
            commit: *selected.desired.commit(),
            ring: turn.ring.name,
            since: waiting.seen(),
            why,
            denied: match urgency {
                Urgency::Denied(why) => Some(why.clone()),
                Urgency::Unasked | Urgency::Allowed => None,
            },
        });
        let last = self.judge(cache, None).fall_back(hold.into(), Some(ground))?;
        Ok(Selected {
            // The commit that waits is proven, and so is what it says of time.
            times: Times { max_age: last.times.max_age, ..selected.times },
            waiting: Some(waiting),
            held: Some(selected.desired),
            ..last
        })
    }

    fn ask(&self, gate: &Gate) -> Result<f64, NoNumber> {
        let Some(url) = self.config.prometheus.clone() else {
            return Err(NoNumber("prometheus is not set in /etc/hostwrit/config.yaml of this host".to_owned()));
        };
        self.store.source.number(&Query { url, query: gate.query.clone() }, self.stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::rollout::Soak;

    const HOUR: u64 = 60 * 60;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn turn(after: u64, gate: bool) -> Turn {
        let gate = gate.then(|| Gate { query: "x".to_owned(), min: None, max: Some(0.0) });
        let after = Some(Soak(Duration::from_secs(after)));
        let ring = Ring { name: "all".to_owned(), hosts: Default::default(), percent: None, after, gate };
        Turn { ring, has: digest("old"), wants: Some(digest("new")) }
    }

    fn waiting(wants: &str, since: u64) -> Waiting {
        Waiting { wants: digest(wants), since }
    }

    #[test]
    fn a_time_counts_from_when_it_was_first_seen() {
        let turn = turn(HOUR, false);
        let new = |since| Stand::Soaks(waiting("new", since), at(since + HOUR));
        // Before, now, and what comes of it.
        for (before, now, stand) in [
            (None, 10 * HOUR, new(10 * HOUR)),
            (Some(waiting("new", 10 * HOUR)), 10 * HOUR + 5, new(10 * HOUR)),
            (Some(waiting("new", 10 * HOUR)), 11 * HOUR - 1, new(10 * HOUR)),
            (Some(waiting("new", 10 * HOUR)), 11 * HOUR, Stand::Come),
            (Some(waiting("new", 10 * HOUR)), 99 * HOUR, Stand::Come),
            // Something else is wanted by now: it begins anew.
            (Some(waiting("other", HOUR)), 10 * HOUR, new(10 * HOUR)),
            // The clock was set back, by however much: never longer than from now on.
            (Some(waiting("new", 10 * HOUR)), 10 * HOUR - 1, new(10 * HOUR - 1)),
            (Some(waiting("new", u64::MAX)), 10 * HOUR, new(10 * HOUR)),
        ] {
            assert_eq!(turn.stand(&Urgency::Unasked, before.as_ref(), at(now)), stand, "{before:?} at {now}");
        }
    }

    #[test]
    fn what_does_not_concern_the_host_and_what_may_hurry_does_not_wait() {
        let one = turn(HOUR, true);
        let same = Turn { wants: Some(digest("old")), ..one.clone() };
        assert_eq!(same.stand(&Urgency::Unasked, None, at(0)), Stand::Come);
        assert_eq!(one.stand(&Urgency::Allowed, None, at(0)), Stand::Come);
        let denied = one.stand(&Urgency::Denied("x".to_owned()), None, at(0));
        assert!(matches!(denied, Stand::Soaks(..)));
    }

    #[test]
    fn a_gate_is_asked_when_the_time_has_come() {
        let one = turn(HOUR, true);
        let before = waiting("new", 0);
        assert!(matches!(one.stand(&Urgency::Unasked, Some(&before), at(HOUR - 1)), Stand::Soaks(..)));
        assert!(matches!(one.stand(&Urgency::Unasked, Some(&before), at(HOUR)), Stand::Gate(..)));
        assert!(matches!(turn(0, true).stand(&Urgency::Unasked, None, at(HOUR)), Stand::Gate(..)));
        assert_eq!(turn(0, false).stand(&Urgency::Unasked, None, at(HOUR)), Stand::Come);
    }
}
