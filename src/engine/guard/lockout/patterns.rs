// SPDX-License-Identifier: Apache-2.0
//! Patterns of names and addresses, as sshd_config(5) and the `from` option of sshd(8) write them. Pure.

use std::net::IpAddr;

use crate::resources::firewall::{Network, Networks, Range};

/// Reads an address or a network, as the range of its addresses.
pub fn net(text: &str) -> Option<Range> {
    let network: Network = text.parse().ok()?;
    Networks::from_iter([network]).ranges().next()
}

pub fn contains(Range(first, last): Range, address: IpAddr) -> bool {
    first.is_ipv4() == address.is_ipv4() && (first..=last).contains(&address)
}

/// Returns an address near the begin and one near the end: where networks lie within each other, what holds in a part of one
/// holds at one of its ends. The very first and last are seldom a host's.
pub fn ends(range: Range) -> [IpAddr; 2] {
    match range {
        Range(IpAddr::V4(first), IpAddr::V4(last)) => {
            let [first, last] = inset(u32::from(first).into(), u32::from(last).into());
            [first, last].map(|number| IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()))
        }
        Range(IpAddr::V6(first), IpAddr::V6(last)) => {
            inset(first.into(), last.into()).map(|number| IpAddr::V6(number.into()))
        }
        Range(first, last) => [first, last],
    }
}

fn inset(first: u128, last: u128) -> [u128; 2] {
    let by = u128::from(last.saturating_sub(first) >= 3);
    [first + by, last - by]
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
    let is = |pattern: &str| match net(pattern) {
        Some(range) => contains(range, address),
        None => matches(&pattern.to_ascii_lowercase(), &text),
    };
    listed(list, is) == Listed::Yes
}

/// Returns the networks that a list names.
pub fn nets(list: &str) -> impl Iterator<Item = Range> {
    list.split(',').filter_map(|pattern| net(pattern.trim().trim_start_matches('!')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (text, address, held) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
        ] {
            assert_eq!(contains(net(text).unwrap(), address.parse().unwrap()), held, "{text} {address}");
        }
        // As sshd, which refuses an address inside of a network.
        assert_eq!(net("10.0.0.1/8"), None);
    }

    #[test]
    fn the_ends_of_a_network_are_hosts_in_it() {
        for (text, wanted) in [
            ("10.0.0.0/8", ["10.0.0.1", "10.255.255.254"]),
            ("192.0.2.8/32", ["192.0.2.8", "192.0.2.8"]),
            ("192.0.2.8/31", ["192.0.2.8", "192.0.2.9"]),
            ("2001:db8::/64", ["2001:db8::1", "2001:db8::ffff:ffff:ffff:fffe"]),
            ("::/0", ["::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"]),
        ] {
            assert_eq!(ends(net(text).unwrap()), wanted.map(|end| end.parse::<IpAddr>().unwrap()), "{text}");
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
