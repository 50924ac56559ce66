// SPDX-License-Identifier: Apache-2.0
//! Maintenance that a signed commit declares, on a host under steward and courier.

use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use serde_json::Value;

use crate::fleet::start_units;
use crate::infra::{FLEET, REF, Signer};
use crate::lab::Lab;
use crate::machine::{eventually, within};
use crate::site::{Site, WEB1, configure};

const TEXTFILE: &str = "/var/lib/metrics/hostwrit.prom";

/// How long the maintenance lasts, from its commit on: all that it holds back must be seen in this time on a busy machine.
const LENGTH: Duration = Duration::from_secs(90);

/// Mallory edits files; what keeps hosts from changing is Alice's.
const RULES: &str = "roles: {owners: [alice], editors: [alice, mallory]}
rules:
  - {change: [\"maintenance:*\"], needs: {role: owners}}
  - {change: [\"file:*\"], needs: {role: editors}}
  - {change: [\"*\"], needs: {role: owners}}
";

/// It holds back commits and drift but for what is excepted, says so everywhere, ends by itself, and is not everybody's.
pub fn leaves_the_host_alone(lab: &Lab<'_>) {
    let site = Site::new(lab);
    let web1 = &site.web1;
    site.configure_with(&format!("metrics: {{textfile: {TEXTFILE}}}\n"));
    web1.sh(&format!("mkdir -p $(dirname {TEXTFILE})")).ok();
    admit_mallory(&site);
    start_units(web1);
    eventually("the first cycle ends", || site.status()["health"] == "converged");

    // Who may only edit files can neither leave the host alone nor hide that he tried.
    let host_file = site.infra.read(WEB1);
    site.infra.write(WEB1, &format!("{host_file}{}", maintenance("an update nobody shall get", LENGTH)));
    let before = site.infra.commit("nothing to see", Signer::Mallory);
    site.infra.push();
    eventually("it is refused", || has_problem(&site.status(), "not-authorized", "maintenance:host"));
    web1.sh("echo drift >/etc/motd").ok();
    eventually("the host is kept as before", || site.motd() == "The first order.");
    assert_eq!(site.status().get("maintenance"), None);
    assert!(!page(&site).contains("hostwrit_held{by=\"maintenance\"} 1"));
    site.infra.reset(&format!("{before}~1"));

    // The commit is accepted, and makes nothing of itself but what it excepts.
    let begun = SystemTime::now();
    site.infra.write(WEB1, &format!("{host_file}{}", maintenance("ticket 4711: the disk is moved", LENGTH)));
    site.order_motd("The second order.");
    site.infra.publish("maintenance", Signer::Alice);
    eventually("it begins", || site.status()["maintenance"]["reason"] == "ticket 4711: the disk is moved");
    web1.sh("systemctl stop hello; echo drift >>/etc/motd; rm /etc/hello/current").ok();
    eventually("what is excepted is put right", || web1.run(&["systemctl", "is-active", "hello"]).text() == "active");
    let left = || left_alone(&site.status());
    eventually("what is left alone is told", || left() == ["file:/etc/hello/current", "file:/etc/motd"]);
    // What needs a thing that is left alone waits with it.
    web1.sh("systemctl stop hello; chmod 0666 /etc/hello/hello.conf").ok();
    eventually("the service waits for its file", || left().contains(&"service:hello".to_owned()));
    assert_eq!(web1.run(&["systemctl", "is-active", "hello"]).text(), "inactive");
    assert_eq!(site.status()["health"], "held");
    eventually("the metrics tell", || page(&site).contains("hostwrit_held{by=\"maintenance\"} 1"));
    site.hostwrit(&["status"]).ok().says("web1 is in maintenance, and something is held").says("ticket 4711");
    site.plan().exits(6).says("file:/etc/motd");
    site.hostwrit(&["apply"]).exits(6).says("nothing but service:hello is changed before that");
    assert_eq!(site.motd(), "The first order.\ndrift");
    assert_eq!(web1.run(&["stat", "-c", "%a", "/etc/hello/hello.conf"]).text(), "666");
    let took = begun.elapsed().unwrap_or_default();
    assert!(took < LENGTH, "this machine took {took:?}, in which the maintenance ended: nothing was shown");
    assert_eq!(events(&site, "maintenance-ended"), 0);

    // Nobody ends it.
    within(2 * LENGTH, "it ends by itself", || site.motd() == "The second order.");
    eventually("all is as declared", || site.status()["health"] == "converged");
    assert_eq!(web1.run(&["systemctl", "is-active", "hello"]).text(), "active");
    assert!(web1.exists("/etc/hello/current"));
    assert_eq!(web1.run(&["stat", "-c", "%a", "/etc/hello/hello.conf"]).text(), "640");
    assert_eq!(site.status().get("maintenance"), None);
    eventually("the metrics tell", || page(&site).contains("hostwrit_held{by=\"maintenance\"} 0"));
    assert_eq!((events(&site, "maintenance-begun"), events(&site, "maintenance-ended")), (1, 1));
    site.demand_convergence();
}

/// A service that may be in somebody else's hands is stopped and stays so, and all else is left for whoever looks into it.
pub fn contains_a_break_in(lab: &Lab<'_>) {
    let site = Site::new(lab);
    let web1 = &site.web1;
    configure(web1, &site.infra, site.remote.url(), "1s");
    start_units(web1);
    eventually("the service runs", || is(&site, "is-active", "active") && site.status()["health"] == "converged");
    let host_file =
        site.infra.read(WEB1).replace("enabled: true", "enabled: false").replace("running: true", "running: false");
    site.infra.write(WEB1, &format!("{host_file}{}", maintenance("incident 12", 10 * LENGTH)));
    site.infra.publish("contain", Signer::Alice);
    eventually("it is stopped", || is(&site, "is-active", "inactive") && is(&site, "is-enabled", "disabled"));

    web1.sh("echo evidence >/etc/motd; usermod -aG sudo deploy; systemctl start hello").ok();
    eventually("it is stopped again", || is(&site, "is-active", "inactive"));
    let evidence = ["file:/etc/motd", "user:deploy"];
    eventually("what the intruder did is listed", || left_alone(&site.status()) == evidence);
    assert_eq!(site.motd(), "evidence");
    assert!(web1.run(&["id", "-nG", "deploy"]).text().contains("sudo"));
    site.hostwrit(&["audit", "verify"]).ok();
}

/// Whether systemctl says this of the service.
fn is(site: &Site<'_>, question: &str, answer: &str) -> bool {
    site.web1.run(&["systemctl", question, "hello"]).text() == answer
}

fn admit_mallory(site: &Site<'_>) {
    site.infra.write("policy/keys/mallory.asc", &site.infra.public_key(Signer::Mallory));
    site.infra.write(
        "policy/policy.yaml",
        &format!(
            "format: 1\nversion: 2\nfleet: {FLEET}\nref: {REF}\nprincipals:\n  alice: {{openpgp: [keys/alice.asc]}}\n  \
             mallory: {{openpgp: [keys/mallory.asc]}}\n{RULES}"
        ),
    );
    site.infra.publish("Mallory edits files", Signer::Alice);
}

/// Maintenance that began a while ago and excepts the service.
fn maintenance(reason: &str, length: Duration) -> String {
    let now = SystemTime::now();
    let (from, until) = (format_rfc3339_seconds(now - length), format_rfc3339_seconds(now + length));
    format!("maintenance: {{from: {from}, until: {until}, reason: \"{reason}\", except: [service:hello]}}\n")
}

fn has_problem(status: &Value, code: &str, text: &str) -> bool {
    let mut problems = status["problems"].as_array().into_iter().flatten();
    problems.any(|one| one["code"] == code && one["message"].as_str().is_some_and(|message| message.contains(text)))
}

fn left_alone(status: &Value) -> Vec<String> {
    let left = status["left_alone"].as_array().into_iter().flatten();
    let mut left: Vec<String> = left.filter_map(|object| object.as_str().map(str::to_owned)).collect();
    left.sort();
    left
}

fn page(site: &Site<'_>) -> String {
    site.web1.read(TEXTFILE).unwrap_or_default()
}

/// Returns how often the audit log tells of an event.
fn events(site: &Site<'_>, event: &str) -> usize {
    let log = site.web1.read("/var/log/hostwrit/audit/log.jsonl").unwrap_or_default();
    log.matches(&format!("\"event\":\"{event}\"")).count()
}
