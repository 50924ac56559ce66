// SPDX-License-Identifier: Apache-2.0
//! How old the newest thing is that trusted keys have signed, and whether this host's clock can be right.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::{format_duration, format_rfc3339_seconds};
use serde::{Deserialize, Serialize};

/// How far a clock may be behind a time that was signed for.
const BEHIND: Duration = Duration::from_secs(24 * 60 * 60);

/// How far a signer's clock may be ahead of this host's.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// The end of the year 9999: later times cannot be written down.
const LATEST: u64 = 253_402_300_799;

/// What a host remembers of the times that were signed for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Freshness {
    /// The newest of them, in seconds since 1970. Never goes back.
    newest: Option<u64>,
    /// What the policy of the enforced commit allows, in seconds.
    max_age: Option<u64>,
    /// The commit that the heartbeat ref had when it was last looked at.
    pub heartbeat: Option<String>,
    /// That it is stale is in the log.
    pub told: bool,
}

/// The newest trusted statement is older than the policy allows: the remote may be frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    pub newest: Option<SystemTime>,
    pub max_age: Duration,
    /// Why the heartbeat does not count, if there is one.
    pub heartbeat: Option<String>,
}

impl Freshness {
    /// Learns of a time that a trusted key has signed for. One after `now` is not believed: it would make every clock
    /// suspect.
    pub fn learn(&mut self, time: SystemTime, now: SystemTime) {
        if time > now + SKEW {
            return;
        }
        let time = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.newest = self.newest.max(Some(time));
    }

    /// Learns what the policy of the enforced commit allows.
    pub fn allow(&mut self, max_age: Option<Duration>) {
        self.max_age = max_age.map(|age| age.as_secs());
    }

    /// Returns how old the newest statement may be; `None` if the policy does not ask.
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age.map(Duration::from_secs)
    }

    /// Returns the newest time that a trusted key has signed for.
    pub fn newest(&self) -> Option<SystemTime> {
        self.newest.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds.min(LATEST)))
    }

    /// Returns `now`, or the newest time that was signed for where the clock is behind it.
    pub fn at_least(&self, now: SystemTime) -> SystemTime {
        self.newest().map_or(now, |newest| now.max(newest))
    }

    /// Whether the clock is so far behind that it cannot be right.
    pub fn doubts(&self, now: SystemTime) -> bool {
        self.at_least(now).duration_since(now).is_ok_and(|behind| behind > BEHIND)
    }

    /// Returns when the newest statement becomes, or became, stale; `None` if the policy does not ask or nothing has a time.
    pub fn stale_from(&self) -> Option<SystemTime> {
        let max_age = Duration::from_secs(self.max_age?.min(LATEST));
        Some(self.newest()? + max_age)
    }

    /// Returns how stale the newest statement is; `None` if it is fresh or the policy does not ask.
    pub fn stale(&self, now: SystemTime) -> Option<Stale> {
        let max_age = Duration::from_secs(self.max_age?);
        let newest = self.newest();
        let fresh = newest.is_some_and(|newest| now.duration_since(newest).map_or(true, |age| age <= max_age));
        (!fresh).then_some(Stale { newest, max_age, heartbeat: None })
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.newest {
            Some(newest) => write!(f, "the newest trusted statement is of {}", format_rfc3339_seconds(newest))?,
            None => f.write_str("no trusted statement has a time")?,
        }
        write!(f, "; the policy allows {}: the remote may be withholding news", format_duration(self.max_age))?;
        if let Some(why) = &self.heartbeat {
            write!(f, "\n  the heartbeat does not count: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const DAY: u64 = 24 * 60 * 60;

    #[test]
    fn the_newest_time_never_goes_back() {
        let mut freshness = Freshness::default();
        freshness.learn(at(100 * DAY), at(100 * DAY));
        freshness.learn(at(99 * DAY), at(100 * DAY));
        freshness.learn(at(102 * DAY), at(101 * DAY));
        assert_eq!(freshness.newest(), Some(at(100 * DAY)), "a time that is yet to come is not believed");
        assert_eq!(freshness.at_least(at(5)), at(100 * DAY));
        assert_eq!(freshness.at_least(at(101 * DAY)), at(101 * DAY));
    }

    #[test]
    fn a_clock_is_doubted_when_it_is_more_than_a_day_behind() {
        let mut freshness = Freshness::default();
        assert!(!freshness.doubts(at(0)));
        freshness.learn(at(100 * DAY), at(100 * DAY));
        assert!(!freshness.doubts(at(99 * DAY)));
        assert!(freshness.doubts(at(99 * DAY - 1)));
        assert!(!freshness.doubts(at(1000 * DAY)));
    }

    #[test]
    fn staleness_begins_after_the_allowed_age_and_only_where_the_policy_asks() {
        let mut freshness = Freshness::default();
        freshness.learn(at(100 * DAY), at(100 * DAY));
        assert_eq!(freshness.stale(at(1000 * DAY)), None);
        freshness.allow(Some(Duration::from_secs(2 * DAY)));
        assert_eq!(freshness.stale(at(102 * DAY)), None);
        assert_eq!(freshness.stale(at(99 * DAY)), None, "a clock behind is another matter");
        let stale = freshness.stale(at(102 * DAY + 1)).unwrap();
        assert!(stale.to_string().starts_with("the newest trusted statement is of 1970-04-11T00:00:00Z"), "{stale}");
    }

    #[test]
    fn where_nothing_has_a_time_it_is_stale_at_once() {
        let mut freshness = Freshness::default();
        freshness.allow(Some(Duration::from_secs(DAY)));
        assert_eq!(freshness.stale(at(5)).unwrap().newest, None);
    }
}
