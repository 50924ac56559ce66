// SPDX-License-Identifier: Apache-2.0
//! Where hosts fetch the infra repo: git's own daemon in the fabric, or a host's sshd.

use std::fs::{self, File};
use std::path::Path;

use crate::fabric::ADDRESS;
use crate::infra::Infra;
use crate::lab::Lab;
use crate::machine::{Machine, eventually};
use crate::process::Background;

/// `git daemon` in the fabric; ends on drop.
pub struct GitDaemon {
    _process: Background,
}

impl GitDaemon {
    pub fn start(lab: &Lab<'_>, infra: &Infra<'_>) -> Self {
        let log_path = lab.kept().join("git-daemon.log");
        let log = File::create(&log_path).expect("target/ can be written");
        let mut command = lab.fabric().command("git");
        command
            .args(["daemon", "--verbose", "--export-all", "--reuseaddr"])
            .arg(format!("--listen={ADDRESS}"))
            .arg(format!("--base-path={}", infra.served().display()))
            .arg(infra.served())
            .stdout(log.try_clone().expect("a file descriptor can be duplicated"))
            .stderr(log);
        let process = Background::start(command);
        eventually("git daemon is ready", || {
            fs::read_to_string(&log_path).is_ok_and(|log| log.contains("Ready to rumble"))
        });
        Self { _process: process }
    }

    pub fn url(&self) -> String {
        format!("git://{ADDRESS}/infra.git")
    }
}

/// Lets `client` fetch from `server` over SSH with a key, and returns the repo's address.
///
/// The repo is the server's own copy; [`push_over_ssh`] brings it up to date.
pub fn serve_over_ssh(lab: &Lab<'_>, infra: &Infra<'_>, server: &Machine<'_>, client: &Machine<'_>) -> String {
    server.run(&["useradd", "--create-home", "--shell", "/usr/bin/git-shell", "git"]).ok();
    server.write("/home/git/.ssh/authorized_keys", lab.keys().ssh_public());
    server.sh("chown -R git: /home/git/.ssh && chmod -R go= /home/git/.ssh").ok();
    push_over_ssh(infra, server);

    client.write("/root/.ssh/id_ed25519", fs::read(lab.keys().ssh_private()).expect("ssh-keygen wrote it"));
    client.run(&["chmod", "-R", "go=", "/root/.ssh"]).ok();
    trust_host_key(client, server);
    format!("ssh://git@{}/srv/infra.git", server.address())
}

/// Makes the server's copy of the repo what the infra repo is now.
pub fn push_over_ssh(infra: &Infra<'_>, server: &Machine<'_>) {
    let mut archive = std::process::Command::new("tar");
    archive.arg("--create").arg("--directory").arg(infra.served()).arg("infra.git");
    let archive = archive.output().expect("tar can be run").stdout;
    let unpack =
        "rm -rf /srv/infra.git && tar --extract --no-same-owner --directory /srv && chown -R git: /srv/infra.git";
    server.run_with(&[], &["sh", "-c", unpack], &archive).ok();
}

/// Writes down the server's host key for all users of the client.
fn trust_host_key(client: &Machine<'_>, server: &Machine<'_>) {
    client.write("/etc/ssh/ssh_known_hosts", known_host(server));
}

/// Returns the line of `known_hosts` for a host.
pub fn known_host(server: &Machine<'_>) -> String {
    let key = server.read("/etc/ssh/ssh_host_ed25519_key.pub").expect("the image has host keys");
    let words: Vec<&str> = key.split_whitespace().take(2).collect();
    format!("{} {}\n", server.address(), words.join(" "))
}

/// Logs in from the fabric with the test run's SSH key and runs a command there.
pub fn log_in(lab: &Lab<'_>, server: &Machine<'_>, user: &str, command: &str) -> crate::process::Output {
    let known_hosts = lab.dir().join("known_hosts");
    fs::write(&known_hosts, known_host(server)).expect("the folder for temporary files can be written");
    let option = |name: &str, path: &Path| format!("-o{name}={}", path.display());
    lab.run_in_fabric(&[
        "ssh",
        "-F/dev/null",
        "-oBatchMode=yes",
        "-oConnectTimeout=10",
        "-oIdentitiesOnly=yes",
        &option("UserKnownHostsFile", &known_hosts),
        &option("IdentityFile", lab.keys().ssh_private()),
        &format!("{user}@{}", server.address()),
        command,
    ])
}
