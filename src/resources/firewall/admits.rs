// SPDX-License-Identifier: Apache-2.0
//! What the packet filter would do with a first packet from outside. Pure: it walks over the rules as they were read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::statement::{Expression, Known, Match, Rule, Statement, Verdict, VerdictMap, VerdictSet};
use super::{Family, Networks, Protocol, Set, Table};

/// The first packet of a connection to this host, from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
}

/// What would become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Admitted,
    Refused,
    /// It depends on something that cannot be told from the rules, such as the interface.
    Unsure,
}

/// Whether hostwrit's table certainly lets the packet in, limits of rate and connections aside.
pub fn admits(table: &Table, packet: Packet) -> bool {
    judge(table, packet) == Judgement::Admitted
}

/// Judges a packet by one table: all of its chains at the hooks that a packet for this host passes must let it through.
pub fn judge(table: &Table, packet: Packet) -> Judgement {
    let mut worst = Judgement::Admitted;
    for chain in table.chains.values() {
        let Some(base) = &chain.base else { continue };
        if base.kind != "filter" || !["prerouting", "input"].contains(&base.hook.as_str()) {
            continue;
        }
        let walk = Walk { table, packet };
        let policy = if base.policy.as_deref() == Some("drop") { Outcome::Dropped } else { Outcome::Accepted };
        match walk.chain(&chain.rules, policy, 0) {
            Outcome::Dropped => return Judgement::Refused,
            Outcome::Unsure => worst = Judgement::Unsure,
            Outcome::Accepted | Outcome::Passed => {}
        }
    }
    worst
}

/// Judges a packet by all tables that were read: each must let it through.
pub fn judge_all(tables: &BTreeMap<(String, String), Table>, packet: Packet) -> Judgement {
    let sees = |family: &str| match family {
        "inet" => true,
        "ip" => Family::of(packet.source) == Family::V4,
        "ip6" => Family::of(packet.source) == Family::V6,
        _ => false,
    };
    let judged = tables.iter().filter(|((family, _), _)| sees(family)).map(|(_, table)| judge(table, packet));
    judged.fold(Judgement::Admitted, |one, other| match (one, other) {
        (Judgement::Refused, _) | (_, Judgement::Refused) => Judgement::Refused,
        (Judgement::Unsure, _) | (_, Judgement::Unsure) => Judgement::Unsure,
        _ => Judgement::Admitted,
    })
}

/// More jumps than this the kernel does not allow (`NFT_JUMP_STACK_SIZE`).
const JUMPS_MAX: usize = 16;

struct Walk<'t> {
    table: &'t Table,
    packet: Packet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Dropped,
    /// No rule says anything.
    Passed,
    Unsure,
}

/// Whether a statement matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Unknown,
}

impl Truth {
    fn of(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl Walk<'_> {
    /// Walks over a chain, at the end of which `after` happens.
    fn chain(&self, rules: &[Rule], after: Outcome, depth: usize) -> Outcome {
        // What the rules so far may have done already.
        let mut maybe = Vec::new();
        for rule in rules {
            let Some((is_certain, Some(outcome))) = self.rule(rule, depth) else { continue };
            let outcome = if outcome == Outcome::Passed { after } else { outcome };
            if is_certain && outcome != Outcome::Unsure {
                return settle(&maybe, outcome);
            }
            maybe.push(outcome);
        }
        settle(&maybe, after)
    }

    /// Returns whether the rule certainly matches, and what becomes of the packet then; `None` where it does not match.
    fn rule(&self, rule: &[Statement], depth: usize) -> Option<(bool, Option<Outcome>)> {
        let mut is_certain = true;
        for statement in rule {
            let truth = match statement {
                Statement::Verdict(verdict) => return Some((is_certain, self.verdict(verdict, depth))),
                Statement::Known(Known::Vmap(map)) => match self.verdict_map(map) {
                    (Truth::No, _) => return None,
                    (Truth::Yes, Some(verdict)) => return Some((is_certain, self.verdict(verdict, depth))),
                    _ => return Some((false, Some(Outcome::Unsure))),
                },
                Statement::Known(Known::Match(found)) => self.matches(found),
                // A source that is not over a limit: limits only slow down.
                Statement::Known(Known::Limit(limit)) => Truth::of(!limit.inv),
                Statement::Known(Known::Set(_)) => Truth::No,
                Statement::Known(Known::Connections(count)) => Truth::of(!count.inv),
                Statement::Known(Known::Log(_) | Known::Counter(_)) => Truth::Yes,
                Statement::Other(other) if other.get("reject").is_some() => {
                    return Some((is_certain, Some(Outcome::Dropped)));
                }
                Statement::Other(_) => Truth::Unknown,
            };
            match truth {
                Truth::No => return None,
                Truth::Yes => {}
                Truth::Unknown => is_certain = false,
            }
        }
        None
    }

    /// Returns what becomes of the packet; `None` where the next rule is asked.
    fn verdict(&self, verdict: &Verdict, depth: usize) -> Option<Outcome> {
        let follow = |target: &String| match self.table.chains.get(target) {
            Some(chain) if depth < JUMPS_MAX => self.chain(&chain.rules, Outcome::Passed, depth + 1),
            _ => Outcome::Unsure,
        };
        match verdict {
            Verdict::Accept(()) => Some(Outcome::Accepted),
            Verdict::Drop(()) => Some(Outcome::Dropped),
            Verdict::Return(()) => Some(Outcome::Passed),
            Verdict::Jump { target } => Some(follow(target)).filter(|outcome| *outcome != Outcome::Passed),
            Verdict::Goto { target } => Some(follow(target)),
        }
    }

    fn verdict_map<'m>(&self, map: &'m VerdictMap) -> (Truth, Option<&'m Verdict>) {
        let VerdictSet::Anonymous { set } = &map.data else { return (Truth::Unknown, None) };
        for (key, verdict) in set {
            match self.equal(&map.key, key) {
                Truth::Yes => return (Truth::Yes, Some(verdict)),
                Truth::Unknown => return (Truth::Unknown, None),
                Truth::No => {}
            }
        }
        (Truth::No, None)
    }

    fn matches(&self, found: &Match) -> Truth {
        let equal = self.equal(&found.left, &found.right);
        match found.op.as_str() {
            "==" | "in" => equal,
            // Of what the packet does not have, neither holds: a rule on `ip saddr` says nothing of IPv6.
            "!=" if !self.has(&found.left) => Truth::No,
            "!=" => equal.not(),
            _ => Truth::Unknown,
        }
    }

    /// Whether the packet has a field of this kind at all.
    fn has(&self, left: &Expression) -> bool {
        let Expression::Payload { payload } = left else { return true };
        match payload.protocol.as_str() {
            "ip" | "icmp" => Family::of(self.packet.source) == Family::V4,
            "ip6" | "icmpv6" => Family::of(self.packet.source) == Family::V6,
            "tcp" => self.packet.protocol == Protocol::Tcp,
            "udp" => self.packet.protocol == Protocol::Udp,
            _ => true,
        }
    }

    /// Whether what `left` names of the packet is `right`, or among it.
    fn equal(&self, left: &Expression, right: &Expression) -> Truth {
        if !self.has(left) {
            return Truth::No;
        }
        match right {
            Expression::Set { set } | Expression::List(set) => {
                let found: Vec<Truth> = set.iter().map(|right| self.equal(left, right)).collect();
                match found.as_slice() {
                    found if found.contains(&Truth::Yes) => Truth::Yes,
                    found if found.contains(&Truth::Unknown) => Truth::Unknown,
                    _ => Truth::No,
                }
            }
            right => self.is(left, right),
        }
    }

    fn is(&self, left: &Expression, right: &Expression) -> Truth {
        let text = |value: &str| match right {
            Expression::Text(text) => Truth::of(text == value),
            _ => Truth::Unknown,
        };
        match left {
            Expression::Payload { payload } => match (payload.protocol.as_str(), payload.field.as_str()) {
                ("ip" | "ip6", "saddr") => self.source_in(right),
                ("tcp" | "udp" | "th", "dport") => in_ports(self.packet.port, right),
                ("ip", "protocol") | ("ip6", "nexthdr") => text(self.packet.protocol.name()),
                ("icmp" | "icmpv6", _) => Truth::No,
                _ => Truth::Unknown,
            },
            Expression::Meta { meta } => match meta.key.as_str() {
                "l4proto" => match right {
                    Expression::Number(number) => Truth::of(*number == self.packet.protocol.number()),
                    _ => Truth::Unknown,
                },
                "nfproto" => text(if Family::of(self.packet.source) == Family::V4 { "ipv4" } else { "ipv6" }),
                // It comes from outside; by which interface is not known.
                "iif" | "iifname" => match right {
                    Expression::Text(name) if name == "lo" => Truth::No,
                    _ => Truth::Unknown,
                },
                _ => Truth::Unknown,
            },
            Expression::Conntrack { ct } => match ct.key.as_str() {
                "state" => text("new"),
                "status" => match right {
                    Expression::Text(status)
                        if ["dnat", "snat", "seen-reply", "assured"].contains(&status.as_str()) =>
                    {
                        Truth::No
                    }
                    _ => Truth::Unknown,
                },
                _ => Truth::Unknown,
            },
            _ => Truth::Unknown,
        }
    }

    fn source_in(&self, right: &Expression) -> Truth {
        if let Expression::Text(name) = right
            && let Some(name) = name.strip_prefix('@')
        {
            return match self.table.sets.get(name) {
                Some(Set::Addresses { networks, .. }) => Truth::of(networks.contains(self.packet.source)),
                _ => Truth::Unknown,
            };
        }
        match Networks::of_expression(right) {
            Some(networks) => Truth::of(networks.contains(self.packet.source)),
            None => Truth::Unknown,
        }
    }
}

/// Joins what may have happened before with what happens at the latest.
fn settle(maybe: &[Outcome], end: Outcome) -> Outcome {
    if maybe.iter().all(|outcome| *outcome == end) { end } else { Outcome::Unsure }
}

fn in_ports(port: u16, right: &Expression) -> Truth {
    let port = u64::from(port);
    match right {
        Expression::Number(number) => Truth::of(*number == port),
        Expression::Range { range } => match (range.0.as_ref(), range.1.as_ref()) {
            (Expression::Number(first), Expression::Number(last)) => Truth::of((*first..=*last).contains(&port)),
            _ => Truth::Unknown,
        },
        _ => Truth::Unknown,
    }
}
