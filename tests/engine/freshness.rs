// SPDX-License-Identifier: Apache-2.0
//! A host's own list of revocations, its clock, and how old the newest statement may be.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::site::Site;

const CONFIG: &str = "/etc/hostwrit/config.yaml";
const STATE: &str = "/var/lib/hostwrit/state.json";
const REVOKED: &str = "/etc/hostwrit/revoked.yaml";
const EMPTY: &str = "format: 1\nrevoked: []\n";

fn motd(text: &str) -> String {
    format!("files:\n  /etc/motd: {{content: \"{text}\\n\"}}\n")
}

fn converged() -> Site {
    let site = Site::new(&[("hosts/web1.yaml", &motd("good"))]);
    site.converge();
    site
}

/// Demands that the tip is not followed for this reason, and that drift is repaired all the same.
fn keeps_to_the_last_good_state(site: &Site, code: &str) {
    site.host_file(&motd("next"));
    site.put("/etc/motd", "drift\n");
    for _ in 0..2 {
        let applied = site.run(&["apply"]);
        assert_eq!(applied.code, 4, "{applied:?}");
    }
    assert_eq!(site.get("/etc/motd").unwrap(), "good\n");
    let status = site.run(&["status"]).stdout;
    assert!(status.contains(&format!("[{code}]")), "{status}");
    assert_eq!(site.events("refused"), 1, "it is recorded once");
}

#[test]
fn a_list_of_revocations_that_is_gone_stops_all_that_is_new() {
    let site = converged();
    site.put(CONFIG, &format!("{}  revocations: {REVOKED}\n", site.get(CONFIG).unwrap()));
    site.put(REVOKED, EMPTY);
    site.converge();
    std::fs::remove_file(site.path(REVOKED)).unwrap();
    let planned = site.run(&["plan"]);
    assert_eq!(planned.code, 4, "a host that agrees notices it too: {planned:?}");
    keeps_to_the_last_good_state(&site, "revocations-unreadable");
    site.put(REVOKED, EMPTY);
    site.converge();
    assert_eq!(site.get("/etc/motd").unwrap(), "next\n");
}

/// Lets the host remember that a trusted key has signed for a time so far from now.
fn remember_ahead(site: &Site, ahead: Duration) {
    let newest = (SystemTime::now() + ahead).duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut state: serde_json::Value = serde_json::from_str(&site.get(STATE).unwrap()).unwrap();
    state["freshness"]["newest"] = newest.into();
    site.put(STATE, &state.to_string());
}

#[test]
fn a_clock_that_is_days_behind_stops_all_that_is_new() {
    let site = converged();
    remember_ahead(&site, Duration::from_secs(2 * 24 * 3600));
    assert_eq!(site.run(&["plan"]).code, 4, "a host that agrees notices it too");
    keeps_to_the_last_good_state(&site, "clock-suspect");
}

#[test]
fn a_clock_that_is_hours_behind_is_good_enough() {
    let site = converged();
    remember_ahead(&site, Duration::from_secs(20 * 3600));
    site.host_file(&motd("next"));
    site.converge();
    assert_eq!(site.get("/etc/motd").unwrap(), "next\n");
}

#[test]
fn the_time_of_the_accepted_commit_is_remembered() {
    let site = converged();
    let state: serde_json::Value = serde_json::from_str(&site.get(STATE).unwrap()).unwrap();
    let newest = state["freshness"]["newest"].as_u64().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now - newest < 600, "{newest} is not of these minutes");
}
