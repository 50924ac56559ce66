// SPDX-License-Identifier: Apache-2.0
//! Where hosts fetch the infra repo: a server in the fabric, or a host's sshd.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::authority::Authority;
use crate::fabric::ADDRESS;
use crate::hostile_server::{self, Manner};
use crate::http_server;
use crate::infra::Infra;
use crate::lab::Lab;
use crate::machine::{Machine, eventually};
use crate::process::{Background, Output};
use crate::proxy;

/// A server in the fabric; ends on drop.
pub struct GitServer {
    url: String,
    log: PathBuf,
    _process: Background,
}

impl GitServer {
    /// Starts Git's own server; not through `git daemon`, whose child would outlive it.
    pub fn git(lab: &Lab<'_>, infra: &Infra<'_>) -> Self {
        let programs = std::process::Command::new("git").arg("--exec-path").output().expect("git is there").stdout;
        let programs = String::from_utf8(programs).expect("git is in a UTF-8 place");
        let mut command = lab.fabric().command(&format!("{}/git-daemon", programs.trim()));
        command
            .args(["--verbose", "--export-all", "--reuseaddr"])
            .arg(format!("--listen={ADDRESS}"))
            .arg(format!("--base-path={}", infra.served().display()))
            .arg(infra.served());
        Self::start(lab, command, "git-daemon.log", "Ready to rumble", format!("git://{ADDRESS}/infra.git"))
    }

    /// Starts a server of smart HTTP.
    pub fn http(lab: &Lab<'_>, infra: &Infra<'_>) -> Self {
        let program = std::env::current_exe().expect("a program knows its own file");
        let mut command = lab.fabric().command(program.to_str().expect("target/ has a UTF-8 name"));
        command.args([http_server::ARGUMENT, &format!("{ADDRESS}:80")]).arg(infra.served());
        Self::start(lab, command, "http-server.log", "listening", format!("http://{ADDRESS}/infra.git"))
    }

    /// Starts a server of smart HTTP with TLS, for who has the `token`.
    pub fn https(lab: &Lab<'_>, infra: &Infra<'_>, authority: &Authority, token: &str) -> Self {
        let program = std::env::current_exe().expect("a program knows its own file");
        let mut command = lab.fabric().command(program.to_str().expect("target/ has a UTF-8 name"));
        command.args([http_server::PRIVATE, &format!("{ADDRESS}:443")]).arg(infra.served());
        command.args([&authority.server, &authority.server_key]).arg(token);
        Self::start(lab, command, "https-server.log", "listening", format!("https://{ADDRESS}/infra.git"))
    }

    /// Starts a web proxy; its address stands in the place of that of a repo.
    pub fn proxy(lab: &Lab<'_>) -> Self {
        let program = std::env::current_exe().expect("a program knows its own file");
        let mut command = lab.fabric().command(program.to_str().expect("target/ has a UTF-8 name"));
        command.args([proxy::ARGUMENT, &format!("{ADDRESS}:3128")]);
        Self::start(lab, command, "proxy.log", "listening", format!("http://{ADDRESS}:3128"))
    }

    /// Starts a server that does not mean well, at the address of [`GitServer::http`].
    pub fn hostile(lab: &Lab<'_>, manner: Manner) -> Self {
        let program = std::env::current_exe().expect("a program knows its own file");
        let mut command = lab.fabric().command(program.to_str().expect("target/ has a UTF-8 name"));
        command.args([hostile_server::ARGUMENT, &manner.name(), &format!("{ADDRESS}:80")]);
        let log = format!("hostile-{}.log", manner.name());
        Self::start(lab, command, &log, "listening", format!("http://{ADDRESS}/infra.git"))
    }

    /// Starts the server and waits until its output, kept as `log`, says that it is ready.
    fn start(lab: &Lab<'_>, mut command: Command, log: &str, ready: &str, url: String) -> Self {
        let path = lab.kept().join(log);
        let file = File::create(&path).expect("target/ can be written");
        command.stdout(file.try_clone().expect("a file descriptor can be duplicated")).stderr(file);
        let process = Background::start(command);
        eventually("the Git server is ready", || fs::read_to_string(&path).is_ok_and(|text| text.contains(ready)));
        Self { url, log: path, _process: process }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns what it has said so far: who asked for what.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("it is written from the start")
    }
}

/// Lets who has the test run's key fetch from `server` over SSH, and returns the repo's address.
///
/// The repo is the server's own copy; [`push_over_ssh`] brings it up to date.
pub fn serve_over_ssh(lab: &Lab<'_>, infra: &Infra<'_>, server: &Machine<'_>) -> String {
    server.run(&["useradd", "--create-home", "--shell", "/usr/bin/git-shell", "git"]).ok();
    server.write("/home/git/.ssh/authorized_keys", lab.keys().ssh_public());
    server.sh("chown -R git: /home/git/.ssh && chmod -R go= /home/git/.ssh").ok();
    push_over_ssh(infra, server);
    format!("ssh://git@{}/srv/infra.git", server.address())
}

/// Gives the key to root of `client`, who then knows the server.
pub fn let_root_fetch(lab: &Lab<'_>, server: &Machine<'_>, client: &Machine<'_>) {
    client.write("/root/.ssh/id_ed25519", fs::read(lab.keys().ssh_private()).expect("ssh-keygen wrote it"));
    client.run(&["chmod", "-R", "go=", "/root/.ssh"]).ok();
    client.write("/etc/ssh/ssh_known_hosts", known_host(server));
}

/// Makes the server's copy of the repo what the infra repo is now.
pub fn push_over_ssh(infra: &Infra<'_>, server: &Machine<'_>) {
    let mut archive = Command::new("tar");
    archive.arg("--create").arg("--directory").arg(infra.served()).arg("infra.git");
    let archive = archive.output().expect("tar can be run").stdout;
    let unpack =
        "rm -rf /srv/infra.git && tar --extract --no-same-owner --directory /srv && chown -R git: /srv/infra.git";
    server.run_with(&[], &["sh", "-c", unpack], &archive).ok();
}

/// Returns the line of `known_hosts` for a host.
pub fn known_host(server: &Machine<'_>) -> String {
    let key = server.read("/etc/ssh/ssh_host_ed25519_key.pub").expect("the image has host keys");
    let words: Vec<&str> = key.split_whitespace().take(2).collect();
    format!("{} {}\n", server.address(), words.join(" "))
}

/// Logs in from the fabric with the test run's SSH key and runs a command there.
pub fn log_in(lab: &Lab<'_>, server: &Machine<'_>, user: &str, command: &str) -> Output {
    let ssh = ssh(lab, server, user, command);
    lab.run(ssh, format!("[fabric] ssh {user}@{} {command}", server.address()))
}

/// Returns the command of the fabric that does so.
pub fn ssh(lab: &Lab<'_>, server: &Machine<'_>, user: &str, command: &str) -> Command {
    let known_hosts = lab.dir().join("known_hosts");
    fs::write(&known_hosts, known_host(server)).expect("the folder for temporary files can be written");
    let option = |name: &str, path: &Path| format!("-o{name}={}", path.display());
    let mut ssh = lab.fabric().command("ssh");
    ssh.args(["-F/dev/null", "-oBatchMode=yes", "-oConnectTimeout=10", "-oIdentitiesOnly=yes"])
        .arg(option("UserKnownHostsFile", &known_hosts))
        .arg(option("IdentityFile", lab.keys().ssh_private()))
        .arg(format!("{user}@{}", server.address()))
        .arg(command);
    ssh
}
