// SPDX-License-Identifier: Apache-2.0
//! The numbers of a signature are written without leading zero bytes, so some are short. Of Ed25519 signatures every 128th is,
//! and every 32,768th lacks two bytes of one number: a verifier that does not fill them up stops there, on a good commit.

use std::time::SystemTime;

use sequoia_openpgp::Cert;
use sequoia_openpgp::crypto::{KeyPair, mpi};
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::packet::signature::subpacket::{Subpacket, SubpacketValue};
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::serialize::MarshalInto as _;
use sequoia_openpgp::types::{HashAlgorithm, SignatureType};

use super::fixture::Keyring;
use super::*;

/// Signs commit after commit until the bytes that the signature's numbers lack are `wanted`.
fn signed_until(fleet: &Fleet, key: &Key, wanted: impl Fn(&[usize]) -> bool) -> Oid {
    let secret = Cert::from_bytes(&fleet.keys.gpg(&["--export-secret-keys", &key.fingerprint], b"")).unwrap();
    let secret = secret.primary_key().key().clone().parts_into_secret().unwrap();
    let mut pair = secret.into_keypair().unwrap();
    let tree = fleet.repo.id(&format!("{}^{{tree}}", fleet.root));
    let now = SystemTime::now();
    for attempt in 0..2_000_000 {
        let commit = payload(&tree, &[fleet.root], &attempt.to_string());
        let (packet, lacks) = sign(&mut pair, commit.as_bytes(), now);
        if wanted(&lacks) {
            let armor = fleet.keys.gpg(&["--enarmor"], &packet);
            let armor = String::from_utf8(armor).unwrap().replace("PGP ARMORED FILE", "PGP SIGNATURE");
            let armor: String =
                armor.lines().filter(|line| !line.starts_with("Comment")).map(|line| format!("{line}\n")).collect();
            return fleet.repo.object("commit", with_header(&commit, "gpgsig", &armor).as_bytes());
        }
    }
    panic!("no such signature was found");
}

/// Returns a signature packet as gpg writes it, and how many bytes each of its numbers lacks.
fn sign(pair: &mut KeyPair, payload: &[u8], at: SystemTime) -> (Vec<u8>, Vec<usize>) {
    let key_id = Subpacket::new(SubpacketValue::Issuer(pair.public().keyid()), false).unwrap();
    let packet = SignatureBuilder::new(SignatureType::Binary)
        .set_hash_algo(HashAlgorithm::SHA512)
        .set_signature_creation_time(at)
        .unwrap()
        .set_issuer_fingerprint(pair.public().fingerprint())
        .unwrap()
        .modify_unhashed_area(|mut area| {
            area.add(key_id)?;
            Ok(area)
        })
        .unwrap()
        .sign_message(pair, payload)
        .unwrap();
    let full = pair.public().mpis().bits().unwrap().div_ceil(8);
    let lacks = match packet.mpis() {
        mpi::Signature::EdDSA { r, s } | mpi::Signature::ECDSA { r, s } => {
            vec![full - r.value().len(), full - s.value().len()]
        }
        mpi::Signature::RSA { s } => vec![full - s.value().len()],
        other => panic!("{other:?}"),
    };
    let body = packet.to_vec().unwrap();
    let head = match u8::try_from(body.len()) {
        Ok(length) => vec![0x88, length],
        Err(_) => [vec![0x89], u16::try_from(body.len()).unwrap().to_be_bytes().to_vec()].concat(),
    };
    ([head, body].concat(), lacks)
}

#[test]
fn short_numbers_of_an_ed25519_signature_are_filled_up() {
    let fleet = Fleet::new();
    let wanted: [fn(&[usize]) -> bool; 3] =
        [|lacks| lacks[0] == 1, |lacks| lacks[1] == 1, |lacks| lacks.iter().any(|lack| *lack >= 2)];
    for wanted in wanted {
        let tip = signed_until(&fleet, &fleet.alice, wanted);
        assert_eq!(accepted(&fleet, None, &tip), ["alice", "alice"]);
        // So says gpg, too.
        fleet.repo.git(&["verify-commit", &tip.to_string()]);
    }
}

#[test]
fn short_numbers_of_other_signatures_are_filled_up() {
    for algorithm in ["nistp256", "rsa3072"] {
        let keys = Keyring::new();
        let alice = keys.key_of("alice", algorithm, "never", &[]);
        let fleet = Fleet::of(keys, alice);
        let tip = signed_until(&fleet, &fleet.alice, |lacks| lacks.iter().any(|lack| *lack >= 1));
        assert_eq!(accepted(&fleet, None, &tip), ["alice", "alice"], "{algorithm}");
        fleet.repo.git(&["verify-commit", &tip.to_string()]);
    }
}
