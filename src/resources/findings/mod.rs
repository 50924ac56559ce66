// SPDX-License-Identifier: Apache-2.0
//! What a person must know of what is declared and its surroundings: what really listens, what else filters packets, who is
//! still in, and what must be renewed.
//!
//! A finding is no difference: nothing is done about it, no step comes of it, and its host counts as converged. Each file
//! judges one family, purely, over what was read for it. What a host does not declare is not looked around, and where one look
//! fails the others count.

mod bans;
mod blocklists;
mod expiry;
mod firewalls;
mod listeners;
mod published;
mod renewals;
mod ruleset;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::host::{self, Listening, ReadHost, Tables};
use crate::model::{ObjectId, chain};

use super::accounts::Names;
use super::firewall::Ports;
use super::{Desired, ObserveError};
use ruleset::Ruleset;

pub use bans::bans;
pub use renewals::Due;

/// ufw's own file: ufw(8).
const UFW_CONF: &str = "/etc/ufw/ufw.conf";

/// The names of the tables that the kernel's old tables have rules in; there only where they can have some.
const LEGACY_TABLES: &str = "/proc/net/ip_tables_names";
const LEGACY_TABLES_6: &str = "/proc/net/ip6_tables_names";

/// Something about a host that a person must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    pub code: Code,
    /// The object concerned; for what is not declared, the object that would declare it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
    /// Where on the host, if it is not an object alone: an address, a chain of a table, a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The process concerned, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// What is so, and what would make it right.
    pub message: String,
}

/// The process that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "FoundProcess")]
pub struct Process {
    pub name: String,
    pub pid: u32,
    /// The effective user's name, or number where it has no name.
    pub user: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}, user {})", self.name, self.pid, self.user)
    }
}

/// Writes the closed set of codes once.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        /// What was found: stable words for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[schemars(rename = "FindingCode")]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $word)] $name,)+
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns the word that stands in files and output.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

codes! {
    /// A port is declared, and nobody serves it.
    NotListening = "not-listening",
    /// A process listens beyond the loopback, and no port declares it.
    UndeclaredListener = "undeclared-listener",
    /// What comes for a port is passed on to a container or another host, and no port declares it.
    PublishedPort = "published-port",
    /// Another program keeps a firewall here.
    OtherFirewall = "other-firewall",
    /// Another table drops what it does not know.
    ForeignDrop = "foreign-drop",
    /// Rules in the kernel's old tables, which nftables does not show.
    IptablesLegacy = "iptables-legacy",
    /// A list of blocked addresses is older than it may be.
    BlocklistOld = "blocklist-old",
    /// An SSH session lasts that could not be begun now.
    LiveSession = "live-session",
    /// A file must be renewed before long.
    RenewSoon = "renew-soon",
    /// A file had to be renewed, and was not.
    RenewOverdue = "renew-overdue",
    /// When a file must be renewed cannot be told.
    RenewUnknown = "renew-unknown",
    /// The host could not be looked at.
    NotLookedAt = "not-looked-at",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was found on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub findings: Vec<Finding>,
    /// When each file must have been renewed of which the repo says so, as far as it can be told.
    pub due: BTreeMap<ObjectId, Due>,
    /// When something else is found although nothing has changed but the time.
    pub turns: Option<SystemTime>,
}

impl Found {
    /// Whether all was looked at.
    pub fn is_whole(&self) -> bool {
        !self.findings.iter().any(|finding| finding.code == Code::NotLookedAt)
    }
}

/// Looks around what is declared. That some of it cannot be looked at is found as well: it keeps nothing from being done.
pub fn of(desired: &Desired, host: &dyn ReadHost) -> Found {
    let findings = around_ports(desired, host).unwrap_or_else(|error| vec![Finding::not_looked_at(&error)]);
    let mut found = Found { findings, ..Found::default() };
    if !desired.blocklists.is_empty() {
        found.findings.extend(blocklists::old(&desired.blocklists, host.now()));
    }
    let sessions =
        sessions::outlived(&desired.users, host).unwrap_or_else(|error| vec![Finding::not_looked_at(&error)]);
    found.findings.extend(sessions);
    renewals::find(&desired.files, host, &mut found);
    found
}

/// Looks at what listens and what filters, where the host declares what may be reached.
fn around_ports(desired: &Desired, host: &dyn ReadHost) -> Result<Vec<Finding>, ObserveError> {
    if desired.ports.is_empty() && desired.egress.is_empty() && desired.blocklists.is_empty() {
        return Ok(Vec::new());
    }
    let declared: Vec<Ports> =
        desired.ports.iter().filter_map(|port| Some(port.want.as_ref()?.opening.ports)).collect();
    Ok(judge(&declared, &Surroundings::read(&declared, host)?))
}

/// What was read of a host to find something.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `None` where nothing runs.
    pub listening: Option<Listening>,
    /// Processes by the inode of their socket, where they could be found.
    pub processes: BTreeMap<u64, Process>,
    /// The objects of `nft --json list ruleset`; empty where it is not known.
    pub ruleset: Vec<Value>,
    pub ufw_conf: Option<Vec<u8>>,
    /// The names of the kernel's old tables, of IPv4 and IPv6.
    pub legacy_tables: [Option<Vec<u8>>; 2],
}

impl Surroundings {
    /// Reads what is around these ports. Processes are looked for only where a socket of theirs is not declared.
    ///
    /// # Errors
    /// The host cannot be read.
    pub fn read(declared: &[Ports], host: &dyn ReadHost) -> Result<Self, ObserveError> {
        let listening = host.listening()?;
        let unknown = listening.as_ref().map(|listening| listeners::to_be_named(declared, listening));
        let processes = named(host.holders(&unknown.unwrap_or_default()), host)?;
        let legacy = |path: &str| if host.is_live() { host.read(Path::new(path)) } else { Ok(None) };
        Ok(Self {
            listening,
            processes,
            ruleset: objects(&host.ruleset(Tables::All)?)?,
            ufw_conf: host.read(Path::new(UFW_CONF))?,
            legacy_tables: [legacy(LEGACY_TABLES)?, legacy(LEGACY_TABLES_6)?],
        })
    }
}

/// Returns the objects of a ruleset: libnftables-json(5).
fn objects(ruleset: &host::Ruleset) -> Result<Vec<Value>, ObserveError> {
    #[derive(Deserialize)]
    struct Document {
        nftables: Vec<Value>,
    }
    let document: Document =
        serde_json::from_str(ruleset.json()).map_err(|error| ObserveError::Ruleset(error.to_string()))?;
    Ok(document.nftables)
}

/// Gives the users of processes their names.
fn named(processes: BTreeMap<u64, host::Process>, host: &dyn ReadHost) -> Result<BTreeMap<u64, Process>, ObserveError> {
    if processes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names = Names::read(host)?;
    let with_name = |process: host::Process| {
        let user = names.user(process.uid).map_or_else(|| process.uid.to_string(), str::to_owned);
        Process { name: process.name, pid: process.pid, user }
    };
    Ok(processes.into_iter().map(|(inode, process)| (inode, with_name(process))).collect())
}

/// Judges what was read. Pure: the same inputs always give the same findings in the same order.
pub fn judge(declared: &[Ports], around: &Surroundings) -> Vec<Finding> {
    let ruleset = Ruleset::of(&around.ruleset);
    let published = published::find(&ruleset);
    let mut findings = Vec::new();
    if !declared.is_empty() {
        if let Some(listening) = &around.listening {
            findings.extend(listeners::not_listening(declared, listening, &published));
            findings.extend(listeners::undeclared_listeners(declared, listening, &around.processes));
        }
        findings.extend(published::published_ports(declared, &published));
    }
    findings.extend(firewalls::other_firewalls(around.ufw_conf.as_deref(), &ruleset));
    findings.extend(firewalls::foreign_drops(&ruleset));
    findings.extend(firewalls::legacy_tables(around.legacy_tables.each_ref().map(Option::as_deref)));
    without_repeats(findings)
}

/// Leaves the first of several findings about the same: a port of Docker is found by its rule, by that for IPv6, and by the
/// program that stands in for it.
fn without_repeats(findings: Vec<Finding>) -> Vec<Finding> {
    let mut told = BTreeSet::new();
    let subject = |finding: &Finding| {
        (finding.code, finding.object.clone(), finding.object.is_none().then(|| finding.place.clone()))
    };
    findings.into_iter().filter(|finding| told.insert(subject(finding))).collect()
}

impl Finding {
    /// Says that the host could not be looked at.
    pub fn not_looked_at(error: &dyn std::error::Error) -> Self {
        let message = format!("the surroundings of what is declared could not be looked at: {}", chain(error));
        Self { code: Code::NotLookedAt, object: None, place: None, process: None, message }
    }

    /// Whether both are about the same, which may have got another process since.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.code, &self.object, &self.place) == (other.code, &other.object, &other.place)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{object}: {} [{}]", self.message, self.code),
            None => write!(f, "{} [{}]", self.message, self.code),
        }
    }
}
