// SPDX-License-Identifier: Apache-2.0
//! Going back on a real host: a commit that breaks a service is put back by itself and held, whatever kills the way back;
//! one that removes too much is not begun.

use std::time::Duration;

use crate::fleet::Fleet;
use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::within;
use crate::site::{Site, WEB1, hostwrit};

/// Held.
const HELD: i32 = 6;
/// Longer than some intervals of one second, and all that checks may take here.
const SOON: Duration = Duration::from_secs(60);
const PROFILE: &str = "profiles/site.yaml";
const SERVER: &str = "/usr/local/lib/site.pl";

/// A web server that reads a configuration, as larger ones do: it dies of what it does not understand.
const PROGRAM: &str = r#"use strict; use warnings; use IO::Socket::INET; use IO::Socket::UNIX;
open(my $file, '<', '/etc/site.conf') or die "no configuration";
my %conf = map { /^(\w+) (\S+)$/ or die "unknown directive: $_"; ($1, $2) } <$file>;
unlink '/run/site.sock';
my $unix = IO::Socket::UNIX->new(Local => '/run/site.sock', Listen => 8) or die "unix: $!";
my $web = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $conf{port}, Listen => 8, ReuseAddr => 1)
    or die "listen: $!";
while (my $client = $web->accept) {
    while (my $line = <$client>) { last if $line =~ /^\r?$/ }
    print $client "HTTP/1.1 $conf{status} Answer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    close $client;
}
"#;

/// The profile of the web server; `conf` is its configuration, `more` are further files.
fn profile(conf: &str, more: &str) -> String {
    format!(
        r#"files:
  {SERVER}: {{source: site.pl}}
  /etc/site.conf: {{content: "{conf}"}}
{more}services:
  site:
    unit: {{content: "[Service]\nExecStart=/usr/bin/perl {SERVER}\n[Install]\nWantedBy=multi-user.target\n"}}
    enabled: true
    running: true
    restart_when: ["file:/etc/site.conf"]
checks:
  site: {{http: "http://127.0.0.1:8080/health", timeout: 3s, retries: 10, every: 300ms}}
  port: {{tcp: "127.0.0.1:8080", timeout: 3s, retries: 10, every: 300ms}}
  socket: {{unix: /run/site.sock, retries: 10, every: 300ms}}
  unit: {{command: [/usr/bin/systemctl, is-active, --quiet, site], retries: 10, every: 300ms}}
"#
    )
}

const GOOD: &str = "port 8080\\nstatus 200\\n";

/// Returns a host on which the web server runs and is well.
fn serving<'lab>(lab: &'lab Lab<'lab>) -> Site<'lab> {
    let site = Site::converged(lab);
    site.infra.write("files/site.pl", PROGRAM);
    site.infra.write(PROFILE, &profile(GOOD, ""));
    site.infra.replace(WEB1, "profiles: [base]", "profiles: [base, site]");
    site.infra.publish("a web server", Signer::Alice);
    site.apply().ok();
    assert_eq!(answer(&site), "HTTP/1.1 200 Answer");
    let status = site.status();
    assert_eq!((&status["health"], &status["checked"]["passed"]), (&"converged".into(), &4.into()), "{status:#}");
    site
}

/// Returns the first line of what the web server answers to somebody on the host.
fn answer(site: &Site<'_>) -> String {
    let script =
        "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; head -n 1 <&3 | tr -d '\\r'";
    site.web1.run(&["bash", "-c", script]).text().to_owned()
}

/// Demands that `bad` is held, and that `good` is what the host is like.
#[track_caller]
fn demand_good(site: &Site<'_>, good: &str, bad: &str) {
    assert_eq!(answer(site), "HTTP/1.1 200 Answer");
    assert_eq!(site.web1.read("/etc/site.conf").as_deref(), Some("port 8080\nstatus 200\n"));
    assert!(!site.web1.exists("/srv/new") && site.web1.run(&["id", "intruder"]).code != 0, "what it made is gone");
    let status = site.status();
    assert_eq!((&status["health"], &status["commit"]), (&"held".into(), &good.into()), "{status:#}");
    assert_eq!((&status["put_back"]["commit"], &status["put_back"]["code"]), (&bad.into(), &"check-failed".into()));
    assert_eq!(site.web1.read("/etc/hostwrit/pin").unwrap_or_default().trim(), bad, "the pin stays");
    site.plan().exits(HELD).says("nothing to do");
    site.hostwrit(&["audit", "verify"]).ok();
}

const MORE: &str = "  /srv/new: {content: new}\nusers:\n  intruder: {uid: 4711, password: locked}\n";

/// A commit that makes a service sick, and one that kills it, go back by themselves; the next good one goes on.
pub fn put_a_bad_commit_back(lab: &Lab<'_>) {
    let site = serving(lab);
    let mut good = site.status()["commit"].as_str().unwrap_or_default().to_owned();
    // Sick: it runs, and answers what nobody wants. Dead: it does not understand its configuration. Elsewhere: it is well
    // and cannot be reached where it should be.
    for (conf, failing) in [
        ("port 8080\\nstatus 502\\n", "answers with status 502, and 200 is wanted"),
        ("port 8080\\nlisten twice please\\n", "check:unit failed"),
        ("port 8081\\nstatus 200\\n", "check:port failed"),
    ] {
        site.infra.write(PROFILE, &profile(conf, MORE));
        let bad = site.infra.publish("bad", Signer::Alice);
        let apply = site.apply().exits(HELD);
        assert!(apply.stderr.contains(failing), "{apply}");
        demand_good(&site, &good, &bad);
        // It is not tried again, and drift is repaired meanwhile.
        site.web1.sh("echo drift >/etc/site.conf; systemctl stop site").ok();
        site.apply().exits(HELD);
        demand_good(&site, &good, &bad);
        let log = site.web1.read("/var/log/hostwrit/audit/log.jsonl").unwrap_or_default();
        let held = format!("\"event\":\"held\",\"commit\":\"{bad}\"");
        assert_eq!(log.matches(&held).count(), 1, "{held}");

        site.infra.write(PROFILE, &profile(GOOD, ""));
        good = site.infra.publish("good again", Signer::Alice);
        site.apply().ok();
        site.demand_convergence();
        let status = site.status();
        assert_eq!((&status["health"], &status["commit"]), (&"converged".into(), &good.as_str().into()), "{status:#}");
        assert!(status["put_back"].is_null(), "{status:#}");
    }
    // A boot forgets nothing: the daemon keeps to the last good commit.
    let mut site = site;
    site.infra.write(PROFILE, &profile("port 8080\\nstatus 502\\n", MORE));
    let bad = site.infra.publish("bad", Signer::Alice);
    site.apply().exits(HELD);
    site.web1.reboot();
    site.apply().exits(HELD);
    demand_good(&site, &good, &bad);
}

/// The daemon and its courier, confined as the package has them, run the checks, go back, watch what is enforced, and follow
/// the next good commit.
pub fn run_by_both_processes(lab: &Lab<'_>) {
    let fleet = Fleet::converged(lab, ["web1"]);
    let (host, infra) = (&fleet.hosts[0], &fleet.infra);
    let status = || -> serde_json::Value {
        serde_json::from_str(&hostwrit(host, &["status", "--json"]).stdout).unwrap_or_default()
    };
    infra.write("files/site.pl", PROGRAM);
    infra.write(PROFILE, &profile(GOOD, ""));
    infra.replace(WEB1, "profiles: [base]", "profiles: [base, site]");
    let good = infra.publish("a web server", Signer::Alice);
    within(SOON, "the checks pass", || {
        let status = status();
        status["commit"] == good.as_str() && status["checked"]["passed"] == 4 && status["health"] == "converged"
    });

    infra.write(PROFILE, &profile("port 8080\\nstatus 502\\n", MORE));
    let bad = infra.publish("bad", Signer::Alice);
    within(SOON, "the bad commit is held", || {
        let status = status();
        status["health"] == "held" && status["put_back"]["commit"] == bad.as_str() && status["commit"] == good.as_str()
    });
    let conf = || host.read("/etc/site.conf").unwrap_or_default();
    assert_eq!((conf().as_str(), host.exists("/srv/new")), ("port 8080\nstatus 200\n", false));
    // Seen as it happens, and put right towards what is enforced.
    host.sh("echo drift >/etc/site.conf").ok();
    within(SOON, "drift is repaired", || conf() == "port 8080\nstatus 200\n");
    // A daemon that is killed knows what is held.
    host.sh("systemctl kill --signal=KILL hostwrit.service; sleep 1; echo drift >/etc/site.conf; systemctl start hostwrit.service").ok();
    within(SOON, "drift is repaired after the kill", || conf() == "port 8080\nstatus 200\n");
    let log = host.read("/var/log/hostwrit/audit/log.jsonl").unwrap_or_default();
    assert_eq!(log.matches("\"event\":\"held\"").count(), 1);
    hostwrit(host, &["sync", "--wait"]).exits(HELD);

    infra.write(PROFILE, &profile(GOOD, ""));
    let next = infra.publish("good again", Signer::Alice);
    within(SOON, "the next commit is followed", || {
        let status = status();
        status["health"] == "converged" && status["commit"] == next.as_str() && status["put_back"].is_null()
    });
    hostwrit(host, &["audit", "verify"]).ok();
}

/// `kill -9` at any moment between the first write of a bad commit and the last of the way back: the next start ends in
/// the last good state.
pub fn killed_on_the_way_back(lab: &Lab<'_>) {
    let site = serving(lab);
    let good = site.status()["commit"].as_str().unwrap_or_default().to_owned();
    let bad_commit = |round: usize| {
        let conf = format!("port 8080\\nstatus 502\\nround {round}\\n");
        site.infra.write(PROFILE, &profile(&conf, MORE));
        site.infra.publish("bad", Signer::Alice)
    };
    let traced = |inject: &str| {
        let script = format!("strace -f -qq -o /tmp/trace -e trace=fdatasync,fsync,renameat2 {inject} hostwrit apply");
        site.web1.sh(&format!("{script}; echo \"ended with $?\""))
    };
    let bad = bad_commit(0);
    traced("").says("ended with 6");
    demand_good(&site, &good, &bad);
    let trace = site.web1.read("/tmp/trace").unwrap_or_default();
    let count = |call: &str| trace.lines().filter(|line| line.contains(&format!(" {call}("))).count();
    let mut killed = 0;
    for (call, all) in [("fdatasync", count("fdatasync")), ("renameat2", count("renameat2")), ("fsync", count("fsync"))]
    {
        // Evenly spread, and the last ones: those are the way back.
        let stride = all.div_ceil(5).max(1);
        for nth in (1..=all).rev().step_by(stride) {
            let bad = bad_commit(killed + 1);
            let run = traced(&format!("-e inject={call}:signal=KILL:when={nth}"));
            killed += usize::from(run.stdout.contains("ended with 137"));
            let apply = site.apply();
            assert_eq!(apply.code, HELD, "killed at {call} number {nth} of {all}: {apply}");
            demand_good(&site, &good, &bad);
            let status = site.status();
            assert_eq!(status["checked"]["failed"], serde_json::json!([]), "killed at {call} number {nth}: {status:#}");
        }
    }
    assert!(killed >= 5, "only {killed} runs were killed");
    site.infra.write(PROFILE, &profile(GOOD, ""));
    site.infra.publish("good again", Signer::Alice);
    site.apply().ok();
    site.demand_convergence();
}

/// A commit that removes more than the limit is not begun; a signed commit on top lets it through.
pub fn limits_removals(lab: &Lab<'_>) {
    let site = Site::converged(lab);
    let files: String = (0..12).map(|number| format!("  /srv/shop-{number}: {{content: x}}\n")).collect();
    site.infra.write(PROFILE, &format!("files:\n{files}"));
    site.infra.replace(WEB1, "profiles: [base]", "profiles: [base, site]");
    site.infra.publish("files of a shop", Signer::Alice);
    site.apply().ok();
    let left = || site.web1.sh("ls -d /srv/shop-* 2>/dev/null | wc -l").text().to_owned();
    assert_eq!(left(), "12");

    // The profile is lost with a line of the host file.
    site.infra.replace(WEB1, "profiles: [base, site]", "profiles: [base]");
    site.order_motd("Tidied up.");
    site.infra.publish("tidy up", Signer::Alice);
    site.plan().exits(HELD).says("If it is let through");
    let apply = site.apply().exits(HELD);
    assert!(apply.stderr.contains("it removes 12 objects, and 10 at a time are allowed"), "{apply}");
    site.demand_problem("too-many-removals");
    assert_eq!((left().as_str(), &site.status()["health"]), ("12", &"held".into()));
    assert_ne!(site.motd(), "Tidied up.");

    site.infra.publish("They may go\n\nHostwrit-Allow-Removals: 12", Signer::Alice);
    site.apply().ok();
    assert_eq!((left().as_str(), site.motd().as_str()), ("0", "Tidied up."));
    site.demand_convergence();
}
