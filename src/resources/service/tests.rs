// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use crate::host::RealHost;
use crate::model::ownership::WHOLE;
use crate::model::{Action, Declared, Location, Mode, ObjectId, Origin, Owned, Step};
use crate::resources::{Content, Contents, Resource};

use super::{Act, DesiredUnit, Observed, ObservedUnit, OnDisk, Operation, Service, Spec, UnitName};

const UNIT: &str = "[Service]\nExecStart=/bin/app\n[Install]\nWantedBy=multi-user.target\n";

struct NoContents;

impl Contents for NoContents {
    fn source(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(format!("there is no files/{path}"))
    }

    fn template(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(format!("there is no templates/{path}"))
    }

    fn addresses(
        &self,
        place: &crate::resources::firewall::Place,
    ) -> Result<Vec<crate::resources::firewall::Network>, String> {
        Err(format!("there is no {place}"))
    }
}

fn origin() -> Origin {
    Origin { object: Location::file("hosts/web1.yaml"), fields: BTreeMap::new() }
}

fn spec(json: &str) -> Spec {
    serde_json::from_str(json).unwrap()
}

/// Returns the faults of a service, one a line, without the place.
fn faults(name: &str, json: &str) -> String {
    match Service::resolve(name, spec(json), &origin(), &NoContents) {
        Ok(_) => String::new(),
        Err(faults) => faults.iter().map(|fault| fault.message.as_str()).collect::<Vec<_>>().join("\n"),
    }
}

fn declared(name: &str, json: &str) -> Declared<DesiredUnit> {
    let want = Service::resolve(name, spec(json), &origin(), &NoContents).unwrap();
    Declared { name: name.to_owned(), mode: Mode::Enforce, want: Some(want), origin: origin() }
}

fn absent(name: &str) -> Declared<DesiredUnit> {
    Declared { name: name.to_owned(), mode: Mode::Enforce, want: None, origin: origin() }
}

fn seen(active: &str, file_state: &str) -> ObservedUnit {
    ObservedUnit {
        active: Some(active.to_owned()),
        file_state: file_state.to_owned(),
        needs_reload: false,
        file: OnDisk::Missing,
        drop_ins: BTreeMap::new(),
    }
}

fn on_disk(text: &str) -> OnDisk {
    OnDisk::File { content: Content::new(text.as_bytes().into()), mode: 0o644, owner: Some((0, 0)) }
}

fn owned(parts: &[&str]) -> Owned {
    let json = serde_json::json!({ "service:app": parts });
    if parts.is_empty() { Owned::default() } else { serde_json::from_value(json).unwrap() }
}

fn diff(desired: &[Declared<DesiredUnit>], unit: ObservedUnit, owned: &Owned) -> Vec<Step<Operation>> {
    let observed = Observed { live: true, units: [("app".to_owned(), unit)].into() };
    Service::diff(desired, &observed, owned)
}

/// Says in one word each what the steps for `app` do.
fn plan(json: &str, unit: ObservedUnit) -> String {
    words(&diff(&[declared("app", json)], unit, &Owned::default()))
}

fn words(steps: &[Step<Operation>]) -> String {
    let word = |step: &Step<Operation>| match &step.operation.act {
        Act::Configure { .. } => "configure",
        Act::Load => "load",
        Act::Mask(true) => "mask",
        Act::Mask(false) => "unmask",
        Act::Enable(true) => "enable",
        Act::Enable(false) => "disable",
        Act::Run(true) => "start",
        Act::Run(false) => "stop",
        Act::React(_) => "react",
        Act::Remove { .. } => "remove",
    };
    steps.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_name_without_suffix_is_a_service() {
    for (name, unit) in [
        ("nginx", "nginx.service"),
        ("backup.timer", "backup.timer"),
        ("getty@tty1", "getty@tty1.service"),
        ("my.app", "my.app.service"),
        ("srv-data.mount", "srv-data.mount"),
        (r"srv-my\x2ddata.mount", r"srv-my\x2ddata.mount"),
    ] {
        assert_eq!(UnitName::parse(name).unwrap().as_str(), unit);
    }
}

#[test]
fn names_that_systemd_would_refuse_are_faults() {
    for (name, why) in [
        ("nginx.service", "the suffix .service is understood"),
        ("a/b", "it holds '/'"),
        ("../../etc/passwd", "it holds '/'"),
        ("a b", "it holds ' '"),
        ("caf\u{e9}", "it holds '\u{e9}'"),
        (".timer", "nothing stands before its suffix"),
        ("@x", "nothing stands before its suffix"),
        ("", "nothing stands before its suffix"),
        ("sda.device", "the system itself makes units of type .device"),
        (&"x".repeat(250), "it is longer than 255 characters"),
    ] {
        let faults = faults(name, "{}");
        assert!(faults.contains(why), "{name}: {faults}");
    }
}

#[test]
fn contradictions_are_faults() {
    let cases = [
        (r#"{"masked": true, "running": true}"#, "a masked unit cannot be running as well"),
        (r#"{"masked": true, "enabled": true}"#, "a masked unit cannot be enabled as well"),
        (r#"{"masked": true, "unit": {"content": "[Unit]\n"}}"#, "a mask takes the place of the unit file"),
        (r#"{"unit": {}}"#, "unit says nothing of its content"),
        (r#"{"unit": {"content": " \n"}}"#, "the unit is empty, which systemd takes for a mask"),
        (r#"{"unit": {"source": "x"}}"#, "there is no files/x"),
        (r#"{"unit": {"content": "Key=1\n"}}"#, "the unit, line 1: an assignment stands before the first section"),
        (r#"{"unit": {"content": "[Unit]\nnonsense\n"}}"#, "the unit, line 2: this is no assignment"),
        (r#"{"unit": {"content": "[Unit\n"}}"#, "the unit, line 1: a section has no name or no closing bracket"),
        (r#"{"drop_ins": {"a.conf": {"content": "[Unit]\n"}}}"#, "the suffix .conf is understood"),
        (r#"{"drop_ins": {"a/b": {"content": "[Unit]\n"}}}"#, "it holds '/'"),
        (r#"{"drop_ins": {"..": {"content": "[Unit]\n"}}}"#, "starts with a dot"),
        (r#"{"drop_ins": {"a": {"content": "x\n"}}}"#, "drop-in a, line 1: this is no assignment"),
        (r#"{"restart_when": ["service:app"]}"#, "service:app waits for a change of itself"),
    ];
    for (json, why) in cases {
        let faults = faults("app", json);
        assert!(faults.contains(why), "{json}: {faults}");
    }
    assert!(faults("app@", r#"{"running": true}"#).contains("of which only instances can be running"));
}

#[test]
fn sound_unit_files_are_no_faults() {
    let text = "# comment\n\n[Service]\nExecStart=/bin/a \\\n  --flag \\\n# between\n  more\n; other\n[Install]\nWantedBy=a.target\n";
    let json = serde_json::json!({ "unit": { "content": text }, "drop_ins": { "10-a_b.c": { "content": "" } } });
    assert_eq!(faults("app", &json.to_string()), "");
    assert_eq!(faults("app@", r#"{"unit": {"content": "[Unit]\n"}}"#), "");
}

#[test]
fn a_unit_as_declared_needs_no_step() {
    let json = r#"{"enabled": true, "running": true, "masked": false}"#;
    for active in ["active", "activating", "reloading"] {
        assert_eq!(plan(json, seen(active, "enabled")), "", "{active}");
    }
    for state in ["disabled", "static", "generated", "indirect", "enabled-runtime", ""] {
        assert_eq!(plan(r#"{"enabled": false, "running": false}"#, seen("failed", state)), "", "{state}");
    }
    assert_eq!(plan("{}", seen("failed", "masked")), "");
}

#[test]
fn each_difference_is_a_step_of_its_own_in_a_fixed_order() {
    assert_eq!(plan(r#"{"running": true}"#, seen("failed", "enabled")), "start");
    assert_eq!(plan(r#"{"running": true}"#, seen("deactivating", "enabled")), "start");
    assert_eq!(plan(r#"{"running": false}"#, seen("activating", "enabled")), "stop");
    assert_eq!(plan(r#"{"enabled": true}"#, seen("active", "enabled-runtime")), "enable");
    assert_eq!(plan(r#"{"enabled": false, "running": false}"#, seen("active", "enabled")), "disable stop");
    assert_eq!(plan(r#"{"masked": true, "running": false}"#, seen("active", "enabled")), "mask stop");
    assert_eq!(plan(r#"{"masked": true}"#, seen("active", "masked-runtime")), "mask");
    let all = serde_json::json!({ "unit": { "content": UNIT }, "enabled": true, "running": true }).to_string();
    assert_eq!(plan(&all, seen("inactive", "")), "configure enable start");
}

#[test]
fn what_a_mask_hid_is_set_once_it_is_gone() {
    let json = r#"{"masked": false, "enabled": false}"#;
    assert_eq!(plan(json, seen("inactive", "masked")), "unmask disable");
    let unit = serde_json::json!({ "unit": { "content": UNIT }, "enabled": false }).to_string();
    let masked = ObservedUnit { file: OnDisk::Other("a link"), ..seen("inactive", "masked") };
    assert_eq!(plan(&unit, masked), "configure disable");
}

#[test]
fn changed_files_are_loaded_by_the_step_that_writes_them_or_by_one_of_their_own() {
    let stale = || ObservedUnit { needs_reload: true, ..seen("active", "enabled") };
    assert_eq!(plan("{}", stale()), "load");
    let unit = serde_json::json!({ "unit": { "content": UNIT } }).to_string();
    assert_eq!(plan(&unit, stale()), "configure");
}

#[test]
fn under_another_root_nothing_runs_so_running_is_not_compared() {
    let unit = ObservedUnit { active: None, needs_reload: true, ..seen("", "disabled") };
    let observed = Observed { live: false, units: [("app".to_owned(), unit)].into() };
    let desired = [declared("app", r#"{"enabled": true, "running": true}"#)];
    assert_eq!(words(&Service::diff(&desired, &observed, &Owned::default())), "enable");
}

#[test]
fn only_files_that_were_missing_become_owned() {
    let json = serde_json::json!({
        "unit": { "content": UNIT },
        "drop_ins": { "new": { "content": "[Unit]\n" }, "old": { "content": "[Unit]\n" } },
    });
    let unit = ObservedUnit {
        file: on_disk("[Service]\nExecStart=/bin/old\n"),
        drop_ins: [("new".to_owned(), OnDisk::Missing), ("old".to_owned(), on_disk("[Service]\n"))].into(),
        ..seen("active", "enabled")
    };
    let steps = diff(&[declared("app", &json.to_string())], unit, &Owned::default());
    assert_eq!(steps[0].ownership.claims, ["drop-in:new".to_owned()].into());
    assert_eq!(steps[0].action, Action::Alter);
    let fields: Vec<&str> = steps[0].changes.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["unit", "drop_ins.new", "drop_ins.old"]);
    let diff = steps[0].changes[0].diff.as_deref().unwrap();
    assert!(diff.contains("-ExecStart=/bin/old\n+ExecStart=/bin/app\n"), "{diff}");
}

#[test]
fn wrong_attributes_are_put_right_and_private_text_is_not_shown() {
    let content = Content::new(UNIT.as_bytes().into());
    let unit = |content, mode| ObservedUnit {
        file: OnDisk::File { content, mode, owner: Some((0, 0)) },
        ..seen("active", "enabled")
    };
    let json = serde_json::json!({ "unit": { "content": UNIT } }).to_string();
    let steps = diff(&[declared("app", &json)], unit(content, 0o666), &Owned::default());
    assert_eq!(words(&steps), "configure");
    let hidden = Content::new("[Service]\nEnvironment=TOKEN=x\n".as_bytes().into());
    let steps = diff(&[declared("app", &json)], unit(hidden, 0o600), &Owned::default());
    assert_eq!(steps[0].changes[0].diff, None);
}

#[test]
fn parts_that_leave_the_repo_go_only_if_hostwrit_made_them() {
    let unit = || ObservedUnit {
        file: on_disk(UNIT),
        drop_ins: [("mine".to_owned(), on_disk("[Unit]\n"))].into(),
        ..seen("active", "enabled")
    };
    let removed = |parts: &[&str]| match diff(&[declared("app", "{}")], unit(), &owned(parts)).pop() {
        Some(Step { operation: Operation { act: Act::Configure { remove, .. }, .. }, ownership, .. }) => {
            assert_eq!(ownership.gives_up, parts.iter().map(|part| (*part).to_owned()).collect());
            remove
        }
        _ => Vec::new(),
    };
    assert!(removed(&[]).is_empty());
    assert_eq!(removed(&["drop-in:mine"]), ["/etc/systemd/system/app.service.d/mine.conf"]);
    assert_eq!(removed(&[WHOLE]), ["/etc/systemd/system/app.service"]);
}

#[test]
fn a_service_that_leaves_the_repo_goes_as_far_as_hostwrit_made_it() {
    let removed = |desired: &[Declared<DesiredUnit>], file: OnDisk, parts: &[&str]| {
        let unit = ObservedUnit { file, ..seen("active", "enabled") };
        match diff(desired, unit, &owned(parts)).pop() {
            Some(Step { operation: Operation { act: Act::Remove { whole, files }, .. }, action, .. }) => {
                assert_eq!(action, Action::Remove);
                Some((whole, files.len()))
            }
            None => None,
            Some(step) => panic!("{step:?}"),
        }
    };
    assert_eq!(removed(&[], on_disk(UNIT), &[]), None, "not ours");
    assert_eq!(removed(&[], on_disk(UNIT), &[WHOLE, "drop-in:a"]), Some((true, 2)));
    assert_eq!(removed(&[], OnDisk::Missing, &["drop-in:a"]), Some((false, 1)), "a package's unit stays");
    assert_eq!(removed(&[absent("app")], OnDisk::Missing, &[]), None, "a package's unit stays");
    assert_eq!(removed(&[absent("app")], on_disk(UNIT), &[]), Some((true, 1)), "asked for by name");
}

#[test]
fn a_start_needs_the_files_that_the_same_plan_writes() {
    let json = serde_json::json!({ "unit": { "content": UNIT }, "running": true, "restart_when": ["file:/etc/app"] });
    let steps = diff(&[declared("app", &json.to_string())], seen("inactive", ""), &Owned::default());
    let needs: Vec<String> = steps[1].operation.needs.iter().map(ToString::to_string).collect();
    assert_eq!(needs, ["file:/etc/app", "service:app"]);
}

/// Observes, plans and carries out each step twice; returns what the steps did.
fn converge(host: &RealHost, desired: &[Declared<DesiredUnit>], owned: &mut Owned) -> String {
    let mut done = String::new();
    let observed = Service::observe(desired, owned, host).unwrap();
    for step in Service::diff(desired, &observed, owned) {
        owned.claim(&step.object, &step.ownership);
        Service::apply(&step.operation, host).unwrap();
        Service::apply(&step.operation, host).unwrap();
        owned.give_up(&step.object, &step.ownership);
        done.push_str(&words(&[step]));
        done.push(' ');
    }
    let observed = Service::observe(desired, owned, host).unwrap();
    assert_eq!(words(&Service::diff(desired, &observed, owned)), "", "the second plan is empty");
    done.trim_end().to_owned()
}

#[test]
fn a_service_is_made_changed_and_removed_under_a_root() {
    let root = tempfile::tempdir().unwrap();
    let host = RealHost::open(root.path()).unwrap();
    let mut owned = Owned::default();
    let with = |json: serde_json::Value| [declared("app", &json.to_string())];
    let first = with(serde_json::json!({
        "unit": { "content": UNIT }, "drop_ins": { "limits": { "content": "[Service]\nLimitNOFILE=9\n" } },
        "enabled": true, "running": true,
    }));
    assert_eq!(converge(&host, &first, &mut owned), "configure enable");
    let etc = root.path().join("etc/systemd/system");
    assert_eq!(fs::read_to_string(etc.join("app.service")).unwrap(), UNIT);
    assert!(etc.join("app.service.d/limits.conf").exists());
    assert!(etc.join("multi-user.target.wants/app.service").is_symlink());
    let object = ObjectId::new(Service::KIND, "app");
    assert_eq!(owned.parts(&object).collect::<Vec<_>>(), ["drop-in:limits", WHOLE]);

    let second = with(serde_json::json!({ "unit": { "content": UNIT }, "enabled": false }));
    assert_eq!(converge(&host, &second, &mut owned), "configure disable");
    assert!(!etc.join("app.service.d").exists(), "the last drop-in takes its directory along");

    assert_eq!(converge(&host, &with(serde_json::json!({ "masked": true })), &mut owned), "configure mask");
    assert_eq!(fs::read_link(etc.join("app.service")).unwrap().to_str(), Some("/dev/null"));
    assert_eq!(owned, Owned::default());

    assert_eq!(converge(&host, &first, &mut owned), "configure enable");
    assert_eq!(converge(&host, &[], &mut owned), "remove");
    assert!(!etc.join("app.service").exists() && !etc.join("multi-user.target.wants").exists());
    assert_eq!(owned, Owned::default());
}

#[test]
fn a_unit_without_install_section_is_refused_with_the_reason() {
    let root = tempfile::tempdir().unwrap();
    let host = RealHost::open(root.path()).unwrap();
    let etc = root.path().join("etc/systemd/system");
    fs::create_dir_all(&etc).unwrap();
    fs::write(etc.join("app.service"), "[Service]\nExecStart=/bin/app\n").unwrap();
    let operation = Operation { unit: UnitName::parse("app").unwrap(), act: Act::Enable(true), needs: Vec::new() };
    let error = Service::apply(&operation, &host).unwrap_err().to_string();
    assert!(error.starts_with("app.service cannot be enabled: its unit file has no [Install] section"), "{error}");
}
