// SPDX-License-Identifier: Apache-2.0
use openssl::base64::encode_block;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509Builder;
use proptest::prelude::*;

use super::*;

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// Makes a certificate that ends at this time, as PEM.
fn pem(end: &Asn1TimeRef) -> String {
    let key = key();
    let mut builder = X509Builder::new().unwrap();
    builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
    builder.set_not_after(end).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
}

fn ends_at(seconds: i64) -> String {
    pem(&Asn1Time::from_unix(seconds).unwrap())
}

/// Makes a token of these claims. Nobody verifies what stands for the signature.
fn token(claims: &str) -> String {
    let part = |text: &str| encode_block(text.as_bytes()).trim_end_matches('=').replace('+', "-").replace('/', "_");
    format!("{}.{}.c2lnbmF0dXJl", part(r#"{"alg":"ES256","typ":"JWT"}"#), part(claims))
}

fn end(expiry: Expiry, content: &[u8]) -> Result<u64, &'static str> {
    of(expiry, content).map(|end| end.duration_since(UNIX_EPOCH).unwrap().as_secs())
}

const NONE: &str = "there is no certificate in it, in the form of PEM";
const DAMAGED: &str = "a certificate in it is damaged";

#[test]
fn the_first_certificate_to_end_counts() {
    let key = String::from_utf8(key().private_key_to_pem_pkcs8().unwrap()).unwrap();
    let (early, late) = (ends_at(1_700_000_000), ends_at(1_900_000_000));
    for (content, expected) in [
        (early.clone(), Ok(1_700_000_000)),
        (format!("{early}{late}"), Ok(1_700_000_000)),
        (format!("{late}{early}"), Ok(1_700_000_000)),
        // With what else such files hold: a key, words, the ends of lines of other systems.
        (format!("{key}subject=CN = site\n{late}\nmore\n"), Ok(1_900_000_000)),
        (late.replace('\n', "\r\n"), Ok(1_900_000_000)),
        (late.trim_end().to_owned(), Ok(1_900_000_000)),
        (key, Err(NONE)),
        (String::new(), Err(NONE)),
        (format!("{early}{}", late.replace("-----END", "-----end")), Err(DAMAGED)),
        (early.replacen("MI", "!!", 1), Err(DAMAGED)),
        (early.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1), Err(DAMAGED)),
        (format!("{late}-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), Err(DAMAGED)),
        (format!("-----BEGIN CERTIFICATE-----\n{early}"), Err(DAMAGED)),
    ] {
        assert_eq!(end(Expiry::Certificate, content.as_bytes()), expected, "{content}");
    }
}

#[test]
fn a_certificate_may_end_at_any_time() {
    for (time, expected) in [
        ("19600101000000Z", 0),
        ("19700101000001Z", 1),
        ("20491231235959Z", 2_524_607_999),
        ("20500101000000Z", 2_524_608_000),
        // What RFC 5280, section 4.1.2.5, has for one without an end.
        ("99991231235959Z", LATEST),
    ] {
        let content = pem(&Asn1Time::from_str_x509(time).unwrap());
        assert_eq!(end(Expiry::Certificate, content.as_bytes()), Ok(expected), "{time}");
    }
}

#[test]
fn the_claim_of_a_token_counts() {
    let none = Err("there is no JSON Web Token in it");
    let silent = Err("the token in it does not say when it expires (exp)");
    let odd = Err("the token in it says in no way that counts when it expires (exp)");
    for (content, expected) in [
        (token(r#"{"exp":1700000000}"#), Ok(1_700_000_000)),
        (token(r#"{"iss":"a","exp":1700000000.9,"nested":{"exp":1}}"#), Ok(1_700_000_000)),
        (format!("\n {}\n", token(r#"{"exp":0}"#)), Ok(0)),
        (token(r#"{"exp":253402300799}"#), Ok(LATEST)),
        // RFC 7519, section 6: without a signature.
        (token(r#"{"exp":1700000000}"#).replace("c2lnbmF0dXJl", ""), Ok(1_700_000_000)),
        (token(r#"{"iss":"a"}"#), silent),
        (token("{}"), silent),
        (token(r#"{"exp":"1700000000"}"#), odd),
        (token(r#"{"exp":null}"#), odd),
        (token(r#"{"exp":-1}"#), odd),
        (token(r#"{"exp":253402300800}"#), odd),
        (token(r#"{"exp":1e300}"#), odd),
        (token("[1700000000]"), none),
        (token("nonsense"), none),
        (token(r#"{"exp":1700000000"#), none),
        (String::new(), none),
        ("..".to_owned(), none),
        ("a.b".to_owned(), none),
        (token(r#"{"exp":1}"#).replacen('.', "=.", 2).replace("=.", "=="), none),
        // An encrypted one has five parts, and says nothing to others.
        (format!("{}.a.b", token(r#"{"exp":1700000000}"#)), none),
        // One to a file.
        (format!("{0}\n{0}", token(r#"{"exp":1700000000}"#)), none),
    ] {
        assert_eq!(end(Expiry::Jwt, content.as_bytes()), expected, "{content}");
    }
}

#[test]
fn each_letter_of_base64url_is_read() {
    let bytes: Vec<u8> = (0..=255).collect();
    for length in 0..bytes.len() {
        let text = encode_block(&bytes[..length]).trim_end_matches('=').replace('+', "-").replace('/', "_");
        assert_eq!(decode_url(text.as_bytes()).unwrap(), bytes[..length], "{text}");
    }
    for text in ["ab+c", "ab/c", "ab==", "ab c", "ab\nc", "é"] {
        assert_eq!(decode_url(text.as_bytes()), None, "{text}");
    }
}

/// A text of which a part is replaced, cut out or written twice.
fn damaged(text: &[u8], place: prop::sample::Index, length: usize, with: &[u8], is_twice: bool) -> Vec<u8> {
    let begin = place.index(text.len());
    let end = (begin + length).min(text.len());
    let rest = if is_twice { &text[begin..] } else { &text[end..] };
    [&text[..begin], with, rest].concat()
}

proptest! {
    #[test]
    fn no_bytes_bring_it_down(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for expiry in [Expiry::Certificate, Expiry::Jwt] {
            let _ = of(expiry, &bytes);
        }
        let framed = [BEGIN, b"\n", encode_block(&bytes).as_bytes(), b"\n", END].concat();
        prop_assert!(end(Expiry::Certificate, &framed).is_err() || bytes.len() > 100);
        let payload = encode_block(&bytes).trim_end_matches('=').replace('+', "-").replace('/', "_");
        let token = format!("e30.{payload}.");
        prop_assert!(end(Expiry::Jwt, token.as_bytes()).is_err());
    }

    #[test]
    fn what_is_damaged_has_an_end_or_none_and_no_other_outcome(
        place in any::<prop::sample::Index>(),
        length in 0_usize..40,
        with in prop::collection::vec(any::<u8>(), 0..8),
        is_twice in any::<bool>(),
    ) {
        let der = X509::from_pem(ends_at(1_700_000_000).as_bytes()).unwrap().to_der().unwrap();
        let der = damaged(&der, place, length, &with, is_twice);
        let framed = [BEGIN, b"\n", encode_block(&der).as_bytes(), b"\n", END].concat();
        let text = damaged(token(r#"{"exp":1700000000}"#).as_bytes(), place, length, &with, is_twice);
        for found in [end(Expiry::Certificate, &framed), end(Expiry::Jwt, &text)] {
            prop_assert!(found.is_err() || found.is_ok_and(|end| end <= LATEST));
        }
    }
}
