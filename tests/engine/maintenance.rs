// SPDX-License-Identifier: Apache-2.0
//! Maintenance that the repo declares: the host is left alone but for what is excepted, and follows what ends it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use humantime::format_rfc3339_seconds;

use crate::fixture::FLEET;
use crate::site::Site;

const FILES: &str = "files:\n  /etc/motd: {content: \"good\\n\"}\n  /etc/kept: {content: \"kept\\n\"}\n";

pub(super) const HOUR: i64 = 60 * 60;

/// Maintenance from and until so many seconds from now.
pub(super) fn maintenance(from: i64, until: i64, except: &str) -> String {
    let at = |seconds: i64| {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let now = SystemTime::now();
        format_rfc3339_seconds(if seconds < 0 { now - distance } else { now + distance })
    };
    format!("maintenance: {{from: {}, until: {}, reason: ticket 4711, except: [{except}]}}\n", at(from), at(until))
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn status(site: &Site) -> serde_json::Value {
    serde_json::from_str(&site.get("/run/hostwrit/status.json").unwrap()).unwrap()
}

#[test]
fn it_leaves_all_but_the_excepted_alone_and_a_commit_that_ends_it_is_followed() {
    let site = Site::new(&[("hosts/web1.yaml", FILES)]);
    site.converge();
    let changed = FILES.replace("good", "better").replace("kept", "still kept");
    let begun = site.host_file(&format!("{changed}{}", maintenance(-HOUR, HOUR, "file:/etc/still kept")));
    // The commit that brings it is accepted, and does of itself only what it excepts.
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 6, "{applied:?}");
    assert!(applied.stderr.contains("nothing but file:/etc/still kept is changed before that"), "{applied:?}");
    assert_eq!(site.get("/etc/hostwrit/pin").unwrap().split_whitespace().last(), Some(begun.to_string().as_str()));
    let seen = (site.get("/etc/motd").unwrap(), site.get("/etc/still kept").unwrap(), site.get("/etc/kept").unwrap());
    assert_eq!((seen.0.as_str(), seen.1.as_str(), seen.2.as_str()), ("good\n", "still kept\n", "kept\n"));

    let status = status(&site);
    assert_eq!((status["health"].as_str(), status["held"].as_u64()), (Some("held"), Some(2)), "{status}");
    assert_eq!(status["left_alone"], serde_json::json!(["file:/etc/motd", "file:/etc/kept"]), "{status}");
    assert_eq!(status["maintenance"]["reason"], "ticket 4711", "{status}");

    // Drift of the excepted is put right, other drift is not.
    site.put("/etc/motd", "drift\n");
    site.put("/etc/still kept", "drift\n");
    let plan = site.run(&["plan"]);
    assert_eq!(plan.code, 3, "{plan:?}");
    assert!(plan.stdout.contains("Held back by maintenance until"), "{plan:?}");
    assert_eq!(site.run(&["apply"]).code, 6);
    assert_eq!(site.run(&["plan"]).code, 6);
    assert_eq!((site.get("/etc/motd").unwrap().as_str(), site.events("converged")), ("drift\n", 1));
    assert_eq!((site.events("maintenance-begun"), site.events("maintenance-ended")), (1, 0));

    site.host_file(&changed);
    site.converge();
    assert_eq!((site.get("/etc/motd").unwrap().as_str(), site.get("/etc/kept")), ("better\n", None));
    assert_eq!((site.events("maintenance-begun"), site.events("maintenance-ended")), (1, 1));
    // What was excepted and made is hostwrit's own all the same.
    site.host_file("files: {}\n");
    site.converge();
    assert_eq!(site.get("/etc/still kept"), None);
}

/// Applies until the log tells of the event.
fn apply_until(site: &Site, event: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    while site.events(event) == 0 {
        assert!(Instant::now() < until, "no {event} within a minute");
        assert_eq!(site.run(&["apply"]).code, 0);
    }
}

#[test]
fn it_begins_at_its_time_and_an_agreeing_host_says_so() {
    let site = Site::new(&[("hosts/web1.yaml", FILES)]);
    site.host_file(&format!("{FILES}{}", maintenance(HOUR, 2 * HOUR, "")));
    site.converge();
    site.host_file(&format!("{FILES}{}", maintenance(-2 * HOUR, -HOUR, "")));
    site.converge();
    assert_eq!((site.events("maintenance-begun"), status(&site).get("maintenance")), (0, None));
    site.host_file(&format!("{FILES}{}", maintenance(3, HOUR, "")));
    apply_until(&site, "maintenance-begun");
    // Once, and for as long as it is in force.
    assert_eq!(site.run(&["apply"]).code, 0);
    assert_eq!(status(&site)["maintenance"]["reason"], "ticket 4711");
    assert_eq!((site.events("maintenance-begun"), status(&site)["health"].as_str()), (1, Some("converged")));
}

#[test]
fn it_ends_by_itself() {
    let site = Site::new(&[("hosts/web1.yaml", FILES)]);
    site.converge();
    // On a busy machine a short one may be over before it is seen.
    for length in [4, 16, 64] {
        site.host_file(&format!("{FILES}{}", maintenance(-HOUR, length, "")));
        site.put("/etc/motd", "drift\n");
        site.run(&["apply"]);
        if site.events("maintenance-begun") == 1 {
            break;
        }
    }
    let until = Instant::now() + Duration::from_secs(120);
    while site.run(&["apply"]).code == 6 {
        assert!(Instant::now() < until, "it does not end");
    }
    site.agrees();
    assert_eq!(site.get("/etc/motd").unwrap(), "good\n");
    assert_eq!((site.events("maintenance-begun"), site.events("maintenance-ended")), (1, 1));
}

#[test]
fn a_service_that_is_excepted_is_stopped_and_all_else_is_left() {
    let site = Site::new(&[("hosts/web1.yaml", FILES)]);
    site.put(
        "/usr/lib/systemd/system/backend.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
    );
    let with = |state: &str| format!("{FILES}services:\n  backend: {{enabled: {state}}}\n");
    site.host_file(&with("true"));
    site.converge();
    let link = site.path("/etc/systemd/system/multi-user.target.wants/backend.service");
    assert!(link.is_symlink());
    site.put("/etc/motd", "evidence\n");
    site.host_file(&format!("{}{}", with("false"), maintenance(-HOUR, HOUR, "service:backend")));
    assert_eq!(site.run(&["apply"]).code, 6);
    assert_eq!((link.is_symlink(), site.get("/etc/motd").unwrap().as_str()), (false, "evidence\n"));
}

#[test]
fn the_daemon_keeps_the_excepted_and_tells_what_it_leaves() {
    let site = Site::new(&[("hosts/web1.yaml", FILES)]);
    site.host_file(&format!("{FILES}{}", maintenance(-HOUR, HOUR, "file:/etc/kept")));
    assert_eq!(site.run(&["apply"]).code, 6, "nothing but the excepted is made");
    site.put("/etc/motd", "good\n");
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    site.put("/etc/hostwrit/config.yaml", &format!("interval: 1h\nsplay: 0s\n{config}"));
    std::fs::remove_file(site.path("/run/hostwrit/status.json")).unwrap();
    let mut command = site.command(&["daemon"]);
    let mut daemon = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let tell = |signal: &str| Command::new("kill").args([signal, &daemon.0.id().to_string()]).status().unwrap();
    let within = |what: &str, is_so: &dyn Fn() -> bool| {
        let until = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < until, "{what}: not within a minute; {:?}", site.get("/run/hostwrit/status.json"));
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    within("the first cycle", &|| site.get("/run/hostwrit/status.json").is_some());
    site.put("/etc/motd", "drift\n");
    site.put("/etc/kept", "drift\n");
    within("the excepted is put right", &|| site.get("/etc/kept").as_deref() == Some("kept\n"));
    within("the rest is told", &|| status(&site)["left_alone"] == serde_json::json!(["file:/etc/motd"]));
    assert_eq!(site.get("/etc/motd").as_deref(), Some("drift\n"));
    site.host_file(FILES);
    tell("-HUP");
    within("the end", &|| site.get("/etc/motd").as_deref() == Some("good\n"));
    within("the log says so", &|| site.events("maintenance-ended") == 1);
    tell("-TERM");
    daemon.0.wait().unwrap();
    site.agrees();
}

/// Whoever may keep hosts from changing may keep a fix from them: it is a right of its own.
#[test]
fn who_may_only_change_files_may_neither_begin_nor_end_it() {
    let site = Site::new(&[("hosts/web1.yaml", FILES)]);
    let mallory = site.keys.mallory.clone();
    let policy = format!(
        "format: 1\nversion: 2\nfleet: {FLEET}\nref: refs/heads/main\n\
         principals:\n  alice: {{openpgp: [keys/alice.asc]}}\n  mallory: {{openpgp: [keys/mallory.asc]}}\n\
         roles: {{owners: [alice], editors: [alice, mallory]}}\n\
         rules:\n  - {{change: [\"file:*\"], needs: {{role: editors}}}}\n  - {{change: [\"*\"], needs: {{role: owners}}}}\n"
    );
    let admitted = site.commit(&[
        ("policy/policy.yaml", policy.as_str()),
        ("policy/keys/mallory.asc", site.keys.ring.public(&mallory).as_str()),
    ]);
    site.converge();
    let refused = |text: &str, good: &hostwrit::model::git::Oid| {
        site.repo.write("hosts/web1.yaml", text);
        let tip = site.repo.commit("Change", Some(&mallory));
        let ran = site.run(&["apply"]);
        assert_eq!(ran.code, 4, "{ran:?}");
        let problems = status(&site)["problems"].clone();
        assert_eq!(problems[0]["code"], "not-authorized", "{problems}");
        let message = problems[0]["message"].as_str().unwrap();
        assert!(message.contains("maintenance:host") && message.contains(&tip.to_string()[..10]), "{message}");
        assert_eq!(site.get("/etc/hostwrit/pin").unwrap().split_whitespace().last(), Some(good.to_string().as_str()));
        site.repo.git(&["reset", "--quiet", "--hard", &good.to_string()]);
    };

    // Not even where the rest of the commit is within the signer's rights.
    refused(&format!("{}{}", FILES.replace("good", "bad"), maintenance(-HOUR, HOUR, "")), &admitted);
    site.put("/etc/motd", "drift\n");
    site.converge();
    assert_eq!((site.get("/etc/motd").as_deref(), site.events("maintenance-begun")), (Some("good\n"), 0));

    let in_force = maintenance(-HOUR, HOUR, "");
    let begun = site.host_file(&format!("{FILES}{in_force}"));
    assert_eq!(site.run(&["apply"]).code, 0);
    refused(FILES, &begun);
    refused(&format!("{FILES}{}", maintenance(-HOUR, 2 * HOUR, "")), &begun);
    refused(&format!("{FILES}{}", maintenance(-HOUR, HOUR, "file:/etc/motd")), &begun);
    assert_eq!((site.events("maintenance-begun"), site.events("maintenance-ended")), (1, 0));

    site.repo.write("hosts/web1.yaml", &format!("{}{in_force}", FILES.replace("good", "better")));
    site.repo.commit("Change", Some(&mallory));
    assert_eq!(site.run(&["apply"]).code, 6, "what the editor may change waits for the end");
    site.host_file(&FILES.replace("good", "better"));
    site.converge();
    assert_eq!(site.get("/etc/motd").as_deref(), Some("better\n"));
}
