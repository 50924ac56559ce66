// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, reason = "looks at a temporary root")]
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::host::{ReadHost as _, RealHost};
use crate::model::{Location, Mode, Owned};
use crate::resources::Resource as _;
use crate::resources::firewall::{Network, Place};

struct Nothing;

impl Contents for Nothing {
    fn source(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(path.to_owned())
    }

    fn template(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(path.to_owned())
    }

    fn addresses(&self, place: &Place) -> Result<Vec<Network>, String> {
        Err(format!("there is no {place}"))
    }
}

fn resolved(name: &str, yaml: &str) -> Result<Way, Faults> {
    let spec: Spec = crate::yaml::read("hosts/web1.yaml", yaml.as_bytes()).unwrap();
    let origin = Origin { object: Location::file("hosts/web1.yaml"), fields: BTreeMap::new() };
    <Egress as Filter>::resolve(name, spec, &origin, &Nothing)
}

fn declared(name: &str, yaml: &str) -> Declared<Way> {
    let origin = Origin { object: Location::file("hosts/web1.yaml"), fields: BTreeMap::new() };
    Declared { name: name.to_owned(), mode: Mode::Enforce, want: Some(resolved(name, yaml).unwrap()), origin }
}

#[test]
fn faults_are_named_all_at_once() {
    let faults = resolved("https", "{to: [host:db9, 10.0.0.0/99]}").unwrap_err();
    let messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
    let expected = [
        "there is no host:db9",
        "\"10.0.0.0/99\" is longer than an address",
        "\"https\" is no port: it has no protocol",
    ];
    assert_eq!(BTreeSet::from_iter(messages), BTreeSet::from(expected));
}

#[test]
fn ways_out_converge_under_another_root() {
    let dir = tempfile::tempdir().unwrap();
    let host = RealHost::open(dir.path()).unwrap();
    host.ensure_dir("/var/lib/hostwrit".as_ref(), 0o700).unwrap();
    let owned = Owned::default();
    let desired = [declared("443/tcp", "{}"), declared("53/udp", "{to: [10.0.0.53, \"2001:db8::53\"]}")];
    let steps = Egress::diff(&desired, &Egress::observe(&desired, &owned, &host).unwrap(), &owned);
    assert_eq!(steps.len(), 2);
    steps.iter().for_each(|step| Egress::apply(&step.operation, &host).unwrap());
    let observed = Egress::observe(&desired, &owned, &host).unwrap();
    assert!(Egress::diff(&desired, &observed, &owned).is_empty());
    let to: Vec<&str> = observed.entries.keys().map(String::as_str).collect();
    assert_eq!(to, ["443/tcp", "53/udp"]);
    let chain = &Table::read(&host.ruleset(Tables::Own).unwrap()).unwrap().chains["egress_output"];
    assert_eq!(chain.base.as_ref().unwrap().policy.as_deref(), Some("drop"), "all else is refused");
}
