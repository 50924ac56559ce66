// SPDX-License-Identifier: Apache-2.0
//! Which commits are new to this host, each after its parents. Decides by ancestry alone; signatures come later.

use std::collections::HashSet;

use crate::model::git::{ObjectType, Oid};

use super::commit::{self, Commit};
use super::objects::Proven;
use super::refusal::{Code, Refusal};

/// The longest history that is walked.
const MAX_COMMITS: usize = 200_000;

/// Returns every commit that must be proven before `tip` counts, each after its parents.
///
/// Without a pin that is the history from `root`, which comes first, to `tip`. With one it is all that `tip` reaches and `pin` does
/// not: what `pin` reaches was proven before `pin` was accepted.
pub(super) fn unproven(objects: Proven<'_>, root: &Oid, pin: Option<&Oid>, tip: &Oid) -> Result<Vec<Oid>, Refusal> {
    let Some(pin) = pin else {
        let history = Reach::of(objects, tip, &[root])?;
        history.must_end_at(root)?;
        return Ok([*root].into_iter().chain(history.order).collect());
    };
    let mut news = Reach::of(objects, tip, &[pin, root])?;
    if !news.met.contains(pin) {
        let past = Reach::of(objects, pin, &[root])?;
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
    // A branch that forked before the pin leads past it. What it shares with the pin's own past is proven.
    if news.met.contains(root) && pin != root {
        let past = Reach::of(objects, pin, &[root])?;
        past.must_end_at(root)?;
        let proven: HashSet<_> = past.order.into_iter().collect();
        news.order.retain(|commit| !proven.contains(commit));
    }
    Ok(news.order)
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
    fn of(objects: Proven<'_>, from: &Oid, stops: &[&Oid]) -> Result<Self, Refusal> {
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
                    let mut parents = parents(objects, &id)?;
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

fn parents(objects: Proven<'_>, id: &Oid) -> Result<Vec<Oid>, Refusal> {
    let parse = || {
        let data = objects.read(id, ObjectType::Commit, commit::MAX_BYTES)?;
        Ok(Commit::parse(&data, id.kind())?.parents)
    };
    parse().map_err(|refusal: Refusal| refusal.of(id))
}
