// SPDX-License-Identifier: Apache-2.0
//! What every declared object has, whatever its kind.

use serde::{Deserialize, Serialize};

use super::Origin;

/// Whether hostwrit changes an object or only reports on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Keep the object as declared.
    #[default]
    Enforce,
    /// Report differences, never touch the object.
    Observe,
}

/// One object of the infra repo after layering: what is wanted, how strictly, and who says so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Declared<D> {
    /// The object's natural name: a user name, a path.
    pub name: String,
    pub mode: Mode,
    /// What the object shall be; `None` stands for `absent: true`.
    pub want: Option<D>,
    pub origin: Origin,
}
