// SPDX-License-Identifier: Apache-2.0
//! A commit that was accepted and does the host no good goes back, whatever happens meanwhile, and is not tried again.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hostwrit::engine::desired::Hindrance;
use hostwrit::engine::repair::Repair;
use hostwrit::engine::status::{Health, Status};
use hostwrit::engine::{Cycle, CycleError, Report, State};
use hostwrit::model::git::Oid;

use super::faulty_host::{CHECK, Fault, FaultyHost, RunningService};
use super::maintenance::{HOUR, maintenance};
use super::site::{Listed, Site};

const STATE: &str = "/var/lib/hostwrit/state.json";

/// A site whose host has one service, which reads `/etc/hello.conf` when it starts, and a check of that.
struct Lab {
    site: Site,
    service: RunningService,
    /// How far the clock is ahead.
    ahead: Duration,
}

/// The host's file: the service's configuration, and `more` beside it.
fn host_file(conf: &str, more: &str) -> String {
    format!(
        "files:\n  /etc/hello.conf: {{content: \"{conf}\"}}\n{more}services:\n  hello: {{restart_when: [file:/etc/hello.conf]}}\n\
         checks:\n  hello: {{command: [{CHECK}], retries: 1, every: 0s}}\n"
    )
}

impl Lab {
    fn new(conf: &str) -> Self {
        let site = Site::new(&[("hosts/web1.yaml", &host_file(conf, ""))]);
        let service = RunningService { config: site.path("/etc/hello.conf"), read: RefCell::default() };
        Self { site, service, ahead: Duration::ZERO }
    }

    fn cycle<R>(&self, fault: Fault, at: usize, run: impl FnOnce(&Cycle<'_>, &FaultyHost<'_>) -> R) -> (R, bool) {
        let (real, config, stop) = (self.site.open(), self.site.config(), AtomicBool::new(false));
        let lock = real.lock(Duration::ZERO).unwrap();
        real.ensure_dir(Path::new("/var/lib/hostwrit"), 0o700).unwrap();
        let source = self.site.source();
        let host = FaultyHost::new(&real, fault, at).with_service(&self.service).ahead_by(self.ahead);
        let result = run(&Cycle::of(&config, &host, &source, lock, &stop), &host);
        (result, host.struck())
    }

    fn try_apply(&self) -> Result<Report, CycleError> {
        self.cycle(Fault::Fail, usize::MAX, |cycle, _| cycle.apply(&mut |_, _| {})).0
    }

    fn apply(&self) -> Report {
        self.try_apply().unwrap()
    }

    fn plan(&self) -> Report {
        self.cycle(Fault::Fail, usize::MAX, |cycle, _| cycle.plan().unwrap()).0
    }

    fn status(&self) -> Status {
        let (real, config) = (self.site.open(), self.site.config());
        Status::of(&config, &self.try_apply(), &real)
    }

    fn commit(&self, conf: &str, more: &str) -> Oid {
        self.site.host_file(&host_file(conf, more))
    }

    fn state(&self) -> State {
        State::read(&self.site.open()).unwrap()
    }

    fn conf(&self) -> String {
        self.site.get("/etc/hello.conf").unwrap()
    }

    /// The managed files, without locks.
    fn tree(&self) -> Vec<Listed> {
        self.site.listing().into_iter().filter(|one| !one.path.ends_with(".lock")).collect()
    }
}

/// Returns what is held, if that is why the tip is not followed.
fn held(report: &Report) -> String {
    match &report.hindrance {
        Some(Hindrance::Held(held)) => held.commit.clone(),
        other => panic!("{other:?}"),
    }
}

const MORE: &str = "  /srv/new: {content: \"new\"}\n";

#[test]
fn a_commit_whose_check_fails_is_put_back_and_held_until_another_comes() {
    let lab = Lab::new("one");
    assert!(lab.apply().converged());
    let good = lab.site.repo.id("HEAD").to_string();
    let before = lab.tree();
    let bad = lab.commit("bad", MORE).to_string();
    let report = lab.apply();
    assert!(report.converged() && report.is_well(), "{report:?}");
    assert_eq!((held(&report), report.plan.commit.as_str()), (bad.clone(), good.as_str()));
    assert_eq!((lab.tree(), lab.service.read.borrow().as_slice()), (before, b"one".as_slice()));
    let state = lab.state();
    assert_eq!((state.pin.as_deref(), state.good.as_deref()), (Some(&*bad), Some(&*good)));
    assert_eq!(state.enforced(), Some(&*good));
    assert_eq!(lab.site.get(hostwrit::engine::pin::COPY).unwrap(), format!("{bad}\n"), "the pin stays");
    assert_eq!(lab.site.events("held"), 1);
    assert!(lab.site.log().contains("check:hello failed: /bin/check-the-service ended with exit status: 1: it read"));

    // It is not tried again, drift is repaired, and the status says all of it.
    lab.site.put("/etc/hello.conf", "drift");
    let status = lab.status();
    assert_eq!((status.health, status.commit.as_deref()), (Health::Held, Some(&*good)));
    assert_eq!(
        status.put_back.as_ref().map(|held| (held.commit.as_str(), held.code.as_str())),
        Some((&*bad, "check-failed"))
    );
    assert!(status.problems.iter().any(|problem| problem.code == "held"), "{status:?}");
    assert_eq!((lab.conf().as_str(), lab.site.events("held"), lab.site.events("accepted")), ("one", 1, 2));
    let plan = lab.plan();
    assert!(plan.plan.steps.is_empty() && held(&plan) == bad);

    // The next one is, and what was held is forgotten.
    let next = lab.commit("three", "").to_string();
    let status = lab.status();
    assert_eq!((status.health, status.problems, status.put_back), (Health::Converged, vec![], None));
    let state = lab.state();
    assert_eq!((state.pin.as_deref(), state.good.as_deref(), state.held), (Some(&*next), Some(&*next), None));
    assert_eq!(lab.conf(), "three");
    let verified = hostwrit::audit::verify::verify(lab.site.log().as_bytes());
    assert_eq!((verified.problems, verified.open_intents), (vec![], vec![]));
}

#[test]
fn what_a_held_host_is_asked_is_answered_by_what_is_enforced() {
    let lab = Lab::new("one");
    lab.apply();
    let bad = lab.commit("bad", "");
    lab.apply();
    // The program finds no such service here, and asks none about a plan that is empty.
    let why = lab.site.run(&["why", "file:/etc/hello.conf"]);
    assert!(why.stdout.contains("commit    COMMIT1\n"), "{why:?}");
    let log = lab.site.run(&["trust", "log"]);
    assert!(log.stdout.lines().next().unwrap().contains("held") && log.stdout.contains("check-failed"), "{log:?}");
    let applied = lab.site.run(&["plan"]);
    assert_eq!(applied.code, 6, "{applied:?}");
    assert!(applied.stderr.contains("commit COMMIT2 is held since"), "{applied:?}");
    assert!(applied.stderr.contains("the last good commit COMMIT1 stays enforced"), "{applied:?}");
    assert!(lab.site.path(&format!("/var/lib/hostwrit/last-good/{bad}")).exists(), "the pin is judged from");
}

#[test]
fn what_drifts_on_a_held_host_is_put_right_by_a_repair() {
    let lab = Lab::new("one");
    lab.commit("one", MORE);
    let good = lab.apply().plan.commit;
    let bad = lab.commit("bad", MORE).to_string();
    lab.apply();
    let enforced = lab.cycle(Fault::Fail, usize::MAX, |cycle, _| cycle.last_good().unwrap()).0;
    lab.site.put("/srv/new", "drift");
    let repair = super::repair::look_at(&lab.site, enforced, "file:/srv/new");
    assert!(matches!(repair, Repair::Done(ref repaired) if repaired.converged()), "{repair:?}");
    assert_eq!(lab.site.get("/srv/new").unwrap(), "new");
    let state = lab.state();
    assert_eq!((state.pin.as_deref(), state.enforced()), (Some(&*bad), Some(&*good)));
}

#[test]
fn the_last_good_state_is_enforced_without_the_remote_and_its_mirror() {
    let lab = Lab::new("one");
    lab.apply();
    lab.commit("bad", "");
    lab.apply();
    std::fs::remove_dir_all(lab.site.mirror()).unwrap();
    std::fs::rename(lab.site.repo.path().join(".git"), lab.site.repo.path().join("gone")).unwrap();
    lab.site.put("/etc/hello.conf", "drift");
    let status = lab.status();
    let codes: Vec<&str> = status.problems.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!((status.health, codes), (Health::LastGood, vec!["fetch-failed", "held"]));
    assert_eq!(lab.conf(), "one");
}

#[test]
fn a_refused_tip_on_a_held_host_leaves_the_last_good_state() {
    let lab = Lab::new("one");
    lab.apply();
    lab.commit("bad", "");
    lab.apply();
    lab.site.repo.write("hosts/web1.yaml", &host_file("evil", ""));
    lab.site.repo.commit("unsigned", None);
    let report = lab.apply();
    assert_eq!(report.hindrance.as_ref().map(Hindrance::code), Some("unsigned"));
    assert_eq!((lab.conf().as_str(), report.put_back.is_some()), ("one", true));
    // Also one that goes back to before what is held, although that is what is enforced.
    lab.site.repo.git(&["reset", "--quiet", "--hard", "HEAD~2"]);
    assert_eq!(lab.apply().hindrance.as_ref().map(Hindrance::code), Some("rollback"));
}

#[test]
fn where_nothing_was_good_nothing_is_enforced() {
    let lab = Lab::new("bad");
    for _ in 0..2 {
        match lab.try_apply() {
            Err(CycleError::Hindered(Hindrance::Held(held))) => assert_eq!(held.good, None),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((lab.site.events("held"), lab.conf().as_str()), (1, "bad"));
    let status = lab.status();
    assert_eq!((status.health, status.commit), (Health::Failing, None));
    assert!(status.problems[0].message.contains("nothing is enforced"), "{:?}", status.problems);
    let plan = lab.site.run(&["plan"]);
    assert_eq!(plan.code, 6, "{plan:?}");
    lab.commit("good", "");
    let report = lab.apply();
    assert!(report.converged() && report.hindrance.is_none());
    assert_eq!(lab.conf(), "good");
}

#[test]
fn a_lost_state_does_not_have_the_held_commit_tried_again() {
    let lab = Lab::new("one");
    lab.apply();
    let bad = lab.commit("bad", "").to_string();
    lab.apply();
    std::fs::remove_file(lab.site.path(STATE)).unwrap();
    lab.site.put("/etc/hello.conf", "drift");
    let report = lab.apply();
    assert_eq!((held(&report), lab.conf().as_str()), (bad, "one"));
    assert_eq!((lab.site.events("held"), lab.site.events("accepted")), (1, 2));
    lab.commit("three", "");
    assert!(lab.apply().hindrance.is_none());
}

#[test]
fn a_check_that_fails_on_a_good_commit_is_told_and_nothing_goes_back() {
    let lab = Lab::new("one");
    lab.apply();
    let before = lab.state();
    *lab.service.read.borrow_mut() = b"bad".to_vec();
    // Nothing has changed, so nothing is checked.
    assert_eq!(lab.status().health, Health::Converged);
    lab.site.put("/etc/hello.conf", "drift");
    let service = RunningService { config: lab.site.path("/etc/missing"), read: RefCell::new(b"bad".to_vec()) };
    std::fs::write(lab.site.path("/etc/missing"), "bad").unwrap();
    let lab = Lab { service, ..lab };
    for _ in 0..2 {
        let status = lab.status();
        assert_eq!(status.health, Health::Failing);
        let problem = &status.problems[0];
        assert_eq!(
            (problem.code.as_str(), problem.object.as_ref().unwrap().to_string()),
            ("check-failed", "check:hello".to_owned())
        );
    }
    assert_eq!((lab.state().pin, lab.state().held, lab.site.events("held")), (before.pin, None, 0));
    // It is run again until it passes.
    *lab.service.read.borrow_mut() = b"fine".to_vec();
    let status = lab.status();
    assert_eq!((status.health, status.checked.map(|checked| checked.passed)), (Health::Converged, Some(1)));
}

#[test]
fn a_check_that_is_only_observed_is_told_and_holds_nothing() {
    let lab = Lab::new("one");
    lab.apply();
    let file = host_file("bad", "").replace("retries: 1", "observe: true, retries: 0");
    lab.site.host_file(&file);
    let status = lab.status();
    assert_eq!((status.health, lab.conf().as_str()), (Health::Converged, "bad"));
    assert_eq!(status.problems[0].code, "check-failed");
}

#[test]
fn what_a_steady_host_is_observed_for_is_told_when_it_fails_and_when_it_is_well_again() {
    let lab = Lab::new("one");
    let told = format!("  told: {{command: [{CHECK}], retries: 0, observe: true}}\n");
    lab.site.host_file(&(host_file("one", "") + &told));
    let seen = || {
        let status = lab.status();
        let failed = status.problems.iter().map(|problem| problem.object.as_ref().unwrap().to_string());
        (status.health, status.checked.unwrap().passed, failed.collect::<Vec<_>>())
    };
    assert_eq!(seen(), (Health::Converged, 2, vec![]));
    *lab.service.read.borrow_mut() = b"bad".to_vec();
    // The other has passed and is not asked again, for the commit has not changed.
    for _ in 0..2 {
        assert_eq!(seen(), (Health::Converged, 1, vec!["check:told".to_owned()]));
    }
    *lab.service.read.borrow_mut() = b"fine".to_vec();
    assert_eq!(lab.plan().checked.unwrap().failed.len(), 1, "a plan runs none");
    assert_eq!(seen(), (Health::Converged, 2, vec![]));
    assert_eq!(lab.state().held, None);
}

#[test]
fn a_check_that_leaves_the_repo_leaves_nothing_behind() {
    let lab = Lab::new("one");
    lab.apply();
    let file = host_file("one", "");
    lab.site.host_file(file.split("checks:").next().unwrap());
    let status = lab.status();
    assert_eq!((status.health, status.checked, status.unmanaged), (Health::Converged, None, vec![]));
}

#[test]
fn what_a_commit_made_goes_with_it_however_much_it_is() {
    let lab = Lab::new("one");
    lab.apply();
    let before = lab.tree();
    let many: String = (0..15).map(|number| format!("  /srv/{number}: {{content: \"x\"}}\n")).collect();
    lab.commit("bad", &many);
    let report = lab.apply();
    assert!(report.converged() && report.objection.is_none(), "{report:?}");
    assert_eq!(lab.tree(), before);
}

#[test]
fn an_order_has_the_host_try_again_and_what_it_names_is_not_put_back() {
    let lab = Lab::new("one");
    lab.apply();
    let bad = lab.commit("bad", "").to_string();
    lab.apply();
    // What an order leaves in the state (tests/engine/orders.rs has how it gets there).
    let mut state: serde_json::Value = serde_json::from_str(&lab.site.get(STATE).unwrap()).unwrap();
    state["held"] = serde_json::Value::Null;
    state["ordered"] = serde_json::json!({
        "order": "break-glass", "commit": bad, "nonce": "1", "reason": "because", "from": null
    });
    lab.site.put(STATE, &state.to_string());
    let status = lab.status();
    assert_eq!((status.health, status.commit), (Health::Failing, Some(bad)));
    assert_eq!((lab.conf().as_str(), lab.site.events("held")), ("bad", 1));
}

#[test]
fn killed_or_failing_at_any_write_the_next_apply_ends_in_the_last_good_state() {
    let lab = Lab::new("one");
    lab.apply();
    let good = lab.site.repo.id("HEAD").to_string();
    let before = lab.tree();
    let bad = lab.commit("bad", MORE).to_string();
    let prepared = lab.site.snapshot();
    for fault in [Fault::Fail, Fault::KillBefore, Fault::KillAfter, Fault::Tear] {
        for at in 1.. {
            lab.site.restore(&prepared);
            *lab.service.read.borrow_mut() = b"one".to_vec();
            let (_, struck) = lab.cycle(fault, at, |cycle, _| cycle.apply(&mut |_, _| {}).map(drop));
            let report = lab.apply();
            assert!(report.converged() && report.is_well(), "{fault:?} at write {at}: {report:?}");
            assert_eq!((held(&report), report.plan.commit), (bad.clone(), good.clone()), "{fault:?} at write {at}");
            assert_eq!(lab.tree(), before, "{fault:?} at write {at}");
            assert_eq!(lab.service.read.borrow().as_slice(), b"one", "{fault:?} at write {at}");
            let state = lab.state();
            assert_eq!(
                (state.enforced(), state.pin.as_deref()),
                (Some(&*good), Some(&*bad)),
                "{fault:?} at write {at}"
            );
            assert!(state.pending.0.is_empty() && !state.applying, "{fault:?} at write {at}: {state:?}");
            let verified = hostwrit::audit::verify::verify(lab.site.log().as_bytes());
            assert_eq!((verified.problems, verified.open_intents), (vec![], vec![]), "{fault:?} at write {at}");
            if !struck {
                assert!(at > 15, "only {at} writes");
                break;
            }
        }
    }
}

#[test]
fn a_held_host_that_agrees_is_not_compiled_again() {
    let lab = Lab::new("one");
    lab.apply();
    let bad = lab.commit("bad", "").to_string();
    lab.apply();
    // The cycle that finds the host in agreement leaves what the next one goes by.
    lab.apply();
    let (log, state) = (lab.site.log(), lab.site.get(STATE));
    std::fs::remove_dir_all(lab.site.path("/var/lib/hostwrit/last-good")).unwrap();
    let report = lab.apply();
    assert_eq!((held(&report), report.put_back.is_some()), (bad, true));
    assert!(!lab.site.path("/var/lib/hostwrit/last-good").exists(), "nothing had to be read, so nothing was kept");
    assert_eq!((lab.site.log(), lab.site.get(STATE)), (log, state));
}

const EXCEPTED: &str = "file:/etc/hello.conf, service:hello";

/// A maintenance that keeps the service as declared, and nothing else, ended by its time or by a commit.
#[test]
fn during_maintenance_no_check_runs_and_what_it_contains_stays_contained() {
    let lab = Lab::new("one");
    lab.commit("one", MORE);
    let good = lab.apply().plan.commit;
    lab.site.put("/srv/new", "evidence");
    let in_force = maintenance(-HOUR, HOUR, EXCEPTED);
    let contained = |conf: &str| lab.site.host_file(&(host_file(conf, MORE) + &in_force));
    // Another commit may change what is excepted, and is not put back either.
    for conf in ["bad", "bad too"] {
        let contain = contained(conf).to_string();
        for _ in 0..2 {
            let status = lab.status();
            assert_eq!((status.health, status.commit.as_deref()), (Health::Held, Some(&*contain)), "{status:?}");
            assert_eq!((status.checked, status.problems, status.put_back), (None, vec![], None));
            assert_eq!((lab.conf().as_str(), lab.site.get("/srv/new").as_deref()), (conf, Some("evidence")));
        }
        assert_eq!((lab.state().good, lab.site.events("held")), (Some(good.clone()), 0), "it has not proven good");
    }
    lab.site.put("/run/hostwrit/.keep", "");
    lab.status().write(&lab.site.open()).unwrap();
    let shown = lab.site.run(&["status"]);
    assert!(shown.stdout.contains("  checks      wait for the end of the maintenance\n"), "{shown:?}");

    // With the end of the maintenance the checks run, and what does not pass them goes back as ever.
    let bad = lab.commit("bad too", MORE).to_string();
    let report = lab.apply();
    assert_eq!((held(&report), report.plan.commit), (bad, good));
    assert_eq!((lab.conf().as_str(), lab.site.get("/srv/new").as_deref()), ("one", Some("new")));
    assert_eq!((lab.site.events("maintenance-begun"), lab.site.events("maintenance-ended")), (1, 1));
}

#[test]
fn a_service_taken_down_during_maintenance_does_not_end_it_and_is_checked_when_its_time_is_over() {
    let mut lab = Lab::new("one");
    let good = lab.apply().plan.commit;
    lab.site.put("/etc/hello.conf", "drift");
    let commit = lab.site.host_file(&(host_file("one", "") + &maintenance(-HOUR, HOUR, ""))).to_string();
    *lab.service.read.borrow_mut() = b"bad".to_vec();
    for _ in 0..2 {
        let status = lab.status();
        assert_eq!((status.health, status.commit.as_deref()), (Health::Held, Some(&*commit)), "{status:?}");
    }
    assert_eq!((lab.conf().as_str(), lab.state().good, lab.site.events("held")), ("drift", Some(good), 0));
    lab.ahead = Duration::from_secs(2 * HOUR.unsigned_abs());
    let status = lab.status();
    assert_eq!((status.health, status.checked.map(|checked| checked.passed)), (Health::Converged, Some(1)));
    assert_eq!((lab.conf().as_str(), lab.state().good), ("one", Some(commit)));
}

#[test]
fn a_check_that_failed_before_a_maintenance_waits_and_runs_again_after_it() {
    let mut lab = Lab::new("one");
    lab.apply();
    *lab.service.read.borrow_mut() = b"bad".to_vec();
    lab.site.put("/etc/hello.conf", "bad");
    // It is the world's fault: the file is put right, and the service started with what it had.
    lab.service.config = lab.site.path("/etc/missing");
    std::fs::write(&lab.service.config, "bad").unwrap();
    assert_eq!(lab.status().health, Health::Failing);
    lab.site.host_file(&(host_file("one", "") + &maintenance(-HOUR, HOUR, "")));
    let status = lab.status();
    assert_eq!((status.health, status.checked, status.problems), (Health::Converged, None, vec![]));
    *lab.service.read.borrow_mut() = b"fine".to_vec();
    lab.ahead = Duration::from_secs(2 * HOUR.unsigned_abs());
    let status = lab.status();
    assert_eq!((status.health, status.checked.map(|checked| checked.passed)), (Health::Converged, Some(1)));
}
