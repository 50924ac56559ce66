// SPDX-License-Identifier: Apache-2.0
//! What is rendered is loaded by the real nft, in a network namespace of its own, and read back.

#![allow(clippy::disallowed_methods, clippy::print_stderr, reason = "tries the real nft, and says so if it cannot")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::load::replacement;
use super::super::{Family, Filter, Network, Networks, Owner, Ports, Protocol, Range, Set, Table};
use crate::host::{ReadHost as _, RealHost, Ruleset, Tables, WriteHost as _};
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
pub(in crate::resources) fn can_try() -> bool {
    let tried = Command::new("unshare").args(["-n", "nft", "list", "tables"]).output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        assert!(std::env::var_os("CI").is_none(), "SKIP under CI: nft and unshare -n must work, as root");
        eprintln!("SKIP: nft in a network namespace needs root");
    }
    can
}

/// Does something in a network namespace of its own, with the host as it is otherwise.
pub(in crate::resources) fn in_namespace<T: Send>(work: impl FnOnce(&RealHost) -> T + Send) -> T {
    let apart = || {
        // A thread has a namespace of its own, and so have the programs that it starts.
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        work(&RealHost::open(Path::new("/")).unwrap())
    };
    std::thread::scope(|scope| scope.spawn(apart).join()).unwrap()
}

/// Loads one list of commands after the other in a new network namespace, and returns what is then read.
fn loaded(transactions: &[String]) -> Table {
    in_namespace(|host| {
        transactions.iter().for_each(|commands| host.load_ruleset(commands).unwrap());
        let table = Table::read(&host.ruleset(Tables::Own).unwrap()).unwrap();
        assert_eq!(table, listed(), "nft itself reads the same");
        table
    })
}

/// Returns hostwrit's table as nft lists the whole of it.
fn listed() -> Table {
    let output = Command::new("nft").args(["--json", "list", "ruleset"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    Table::read(&if text.trim().is_empty() { Ruleset::empty() } else { Ruleset::new(text) }).unwrap()
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

/// Runs nft with one command in the namespace of the thread.
pub(in crate::resources) fn nft(command: &str) {
    let output = Command::new("nft").arg(command).output().unwrap();
    assert!(output.status.success(), "nft {command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Returns a set of hostwrit's table that others have put there, as it is read.
fn set_of_others(definition: &str) -> Set {
    in_namespace(|host| {
        nft("add table inet hostwrit");
        nft(&format!("add set inet hostwrit blocklist_x_v4 {{ {definition} }}"));
        let mut table = Table::read(&host.ruleset(Tables::Own).unwrap()).unwrap();
        table.sets.remove("blocklist_x_v4").unwrap()
    })
}

#[test]
fn what_somebody_else_puts_into_a_set_is_read_as_it_works() {
    if !can_try() {
        return;
    }
    let addresses = |list: &[(&str, &str)]| {
        let range = |(first, last): &(&str, &str)| Range(first.parse().unwrap(), last.parse().unwrap());
        Set::Addresses { family: Family::V4, networks: list.iter().map(range).collect() }
    };
    let interval =
        |elements: &str| set_of_others(&format!("type ipv4_addr; flags interval; elements = {{ {elements} }}"));
    let touching = "10.0.0.0/24, 10.0.1.0/24, 10.0.3.7-10.0.3.9, 255.255.255.0/24";
    let expected = [("10.0.0.0", "10.0.1.255"), ("10.0.3.7", "10.0.3.9"), ("255.255.255.0", "255.255.255.255")];
    assert_eq!(interval(touching), addresses(&expected));
    assert_eq!(
        interval("0.0.0.0/1, 192.0.2.1 comment \"me\""),
        addresses(&[("0.0.0.0", "127.255.255.255"), ("192.0.2.1", "192.0.2.1")])
    );
    assert_eq!(interval("0.0.0.0/0"), addresses(&[("0.0.0.0", "255.255.255.255")]));
    // What is more than an address is none that hostwrit writes.
    assert_eq!(interval("10.0.0.0/24, *"), Set::Other);
    assert_eq!(set_of_others("type ipv4_addr; flags interval; counter; elements = { 10.0.0.1 }"), Set::Other);
    assert_eq!(set_of_others("type ipv4_addr; elements = { 10.0.0.1 }"), Set::Other);
    assert_eq!(set_of_others("type inet_service; flags interval; elements = { 22 }"), Set::Other);
}

#[test]
fn what_was_read_counts_until_anybody_changes_anything() {
    if !can_try() {
        return;
    }
    let list = |networks: &[&str]| networks.iter().map(|text| text.parse::<Network>().unwrap()).collect::<Networks>();
    let one = Blocklist::table(&[("x".to_owned(), list(&["10.0.0.0/8"]))].into());
    let two = Blocklist::table(&[("x".to_owned(), list(&["10.0.0.0/8", "192.0.2.1"]))].into());
    in_namespace(|host| {
        let read = || Table::read(&host.ruleset(Tables::Own).unwrap()).unwrap();
        assert_eq!(read(), Table::default());
        host.load_ruleset(&replacement(&Table::default(), &one, |_| true)).unwrap();
        assert_eq!([read(), read()], [one.clone(), one.clone()]);
        nft("add element inet hostwrit blocklist_x_v4 { 192.0.2.1 }");
        assert_eq!([read(), read()], [two.clone(), two]);
        nft("delete element inet hostwrit blocklist_x_v4 { 192.0.2.1 }");
        host.forget_ruleset();
        assert_eq!(read(), one);
    });
}

#[test]
fn a_table_that_others_change_without_end_is_read_whole() {
    if !can_try() {
        return;
    }
    let lists: BTreeMap<String, Networks> =
        [("x".to_owned(), ["10.0.0.0/8".parse::<Network>().unwrap()].into_iter().collect())].into();
    let wanted = Blocklist::table(&lists);
    let read = in_namespace(|host| {
        host.load_ruleset(&replacement(&Table::default(), &wanted, |_| true)).unwrap();
        let mut other = Command::new("sh")
            .args(["-c", "while :; do nft add table ip other; nft delete table ip other; done"])
            .spawn()
            .unwrap();
        let read = (0..3).map(|_| Table::read(&host.ruleset(Tables::Own).unwrap()).unwrap()).collect::<Vec<_>>();
        other.kill().unwrap();
        other.wait().unwrap();
        read
    });
    assert_eq!(read, [wanted.clone(), wanted.clone(), wanted]);
}
