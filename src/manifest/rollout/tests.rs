// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::yaml;

const GOOD: &str = "\
rings:
  - {name: canary, hosts: {ring: canary}}
  - {name: early, percent: 10, after: 30m}
  - {name: half, percent: 50, after: 1h}
  - name: all
    after: 2h
    gate: {query: 'sum(up)', min: 0.5, max: 3}
";

fn read(text: &str) -> Result<Rollout, String> {
    let node = yaml::parse("hostwrit.yaml", text.as_bytes()).map_err(|faults| faults.to_string())?;
    let rollout: Rollout = yaml::from_node(&node).map_err(|faults| faults.to_string())?;
    let faults = rollout.faults(&node);
    faults.or(rollout).map_err(|faults| faults.to_string())
}

fn labels(ring: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("ring".to_owned(), ring.to_owned())])
}

fn ring_of<'r>(rollout: &'r Rollout, host: &str, labels: &BTreeMap<String, String>) -> &'r str {
    &rollout.ring("infra.example.org", host, labels).unwrap().name
}

#[test]
fn a_host_is_in_the_first_ring_that_it_fits() {
    let rollout = read(GOOD).unwrap();
    let mut count = BTreeMap::new();
    for number in 0..2000 {
        let host = format!("web{number}");
        assert_eq!(ring_of(&rollout, &host, &labels("canary")), "canary");
        *count.entry(ring_of(&rollout, &host, &labels("other"))).or_insert(0) += 1;
    }
    assert!((150..250).contains(&count["early"]), "about a tenth: {count:?}");
    assert!((720..880).contains(&count["half"]), "the half holds the tenth: {count:?}");
    assert!((900..1100).contains(&count["all"]), "{count:?}");
}

#[test]
fn a_share_is_stable_and_another_in_another_fleet() {
    // Were they ever to change, hosts would change rings with an upgrade.
    let shares: Vec<u32> = ["web1", "web2", "db1"].into_iter().map(|host| share("infra.example.org", host)).collect();
    assert_eq!(shares, SHARES);
    let differ = (0..100).filter(|n| share("a", &format!("web{n}")) != share("b", &format!("web{n}"))).count();
    assert!(differ > 80, "{differ}");
    assert_ne!(share("ab", "c"), share("a", "bc"));
}

const SHARES: [u32; 3] = [5, 67, 35];

#[test]
fn labels_and_percent_of_one_ring_are_both_asked_for() {
    let rollout = read("rings: [{name: some, hosts: {ring: x}, percent: 50}, {name: all}]").unwrap();
    let some = |ring: &str| (0..100).filter(|n| ring_of(&rollout, &format!("web{n}"), &labels(ring)) == "some").count();
    assert!((30..70).contains(&some("x")));
    assert_eq!(some("y"), 0);
}

#[test]
fn a_gate_is_opened_by_a_number_between_its_bounds_and_by_nothing_else() {
    let gate = read(GOOD).unwrap().rings[3].gate.clone().unwrap();
    for (answer, opens) in
        [(0.5, true), (3.0, true), (0.4, false), (3.1, false), (f64::NAN, false), (f64::INFINITY, false)]
    {
        assert_eq!(gate.opens(answer), opens, "{answer}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, expected) in [
        ("rings: []", "hostwrit.yaml:1:1: rings is empty"),
        ("rings: [{name: a, percent: 10}]", "the last ring, \"a\", does not fit every host"),
        ("rings: [{name: a, hosts: {x: y}}]", "the last ring, \"a\", does not fit every host"),
        (
            "rings:\n  - {name: a}\n  - {name: b}",
            ":2:12: ring \"a\" fits every host, so no host is in the rings after it",
        ),
        ("rings:\n  - {name: a, percent: 101}\n  - {name: b}", ":2:24: 101 % of the fleet"),
        ("rings: [{name: a, percent: 0}, {name: b}]", "0 % of the fleet"),
        ("rings:\n  - {name: a, percent: 1}\n  - {name: a}", ":3:12: there are two rings \"a\""),
        ("rings: [{name: 'a b'}]", "\"a b\" cannot be the name of a ring"),
        (
            "rings: [{name: a, percent: 1, after: 2h}, {name: b, after: 1h}]",
            "ring \"b\" waits less than the one before",
        ),
        ("rings: [{name: a, after: 31d}]", "the wait is too long"),
        ("rings: [{name: a, after: soon}]", "\"soon\" is not a duration"),
        ("rings: [{name: a, gate: {query: x}}]", "every answer would open the gate"),
        ("rings: [{name: a, gate: {query: ' ', max: 1}}]", "no query that can be asked"),
        ("rings: [{name: a, gate: {query: x, max: 1, min: 2}}]", "no answer would open the gate"),
        ("rings: [{name: a, gate: {query: x, max: .nan}}]", "must be a number"),
        ("rings: [{name: a, gates: {}}]", "gates"),
        ("rings: [{name: a, percent: -1}]", "percent"),
        ("ring: []", "ring"),
    ] {
        let faults = read(text).unwrap_err();
        assert!(faults.contains(expected), "{text}: {faults}");
    }
}

#[test]
fn every_word_of_it_counts_in_the_digest() {
    let good = read(GOOD).unwrap();
    for (from, to) in [
        ("canary}", "canari}"),
        ("10", "11"),
        ("30m", "31m"),
        ("sum(up)", "sum(ap)"),
        ("0.5", "0.6"),
        ("max: 3", "max: 4"),
    ] {
        assert_ne!(read(&GOOD.replace(from, to)).unwrap().digest(), good.digest(), "{from}");
    }
    assert_eq!(read(&GOOD.replace("2h", "120m")).unwrap().digest(), good.digest(), "the same said otherwise");
}
