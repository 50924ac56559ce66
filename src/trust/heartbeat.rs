// SPDX-License-Identifier: Apache-2.0
//! The heartbeat: a commit that says, signed by a key that may say nothing else, up to when the ref is known.

/// The ref on which heartbeats are.
pub const HEARTBEAT_REF: &str = "refs/hostwrit/heartbeat";
