// SPDX-License-Identifier: Apache-2.0
//! Addresses that other programs keep out, by tables of their own in the packet filter.

use std::collections::BTreeMap;

use crate::host::{HostError, ReadHost};
use crate::resources::Resource as _;
use crate::resources::blocklist::Blocklist;
use crate::resources::egress::Egress;
use crate::resources::port::Port;

/// Tables as these programs name them when nobody tells them otherwise: action.d/nftables.conf of fail2ban, and
/// crowdsec-firewall-bouncer.yaml.
const TABLES: [(&str, &str); 3] = [("f2b-table", "fail2ban"), ("crowdsec", "crowdsec"), ("crowdsec6", "crowdsec")];

/// Counts the addresses and networks that other programs ban, by the program. One that has no set is left out, and a host that
/// declares nothing of its packet filter, by the number of its objects of each kind, is not looked at.
///
/// # Errors
/// The kernel does not answer.
pub fn bans(kinds: &BTreeMap<String, usize>, host: &dyn ReadHost) -> Result<BTreeMap<String, u64>, HostError> {
    if ![Port::KIND, Egress::KIND, Blocklist::KIND].iter().any(|kind| kinds.contains_key(*kind)) {
        return Ok(BTreeMap::new());
    }
    let sizes = host.set_sizes(&TABLES.map(|(table, _)| table))?;
    let mut bans = BTreeMap::new();
    for (table, program) in TABLES {
        if let Some(size) = sizes.get(table) {
            *bans.entry(program.to_owned()).or_default() += size;
        }
    }
    Ok(bans)
}
