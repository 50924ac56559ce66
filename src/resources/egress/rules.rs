// SPDX-License-Identifier: Apache-2.0
//! Ways out to rules of the packet filter, and back. Pure.

use std::collections::BTreeMap;

use serde_json::json;

use crate::resources::firewall::statement::{Expression, Rule, Statement, Verdict, normal};
use crate::resources::firewall::{
    Base, Chain, Family, Networks, Ports, Table, always, inside, is_port, outside, verdicts,
};

use super::Way;

/// The chain that packets of this host pass.
const OUTPUT: &str = "egress_output";

/// Returns the chains that let these ways out and no others; nothing where there is none.
pub(super) fn table<'w>(ways: impl Iterator<Item = &'w Way>) -> Table {
    let ways: Vec<&Way> = ways.collect();
    let mut table = Table::default();
    if ways.is_empty() {
        return table;
    }
    for way in &ways {
        table.chains.extend(own_chain(way).map(|chain| (chain_name(way.ports), chain)));
    }
    let mut rules = always("oif");
    // A lease is asked for before anybody is known to be there (RFC 2131, 4.1; RFC 8415, 7.2).
    rules.extend([(68, 67), (546, 547)].map(|(client, server)| ask_for_lease(client, server)));
    rules.extend(ways.iter().map(|way| {
        let verdict = if way.to.is_empty() { Verdict::Accept(()) } else { Verdict::jump(chain_name(way.ports)) };
        vec![is_port(Expression::payload(way.ports.protocol.name(), "dport"), way.ports), Statement::Verdict(verdict)]
    }));
    // Programs are told at once, rather than left to wait.
    rules.push(vec![Statement::Other(json!({"reject": {"type": "icmpx", "expr": "admin-prohibited"}}))]);
    let base = Base { kind: "filter".to_owned(), hook: "output".to_owned(), prio: 0, policy: Some("drop".to_owned()) };
    let rules = rules.into_iter().map(normal).collect();
    table.chains.insert(OUTPUT.to_owned(), Chain { base: Some(base), rules });
    table
}

fn chain_name(ports: Ports) -> String {
    format!("egress_{}", ports.identifier())
}

fn ask_for_lease(client: u64, server: u64) -> Rule {
    vec![
        Statement::is(Expression::payload("udp", "sport"), Expression::Number(client)),
        Statement::is(Expression::payload("udp", "dport"), Expression::Number(server)),
        Statement::accept(),
    ]
}

/// Returns the chain of a way that does not lead anywhere.
fn own_chain(way: &Way) -> Option<Chain> {
    if way.to.is_empty() {
        return None;
    }
    let elsewhere = Family::ALL.into_iter().filter_map(|family| outside(&way.to, "daddr", family));
    let mut rules: Vec<Rule> = elsewhere
        .map(|mut rule| {
            rule.push(Statement::Verdict(Verdict::Return(())));
            rule
        })
        .collect();
    rules.push(vec![Statement::accept()]);
    Some(Chain { base: None, rules: rules.into_iter().map(normal).collect() })
}

/// Returns the ways out that a table lets. What is not written as [`table`] writes it is `None`.
pub(super) fn ways(table: &Table) -> BTreeMap<String, Option<Way>> {
    let entries = table.chains.get(OUTPUT).map(|chain| verdicts(chain, "dport")).unwrap_or_default();
    entries.into_iter().map(|(ports, verdict)| (ports.to_string(), way(table, ports, &verdict))).collect()
}

/// Reads one way back, and believes it only if it would be written in the same way.
fn way(table: &Table, ports: Ports, verdict: &Verdict) -> Option<Way> {
    let chain = match verdict {
        Verdict::Accept(()) => return Some(Way { ports, to: Networks::default() }),
        Verdict::Jump { target } if *target == chain_name(ports) => table.chains.get(target)?,
        _ => return None,
    };
    let to = |family| chain.rules.iter().find_map(|rule| inside(rule, "daddr", family));
    let [v4, v6] = Family::ALL.map(|family| to(family).unwrap_or_else(|| Networks::whole(family)));
    let way = Way { ports, to: v4.and(v6).or_anywhere() };
    (own_chain(&way).as_ref() == Some(chain)).then_some(way)
}
