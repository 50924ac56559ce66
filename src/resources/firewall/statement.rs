// SPDX-License-Identifier: Apache-2.0
//! Rules as libnftables-json(5) writes them, as far as hostwrit makes or judges them; anything else is kept as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One rule: statements from left to right, until one does not match.
pub type Rule = Vec<Statement>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Statement {
    Verdict(Verdict),
    Known(Known),
    /// One that hostwrit does not make.
    Other(Value),
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Verdict {
    Accept(()),
    Drop(()),
    Return(()),
    Jump { target: String },
    Goto { target: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    Match(Match),
    Vmap(VerdictMap),
    Limit(Limit),
    Log(Log),
    /// A count for each source, in a set of the packet filter's own.
    Set(PerSource),
    #[serde(rename = "ct count")]
    Connections(Connections),
    /// Counts and nothing else; what it has counted is no part of a rule.
    Counter(Value),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// `==`, `!=`, `in`, `<` ..
    pub op: String,
    pub left: Expression,
    pub right: Expression,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerdictMap {
    pub key: Expression,
    pub data: VerdictSet,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum VerdictSet {
    Anonymous { set: Vec<(Expression, Verdict)> },
    Other(Value),
}

/// At most `rate` packets in a second, minute, hour or day; with `inv`, those above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    pub rate: u32,
    /// nft says 5 where nobody has said anything.
    #[serde(default = "Limit::usual_burst")]
    pub burst: u32,
    pub per: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub inv: bool,
}

impl Limit {
    fn usual_burst() -> u32 {
        5
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub prefix: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerSource {
    /// `add`: what is in the set stays as it is; `update`: its time to live begins anew.
    pub op: String,
    pub elem: Expression,
    /// The name of the set, with `@` before it.
    pub set: String,
    pub stmt: Vec<Statement>,
}

/// As many connections as `val`; with `inv`, more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    pub val: u32,
    #[serde(default, skip_serializing_if = "is_false")]
    pub inv: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Expression {
    Number(u64),
    Text(String),
    Payload { payload: Payload },
    Meta { meta: Key },
    Conntrack { ct: Conntrack },
    Set { set: Vec<Expression> },
    Range { range: (Box<Expression>, Box<Expression>) },
    Prefix { prefix: BTreeMap<String, Value> },
    List(Vec<Expression>),
    Other(Value),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    pub protocol: String,
    pub field: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub key: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conntrack {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
}

/// Protocols of rules that hostwrit makes or judges, by the numbers of IANA.
const PROTOCOLS: &[(&str, u64)] = &[("icmp", 1), ("tcp", 6), ("udp", 17), ("ipv6-icmp", 58)];

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Verdict {
    pub fn jump(target: impl Into<String>) -> Self {
        Self::Jump { target: target.into() }
    }
}

impl Expression {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn payload(protocol: &str, field: &str) -> Self {
        Self::Payload { payload: Payload { protocol: protocol.to_owned(), field: field.to_owned() } }
    }

    pub fn meta(key: &str) -> Self {
        Self::Meta { meta: Key { key: key.to_owned() } }
    }

    pub fn conntrack(key: &str, dir: Option<&str>) -> Self {
        Self::Conntrack { ct: Conntrack { key: key.to_owned(), dir: dir.map(str::to_owned) } }
    }

    /// Writes protocols by number: nft knows their names only where there is /etc/protocols, of the package netbase.
    fn number_protocols(&mut self) {
        match self {
            Self::Set { set } => set.iter_mut().for_each(Self::number_protocols),
            Self::Text(name) => {
                if let Some((_, number)) = PROTOCOLS.iter().find(|(known, _)| known == name) {
                    *self = Self::Number(*number);
                }
            }
            _ => {}
        }
    }

    /// Gives what has no order one order, so that equal rules are equal values.
    fn sort(&mut self) {
        match self {
            Self::Set { set } | Self::List(set) => {
                set.iter_mut().for_each(Self::sort);
                set.sort_by_cached_key(|element| format!("{element:?}"));
            }
            _ => {}
        }
    }
}

impl Statement {
    /// A match with `==`; of the bits of a conntrack state or status, `in`.
    pub fn is(left: Expression, right: Expression) -> Self {
        Self::matches("==", left, right)
    }

    pub fn matches(op: &str, left: Expression, right: Expression) -> Self {
        Self::Known(Known::Match(Match { op: op.to_owned(), left, right }))
    }

    pub fn accept() -> Self {
        Self::Verdict(Verdict::Accept(()))
    }

    pub fn drop() -> Self {
        Self::Verdict(Verdict::Drop(()))
    }

    fn sort(&mut self) {
        match self {
            Self::Known(Known::Match(Match { left, right, .. })) => {
                if *left == Expression::meta("l4proto") {
                    right.number_protocols();
                }
                right.sort();
            }
            Self::Known(Known::Vmap(VerdictMap { data: VerdictSet::Anonymous { set }, .. })) => {
                set.sort_by_cached_key(|(key, _)| format!("{key:?}"));
            }
            _ => {}
        }
    }
}

/// Returns the rule in the one form in which equal rules are equal values: sets sorted, counters left out.
pub fn normal(rule: Rule) -> Rule {
    let mut rule: Rule =
        rule.into_iter().filter(|statement| !matches!(statement, Statement::Known(Known::Counter(_)))).collect();
    rule.iter_mut().for_each(Statement::sort);
    rule
}
