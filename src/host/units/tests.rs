// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::offline::Install;
use super::*;

const PLAIN: &str = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
const MANY: &str = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target graphical.target\n\
                    RequiredBy=network.target\nAlias=other.service\nAlso=plain.service\n";
const TEMPLATE: &str = "[Service]\nExecStart=/bin/true %i\n[Install]\nWantedBy=multi-user.target\n";
const STATIC: &str = "[Service]\nExecStart=/bin/true\n";
const INDIRECT: &str = "[Service]\nExecStart=/bin/true\n[Install]\nAlso=plain.service\n";

/// A root with one unit of each sort.
fn root() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for target in ["multi-user", "graphical", "network"] {
        put(&format!("usr/lib/systemd/system/{target}.target"), "[Unit]\n");
    }
    put("usr/lib/systemd/system/plain.service", PLAIN);
    put("usr/lib/systemd/system/many.service", MANY);
    put("usr/lib/systemd/system/each@.service", TEMPLATE);
    put("usr/lib/systemd/system/static.service", STATIC);
    put("usr/lib/systemd/system/indirect.service", INDIRECT);
    put("usr/lib/systemd/system/dropped.service", STATIC);
    put("etc/systemd/system/dropped.service.d/install.conf", "[Install]\nWantedBy=multi-user.target\n");
    put("etc/systemd/system/own.service", PLAIN);
    dir
}

fn act_in(dir: &Path, action: UnitAction, unit: &str) -> Result<(), HostError> {
    act(&Root::open(dir).unwrap(), action, unit)
}

fn state_in(dir: &Path, unit: &str) -> String {
    states(&Root::open(dir).unwrap(), &[unit]).unwrap().remove(0).file_state
}

/// Returns every link below /etc/systemd/system with the last part of its target.
fn links_in(dir: &Path) -> BTreeMap<String, String> {
    let mut links = BTreeMap::new();
    let config = dir.join("etc/systemd/system");
    let mut dirs = vec![config.clone()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            } else if let Ok(target) = fs::read_link(&path) {
                let name = path.strip_prefix(&config).unwrap().to_str().unwrap().to_owned();
                links.insert(name, target.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    links
}

/// Runs `systemctl --root`; `None` where there is none.
fn systemctl(dir: &Path, args: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("systemctl").arg("--root").arg(dir).args(args).output().ok()?;
    Some((output.status.success(), String::from_utf8(output.stdout).unwrap().trim().to_owned()))
}

const UNITS: [&str; 8] = [
    "plain.service",
    "many.service",
    "each@one.service",
    "static.service",
    "indirect.service",
    "dropped.service",
    "own.service",
    "missing.service",
];

#[test]
fn enable_mask_and_disable_by_files_do_what_systemctl_does() {
    if systemctl(Path::new("/"), &["--version"]).is_none() {
        eprintln!("skipped: there is no systemctl to compare with");
        return;
    }
    let walks: [&[UnitAction]; 5] = [
        &[UnitAction::Enable],
        &[UnitAction::Enable, UnitAction::Disable],
        &[UnitAction::Mask],
        &[UnitAction::Mask, UnitAction::Unmask],
        &[UnitAction::Enable, UnitAction::Enable, UnitAction::Mask, UnitAction::Unmask],
    ];
    for unit in UNITS.into_iter().filter(|unit| *unit != "missing.service") {
        for walk in walks {
            let (ours, theirs) = (root(), root());
            for &action in walk {
                let our = act_in(ours.path(), action, unit);
                let (their, _) = systemctl(theirs.path(), &[action.verb(), unit]).unwrap();
                // Newer releases of systemctl refuse to mask what has its file in /etc with another status.
                assert_eq!(our.is_ok(), their, "{action:?} of {walk:?} {unit}: {our:?}");
            }
            assert_eq!(links_in(ours.path()), links_in(theirs.path()), "{walk:?} {unit}");
            let (_, said) = systemctl(theirs.path(), &["is-enabled", unit]).unwrap();
            assert_eq!(state_in(ours.path(), unit), said, "{walk:?} {unit}");
        }
    }
}

#[test]
fn states_by_files_are_those_that_systemctl_gives() {
    let dir = root();
    let etc = dir.path().join("etc/systemd/system");
    act_in(dir.path(), UnitAction::Enable, "many.service").unwrap();
    act_in(dir.path(), UnitAction::Mask, "static.service").unwrap();
    fs::write(etc.join("empty.service"), "").unwrap();
    fs::create_dir_all(dir.path().join("opt")).unwrap();
    fs::write(dir.path().join("opt/linked.service"), PLAIN).unwrap();
    symlink("/opt/linked.service", etc.join("linked.service")).unwrap();
    fs::create_dir_all(dir.path().join("usr/lib/systemd/system/multi-user.target.wants")).unwrap();
    symlink("../own.service", dir.path().join("usr/lib/systemd/system/multi-user.target.wants/own.service")).unwrap();
    let expected = [
        ("plain.service", "enabled"), // By Also= of the other.
        ("many.service", "enabled"),
        ("other.service", "alias"),
        ("each@one.service", "disabled"),
        ("static.service", "masked"),
        ("indirect.service", "indirect"),
        ("dropped.service", "disabled"),
        ("own.service", "disabled"), // In spite of the link below /usr.
        ("linked.service", "linked"),
        ("empty.service", "masked"),
        ("missing.service", ""),
    ];
    for (unit, state) in expected {
        assert_eq!(state_in(dir.path(), unit), state, "{unit}");
        if let Some((_, said)) = systemctl(dir.path(), &["is-enabled", unit]) {
            let said = if said == "not-found" { String::new() } else { said };
            assert_eq!(said, state, "systemctl, {unit}");
        }
    }
}

#[test]
fn enabling_is_refused_with_the_reason() {
    let dir = root();
    act_in(dir.path(), UnitAction::Enable, "many.service").unwrap();
    act_in(dir.path(), UnitAction::Mask, "plain.service").unwrap();
    let why = |unit| act_in(dir.path(), UnitAction::Enable, unit).unwrap_err().to_string();
    assert_eq!(why("missing.service"), "systemd cannot enable missing.service: it has no unit file");
    assert_eq!(why("plain.service"), "systemd cannot enable plain.service: it is masked");
    assert_eq!(
        why("other.service"),
        "systemd cannot enable other.service: it is another name for many.service; declare that"
    );
}

#[test]
fn an_alias_does_not_take_the_place_of_another_unit() {
    let dir = root();
    symlink("/lib/systemd/system/foreign.service", dir.path().join("etc/systemd/system/other.service")).unwrap();
    let error = act_in(dir.path(), UnitAction::Enable, "many.service").unwrap_err().to_string();
    assert!(error.contains("already points to /lib/systemd/system/foreign.service"), "{error}");
}

#[test]
fn a_mask_does_not_take_the_place_of_a_unit_file() {
    let dir = root();
    let error = act_in(dir.path(), UnitAction::Mask, "own.service").unwrap_err().to_string();
    assert_eq!(error, "systemd cannot mask own.service: /etc/systemd/system/own.service is in the way");
    assert_eq!(fs::read_to_string(dir.path().join("etc/systemd/system/own.service")).unwrap(), PLAIN);
}

#[test]
fn links_never_lead_out_of_the_root() {
    let (dir, outside) = (root(), tempfile::tempdir().unwrap());
    symlink(outside.path(), dir.path().join("etc/systemd/system/multi-user.target.wants")).unwrap();
    let _ = act_in(dir.path(), UnitAction::Enable, "plain.service");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn nothing_runs_under_another_root() {
    let dir = root();
    for action in [UnitAction::Start, UnitAction::Stop, UnitAction::Restart, UnitAction::Reload] {
        assert!(matches!(act_in(dir.path(), action, "plain.service"), Err(HostError::Unit { .. })), "{action:?}");
    }
    let state = states(&Root::open(dir.path()).unwrap(), &["plain.service"]).unwrap().remove(0);
    assert_eq!((state.active, state.needs_reload), (None, false));
}

#[test]
fn without_names_nobody_is_asked() {
    assert_eq!(states(&Root::open(Path::new("/")).unwrap(), &[]).unwrap(), []);
}

#[test]
fn install_sections_are_read_as_systemd_reads_them() {
    let mut install = Install::default();
    install.read("[Unit]\nWantedBy=no.target\n[Install]\n# Alias=no.service\nWantedBy = a.target \\\n  b.target\nAlso=x.socket\n");
    assert_eq!(install.wanted_by, ["a.target", "b.target"]);
    assert_eq!(install.also, ["x.socket"]);
    assert!(install.alias.is_empty());
    install.read("[Install]\nWantedBy=\nWantedBy=c.target\n");
    assert_eq!(install.wanted_by, ["c.target"]);
}

#[test]
fn the_answer_of_systemctl_show_is_read_block_by_block() {
    let text = "Id=ssh.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=yes\n\
                DropInPaths=/etc/systemd/system/ssh.service.d/a.conf /run/b.conf\n\n\
                Id=no.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\nNeedDaemonReload=no\nDropInPaths=\n";
    let shown = systemctl::parse(text);
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0].drop_ins, ["/etc/systemd/system/ssh.service.d/a.conf", "/run/b.conf"]);
    assert_eq!(
        shown[0].state,
        UnitState {
            name: "ssh.service".to_owned(),
            load: "loaded".to_owned(),
            active: Some("active".to_owned()),
            file_state: "enabled".to_owned(),
            needs_reload: true,
        }
    );
    assert_eq!((shown[1].state.load.as_str(), shown[1].state.file_state.as_str()), ("not-found", ""));
}

#[test]
fn what_must_be_loaded_again_is_told_exactly() {
    let dir = root();
    let root = Root::open(dir.path()).unwrap();
    let drop_in = "/etc/systemd/system/dropped.service.d/install.conf".to_owned();
    let check = |load: &str, file_state: &str, systemd_says: bool, loaded: &[String]| {
        let state = UnitState {
            name: "dropped.service".to_owned(),
            load: load.to_owned(),
            active: Some("inactive".to_owned()),
            file_state: file_state.to_owned(),
            needs_reload: systemd_says,
        };
        needs_reload(&root, &state, loaded).unwrap()
    };
    assert!(check("loaded", "static", false, &[]), "a drop-in that systemd has not seen");
    assert!(!check("loaded", "static", false, &[drop_in]), "all drop-ins are loaded");
    assert!(check("loaded", "static", true, &[]));
    assert!(!check("masked", "masked", true, &[]), "systemd says so of every masked unit");
    assert!(check("masked", "disabled", true, &[]), "the mask is gone, but systemd does not know");
    assert!(!check("not-found", "", false, &[]));
}
