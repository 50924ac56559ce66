// SPDX-License-Identifier: Apache-2.0
//! Checks: what must answer after an apply, or the commit goes back.
//!
//! They are objects, for layers and rights go by objects, and have no steps: nothing on the host makes a check right. The
//! engine runs them (`engine/checks.rs`).

mod resolve;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{ReadHost, WriteHost};
use crate::model::{Declared, Faults, Origin, Owned, Step};

use super::digest::{Digestible, Sum, digest_every_field};
use super::{ApplyError, Contents, Interests, ObserveError, Resource};

/// A check.
pub enum Check {}

/// A check as the repo writes it: one of `http`, `tcp`, `unix` and `command`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// A web server must answer at this URL, with `status`. The courier asks; no redirect is followed.
    pub http: Option<String>,
    /// The status that is wanted of `http`. Default: 200.
    pub status: Option<u32>,
    /// HOST:PORT can be connected to. The courier tries.
    pub tcp: Option<String>,
    /// The unix stream socket of this path can be connected to.
    pub unix: Option<String>,
    /// A program and its arguments, run as root, must end with 0.
    pub command: Option<Vec<String>>,
    /// How long one attempt may take, up to 1m. Default: 5s.
    pub timeout: Option<String>,
    /// How often it is tried again before the check has failed, up to 60. Default: 5.
    pub retries: Option<u32>,
    /// How long it is waited before it is tried again, up to 1m. Default: 2s.
    pub every: Option<String>,
}

/// A check as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// `None` where the repo does not say, which is a fault of a check that shall be there.
    pub way: Option<Way>,
    pub timeout: Duration,
    pub retries: u32,
    pub every: Duration,
}

digest_every_field!(Desired { way, timeout, retries, every });

/// How a check is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Http {
        url: String,
        status: u32,
    },
    /// `HOST:PORT`.
    Tcp(String),
    Unix(PathBuf),
    /// A program and its arguments.
    Command(Vec<String>),
}

impl Digestible for Way {
    fn add_to(&self, sum: &mut Sum) {
        match self {
            Self::Http { url, status } => {
                sum.variant(0);
                url.add_to(sum);
                status.add_to(sum);
            }
            Self::Tcp(address) => {
                sum.variant(1);
                address.add_to(sum);
            }
            Self::Unix(path) => {
                sum.variant(2);
                path.add_to(sum);
            }
            Self::Command(command) => {
                sum.variant(3);
                command.add_to(sum);
            }
        }
    }
}

/// There is nothing that could be done to a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {}

impl Resource for Check {
    const KIND: &'static str = "check";
    const KEY: &'static str = "checks";
    type Spec = Spec;
    type Desired = Desired;
    type Observed = ();
    type Operation = Operation;

    fn resolve(name: &str, spec: Spec, origin: &Origin, _: &dyn Contents) -> Result<Desired, Faults> {
        resolve::resolve(name, spec, origin)
    }

    fn observe(_: &[Declared<Desired>], _: &Owned, _: &dyn ReadHost) -> Result<(), ObserveError> {
        Ok(())
    }

    fn diff(_: &[Declared<Desired>], (): &(), _: &Owned) -> Vec<Step<Operation>> {
        Vec::new()
    }

    fn apply(operation: &Operation, _: &dyn WriteHost) -> Result<(), ApplyError> {
        match *operation {}
    }

    fn interests(_: &[Declared<Desired>], _: &Owned, _: &dyn ReadHost, _: &mut Interests) -> Result<(), ObserveError> {
        Ok(())
    }
}
