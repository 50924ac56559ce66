// SPDX-License-Identifier: Apache-2.0
//! One form of each signature and key, judged against the real ssh-keygen, OpenSSH's vectors and forgeries.
#![allow(clippy::disallowed_methods)]

mod forge;
mod keys;
mod vectors;

use openssl::bn::{BigNum, BigNumContext};
use proptest::collection::vec;
use proptest::prelude::*;

use super::key::Curve;
use super::*;
use forge::{Claim, Forger, Keygen, Parts, Secret, numbers};

const PAYLOAD: &[u8] = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\nsubject\n";

const ALL: [Algorithm; 7] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa(Curve::P256),
    Algorithm::Ecdsa(Curve::P384),
    Algorithm::Ecdsa(Curve::P521),
    Algorithm::Rsa,
    Algorithm::SkEd25519,
    Algorithm::SkEcdsa,
];

/// Reads and verifies a signature of [`PAYLOAD`].
fn judge(armor: &str) -> Result<Ssh, Code> {
    let signature = Ssh::parse(armor.as_bytes(), GIT).map_err(|refusal| refusal.code())?;
    signature.verify(PAYLOAD).map_err(|refusal| refusal.code())?;
    Ok(signature)
}

#[track_caller]
fn refused(parts: &Parts, code: Code) {
    assert_eq!(judge(&parts.armor()).map(|_| ()), Err(code));
}

#[test]
fn what_ssh_keygen_signs_is_read_byte_by_byte_and_fits() {
    let keygen = Keygen::new();
    for (kind, bits) in [("ed25519", ""), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "3072")] {
        let path = keygen.key(kind, bits);
        let listed = SshKey::parse(&Keygen::public(&path)).unwrap();
        assert_eq!(listed.name().to_string(), format!("ssh:{}", keygen.fingerprint(&path)));
        for hash in ["sha256", "sha512"] {
            let armor = keygen.sign(&path, GIT, hash, PAYLOAD);
            let signature = judge(&armor).unwrap();
            assert_eq!(*signature.key(), listed);
            assert_eq!(encode_armor(&signature.to_blob()), armor);
            assert_eq!(signature.verify(b"other content").unwrap_err().code(), Code::BadSignature);
            let other = Ssh::parse(armor.as_bytes(), "file").unwrap_err();
            assert_eq!(other.code(), Code::MalformedSignature);
            assert!(other.detail().contains("namespace"), "{other}");
        }
    }
}

#[test]
fn the_lines_are_those_of_ssh_keygen_at_every_length() {
    let keygen = Keygen::new();
    let path = keygen.key("ed25519", "");
    // Over 105 bytes of namespace, a last line of every length appears, also a full one.
    let mut lengths = std::collections::BTreeSet::new();
    for length in 1..=105 {
        let namespace = "n".repeat(length);
        let armor = keygen.sign(&path, &namespace, "sha512", PAYLOAD);
        Ssh::parse(armor.as_bytes(), &namespace).unwrap().verify(PAYLOAD).unwrap();
        lengths.insert(armor.lines().rev().nth(1).unwrap().len());
    }
    assert!(lengths.contains(&LINE) && lengths.len() == LINE / 2, "{lengths:?}");
}

#[test]
fn ssh_keygen_takes_what_the_forger_signs_honestly() {
    let keygen = Keygen::new();
    for algorithm in ALL {
        let forger = Forger::new(algorithm);
        let parts = forger.sign(PAYLOAD);
        assert!(keygen.takes(&parts.armor(), PAYLOAD), "{algorithm:?}");
        let signature = judge(&parts.armor()).unwrap_or_else(|code| panic!("{algorithm:?}: {code}"));
        assert_eq!(*signature.key(), SshKey::parse(forger.line().as_bytes()).unwrap());
    }
}

#[test]
fn an_armor_that_differs_in_any_byte_is_refused() {
    let forger = Forger::new(Algorithm::Ed25519);
    let good = forger.sign(PAYLOAD).armor();
    judge(&good).unwrap();
    let base64: String = good.lines().filter(|line| !line.starts_with('-')).collect();
    let wrapped = |width: usize| {
        let lines: Vec<_> = base64.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("{BEGIN}{}\n{END}", lines.join("\n"))
    };
    assert_eq!(wrapped(LINE), good);
    let spare_bits = good.replacen("=\n", "\n", 1);
    for other in [
        wrapped(76),
        wrapped(64),
        wrapped(1000),
        good.trim_end().to_owned(),
        format!("{good}\n"),
        format!("\n{good}"),
        format!("{good}{good}"),
        format!("{good} "),
        good.replace('\n', "\r\n"),
        good.replacen('\n', " \n", 1),
        good.replacen('\n', "\n\n", 1),
        good.replace(END, &format!("\n{END}")),
        good.replacen("SSH SIGNATURE", "PGP SIGNATURE", 1),
        good.replacen("U1NI", "U1NI=", 1),
        spare_bits,
        format!("{BEGIN}{END}"),
        String::new(),
    ] {
        assert_ne!(other, good);
        assert_eq!(judge(&other).map(|_| ()), Err(Code::ArmorNotCanonical), "{other}");
    }
    // The last digit of a group that is not full has bits to spare.
    let spare = forger.sign_as(&Claim { namespace: "gi", ..Claim::default() }, PAYLOAD).armor();
    let at = spare.find('=').unwrap();
    for digit in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".chars() {
        let mut other = spare.clone();
        other.replace_range(at - 1..at, &digit.to_string());
        if other != spare
            && let Ok(signature) = Ssh::parse(other.as_bytes(), "gi")
        {
            assert!(signature.verify(PAYLOAD).is_err(), "{other}");
        }
    }
}

#[test]
fn a_signature_that_says_the_same_in_other_bytes_is_refused() {
    for algorithm in ALL {
        let good = Forger::new(algorithm).sign(PAYLOAD);
        let malformed = |change: fn(&mut Parts)| refused(&good.but(change), Code::MalformedSignature);
        malformed(|parts| parts.tail = vec![0]);
        malformed(|parts| parts.token.push(0));
        malformed(|parts| parts.value.push(0));
        malformed(|parts| parts.value.insert(0, 0));
        malformed(|parts| parts.key.push(0));
        malformed(|parts| parts.reserved = b"x".to_vec());
        malformed(|parts| parts.namespace.push(0));
        malformed(|parts| parts.algorithm = b"ssh-ed448".to_vec());
        let blob = good.blob();
        for end in 0..blob.len() {
            let code = judge(&encode_armor(&blob[..end])).map(|_| ()).unwrap_err();
            assert_eq!(code, Code::MalformedSignature, "{end} bytes of {}", blob.len());
        }
    }
}

#[test]
fn no_bit_of_a_signature_can_be_turned() {
    for algorithm in [Algorithm::Ed25519, Algorithm::Ecdsa(Curve::P256), Algorithm::SkEd25519, Algorithm::SkEcdsa] {
        let blob = Forger::new(algorithm).sign(PAYLOAD).blob();
        for bit in 0..blob.len() * 8 {
            let mut other = blob.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(judge(&encode_armor(&other)).is_err(), "{algorithm:?}: bit {bit}");
        }
    }
}

#[test]
fn what_is_signed_besides_the_content_must_be_as_git_has_it() {
    for algorithm in [Algorithm::Ed25519, Algorithm::Ecdsa(Curve::P384), Algorithm::SkEcdsa] {
        let forger = Forger::new(algorithm);
        for (claim, code) in [
            (Claim { namespace: "file", ..Claim::default() }, Code::MalformedSignature),
            (Claim { namespace: "", ..Claim::default() }, Code::MalformedSignature),
            (Claim { namespace: "git\0", ..Claim::default() }, Code::MalformedSignature),
            (Claim { namespace: "Git", ..Claim::default() }, Code::MalformedSignature),
            (Claim { reserved: "x", ..Claim::default() }, Code::MalformedSignature),
            (Claim { hash: "sha1", ..Claim::default() }, Code::WeakSignature),
            (Claim { hash: "sha384", ..Claim::default() }, Code::WeakSignature),
            (Claim { hash: "SHA512", ..Claim::default() }, Code::WeakSignature),
        ] {
            refused(&forger.sign_as(&claim, PAYLOAD), code);
        }
        // Version 1 is not signed, so nobody can have meant another one.
        refused(&forger.sign(PAYLOAD).but(|parts| parts.version = 2), Code::UnsupportedSignature);
        refused(&forger.sign(PAYLOAD).but(|parts| parts.version = 0), Code::UnsupportedSignature);
        // Signed for another hash than it names.
        refused(&forger.sign(PAYLOAD).but(|parts| parts.hash = b"sha256".to_vec()), Code::BadSignature);
    }
}

#[test]
fn a_signature_does_not_fit_another_key() {
    for algorithm in ALL {
        let alice = Forger::new(algorithm);
        let mallory = if algorithm == Algorithm::Rsa { Forger::rsa(3072, 65537) } else { Forger::new(algorithm) };
        let forged = mallory.sign(PAYLOAD).but(|parts| parts.key = alice.blob());
        refused(&forged, Code::BadSignature);
        // The other way round it fits, but it is mallory whom it names.
        let signature = judge(&mallory.sign(PAYLOAD).armor()).unwrap();
        assert_ne!(*signature.key(), SshKey::parse(alice.line().as_bytes()).unwrap());
    }
    // Nor a key of another kind.
    let (ed25519, token) = (Forger::new(Algorithm::Ed25519), Forger::new(Algorithm::SkEd25519));
    refused(&ed25519.sign(PAYLOAD).but(|parts| parts.key = token.blob()), Code::MalformedSignature);
    refused(&token.sign(PAYLOAD).but(|parts| parts.key = ed25519.blob()), Code::MalformedSignature);
}

#[test]
fn an_ed25519_signature_has_no_twin() {
    let order = "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed";
    let order = BigNum::from_hex_str(order).unwrap();
    for algorithm in [Algorithm::Ed25519, Algorithm::SkEd25519] {
        let good = Forger::new(algorithm).sign(PAYLOAD);
        let twin = good.but(|parts| {
            let little: Vec<_> = parts.value[32..].iter().rev().copied().collect();
            let mut sum = BigNum::new().unwrap();
            sum.checked_add(&BigNum::from_slice(&little).unwrap(), &order).unwrap();
            let sum: Vec<_> = sum.to_vec_padded(32).unwrap().into_iter().rev().collect();
            parts.value.splice(32.., sum);
        });
        judge(&good.armor()).unwrap();
        refused(&twin, Code::BadSignature);
    }
}

#[test]
fn the_twin_of_an_ecdsa_signature_is_valid_too() {
    for algorithm in [Algorithm::Ecdsa(Curve::P256), Algorithm::Ecdsa(Curve::P521), Algorithm::SkEcdsa] {
        let forger = Forger::new(algorithm);
        let good = forger.sign(PAYLOAD);
        let (r, s) = numbers_of(&good);
        let order = order_of(&forger);
        let mut other = BigNum::new().unwrap();
        other.checked_sub(&order, &s).unwrap();
        let twin = good.but(|parts| parts.value = numbers(&r, &other));
        assert_ne!(twin.armor(), good.armor());
        judge(&twin.armor()).unwrap();
        // But of no other numbers that are the same modulo the order.
        for (r, s) in [(&r + &*order, &s + &BigNum::new().unwrap()), (&r + &BigNum::new().unwrap(), &s + &*order)] {
            refused(&good.but(|parts| parts.value = numbers(&r, &s)), Code::BadSignature);
        }
    }
}

#[test]
fn numbers_are_positive_and_in_the_shortest_form() {
    let good = Forger::new(Algorithm::Ecdsa(Curve::P256)).sign(PAYLOAD);
    let (r, s) = numbers_of(&good);
    let digits = r.to_vec();
    let with_r = |number: &[u8]| {
        let s = Writer::default().positive(&s.to_vec()).0;
        let value = Writer::default().string(number).bytes(&s).0;
        good.but(|parts| parts.value = value)
    };
    let shortest = if digits[0] >= 0x80 { [&[0], digits.as_slice()].concat() } else { digits.clone() };
    judge(&with_r(&shortest).armor()).unwrap();
    let padded = [&[0], shortest.as_slice()].concat();
    let twice_padded = [&[0, 0], shortest.as_slice()].concat();
    let negative = [&[0x80], &digits[1..]].concat();
    for number in [padded.as_slice(), &twice_padded, &negative, b"", b"\0"] {
        refused(&with_r(number), Code::MalformedSignature);
    }
}

#[test]
fn short_numbers_of_ecdsa_are_read() {
    let forger = Forger::new(Algorithm::Ecdsa(Curve::P256));
    // One in 256 begins with a zero byte, which is then not written.
    let short =
        std::iter::repeat_with(|| forger.sign(PAYLOAD)).find(|parts| numbers_of(parts).0.num_bytes() < 32).unwrap();
    judge(&short.armor()).unwrap();
}

#[test]
fn an_rsa_signature_is_as_long_as_the_modulus() {
    let forger = Forger::new(Algorithm::Rsa);
    let keygen = Keygen::new();
    // One in 256 begins with a zero byte, which must be written.
    let payload = |number: u32| format!("content {number}").into_bytes();
    let number = (0..).find(|number| forger.sign(&payload(*number)).value[0] == 0).unwrap();
    let good = forger.sign(&payload(number));
    let verify = |parts: &Parts| {
        let signature = Ssh::parse(parts.armor().as_bytes(), GIT).map_err(|refusal| refusal.code())?;
        signature.verify(&payload(number)).map_err(|refusal| refusal.code())
    };
    assert_eq!(verify(&good), Ok(()));
    assert!(keygen.takes(&good.armor(), &payload(number)));
    let stripped = good.but(|parts| parts.value = parts.value[1..].to_vec());
    assert_eq!(verify(&stripped), Err(Code::MalformedSignature));
    let padded = good.but(|parts| parts.value.insert(0, 0));
    assert_eq!(verify(&padded), Err(Code::MalformedSignature));
    // The same number modulo n, which has the length of n where the sum does not run over.
    let Secret::Rsa(secret) = &forger.secret else { unreachable!() };
    let sum = &BigNum::from_slice(&good.value).unwrap() + secret.n();
    if let Ok(value) = sum.to_vec_padded(384) {
        assert_eq!(verify(&good.but(|parts| parts.value = value)), Err(Code::BadSignature));
    }
}

#[test]
fn rsa_signs_with_sha_256_and_sha_512_only() {
    let forger = Forger::new(Algorithm::Rsa);
    let sign = |rsa| forger.sign_as(&Claim { rsa, ..Claim::default() }, PAYLOAD);
    judge(&sign("rsa-sha2-256").armor()).unwrap();
    judge(&sign("rsa-sha2-512").armor()).unwrap();
    refused(&sign("ssh-rsa"), Code::WeakSignature);
    refused(&sign("rsa-sha2-384"), Code::MalformedSignature);
    refused(&sign("rsa-sha2-512").but(|parts| parts.algorithm = b"rsa-sha2-256".to_vec()), Code::BadSignature);
}

#[test]
fn somebody_must_have_touched_the_token() {
    for algorithm in [Algorithm::SkEd25519, Algorithm::SkEcdsa] {
        let forger = Forger::new(algorithm);
        let sign = |flags| forger.sign_as(&Claim { flags, ..Claim::default() }, PAYLOAD);
        // With the PIN besides, and with the bits of a key that is backed up.
        for flags in [0x01, 0x05, 0x1d] {
            judge(&sign(flags).armor()).unwrap();
        }
        for flags in [0x00, 0x04] {
            refused(&sign(flags), Code::WeakSignature);
        }
        refused(&sign(0).but(|parts| parts.token[0] = 1), Code::BadSignature);
        refused(&sign(1).but(|parts| parts.token[4] ^= 1), Code::BadSignature);
        refused(&sign(1).but(|parts| parts.token.truncate(1)), Code::MalformedSignature);
        refused(&sign(1).but(|parts| parts.token.clear()), Code::MalformedSignature);
    }
    // Nor does a key that is in no token have flags.
    let plain = Forger::new(Algorithm::Ed25519).sign(PAYLOAD);
    refused(&plain.but(|parts| parts.token = vec![1, 0, 0, 0, 1]), Code::MalformedSignature);
}

fn numbers_of(parts: &Parts) -> (BigNum, BigNum) {
    let mut reader = Reader(&parts.value);
    let mut number = || BigNum::from_slice(reader.positive().unwrap()).unwrap();
    (number(), number())
}

fn order_of(forger: &Forger) -> BigNum {
    let Secret::Ecdsa(_, key) = &forger.secret else { unreachable!() };
    let mut order = BigNum::new().unwrap();
    key.group().order(&mut order, &mut BigNumContext::new().unwrap()).unwrap();
    order
}

/// Puts a few bytes of noise in the place of others.
fn disturbed(data: &[u8], cuts: &[(usize, usize, Vec<u8>)]) -> Vec<u8> {
    let mut data = data.to_vec();
    for (at, length, noise) in cuts {
        let at = at % (data.len() + 1);
        let end = (at + length).min(data.len());
        data.splice(at..end, noise.iter().copied());
    }
    data
}

proptest! {
    #[test]
    fn any_text_that_is_read_is_the_one_form(
        which in 0..4usize,
        in_armor in any::<bool>(),
        cuts in vec((any::<usize>(), 0..3usize, vec(any::<u8>(), 0..3)), 1..3),
    ) {
        let algorithm = [ALL[0], ALL[1], ALL[5], ALL[6]][which];
        let good = Forger::new(algorithm).sign(PAYLOAD).blob();
        let text = if in_armor {
            disturbed(encode_armor(&good).as_bytes(), &cuts)
        } else {
            encode_armor(&disturbed(&good, &cuts)).into_bytes()
        };
        if let Ok(signature) = Ssh::parse(&text, GIT) {
            prop_assert_eq!(encode_armor(&signature.to_blob()).into_bytes(), text);
            let same = signature.to_blob() == good;
            prop_assert_eq!(signature.verify(PAYLOAD).is_ok(), same);
        }
    }

    #[test]
    fn no_bytes_make_a_parser_panic(data in vec(any::<u8>(), 0..300)) {
        prop_assert!(Ssh::parse(&data, GIT).is_err());
        prop_assert!(Ssh::parse(encode_armor(&data).as_bytes(), GIT).is_err());
        prop_assert!(Ssh::parse(encode_armor(&[b"SSHSIG\0\0\0\x01", data.as_slice()].concat()).as_bytes(), GIT).is_err());
        prop_assert!(SshKey::parse(&data).is_err());
        let _ = SshKey::from_blob(&data);
    }
}
