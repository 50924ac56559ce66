// SPDX-License-Identifier: Apache-2.0
//! Egress: what this host may reach. As soon as one is declared, it may begin no other connection.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::Tables;
use crate::model::{Change, Declared, Fault, Faults, Origin, Shown};

use super::Contents;
use super::digest::digest_every_field;
use super::firewall::{self, Filter, Networks, Owner, Ports, Table};

/// A way out.
pub enum Egress {}

/// A port, or a range of ports, of other hosts that this host may reach: 443/tcp, 53/udp. All others it may not, as soon as
/// one is declared.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Where to: addresses, networks, zones of hostwrit.yaml, host:NAME, label:KEY=VALUE. Unset or empty: anywhere.
    pub to: Option<Vec<String>>,
}

/// A way out as it shall be, and as the packet filter is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub ports: Ports,
    /// Empty stands for anywhere.
    pub to: Networks,
}

digest_every_field!(Way { ports, to });

impl Filter for Egress {
    const KIND: &'static str = "egress";
    const KEY: &'static str = "egress";
    type Spec = Spec;
    type Desired = Way;
    type Entry = Way;
    const OWNER: Owner = Owner::Egress;
    const READS: Tables = Tables::OwnOutline;

    fn resolve(name: &str, spec: Spec, origin: &Origin, contents: &dyn Contents) -> Result<Way, Faults> {
        let mut faults = Faults::default();
        let to = spec.to.unwrap_or_default();
        let to = firewall::resolve_places("to", &to, origin, contents, &mut faults).or_anywhere();
        match name.parse::<Ports>() {
            Ok(ports) => faults.or(Way { ports, to }),
            Err((what, hint)) => {
                faults.push(Fault::new(origin.object.clone(), what).hint(hint));
                Err(faults)
            }
        }
    }

    fn entry(want: &Way) -> &Way {
        want
    }

    fn table(entries: &BTreeMap<String, Way>) -> Table {
        rules::table(entries.values())
    }

    fn read(table: &Table) -> BTreeMap<String, Option<Way>> {
        rules::ways(table)
    }

    fn changes(from: Option<&Way>, declared: &Declared<Way>, want: &Way) -> Vec<Change> {
        let show = |way: &Way| Shown::text(firewall::shown(&way.to));
        vec![Change::new("to", from.map_or(Shown::Nothing, show), show(want), Some(declared.origin.of("to")))]
    }

    fn shown(entry: &Way) -> Change {
        Change::new("to", Shown::text(firewall::shown(&entry.to)), Shown::Nothing, None)
    }
}
