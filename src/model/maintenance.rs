// SPDX-License-Identifier: Apache-2.0
//! A time in which a host is left alone, but for what is named. It always ends.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime};

use humantime::parse_rfc3339;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Digest, ObjectId};

/// No pause and no maintenance is longer: whoever wants more says so again.
pub const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A reason has no more characters than this.
pub const REASON_MAX: usize = 500;

/// Whether this tells people why something is held back: one line, and nothing in it that steers a terminal.
pub fn is_reason(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.chars().count() <= REASON_MAX && !text.chars().any(char::is_control)
}

/// From when until when a host is left as it is, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// When it begins: RFC 3339, UTC, such as 2026-12-01T20:00:00Z.
    pub from: String,
    /// When it ends: RFC 3339, UTC, 30 days after it begins at the latest.
    pub until: String,
    /// Why, for whoever finds the host left alone: one line.
    pub reason: String,
    /// Objects that are kept as declared all the same, such as service:backend.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub except: BTreeSet<ObjectId>,
}

impl Maintenance {
    /// The object that a change of it is, for rights hang on it.
    pub fn object() -> ObjectId {
        ObjectId::new("maintenance", "host")
    }

    /// Returns a digest of all that it says.
    pub fn digest(&self) -> Digest {
        // Strings only: there is nothing in it that JSON cannot hold.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Returns when it begins and when it ends; `None` where that is not said in a way that can be understood.
    pub fn bounds(&self) -> Option<(SystemTime, SystemTime)> {
        parse_rfc3339(&self.from).ok().zip(parse_rfc3339(&self.until).ok())
    }

    /// Whether the host is left alone at `now`. What is too long, or cannot be understood, never is in force.
    pub fn is_in_force(&self, now: SystemTime) -> bool {
        self.bounds().is_some_and(|(from, until)| {
            from <= now && now < until && until.duration_since(from).is_ok_and(|length| length <= LONGEST)
        })
    }

    /// Returns when it next begins or ends after `now`.
    pub fn next_change(&self, now: SystemTime) -> Option<SystemTime> {
        let (from, until) = self.bounds()?;
        [from, until].into_iter().find(|time| now < *time)
    }

    /// Returns when it ends.
    pub fn ends(&self) -> Option<SystemTime> {
        self.bounds().map(|(_, until)| until)
    }
}

impl fmt::Display for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "maintenance until {}: {}", self.until.escape_debug(), self.reason.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn from_until(from: &str, until: &str) -> Maintenance {
        Maintenance { from: from.into(), until: until.into(), reason: "x".into(), except: BTreeSet::new() }
    }

    #[test]
    fn it_is_in_force_from_its_beginning_and_not_at_its_end() {
        let one = from_until("1970-01-02T00:00:00Z", "1970-01-03T00:00:00Z");
        let table = [
            (0, false, Some(DAY)),
            (DAY, true, Some(2 * DAY)),
            (2 * DAY - 1, true, Some(2 * DAY)),
            (2 * DAY, false, None),
        ];
        for (now, in_force, next) in table {
            assert_eq!((one.is_in_force(at(now)), one.next_change(at(now))), (in_force, next.map(at)), "{now}");
        }
    }

    #[test]
    fn what_has_no_end_within_thirty_days_or_no_sense_is_never_in_force() {
        assert!(from_until("1970-01-01T00:00:00Z", "1970-01-31T00:00:00Z").is_in_force(at(DAY)));
        for (from, until) in [
            ("1970-01-01T00:00:00Z", "1970-01-31T00:00:01Z"),
            ("1970-01-03T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("1970-01-01T00:00:00Z", "never"),
            ("", "1970-01-31T00:00:00Z"),
        ] {
            assert!(!from_until(from, until).is_in_force(at(DAY)), "{from} {until}");
        }
    }

    #[test]
    fn a_reason_is_one_line_for_people() {
        assert!(is_reason("ticket 4711: the disk is moved"));
        for reason in ["", " \t", "two\nlines", "\u{1b}[2J", &"x".repeat(REASON_MAX + 1)] {
            assert!(!is_reason(reason), "{reason:?}");
        }
    }
}
