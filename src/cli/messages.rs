// SPDX-License-Identifier: Apache-2.0
//! The messages of the processes that run on their own.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::journal::Journal;

/// Sends messages to the journal if stderr leads there, else to stderr; as many as `HOSTWRIT_LOG` wants.
pub fn start() {
    let filter = EnvFilter::try_from_env("HOSTWRIT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    if let Some(journal) = Journal::of_stderr() {
        return tracing_subscriber::registry().with(filter).with(journal).init();
    }
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_env_filter(filter)
        .init();
}
