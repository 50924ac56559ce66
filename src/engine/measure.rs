// SPDX-License-Identifier: Apache-2.0
//! From cycles to metrics: what the daemon counts, and what it leaves for a monitoring system.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::audit::entry::Cause;
use crate::audit::{Event, Head, log};
use crate::host::{HostError, NewFile, ReadHost, WriteHost};
use crate::metrics::{Counts, Metrics, Settings};
use crate::model::ObjectId;
use crate::trust::Code;

use super::freshness::Freshness;
use super::guard;
use super::reboot;
use super::state::STATE;
use super::status::{Health, Status};
use super::updates::Updates;

/// What the daemon keeps from cycle to cycle. Counts begin at 0 when it starts.
#[derive(Clone, Debug)]
pub struct Counters {
    counts: Counts,
    /// What refused the tip in the last cycle.
    refused: BTreeSet<(String, String)>,
    /// The enforced commit, and the version of the policy under which it was accepted.
    policy: Option<(String, u64)>,
}

impl Counters {
    /// Begins to count. `last` is the status that an earlier daemon of this boot left.
    pub fn start(now: SystemTime, last: Option<&Status>) -> Self {
        let last_success = last.filter(|last| last.health == Health::Converged).and_then(time_of);
        Self {
            counts: Counts { started: Some(now), last_success, ..Counts::default() },
            refused: BTreeSet::new(),
            policy: None,
        }
    }

    /// Notes a pull that called for no cycle, after the cycle of this status; whether the remote answered.
    pub fn pulled(&mut self, status: &Status, answered: bool, now: SystemTime) {
        self.counts.alive = Some(now);
        if !answered {
            self.counts.fetch_failures += 1;
        } else if status.health == Health::Converged {
            self.counts.last_success = Some(now);
        }
    }

    /// Counts what was put right between two cycles.
    pub fn repaired(&mut self, status: &Status) {
        *self.counts.steps.entry("done").or_default() += status.done as u64;
        self.counts.drift_repaired += status.done as u64;
        self.counts.alive = time_of(status);
    }

    /// Counts a cycle that has just ended.
    pub fn count(&mut self, status: &Status, took: Duration, host: &dyn ReadHost) {
        let counts = &mut self.counts;
        *counts.cycles.entry(word(status.health)).or_default() += 1;
        counts.cycle_time += took;
        counts.last_cycle_time = took;
        counts.alive = time_of(status);
        if status.health == Health::Converged {
            counts.last_success = time_of(status);
        }
        let done = status.done as u64;
        let with = |code: &str| status.problems.iter().filter(|trouble| trouble.code == code).count() as u64;
        for (result, number) in [("done", done), ("failed", with("step-failed")), ("skipped", with("step-skipped"))] {
            *counts.steps.entry(result).or_default() += number;
        }
        if status.cause == Some(Cause::Drift) {
            counts.drift_repaired += done;
        }
        counts.fetch_failures += with("fetch-failed").min(1);

        // A refusal that lasts is one refusal, however often it is met.
        let refused: BTreeSet<(String, String)> = status
            .problems
            .iter()
            .filter(|trouble| sort(&trouble.code) == "refusal")
            .map(|trouble| (trouble.code.clone(), trouble.message.clone()))
            .collect();
        for (code, _) in refused.difference(&self.refused) {
            *counts.refusals.entry(code.clone()).or_default() += 1;
        }
        // While the remote cannot be pulled, it is not known whether the tip would still be refused.
        if with("fetch-failed") == 0 {
            self.refused = refused;
        }

        let commit = status.commit.as_ref().filter(|commit| self.policy.as_ref().is_none_or(|(of, _)| of != *commit));
        if let Some(commit) = commit {
            // The log is read whole, but only where the commit is another than in the last cycle.
            self.policy = match log::acceptance_of(host, commit) {
                Ok(Some(Event::Accepted { commit, policy_version, .. })) => Some((commit, policy_version)),
                _ => None,
            };
        }
    }
}

/// Returns what there is to tell after a cycle. What only others know the caller fills in: the courier, its spool, what
/// was exported, what holds changes back.
pub fn gather(status: &Status, counters: &Counters, host: &dyn ReadHost) -> Metrics {
    let remembered = Remembered::read(host).unwrap_or_default();
    let mut problems = BTreeMap::new();
    for trouble in &status.problems {
        *problems.entry((trouble.code.clone(), sort(&trouble.code))).or_default() += 1;
    }
    let mut findings = BTreeMap::new();
    for finding in &status.findings {
        *findings.entry(finding.code.as_str()).or_default() += 1;
    }
    let mut metrics = Metrics {
        host: status.host.clone(),
        fleet: status.fleet.clone(),
        git_ref: status.git_ref.clone(),
        commit: status.commit.clone(),
        policy_version: counters.policy.as_ref().map(|(_, version)| *version),
        state: word(status.health),
        problems,
        findings,
        bans: status.bans.clone(),
        secrets_due: status.due.iter().map(|(object, due)| (object.to_string(), due.by)).collect(),
        secrets_warn: status.due.iter().map(|(object, due)| (object.to_string(), due.warn)).collect(),
        last_pull: status.pulled.as_deref().and_then(|time| humantime::parse_rfc3339(time).ok()),
        last_cycle: time_of(status),
        objects: objects(status),
        counts: counters.counts.clone(),
        held: held_by(status),
        newest_statement: remembered.freshness.newest(),
        statement_max_age: remembered.freshness.max_age(),
        reboot_needed: reboot::is_needed(host),
        audit_entries: remembered.log.map(|head| head.seq),
        ..Metrics::default()
    };
    note_updates(&mut metrics, host);
    metrics
}

/// Enters what apt said when it was last asked.
pub fn note_updates(metrics: &mut Metrics, host: &dyn ReadHost) {
    let updates = Updates::read(host).unwrap_or_default();
    metrics.pending_updates = updates.pending.map(|pending| pending.by_sort()).unwrap_or_default();
    metrics.package_lists = updates.lists.as_deref().and_then(|time| humantime::parse_rfc3339(time).ok());
}

/// Enters a pull that called for no cycle. Costs nothing that grows with the host.
pub fn note_pull(metrics: &mut Metrics, status: &Status, counters: &Counters, host: &dyn ReadHost) {
    note_updates(metrics, host);
    metrics.last_pull = status.pulled.as_deref().and_then(|time| humantime::parse_rfc3339(time).ok());
    metrics.counts = counters.counts.clone();
}

/// Leaves the page for node_exporter, if the configuration says where.
///
/// # Errors
/// The file cannot be replaced; the page before is still there.
pub fn leave(page: &str, settings: &Settings, host: &dyn WriteHost) -> Result<(), HostError> {
    let Some(path) = &settings.textfile else { return Ok(()) };
    host.replace_file(path, &NewFile { content: page.as_bytes(), owner: None, mode: 0o644, check: None })
}

/// The parts of the state that metrics tell of; the rest, which may be long, is passed over.
#[derive(Debug, Default, Deserialize)]
struct Remembered {
    #[serde(default)]
    freshness: Freshness,
    #[serde(default)]
    log: Option<Head>,
}

impl Remembered {
    /// Returns `None` where there is no state, or none that can be read: the cycle has said so already.
    fn read(host: &dyn ReadHost) -> Option<Self> {
        let text = host.read(Path::new(STATE)).ok()??;
        serde_json::from_slice(&text).ok()
    }
}

fn objects(status: &Status) -> BTreeMap<(String, &'static str), u64> {
    let mut objects: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    let mut add = |kind: &str, state, number| *objects.entry((kind.to_owned(), state)).or_default() += number;
    // An object may have several problems, and is one object all the same.
    let unlike = status.problems.iter().filter(|trouble| sort(&trouble.code) == "step");
    let failing: BTreeSet<&ObjectId> = unlike.filter_map(|trouble| trouble.object.as_ref()).collect();
    let reported: BTreeSet<&ObjectId> = status.reported.iter().collect();
    for (kind, number) in &status.kinds {
        // A series that is there from the start on can be told from one that has ended.
        [("declared", *number), ("failing", 0), ("reported", 0)]
            .into_iter()
            .for_each(|(state, number)| add(kind, state, number as u64));
    }
    failing.iter().for_each(|object| add(object.kind(), "failing", 1));
    reported.iter().for_each(|object| add(object.kind(), "reported", 1));
    let left_alone: BTreeSet<&ObjectId> = status.left_alone.iter().collect();
    left_alone.iter().for_each(|object| add(object.kind(), "held", 1));
    status.unmanaged.iter().for_each(|object| add(object.kind(), "unmanaged", 1));
    objects
}

/// Returns what a problem is about: one of [`SORTS`](crate::metrics::SORTS).
fn sort(code: &str) -> &'static str {
    match code {
        "unsound" | "pin-conflict" | "clock-suspect" | "revocations-unreadable" => "refusal",
        "fetch-failed" => "fetch",
        "step-failed" | "step-skipped" | "not-converged" | "check-failed" => "step",
        code if Code::ALL.iter().any(|known| known.as_str() == code) => "refusal",
        _ => "other",
    }
}

/// Returns what may hold changes back, whether or not there are any: some of [`HOLDERS`](crate::metrics::HOLDERS).
fn held_by(status: &Status) -> BTreeSet<&'static str> {
    let guard = status.problems.iter().any(|trouble| guard::CODES.contains(&trouble.code.as_str()));
    let holders = [
        ("pause", status.paused.is_some()),
        ("maintenance", status.maintenance.is_some()),
        ("rollout", status.rollout.is_some()),
        ("guard", guard),
        ("put-back", status.put_back.is_some()),
    ];
    holders.into_iter().filter(|(_, holds)| *holds).map(|(holder, _)| holder).collect()
}

fn time_of(status: &Status) -> Option<SystemTime> {
    humantime::parse_rfc3339(&status.time).ok()
}

/// Returns the word that programs know a health by.
fn word(health: Health) -> String {
    match serde_json::to_value(health) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
