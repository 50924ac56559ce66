// SPDX-License-Identifier: Apache-2.0
//! Gets objects from Git as bytes; knows nothing of trust or of resources.
//!
//! A [`Mirror`] is a bare store: nothing is ever checked out, and it believes nothing that it fetches.

mod fetch;
mod leftovers;
mod mirror;

#[cfg(test)]
mod tests;

pub use crate::model::git::{ObjectError, Objects, Oid, RawObject};
pub use fetch::{Cause, FetchError, Fetched, redact};
pub use gix::hash::Kind as HashKind;
pub use mirror::{Limits, Mirror, MirrorError};
