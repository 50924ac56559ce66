// SPDX-License-Identifier: Apache-2.0
//! Openings to rules of the packet filter, and back. Pure.

use std::collections::BTreeMap;

use serde_json::json;

use crate::resources::firewall::statement::{
    Connections, Expression, Known, Limit, Log, PerSource, Rule, Statement, Verdict, normal,
};
use crate::resources::firewall::{
    Base, Chain, Family, Networks, Ports, Set, Table, always, established, inside, is_port, outside, verdicts,
};

use super::rate::Unit;
use super::{Opening, Rate};

/// The chain that packets for this host pass.
pub(super) const INPUT: &str = "port_input";
/// The chain that packets for others pass: containers, of which ports are published by rewriting the destination.
pub(super) const FORWARD: &str = "port_forward";

/// The chain for packets of which the destination was rewritten, from both.
const REDIRECTED: &str = "port_redirected";

/// Lines a second that one port may write to the kernel's log.
const LOG_RATE: u32 = 5;

/// Returns the chains and sets that open these ports and close all others; nothing where there is no port.
pub(super) fn table<'o>(open: impl Iterator<Item = &'o Opening>) -> Table {
    let open: Vec<&Opening> = open.collect();
    let mut table = Table::default();
    if open.is_empty() {
        return table;
    }
    for opening in &open {
        let (chain, sets) = own_chain(opening);
        table.chains.extend(chain.map(|chain| (chain_name(opening.ports), chain)));
        table.sets.extend(sets);
    }
    table.chains.insert(INPUT.to_owned(), input(&open));
    table.chains.insert(FORWARD.to_owned(), forward());
    table.chains.insert(REDIRECTED.to_owned(), redirected(&open));
    table
}

fn chain_name(ports: Ports) -> String {
    format!("port_{}", ports.identifier())
}

fn input(open: &[&Opening]) -> Chain {
    let mut rules = always("iif");
    let state = |name: &str| Statement::matches("in", Expression::conntrack("state", None), Expression::text(name));
    rules.push(vec![state("invalid"), Statement::drop()]);
    rules.push(dhcpv6());
    rules.push(to_redirected());
    rules.extend(open.iter().map(|opening| {
        let dport = Expression::payload(opening.ports.protocol.name(), "dport");
        vec![is_port(dport, opening.ports), Statement::Verdict(verdict(opening))]
    }));
    base("input", "drop", rules)
}

/// What is sent on to containers: only what asked for a declared port of this host. The rest of what a host forwards is not
/// the business of ports.
fn forward() -> Chain {
    base("forward", "accept", vec![vec![established(), Statement::accept()], to_redirected()])
}

fn base(hook: &str, policy: &str, rules: Vec<Rule>) -> Chain {
    let base = Base { kind: "filter".to_owned(), hook: hook.to_owned(), prio: 0, policy: Some(policy.to_owned()) };
    Chain { base: Some(base), rules: rules.into_iter().map(normal).collect() }
}

/// Answers of a DHCPv6 server come from an address that nobody has asked (RFC 8415, 18.2.10), so they belong to no known
/// connection.
fn dhcpv6() -> Rule {
    let link_local = json!({"prefix": {"addr": "fe80::", "len": 10}});
    let link_local = serde_json::from_value(link_local).unwrap_or(Expression::Number(0));
    vec![
        Statement::is(Expression::payload("ip6", "saddr"), link_local),
        Statement::is(Expression::payload("udp", "sport"), Expression::Number(547)),
        Statement::is(Expression::payload("udp", "dport"), Expression::Number(546)),
        Statement::accept(),
    ]
}

/// Packets with a rewritten destination are judged by the port that they asked for.
fn to_redirected() -> Rule {
    let is_rewritten = Statement::matches("in", Expression::conntrack("status", None), Expression::text("dnat"));
    vec![is_rewritten, Statement::Verdict(Verdict::Goto { target: REDIRECTED.to_owned() })]
}

fn redirected(open: &[&Opening]) -> Chain {
    let mut rules: Vec<Rule> = open
        .iter()
        .map(|opening| {
            let protocol = Expression::Number(opening.ports.protocol.number());
            let is_protocol = Statement::is(Expression::meta("l4proto"), protocol);
            let asked_for = Expression::conntrack("proto-dst", Some("original"));
            vec![is_protocol, is_port(asked_for, opening.ports), Statement::Verdict(verdict(opening))]
        })
        .collect();
    rules.push(vec![Statement::drop()]);
    Chain { base: None, rules: rules.into_iter().map(normal).collect() }
}

/// Returns where a port is judged.
fn verdict(opening: &Opening) -> Verdict {
    let is_plain = *opening == Opening::for_all(opening.ports);
    if is_plain { Verdict::Accept(()) } else { Verdict::jump(chain_name(opening.ports)) }
}

/// Returns the chain of a port that is not open for all without limits, and the sets in which its sources are counted.
fn own_chain(opening: &Opening) -> (Option<Chain>, BTreeMap<String, Set>) {
    let ports = opening.ports;
    let mut sets = BTreeMap::new();
    if *opening == Opening::for_all(ports) {
        return (None, sets);
    }
    let mut rules = Vec::new();
    if opening.log {
        rules.push(log(ports));
    }
    let refused = Family::ALL.into_iter().filter_map(|family| outside(&opening.from, "saddr", family));
    rules.extend(refused.map(|mut rule| {
        rule.push(Statement::drop());
        rule
    }));
    let admitted =
        Family::ALL.into_iter().filter(|family| opening.from.is_empty() || !opening.from.of(*family).is_empty());
    for family in admitted {
        if let Some(rate) = opening.rate {
            let (name, set) = rate_set(ports, family, rate);
            let limit = Limit { rate: rate.count, burst: rate.count, per: rate.per.name().to_owned(), inv: true };
            rules.push(per_source("update", &name, family, Statement::Known(Known::Limit(limit))));
            sets.insert(name, set);
        }
        if let Some(connections) = opening.connections {
            let name = format!("{}_connections_{}", chain_name(ports), family.suffix());
            let count = Connections { val: connections, inv: true };
            rules.push(per_source("add", &name, family, Statement::Known(Known::Connections(count))));
            sets.insert(name, Set::PerSource { family, timeout: None });
        }
    }
    rules.push(vec![Statement::accept()]);
    (Some(Chain { base: None, rules: rules.into_iter().map(normal).collect() }), sets)
}

fn log(ports: Ports) -> Rule {
    let limit = Limit { rate: LOG_RATE, burst: LOG_RATE, per: Unit::Second.name().to_owned(), inv: false };
    let log = Log { prefix: format!("hostwrit port:{ports} ") };
    vec![Statement::Known(Known::Limit(limit)), Statement::Known(Known::Log(log))]
}

/// The set that remembers sources for as long as it takes until they may do again all that they may.
fn rate_set(ports: Ports, family: Family, rate: Rate) -> (String, Set) {
    let name = format!("{}_rate_{}", chain_name(ports), family.suffix());
    (name, Set::PerSource { family, timeout: Some(rate.per.seconds().max(60)) })
}

/// Drops what one source has too many of.
fn per_source(op: &str, set: &str, family: Family, over: Statement) -> Rule {
    let address = Expression::payload(family.header(), "saddr");
    let elem = match family {
        Family::V4 => address,
        // Whoever has one address of IPv6 has the 2^64 of its network.
        Family::V6 => Expression::Other(json!({"&": [address, "ffff:ffff:ffff:ffff::"]})),
    };
    let per_source = PerSource { op: op.to_owned(), elem, set: format!("@{set}"), stmt: vec![over] };
    vec![Statement::Known(Known::Set(per_source)), Statement::drop()]
}

/// Returns the ports that a table opens. What is not written as [`table`] writes it is `None`.
pub(super) fn open(table: &Table) -> BTreeMap<String, Option<Opening>> {
    let entries = table.chains.get(INPUT).map(|chain| verdicts(chain, "dport")).unwrap_or_default();
    entries.into_iter().map(|(ports, verdict)| (ports.to_string(), opening(table, ports, &verdict))).collect()
}

/// Reads one opening back, and believes it only if it would be written in the same way.
fn opening(table: &Table, ports: Ports, verdict: &Verdict) -> Option<Opening> {
    let chain = match verdict {
        Verdict::Accept(()) => return Some(Opening::for_all(ports)),
        Verdict::Jump { target } if *target == chain_name(ports) => table.chains.get(target)?,
        _ => return None,
    };
    let from = |family| chain.rules.iter().find_map(|rule| inside(rule, "saddr", family));
    let [v4, v6] = Family::ALL.map(|family| from(family).unwrap_or_else(|| Networks::whole(family)));
    let mut opening = Opening { from: v4.and(v6).or_anywhere(), ..Opening::for_all(ports) };
    for statement in chain.rules.iter().flatten() {
        match statement {
            Statement::Known(Known::Log(_)) => opening.log = true,
            Statement::Known(Known::Set(PerSource { stmt, .. })) => match stmt.as_slice() {
                [Statement::Known(Known::Limit(limit))] => {
                    opening.rate = format!("{}/{}", limit.rate, limit.per).parse().ok();
                }
                [Statement::Known(Known::Connections(count))] => opening.connections = Some(count.val),
                _ => return None,
            },
            _ => {}
        }
    }
    let (written, sets) = own_chain(&opening);
    let is_same = written.as_ref() == Some(chain) && sets.iter().all(|(name, set)| table.sets.get(name) == Some(set));
    is_same.then_some(opening)
}
