// SPDX-License-Identifier: Apache-2.0
//! `fetch` in the configuration: what a remote may cost this host.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::source::Limits;

const MIB: u64 = 1024 * 1024;
/// A fetch that brings more is none of an infra repo.
const MOST_MIB: u64 = 64 * 1024;

/// What a fetch may cost this host.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FetchSection {
    /// How long a fetch may take, such as 5m. Default: 5m.
    pub(super) timeout: String,
    /// How many MiB a fetch may bring; the mirror takes twice that at the most. Default: 256.
    max_mib: u64,
}

impl Default for FetchSection {
    fn default() -> Self {
        Self { timeout: "5m".to_owned(), max_mib: Limits::default().pack_bytes / MIB }
    }
}

impl FetchSection {
    /// Returns the limits; `time` is what `timeout` says.
    pub(super) fn limits(&self, time: Duration, fault: &mut dyn FnMut(String, &str)) -> Limits {
        if time < Duration::from_secs(1) && humantime::parse_duration(&self.timeout).is_ok() {
            fault(format!("fetch.timeout: {} is too short", self.timeout), "write 1s at the least");
        }
        if !(1..=MOST_MIB).contains(&self.max_mib) {
            fault(format!("fetch.max_mib: {} is out of range", self.max_mib), "write a number from 1 to 65536");
        }
        Limits { time, pack_bytes: self.max_mib.saturating_mul(MIB), ..Limits::default() }
    }
}
