// SPDX-License-Identifier: Apache-2.0
//! Which of two commits is the later one. Decides by ancestry alone, from objects that it hashed itself.

use std::collections::HashSet;

use crate::model::git::{ObjectType, Objects, Oid};

use super::commit::{self, Commit};
use super::objects::Proven;
use super::refusal::{Code, Refusal};

/// The most commits that are looked at.
const MAX_COMMITS: usize = 200_000;

/// Whether `ancestor` is among the ancestors of `commit`, or is that commit.
///
/// # Errors
/// A commit on the way cannot be read, or there are too many.
pub fn descends(objects: &dyn Objects, commit: &Oid, ancestor: &Oid) -> Result<bool, Refusal> {
    let objects = Proven::new(objects);
    let mut seen = HashSet::from([*commit]);
    let mut left = vec![*commit];
    while let Some(id) = left.pop() {
        if id == *ancestor {
            return Ok(true);
        }
        let parents = || {
            let data = objects.read(&id, ObjectType::Commit, commit::MAX_BYTES)?;
            Ok(Commit::parse(&data, id.kind())?.parents)
        };
        let parents = parents().map_err(|refusal: Refusal| refusal.of(&id))?;
        left.extend(parents.into_iter().filter(|parent| seen.insert(*parent)));
        if seen.len() > MAX_COMMITS {
            return Err(Refusal::new(Code::TooLong, format!("it has more than {MAX_COMMITS} commits")).of(commit));
        }
    }
    Ok(false)
}
