// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::check::Clone;
use crate::cli::{CommandError, Exit, courier, open, output};
use crate::engine::Cycle;
use crate::host::{ReadHost as _, RealHost};
use crate::manifest;
use crate::model::{Faults, RepoFiles};
use crate::trust::policy::view::{FreshnessView, KeyView, RuleView, Standing};
use crate::trust::{Cache, PolicyView, authenticate};

/// Show who may change what
///
/// On a host: by the commit that it obeys, and of the rules those that can matter there. With DIR: by the policy in that
/// clone, as it lies there, for all hosts.
#[derive(Debug, Args)]
pub struct Show {
    /// A clone of the infra repo, instead of this host
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print it as JSON (schemas/trust-show.json)
    #[arg(long)]
    json: bool,
}

/// What `hostwrit trust show --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TrustShow")]
pub struct Answer {
    /// The host whose rules these are; null: all hosts.
    host: Option<String>,
    /// The commit that the host obeys.
    commit: Option<String>,
    /// By these labels of the host the rules were chosen.
    labels: BTreeMap<String, String>,
    policy: PolicyView,
}

impl Show {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let now = RealHost::open(Path::new("/"))?.now();
        let answer = match &self.dir {
            Some(dir) => {
                let policy = read(&Clone::open(dir)?, now)?;
                Answer { host: None, commit: None, labels: BTreeMap::new(), policy }
            }
            None => of_host(root, now)?,
        };
        if self.json {
            output::answer(serde_json::to_string_pretty(&answer).unwrap_or_default());
        } else {
            answer.lines().iter().for_each(output::answer);
        }
        Ok(Exit::Done)
    }
}

fn of_host(root: &Path, now: SystemTime) -> Result<Answer, CommandError> {
    let (host, config) = open(root)?;
    let stop = AtomicBool::new(false);
    let source = courier(&host, &config);
    let cycle = Cycle::begin(&config, &host, &source, &stop)?;
    let pin = *cycle.last_good()?.commit();
    let refused = |refusal| CommandError::new(Exit::Refused, refusal);
    let tree = authenticate(cycle.objects(), &config.anchor, Some(&pin), &pin, now, &mut Cache::default());
    let tree = tree.map_err(refused)?;
    let labels = manifest::labels(&tree, &config.host).map_err(unsound)?;
    let mut policy = read(&tree, now)?;
    policy.rules.retain(|rule| rule.hosts.iter().all(|(key, value)| labels.get(key) == Some(value)));
    Ok(Answer { host: Some(config.host.clone()), commit: Some(pin.to_string()), labels, policy })
}

fn read(files: &dyn RepoFiles, now: SystemTime) -> Result<PolicyView, CommandError> {
    PolicyView::read(files, now).map_err(unsound)
}

fn unsound(faults: Faults) -> CommandError {
    CommandError::new(Exit::Unsound, faults)
}

impl Answer {
    fn lines(&self) -> Vec<String> {
        let policy = &self.policy;
        let whose = match (&self.host, &self.commit) {
            (Some(host), Some(commit)) => format!("{host} obeys {}, ", output::short(commit)),
            _ => String::new(),
        };
        let trailers = if policy.trailers_required { "required" } else { "optional" };
        let mut lines = vec![format!(
            "{whose}{} {}, policy version {}, trailers {trailers}",
            policy.fleet, policy.git_ref, policy.version
        )];
        let mut section = |rows: Vec<Vec<String>>| {
            if rows.len() > 1 {
                lines.push(String::new());
                lines.extend(output::table(&rows));
            }
        };
        section(self.principals());
        section(self.rules());
        section(self.revoked());
        if !policy.protect.is_empty() {
            lines.push(String::new());
            lines.push(format!("Removed by two signers only: {}", output::plain(&policy.protect.join(" "))));
        }
        if let Some(FreshnessView { max_age, heartbeat }) = &policy.freshness {
            lines.push(String::new());
            let who = if heartbeat.is_empty() { "nobody".to_owned() } else { join(heartbeat) };
            lines.push(format!("Stale after {max_age} without a signed word; heartbeats by {who}"));
        }
        lines
    }

    fn principals(&self) -> Vec<Vec<String>> {
        let mut rows = vec![row(["PRINCIPAL", "ROLES", "KEY", "GOOD"])];
        for principal in &self.policy.principals {
            let roles = match (principal.heartbeat, principal.roles.is_empty()) {
                (true, _) => "(heartbeats only)".to_owned(),
                (false, true) => "(none)".to_owned(),
                (false, false) => principal.roles.join(", "),
            };
            for (number, key) in principal.keys.iter().enumerate() {
                let (name, roles) = if number == 0 { (principal.name.as_str(), roles.as_str()) } else { ("", "") };
                rows.push(row([name, roles, &key.key.to_string(), &good(key)]));
            }
        }
        rows
    }

    fn rules(&self) -> Vec<Vec<String>> {
        let mut rows = vec![row(["RULE", "NEEDS", "HOSTS", "TO CHANGE"])];
        for RuleView { number, change, hosts, role, signers, members } in &self.policy.rules {
            let labels: Vec<String> = hosts.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let hosts = if labels.is_empty() { "all".to_owned() } else { labels.join(" ") };
            let needs = format!("{signers} of {role} ({})", join(members));
            rows.push(row([&number.to_string(), &needs, &hosts, &change.join(" ")]));
        }
        let is_for_all = |rule: &RuleView| rule.hosts.is_empty() && rule.change.iter().any(|change| change == "*");
        if !self.policy.rules.iter().any(is_for_all) {
            rows.push(row(["-", "nobody may", "all", "anything else"]));
        }
        rows
    }

    fn revoked(&self) -> Vec<Vec<String>> {
        let mut rows = vec![row(["REVOKED", "SINCE", "BUT FOR"])];
        for revoked in &self.policy.revoked {
            let since = revoked.since.map_or_else(|| "ever".to_owned(), output::time);
            rows.push(row([&revoked.what, &since, &revoked.except.join(" ")]));
        }
        rows
    }
}

fn good(key: &KeyView) -> String {
    let until = key.expires.map(output::time);
    match (key.standing, until) {
        (Standing::Good, None) => "yes".to_owned(),
        (Standing::Good, Some(until)) => format!("until {until}"),
        (Standing::Expired, until) => format!("no: expired {}", until.unwrap_or_default()),
        (Standing::Revoked, _) => "no: revoked".to_owned(),
        (Standing::Unusable, _) => "no: cannot sign".to_owned(),
    }
}

fn join<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    // Roles and labels are free text.
    cells.map(output::plain).to_vec()
}
