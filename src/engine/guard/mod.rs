// SPDX-License-Identifier: Apache-2.0
//! Looks at a finished plan and may refuse it. What is refused is not begun.

pub mod limits;
pub mod lockout;

use std::fmt;

use crate::host::ReadHost;
use crate::resources::Desired;
use crate::trust::Allowance;

use super::Plan;

/// The code of every objection.
pub const CODES: &[&str] = &[limits::CODE, lockout::CODE];

/// A plan, and what it is judged by.
pub struct Proposal<'p> {
    pub plan: &'p Plan,
    /// What the plan leads to.
    pub desired: &'p Desired,
    pub host: &'p dyn ReadHost,
    /// How many removals the commit itself allows.
    pub allowance: &'p Allowance,
    /// It undoes what a commit did that is held now, or an order asks for it: how much goes is no reason to refuse it.
    pub is_way_back: bool,
}

/// Why a plan is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// A stable word: one of [`CODES`].
    pub code: &'static str,
    /// What is wrong with the plan, and what would make it right.
    pub message: String,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Objection {}

/// Asks each guard.
///
/// # Errors
/// The first objection.
pub fn judge(proposal: &Proposal<'_>) -> Result<(), Objection> {
    limits::judge(proposal)?;
    lockout::judge(proposal)
}
