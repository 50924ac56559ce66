// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use std::net::IpAddr;

use super::generation::answer;
use super::monitor::is_of_own_table;
use super::netlink::read;
use super::sets::{Bounds, Named, set, size};
use super::{Elements, Ruleset, outline};
use crate::host::HostError;

/// Lays out attributes, as the kernel does.
fn laid_out(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend((value.len() as u16 + 4).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    body
}

/// Lays out one message with these attributes.
fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let body = [vec![1, 0, 0, 0], laid_out(attributes)].concat();
    let mut message = (body.len() as u32 + 16).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend([0; 10]);
    message.extend(body);
    message
}

/// A message of the kernel about itself, with a number: the end of a list, or an error.
fn notice(kind: u16, flags: u16, code: i32) -> Vec<u8> {
    let mut message = 20u32.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(code.to_ne_bytes());
    message
}

/// Lays out an element of a set of ranges.
fn element(key: &[u8], flags: u32, more: &[(u16, &[u8])]) -> Vec<u8> {
    let (key, flags) = (laid_out(&[(1, key)]), flags.to_be_bytes());
    let mut attributes: Vec<(u16, &[u8])> = vec![(1, &key), (3, &flags)];
    attributes.extend(more);
    laid_out(&attributes)
}

/// Lays out the message that tells these elements of a set.
fn told(elements: &[Vec<u8>]) -> Vec<u8> {
    let list: Vec<(u16, &[u8])> = elements.iter().map(|element| (1, element.as_slice())).collect();
    message(10 << 8 | 12, &[(1, b"hostwrit\0"), (2, b"x\0"), (3, &laid_out(&list))])
}

/// Reads a set with these elements.
fn elements(key_length: u32, elements: &[Vec<u8>]) -> Elements {
    let mut bounds = Bounds::new(key_length);
    bounds.add(&told(elements));
    bounds.elements()
}

/// Reads what the kernel sent at once; returns how many messages were taken, and whether it was the end.
fn taken(bytes: &[u8]) -> std::io::Result<(usize, bool)> {
    let mut taken = 0;
    read(bytes, &mut |_| taken += 1).map(|is_over| (taken, is_over))
}

#[test]
fn the_generation_is_the_number_in_the_answer() {
    let new_gen = message(10 << 8 | 15, &[(2, &[0, 0, 0, 9]), (1, &[0, 0, 1, 2]), (3, b"nft\0")]);
    assert_eq!(answer(&new_gen), Some(258));
    assert_eq!(answer(&message(10 << 8 | 9, &[(1, &[0, 0, 1, 2])])), None, "another word");
}

#[test]
fn a_refusal_of_the_kernel_is_an_error_with_its_number() {
    assert_eq!(taken(&notice(2, 0, -1)).unwrap_err().raw_os_error(), Some(1));
    assert_eq!(taken(&notice(3, 0, -2)).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert!(taken(&notice(2, 0, 0)).is_err(), "nobody asked for an acknowledgement");
}

#[test]
fn a_list_ends_where_the_kernel_says_so() {
    let one = message(10 << 8 | 9, &[]);
    assert_eq!(taken(&[one.clone(), one.clone()].concat()).unwrap(), (2, false));
    assert_eq!(taken(&[one.clone(), notice(3, 0, 0)].concat()).unwrap(), (1, true));
    assert!(taken(&[one.clone(), one[..7].to_vec()].concat()).is_err(), "cut off");
    assert!(taken(&one[..one.len() - 4]).is_err(), "cut off");
}

#[test]
fn a_list_that_was_changed_while_it_was_told_is_asked_for_again() {
    let interrupted = notice(3, 0x10, 0);
    let one = message(10 << 8 | 9, &[]);
    assert_eq!(taken(&[one, interrupted].concat()).unwrap_err().kind(), std::io::ErrorKind::Interrupted);
}

#[test]
fn tables_of_others_that_nft_falls_over_do_not_keep_ours_from_being_read() {
    let fallen = || Err(HostError::Ruleset { action: "read", why: "nft ended with signal: 11".to_owned() });
    let own = Ruleset::new("hostwrit's".to_owned());
    let falls_over_others = |arguments: &[&str]| if arguments.contains(&"table") { Ok(own.clone()) } else { fallen() };
    assert_eq!(outline(falls_over_others).unwrap(), own);
    assert!(outline(|_| fallen()).is_err());
}

#[test]
fn a_set_is_told_by_its_table_and_name() {
    let flags = 4u32.to_be_bytes();
    let message = message(10 << 8 | 9, &[(1, b"hostwrit\0"), (2, b"x_v4\0"), (3, &flags), (5, &[0, 0, 0, 4])]);
    let expected = Named { family: 1, table: "hostwrit".to_owned(), name: "x_v4".to_owned(), flags: 4, key_length: 4 };
    assert_eq!(set(&message), Some(expected));
}

#[test]
fn ranges_are_made_of_their_bounds_in_whatever_order_they_come() {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let v4 = |text: &str, flags: u32| element(&text.parse::<std::net::Ipv4Addr>().unwrap().octets(), flags, &[]);
    let list = [v4("10.0.2.0", 1), v4("10.0.1.0", 0), v4("10.0.1.0", 1), v4("10.0.0.0", 0), v4("0.0.0.0", 1)];
    let expected = [("10.0.0.0", "10.0.0.255"), ("10.0.1.0", "10.0.1.255")];
    let ranges = |list: &[(&str, &str)]| Elements::Ranges(list.iter().map(|(a, b)| (address(a), address(b))).collect());
    assert_eq!(elements(4, &list), ranges(&expected));
    assert_eq!(elements(4, &[v4("192.0.2.0", 0)]), ranges(&[("192.0.2.0", "255.255.255.255")]), "to the end");
    let v6 = |text: &str, flags: u32| element(&text.parse::<std::net::Ipv6Addr>().unwrap().octets(), flags, &[]);
    assert_eq!(
        elements(16, &[v6("2001:db8::", 0), v6("2001:db9::", 1)]),
        ranges(&[("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")])
    );
    assert_eq!(elements(4, &[]), ranges(&[]));
}

#[test]
fn a_range_counts_once_and_so_does_an_address_for_a_time() {
    let (first, last) = ([10, 0, 0, 0], [10, 0, 1, 0]);
    let hours = element(&first, 0, &[(4, &[0; 8]), (5, &[0; 8])]);
    assert_eq!(size(&told(&[element(&last, 1, &[]), element(&first, 0, &[])])), 1);
    assert_eq!(size(&told(&[hours.clone(), hours])), 2);
    assert_eq!(size(&told(&[])), 0);
}

#[test]
fn what_is_more_than_an_address_is_not_taken_for_one() {
    let key = [10, 0, 0, 1];
    assert_eq!(elements(4, &[element(&key, 0, &[(4, &[0; 8])])]), Elements::Other, "a time to live");
    assert_eq!(elements(4, &[element(&key, 2, &[])]), Elements::Other, "all that is not in the set");
    assert_eq!(elements(16, &[element(&key, 0, &[])]), Elements::Other, "shorter than the set says");
    assert_eq!(elements(2, &[element(&[0, 22], 0, &[])]), Elements::Other, "a port");
    assert!(matches!(elements(4, &[element(&key, 0, &[(6, b"comment")])]), Elements::Ranges(_)), "a comment");
}

#[test]
fn a_change_of_our_own_table_is_told_from_one_of_another() {
    let new_rule = 10 << 8 | 6;
    let ours = message(new_rule, &[(1, b"hostwrit\0"), (2, b"input\0")]);
    let other = message(new_rule, &[(1, b"filter\0"), (2, b"hostwrit\0")]);
    assert!(is_of_own_table(&ours));
    assert!(!is_of_own_table(&other));
    assert!(is_of_own_table(&[other, ours].concat()));
    let generation = message(10 << 8 | 15, &[(1, b"hostwrit\0")]);
    assert!(!is_of_own_table(&generation), "a generation has a number where others have a table");
}

proptest! {
    #[test]
    fn no_bytes_of_netlink_make_us_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0u32..20) {
        let _ = answer(&bytes);
        let _ = is_of_own_table(&bytes);
        let _ = set(&bytes);
        let _ = taken(&bytes);
        let _ = size(&bytes);
        let mut bounds = Bounds::new(length);
        bounds.add(&bytes);
        bounds.add(&message(10 << 8 | 12, &[(3, &bytes)]));
        bounds.add(&message(10 << 8 | 12, &[(3, &laid_out(&[(1, &bytes)]))]));
        let _ = bounds.elements();
    }

    #[test]
    fn a_packet_meets_the_ranges_that_the_kernel_meets(
        bounds in proptest::collection::vec((0u32..64, any::<bool>()), 0..20),
        packet in 0u32..64,
    ) {
        let list: Vec<Vec<u8>> = bounds.iter().map(|(at, ends)| element(&at.to_be_bytes(), u32::from(*ends), &[])).collect();
        let Elements::Ranges(ranges) = elements(4, &list) else { panic!("these are addresses") };
        // The kernel looks for the bound at or before the packet; where a range begins and another ends, it begins.
        let nearest = bounds.iter().filter(|(at, _)| *at <= packet).map(|(at, ends)| (*at, !ends)).max();
        let packet = IpAddr::V4(packet.into());
        let is_in = ranges.iter().any(|(first, last)| (*first..=*last).contains(&packet));
        prop_assert_eq!(is_in, nearest.is_some_and(|(_, begins)| begins));
    }
}
