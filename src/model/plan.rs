// SPDX-License-Identifier: Apache-2.0
//! The ordered difference between desired and observed.

use std::fmt;

use serde::Serialize;

use super::ownership::OwnershipChange;
use super::{Location, ObjectId};

/// What a step does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Add,
    Alter,
    Remove,
}

impl Action {
    /// Returns the sign that `plan` shows before the object.
    pub fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Alter => '~',
            Self::Remove => '-',
        }
    }
}

/// One change, so complete that carrying it out decides nothing.
#[derive(Clone, Debug)]
pub struct Step<O> {
    pub object: ObjectId,
    pub action: Action,
    /// What differs, field by field; what people and programs are shown.
    pub changes: Vec<Change>,
    /// Where the repo asks for it; `None` where the object left the repo.
    pub origin: Option<Location>,
    pub ownership: OwnershipChange,
    /// All that the kind needs in order to carry the step out.
    pub operation: O,
}

impl<O> Step<O> {
    /// Returns the same step for another type of operation.
    pub fn map<P>(self, wrap: impl FnOnce(O) -> P) -> Step<P> {
        Step {
            object: self.object,
            action: self.action,
            changes: self.changes,
            origin: self.origin,
            ownership: self.ownership,
            operation: wrap(self.operation),
        }
    }
}

/// One field that a step changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Change {
    /// The field's key in the repo.
    pub field: String,
    pub from: Shown,
    pub to: Shown,
    /// Where the repo sets the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Location>,
    /// A unified diff, where both sides are text that everybody on the host may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

impl Change {
    pub fn new(field: &str, from: Shown, to: Shown, origin: Option<&Location>) -> Self {
        Self { field: field.to_owned(), from, to, origin: origin.cloned(), diff: None }
    }

    /// A change of a value that is secret: that it changes is all that is shown.
    pub fn secret(field: &str, origin: Option<&Location>) -> Self {
        Self::new(field, Shown::Secret, Shown::Secret, origin)
    }
}

/// A value as people and programs are shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shown {
    /// There is no value.
    Nothing,
    Text(String),
    /// There may be a value, and it is not shown.
    Secret,
}

impl Shown {
    pub fn text(value: impl fmt::Display) -> Self {
        Self::Text(value.to_string())
    }

    /// Shows a list on one line, or that it is empty.
    pub fn list<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> Self {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        if values.is_empty() { Self::Text("none".to_owned()) } else { Self::Text(values.join(", ")) }
    }
}

impl<T: fmt::Display> From<Option<T>> for Shown {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Self::text)
    }
}
