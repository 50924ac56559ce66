// SPDX-License-Identifier: Apache-2.0
//! Which commits are new to this host, each after its parents, and how they hang together. Knows of ancestry alone;
//! signatures come later.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::model::git::{Objects, Oid};

use super::commit::Commit;
use super::objects::Proven;
use super::refusal::{Code, Refusal};

/// The longest history that is walked.
const MAX_COMMITS: usize = 200_000;

/// Commits, each after its parents: first those that were proven before, then the new ones.
pub(super) struct Graph {
    order: Vec<Oid>,
    /// Where in `order` the new ones begin.
    news_from: usize,
    index: HashMap<Oid, usize>,
    /// By place in `order`, the places of the parents. Those of the oldest are left out: nothing new leads past them.
    parents: Vec<Vec<usize>>,
    /// By place in `order`, whether it is the pin or descends from it.
    holds_pin: Vec<bool>,
}

/// What two commits have for themselves and in common.
pub(super) struct Sides {
    /// What only the second reaches.
    pub(super) second: Vec<Oid>,
    /// The best common ancestors: those that no other common ancestor descends from.
    pub(super) bases: Vec<Oid>,
}

impl Graph {
    fn of(objects: &Proven<'_>, past: Vec<Oid>, news: Vec<Oid>, pin: Option<&Oid>) -> Result<Self, Refusal> {
        let news_from = past.len();
        let order: Vec<Oid> = past.into_iter().chain(news).collect();
        let index: HashMap<Oid, usize> = order.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        let mut parents: Vec<Vec<usize>> = Vec::with_capacity(order.len());
        let mut holds_pin: Vec<bool> = Vec::with_capacity(order.len());
        for id in &order {
            let own: Vec<usize> = objects.commit(id)?.parents.iter().filter_map(|id| index.get(id).copied()).collect();
            let inherits = own.iter().any(|parent| holds_pin.get(*parent) == Some(&true));
            holds_pin.push(inherits || pin == Some(id));
            parents.push(own);
        }
        Ok(Self { order, news_from, index, parents, holds_pin })
    }

    /// Whether a commit of the graph is the pin or descends from it.
    pub(super) fn holds_pin(&self, id: &Oid) -> bool {
        self.index.get(id).and_then(|place| self.holds_pin.get(*place)) == Some(&true)
    }

    /// Returns every commit that must be proven before the tip counts, each after its parents.
    pub(super) fn news(&self) -> &[Oid] {
        &self.order[self.news_from..]
    }

    pub(super) fn is_new(&self, id: &Oid) -> bool {
        self.index.get(id).is_some_and(|place| *place >= self.news_from)
    }

    /// Returns the new commits that one comes to from `tip` by going to the first parent only, newest first.
    pub(super) fn first_parents(&self, objects: &Proven<'_>, tip: &Oid) -> Result<Vec<Oid>, Refusal> {
        let mut chain = Vec::new();
        let mut next = Some(*tip);
        while let Some(id) = next.filter(|id| self.is_new(id)) {
            chain.push(id);
            next = objects.commit(&id)?.parents.first().copied();
        }
        Ok(chain)
    }

    /// Compares what two commits of the graph reach. Looks at no more than lies between them and their common past.
    pub(super) fn sides(&self, first: &Oid, second: &Oid) -> Sides {
        const FIRST: u8 = 1;
        const SECOND: u8 = 2;
        const BOTH: u8 = FIRST | SECOND;
        /// Reached from a common ancestor, so no best one.
        const STALE: u8 = 4;
        let mut sides = Sides { second: Vec::new(), bases: Vec::new() };
        let mut marks: HashMap<usize, u8> = HashMap::new();
        // Children stand behind their parents, so that the last place is final when it is taken.
        let mut todo = BTreeSet::new();
        for (id, mark) in [(first, FIRST), (second, SECOND)] {
            if let Some(place) = self.index.get(id) {
                *marks.entry(*place).or_default() |= mark;
                todo.insert(*place);
            }
        }
        while todo.iter().any(|place| marks[place] & STALE == 0) {
            let Some(place) = todo.pop_last() else { break };
            let mark = marks[&place];
            let passed_on = match mark & BOTH {
                BOTH => {
                    if mark & STALE == 0 {
                        sides.bases.push(self.order[place]);
                    }
                    BOTH | STALE
                }
                SECOND => {
                    sides.second.push(self.order[place]);
                    SECOND
                }
                one => one,
            };
            for parent in &self.parents[place] {
                *marks.entry(*parent).or_default() |= passed_on;
                todo.insert(*parent);
            }
        }
        sides
    }
}

/// Returns every commit that must be proven before `tip` counts, with as much of the proven past as they touch.
///
/// Without a pin that is the history from `root`, which comes first, to `tip`. With one it is all that `tip` reaches and `pin` does
/// not: what `pin` reaches was proven before `pin` was accepted. `met` gets each commit as soon as it is read, children before
/// their parents, and some that turn out not to be new.
pub(super) fn unproven(
    objects: &Proven<'_>,
    root: &Oid,
    pin: Option<&Oid>,
    tip: &Oid,
    met: &mut dyn FnMut(&Oid, &Arc<Commit>),
) -> Result<Graph, Refusal> {
    let Some(pin) = pin else {
        let history = Reach::of(objects, tip, &[root], met)?;
        history.must_end_at(root)?;
        return Graph::of(objects, Vec::new(), [*root].into_iter().chain(history.order).collect(), None);
    };
    let mut news = Reach::of(objects, tip, &[pin, root], met)?;
    if !news.met.contains(pin) {
        let past = Reach::of(objects, pin, &[root], &mut |_, _| {})?;
        if tip == root || past.order.contains(tip) {
            let detail = format!("it is older than {pin}, which this host has accepted");
            return Err(Refusal::new(Code::Rollback, detail).of(tip));
        }
        let detail = format!("it does not descend from {pin}, which this host has accepted");
        return Err(Refusal::new(Code::NotDescendant, detail).of(tip));
    }
    if let Some(stranger) = news.strangers.first() {
        return Err(stranger_refused(stranger, root));
    }
    let mut past = vec![*pin];
    // A branch that forked before the pin leads past it. What it shares with the pin's own past is proven.
    if news.met.contains(root) && pin != root {
        past = self::past(objects, root, pin)?;
        let proven: HashSet<_> = past.iter().copied().collect();
        news.order.retain(|commit| !proven.contains(commit));
    }
    Graph::of(objects, past, news.order, Some(pin))
}

/// Returns the history from `root`, which comes first, to `pin`.
pub(super) fn past(objects: &Proven<'_>, root: &Oid, pin: &Oid) -> Result<Vec<Oid>, Refusal> {
    let past = Reach::of(objects, pin, &[root], &mut |_, _| {})?;
    past.must_end_at(root)?;
    Ok([*root].into_iter().chain(past.order).collect())
}

/// What a commit reaches.
struct Reach {
    /// The commits, each after its parents, without those to stop at.
    order: Vec<Oid>,
    /// The commits to stop at that were met.
    met: HashSet<Oid>,
    /// The commits without a parent.
    strangers: Vec<Oid>,
}

impl Reach {
    /// Walks from `from` and looks at neither the commits in `stops` nor at what only they reach.
    fn of(
        objects: &Proven<'_>,
        from: &Oid,
        stops: &[&Oid],
        met: &mut dyn FnMut(&Oid, &Arc<Commit>),
    ) -> Result<Self, Refusal> {
        let mut reach = Self { order: Vec::new(), met: HashSet::new(), strangers: Vec::new() };
        let mut seen = HashSet::new();
        // A commit is on the path with the parents that are yet to be walked. A list instead of recursion: the depth
        // is the attacker's choice. Ids are hashes, so there are no circles.
        let mut path: Vec<(Oid, Vec<Oid>)> = Vec::new();
        let mut next = Some(*from);
        loop {
            if let Some(id) = next.take() {
                if stops.contains(&&id) {
                    reach.met.insert(id);
                } else if seen.insert(id) {
                    if seen.len() > MAX_COMMITS {
                        return Err(
                            Refusal::new(Code::TooLong, format!("it has more than {MAX_COMMITS} commits")).of(from)
                        );
                    }
                    let commit = objects.commit(&id)?;
                    met(&id, &commit);
                    let mut parents = commit.parents.clone();
                    if parents.is_empty() {
                        reach.strangers.push(id);
                    }
                    parents.reverse();
                    path.push((id, parents));
                }
            }
            match path.last_mut() {
                None => return Ok(reach),
                Some((_, parents)) if !parents.is_empty() => next = parents.pop(),
                Some((id, _)) => {
                    reach.order.push(*id);
                    path.pop();
                }
            }
        }
    }

    /// Refuses unless every way back ends at `root`.
    fn must_end_at(&self, root: &Oid) -> Result<(), Refusal> {
        self.strangers.first().map_or(Ok(()), |stranger| Err(stranger_refused(stranger, root)))
    }
}

fn stranger_refused(stranger: &Oid, root: &Oid) -> Refusal {
    let detail = format!("it begins a history that does not come from {root}, where trust begins");
    Refusal::new(Code::NotDescendant, detail).of(stranger)
}

/// Whether `ancestor` is among the ancestors of `commit`, or is that commit.
///
/// # Errors
/// A commit on the way cannot be read, or there are too many.
pub fn descends(objects: &dyn Objects, commit: &Oid, ancestor: &Oid) -> Result<bool, Refusal> {
    descends_in(&Proven::new(objects), commit, ancestor)
}

pub(super) fn descends_in(objects: &Proven<'_>, commit: &Oid, ancestor: &Oid) -> Result<bool, Refusal> {
    let mut seen = HashSet::from([*commit]);
    let mut left = vec![*commit];
    while let Some(id) = left.pop() {
        if id == *ancestor {
            return Ok(true);
        }
        left.extend(objects.commit(&id)?.parents.iter().filter(|parent| seen.insert(**parent)));
        if seen.len() > MAX_COMMITS {
            return Err(Refusal::new(Code::TooLong, format!("it has more than {MAX_COMMITS} commits")).of(commit));
        }
    }
    Ok(false)
}
