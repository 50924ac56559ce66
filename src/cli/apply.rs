// SPDX-License-Identifier: Apache-2.0

use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Args;

use crate::audit::OutcomeResult;
use crate::engine::daemon::leave_status;
use crate::engine::{Cycle, Report};

use super::{CommandError, Exit, courier, open, output};

/// Make this host agree with the infra repo
///
/// Carries out exactly the steps that `plan` shows, records each in the audit log, and looks again at the end.
#[derive(Debug, Args)]
pub struct Apply {}

impl Apply {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let (host, config) = open(root)?;
        let stop = AtomicBool::new(false);
        let source = courier(&host, &config);
        let cycle = Cycle::begin(&config, &host, &source, &stop)
            .and_then(|cycle| cycle.apply(&mut |step, outcome| output::progress(output::outcome_line(step, outcome))));
        leave_status(&config, &host, &cycle);
        let report = cycle?;
        output::warn_of_hindrance(&report);
        output::warn_of_pause(&report);
        output::warn_of_objection(&report);
        output::answer(summary(&report, &config.host));
        if report.is_held() {
            return Ok(Exit::Held);
        }
        for object in &report.remaining {
            output::warning(format!("{object} still differs; `hostwrit plan` shows how"));
        }
        output::warn_of_checks(&report);
        Ok(match &report.hindrance {
            _ if !report.is_done() || !report.is_well() => Exit::Failed,
            Some(hindrance) => Exit::of_hindrance(hindrance),
            None if !report.plan.held.is_empty() => Exit::Held,
            None => Exit::Done,
        })
    }
}

fn summary(report: &Report, host: &str) -> String {
    let commit = output::short(&report.plan.commit);
    let count = |result| report.outcomes.iter().filter(|outcome| outcome.result == result).count();
    let done = format!("{} done", output::count(count(OutcomeResult::Done), "step"));
    let left = report.plan.held.len();
    match (report.plan.steps.len(), report.is_done()) {
        (held, _) if report.is_held() => {
            let why = if report.pause.is_some() { " while it is paused" } else { "" };
            format!("{} of {commit} held: {host} stays as it is{why}.", output::count(held, "step"))
        }
        (_, true) if left > 0 => {
            format!("{done}, {} of {commit} held by the maintenance.", output::count(left, "step"))
        }
        (0, _) => {
            format!("{host} agrees with {commit}: {}, nothing to do.", output::count(report.objects, "object"))
        }
        (_, true) => format!("{done}: {host} agrees with {commit}."),
        (_, false) => format!(
            "{done}, {} failed, {} skipped: {host} does not agree with {commit} yet.",
            count(OutcomeResult::Failed),
            count(OutcomeResult::Skipped)
        ),
    }
}
