// SPDX-License-Identifier: Apache-2.0
//! What a cycle and the audit log have to say to other systems.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::audit;
use crate::audit::OutcomeResult;
use crate::audit::entry::{Cause, LoggedChange, Signer};
use crate::model::{ObjectId, Step};
use crate::report::entry::PLACE;
use crate::report::{Entry, Kind, Severity};
use crate::resources::Operation;
use crate::resources::findings::Finding;

use super::apply::Outcome;
use super::desired::Hindrance;
use super::guard;
use super::repair::Repaired;
use super::status::{Health, Status, Trouble};
use super::{Config, CycleError, Plan, Report};

/// Of one cycle no more objects are named; what is over is a number.
const MOST_OBJECTS: usize = 200;

/// What one cycle has to say.
#[derive(Debug, Serialize)]
pub struct Told {
    pub entries: Vec<Entry>,
    /// The cycle looked at everything: what it does not mention is in order.
    pub whole: bool,
}

/// Puts a cycle, of which `status` is the sum, into entries for [`crate::report::Spool::push_cycle`].
pub fn of_cycle(config: &Config, cycle: &Result<Report, CycleError>, status: &Status) -> Told {
    let teller = Teller { fleet: &config.anchor.fleet, status };
    let report = cycle.as_ref().ok();
    let hindrance = match cycle {
        Ok(report) => report.hindrance.as_ref(),
        Err(CycleError::Hindered(hindrance)) => Some(hindrance),
        Err(_) => None,
    };
    let mut entries = vec![teller.sum()];
    entries.extend(
        report.map(|report| teller.changes(&report.plan, &report.outcomes, &report.signers)).unwrap_or_default(),
    );
    let problems = status.problems.iter().take(MOST_OBJECTS);
    entries.extend(problems.map(|trouble| teller.problem(trouble, report, hindrance)));
    entries.extend(status.findings.iter().take(MOST_OBJECTS).map(|finding| teller.finding(finding)));
    let observed = status.reported.iter().map(|object| (object, "is only observed"));
    let left = status.left_alone.iter().map(|object| (object, "is left as it is during maintenance"));
    entries.extend(observed.chain(left).take(MOST_OBJECTS).map(|(object, why)| teller.differs(object, why)));
    Told { entries, whole: report.is_some() }
}

/// Puts a repair between two cycles into entries; `status` is what it left.
pub fn of_repair(config: &Config, repaired: &Repaired, status: &Status) -> Told {
    let teller = Teller { fleet: &config.anchor.fleet, status };
    let mut entries = teller.changes(&repaired.plan, &repaired.outcomes, &[]);
    let concerned = |trouble: &&Trouble| {
        trouble.object.as_ref().is_some_and(|object| repaired.plan.steps.iter().any(|step| step.object == *object))
    };
    let problems = status.problems.iter().filter(concerned).take(MOST_OBJECTS);
    entries.extend(problems.map(|trouble| teller.problem(trouble, None, None)));
    Told { entries, whole: false }
}

/// Puts a line of the audit log, without its newline, into an entry; `None` if it is none.
///
/// The entry has the line to the byte, so that the chain of digests can be proven from what was exported.
pub fn of_audit(config: &Config, line: &str) -> Option<Entry> {
    let logged: audit::Entry = serde_json::from_str(line).ok()?;
    let mut record: BTreeMap<String, Value> = serde_json::from_str(line).ok()?;
    let mut take = |key: &str| record.remove(key).and_then(|value| value.as_str().map(str::to_owned));
    let event = take("event")?;
    let (time, _) = (take("time")?, take("prev"));
    let mut entry = Entry::new(Kind::Audit, &time, &config.anchor.fleet, &config.host, "");
    entry.commit = take("commit");
    entry.object = match &logged.event {
        audit::Event::Intent { object, .. } => Some(object.clone()),
        _ => None,
    };
    let about = entry.object.as_ref().map(|object| format!(": {object}")).unwrap_or_default();
    entry.message = format!("audit log {}: {event}{about}", logged.seq);
    entry.code = Some(event);
    record.remove("object");
    entry.fields = record;
    entry.fields.insert("line".to_owned(), line.into());
    Some(entry)
}

struct Teller<'s> {
    fleet: &'s str,
    status: &'s Status,
}

impl Teller<'_> {
    fn entry(&self, kind: Kind, message: String) -> Entry {
        let status = self.status;
        let entry = Entry::new(kind, &status.time, self.fleet, &status.host, message);
        Entry { commit: status.commit.clone(), ..entry }
    }

    fn sum(&self) -> Entry {
        let status = self.status;
        let (code, severity, text) = match status.health {
            Health::Converged => ("converged", Severity::Info, "agrees with the remote"),
            Health::LastGood => ("last-good", Severity::Warning, "keeps to the last good commit"),
            Health::Held if status.paused.is_some() => ("held", Severity::Warning, "is paused, and changes wait"),
            Health::Held => ("held", Severity::Warning, "holds a commit or changes back"),
            Health::Failing => ("failing", Severity::Error, "does not agree with its commit"),
        };
        let mut entry = self.entry(Kind::Cycle, format!("the host {text}"));
        (entry.code, entry.severity) = (Some(code.to_owned()), severity);
        let numbers = [
            ("objects", status.objects),
            ("done", status.done),
            ("problems", status.problems.len()),
            ("findings", status.findings.len()),
            ("reported", status.reported.len()),
            ("unmanaged", status.unmanaged.len()),
        ];
        entry.fields = numbers.map(|(key, number)| (key.to_owned(), json!(number))).into();
        entry
    }

    fn changes(&self, plan: &Plan, outcomes: &[Outcome], signers: &[Signer]) -> Vec<Entry> {
        let pairs = plan.steps.iter().zip(outcomes);
        let done: Vec<&Step<Operation>> =
            pairs.filter(|(_, outcome)| outcome.result == OutcomeResult::Done).map(|(step, _)| step).collect();
        match plan.cause {
            _ if done.is_empty() => Vec::new(),
            Cause::Commit => {
                let commit = &plan.commit;
                let message =
                    format!("{} of {} changes that {commit} asks for were made", done.len(), plan.steps.len());
                let mut entry = self.entry(Kind::Changed, message);
                let objects: Vec<String> = done.iter().take(MOST_OBJECTS).map(|step| step.object.to_string()).collect();
                entry.fields = fields([
                    ("plan", json!(plan.digest)),
                    ("steps", json!(plan.steps.len())),
                    ("done", json!(done.len())),
                    ("objects", json!(objects)),
                    ("signers", json!(signers)),
                ]);
                vec![entry]
            }
            Cause::Drift => {
                let mut entries: Vec<Entry> = done.iter().take(MOST_OBJECTS).map(|step| self.drift(step)).collect();
                if let Some(more) = done.len().checked_sub(MOST_OBJECTS).filter(|more| *more > 0) {
                    let message = format!("{more} more objects had left their state and were put back");
                    entries.push(Entry { fields: fields([("more", json!(more))]), ..self.entry(Kind::Drift, message) });
                }
                entries
            }
        }
    }

    fn drift(&self, step: &Step<Operation>) -> Entry {
        let changes: Vec<LoggedChange> = step.changes.iter().map(LoggedChange::from).collect();
        let names: Vec<&str> = changes.iter().map(|change| change.field.as_str()).collect();
        let about = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
        let mut entry = self.entry(Kind::Drift, format!("{} had left its state and was put back{about}", step.object));
        entry.object = Some(step.object.clone());
        entry.fields = fields([("action", json!(step.action)), ("changes", json!(changes))]);
        entry
    }

    fn problem(&self, trouble: &Trouble, report: Option<&Report>, hindrance: Option<&Hindrance>) -> Entry {
        let is_alarm = report.is_some_and(|report| report.alarms.iter().any(|alarm| alarm.code() == trouble.code));
        let hindrance = hindrance.filter(|hindrance| hindrance.code() == trouble.code && trouble.object.is_none());
        let kind = match hindrance {
            Some(Hindrance::Refused(_)) => Kind::Refused,
            Some(Hindrance::NoLastGood { tip, .. }) if matches!(**tip, Hindrance::Refused(_)) => Kind::Refused,
            Some(_) => Kind::Hindered,
            None if trouble.object.is_some() => Kind::Failed,
            None if is_alarm => Kind::Alarm,
            None if trouble.code == "held" || guard::CODES.contains(&trouble.code.as_str()) => Kind::Hindered,
            None => Kind::Failed,
        };
        let mut entry = self.entry(kind, trouble.message.clone());
        if let Some(commit) = hindrance.and_then(Hindrance::commit) {
            entry.commit = Some(commit.to_string());
        }
        if trouble.code == "step-skipped" {
            entry.severity = Severity::Warning;
        }
        entry.code = Some(trouble.code.clone());
        entry.object = trouble.object.clone();
        entry
    }

    fn finding(&self, finding: &Finding) -> Entry {
        let mut entry = self.entry(Kind::Alarm, finding.message.clone());
        (entry.code, entry.severity) = (Some(finding.code.to_string()), Severity::Warning);
        entry.object.clone_from(&finding.object);
        let place = finding.place.as_ref().map(|place| (PLACE.to_owned(), json!(place)));
        let process = finding.process.as_ref().map(|process| ("process".to_owned(), json!(process)));
        entry.fields = place.into_iter().chain(process).collect();
        entry
    }

    fn differs(&self, object: &ObjectId, why: &str) -> Entry {
        let message = format!("{object} differs from what the repo says, and {why}");
        let mut entry = self.entry(Kind::Alarm, message);
        (entry.code, entry.severity) = (Some("differs".to_owned()), Severity::Warning);
        entry.object = Some(object.clone());
        entry
    }
}

fn fields<const N: usize>(pairs: [(&str, Value); N]) -> BTreeMap<String, Value> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
