// SPDX-License-Identifier: Apache-2.0
//! Four hosts that run the daemon, steward and courier, and obey one infra repo over HTTP.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::git_server::GitServer;
use crate::hostile_server::Manner;
use crate::infra::{FLEET, Infra, REF, Signer};
use crate::lab::Lab;
use crate::machine::{Machine, within};
use crate::site::{BASE, WEB1, hostwrit, project};

pub const NAMES: [&str; 4] = ["web1", "web2", "web3", "web4"];

/// What a fetch may bring here, and how long it may take.
pub const MAX_MIB: u64 = 64;
const FETCH_SECONDS: u64 = 8;

/// How long a host may take to repair drift while the remote is in trouble: a fetch may be under way.
const REPAIR: Duration = Duration::from_secs(90);
/// How long it may take to follow again, with the pauses that grow while a remote is gone.
const RECOVER: Duration = Duration::from_secs(180);

/// Where hostwrit's log is.
const LOG: &str = "/var/log/hostwrit/audit/log.jsonl";

/// Where the courier answers for metrics.
pub const METRICS: &str = "/run/hostwrit-courier/metrics.sock";

/// What the package brings, and where it goes.
const PACKAGED: &[(&str, &str)] = &[
    ("hostwrit.service", "/usr/lib/systemd/system/hostwrit.service"),
    ("hostwrit-firewall.service", "/usr/lib/systemd/system/hostwrit-firewall.service"),
    ("hostwrit-courier.service", "/usr/lib/systemd/system/hostwrit-courier.service"),
    ("hostwrit-courier.socket", "/usr/lib/systemd/system/hostwrit-courier.socket"),
    ("sysusers.conf", "/usr/lib/sysusers.d/hostwrit.conf"),
    ("tmpfiles.conf", "/usr/lib/tmpfiles.d/hostwrit.conf"),
];

pub struct Fleet<'lab> {
    pub lab: &'lab Lab<'lab>,
    pub infra: Infra<'lab>,
    pub hosts: Vec<Machine<'lab>>,
    server: Option<GitServer>,
    /// The commit that the hosts must hold to, and what it says.
    good: String,
    motd: String,
    /// All commits that a host may ever accept.
    published: BTreeSet<String>,
}

impl<'lab> Fleet<'lab> {
    /// Boots the hosts, and waits until all agree with the repo.
    pub fn converged<const N: usize>(lab: &'lab Lab<'lab>, names: [&'static str; N]) -> Self {
        let infra = Infra::new(lab, &project().join("tests/host/repo"));
        infra.replace(WEB1, "ALICE_KEY", &lab.keys().ssh_public());
        for name in &NAMES[1..] {
            infra.write(&format!("hosts/{name}.yaml"), &infra.read(WEB1));
        }
        let mut fleet = Self {
            lab,
            infra,
            hosts: lab.boot_all(names).into(),
            server: None,
            good: String::new(),
            motd: String::new(),
            published: BTreeSet::new(),
        };
        fleet.published.insert(fleet.infra.root().to_owned());
        fleet.serve();
        fleet.publish("The first order.");
        for host in &fleet.hosts {
            fleet.install(host);
        }
        fleet.demand_followed("the start");
        fleet
    }

    fn install(&self, host: &Machine<'_>) {
        let (root, fingerprint, name) = (self.infra.root(), self.infra.fingerprint(), host.name());
        let config = format!(
            "fleet: {FLEET}\nremote: {}\nref: {REF}\nhost: {name}\ninterval: 1s\nsplay: 0s\nfull_check: 1s\n\
             fetch: {{timeout: {FETCH_SECONDS}s, max_mib: {MAX_MIB}}}\nmetrics: {{listen: \"unix:{METRICS}\"}}\n\
             trust:\n  root: {root}\n  signers: [\"openpgp:{fingerprint}\"]\n",
            self.server.as_ref().map_or("", GitServer::url)
        );
        host.write("/etc/hostwrit/config.yaml", config);
        start_units(host);
    }

    /// Starts the true server, in place of whatever stood there.
    pub fn serve(&mut self) {
        self.server = None;
        self.server = Some(GitServer::http(self.lab, &self.infra));
    }

    /// Puts a hostile server in the place of the true one.
    pub fn serve_hostile(&mut self, manner: Manner) {
        self.server = None;
        self.server = Some(GitServer::hostile(self.lab, manner));
    }

    /// Has Alice order a text for `/etc/motd` of all hosts.
    pub fn publish(&mut self, motd: &str) {
        self.infra.write(BASE, &format!("files:\n  /etc/motd: {{content: \"{motd}\\n\"}}\n"));
        self.good = self.infra.publish(motd, Signer::Alice);
        self.motd = format!("{motd}\n");
        self.published.insert(self.good.clone());
    }

    /// Puts the repo back to the last good commit.
    pub fn reset(&self) {
        self.infra.reset(&self.good);
    }

    /// Demands that each host enforces the last good state and says why it follows nothing newer.
    #[track_caller]
    pub fn demand_last_good(&self, fault: &str, codes: &[&str]) {
        self.demand_last_good_of(&self.hosts, fault, codes);
    }

    #[track_caller]
    pub fn demand_last_good_of(&self, hosts: &[Machine<'_>], fault: &str, codes: &[&str]) {
        for host in hosts {
            within(REPAIR, &format!("{fault}: status of {} says one of {codes:?}", host.name()), || {
                let status = status(host);
                let problems = status["problems"].as_array().into_iter().flatten();
                let mut found = problems.filter_map(|problem| problem["code"].as_str());
                found.any(|code| codes.contains(&code)) && status["health"] == "last-good"
            });
        }
        self.demand_repairs(hosts, fault);
        for host in hosts {
            assert_eq!(status(host)["commit"], self.good.as_str(), "{fault}: {}", host.name());
        }
    }

    /// Demands that each host's status explains itself in one of these ways.
    #[track_caller]
    pub fn demand_words(&self, fault: &str, words: &[&str]) {
        for host in &self.hosts {
            // A fetch that was under way when the server changed has its own trouble.
            within(REPAIR, &format!("{fault}: status of {} says one of {words:?}", host.name()), || {
                let message = status(host)["problems"].to_string();
                words.iter().any(|words| message.contains(words))
            });
        }
    }

    /// Makes drift on each host and demands that it is repaired, with nothing else written meanwhile.
    #[track_caller]
    pub fn demand_repairs(&self, hosts: &[Machine<'_>], fault: &str) {
        self.demand_repairs_by(hosts, fault, |motd| motd == self.motd);
    }

    /// Makes drift on each host and demands that it makes room for what `is_good`.
    #[track_caller]
    pub fn demand_repairs_by(&self, hosts: &[Machine<'_>], fault: &str, is_good: impl Fn(&str) -> bool) {
        for host in hosts {
            host.write("/etc/motd", "drift\n");
        }
        for host in hosts {
            within(REPAIR, &format!("{fault}: drift of {} is repaired", host.name()), || {
                // Replaced by rename, it is never half written and never away.
                let motd = host.read("/etc/motd").unwrap_or_default();
                assert!(motd == "drift\n" || is_good(&motd), "{fault}: {} has {motd:?}", host.name());
                motd != "drift\n"
            });
        }
    }

    /// Demands that all hosts come to what was published last, that their logs are whole and their mirrors small.
    #[track_caller]
    pub fn demand_followed(&self, fault: &str) {
        self.demand_followed_by(&self.hosts, fault);
        for host in &self.hosts {
            self.demand_order(host, fault);
        }
    }

    #[track_caller]
    pub fn demand_followed_by(&self, hosts: &[Machine<'_>], fault: &str) {
        for host in hosts {
            within(RECOVER, &format!("after {fault}: {} follows", host.name()), || {
                let status = status(host);
                status["health"] == "converged"
                    && status["commit"] == self.good.as_str()
                    && host.read("/etc/motd").as_ref() == Some(&self.motd)
            });
        }
    }

    #[track_caller]
    fn demand_order(&self, host: &Machine<'_>, fault: &str) {
        let accepted = accepted(host);
        let foreign: Vec<_> = accepted.difference(&self.published).collect();
        assert!(foreign.is_empty(), "{fault}: {} accepted {foreign:?}", host.name());
        hostwrit(host, &["audit", "verify"]).ok();
        let unsettled = "find /var/lib/hostwrit-courier/mirror.git/objects -type f -name 'tmp*' -o -name '.tmp*' \
                         -o -path '*/pack/*' -not -name 'pack-*' -o -name '*.keep' -o -name '*.lock'";
        within(REPAIR, &format!("{fault}: nothing is left behind in the mirror of {}", host.name()), || {
            host.look(&["sh", "-c", unsettled]).trim().is_empty()
        });
        let size = mirror_kib(host);
        assert!(size < MAX_MIB * 1024 + 4096, "{fault}: the mirror of {} has {size} KiB", host.name());
    }
}

/// Gives the host the units of the package, and starts them.
pub fn start_units(host: &Machine<'_>) {
    for (name, place) in PACKAGED {
        let file = project().join("packaging/systemd").join(name);
        let content = fs::read(&file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        host.write(place, content);
    }
    host.sh("systemd-sysusers hostwrit.conf && systemd-tmpfiles --create hostwrit.conf && systemctl daemon-reload &&
         systemctl start hostwrit-courier.socket hostwrit.service")
        .ok();
}

/// Returns what the daemon left for `hostwrit status`; null if there is nothing yet.
pub fn status(host: &Machine<'_>) -> Value {
    let text = host.read("/run/hostwrit/status.json").unwrap_or_default();
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// Returns the commits that the host's log says were accepted.
fn accepted(host: &Machine<'_>) -> BTreeSet<String> {
    let log = host.read(LOG).unwrap_or_default();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let commits = lines.filter(|entry| entry["event"] == "accepted");
    let commits: BTreeSet<String> = commits.filter_map(|entry| entry["commit"].as_str().map(str::to_owned)).collect();
    assert!(!commits.is_empty(), "the log of {} does not say what was accepted", host.name());
    commits
}

/// Returns how much room the mirror takes.
pub fn mirror_kib(host: &Machine<'_>) -> u64 {
    let text = host.look(&["du", "-sk", "/var/lib/hostwrit-courier"]);
    text.split_whitespace().next().and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// Returns the most memory that the unit's main process ever had, in KiB; 0 if it does not run.
pub fn peak_kib(host: &Machine<'_>, unit: &str) -> u64 {
    let process = host.look(&["systemctl", "show", "-P", "MainPID", unit]);
    let status = host.look(&["cat", &format!("/proc/{}/status", process.trim())]);
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
