// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, reason = "prepares a temporary root by hand")]

use std::fs;

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::X509Builder;

use super::super::CheckResult;
use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes a certificate that ends so many days from now.
fn certificate(days: i64) -> String {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let at = |days: i64| Asn1Time::from_unix(now + days * i64::try_from(DAY.as_secs()).unwrap()).unwrap();
    let mut builder = X509Builder::new().unwrap();
    builder.set_not_before(&at(-100)).unwrap();
    builder.set_not_after(&at(days)).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
}

#[test]
fn authorities_are_there_and_those_that_were_added_count() {
    let root = tempfile::tempdir().unwrap();
    let host = RealHost::open(root.path()).unwrap();
    let put = |path: &str, content: &str| {
        let path = root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let remove = |path: &str| fs::remove_file(root.path().join(path.trim_start_matches('/'))).unwrap();
    let place = crate::source::place("https://git.example.org/infra.git");
    let demand = |result: CheckResult, found: &str, advice: &str| {
        let check = certificates(&host, place.as_ref());
        assert_eq!(check.result, result, "{check:?}");
        assert!(check.found.contains(found), "{check:?}");
        assert!(check.advice.as_deref().unwrap_or_default().contains(advice), "{check:?}");
    };
    use CheckResult::{Failed, Ok as Fine, Skipped, Warning};

    demand(Failed, "no server is known", "apt-get install ca-certificates");
    put(BUNDLE, "nothing of the kind");
    demand(Failed, "no server is known", "update-ca-certificates");
    let (public, own, ended, ending) = (certificate(900), certificate(900), certificate(-1), certificate(20));
    put(BUNDLE, &public);
    demand(Fine, "1 authorities are trusted, 0 added here", "");

    let place_of = |name: &str| format!("{LOCAL}/{name}");
    put(&place_of("deeper/ignored.pem"), &own);
    demand(Fine, "0 added here", "");
    put(&place_of("own.pem"), &own);
    demand(Warning, "own.pem is passed over", "ends in .crt");
    remove(&place_of("own.pem"));
    put(&place_of("own.crt"), &own);
    demand(Failed, "own.crt is not trusted yet", "update-ca-certificates");
    put(BUNDLE, &format!("{public}{own}{ended}{ending}"));
    demand(Fine, "4 authorities are trusted, 1 added here", "");
    put(&place_of("own.crt"), "DER");
    demand(Warning, "own.crt holds no certificate", "as PEM");
    put(&place_of("own.crt"), &ended);
    demand(Failed, "the certificate in /usr/local/share/ca-certificates/own.crt ended at", "look at the clock");
    put(&place_of("own.crt"), &ending);
    demand(Warning, "own.crt ends at", "new certificate before that");

    for other in ["http://git.example.org/infra.git", "ssh://git.example.org/infra.git", "/srv/infra.git"] {
        let check = certificates(&host, crate::source::place(other).as_ref());
        assert_eq!(check.result, Skipped, "{other}: {check:?}");
    }
}
