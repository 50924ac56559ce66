// SPDX-License-Identifier: Apache-2.0
//! What people read: answers on stdout, everything else on stderr.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

use crate::audit::OutcomeResult;
use crate::engine::Report;
use crate::engine::apply::Outcome;
use crate::engine::plan::PlanView;
use crate::model::chain;
use crate::model::{Action, Change, Location, ObjectId, Shown, Step};

/// Prints a line of the answer. Ends the program quietly when nobody reads any more, as with `| head`.
pub fn answer(line: impl AsRef<str>) {
    if let Err(error) = writeln!(io::stdout().lock(), "{}", line.as_ref())
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

/// Prints a line of the answer while work goes on, which must not end because nobody reads any more.
pub fn progress(line: impl AsRef<str>) {
    let _ = writeln!(io::stdout().lock(), "{}", line.as_ref());
}

/// Prints an error with its causes.
pub fn error(error: &dyn Error) {
    let _ = writeln!(io::stderr().lock(), "Error: {}", chain(error));
}

/// Prints something that did not stop the command but that somebody should know.
pub fn warning(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "Warning: {}", text.as_ref());
}

/// Prints a status line for a person who waits.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Prints a question, whose answer stands on the same line.
pub fn ask(question: impl AsRef<str>) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{}", question.as_ref()).and_then(|()| stderr.flush());
}

/// Returns a number with its noun: `1 step`, `2 steps`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Returns the first ten digits of a commit: enough for people.
pub fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// Returns rows as lines whose columns stand below one another, but for the last, which may be as long as it is.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = if column + 1 == row.len() { 0 } else { width(column).unwrap_or(0) };
            format!("{cell:width$}")
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Returns a time as RFC 3339 writes it, in UTC and to the second.
pub fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Returns text that somebody else wrote, so that it cannot steer the terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Says why the last good state counts and not the remote's tip, and what else somebody must know.
pub fn warn_of_hindrance(report: &Report) {
    report.alarms.iter().for_each(|alarm| warning(alarm.to_string()));
    if let Some(hindrance) = &report.hindrance {
        warning(format!("{}\n  the last good commit {} stays enforced", chain(hindrance), short(&report.plan.commit)));
    }
}

/// Says that nothing, or next to nothing, is changed at present, and why.
pub fn warn_of_pause(report: &Report) {
    if let Some(maintenance) = &report.plan.maintenance {
        let except: Vec<String> = maintenance.except.iter().map(ToString::to_string).collect();
        let but = if except.is_empty() { String::new() } else { format!(" but {}", except.join(", ")) };
        warning(format!("{maintenance}\n  nothing{but} is changed before that; a commit that takes it out ends it"));
    }
    if let Some(pause) = &report.pause {
        warning(format!("{pause}\n  nothing is changed before that; `hostwrit resume` ends it"));
    }
}

/// Says which checks failed when they last ran.
pub fn warn_of_checks(report: &Report) {
    for failed in report.checked.iter().flat_map(|checked| &checked.failed) {
        warning(format!("{} failed: {}", failed.check, failed.message));
    }
}

/// Says that a guard lets nothing be done, and why.
pub fn warn_of_objection(report: &Report) {
    if let Some(objection) = &report.objection {
        warning(format!("nothing is changed: {objection}"));
    }
}

/// Returns the plan as lines: sign, object, changes, and where the repo asks for it.
pub fn plan_lines(plan: &PlanView<'_>) -> Vec<String> {
    let paint = Paint::for_stdout();
    let width = column(plan.steps.iter().chain(&plan.reported).chain(&plan.held).map(|step| step.object));
    let mut lines = Vec::new();
    for step in &plan.steps {
        lines.push(step_line(step.object, step.action, step.changes, step.origin, width, paint));
        lines.extend(diff_lines(step.changes, paint));
    }
    if !plan.reported.is_empty() {
        lines.push("Only reported (observe: true):".to_owned());
        for step in &plan.reported {
            lines.push(step_line(step.object, step.action, step.changes, step.origin, width, paint));
        }
    }
    if let (Some(maintenance), false) = (plan.maintenance, plan.held.is_empty()) {
        lines.push(format!("Held back by {maintenance}"));
        for step in &plan.held {
            lines.push(step_line(step.object, step.action, step.changes, step.origin, width, paint));
        }
    }
    if !plan.unmanaged.is_empty() {
        lines.push("No longer in the repo, not made by hostwrit, left alone:".to_owned());
        lines.extend(plan.unmanaged.iter().map(|object| format!("  {object}")));
    }
    if !plan.findings.is_empty() {
        lines.push("Found on the host, left alone:".to_owned());
        lines.extend(plan.findings.iter().map(|finding| format!("  {}", plain(&finding.to_string()))));
    }
    lines
}

/// Returns one step, the fields that it changed, and how it ended.
pub fn outcome_line<O>(step: &Step<O>, outcome: &Outcome) -> String {
    let paint = Paint::for_stdout();
    let fields: Vec<&str> = step.changes.iter().map(|change| change.field.as_str()).collect();
    let line = format!("{} {}  {}", paint.action(step.action), step.object, fields.join(", "));
    let message = outcome.message.as_deref().unwrap_or_default();
    match outcome.result {
        OutcomeResult::Done => line,
        OutcomeResult::Failed => format!("{line}\n  failed: {message}"),
        OutcomeResult::Skipped | OutcomeResult::Interrupted => format!("{line}\n  skipped: {message}"),
    }
}

/// As wide as a line may get before its changes go below it, one a line.
const WIDE: usize = 132;

fn step_line(
    object: &ObjectId,
    action: Action,
    changes: &[Change],
    origin: Option<&Location>,
    width: usize,
    paint: Paint,
) -> String {
    let texts: Vec<String> = changes.iter().map(|change| change_text(action, change)).collect();
    let place = origin.map_or_else(|| "no longer in the repo".to_owned(), ToString::to_string);
    let sign = paint.action(action);
    let object = object.to_string();
    let inline = texts.join(", ");
    let length = 2 + object.chars().count().max(width) + 2 + inline.chars().count() + 4 + place.chars().count();
    if inline.is_empty() || length > WIDE {
        let below: String = texts.iter().map(|text| format!("\n    {text}")).collect();
        format!("{sign} {object:width$}  [{place}]{below}")
    } else {
        format!("{sign} {object:width$}  {inline}  [{place}]")
    }
}

fn change_text(action: Action, change: &Change) -> String {
    let field = &change.field;
    match (&change.from, &change.to) {
        (Shown::Secret, _) | (_, Shown::Secret) => format!("{field} changed"),
        // `enabled`, not `enabled enabled`.
        (_, Shown::Text(to)) if to == field && action != Action::Remove => to.clone(),
        (Shown::Text(_), Shown::Text(to)) if action == Action::Add => format!("{field} {to}"),
        (Shown::Nothing, Shown::Text(to)) => format!("{field} {to}"),
        (Shown::Text(from), Shown::Text(to)) => format!("{field} {from} -> {to}"),
        (Shown::Text(from), Shown::Nothing) => format!("{field} {from} removed"),
        (Shown::Nothing, Shown::Nothing) => field.clone(),
    }
}

fn diff_lines(changes: &[Change], paint: Paint) -> impl Iterator<Item = String> {
    changes
        .iter()
        .filter_map(|change| change.diff.as_deref())
        .flat_map(str::lines)
        .map(move |line| format!("    {}", paint.diff(line)))
}

/// Returns the width of the column of objects, so that changes stand below one another; long names stick out.
fn column<'o>(objects: impl Iterator<Item = &'o ObjectId>) -> usize {
    objects.map(|object| object.to_string().chars().count()).max().unwrap_or(0).min(40)
}

/// Colours, only where a terminal shows them.
#[derive(Clone, Copy)]
struct Paint {
    on: bool,
}

impl Paint {
    fn for_stdout() -> Self {
        Self { on: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn action(self, action: Action) -> String {
        let colour = match action {
            Action::Add => "32",
            Action::Alter => "33",
            Action::Remove => "31",
        };
        self.in_colour(colour, &action.sign().to_string())
    }

    fn diff(self, line: &str) -> String {
        match line.chars().next() {
            Some('+') => self.in_colour("32", line),
            Some('-') => self.in_colour("31", line),
            _ => line.to_owned(),
        }
    }

    fn in_colour(self, colour: &str, text: &str) -> String {
        if self.on { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
