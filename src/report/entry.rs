// SPDX-License-Identifier: Apache-2.0
//! What is reported.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::ObjectId;

/// The field that says where on the host something is, if it is not an object.
pub const PLACE: &str = "place";

/// One thing that somebody elsewhere may want to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// When it happened, by the host's clock: RFC 3339, UTC.
    pub time: String,
    /// The host's name in the infra repo.
    pub host: String,
    pub fleet: String,
    pub kind: Kind,
    pub severity: Severity,
    /// The commit concerned: the refused one for `refused`, else the one that is enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// A stable word for programs, as in `hostwrit status`; for `cycle` the host's health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The object concerned, if it is one object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
    /// One sentence for people.
    pub message: String,
    /// What else there is to say; depends on the kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
}

/// What sort of thing happened. `only` of the configuration chooses by these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A cycle ended: the sum of it. Sent when it differs from the last one, and every `repeat_after`.
    Cycle,
    /// A commit asked for changes, and they were made.
    Changed,
    /// An object had left its state and was put back.
    Drift,
    /// A commit does not count.
    Refused,
    /// Something other than a refusal keeps the host from following the remote.
    Hindered,
    /// A step failed, or the host differs after it.
    Failed,
    /// Somebody must know or do something.
    Alarm,
    /// A problem that was reported is gone. Goes to the sinks that the problem went to.
    Resolved,
    /// An entry of the audit log, as it stands there. Only sent to sinks that name it.
    Audit,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Cycle,
        Self::Changed,
        Self::Drift,
        Self::Refused,
        Self::Hindered,
        Self::Failed,
        Self::Alarm,
        Self::Resolved,
        Self::Audit,
    ];

    /// Returns the word that files and sinks know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cycle => "cycle",
            Self::Changed => "changed",
            Self::Drift => "drift",
            Self::Refused => "refused",
            Self::Hindered => "hindered",
            Self::Failed => "failed",
            Self::Alarm => "alarm",
            Self::Resolved => "resolved",
            Self::Audit => "audit",
        }
    }

    /// Whether it lasts until it is resolved.
    pub fn is_problem(self) -> bool {
        matches!(self, Self::Refused | Self::Hindered | Self::Failed | Self::Alarm)
    }

    /// Returns how grave it is unless something else is known.
    pub fn severity(self) -> Severity {
        match self {
            Self::Cycle | Self::Changed | Self::Resolved | Self::Audit => Severity::Info,
            Self::Drift | Self::Hindered => Severity::Warning,
            Self::Refused | Self::Failed | Self::Alarm => Severity::Error,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Info,
    Warning,
    Error,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Entry {
    /// Returns an entry that says no more than this.
    pub fn new(kind: Kind, time: &str, fleet: &str, host: &str, message: impl Into<String>) -> Self {
        Self {
            time: time.to_owned(),
            host: host.to_owned(),
            fleet: fleet.to_owned(),
            kind,
            severity: kind.severity(),
            commit: None,
            code: None,
            object: None,
            message: message.into(),
            fields: BTreeMap::new(),
        }
    }

    /// Returns what the entry is about, if it is a state that lasts; two entries about the same are told apart by
    /// [`Self::face`].
    pub(super) fn subject(&self) -> Option<String> {
        let kind = self.kind.as_str();
        match self.kind {
            // There is one of each at a time.
            Kind::Cycle | Kind::Refused => Some(kind.to_owned()),
            Kind::Hindered | Kind::Failed | Kind::Alarm => {
                let object = self.object.as_ref().map(ToString::to_string);
                let about = object.or_else(|| self.fields.get(PLACE)?.as_str().map(str::to_owned)).unwrap_or_default();
                Some(format!("{kind}/{}/{about}", self.code.as_deref().unwrap_or_default()))
            }
            Kind::Changed | Kind::Drift | Kind::Resolved | Kind::Audit => None,
        }
    }

    /// Returns what must change for the same subject to be news. Messages do not count: they may have times in them.
    pub(super) fn face(&self) -> String {
        match self.kind {
            Kind::Cycle | Kind::Refused => {
                let text = |field: &Option<String>| field.clone().unwrap_or_default();
                format!("{}/{}", text(&self.code), text(&self.commit))
            }
            _ => String::new(),
        }
    }

    /// Returns when it happened; the epoch if the time is not one.
    pub(super) fn at(&self) -> SystemTime {
        humantime::parse_rfc3339(&self.time).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// An entry as receivers get it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Sent {
    /// The same whenever the entry is sent again; no other entry has it.
    pub id: String,
    #[serde(flatten)]
    pub entry: Entry,
    /// How often the same was seen, and not sent, since it was sent last.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub repeats: u64,
    /// The entry's number in the spool.
    #[serde(skip)]
    pub(super) seq: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Sent {
    /// Returns the nanoseconds since 1970, which grow with the entry's number: entries have seconds, and receivers sort.
    pub(super) fn nanos(&self) -> u128 {
        let since = self.entry.at().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        since.as_nanos() + u128::from(self.seq % 1_000_000)
    }
}
