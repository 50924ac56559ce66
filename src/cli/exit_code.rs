// SPDX-License-Identifier: Apache-2.0
//! The exit codes, the same for every command.

use crate::engine::desired::Hindrance;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Pending = 3,
    Refused = 4,
    Unsound = 5,
}

/// The table at the end of `--help`.
pub const TABLE: &str = "\
Exit codes:
  0  done, or nothing to do
  1  a step failed, or the remote or the host cannot be read
  2  the command line or the configuration is wrong
  3  changes are pending (plan)
  4  refused by trust: the last good state stays enforced
  5  the infra repo is unsound: the last good state stays enforced";

impl Exit {
    pub fn of_hindrance(hindrance: &Hindrance) -> Self {
        match hindrance {
            Hindrance::Fetch(_) | Hindrance::Facts(_) => Self::Failed,
            Hindrance::NoLastGood { tip, .. } => Self::of_hindrance(tip),
            Hindrance::Refused(_)
            | Hindrance::Revocations(_)
            | Hindrance::PinConflict(_)
            | Hindrance::ClockSuspect { .. } => Self::Refused,
            Hindrance::Unsound { .. } => Self::Unsound,
        }
    }
}
