// SPDX-License-Identifier: Apache-2.0
use std::path::Path;

use super::super::simulation::Simulation;
use super::Host;
use crate::host::{FileKind, NewFile, ReadHost, UnitAction, WriteHost};

const FILE: NewFile<'static> = NewFile { content: b"new", owner: None, mode: 0o600, check: None };

fn simulate(host: &Host) -> Simulation<'_> {
    Simulation::of(std::iter::empty(), host)
}

#[test]
fn what_is_changed_is_seen_and_the_host_is_as_before() {
    let host = Host::with_alice();
    let after = simulate(&host);
    let [file, new, gone] = ["/etc/shells", "/etc/new", "/etc/shadow"].map(Path::new);
    after.replace_file(file, &FILE).unwrap();
    after.replace_file(new, &FILE).unwrap();
    after.remove(gone).unwrap();
    assert_eq!(after.read(file).unwrap().unwrap(), b"new");
    assert_eq!(after.stat(file).unwrap().unwrap().mode, 0o600);
    assert_eq!(after.read(gone).unwrap(), None);
    let names = after.list(Path::new("/etc")).unwrap().unwrap();
    assert!(names.contains(&"new".into()) && !names.contains(&"shadow".into()));
    assert!(host.stat(new).unwrap().is_none() && host.stat(gone).unwrap().is_some());
    assert_ne!(host.read(file).unwrap().unwrap(), b"new");
}

#[test]
fn a_tree_that_went_is_empty_when_it_comes_back() {
    let host = Host::with_alice();
    let after = simulate(&host);
    let [tree, file] = ["/etc/sudoers.d", "/etc/sudoers.d/README"].map(Path::new);
    after.remove_tree(tree).unwrap();
    assert_eq!(after.stat(file).unwrap(), None);
    after.make_dir(tree, None, 0o755).unwrap();
    assert_eq!(after.list(tree).unwrap().unwrap(), Vec::<std::ffi::OsString>::new());
    assert_eq!(after.read(file).unwrap(), None);
}

#[test]
fn links_are_followed_where_they_lead_after_the_change() {
    let host = Host::with_alice();
    let after = simulate(&host);
    after.make_link(Path::new("/srv"), Path::new("etc"), None).unwrap();
    assert!(after.read(Path::new("/srv/shells")).unwrap().is_some());
    after.replace_file(Path::new("/srv/shells"), &FILE).unwrap();
    assert_eq!(after.read(Path::new("/etc/shells")).unwrap().unwrap(), b"new");
    assert_eq!(after.stat(Path::new("/srv")).unwrap().unwrap().kind, FileKind::Link);
    after.make_link(Path::new("/a"), Path::new("/b"), None).unwrap();
    after.make_link(Path::new("/b"), Path::new("/a"), None).unwrap();
    assert_eq!(after.read(Path::new("/a/x")).unwrap(), None, "a circle ends");
}

#[test]
fn accounts_are_edited_and_units_act() {
    let host = Host::with_alice();
    let after = simulate(&host);
    let edit = |files: crate::host::AccountFiles| Ok(crate::host::AccountFiles { passwd: Some(b"x".into()), ..files });
    after.edit_accounts(&mut { edit }).unwrap();
    assert_eq!(after.read(Path::new("/etc/passwd")).unwrap().unwrap(), b"x");
    assert_eq!(after.stat(Path::new("/etc/passwd")).unwrap().unwrap().mode, 0o644);
    after.act_on_unit(UnitAction::Stop, "ssh.service").unwrap();
    after.act_on_unit(UnitAction::Mask, "ssh.service").unwrap();
    let state = after.units(&["ssh.service"]).unwrap().remove(0);
    assert_eq!((state.active.as_deref(), state.load.as_str()), (Some("inactive"), "masked"));
    assert!(after.run("true", &[]).is_err(), "nothing is run");
}
