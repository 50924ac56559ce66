// SPDX-License-Identifier: Apache-2.0
//! Which of two commits is the later one. Decides by ancestry alone, from objects that it hashed itself.

use std::collections::HashSet;

use crate::model::git::{Objects, Oid};

use super::objects::Proven;
use super::refusal::{Code, Refusal};

/// The most commits that are looked at.
const MAX_COMMITS: usize = 200_000;

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
