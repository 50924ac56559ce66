// SPDX-License-Identifier: Apache-2.0
//! A dead-man's switch around changes that can cut a host off.

mod accounts;
mod journal;
mod notes;
mod revert;
mod risk;
mod sockets;
#[cfg(test)]
mod tests;
