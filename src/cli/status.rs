// SPDX-License-Identifier: Apache-2.0

use std::path::Path;
use std::time::Duration;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::control::client::{self, ClientError};
use crate::control::{Answer, Ask, Live};
use crate::engine::status::{Health, Status};
use crate::engine::updates::{Pending, Updates};
use crate::engine::{Config, State};
use crate::host::RealHost;
use crate::model::chain;

use super::{CommandError, Exit, output};

/// How long the daemon may take to answer; it answers while a cycle is under way, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Show what this host obeys, whether it agrees, and what is wrong
#[derive(Debug, Args)]
#[command(name = "status")]
pub struct StatusCommand {
    /// Print the status as JSON (schemas/status.json)
    #[arg(long)]
    json: bool,
}

/// What `hostwrit status --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Status")]
pub struct StatusAnswer {
    #[serde(flatten)]
    status: Status,
    /// What the daemon is doing; absent where none runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon: Option<Box<Live>>,
    /// The package updates that wait; absent where there is no apt, or where no daemon has asked it since the host started.
    #[serde(skip_serializing_if = "Option::is_none")]
    updates: Option<Updates>,
}

impl StatusCommand {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let (daemon, status) = match client::ask(root, &Ask::Status, Some(PATIENCE), &mut |_| {}) {
            Ok(Answer::Status { daemon, status }) => {
                (Some(daemon), status.and_then(|status| serde_json::from_value(status).ok()))
            }
            Ok(Answer::Refused { message, .. }) => {
                output::warning(format!("the daemon does not say what it is doing: {message}"));
                (None, None)
            }
            Ok(_) | Err(ClientError::NotRunning(_)) => (None, None),
            Err(error) => {
                output::warning(chain(&error));
                (None, None)
            }
        };
        let host = RealHost::open(root)?;
        // What `apply` did by hand is newer than what the daemon remembers.
        let left = Status::read(&host)?;
        let Some(status) = newer(status, left) else { return self.without_a_cycle(&host, daemon.as_deref()) };
        let updates = Updates::read(&host);
        if self.json {
            output::answer(serde_json::to_string_pretty(&StatusAnswer { status, daemon, updates }).unwrap_or_default());
        } else {
            let lines = lines(&status).into_iter().chain(updates.as_ref().map(updates_line));
            lines.chain(daemon.as_deref().map(daemon_line)).for_each(output::answer);
        }
        Ok(Exit::Done)
    }

    fn without_a_cycle(&self, host: &RealHost, daemon: Option<&Live>) -> Result<Exit, CommandError> {
        if self.json {
            output::answer("null");
            return Ok(Exit::Done);
        }
        if let Some(daemon) = daemon {
            output::answer("No cycle has ended since the host started.");
            output::answer(daemon_line(daemon));
            return Ok(Exit::Done);
        }
        let config = Config::read(host)?;
        let state = State::read(host).map_err(|error| CommandError::new(Exit::Failed, error))?;
        output::answer(format!("{}: no cycle has run since the host started.", config.host));
        if let Some(commit) = state.enforced() {
            output::answer(format!("  last good commit  {commit}"));
        }
        Ok(Exit::Done)
    }
}

fn newer(one: Option<Status>, other: Option<Status>) -> Option<Status> {
    match (one, other) {
        // RFC 3339 in UTC sorts as it should.
        (Some(one), Some(other)) => Some(if one.time >= other.time { one } else { other }),
        (one, other) => one.or(other),
    }
}

fn daemon_line(daemon: &Live) -> String {
    let doing = match (&daemon.cycle_since, &daemon.next_pull) {
        (Some(since), _) => format!("a cycle is under way since {since}"),
        (None, Some(next)) => format!("pulls next at {next}"),
        (None, None) => "waits".to_owned(),
    };
    format!("  daemon      runs since {} (pid {}, version {}), {doing}", daemon.since, daemon.pid, daemon.version)
}

fn updates_line(updates: &Updates) -> String {
    let waits = match &updates.pending {
        Some(Pending { security, other, kept_back }) => {
            format!("{security} of security, {other} others, {kept_back} kept back")
        }
        None => format!("not known: {}", output::plain(updates.unknown.as_deref().unwrap_or_default())),
    };
    let lists = updates.lists.as_ref().map(|time| format!("; package lists of {time}")).unwrap_or_default();
    format!("  updates     {waits}{lists}")
}

fn checks_line(status: &Status) -> Option<String> {
    if let Some(checked) = &status.checked {
        let (passed, failed) = (checked.passed, checked.failed.len());
        return Some(format!("  checks      {passed} passed, {failed} failed, {}", checked.time));
    }
    let waits = status.maintenance.is_some() && status.kinds.contains_key("check");
    waits.then(|| "  checks      wait for the end of the maintenance".to_owned())
}

fn lines(status: &Status) -> Vec<String> {
    let health = match status.health {
        Health::Converged => "agrees with the remote",
        Health::LastGood => "agrees with the last good commit, and does not follow the remote",
        Health::Held if status.paused.is_some() => "is paused, and something is held",
        Health::Held if status.rollout.is_some() => "agrees with the last good commit, and waits for its turn",
        Health::Held if status.held_commit.is_some() || status.put_back.is_some() => {
            "agrees with the last good commit, and does not follow the remote"
        }
        Health::Held if status.maintenance.is_some() => "is in maintenance, and something is held",
        Health::Held => "stays as it is, and something is held",
        Health::Failing => "does not agree",
    };
    let mut lines = vec![
        format!("{} {health}", status.host),
        format!("  commit      {}", status.commit.as_deref().unwrap_or("none accepted yet")),
        format!("  remote      {} {}", status.remote, status.git_ref),
        format!("  objects     {}", status.objects),
        format!("  last cycle  {}, {} {}", status.time, status.done, if status.done == 1 { "step" } else { "steps" }),
    ];
    lines.extend(status.ring.as_ref().map(|ring| format!("  ring        {}", output::plain(ring))));
    if let Some(held) = &status.rollout {
        lines.push(format!("  waits       {} since {}", held.commit, held.since));
        lines.push(format!("              {}", output::plain(&held.waits_for)));
    }
    if let Some(pause) = &status.paused {
        lines.push(format!("  paused      until {} by {}: {}", pause.until, pause.by, output::plain(&pause.reason)));
        let of = status.held_commit.as_ref().map(|commit| format!(" of {commit}")).unwrap_or_default();
        lines.push(format!("  held        {}{of}", output::count(status.held, "step")));
    }
    lines.extend(checks_line(status));
    if let Some(held) = &status.put_back {
        lines.push(format!("  put back    {} since {} [{}]", held.commit, held.since, output::plain(&held.code)));
    }
    if let Some(maintenance) = &status.maintenance {
        lines.push(format!("  maintenance until {}: {}", maintenance.until, output::plain(&maintenance.reason)));
    }
    if !status.bans.is_empty() {
        let bans = status.bans.iter().map(|(program, bans)| format!("{bans} by {}", output::plain(program)));
        lines.push(format!("  banned      {}", bans.collect::<Vec<_>>().join(", ")));
    }
    let mut section = |title: &str, rows: Vec<String>| {
        if !rows.is_empty() {
            lines.push(format!("  {title}"));
            lines.extend(rows.into_iter().map(|row| format!("    {}", row.replace('\n', "\n    "))));
        }
    };
    section(
        "problems",
        status
            .problems
            .iter()
            .map(|trouble| match &trouble.object {
                Some(object) => format!("{object}: {} [{}]", trouble.message, trouble.code),
                None => format!("{} [{}]", trouble.message, trouble.code),
            })
            .collect(),
    );
    section("found, left alone", status.findings.iter().map(|finding| output::plain(&finding.to_string())).collect());
    section("differ, only reported", status.reported.iter().map(ToString::to_string).collect());
    section("differ, left alone during the maintenance", status.left_alone.iter().map(ToString::to_string).collect());
    section("no longer in the repo, left alone", status.unmanaged.iter().map(ToString::to_string).collect());
    lines
}
