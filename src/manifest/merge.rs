// SPDX-License-Identifier: Apache-2.0
//! Layers put on each other: profiles in the order that the host lists them, then the host file, which always wins.
//!
//! Fields and variables are the unit: lists and maps are values and replaced whole. Two profiles may say the same, but
//! where they disagree the host file must decide; an order of profiles that decides silently would hide mistakes.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::model::{Fault, Faults, Location};
use crate::yaml::Entry;

use super::layer::{Layer, Object, Sort, absent_with, other_than_absent};

/// An object with the fields that count.
#[derive(Debug)]
pub struct Merged {
    /// Where the object is named, in the layer that counts most.
    pub at: Location,
    pub fields: Vec<Entry>,
}

/// Merges the objects of one kind.
pub fn objects(layers: &[Rc<Layer>], key: &str, kind: &str, faults: &mut Faults) -> BTreeMap<String, Merged> {
    let mut named: BTreeMap<&str, Vec<(Sort, &Object)>> = BTreeMap::new();
    for layer in layers {
        for object in layer.objects.get(key).into_iter().flatten() {
            named.entry(&object.name).or_default().push((layer.sort, object));
        }
    }
    named.into_iter().map(|(name, layers)| (name.to_owned(), object(&layers, kind, name, faults))).collect()
}

fn object(layers: &[(Sort, &Object)], kind: &str, name: &str, faults: &mut Faults) -> Merged {
    let host = layers.iter().find(|(sort, _)| *sort == Sort::Host).map(|(_, object)| *object);
    let first = host.or_else(|| layers.first().map(|(_, object)| *object));
    let at = first.map_or_else(|| Location::file(""), |object| object.at.clone());
    // The host's `absent: true` wins over all that profiles say of the object.
    if let Some(host) = host.filter(|host| host.is_absent()) {
        return Merged { at, fields: host.fields.clone() };
    }
    let sets = layers.iter().map(|(sort, object)| (*sort, object.fields.as_slice()));
    let fields = merge(sets, |field| format!("\"{field}\" of {kind}:{name}"), faults);
    let of_one = |entry: &Entry| layers.iter().any(|(_, object)| object.is_absent() && has(&object.fields, entry));
    if let (true, Some(other)) = (super::layer::is_true(&fields, super::layer::ABSENT), other_than_absent(&fields)) {
        // Within one layer it is a fault of that layer, which it has noted itself.
        if !of_one(other) {
            faults.push(absent_with(other, kind, name, &fields));
        }
    }
    Merged { at, fields }
}

fn has(fields: &[Entry], entry: &Entry) -> bool {
    fields.iter().any(|field| field.key == entry.key)
}

/// Merges the variables.
pub fn variables(layers: &[Rc<Layer>], faults: &mut Faults) -> Vec<Entry> {
    let sets = layers.iter().map(|layer| (layer.sort, layer.vars.as_slice()));
    merge(sets, |name| format!("variable \"{name}\""), faults)
}

/// Merges the maintenance: as a whole, for half of one and half of another would be neither.
pub fn maintenance(layers: &[Rc<Layer>], faults: &mut Faults) -> Option<Entry> {
    let sets = layers.iter().map(|layer| (layer.sort, layer.maintenance.as_slice()));
    merge(sets, |key| format!("\"{key}\""), faults).pop()
}

fn merge<'l>(
    sets: impl Iterator<Item = (Sort, &'l [Entry])>,
    describe: impl Fn(&str) -> String,
    faults: &mut Faults,
) -> Vec<Entry> {
    let mut by_key: BTreeMap<&str, Vec<(Sort, &Entry)>> = BTreeMap::new();
    for (sort, entries) in sets {
        for entry in entries {
            by_key.entry(&entry.key).or_default().push((sort, entry));
        }
    }
    let mut merged = Vec::new();
    for (key, entries) in by_key {
        if let Some((_, host)) = entries.iter().find(|(sort, _)| *sort == Sort::Host) {
            merged.push((*host).clone());
            continue;
        }
        let Some(((_, first), others)) = entries.split_first() else { continue };
        for (_, other) in others {
            if !other.value.says_the_same(&first.value) {
                faults.push(
                    Fault::new(other.at().clone(), format!("{} is set differently by two profiles", describe(key)))
                        .hint(format!("the other is {}; set it in the host file, or in one profile only", first.at())),
                );
            }
        }
        merged.push((*first).clone());
    }
    merged
}
