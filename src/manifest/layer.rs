// SPDX-License-Identifier: Apache-2.0
//! One host file or profile: what it says by itself, before layers are put on each other.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::model::fault::closest;
use crate::model::{Fault, Faults, Location};
use crate::resources::firewall::Network;
use crate::resources::{EachKind, Resource, each_kind};
use crate::yaml::{self, Entry, Node, Value};

use super::{maintenance, zones};

/// A key of every object: `absent: true` removes it.
pub const ABSENT: &str = "absent";
/// A key of every object: `observe: true` reports differences and never touches the object.
pub const OBSERVE: &str = "observe";

/// Which of the two files a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Host,
    Profile,
}

/// A host file or profile.
#[derive(Debug)]
pub struct Layer {
    pub sort: Sort,
    pub labels: BTreeMap<String, String>,
    /// Profiles by name, each with the place where the host lists it.
    pub profiles: Vec<(String, Location)>,
    /// Where the host can be reached; `None` if what is written is faulty.
    pub addresses: Option<Vec<Network>>,
    pub vars: Vec<Entry>,
    pub maintenance: Option<Entry>,
    /// Objects by the kind's key.
    pub objects: BTreeMap<String, Vec<Object>>,
    /// Whether the file could be parsed at all. If not, much may be missing that other files rely on.
    pub is_readable: bool,
    pub faults: Faults,
}

/// One object as one layer writes it.
#[derive(Debug)]
pub struct Object {
    pub name: String,
    pub at: Location,
    pub fields: Vec<Entry>,
}

impl Object {
    /// Returns whether the object says `absent: true`.
    pub fn is_absent(&self) -> bool {
        is_true(&self.fields, ABSENT)
    }
}

/// Whether `key` is there and true.
pub fn is_true(fields: &[Entry], key: &str) -> bool {
    fields.iter().any(|field| field.key == key && matches!(field.value.value, Value::Bool(true)))
}

impl Layer {
    /// Parses a file. What is faulty is left out, and noted in `faults`.
    pub fn parse(path: &str, text: &[u8], sort: Sort) -> Self {
        let mut layer = Self {
            sort,
            labels: BTreeMap::new(),
            profiles: Vec::new(),
            addresses: Some(Vec::new()),
            vars: Vec::new(),
            maintenance: None,
            objects: BTreeMap::new(),
            is_readable: true,
            faults: Faults::default(),
        };
        match yaml::parse(path, text) {
            Ok(root) => layer.fill(root),
            Err(faults) => {
                layer.faults = faults;
                layer.is_readable = false;
                layer.addresses = None;
            }
        }
        layer
    }

    fn fill(&mut self, root: Node) {
        let entries = match root.value {
            Value::Map(entries) => entries,
            Value::Null => Vec::new(),
            _ => {
                self.faults.push(
                    Fault::new(root.at, "the file must be a map")
                        .hint("begin with a key such as users: at the left edge"),
                );
                return;
            }
        };
        let kinds = kind_keys();
        for entry in entries {
            match (entry.key.as_str(), self.sort) {
                ("vars", _) => self.variables(entry),
                (maintenance::KEY, _) => self.maintenance(entry),
                ("labels", Sort::Host) => self.labels = self.typed(&entry).unwrap_or_default(),
                ("profiles", Sort::Host) => self.profiles(&entry),
                ("addresses", Sort::Host) => {
                    // The type first: what is no list of texts is told in the reader's words.
                    let is_list = self.typed::<Vec<String>>(&entry).is_some();
                    self.addresses = zones::list(&entry.value, &mut self.faults).filter(|_| is_list);
                }
                (key, _) if kinds.contains(&key) => self.section(entry),
                (key, sort) => {
                    let own: &[&str] = match sort {
                        Sort::Host => &["addresses", "labels", "profiles", "vars", maintenance::KEY],
                        Sort::Profile => &["vars", maintenance::KEY],
                    };
                    let known: Vec<&str> = own.iter().chain(&kinds).copied().collect();
                    let fault = Fault::new(entry.key_at, format!("unknown key \"{key}\""));
                    self.faults.push(match (key, closest(key, known.iter().copied())) {
                        ("addresses" | "labels" | "profiles", _) => {
                            fault.hint("only a host file has addresses, labels and profiles")
                        }
                        (_, Some(near)) => fault.hint(format!("did you mean \"{near}\"?")),
                        (_, None) => fault.hint(format!("known keys are {}", known.join(", "))),
                    });
                }
            }
        }
        let mut check = CheckFields { layer: self };
        each_kind(&mut check);
    }

    fn typed<T: DeserializeOwned>(&mut self, entry: &Entry) -> Option<T> {
        // Within a map of its own, so that faults can name the key.
        let at = entry.key_at.clone();
        let alone = Node { value: Value::Map(vec![entry.clone()]), at };
        match yaml::from_node::<BTreeMap<String, T>>(&alone) {
            Ok(mut map) => map.remove(&entry.key),
            Err(faults) => {
                self.faults.extend(faults);
                None
            }
        }
    }

    /// Returns the entries of a map; an empty value is an empty map.
    fn map(&mut self, entry: Entry) -> Vec<Entry> {
        match entry.value.value {
            Value::Map(entries) => entries,
            Value::Null => Vec::new(),
            _ => {
                let fault = Fault::new(entry.value.at, format!("\"{}\" must be a map", entry.key));
                self.faults.push(fault.hint("write each entry as NAME: VALUE, without a dash"));
                Vec::new()
            }
        }
    }

    fn variables(&mut self, entry: Entry) {
        self.vars = self.map(entry);
        let vars = std::mem::take(&mut self.vars);
        for var in &vars {
            if matches!(var.value.value, Value::Null) {
                let fault = Fault::new(var.value.at.clone(), format!("variable \"{}\" is empty", var.key));
                self.faults.push(fault.hint("write \"\" for empty text, or leave the variable out"));
            } else {
                // That it is of no use to templates is noted here; see `super::variables`.
                self.typed::<serde_json::Value>(var);
            }
        }
        self.vars = vars;
    }

    fn maintenance(&mut self, entry: Entry) {
        match maintenance::read(&entry) {
            Ok(_) => self.maintenance = Some(entry),
            Err(faults) => self.faults.extend(faults),
        }
    }

    fn profiles(&mut self, entry: &Entry) {
        let Some(names) = self.typed::<Vec<String>>(entry) else { return };
        let Value::List(items) = &entry.value.value else { return };
        for (name, item) in names.into_iter().zip(items) {
            if let Some((_, first)) = self.profiles.iter().find(|(known, _)| *known == name) {
                let fault = Fault::new(item.at.clone(), format!("profile \"{name}\" is listed twice"));
                self.faults.push(fault.hint(format!("the first is on line {}; keep one of the two", first.line)));
            } else {
                self.profiles.push((name, item.at.clone()));
            }
        }
    }

    fn section(&mut self, entry: Entry) {
        let key = entry.key.clone();
        let mut objects = Vec::new();
        for Entry { key: name, key_at: at, value } in self.map(entry) {
            match value.value {
                Value::Map(fields) => objects.push(Object { name, at, fields }),
                Value::Null => objects.push(Object { name, at, fields: Vec::new() }),
                _ => self.faults.push(
                    Fault::new(value.at, format!("\"{name}\" must be a map of fields"))
                        .hint(format!("write {name}: {{field: value}}")),
                ),
            }
        }
        self.objects.insert(key, objects);
    }
}

/// Checks the fields of every object by themselves, so that a fault is found even where another layer wins, and in a
/// profile that no host uses.
struct CheckFields<'l> {
    layer: &'l mut Layer,
}

impl EachKind for CheckFields<'_> {
    fn kind<R: Resource>(&mut self) {
        let mut faults = Faults::default();
        for object in self.layer.objects.get(R::KEY).into_iter().flatten() {
            faults.extend(specification::<R>(&object.at, &object.fields).1);
            if let (true, Some(other)) = (object.is_absent(), other_than_absent(&object.fields)) {
                faults.push(absent_with(other, R::KIND, &object.name, &object.fields));
            }
        }
        self.layer.faults.extend(faults);
    }
}

/// Reads the fields of an object: those that every object may have, and those that its kind knows.
///
/// Returns as well every fault of the fields. If there are any, the specification lacks the faulty fields.
pub fn specification<R: Resource>(at: &Location, fields: &[Entry]) -> (Option<R::Spec>, Faults) {
    let (of_all, of_kind): (Vec<_>, Vec<_>) =
        fields.iter().cloned().partition(|field| [ABSENT, OBSERVE].contains(&field.key.as_str()));
    let of_all = Node { value: Value::Map(of_all), at: at.clone() };
    let of_kind = Node { value: Value::Map(of_kind), at: at.clone() };
    let (spec, mut faults) = yaml::part_of_node(&of_kind, &[ABSENT, OBSERVE]);
    faults.extend(yaml::from_node::<BTreeMap<String, bool>>(&of_all).err().into_iter().flatten());
    (spec, faults)
}

/// Returns the first field that an absent object cannot have.
pub fn other_than_absent(fields: &[Entry]) -> Option<&Entry> {
    fields.iter().find(|field| ![ABSENT, OBSERVE].contains(&field.key.as_str()))
}

/// The fault of an object that shall be gone and yet have a field.
pub fn absent_with(field: &Entry, kind: &str, name: &str, fields: &[Entry]) -> Fault {
    let fault =
        Fault::new(field.key_at.clone(), format!("\"{}\" is set for {kind}:{name}, which shall be absent", field.key));
    match fields.iter().find(|field| field.key == ABSENT).map(|absent| &absent.key_at) {
        Some(absent) if absent.file != field.key_at.file => fault.hint(format!(
            "{absent} says absent: true; remove one of the two, or write absent: false in the host file"
        )),
        _ => fault.hint("remove the field, or write absent: false"),
    }
}

/// Returns the top-level keys of all kinds.
pub fn kind_keys() -> Vec<&'static str> {
    struct Keys(Vec<&'static str>);
    impl EachKind for Keys {
        fn kind<R: Resource>(&mut self) {
            self.0.push(R::KEY);
        }
    }
    let mut keys = Keys(Vec::new());
    each_kind(&mut keys);
    keys.0
}
