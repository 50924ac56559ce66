// SPDX-License-Identifier: Apache-2.0
//! A paused host pulls, proves and plans, and changes nothing.

use std::time::Duration;

use hostwrit::engine::Pause;
use hostwrit::engine::pause::PAUSE;
use hostwrit::host::ReadHost as _;
use hostwrit::model::Actor;

use super::site::Site;

const HOST: &str = "files:\n  /etc/motd: {content: \"good\\n\"}\n";

fn actor() -> Actor {
    Actor { uid: 0, user: Some("root".to_owned()), login: Some("alice".to_owned()), claims: None }
}

fn pause(site: &Site, length: Duration) {
    let host = site.open();
    Pause::new(length, "ticket 4711", actor(), host.now()).unwrap().begin(&host).unwrap();
}

const HOUR: Duration = Duration::from_secs(60 * 60);

#[test]
fn it_holds_drift_and_a_new_commit_and_the_pin_until_it_is_resumed() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    site.converge();
    pause(&site, HOUR);
    // Nothing to hold yet.
    assert_eq!(site.run(&["apply"]).code, 0);
    site.put("/etc/motd", "drift\n");
    let before = site.listing();
    let held = site.run(&["apply"]);
    assert_eq!(held.code, 6, "{held:?}");
    assert_eq!(site.run(&["plan"]).code, 3);

    let pin = site.get("/etc/hostwrit/pin");
    site.host_file("files:\n  /etc/motd: {content: \"better\\n\"}\n  /etc/new: {content: x}\n");
    let held = site.run(&["apply"]);
    assert_eq!(held.code, 6, "{held:?}");
    assert!(held.stdout.contains("2 steps of "), "{held:?}");
    assert_eq!(site.listing(), before, "something was changed");
    assert_eq!(site.get("/etc/hostwrit/pin"), pin, "the pin moved");
    assert_eq!((site.events("accepted"), site.events("paused"), site.events("planned")), (1, 1, 1));

    let host = site.open();
    assert_eq!(Pause::end(&host, actor()).unwrap().unwrap().reason, "ticket 4711");
    assert_eq!(Pause::end(&host, actor()).unwrap(), None);
    site.converge();
    assert_eq!(site.get("/etc/motd").unwrap(), "better\n");
    assert_eq!(site.get("/etc/new").unwrap(), "x");
    assert_eq!(site.events("resumed"), 1);
    // The new file was not there before hostwrit, so it is its own, pause or not.
    site.host_file(HOST);
    site.converge();
    assert_eq!(site.get("/etc/new"), None);
}

#[test]
fn a_host_that_is_new_is_not_begun_with() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    pause(&site, HOUR);
    let before = site.listing();
    assert_eq!(site.run(&["apply"]).code, 6);
    assert_eq!((site.listing(), site.events("accepted")), (before, 0));
    Pause::end(&site.open(), actor()).unwrap();
    site.converge();
}

#[test]
fn a_commit_without_effect_on_this_host_is_held_too() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    site.converge();
    pause(&site, HOUR);
    site.commit(&[("README.md", "new\n")]);
    let held = site.run(&["apply"]);
    assert_eq!(held.code, 6, "{held:?}");
    assert_eq!((site.events("accepted"), site.events("converged")), (1, 1));
    Pause::end(&site.open(), actor()).unwrap();
    site.converge();
    assert_eq!((site.events("accepted"), site.events("converged")), (2, 2));
}

#[test]
fn it_ends_by_itself_and_the_log_says_so_once() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    site.converge();
    pause(&site, Duration::from_secs(2));
    site.put("/etc/motd", "drift\n");
    assert_eq!(site.run(&["apply"]).code, 6);
    std::thread::sleep(Duration::from_secs(2));
    let kept = (site.log(), site.get(PAUSE));
    assert_eq!(site.run(&["plan"]).code, 3);
    assert!((site.log(), site.get(PAUSE)) == kept, "a plan writes nothing down, not even that a pause has ended");
    site.converge();
    site.converge();
    assert_eq!((site.events("paused"), site.events("resumed"), site.get(PAUSE)), (1, 1, None));
    assert_eq!(site.get("/etc/motd").unwrap(), "good\n");
}

#[test]
fn what_is_refused_under_a_pause_is_told_and_recorded() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    site.converge();
    pause(&site, HOUR);
    site.repo.commit("unsigned", None);
    site.put("/etc/motd", "drift\n");
    let held = site.run(&["apply"]);
    assert_eq!(held.code, 6, "{held:?}");
    assert!(held.stderr.contains("(unsigned)"), "{held:?}");
    assert_eq!((site.events("refused"), site.get("/etc/motd").unwrap()), (1, "drift\n".to_owned()));
}

#[test]
fn a_pause_that_cannot_be_understood_holds_nothing_and_is_told() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    site.converge();
    site.put(PAUSE, "{\"format\":1,");
    site.put("/etc/motd", "drift\n");
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert!(applied.stderr.contains("/var/lib/hostwrit/pause.json cannot be understood"), "{applied:?}");
    assert_eq!(site.get("/etc/motd").unwrap(), "good\n");
    let agrees = site.run(&["apply"]);
    assert!(agrees.stderr.contains("pause.json"), "also where nothing is to do: {agrees:?}");
    Pause::end(&site.open(), actor()).unwrap();
    assert_eq!(site.get(PAUSE), None);
    site.converge();
}

#[test]
fn a_pause_that_cannot_be_logged_is_no_pause() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    site.converge();
    let log = site.path(hostwrit::audit::LOG);
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let host = site.open();
    Pause::new(HOUR, "x", actor(), host.now()).unwrap().begin(&host).unwrap_err();
    assert_eq!(site.get(PAUSE), None);
}
