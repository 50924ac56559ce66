// SPDX-License-Identifier: Apache-2.0
//! Rings: a host follows a commit when it is its turn, by the rules that it accepted last.

use std::cell::{Cell, RefCell};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hostwrit::engine::rollout::Why;
use hostwrit::engine::{Cycle, Report};
use hostwrit::model::git::{ObjectError, Objects, Oid, RawObject};
use hostwrit::source::{Ask, FetchError, Fetched, Mirror, NoNumber, Query, Source};

use super::faulty_host::FaultyHost;
use super::fixture::FLEET;
use super::site::Site;

const STATE: &str = "/var/lib/hostwrit/state.json";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

const RINGS: &str = "rollout:
  rings:
    - {name: canary, hosts: {ring: canary}}
    - {name: all, after: 2h}
";

const GATED: &str = "rollout:
  rings:
    - {name: canary, hosts: {ring: canary}}
    - name: all
      after: 2h
      gate: {query: 'sum(bad)', max: 0}
";

fn top(rollout: &str) -> String {
    format!("format: 1\nfleet: {FLEET}\n{rollout}")
}

fn motd(text: &str) -> String {
    format!("files:\n  /etc/motd: {{content: \"{text}\\n\"}}\n")
}

/// A host of a fleet with these rings, which agrees with the first commit.
fn converged(rollout: &str) -> Site {
    let site = Site::new(&[("hosts/web1.yaml", &motd("good")), ("hostwrit.yaml", &top(rollout))]);
    site.converge();
    site
}

/// A mirror, and a Prometheus that says what the test says.
struct Prometheus<'t> {
    mirror: Mirror,
    answer: &'t RefCell<Result<f64, NoNumber>>,
    asked: &'t Cell<usize>,
}

impl Objects for Prometheus<'_> {
    fn object(&self, id: &Oid) -> Result<RawObject, ObjectError> {
        self.mirror.object(id)
    }
}

impl Source for Prometheus<'_> {
    fn fetch(&self, ask: &Ask, stop: &AtomicBool) -> Result<Fetched, FetchError> {
        Source::fetch(&self.mirror, ask, stop)
    }

    fn number(&self, query: &Query, _: &AtomicBool) -> Result<f64, NoNumber> {
        assert_eq!((query.url.as_str(), query.query.as_str()), ("http://prometheus:9090", "sum(bad)"));
        self.asked.set(self.asked.get() + 1);
        self.answer.borrow().clone()
    }
}

/// Applies on a host on which it is so much later.
fn apply(site: &Site, ahead: Duration) -> Report {
    apply_with(site, ahead, &site.source())
}

fn apply_with(site: &Site, ahead: Duration, source: &dyn Source) -> Report {
    let (real, config, stop) = (site.open(), site.config(), AtomicBool::new(false));
    let lock = real.lock(Duration::ZERO).unwrap();
    let host = FaultyHost::later(&real, ahead);
    let report = Cycle::of(&config, &host, source, lock, &stop).apply(&mut |_, _| {}).unwrap();
    assert!(report.converged());
    report
}

/// Applies, and demands that the commit waits while drift is repaired.
fn waits(site: &Site, ahead: Duration, commit: &Oid) -> Why {
    let motd = site.get("/etc/motd").unwrap();
    site.put("/etc/motd", "drift\n");
    let pin = site.get("/etc/hostwrit/pin");
    let report = apply(site, ahead);
    let hold = report.hold().unwrap_or_else(|| panic!("{:?}", report.hindrance));
    assert_eq!(hold.commit, *commit);
    assert_eq!(site.get("/etc/motd").unwrap(), motd, "the last good state is enforced");
    assert_eq!(site.get("/etc/hostwrit/pin"), pin, "the pin moved");
    hold.why.clone()
}

/// Applies, and demands that nothing waits.
fn follows(site: &Site, ahead: Duration, text: &str) {
    let report = apply(site, ahead);
    assert!(report.hindrance.is_none(), "{:?}", report.hindrance);
    assert_eq!(site.get("/etc/motd").unwrap(), format!("{text}\n"));
    assert_eq!(site.run(&["audit", "verify"]).code, 0);
}

#[test]
fn a_host_waits_for_its_turn_and_says_so() {
    let site = converged(RINGS);
    site.host_file(&motd("next"));
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 6, "{applied:?}");
    assert!(
        applied.stderr.contains("commit COMMIT2 is held by the rollout: this host is in ring \"all\""),
        "{applied:?}"
    );
    let planned = site.run(&["plan"]);
    assert_eq!(planned.code, 6, "{planned:?}");
    assert!(
        planned.stdout.contains("When it is this host's turn, COMMIT2 brings 1 step:\n~ file:/etc/motd"),
        "{planned:?}"
    );
    let status = site.run(&["status"]).stdout;
    for line in [
        "waits for its turn",
        "  ring        all\n",
        "  waits       COMMIT2 since ",
        "goes on at ",
        "commit      COMMIT1",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert!(!status.contains("problems"), "{status}");
    let tip = site.repo.id("HEAD");
    assert!(matches!(waits(&site, 2 * HOUR - MINUTE, &tip), Why::Soak(_)));
    assert_eq!((site.events("refused"), site.events("accepted")), (0, 1));
    follows(&site, 2 * HOUR + MINUTE, "next");
    assert_eq!(site.events("accepted"), 2);
    assert!(!site.get(STATE).unwrap().contains("since"), "what was followed is forgotten");
}

#[test]
fn a_host_of_the_first_ring_and_one_that_is_new_do_not_wait() {
    let site = converged(RINGS);
    let canary = format!("labels: {{ring: canary}}\n{}", motd("good"));
    let labelled = site.host_file(&canary);
    waits(&site, Duration::ZERO, &labelled);
    follows(&site, 3 * HOUR, "good");
    site.host_file(&canary.replace("good", "next"));
    follows(&site, 3 * HOUR, "next");

    let site = Site::new(&[("hosts/web1.yaml", &motd("good")), ("hostwrit.yaml", &top(RINGS))]);
    site.host_file(&motd("next"));
    site.converge();
    assert_eq!(site.get("/etc/motd").unwrap(), "next\n");
}

#[test]
fn no_commit_skips_the_rings_that_it_changes() {
    for rollout in
        ["", "rollout: {rings: [{name: now}]}\n", "rollout: {rings: [{name: now, percent: 100}, {name: all}]}\n"]
    {
        let site = converged(RINGS);
        let tip = site.commit(&[("hosts/web1.yaml", &motd("next")), ("hostwrit.yaml", &top(rollout))]);
        waits(&site, Duration::ZERO, &tip);
        waits(&site, HOUR, &tip);
        follows(&site, 2 * HOUR + MINUTE, "next");
        site.host_file(&motd("later"));
        follows(&site, 2 * HOUR + MINUTE, "later");
    }
    // Nor by a commit of its own before it, nor by a label.
    let site = converged(RINGS);
    let rings = site.commit(&[("hostwrit.yaml", &top(""))]);
    waits(&site, Duration::ZERO, &rings);
    let tip = site.host_file(&format!("labels: {{ring: canary}}\n{}", motd("next")));
    waits(&site, HOUR, &tip);
    waits(&site, 2 * HOUR + MINUTE, &tip);
}

#[test]
fn a_commit_that_changes_what_is_wanted_begins_the_wait_anew_and_one_that_does_not_goes_with_it() {
    let site = converged(RINGS);
    site.host_file(&motd("bad"));
    apply(&site, Duration::ZERO);
    let other = site.commit(&[("hosts/db1.yaml", "labels: {role: db}\n")]);
    waits(&site, HOUR, &other);
    let fix = site.host_file(&motd("fixed"));
    // The time of the bad one is over, and it is nobody's any more.
    waits(&site, 2 * HOUR + MINUTE, &fix);
    waits(&site, 4 * HOUR, &fix);
    follows(&site, 4 * HOUR + 2 * MINUTE, "fixed");

    let site = converged(RINGS);
    site.host_file(&motd("next"));
    apply(&site, Duration::ZERO);
    site.commit(&[("hosts/db1.yaml", "labels: {role: db}\n")]);
    follows(&site, 2 * HOUR + MINUTE, "next");
}

#[test]
fn what_does_not_concern_the_host_or_was_taken_back_does_not_wait() {
    let site = converged(RINGS);
    site.commit(&[("hosts/db1.yaml", "labels: {role: db}\n")]);
    follows(&site, Duration::ZERO, "good");
    let bad = site.host_file(&motd("bad"));
    waits(&site, Duration::ZERO, &bad);
    site.host_file(&motd("good"));
    follows(&site, MINUTE, "good");
    // What comes again is seen for the first time again.
    let bad = site.host_file(&motd("bad"));
    waits(&site, 3 * HOUR, &bad);
}

#[test]
fn a_clock_that_is_set_back_makes_no_wait_longer_than_from_then_on() {
    let site = converged(RINGS);
    let tip = site.host_file(&motd("next"));
    // Seen by a clock that was years ahead.
    waits(&site, 100_000 * HOUR, &tip);
    waits(&site, Duration::ZERO, &tip);
    waits(&site, HOUR, &tip);
    follows(&site, 2 * HOUR + MINUTE, "next");
}

#[test]
fn a_wait_outlives_the_courier_and_begins_anew_where_the_state_is_lost() {
    let site = converged(RINGS);
    let tip = site.host_file(&motd("next"));
    waits(&site, Duration::ZERO, &tip);
    std::fs::rename(site.repo.path().join(".git"), site.repo.path().join("gone")).unwrap();
    let report = apply(&site, HOUR);
    assert_eq!(report.hindrance.unwrap().code(), "fetch-failed");
    std::fs::rename(site.repo.path().join("gone"), site.repo.path().join(".git")).unwrap();
    std::fs::remove_file(site.path(STATE)).unwrap();
    waits(&site, HOUR, &tip);
    waits(&site, 2 * HOUR + MINUTE, &tip);
    follows(&site, 3 * HOUR + MINUTE, "next");

    // The benign twin: what was seen before the remote was gone counts.
    let site = converged(RINGS);
    let tip = site.host_file(&motd("next"));
    waits(&site, Duration::ZERO, &tip);
    std::fs::rename(site.repo.path().join(".git"), site.repo.path().join("gone")).unwrap();
    apply(&site, HOUR);
    std::fs::rename(site.repo.path().join("gone"), site.repo.path().join(".git")).unwrap();
    follows(&site, 2 * HOUR + MINUTE, "next");
}

#[test]
fn a_plan_is_no_first_sight() {
    let site = converged(RINGS);
    let tip = site.host_file(&motd("next"));
    assert_eq!(site.run(&["plan"]).code, 6);
    waits(&site, 2 * HOUR + MINUTE, &tip);
}

#[test]
fn a_refused_commit_on_top_is_refused_and_what_waits_goes_on_waiting() {
    let site = converged(RINGS);
    let tip = site.host_file(&motd("next"));
    waits(&site, Duration::ZERO, &tip);
    site.repo.commit("unsigned", None);
    let report = apply(&site, 2 * HOUR + MINUTE);
    assert_eq!(report.hindrance.unwrap().code(), "unsigned");
    site.repo.git(&["reset", "--quiet", "--hard", &tip.to_string()]);
    follows(&site, 2 * HOUR + 2 * MINUTE, "next");
}

#[test]
fn a_gate_is_asked_when_the_time_is_over_and_what_is_no_number_within_its_bounds_keeps_it_shut() {
    let site = converged(GATED);
    let config = "/etc/hostwrit/config.yaml";
    let (answer, asked) = (RefCell::new(Ok(1.0)), Cell::new(0));
    let gated = |ahead: Duration| {
        apply_with(&site, ahead, &Prometheus { mirror: site.source(), answer: &answer, asked: &asked })
    };
    let why = |report: &Report| report.hold().unwrap().why.to_string();
    site.host_file(&motd("next"));
    gated(Duration::ZERO);
    assert_eq!(asked.get(), 0);
    let report = gated(2 * HOUR + MINUTE);
    assert!(why(&report).contains("prometheus is not set in /etc/hostwrit/config.yaml"), "{}", why(&report));
    site.put(config, &format!("{}prometheus: http://prometheus:9090\n", site.get(config).unwrap()));

    let report = gated(2 * HOUR + MINUTE);
    assert_eq!((why(&report).as_str(), asked.get()), ("the gate is closed: sum(bad) is 1", 1));
    for no_pass in [Ok(f64::NAN), Ok(f64::INFINITY), Ok(0.001), Err(NoNumber("timeout".to_owned()))] {
        *answer.borrow_mut() = no_pass;
        let report = gated(2 * HOUR + 2 * MINUTE);
        assert_eq!(report.hindrance.unwrap().code(), "rollout");
    }
    let report = gated(3 * HOUR + 2 * MINUTE);
    assert!(why(&report).contains("the gate has no answer: timeout"));
    assert_eq!(report.hindrance.unwrap().code(), "gate-silent", "an hour is long enough to be told");
    assert_eq!(site.get("/etc/motd").unwrap(), "good\n");
    *answer.borrow_mut() = Ok(0.0);
    let report = gated(3 * HOUR + 3 * MINUTE);
    assert!(report.hindrance.is_none());
    assert_eq!(site.get("/etc/motd").unwrap(), "next\n");
}

/// Commits a change of the host's file with this trailer.
fn urgent(site: &Site, text: &str, trailer: &str, key: &super::fixture::Key) -> Oid {
    site.repo.write("hosts/web1.yaml", text);
    site.repo.commit(&format!("Fix\n\nHostwrit-Rollout: {trailer}"), Some(key))
}

#[test]
fn a_commit_may_ask_not_to_wait() {
    let site = converged(RINGS);
    let bad = site.host_file(&motd("bad"));
    waits(&site, Duration::ZERO, &bad);
    urgent(&site, &motd("fixed"), "now", &site.keys.alice);
    follows(&site, MINUTE, "fixed");
    // What lies below the tip asks for nothing.
    urgent(&site, &motd("urgent"), "now", &site.keys.alice);
    let tip = site.host_file(&motd("on top"));
    waits(&site, MINUTE, &tip);
    let odd = urgent(&site, &motd("odd"), "soon", &site.keys.alice);
    let report = apply(&site, MINUTE);
    let hold = report.hold().unwrap();
    assert_eq!(hold.commit, odd);
    assert!(hold.to_string().contains("\"soon\" is not a word that it knows"), "{hold}");
}

const POLICY: &str = "format: 1
version: 1
fleet: infra.example.org
ref: refs/heads/main
principals:
  alice: {openpgp: [keys/alice.asc]}
  mallory: {openpgp: [keys/mallory.asc]}
roles: {owners: [alice], editors: [alice, mallory]}
rules:
  - {change: [\"rollout:*\", policy], needs: {role: owners}}
  - {change: [\"*\"], needs: {role: editors}}
";

/// A host whose files mallory may change, and neither its rings nor its turn.
fn shared() -> Site {
    let site = Site::new(&[]);
    let key = site.keys.ring.public(&site.keys.mallory);
    site.commit(&[
        ("hosts/web1.yaml", &motd("good")),
        ("hostwrit.yaml", &top(RINGS)),
        ("policy/policy.yaml", &POLICY.replace("version: 1", "version: 2")),
        ("policy/keys/mallory.asc", &key),
    ]);
    site.converge();
    site
}

#[test]
fn who_may_not_hurry_waits_and_is_told_why() {
    let site = shared();
    let tip = urgent(&site, &motd("next"), "now", &site.keys.mallory);
    waits(&site, Duration::ZERO, &tip);
    let report = apply(&site, MINUTE);
    let hold = report.hold().unwrap().to_string();
    assert!(hold.contains("it asks not to wait, which does not count: it changes rollout:now on web1"), "{hold}");
    // An owner may, for what others changed too.
    urgent(&site, &motd("next"), "now", &site.keys.alice);
    follows(&site, MINUTE, "next");
}

#[test]
fn who_may_not_change_the_rings_is_refused() {
    let site = shared();
    site.repo.write("hostwrit.yaml", &top(""));
    site.repo.commit("skip", Some(&site.keys.mallory));
    let report = apply(&site, Duration::ZERO);
    let hindrance = report.hindrance.unwrap();
    assert_eq!(hindrance.code(), "not-authorized");
    assert!(hindrance.to_string().contains("rollout:rings on web1"), "{hindrance}");
}

#[test]
fn rings_that_do_not_fit_every_host_are_unsound() {
    let site = converged(RINGS);
    site.commit(&[("hostwrit.yaml", &top("rollout: {rings: [{name: some, percent: 10}]}\n"))]);
    let report = apply(&site, Duration::ZERO);
    assert_eq!(report.hindrance.unwrap().code(), "unsound");
}

/// Answers each question with this body.
fn web(body: String) -> String {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            assert!(head[0].starts_with("GET /api/v1/query?query=sum(bad) "), "{head:?}");
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    url
}

#[test]
fn the_courier_asks_prometheus() {
    let site = converged("rollout: {rings: [{name: all, gate: {query: 'sum(bad)', max: 0}}]}\n");
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    let sample = |value: &str| format!("{{\"metric\":{{}},\"value\":[1,\"{value}\"]}}");
    site.host_file(&motd("next"));
    for (samples, code, words) in [
        (sample("2"), 6, "the gate is closed: sum(bad) is 2"),
        (String::new(), 6, "the query comes to 0 numbers, and must come to one"),
        (format!("{0},{0}", sample("0")), 6, "the query comes to 2 numbers"),
        ("<html>".to_owned(), 6, "did not answer as Prometheus does"),
        (sample("0"), 0, ""),
    ] {
        let url =
            web(format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{samples}]}}}}"));
        site.put("/etc/hostwrit/config.yaml", &format!("{config}prometheus: {url}\n"));
        let applied = site.run(&["apply"]);
        assert_eq!(applied.code, code, "{applied:?}");
        assert!(applied.stderr.contains(words), "{applied:?}");
    }
    assert_eq!(site.get("/etc/motd").unwrap(), "next\n");
}
