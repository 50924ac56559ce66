// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::model::ownership::OwnershipChange;
use crate::model::{Action, Origin};
use crate::resources::service::{ObservedUnit, OnDisk};
use crate::resources::{Contents, group};

struct NoContents;

impl Contents for NoContents {
    fn source(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(path.to_owned())
    }

    fn template(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(path.to_owned())
    }

    fn addresses(
        &self,
        place: &crate::resources::firewall::Place,
    ) -> Result<Vec<crate::resources::firewall::Network>, String> {
        Err(format!("there is no {place}"))
    }
}

fn declared(name: &str, json: &str) -> Declared<DesiredUnit> {
    let at = |line| Location { line, column: 1, ..Location::file("profiles/web.yaml") };
    let fields = [("restart_when".to_owned(), at(7)), ("reload_when".to_owned(), at(8))].into();
    let origin = Origin { object: at(5), fields };
    let want = Service::resolve(name, serde_json::from_str(json).unwrap(), &origin, &NoContents).unwrap();
    Declared { name: name.to_owned(), mode: Mode::Enforce, want: Some(want), origin }
}

fn observed(active: &str) -> service::Observed {
    let unit = ObservedUnit {
        active: Some(active.to_owned()),
        file_state: "enabled".to_owned(),
        needs_reload: false,
        file: OnDisk::Missing,
        drop_ins: BTreeMap::new(),
    };
    service::Observed { live: true, units: [("app".to_owned(), unit)].into() }
}

fn step(object: &str, operation: Operation) -> Step<Operation> {
    Step {
        object: object.parse().unwrap(),
        action: Action::Alter,
        changes: Vec::new(),
        origin: None,
        ownership: OwnershipChange::default(),
        operation,
    }
}

/// A step of some other kind: what it does plays no part here, only that its object changes.
fn change(object: &str) -> Step<Operation> {
    step(object, Operation::Group(group::Operation::Remove { name: "x".to_owned() }))
}

fn act(object: &str, act: Act) -> Step<Operation> {
    let unit = UnitName::parse("app").unwrap();
    step(object, Operation::Service(service::Operation { unit, act, needs: Vec::new() }))
}

fn pending(reaction: Reaction, because: &str) -> Pending {
    let because = because.parse().unwrap();
    Pending([("service:app".parse().unwrap(), Trigger { reaction, because })].into())
}

/// Adds to the steps; returns what was added, as people are shown it.
fn added(
    mut steps: Vec<Step<Operation>>,
    services: &[Declared<DesiredUnit>],
    observed: &service::Observed,
    pending: &Pending,
) -> Vec<String> {
    let before = steps.len();
    add(&mut steps, services, observed, pending);
    steps[before..].iter().map(|step| format!("{:?}", step.changes[0].to)).collect()
}

const WHEN: &str = r#"{"restart_when": ["file:/etc/a", "file:/etc/b"], "reload_when": ["file:/etc/c"]}"#;

#[test]
fn a_change_of_a_listed_object_restarts_or_reloads_once() {
    let cases: [(&[&str], &[&str]); 5] = [
        (&["file:/etc/a"], &[r#"Text("restarted (file:/etc/a changed)")"#]),
        (&["file:/etc/b", "file:/etc/a"], &[r#"Text("restarted (file:/etc/a changed)")"#]),
        (&["file:/etc/c"], &[r#"Text("reloaded (file:/etc/c changed)")"#]),
        (&["file:/etc/c", "file:/etc/b"], &[r#"Text("restarted (file:/etc/b changed)")"#]),
        (&["file:/etc/d"], &[]),
    ];
    for (changed, expected) in cases {
        let steps = changed.iter().map(|object| change(object)).collect();
        assert_eq!(added(steps, &[declared("app", WHEN)], &observed("active"), &Pending::default()), expected);
    }
}

#[test]
fn a_change_of_its_own_files_restarts_a_unit() {
    let configure = || vec![act("service:app", Act::Configure { write: Vec::new(), remove: Vec::new() })];
    let expected = [r#"Text("restarted (its own files changed)")"#];
    let none = Pending::default();
    assert_eq!(added(configure(), &[declared("app", "{}")], &observed("active"), &none), expected);
    assert!(added(configure(), &[declared("app", "{}")], &observed("inactive"), &none).is_empty());
}

#[test]
fn unit_files_declared_as_files_are_loaded_too() {
    let path = "file:/etc/systemd/system/app.service.d/x.conf";
    let loaded = r#"Text("as its files")"#.to_owned();
    let restarted = format!(r#"Text("restarted ({path} changed)")"#);
    let add = |active| added(vec![change(path)], &[declared("app", "{}")], &observed(active), &Pending::default());
    assert_eq!(add("active"), [loaded.clone(), restarted]);
    assert_eq!(add("inactive"), [loaded]);
}

#[test]
fn a_unit_that_does_not_run_or_shall_not_is_left_alone() {
    let changed = || vec![change("file:/etc/a")];
    let none = Pending::default();
    let with = |more: &str| [declared("app", &WHEN.replacen('{', &format!("{{{more}, "), 1))];
    assert!(added(changed(), &[declared("app", WHEN)], &observed("inactive"), &none).is_empty());
    assert!(added(changed(), &with(r#""running": false"#), &observed("active"), &none).is_empty());
    assert!(added(changed(), &with(r#""masked": true"#), &observed("active"), &none).is_empty());
    let mut watched = declared("app", WHEN);
    watched.mode = Mode::Observe;
    assert!(added(changed(), &[watched], &observed("active"), &none).is_empty());
    let elsewhere = service::Observed { live: false, ..observed("active") };
    assert!(added(changed(), &[declared("app", WHEN)], &elsewhere, &none).is_empty());
}

#[test]
fn a_start_from_stopped_makes_a_restart_superfluous() {
    let steps = vec![change("file:/etc/a"), act("service:app", Act::Run(true))];
    let services = [declared("app", WHEN)];
    assert!(added(steps, &services, &observed("failed"), &pending(Reaction::Restart, "file:/etc/a")).is_empty());
}

#[test]
fn what_is_owed_is_made_good_without_another_change() {
    let services = [declared("app", WHEN)];
    let owes = |steps, reaction| added(steps, &services, &observed("active"), &pending(reaction, "file:/etc/gone"));
    assert_eq!(owes(vec![], Reaction::Reload), [r#"Text("reloaded (file:/etc/gone changed)")"#]);
    assert_eq!(
        owes(vec![change("file:/etc/c")], Reaction::Restart),
        [r#"Text("restarted (file:/etc/gone changed)")"#],
        "an owed restart counts more than a new reload"
    );
    assert_eq!(
        owes(vec![change("file:/etc/a")], Reaction::Reload),
        [r#"Text("restarted (file:/etc/a changed)")"#],
        "a new restart counts more than an owed reload"
    );
    assert!(added(vec![], &[], &observed("active"), &pending(Reaction::Restart, "file:/etc/a")).is_empty());
}

#[test]
fn what_a_plan_owes_is_what_its_reactions_pay() {
    let mut steps = vec![change("file:/etc/a")];
    add(&mut steps, &[declared("app", WHEN)], &observed("active"), &Pending::default());
    assert_eq!(owed(&steps), pending(Reaction::Restart, "file:/etc/a"));
    assert_eq!(paid(&steps[0]), None);
    assert_eq!(paid(&steps[1]), Some(&"service:app".parse().unwrap()));
    let text = serde_json::to_string(&owed(&steps)).unwrap();
    assert_eq!(text, r#"{"service:app":{"reaction":"restart","because":"file:/etc/a"}}"#);
    assert_eq!(serde_json::from_str::<Pending>(&text).unwrap(), owed(&steps));
}

#[test]
fn a_reaction_needs_what_it_waits_for() {
    let mut steps = vec![change("file:/etc/a")];
    add(&mut steps, &[declared("app", WHEN)], &observed("active"), &Pending::default());
    let needs: Vec<String> = crate::resources::order::needs(&steps[1]).iter().map(ToString::to_string).collect();
    assert_eq!(
        needs,
        [
            "file:/etc/a",
            "file:/etc/b",
            "file:/etc/c",
            "file:/etc/systemd/system/app.service",
            "file:/etc/systemd/system/app.service.d"
        ]
    );
    assert_eq!(steps[1].origin.as_ref().map(ToString::to_string).as_deref(), Some("profiles/web.yaml:7"));
}

#[test]
fn references_carry_the_place_that_names_them() {
    let desired = Desired { services: vec![declared("app", WHEN)], ..Desired::default() };
    let references: Vec<String> = references(&desired).iter().map(|(object, at)| format!("{object} {at}")).collect();
    assert_eq!(
        references,
        ["file:/etc/a profiles/web.yaml:7", "file:/etc/b profiles/web.yaml:7", "file:/etc/c profiles/web.yaml:8"]
    );
}

/// Holds back all but the excepted; returns what is carried out, what is held and what is owed then.
fn held_but(except: &str, changed: &[&str], before: &Pending) -> [Vec<String>; 3] {
    let maintenance: crate::model::Maintenance = serde_json::from_value(serde_json::json!({
        "from": "", "until": "", "reason": "", "except": [except],
    }))
    .unwrap();
    let services = [declared("app", WHEN)];
    let mut steps = changed.iter().map(|object| change(object)).collect();
    let mut held = crate::resources::hold_back(&mut steps, &maintenance);
    add(&mut steps, &services, &observed("active"), before);
    held.extend(crate::resources::hold_back(&mut steps, &maintenance));
    let objects = |steps: &[Step<Operation>]| steps.iter().map(|step| step.object.to_string()).collect();
    let owed = owed(steps.iter().chain(&held)).0.into_values().map(|trigger| trigger.because.to_string());
    [objects(&steps), objects(&held), owed.collect()]
}

#[test]
fn what_maintenance_holds_back_restarts_nothing_and_what_it_excepts_is_owed_its_restart() {
    let none = Pending::default();
    type Names<'n> = &'n [&'n str];
    let table: [(&str, Names, &Pending, [Names; 3]); 4] = [
        ("file:/etc/d", &["file:/etc/a", "file:/etc/d"], &none, [&["file:/etc/d"], &["file:/etc/a"], &[]]),
        ("service:app", &["file:/etc/a"], &none, [&[], &["file:/etc/a"], &[]]),
        (
            "file:/etc/b",
            &["file:/etc/a", "file:/etc/b"],
            &none,
            [&["file:/etc/b"], &["file:/etc/a", "service:app"], &["file:/etc/b"]],
        ),
        ("file:/etc/d", &[], &pending(Reaction::Reload, "file:/etc/c"), [&[], &["service:app"], &["file:/etc/c"]]),
    ];
    for (except, changed, before, expected) in table {
        let found = held_but(except, changed, before);
        assert_eq!(
            found.each_ref().map(|names| names.iter().map(String::as_str).collect::<Vec<_>>()),
            expected,
            "{except}"
        );
    }
}
