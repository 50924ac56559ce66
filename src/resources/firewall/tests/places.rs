// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{Network, Networks, Place, resolve_places};
use crate::model::{Faults, Location, Origin};
use crate::resources::Contents;

struct Repo;

impl Contents for Repo {
    fn source(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(path.to_owned())
    }

    fn template(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(path.to_owned())
    }

    fn addresses(&self, place: &Place) -> Result<Vec<Network>, String> {
        match place.to_string().as_str() {
            "mgmt" => Ok(vec!["10.9.0.0/16".parse().unwrap()]),
            "host:db1" => Ok(vec!["10.1.0.5".parse().unwrap(), "2001:db8::5".parse().unwrap()]),
            "label:role=web" => Ok(vec!["10.1.0.6".parse().unwrap(), "10.1.0.7".parse().unwrap()]),
            "empty" => Ok(Vec::new()),
            other => Err(format!("there is no {other}")),
        }
    }
}

fn resolve(places: &[&str]) -> (Networks, Vec<String>) {
    let places: Vec<String> = places.iter().map(|place| (*place).to_owned()).collect();
    let origin = Origin { object: Location::file("hosts/web1.yaml"), fields: BTreeMap::new() };
    let mut faults = Faults::default();
    let networks = resolve_places("from", &places, &origin, &Repo, &mut faults);
    (networks, faults.iter().map(|fault| fault.message.clone()).collect())
}

#[test]
fn zones_hosts_labels_and_networks_become_networks() {
    let (networks, faults) = resolve(&["mgmt", "host:db1", "label:role=web", "192.0.2.0/24", "2001:db8:1::/48"]);
    assert_eq!(faults, Vec::<String>::new());
    let shown: Vec<String> = networks.ranges().map(|range| range.to_string()).collect();
    let expected = ["10.1.0.5-10.1.0.7", "10.9.0.0/16", "192.0.2.0/24", "2001:db8::5", "2001:db8:1::/48"];
    assert_eq!(shown, expected);
}

#[test]
fn what_leads_to_no_address_is_a_fault_and_never_anywhere() {
    for (place, fault) in [
        ("elsewhere", "there is no elsewhere"),
        ("host:db2", "there is no host:db2"),
        ("label:role=db", "there is no label:role=db"),
        ("label:role", "\"label:role\" is no label"),
        ("empty", "there is no address behind empty"),
        ("10.0.0.1/8", "\"10.0.0.1/8\" is an address inside of a network"),
        ("Mgmt", "\"Mgmt\" is neither an address nor a network"),
        ("", "\"\" is neither an address nor a network"),
    ] {
        assert_eq!(resolve(&[place]).1, [fault]);
    }
}
