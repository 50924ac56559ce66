// SPDX-License-Identifier: Apache-2.0
//! Judges commits as a host would, for people who want to know before, or again.

use std::collections::HashSet;
use std::time::SystemTime;

use crate::model::git::{Objects, Oid};
use crate::trust::{self, Anchor, Cache, Compile, Decision, Refusal, Signature, authenticate, authorize};

/// What was found good.
#[derive(Debug, Default)]
pub struct Good {
    /// Oldest first.
    pub signatures: Vec<Signature>,
    pub decisions: Vec<Decision>,
}

/// What is judged: all that `tip` reaches and `base` does not; without a base, all since the anchor's root.
#[derive(Clone, Copy)]
pub struct Range<'a> {
    pub anchor: &'a Anchor,
    pub base: Option<&'a Oid>,
    pub tip: &'a Oid,
}

impl Range<'_> {
    /// Judges every commit of the range, from scratch.
    ///
    /// # Errors
    /// The first thing that a host would refuse.
    pub fn judge(self, objects: &dyn Objects, now: SystemTime, compile: &mut dyn Compile) -> Result<Good, Refusal> {
        let tree = authenticate(objects, self.anchor, self.base, self.tip, now, &mut Cache::default())?;
        let authorized = authorize(&tree, (), compile)?;
        Ok(Good { signatures: authorized.signers().to_vec(), decisions: authorized.decisions().to_vec() })
    }

    /// Returns what is good in spite of a refusal: up to the last commit of the ref that does not build on the refused one.
    pub fn judge_before(
        self,
        refused: &Oid,
        objects: &dyn Objects,
        now: SystemTime,
        compile: &mut dyn Compile,
    ) -> Good {
        let Some(tip) = self.last_before(refused, objects) else { return Good::default() };
        // It was the tip once, so its key has to have been valid then and not today.
        let then = trust::claim(objects, &tip).ok().and_then(|claim| claim.created).unwrap_or(now).min(now);
        Range { tip: &tip, ..self }.judge(objects, then, compile).unwrap_or_default()
    }

    /// Returns the newest commit on the chain of first parents that does not reach `refused`.
    fn last_before(self, refused: &Oid, objects: &dyn Objects) -> Option<Oid> {
        let base = self.base.unwrap_or(&self.anchor.root);
        let mut chain = Vec::new();
        let mut next = Some(*self.tip);
        while let Some(id) = next.filter(|id| id != base) {
            next = trust::parents(objects, &id).ok()?.first().copied();
            chain.push(id);
        }
        let mut seen = HashSet::from([*base]);
        let mut last = (self.base.is_none() && base != refused).then_some(*base);
        for id in chain.into_iter().rev() {
            let mut todo = vec![id];
            while let Some(next) = todo.pop() {
                if next == *refused {
                    return last;
                }
                if seen.insert(next) {
                    todo.extend(trust::parents(objects, &next).ok()?);
                }
            }
            last = Some(id);
        }
        last
    }
}
