// SPDX-License-Identifier: Apache-2.0
//! A tip that does not count, and a remote that is gone: the last good state stays enforced.

use std::process::Stdio;

use hostwrit::engine::status::Status;

use super::announce::{eventually, start};
use super::site::Site;

const HOST: &str = "files:\n  /etc/motd: {content: \"good\\n\"}\n";
const NEXT: &str = "files:\n  /etc/motd: {content: \"next\\n\"}\n";

fn converged() -> Site {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    site.converge();
    site
}

#[test]
fn a_refused_tip_leaves_the_last_good_state_enforced_and_drift_is_repaired_in_the_same_cycle() {
    let site = converged();
    site.repo.write("hosts/web1.yaml", NEXT);
    site.repo.commit("by mallory", Some(&site.keys.mallory));
    site.put("/etc/motd", "drift\n");
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 4, "{applied:?}");
    assert_eq!(site.get("/etc/motd").unwrap(), "good\n");
    assert!(site.run(&["status"]).stdout.contains("[unknown-signer]"));
    assert_eq!(site.run(&["plan"]).code, 4);
}

#[test]
fn a_refusal_is_logged_once_and_not_at_every_cycle() {
    let site = converged();
    site.repo.commit("unsigned", None);
    for _ in 0..3 {
        assert_eq!(site.run(&["apply"]).code, 4);
    }
    assert_eq!(site.events("refused"), 1);
    // While the remote is gone nothing is known of the tip, so its return is no news.
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    site.put("/etc/hostwrit/config.yaml", &config.replace("remote: /", "remote: /gone/"));
    assert_eq!(site.run(&["apply"]).code, 1);
    site.put("/etc/hostwrit/config.yaml", &config);
    assert_eq!(site.run(&["apply"]).code, 4);
    assert_eq!(site.events("refused"), 1);
    // Another bad tip is.
    site.repo.commit("unsigned too", None);
    assert_eq!(site.run(&["apply"]).code, 4);
    assert_eq!(site.events("refused"), 1, "the first bad commit is the same one");
    assert_eq!(site.run(&["audit", "verify"]).code, 0);
}

#[test]
fn a_tip_refused_before_any_was_accepted_is_logged_and_changes_nothing() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    site.repo.commit("unsigned", None);
    let before = site.listing();
    for _ in 0..2 {
        let applied = site.run(&["apply"]);
        assert_eq!(applied.code, 4, "{applied:?}");
    }
    assert_eq!(site.events("refused"), 1);
    assert_eq!(site.listing(), before);
}

#[test]
fn an_unsound_tip_leaves_the_last_good_state_enforced() {
    let site = converged();
    site.host_file("files:\n  /etc/motd: {contents: x}\n");
    site.put("/etc/motd", "drift\n");
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 5, "{applied:?}");
    assert!(applied.stderr.contains("hosts/web1.yaml:2"), "{applied:?}");
    assert_eq!(site.get("/etc/motd").unwrap(), "good\n");
    assert_eq!(site.events("refused"), 1);
    site.host_file(NEXT);
    site.converge();
    assert_eq!(site.get("/etc/motd").unwrap(), "next\n");
}

#[test]
fn drift_is_repaired_while_the_remote_is_gone() {
    let site = converged();
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    site.put("/etc/hostwrit/config.yaml", &config.replace("remote: /", "remote: /gone/"));
    site.put("/etc/motd", "drift\n");
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 1, "{applied:?}");
    assert_eq!(site.get("/etc/motd").unwrap(), "good\n");
    assert!(site.run(&["status"]).stdout.contains("[fetch-failed]"));
    site.put("/etc/hostwrit/config.yaml", &config);
    site.converge();
}

#[test]
fn a_remote_that_goes_back_is_refused() {
    let site = converged();
    let old = site.repo.id("HEAD");
    site.host_file(NEXT);
    site.converge();
    site.repo.git(&["reset", "--quiet", "--hard", &old.to_string()]);
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 4, "{applied:?}");
    assert_eq!(site.get("/etc/motd").unwrap(), "next\n");
}

#[test]
fn why_the_remote_is_not_reached_is_told_anew_when_it_has_changed_and_without_a_cycle() {
    let site = converged();
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    let gone = site.root().with_file_name("gone");
    let elsewhere = config.replace(site.repo.path().to_str().unwrap(), gone.to_str().unwrap());
    site.put("/etc/hostwrit/config.yaml", &format!("{elsewhere}interval: 1s\nsplay: 0s\nfull_check: 1h\n"));
    let _daemon = start(&site, &["daemon"], Stdio::null());
    let status = || Status::read(&site.open()).unwrap().filter(|status| !status.problems.is_empty());
    let told = || status().map(|status| status.problems[0].message.clone());
    eventually("the remote is not there", || {
        told().is_some_and(|message| message.contains("No such file or directory"))
    });
    let first = status().unwrap();
    assert_eq!((first.problems[0].code.as_str(), first.problems.len()), ("fetch-failed", 1));
    std::fs::create_dir_all(gone.join(".git")).unwrap();
    eventually("it is there and is no repository", || {
        told().is_some_and(|message| message != first.problems[0].message)
    });
    let second = status().unwrap();
    assert_eq!(
        (second.time, second.problems.len(), second.health),
        (first.time, 1, first.health),
        "no cycle has ended"
    );
}
