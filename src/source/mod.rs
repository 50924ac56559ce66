// SPDX-License-Identifier: Apache-2.0
//! Gets objects from Git as bytes; knows nothing of trust or of resources.
//!
//! A [`Mirror`] is a bare store: nothing is ever checked out, and it believes nothing that it fetches. The steward has
//! none: it asks a [`Courier`], a process without rights that has one (docs/decisions/0016-two-processes.md).

mod access;
mod advertisement;
mod courier;
mod exchange;
mod fetch;
mod http;
mod kept;
mod leftovers;
mod mirror;
mod probe;
mod ssh;
pub mod wire;

use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

pub use crate::model::git::{ObjectError, Objects, Oid, RawObject};
pub use access::Access;
pub use advertisement::Advertised;
pub use courier::{
    CREDENTIALS, CREDENTIALS_VARIABLE, Courier, CourierError, DIRECTORY as COURIER_DIRECTORY, HandOverError, SOCKET,
};
pub use fetch::{Cause, FetchError, Fetched, Place, RemoteKind, place, redact};
pub use gix::hash::Kind as HashKind;
pub use kept::{Kept, Recorder};
pub use mirror::{Limits, Mirror, MirrorError};
pub use probe::{LONGEST as LONGEST_PROBE, NoAnswer, Probe, Trial};

/// Where a remote is, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// A path, or an https, http, ssh or git URL.
    pub remote: String,
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// A second ref, fetched in the same exchange where the remote has it.
    pub beside: Option<String>,
    /// Where it is told that there is something new, if that is told.
    pub hint: Option<String>,
    /// How long the hint is believed, in seconds.
    pub max_quiet: u64,
    /// What it may cost.
    pub limits: Limits,
}

/// A store that can ask a remote for more.
pub trait Source: Objects {
    /// Fetches what is asked for and returns the ids that the remote has there. Ends soon after `stop` was set.
    ///
    /// # Errors
    /// The remote cannot be reached, lacks the ref, or broke a limit. What was there before is still there.
    fn fetch(&self, ask: &Ask, stop: &AtomicBool) -> Result<Fetched, FetchError>;

    /// Asks a Prometheus for the one number that a query has for an answer. The number is a claim.
    ///
    /// # Errors
    /// It does not answer, or not with one number.
    fn number(&self, query: &Query, stop: &AtomicBool) -> Result<f64, NoNumber> {
        let _ = (query, stop);
        Err(NoNumber("a mirror can ask nobody but its remote".to_owned()))
    }

    /// Tries once whether a service answers. That it does is a claim.
    ///
    /// # Errors
    /// It does not, or not as it should.
    fn probe(&self, probe: &Probe, stop: &AtomicBool) -> Result<(), NoAnswer> {
        let _ = (probe, stop);
        Err(NoAnswer("a mirror can ask nobody but its remote".to_owned()))
    }
}

/// A question for a Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// The address of the Prometheus.
    pub url: String,
    /// A PromQL expression.
    pub query: String,
}

/// Why there is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoNumber(pub String);

impl Source for Mirror {
    fn fetch(&self, ask: &Ask, stop: &AtomicBool) -> Result<Fetched, FetchError> {
        Mirror::fetch(self, &ask.remote, &ask.git_ref, ask.beside.as_deref(), stop)
    }
}
