// SPDX-License-Identifier: Apache-2.0
//! `rollout` of `hostwrit.yaml`: which hosts follow a commit first, and what the others wait for.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{Digest, Fault, Faults, Location, ObjectId};
use crate::trust::AuthenticTree;
use crate::yaml::{Node, Value};

use super::checks::is_host_name;
use super::repo::{Repo, Top};

/// No soak time is longer: a host that waits longer than this would be taken for lost.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A query has no more bytes than this.
const QUERY_MAX: usize = 4096;

/// In which order the hosts of the fleet follow a new commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// A host belongs to the first ring that it fits; the last fits every host.
    pub rings: Vec<Ring>,
}

/// Some hosts of the fleet, and what they wait for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// What the ring is called, such as canary.
    pub name: String,
    /// Only hosts that have all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, String>,
    /// Only this share of the fleet, from 1 to 100, by a number that a host's name gives it for good. The share of a later
    /// ring holds that of an earlier one: percent: 50 after percent: 10 adds 40 % of the fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// How long a host waits from when it first saw what the commit wants of it: a number and a unit, such as 30m.
    /// Default: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Soak>,
    /// What Prometheus must answer after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
}

/// A question for Prometheus. Its answer must be one number, which lies between the bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// A PromQL expression with one number as its answer.
    pub query: String,
    /// The lowest number that opens the gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The highest number that opens the gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// A length of time: `30m`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soak(pub Duration);

impl Rollout {
    /// The object that a change of the rings is, for rights hang on it.
    pub(super) fn object() -> ObjectId {
        ObjectId::new("rollout", "rings")
    }

    /// Returns a digest of all that it says.
    pub(super) fn digest(&self) -> Digest {
        // Strings and numbers only: there is nothing in it that JSON cannot hold.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Returns the ring of a host.
    pub fn ring(&self, fleet: &str, host: &str, labels: &BTreeMap<String, String>) -> Option<&Ring> {
        let share = share(fleet, host);
        self.rings.iter().find(|ring| ring.fits(share, labels))
    }

    /// Says all that is wrong with it. `node` is where it was read from.
    pub(super) fn faults(&self, node: &Node) -> Faults {
        let mut faults = Faults::default();
        if self.rings.is_empty() {
            let fault = Fault::new(node.at.clone(), "rings is empty");
            faults.push(fault.hint("name at least one ring, or leave rollout out: then every host follows at once"));
        }
        let mut names = BTreeSet::new();
        let mut soaked = Duration::ZERO;
        for (number, ring) in self.rings.iter().enumerate() {
            let at = |key: &str| place(node, number, key);
            let is_last = number + 1 == self.rings.len();
            ring.check(&at, is_last, &mut faults);
            if !names.insert(&ring.name) {
                let fault = Fault::new(at("name"), format!("there are two rings \"{}\"", ring.name));
                faults.push(fault.hint("give each a name of its own"));
            }
            if ring.soak() < soaked {
                let fault = Fault::new(at("after"), format!("ring \"{}\" waits less than the one before", ring.name));
                faults.push(
                    fault.hint("after counts from when a host first saw a commit, so it grows from ring to ring"),
                );
            }
            soaked = soaked.max(ring.soak());
        }
        faults
    }
}

impl Ring {
    /// Returns how long a host of the ring waits.
    pub fn soak(&self) -> Duration {
        self.after.map_or(Duration::ZERO, |after| after.0)
    }

    fn fits(&self, share: u32, labels: &BTreeMap<String, String>) -> bool {
        self.percent.is_none_or(|percent| share < percent)
            && self.hosts.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    fn check(&self, at: &dyn Fn(&str) -> Location, is_last: bool, faults: &mut Faults) {
        let mut fault = |key: &str, what: String, hint: &str| faults.push(Fault::new(at(key), what).hint(hint));
        if !is_host_name(&self.name) {
            let what = format!("\"{}\" cannot be the name of a ring", self.name.escape_debug());
            fault("name", what, "names consist of letters, digits, dots and hyphens");
        }
        if let Some(percent) = self.percent.filter(|percent| !(1..=100).contains(percent)) {
            fault("percent", format!("{percent} % of the fleet is no share of it"), "write a number from 1 to 100");
        }
        if is_last && !(self.hosts.is_empty() && self.percent.is_none()) {
            let what = format!("the last ring, \"{}\", does not fit every host", self.name);
            fault("name", what, "end with a ring that has neither hosts nor percent, such as {name: all, after: 2h}");
        }
        if !is_last && self.hosts.is_empty() && self.percent.is_none() {
            let what = format!("ring \"{}\" fits every host, so no host is in the rings after it", self.name);
            fault("name", what, "give it hosts or percent, or put it last");
        }
        if self.soak() > LONGEST {
            fault("after", "the wait is too long".to_owned(), "write 30d at the most");
        }
        let Some(gate) = &self.gate else { return };
        if gate.query.trim().is_empty() || gate.query.len() > QUERY_MAX {
            fault("gate", "the gate has no query that can be asked".to_owned(), "write a PromQL expression");
        }
        let bounds = [gate.min, gate.max];
        if bounds == [None, None] {
            let hint = "add max or min: the highest or lowest number that opens the gate";
            fault("gate", "every answer would open the gate".to_owned(), hint);
        }
        if bounds.iter().flatten().any(|bound| !bound.is_finite())
            || gate.min.zip(gate.max).is_some_and(|(min, max)| min > max)
        {
            fault("gate", "no answer would open the gate".to_owned(), "write min no greater than max");
        }
    }
}

impl Gate {
    /// Whether the answer opens the gate. What is not a number does not.
    pub fn opens(&self, answer: f64) -> bool {
        !answer.is_nan() && self.min.is_none_or(|min| answer >= min) && self.max.is_none_or(|max| answer <= max)
    }
}

/// Returns the number from 0 to 99 that a host has for good: the same for every commit, and another in another fleet.
fn share(fleet: &str, host: &str) -> u32 {
    let digest = Digest::of(format!("hostwrit rollout\0{fleet}\0{host}").as_bytes());
    let number = digest.as_bytes().iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    // 2^64 is no multiple of 100, by so little that nobody could find out.
    u32::try_from(number % 100).unwrap_or(0)
}

/// Returns the ring that a host is in; `None` where the repo has no rings, or is unsound in what tells.
pub fn ring(tree: &AuthenticTree<'_>, host: &str) -> Option<Ring> {
    let repo = Repo::of(tree);
    let Top { fleet, rollout, .. } = repo.top().ok()?.0;
    let rollout = rollout?;
    let labels = super::labels(tree, host).ok()?;
    rollout.ring(&fleet, host, &labels).cloned()
}

/// Finds rings that do not do what a ring is for, given the labels of all hosts, as faults and as warnings. No host in one is a
/// mistake by label, and by share it may be that the fleet is small; a gate without a wait is asked too early.
pub(super) fn idle_rings(repo: &Repo<'_>, hosts: &BTreeMap<&str, BTreeMap<String, String>>) -> (Faults, Faults) {
    let (mut faults, mut warnings) = (Faults::default(), Faults::default());
    let Ok((Top { fleet, rollout: Some(rollout), .. }, node)) = repo.top() else { return (faults, warnings) };
    let taken: BTreeSet<&str> = hosts
        .iter()
        .filter_map(|(host, labels)| rollout.ring(&fleet, host, labels))
        .map(|ring| ring.name.as_str())
        .collect();
    let section = node.get("rollout").unwrap_or(&node);
    let mut rings = rollout.rings.iter().enumerate().filter(|(_, ring)| !taken.contains(ring.name.as_str()));
    // The last is for the hosts that are still to come.
    rings.by_ref().filter(|(number, _)| number + 1 < rollout.rings.len()).for_each(|(number, ring)| {
        let fault = Fault::new(place(section, number, "name"), format!("no host is in ring \"{}\"", ring.name));
        if ring.hosts.is_empty() {
            warnings.push(fault.hint("a larger percent, or labels, would fill it"));
        } else {
            let labels: Vec<String> = ring.hosts.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            faults.push(fault.hint(format!("give a host the labels {{{}}}, or remove the ring", labels.join(", "))));
        }
    });
    let gated =
        rollout.rings.iter().enumerate().skip(1).filter(|(_, ring)| ring.gate.is_some() && ring.after.is_none());
    gated.for_each(|(number, ring)| {
        let what = format!("ring \"{}\" asks its gate before the rings before it can have followed", ring.name);
        warnings.push(Fault::new(place(section, number, "gate"), what).hint("add after, such as 30m"));
    });
    (faults, warnings)
}

/// Returns where the ring of this number, from 0, has `key`, or the nearest place around it.
fn place(section: &Node, number: usize, key: &str) -> Location {
    let ring = match section.get("rings").map(|rings| &rings.value) {
        Some(Value::List(rings)) => rings.get(number),
        _ => None,
    };
    ring.and_then(|ring| ring.get(key)).or(ring).unwrap_or(section).at.clone()
}

impl<'de> Deserialize<'de> for Soak {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            serde::de::Error::custom(format!(
                "\"{text}\" is not a duration: {error}; write a number and a unit: 30m, 2h"
            ))
        })
    }
}

impl Serialize for Soak {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl JsonSchema for Soak {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Soak".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests;
