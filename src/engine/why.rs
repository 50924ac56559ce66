// SPDX-License-Identifier: Apache-2.0
//! Which file, line, commit and signer put an object on this host, and when it last changed or drifted.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::entry::{Cause, LoggedChange, Signer};
use crate::audit::{self, AuditError, Entry, Event, OutcomeResult};
use crate::host::ReadHost;
use crate::model::{Action, Digest, Location, ObjectId, Origin};
use crate::resources::{Desired, ShelfError};
use crate::trust::Authorized;

use super::enforced::Enforced;

/// What `hostwrit why --json` prints.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    pub object: ObjectId,
    /// Where the repo names the object.
    pub declared: Location,
    /// Where the repo sets each field.
    pub fields: BTreeMap<String, Location>,
    /// The commit that is enforced.
    pub commit: String,
    /// Who signed the commits that this host accepted last.
    pub signers: Vec<LoggedSigner>,
    /// The order that made the commit count, if it was not accepted by the rules.
    pub order: Option<LoggedOrder>,
    /// The last step on the object that a commit asked for.
    pub changed: Option<Happening>,
    /// The last step on the object that repaired drift.
    pub drifted: Option<Happening>,
}

/// Who signed one commit, as the audit log has it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LoggedSigner {
    pub commit: String,
    pub principal: String,
    pub key: String,
}

/// A signed order, as the audit log has it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LoggedOrder {
    /// `re-pin` or `break-glass`.
    pub order: String,
    pub nonce: String,
    pub key: String,
    pub reason: String,
}

impl From<Signer> for LoggedSigner {
    fn from(signer: Signer) -> Self {
        Self { commit: signer.commit, principal: signer.principal, key: signer.key }
    }
}

/// A step of the past.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Happening {
    /// RFC 3339, UTC.
    pub time: String,
    /// The intent's number in the audit log.
    pub entry: u64,
    pub commit: String,
    pub action: Action,
    pub fields: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    #[error("{0}")]
    Unknown(String),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

impl Why {
    /// Finds out in what is enforced on the host that is called `name`, and in the log.
    ///
    /// # Errors
    /// The object is not declared, or the log cannot be read.
    pub fn of(
        object: &ObjectId,
        desired: &Authorized<Desired>,
        name: &str,
        host: &dyn ReadHost,
    ) -> Result<Self, WhyError> {
        let objects = desired.desired().objects();
        let Some(declared) = objects.iter().find(|declared| declared.id == *object) else {
            let ids = objects.iter().map(|declared| declared.id.clone());
            return Err(WhyError::Unknown(unknown(object, ids, name)));
        };
        Ok(answer(object, declared.origin, desired.commit().to_string(), audit::log::read(host)?))
    }

    /// Finds out in what the daemon has put away, and in the log.
    ///
    /// # Errors
    /// The object is not declared or cannot be had back, or the log cannot be read.
    pub fn of_kept(object: &ObjectId, enforced: &Enforced, name: &str, host: &dyn ReadHost) -> Result<Self, WhyError> {
        let declared = enforced.declared();
        let Some(origin) = declared.origin(object)? else {
            return Err(WhyError::Unknown(unknown(object, declared.objects(), name)));
        };
        Ok(answer(object, &origin, enforced.commit().to_owned(), audit::log::read(host)?))
    }
}

fn unknown(object: &ObjectId, declared: impl Iterator<Item = ObjectId>, host: &str) -> String {
    let same_kind: Vec<String> =
        declared.filter(|other| other.kind() == object.kind()).take(10).map(|object| object.to_string()).collect();
    match same_kind.as_slice() {
        [] => format!("the repo does not declare {} for {host}, nor any other of its kind", object),
        some => format!("the repo does not declare {} for {host}; it declares {}", object, some.join(", ")),
    }
}

fn answer(asked: &ObjectId, origin: &Origin, commit: String, entries: Vec<Entry>) -> Why {
    let mut answer = Why {
        object: asked.clone(),
        declared: origin.object.clone(),
        fields: origin.fields.clone(),
        commit,
        signers: Vec::new(),
        order: None,
        changed: None,
        drifted: None,
    };
    let mut plans: BTreeMap<Digest, (String, Cause)> = BTreeMap::new();
    let mut open: BTreeMap<u64, (Happening, Cause)> = BTreeMap::new();
    for entry in entries {
        match entry.event {
            // A commit that is accepted again, after the state was lost, is not proven again and so names nobody.
            Event::Accepted { commit, signers, .. } if commit == answer.commit && !signers.is_empty() => {
                answer.signers = signers.into_iter().map(LoggedSigner::from).collect();
            }
            Event::Ordered { order, commit, nonce, key, reason, .. } if commit == answer.commit => {
                answer.order = Some(LoggedOrder { order, nonce, key, reason });
            }
            Event::Planned { commit, plan, cause, .. } => drop(plans.insert(plan, (commit, cause))),
            Event::Intent { plan, object, action, changes } if object == *asked => {
                if let Some((commit, cause)) = plans.get(&plan) {
                    let fields = changes.into_iter().map(|change: LoggedChange| change.field).collect();
                    let commit = commit.clone();
                    let happening = Happening { time: entry.time, entry: entry.seq, commit, action, fields };
                    open.insert(entry.seq, (happening, *cause));
                }
            }
            Event::Outcome { intent, result: OutcomeResult::Done, .. } => match open.remove(&intent) {
                Some((happening, Cause::Commit)) => answer.changed = Some(happening),
                Some((happening, Cause::Drift)) => answer.drifted = Some(happening),
                None => {}
            },
            _ => {}
        }
    }
    answer
}
