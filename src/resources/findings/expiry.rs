// SPDX-License-Identifier: Apache-2.0
//! When what is in a file ends. Whoever may write the file chose the bytes: none of them is believed further than that, none
//! is shown, and no signature is verified.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::x509::X509;
use serde_json::{Map, Value};

use crate::resources::file::Expiry;

/// The last second of the year 9999: RFC 3339 can write no later one.
pub const LATEST: u64 = 253_402_300_799;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// Returns when the content ends, or why that cannot be told.
pub fn of(expiry: Expiry, content: &[u8]) -> Result<SystemTime, &'static str> {
    let seconds = match expiry {
        Expiry::Certificate => first_end(content),
        Expiry::Jwt => claim(content),
    };
    seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds.min(LATEST)))
}

/// Returns when the first of the certificates ends.
fn first_end(text: &[u8]) -> Result<u64, &'static str> {
    let damaged = "a certificate in it is damaged";
    let mut first: Option<u64> = None;
    for certificate in certificates(text).ok_or(damaged)? {
        let end = X509::from_der(&certificate).ok().and_then(|certificate| seconds_of(certificate.not_after()));
        let end = end.ok_or(damaged)?;
        first = Some(first.map_or(end, |first| first.min(end)));
    }
    first.ok_or("there is no certificate in it, in the form of PEM")
}

/// Returns the certificates of a text as DER: RFC 7468. All else, keys among it, is passed over. `None` if one is damaged.
///
/// Not through OpenSSL's reader of PEM: of what says that it is encrypted that asks for a passphrase, at the terminal of whoever
/// looks.
fn certificates(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut certificates = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        match &mut open {
            None => open = (line == BEGIN).then(Vec::new),
            Some(base64) if line == END => {
                certificates.push(decode(base64)?);
                open = None;
            }
            Some(base64) => base64.extend_from_slice(line),
        }
    }
    open.is_none().then_some(certificates)
}

/// Returns the seconds since 1970; a time before that counts as 1970.
fn seconds_of(time: &Asn1TimeRef) -> Option<u64> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// Returns the claim `exp` of a JSON Web Token: RFC 7519, in the compact form of RFC 7515, section 3.1.
fn claim(text: &[u8]) -> Result<u64, &'static str> {
    let no_token = "there is no JSON Web Token in it";
    let parts: Vec<&[u8]> = text.trim_ascii().splitn(4, |byte| *byte == b'.').collect();
    let [_header, payload, _signature] = parts.as_slice() else { return Err(no_token) };
    let claims = decode_url(payload).and_then(|json| serde_json::from_slice::<Map<String, Value>>(&json).ok());
    let exp = claims.ok_or(no_token)?.get("exp").ok_or("the token in it does not say when it expires (exp)")?.as_f64();
    let is_time = |exp: &f64| (0.0..=LATEST as f64).contains(exp);
    exp.filter(is_time).map(|exp| exp as u64).ok_or("the token in it says in no way that counts when it expires (exp)")
}

/// Reads base64url, which has no padding: RFC 4648, section 5.
fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    let standard = |byte: &u8| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        byte if byte.is_ascii_alphanumeric() => Some(*byte),
        _ => None,
    };
    let mut text: Vec<u8> = text.iter().map(standard).collect::<Option<_>>()?;
    text.resize(text.len().next_multiple_of(4), b'=');
    decode(&text)
}

fn decode(base64: &[u8]) -> Option<Vec<u8>> {
    openssl::base64::decode_block(std::str::from_utf8(base64).ok()?).ok()
}

#[cfg(test)]
mod tests;
