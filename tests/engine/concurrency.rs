// SPDX-License-Identifier: Apache-2.0
//! Two processes at once, one that is told to stop, and a plan that must change nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hostwrit::audit::OutcomeResult;
use hostwrit::engine::Cycle;

use super::site::{Site, list};

const HOST: &str = "files:\n  /etc/motd: {content: \"good\\n\"}\n  /etc/a: {content: a}\n  /etc/b: {content: b}\n";

#[test]
fn the_run_lock_excludes_and_says_who_holds_it() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    let (one, other) = (site.open(), site.open());
    let held = one.lock(Duration::ZERO).unwrap();
    let error = other.lock(Duration::from_millis(50)).unwrap_err().to_string();
    assert_eq!(error, format!("cannot lock /run/hostwrit/lock: process {} holds it", std::process::id()));
    drop(held);
    other.lock(Duration::ZERO).unwrap();
}

#[test]
fn a_second_process_waits_for_the_first() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    let host = site.open();
    let held = host.lock(Duration::ZERO).unwrap();
    let mut child = site.command(&["apply"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "it must wait");
    assert_eq!(site.get("/etc/a"), None);
    drop(held);
    assert!(child.wait().unwrap().success());
    assert_eq!(site.get("/etc/a").unwrap(), "a");
}

#[test]
fn told_to_stop_it_finishes_the_step_under_way_and_the_next_run_the_rest() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    let (host, config, stop) = (site.open(), site.config(), AtomicBool::new(false));
    let source = site.source();
    let cycle = Cycle::begin(&config, &host, &source, &stop).unwrap();
    let report = cycle.apply(&mut |_, _| stop.store(true, Ordering::Relaxed)).unwrap();
    drop(cycle);
    let results: Vec<_> = report.outcomes.iter().map(|outcome| outcome.result).collect();
    assert_eq!(results, [OutcomeResult::Done, OutcomeResult::Skipped, OutcomeResult::Skipped]);
    assert_eq!(report.outcomes[1].message.as_deref(), Some("hostwrit was told to stop"));
    assert!(!report.converged());
    assert_eq!(report.remaining.len(), 2);
    site.converge();
    assert_eq!(site.get("/etc/b").unwrap(), "b");
}

#[test]
fn a_plan_changes_nothing_but_the_mirror() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    let all = || {
        let mut all = list(&site.root());
        all.retain(|one| {
            let own = ["/var/lib/hostwrit", "/run/hostwrit"];
            !own.iter().any(|own| one.path == *own || one.path == format!("{own}/lock"))
                && !one.path.starts_with("/var/lib/hostwrit-courier")
        });
        all
    };
    let before = all();
    assert_eq!(site.run(&["plan"]).code, 3);
    assert_eq!(all(), before);
    site.converge();
    site.put("/etc/motd", "drift\n");
    site.host_file("labels: {}\n");
    let before = all();
    assert_eq!(site.run(&["plan"]).code, 3);
    assert_eq!(all(), before);
}

#[test]
fn the_same_plan_has_the_same_bytes() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    let first = site.run(&["plan", "--json"]).stdout;
    assert_eq!(site.run(&["plan", "--json"]).stdout, first);
    assert!(first.contains("\"digest\": \"sha256:"));
}

#[test]
fn an_apply_that_nobody_reads_any_more_is_finished_all_the_same() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    let mut child = site.command(&["apply"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.wait().unwrap();
    site.agrees();
    assert_eq!(site.get("/etc/b").unwrap(), "b");
}
