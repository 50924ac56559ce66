// SPDX-License-Identifier: Apache-2.0
//! The format of one entry.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{Action, Actor, Change, Digest, ObjectId};

/// One line of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1 without a gap.
    pub seq: u64,
    /// Digest of the line before, without its newline; zero for the first.
    pub prev: Digest,
    /// When the entry was written, by this host's clock: RFC 3339, UTC, seconds.
    pub time: String,
    #[serde(flatten)]
    pub event: Event,
}

/// What an entry tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The pin moved to a commit whose whole history since the last pin was proven.
    Accepted {
        commit: String,
        signers: Vec<Signer>,
        policy_version: u64,
        /// The root commit from which it was proven; entries of older versions do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<String>,
    },
    /// The pin moves because a signed order says so: written before it moves.
    Ordered {
        /// `re-pin` or `break-glass`.
        order: String,
        commit: String,
        /// The pin before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The root commit of the configuration.
        root: String,
        /// What makes the order one that can be used once.
        nonce: String,
        key: String,
        /// When the order ends: RFC 3339, UTC.
        not_after: String,
        reason: String,
    },
    /// The newest time that trusted keys have signed for is older than the policy allows.
    Stale {
        /// RFC 3339, UTC; absent where no statement has a time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<String>,
        /// What the policy allows, such as `2days`.
        max_age: String,
    },
    /// A commit was refused; the last good state stays enforced.
    Refused { commit: Option<String>, code: String, message: String },
    /// The commit does the host no good. From here on the last good one is enforced: written before it is put back.
    Held {
        commit: String,
        /// A stable word, such as `check-failed`.
        code: String,
        message: String,
        /// The last good commit; absent where none was good, and nothing is enforced.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        good: Option<String>,
    },
    /// A plan with steps was made and is about to be carried out.
    Planned { commit: String, plan: Digest, cause: Cause, steps: usize },
    /// A step is about to be carried out.
    Intent { plan: Digest, object: ObjectId, action: Action, changes: Vec<LoggedChange> },
    /// How the step of an intent ended.
    Outcome {
        /// The intent's `seq`.
        intent: u64,
        result: OutcomeResult,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A change is about to be made that can cut the host off: it goes back unless it is proven in time.
    Confirming {
        /// Tells this change from all others.
        id: String,
        commit: String,
        /// The time in which it must be proven, such as `2m`.
        within: String,
        /// The objects whose steps can cut the host off.
        objects: Vec<ObjectId>,
    },
    /// The host has proven that it is reached as before, and keeps the change.
    Confirmed {
        id: String,
        commit: String,
        /// What was proven, and what could not be asked for, in words.
        proofs: Vec<String>,
    },
    /// A change that was not proven was put back.
    Reverted {
        id: String,
        commit: String,
        by: RevertedBy,
        why: String,
        /// What is not as it was before, in words.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<String>,
    },
    /// The host was observed again and agrees with the commit.
    Converged { commit: String },
    /// Nothing is changed until a time, because somebody on the host asked for it.
    Paused {
        /// RFC 3339, UTC.
        until: String,
        reason: String,
        by: Actor,
    },
    /// The pause has ended: by somebody, or by itself.
    Resumed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Actor>,
    },
    /// Maintenance that the enforced commit declares has begun, in the place of one that may have been there: but for the
    /// objects that it excepts nothing is changed.
    MaintenanceBegun {
        /// RFC 3339, UTC.
        from: String,
        until: String,
        reason: String,
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        except: BTreeSet<ObjectId>,
    },
    /// The maintenance has ended: its time is over, or a commit says so.
    MaintenanceEnded {},
    /// Writes had been cut off; what stands between this entry and the one before is what was left of them.
    Recovered { bytes: u64, digest: Digest },
    /// The log did not hold the entry that this host remembers as its last: somebody cut or rewrote it.
    Cut { remembered: u64, remembered_digest: Digest },
}

/// Who has put a change back that was not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevertedBy {
    /// The process that has made it.
    Steward,
    /// The timer, for that process did not.
    Timer,
    /// The boot after it.
    Boot,
    /// The next start of hostwrit, for the process that has made it was gone.
    Start,
}

/// Who signed one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    pub commit: String,
    pub principal: String,
    pub key: String,
}

/// Why there was something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A commit asks for it.
    Commit,
    /// The host left the state that was asked for before.
    Drift,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeResult {
    Done,
    Failed,
    /// Not tried: a step that it needs failed, or hostwrit was told to stop.
    Skipped,
    /// hostwrit ended between intent and outcome; the next start found it so.
    Interrupted,
}

/// One changed field as the log keeps it: never the value of a secret, and contents only as digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedChange {
    pub field: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// `file:line` of the infra repo that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

impl From<&Change> for LoggedChange {
    fn from(change: &Change) -> Self {
        use crate::model::Shown;
        let text = |shown: &Shown| match shown {
            Shown::Text(text) => Some(text.clone()),
            Shown::Nothing | Shown::Secret => None,
        };
        Self {
            field: change.field.clone(),
            from: text(&change.from),
            to: text(&change.to),
            secret: change.from == Shown::Secret || change.to == Shown::Secret,
            origin: change.origin.as_ref().map(ToString::to_string),
        }
    }
}
