// SPDX-License-Identifier: Apache-2.0
//! `policy/policy.yaml` as people write it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::model::git::Oid;
use crate::trust::revocation::Revocation;

/// `policy/policy.yaml`: who may change what.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// The version of this file's format: 1.
    #[expect(dead_code, reason = "that it reads is all that it must do")]
    pub(super) format: Format,
    /// Goes up with each change of the policy and never down.
    pub(super) version: u64,
    /// The fleet that this repo is for; must equal the hosts' configuration.
    pub(super) fleet: String,
    /// The ref that hosts follow, in full: refs/heads/main.
    #[serde(rename = "ref")]
    pub(super) git_ref: String,
    /// Whether each commit of the ref must say in signed trailers which fleet and ref it is for. Default: optional.
    #[serde(default)]
    pub(super) trailers: Trailers,
    /// People and robots, each with their keys.
    pub(super) principals: BTreeMap<String, Keys>,
    /// Named groups of principals.
    #[serde(default)]
    pub(super) roles: BTreeMap<String, Vec<String>>,
    /// Which change needs whom. The first rule that matches a changed object decides; without one it is refused.
    pub(super) rules: Vec<RuleSpec>,
    /// Objects that nobody may remove alone, whatever the rules say: kind:name, with * for any characters.
    #[serde(default)]
    pub(super) protect: Vec<String>,
    /// Keys that count no more, and commits that never shall.
    #[serde(default)]
    pub(super) revoked: Vec<Revocation>,
    /// How old the newest signed word from the ref may be.
    pub(super) freshness: Option<FreshnessSpec>,
}

/// Whether signed trailers bind a commit to its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Trailers {
    /// A commit of the ref without them is refused.
    Required,
    /// They are checked where they are.
    #[default]
    Optional,
}

/// The keys of one principal, at least one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    /// Files with one OpenPGP certificate each, relative to policy/.
    #[serde(default)]
    pub(super) openpgp: Vec<String>,
    /// Files with one SSH public key each, relative to policy/.
    #[serde(default)]
    pub(super) ssh: Vec<String>,
}

/// One rule.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleSpec {
    /// The objects: kind:name, with * for any characters; policy for the policy itself; * for everything.
    pub(super) change: Vec<String>,
    /// Only on hosts that have all of these labels.
    #[serde(default)]
    pub(super) hosts: BTreeMap<String, String>,
    /// Who must sign.
    pub(super) needs: Needs,
}

/// Who must sign a change.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Needs {
    /// Signers must be in this role.
    pub(super) role: String,
    /// How many of them, counted in principals. Default: 1.
    #[serde(default = "one")]
    pub(super) signers: usize,
}

fn one() -> usize {
    1
}

/// How old the newest signed word from the ref may be.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FreshnessSpec {
    /// Older than this, hosts raise the alarm: a number and a unit, such as 2d.
    pub(super) max_age: Age,
    /// Principals who may sign heartbeats, and nothing else.
    #[serde(default)]
    pub(super) heartbeat: Vec<String>,
}

/// The one version of the format that is read.
#[derive(Clone, Copy, Debug)]
pub struct Format;

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            other => Err(serde::de::Error::custom(format!("format {other} is not known; this version reads format 1"))),
        }
    }
}

impl JsonSchema for Format {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": 1 })
    }
}

/// A time as RFC 3339 writes it, in UTC: `2026-11-01T00:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub(in crate::trust) SystemTime);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map(Self).map_err(|_| {
            serde::de::Error::custom(format!("\"{text}\" is not a time; write one like 2026-11-01T00:00:00Z"))
        })
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// The whole id of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitId(pub(in crate::trust) Oid);

impl<'de> Deserialize<'de> for CommitId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Oid::from_hex(text.as_bytes()).map(Self).map_err(|_| {
            serde::de::Error::custom(format!(
                "\"{text}\" is not a commit; write the whole id, as git rev-parse prints it"
            ))
        })
    }
}

impl JsonSchema for CommitId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CommitId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$" })
    }
}

/// A length of time: `36h`, `2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age(pub(super) Duration);

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            serde::de::Error::custom(format!(
                "\"{text}\" is not a duration: {error}; write a number and a unit: 36h, 2d"
            ))
        })
    }
}

impl JsonSchema for Age {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Age".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}
