// SPDX-License-Identifier: Apache-2.0
//! The certificates by which the courier knows a server: those of the system, and those that somebody added to them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::x509::X509;

use crate::host::{FileKind, HostError, ReadHost, RealHost};
use crate::model::chain;
use crate::source::{Place, RemoteKind};

use super::Check;

const NAME: &str = "certificates";

/// What Debian's libraries trust; made by update-ca-certificates(8).
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What is made a part of it by that command: files whose name ends in `.crt`.
const LOCAL: &str = "/usr/local/share/ca-certificates";

/// An authority that ends sooner is told of.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Looks whether there are any, and whether those that were added count.
pub fn certificates(host: &RealHost, place: Option<&Place>) -> Check {
    if !place.is_some_and(|place| place.kind == RemoteKind::Http && place.is_encrypted) {
        return Check::skipped(NAME, "the remote is not reached by HTTPS");
    }
    let bundle = match host.read(Path::new(BUNDLE)) {
        Ok(bundle) => read(&bundle.unwrap_or_default()),
        Err(error) => return Check::failed(NAME, chain(&error), format!("look at {BUNDLE}")),
    };
    if bundle.is_empty() {
        let advice = "apt-get install ca-certificates && update-ca-certificates";
        return Check::failed(NAME, format!("{BUNDLE} is not there or holds none: no server is known"), advice);
    }
    let trusted: BTreeSet<Vec<u8>> = bundle.iter().filter_map(fingerprint).collect();
    match added(host) {
        Ok(added) => {
            let wrong = added.iter().find_map(|(path, content)| fault_of(path, content, &trusted, host.now()));
            wrong.unwrap_or_else(|| {
                Check::ok(NAME, format!("{} authorities are trusted, {} added here", trusted.len(), added.len()))
            })
        }
        Err(error) => Check::failed(NAME, chain(&error), format!("look at {LOCAL}")),
    }
}

/// Returns the files that somebody added, by path.
fn added(host: &RealHost) -> Result<Vec<(String, Vec<u8>)>, HostError> {
    let mut added = Vec::new();
    for name in host.list(Path::new(LOCAL))?.unwrap_or_default() {
        let path = Path::new(LOCAL).join(name);
        if host.stat(&path)?.is_some_and(|stat| stat.kind != FileKind::Directory)
            && let Some(content) = host.read(&path)?
        {
            added.push((path.display().to_string(), content));
        }
    }
    Ok(added)
}

fn fault_of(path: &str, content: &[u8], trusted: &BTreeSet<Vec<u8>>, now: SystemTime) -> Option<Check> {
    if !path.ends_with(".crt") {
        let advice = "give it a name that ends in .crt, then update-ca-certificates";
        return Some(Check::warning(NAME, format!("{path} is passed over, for its name does not end in .crt"), advice));
    }
    let certificates = read(content);
    let Some(first) = certificates.first() else {
        let advice = "write the authority's certificate into it as PEM: openssl x509 -inform der -in FILE";
        return Some(Check::warning(NAME, format!("{path} holds no certificate"), advice));
    };
    if ends_before(first, now) {
        let advice = "get the authority's new certificate, then update-ca-certificates; or look at the clock";
        return Some(Check::failed(NAME, format!("the certificate in {path} ended at {}", first.not_after()), advice));
    }
    if !certificates.iter().filter_map(fingerprint).all(|fingerprint| trusted.contains(&fingerprint)) {
        return Some(Check::failed(NAME, format!("{path} is not trusted yet"), "update-ca-certificates"));
    }
    ends_before(first, now + SOON).then(|| {
        let found = format!("the certificate in {path} ends at {}", first.not_after());
        Check::warning(NAME, found, "get the authority's new certificate before that")
    })
}

/// Returns the certificates in a text; what is none is passed over.
fn read(text: &[u8]) -> Vec<X509> {
    X509::stack_from_pem(text).unwrap_or_default()
}

fn fingerprint(certificate: &X509) -> Option<Vec<u8>> {
    Some(certificate.digest(MessageDigest::sha256()).ok()?.to_vec())
}

/// Whether it has ended at this time. One whose end cannot be understood has not.
fn ends_before(certificate: &X509, time: SystemTime) -> bool {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = i64::try_from(seconds).ok().and_then(|seconds| Asn1Time::from_unix(seconds).ok());
    time.is_some_and(|time| certificate.not_after() < time)
}

#[cfg(test)]
mod tests;
