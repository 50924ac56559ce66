// SPDX-License-Identifier: Apache-2.0
//! The words of the domain, true of every kind of object: no I/O, no clock, no randomness.

pub mod actor;
pub mod desired;
pub mod digest;
pub mod effect;
pub mod fault;
pub mod files;
pub mod git;
mod limits;
pub mod maintenance;
pub mod object;
pub mod origin;
pub mod ownership;
pub mod plan;
pub mod record;
pub mod secret;

pub use actor::Actor;
pub use desired::{Declared, Mode};
pub use digest::Digest;
pub use effect::HostState;
pub use fault::{Fault, Faults, chain};
pub use files::RepoFiles;
pub use limits::Limits;
pub use maintenance::Maintenance;
pub use object::ObjectId;
pub use origin::{Location, Origin};
pub use ownership::Owned;
pub use plan::{Action, Change, Shown, Step};
pub use record::Record;
pub use secret::Secret;
