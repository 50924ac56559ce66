// SPDX-License-Identifier: Apache-2.0
//! What the last cycle came to, for `hostwrit status`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::audit::OutcomeResult;
use crate::audit::entry::Cause;
use crate::host::{HostError, NewFile, ReadHost, WriteHost};
use crate::model::{Maintenance, ObjectId};
use crate::resources::findings::{self, Due, Finding};
use crate::source::FetchError;

use super::apply::Outcome;
use super::checks::{self, Checked, Failed};
use super::desired::Hindrance;
use super::fights::Fought;
use super::hold::HeldCommit;
use super::repair::Repaired;
use super::rollout::{Held, Hold};
use super::{Config, CycleError, Pause, Report};
use crate::model::chain;

/// Where the status lives on the host; gone after a boot, for it tells of this boot's cycles.
const STATUS: &str = "/run/hostwrit/status.json";

/// The code of an object that something else changes as often as hostwrit puts it right.
const FOUGHT_OVER: &str = "fought-over";

/// The code of a host on which the kernel does not tell of all changes.
const NOT_WATCHED: &str = "not-watched";

/// What the package leaves after it has put the version before back (packaging/prove-upgrade).
const UPGRADE_UNDONE: &str = "/var/lib/hostwrit/upgrade-undone";

/// The last cycle in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// When the cycle ended: RFC 3339, UTC.
    pub time: String,
    /// When the remote last answered a pull. Later than `time` where a pull found nothing that called for a cycle.
    pub pulled: Option<String>,
    /// The host's name in the infra repo.
    pub host: String,
    pub fleet: String,
    pub remote: String,
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// The commit that is enforced.
    pub commit: Option<String>,
    pub health: Health,
    /// Number of declared objects.
    pub objects: usize,
    /// Number of declared objects of each kind.
    #[serde(default)]
    pub kinds: BTreeMap<String, usize>,
    /// Steps that the cycle carried out, and why there were any.
    pub done: usize,
    pub cause: Option<Cause>,
    /// What is wrong, each with what would make it right where that can be said.
    pub problems: Vec<Trouble>,
    /// Nothing is changed because of this; absent where the host is not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// The maintenance that is in force; absent where none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// The host's ring in the rollout; absent where the repo has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<String>,
    /// What waits for this host's turn; absent where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Held>,
    /// What the checks came to when they last ran; absent where there are none, and during maintenance, in which none run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
    /// The commit that was accepted last and did the host no good; absent where that is enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_back: Option<HeldCommit>,
    /// Steps that the pause, the maintenance, the rollout or a guard holds back.
    #[serde(default)]
    pub held: usize,
    /// The commit that the pause, the rollout or a guard holds back, if it is another than the one that is enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_commit: Option<String>,
    /// What was found around what is declared: nothing is done about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// When files must have been renewed of which the repo says so, by the object; absent where none is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub due: BTreeMap<ObjectId, Due>,
    /// How many addresses and networks other programs ban, by the program: fail2ban, crowdsec. One that has no set in nftables is
    /// absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bans: BTreeMap<String, u64>,
    /// Objects with `observe: true` that differ.
    pub reported: Vec<ObjectId>,
    /// Objects that differ and that maintenance leaves as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_alone: Vec<ObjectId>,
    /// Objects that left the repo and that hostwrit did not make.
    pub unmanaged: Vec<ObjectId>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// A stable word: a refusal's code, `fetch-failed`, `unsound`, `stale`, `break-glass`, `step-failed`, `cycle-failed`
    /// and the like.
    pub code: String,
    /// The object concerned, if it is one object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// The host agrees with the remote's tip.
    Converged,
    /// The host agrees with the last good commit, and something keeps it from following the remote.
    LastGood,
    /// A pause or a guard holds back a commit or steps, maintenance steps, or the rollout a commit, or a commit was put back.
    Held,
    /// Some step or check failed, or the host could not be observed.
    Failing,
}

impl Status {
    /// Sums up a cycle.
    pub fn of(config: &Config, cycle: &Result<Report, CycleError>, host: &dyn ReadHost) -> Self {
        let mut status = Self {
            time: now(host),
            pulled: None,
            host: config.host.clone(),
            fleet: config.anchor.fleet.clone(),
            remote: crate::source::redact(&config.remote),
            git_ref: config.anchor.git_ref.clone(),
            commit: None,
            health: Health::Failing,
            objects: 0,
            kinds: BTreeMap::new(),
            done: 0,
            cause: None,
            problems: Vec::new(),
            paused: None,
            maintenance: None,
            ring: None,
            rollout: None,
            checked: None,
            put_back: None,
            held: 0,
            held_commit: None,
            findings: Vec::new(),
            due: BTreeMap::new(),
            bans: BTreeMap::new(),
            reported: Vec::new(),
            left_alone: Vec::new(),
            unmanaged: Vec::new(),
        };
        let hindrance = match cycle {
            Ok(report) => report.hindrance.as_ref(),
            Err(CycleError::Hindered(hindrance)) => Some(hindrance),
            Err(_) => None,
        };
        let before = || Self::read(host).ok().flatten();
        status.pulled = match hindrance {
            Some(Hindrance::Fetch(_)) => before().and_then(|before| before.pulled),
            _ => Some(status.time.clone()),
        };
        match cycle {
            Ok(report) => {
                status.fill(report);
                match findings::bans(&status.kinds, host) {
                    Ok(bans) => status.bans = bans,
                    Err(error) => status.findings.push(Finding::not_looked_at(&error)),
                }
            }
            Err(error) => {
                let code = match error {
                    CycleError::Hindered(hindrance) => hindrance.code(),
                    _ => "cycle-failed",
                };
                status.problems.push(Trouble { code: code.to_owned(), object: None, message: chain(error) });
                // Nobody has looked since.
                (status.findings, status.due, status.bans) =
                    before().map(|before| (before.findings, before.due, before.bans)).unwrap_or_default();
                if let CycleError::Hindered(Hindrance::Held(held)) = error {
                    status.put_back = Some(held.as_ref().clone());
                }
            }
        }
        // A note that cannot be read concerns an upgrade that is over; the cycle is what counts here.
        if let Some(note) = host.read(Path::new(UPGRADE_UNDONE)).ok().flatten() {
            let message = String::from_utf8_lossy(&note).trim_end().to_owned();
            status.problems.push(Trouble { code: "upgrade-undone".to_owned(), object: None, message });
        }
        status
    }

    fn fill(&mut self, report: &Report) {
        self.commit = Some(report.plan.commit.clone());
        self.objects = report.objects;
        self.kinds.clone_from(&report.kinds);
        self.done = report.outcomes.iter().filter(|outcome| outcome.result == OutcomeResult::Done).count();
        self.cause = (!report.plan.steps.is_empty()).then_some(report.plan.cause);
        self.findings.clone_from(&report.found.findings);
        self.due.clone_from(&report.found.due);
        self.reported = report.plan.reported.iter().map(|step| step.object.clone()).collect();
        self.left_alone = report.plan.held.iter().map(|step| step.object.clone()).collect();
        self.unmanaged.clone_from(&report.plan.unmanaged);
        self.maintenance.clone_from(&report.plan.maintenance);
        // That a commit waits for its turn is as it should be.
        if let Some(hindrance) = report.hindrance.as_ref().filter(|_| report.hold().is_none_or(Hold::is_wrong)) {
            self.problems.push(Trouble { code: hindrance.code().to_owned(), object: None, message: chain(hindrance) });
        }
        // Whatever else keeps this host from following the remote, what it has put back must be seen to.
        if let Some(held) = report.put_back.as_ref().filter(|_| !matches!(report.hindrance, Some(Hindrance::Held(_)))) {
            self.problems.push(Trouble { code: "held".to_owned(), object: None, message: held.to_string() });
        }
        if let Some(objection) = &report.objection {
            let message = format!("nothing is changed: {objection}");
            self.problems.push(Trouble { code: objection.code.to_owned(), object: None, message });
        }
        for alarm in &report.alarms {
            self.problems.push(Trouble { code: alarm.code().to_owned(), object: None, message: alarm.to_string() });
        }
        self.paused.clone_from(&report.pause);
        let held = report.is_held();
        if held && report.accepted {
            self.commit.clone_from(&report.pin);
            self.held_commit = Some(report.plan.commit.clone());
        }
        self.ring.clone_from(&report.ring);
        self.rollout = report.hold().map(Held::from);
        self.put_back.clone_from(&report.put_back);
        self.checked.clone_from(&report.checked);
        self.held = match &report.ahead {
            _ if held => report.plan.steps.len(),
            Some(ahead) => {
                self.held_commit = Some(ahead.commit.clone());
                ahead.steps.len()
            }
            None => 0,
        };
        for failed in report.checked.iter().flat_map(|checked| &checked.failed) {
            let Failed { check, message, .. } = failed;
            let code = checks::CODE.to_owned();
            self.problems.push(Trouble { code, object: Some(check.clone()), message: message.clone() });
        }
        self.held += report.plan.held.len();
        // What is held was not tried.
        self.tell_steps(&report.outcomes, if held { &[] } else { &report.remaining });
        self.health = match (report.is_done(), &report.hindrance) {
            _ if held => Health::Held,
            (false, _) => Health::Failing,
            _ if !report.is_well() => Health::Failing,
            (true, Some(Hindrance::Rollout(_) | Hindrance::Held(_) | Hindrance::Guard { .. })) => Health::Held,
            (true, Some(_)) => Health::LastGood,
            (true, None) if !self.left_alone.is_empty() => Health::Held,
            (true, None) => Health::Converged,
        };
    }

    /// Enters what did not end well.
    fn tell_steps(&mut self, outcomes: &[Outcome], remaining: &[ObjectId]) {
        for outcome in outcomes.iter().filter(|outcome| outcome.result != OutcomeResult::Done) {
            self.problems.push(Trouble {
                code: if outcome.result == OutcomeResult::Failed { "step-failed" } else { "step-skipped" }.to_owned(),
                object: Some(outcome.object.clone()),
                message: outcome.message.clone().unwrap_or_default(),
            });
        }
        let explained = |object: &ObjectId| self.problems.iter().any(|trouble| trouble.object.as_ref() == Some(object));
        let left: Vec<_> = remaining.iter().filter(|object| !explained(object)).cloned().collect();
        self.problems.extend(left.into_iter().map(|object| Trouble {
            code: "not-converged".to_owned(),
            object: Some(object),
            message: "its step was carried out, and yet the host still differs".to_owned(),
        }));
    }

    /// Returns the objects of which more is told than how they differ.
    pub fn told_of(&self) -> BTreeSet<ObjectId> {
        let found = self.findings.iter().filter_map(|finding| finding.object.as_ref());
        found.chain(self.due.keys()).cloned().collect()
    }

    /// Enters what was put right since the cycle. Whether all is well again is for the next cycle to say.
    pub fn repaired(&mut self, repaired: &Repaired, host: &dyn ReadHost) {
        self.time = now(host);
        self.done = repaired.outcomes.iter().filter(|outcome| outcome.result == OutcomeResult::Done).count();
        self.cause = Some(Cause::Drift);
        let concerns = |object: &ObjectId| repaired.plan.steps.iter().any(|step| step.object == *object);
        self.problems.retain(|trouble| !trouble.object.as_ref().is_some_and(concerns));
        self.tell_steps(&repaired.outcomes, &repaired.remaining);
        if !repaired.converged() {
            self.health = Health::Failing;
        }
    }

    /// Enters what is fought over, and where drift is not seen at once, in the place of what was before.
    pub fn drift(&mut self, fought: &[Fought], blind: Option<String>) {
        self.problems.retain(|trouble| ![FOUGHT_OVER, NOT_WATCHED].contains(&trouble.code.as_str()));
        self.problems.extend(blind.map(|message| Trouble { code: NOT_WATCHED.to_owned(), object: None, message }));
        self.problems.extend(fought.iter().map(|fought| Trouble {
            code: FOUGHT_OVER.to_owned(),
            object: Some(fought.object.clone()),
            message: fought.to_string(),
        }));
    }

    /// Reads the status that the last cycle of this boot left; `None` if there was none.
    ///
    /// # Errors
    /// The status cannot be read.
    pub fn read(host: &dyn ReadHost) -> Result<Option<Self>, HostError> {
        // A status that cannot be understood was written by another version: as good as none.
        Ok(host.read(Path::new(STATUS))?.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Notes that a pull has just found the remote as it was, or did not reach it once more. Returns whether that says something
    /// new.
    pub fn pulled_again(&mut self, error: Option<FetchError>, host: &dyn ReadHost) -> bool {
        let Some(error) = error else {
            self.pulled = Some(now(host));
            return true;
        };
        // What a remote is not reached for may change: first there is no network, and then the token is wrong.
        let hindrance = Hindrance::from(error);
        let (code, message) = (hindrance.code(), chain(&hindrance));
        let Some(trouble) = self.problems.iter_mut().find(|trouble| trouble.code == code && trouble.message != message)
        else {
            return false;
        };
        warn!(code, "{message}");
        trouble.message = message;
        true
    }

    /// Leaves the status for `hostwrit status`.
    ///
    /// # Errors
    /// The status cannot be written.
    pub fn write(&self, host: &dyn WriteHost) -> Result<(), HostError> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        host.replace_file(Path::new(STATUS), &NewFile { content: &text, owner: None, mode: 0o644, check: None })
    }
}

fn now(host: &dyn ReadHost) -> String {
    humantime::format_rfc3339_seconds(host.now()).to_string()
}
