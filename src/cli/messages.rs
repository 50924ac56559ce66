// SPDX-License-Identifier: Apache-2.0
//! The messages of the processes that run on their own.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Sends messages to stderr, as many as `HOSTWRIT_LOG` wants.
pub fn to_stderr() {
    // Under systemd the journal adds the time.
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let filter = EnvFilter::try_from_env("HOSTWRIT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let format = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_env_filter(filter);
    if under_systemd { format.without_time().init() } else { format.init() }
}
