// SPDX-License-Identifier: Apache-2.0
//! How much one run may take away from a host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one run may do at the most, unless the commit itself says that more is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// How many objects one run may remove from one host. Default: 10.
    #[serde(default = "removals")]
    pub removals: u64,
}

/// A commit that means to remove something names a few objects; one that loses a profile loses dozens.
fn removals() -> u64 {
    10
}

impl Default for Limits {
    fn default() -> Self {
        Self { removals: removals() }
    }
}
