// SPDX-License-Identifier: Apache-2.0
//! A table of the packet filter as values that can be compared: handles, counters and what a filter remembers of sources
//! are no part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::host::ruleset::TABLE;
use crate::host::{self, Ruleset};
use crate::resources::ObserveError;

use super::networks::Element;
use super::statement::{Rule, normal};
use super::{Family, Networks, Range};

/// What to do where nft writes no JSON: version 1.0.6 leaves the value out for a table that only its maker may change.
const OWNED: &str =
    "; nft 1.0.6 does so where a table has `flags owner`: stop the program that made it, or upgrade nft";

/// Chains and sets of one table, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub chains: BTreeMap<String, Chain>,
    pub sets: BTreeMap<String, Set>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// Where packets come into the chain; `None` for one that only rules lead to.
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

/// Where a chain is hooked into the way of packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// `filter`, `nat` or `route`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `prerouting`, `input`, `forward`, `output`, `postrouting`, `ingress`.
    pub hook: String,
    /// Chains of a lower number see a packet first.
    pub prio: i64,
    /// `accept` or `drop`: what becomes of a packet about which no rule says anything.
    #[serde(default)]
    pub policy: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Set {
    Addresses {
        family: Family,
        networks: Networks,
    },
    /// Holds a source for each one that a rule counts; of what is in it nothing is read.
    PerSource {
        family: Family,
        timeout: Option<u64>,
    },
    /// A set that hostwrit does not make.
    Other,
}

/// How many sources one set remembers; beyond that, new ones are not counted.
const SOURCES_MAX: u32 = 65_535;

impl Table {
    /// Returns hostwrit's own table from what was read; one that is not there is empty.
    ///
    /// # Errors
    /// The text is not what libnftables-json(5) says.
    pub fn read(ruleset: &Ruleset) -> Result<Self, ObserveError> {
        let mut tables = read_all(ruleset)?;
        let mut table = tables.remove(&("inet".to_owned(), TABLE.to_owned())).unwrap_or_default();
        for (name, elements) in ruleset.elements() {
            if let Some(set) = table.sets.get_mut(name) {
                set.fill(elements);
            }
        }
        Ok(table)
    }

    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.sets.is_empty()
    }

    /// Returns the chains and sets whose names `keep` says.
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        let chains = self.chains.iter().filter(|(name, _)| keep(name));
        let sets = self.sets.iter().filter(|(name, _)| keep(name));
        Self {
            chains: chains.map(|(name, chain)| (name.clone(), chain.clone())).collect(),
            sets: sets.map(|(name, set)| (name.clone(), set.clone())).collect(),
        }
    }

    /// Returns the objects of libnftables-json(5) that make the sets, chains and rules, as texts, in an order in which each is
    /// there before another one names it.
    pub fn objects(&self) -> Vec<String> {
        let sets = self.sets.iter().filter_map(|(name, set)| set.object(name));
        let chains = self.chains.iter().map(|(name, chain)| chain.object(name));
        let rules = self.chains.iter().flat_map(|(name, chain)| chain.rules.iter().map(|rule| rule_object(name, rule)));
        sets.chain(chains).chain(rules).collect()
    }
}

/// What every object in the table says of itself.
#[derive(Serialize)]
struct In<'n, T: Serialize> {
    family: &'static str,
    table: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'n str>,
    #[serde(flatten)]
    object: T,
}

/// Returns `{KIND: {family, table, name, ..}}` as text, not as a tree of values: a block list has a hundred thousand elements.
fn object<T: Serialize>(kind: &str, name: Option<&str>, object: T) -> String {
    let text = serde_json::to_string(&In { family: "inet", table: TABLE, name, object });
    // Names are strings and numbers are whole, so nothing of it can fail to become JSON.
    format!("{{\"{kind}\":{}}}", text.unwrap_or_default())
}

fn rule_object(chain: &str, rule: &Rule) -> String {
    #[derive(Serialize)]
    struct RuleText<'r> {
        chain: &'r str,
        expr: &'r Rule,
    }
    object("rule", None, RuleText { chain, expr: rule })
}

impl Chain {
    pub(super) fn object(&self, name: &str) -> String {
        object("chain", Some(name), &self.base)
    }
}

impl Set {
    /// Gives the set what is in it.
    fn fill(&mut self, elements: &host::Elements) {
        let Self::Addresses { networks, .. } = self else { return };
        match elements {
            host::Elements::Ranges(ranges) => {
                *networks = ranges.iter().map(|(first, last)| Range(*first, *last)).collect();
            }
            host::Elements::Other => *self = Self::Other,
        }
    }

    fn object(&self, name: &str) -> Option<String> {
        #[derive(Serialize)]
        struct SetText<'s> {
            #[serde(rename = "type")]
            kind: &'static str,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            flags: &'static [&'static str],
            #[serde(skip_serializing_if = "Option::is_none")]
            size: Option<u32>,
            #[serde(skip_serializing_if = "Option::is_none")]
            timeout: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            elem: Option<&'s Networks>,
        }
        let (family, flags, size, timeout, elem): (_, &'static [&'static str], _, _, _) = match self {
            Self::Addresses { family, networks } => {
                // nft takes no empty list.
                (*family, &["interval"], None, None, Some(networks).filter(|networks| !networks.is_empty()))
            }
            // That it is dynamic nft finds out by itself: version 1.0.6 neither writes nor takes that flag.
            Self::PerSource { family, timeout } => {
                (*family, if timeout.is_some() { &["timeout"] } else { &[] }, Some(SOURCES_MAX), *timeout, None)
            }
            Self::Other => return None,
        };
        let kind = match family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        Some(object("set", Some(name), SetText { kind, flags, size, timeout, elem }))
    }
}

/// Returns all tables that were read, by family and name.
///
/// # Errors
/// The text is not what libnftables-json(5) says.
pub fn read_all(ruleset: &Ruleset) -> Result<BTreeMap<(String, String), Table>, ObserveError> {
    let document: Document = serde_json::from_str(ruleset.json())
        .map_err(|error| ObserveError::Ruleset(format!("nft's answer cannot be understood: {error}{OWNED}")))?;
    let mut tables: BTreeMap<(String, String), Table> = BTreeMap::new();
    for object in document.nftables {
        match object {
            Object::Table { family, name } => drop(tables.entry((family, name)).or_default()),
            Object::Chain(ChainObject { family, table, name, base }) => {
                let table = tables.entry((family, table)).or_default();
                table.chains.entry(name).or_default().base = base;
            }
            Object::Rule(RuleObject { family, table, chain, expr }) => {
                let table = tables.entry((family, table)).or_default();
                table.chains.entry(chain).or_default().rules.push(normal(expr));
            }
            Object::Set(set) => {
                let (key, name) = ((set.family.clone(), set.table.clone()), set.name.clone());
                tables.entry(key).or_default().sets.insert(name, set.value());
            }
            Object::Other => {}
        }
    }
    Ok(tables)
}

#[derive(Deserialize)]
struct Document {
    nftables: Vec<Object>,
}

/// One entry of the list: a map of one key.
enum Object {
    Table { family: String, name: String },
    Chain(ChainObject),
    Rule(RuleObject),
    Set(SetObject),
    Other,
}

#[derive(Deserialize)]
struct TableObject {
    family: String,
    name: String,
}

#[derive(Deserialize)]
struct ChainObject {
    family: String,
    table: String,
    name: String,
    #[serde(flatten)]
    base: Option<Base>,
}

#[derive(Deserialize)]
struct RuleObject {
    family: String,
    table: String,
    chain: String,
    #[serde(default)]
    expr: Rule,
}

#[derive(Deserialize)]
struct SetObject {
    family: String,
    table: String,
    name: String,
    /// One name, or a list of them.
    #[serde(rename = "type")]
    kind: Value,
    #[serde(default)]
    flags: Flags,
    size: Option<u32>,
    timeout: Option<u64>,
    #[serde(default)]
    elem: Elements,
}

impl SetObject {
    fn value(self) -> Set {
        let family = match self.kind.as_str() {
            Some("ipv4_addr") => Family::V4,
            Some("ipv6_addr") => Family::V6,
            _ => return Set::Other,
        };
        let flags: BTreeSet<&str> = self.flags.iter().filter(|flag| *flag != "dynamic").collect();
        let are_addresses = flags == BTreeSet::from(["interval"]) && self.size.is_none() && self.timeout.is_none();
        let expected = if self.timeout.is_some() { BTreeSet::from(["timeout"]) } else { BTreeSet::new() };
        match self.size {
            None if are_addresses && self.elem.are_addresses => Set::Addresses { family, networks: self.elem.networks },
            Some(SOURCES_MAX) if flags == expected => Set::PerSource { family, timeout: self.timeout },
            _ => Set::Other,
        }
    }
}

/// One flag, or a list of them: versions of nft differ.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Flags {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Flags {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let flags = match self {
            Self::None => &[],
            Self::One(flag) => std::slice::from_ref(flag),
            Self::Many(flags) => flags.as_slice(),
        };
        flags.iter().map(String::as_str)
    }
}

/// The elements of a set, taken one by one: a block list has a hundred thousand.
struct Elements {
    networks: Networks,
    are_addresses: bool,
}

impl Default for Elements {
    fn default() -> Self {
        Self { networks: Networks::default(), are_addresses: true }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Any {
    Address(Element),
    Other(IgnoredAny),
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Elements;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Elements, A::Error> {
                let mut are_addresses = true;
                let mut ranges: Vec<Range> = Vec::new();
                while let Some(element) = list.next_element()? {
                    match element {
                        Any::Address(element) => match element.range() {
                            Ok(range) => ranges.push(range),
                            Err(_) => are_addresses = false,
                        },
                        Any::Other(_) => are_addresses = false,
                    }
                }
                Ok(Elements { networks: ranges.into_iter().collect(), are_addresses })
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of the packet filter")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object::Other;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        // A command of what is kept for the next boot.
                        "add" => object = map.next_value()?,
                        "table" => {
                            let TableObject { family, name } = map.next_value()?;
                            object = Object::Table { family, name };
                        }
                        "chain" => object = Object::Chain(map.next_value()?),
                        "rule" => object = Object::Rule(map.next_value()?),
                        "set" => object = Object::Set(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Entry)
    }
}
