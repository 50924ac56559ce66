// SPDX-License-Identifier: Apache-2.0
//! A host's own list of revocations, its clock, and how old the newest statement may be.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostwrit::engine::alarm::Alarm;
use hostwrit::engine::{Cycle, Report};
use hostwrit::model::git::Oid;
use hostwrit::trust::HEARTBEAT_REF;
use humantime::format_rfc3339_seconds;

use super::faulty_host::FaultyHost;
use super::fixture::{FLEET, Key};
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

#[test]
fn a_key_that_the_host_itself_distrusts_stops_all_that_is_new_and_undoes_nothing() {
    let site = converged();
    site.put(CONFIG, &format!("{}  revocations: {REVOKED}\n", site.get(CONFIG).unwrap()));
    let key = format!("openpgp:{}", site.keys.alice.fingerprint);
    site.put(REVOKED, &format!("format: 1\nrevoked:\n  - {{key: \"{key}\"}}\n"));
    site.put("/etc/motd", "drift\n");
    site.converge();
    assert_eq!(site.get("/etc/motd").unwrap(), "good\n", "what was accepted stays");
    keeps_to_the_last_good_state(&site, "key-revoked");
    // A fault in it is not an empty list.
    site.put(REVOKED, "format: 1\nrevoked: [{key: alice}]\n");
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 4, "{applied:?}");
    assert!(applied.stderr.contains("revoked.yaml:2"), "{applied:?}");
}

#[test]
fn what_was_proven_is_kept_by_apply_alone_and_may_be_lost() {
    const ANSWERS: &str = "/var/lib/hostwrit/trust-cache";
    let site = Site::new(&[("hosts/web1.yaml", &motd("good"))]);
    assert_eq!(site.run(&["plan"]).code, 3);
    assert!(!site.path(ANSWERS).exists(), "a plan writes nothing");
    site.converge();
    assert!(site.path(ANSWERS).exists());
    for damage in ["", "hostwrit trust cache", "something else altogether\n"] {
        site.put(ANSWERS, damage);
        site.host_file(&motd(&format!("after \\\"{damage:.3}\\\"")));
        site.converge();
    }
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

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A host whose policy wants to hear something every two days, and the key that may say it.
struct Watched {
    site: Site,
    ci: Key,
}

fn watched() -> Watched {
    let site = Site::new(&[("hosts/web1.yaml", &motd("good"))]);
    let ci = site.keys.ring.key(&format!("ci-{}", site.root().parent().unwrap().file_name().unwrap().display()));
    let policy = format!(
        "format: 1\nversion: 2\nfleet: {FLEET}\nref: refs/heads/main\nprincipals:\n  alice: {{openpgp: [keys/alice.asc]}}\n  \
         ci: {{openpgp: [keys/ci.asc]}}\nroles: {{owners: [alice]}}\nrules:\n  \
         - {{change: [\"*\"], needs: {{role: owners}}}}\nfreshness: {{max_age: 2d, heartbeat: [ci]}}\n"
    );
    let public = site.keys.ring.public(&ci);
    site.commit(&[("policy/policy.yaml", &policy), ("policy/keys/ci.asc", &public)]);
    site.converge();
    Watched { site, ci }
}

impl Watched {
    /// Applies on a host on which it is so much later.
    fn apply(&self, ahead: Duration) -> Report {
        let (real, config, stop) = (self.site.open(), self.site.config(), AtomicBool::new(false));
        let lock = real.lock(Duration::ZERO).unwrap();
        let mirror = self.site.source();
        let host = FaultyHost::later(&real, ahead);
        let report = Cycle::of(&config, &host, &mirror, lock, &stop).apply(&mut |_, _| {}).unwrap();
        assert!(report.converged());
        assert!(report.hindrance.is_none(), "{:?}", report.hindrance);
        report
    }

    /// Returns what makes a message a heartbeat of so much later.
    fn message(ahead: Duration) -> String {
        let time = format_rfc3339_seconds(SystemTime::now() + ahead);
        format!("Heartbeat\n\nHostwrit-Repo: {FLEET}\nHostwrit-Ref: {HEARTBEAT_REF}\nHostwrit-Heartbeat: {time}\n")
    }

    /// Puts a commit on the heartbeat ref.
    fn beat(&self, key: Option<&Key>, tree: &str, parents: &[Oid], message: &str) {
        let mut args = vec!["commit-tree".to_owned(), tree.to_owned(), "-m".to_owned(), message.to_owned()];
        args.extend(key.map(|key| format!("-S{}", key.fingerprint)));
        args.extend(parents.iter().flat_map(|parent| ["-p".to_owned(), parent.to_string()]));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let commit = self.site.repo.git(&args);
        self.site.repo.git(&["update-ref", HEARTBEAT_REF, commit.trim()]);
    }

    fn good_beat(&self, ahead: Duration) {
        let tip = self.site.repo.id("HEAD");
        self.beat(Some(&self.ci), "HEAD^{tree}", &[tip], &Self::message(ahead));
    }
}

#[test]
fn a_host_that_hears_nothing_for_too_long_says_so_once_and_keeps_the_last_good_state() {
    let watched = watched();
    let site = &watched.site;
    assert_eq!(watched.apply(DAY).alarms, []);
    for _ in 0..2 {
        site.put("/etc/motd", "drift\n");
        let report = watched.apply(3 * DAY);
        assert!(matches!(report.alarms.as_slice(), [Alarm::Stale(_)]), "{:?}", report.alarms);
        assert_eq!(site.get("/etc/motd").unwrap(), "good\n");
    }
    // Nor does a host that agrees overlook it.
    assert!(matches!(watched.apply(3 * DAY).alarms.as_slice(), [Alarm::Stale(_)]));
    assert_eq!(site.events("stale"), 1);

    watched.good_beat(3 * DAY);
    assert_eq!(watched.apply(3 * DAY).alarms, []);
    assert_eq!(watched.apply(4 * DAY).alarms, [], "what was heard is remembered");
    site.repo.git(&["update-ref", "-d", HEARTBEAT_REF]);
    assert_eq!(watched.apply(4 * DAY).alarms, [], "also when the heartbeat is gone");
    assert_eq!(watched.apply(6 * DAY).alarms.len(), 1);
    assert_eq!(site.events("stale"), 2);
    assert_eq!(site.run(&["audit", "verify"]).code, 0);
}

#[test]
fn a_heartbeat_goes_on_counting_when_the_ref_moves_on() {
    let watched = watched();
    watched.good_beat(3 * DAY);
    watched.site.host_file(&motd("next"));
    assert_eq!(watched.apply(3 * DAY).alarms, []);
    assert_eq!(watched.site.get("/etc/motd").unwrap(), "next\n");
}

#[test]
fn a_heartbeat_alone_costs_one_look_and_then_the_host_agrees_again() {
    let watched = watched();
    watched.good_beat(Duration::ZERO);
    watched.apply(Duration::ZERO);
    let agreement = "/var/lib/hostwrit/agreement.json";
    let kept = watched.site.get(agreement).unwrap();
    watched.site.put(agreement, &kept.replace("\"objects\":1", "\"objects\":777"));
    assert_eq!(watched.apply(Duration::ZERO).objects, 777);
}

#[test]
fn what_is_no_good_heartbeat_keeps_nothing_fresh_and_the_alarm_says_why() {
    let watched = watched();
    let (site, ci) = (&watched.site, Some(&watched.ci));
    let tip = site.repo.id("HEAD");
    let root = site.repo.id("HEAD~1");
    let tree = "HEAD^{tree}";
    let good = Watched::message(3 * DAY);
    site.repo.git(&["checkout", "--quiet", "-b", "other", &root.to_string()]);
    let other = site.host_file(&motd("other"));
    site.repo.git(&["checkout", "--quiet", "main"]);
    let other_tree = format!("{other}^{{tree}}");
    let no_time = good.replace("Hostwrit-Heartbeat", "Hostwrit-Beat");
    let later = Watched::message(4 * DAY);
    let no_day = good.replace("Hostwrit-Heartbeat: 2", "Hostwrit-Heartbeat: x2");
    /// The code, the signer, the tree, the parents and the message.
    type Case<'c> = (&'c str, Option<&'c Key>, &'c str, &'c [Oid], String);
    let cases: [Case<'_>; 12] = [
        ("unsigned", None, tree, &[tip], good.clone()),
        ("heartbeat-signer", Some(&site.keys.alice), tree, &[tip], good.clone()),
        ("heartbeat-signer", Some(&site.keys.mallory), tree, &[tip], good.clone()),
        ("teleport", ci, tree, &[tip], good.replace(FLEET, "other.example.org")),
        ("teleport", ci, tree, &[tip], good.replace(HEARTBEAT_REF, "refs/heads/main")),
        ("heartbeat-place", ci, tree, &[tip], "Heartbeat".to_owned()),
        ("heartbeat-place", ci, tree, &[tip], no_time),
        ("heartbeat-place", ci, tree, &[tip], no_day),
        ("signature-from-future", ci, tree, &[tip], later),
        ("heartbeat-place", ci, tree, &[tip, root], good.clone()),
        ("heartbeat-place", ci, &other_tree, &[other], good.clone()),
        ("heartbeat-place", ci, &other_tree, &[tip], good.clone()),
    ];
    for (code, key, tree, parents, message) in cases {
        watched.beat(key, tree, parents, &message);
        let report = watched.apply(3 * DAY);
        let [alarm @ Alarm::Stale(_)] = report.alarms.as_slice() else { panic!("{code}: {:?}", report.alarms) };
        assert!(alarm.to_string().contains(&format!("({code})")), "{code}: {alarm}");
    }
    watched.good_beat(3 * DAY);
    assert_eq!(watched.apply(3 * DAY).alarms, [], "the benign twin");
}

#[test]
fn a_state_that_is_lost_learns_the_time_anew() {
    let watched = watched();
    std::fs::remove_file(watched.site.path(STATE)).unwrap();
    assert_eq!(watched.apply(DAY).alarms, []);
    assert_eq!(watched.apply(3 * DAY).alarms.len(), 1);
}
