// SPDX-License-Identifier: Apache-2.0
//! What the steward, which has no network, has the courier try.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// No attempt takes longer, whatever is asked for.
pub const LONGEST: Duration = Duration::from_secs(60);

/// One attempt to reach a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub what: Trial,
    /// How long it may take, in milliseconds; [`LONGEST`] at the most.
    pub time: u64,
}

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trial {
    /// To connect to `HOST:PORT`.
    Tcp {
        address: String,
        /// What the other side must say first, such as `SSH-2.0-`.
        banner: Option<String>,
    },
    /// To get an answer with this status from a web server.
    Http { url: String, status: u16 },
}

/// Why the service was not reached, or did not answer as it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

impl Probe {
    /// Returns how long it may take.
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.time).min(LONGEST)
    }
}
