// SPDX-License-Identifier: Apache-2.0
//! From series to hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::prometheus::{Prometheus, QueryError, Sample};
use super::{FORMAT, Fleet, Host, State};
use crate::metrics::family::{self, Family};

/// The series that are asked for: a few for each host, however many objects it has.
const ASKED: &[&Family] = &[
    &family::HOST_INFO,
    &family::START_TIME,
    &family::COMMIT_INFO,
    &family::BUILD_INFO,
    &family::HEALTH,
    &family::PROBLEMS,
    &family::FINDINGS,
    &family::HELD,
    &family::ALIVE,
    &family::LAST_SUCCESS,
    &family::REBOOT_NEEDED,
    &family::PENDING_UPDATES,
];

/// What is asked of a Prometheus.
#[derive(Clone, Debug)]
pub struct Question {
    /// The one fleet that is asked for; `None`: all.
    pub fleet: Option<String>,
    /// A host that last told of itself longer ago is silent.
    pub silent_after: Duration,
}

/// Where a series comes from: all labels that hostwrit did not write itself.
type Target = BTreeMap<String, String>;

/// Asks a Prometheus for all hosts that it knows, or knew within the last day.
///
/// # Errors
/// It gives no answer.
pub fn of_prometheus(prometheus: &Prometheus, question: &Question) -> Result<Fleet, QueryError> {
    let names: Vec<&str> = ASKED.iter().map(|family| family.name).collect();
    let now = prometheus.query(&format!("{{__name__=~\"{}\"}}", names.join("|")))?;
    let earlier = prometheus.query(&format!("last_over_time({}[1d])", family::HOST_INFO.name))?;
    Ok(of_samples(&now, &earlier, question))
}

/// Makes hosts of the series that there are, and of `host_info` as it was within the last day.
pub(super) fn of_samples(now: &[Sample], earlier: &[Sample], question: &Question) -> Fleet {
    let mut by_target: BTreeMap<Target, Vec<Series<'_>>> = BTreeMap::new();
    for series in now.iter().filter_map(Series::of) {
        by_target.entry(series.target.clone()).or_default().push(series);
    }
    let wanted = |fleet: &str| question.fleet.as_deref().is_none_or(|wanted| wanted == fleet);
    let mut seen: BTreeMap<(String, String), Vec<Seen>> = BTreeMap::new();
    for series in by_target.values() {
        let Some(found) = Seen::of(series, question) else { continue };
        if wanted(&found.host.fleet) {
            seen.entry((found.host.fleet.clone(), found.host.host.clone())).or_default().push(found);
        }
    }
    let mut fleet = Fleet { format: FORMAT, hosts: Vec::new() };
    for machines in seen.values_mut() {
        fleet.hosts.extend(told_apart(std::mem::take(machines)));
    }
    for sample in earlier {
        let Some(series) = Series::of_family(sample, &family::HOST_INFO) else { continue };
        let (host, of_fleet) = (series.own("host"), series.own("fleet"));
        let is_known = fleet.hosts.iter().any(|known| known.host == host && known.fleet == of_fleet);
        if wanted(of_fleet) && !is_known {
            let instance = series.target.get("instance").cloned();
            fleet.hosts.push(Host { instance, ..Host::named(of_fleet, host, State::Gone) });
        }
    }
    fleet.sort();
    fleet
}

/// One series, with the labels that hostwrit wrote apart from those that Prometheus put beside them.
struct Series<'s> {
    family: &'static Family,
    own: BTreeMap<&'static str, &'s str>,
    target: Target,
    sample: &'s Sample,
}

impl<'s> Series<'s> {
    fn of(sample: &'s Sample) -> Option<Self> {
        let name = sample.labels.get("__name__")?;
        Self::of_family(sample, ASKED.iter().find(|family| family.name == name)?)
    }

    fn of_family(sample: &'s Sample, family: &'static Family) -> Option<Self> {
        let mut target = sample.labels.clone();
        target.remove("__name__");
        let mut own = BTreeMap::new();
        for label in family.labels {
            // Where the target has a label of the same name, Prometheus calls ours so.
            let exported = format!("exported_{label}");
            let key = if target.contains_key(&exported) { exported.as_str() } else { label };
            target.remove(key);
            own.insert(*label, sample.labels.get(key)?.as_str());
        }
        Some(Self { family, own, target, sample })
    }

    fn own(&self, label: &str) -> &'s str {
        self.own.get(label).copied().unwrap_or_default()
    }
}

/// A host as one target tells of it.
struct Seen {
    host: Host,
    /// When its daemon started: two targets with the same are one machine that is asked twice.
    started: Option<u64>,
}

impl Seen {
    fn of(series: &[Series<'_>], question: &Question) -> Option<Self> {
        let info = series.iter().find(|series| series.family.name == family::HOST_INFO.name)?;
        let all = |family: &'static Family| series.iter().filter(move |series| series.family.name == family.name);
        let one = |family: &'static Family| all(family).next();
        let is_set = |series: &&Series<'_>| series.sample.value == 1.0;
        let age = |family: &'static Family| {
            one(family).map(|series| (series.sample.asked - series.sample.value).max(0.0) as u64)
        };
        let mut host = Host::named(info.own("fleet"), info.own("host"), State::Unknown);
        host.instance = info.target.get("instance").cloned();
        host.commit = one(&family::COMMIT_INFO).map(|series| series.own("commit").to_owned());
        host.version = one(&family::BUILD_INFO).map(|series| series.own("version").to_owned());
        host.age = age(&family::ALIVE);
        host.success_age = age(&family::LAST_SUCCESS);
        for problem in all(&family::PROBLEMS).filter(|series| series.sample.value > 0.0) {
            add(&mut host.problems, problem);
            host.refuses |= problem.own("sort") == "refusal";
        }
        all(&family::FINDINGS)
            .filter(|series| series.sample.value > 0.0)
            .for_each(|found| add(&mut host.findings, found));
        let held: BTreeSet<&str> = all(&family::HELD).filter(is_set).map(|series| series.own("by")).collect();
        host.held = held.into_iter().map(str::to_owned).collect();
        host.reboot_needed = all(&family::REBOOT_NEEDED).any(|series| is_set(&series));
        let security = all(&family::PENDING_UPDATES).find(|series| series.own("sort") == "security");
        host.security_updates = security.map(|series| series.sample.value as u64);
        host.state = match all(&family::HEALTH).find(is_set).map(|series| series.own("state")) {
            _ if host.age.is_none_or(|seconds| seconds > question.silent_after.as_secs()) => State::Silent,
            Some("converged") => State::Converged,
            Some("last-good") => State::LastGood,
            Some("held") => State::Held,
            Some("failing") => State::Failing,
            _ => State::Unknown,
        };
        let started = one(&family::START_TIME).map(|series| (series.sample.value * 1000.0) as u64);
        Some(Self { host, started })
    }
}

/// Adds what a series says of its code.
fn add(numbers: &mut BTreeMap<String, u64>, series: &Series<'_>) {
    let number = numbers.entry(series.own("code").to_owned()).or_default();
    *number = number.saturating_add(series.sample.value as u64);
}

/// Returns the machines among what is told under one name, each once.
fn told_apart(mut seen: Vec<Seen>) -> Vec<Host> {
    // The younger word first: a file may be older than what the courier answers.
    seen.sort_by_key(|seen| (seen.host.age.unwrap_or(u64::MAX), seen.host.instance.clone()));
    let mut starts = BTreeSet::new();
    seen.retain(|seen| seen.started.is_none() || starts.insert(seen.started));
    let is_doubled = seen.len() > 1;
    seen.into_iter().map(|seen| Host { is_doubled, ..seen.host }).collect()
}
