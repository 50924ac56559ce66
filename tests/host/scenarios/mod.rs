// SPDX-License-Identifier: Apache-2.0
//! All scenarios. Each makes its own hosts and can run alone.

use crate::lab::Lab;

mod harness;

/// One story about hosts, told by a function that panics where the story goes wrong.
pub struct Scenario {
    /// What is claimed; the filter on the command line looks in it.
    pub name: &'static str,
    pub run: fn(&Lab<'_>),
}

/// The longest first, so that none of them is left for the end.
pub const ALL: &[Scenario] = &[
    Scenario { name: "harness-boots-and-reboots", run: harness::boots_and_reboots },
    Scenario { name: "harness-joins-hosts", run: harness::joins_hosts },
    Scenario { name: "harness-serves-git", run: harness::serves_git },
];
