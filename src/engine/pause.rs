// SPDX-License-Identifier: Apache-2.0
//! A time in which nothing is changed, because somebody with the right to asked for it. It always ends.
//!
//! What a paused host still does: pull, prove, plan, and say what it holds back.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use humantime::{format_rfc3339_seconds, parse_rfc3339};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::{AuditError, Event, Log};
use crate::host::{HostError, NewFile, ReadHost, RealHost, WriteHost};
use crate::model::Actor;
use crate::model::maintenance::{REASON_MAX, is_reason};

pub use crate::model::maintenance::LONGEST;

use super::State;
use super::alarm::Alarm;
use super::state::{self, StateError};

/// Where a pause is kept, so that it outlives the daemon and a boot.
pub const PAUSE: &str = "/var/lib/hostwrit/pause.json";

/// How long it is waited for a cycle that is under way.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// The format that this version writes.
const FORMAT: u32 = 1;

/// Nothing is changed until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Version of this format: 1.
    format: u32,
    /// When it began: RFC 3339, UTC.
    pub from: String,
    /// When it ends by itself: RFC 3339, UTC.
    pub until: String,
    pub reason: String,
    pub by: Actor,
}

/// Why there is no pause, or why it does not end.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    #[error("a pause lasts one second at the least and 30 days at the most")]
    Length,
    #[error("a pause has a reason: one line of 1 to {REASON_MAX} characters, none of them a control character")]
    Reason,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("cannot write the pause down")]
    Encode(#[source] serde_json::Error),
}

/// What is kept of a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    Nothing,
    InForce(Pause),
    /// It has ended by itself and nobody has written that down yet.
    Ended(Pause),
    /// Why it cannot be understood. It holds nothing: a host that stands still because of a damaged file would be worse.
    Unreadable(String),
}

impl Pause {
    /// Makes a pause that begins `now`. It is in force once it has [begun](Self::begin).
    ///
    /// # Errors
    /// It would be too long, or nobody could tell why it is there.
    pub fn new(length: Duration, reason: &str, by: Actor, now: SystemTime) -> Result<Self, PauseError> {
        // Whole seconds are written down.
        if length < Duration::from_secs(1) || length > LONGEST {
            return Err(PauseError::Length);
        }
        let reason = reason.trim();
        if !is_reason(reason) {
            return Err(PauseError::Reason);
        }
        Ok(Self {
            format: FORMAT,
            from: format_rfc3339_seconds(now).to_string(),
            until: format_rfc3339_seconds(now + length).to_string(),
            reason: reason.to_owned(),
            by,
        })
    }

    /// Returns the pause that is in force on this host.
    ///
    /// # Errors
    /// It cannot be read whether there is one.
    pub fn active(host: &(impl ReadHost + ?Sized), now: SystemTime) -> Result<Option<Self>, HostError> {
        Ok(match Kept::read(host, now)? {
            Kept::InForce(pause) => Some(pause),
            _ => None,
        })
    }

    /// Puts the pause in force, in the place of one that may be there: in the log, then in effect.
    ///
    /// # Errors
    /// A cycle does not end, or log, state or pause cannot be written.
    pub fn begin(&self, host: &RealHost) -> Result<(), PauseError> {
        let _lock = host.lock(LOCK_WAIT)?;
        host.ensure_dir(Path::new(state::DIR), 0o700)?;
        record(
            host,
            &mut State::read(host)?,
            Event::Paused { until: self.until.clone(), reason: self.reason.clone(), by: self.by.clone() },
        )?;
        let text = serde_json::to_vec(self).map_err(PauseError::Encode)?;
        let file = NewFile { content: &text, owner: None, mode: 0o600, check: None };
        Ok(host.replace_file(Path::new(PAUSE), &file)?)
    }

    /// Ends the pause that is in force and returns it; `None` if there is none.
    ///
    /// # Errors
    /// A cycle does not end, or log, state or pause cannot be written.
    pub fn end(host: &RealHost, by: Actor) -> Result<Option<Self>, PauseError> {
        let _lock = host.lock(LOCK_WAIT)?;
        let kept = Kept::read(host, host.now())?;
        let (was, event) = match kept {
            Kept::Nothing => return Ok(None),
            Kept::InForce(pause) => (Some(pause), Event::Resumed { by: Some(by) }),
            Kept::Ended(_) => (None, Event::Resumed { by: None }),
            Kept::Unreadable(_) => (None, Event::Resumed { by: Some(by) }),
        };
        record(host, &mut State::read(host)?, event)?;
        host.remove(Path::new(PAUSE))?;
        Ok(was)
    }

    /// Returns when it ends, if the host's clock still allows it to be in force.
    pub fn ends(&self) -> Option<SystemTime> {
        parse_rfc3339(&self.until).ok()
    }
}

impl Kept {
    /// Reads what is kept of a pause.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(host: &(impl ReadHost + ?Sized), now: SystemTime) -> Result<Self, HostError> {
        Ok(host.read(Path::new(PAUSE))?.map_or(Self::Nothing, |text| Self::of(&text, now)))
    }

    fn of(text: &[u8], now: SystemTime) -> Self {
        let pause: Pause = match serde_json::from_slice(text) {
            Ok(pause) => pause,
            Err(error) => return Self::Unreadable(error.to_string()),
        };
        let (Some(until), FORMAT) = (pause.ends(), pause.format) else {
            return Self::Unreadable("it has another format than this version knows".to_owned());
        };
        // However far a clock is set back, or whatever the file says: none lasts longer than the longest.
        match until.duration_since(now) {
            Ok(left) if left > Duration::ZERO && left <= LONGEST => Self::InForce(pause),
            _ => Self::Ended(pause),
        }
    }

    /// Returns the pause that is in force, and what somebody must know of one that cannot be understood.
    pub(super) fn standing(self) -> (Option<Pause>, Option<Alarm>) {
        match self {
            Self::Nothing | Self::Ended(_) => (None, None),
            Self::InForce(pause) => (Some(pause), None),
            Self::Unreadable(why) => (None, Some(Alarm::PauseUnreadable(why))),
        }
    }
}

/// Reads what is kept of a pause, and writes it down if one has ended by itself. Whoever calls holds the run lock.
///
/// # Errors
/// Log, state or pause cannot be read or written.
pub(super) fn settle(host: &dyn WriteHost, state: &mut State) -> Result<Kept, PauseError> {
    let kept = Kept::read(host, host.now())?;
    if let Kept::Ended(_) = kept {
        record(host, state, Event::Resumed { by: None })?;
        host.remove(Path::new(PAUSE))?;
    }
    Ok(kept)
}

fn record(host: &dyn WriteHost, state: &mut State, event: Event) -> Result<(), PauseError> {
    let mut log = Log::open(host, state.log)?;
    log.append([event])?;
    state.log = Some(log.head());
    Ok(state.write(host)?)
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The reason has no control characters if this program wrote it; the file may say anything.
        write!(f, "paused by {} until {}: {}", self.by, self.until.escape_debug(), self.reason.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn root() -> Actor {
        Actor { uid: 0, user: Some("root".to_owned()), login: None, claims: None }
    }

    const DAY: u64 = 24 * 60 * 60;

    fn kept(length: u64, now: SystemTime) -> Kept {
        let pause = Pause::new(Duration::from_secs(length), "work", root(), at(100 * DAY)).unwrap();
        Kept::of(&serde_json::to_vec(&pause).unwrap(), now)
    }

    #[test]
    fn a_pause_ends_at_its_time() {
        assert!(matches!(kept(60, at(100 * DAY)), Kept::InForce(_)));
        assert!(matches!(kept(60, at(100 * DAY + 59)), Kept::InForce(_)));
        assert!(matches!(kept(60, at(100 * DAY + 60)), Kept::Ended(_)));
        assert!(matches!(kept(30 * DAY, at(100 * DAY)), Kept::InForce(_)));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_pause_longer_than_the_longest() {
        assert!(matches!(kept(60, at(99 * DAY)), Kept::InForce(_)));
        assert!(matches!(kept(60, at(70 * DAY)), Kept::Ended(_)));
    }

    #[test]
    fn what_cannot_be_understood_holds_nothing() {
        for text in ["", "{}", "{\"format\":1}", "null", "\u{0}"] {
            assert!(matches!(Kept::of(text.as_bytes(), at(0)), Kept::Unreadable(_)), "{text}");
        }
        let text = "{\"format\":1,\"from\":\"x\",\"until\":\"never\",\"reason\":\"r\",\"by\":{\"uid\":0}}";
        assert!(matches!(Kept::of(text.as_bytes(), at(0)), Kept::Unreadable(_)));
        let text = text.replace("never", "1970-01-02T00:00:00Z").replace("\"format\":1", "\"format\":2");
        assert!(matches!(Kept::of(text.as_bytes(), at(0)), Kept::Unreadable(_)));
    }

    #[test]
    fn no_pause_is_endless_or_without_a_reason() {
        let new = |length, reason: &str| Pause::new(length, reason, root(), at(0));
        assert!(new(LONGEST, "x").is_ok());
        for length in [Duration::ZERO, Duration::from_millis(999), LONGEST + Duration::from_secs(1), Duration::MAX] {
            assert!(matches!(new(length, "x"), Err(PauseError::Length)), "{length:?}");
        }
        for reason in ["", " \t", "two\nlines", "\u{1b}[2J", &"x".repeat(501)] {
            assert!(matches!(new(Duration::from_secs(1), reason), Err(PauseError::Reason)), "{reason:?}");
        }
    }
}
