// SPDX-License-Identifier: Apache-2.0
//! A change that must be proven is cut off in the middle, by a power cut or by `kill -9`: with nobody's help the host is reachable
//! again, in the old or the new state.

use std::fs;
use std::time::Duration;

use crate::git_server::log_in;
use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::within;
use crate::site::{Site, WEB1, project};

use super::faults::{Call, LEFT_BEHIND, STRACE, WRITES, calls};

const UNPROVEN: &str = "/var/lib/hostwrit/confirm/unproven.json";

/// How many moments are tried while the steps are carried out, and how many while the host proves that it is reached, unless
/// HOSTWRIT_HOST_TESTS=full asks for all.
const MOMENTS: [usize; 2] = [6, 2];

/// In the proving loop the steward writes little; it rests between two looks.
const RESTS: &str = "clock_nanosleep";

/// Under load a host is slow.
const LONG: Duration = Duration::from_secs(120);

/// What the two states of the host are told apart by: port, shell of the user, whether the service starts at boot, and a setting.
const STATES: [[&str; 4]; 2] =
    [["80/tcp", "/bin/bash", "enabled: true", "yes"], ["81/tcp", "/bin/sh", "enabled: false", "no"]];

/// The administrator, whose login belongs to the proof.
const ADMIN: &str = "users:\n  admin: {shell: /bin/bash, password: locked, sudo: \"ALL=(ALL:ALL) NOPASSWD: ALL\", \
                     ssh_keys: [\"ALICE_KEY\"]}\n";

/// Orders one of the states, in a commit of its own.
fn order(site: &Site<'_>, first: &str, state: usize, message: &str) {
    let [port, shell, enabled, value] = STATES[state];
    let host = first.replace("/bin/bash", shell).replace("enabled: true", enabled).replace(
        "files:\n",
        &format!("files:\n  /etc/ssh/sshd_config.d/log.conf: {{content: \"PrintLastLog {value}\\n\"}}\n"),
    );
    let host =
        host.replace("services:\n", "services:\n  ssh: {restart_when: [\"file:/etc/ssh/sshd_config.d/log.conf\"]}\n");
    let ports = format!("ports:\n  22/tcp: {{management: true, from: [192.0.2.0/24]}}\n  {port}: {{}}\n");
    site.infra.write(WEB1, &format!("# {message}\n{host}{ports}"));
    site.infra.publish(message, Signer::Alice);
}

/// Returns what the host is: rules in force and kept, files, accounts, and what starts at boot.
fn host_is(site: &Site<'_>) -> String {
    let script = "nft --stateless list table inet hostwrit | sort; cd /
         sha256sum var/lib/hostwrit/firewall/* etc/ssh/sshd_config.d/* etc/hello/* etc/passwd etc/group etc/sudoers.d/*
         find etc/systemd/system -name '*hello*' -printf '%p %l\\n' | sort";
    site.web1.sh(script).text().to_owned()
}

/// Makes the host follow the second state from the first, and returns both, with a trace of the way between them.
fn prepare(lab: &Lab<'_>, site: &Site<'_>, confirm_within: &str) -> (String, [String; 2], String) {
    let config = site.web1.read("/etc/hostwrit/config.yaml").expect("the site wrote it");
    site.web1.write("/etc/hostwrit/config.yaml", format!("{config}confirm_within: {confirm_within}\n"));
    for unit in ["hostwrit-revert.service", "hostwrit-firewall.service"] {
        let content = fs::read(project().join("packaging/systemd").join(unit)).expect("the package has it");
        site.web1.write(&format!("/usr/lib/systemd/system/{unit}"), content);
    }
    site.web1.sh("systemctl daemon-reload && systemctl enable hostwrit-revert hostwrit-firewall").ok();
    let first = site.infra.read(WEB1).replace("users:\n", &ADMIN.replace("ALICE_KEY", &lab.keys().ssh_public()));
    order(site, &first, 0, "the first state");
    site.apply().ok();
    let mut states = [host_is(site), String::new()];
    order(site, &first, 1, "the second state");
    site.web1.run(&["sh", "-c", STRACE, "sh", &format!("trace={WRITES},{RESTS}")]).ok().says("ended with 0");
    states[1] = host_is(site);
    assert_ne!(states[0], states[1]);
    (first, states, site.web1.read("/tmp/trace").expect("strace wrote it"))
}

/// Returns the moments to try, in order: calls from the first after the marker is there to the third after it is gone.
fn moments(trace: &str) -> Vec<Call<'_>> {
    let mut calls = calls(trace);
    // Those of the steward's own thread, which begins: it carries out the steps.
    let steward = trace.split_whitespace().next().unwrap_or_default();
    calls.retain(|call| call.line.split_whitespace().next() == Some(steward));
    // What fails changes nothing.
    calls.retain(|call| !call.line.contains(" = -1 "));
    let of_marker = |call: &Call<'_>| call.line.contains("unproven.json\"");
    let is_armed = calls.iter().position(|call| call.name.starts_with("rename") && of_marker(call));
    let is_decided = calls.iter().position(|call| call.name.starts_with("unlink") && of_marker(call));
    let (Some(armed), Some(decided)) = (is_armed, is_decided) else { panic!("nothing was to be proven:\n{trace}") };
    // The first rest in a row of them comes when the steps are done.
    let is_rest = |call: &Call<'_>| call.name == RESTS;
    let done = calls[..decided].windows(10).position(|calls| calls.iter().all(is_rest));
    let done = done.unwrap_or_else(|| panic!("the host did not take its time to prove the change:\n{trace}"));
    assert!(done > armed, "{trace}");
    let (steps, proving) = (&calls[armed + 1..done], &calls[done..decided]);
    assert!(steps.len() > MOMENTS[0] * 2, "a change of all kinds makes more writes than {steps:?}");
    let is_full = std::env::var("HOSTWRIT_HOST_TESTS").is_ok_and(|value| value == "full");
    println!(
        "{} writes while the steps are carried out, {} calls while the host proves itself",
        steps.len(),
        proving.len()
    );
    let grid = |calls: &[Call<'_>], number: usize| if is_full { 1 } else { calls.len().div_ceil(number) };
    // One rest is as good as another.
    let proving = proving.iter().enumerate().filter(|(nth, call)| !is_full || !is_rest(call) || nth % 8 == 0);
    let proving: Vec<Call<'_>> = proving.map(|(_, call)| call.clone()).collect();
    let steps = steps.iter().step_by(grid(steps, MOMENTS[0])).cloned();
    let stride = grid(&proving, MOMENTS[1]);
    steps
        .chain(proving.into_iter().skip(stride / 2).step_by(stride))
        .chain(calls[decided..decided + 3].to_vec())
        .collect()
}

/// Kills an apply of the state at this moment. Returns whether its change waits to be proven then.
fn strike(site: &Site<'_>, moment: &Call<'_>) -> bool {
    let inject = format!("inject={}:signal=KILL:when={}", moment.name, moment.nth);
    // Without -f, for the threads and the courier have counts of their own.
    let strace = STRACE.replace("strace -f", "strace");
    site.web1.run(&["sh", "-c", &strace, "sh", &format!("trace={}", moment.name), &inject]).says("ended with 137");
    site.web1.exists(UNPROVEN)
}

#[track_caller]
fn demand_reached(lab: &Lab<'_>, site: &Site<'_>, at: &str) {
    let reached = log_in(lab, &site.web1, "admin", "sudo -n id -u");
    assert!(reached.code == 0 && reached.text() == "0", "{at}: nobody can log in and become root:\n{reached}");
}

/// Lets the host go on to the new state, after it was cut off at a moment.
fn go_on(site: &Site<'_>, at: &str, new: &str) {
    site.apply().ok();
    assert_eq!(host_is(site), new, "{at}");
    site.demand_convergence();
    assert_eq!(site.web1.sh(LEFT_BEHIND).text(), "", "{at}: something is left behind");
}

/// Cut off anywhere between the first step and the end, the host boots into one of the two states, and follows the next commit.
pub fn cut_in_the_middle(lab: &Lab<'_>) {
    let mut site = Site::on(lab, lab.boot_with_disk("web1"));
    let (first, states, trace) = prepare(lab, &site, "10m");
    let moments = moments(&trace);
    let (mut under_way, mut kept) = (0, 0);
    for (round, moment) in moments.iter().enumerate() {
        let (old, new) = ((round + 1) % 2, round % 2);
        let at = format!("the power was cut at {} number {}: {}", moment.name, moment.nth, moment.line);
        println!("{at}");
        order(&site, &first, new, &format!("round {round}"));
        // What was there before counts as durable; from here on that is hostwrit's own care.
        site.web1.run(&["sync", "--file-system", "/etc"]).ok();
        let is_under_way = strike(&site, moment);
        site.web1.cut_power();

        demand_reached(lab, &site, &at);
        assert!(!site.web1.exists(UNPROVEN), "{at}: the boot has put nothing back");
        site.hostwrit(&["audit", "verify"]).ok();
        let now = host_is(&site);
        let is_new = now == states[new];
        assert!(is_new || now == states[old], "{at}: neither of the two states:\n{now}\n\n{}", states[old]);
        assert!(!(is_under_way && is_new), "{at}: a change that is not proven is still there");
        under_way += usize::from(is_under_way);
        kept += usize::from(is_new);

        // A commit that was put back is held; the next one counts.
        order(&site, &first, new, &format!("round {round}, once more"));
        go_on(&site, &at, &states[new]);
    }
    println!("{} power cuts: {under_way} before the proof, {kept} after it", moments.len());
    assert!(under_way > moments.len() / 2 && kept > 0, "{under_way} cuts came in the middle, {kept} after the proof");
}

/// Killed anywhere between the first step and the end, the host is in one of the two states again: by the timer, if nobody starts
/// hostwrit before, or else by the next start, which tries the commit once more.
pub fn killed_in_the_middle(lab: &Lab<'_>) {
    let site = Site::new(lab);
    let (first, states, trace) = prepare(lab, &site, "20s");
    let moments = moments(&trace);
    let (mut under_way, mut kept) = (0, 0);
    for (round, moment) in moments.iter().enumerate() {
        let (old, new) = ((round + 1) % 2, round % 2);
        let is_started_again = round / 2 % 2 == 1;
        let then = if is_started_again { "and started again" } else { "and left alone" };
        let at = format!("killed at {} number {} {then}: {}", moment.name, moment.nth, moment.line);
        println!("{at}");
        order(&site, &first, new, &format!("round {round}"));
        let is_under_way = strike(&site, moment);
        under_way += usize::from(is_under_way);
        // Between the first step and the way back, too, whoever has come in can come in.
        demand_reached(lab, &site, &at);
        if is_started_again {
            // What is proven stays, whoever is killed after that.
            assert!(is_under_way || host_is(&site) == states[new], "{at}: a change that was proven is gone");
            kept += usize::from(!is_under_way);
            go_on(&site, &at, &states[new]);
            continue;
        }
        // The timer is there before the first step is, and a moment after the word that the change is not proven.
        let timers = site.web1.look(&["systemctl", "list-timers", "--all", "--no-legend", "hostwrit-revert-*"]);
        if !timers.is_empty() {
            within(LONG, "the timer puts the change back", || !site.web1.exists(UNPROVEN));
        }
        demand_reached(lab, &site, &at);
        let now = host_is(&site);
        let is_new = now == states[new];
        assert!(is_new || now == states[old], "{at}: neither of the two states:\n{now}\n\n{}", states[old]);
        assert!(!(is_under_way && is_new), "{at}: a change that is not proven is still there");
        kept += usize::from(is_new);
        site.hostwrit(&["audit", "verify"]).ok();
        order(&site, &first, new, &format!("round {round}, once more"));
        go_on(&site, &at, &states[new]);
    }
    println!("{} kills: {under_way} before the proof; {kept} changes were there to stay", moments.len());
    assert!(under_way > moments.len() / 2 && kept > 0, "{under_way} kills came in the middle, {kept} after the proof");
}
