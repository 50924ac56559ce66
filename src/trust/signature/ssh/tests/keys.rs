// SPDX-License-Identifier: Apache-2.0
//! Which `.pub` files are good keys.

use openssl::ec::PointConversionForm;
use openssl::pkey::{Id, PKey};

use super::super::key::SMALL_ORDER;
use super::forge::pub_line;
use super::*;

/// Refuses both the listed key and a signature by it.
#[track_caller]
fn refused_key(algorithm: &str, blob: &[u8], code: Code, why: &str) {
    let fault = SshKey::parse(pub_line(algorithm, blob).as_bytes()).unwrap_err();
    assert!(fault.contains(why), "{fault}");
    let signature = Forger::new(Algorithm::Ed25519).sign(PAYLOAD).but(|parts| parts.key = blob.to_vec());
    refused(&signature, code);
}

#[test]
fn a_pub_file_is_one_line() {
    let line = Forger::new(Algorithm::Ed25519).line();
    let key = SshKey::parse(line.as_bytes()).unwrap();
    let [algorithm, base64, _] = line.split(' ').collect::<Vec<_>>()[..] else { unreachable!() };
    for good in [
        line.trim_end().to_owned(),
        format!("{algorithm} {base64}"),
        format!("{algorithm} {base64}\n"),
        format!("{algorithm} {base64} with a long comment, and ümlauts\n"),
    ] {
        assert_eq!(SshKey::parse(good.as_bytes()).as_ref(), Ok(&key), "{good}");
    }
    let unpadded = base64.trim_end_matches('=');
    for bad in [
        String::new(),
        "\n".to_owned(),
        format!("{line}\n"),
        format!("{line}{line}"),
        format!(" {line}"),
        format!("# alice\n{line}"),
        line.replace('\n', "\r\n"),
        line.replacen(' ', "  ", 1),
        line.replacen(' ', "\t", 1),
        format!("restrict {line}"),
        format!("from=\"10.0.0.0/8\" {line}"),
        format!("alice@example.org {line}"),
        base64.to_owned(),
        format!("{algorithm} {base64}="),
        format!("{algorithm} {}", &unpadded[..unpadded.len() - 1]),
        format!("ssh-rsa {base64}"),
        format!("sk-ssh-ed25519@openssh.com {base64}"),
        format!("SSH-ED25519 {base64}"),
        format!("{algorithm} {base64} {}", "c".repeat(20_000)),
        format!("{line}\0"),
        "---- BEGIN SSH2 PUBLIC KEY ----\n".to_owned(),
    ] {
        assert!(SshKey::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn the_base64_of_a_key_has_no_bits_to_spare() {
    // 104 bytes: the digit before the padding carries two bits of nothing.
    let line = Forger::new(Algorithm::Ecdsa(Curve::P256)).line();
    let (at, digit) = line.find('=').map(|at| (at - 1, line.as_bytes()[at - 1])).unwrap();
    for spare in 1..4 {
        // The next three digits of the alphabet, in most cases; something that is none in the others.
        let mut other = line.clone();
        other.replace_range(at..=at, &char::from(digit + spare).to_string());
        assert!(SshKey::parse(other.as_bytes()).is_err(), "{other}");
    }
    SshKey::parse(line.as_bytes()).unwrap();
}

#[test]
fn a_private_key_is_called_one() {
    let keygen = Keygen::new();
    let path = keygen.key("ed25519", "");
    let fault = SshKey::parse(&std::fs::read(path).unwrap()).unwrap_err();
    assert!(fault.starts_with("is a private key") && fault.contains("Retire it"), "{fault}");
}

#[test]
fn weak_keys_are_refused() {
    for (forger, why) in [
        (Forger::rsa(2048, 65537), "2048 bits"),
        (Forger::rsa(3064, 65537), "3064 bits"),
        (Forger::rsa(3072, 3), "unusual exponent"),
        (Forger::rsa(3072, 35), "unusual exponent"),
    ] {
        refused_key("ssh-rsa", &forger.blob(), Code::WeakSignature, why);
        refused(&forger.sign(PAYLOAD), Code::WeakSignature);
    }
    let rsa = |e: &[u8], n: &[u8]| Writer::default().string(b"ssh-rsa").positive(e).positive(n).0;
    let odd = [[0xff; 383].as_slice(), &[1]].concat();
    assert!(SshKey::from_blob(&rsa(&[1, 0, 1], &odd)).is_ok());
    for (e, n) in [
        ([1, 0, 0].as_slice(), odd.as_slice()),
        (&[1; 9], &odd),
        (&[1, 0, 1], &[[0xff; 383].as_slice(), &[2]].concat()),
        (&[1, 0, 1], &[0xff; 2049]),
    ] {
        refused_key("ssh-rsa", &rsa(e, n), Code::WeakSignature, "RSA key");
    }
    let dsa = Writer::default().string(b"ssh-dss").positive(&[1]).positive(&[1]).positive(&[1]).positive(&[1]).0;
    refused_key("ssh-dss", &dsa, Code::WeakSignature, "DSA");
}

#[test]
fn anybody_can_sign_for_an_ed25519_key_of_small_order() {
    // R is the neutral point and S zero: a signature that takes no secret. It fits one message in eight or more.
    let signature: [u8; 64] = std::array::from_fn(|at| u8::from(at == 0));
    for point in SMALL_ORDER {
        let key = PKey::public_key_from_raw_bytes(&point, Id::ED25519).unwrap();
        let fits = |message: u32| {
            Verifier::new_without_digest(&key).unwrap().verify_oneshot(&signature, &message.to_be_bytes()).unwrap()
        };
        assert!((0..1000).any(fits), "{point:02x?} need not be on the list");
        for sign in [0, 0x80] {
            let mut point = point;
            point[31] |= sign;
            let blob = Writer::default().string(b"ssh-ed25519").string(&point).0;
            refused_key("ssh-ed25519", &blob, Code::WeakSignature, "anybody can sign");
        }
    }
}

#[test]
fn keys_of_other_kinds_are_refused_by_name() {
    for kind in [
        "ssh-ed25519-cert-v01@openssh.com",
        "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "ssh-ed448",
        "ssh-mldsa44-ed25519@openssh.com",
        "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
        "rsa-sha2-512",
    ] {
        let blob = Writer::default().string(kind.as_bytes()).string(&[7; 32]).0;
        refused_key(kind, &blob, Code::UnsupportedSignature, kind);
    }
}

#[test]
fn a_certificate_of_ssh_keygen_is_refused_and_so_is_its_signature() {
    let keygen = Keygen::new();
    let (ca, alice) = (keygen.key("ecdsa", "256"), keygen.key("ed25519", ""));
    let (ca, path) = (ca.to_str().unwrap(), alice.to_str().unwrap());
    keygen.run(&["-q", "-s", ca, "-I", "alice", "-n", "alice", &format!("{path}.pub")], b"").unwrap();
    let certificate = format!("{path}-cert.pub");
    let fault = SshKey::parse(&std::fs::read(&certificate).unwrap()).unwrap_err();
    assert!(fault.contains("certificate") && fault.contains("plain key"), "{fault}");
    let armor = keygen.sign(certificate.as_ref(), GIT, "sha512", PAYLOAD);
    assert!(keygen.takes(&armor, PAYLOAD));
    assert_eq!(judge(&armor).map(|_| ()), Err(Code::UnsupportedSignature));
}

#[test]
fn a_key_in_other_bytes_is_refused() {
    let refused_key = |algorithm: Algorithm, blob: &[u8]| {
        refused_key(algorithm.as_str(), blob, Code::MalformedSignature, "is not");
    };
    for algorithm in ALL {
        let blob = Forger::new(algorithm).blob();
        SshKey::parse(pub_line(algorithm.as_str(), &blob).as_bytes()).unwrap();
        refused_key(algorithm, &[blob.as_slice(), &[0]].concat());
        refused_key(algorithm, &blob[..blob.len() - 1]);
    }
    let p256 = Algorithm::Ecdsa(Curve::P256);
    let forger = Forger::new(p256);
    let Secret::Ecdsa(_, key) = &forger.secret else { unreachable!() };
    let with_point =
        |curve: &[u8], point: &[u8]| Writer::default().string(b"ecdsa-sha2-nistp256").string(curve).string(point).0;
    let point = forger.point(key, PointConversionForm::UNCOMPRESSED);
    assert_eq!(with_point(b"nistp256", &point), forger.blob());
    refused_key(p256, &with_point(b"nistp384", &point));
    refused_key(p256, &with_point(b"nistp256", &forger.point(key, PointConversionForm::COMPRESSED)));
    refused_key(p256, &with_point(b"nistp256", &forger.point(key, PointConversionForm::HYBRID)));
    refused_key(p256, &with_point(b"nistp256", &[0]));
    refused_key(p256, &with_point(b"nistp256", &[&[4], [0; 64].as_slice()].concat()));
    refused_key(p256, &with_point(b"nistp256", &[&[4], [0xff; 64].as_slice()].concat()));
    // Beside the curve.
    let mut beside = point.clone();
    beside[64] ^= 1;
    refused_key(p256, &with_point(b"nistp256", &beside));

    let forger = Forger::new(Algorithm::Rsa);
    let Secret::Rsa(key) = &forger.secret else { unreachable!() };
    let (e, n) = (key.e().to_vec(), key.n().to_vec());
    let rsa = |e: &[u8], n: &[u8]| Writer::default().string(b"ssh-rsa").string(e).string(n).0;
    assert_eq!(rsa(&e, &[&[0], n.as_slice()].concat()), forger.blob());
    refused_key(Algorithm::Rsa, &rsa(&e, &n));
    refused_key(Algorithm::Rsa, &rsa(&e, &[&[0, 0], n.as_slice()].concat()));
    refused_key(Algorithm::Rsa, &rsa(&[&[0], e.as_slice()].concat(), &[&[0], n.as_slice()].concat()));
    refused_key(Algorithm::Rsa, &rsa(b"", &[&[0], n.as_slice()].concat()));
}

#[test]
fn the_application_of_a_token_is_part_of_its_key() {
    for algorithm in [Algorithm::SkEd25519, Algorithm::SkEcdsa] {
        let forger = Forger::new(algorithm);
        let blob = forger.blob();
        let other = [&blob[..blob.len() - 8], &[0, 0, 0, 4], b"ssh?"].concat();
        let other = SshKey::parse(pub_line(algorithm.as_str(), &other).as_bytes()).unwrap();
        assert_ne!(other, SshKey::parse(forger.line().as_bytes()).unwrap());
        refused(&forger.sign(PAYLOAD).but(|parts| parts.key = other.blob), Code::BadSignature);
    }
}
