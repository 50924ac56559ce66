// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::generation::answer;
use super::monitor::is_of_own_table;

/// Lays out one message with these attributes, as the kernel does.
fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![0; 4];
    for (kind, value) in attributes {
        body.extend((value.len() as u16 + 4).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = (body.len() as u32 + 16).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend([0; 10]);
    message.extend(body);
    message
}

#[test]
fn the_generation_is_the_number_in_the_answer() {
    let new_gen = message(10 << 8 | 15, &[(2, &[0, 0, 0, 9]), (1, &[0, 0, 1, 2]), (3, b"nft\0")]);
    assert_eq!(answer(&new_gen).unwrap(), 258);
}

#[test]
fn a_refusal_of_the_kernel_is_an_error_with_its_number() {
    let mut refusal = message(2, &[]);
    refusal.truncate(16);
    refusal.extend((-1i32).to_ne_bytes());
    assert_eq!(answer(&refusal).unwrap_err().raw_os_error(), Some(1));
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
    fn no_bytes_of_netlink_make_us_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = answer(&bytes);
        let _ = is_of_own_table(&bytes);
    }
}
