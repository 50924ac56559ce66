// SPDX-License-Identifier: Apache-2.0
//! What the courier shows to a remote, under the units of the package: who takes it, who sees it, and what is said when it
//! is not taken.

use std::fs;
use std::time::Duration;

use crate::authority::Authority;
use crate::fleet::start_units;
use crate::git_server::{GitServer, known_host, push_over_ssh, serve_over_ssh};
use crate::infra::{Infra, Signer};
use crate::lab::Lab;
use crate::machine::{Machine, within};
use crate::site::{BASE, WEB1, configure, hostwrit, project};

/// How long a cycle may take on a busy machine.
const CYCLE: Duration = Duration::from_secs(90);
const DIRECTORY: &str = "/etc/hostwrit/credentials";

/// An SSH remote: with a server that is not the one it should be, with a key that it does not know, and as it should be.
pub fn ssh(lab: &Lab<'_>) {
    let infra = infra(lab);
    let [web1, git] = lab.boot_all(["web1", "git"]);
    configure(&web1, &infra, &serve_over_ssh(lab, &infra, &git), "1h");
    let key = fs::read_to_string(lab.keys().ssh_private()).expect("ssh-keygen wrote it");
    web1.run(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/var/tmp/another"]).ok();
    let other = |suffix: &str| web1.read(&format!("/var/tmp/another{suffix}")).expect("ssh-keygen wrote it");
    give(&web1, "ssh-key", &key);
    // As if somebody else answered at the server's address.
    give(&web1, "known-hosts", &format!("{} {}", git.address(), other(".pub")));
    start_units(&web1);
    demand_refused(&web1, "ssh-keyscan");
    give(&web1, "known-hosts", &format!("git.example.org {}", other(".pub")));
    demand_refused(&web1, "FAILED   host-key");

    give(&web1, "known-hosts", &known_host(&git));
    give(&web1, "ssh-key", &other(".pub"));
    demand_refused(&web1, "is no private key that ssh can read");
    give(&web1, "ssh-key", &other(""));
    demand_refused(&web1, "credential ssh-key");

    give(&web1, "ssh-key", &key);
    demand_followed(&web1, "The first order.");
    let doctor = hostwrit(&web1, &["doctor"]);
    doctor.says("ok       credentials").says("ok       host-key");
    publish(&infra, "The second order.");
    push_over_ssh(&infra, &git);
    demand_followed(&web1, "The second order.");
    demand_hidden(&web1, "ssh-key");

    // A server that has changed its key is not followed, and what was accepted stays enforced.
    git.sh("rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh").ok();
    publish(&infra, "The order of a stranger.");
    push_over_ssh(&infra, &git);
    demand_refused(&web1, "ssh-keyscan");
    assert_eq!(web1.read("/etc/motd").as_deref(), Some("The second order.\n"));
}

/// An HTTPS remote whose certificate nobody knows at first, that wants a token, and that is behind a proxy in the end.
pub fn https(lab: &Lab<'_>) {
    const TOKEN: &str = "deploy:correct-horse-battery";
    let infra = infra(lab);
    let web1 = lab.boot("web1");
    let authority = Authority::new(lab);
    let server = GitServer::https(lab, &infra, &authority, TOKEN);
    configure(&web1, &infra, server.url(), "1h");
    give(&web1, "git-token", TOKEN);
    start_units(&web1);
    demand_refused(&web1, "update-ca-certificates");
    web1.write(
        "/usr/local/share/ca-certificates/infra.crt",
        fs::read(&authority.certificate).expect("openssl wrote it"),
    );
    demand_refused(&web1, "infra.crt is not trusted yet");
    assert!(!server.log().contains("GET"), "something was asked of a server that nobody knows:\n{}", server.log());

    web1.run(&["update-ca-certificates"]).ok();
    give(&web1, "git-token", "deploy:of-yesterday");
    demand_refused(&web1, "credential git-token");

    give(&web1, "git-token", TOKEN);
    demand_followed(&web1, "The first order.");
    let before = server.log().len();
    hostwrit(&web1, &["sync", "--wait"]).ok();
    // Neither what the server can do nor who is there is asked again.
    assert_eq!(server.log()[before..].lines().collect::<Vec<_>>(), ["POST /infra.git/git-upload-pack HTTP/1.1"]);
    demand_hidden(&web1, "git-token");

    let proxy = GitServer::proxy(lab);
    web1.write("/etc/default/hostwrit", format!("https_proxy={}\n", proxy.url()));
    publish(&infra, "The second order.");
    demand_followed(&web1, "The second order.");
    assert!(proxy.log().contains("CONNECT 192.0.2.1:443"), "the proxy was not asked:\n{}", proxy.log());
    let address = proxy.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    drop(proxy);
    demand_refused(&web1, &format!("look at the proxy {address}"));
    web1.write("/etc/default/hostwrit", "https_proxy=http://192.0.2.1:port\n");
    demand_refused(&web1, "https_proxy has no number");
}

fn infra<'lab>(lab: &'lab Lab<'lab>) -> Infra<'lab> {
    let infra = Infra::new(lab, &project().join("tests/host/repo"));
    infra.replace(WEB1, "ALICE_KEY", &lab.keys().ssh_public());
    infra.publish("Alice's SSH key", Signer::Alice);
    infra
}

fn publish(infra: &Infra<'_>, motd: &str) {
    infra.write(BASE, &format!("files:\n  /etc/motd: {{content: \"{motd}\\n\"}}\n"));
    infra.publish(motd, Signer::Alice);
}

/// Puts a credential where the unit takes it from.
fn give(host: &Machine<'_>, name: &str, content: &str) {
    host.write(&format!("{DIRECTORY}/{name}"), content);
    host.run(&["chmod", "-R", "go=", DIRECTORY]).ok();
}

/// Starts the courier anew, and demands that it cannot fetch and that `doctor` says what to do.
#[track_caller]
fn demand_refused(host: &Machine<'_>, advice: &str) {
    host.run(&["systemctl", "restart", "hostwrit-courier.service"]).ok();
    let report = hostwrit(host, &["doctor"]);
    assert!(report.code != 0, "nothing is wrong:\n{report}");
    report.says(advice);
    hostwrit(host, &["sync", "--wait"]);
    let status = hostwrit(host, &["status", "--json"]).ok();
    assert!(status.stdout.contains("fetch-failed"), "{status}");
}

/// Starts the courier anew, and demands that the steward gets what it needs from it.
#[track_caller]
fn demand_followed(host: &Machine<'_>, motd: &str) {
    host.run(&["systemctl", "restart", "hostwrit-courier.service"]).ok();
    within(CYCLE, motd, || {
        hostwrit(host, &["sync", "--wait"]);
        host.read("/etc/motd").is_some_and(|text| text.trim_end() == motd)
    });
    hostwrit(host, &["doctor"]).says("remote");
}

/// Demands that the credential is nowhere but where it was put and where systemd puts it for the courier, and that nobody
/// but root and the courier can read it there. That the steward, which is root, does not is seen in its system calls.
fn demand_hidden(host: &Machine<'_>, name: &str) {
    const TRACE: &str = "/var/tmp/steward.trace";
    let place = format!("/run/credentials/hostwrit-courier.service/{name}");
    host.run(&["test", "-s", &place]).ok();
    for path in [&place, &format!("{DIRECTORY}/{name}")] {
        let read = host.run_with(&["--uid=nobody"], &["cat", path], b"");
        assert!(read.code != 0 && read.stdout.is_empty(), "everybody can read it:\n{read}");
    }
    host.write(
        "/etc/systemd/system/hostwrit.service.d/trace.conf",
        format!(
            "[Service]\nSystemCallFilter=\nExecStart=\nExecStart=/usr/bin/strace -D -f -qq -o {TRACE} \
             -e trace=open,openat,openat2 /usr/bin/hostwrit daemon\n"
        ),
    );
    host.sh("systemctl daemon-reload && systemctl restart hostwrit.service").ok();
    within(CYCLE, "the steward answers", || hostwrit(host, &["sync", "--wait"]).code == 0);
    let trace = host.read(TRACE).unwrap_or_default();
    assert!(trace.contains("/etc/hostwrit/config.yaml"), "what the steward opens is not seen:\n{trace}");
    let opened: Vec<&str> = trace.lines().filter(|line| line.contains("/credentials")).collect();
    assert!(opened.is_empty(), "the steward looks at credentials: {opened:#?}");

    // A line that no other key has. What looks for it has it in neither its arguments nor its environment.
    const LOOK: &str =
        "grep --files-with-matches --no-messages --text --fixed-strings --file=/etc/hostwrit/credentials/line";
    host.sh(&format!("cd {DIRECTORY} && tail -n 2 {name} | head -n 1 >line && test -s line")).ok();
    let found = host.sh(&format!(
        "journalctl --output=cat >/var/tmp/journal
         {LOOK} /proc/[0-9]*/cmdline /proc/[0-9]*/environ
         {LOOK} --recursive --exclude-dir=credentials /etc /run /tmp /var"
    ));
    assert_eq!(found.text(), "", "{name} is where it should not be");
    // That it is found where it is shows that this looks for it.
    assert_eq!(host.sh(&format!("{LOOK} {place}; rm {DIRECTORY}/line")).ok().text(), place);
    host.sh("rm -r /etc/systemd/system/hostwrit.service.d && systemctl daemon-reload && systemctl restart hostwrit")
        .ok();
}
