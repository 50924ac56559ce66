// SPDX-License-Identifier: Apache-2.0
//! Addresses as the repo writes them beside the objects: `zones` of hostwrit.yaml, and `addresses` of hosts.

use std::collections::BTreeMap;

use crate::model::{Fault, Faults};
use crate::resources::firewall::{Network, fault_of_zone_name};
use crate::yaml::{Node, Value};

/// Returns what is wrong with the section `zones`, which is a map of lists of texts.
pub fn faults(section: &Node) -> Faults {
    let mut faults = Faults::default();
    let Value::Map(zones) = &section.value else { return faults };
    for zone in zones {
        if let Some(why) = fault_of_zone_name(&zone.key) {
            let what = format!("\"{}\" cannot be the name of a zone: {why}", zone.key);
            faults.push(Fault::new(zone.key_at.clone(), what).hint("write a name such as mgmt or office-2"));
        }
        let addresses = list(&zone.value, &mut faults);
        if addresses.is_some_and(|addresses| addresses.is_empty()) {
            let fault = Fault::new(zone.key_at.clone(), format!("zone \"{}\" is empty", zone.key));
            faults.push(fault.hint("give it a network, or take it out"));
        }
    }
    faults
}

/// Returns the networks of each zone; what is faulty is left out.
pub fn networks(zones: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<Network>> {
    let networks = |list: Vec<String>| list.iter().filter_map(|text| text.parse().ok()).collect();
    zones.into_iter().map(|(name, list)| (name, networks(list))).collect()
}

/// Reads a list of addresses and networks; `None` if any of it is faulty.
pub fn list(node: &Node, faults: &mut Faults) -> Option<Vec<Network>> {
    let Value::List(items) = &node.value else { return None };
    let mut networks = Vec::new();
    for item in items {
        // What is no text is a fault of the type.
        let Value::String(text) = &item.value else { continue };
        match text.parse::<Network>() {
            Ok(network) => networks.push(network),
            Err((what, hint)) => faults.push(Fault::new(item.at.clone(), what).hint(hint)),
        }
    }
    (networks.len() == items.len()).then_some(networks)
}
