// SPDX-License-Identifier: Apache-2.0
//! What signed commits mean for a host, and how often that is compiled.

use std::time::SystemTime;

use hostwrit::manifest::{Effects, Facts, compile};
use hostwrit::model::git::Oid;
use hostwrit::trust::{AuthenticTree, Cache, Compile as _, authenticate};

use super::fixture::{Fleet, Store};

fn tree<'o>(fleet: &Fleet, store: &'o Store, pin: Option<&Oid>, tip: &Oid) -> AuthenticTree<'o> {
    authenticate(store, &fleet.anchor(), pin, tip, SystemTime::now(), &mut Cache::default()).unwrap()
}

fn fleet() -> (Fleet, [Oid; 3]) {
    let fleet = Fleet::new();
    fleet.repo.write("hostwrit.yaml", "format: 1\nfleet: infra.example.org\n");
    fleet.repo.write("profiles/base.yaml", "files: {/etc/motd: {source: motd}}\n");
    fleet.repo.write("hosts/web1.yaml", "labels: {role: web}\nprofiles: [base]\n");
    let first = fleet.change("one");
    fleet.repo.write("hosts/db1.yaml", "groups: {db: {}}\n");
    let unrelated = fleet.repo.commit("another host", Some(&fleet.alice));
    let related = fleet.change("two");
    (fleet, [first, unrelated, related])
}

#[test]
fn the_tip_and_commits_that_mean_nothing_for_the_host_are_compiled_once() {
    let (fleet, [first, unrelated, related]) = fleet();
    let store = fleet.repo.store();
    let facts = Facts::sample("web1");
    let mut effects = Effects::of_host("web1", facts.clone());

    let tip = tree(&fleet, &store, None, &unrelated);
    let desired = effects.desired(&tip).unwrap();
    assert_eq!(desired.digests(), compile(&tip, "web1", &facts).unwrap().digests());
    let states = effects.hosts(&tip);
    let state = states["web1"].clone().unwrap();
    assert_eq!(state.objects, desired.digests());
    assert_eq!(state.labels["role"], "web");
    assert_eq!(effects.hosts(&tree(&fleet, &store, None, &first)), states);
    assert_eq!(effects.compiles(), 1);

    let changed = effects.hosts(&tree(&fleet, &store, None, &related))["web1"].clone().unwrap();
    assert_ne!(changed.objects, state.objects);
    assert_eq!(effects.compiles(), 2);
}

#[test]
fn a_cycle_without_a_new_commit_is_one_compile_and_no_digests() {
    let (fleet, [_, _, tip]) = fleet();
    let store = fleet.repo.store();
    let mut effects = Effects::of_host("web1", Facts::sample("web1"));
    let tip = tree(&fleet, &store, Some(&tip), &tip);
    assert_eq!(effects.desired(&tip).unwrap().objects().len(), 1);
    assert_eq!(effects.compiles(), 1);
    // Nothing asks for this in such a cycle; it is still right.
    assert_eq!(effects.hosts(&tip)["web1"].clone().unwrap().objects.len(), 1);
    assert_eq!(effects.compiles(), 2);
}

#[test]
fn the_fleet_has_the_hosts_of_each_tree() {
    let (fleet, [first, unrelated, related]) = fleet();
    let store = fleet.repo.store();
    let mut effects = Effects::of_fleet();
    let mut hosts = |commit: &Oid| {
        let hosts = effects.hosts(&tree(&fleet, &store, None, commit));
        (hosts.into_keys().collect::<Vec<_>>(), effects.compiles())
    };
    assert_eq!(hosts(&first), (vec!["web1".to_owned()], 1));
    assert_eq!(hosts(&unrelated), (vec!["db1".to_owned(), "web1".to_owned()], 2));
    assert_eq!(hosts(&related).1, 3);
}
