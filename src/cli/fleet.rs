// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::fleet::prometheus::{AddressError, Prometheus};
use crate::fleet::{Fleet, Host, Question, State, of_prometheus};
use crate::host::{ReadHost as _, RealHost};
use crate::manifest;

use super::check::Clone;
use super::{CommandError, Exit, output};

/// Names the Prometheus where no option does.
const ADDRESS: &str = "HOSTWRIT_PROMETHEUS";
/// Marks the top of an infra repo.
const TOP: &str = "/hostwrit.yaml";

/// List all hosts with commit, age, state and findings, as a Prometheus knows them
///
/// Within a clone of the infra repo, or with DIR: the hosts of that repo's fleet, with those that Prometheus does not know.
/// Ends with 1 if some host is failing, silent, gone or missing, else with 4 or 5 if one refuses the tip, else with 6 if
/// one is held.
#[derive(Debug, Args)]
#[command(name = "fleet")]
pub struct FleetCommand {
    /// A clone of the infra repo; default: the one that the current directory lies in, if it does
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Ask the Prometheus at this address; default: the environment variable HOSTWRIT_PROMETHEUS
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// Show Prometheus the token in this file
    #[arg(long, value_name = "FILE", conflicts_with = "token_env")]
    token_file: Option<PathBuf>,
    /// Show Prometheus the token in this environment variable
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
    /// List the hosts of this fleet alone; default: the clone's fleet, or all
    #[arg(long, value_name = "ID", conflicts_with = "dir")]
    fleet: Option<String>,
    /// Call a host silent whose daemon has not pulled for so long
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    silent_after: Duration,
    /// Print the hosts as JSON (schemas/fleet.json)
    #[arg(long)]
    json: bool,
}

impl FleetCommand {
    pub fn run(&self) -> Result<Exit, CommandError> {
        let address = match &self.prometheus {
            Some(address) => address.clone(),
            None => std::env::var(ADDRESS)
                .map_err(|_| usage(format!("no Prometheus is named: give --prometheus URL, or set {ADDRESS}")))?,
        };
        let token = self.token()?;
        let prometheus = Prometheus::at(&address, token.as_deref()).map_err(|error: AddressError| usage(error))?;
        let repo = if self.fleet.is_some() { None } else { self.repo()? };
        let fleet = self.fleet.clone().or(repo.as_ref().map(|(fleet, _)| fleet.clone()));
        let question = Question { fleet, silent_after: self.silent_after };
        let mut found =
            of_prometheus(&prometheus, &question).map_err(|error| CommandError::new(Exit::Failed, error))?;
        let strangers = repo.as_ref().map_or_else(Vec::new, |(_, hosts)| strangers(&found, hosts));
        if let Some((fleet, hosts)) = &repo {
            found.demand(fleet, hosts.iter().map(String::as_str));
        }
        if self.json {
            output::answer(serde_json::to_string_pretty(&found).unwrap_or_default());
        } else {
            output::table(&rows(&found)).iter().for_each(output::answer);
        }
        for stranger in strangers {
            output::warning(format!("{} tells of itself, and the repo has no such host", output::plain(&stranger)));
        }
        if found.hosts.is_empty() {
            output::note("Prometheus knows no such host.");
            return Ok(Exit::Failed);
        }
        if !self.json {
            output::note(summary(&found));
        }
        Ok(exit_of(&found))
    }

    fn token(&self) -> Result<Option<String>, CommandError> {
        if let Some(name) = &self.token_env {
            return match std::env::var(name) {
                Ok(token) => Ok(Some(token)),
                Err(_) => Err(usage(format!("--token-env: the environment has no variable {name} with text"))),
            };
        }
        let Some(path) = &self.token_file else { return Ok(None) };
        let named = |why: &str| usage(format!("--token-file: {} {why}", path.display()));
        let text = RealHost::open(Path::new("/"))?
            .read(&absolute(path)?)
            .map_err(|error| CommandError::new(Exit::Usage, error))?
            .ok_or_else(|| named("does not exist"))?;
        String::from_utf8(text).map(Some).map_err(|_| named("holds no text"))
    }

    /// Returns the fleet and the hosts of the clone that is named or stood in.
    fn repo(&self) -> Result<Option<(String, Vec<String>)>, CommandError> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => match clone_around(&absolute(Path::new("."))?)? {
                Some(dir) => dir,
                None => return Ok(None),
            },
        };
        let inventory = manifest::inventory(&Clone::open(&dir)?);
        inventory.map(Some).map_err(|faults| CommandError::new(Exit::Unsound, faults))
    }
}

/// Returns the nearest directory from `dir` upwards that is the top of an infra repo.
fn clone_around(dir: &Path) -> Result<Option<PathBuf>, CommandError> {
    for above in dir.ancestors() {
        if RealHost::open(above)?.stat(Path::new(TOP))?.is_some() {
            return Ok(Some(above.to_owned()));
        }
    }
    Ok(None)
}

fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path).map_err(|error| usage(format!("{}: {error}", path.display())))
}

fn usage(error: impl Into<Box<dyn std::error::Error>>) -> CommandError {
    CommandError::new(Exit::Usage, error)
}

/// Returns the names of hosts that are seen at work and that the repo does not have.
fn strangers(fleet: &Fleet, hosts: &[String]) -> Vec<String> {
    let seen = fleet.hosts.iter().filter(|host| host.state != State::Gone && !hosts.contains(&host.host));
    seen.map(|host| host.host.clone()).collect()
}

fn rows(fleet: &Fleet) -> Vec<Vec<String>> {
    let several = fleet.hosts.windows(2).any(|pair| matches!(pair, [one, other] if one.fleet != other.fleet));
    let row = |of_fleet: &str, cells: [&str; 5]| {
        let cells = cells.iter().map(|cell| (*cell).to_owned());
        several.then(|| of_fleet.to_owned()).into_iter().chain(cells).collect::<Vec<_>>()
    };
    let title = row("FLEET", ["HOST", "COMMIT", "AGE", "STATE", "FINDINGS"]);
    let of_host = |host: &Host| {
        let commit =
            host.commit.as_deref().map_or_else(|| "-".to_owned(), |commit| output::plain(output::short(commit)));
        let age = host.age.map_or_else(|| "-".to_owned(), age);
        let (name, of_fleet) = (output::plain(&host.host), output::plain(&host.fleet));
        row(&of_fleet, [&name, &commit, &age, host.state.as_str(), &output::plain(&findings(host).join(", "))])
    };
    let hosts = fleet.hosts.iter().map(of_host);
    if fleet.hosts.is_empty() { Vec::new() } else { std::iter::once(title).chain(hosts).collect() }
}

fn findings(host: &Host) -> Vec<String> {
    let mut findings = Vec::new();
    if host.is_doubled {
        let place = host.instance.as_deref().unwrap_or("?");
        findings.push(format!("several machines have this name, one at {place}"));
    }
    let numbered = |(code, number): (&String, &u64)| match number {
        1 => code.clone(),
        number => format!("{code} ({number})"),
    };
    findings.extend(host.problems.iter().map(numbered));
    findings.extend(host.findings.iter().map(numbered));
    findings.extend(host.held.iter().map(|by| format!("held by {by}")));
    if matches!(host.state, State::LastGood | State::Failing | State::Silent)
        && let Some(since) = host.success_age
    {
        findings.push(format!("last agreed {} ago", age(since)));
    }
    if host.reboot_needed {
        findings.push("reboot needed".to_owned());
    }
    if let Some(number) = host.security_updates.filter(|number| *number > 0) {
        findings.push(output::count(usize::try_from(number).unwrap_or(usize::MAX), "security update"));
    }
    match host.state {
        State::Gone => findings.push("told of itself within the last day".to_owned()),
        State::Missing => findings.push("in the repo, and Prometheus does not know it".to_owned()),
        _ => {}
    }
    findings
}

/// Returns a span of time in its largest unit: near enough for a column.
fn age(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => format!("{}h", seconds / HOUR),
        _ => format!("{}d", seconds / DAY),
    }
}

fn summary(fleet: &Fleet) -> String {
    let mut states: BTreeMap<State, usize> = BTreeMap::new();
    fleet.hosts.iter().for_each(|host| *states.entry(host.state).or_default() += 1);
    let states: Vec<String> = states.iter().map(|(state, number)| format!("{number} {}", state.as_str())).collect();
    let commits: std::collections::BTreeSet<_> = fleet.hosts.iter().filter_map(|host| host.commit.as_ref()).collect();
    let (hosts, commits) = (output::count(fleet.hosts.len(), "host"), output::count(commits.len(), "commit"));
    format!("{hosts} on {commits}: {}.", states.join(", "))
}

fn exit_of(fleet: &Fleet) -> Exit {
    let any = |is_so: &dyn Fn(&Host) -> bool| fleet.hosts.iter().any(is_so);
    let is_well = |host: &Host| matches!(host.state, State::Converged | State::LastGood | State::Held);
    // A host that keeps the last good state without refusing the tip could not fetch it.
    let cannot_pull = |host: &Host| host.state == State::LastGood && !host.refuses;
    if any(&|host| !is_well(host) || host.is_doubled || cannot_pull(host)) {
        Exit::Failed
    } else if any(&|host| host.refuses && !host.problems.contains_key("unsound")) {
        Exit::Refused
    } else if any(&|host| host.refuses) {
        Exit::Unsound
    } else if any(&|host| host.state == State::Held) {
        Exit::Held
    } else {
        Exit::Done
    }
}
