// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, reason = "prepares a temporary root by hand")]

use std::fs;

use super::super::CheckResult;
use super::*;

/// Returns what is found with this `/etc/default/hostwrit`, and what is said of it.
fn with(file: &str, remote: &str) -> (Via, Check) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/default")).unwrap();
    fs::write(root.path().join("etc/default/hostwrit"), file).unwrap();
    let host = RealHost::open(root.path()).unwrap();
    let place = crate::source::place(remote);
    let via = of_courier(&host, place.as_ref());
    let check = check(&via, place.as_ref());
    (via, check)
}

const HTTPS: &str = "https://git.example.org/infra.git";

#[test]
fn the_proxy_is_the_one_that_the_library_takes() {
    let server = |server: &str| Via::Server(server.to_owned(), false);
    for (file, wanted) in [
        ("", Via::Nothing),
        ("https_proxy=\n#HTTPS_PROXY=http://p:1\nHTTP_PROXY=http://p:1\nhttp_proxy=http://p:1\n", Via::Nothing),
        ("HTTPS_PROXY='http://p.example.org:3128/'\n", server("p.example.org:3128")),
        ("all_proxy=socks5h://127.0.0.1:9050\nhttps_proxy=\"p:3128\"", server("p:3128")),
        ("https_proxy=http://me:hunter2@[2001:db8::1]:3128", server("[2001:db8::1]:3128")),
        ("https_proxy=http://p:3128\nno_proxy=localhost,.example.org", Via::Excepted),
        ("https_proxy=http://p:3128\nno_proxy=*", Via::Excepted),
        ("https_proxy=http://p:3128\nNO_PROXY=example.com,t.example.org", server("p:3128")),
    ] {
        let (via, check) = with(file, HTTPS);
        assert_eq!(via, wanted, "{file}");
        assert_eq!(check.result, CheckResult::Ok, "{file}: {check:?}");
        assert!(!check.found.contains("hunter2"));
    }
    assert_eq!(with("http_proxy=http://p:3128", "http://git.example.org/i.git").0, server("p:3128"));
    assert_eq!(with("https_proxy=http://p:3128", "ssh://git.example.org/i.git").1.result, CheckResult::Skipped);
}

#[test]
fn an_environment_that_cannot_be_read_is_told() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/default/hostwrit")).unwrap();
    let host = RealHost::open(root.path()).unwrap();
    let place = crate::source::place(HTTPS);
    let check = check(&of_courier(&host, place.as_ref()), place.as_ref());
    assert_eq!(check.result, CheckResult::Warning, "{check:?}");
    assert!(check.found.contains("cannot read /etc/default/hostwrit"), "{check:?}");
    assert!(check.advice.unwrap().contains("look at /etc/default/hostwrit"));
}

#[test]
fn a_proxy_that_cannot_be_one_is_told_with_how_to_write_it() {
    for (value, result, found) in [
        ("http://p.example.org", CheckResult::Warning, "p.example.org:1080 is used"),
        ("https://p.example.org/", CheckResult::Warning, "p.example.org:443 is used"),
        ("http://[2001:db8::1]", CheckResult::Warning, "[2001:db8::1]:1080 is used"),
        ("http://p:70000", CheckResult::Failed, "https_proxy has no number from 1 to 65535"),
        ("http://p:0", CheckResult::Failed, "https_proxy has no number"),
        ("http://p:port", CheckResult::Failed, "https_proxy has no number"),
        ("ftp://p:21", CheckResult::Failed, "https_proxy names a way to the proxy that there is not"),
        ("http://", CheckResult::Failed, "https_proxy does not name a server"),
        ("http://me:hunter2@", CheckResult::Failed, "https_proxy does not name a server"),
        ("http://p p:1", CheckResult::Failed, "https_proxy does not name a server"),
    ] {
        let (_, check) = with(&format!("https_proxy={value}\n"), HTTPS);
        assert_eq!(check.result, result, "{value}: {check:?}");
        assert!(check.found.contains(found) && !check.found.contains("hunter2"), "{value}: {check:?}");
        assert_eq!(check.advice.as_deref(), Some(ADVICE), "{value}");
    }
}
