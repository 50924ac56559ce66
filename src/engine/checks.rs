// SPDX-License-Identifier: Apache-2.0
//! Runs the checks after an apply. A commit whose checks fail has not proven good, and goes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Declared, Mode, ObjectId, chain};
use crate::resources::check::{self, Check, Way};
use crate::resources::{Desired, Resource as _};
use crate::source::{Probe, Trial};
use crate::trust::Authorized;

use super::hold::Bad;
use super::{Cycle, Report, State};

/// The code of a check that failed, and of a commit that is held because of it.
pub const CODE: &str = "check-failed";

/// All checks of a host together take no longer: the watchdog takes a cycle that gets on with nothing for stuck.
const LONGEST: Duration = Duration::from_secs(8 * 60);
/// How often it is looked whether to stop.
const WATCH: Duration = Duration::from_millis(100);
/// As much of what a command says is repeated.
const WORDS_MAX: usize = 200;

/// What the checks came to when they last ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// When they ended: RFC 3339, UTC.
    pub time: String,
    /// How many passed.
    pub passed: usize,
    pub failed: Vec<Failed>,
    /// How many have `observe: true`: these run at each full check.
    #[serde(default)]
    pub observed: usize,
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    pub check: ObjectId,
    pub message: String,
    /// It has `observe: true`, so that it is told and holds nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_told: bool,
}

impl Checked {
    /// Whether none failed that counts.
    pub fn is_well(&self) -> bool {
        self.failed.iter().all(|failed| failed.only_told)
    }
}

impl Cycle<'_> {
    /// Runs the checks where that is due, and notes that the commit has proven good. Returns why it must go back, if so.
    /// During maintenance none run and no commit proves good: both wait for its end.
    pub(super) fn examine(&self, desired: &Authorized<Desired>, report: &mut Report, state: &mut State) -> Option<Bad> {
        let commit = report.plan.commit.clone();
        let is_good = state.good.as_ref() == Some(&commit);
        let is_well = state.checked.as_ref().is_none_or(Checked::is_well);
        // Where nothing has changed only those run that tell of the host and not of the commit.
        let is_steady = is_good && is_well && report.outcomes.is_empty();
        let is_due = !is_steady || desired.desired().checks.iter().any(is_observed);
        // During maintenance what fails is what people do there, and going back would end it.
        let waits = report.is_held() || report.pause.is_some() || report.plan.maintenance.is_some();
        if waits || !is_due {
            return None;
        }
        // Told to stop: the next start runs them, for the commit has not proven good yet.
        state.checked =
            Some(self.run_checks(desired.desired(), is_steady)?).filter(|checked| *checked != Checked::default());
        report.checked.clone_from(&state.checked);
        let failed = state.checked.iter().flat_map(|checked| &checked.failed).filter(|failed| !failed.only_told);
        let words: Vec<String> = failed.map(|failed| format!("{} failed: {}", failed.check, failed.message)).collect();
        // Whoever gave the order is there, and sees what comes of it.
        let is_ordered = state.ordered.as_ref().is_some_and(|ordered| ordered.commit == commit);
        if !words.is_empty() {
            return (!is_good && !is_ordered).then(|| Bad { code: CODE, message: words.join("; ") });
        }
        if report.converged() && state.enforced() == Some(&commit) {
            state.good = Some(commit);
        }
        None
    }

    /// Runs every check, one after the other, or on a steady host those that are only told; `None` if told to stop meanwhile.
    fn run_checks(&self, desired: &Desired, is_steady: bool) -> Option<Checked> {
        let mut checked = Checked::default();
        // What is built below another root does not run.
        if !self.host.is_live() || desired.checks.iter().all(|declared| declared.want.is_none()) {
            return Some(checked);
        }
        let until = Instant::now() + LONGEST;
        for declared in &desired.checks {
            let Some(check) = &declared.want else { continue };
            let only_told = is_observed(declared);
            checked.observed += usize::from(only_told);
            // On a steady host all that count had passed when they last ran.
            let result = if is_steady && !only_told { Ok(()) } else { self.run_check(check, until)? };
            match result {
                Ok(()) => checked.passed += 1,
                Err(message) => {
                    let check = ObjectId::new(Check::KIND, &declared.name);
                    checked.failed.push(Failed { check, message, only_told });
                }
            }
        }
        checked.time = humantime::format_rfc3339_seconds(self.host.now()).to_string();
        Some(checked)
    }

    /// Tries a check until it passes or has been tried often enough; `None` if told to stop meanwhile.
    fn run_check(&self, check: &check::Desired, until: Instant) -> Option<Result<(), String>> {
        let mut result = Err("there was no time left for it".to_owned());
        for attempt in 0..=check.retries {
            if attempt > 0 && !rest(check.every, self.stop) {
                return None;
            }
            if Instant::now() >= until {
                break;
            }
            result = self.attempt(check);
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if result.is_ok() {
                break;
            }
        }
        Some(result)
    }

    fn attempt(&self, check: &check::Desired) -> Result<(), String> {
        let probe = |what| {
            let time = u64::try_from(check.timeout.as_millis()).unwrap_or(u64::MAX);
            self.store.source.probe(&Probe { what, time }, self.stop).map_err(|error| error.to_string())
        };
        let Some(way) = &check.way else { return Err("it does not say how to check".to_owned()) };
        match way {
            Way::Http { url, status } => {
                probe(Trial::Http { url: url.clone(), status: u16::try_from(*status).unwrap_or(u16::MAX) })
            }
            Way::Tcp(address) => probe(Trial::Tcp { address: address.clone(), banner: None }),
            Way::Unix(path) => self.host.connect(path).map_err(|error| chain(&error)),
            Way::Command(command) => self.run_command(command, check.timeout),
        }
    }

    fn run_command(&self, command: &[String], timeout: Duration) -> Result<(), String> {
        let Some((program, arguments)) = command.split_first() else { return Err("there is no command".to_owned()) };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = self.host.run_declared(timeout, program, &arguments).map_err(|error| chain(&error))?;
        if output.success {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.lines().next().unwrap_or_default().chars().take(WORDS_MAX).collect();
        let said = if said.is_empty() { said } else { format!(": {}", said.escape_debug()) };
        Err(format!("{program} ended with {}{said}", output.status))
    }
}

/// Whether it is a check that is told and holds nothing.
fn is_observed(check: &Declared<check::Desired>) -> bool {
    check.mode == Mode::Observe && check.want.is_some()
}

/// Waits; returns whether it was not told to stop meanwhile.
fn rest(time: Duration, stop: &AtomicBool) -> bool {
    let until = Instant::now() + time;
    while !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(WATCH));
    }
    false
}
