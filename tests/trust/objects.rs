// SPDX-License-Identifier: Apache-2.0
//! Stores that lie or lack something, and trees that hold what they must not.

use hostwrit::model::RepoFiles as _;
use hostwrit::model::git::{ObjectError, RawObject};
use hostwrit::trust::Code;

use super::*;

#[test]
fn other_bytes_than_the_id_stands_for_are_refused() {
    let fleet = Fleet::new();
    let tip = fleet.change("one");
    let tree = fleet.repo.id("HEAD^{tree}");
    let policy = fleet.repo.id("HEAD:policy/policy.yaml");
    for id in [tip, fleet.root, tree, policy] {
        let mut store = fleet.repo.store();
        store.objects.get_mut(&id).unwrap().data.push(b'\n');
        refused_by(&store, &fleet.anchor(), None, &tip, Code::ObjectMismatch);
        let mut store = fleet.repo.store();
        store.objects.remove(&id);
        refused_by(&store, &fleet.anchor(), None, &tip, Code::ObjectMissing);
    }
}

#[test]
fn a_file_is_proven_when_it_is_read() {
    let fleet = Fleet::new();
    let tip = fleet.change("one");
    let mut store = fleet.repo.store();
    store.objects.get_mut(&fleet.repo.id("HEAD:files/motd")).unwrap().data = b"lie".to_vec();
    let tree = judge(&store, &fleet.anchor(), None, &tip).unwrap();
    assert!(tree.read("files/motd").is_err());
    assert!(tree.read("hosts/web1.yaml").unwrap().is_some());
}

/// Fails in one way for one object.
struct Failing<'s> {
    store: &'s fixture::Store,
    id: Oid,
    too_large: bool,
}

impl Objects for Failing<'_> {
    fn object(&self, id: &Oid) -> Result<RawObject, ObjectError> {
        match (*id == self.id, self.too_large) {
            (false, _) => self.store.object(id),
            (true, true) => Err(ObjectError::TooLarge { id: *id, limit: 1 }),
            (true, false) => Err(ObjectError::Unreadable { id: *id, source: "disk on fire".into() }),
        }
    }
}

#[test]
fn what_the_store_cannot_give_is_refused_by_its_reason() {
    let fleet = Fleet::new();
    let store = fleet.repo.store();
    let failing = |too_large| Failing { store: &store, id: fleet.root, too_large };
    refused_by(&failing(true), &fleet.anchor(), None, &fleet.root, Code::ObjectTooLarge);
    refused_by(&failing(false), &fleet.anchor(), None, &fleet.root, Code::ObjectUnreadable);
    let tree = fleet.repo.id("HEAD^{tree}");
    let long = payload(&tree, &[fleet.root], &"x".repeat(300 * 1024));
    refused(&fleet, None, &fleet.repo.object("commit", long.as_bytes()), Code::ObjectTooLarge);
}

#[test]
fn a_tag_is_no_commit() {
    let fleet = Fleet::new();
    fleet.repo.git(&["tag", "-a", "-m", "v1", "v1"]);
    refused(&fleet, None, &fleet.repo.id("v1"), Code::WrongObjectType);
    accepted(&fleet, None, &fleet.repo.id("v1^{commit}"));
}

/// Signs a commit whose tree is the root's with one more entry.
fn with_entry(fleet: &Fleet, entry: &str) -> Oid {
    fleet.repo.git(&["read-tree", &fleet.root.to_string()]);
    fleet.repo.git(&[
        "-c",
        "core.protectHFS=false",
        "-c",
        "core.protectNTFS=false",
        "update-index",
        "--add",
        "--cacheinfo",
        entry,
    ]);
    let tree: Oid = fleet.repo.git(&["write-tree"]).trim().parse().unwrap();
    signed_tree(fleet, &tree)
}

fn signed_tree(fleet: &Fleet, tree: &Oid) -> Oid {
    let commit = payload(tree, &[fleet.root], "change");
    let armor = fleet.keys.sign(&fleet.alice, commit.as_bytes(), &[]);
    fleet.repo.object("commit", with_header(&commit, "gpgsig", &armor).as_bytes())
}

#[test]
fn a_tree_holds_plain_files_with_plain_names() {
    let fleet = Fleet::new();
    let (blob, root) = (fleet.repo.object("blob", b"x"), fleet.root);
    for path in ["files/a", ".github/workflows/ci.yml", ".gitignore", "files/.gitattributes", "a/user@host-1_2.conf"] {
        accepted(&fleet, None, &with_entry(&fleet, &format!("100755,{blob},{path}")));
    }
    for entry in [
        format!("120000,{blob},files/link"),
        format!("160000,{root},module"),
        format!("100644,{blob},.gitmodules"),
        format!("100644,{blob},files/a b"),
        format!("100644,{blob},files/\u{e4}"),
        format!("100644,{blob},Policy/x"),
        format!("100644,{blob},{}", ["d"; 20].join("/")),
    ] {
        refused(&fleet, None, &with_entry(&fleet, &entry), Code::MalformedTree);
    }
}

#[test]
fn a_tree_that_git_would_not_write_is_refused() {
    let fleet = Fleet::new();
    let blob = fleet.repo.object("blob", b"x");
    let policy = fleet.repo.id(&format!("{}:policy", fleet.root));
    let entry = |mode: &str, name: &str, id: &Oid| [format!("{mode} {name}\0").as_bytes(), id.as_slice()].concat();
    let good = entry("40000", "policy", &policy);
    for (extra, fine) in [
        (entry("100644", "zone", &blob), true),
        (entry("100644", "about", &blob), false),
        (entry("100644", "policy", &blob), false),
        (entry("100664", "zone", &blob), false),
        (entry("040000", "zone", &policy), false),
        (entry("100644", "z/one", &blob), false),
        (entry("100644", "z..", &blob)[..20].to_vec(), false),
    ] {
        let tree = fleet.repo.object("tree", &[good.clone(), extra].concat());
        let tip = signed_tree(&fleet, &tree);
        if fine {
            accepted(&fleet, None, &tip);
        } else {
            refused(&fleet, None, &tip, Code::MalformedTree);
        }
    }
}
