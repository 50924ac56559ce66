// SPDX-License-Identifier: Apache-2.0
//! Who is told what, and what they know already.
//!
//! A state that lasts (a refused commit, a failing step, the sum of a cycle) is told when it begins, again after
//! `repeat_after`, and once more when it is gone. Pure but for what the caller saves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Kind};

/// More subjects than this are not remembered: further ones are then told each time.
const MAX_SUBJECTS: usize = 1000;

/// Name of a sink, and how often the same was kept from it since it was told last.
pub(super) type Route = BTreeMap<String, u64>;

/// What a sink wants.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub name: String,
    pub only: BTreeSet<Kind>,
    pub repeat_after: Duration,
}

/// All subjects of which somebody was told.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Repeats(BTreeMap<String, Subject>);

#[derive(Debug, Serialize, Deserialize)]
struct Subject {
    face: String,
    /// It was told of as part of a cycle, and so ends with the first cycle that does not have it.
    of_cycle: bool,
    entry: Entry,
    told: BTreeMap<String, Told>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Told {
    /// Seconds since 1970.
    at: u64,
    #[serde(skip)]
    kept_back: u64,
}

/// What is to be stored, and whether what is remembered has changed.
#[derive(Debug, Default)]
pub(super) struct News {
    pub entries: Vec<(Entry, Route)>,
    pub changed: bool,
}

impl Repeats {
    /// Says to whom single entries go.
    pub fn single(&mut self, entries: &[Entry], wishes: &[Wish]) -> News {
        let mut news = News::default();
        for entry in entries {
            self.route(entry, false, wishes, &mut news);
        }
        news
    }

    /// Says to whom the entries of one cycle go, and adds that problems of the cycle before are gone.
    ///
    /// Of a cycle that is not `whole`, because it ended early, no end of a problem follows: it has not looked.
    pub fn cycle(&mut self, entries: &[Entry], whole: bool, wishes: &[Wish]) -> News {
        let mut news = News::default();
        for entry in entries {
            self.route(entry, true, wishes, &mut news);
        }
        if !whole {
            return news;
        }
        let present: BTreeSet<String> = entries.iter().filter_map(Entry::subject).collect();
        let time = entries.iter().map(|entry| &entry.time).max();
        let gone: Vec<String> = self
            .0
            .iter()
            .filter(|(key, subject)| subject.of_cycle && !present.contains(*key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            let Some(subject) = self.0.remove(&key) else { continue };
            news.changed = true;
            let Some(time) = time.filter(|_| subject.entry.kind.is_problem()) else { continue };
            let mut entry = subject.entry;
            entry.fields.insert("was".to_owned(), entry.kind.as_str().into());
            (entry.kind, entry.severity) = (Kind::Resolved, Kind::Resolved.severity());
            entry.time.clone_from(time);
            entry.message = format!("no longer: {}", entry.message);
            let route = subject.told.into_keys().filter(|name| wishes.iter().any(|wish| wish.name == *name));
            let route: Route = route.map(|name| (name, 0)).collect();
            if !route.is_empty() {
                news.entries.push((entry, route));
            }
        }
        news
    }

    /// Forgets that anybody was told of these subjects.
    pub fn forget(&mut self, subjects: &[String]) {
        self.0.retain(|key, _| !subjects.contains(key));
    }

    /// Forgets sinks that are no longer configured.
    pub fn keep_only(&mut self, wishes: &[Wish]) {
        for subject in self.0.values_mut() {
            subject.told.retain(|name, _| wishes.iter().any(|wish| wish.name == *name));
        }
    }

    fn route(&mut self, entry: &Entry, of_cycle: bool, wishes: &[Wish], news: &mut News) {
        let mut wants = wishes.iter().filter(|wish| wish.only.contains(&entry.kind)).peekable();
        if wants.peek().is_none() {
            return;
        }
        let Some(key) = entry.subject() else {
            news.entries.push((entry.clone(), wants.map(|wish| (wish.name.clone(), 0)).collect()));
            return;
        };
        let now = entry.at().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        if self.0.len() >= MAX_SUBJECTS && !self.0.contains_key(&key) {
            // What ended, or is due to be told again, need not be remembered. What is left then is told each time.
            let longest = wishes.iter().map(|wish| wish.repeat_after.as_secs()).max().unwrap_or(0);
            self.0.retain(|_, subject| subject.told.values().any(|told| now < told.at.saturating_add(longest)));
        }
        let full = self.0.len() >= MAX_SUBJECTS && !self.0.contains_key(&key);
        let mut spare = Subject::of(entry, of_cycle);
        let subject = if full { &mut spare } else { self.0.entry(key).or_insert_with(|| Subject::of(entry, of_cycle)) };
        subject.of_cycle |= of_cycle;
        let face = entry.face();
        if subject.face != face {
            *subject = Subject::of(entry, subject.of_cycle);
        }
        let mut route = Route::new();
        for wish in wants {
            match subject.told.get_mut(&wish.name) {
                // A clock that was set back is no reason to be silent.
                Some(told) if told.at <= now && now - told.at < wish.repeat_after.as_secs() => told.kept_back += 1,
                Some(told) => {
                    route.insert(wish.name.clone(), told.kept_back);
                    *told = Told { at: now, kept_back: 0 };
                }
                None => {
                    route.insert(wish.name.clone(), 0);
                    subject.told.insert(wish.name.clone(), Told { at: now, kept_back: 0 });
                }
            }
        }
        if !route.is_empty() {
            subject.entry = entry.clone();
            news.changed |= !full;
            news.entries.push((entry.clone(), route));
        }
    }
}

impl Subject {
    fn of(entry: &Entry, of_cycle: bool) -> Self {
        Self { face: entry.face(), of_cycle, entry: entry.clone(), told: BTreeMap::new() }
    }
}
