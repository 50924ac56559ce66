// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::Location;

use super::*;

struct Nothing;

impl Contents for Nothing {
    fn source(&self, _: &str) -> Result<Arc<[u8]>, String> {
        Err("no contents".to_owned())
    }

    fn addresses(
        &self,
        _: &crate::resources::firewall::Place,
    ) -> Result<Vec<crate::resources::firewall::Network>, String> {
        Err("no hosts".to_owned())
    }

    fn template(&self, _: &str) -> Result<Arc<[u8]>, String> {
        Err("no contents".to_owned())
    }
}

fn resolved(name: &str, text: &str) -> Result<Desired, String> {
    let spec: Spec = serde_json::from_str(text).unwrap();
    let origin = Origin { object: Location::file("hosts/web1.yaml"), fields: BTreeMap::new() };
    Check::resolve(name, spec, &origin, &Nothing).map_err(|faults| faults.to_string())
}

#[test]
fn each_way_is_read_with_its_defaults() {
    let seconds = Duration::from_secs;
    for (text, way) in [
        (
            r#"{"http": "http://127.0.0.1/health"}"#,
            Way::Http { url: "http://127.0.0.1/health".to_owned(), status: 200 },
        ),
        (
            r#"{"http": "https://shop.example.org:8443", "status": 301}"#,
            Way::Http { url: "https://shop.example.org:8443".to_owned(), status: 301 },
        ),
        (r#"{"tcp": "127.0.0.1:5432"}"#, Way::Tcp("127.0.0.1:5432".to_owned())),
        (r#"{"tcp": "[::1]:5432"}"#, Way::Tcp("[::1]:5432".to_owned())),
        (r#"{"tcp": "db1.example.org:5432"}"#, Way::Tcp("db1.example.org:5432".to_owned())),
        (r#"{"unix": "/run/x.sock"}"#, Way::Unix("/run/x.sock".into())),
        (
            r#"{"command": ["/usr/bin/test", "-f", "/x"]}"#,
            Way::Command(["/usr/bin/test", "-f", "/x"].map(str::to_owned).into()),
        ),
    ] {
        let desired = Desired { way: Some(way), timeout: seconds(5), retries: 5, every: seconds(2) };
        assert_eq!(resolved("site", text), Ok(desired), "{text}");
    }
    let desired = resolved("a", r#"{"unix": "/x", "timeout": "500ms", "retries": 0, "every": "0s"}"#).unwrap();
    assert_eq!((desired.timeout, desired.retries, desired.every), (Duration::from_millis(500), 0, Duration::ZERO));
}

#[test]
fn what_cannot_be_tried_is_a_fault() {
    for (text, words) in [
        (r#"{"tcp": "a:1", "unix": "/x"}"#, "more than one way"),
        (r#"{"tcp": "a:1", "status": 200}"#, "only a check by http has a status"),
        (r#"{"http": "http://a/", "status": 42}"#, "from 100 to 599"),
        (r#"{"http": "ftp://a/"}"#, "http cannot be used"),
        (r#"{"http": "http://me:pass@a/"}"#, "http cannot be used"),
        (r#"{"http": "http:///x"}"#, "http cannot be used"),
        (r#"{"http": "http://a/ b"}"#, "http cannot be used"),
        (r#"{"tcp": "127.0.0.1"}"#, "tcp cannot be used"),
        (r#"{"tcp": "127.0.0.1:0"}"#, "tcp cannot be used"),
        (r#"{"tcp": "127.0.0.1:022"}"#, "tcp cannot be used"),
        (r#"{"tcp": "127.0.0.1:65536"}"#, "tcp cannot be used"),
        (r#"{"tcp": "::1:22"}"#, "tcp cannot be used"),
        (r#"{"unix": "run/x"}"#, "unix cannot be used"),
        (r#"{"command": []}"#, "command cannot be used"),
        (r#"{"command": ["test"]}"#, "command cannot be used"),
        (r#"{"unix": "/x", "timeout": "2m"}"#, "timeout \"2m\" cannot be used"),
        (r#"{"unix": "/x", "timeout": "0s"}"#, "timeout \"0s\" cannot be used"),
        (r#"{"unix": "/x", "every": "soon"}"#, "every \"soon\" cannot be used"),
        (r#"{"unix": "/x", "retries": 61}"#, "61 retries are too many"),
        (r#"{"unix": "/x", "retries": 10, "timeout": "1m"}"#, "longer than 5 minutes"),
    ] {
        let told = resolved("site", text).unwrap_err();
        assert!(told.contains(words), "{text}: {told}");
        assert!(!told.contains("pass@"), "{told}");
    }
    for name in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
        assert!(resolved(name, r#"{"unix": "/x"}"#).unwrap_err().contains("cannot be the name of a check"), "{name}");
    }
}

#[test]
fn an_object_that_says_nothing_of_its_way_is_no_fault_here_for_it_may_be_absent() {
    assert_eq!(resolved("site", "{}").map(|desired| desired.way), Ok(None));
}

#[test]
fn nothing_is_ever_done_to_a_check() {
    let declared = Declared {
        name: "site".to_owned(),
        mode: crate::model::Mode::Enforce,
        want: resolved("site", r#"{"unix": "/x"}"#).ok(),
        origin: Origin { object: Location::file("x"), fields: BTreeMap::new() },
    };
    assert!(Check::diff(&[declared], &(), &Owned::default()).is_empty());
}
