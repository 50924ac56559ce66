// SPDX-License-Identifier: Apache-2.0
//! The parsers on any bytes. What counts as a good history is tested with real keys, in tests/trust.

use std::collections::BTreeSet;

use gix::hash::Kind as Hash;
use proptest::collection::vec;
use proptest::prelude::*;

use super::commit::Commit;
use super::policy::Policy;
use super::signature::{OpenPgp, decode_armor, encode_armor};
use super::{Code, KeyName, NotAKeyName, tree};

const COMMIT: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904
parent 1111111111111111111111111111111111111111
parent 2222222222222222222222222222222222222222
author A <a@example.org> 1795363099 +0000
committer A <a@example.org> 1795363099 -0130
encoding UTF-8
gpgsig -----BEGIN PGP SIGNATURE-----
 
 iHUEABYIAB0WIQRfjOlo6cxCA91f88JoEbLJ7WKb6gUCawMRGwAKCRBoEbLJ7WKb
 6lmZAQDKwvlPrNt5itDAYHd+WfM92DujLb49XJbZ1SUAffNkUwD+MQF4Mr0LDhSZ
 Tdy9PHYIFVnpP3QWu4WZR239g8yk6ww=
 =HXTe
 -----END PGP SIGNATURE-----

subject

body
";

const POLICY: &str = "format: 1
version: 1
fleet: infra.example.org
ref: refs/heads/main
principals: {alice: {openpgp: [keys/alice.asc]}}
";

fn armored() -> String {
    let signature = Commit::parse(COMMIT.as_bytes(), Hash::Sha1).unwrap().signature.unwrap();
    String::from_utf8(signature).unwrap()
}

/// Puts a few bytes of `noise` in the place of others of `text`.
fn disturbed(text: &[u8], cuts: &[(usize, usize, Vec<u8>)]) -> Vec<u8> {
    let mut data = text.to_vec();
    for (at, length, noise) in cuts {
        let at = at % (data.len() + 1);
        let end = (at + length).min(data.len());
        data.splice(at..end, noise.iter().copied());
    }
    data
}

fn cuts() -> impl Strategy<Value = Vec<(usize, usize, Vec<u8>)>> {
    vec((any::<usize>(), 0..3usize, vec(any::<u8>(), 0..3)), 1..4)
}

fn parse_all(data: &[u8]) {
    let _ = Commit::parse(data, Hash::Sha1);
    let _ = Commit::parse(data, Hash::Sha256);
    let _ = tree::parse(data, Hash::Sha1);
    let _ = OpenPgp::parse(data);
    let _ = OpenPgp::parse(encode_armor(data).as_bytes());
    let _ = Policy::read(data, |_| Ok::<_, ()>(None));
    let _ = Policy::read(POLICY.as_bytes(), |_| Ok::<_, ()>(Some(data.to_vec())));
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(data in vec(any::<u8>(), 0..300)) {
        parse_all(&data);
    }

    #[test]
    fn no_disturbed_commit_makes_a_parser_panic(cuts in cuts()) {
        let data = disturbed(COMMIT.as_bytes(), &cuts);
        parse_all(&data);
        if let Ok(commit) = Commit::parse(&data, Hash::Sha1) {
            // The payload is the commit without its signature: both have all the rest.
            prop_assert_eq!(commit.payload.len() < data.len(), commit.signature.is_some());
        }
    }

    #[test]
    fn no_disturbed_signature_makes_a_parser_panic(cuts in cuts()) {
        let packet = decode_armor(armored().as_bytes()).unwrap();
        let packet = disturbed(&packet, &cuts);
        let _ = OpenPgp::parse(encode_armor(&packet).as_bytes());
        let _ = OpenPgp::parse(&disturbed(armored().as_bytes(), &cuts));
    }

    #[test]
    fn armor_holds_any_bytes_in_one_form_only(data in vec(any::<u8>(), 1..300), cuts in cuts()) {
        let text = encode_armor(&data);
        prop_assert_eq!(decode_armor(text.as_bytes()).unwrap(), data.clone());
        let other = disturbed(text.as_bytes(), &cuts);
        if other != text.as_bytes() && let Ok(content) = decode_armor(&other) {
            prop_assert_ne!(content, data);
        }
    }
}

#[test]
fn a_commit_comes_apart_as_it_was_put_together() {
    let commit = Commit::parse(COMMIT.as_bytes(), Hash::Sha1).unwrap();
    assert_eq!(commit.parents.len(), 2);
    let payload = String::from_utf8(commit.payload).unwrap();
    let (before, rest) = COMMIT.split_once("gpgsig ").unwrap();
    let (_, after) = rest.split_once("-----END PGP SIGNATURE-----\n").unwrap();
    assert_eq!(payload, format!("{before}{after}"));
    assert!(OpenPgp::parse(armored().as_bytes()).is_ok());
}

#[test]
fn a_signer_is_a_whole_openpgp_fingerprint() {
    let digits = "8a1f".repeat(10);
    let signer: KeyName = format!("openpgp:{digits}").parse().unwrap();
    assert_eq!(signer.to_string(), format!("openpgp:{}", digits.to_uppercase()));
    assert_eq!(signer, format!("openpgp:{}", digits.to_uppercase()).parse().unwrap());
    assert!(format!("openpgp:{}", "8a1f".repeat(16)).parse::<KeyName>().is_ok());
    for text in
        ["8a1f", "openpgp:", "openpgp:8a1f", &format!("openpgp:{digits} "), &format!("openpgp:0x{}", &digits[2..])]
    {
        assert!(matches!(text.parse::<KeyName>(), Err(NotAKeyName::OpenPgp(_) | NotAKeyName::Kind(_))), "{text}");
    }
    assert!(matches!("ssh:SHA256:abc".parse::<KeyName>(), Err(NotAKeyName::Ssh(_))));
}

#[test]
fn codes_are_distinct_and_in_kebab_case() {
    let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(texts.len(), Code::ALL.len());
    for text in texts {
        assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{text}");
    }
}
