// SPDX-License-Identifier: Apache-2.0
//! Objects that somebody changes back again and again. Pure: the time is given.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use crate::model::ObjectId;

/// So many repairs within [`WINDOW`] are a fight and no accident.
const ROUNDS: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// How long an object that is fought over waits for its next repair: twice as long each time, up to the longest.
const FIRST_DELAY: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(10 * 60);

/// After so long without a repair nobody fights any more.
const CALM: Duration = Duration::from_secs(20 * 60);

/// What was put right of late, and what has to wait.
#[derive(Clone, Debug, Default)]
pub struct Fights(BTreeMap<ObjectId, Fight>);

#[derive(Clone, Debug, Default)]
struct Fight {
    /// Who changes it, where that was found out.
    by: Option<String>,
    /// The latest repairs, oldest first; never more than [`ROUNDS`].
    repairs: VecDeque<Instant>,
    rounds: usize,
    /// `None` as long as it is no fight.
    delay: Option<Duration>,
}

/// An object that somebody else changes as often as hostwrit puts it right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fought {
    pub object: ObjectId,
    /// How often it was put right since this began.
    pub rounds: usize,
    /// How long it is now left as it is.
    pub delay: Duration,
    /// Who changes it, where that is known.
    pub by: Option<String>,
}

impl fmt::Display for Fought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.by.as_deref().unwrap_or("something on this host");
        let delay = humantime::format_duration(self.delay);
        write!(
            f,
            "{by} changes {} again and again; it was put right {} times, and is now put right every {delay} at the \
             most; find what changes it and end that, or take the object out of the repo",
            self.object, self.rounds
        )
    }
}

impl Fights {
    /// Notes that the object was put right.
    pub fn repaired(&mut self, object: &ObjectId, now: Instant) {
        let fight = self.0.entry(object.clone()).or_default();
        fight.rounds += 1;
        fight.repairs.push_back(now);
        if fight.repairs.len() > ROUNDS {
            fight.repairs.pop_front();
        }
        let is_storm = fight.repairs.len() == ROUNDS
            && fight.repairs.front().is_some_and(|first| now.saturating_duration_since(*first) <= WINDOW);
        fight.delay = match fight.delay {
            Some(delay) => Some((delay * 2).min(LONGEST_DELAY)),
            None => is_storm.then_some(FIRST_DELAY),
        };
    }

    /// Returns the objects that are not to be put right yet. Those with which nothing was wrong for long are forgotten.
    pub fn held(&mut self, now: Instant) -> BTreeSet<ObjectId> {
        self.0.retain(|_, fight| fight.last().is_some_and(|last| now.saturating_duration_since(last) < CALM));
        let is_held = |fight: &Fight| fight.until().is_some_and(|until| now < until);
        self.0.iter().filter(|(_, fight)| is_held(fight)).map(|(object, _)| object.clone()).collect()
    }

    /// Returns when the first of these objects may be put right again.
    pub fn release(&self, objects: &BTreeSet<ObjectId>) -> Option<Instant> {
        objects.iter().filter_map(|object| self.0.get(object)?.until()).min()
    }

    /// Notes who changes the object.
    pub fn blame(&mut self, object: &ObjectId, by: String) {
        if let Some(fight) = self.0.get_mut(object) {
            fight.by = Some(by);
        }
    }

    /// Returns what is fought over.
    pub fn fought(&self) -> Vec<Fought> {
        let fought = |(object, fight): (&ObjectId, &Fight)| {
            let (rounds, delay, by) = (fight.rounds, fight.delay?, fight.by.clone());
            Some(Fought { object: object.clone(), rounds, delay, by })
        };
        self.0.iter().filter_map(fought).collect()
    }
}

impl Fight {
    fn last(&self) -> Option<Instant> {
        self.repairs.back().copied()
    }

    fn until(&self) -> Option<Instant> {
        Some(self.last()? + self.delay?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn motd() -> ObjectId {
        ObjectId::new("file", "/etc/motd")
    }

    /// Repairs at these seconds; returns the delay in seconds after the last one, if the object is fought over.
    fn delay_after(repairs: &[u64]) -> Option<u64> {
        let start = Instant::now();
        let mut fights = Fights::default();
        for second in repairs {
            fights.held(start + Duration::from_secs(*second));
            fights.repaired(&motd(), start + Duration::from_secs(*second));
        }
        fights.fought().first().map(|fought| fought.delay.as_secs())
    }

    #[test]
    fn what_is_changed_back_again_and_again_is_slowed_more_and_more() {
        let table: &[(&[u64], Option<u64>)] = &[
            (&[0], None),
            (&[0, 1, 2, 3], None),
            (&[0, 1, 2, 3, 4], Some(10)),
            (&[0, 15, 30, 45, 60], Some(10)),
            // Slower than the window: drift, but no storm.
            (&[0, 16, 32, 48, 64], None),
            (&[0, 100, 101, 102, 103], None),
            (&[0, 100, 101, 102, 103, 104], Some(10)),
            (&[0, 1, 2, 3, 4, 14], Some(20)),
            (&[0, 1, 2, 3, 4, 14, 34], Some(40)),
            (&[0, 1, 2, 3, 4, 14, 34, 74, 154, 314, 634, 1234], Some(600)),
            // Calm for long enough: forgotten.
            (&[0, 1, 2, 3, 4, 1204], None),
            (&[0, 1, 2, 3, 4, 1203], Some(20)),
        ];
        for (repairs, expected) in table {
            assert_eq!(delay_after(repairs), *expected, "{repairs:?}");
        }
    }

    #[test]
    fn a_fought_object_is_held_until_its_time_and_others_are_not() {
        let start = Instant::now();
        let second = |second| start + Duration::from_secs(second);
        let mut fights = Fights::default();
        (0..5).for_each(|round| fights.repaired(&motd(), second(round)));
        let other = ObjectId::new("file", "/etc/issue");
        fights.repaired(&other, second(4));
        assert_eq!(fights.held(second(13)), [motd()].into());
        assert_eq!(fights.release(&[motd(), other].into()), Some(second(14)));
        assert_eq!(fights.held(second(14)), BTreeSet::new());
        let said = fights.fought()[0].to_string();
        assert!(said.contains("file:/etc/motd") && said.contains("5 times") && said.contains("every 10s"), "{said}");
        assert!(said.starts_with("something on this host changes"), "{said}");
        fights.blame(&motd(), "process 7 (sh, uid 0)".to_owned());
        let said = fights.fought()[0].to_string();
        assert!(said.starts_with("process 7 (sh, uid 0) changes file:/etc/motd"), "{said}");
        let mut others = Fights::default();
        others.blame(&motd(), "nobody".to_owned());
        assert!(others.fought().is_empty(), "who changes what nobody fights over is not kept");
    }
}
