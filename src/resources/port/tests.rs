// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, reason = "looks at a temporary root")]
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::host::{ReadHost as _, RealHost};
use crate::model::{Action, Location, Mode, ObjectId, Owned, Step};
use crate::resources::Resource as _;
use crate::resources::firewall::{Network, Operation, Packet, Place, Protocol, admits};

struct Repo;

impl Contents for Repo {
    fn source(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(format!("there is no files/{path}"))
    }

    fn template(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(format!("there is no templates/{path}"))
    }

    fn addresses(&self, place: &Place) -> Result<Vec<Network>, String> {
        match place {
            Place::Zone(name) if name == "mgmt" => Ok(vec!["10.9.0.0/16".parse().unwrap()]),
            other => Err(format!("there is no {other}")),
        }
    }
}

fn origin() -> Origin {
    Origin { object: Location::file("hosts/web1.yaml"), fields: BTreeMap::new() }
}

fn resolved(name: &str, yaml: &str) -> Result<DesiredPort, Faults> {
    let spec: Spec = crate::yaml::read("hosts/web1.yaml", yaml.as_bytes()).unwrap();
    <Port as Filter>::resolve(name, spec, &origin(), &Repo)
}

fn declared(name: &str, yaml: &str) -> Declared<DesiredPort> {
    let want = Some(resolved(name, yaml).unwrap());
    Declared { name: name.to_owned(), mode: Mode::Enforce, want, origin: origin() }
}

fn absent(name: &str) -> Declared<DesiredPort> {
    Declared { name: name.to_owned(), mode: Mode::Enforce, want: None, origin: origin() }
}

fn watched(name: &str, yaml: &str) -> Declared<DesiredPort> {
    Declared { mode: Mode::Observe, ..declared(name, yaml) }
}

/// A root directory whose ruleset is what is kept in it.
fn host() -> (tempfile::TempDir, RealHost) {
    let dir = tempfile::tempdir().unwrap();
    let host = RealHost::open(dir.path()).unwrap();
    host.ensure_dir("/var/lib/hostwrit".as_ref(), 0o700).unwrap();
    (dir, host)
}

/// Carries out what is to be done, as apply does, and returns it in short: sign, object, changes.
fn converge(desired: &[Declared<DesiredPort>], owned: &mut Owned, host: &RealHost) -> Vec<String> {
    let observed = Port::observe(desired, owned, host).unwrap();
    let steps = Port::diff(desired, &observed, owned);
    for step in &steps {
        let is_watched = desired.iter().any(|d| d.name == step.object.name() && d.mode == Mode::Observe);
        if !is_watched {
            owned.claim(&step.object, &step.ownership);
            Port::apply(&step.operation, host).unwrap();
            owned.give_up(&step.object, &step.ownership);
        }
    }
    steps.iter().map(shown).collect()
}

fn shown(step: &Step<Operation>) -> String {
    let value = |value: &Shown| match value {
        Shown::Nothing => "nothing".to_owned(),
        Shown::Text(text) => text.clone(),
        Shown::Secret => "secret".to_owned(),
    };
    let change = |change: &Change| format!(" {}: {} -> {}", change.field, value(&change.from), value(&change.to));
    let changes: String = step.changes.iter().map(change).collect();
    format!("{} {}{changes}", step.action.sign(), step.object.name())
}

fn is_open(host: &RealHost, source: &str, protocol: Protocol, port: u16) -> bool {
    let table = Table::read(&host.ruleset(Tables::Own).unwrap()).unwrap();
    admits(&table, Packet { source: source.parse().unwrap(), protocol, port })
}

#[test]
fn every_field_of_a_port_is_read() {
    let port =
        resolved("22/tcp", "{from: [mgmt, 192.0.2.7], rate: 6/minute, connections: 3, log: true, management: true}");
    let DesiredPort { opening, management } = port.unwrap();
    assert!(management && opening.log);
    assert_eq!(firewall::shown(&opening.from), "10.9.0.0/16, 192.0.2.7");
    assert_eq!(opening.rate.unwrap().to_string(), "6/minute");
    assert_eq!(opening.connections, Some(3));
    assert_eq!(
        resolved("22/tcp", "{from: []}").unwrap(),
        resolved("22/tcp", "{}").unwrap(),
        "nobody is named: anybody"
    );
    let all = resolved("22/tcp", "{from: [0.0.0.0/0, \"::/0\"]}").unwrap();
    assert_eq!(all, resolved("22/tcp", "{}").unwrap(), "all of both families is anybody");
}

#[test]
fn faults_are_named_all_at_once() {
    let faults = resolved("ssh", "{from: [office], rate: often, connections: 0}").unwrap_err();
    let messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
    let expected = [
        "there is no office",
        "\"often\" is no rate",
        "0 connections cannot be counted",
        "\"ssh\" is no port: it has no protocol",
    ];
    assert_eq!(BTreeSet::from_iter(messages), BTreeSet::from(expected));
    for rate in ["6", "0/minute", "6/week", "+6/minute", "-1/second", "1000001/second", "6/ minute"] {
        assert!(resolved("22/tcp", &format!("{{rate: \"{rate}\"}}")).is_err(), "{rate}");
    }
    assert!(resolved("22/tcp", "{connections: 65536}").is_err());
}

#[test]
fn ports_open_change_and_close_and_what_is_not_declared_is_closed() {
    let (_dir, host) = host();
    let mut owned = Owned::default();
    assert!(is_open(&host, "192.0.2.1", Protocol::Tcp, 9), "without any port nothing is filtered");

    let first = [declared("22/tcp", "{from: [mgmt], rate: 6/minute}"), declared("8000-8010/udp", "{}")];
    let steps = converge(&first, &mut owned, &host);
    assert_eq!(
        steps,
        [
            "+ 22/tcp from: nothing -> 10.9.0.0/16 rate: nothing -> 6/minute",
            "+ 8000-8010/udp from: nothing -> anywhere"
        ]
    );
    assert!(is_open(&host, "10.9.3.1", Protocol::Tcp, 22));
    assert!(!is_open(&host, "192.0.2.1", Protocol::Tcp, 22));
    assert!(!is_open(&host, "2001:db8::1", Protocol::Tcp, 22), "a port for IPv4 addresses is closed to IPv6");
    assert!(is_open(&host, "2001:db8::1", Protocol::Udp, 8010));
    assert!(!is_open(&host, "2001:db8::1", Protocol::Tcp, 8010));
    assert_eq!(converge(&first, &mut owned, &host), [""; 0], "the second plan is empty");

    let second = [declared("22/tcp", "{from: [mgmt, \"2001:db8::/32\"], log: true}")];
    let steps = converge(&second, &mut owned, &host);
    assert_eq!(
        steps,
        [
            "~ 22/tcp from: 10.9.0.0/16 -> 10.9.0.0/16, 2001:db8::/32 rate: 6/minute -> nothing log: nothing -> yes",
            "- 8000-8010/udp from: anywhere -> nothing"
        ]
    );
    assert!(is_open(&host, "2001:db8::1", Protocol::Tcp, 22));
    assert!(!is_open(&host, "2001:db8::1", Protocol::Udp, 8010));

    assert_eq!(
        converge(&[absent("22/tcp")], &mut owned, &host),
        ["- 22/tcp from: 10.9.0.0/16, 2001:db8::/32 -> nothing"]
    );
    assert!(is_open(&host, "192.0.2.1", Protocol::Tcp, 9), "the last port takes the default with it");
    assert_eq!(owned, Owned::default());
    assert_eq!(converge(&[], &mut owned, &host), [""; 0]);
}

#[test]
fn what_is_watched_is_told_and_stays_as_it_is() {
    let (_dir, host) = host();
    let mut owned = Owned::default();
    converge(&[declared("22/tcp", "{}"), declared("80/tcp", "{from: [mgmt]}")], &mut owned, &host);
    let desired = [declared("22/tcp", "{from: [mgmt]}"), watched("80/tcp", "{}"), watched("81/tcp", "{}")];
    let steps = converge(&desired, &mut owned, &host);
    assert_eq!(
        steps,
        [
            "~ 22/tcp from: anywhere -> 10.9.0.0/16",
            "~ 80/tcp from: 10.9.0.0/16 -> anywhere",
            "+ 81/tcp from: nothing -> anywhere"
        ]
    );
    assert!(!is_open(&host, "192.0.2.1", Protocol::Tcp, 80));
    assert!(is_open(&host, "10.9.0.1", Protocol::Tcp, 80));
    assert!(!is_open(&host, "10.9.0.1", Protocol::Tcp, 81));
}

#[test]
fn what_somebody_else_did_to_the_table_is_put_right() {
    let (dir, host) = host();
    let mut owned = Owned::default();
    let desired = [declared("22/tcp", "{from: [mgmt]}"), declared("80/tcp", "{}")];
    converge(&desired, &mut owned, &host);
    let kept = dir.path().join("var/lib/hostwrit/firewall/ports.json");
    let text = std::fs::read_to_string(&kept).unwrap();
    for (found, put, step) in [
        (
            "\"right\":80}",
            "\"right\":81}",
            vec!["+ 80/tcp from: nothing -> anywhere", "- 81/tcp from: anywhere -> nothing"],
        ),
        (
            "\"policy\":\"drop\"",
            "\"policy\":\"accept\"",
            vec![
                "~ 22/tcp table: changed by somebody else -> as declared at boot: changed by somebody else -> as declared",
            ],
        ),
        ("10.9.0.0", "10.8.0.0", vec!["~ 22/tcp from: 10.8.0.0/16 -> 10.9.0.0/16"]),
        ("\"op\":\"!=\"", "\"op\":\"==\"", vec!["~ 22/tcp rules: changed by somebody else -> as declared"]),
    ] {
        assert!(text.contains(found), "{found} in {text}");
        std::fs::write(&kept, text.replace(found, put)).unwrap();
        assert_eq!(converge(&desired, &mut owned, &host), step, "{put}");
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), text);
    }
    std::fs::write(&kept, "{}").unwrap();
    let error = Port::observe(&desired, &owned, &host).unwrap_err().to_string();
    assert!(error.contains("ports.json is not what hostwrit keeps there; remove it"), "{error}");
}

#[test]
fn a_step_that_was_carried_out_is_not_carried_out_again_for_the_next_port() {
    let (dir, host) = host();
    let desired = [declared("22/tcp", "{}"), declared("80/tcp", "{}")];
    let observed = Port::observe(&desired, &Owned::default(), &host).unwrap();
    let steps = Port::diff(&desired, &observed, &Owned::default());
    assert!(steps.iter().all(|step| step.action == Action::Add));
    Port::apply(&steps[0].operation, &host).unwrap();
    assert!(is_open(&host, "192.0.2.1", Protocol::Tcp, 80), "the first opens all");
    let kept = dir.path().join("var/lib/hostwrit/firewall/ports.json");
    std::fs::remove_file(&kept).unwrap();
    Port::apply(&steps[1].operation, &host).unwrap();
    assert!(!kept.exists(), "the second has nothing left to do");
    assert_eq!(ObjectId::new("port", "22/tcp"), steps[0].object);
}
