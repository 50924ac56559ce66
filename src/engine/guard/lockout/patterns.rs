// SPDX-License-Identifier: Apache-2.0
//! Patterns of names and addresses, as sshd_config(5) and the `from` option of sshd(8) write them. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Net {
    address: IpAddr,
    /// Length of the prefix, in bits.
    prefix: u8,
}

impl Net {
    /// Returns the network with this prefix, or `None` if the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= bits(address)).then_some(Self { address, prefix })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        bits(self.address) == bits(address) && (number(self.address) ^ number(address)) & self.mask() == 0
    }

    /// Returns an address near the begin and one near the end: where networks lie within each other, what holds in a part of
    /// one holds at one of its ends.
    pub fn ends(&self) -> [IpAddr; 2] {
        let first = number(self.address) & self.mask();
        let last = first | !self.mask() & all(self.address);
        // The first and the last one of a network are seldom a host's.
        let inset = u128::from(last - first >= 3);
        [first + inset, last - inset].map(|number| address(number, self.address))
    }

    fn mask(&self) -> u128 {
        let host_bits = u32::from(bits(self.address) - self.prefix);
        all(self.address) & u128::MAX.checked_shl(host_bits).unwrap_or(0)
    }
}

impl FromStr for Net {
    type Err = ();

    /// Reads `ADDRESS` or `ADDRESS/PREFIX`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().map_err(drop)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(drop)?;
        Self::new(address, prefix.unwrap_or_else(|| bits(address))).ok_or(())
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn all(address: IpAddr) -> u128 {
    if address.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// Returns the address with this number, of the family of `like`.
fn address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any run of characters and `?` for one.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut pos) = (0, 0);
    // Where to go on when a later part does not fit: behind the last star, one byte further than it was tried.
    let mut retry: Option<(usize, usize)> = None;
    while pos < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, pos));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[pos] => {
                at += 1;
                pos += 1;
            }
            _ => match retry {
                Some((star, tried)) => {
                    retry = Some((star, tried + 1));
                    (at, pos) = (star, tried + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// What a list of patterns says of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    Yes,
    /// No pattern is about it.
    No,
    /// A pattern with `!` is about it, and that outweighs the others.
    Excluded,
}

/// Goes through a list of patterns with commas between them.
pub fn listed(list: &str, is: impl Fn(&str) -> bool) -> Listed {
    let mut found = Listed::No;
    for pattern in list.split(',').map(str::trim).filter(|pattern| !pattern.is_empty()) {
        match pattern.strip_prefix('!') {
            Some(pattern) if is(pattern) => return Listed::Excluded,
            None if is(pattern) => found = Listed::Yes,
            _ => {}
        }
    }
    found
}

/// Whether a list of addresses, networks and patterns of addresses has this one. Names of hosts are not looked up, as sshd
/// does not unless `UseDNS` is set.
pub fn lists_address(list: &str, address: IpAddr) -> bool {
    let text = address.to_string();
    let is = |pattern: &str| match pattern.parse::<Net>() {
        Ok(net) => net.contains(address),
        Err(()) => matches(&pattern.to_ascii_lowercase(), &text),
    };
    listed(list, is) == Listed::Yes
}

/// Returns the networks that a list names.
pub fn nets(list: &str) -> impl Iterator<Item = Net> {
    list.split(',').filter_map(|pattern| pattern.trim().trim_start_matches('!').parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (net, address, held) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db8::1", true),
        ] {
            let net: Net = net.parse().unwrap();
            assert_eq!(net.contains(address.parse().unwrap()), held, "{net:?} {address}");
        }
        for text in ["10.0.0.0/33", "10.0.0/8", "host", "::/129", "10.0.0.0/-1", ""] {
            assert_eq!(text.parse::<Net>(), Err(()), "{text}");
        }
    }

    #[test]
    fn the_ends_of_a_network_are_hosts_in_it() {
        for (net, ends) in [
            ("10.0.0.7/8", ["10.0.0.1", "10.255.255.254"]),
            ("192.0.2.8/32", ["192.0.2.8", "192.0.2.8"]),
            ("192.0.2.8/31", ["192.0.2.8", "192.0.2.9"]),
            ("0.0.0.0/0", ["0.0.0.1", "255.255.255.254"]),
            ("2001:db8::/64", ["2001:db8::1", "2001:db8::ffff:ffff:ffff:fffe"]),
            ("::/0", ["::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"]),
        ] {
            assert_eq!(net.parse::<Net>().unwrap().ends(), ends.map(|end| end.parse::<IpAddr>().unwrap()), "{net}");
        }
    }

    #[test]
    fn patterns_match_as_in_sshd() {
        for (pattern, text, fits) in [
            ("alice", "alice", true),
            ("al?ce", "alice", true),
            ("a*e", "alice", true),
            ("*", "", true),
            ("a*", "bob", false),
            ("alice?", "alice", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn an_exclusion_outweighs_the_rest_of_a_list() {
        let address: IpAddr = "10.1.0.1".parse().unwrap();
        for (list, holds) in [
            ("10.0.0.0/8", true),
            ("10.0.0.0/8,!10.1.0.0/16", false),
            ("!10.1.0.0/16,10.0.0.0/8", false),
            ("!192.0.2.1", false),
            ("10.1.*", true),
            ("bastion.example.org", false),
            ("*", true),
            ("", false),
        ] {
            assert_eq!(lists_address(list, address), holds, "{list}");
        }
    }
}
