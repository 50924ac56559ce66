// SPDX-License-Identifier: Apache-2.0
//! All hosts of a fleet, as a Prometheus knows them. hostwrit has no server of its own to ask.

mod gather;
pub mod prometheus;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

pub use gather::{Question, of_prometheus};

/// Version of the JSON that `hostwrit fleet --json` prints.
pub const FORMAT: u32 = 1;

/// What `hostwrit fleet --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Fleet {
    /// Version of this format: 1.
    pub format: u32,
    /// By fleet and name.
    pub hosts: Vec<Host>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "FleetHost")]
pub struct Host {
    pub fleet: String,
    /// Its name in the infra repo.
    pub host: String,
    /// Where Prometheus asks; null for a host that it does not know.
    pub instance: Option<String>,
    pub state: State,
    /// The commit that is enforced.
    pub commit: Option<String>,
    /// The version of hostwrit that runs.
    pub version: Option<String>,
    /// Seconds since its daemon last pulled, by the clock of Prometheus.
    pub age: Option<u64>,
    /// Seconds since the host last agreed with the remote's tip.
    pub success_age: Option<u64>,
    /// Number of problems, by code.
    pub problems: BTreeMap<String, u64>,
    /// Number of findings, by code: what was found around what is declared.
    pub findings: BTreeMap<String, u64>,
    /// Whether one of the problems is that the remote's tip does not count.
    pub refuses: bool,
    /// What holds changes back.
    pub held: Vec<String>,
    pub reboot_needed: bool,
    /// Packages that wait for a security update; null where that is not known.
    pub security_updates: Option<u64>,
    /// Other machines tell of themselves under the same name.
    pub is_doubled: bool,
}

/// What a host has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It agrees with the remote's tip.
    Converged,
    /// It agrees with the last good commit and does not follow the remote.
    LastGood,
    /// Changes are held back.
    Held,
    /// Some step failed, or it could not be observed.
    Failing,
    /// Its daemon has not pulled for long.
    Silent,
    /// It told of itself within the last day and does not any more.
    Gone,
    /// It is in the infra repo, and Prometheus does not know it.
    Missing,
    /// It tells of a state that this version does not know.
    Unknown,
}

impl State {
    /// Returns the word that is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::LastGood => "last-good",
            Self::Held => "held",
            Self::Failing => "failing",
            Self::Silent => "silent",
            Self::Gone => "gone",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

impl Host {
    /// Returns the host of a name of which nothing is known yet.
    pub fn named(fleet: &str, host: &str, state: State) -> Self {
        Self {
            fleet: fleet.to_owned(),
            host: host.to_owned(),
            instance: None,
            state,
            commit: None,
            version: None,
            age: None,
            success_age: None,
            problems: BTreeMap::new(),
            findings: BTreeMap::new(),
            refuses: false,
            held: Vec::new(),
            reboot_needed: false,
            security_updates: None,
            is_doubled: false,
        }
    }
}

impl Fleet {
    /// Adds the hosts of an infra repo that are not here.
    pub fn demand<'h>(&mut self, fleet: &str, hosts: impl IntoIterator<Item = &'h str>) {
        for host in hosts {
            if !self.hosts.iter().any(|known| known.fleet == fleet && known.host == host) {
                self.hosts.push(Host::named(fleet, host, State::Missing));
            }
        }
        self.sort();
    }

    fn sort(&mut self) {
        self.hosts.sort_by(|a, b| (&a.fleet, &a.host, &a.instance).cmp(&(&b.fleet, &b.host, &b.instance)));
    }
}
