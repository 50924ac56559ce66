// SPDX-License-Identifier: Apache-2.0
//! Which signatures are looked at: one form, strong enough, of this content.

use hostwrit::trust::Code;

use super::fixture::Keyring;
use super::*;

#[test]
fn a_signature_of_other_content_is_refused() {
    let fleet = Fleet::new();
    let good = fleet.change("one");
    let bytes = fleet.repo.git(&["cat-file", "commit", &good.to_string()]);
    assert_eq!(fleet.repo.object("commit", bytes.as_bytes()), good);
    accepted(&fleet, None, &good);
    for altered in [bytes.replace("\n\none", "\n\ntwo"), bytes.replacen("Test", "Mallory", 1), format!("{bytes}\n")] {
        refused(&fleet, None, &fleet.repo.object("commit", altered.as_bytes()), Code::BadSignature);
    }
}

#[test]
fn an_armor_that_differs_in_any_byte_is_refused() {
    let fleet = Fleet::new();
    accepted(&fleet, None, &signed(&fleet, &fleet.alice, &[], str::to_owned));
    let with_comment = signed(&fleet, &fleet.alice, &["--comment", "hello"], str::to_owned);
    refused(&fleet, None, &with_comment, Code::ArmorNotCanonical);
    let with_version = signed(&fleet, &fleet.alice, &["--emit-version"], str::to_owned);
    refused(&fleet, None, &with_version, Code::ArmorNotCanonical);

    let wrapped = |armor: &str| {
        let (head, base64) = armor.split_once("\n\n").unwrap();
        format!("{head}\n\n{}\n{}", &base64[..30], &base64[30..])
    };
    let no_checksum =
        |armor: &str| armor.lines().filter(|line| !line.starts_with('=')).map(|l| format!("{l}\n")).collect();
    let forgeries: [&dyn Fn(&str) -> String; 5] =
        [&wrapped, &no_checksum, &|armor| format!("{armor}\nmore"), &|armor| format!("\n{armor}"), &|armor| {
            format!("{armor}{armor}")
        }];
    for forge in forgeries {
        refused(&fleet, None, &signed(&fleet, &fleet.alice, &[], forge), Code::ArmorNotCanonical);
    }
}

#[test]
fn a_packet_that_says_the_same_in_other_bytes_is_refused() {
    let fleet = Fleet::new();
    // gpg itself armors what the forger made, so that the armor is as it should be.
    let forge = |change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        signed(&fleet, &fleet.alice, &[], |armor| {
            let packet = change(fleet.keys.gpg(&["--dearmor"], armor.as_bytes()));
            let armor = fleet.keys.gpg(&["--enarmor"], &packet);
            let armor = String::from_utf8(armor).unwrap().replace("PGP ARMORED FILE", "PGP SIGNATURE");
            armor.lines().filter(|line| !line.starts_with("Comment")).map(|line| format!("{line}\n")).collect()
        })
    };
    accepted(&fleet, None, &forge(&|packet| packet));
    let new_format = |mut packet: Vec<u8>| {
        packet[0] = 0xc2;
        packet
    };
    let twice = |packet: Vec<u8>| [packet.clone(), packet].concat();
    // The unhashed area begins after the hashed one: version, type, two algorithms, length, content.
    let without_issuer = |mut packet: Vec<u8>| {
        let at = 2 + 6 + usize::from(packet[7]);
        let length = usize::from(packet[at + 1]);
        packet.drain(at + 2..at + 2 + length);
        packet[at + 1] = 0;
        packet[1] -= u8::try_from(length).unwrap();
        packet
    };
    let other_issuer = |mut packet: Vec<u8>| {
        let at = 2 + 6 + usize::from(packet[7]);
        packet[at + 4] ^= 1;
        packet
    };
    let critical_issuer = |mut packet: Vec<u8>| {
        let at = 2 + 6 + usize::from(packet[7]);
        packet[at + 3] |= 0x80;
        packet
    };
    // The length 9 in five bytes instead of one.
    let long_issuer = |mut packet: Vec<u8>| {
        let at = 2 + 6 + usize::from(packet[7]);
        packet.splice(at + 2..at + 3, [0xff, 0, 0, 0, 9]);
        packet[at + 1] += 4;
        packet[1] += 4;
        packet
    };
    // A zero before the first number of the signature.
    let long_number = |mut packet: Vec<u8>| {
        let at = 2 + 6 + usize::from(packet[7]);
        let at = at + 2 + usize::from(packet[at + 1]) + 2;
        let bits = u16::from_be_bytes([packet[at], packet[at + 1]]).next_multiple_of(8) + 8;
        packet.splice(at..at + 2, [bits.to_be_bytes().as_slice(), &[0]].concat());
        packet[1] += 1;
        packet
    };
    let forgeries: [&dyn Fn(Vec<u8>) -> Vec<u8>; 7] =
        [&new_format, &twice, &without_issuer, &other_issuer, &critical_issuer, &long_issuer, &long_number];
    for change in forgeries {
        refused(&fleet, None, &forge(change), Code::MalformedSignature);
    }
    // The copy of the digest's first bytes is not signed either.
    let other_prefix = |mut packet: Vec<u8>| {
        let at = 2 + 6 + usize::from(packet[7]);
        let at = at + 2 + usize::from(packet[at + 1]);
        packet[at] ^= 1;
        packet
    };
    refused(&fleet, None, &forge(&other_prefix), Code::BadSignature);
    let other_number = |mut packet: Vec<u8>| {
        *packet.last_mut().unwrap() ^= 1;
        packet
    };
    refused(&fleet, None, &forge(&other_number), Code::BadSignature);
}

#[test]
fn a_weak_hash_or_key_is_refused() {
    for (algorithm, hash, good) in [
        ("rsa3072", "SHA512", true),
        ("rsa3072", "SHA256", true),
        ("rsa3072", "SHA224", false),
        ("rsa3072", "SHA1", false),
        ("rsa2048", "SHA512", false),
        ("nistp256", "SHA256", true),
        ("brainpoolP256r1", "SHA256", false),
    ] {
        let keys = Keyring::new();
        let alice = keys.key("alice");
        let bob = keys.key_of("bob", algorithm, "never", &[]);
        let mut fleet = Fleet::of(keys, alice);
        fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
        fleet.root = fleet.repo.commit("welcome bob", Some(&fleet.alice));
        let tip = signed(&fleet, &bob, &["--digest-algo", hash], str::to_owned);
        if good {
            assert_eq!(accepted(&fleet, None, &tip), ["alice", "bob"], "{algorithm} {hash}");
        } else {
            refused(&fleet, None, &tip, Code::WeakSignature);
        }
    }
}

#[test]
fn a_signature_by_an_x509_certificate_is_not_supported() {
    let fleet = Fleet::new();
    let x509 = |_: &str| "-----BEGIN SIGNED MESSAGE-----\nMIIB\n-----END SIGNED MESSAGE-----\n".to_owned();
    refused(&fleet, None, &signed(&fleet, &fleet.alice, &[], x509), Code::UnsupportedSignature);
}
