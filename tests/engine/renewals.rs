// SPDX-License-Identifier: Apache-2.0
//! Files that somebody else makes and must renew: told of in time, and never made, shown or touched.

use std::fs::File;
use std::process::{Child, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use hostwrit::engine::measure::{self, Counters};
use hostwrit::engine::status::{Health, Status};
use hostwrit::engine::{Cycle, Report, reports};
use hostwrit::report::{Kind, Severity};
use hostwrit::resources::findings::Code;

use super::faulty_host::FaultyHost;
use super::site::Site;

const TOKEN: &str = "/srv/client.jwt";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A token that expires with the year 9999, with a claim that nobody else may see.
const FAR_OFF: &str = "eyJhbGciOiJub25lIn0.eyJleHAiOjI1MzQwMjMwMDc5OSwicGFzcyI6Imh1bnRlcjIifQ.c2VjcmV0";

fn site(renew: &str) -> Site {
    let host = format!("files:\n  {TOKEN}: {{mode: \"0600\", renew: {renew}}}\n");
    let site = Site::new(&[("hosts/web1.yaml", host.as_str())]);
    for directory in ["/srv", "/var/lib/hostwrit", "/etc/hostwrit"] {
        std::fs::create_dir_all(site.path(directory)).unwrap();
    }
    site
}

/// Puts a token there that was last changed so long ago.
fn put(site: &Site, content: &str, ago: Duration) -> SystemTime {
    site.put(TOKEN, content);
    let changed = SystemTime::now() - ago;
    File::options().write(true).open(site.path(TOKEN)).unwrap().set_modified(changed).unwrap();
    changed
}

/// One cycle on a host on which it is so much later.
fn cycle(site: &Site, ahead: Duration) -> (Report, Status) {
    let (real, config, stop) = (site.open(), site.config(), AtomicBool::new(false));
    let source = site.source();
    let lock = real.lock(Duration::ZERO).unwrap();
    let host = FaultyHost::later(&real, ahead);
    let report = Cycle::of(&config, &host, &source, lock, &stop).apply(&mut |_, _| {});
    let status = Status::of(&config, &report, &host);
    (report.unwrap(), status)
}

fn codes(status: &Status) -> Vec<Code> {
    assert_eq!(status.health, Health::Converged, "{status:?}");
    status.findings.iter().map(|finding| finding.code).collect()
}

fn page(site: &Site, status: &Status) -> String {
    measure::gather(status, &Counters::start(SystemTime::now(), None), &site.open()).render()
}

#[test]
fn a_file_that_somebody_else_makes_is_missed_and_not_made_and_put_right_once_it_is_there() {
    let site = site("{expiry: jwt, every: 30d, warn: 5d}");
    for _ in 0..2 {
        let (report, status) = cycle(&site, Duration::ZERO);
        assert!(report.plan.steps.is_empty(), "{:?}", report.plan);
        assert_eq!((codes(&status), site.get(TOKEN)), (vec![Code::RenewUnknown], None));
        assert!(!page(&site, &status).contains("hostwrit_secret_due_timestamp_seconds{"), "nobody knows when");
    }
    site.agrees();
    assert!(site.run(&["plan"]).stdout.contains("there is no such file, and the repo has no content for it"));

    put(&site, FAR_OFF, Duration::ZERO);
    let (report, status) = cycle(&site, Duration::ZERO);
    assert_eq!((report.plan.steps.len(), codes(&status)), (1, vec![]), "{:?}", report.plan);
    assert_eq!(site.get(TOKEN).unwrap(), FAR_OFF);
    site.agrees();
    // It was never hostwrit's.
    site.host_file("files: {}\n");
    site.converge();
    assert_eq!(site.get(TOKEN).unwrap(), FAR_OFF);
}

#[test]
fn time_alone_brings_it_up_at_the_next_look_and_a_new_one_ends_it() {
    let site = site("{every: 30d, warn: 5d}");
    put(&site, "x", Duration::ZERO);
    cycle(&site, Duration::ZERO);
    // The repo is read once: then the host agrees, until the time has come.
    let rounds: [(u32, bool, &[Code]); 6] = [
        (0, true, &[]),
        (24, true, &[]),
        (26, false, &[Code::RenewSoon]),
        (26, true, &[Code::RenewSoon]),
        (31, false, &[Code::RenewOverdue]),
        (31, true, &[Code::RenewOverdue]),
    ];
    for (days, agrees, expected) in rounds {
        let (report, status) = cycle(&site, DAY * days);
        assert_eq!((codes(&status).as_slice(), report.enforced.is_none()), (expected, agrees), "after {days} days");
        assert!(report.plan.steps.is_empty(), "{:?}", report.plan);
    }
    File::options().write(true).open(site.path(TOKEN)).unwrap().set_modified(SystemTime::now() + DAY * 31).unwrap();
    assert_eq!(codes(&cycle(&site, DAY * 31).1), []);
}

#[test]
fn it_is_told_wherever_findings_are_and_nothing_of_the_content_is() {
    let site = site("{expiry: jwt, every: 30d, warn: 5d}");
    let changed = put(&site, FAR_OFF, DAY * 26);
    let (report, status) = cycle(&site, Duration::ZERO);
    assert_eq!(codes(&status), [Code::RenewSoon]);
    let due = changed + DAY * 30;
    let shown = humantime::format_rfc3339_seconds(due).to_string();
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["due"]["file:/srv/client.jwt"]["by"], shown.as_str());

    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let page = page(&site, &status);
    for line in [
        format!("hostwrit_secret_due_timestamp_seconds{{secret=\"file:/srv/client.jwt\"}} {}", seconds(due)),
        format!("hostwrit_secret_warn_timestamp_seconds{{secret=\"file:/srv/client.jwt\"}} {}", seconds(due - DAY * 5)),
        "hostwrit_findings{code=\"renew-soon\"} 1".to_owned(),
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\nis not in\n{page}");
    }
    let told = reports::of_cycle(&site.config(), &Ok(report), &status);
    let alarm = told.entries.iter().find(|entry| entry.kind == Kind::Alarm).unwrap();
    assert_eq!((alarm.code.as_deref(), alarm.severity), (Some("renew-soon"), Severity::Warning));
    assert_eq!(alarm.object.as_ref().unwrap().to_string(), "file:/srv/client.jwt");

    site.converge();
    let printed = [&["plan"][..], &["plan", "--json"], &["status"], &["status", "--json"]].map(|args| {
        let ran = site.run(args);
        assert!(ran.stdout.contains("renew-soon") && ran.stdout.contains(&shown), "{args:?}: {ran:?}");
        ran.stdout
    });
    let kept = ["run/hostwrit/status.json", "var/lib/hostwrit/agreement.json", "var/lib/hostwrit/state.json"]
        .map(|path| site.get(&format!("/{path}")).unwrap());
    let told = serde_json::to_string(&told).unwrap();
    for text in printed.iter().chain(&kept).chain([&page, &told, &site.log()]) {
        assert!(!["eyJ", "hunter2", "c2VjcmV0"].iter().any(|secret| text.contains(secret)), "{text}");
    }
}

#[test]
fn a_link_in_its_place_is_not_followed() {
    let site = site("{expiry: jwt}");
    site.put("/etc/elsewhere", FAR_OFF);
    std::os::unix::fs::symlink("/etc/elsewhere", site.path(TOKEN)).unwrap();
    let plan = site.run(&["plan"]);
    assert!(plan.stdout.contains("cannot read /srv/client.jwt: it is a symbolic link"), "{plan:?}");
    assert_eq!(site.run(&["apply"]).code, 1, "nor replaced, for the repo has no content for it");
    assert_eq!(site.get("/etc/elsewhere").unwrap(), FAR_OFF);
}

#[test]
fn a_host_that_has_nothing_to_renew_keeps_no_question_more() {
    let site = Site::new(&[("hosts/web1.yaml", "files: {/etc/motd: {content: \"hi\\n\"}}\n")]);
    site.converge();
    let kept: serde_json::Value = serde_json::from_str(&site.get("/var/lib/hostwrit/agreement.json").unwrap()).unwrap();
    let word = |question: &serde_json::Value| match question.as_object() {
        Some(question) => question.keys().next().unwrap().clone(),
        None => question.as_str().unwrap().to_owned(),
    };
    let questions: Vec<String> = kept["questions"].as_array().unwrap().iter().map(word).collect();
    assert!(questions.contains(&"s".to_owned()), "{questions:?}");
    assert!(!["a", "t", "d"].iter().any(|word| questions.contains(&(*word).to_owned())), "{questions:?}");
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pull_that_finds_nothing_new_looks_when_the_time_has_come_and_when_it_was_renewed() {
    let site = site("{every: 1m, warn: 0s}");
    let due = put(&site, "x", Duration::from_secs(45)) + Duration::from_secs(60);
    site.converge();
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    site.put("/etc/hostwrit/config.yaml", &format!("interval: 1s\nsplay: 0s\nfull_check: 1h\n{config}"));
    std::fs::remove_file(site.path("/run/hostwrit/status.json")).unwrap();
    let mut command = site.command(&["daemon"]);
    let _daemon = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let within = |what: &str, is_so: &dyn Fn(&Status) -> bool| {
        let until = Instant::now() + Duration::from_secs(120);
        while !Status::read(&site.open()).unwrap().is_some_and(|status| is_so(&status)) {
            assert!(Instant::now() < until, "{what}: not within two minutes");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    within("its time", &|status| {
        let looked = humantime::parse_rfc3339(&status.time).unwrap();
        match codes(status).as_slice() {
            [] => assert!(looked <= due, "{status:?}"),
            found => {
                assert_eq!(found, [Code::RenewOverdue]);
                assert!(looked + Duration::from_secs(1) >= due, "{status:?}");
            }
        }
        !status.findings.is_empty()
    });
    put(&site, "y", Duration::ZERO);
    within("a new one is seen", &|status| codes(status).is_empty());
    std::fs::remove_file(site.path(TOKEN)).unwrap();
    within("its loss is seen", &|status| codes(status) == [Code::RenewUnknown]);
    put(&site, "z", Duration::ZERO);
    within("it is there again", &|status| codes(status).is_empty());
}
