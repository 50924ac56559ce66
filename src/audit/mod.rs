// SPDX-License-Identifier: Apache-2.0
//! The log of what was done: an intent is on disk before a change, and an outcome after it.
//!
//! One JSON object a line, each holding the SHA-256 of the line before it, appended and never rewritten:
//! `docs/reference/audit-log.md` is the format. [`verify`] proves a log intact and shares no code with the writer.

#[cfg(test)]
mod tests;

pub mod entry;
pub mod log;
pub mod verify;

pub use entry::{Entry, Event, OutcomeResult};
pub use log::{AuditError, Head, Log};

/// Where the log lives on the host.
pub const LOG: &str = "/var/log/hostwrit/audit/log.jsonl";
