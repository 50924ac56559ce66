// SPDX-License-Identifier: Apache-2.0
//! Changes that cut a host off go back by themselves, with nobody awake; those that do not stay.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

use crate::git_server::{log_in, ssh};
use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::within;
use crate::process::Background;
use crate::site::{Site, WEB1, project};

/// Under load a host is slow.
const LONG: Duration = Duration::from_secs(120);

const UNPROVEN: &str = "/var/lib/hostwrit/confirm/unproven.json";

/// Rules that let nothing out but answers: the remote is lost, and whoever is logged in does not notice.
const CUTS: &str = "  /etc/nftables.conf: {content: \"flush ruleset\\ntable inet cut { chain out { type filter hook output priority 0; policy \
                    drop; oif lo accept; ct state established accept; }\\n}\\n\"}\n";
const CUTS_SERVICE: &str = "  nftables: {running: true, restart_when: [\"file:/etc/nftables.conf\"]}\n";

const MOVES: &str = "  /etc/ssh/sshd_config.d/port.conf: {content: \"Port 2222\\n\"}\n";
const MOVES_SERVICE: &str = "  ssh: {restart_when: [\"file:/etc/ssh/sshd_config.d/port.conf\"]}\n";

/// Kills an apply after it has acted on a unit and before it can have proven anything.
const KILLED: &str = "hostwrit apply & apply=$!
    until grep -qs '\"note\":\"unit\"' /var/lib/hostwrit/confirm/journal.jsonl; do sleep 0.1; done
    sleep 2; kill -9 $apply; wait $apply; true";

/// A host that obeys its repo, and has as long as `within` to prove a change.
fn site<'lab>(lab: &'lab Lab<'lab>, within: &str) -> Site<'lab> {
    let site = Site::new(lab);
    let config = site.web1.read("/etc/hostwrit/config.yaml").expect("the site wrote it");
    site.web1.write("/etc/hostwrit/config.yaml", format!("{config}confirm_within: {within}\n"));
    site.apply().ok();
    site
}

/// Adds files and services to the first state of the host, in place of what was added before.
fn order(site: &Site<'_>, first: &str, files: &str, services: &str, message: &str) {
    site.infra.write(
        WEB1,
        &first
            .replace("files:\n", &format!("files:\n{files}"))
            .replace("services:\n", &format!("services:\n{services}")),
    );
    site.infra.publish(message, Signer::Alice);
}

#[track_caller]
fn demand_reached(lab: &Lab<'_>, site: &Site<'_>, when: &str) {
    let reached = log_in(lab, &site.web1, "deploy", "echo reached");
    assert!(reached.code == 0 && reached.text() == "reached", "{when}: nobody can log in:\n{reached}");
}

/// Demands that no change waits to be proven, and that no timer runs.
#[track_caller]
fn demand_nothing_left(site: &Site<'_>) {
    let left = site.web1.look(&[
        "sh",
        "-c",
        "ls /var/lib/hostwrit/confirm; systemctl list-timers --all --no-legend 'hostwrit-revert-*'",
    ]);
    assert!(left.trim().is_empty(), "something is left:\n{left}");
}

/// The steward itself puts back what it cannot prove, holds the commit, and follows the next one.
pub fn goes_back_by_itself(lab: &Lab<'_>) {
    let site = site(lab, "30s");
    let first = site.infra.read(WEB1);
    let ports = || site.web1.look(&["ss", "-Hltn", "sport = :22 or sport = :2222"]);
    for (files, services, why) in
        [(CUTS, CUTS_SERVICE, "the remote does not answer any more"), (MOVES, MOVES_SERVICE, "SSH does not answer")]
    {
        order(&site, &first, files, services, why);
        site.apply().exits(6).says(why);
        demand_reached(lab, &site, why);
        demand_nothing_left(&site);
        assert!(!site.web1.look(&["nft", "list", "ruleset"]).contains("cut"), "{why}: the rules are still there");
        assert!(ports().contains(":22 ") && !ports().contains(":2222 "), "{why}: {}", ports());
        site.demand_problem("held");
        // It is not tried again.
        let confirming = |site: &Site<'_>| {
            site.web1.read("/var/log/hostwrit/audit/log.jsonl").unwrap_or_default().matches("\"confirming\"").count()
        };
        let before = confirming(&site);
        site.apply().exits(6);
        assert_eq!(confirming(&site), before, "{why}: a held commit was tried again");
    }
    order(
        &site,
        &first,
        "  /etc/ssh/sshd_config.d/banner.conf: {content: \"PrintLastLog no\\n\"}\n",
        &MOVES_SERVICE.replace("port.conf", "banner.conf"),
        "what does no harm",
    );
    site.apply().ok();
    demand_nothing_left(&site);
    demand_reached(lab, &site, "a change that is proven");
    site.demand_convergence();
    let log = site.web1.read("/var/log/hostwrit/audit/log.jsonl").unwrap_or_default();
    assert!(log.contains("SSH answers at") && log.contains("the remote answers"), "{log}");
}

/// The steward is gone: the timer puts the change back, and the next start holds the commit.
pub fn killed_in_the_middle(lab: &Lab<'_>) {
    let site = site(lab, "30s");
    let first = site.infra.read(WEB1);
    order(&site, &first, CUTS, CUTS_SERVICE, "cuts the remote off");
    site.web1.sh(KILLED).ok();
    assert!(site.web1.exists(UNPROVEN), "the change was proven, or put back, before the kill");
    within(LONG, "the timer puts the change back", || !site.web1.exists(UNPROVEN));
    assert!(!site.web1.look(&["nft", "list", "ruleset"]).contains("cut"), "the rules are still there");
    demand_reached(lab, &site, "after the timer");
    site.apply().exits(6).says("nobody has proven the change");
    demand_nothing_left(&site);
}

/// Where there is no D-Bus, systemd is asked for the timer by `systemd-run`; it puts the change back all the same.
pub fn killed_without_a_bus(lab: &Lab<'_>) {
    let site = site(lab, "30s");
    let first = site.infra.read(WEB1);
    let without_a_bus = |script: &str| {
        let hidden = "--property=InaccessiblePaths=/run/dbus";
        site.web1.run_with(&[hidden], &["sh", "-c", &format!("! busctl status 2>/dev/null || exit 9\n{script}")], b"")
    };
    order(&site, &first, CUTS, CUTS_SERVICE, "cuts the remote off");
    without_a_bus(KILLED).ok();
    assert!(site.web1.exists(UNPROVEN), "the change was proven, or put back, before the kill");
    let timers = site.web1.look(&["systemctl", "list-timers", "--no-legend", "hostwrit-revert-*"]);
    assert_eq!(timers.lines().count(), 1, "{timers}");
    within(LONG, "the timer puts the change back", || !site.web1.exists(UNPROVEN));
    assert!(!site.web1.look(&["nft", "list", "ruleset"]).contains("cut"), "the rules are still there");
    demand_reached(lab, &site, "after the timer");
    without_a_bus("hostwrit apply").exits(6).says("nobody has proven the change");
    demand_nothing_left(&site);
    // And one that is proven stays, with no timer behind it.
    order(&site, &first, "  /etc/ssh/sshd_config.d/x.conf: {content: \"PrintLastLog no\\n\"}\n", "", "no harm");
    without_a_bus("hostwrit apply").ok();
    demand_nothing_left(&site);
}

/// A steward that hangs with the run lock is killed by the timer.
pub fn hung_in_the_middle(lab: &Lab<'_>) {
    let site = site(lab, "30s");
    let first = site.infra.read(WEB1);
    order(&site, &first, CUTS, CUTS_SERVICE, "cuts the remote off");
    site.web1.sh("hostwrit apply & apply=$!; until grep -qs '\"note\":\"unit\"' /var/lib/hostwrit/confirm/journal.jsonl; do sleep 0.1; done; kill -STOP $apply; wait $apply; true").ok();
    within(LONG, "the timer puts the change back", || !site.web1.exists(UNPROVEN));
    demand_reached(lab, &site, "after the timer");
    site.apply().exits(6);
}

/// The host goes down in the middle: the boot puts the change back before anybody is let in.
pub fn rebooted_in_the_middle(lab: &Lab<'_>) {
    let mut site = site(lab, "10m");
    let unit = fs::read(project().join("packaging/systemd/hostwrit-revert.service")).expect("the package has it");
    site.web1.write("/usr/lib/systemd/system/hostwrit-revert.service", unit);
    site.web1.sh("systemctl daemon-reload && systemctl enable hostwrit-revert.service").ok();
    let first = site.infra.read(WEB1);
    let files = format!("{CUTS}{MOVES}");
    let services =
        format!("{CUTS_SERVICE}{MOVES_SERVICE}").replace("{running: true,", "{running: true, enabled: true,");
    order(&site, &first, &files, &services, "cuts everybody off");
    site.web1.sh("hostwrit apply & apply=$!; until grep -qs '\"unit\":\"ssh' /var/lib/hostwrit/confirm/journal.jsonl; do sleep 0.1; done; sleep 3; kill -9 $apply; wait $apply; true").ok();
    assert!(site.web1.exists(UNPROVEN), "the change was proven, or put back, before the kill");
    site.web1.reboot();
    assert!(!site.web1.exists(UNPROVEN), "the boot has put nothing back");
    demand_reached(lab, &site, "after the boot");
    assert!(!site.web1.look(&["nft", "list", "ruleset"]).contains("cut"), "the rules came back with the boot");
    assert!(!site.web1.exists("/etc/ssh/sshd_config.d/port.conf"));
    assert!(site.web1.look(&["systemctl", "is-enabled", "nftables"]).contains("disabled"));
    site.apply().exits(6).says("the host was started again");
    demand_nothing_left(&site);
}

/// An SSH session from the fabric that stays open and says what it is told.
struct Session {
    stdin: ChildStdin,
    said: PathBuf,
    words: String,
    _process: Background,
}

impl Session {
    fn open(lab: &Lab<'_>, site: &Site<'_>) -> Self {
        let said = lab.dir().join("session");
        let file = File::create(&said).expect("the folder for temporary files can be written");
        let mut command = ssh(lab, &site.web1, "deploy", "cat");
        command.stdin(Stdio::piped()).stdout(file);
        let mut process = Background::start(command);
        let stdin = process.child().stdin.take().expect("stdin was asked for");
        let mut session = Self { stdin, said, words: String::new(), _process: process };
        session.demand_answer("the login");
        session
    }

    #[track_caller]
    fn demand_answer(&mut self, when: &str) {
        self.words.push_str(&format!("after {when}\n"));
        writeln!(self.stdin, "after {when}")
            .unwrap_or_else(|error| panic!("the session is gone after {when}: {error}"));
        within(LONG, &format!("the session answers after {when}"), || {
            fs::read_to_string(&self.said).is_ok_and(|said| said == self.words)
        });
    }
}

/// Ports change under a session that is open: it stays, and so does the change; one that cuts the host off takes its ports back with it.
pub fn ports_with_a_session(lab: &Lab<'_>) {
    let site = site(lab, "30s");
    let mut session = Session::open(lab, &site);
    let first = site.infra.read(WEB1);
    let with_ports =
        |ports: &str| format!("{first}ports:\n  22/tcp: {{management: true, from: [192.0.2.0/24]}}\n  {ports}: {{}}\n");
    // What is in force, and what is loaded at the next boot. The order in which nft lists chains is that in which they were made.
    let rules = || {
        let script = "set -e; nft --stateless list table inet hostwrit | sort; sha256sum /var/lib/hostwrit/firewall/*";
        site.web1.sh(script).ok().text().to_owned()
    };
    for (nth, ports) in ["80/tcp", "81/tcp"].into_iter().enumerate() {
        order(&site, &with_ports(ports), "", "", ports);
        site.apply().ok();
        site.demand_convergence();
        demand_nothing_left(&site);
        session.demand_answer(ports);
        demand_reached(lab, &site, ports);
        let log = site.web1.read("/var/log/hostwrit/audit/log.jsonl").unwrap_or_default();
        let confirmed: Vec<&str> = log.lines().filter(|line| line.contains("\"event\":\"confirmed\"")).collect();
        assert!(
            confirmed.len() > nth && confirmed[confirmed.len() - 1].contains("SSH sessions are up: 1"),
            "{ports}: {log}"
        );
    }
    let good = rules();
    assert!(good.contains("81"), "{good}");
    let demand_as_before = |session: &mut Session| {
        assert_eq!(rules(), good, "other rules than before");
        assert!(!site.web1.look(&["nft", "list", "ruleset"]).contains("cut"), "the rules are still there");
        session.demand_answer("the way back");
        demand_reached(lab, &site, "the way back");
    };
    // Debian's own file begins so, and the end of its service empties all tables too.
    for cuts in [CUTS.to_owned(), CUTS.replace("flush ruleset\\n", "")] {
        order(&site, &with_ports("82/tcp"), &cuts, CUTS_SERVICE, "cuts the remote off");
        site.apply().exits(6).says("the remote does not answer any more");
        demand_as_before(&mut session);
        demand_nothing_left(&site);
        site.demand_problem("held");
        site.hostwrit(&["audit", "verify"]).ok();
    } // With hostwrit gone, nobody but the timer puts the rules back.
    order(&site, &with_ports("82/tcp"), CUTS, CUTS_SERVICE, "cuts the remote off");
    site.web1.sh(KILLED).ok();
    assert!(site.web1.exists(UNPROVEN), "the change was proven, or put back, before the kill");
    within(LONG, "the timer puts the change back", || !site.web1.exists(UNPROVEN));
    demand_as_before(&mut session);
    site.apply().exits(6).says("nobody has proven the change");
    demand_nothing_left(&site);
}
