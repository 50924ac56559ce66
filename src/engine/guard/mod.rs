// SPDX-License-Identifier: Apache-2.0
//! Looks at a finished plan and may refuse it. What is refused is not begun.

pub mod lockout;

/// Why a plan is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// A stable word, such as `too-many-removals`.
    pub code: &'static str,
    /// What is wrong with the plan, and what would make it right.
    pub message: String,
}
