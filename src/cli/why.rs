// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::audit::entry::{Cause, LoggedChange, Signer};
use crate::audit::{self, Entry, Event, OutcomeResult};
use crate::engine::{Cycle, CycleError};
use crate::model::{Action, Digest, Location, ObjectId};
use crate::resources::DeclaredObject;

use super::{CommandError, Exit, courier, open, output};

/// Show which file, line, commit and signer put an object on this host, and when it last changed or drifted
#[derive(Debug, Args)]
pub struct Why {
    /// The object, such as user:deploy or file:/etc/motd
    #[arg(value_name = "OBJECT")]
    object: ObjectId,
    /// Print the answer as JSON (schemas/why.json)
    #[arg(long)]
    json: bool,
}

/// What `hostwrit why --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Why")]
pub struct Answer {
    object: ObjectId,
    /// Where the repo names the object.
    declared: Location,
    /// Where the repo sets each field.
    fields: BTreeMap<String, Location>,
    /// The commit that is enforced.
    commit: String,
    /// Who signed the commits that this host accepted last.
    signers: Vec<LoggedSigner>,
    /// The order that made the commit count, if it was not accepted by the rules.
    order: Option<LoggedOrder>,
    /// The last step on the object that a commit asked for.
    changed: Option<Happening>,
    /// The last step on the object that repaired drift.
    drifted: Option<Happening>,
}

/// Who signed one commit, as the audit log has it.
#[derive(Debug, Serialize, JsonSchema)]
struct LoggedSigner {
    commit: String,
    principal: String,
    key: String,
}

/// A signed order, as the audit log has it.
#[derive(Debug, Serialize, JsonSchema)]
struct LoggedOrder {
    /// `re-pin` or `break-glass`.
    order: String,
    nonce: String,
    key: String,
    reason: String,
}

impl From<Signer> for LoggedSigner {
    fn from(signer: Signer) -> Self {
        Self { commit: signer.commit, principal: signer.principal, key: signer.key }
    }
}

/// A step of the past.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Happening {
    /// RFC 3339, UTC.
    time: String,
    /// The intent's number in the audit log.
    entry: u64,
    commit: String,
    action: Action,
    fields: Vec<String>,
}

impl Why {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let (host, config) = open(root)?;
        let stop = AtomicBool::new(false);
        let source = courier(&host, &config);
        let desired = Cycle::begin(&config, &host, &source, &stop)?.last_good()?;
        let objects = desired.desired().objects();
        let Some(declared) = objects.iter().find(|object| object.id == self.object) else {
            return Err(CommandError::new(Exit::Failed, self.unknown(&objects, &config.host)));
        };
        let entries = audit::log::read(&host).map_err(CycleError::from)?;
        let answer = self.answer(declared, desired.commit().to_string(), entries);
        if self.json {
            output::answer(serde_json::to_string_pretty(&answer).unwrap_or_default());
        } else {
            answer.lines().iter().for_each(output::answer);
        }
        Ok(Exit::Done)
    }

    fn unknown(&self, objects: &[DeclaredObject<'_>], host: &str) -> String {
        let same_kind: Vec<String> = objects
            .iter()
            .filter(|object| object.id.kind() == self.object.kind())
            .take(10)
            .map(|object| object.id.to_string())
            .collect();
        match same_kind.as_slice() {
            [] => format!("the repo does not declare {} for {host}, nor any other of its kind", self.object),
            some => format!("the repo does not declare {} for {host}; it declares {}", self.object, some.join(", ")),
        }
    }

    fn answer(&self, declared: &DeclaredObject<'_>, commit: String, entries: Vec<Entry>) -> Answer {
        let mut answer = Answer {
            object: self.object.clone(),
            declared: declared.origin.object.clone(),
            fields: declared.origin.fields.clone(),
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
                Event::Intent { plan, object, action, changes } if object == self.object => {
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
}

impl Answer {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.object.to_string(), format!("  declared  {}", self.declared)];
        lines.extend(self.fields.iter().map(|(field, place)| format!("    {field:<12} {place}")));
        lines.push(format!("  commit    {}", self.commit));
        lines.extend(self.signers.iter().map(|signer| {
            format!("    {} signed by {} ({})", output::short(&signer.commit), signer.principal, signer.key)
        }));
        if let Some(LoggedOrder { order, nonce, key, reason }) = &self.order {
            lines.push(format!("    by the {order} {nonce} of {key}: {}", reason.escape_debug()));
        }
        lines.push(format!("  changed   {}", happened(self.changed.as_ref(), "never by hostwrit")));
        lines.push(format!("  drifted   {}", happened(self.drifted.as_ref(), "never")));
        lines
    }
}

fn happened(happening: Option<&Happening>, never: &str) -> String {
    match happening {
        None => never.to_owned(),
        Some(Happening { time, entry, commit, action, fields }) => {
            let action = format!("{action:?}").to_lowercase();
            let fields = if fields.is_empty() { String::new() } else { format!(" of {}", fields.join(", ")) };
            format!("{time}, {action}{fields}, for commit {} (log entry {entry})", output::short(commit))
        }
    }
}
