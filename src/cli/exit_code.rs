// SPDX-License-Identifier: Apache-2.0
//! The exit codes, the same for every command.

use crate::engine::desired::Hindrance;
use crate::engine::guard;
use crate::engine::status::{Health, Status};
use crate::trust::Code;

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
    Held = 6,
}

/// The table at the end of `--help`.
pub const TABLE: &str = "\
Exit codes:
  0  done, or nothing to do
  1  a step failed, or the remote or the host cannot be read
  2  the command line or the configuration is wrong
  3  changes are pending (plan)
  4  refused by trust: the last good state stays enforced
  5  the infra repo is unsound: the last good state stays enforced
  6  held: by a pause, maintenance, the rollout or a guard, or the commit was put back";

impl Exit {
    /// Returns how a command ends whose cycle came to this.
    pub fn of_status(status: &Status) -> Self {
        let hindrance = status.problems.iter().filter(|trouble| trouble.object.is_none()).map(|trouble| &*trouble.code);
        let word = |code: &str| match code {
            "unsound" => Some(Self::Unsound),
            "revocations-unreadable" | "pin-conflict" | "clock-suspect" => Some(Self::Refused),
            code if Code::ALL.iter().any(|known| known.as_str() == code) => Some(Self::Refused),
            "fetch-failed" | "facts-unreadable" => Some(Self::Failed),
            "held" => Some(Self::Held),
            code if guard::CODES.contains(&code) => Some(Self::Held),
            _ => None,
        };
        match status.health {
            Health::Converged => Self::Done,
            Health::Held => Self::Held,
            // Without a commit nothing was tried, so the hindrance is all there is.
            Health::Failing if status.commit.is_some() => Self::Failed,
            Health::Failing | Health::LastGood => hindrance.filter_map(word).next().unwrap_or(Self::Failed),
        }
    }

    pub fn of_hindrance(hindrance: &Hindrance) -> Self {
        match hindrance {
            Hindrance::Fetch(_) | Hindrance::Facts(_) => Self::Failed,
            Hindrance::NoLastGood { tip, .. } => Self::of_hindrance(tip),
            Hindrance::Refused(_)
            | Hindrance::Revocations(_)
            | Hindrance::PinConflict(_)
            | Hindrance::ClockSuspect { .. } => Self::Refused,
            Hindrance::Unsound { .. } => Self::Unsound,
            Hindrance::Rollout(_) | Hindrance::Held(_) | Hindrance::Guard { .. } => Self::Held,
        }
    }
}
