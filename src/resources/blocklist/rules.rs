// SPDX-License-Identifier: Apache-2.0
//! Block lists to sets and rules of the packet filter, and back. Pure.

use std::collections::BTreeMap;

use crate::resources::firewall::statement::{Expression, Rule, Statement, normal};
use crate::resources::firewall::{Base, Chain, Family, Networks, Set, Table};

/// Before the ports, which have 0.
const PRIORITY: i64 = -10;

/// Returns the sets, and the chains that drop what comes from an address in them; nothing where there is no list.
pub(super) fn table(lists: &BTreeMap<String, Networks>) -> Table {
    let mut table = Table::default();
    if lists.is_empty() {
        return table;
    }
    let mut rules: Vec<Rule> = Vec::new();
    for (name, networks) in lists {
        for family in Family::ALL {
            let set = set_name(name, family);
            let from = Expression::payload(family.header(), "saddr");
            rules.push(vec![Statement::is(from, Expression::text(format!("@{set}"))), Statement::drop()]);
            table.sets.insert(set, Set::Addresses { family, networks: networks.of(family) });
        }
    }
    for hook in ["input", "forward"] {
        let policy = Some("accept".to_owned());
        let base = Base { kind: "filter".to_owned(), hook: hook.to_owned(), prio: PRIORITY, policy };
        let rules = rules.iter().cloned().map(normal).collect();
        table.chains.insert(format!("blocklist_{hook}"), Chain { base: Some(base), rules });
    }
    table
}

fn set_name(list: &str, family: Family) -> String {
    format!("blocklist_{}_{}", list.replace('-', "_"), family.suffix())
}

/// Returns the lists that a table holds.
pub(super) fn lists(table: &Table) -> BTreeMap<String, Option<Networks>> {
    let mut lists: BTreeMap<String, Option<Networks>> = BTreeMap::new();
    for (set, content) in &table.sets {
        let name = set.strip_prefix("blocklist_").and_then(|rest| rest.rsplit_once('_'));
        let Some((name, _)) = name else { continue };
        let name = name.replace('_', "-");
        let list = lists.entry(name).or_insert_with(|| Some(Networks::default()));
        *list = match (list.take(), content) {
            (Some(known), Set::Addresses { networks, .. }) => Some(known.and(networks.clone())),
            _ => None,
        };
    }
    lists
}
