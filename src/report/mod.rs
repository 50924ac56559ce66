// SPDX-License-Identifier: Apache-2.0
//! Reports to other systems: what to tell ([`entry`]), where it waits ([`spool`]), in whose words ([`sink`]), and getting
//! it there ([`ship`]).
//!
//! The courier runs this. A [`Spool::push`] is on disk when it returns and never waits for the network; the
//! [`Shipper`] sends what waits and forgets it only when the receiver has answered for it, so that an entry arrives at
//! least once, or is counted as lost or refused. Each sink goes at its own pace.

#![allow(clippy::disallowed_methods, reason = "the courier's spool is its own; nothing of the managed host is touched")]

pub mod client;
pub mod config;
pub mod entry;
mod files;
mod repeats;
pub mod ship;
pub mod sink;
pub mod spool;
#[cfg(test)]
mod tests;

pub use config::{Outlet, ReportSpec};
pub use entry::{Entry, Kind, Sent, Severity};
pub use ship::{Shipped, Shipper};
pub use spool::{Caps, Spool, SpoolError};
