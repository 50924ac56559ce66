// SPDX-License-Identifier: Apache-2.0
//! Hosts before and after: each folder here is a scenario.
//!
//! | in a folder | what it is |
//! |---|---|
//! | `repo/` | the infra repo, without its top and its policy |
//! | `root/` | what the host has besides that which every fresh host has (optional) |
//! | `expected-plan.txt` | what `plan` prints |
//! | `expected-apply.txt` | what `apply` prints, where it must fail (optional) |
//! | `expected-root.txt` | what differs on the host after `apply`: all else is as it was |
//! | `expected-error.txt` | the error, in the place of all of the above |
//! | `next-repo/`, `expected-next-plan.txt` and so on | the repo one commit later (optional) |
//!
//! `HOSTWRIT_BLESS=1 cargo test --test scenarios` rewrites the expected files; read the difference before you commit it.
#![allow(clippy::disallowed_methods)]

#[path = "../fixture/mod.rs"]
mod fixture;
#[path = "../site/mod.rs"]
mod site;

mod difference;

use std::fs;
use std::path::{Path, PathBuf};

use site::Site;

/// One test for each folder, so that they run side by side and are named in the output.
macro_rules! scenarios {
    ($($name:ident)+) => {
        const WIRED: &[&str] = &[$(stringify!($name)),+];
        $(#[test] fn $name() { run(stringify!($name)); })+
    };
}

scenarios! {
    absent
    dependency_skipped
    exact_directory
    first_files
    first_groups_and_users
    first_service
    group_rename
    group_rename_while_in_use
    layers
    link_in_the_way
    observe
    owned_is_removed
    ports
    renew
    template
    uid_reuse
    unmanaged_is_left
    unsound
}

/// Not root, a host below a root directory cannot have owners, so they are neither shown in plans nor compared.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn every_folder_is_wired_and_complete() {
    let mut found: Vec<String> = fs::read_dir(folder(""))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    assert_eq!(found, WIRED, "add the folder to the list, or remove it");
    for name in found {
        let has = |file: &str| folder(&name).join(file).exists();
        assert!(has("repo"), "{name} has no repo/");
        if has("expected-error.txt") {
            assert!(!has("expected-plan.txt") && !has("expected-root.txt"), "{name} expects an error and a plan");
        } else {
            assert!(has("expected-plan.txt") && has("expected-root.txt"), "{name} expects neither a plan nor an error");
        }
        let next = ["next-repo", "expected-next-plan.txt", "expected-next-root.txt"].map(has);
        assert!(next == [true; 3] || next == [false; 3], "{name} has only some of the files of a second commit");
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(name)
}

fn run(name: &str) {
    let folder = folder(name);
    let site = Site::new(&[]);
    if folder.join("root").exists() {
        lay(&folder.join("root"), &site.root());
    }
    commit(&site, &folder.join("repo"));

    if folder.join("expected-error.txt").exists() {
        let before = site.listing();
        let applied = site.run(&["apply"]);
        expect(&folder.join("expected-error.txt"), &format!("{}exit code {}\n", applied.stderr, applied.code));
        assert_eq!(difference::between(&before, &site.listing(), is_root()), "");
        return;
    }
    converge(&site, &folder, "expected");
    if folder.join("next-repo").exists() {
        commit(&site, &folder.join("next-repo"));
        converge(&site, &folder, "expected-next");
    }
}

fn converge(site: &Site, folder: &Path, expected: &str) {
    let file = |what: &str| folder.join(format!("{expected}-{what}.txt"));
    let before = site.listing();
    let planned = site.run(&["plan"]);
    assert!(planned.code == 3 || planned.code == 0, "{planned:?}");
    expect_plan(&file("plan"), &format!("{}{}", planned.stderr, planned.stdout));
    assert_eq!(site.listing(), before, "a plan changed the host");

    let applied = site.run(&["apply"]);
    expect(&file("root"), &difference::between(&before, &site.listing(), is_root()));
    if file("apply").exists() {
        assert_eq!(applied.code, 1, "{applied:?}");
        expect_plan(&file("apply"), &format!("{}{}", applied.stderr, applied.stdout));
        assert_eq!(site.run(&["audit", "verify"]).code, 0);
    } else {
        assert_eq!(applied.code, 0, "{applied:?}");
        site.agrees();
    }
}

/// Puts the folder in the place of all that the repo holds, but for its top and its policy.
fn commit(site: &Site, folder: &Path) {
    for dir in ["hosts", "profiles", "files", "templates"] {
        let _ = fs::remove_dir_all(site.repo.path().join(dir));
    }
    lay(folder, site.repo.path());
    site.repo.commit("The next order", Some(&site.keys.alice));
}

fn lay(folder: &Path, over: &Path) {
    let status = std::process::Command::new("cp").args(["-r", "-P"]).arg(folder.join(".")).arg(over).status().unwrap();
    assert!(status.success());
}

fn expect(file: &Path, found: &str) {
    compare(file, found, difference::without_owners);
}

fn expect_plan(file: &Path, found: &str) {
    compare(file, found, difference::only_objects);
}

/// Compares with the file; an ordinary user compares only what `reduce` leaves of both.
fn compare(file: &Path, found: &str, reduce: fn(&str) -> String) {
    if std::env::var_os("HOSTWRIT_BLESS").is_some_and(|value| value == "1") && is_root() {
        fs::write(file, found).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let same = if is_root() { expected == found } else { reduce(&expected) == reduce(found) };
    assert!(same, "{}: expected\n{expected}\nfound\n{found}", file.display());
}
