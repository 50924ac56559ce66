// SPDX-License-Identifier: Apache-2.0
//! Which objects hostwrit made, and so may remove.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ObjectId;

/// What hostwrit made, by object.
///
/// An object enters before it is made and leaves only when its removal is confirmed; else a crash between the two
/// would leave something on the host that nobody remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owned(BTreeMap<ObjectId, Parts>);

/// The parts of one object that hostwrit made: [`WHOLE`] for the object itself, else names that only the kind knows,
/// such as a drop-in of a unit that a package brought.
pub type Parts = BTreeSet<String>;

/// The part that stands for the object itself.
pub const WHOLE: &str = "whole";

/// What a step, carried out, changes in the record of ownership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnershipChange {
    pub claims: Parts,
    pub gives_up: Parts,
}

impl OwnershipChange {
    /// The object itself is made by this step.
    pub fn claim_whole() -> Self {
        Self { claims: [WHOLE.to_owned()].into(), gives_up: Parts::new() }
    }
}

impl Owned {
    /// Whether hostwrit made the object itself.
    pub fn is_whole(&self, object: &ObjectId) -> bool {
        self.has(object, WHOLE)
    }

    /// Whether hostwrit made this part of the object.
    pub fn has(&self, object: &ObjectId, part: &str) -> bool {
        self.0.get(object).is_some_and(|parts| parts.contains(part))
    }

    /// Returns the parts of `object` that hostwrit made.
    pub fn parts(&self, object: &ObjectId) -> impl Iterator<Item = &str> {
        self.0.get(object).into_iter().flatten().map(String::as_str)
    }

    /// Returns all objects of `kind` of which hostwrit made at least a part.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a ObjectId> {
        self.0.keys().filter(move |object| object.kind() == kind)
    }

    /// Returns the record of these objects alone.
    pub fn only(&self, objects: &BTreeSet<ObjectId>) -> Self {
        let parts = |object: &ObjectId| Some((object.clone(), self.0.get(object)?.clone()));
        Self(objects.iter().filter_map(parts).collect())
    }

    /// Returns every object of which hostwrit made at least a part.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectId> {
        self.0.keys()
    }

    /// Enters what a step is about to make. Call before the step, and make it durable.
    pub fn claim(&mut self, object: &ObjectId, change: &OwnershipChange) {
        if !change.claims.is_empty() {
            self.0.entry(object.clone()).or_default().extend(change.claims.iter().cloned());
        }
    }

    /// Forgets what a step has removed. Call after the step succeeded.
    pub fn give_up(&mut self, object: &ObjectId, change: &OwnershipChange) {
        if let Some(parts) = self.0.get_mut(object) {
            parts.retain(|part| !change.gives_up.contains(part));
            if parts.is_empty() {
                self.0.remove(object);
            }
        }
    }

    /// Forgets the object with all its parts.
    pub fn forget(&mut self, object: &ObjectId) {
        self.0.remove(object);
    }
}
