// SPDX-License-Identifier: Apache-2.0
//! From where administrators come, and which ports they reach.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::patterns::Net;

/// Addresses that somebody may come from if nobody says from where administrators do.
const ANYWHERE: [&str; 5] = ["192.0.2.1", "10.0.0.1", "1.0.0.1", "2001:db8::1", "2000::1"];

/// What the packet filter lets in.
#[derive(Debug, Default)]
pub struct Reach {}

impl Reach {
    /// Whether a connection from there reaches this port.
    pub fn admits(&self, _from: IpAddr, _port: u16) -> bool {
        true
    }
}

/// Returns addresses that stand for all in `nets`, or for all there are where that is empty: what sshd and the keys say of
/// them differs only between the networks that those name.
pub fn samples(nets: &[Net], named: &BTreeSet<Net>) -> Vec<IpAddr> {
    let mut samples: Vec<IpAddr> = match nets {
        [] => ANYWHERE.iter().filter_map(|address| address.parse().ok()).collect(),
        nets => nets.iter().flat_map(Net::ends).collect(),
    };
    let within = |address: &IpAddr| nets.is_empty() || nets.iter().any(|net| net.contains(*address));
    samples.extend(named.iter().flat_map(Net::ends).filter(within));
    let mut seen = BTreeSet::new();
    samples.retain(|address| seen.insert(*address));
    samples
}
