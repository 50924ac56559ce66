// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Set, Table};
use crate::host::Ruleset;
use crate::resources::firewall::load::replacement;

fn read(objects: Value) -> Table {
    Table::read(&Ruleset::new(json!({ "nftables": objects }).to_string())).unwrap()
}

fn chain(name: &str) -> Value {
    json!({"chain": {"family": "inet", "table": "hostwrit", "name": name, "handle": 4, "type": "filter", "hook": "input",
        "prio": 0, "policy": "drop"}})
}

fn rule(chain: &str, expr: Value) -> Value {
    json!({"rule": {"family": "inet", "table": "hostwrit", "chain": chain, "handle": 7, "expr": expr}})
}

#[test]
fn handles_counters_and_the_order_of_sets_are_no_part_of_a_table() {
    let one = read(json!([
        {"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "name": "hostwrit", "handle": 1}}, chain("port_input"),
        rule("port_input", json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["related", "established"]}},
            {"counter": {"packets": 7, "bytes": 9}}, {"accept": null}])),
    ]));
    let other = read(json!([
        chain("port_input"),
        rule(
            "port_input",
            json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}},
            {"accept": null}])
        ),
    ]));
    assert_eq!(one, other);
}

#[test]
fn tables_of_others_are_no_part_of_ours() {
    let table = read(json!([
        {"table": {"family": "ip", "name": "hostwrit"}},
        {"chain": {"family": "ip", "table": "hostwrit", "name": "x"}},
        {"chain": {"family": "inet", "table": "f2b-table", "name": "f2b-chain"}},
    ]));
    assert!(table.is_empty());
}

#[test]
fn a_set_of_another_form_is_not_taken_for_addresses() {
    let set = |fields: Value| {
        let mut set =
            json!({"family": "inet", "table": "hostwrit", "name": "s", "type": "ipv4_addr", "flags": ["interval"]});
        set.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        read(json!([{ "set": set }])).sets["s"].clone()
    };
    assert!(matches!(set(json!({"elem": ["10.0.0.1"]})), Set::Addresses { .. }));
    assert!(matches!(set(json!({"flags": "interval"})), Set::Addresses { .. }));
    assert_eq!(set(json!({"elem": [22]})), Set::Other);
    assert_eq!(set(json!({"elem": [{"range": ["10.0.0.9", "10.0.0.1"]}]})), Set::Other);
    assert_eq!(set(json!({"type": "inet_service"})), Set::Other);
    assert_eq!(set(json!({"timeout": 60})), Set::Other);
    assert!(matches!(
        set(json!({"flags": ["timeout", "dynamic"], "size": 65535, "timeout": 60})),
        Set::PerSource { .. }
    ));
    assert_eq!(set(json!({"flags": ["timeout"], "size": 9, "timeout": 60})), Set::Other);
}

#[test]
fn chains_at_hooks_are_emptied_and_not_made_anew_and_other_kinds_are_left() {
    let present = read(json!([chain("port_input"), chain("egress_output"),
        {"chain": {"family": "inet", "table": "hostwrit", "name": "port_22_tcp"}}]));
    let wanted = read(json!([chain("port_input"), rule("port_input", json!([{"accept": null}]))]));
    let commands = replacement(&present, &wanted, |name| name.starts_with("port_"));
    let expected = r#"{"nftables":[
{"add":{"table":{"family":"inet","name":"hostwrit"}}},
{"flush":{"chain":{"family":"inet","name":"port_22_tcp","table":"hostwrit"}}},
{"flush":{"chain":{"family":"inet","name":"port_input","table":"hostwrit"}}},
{"delete":{"chain":{"family":"inet","name":"port_22_tcp","table":"hostwrit"}}},
{"add":{"chain":{"family":"inet","table":"hostwrit","name":"port_input","type":"filter","hook":"input","prio":0,"policy":"drop"}}},
{"add":{"rule":{"family":"inet","table":"hostwrit","chain":"port_input","expr":[{"accept":null}]}}}
]}
"#;
    assert_eq!(commands, expected);
}

#[test]
fn a_chain_that_was_moved_to_another_hook_is_made_anew() {
    let present = read(json!([chain("port_input")]));
    let mut wanted = present.clone();
    wanted.chains.get_mut("port_input").unwrap().base.as_mut().unwrap().prio = 10;
    let commands = replacement(&present, &wanted, |_| true);
    assert!(commands.contains(r#"{"delete":{"chain":"#), "{commands}");
}

#[test]
fn the_table_goes_with_the_last_object() {
    let present = read(json!([chain("port_input")]));
    let commands = replacement(&present, &Table::default(), |_| true);
    let delete = "{\"delete\":{\"table\":{\"family\":\"inet\",\"name\":\"hostwrit\"}}}";
    assert!(commands.contains(delete), "{commands}");
    let present = read(json!([chain("port_input"), chain("egress_output")]));
    let commands = replacement(&present, &Table::default(), |name| name.starts_with("port_"));
    assert!(!commands.contains(delete), "{commands}");
}

/// Any JSON, with words of nft where there are words.
fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "inet",
        "hostwrit",
        "port_input",
        "accept",
        "drop",
        "jump",
        "ip",
        "saddr",
        "@s",
        "tcp",
        "dport",
        "10.0.0.0",
        "lo",
        "in",
        "==",
        "!=",
        "ipv4_addr",
        "interval",
        "timeout",
        "second",
    ]);
    let keys = prop::sample::select(vec![
        "table", "chain", "rule", "set", "map", "add", "family", "name", "expr", "match", "left", "right", "op",
        "payload", "protocol", "field", "meta", "key", "ct", "dir", "vmap", "data", "accept", "drop", "jump", "target",
        "elem", "type", "flags", "size", "prio", "hook", "policy", "prefix", "addr", "len", "range", "limit", "rate",
        "burst", "per", "inv", "log", "stmt", "counter",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words.prop_map(Value::from),
        "\\PC{0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_the_reader_panic_and_what_it_reads_can_be_judged(objects in prop::collection::vec(any_json(), 0..6)) {
        let text = json!({ "nftables": objects }).to_string();
        if let Ok(table) = Table::read(&Ruleset::new(text)) {
            let packet = super::admits::packet("192.0.2.1", "22/tcp");
            let _ = super::super::judge(&table, packet);
            let _ = crate::resources::firewall::tests::real::all_kinds(&table);
        }
    }

    #[test]
    fn rules_of_any_form_are_read_judged_and_written_as_they_are(expr in prop::collection::vec(any_json(), 0..5)) {
        let table = read(json!([chain("port_input"), rule("port_input", json!(expr))]));
        let _ = super::super::judge(&table, super::admits::packet("2001:db8::1", "53/udp"));
        let text = format!("{{\"nftables\":[{}]}}", table.objects().join(","));
        prop_assert_eq!(Table::read(&Ruleset::new(text)).unwrap(), table);
    }
}
