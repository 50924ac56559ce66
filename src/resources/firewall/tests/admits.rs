// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, json};

use super::super::{Judgement, Packet, Ports, Table, admits, judge, judge_all, read_all};
use crate::host::Ruleset;

pub(super) fn packet(source: &str, port: &str) -> Packet {
    let ports: Ports = port.parse().unwrap();
    Packet { source: source.parse().unwrap(), protocol: ports.protocol, port: ports.first }
}

fn table(policy: &str, rules: &[Value]) -> Table {
    let base = json!({"chain": {"family": "inet", "table": "hostwrit", "name": "c", "type": "filter", "hook": "input",
        "prio": 0, "policy": policy}});
    let rules =
        rules.iter().map(|expr| json!({"rule": {"family": "inet", "table": "hostwrit", "chain": "c", "expr": expr}}));
    let objects: Vec<Value> = std::iter::once(base).chain(rules).collect();
    Table::read(&Ruleset::new(json!({ "nftables": objects }).to_string())).unwrap()
}

fn is(left: Value, right: Value) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn saddr() -> Value {
    json!({"payload": {"protocol": "ip", "field": "saddr"}})
}

#[test]
fn the_policy_counts_where_no_rule_does() {
    let ssh = packet("192.0.2.1", "22/tcp");
    assert!(admits(&table("accept", &[]), ssh));
    assert!(!admits(&table("drop", &[]), ssh));
    assert!(admits(&Table::default(), ssh), "without a table all is open");
}

#[test]
fn the_first_rule_that_matches_decides() {
    let dport = |port: u16| is(json!({"payload": {"protocol": "tcp", "field": "dport"}}), json!(port));
    let rules = [
        json!([dport(22), {"drop": null}]),
        json!([dport(22), {"accept": null}]),
        json!([dport(80), {"accept": null}]),
    ];
    let table = table("drop", &rules);
    assert!(!admits(&table, packet("192.0.2.1", "22/tcp")));
    assert!(admits(&table, packet("192.0.2.1", "80/tcp")));
    assert!(!admits(&table, packet("192.0.2.1", "80/udp")));
}

#[test]
fn a_rule_of_one_family_says_nothing_of_the_other() {
    let not_office = json!([{"match": {"op": "!=", "left": saddr(), "right": {"prefix": {"addr": "10.0.0.0", "len": 8}}}}, {"drop": null}]);
    let table = table("accept", &[not_office]);
    assert!(admits(&table, packet("10.1.1.1", "22/tcp")));
    assert!(!admits(&table, packet("192.0.2.1", "22/tcp")));
    assert!(admits(&table, packet("2001:db8::1", "22/tcp")));
}

#[test]
fn what_cannot_be_told_is_not_admitted_and_not_called_refused() {
    let by_interface = json!([is(json!({"meta": {"key": "iifname"}}), json!("eth0")), {"accept": null}]);
    let ssh = packet("192.0.2.1", "22/tcp");
    assert_eq!(judge(&table("drop", std::slice::from_ref(&by_interface)), ssh), Judgement::Unsure);
    assert!(!admits(&table("drop", std::slice::from_ref(&by_interface)), ssh));
    assert_eq!(judge(&table("accept", &[by_interface]), ssh), Judgement::Admitted, "both ways it comes in");
    let dropped = json!([is(json!({"meta": {"key": "iifname"}}), json!("eth0")), {"drop": null}]);
    assert_eq!(judge(&table("accept", &[dropped]), ssh), Judgement::Unsure);
    let unheard_of = json!([{"quota": {"val": 5}}, {"drop": null}]);
    assert_eq!(judge(&table("accept", &[unheard_of]), ssh), Judgement::Unsure);
}

#[test]
fn chains_that_jump_for_ever_are_not_followed_for_ever() {
    let jump = json!([{"jump": {"target": "c"}}]);
    assert_eq!(judge(&table("accept", &[jump]), packet("192.0.2.1", "22/tcp")), Judgement::Unsure);
}

#[test]
fn loopback_established_and_icmp_rules_are_not_for_a_first_packet_from_outside() {
    let rules = super::super::always("iif");
    let mut table = table("drop", &[]);
    table.chains.get_mut("c").unwrap().rules = rules;
    assert_eq!(judge(&table, packet("192.0.2.1", "22/tcp")), Judgement::Refused);
}

#[test]
fn every_table_must_let_a_packet_in() {
    let text = json!({"nftables": [
        {"chain": {"family": "inet", "table": "hostwrit", "name": "c", "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}},
        {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
        {"chain": {"family": "ip", "table": "nat", "name": "PRE", "type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}},
    ]});
    let tables = read_all(&Ruleset::new(text.to_string())).unwrap();
    assert_eq!(judge_all(&tables, packet("192.0.2.1", "22/tcp")), Judgement::Refused);
    assert_eq!(
        judge_all(&tables, packet("2001:db8::1", "22/tcp")),
        Judgement::Admitted,
        "the other table sees no IPv6"
    );
}
