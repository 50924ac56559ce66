// SPDX-License-Identifier: Apache-2.0
//! The messages of the processes that run on their own.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::journal::Journal;

/// Sends messages to the journal if stderr leads there, else to stderr; as many as `HOSTWRIT_LOG` wants.
pub fn start() {
    // A word for all, and no pattern: what compiles patterns would stay in memory.
    let wanted = std::env::var("HOSTWRIT_LOG").ok().and_then(|word| word.parse().ok());
    let level = wanted.unwrap_or(LevelFilter::INFO);
    if let Some(journal) = Journal::of_stderr() {
        return tracing_subscriber::registry().with(level).with(journal).init();
    }
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_max_level(level)
        .init();
}
