// SPDX-License-Identifier: Apache-2.0
//! What is found around declared ports is told, once, and keeps nothing from being done.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostwrit::engine::status::{Health, Status};
use hostwrit::engine::{Cycle, CycleError, Report, reports};
use hostwrit::host::{Opened, Session};
use hostwrit::report::{Entry, Kind, Severity};
use hostwrit::resources::findings::Code;

use super::faulty_host::FaultyHost;
use super::site::Site;

const UFW: &str = "/etc/ufw/ufw.conf";
const PORT: &str = "ports: {22/tcp: {management: true}}\n";

fn cycle(site: &Site) -> (Result<Report, CycleError>, Status) {
    let (config, host, stop) = (site.config(), site.open(), AtomicBool::new(false));
    let source = site.source();
    let cycle = Cycle::begin(&config, &host, &source, &stop).and_then(|cycle| cycle.apply(&mut |_, _| {}));
    let status = hostwrit::engine::daemon::leave_status(&config, &host, &cycle);
    (cycle, status)
}

fn codes(status: &Status) -> Vec<Code> {
    status.findings.iter().map(|finding| finding.code).collect()
}

fn alarms(site: &Site, cycle: &Result<Report, CycleError>, status: &Status) -> Vec<Entry> {
    let told = reports::of_cycle(&site.config(), cycle, status);
    told.entries.into_iter().filter(|entry| entry.kind == Kind::Alarm).collect()
}

#[test]
fn a_finding_is_told_and_its_host_has_converged_all_the_same() {
    let site = Site::new(&[("hosts/web1.yaml", PORT)]);
    site.put(UFW, "ENABLED=yes\n");
    let plan = site.run(&["plan"]);
    assert_eq!(plan.code, 3, "{plan:?}");
    assert!(plan.stdout.contains("Found on the host, left alone:\n  ufw is active"), "{}", plan.stdout);

    // The second cycle finds the host as it was, and knows the finding from the first.
    for round in 0..2 {
        let (report, status) = cycle(&site);
        assert_eq!((status.health, codes(&status)), (Health::Converged, vec![Code::OtherFirewall]), "round {round}");
        let alarms = alarms(&site, &report, &status);
        let [alarm] = &alarms[..] else { panic!("{alarms:?}") };
        assert_eq!((alarm.code.as_deref(), alarm.severity), (Some("other-firewall"), Severity::Warning));
        assert_eq!(alarm.fields["place"], "ufw");
        let is_whole = report.unwrap().enforced.is_some();
        assert_eq!(is_whole, round == 0, "the repo is read once");
    }
    let said = site.run(&["status"]);
    assert!(said.stdout.contains("found, left alone\n    ufw is active"), "{}", said.stdout);
    let json: serde_json::Value = serde_json::from_str(&site.run(&["plan", "--json"]).stdout).unwrap();
    assert_eq!(json["findings"][0]["code"], "other-firewall");

    site.put(UFW, "ENABLED=no\n");
    let (_, status) = cycle(&site);
    assert_eq!(codes(&status), []);
}

#[test]
fn a_host_that_declares_nothing_of_a_firewall_is_not_looked_at() {
    let site = Site::new(&[("hosts/web1.yaml", "files: {/etc/motd: {content: \"hi\\n\"}}\n")]);
    site.put(UFW, "ENABLED=yes\n");
    assert_eq!(codes(&cycle(&site).1), []);
}

#[test]
fn a_list_that_is_too_old_is_found_and_egress_alone_is_enough_to_look() {
    let lists = "blocklists: {drop: {file: drop.txt, updated: 2020-01-01, max_age: 7d}}\n";
    let site = Site::new(&[("hosts/web1.yaml", lists), ("files/drop.txt", "192.0.2.0/24\n")]);
    site.put(UFW, "ENABLED=yes\n");
    assert_eq!(codes(&cycle(&site).1), [Code::OtherFirewall, Code::BlocklistOld]);
    site.host_file("egress: {443/tcp: {}}\n");
    assert_eq!(codes(&cycle(&site).1), [Code::OtherFirewall]);
}

#[test]
fn surroundings_that_cannot_be_read_are_found_and_looked_at_again() {
    let site = Site::new(&[("hosts/web1.yaml", PORT)]);
    fs::create_dir_all(site.path(UFW)).unwrap();
    for _ in 0..2 {
        let (_, status) = cycle(&site);
        assert_eq!((status.health, codes(&status)), (Health::Converged, vec![Code::NotLookedAt]));
        assert!(status.findings[0].message.contains("cannot read /etc/ufw/ufw.conf"), "{status:?}");
    }
    fs::remove_dir(site.path(UFW)).unwrap();
    assert_eq!(codes(&cycle(&site).1), []);
}

#[test]
fn the_rest_is_found_where_a_part_cannot_be_read() {
    let lists = "blocklists: {drop: {file: drop.txt, updated: 2020-01-01, max_age: 7d}}\n";
    let site = Site::new(&[("hosts/web1.yaml", lists), ("files/drop.txt", "192.0.2.0/24\n")]);
    fs::create_dir_all(site.path(UFW)).unwrap();
    for _ in 0..2 {
        assert_eq!(codes(&cycle(&site).1), [Code::NotLookedAt, Code::BlocklistOld]);
    }
}

#[test]
fn a_cycle_that_did_not_look_keeps_what_was_found() {
    let site = Site::new(&[("hosts/web1.yaml", PORT)]);
    site.put(UFW, "ENABLED=yes\n");
    drop(cycle(&site));
    let state = site.get("/var/lib/hostwrit/state.json").unwrap();
    site.put("/var/lib/hostwrit/state.json", "damaged");
    let (report, status) = cycle(&site);
    assert!(report.is_err());
    assert_eq!((status.health, codes(&status)), (Health::Failing, vec![Code::OtherFirewall]));
    site.put("/var/lib/hostwrit/state.json", &state);
    assert_eq!(codes(&cycle(&site).1), [Code::OtherFirewall]);
}

#[test]
fn what_a_pause_holds_back_is_looked_at_as_well() {
    let site = Site::new(&[("hosts/web1.yaml", PORT)]);
    drop(cycle(&site));
    site.put(UFW, "ENABLED=yes\n");
    let paused = site.run(&["pause", "--for", "1h", "--reason", "a look"]);
    assert_eq!(paused.code, 0, "{paused:?}");
    site.host_file("ports: {22/tcp: {management: true}, 443/tcp: {}}\n");
    let (_, status) = cycle(&site);
    assert_eq!((status.health, codes(&status)), (Health::Held, vec![Code::OtherFirewall]));
}

const USER: &str = r#"
users:
  deploy:
    shell: /bin/sh
    ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIA8rskiY262hIdqG9uZyeXH7CwnkDun+ZgTncrMQJ2t alice"]
"#;

/// The key of that line, and one that was never there.
const THEIRS: &str = "SHA256:8RHnhNOWPLJTpSAR82/ivdDGHHMPOBf85Vy2lt2XOZ4";
const STOLEN: &str = "SHA256:stolen";

/// What is found in a cycle on a host on which one session has lasted since then, by this key.
fn found_with_session(site: &Site, since: SystemTime, key: &str) -> Vec<Code> {
    let (real, config, stop) = (site.open(), site.config(), AtomicBool::new(false));
    let source = site.source();
    let lock = real.lock(Duration::ZERO).unwrap();
    let (id, user, from) = ("7".to_owned(), "deploy".to_owned(), "192.0.2.7".to_owned());
    let session = Session { id, user, since, from, opened: Opened::Key(key.to_owned()) };
    let host = FaultyHost::with_sessions(&real, &[session]);
    let report = Cycle::of(&config, &host, &source, lock, &stop).apply(&mut |_, _| {});
    codes(&Status::of(&config, &report, &host))
}

#[test]
fn who_is_in_by_a_key_that_was_taken_away_is_found_whatever_the_file_says_of_its_age() {
    let site = Site::new(&[("hosts/web1.yaml", USER)]);
    drop(cycle(&site));
    let keys = site.path("/home/deploy/.ssh/authorized_keys");
    let touched = fs::metadata(&keys).unwrap().ctime();
    // Late in the second in which the keys were written.
    let before = UNIX_EPOCH + Duration::from_millis(u64::try_from(touched).unwrap() * 1000 + 999);
    // The host is asked anew, and then as it was asked when it last agreed.
    for _ in 0..2 {
        assert_eq!(found_with_session(&site, before, STOLEN), [Code::LiveSession]);
    }
    assert_eq!(found_with_session(&site, before, THEIRS), []);
    assert_eq!(
        found_with_session(&site, before + Duration::from_secs(10), STOLEN),
        [],
        "sshd did not let it in by these keys"
    );

    for age in
        [UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX)), UNIX_EPOCH + Duration::from_secs(1 << 62)]
    {
        // Not every file system takes every time.
        if fs::File::options().write(true).open(&keys).unwrap().set_modified(age).is_ok() {
            assert_eq!(found_with_session(&site, before, STOLEN), [Code::LiveSession], "{age:?}");
        }
    }
}
