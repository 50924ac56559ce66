// SPDX-License-Identifier: Apache-2.0
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::super::{Family, Network, Networks, Ports, Range};

fn networks(list: &[&str]) -> Networks {
    list.iter().map(|text| text.parse::<Network>().unwrap()).collect()
}

fn shown(networks: &Networks) -> String {
    networks.ranges().map(|range| range.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn addresses_and_networks_of_both_families_are_read_and_shown() {
    for text in ["10.0.0.0/8", "192.0.2.7", "0.0.0.0/0", "::/0", "2001:db8::/32", "fe80::1"] {
        assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
    }
    assert_eq!("192.0.2.7/32".parse::<Network>().unwrap().to_string(), "192.0.2.7");
}

#[test]
fn what_is_no_network_is_refused_with_what_would_be_right() {
    let cases = [
        ("10.0.0", "\"10.0.0\" is neither an address nor a network"),
        ("10.0.0.0/", "\"10.0.0.0/\" is neither an address nor a network"),
        ("10.0.0.0/+8", "\"10.0.0.0/+8\" is neither an address nor a network"),
        ("10.0.0.0/33", "\"10.0.0.0/33\" is longer than an address"),
        ("::/129", "\"::/129\" is longer than an address"),
        ("10.0.0.1/8", "\"10.0.0.1/8\" is an address inside of a network"),
    ];
    for (text, what) in cases {
        assert_eq!(text.parse::<Network>().unwrap_err().0, what);
    }
    let hint = "10.0.0.1/8".parse::<Network>().unwrap_err().1;
    assert_eq!(hint, "write 10.0.0.0/8, or 10.0.0.1 for the one address");
}

#[test]
fn networks_that_overlap_or_touch_are_one_range() {
    let list = networks(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.7", "2001:db8:8000::/33", "2001:db8::/33"]);
    assert_eq!(shown(&list), "10.0.0.0/23 2001:db8::/32");
    assert_eq!(shown(&networks(&["10.0.0.0/24", "10.0.1.0"])), "10.0.0.0-10.0.1.0");
    assert!(networks(&["0.0.0.0/1", "128.0.0.0/1"]).is_whole(Family::V4));
    assert_eq!(networks(&["::/0", "0.0.0.0/0"]).or_anywhere(), Networks::default());
}

#[test]
fn an_address_is_found_in_the_range_that_holds_it() {
    let list = networks(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]);
    for (address, is_in) in [
        ("10.0.0.0", true),
        ("10.255.255.255", true),
        ("11.0.0.0", false),
        ("9.255.255.255", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("2001:db8::1", true),
        ("2001:db9::", false),
    ] {
        assert_eq!(list.contains(address.parse().unwrap()), is_in, "{address}");
    }
}

#[test]
fn names_of_ports_have_one_spelling() {
    for name in ["22/tcp", "1/udp", "65535/tcp", "8000-8010/udp"] {
        assert_eq!(name.parse::<Ports>().unwrap().to_string(), name);
    }
    let cases = [
        ("22", "it has no protocol"),
        ("22/sctp", "its protocol is not known"),
        ("22/TCP", "its protocol is not known"),
        ("0/tcp", "it is no number from 1 to 65535"),
        ("022/tcp", "it is no number from 1 to 65535"),
        ("+22/tcp", "it is no number from 1 to 65535"),
        ("65536/tcp", "it is no number from 1 to 65535"),
        ("ssh/tcp", "it is no number from 1 to 65535"),
        ("20-10/tcp", "the range ends before it begins"),
        ("20-20/tcp", "the range is one port"),
        ("1-2-3/tcp", "it is no number from 1 to 65535"),
    ];
    for (name, why) in cases {
        assert_eq!(name.parse::<Ports>().unwrap_err().0, format!("\"{name}\" is no port: {why}"));
    }
}

proptest! {
    #[test]
    fn ranges_of_networks_hold_what_the_networks_hold(list in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..20), probes in proptest::collection::vec(any::<u32>(), 20)) {
        let nets: Vec<(u32, u32)> = list.iter().map(|(address, length)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
            (address & mask, address | !mask)
        }).collect();
        let all: Networks = list.iter().zip(&nets)
            .map(|((_, length), (first, _))| format!("{}/{length}", Ipv4Addr::from(*first)).parse::<Network>().unwrap())
            .collect();
        let edges = nets.iter().flat_map(|(first, last)| [*first, *last, first.wrapping_sub(1), last.wrapping_add(1)]);
        for probe in probes.into_iter().chain(edges) {
            let is_in = nets.iter().any(|(first, last)| (*first..=*last).contains(&probe));
            prop_assert_eq!(all.contains(IpAddr::V4(probe.into())), is_in);
        }
        let ranges: Vec<Range> = all.ranges().collect();
        for pair in ranges.windows(2) {
            let (Range(_, IpAddr::V4(end)), Range(IpAddr::V4(begin), _)) = (pair[0], pair[1]) else { unreachable!() };
            prop_assert!(u32::from(end) + 1 < u32::from(begin), "they neither overlap nor touch");
        }
        let json = serde_json::to_string(&all).unwrap();
        prop_assert_eq!(serde_json::from_str::<Networks>(&json).unwrap(), all);
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "\\PC*") {
        let _ = text.parse::<Network>();
        let _ = text.parse::<Ports>();
        let _ = serde_json::from_str::<Networks>(&text);
    }
}
