// SPDX-License-Identifier: Apache-2.0
//! What ports, egress and block lists share: hostwrit's one table `inet hostwrit` of the packet filter (nftables).
//!
//! Each of the three kinds has chains and sets of its own in it, by the begin of their names, and none names another's. So
//! each is replaced by itself, in one transaction, and there is no moment in which a packet sees half of it.

mod admits;
mod compare;
mod load;
mod networks;
mod places;
mod ports;
pub mod statement;
mod table;
#[cfg(test)]
pub(super) mod tests;

pub use admits::{Judgement, Packet, admits, judge, judge_all};
pub use compare::{Filter, Observed, Operation};
pub use load::{Kept, Load, Owner, load_kept, put_back};
pub use networks::{Family, Network, Networks, Range};
pub use places::{Place, fault_of_zone_name};
pub use ports::{Ports, Protocol};
pub use table::{Base, Chain, Set, Table, read_all};

pub(super) use places::resolve as resolve_places;

use statement::{Expression, Known, Rule, Statement, Verdict};

/// A family's own words in rules.
impl Family {
    /// `meta nfproto`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    /// The protocol whose header holds addresses of the family.
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// How names of sets of the family end.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }
}

/// Returns the statements that match packets whose `field` (`saddr`, `daddr`) is *not* among the networks, for one family;
/// `None` where all of its addresses are among them.
pub(super) fn outside(networks: &Networks, field: &str, family: Family) -> Option<Vec<Statement>> {
    let of_family = networks.of(family);
    if networks.is_empty() || of_family.is_whole(family) {
        return None;
    }
    if of_family.is_empty() {
        return Some(vec![Statement::is(Expression::meta("nfproto"), Expression::text(family.name()))]);
    }
    Some(vec![Statement::matches("!=", Expression::payload(family.header(), field), of_family.expression())])
}

/// Returns the networks of one family that [`outside`] was made of; `None` if `rule` is none of its.
pub(super) fn inside(rule: &[Statement], field: &str, family: Family) -> Option<Networks> {
    let [Statement::Known(Known::Match(found)), Statement::Verdict(_)] = rule else { return None };
    if found.left == Expression::meta("nfproto") && found.right == Expression::text(family.name()) {
        return Some(Networks::default());
    }
    let is_field = found.op == "!=" && found.left == Expression::payload(family.header(), field);
    if is_field { Networks::of_expression(&found.right) } else { None }
}

/// Protocols by the numbers of IANA.
const ICMP: u64 = 1;
const ICMPV6: u64 = 58;

/// Replies to this host's own connections, packets of the host to itself, and ICMP, which holds up IPv6 as a whole: neighbour
/// discovery, router advertisements, path MTU.
pub(super) fn always(own_interface: &str) -> Vec<Rule> {
    vec![
        vec![established(), Statement::accept()],
        vec![Statement::is(Expression::meta(own_interface), Expression::text("lo")), Statement::accept()],
        vec![
            Statement::is(
                Expression::meta("l4proto"),
                Expression::Set { set: vec![Expression::Number(ICMP), Expression::Number(ICMPV6)] },
            ),
            Statement::accept(),
        ],
    ]
}

/// Matches packets of connections that were let in before.
pub(super) fn established() -> Statement {
    let states = ["established", "related"].map(Expression::text);
    Statement::matches("in", Expression::conntrack("state", None), Expression::List(states.into()))
}

/// Returns the statement that matches these ports.
///
/// One rule for each, and no map of verdicts: when a rule goes, the kernel takes the elements of its map away at once, and a
/// packet that is on its way through the old rules in that moment would find nothing, and be dropped.
pub(super) fn is_port(key: Expression, ports: Ports) -> Statement {
    Statement::is(key, ports.expression())
}

/// Returns where a chain sends packets by this field of their protocol's header alone.
pub(super) fn verdicts(chain: &Chain, field: &str) -> Vec<(Ports, Verdict)> {
    let of_rule = |rule: &Rule| {
        let [Statement::Known(Known::Match(found)), Statement::Verdict(verdict)] = rule.as_slice() else { return None };
        let is_key = |protocol: &Protocol| found.left == Expression::payload(protocol.name(), field);
        let protocol = Protocol::ALL.into_iter().find(is_key).filter(|_| found.op == "==")?;
        Some((Ports::of_expression(protocol, &found.right)?, verdict.clone()))
    };
    chain.rules.iter().filter_map(of_rule).collect()
}

/// Shows a list of networks to people: the first few, and how many there are.
pub(super) fn shown(networks: &Networks) -> String {
    const FEW: usize = 8;
    if networks.is_empty() {
        return "anywhere".to_owned();
    }
    let mut text: Vec<String> = networks.ranges().take(FEW).map(|range| range.to_string()).collect();
    if networks.len() > FEW {
        text.push(format!("and {} more", networks.len() - FEW));
    }
    text.join(", ")
}
