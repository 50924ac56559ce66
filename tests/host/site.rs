// SPDX-License-Identifier: Apache-2.0
//! What most scenarios start from: a host `web1` that obeys an infra repo which `git daemon` serves.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::git_server::GitServer;
use crate::infra::{FLEET, Infra, REF, Signer};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::process::Output;

/// The file of the infra repo that says what `web1` is.
pub const WEB1: &str = "hosts/web1.yaml";

/// The file that declares `/etc/motd`.
pub const BASE: &str = "profiles/base.yaml";

pub struct Site<'lab> {
    pub infra: Infra<'lab>,
    pub web1: Machine<'lab>,
    pub remote: GitServer,
}

impl<'lab> Site<'lab> {
    /// Makes the infra repo from `tests/host/repo`, serves it, and boots a host that knows of it and never ran.
    pub fn new(lab: &'lab Lab<'lab>) -> Self {
        Self::on(lab, lab.boot("web1"))
    }

    /// Makes the infra repo, serves it, and tells the host of it.
    pub fn on(lab: &'lab Lab<'lab>, web1: Machine<'lab>) -> Self {
        let infra = Infra::new(lab, &own_repo());
        infra.replace(WEB1, "ALICE_KEY", &lab.keys().ssh_public());
        infra.publish("Alice's SSH key", Signer::Alice);
        let remote = GitServer::git(lab, &infra);
        configure(&web1, &infra, remote.url(), "1h");
        Self { infra, web1, remote }
    }

    /// Like [`Site::new`], and the host agrees with the repo already.
    pub fn converged(lab: &'lab Lab<'lab>) -> Self {
        let site = Self::new(lab);
        site.apply().ok();
        site
    }

    /// Gives the host a configuration with an interval of a second and these further keys.
    pub fn configure_with(&self, keys: &str) {
        let configuration = configuration(&self.infra, self.web1.name(), self.remote.url(), "1s");
        self.web1.write("/etc/hostwrit/config.yaml", configuration + keys);
    }

    /// Runs hostwrit on the host.
    pub fn hostwrit(&self, arguments: &[&str]) -> Output {
        hostwrit(&self.web1, arguments)
    }

    pub fn apply(&self) -> Output {
        self.hostwrit(&["apply"])
    }

    pub fn plan(&self) -> Output {
        self.hostwrit(&["plan"])
    }

    /// Demands an empty plan and an intact log.
    #[track_caller]
    pub fn demand_convergence(&self) {
        demand_convergence(&self.web1);
    }

    /// Returns what `hostwrit status --json` says.
    pub fn status(&self) -> Value {
        let output = self.hostwrit(&["status", "--json"]).ok();
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("not JSON ({error}):\n{output}"))
    }

    /// Demands that status has a problem with this code.
    #[track_caller]
    pub fn demand_problem(&self, code: &str) {
        let status = self.status();
        let mut problems = status["problems"].as_array().into_iter().flatten();
        assert!(problems.any(|problem| problem["code"] == code), "status has no problem \"{code}\": {status:#}");
    }

    /// Changes the text of `/etc/motd` in the repo, and nothing else.
    pub fn order_motd(&self, text: &str) {
        self.infra.write(BASE, &format!("files:\n  /etc/motd: {{content: \"{text}\\n\"}}\n"));
    }

    /// Returns `/etc/motd` of the host without its line end.
    pub fn motd(&self) -> String {
        self.web1.read("/etc/motd").unwrap_or_default().trim_end().to_owned()
    }
}

pub fn hostwrit(machine: &Machine<'_>, arguments: &[&str]) -> Output {
    let mut command = vec!["hostwrit"];
    command.extend(arguments);
    machine.run(&command)
}

/// Demands an empty plan and an intact log.
#[track_caller]
pub fn demand_convergence(machine: &Machine<'_>) {
    hostwrit(machine, &["plan"]).ok().says("nothing to do");
    hostwrit(machine, &["audit", "verify"]).ok();
}

/// Writes the host's configuration.
pub fn configure(machine: &Machine<'_>, infra: &Infra<'_>, remote: &str, interval: &str) {
    machine.write("/etc/hostwrit/config.yaml", configuration(infra, machine.name(), remote, interval));
}

/// Returns the configuration of a host.
pub fn configuration(infra: &Infra<'_>, name: &str, remote: &str, interval: &str) -> String {
    let (root, fingerprint) = (infra.root(), infra.fingerprint());
    format!(
        "fleet: {FLEET}\nremote: {remote}\nref: {REF}\nhost: {name}\ninterval: {interval}\nsplay: 0s\nfull_check: {interval}\n\
         trust:\n  root: {root}\n  signers: [\"openpgp:{fingerprint}\"]\n"
    )
}

fn own_repo() -> PathBuf {
    project().join("tests/host/repo")
}

/// Returns the project's folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
