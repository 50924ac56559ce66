// SPDX-License-Identifier: Apache-2.0
//! What a monitoring system is told of this host, in the text format of Prometheus.
//!
//! `engine` fills in [`Metrics`], and the steward writes them to a file for node_exporter and hands them to the courier,
//! whose [`serve`] answers those who ask. Nothing here knows how a cycle goes.

pub mod config;
pub mod exposition;
pub mod family;
pub mod serve;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use exposition::Page;

pub use config::{Listen, MetricsSection, Settings};

/// The states that a cycle can come to. Each is always written, so that a change of state is a change of a series.
pub const STATES: &[&str] = &["converged", "last-good", "failing", "held"];

/// What can hold changes back.
pub const HOLDERS: &[&str] = &["pause", "maintenance", "rollout", "guard", "put-back", "window"];

/// How a step can end.
pub const RESULTS: &[&str] = &["done", "failed", "skipped"];

/// What a problem is about: a tip that does not count, a remote that cannot be pulled, a step, or something else.
pub const SORTS: &[&str] = &["refusal", "fetch", "step", "other"];

/// What can be found around what is declared: the codes of `docs/reference/findings.md`.
pub const FINDINGS: &[&str] = &[
    "not-listening",
    "undeclared-listener",
    "published-port",
    "other-firewall",
    "foreign-drop",
    "iptables-legacy",
    "blocklist-old",
    "live-session",
    "renew-soon",
    "renew-overdue",
    "renew-unknown",
    "not-looked-at",
];

/// What packages wait for: an update of a security archive, another one, or that nothing keeps apt from theirs any more.
pub const UPDATES: &[&str] = &["security", "other", "kept-back"];

/// All that is told. What is `None` or empty is not known, and is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    pub host: String,
    pub fleet: String,
    pub git_ref: String,
    /// The commit that is enforced.
    pub commit: Option<String>,
    pub policy_version: Option<u64>,
    /// One of [`STATES`].
    pub state: String,
    /// Number of problems, by code and one of [`SORTS`].
    pub problems: BTreeMap<(String, &'static str), u64>,
    /// Number of findings, by one of [`FINDINGS`].
    pub findings: BTreeMap<&'static str, u64>,
    /// Number of addresses and networks that other programs ban, by the program.
    pub bans: BTreeMap<String, u64>,
    pub last_pull: Option<SystemTime>,
    pub last_cycle: Option<SystemTime>,
    /// Number of objects, by kind and state.
    pub objects: BTreeMap<(String, &'static str), u64>,
    pub counts: Counts,
    /// Which of [`HOLDERS`] hold changes back.
    pub held: BTreeSet<&'static str>,
    /// The newest time that a trusted key has signed for, and how old it may be.
    pub newest_statement: Option<SystemTime>,
    pub statement_max_age: Option<Duration>,
    pub reboot_needed: Option<bool>,
    /// Number of packages, by one of [`UPDATES`].
    pub pending_updates: BTreeMap<&'static str, u64>,
    /// When the newest package list was made.
    pub package_lists: Option<SystemTime>,
    /// When each secret must have been replaced, and from when on somebody is to be told, by the object.
    pub secrets_due: BTreeMap<String, SystemTime>,
    pub secrets_warn: BTreeMap<String, SystemTime>,
    pub audit_entries: Option<u64>,
    pub audit_unexported: Option<u64>,
    pub spool: Option<Spool>,
    pub courier_up: Option<bool>,
}

/// What is counted from the daemon's start on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub started: Option<SystemTime>,
    /// When the daemon last pulled and did what was to be done.
    pub alive: Option<SystemTime>,
    pub last_success: Option<SystemTime>,
    /// Cycles, by one of [`STATES`].
    pub cycles: BTreeMap<String, u64>,
    pub cycle_time: Duration,
    pub last_cycle_time: Duration,
    pub drift_repaired: u64,
    /// Steps, by one of [`RESULTS`].
    pub steps: BTreeMap<&'static str, u64>,
    /// Refusals, by code.
    pub refusals: BTreeMap<String, u64>,
    pub fetch_failures: u64,
}

/// The courier's spool of reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spool {
    pub waiting: u64,
    pub lost: u64,
}

impl Metrics {
    /// Returns the page that Prometheus and node_exporter read.
    pub fn render(&self) -> String {
        let mut page = Page::default();
        page.put(&family::BUILD_INFO, [(vec![env!("CARGO_PKG_VERSION")], 1.0)]);
        page.put(&family::HOST_INFO, [(vec![self.host.as_str(), &self.fleet, &self.git_ref], 1.0)]);
        page.put_one(&family::START_TIME, self.counts.started.map(seconds_of));
        page.put(&family::COMMIT_INFO, self.commit.iter().map(|commit| (vec![commit.as_str()], 1.0)));
        page.put_one(&family::POLICY_VERSION, self.policy_version.map(number));
        page.put(&family::HEALTH, words(STATES, |state| flag(state == self.state)));
        page.put(&family::PROBLEMS, by_two_words(&self.problems));
        let findings = words(FINDINGS, |code| number(self.findings.get(code).copied().unwrap_or(0)));
        page.put(&family::FINDINGS, findings);
        page.put(&family::BANS, self.bans.iter().map(|(program, bans)| (vec![program.as_str()], number(*bans))));
        page.put_one(&family::ALIVE, self.counts.alive.map(seconds_of));
        page.put_one(&family::LAST_PULL, self.last_pull.map(seconds_of));
        page.put_one(&family::LAST_CYCLE, self.last_cycle.map(seconds_of));
        self.counts.put(&mut page);
        page.put(&family::OBJECTS, by_two_words(&self.objects));
        page.put(&family::HELD, words(HOLDERS, |holder| flag(self.held.contains(holder))));
        page.put_one(&family::NEWEST_STATEMENT, self.newest_statement.map(seconds_of));
        page.put_one(&family::STATEMENT_MAX_AGE, self.statement_max_age.map(|age| age.as_secs_f64()));
        page.put_one(&family::REBOOT_NEEDED, self.reboot_needed.map(flag));
        page.put(
            &family::PENDING_UPDATES,
            self.pending_updates.iter().map(|(sort, count)| (vec![*sort], number(*count))),
        );
        page.put_one(&family::PACKAGE_LISTS, self.package_lists.map(seconds_of));
        page.put(&family::SECRET_DUE, times(&self.secrets_due));
        page.put(&family::SECRET_WARN, times(&self.secrets_warn));
        page.put_one(&family::AUDIT_ENTRIES, self.audit_entries.map(number));
        page.put_one(&family::AUDIT_UNEXPORTED, self.audit_unexported.map(number));
        page.put_one(&family::SPOOL_WAITING, self.spool.map(|spool| number(spool.waiting)));
        page.put_one(&family::SPOOL_LOST, self.spool.map(|spool| number(spool.lost)));
        page.put_one(&family::COURIER_UP, self.courier_up.map(flag));
        page.into_text()
    }
}

impl Counts {
    fn put(&self, page: &mut Page) {
        page.put_one(&family::LAST_SUCCESS, self.last_success.map(seconds_of));
        page.put(&family::CYCLES, words(STATES, |state| number(self.cycles.get(state).copied().unwrap_or(0))));
        page.put_summary(&family::CYCLE_SECONDS, self.cycle_time.as_secs_f64(), self.cycles.values().sum());
        page.put_one(&family::LAST_CYCLE_SECONDS, self.last_cycle_time.as_secs_f64());
        page.put_one(&family::DRIFT_REPAIRED, number(self.drift_repaired));
        page.put(&family::STEPS, words(RESULTS, |result| number(self.steps.get(result).copied().unwrap_or(0))));
        page.put(&family::REFUSALS, by_word(&self.refusals));
        page.put_one(&family::FETCH_FAILURES, number(self.fetch_failures));
    }
}

/// Returns one sample for each word of a closed list.
fn words<'w>(words: &'w [&'w str], number: impl Fn(&str) -> f64) -> impl Iterator<Item = (Vec<&'w str>, f64)> {
    words.iter().map(move |word| (vec![*word], number(word)))
}

fn by_word(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (Vec<&str>, f64)> {
    counts.iter().map(|(word, count)| (vec![word.as_str()], number(*count)))
}

fn by_two_words<'c>(counts: &'c BTreeMap<(String, &'static str), u64>) -> impl Iterator<Item = (Vec<&'c str>, f64)> {
    counts.iter().map(|((word, other), count)| (vec![word.as_str(), *other], number(*count)))
}

fn times(times: &BTreeMap<String, SystemTime>) -> impl Iterator<Item = (Vec<&str>, f64)> {
    times.iter().map(|(name, time)| (vec![name.as_str()], seconds_of(*time)))
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn number(count: u64) -> f64 {
    count as f64
}

/// Returns the seconds since 1970, to the millisecond.
fn seconds_of(time: SystemTime) -> f64 {
    let millis = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests;
