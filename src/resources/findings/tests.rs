// SPDX-License-Identifier: Apache-2.0

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::json;

use crate::host::{Listener, Transport};
use crate::resources::firewall::Protocol;
use crate::resources::firewall::tests::real::{can_try, in_namespace, nft};

use super::*;

/// A declared port: `22/tcp`, `8000-8010/udp`.
fn port(name: &str) -> Ports {
    name.parse().unwrap()
}

/// What listens: `22/tcp` and the address. The inode is the place in the list.
fn listening(sockets: &[(&str, &str)]) -> Listening {
    let listener = |(inode, (name, address)): (usize, &(&str, &str))| Listener {
        transport: if port(name).protocol == Protocol::Tcp { Transport::Tcp } else { Transport::Udp },
        port: port(name).first,
        address: address.parse::<IpAddr>().unwrap(),
        inode: inode as u64,
    };
    Listening { sockets: sockets.iter().enumerate().map(listener).collect(), client_ports: 32768..=60999 }
}

/// Code and subject of each finding.
fn found(declared: &[&str], around: &Surroundings) -> Vec<String> {
    let declared: Vec<Ports> = declared.iter().map(|name| port(name)).collect();
    let subject = |finding: &Finding| {
        let object = finding.object.as_ref().map(ObjectId::to_string);
        object.or_else(|| finding.place.clone()).unwrap_or_default()
    };
    judge(&declared, around).iter().map(|finding| format!("{} {}", finding.code, subject(finding))).collect()
}

fn around(sockets: &[(&str, &str)]) -> Surroundings {
    Surroundings { listening: Some(listening(sockets)), ..Surroundings::default() }
}

fn with_ruleset(ruleset: Value) -> Surroundings {
    let Value::Array(ruleset) = ruleset else { panic!("a list of objects") };
    Surroundings { ruleset, ..Surroundings::default() }
}

fn chain(family: &str, table: &str, name: &str, base: Option<(&str, &str, &str)>) -> Value {
    let mut chain = json!({"family": family, "table": table, "name": name, "handle": 1});
    if let Some((kind, hook, policy)) = base {
        (chain["type"], chain["hook"], chain["policy"], chain["prio"]) =
            (json!(kind), json!(hook), json!(policy), json!(0));
    }
    json!({"chain": chain})
}

fn rule(family: &str, table: &str, chain: &str, expr: Value) -> Value {
    json!({"rule": {"family": family, "table": table, "chain": chain, "handle": 2, "expr": expr}})
}

fn is(protocol: &str, field: &str, right: Value) -> Value {
    json!({"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}})
}

/// What nft 1.0.6 prints of what Docker 20 has iptables 1.8.9 write.
fn docker() -> Value {
    let counter = json!({"counter": {"packets": 0, "bytes": 0}});
    let not_inside = json!({"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "docker0"}});
    let dnat = json!({"xt": {"type": "target", "name": "DNAT"}});
    json!([
        {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
        {"table": {"family": "ip", "name": "nat", "handle": 1}},
        chain("ip", "nat", "DOCKER", None),
        chain("ip", "nat", "PREROUTING", Some(("nat", "prerouting", "accept"))),
        rule("ip", "nat", "DOCKER", json!([not_inside, is("tcp", "dport", json!(8080)), counter, dnat])),
        rule("ip", "nat", "DOCKER", json!([not_inside, is("ip", "daddr", json!("127.0.0.1")), is("tcp", "dport", json!(8081)), counter, dnat])),
        rule("ip", "nat", "PREROUTING", json!([{"xt": {"type": "match", "name": "addrtype"}}, counter, {"jump": {"target": "DOCKER"}}])),
        chain("ip", "filter", "FORWARD", Some(("filter", "forward", "drop"))),
        chain("ip", "filter", "DOCKER-USER", None),
        rule("ip", "filter", "FORWARD", json!([counter, {"jump": {"target": "DOCKER-USER"}}])),
    ])
}

/// What nft prints of what others write by themselves, in all the forms that say for which port.
fn podman() -> Value {
    let (dnat, at) =
        (|address: &str, port: u16| json!({"dnat": {"family": "ip", "addr": address, "port": port}}), "netavark");
    json!([
        chain("inet", at, "PREROUTING", Some(("nat", "prerouting", "accept"))),
        chain("inet", at, "HOSTPORT", None),
        chain("inet", at, "one", None),
        chain("inet", at, "by-map", None),
        rule(
            "inet",
            at,
            "PREROUTING",
            json!([{"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}}, {"jump": {"target": "HOSTPORT"}}])
        ),
        rule("inet", at, "HOSTPORT", json!([is("tcp", "dport", json!(8080)), {"jump": {"target": "one"}}])),
        rule(
            "inet",
            at,
            "HOSTPORT",
            json!([is("ip", "daddr", json!("127.0.0.1")), is("tcp", "dport", json!(8082)), dnat("10.88.0.2", 82)])
        ),
        rule(
            "inet",
            at,
            "HOSTPORT",
            json!([
                is("ip", "daddr", json!({"prefix": {"addr": "127.0.0.0", "len": 8}})),
                is("tcp", "dport", json!(8083)),
                dnat("10.88.0.2", 83)
            ])
        ),
        rule(
            "inet",
            at,
            "HOSTPORT",
            json!([is("tcp", "dport", json!({"set": [9000, {"range": [9100, 9110]}]})), {"dnat": {"addr": "10.88.0.6"}}])
        ),
        rule("inet", at, "HOSTPORT", json!([is("tcp", "dport", json!(9200)), {"redirect": {"port": 9201}}])),
        rule("inet", at, "HOSTPORT", json!([is("udp", "dport", json!(53)), {"dnat": {"addr": "10.88.0.7"}}])),
        rule(
            "inet",
            at,
            "HOSTPORT",
            json!([{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[443, {"goto": {"target": "by-map"}}]]}}}])
        ),
        rule("inet", at, "one", json!([dnat("10.88.0.5", 80)])),
        rule("inet", at, "by-map", json!([{"dnat": {"family": "ip6", "addr": "fd00::9", "port": 443}}])),
    ])
}

#[test]
fn what_is_declared_and_what_listens_is_compared() {
    let all: &[(&str, &str)] = &[
        ("22/tcp", "0.0.0.0"),
        ("22/tcp", "::"),
        ("443/tcp", "192.0.2.1"),
        ("5432/tcp", "127.0.0.1"),
        ("5432/tcp", "::1"),
        ("8080/tcp", "::"),
        ("123/udp", "0.0.0.0"),
    ];
    let declared = ["22/tcp", "443/tcp", "80/tcp", "5432/tcp", "123/udp", "8000-8010/udp", "51820/udp", "500/udp"];
    assert_eq!(
        found(&declared, &around(all)),
        [
            "not-listening port:80/tcp",
            "not-listening port:5432/tcp",
            "not-listening port:500/udp",
            "undeclared-listener port:8080/tcp",
        ]
    );
    // A range declares what listens in it, of its own protocol.
    assert_eq!(
        found(&["8000-9000/tcp"], &around(&[("8080/tcp", "::"), ("8080/udp", "::")])),
        ["undeclared-listener port:8080/udp"]
    );
    assert_eq!(found(&[], &around(all)), [""; 0], "where no port is declared, none is closed");
}

#[test]
fn a_listener_is_told_with_all_its_addresses_and_its_process() {
    let mut around = around(&[("8080/tcp", "0.0.0.0"), ("8080/tcp", "::"), ("9090/tcp", "0.0.0.0")]);
    let process = Process { name: "nginx".into(), pid: 812, user: "www-data".into() };
    around.processes.insert(1, process.clone());
    let findings = judge(&[port("22-23/tcp")], &around);
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!(findings[0].process, Some(process));
    let said = findings[0].to_string();
    assert!(
        said.starts_with("port:8080/tcp: nginx (pid 812, user www-data) listens on 0.0.0.0:8080, [::]:8080,"),
        "{said}"
    );
    assert!(said.ends_with("[undeclared-listener]"), "{said}");
    assert!(findings[1].message.starts_with("a process that cannot be told listens on 0.0.0.0:9090,"));
}

#[test]
fn what_containers_publish_is_found_past_the_rules_for_own_ports() {
    assert_eq!(found(&["22-23/tcp"], &with_ruleset(docker())), ["published-port port:8080/tcp"]);
    assert_eq!(found(&["8080/tcp"], &with_ruleset(docker())), [""; 0], "declared, and no socket is needed");
    let ports: Vec<&str> = "443/tcp 8080/tcp 9000/tcp 9100-9110/tcp 53/udp".split(' ').collect();
    let mut expected: Vec<String> = ports.iter().map(|port| format!("published-port port:{port}")).collect();
    let mut seen = found(&["22-23/tcp"], &with_ruleset(podman()));
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
    assert_eq!(found(&ports, &with_ruleset(podman())), [""; 0]);
    let sentences: Vec<String> =
        judge(&[port("22-23/tcp")], &with_ruleset(podman())).iter().map(ToString::to_string).collect();
    assert!(sentences.iter().any(|said| said.contains("to [fd00::9]:443")), "{sentences:?}");
}

#[test]
fn a_declared_port_that_is_passed_on_or_redirected_is_served() {
    let mut around = with_ruleset(podman());
    around.listening = Some(listening(&[]));
    assert_eq!(
        found(&["9200/tcp", "8080/tcp", "53/udp", "443/tcp", "9000-9110/tcp", "25/tcp"], &around),
        ["not-listening port:25/tcp"]
    );
}

#[test]
fn docker_is_told_once_though_its_rule_and_its_program_are_seen() {
    let mut around = with_ruleset(docker());
    around.listening = Some(listening(&[("8080/tcp", "0.0.0.0"), ("8443/tcp", "0.0.0.0")]));
    let process = Process { name: "docker-proxy".into(), pid: 9, user: "root".into() };
    around.processes = [(0, process.clone()), (1, process)].into();
    // The rule for 8443 is one of the kernel's old tables, say: then the program alone shows the port.
    assert_eq!(found(&["22-23/tcp"], &around), ["published-port port:8080/tcp", "published-port port:8443/tcp"]);
}

#[test]
fn a_rule_that_does_not_say_for_which_port_is_told_once() {
    let dnat = json!([{"xt": {"type": "match", "name": "tcp"}}, {"xt": {"type": "target", "name": "DNAT"}}]);
    let ruleset = json!([
        chain("ip", "nat", "PREROUTING", Some(("nat", "prerouting", "accept"))),
        rule("ip", "nat", "PREROUTING", dnat.clone()),
        rule("ip", "nat", "PREROUTING", dnat),
    ]);
    assert_eq!(found(&["22-23/tcp"], &with_ruleset(ruleset)), ["published-port ip nat PREROUTING"]);
}

#[test]
fn chains_that_drop_all_they_do_not_know_are_found() {
    let table: &[(Value, bool)] = &[
        (json!([chain("inet", "t", "c", Some(("filter", "input", "drop")))]), true),
        (json!([chain("ip6", "t", "c", Some(("route", "output", "drop")))]), true),
        (json!([chain("ip", "t", "c", Some(("filter", "input", "accept")))]), false),
        (json!([chain("inet", "hostwrit", "input", Some(("filter", "input", "drop")))]), false),
        (json!([chain("bridge", "t", "c", Some(("filter", "input", "drop")))]), false),
        (json!([chain("inet", "t", "c", Some(("filter", "prerouting", "drop")))]), false),
        (json!([chain("inet", "t", "c", None)]), false),
        // The programs that made these are found by other signs, or let in what they pass on.
        (
            json!([
                chain("ip", "filter", "INPUT", Some(("filter", "input", "drop"))),
                chain("ip", "filter", "ufw-user-input", None)
            ]),
            false,
        ),
        (
            json!([
                chain("ip", "filter", "FORWARD", Some(("filter", "forward", "drop"))),
                chain("ip", "filter", "DOCKER-USER", None)
            ]),
            false,
        ),
        (
            json!([
                chain("ip", "filter", "INPUT", Some(("filter", "input", "drop"))),
                chain("ip", "filter", "DOCKER-USER", None)
            ]),
            true,
        ),
    ];
    for (ruleset, is_found) in table {
        let seen = found(&[], &with_ruleset(ruleset.clone()));
        assert_eq!(seen.iter().any(|found| found.starts_with("foreign-drop")), *is_found, "{ruleset}: {seen:?}");
    }
    let with_rule = |expr: Value| {
        with_ruleset(json!([
            chain("inet", "t", "c", Some(("filter", "input", "accept"))),
            rule("inet", "t", "c", expr)
        ]))
    };
    let counter = json!({"counter": {"packets": 0, "bytes": 0}});
    for (expr, is_found) in [
        (json!([{"drop": null}]), true),
        (json!([counter, {"log": {"prefix": "x"}}, {"reject": {"type": "icmpx"}}]), true),
        (json!([counter, {"xt": {"type": "target", "name": "REJECT"}}]), true),
        (json!([is("tcp", "dport", json!(25)), {"drop": null}]), false),
        // As fail2ban and CrowdSec write them.
        (json!([is("ip", "saddr", json!("@crowdsec-blacklists")), {"drop": null}]), false),
        (json!([{"limit": {"rate": 1}}, {"drop": null}]), false),
        (json!([{"accept": null}]), false),
        (json!([]), false),
    ] {
        assert_eq!(found(&[], &with_rule(expr.clone())).len(), usize::from(is_found), "{expr}");
    }
}

#[test]
fn other_firewalls_are_named() {
    let ufw = |text: &str| Surroundings { ufw_conf: Some(text.into()), ..Surroundings::default() };
    assert_eq!(found(&[], &ufw("# ENABLED=yes\nENABLED=no\n")), [""; 0]);
    assert_eq!(found(&[], &ufw("LOGLEVEL=low\nENABLED=yes\n")), ["other-firewall ufw"]);
    let reject = json!([{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]);
    let firewalld = json!([
        chain("inet", "firewalld", "filter_INPUT", Some(("filter", "input", "accept"))),
        rule("inet", "firewalld", "filter_INPUT", reject),
    ]);
    assert_eq!(found(&[], &with_ruleset(firewalld)), ["other-firewall firewalld"]);
}

#[test]
fn the_old_tables_are_found_where_they_are_in_use() {
    let tables = |v4: Option<&str>, v6: Option<&str>| Surroundings {
        legacy_tables: [v4, v6].map(|names| names.map(Into::into)),
        ..Surroundings::default()
    };
    assert_eq!(found(&[], &tables(None, Some(""))), [""; 0]);
    let findings = judge(&[], &tables(Some("nat\nfilter\n"), Some("filter\n")));
    assert_eq!(findings.len(), 2);
    assert!(findings[0].message.contains("(nat, filter)") && findings[0].message.contains("iptables-legacy-save"));
    assert!(findings[1].message.contains("ip6tables-legacy-save"));
}

#[test]
fn codes_are_what_files_have() {
    for code in Code::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), json!(code.as_str()));
    }
}

/// Any JSON that has the words of nftables in its places.
fn nearly_a_ruleset() -> impl Strategy<Value = Value> {
    let words = "family|table|name|chain|rule|expr|match|left|right|payload|dport|tcp|jump|target|dnat|addr|port|set|range|vmap|key|data|xt|type|hook|nat|prerouting|policy|drop|a|b";
    let word = proptest::sample::select(words.split('|').collect::<Vec<_>>());
    let leaf = prop_oneof![
        word.clone().prop_map(|word| json!(word)),
        any::<u32>().prop_map(|number| json!(number)),
        Just(Value::Null)
    ];
    leaf.prop_recursive(6, 128, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::btree_map(word.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_ruleset_ends_the_program(ruleset in nearly_a_ruleset()) {
        let around = Surroundings { ruleset: vec![ruleset], ..Surroundings::default() };
        judge(&[port("22/tcp")], &around);
    }

    /// Whatever the rules of a chain say, and to whichever chain they jump, the walk ends.
    #[test]
    fn no_rule_ends_the_program(
        exprs in proptest::collection::vec(proptest::collection::vec(nearly_a_ruleset(), 0..5), 0..6),
        jumps in proptest::collection::vec(("[a-c]", "[a-c]"), 0..12),
    ) {
        let mut ruleset: Vec<Value> =
            ["a", "b", "c"].iter().map(|name| chain("ip", "nat", name, Some(("nat", "prerouting", "accept")))).collect();
        ruleset.extend(exprs.into_iter().map(|expr| rule("ip", "nat", "a", json!(expr))));
        ruleset.extend(jumps.iter().map(|(from, to)| rule("ip", "nat", from, json!([{"jump": {"target": to}}]))));
        judge(&[port("22/tcp")], &Surroundings { ruleset, ..Surroundings::default() });
    }
}

/// Makes the tables that fail2ban and CrowdSec's firewall bouncer make, in the namespace of the thread.
fn ban() {
    nft("table inet f2b-table {
        set addr-set-sshd { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }
        set addr6-set-sshd { type ipv6_addr; elements = { 2001:db8::1 }; }
        chain f2b-chain { type filter hook input priority filter - 1; policy accept; ip saddr @addr-set-sshd reject; }
    }");
    nft("table ip crowdsec {
        set crowdsec-blacklists { type ipv4_addr; flags timeout; elements = { 198.51.100.7 timeout 4h }; }
        set crowdsec-blacklists-lists { type ipv4_addr; flags interval; elements = { 203.0.113.0/24, 198.51.100.0-198.51.100.9 }; }
    }");
    nft("table ip6 crowdsec6 { set crowdsec6-blacklists { type ipv6_addr; flags timeout; }; }");
    nft("table inet mine { set addr-set-mine { type ipv4_addr; elements = { 192.0.2.9 }; }; }");
}

#[test]
fn what_others_ban_is_counted_by_program() {
    if !can_try() {
        return;
    }
    let kinds = |kind: &str| BTreeMap::from([(kind.to_owned(), 1)]);
    let (before, after, unasked) = in_namespace(|host| {
        let before = bans(&kinds("port"), host).unwrap();
        ban();
        (before, bans(&kinds("blocklist"), host).unwrap(), bans(&kinds("file"), host).unwrap())
    });
    assert_eq!(before, BTreeMap::new());
    assert_eq!(after, BTreeMap::from([("crowdsec".to_owned(), 3), ("fail2ban".to_owned(), 3)]));
    assert_eq!(unasked, BTreeMap::new(), "a host that declares nothing of its packet filter is not looked at");
}
