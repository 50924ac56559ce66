// SPDX-License-Identifier: Apache-2.0
//! The power goes in the middle of a change that must be proven: the host comes back reachable, in the old or the new state.

use std::fs;

use crate::git_server::log_in;
use crate::infra::Signer;
use crate::lab::Lab;
use crate::site::{Site, WEB1, project};

use super::faults::{Call, LEFT_BEHIND, STRACE, WRITES, calls};

const UNPROVEN: &str = "/var/lib/hostwrit/confirm/unproven.json";

/// How many moments are tried between the first step and the proof.
const MOMENTS: usize = 6;

/// What the two states of the host are told apart by: port, shell of the user, whether the service starts at boot, and a setting.
const STATES: [[&str; 4]; 2] =
    [["80/tcp", "/bin/bash", "enabled: true", "yes"], ["81/tcp", "/bin/sh", "enabled: false", "no"]];

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
         sha256sum var/lib/hostwrit/firewall/* etc/ssh/sshd_config.d/* etc/hello/* etc/passwd etc/group
         find etc/systemd/system -name '*hello*' -printf '%p %l\\n' | sort";
    site.web1.sh(script).text().to_owned()
}

/// Returns the moments to try, in order: calls from the first after the marker is there to the third after it is gone.
fn moments(trace: &str) -> Vec<Call<'_>> {
    let mut calls = calls(trace);
    // Those of the steward's own thread, which begins: it carries out the steps.
    let steward = trace.split_whitespace().next().unwrap_or_default();
    calls.retain(|call| call.line.split_whitespace().next() == Some(steward));
    let of_marker = |call: &Call<'_>| call.line.contains("unproven.json\"");
    let is_armed = calls.iter().position(|call| call.name.starts_with("rename") && of_marker(call));
    let is_decided = calls.iter().position(|call| call.name.starts_with("unlink") && of_marker(call));
    let (Some(armed), Some(decided)) = (is_armed, is_decided) else { panic!("nothing was to be proven:\n{trace}") };
    let under_way = &calls[armed + 1..decided];
    assert!(under_way.len() > MOMENTS * 2, "a change of all kinds makes more writes than {under_way:?}");
    let stride = under_way.len().div_ceil(MOMENTS);
    under_way.iter().step_by(stride).chain(&calls[decided..decided + 3]).cloned().collect()
}

/// Cut off anywhere between the first step and the end, the host boots into one of the two states, and follows the next commit.
pub fn cut_in_the_middle(lab: &Lab<'_>) {
    let mut site = Site::on(lab, lab.boot_with_disk("web1"));
    let config = site.web1.read("/etc/hostwrit/config.yaml").expect("the site wrote it");
    site.web1.write("/etc/hostwrit/config.yaml", format!("{config}confirm_within: 10m\n"));
    for unit in ["hostwrit-revert.service", "hostwrit-firewall.service"] {
        let content = fs::read(project().join("packaging/systemd").join(unit)).expect("the package has it");
        site.web1.write(&format!("/usr/lib/systemd/system/{unit}"), content);
    }
    site.web1.sh("systemctl daemon-reload && systemctl enable hostwrit-revert hostwrit-firewall").ok();
    let first = site.infra.read(WEB1);
    order(&site, &first, 0, "the first state");
    site.apply().ok();
    let mut states = [host_is(&site), String::new()];
    order(&site, &first, 1, "the second state");
    site.web1.run(&["sh", "-c", STRACE, "sh", &format!("trace={WRITES}")]).ok().says("ended with 0");
    states[1] = host_is(&site);
    assert_ne!(states[0], states[1]);
    let trace = site.web1.read("/tmp/trace").expect("strace wrote it");

    let (mut under_way, mut kept) = (0, 0);
    for (round, moment) in moments(&trace).iter().enumerate() {
        let (old, new) = ((round + 1) % 2, round % 2);
        let at = format!("the power was cut at {} number {}: {}", moment.name, moment.nth, moment.line);
        println!("{at}");
        order(&site, &first, new, &format!("round {round}"));
        // What was there before counts as durable; from here on that is hostwrit's own care.
        site.web1.run(&["sync", "--file-system", "/etc"]).ok();
        let inject = format!("inject={}:signal=KILL:when={}", moment.name, moment.nth);
        // Without -f, for the threads and the courier have counts of their own.
        let strace = STRACE.replace("strace -f", "strace");
        site.web1.run(&["sh", "-c", &strace, "sh", &format!("trace={}", moment.name), &inject]).says("ended with 137");
        let is_under_way = site.web1.exists(UNPROVEN);
        site.web1.cut_power();

        let reached = log_in(lab, &site.web1, "deploy", "echo reached");
        assert!(reached.code == 0 && reached.text() == "reached", "{at}: nobody can log in:\n{reached}");
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
        site.apply().ok();
        assert_eq!(host_is(&site), states[new], "{at}");
        site.demand_convergence();
        assert_eq!(site.web1.sh(LEFT_BEHIND).text(), "", "{at}: something is left behind");
    }
    assert!(under_way > MOMENTS / 2 && kept > 0, "{under_way} cuts came in the middle, {kept} after the proof");
}
