// SPDX-License-Identifier: Apache-2.0
//! One reconciliation ([`cycle`]), and when to run it ([`daemon`]).

pub mod agreement;
pub mod alarm;
pub mod announce;
pub mod apply;
pub mod checks;
mod claims;
pub mod config;
pub mod confirm;
pub mod cycle;
pub mod daemon;
pub mod demands;
pub mod desired;
pub mod drift;
pub mod enforced;
mod fetching;
pub mod fights;
pub mod freshness;
pub mod guard;
pub mod hold;
pub mod last_good;
pub mod measure;
pub mod notify;
mod orders;
pub mod pause;
pub mod pin;
pub mod plan;
mod planning;
pub mod repair;
pub mod reports;
pub mod revocations;
pub mod rollout;
pub mod schedule;
pub mod state;
pub mod status;
mod surroundings;
mod trust_cache;
pub mod watch;
mod way_in;
mod who;
pub mod why;

pub use config::Config;
pub use cycle::{Cycle, CycleError, Report};
pub use pause::Pause;
pub use plan::Plan;
pub use state::State;
