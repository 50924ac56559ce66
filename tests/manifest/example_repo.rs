// SPDX-License-Identifier: Apache-2.0
//! `example-repo/` is what people copy, so it is always sound, and hosts agree with it after one apply.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use hostwrit::host::RealHost;
use hostwrit::manifest::{Facts, compile};
use hostwrit::model::Owned;
use hostwrit::resources::{self, Pending};
use hostwrit::trust::{Cache, authenticate};

use super::fixture::Fleet;
use super::{Files, in_repo};

#[test]
fn the_example_repo_is_sound() {
    let checked = hostwrit::manifest::check(&Files::read(&in_repo("example-repo")));
    assert_eq!(checked.faults.to_string(), "");
    assert_eq!(checked.hosts, 2);
    assert!(checked.objects > 30, "{} objects", checked.objects);
}

/// Makes what a freshly installed Debian has, as far as the example repo builds on it.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in
        ["etc/systemd/system", "etc/sudoers.d", "etc/skel", "home", "srv", "usr/local/bin", "usr/lib/systemd/system"]
    {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    for (path, text) in [
        ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
        ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
        ("etc/group", "root:x:0:\nsudo:x:27:\n"),
        ("etc/gshadow", "root:*::\nsudo:*::\n"),
        ("usr/lib/systemd/system/ssh.service", "[Service]\nExecStart=/usr/sbin/sshd -D\n"),
    ] {
        fs::write(root.path().join(path), text).unwrap();
    }
    root
}

fn converge(fleet: &Fleet, name: &str) -> (tempfile::TempDir, Vec<String>, Vec<String>) {
    let store = fleet.repo.store();
    let tip = fleet.repo.id("HEAD");
    let tree = authenticate(&store, &fleet.anchor(), None, &tip, SystemTime::now(), &mut Cache::default()).unwrap();
    let root = root();
    let host = RealHost::open(root.path()).unwrap();
    let facts = Facts::gather(&host, name).unwrap();
    let desired = compile(&tree, name, &facts).unwrap();
    let mut owned = Owned::default();
    let mut plan = || {
        let observed = resources::observe(&desired, &owned, &host).unwrap();
        let steps = resources::diff(&desired, &observed, &owned, &Pending::default(), None).enforced;
        for step in &steps {
            owned.claim(&step.object, &step.ownership);
            resources::apply(&step.operation, &host).unwrap_or_else(|error| panic!("{}: {error:?}", step.object));
            owned.give_up(&step.object, &step.ownership);
        }
        steps.iter().map(|step| format!("{}{}", step.action.sign(), step.object)).collect::<Vec<_>>()
    };
    let first = plan();
    let second = plan();
    (root, first, second)
}

#[test]
fn hosts_agree_with_the_signed_example_repo_after_one_apply() {
    let fleet = Fleet::new();
    for (path, content) in Files::read(&in_repo("example-repo")).0 {
        if !path.starts_with("policy/") {
            fleet.repo.write(&path, &String::from_utf8(content).unwrap());
        }
    }
    fleet.repo.commit("the example", Some(&fleet.alice));

    let (web1, first, second) = converge(&fleet, "web1");
    assert!(first.contains(&"+user:alice".to_owned()) && first.contains(&"+service:hello".to_owned()), "{first:?}");
    assert_eq!(second, Vec::<String>::new());
    let read = |root: &Path, path: &str| fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(read(web1.path(), "etc/hello/hello.conf"), "GREETING=\"Hello from web1\"\nINTERVAL=60\n");
    assert_eq!(read(web1.path(), "etc/hello/sites.d/main"), "SITE=shop.example.org\nLOG=verbose\n");
    assert!(read(web1.path(), "etc/motd").starts_with("web1 (web), debian 12\n"));
    assert!(read(web1.path(), "etc/motd").contains("Administrators: alice bob\n"));

    let (db1, _, second) = converge(&fleet, "db1");
    assert_eq!(second, Vec::<String>::new());
    assert!(read(db1.path(), "etc/systemd/system/prune-dumps.service").contains("-mtime +14"));
    assert!(!db1.path().join("etc/hello").exists());
}
