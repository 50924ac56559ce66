// SPDX-License-Identifier: Apache-2.0
//! Commands that the repo names, run by the steward as the package has it, with no drop-in: they are not confined as it is.

use std::time::Duration;

use crate::fleet::{Fleet, status};
use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::{Machine, within};
use crate::site::WEB1;

const PROFILE: &str = "profiles/commands.yaml";
/// Longer than some intervals of one second.
const SOON: Duration = Duration::from_secs(60);
/// Longer than a `validate` command may take, which is a minute.
const LATE: Duration = Duration::from_secs(150);

const NGINX: &str = "/etc/nginx/nginx.conf";

/// A configuration of nginx with one server.
fn nginx(listen: &str) -> String {
    let content = format!("events {{}} http {{ server {{ listen {listen}; }} }}");
    format!("files:\n  {NGINX}: {{content: \"{content}\\n\", validate: [nginx, -t, -c, \"{{}}\"]}}\n")
}

/// Writes down what it sees of the world, and tries what it must not be able to.
const PROBE: &str = r#"#!/bin/sh
exec >/var/tmp/probe.new 2>&1
env | sort
for word in "$@"; do echo "word: $word"; done
echo "user: $(id -u), directory: $(pwd), input: $(cat | wc -c) bytes, core: $(ulimit -c)"
grep -E '^(Cap|Seccomp|NoNewPrivs)' /proc/self/status >/var/tmp/confinement
sed 's/.*:/cgroup: /' /proc/self/cgroup | tail -n 1
for place in /etc /usr /boot /var/tmp; do touch $place/by-the-probe 2>/dev/null && echo "can write to $place"; done
mv /var/tmp/probe.new /var/tmp/probe
"#;

fn order(fleet: &Fleet<'_>, what: &str, profile: &str) -> String {
    fleet.infra.write(PROFILE, profile);
    fleet.infra.publish(what, Signer::Alice)
}

/// Returns a host of the fleet that obeys [`PROFILE`].
fn obeying<'lab>(lab: &'lab Lab<'lab>) -> Fleet<'lab> {
    let fleet = Fleet::converged(lab, ["web1"]);
    fleet.infra.replace(WEB1, "profiles: [base]", "profiles: [base, commands]");
    fleet
}

#[track_caller]
fn demand_converged(host: &Machine<'_>, commit: &str) {
    // One that hangs may be under way.
    within(LATE, "the host agrees with the commit", || {
        let status = status(host);
        status["health"] == "converged" && status["commit"] == commit
    });
}

/// Demands that a step fails with these words, within `limit`.
#[track_caller]
fn demand_failed(host: &Machine<'_>, limit: Duration, words: &[&str]) {
    within(limit, &format!("a step fails: {words:?}"), || {
        let problems = status(host)["problems"].as_array().cloned().unwrap_or_default();
        problems.iter().any(|problem| {
            let message = problem["message"].as_str().unwrap_or_default();
            problem["code"] == "step-failed" && words.iter().all(|word| message.contains(word))
        })
    });
}

fn units(host: &Machine<'_>) -> String {
    host.look(&["systemctl", "list-units", "--all", "--no-legend", "--plain", "hostwrit-command-*"]).trim().to_owned()
}

/// `nginx -t` and others run as the administrator expects, with nothing added to the package's units; what is refused says why; what
/// hangs is ended with all that it started.
pub fn of_the_repo(lab: &Lab<'_>) {
    let fleet = obeying(lab);
    let host = &fleet.hosts[0];
    assert_eq!(host.look(&["systemctl", "show", "-P", "DropInPaths", "hostwrit.service"]).trim(), "");
    // It binds its sockets even for a test. As a child of the steward it could not.
    let confined = ["--property=RestrictAddressFamilies=AF_UNIX AF_NETLINK"];
    let refused = host.run_with(&confined, &["nginx", "-t"], b"");
    assert!(refused.code != 0 && refused.stderr.contains("Address family not supported"), "{refused}");

    let good = order(&fleet, "a web server", &nginx("80"));
    demand_converged(host, &good);
    assert!(host.read(NGINX).unwrap_or_default().contains("listen 80;"));
    order(&fleet, "a slip", &nginx("80 please"));
    demand_failed(
        host,
        SOON,
        &[NGINX, "refused by its check: nginx -t -c {}: exit status: 1", "invalid parameter \"please\""],
    );
    assert!(host.read(NGINX).unwrap_or_default().contains("listen 80;"), "the old content is gone");
    order(&fleet, "no such program", "files:\n  /etc/x: {content: x, validate: [no-such-program, \"{}\"]}\n");
    demand_failed(host, SOON, &["cannot run no-such-program", "No such file or directory"]);

    fleet.infra.write("files/probe", PROBE);
    let probe = "files:\n  /usr/local/bin/probe: {source: probe, mode: \"0755\"}\n  /etc/probed: {content: x, \
                 validate: [/usr/local/bin/probe, \"{}\", \"$HOME ${x} $$ %n\"]}\n";
    host.run(&["systemctl", "set-environment", "SECRET=everywhere"]).ok();
    let commit = order(&fleet, "a probe", probe);
    demand_converged(host, &commit);
    let probed = host.read("/var/tmp/probe").unwrap_or_default();
    let (first, cgroup) = probed.split_once("cgroup: ").unwrap_or_default();
    assert_eq!(
        first,
        "LC_ALL=C.UTF-8\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/\n\
         word: /etc/.probed.hostwrit-new\nword: $HOME ${x} $$ %n\n\
         user: 0, directory: /, input: 0 bytes, core: 0\n"
    );
    let usual = host.run(&["grep", "-E", "^(Cap|Seccomp|NoNewPrivs)", "/proc/self/status"]).ok();
    assert_eq!(host.read("/var/tmp/confinement").as_ref(), Some(&usual.stdout), "it is not confined as any service is");
    assert!(cgroup.starts_with("/system.slice/hostwrit-command-"), "{probed}");
    assert!(cgroup.ends_with(".service\ncan write to /var/tmp\n"), "{probed}");

    let hang = "files:\n  /etc/hung: {content: x, validate: [sh, -c, \"setsid sleep 7771 & echo going; sleep 7772\", \"{}\"]}\n";
    order(&fleet, "hangs", hang);
    within(SOON, "it hangs", || host.look(&["pgrep", "-c", "-x", "-f", "sleep 777[12]"]).trim() == "2");
    demand_failed(host, LATE, &["sh did not end within 60 s and was killed"]);
    // The administrator has a say, with a drop-in for all of them.
    host.write("/etc/systemd/system/hostwrit-command-.service.d/less.conf", "[Service]\nProtectSystem=no\n");
    host.run(&["systemctl", "daemon-reload"]).ok();
    let commit = order(&fleet, "a probe again", probe);
    demand_converged(host, &commit);
    assert!(!host.exists("/etc/hung"));
    let probed = host.read("/var/tmp/probe").unwrap_or_default();
    assert!(probed.contains("can write to /etc\n"), "{probed}");
    assert_eq!(host.look(&["pgrep", "-x", "-f", "sleep 777[12]"]).trim(), "", "what it started is still there");
    assert_eq!(units(host), "", "units are left behind");
}

/// A command that is under way when the steward is told to stop is waited for; one whose steward is killed ends at its own time limit.
pub fn cut_off(lab: &Lab<'_>) {
    let fleet = obeying(lab);
    let host = &fleet.hosts[0];
    let slow = "files:\n  /etc/slow: {content: x, validate: [sh, -c, \"touch /run/slow; sleep 8\", \"{}\"]}\n";
    order(&fleet, "slow", slow);
    within(SOON, "it runs", || host.exists("/run/slow"));
    host.run(&["systemctl", "stop", "hostwrit.service"]).ok();
    assert_eq!(host.read("/etc/slow").as_deref(), Some("x"), "what was under way was not finished");
    assert_eq!(units(host), "");

    let check =
        "checks:\n  hung: {command: [/bin/sh, -c, \"echo $$ >>/run/hung; sleep 7773\"], timeout: 20s, retries: 0}\n";
    order(&fleet, "hangs", check);
    host.run(&["systemctl", "start", "hostwrit.service"]).ok();
    within(SOON, "it hangs", || host.exists("/run/hung"));
    let running = units(host);
    let unit = running.split_whitespace().next().unwrap_or_default();
    assert!(unit.starts_with("hostwrit-command-"), "{running}");
    host.run(&["systemctl", "kill", "--signal=KILL", "hostwrit.service"]).ok();
    assert!(units(host).contains(unit), "it lives on without its steward");
    within(SOON, "it ends at its time limit", || !units(host).contains(unit));

    let good = order(&fleet, "nothing of it", "{}\n");
    within(LATE, "the next steward goes on", || status(host)["commit"] == good.as_str());
    within(SOON, "nothing is left", || {
        units(host).is_empty() && host.look(&["pgrep", "-x", "-f", "sleep 7773"]).trim().is_empty()
    });
}
