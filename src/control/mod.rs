// SPDX-License-Identifier: Apache-2.0
//! How people on the host speak with the daemon: one line of JSON each way over a socket.
//!
//! What is asked is handed to the daemon through a channel and answered through another. Nothing here knows what a cycle
//! is, and no cycle ever runs in a task of the server. `docs/reference/control.md` is the protocol.

pub mod access;
pub mod client;
pub mod protocol;
pub mod server;

pub use protocol::{Answer, Ask, Live};
pub use server::{Answers, Demand, Server};

/// Where the daemon listens.
pub const SOCKET: &str = "/run/hostwrit/control.sock";

#[cfg(test)]
mod tests;
