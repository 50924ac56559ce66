// SPDX-License-Identifier: Apache-2.0
use std::cell::Cell;

use gix::hash::Kind as Hash;
use proptest::prelude::*;

use super::*;
use crate::model::git::ObjectType;
use crate::model::{Digest, ObjectId};

/// A tree in memory.
#[derive(Clone, Default)]
struct Files {
    files: BTreeMap<String, String>,
    /// A path that cannot be read.
    broken: Option<&'static str>,
    listed: Cell<u32>,
}

impl Files {
    fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        let top = ("hostwrit.yaml", "format: 1\nfleet: test\n");
        let files = files.into_iter().chain([top]).map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
        Self { files, ..Self::default() }
    }

    /// The same tree but for one file.
    fn with(&self, path: &str, text: &str) -> Self {
        let mut next = self.clone();
        next.files.insert(path.to_owned(), text.to_owned());
        next
    }

    fn without(&self, path: &str) -> Self {
        let mut next = self.clone();
        next.files.remove(path);
        next
    }
}

fn id(data: &[u8]) -> Oid {
    gix::objs::compute_hash(Hash::Sha1, ObjectType::Blob, data).unwrap()
}

impl RepoFiles for Files {
    fn paths(&self) -> Result<Vec<String>, FileError> {
        self.listed.set(self.listed.get() + 1);
        Ok(self.files.keys().cloned().collect())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        if self.broken == Some(path) {
            return Err(FileError { path: path.to_owned(), source: "the disk is gone".into() });
        }
        Ok(self.files.get(path).map(|text| text.clone().into_bytes()))
    }
}

impl Tree for Files {
    fn id(&self) -> Oid {
        id(format!("{:?}", self.files).as_bytes())
    }

    fn file_id(&self, path: &str) -> Result<Option<Oid>, FileError> {
        Ok(self.files.get(path).map(|text| id(text.as_bytes())))
    }
}

fn of_host() -> Effects<OneHost> {
    Effects::of_host("h", Facts::sample("h"))
}

fn state(effects: &mut Effects<OneHost>, files: &Files) -> Option<Rc<HostState>> {
    let mut hosts = effects.hosts_of(files);
    assert_eq!(hosts.len(), 1);
    hosts.remove("h").unwrap()
}

/// The digests of one host that nothing was known of before.
fn objects(files: &Files) -> BTreeMap<ObjectId, Digest> {
    state(&mut of_host(), files).unwrap().objects.clone()
}

/// The objects that differ between two trees.
fn changed(before: &Files, after: &Files) -> Vec<String> {
    let (before, after) = (objects(before), objects(after));
    let all: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|object| before.get(object) != after.get(object)).map(ToString::to_string).collect()
}

/// A host that uses something of each sort.
fn repo() -> Files {
    Files::of([
        (
            "hosts/h.yaml",
            "labels: {role: web}\nprofiles: [p, q]\nvars: {x: 1}\nfiles:\n  /t: {template: t.hbs}\n  /s: {source: s}\n",
        ),
        ("profiles/p.yaml", "users: {u: {shell: /bin/sh}}\n"),
        ("profiles/q.yaml", "vars: {y: 2}\n"),
        ("templates/t.hbs", "{{vars.x}} {{vars.y}} {{labels.role}}"),
        ("files/s", "text"),
        ("hosts/other.yaml", "profiles: [r]\n"),
        ("profiles/r.yaml", ""),
    ])
}

#[test]
fn a_hundred_commits_that_touch_other_files_cost_one_compile_and_no_listing() {
    let mut effects = of_host();
    let first = state(&mut effects, &repo()).unwrap();
    for number in 0..100 {
        let tree = match number % 4 {
            0 => repo().with("hosts/other.yaml", &format!("vars: {{n: {number}}}\n")),
            1 => repo().with("profiles/r.yaml", &format!("vars: {{n: {number}}}\n")),
            2 => repo().with(&format!("files/{number}"), "new"),
            _ => repo().with("templates/other.hbs", &number.to_string()).without("hosts/other.yaml"),
        };
        let next = state(&mut effects, &tree).unwrap();
        assert!(Rc::ptr_eq(&first, &next));
        assert_eq!(tree.listed.get(), 0);
    }
    assert_eq!(effects.compiles(), 1);
}

#[test]
fn a_change_of_anything_that_the_host_uses_costs_another_compile() {
    for (path, text, expected) in [
        ("hosts/h.yaml", "profiles: [p]\n", &["file:/s", "file:/t"][..]),
        ("profiles/p.yaml", "users: {u: {shell: /bin/zsh}}\n", &["user:u"]),
        ("profiles/q.yaml", "vars: {y: 3}\n", &["file:/t"]),
        ("templates/t.hbs", "{{vars.x}}", &["file:/t"]),
        ("files/s", "other", &["file:/s"]),
        ("hostwrit.yaml", "# a comment\nformat: 1\nfleet: test\n", &[]),
        ("profiles/p.yaml", "\n\nusers:\n  u:\n    shell: /bin/sh # elsewhere\n", &[]),
    ] {
        let mut effects = of_host();
        let before = state(&mut effects, &repo()).unwrap();
        let next = repo().with(path, text);
        let after = state(&mut effects, &next).unwrap();
        assert_eq!(effects.compiles(), 2, "{path}");
        assert_eq!(changed(&repo(), &next), expected, "{path}");
        // And back again.
        assert!(Rc::ptr_eq(&before, &state(&mut effects, &repo()).unwrap()));
        assert!(Rc::ptr_eq(&after, &state(&mut effects, &next).unwrap()));
        assert_eq!(effects.compiles(), 2, "{path}");
    }
}

#[test]
fn an_included_file_counts_as_the_object_that_it_ends_in() {
    let sudo = repo().with("profiles/q.yaml", "vars: {y: 2}\nusers: {mallory: {sudo: \"ALL=(ALL) ALL\"}}\n");
    assert_eq!(changed(&repo(), &sudo), ["user:mallory"]);
    let observed = repo().with("profiles/p.yaml", "users: {u: {shell: /bin/sh, observe: true}}\n");
    assert_eq!(changed(&repo(), &observed), ["user:u"]);
    let absent = repo().with("profiles/p.yaml", "users: {u: {absent: true}}\n");
    assert_eq!(changed(&repo(), &absent), ["user:u"]);
}

#[test]
fn labels_are_part_of_the_state() {
    let labels = |files: &Files| state(&mut of_host(), files).unwrap().labels.clone();
    assert_eq!(labels(&repo()), [("role".to_owned(), "web".to_owned())].into());
    let text = repo().files["hosts/h.yaml"].replace("role: web", "role: db");
    assert_eq!(labels(&repo().with("hosts/h.yaml", &text))["role"], "db");
}

#[test]
fn a_host_without_a_file_is_an_empty_state_and_no_compile() {
    let mut effects = of_host();
    let state = state(&mut effects, &repo().without("hosts/h.yaml").without("hostwrit.yaml"));
    assert_eq!(state.unwrap(), Rc::default());
    assert_eq!(effects.compiles(), 0);
}

#[test]
fn an_unsound_repo_has_no_state_until_the_fault_is_gone() {
    let mut effects = of_host();
    for (path, missing_is_looked_up) in
        [("profiles/q.yaml", true), ("templates/t.hbs", true), ("files/s", true), ("hostwrit.yaml", false)]
    {
        let unsound = repo().without(path);
        assert_eq!(state(&mut effects, &unsound), None, "{path}");
        let compiles = effects.compiles();
        assert_eq!(state(&mut effects, &unsound), None);
        assert_eq!(effects.compiles(), compiles, "{path}: the very same tree is not compiled twice");
        assert_eq!(unsound.listed.get() > 0, missing_is_looked_up, "{path}");
        // The fault is mended by a file that was not there.
        assert!(state(&mut effects, &repo()).is_some(), "{path}");
    }
    let unsound = repo().with("profiles/p.yaml", "users: {u: {shel: /bin/sh}}\n");
    assert_eq!(state(&mut effects, &unsound), None);
    let compiles = effects.compiles();
    assert_eq!(state(&mut effects, &unsound.with("files/else", "")), None);
    assert_eq!(effects.compiles(), compiles, "a fault stays as long as its files do");
}

#[test]
fn a_file_that_cannot_be_read_is_tried_again() {
    for path in ["hosts/h.yaml", "profiles/p.yaml", "templates/t.hbs", "files/s", "hostwrit.yaml"] {
        let mut effects = of_host();
        let broken = Files { broken: Some(path), ..repo() };
        assert_eq!(state(&mut effects, &broken), None, "{path}");
        assert!(state(&mut effects, &repo()).is_some(), "{path}");
    }
}

#[test]
fn the_compiled_tip_is_not_compiled_again_when_it_is_judged() {
    let mut effects = of_host();
    let desired = effects.desired_of(&repo()).unwrap();
    let state = state(&mut effects, &repo()).unwrap();
    assert_eq!(effects.compiles(), 1);
    assert_eq!(state.objects, desired.digests());
    assert_eq!(state.objects.len(), desired.objects().len());
}

#[test]
fn facts_are_those_of_the_host() {
    let files = repo().with("templates/t.hbs", "{{facts.cpus}}");
    let with_cpus = |cpus| {
        let mut effects = Effects::of_host("h", Facts { cpus, ..Facts::sample("h") });
        state(&mut effects, &files).unwrap().objects[&"file:/t".parse().unwrap()]
    };
    assert_eq!(with_cpus(1), with_cpus(1));
    assert_ne!(with_cpus(1), with_cpus(2));
}

#[test]
fn hosts_that_share_files_are_each_compiled_when_a_shared_file_changes() {
    let shared = Files::of([
        ("hosts/a.yaml", "profiles: [p]\nfiles: {/t: {template: t.hbs}}\n"),
        ("hosts/b.yaml", "profiles: [p]\nfiles: {/t: {template: t.hbs}}\n"),
        ("hosts/c.yaml", "files: {/s: {source: s}}\n"),
        ("hosts/d.yaml", "files: {/s: {source: s}}\n"),
        ("profiles/p.yaml", "vars: {x: 1}\n"),
        ("templates/t.hbs", "{{vars.x}}"),
        ("files/s", "text"),
    ]);
    for (path, text, compiled) in [
        ("profiles/p.yaml", "vars: {x: 2}\n", 2),
        ("templates/t.hbs", "{{vars.x}}!", 2),
        ("files/s", "other", 2),
        ("hosts/d.yaml", "", 1),
        ("hosts/e.yaml", "", 1),
        ("files/unused", "", 0),
    ] {
        let mut effects = Effects::of_fleet();
        assert_eq!(effects.hosts_of(&shared).len(), 4);
        assert_eq!(effects.compiles(), 4);
        effects.hosts_of(&shared.with(path, text));
        assert_eq!(effects.compiles(), 4 + compiled, "{path}");
    }
    let mut effects = Effects::of_fleet();
    effects.hosts_of(&shared);
    let fewer = effects.hosts_of(&shared.without("hosts/a.yaml"));
    assert_eq!(fewer.keys().collect::<Vec<_>>(), ["b", "c", "d"]);
}

#[test]
fn more_states_than_are_remembered_are_forgotten_oldest_first() {
    let mut effects = of_host();
    let tree = |number: usize| repo().with("files/s", &number.to_string());
    for number in 0..=OneHost::REMEMBERED {
        state(&mut effects, &tree(number));
    }
    let compiles = effects.compiles();
    state(&mut effects, &tree(1));
    assert_eq!(effects.compiles(), compiles);
    state(&mut effects, &tree(0));
    assert_eq!(effects.compiles(), compiles + 1);
}

/// One change of a tree: a file and its new text, or its end.
fn edit() -> impl Strategy<Value = (&'static str, Option<&'static str>)> {
    let text = |texts: Vec<&'static str>| prop::option::weighted(0.85, prop::sample::select(texts));
    let host = || {
        text(vec![
            "profiles: [p]\n",
            "profiles: [p, q]\nfiles: {/t: {template: t.hbs}}\n",
            "labels: {l: a}\nvars: {x: 5}\nfiles: {/t: {template: t.hbs}, /s: {source: s}}\n",
            "files: {/s: {source: gone}}\n",
            "files: {/s: {source: ../s}}\n",
            "files: [",
        ])
    };
    let profile = || text(vec!["vars: {x: 1}\n", "vars: {x: 2}\nusers: {u: {}}\n", "users: {u: {shel: x}}\n"]);
    prop_oneof![
        host().prop_map(|text| ("hosts/h.yaml", text)),
        host().prop_map(|text| ("hosts/i.yaml", text)),
        profile().prop_map(|text| ("profiles/p.yaml", text)),
        profile().prop_map(|text| ("profiles/q.yaml", text)),
        text(vec!["{{vars.x}}", "{{vars.y}}", "{{#if"]).prop_map(|text| ("templates/t.hbs", text)),
        text(vec!["a", "b"]).prop_map(|text| ("files/s", text)),
        text(vec!["a", "b"]).prop_map(|text| ("files/gone", text)),
        text(vec!["format: 1\nfleet: test\n", "format: 2\n"]).prop_map(|text| ("hostwrit.yaml", text)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_remembered_is_what_would_be_compiled(edits in prop::collection::vec(edit(), 0..15)) {
        let (mut of_host, mut of_fleet) = (of_host(), Effects::of_fleet());
        let mut tree = repo();
        for (path, text) in edits {
            tree = match text {
                Some(text) => tree.with(path, text),
                None => tree.without(path),
            };
            let alone = Effects::of_host("h", Facts::sample("h")).hosts_of(&tree);
            prop_assert_eq!(&of_host.hosts_of(&tree), &alone);
            let fleet = of_fleet.hosts_of(&tree);
            prop_assert_eq!(&fleet, &Effects::of_fleet().hosts_of(&tree));
            if let Some(state) = fleet.get("h") {
                prop_assert_eq!(state, &alone["h"]);
            }
        }
    }
}
