// SPDX-License-Identifier: Apache-2.0
//! The chains of all tables, out of what `nft --json list ruleset` prints: libnftables-json(5).
//!
//! Other programs wrote the rules, so what is not understood is passed over.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::host::ruleset::TABLE;

/// All chains of all tables, in the order of the ruleset.
#[derive(Debug, Default)]
pub struct Ruleset<'j> {
    chains: Vec<Chain<'j>>,
    places: BTreeMap<ChainName<'j>, usize>,
}

/// Family, table and chain: `ip`, `filter`, `INPUT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainName<'j> {
    pub family: &'j str,
    pub table: &'j str,
    pub chain: &'j str,
}

impl ChainName<'_> {
    /// Whether it is in hostwrit's own table.
    pub fn is_own(self) -> bool {
        (self.family, self.table) == ("inet", TABLE)
    }
}

impl std::fmt::Display for ChainName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whoever made the chain chose its name.
        write!(f, "{} {} {}", self.family, self.table.escape_debug(), self.chain.escape_debug())
    }
}

/// A chain with its rules.
#[derive(Debug)]
pub struct Chain<'j> {
    pub name: ChainName<'j>,
    /// Where in the kernel packets enter the chain: `input`, `prerouting`. Empty for one that others jump to.
    pub hook: &'j str,
    /// `filter`, `nat` or `route`.
    pub kind: &'j str,
    /// What becomes of a packet that no rule decided on: `accept` or `drop`.
    pub policy: &'j str,
    /// The statements of each rule.
    pub rules: Vec<&'j [Value]>,
}

impl<'j> Ruleset<'j> {
    /// Reads the objects of a ruleset.
    pub fn of(objects: &'j [Value]) -> Self {
        let mut ruleset = Self::default();
        for object in objects {
            if let Some(chain) = object.get("chain") {
                ruleset.add_chain(chain);
            } else if let Some(rule) = object.get("rule") {
                ruleset.add_rule(rule);
            }
        }
        ruleset
    }

    /// Returns every chain.
    pub fn chains(&self) -> &[Chain<'j>] {
        &self.chains
    }

    /// Returns a chain of the same table as another, which jumps to it.
    pub fn beside(&self, from: ChainName<'j>, chain: &'j str) -> Option<&Chain<'j>> {
        self.chains.get(*self.places.get(&ChainName { chain, ..from })?)
    }

    /// Whether the table of this chain has one whose name begins so.
    pub fn has_beside(&self, from: ChainName<'_>, begin: &str) -> bool {
        self.chains.iter().any(|chain| {
            (chain.name.family, chain.name.table) == (from.family, from.table) && chain.name.chain.starts_with(begin)
        })
    }

    fn add_chain(&mut self, chain: &'j Value) {
        let Some(name) = name_of(chain, "name") else { return };
        self.places.insert(name, self.chains.len());
        let (hook, kind, policy) = (text(chain, "hook"), text(chain, "type"), text(chain, "policy"));
        self.chains.push(Chain { name, hook, kind, policy, rules: Vec::new() });
    }

    fn add_rule(&mut self, rule: &'j Value) {
        let Some(name) = name_of(rule, "chain") else { return };
        let statements = rule.get("expr").and_then(Value::as_array);
        if let (Some(place), Some(statements)) = (self.places.get(&name), statements) {
            self.chains[*place].rules.push(statements);
        }
    }
}

fn name_of<'j>(object: &'j Value, chain: &str) -> Option<ChainName<'j>> {
    let field = |key: &str| object.get(key).and_then(Value::as_str);
    Some(ChainName { family: field("family")?, table: field("table")?, chain: field(chain)? })
}

fn text<'j>(object: &'j Value, key: &str) -> &'j str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the only key of a statement and what it has: `drop` and null.
pub fn statement(statement: &Value) -> Option<(&str, &Value)> {
    statement.as_object()?.iter().next().map(|(key, value)| (key.as_str(), value))
}

/// Whether the statement is one of an extension of iptables with this name: nftables cannot say more of it.
pub fn is_xtables(statement: &Value, kind: &str, name: &str) -> bool {
    let xt = &statement["xt"];
    xt["type"] == kind && xt["name"] == name
}
