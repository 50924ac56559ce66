// SPDX-License-Identifier: Apache-2.0
//! Ports: what may be reached from outside. As soon as one is declared, all others are closed.

mod rate;
mod resolve;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::Tables;
use crate::model::{Change, Declared, Faults, Origin, Shown};

use super::Contents;
use super::digest::digest_every_field;
use super::firewall::{self, Filter, Networks, Owner, Ports, Table};

pub use rate::Rate;

/// A port that is open.
pub enum Port {}

/// A port, or a range of ports, that may be reached: 22/tcp, 8000-8010/udp. All others are closed as soon as one is
/// declared.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Who may reach it: addresses, networks, zones of hostwrit.yaml, host:NAME, label:KEY=VALUE. Unset or empty: anybody.
    pub from: Option<Vec<String>>,
    /// New connections of one source (of IPv6: of one /64 network), such as 6/minute. More are dropped.
    pub rate: Option<String>,
    /// Connections that one source (of IPv6: one /64 network) may have at a time. More are dropped.
    pub connections: Option<u32>,
    /// New connections, let in or not, are written to the kernel's log, five a second at the most. Default: false.
    pub log: Option<bool>,
    /// Administrators log in here. Default: false.
    pub management: Option<bool>,
}

/// A port as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPort {
    pub opening: Opening,
    /// Whether administrators log in here.
    pub management: bool,
}

digest_every_field!(DesiredPort { opening, management });

/// What the packet filter is told of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub ports: Ports,
    /// Empty stands for anybody.
    pub from: Networks,
    pub rate: Option<Rate>,
    pub connections: Option<u32>,
    pub log: bool,
}

digest_every_field!(Opening { ports, from, rate, connections, log });

impl Opening {
    /// Open for all, without limits.
    pub fn for_all(ports: Ports) -> Self {
        Self { ports, from: Networks::default(), rate: None, connections: None, log: false }
    }
}

impl Filter for Port {
    const KIND: &'static str = "port";
    const KEY: &'static str = "ports";
    type Spec = Spec;
    type Desired = DesiredPort;
    type Entry = Opening;
    const OWNER: Owner = Owner::Ports;
    const READS: Tables = Tables::OwnOutline;

    fn resolve(name: &str, spec: Spec, origin: &Origin, contents: &dyn Contents) -> Result<DesiredPort, Faults> {
        resolve::resolve(name, &spec, origin, contents)
    }

    fn entry(want: &DesiredPort) -> &Opening {
        &want.opening
    }

    fn table(entries: &BTreeMap<String, Opening>) -> Table {
        rules::table(entries.values())
    }

    fn read(table: &Table) -> BTreeMap<String, Option<Opening>> {
        rules::open(table)
    }

    fn changes(from: Option<&Opening>, declared: &Declared<DesiredPort>, want: &DesiredPort) -> Vec<Change> {
        let to = &want.opening;
        let mut changes = Vec::new();
        let mut field = |name: &str, show: &dyn Fn(&Opening) -> Shown| {
            let (before, after) = (from.map_or(Shown::Nothing, show), show(to));
            if before != after {
                changes.push(Change::new(name, before, after, Some(declared.origin.of(name))));
            }
        };
        field("from", &|opening| Shown::text(firewall::shown(&opening.from)));
        field("rate", &|opening| opening.rate.into());
        field("connections", &|opening| opening.connections.into());
        field("log", &|opening| if opening.log { Shown::text("yes") } else { Shown::Nothing });
        changes
    }

    fn shown(entry: &Opening) -> Change {
        Change::new("from", Shown::text(firewall::shown(&entry.from)), Shown::Nothing, None)
    }
}
