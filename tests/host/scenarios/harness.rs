// SPDX-License-Identifier: Apache-2.0
//! The harness itself: what all other scenarios rely on.

use crate::git_server::{GitServer, let_root_fetch, log_in, serve_over_ssh};
use crate::infra::{Infra, Signer};
use crate::lab::Lab;
use crate::machine::eventually;
use crate::site::project;

/// A host boots clean, commands run confined and report how they ended, and files and journal survive a reboot.
pub fn boots_and_reboots(lab: &Lab<'_>) {
    let mut web1 = lab.boot("web1");
    assert_eq!(web1.run(&["systemctl", "is-system-running"]).text(), "running");
    assert_eq!(web1.run(&["hostname"]).text(), "web1");
    web1.run(&["sh", "-c", "echo out; echo err >&2; exit 7"]).exits(7);
    let echoed = web1.run_with(&["--uid=nobody"], &["sh", "-c", "id -un; cat"], b"input").ok();
    assert_eq!(echoed.stdout, "nobody\ninput");
    // A host that could set the clock would set it for the whole machine.
    let now = web1.run(&["date", "+@%s"]).ok();
    web1.run(&["date", "--set", now.text()]).exits(1);

    web1.write("/etc/marker", "kept");
    web1.run(&["useradd", "someone"]).ok();
    let boot_id = web1.run(&["cat", "/proc/sys/kernel/random/boot_id"]).ok();
    web1.run(&["logger", "before the reboot"]).ok();
    web1.reboot();
    assert_eq!(web1.read("/etc/marker").as_deref(), Some("kept"));
    web1.run(&["getent", "passwd", "someone"]).ok();
    assert_ne!(web1.run(&["cat", "/proc/sys/kernel/random/boot_id"]).ok().text(), boot_id.text());
    assert!(web1.journal().contains("before the reboot"));
    assert_eq!(web1.run(&["systemctl", "is-system-running"]).text(), "running");
    assert!(web1.run(&["ldd", "/usr/bin/hostwrit"]).ok().stdout.lines().all(|line| !line.contains("not found")));
    web1.stop();
}

/// Hosts reach each other and the fabric, nothing else, and not with the cable pulled.
pub fn joins_hosts(lab: &Lab<'_>) {
    let [one, two] = lab.boot_all(["one", "two"]);
    let reaches = |address: &str| {
        let script = format!("exec 3<>/dev/tcp/{address}/22");
        one.run(&["timeout", "3", "bash", "-c", &script]).code == 0
    };
    assert!(reaches(two.address()));
    assert!(!reaches("198.51.100.1"));
    assert!(one.run(&["ip", "route", "show", "default"]).ok().text().is_empty());
    two.unplug();
    assert!(!reaches(two.address()));
    two.plug();
    eventually("the host is back", || reaches(two.address()));
}

/// Hosts clone a signed repo by the git protocol, over HTTP and over SSH.
pub fn serves_git(lab: &Lab<'_>) {
    let infra = Infra::new(lab, &project().join("tests/host/repo"));
    let second = infra.publish("second", Signer::Alice);
    let daemon = GitServer::git(lab, &infra);
    let [web1, git] = lab.boot_all(["web1", "git"]);

    web1.run(&["git", "clone", "--quiet", daemon.url(), "/tmp/by-git"]).ok();
    assert_eq!(web1.run(&["git", "-C", "/tmp/by-git", "rev-parse", "HEAD"]).ok().text(), second);
    let http = GitServer::http(lab, &infra);
    web1.run(&["git", "clone", "--quiet", http.url(), "/tmp/by-http"]).ok();
    assert_eq!(web1.run(&["git", "-C", "/tmp/by-http", "rev-parse", "HEAD"]).ok().text(), second);
    let url = serve_over_ssh(lab, &infra, &git);
    let_root_fetch(lab, &git, &web1);
    web1.run(&["git", "clone", "--quiet", &url, "/tmp/by-ssh"]).ok();
    let signers = web1.run(&["git", "-C", "/tmp/by-ssh", "cat-file", "commit", "HEAD"]).ok();
    assert!(signers.stdout.contains("-----BEGIN PGP SIGNATURE-----"), "{signers}");

    git.run(&["useradd", "--create-home", "alice"]).ok();
    log_in(lab, &git, "alice", "true").exits(255);
    git.write("/home/alice/.ssh/authorized_keys", lab.keys().ssh_public());
    git.sh("chown -R alice: /home/alice/.ssh && chmod -R go= /home/alice/.ssh").ok();
    assert_eq!(log_in(lab, &git, "alice", "id -un").ok().text(), "alice");
}
