// SPDX-License-Identifier: Apache-2.0

use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Args;

use crate::engine::desired::Hindrance;
use crate::engine::{Cycle, Report};

use super::{CommandError, Exit, courier, open, output};

/// Show what `apply` would change on this host, and why
///
/// Pulls the infra repo, proves it, and compares it with the host. Changes nothing on the host.
#[derive(Debug, Args)]
#[command(name = "plan")]
pub struct PlanCommand {
    /// Print the plan as JSON (schemas/plan.json)
    #[arg(long)]
    json: bool,
}

impl PlanCommand {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let (host, config) = open(root)?;
        let stop = AtomicBool::new(false);
        let source = courier(&host, &config);
        let report = Cycle::begin(&config, &host, &source, &stop)?.plan()?;
        output::warn_of_hindrance(&report);
        output::warn_of_pause(&report);
        output::warn_of_objection(&report);
        let mut view = report.plan.view(Some(&config.host));
        view.findings = &report.found.findings;
        view.objection = report.objection.as_ref().map(ToString::to_string);
        let mut ahead = report.ahead.as_ref().map(|plan| plan.view(Some(&config.host)));
        if let (Some(ahead), Some(Hindrance::Guard { objection, .. })) = (&mut ahead, &report.hindrance) {
            ahead.objection = Some(objection.to_string());
        }
        if self.json {
            view.ahead = ahead.map(Box::new);
            output::answer(view.to_json());
        } else {
            output::plan_lines(&view).iter().for_each(output::answer);
            output::answer(summary(&report, &config.host));
            if let Some(ahead) = ahead {
                let steps = output::count(ahead.steps.len(), "step");
                let when =
                    if ahead.objection.is_some() { "If it is let through" } else { "When it is this host's turn" };
                output::answer(format!("{when}, {} brings {steps}:", output::short(ahead.commit)));
                output::plan_lines(&ahead).iter().for_each(output::answer);
            }
        }
        Ok(match &report.hindrance {
            _ if report.objection.is_some() => Exit::Held,
            Some(hindrance) => Exit::of_hindrance(hindrance),
            None if !report.plan.steps.is_empty() => Exit::Pending,
            None if !report.plan.held.is_empty() => Exit::Held,
            None => Exit::Done,
        })
    }
}

fn summary(report: &Report, host: &str) -> String {
    let commit = output::short(&report.plan.commit);
    match report.plan.steps.len() {
        0 if !report.plan.held.is_empty() => {
            format!("Nothing to do during the maintenance; {} held.", output::count(report.plan.held.len(), "step"))
        }
        0 => format!("{host} agrees with {commit}: {}, nothing to do.", output::count(report.objects, "object")),
        steps if report.objection.is_some() => {
            format!("{} would make {host} agree with {commit}.", output::count(steps, "step"))
        }
        1 => format!("1 step to make {host} agree with {commit}. `hostwrit apply` carries it out."),
        steps => format!("{steps} steps to make {host} agree with {commit}. `hostwrit apply` carries them out."),
    }
}
