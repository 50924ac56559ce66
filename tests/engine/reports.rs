// SPDX-License-Identifier: Apache-2.0
//! What cycles say to other systems: the right kinds, once, with the refused commit by name, and no secret.

use std::sync::atomic::AtomicBool;

use hostwrit::engine::status::Status;
use hostwrit::engine::{Cycle, reports};
use hostwrit::report::{Entry, Kind, Severity};

use super::site::Site;

const HASH: &str = "$6$abcdefgh$VgJt/5Zbz0VJGcsvCDpVRYPkSvu1m0OxvF9ZXmLCU1cmEWBNkRxCWvHGOUe7sCpbLtYcoKGjvgjF/1a7Sx2aH1";

fn cycle(site: &Site) -> reports::Told {
    let (config, host, stop) = (site.config(), site.open(), AtomicBool::new(false));
    let source = site.source();
    let cycle = Cycle::begin(&config, &host, &source, &stop).unwrap().apply(&mut |_, _| {});
    reports::of_cycle(&config, &cycle, &Status::of(&config, &cycle, &host))
}

fn of_kind(told: &reports::Told, kind: Kind) -> Vec<&Entry> {
    told.entries.iter().filter(|entry| entry.kind == kind).collect()
}

#[test]
fn a_change_by_commit_a_repair_and_a_refusal_are_told_apart() {
    let site = Site::new(&[("hosts/web1.yaml", "files:\n  /etc/motd: {content: \"hi\\n\"}\n")]);
    let told = cycle(&site);
    let [changed] = of_kind(&told, Kind::Changed)[..] else { panic!("{told:?}") };
    assert!(changed.message.starts_with("1 of 1 changes that "), "{}", changed.message);
    assert_eq!(changed.fields["objects"], serde_json::json!(["file:/etc/motd"]));
    assert_eq!(changed.fields["signers"][0]["principal"], "alice");
    let [sum] = of_kind(&told, Kind::Cycle)[..] else { panic!("{told:?}") };
    assert_eq!((sum.code.as_deref(), sum.severity), (Some("converged"), Severity::Info));
    assert_eq!(told.entries.len(), 2);
    let good = sum.commit.clone();

    site.put("/etc/motd", "drift\n");
    let told = cycle(&site);
    let [drift] = of_kind(&told, Kind::Drift)[..] else { panic!("{told:?}") };
    assert_eq!(drift.object.as_ref().unwrap().to_string(), "file:/etc/motd");
    assert!(drift.message.contains("was put back: "), "{}", drift.message);
    assert_eq!(drift.fields["action"], "alter");
    assert!(!drift.fields["changes"].as_array().unwrap().is_empty());

    site.repo.write("hosts/web1.yaml", "files: {}\n");
    let bad = site.repo.commit("Change", None);
    let told = cycle(&site);
    let [refused] = of_kind(&told, Kind::Refused)[..] else { panic!("{told:?}") };
    assert_eq!(refused.commit, Some(bad.to_string()));
    let [sum] = of_kind(&told, Kind::Cycle)[..] else { panic!("{told:?}") };
    assert_eq!((sum.code.as_deref(), &sum.commit), (Some("last-good"), &good));
    assert!(told.whole);
}

#[test]
fn a_remote_that_is_gone_hinders_and_a_host_without_a_commit_was_not_looked_at() {
    let site = Site::new(&[("hosts/web1.yaml", "files: {}\n")]);
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    let gone = config.replace(&site.repo.path().display().to_string(), "/nowhere.git");
    site.put("/etc/hostwrit/config.yaml", &gone);
    let told = cycle(&site);
    assert!(!told.whole);
    let [hindered] = of_kind(&told, Kind::Hindered)[..] else { panic!("{told:?}") };
    assert_eq!(hindered.code.as_deref(), Some("fetch-failed"));
    site.put("/etc/hostwrit/config.yaml", &config);
    site.converge();
    site.put("/etc/hostwrit/config.yaml", &gone);
    let told = cycle(&site);
    assert!(told.whole);
    assert_eq!(of_kind(&told, Kind::Hindered).len(), 1);
}

#[test]
fn an_object_that_is_only_observed_and_differs_is_an_alarm() {
    let site = Site::new(&[("hosts/web1.yaml", "files:\n  /etc/motd: {content: \"hi\\n\", observe: true}\n")]);
    let told = cycle(&site);
    let [alarm] = of_kind(&told, Kind::Alarm)[..] else { panic!("{told:?}") };
    assert_eq!((alarm.code.as_deref(), alarm.severity), (Some("differs"), Severity::Warning));
    assert_eq!(alarm.object.as_ref().unwrap().to_string(), "file:/etc/motd");
}

#[test]
fn a_password_is_in_no_entry_of_a_cycle_or_of_the_log() {
    let user = |hash: &str| format!("users:\n  deploy: {{home: /home/deploy, password: {{hash: \"{hash}\"}}}}\n");
    let site = Site::new(&[("hosts/web1.yaml", &user(HASH))]);
    let mut told = cycle(&site).entries;
    let shadow = site.get("/etc/shadow").unwrap();
    assert!(shadow.contains(HASH), "{shadow}");
    site.put("/etc/shadow", &shadow.replace(HASH, "$6$otherotherother"));
    told.extend(cycle(&site).entries);
    assert!(told.iter().any(|entry| entry.kind == Kind::Drift), "{told:?}");
    let config = site.config();
    told.extend(site.log().lines().map(|line| reports::of_audit(&config, line).unwrap()));
    let text = serde_json::to_string(&told).unwrap();
    assert!(text.contains("password") && !text.contains("$6$"), "{text}");
}

#[test]
fn every_line_of_the_audit_log_is_exported_to_the_byte() {
    let site = Site::new(&[("hosts/web1.yaml", "files:\n  /etc/motd: {content: \"hi\\n\"}\n")]);
    site.converge();
    let config = site.config();
    let entries: Vec<Entry> = site.log().lines().map(|line| reports::of_audit(&config, line).unwrap()).collect();
    let lines: Vec<&str> = entries.iter().map(|entry| entry.fields["line"].as_str().unwrap()).collect();
    assert_eq!(lines.join("\n") + "\n", site.log());
    let intent = entries.iter().find(|entry| entry.code.as_deref() == Some("intent")).unwrap();
    assert_eq!(intent.object.as_ref().unwrap().to_string(), "file:/etc/motd");
    assert_eq!(intent.message, format!("audit log {}: intent: file:/etc/motd", intent.fields["seq"]));
    assert!(reports::of_audit(&config, "no line").is_none());
}
