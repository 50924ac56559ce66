// SPDX-License-Identifier: Apache-2.0
//! Ports whose packets are passed on before any rule for this host's own ports sees them, as Docker and Podman do.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::resources::firewall::{Ports, Protocol};

use super::listeners::{is_declared, object};
use super::ruleset::{Chain, ChainName, Ruleset, is_xtables, statement};
use super::{Code, Finding};

/// More steps from rule to rule than this are not taken: other programs wrote the rules.
const MAX_VISITS: usize = 20_000;

/// What comes for a port goes elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    /// `None` where the rule does not say.
    pub protocol: Option<Protocol>,
    /// From the first port to the last; `None` where the rule does not say, or says it in a way that is not understood.
    pub ports: Option<(u16, u16)>,
    /// The chain with the rule.
    pub place: String,
    /// Where to; `None` where nftables cannot tell, as of rules that iptables wrote.
    pub to: Option<String>,
    /// It goes to another port of this host, and so through its own rules after all.
    pub stays: bool,
}

impl Published {
    /// Whether packets for this port may be among those that are passed on.
    pub fn may_be(&self, port: Ports) -> bool {
        self.each().any(|ports| ports.overlaps(port))
    }

    /// Returns the ports of each protocol, where they are known.
    fn each(&self) -> impl Iterator<Item = Ports> {
        let protocols = Protocol::ALL.into_iter().filter(|one| self.protocol.is_none_or(|of| of == *one));
        protocols.filter_map(|protocol| self.ports.map(|(first, last)| Ports { protocol, first, last }))
    }
}

/// Returns what is passed on and not declared.
pub fn published_ports(declared: &[Ports], published: &[Published]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in published.iter().filter(|one| !one.stays) {
        let (place, to) = (&one.place, one.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default());
        let finding = |object, what: &str, remedy: &str| Finding {
            code: Code::PublishedPort,
            object,
            place: Some(place.clone()),
            process: None,
            message: format!("{place} passes {what} on{to}, and no port declares it; {remedy}"),
        };
        if one.ports.is_none() {
            let what = "packets for ports that cannot be told";
            findings.push(finding(None, what, "find out what made the rule, and declare what it is to let in"));
        }
        for port in one.each().filter(|port| !is_declared(declared, *port)) {
            let remedy = format!("declare {port}, or publish it on 127.0.0.1 alone");
            findings.push(finding(Some(object(port)), &port.to_string(), &remedy));
        }
    }
    findings
}

/// Finds every rule that passes packets on before the decision whose they are.
pub fn find(ruleset: &Ruleset<'_>) -> Vec<Published> {
    let mut walk = Walk { ruleset, seen: BTreeSet::new(), found: BTreeSet::new() };
    for chain in ruleset.chains().iter().filter(|chain| chain.kind == "nat" && chain.hook == "prerouting") {
        if !chain.name.is_own() {
            walk.enter(chain, &Known::default());
        }
    }
    walk.found.into_iter().collect()
}

/// What is known of the packets that come to a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    protocol: Option<Protocol>,
    /// Empty where nothing is known.
    ports: Vec<(u16, u16)>,
    /// They come from this host itself.
    is_inside: bool,
}

/// From rule to rule, along jumps.
struct Walk<'r, 'j> {
    ruleset: &'r Ruleset<'j>,
    seen: BTreeSet<(ChainName<'j>, Known)>,
    found: BTreeSet<Published>,
}

impl<'j> Walk<'_, 'j> {
    fn enter(&mut self, chain: &Chain<'j>, known: &Known) {
        if self.seen.len() < MAX_VISITS && self.seen.insert((chain.name, known.clone())) {
            chain.rules.iter().for_each(|rule| self.rule(chain.name, rule, known.clone()));
        }
    }

    fn rule(&mut self, at: ChainName<'j>, rule: &'j [Value], mut known: Known) {
        for part in rule {
            let Some((word, what)) = statement(part) else { continue };
            match word {
                "match" => known.narrow(what),
                "jump" | "goto" => self.jump(at, what, &known),
                "vmap" => self.jump_by_map(at, what, &known),
                "dnat" => self.note(at, &known, destination(what), false),
                "redirect" => self.note(at, &known, None, true),
                _ if is_xtables(part, "target", "DNAT") => self.note(at, &known, None, false),
                _ if is_xtables(part, "target", "REDIRECT") => self.note(at, &known, None, true),
                _ => {}
            }
        }
    }

    fn jump(&mut self, at: ChainName<'j>, what: &'j Value, known: &Known) {
        let ruleset = self.ruleset;
        if let Some(chain) = what["target"].as_str().and_then(|target| ruleset.beside(at, target)) {
            self.enter(chain, known);
        }
    }

    /// Follows `tcp dport vmap { 443 : goto web }`. A map that is named is not in the ruleset's rules, and is passed over.
    fn jump_by_map(&mut self, at: ChainName<'j>, what: &'j Value, known: &Known) {
        for pair in what["data"]["set"].as_array().into_iter().flatten() {
            let (key, verdict) = (&pair[0], &pair[1]);
            let mut known = known.clone();
            known.narrow_to(&what["key"], key);
            let Some(("jump" | "goto", target)) = statement(verdict) else { continue };
            self.jump(at, target, &known);
        }
    }

    fn note(&mut self, at: ChainName<'_>, known: &Known, to: Option<String>, stays: bool) {
        if known.is_inside {
            return;
        }
        let one = Published { protocol: known.protocol, ports: None, place: at.to_string(), to, stays };
        if known.ports.is_empty() {
            self.found.insert(one);
        } else {
            self.found.extend(known.ports.iter().map(|ports| Published { ports: Some(*ports), ..one.clone() }));
        }
    }
}

impl Known {
    fn narrow(&mut self, condition: &Value) {
        if condition["op"] == "==" || condition["op"] == "in" {
            self.narrow_to(&condition["left"], &condition["right"]);
        }
    }

    /// Notes that `left` of the packets is `right`. The innermost of several conditions on ports counts: it is the narrowest.
    fn narrow_to(&mut self, left: &Value, right: &Value) {
        let payload = &left["payload"];
        let protocol =
            payload["protocol"].as_str().or_else(|| right.as_str().filter(|_| left["meta"]["key"] == "l4proto"));
        match protocol {
            Some("tcp") => self.protocol = Some(Protocol::Tcp),
            Some("udp") => self.protocol = Some(Protocol::Udp),
            _ => {}
        }
        if payload["field"] == "dport" {
            let ports = ports(right);
            if !ports.is_empty() {
                self.ports = ports;
            }
        }
        self.is_inside |= payload["field"] == "daddr" && is_loopback(right);
        self.is_inside |= left["meta"]["key"] == "iifname" && right == "lo";
    }
}

/// Reads a port, a range of them, or a set of both.
fn ports(value: &Value) -> Vec<(u16, u16)> {
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    if let Some(set) = value["set"].as_array() {
        return set.iter().flat_map(ports).collect();
    }
    let range = match value["range"].as_array().map(Vec::as_slice) {
        Some([first, last]) => number(first).zip(number(last)),
        _ => number(value).map(|port| (port, port)),
    };
    range.filter(|(first, last)| first <= last).into_iter().collect()
}

fn is_loopback(value: &Value) -> bool {
    let address = value["prefix"]["addr"].as_str().or_else(|| value.as_str());
    address.and_then(|address| address.parse::<IpAddr>().ok()).is_some_and(|address| address.is_loopback())
}

fn destination(dnat: &Value) -> Option<String> {
    let address = dnat["addr"].as_str()?;
    Some(match dnat["port"].as_u64() {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    })
}
