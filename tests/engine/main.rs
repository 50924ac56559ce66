// SPDX-License-Identifier: Apache-2.0
//! What must hold when something goes wrong: a write fails, the process dies, the remote lies or is gone, state or log
//! are damaged.
#![allow(clippy::disallowed_methods)]

#[path = "../fixture/mod.rs"]
mod fixture;
#[path = "../host/hostile_server.rs"]
#[allow(dead_code, clippy::print_stdout, reason = "the scenarios on hosts start it as a process")]
mod hostile_server;
#[path = "../site/mod.rs"]
mod site;

mod announce;
mod blind;
mod concurrency;
mod confirm;
mod courier;
mod credentials;
mod drift;
mod faults;
mod faulty_host;
mod findings;
mod freshness;
mod hold;
mod hostile_remote;
mod limits;
mod maintenance;
mod memory;
mod orders;
mod pause;
mod pins;
mod poll_hint;
mod remote;
mod renewals;
mod repair;
mod reports;
mod rollout;
mod soak;
mod tick;
