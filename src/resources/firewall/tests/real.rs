// SPDX-License-Identifier: Apache-2.0
//! What is rendered is loaded by the real nft, in a network namespace of its own, and read back.

#![allow(clippy::disallowed_methods, clippy::print_stderr, reason = "tries the real nft, and says so if it cannot")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::load::replacement;
use super::super::{Filter, Networks, Owner, Ports, Protocol, Table};
use crate::host::Ruleset;
use crate::resources::blocklist::Blocklist;
use crate::resources::egress::{Egress, Way};
use crate::resources::port::{Opening, Port};

/// What the three kinds read in one table.
type Entries = (BTreeMap<String, Option<Opening>>, BTreeMap<String, Option<Way>>, BTreeMap<String, Option<Networks>>);

pub(super) fn all_kinds(table: &Table) -> Entries {
    let of = |owner: Owner| table.only(|name| owner.owns(name));
    (Port::read(&of(Owner::Ports)), Egress::read(&of(Owner::Egress)), Blocklist::read(&of(Owner::Blocklists)))
}

/// Whether nft can be tried here: as root, with namespaces.
fn can_try() -> bool {
    let tried = Command::new("unshare").args(["-n", "nft", "list", "tables"]).output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        assert!(std::env::var_os("CI").is_none(), "SKIP under CI: nft and unshare -n must work, as root");
        eprintln!("SKIP: nft in a network namespace needs root");
    }
    can
}

/// Loads one list of commands after the other in a new network namespace, and returns what nft then lists.
fn loaded(transactions: &[String]) -> Table {
    let dir = tempfile::tempdir().unwrap();
    let mut script = String::from("set -e\n");
    for (number, commands) in transactions.iter().enumerate() {
        let path = dir.path().join(number.to_string());
        std::fs::File::create(&path).unwrap().write_all(commands.as_bytes()).unwrap();
        script += &format!("nft --json --file {}\n", path.display());
    }
    script += "nft --json list table inet hostwrit 2>/dev/null || echo '{\"nftables\":[]}'\n";
    let output = Command::new("unshare").args(["-n", "sh", "-c", &script]).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Table::read(&Ruleset::new(String::from_utf8(output.stdout).unwrap())).unwrap()
}

fn network() -> impl Strategy<Value = String> {
    let v4 = (any::<u32>(), prop_oneof![0u8..=32, 24u8..=32]).prop_map(|(address, length)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        format!("{}/{length}", std::net::Ipv4Addr::from(address & mask))
    });
    let v6 = (any::<u128>(), 0u8..=128).prop_map(|(address, length)| {
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        format!("{}/{length}", std::net::Ipv6Addr::from(address & mask))
    });
    prop_oneof![v4, v6]
}

fn networks() -> impl Strategy<Value = Networks> {
    let list = prop::collection::vec(network(), 0..4);
    list.prop_map(|list| list.iter().map(|text| text.parse::<super::super::Network>().unwrap()).collect())
}

/// Ports that do not overlap, as the repo's checks have it.
fn ports() -> impl Strategy<Value = Vec<Ports>> {
    prop::collection::btree_set(1u16..=65_535, 1..14).prop_flat_map(|numbers| {
        let numbers: Vec<u16> = numbers.into_iter().collect();
        (prop::collection::vec(any::<bool>(), numbers.len()), any::<bool>()).prop_map(move |(tcp, pairs)| {
            let step = if pairs { 2 } else { 1 };
            let each = numbers.chunks(step).zip(&tcp);
            each.map(|(chunk, is_tcp)| Ports {
                protocol: if *is_tcp { Protocol::Tcp } else { Protocol::Udp },
                first: chunk[0],
                last: chunk[chunk.len() - 1],
            })
            .collect()
        })
    })
}

fn opening(ports: Ports) -> impl Strategy<Value = Opening> {
    let rate = prop::sample::select(vec!["6/minute", "1/second", "1000000/second", "3/hour", "100/day"]);
    (networks(), prop::option::of(rate), prop::option::of(1u32..=65_535), any::<bool>()).prop_map(
        move |(from, rate, connections, log)| Opening {
            ports,
            from: from.or_anywhere(),
            rate: rate.map(|rate| rate.parse().unwrap()),
            connections,
            log,
        },
    )
}

fn openings() -> impl Strategy<Value = BTreeMap<String, Opening>> {
    ports().prop_flat_map(|ports| {
        let each: Vec<_> = ports.into_iter().map(opening).collect();
        each.prop_map(|openings| openings.into_iter().map(|opening| (opening.ports.to_string(), opening)).collect())
    })
}

fn ways() -> impl Strategy<Value = BTreeMap<String, Way>> {
    ports().prop_flat_map(|ports| {
        let each: Vec<_> = ports
            .into_iter()
            .map(|ports| networks().prop_map(move |to| (ports.to_string(), Way { ports, to: to.or_anywhere() })))
            .collect();
        each.prop_map(|ways| ways.into_iter().collect())
    })
}

fn lists() -> impl Strategy<Value = BTreeMap<String, Networks>> {
    prop::collection::btree_map("[a-z][a-z0-9-]{0,20}", networks(), 0..4)
}

pub(super) fn known<E: Clone>(entries: &BTreeMap<String, E>) -> BTreeMap<String, Option<E>> {
    entries.iter().map(|(name, entry)| (name.clone(), Some(entry.clone()))).collect()
}

pub(super) fn together(tables: [Table; 3]) -> Table {
    let mut all = Table::default();
    for table in tables {
        all.chains.extend(table.chains);
        all.sets.extend(table.sets);
    }
    all
}

#[test]
fn what_is_loaded_is_read_back_as_it_was_meant() {
    if !can_try() {
        return;
    }
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    });
    let all = || (openings(), ways(), lists());
    let checked = runner.run(&(all(), all()), |(before, (openings, ways, lists))| {
        let table_before = together([Port::table(&before.0), Egress::table(&before.1), Blocklist::table(&before.2)]);
        let first = replacement(&Table::default(), &table_before, |_| true);
        // Each kind by itself, in place of what was there.
        let parts = [
            (Owner::Ports, Port::table(&openings)),
            (Owner::Egress, Egress::table(&ways)),
            (Owner::Blocklists, Blocklist::table(&lists)),
        ];
        let mut transactions = vec![first];
        transactions
            .extend(parts.iter().map(|(owner, wanted)| replacement(&table_before, wanted, |name| owner.owns(name))));
        let table = loaded(&transactions);
        let (seen_ports, seen_ways, seen_lists) = all_kinds(&table);
        prop_assert_eq!(&seen_ports, &known(&openings));
        prop_assert_eq!(&seen_ways, &known(&ways));
        prop_assert_eq!(&seen_lists, &known(&lists));
        let expected = together(parts.map(|(_, table)| table));
        prop_assert_eq!(table, expected, "every chain and set, too");
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn what_is_loaded_already_is_loaded_again_and_again() {
    if !can_try() {
        return;
    }
    let ports: Ports = "22/tcp".parse().unwrap();
    let rate = Some("6/minute".parse().unwrap());
    let opening = Opening { rate, connections: Some(3), log: true, ..Opening::for_all(ports) };
    let table = Port::table(&[("22/tcp".to_owned(), opening)].into());
    let first = replacement(&Table::default(), &table, |_| true);
    let again = replacement(&table, &table, |_| true);
    assert_eq!(loaded(&[first.clone(), again.clone(), again.clone()]), table);
    let gone = replacement(&table, &Table::default(), |_| true);
    assert!(loaded(&[first, again, gone]).is_empty());
}
