// SPDX-License-Identifier: Apache-2.0
//! hostwrit makes a signed Git repository the standing order for a Linux host.
//!
//! The folders are the way that data takes:
//!
//! ```text
//! remote Git ─► source ──► trust ─────────► manifest ──► trust ───────► engine ─────────► host
//!              objects    authenticate:    compile:     authorize:     observe, diff,     steps carried
//!              by hash    who signed       desired      may they       plan, apply        out, read back
//!                                          state        change this?                  ──► audit
//! ```
//!
//! | module | what lives there |
//! |---|---|
//! | [`model`] | the words that all others share; no I/O |
//! | [`yaml`] | text to values that know their place; the only module that knows the YAML library |
//! | [`source`] | Git objects as bytes, by id; believes nothing |
//! | [`trust`] | who signed, and may they? No I/O |
//! | [`manifest`] | an authentic tree to desired state, or every fault in it |
//! | [`resources`] | the kinds: observe, diff, apply |
//! | [`report`] | what other systems are told, and getting it there |
//! | [`audit`] | the log: intent before, outcome after |
//! | [`control`] | how people on the host speak with the daemon |
//! | [`metrics`] | what a monitoring system is told of this host |
//! | [`engine`] | one cycle, and when to run it |
//! | [`courier`] | the process that talks to the network |
//! | [`host`] | the only door to files, commands, accounts, units and the clock |
//! | [`doctor`] | what keeps this host from being kept, and what to do |
//! | [`fleet`] | what a Prometheus knows of all hosts |
//! | [`memory`] | what both processes give back to the system |
//! | [`web`] | what all who speak HTTP have in common |
//! | [`cli`] | the commands |
//!
//! `tests/architecture.rs` fails when an import points the wrong way.

// No input may make the program panic; tests may, and the doors for fuzzing shall.
#![cfg_attr(
    not(any(test, fuzzing)),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unimplemented)
)]

pub mod audit;
pub mod cli;
pub mod control;
pub mod courier;
pub mod doctor;
pub mod engine;
pub mod fleet;
pub mod host;
pub mod manifest;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod report;
pub mod resources;
pub mod source;
pub mod trust;
pub mod web;
pub mod yaml;
