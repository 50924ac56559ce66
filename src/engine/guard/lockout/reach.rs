// SPDX-License-Identifier: Apache-2.0
//! From where administrators come, and what the packet filter lets in from there.
//!
//! Tables of others are judged as they are now, since no plan changes them; a rule that cannot be decided (by interface, by
//! mark) counts as open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::host::ruleset::TABLE;
use crate::host::{ReadHost, Tables};
use crate::model::{Declared, Step};
use crate::resources::firewall::{
    Filter as _, Judgement, Networks, Operation as Act, Owner, Packet, Protocol, Range, Table, judge_all, read_all,
};
use crate::resources::port::{DesiredPort, Port};
use crate::resources::{Desired, ObserveError, Operation};

use super::patterns::{contains, ends};

/// Addresses that somebody may come from if nobody says from where administrators do.
const ANYWHERE: [&str; 5] = ["192.0.2.1", "10.0.0.1", "1.0.0.1", "2001:db8::1", "2000::1"];

/// What the packet filter lets in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reach {
    tables: BTreeMap<(String, String), Table>,
}

impl Reach {
    /// Reads what the host lets in now.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub fn now(desired: &Desired, steps: &[Step<Operation>], host: &dyn ReadHost) -> Result<Self, ObserveError> {
        // A host that declares no ports may have no nft, and what others filter there stays as it is.
        if desired.ports.is_empty() && desired.blocklists.is_empty() && !steps.iter().any(|step| load(step).is_some()) {
            return Ok(Self::default());
        }
        Self::live(host)
    }

    /// Reads what all tables of the host let in, whoever made them.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub fn live(host: &dyn ReadHost) -> Result<Self, ObserveError> {
        let mut tables = read_all(&host.ruleset(Tables::All)?)?;
        // What is in sets is read of hostwrit's own table alone.
        tables.insert(own(), Table::read(&host.ruleset(Tables::Own)?)?);
        Ok(Self { tables })
    }

    /// Returns what the host would let in after these steps.
    pub fn after(&self, steps: &[Step<Operation>]) -> Self {
        let mut after = self.clone();
        let loads = steps.iter().filter_map(load);
        for (owner, loaded) in loads {
            let table = after.tables.entry(own()).or_default();
            let mut kept = table.only(|name| !owner.owns(name));
            kept.chains.extend(loaded.chains.clone());
            kept.sets.extend(loaded.sets.clone());
            *table = kept;
        }
        after
    }

    /// Whether a connection from there reaches this port.
    pub fn admits(&self, from: IpAddr, port: u16) -> bool {
        let packet = Packet { source: from, protocol: Protocol::Tcp, port };
        judge_all(&self.tables, packet) != Judgement::Refused
    }

    /// Returns all networks that a port of hostwrit's table names now, also where another port is open to anybody.
    pub fn named(&self) -> Vec<Range> {
        let Some(table) = self.tables.get(&own()) else { return Vec::new() };
        let openings = Port::read(&table.only(|name| Owner::Ports.owns(name)));
        let openings = openings.values().flatten().filter(|opening| opening.ports.protocol == Protocol::Tcp);
        openings.flat_map(|opening| opening.from.ranges()).collect()
    }
}

/// Returns whose part of the table a step loads, and what with.
fn load(step: &Step<Operation>) -> Option<(Owner, &Table)> {
    match &step.operation {
        Operation::Port(act) | Operation::Egress(act) | Operation::Blocklist(act) => match act {
            Act::Load(load) => Some((load.owner, &load.table)),
            Act::Refuse(_) => None,
        },
        _ => None,
    }
}

fn own() -> (String, String) {
    ("inet".to_owned(), TABLE.to_owned())
}

/// Returns the sources that are declared for administrators: of ports with `management`, or of all that speak TCP where no port
/// has it. Nothing stands for anywhere.
pub fn declared(ports: &[Declared<DesiredPort>]) -> Vec<Range> {
    let wanted = || ports.iter().filter_map(|port| port.want.as_ref());
    let marked = wanted().any(|port| port.management);
    let chosen = wanted().filter(|port| port.opening.ports.protocol == Protocol::Tcp && (port.management || !marked));
    together(chosen.map(|port| &port.opening.from))
}

fn together<'n>(sources: impl Iterator<Item = &'n Networks>) -> Vec<Range> {
    let sources: Vec<&Networks> = sources.collect();
    // One port for all is for all.
    if sources.iter().any(|networks| networks.is_empty()) {
        return Vec::new();
    }
    sources.into_iter().flat_map(Networks::ranges).collect()
}

/// Returns addresses that stand for all in `nets`, or for all there are where that is empty: what sshd and the keys say of
/// them differs only between the networks that those name.
pub fn samples(nets: &[Range], named: &[Range]) -> Vec<IpAddr> {
    let within = |address: &IpAddr| nets.is_empty() || nets.iter().any(|net| contains(*net, *address));
    let mut samples: Vec<IpAddr> = nets.iter().copied().flat_map(ends).collect();
    // Before those that are only made up: people more likely come from where somebody has written down.
    samples.extend(named.iter().copied().flat_map(ends).filter(within));
    if nets.is_empty() {
        samples.extend(ANYWHERE.iter().filter_map(|address| address.parse::<IpAddr>().ok()));
    }
    let mut seen = BTreeSet::new();
    samples.retain(|address| seen.insert(*address));
    samples
}
