// SPDX-License-Identifier: Apache-2.0
//! Real connections between hosts: what is reached, and what is not.

use std::collections::BTreeMap;

use crate::machine::{Machine, eventually};

const PROGRAM: &str = "/usr/local/lib/wire.pl";

/// Gives the host the program and an address of IPv6 beside its address of IPv4.
pub fn wire(machine: &Machine<'_>) {
    machine.write(PROGRAM, include_str!("wire.pl"));
    machine.sh(&format!("ip -6 address add {}/32 dev host0 nodad", v6(machine))).ok();
}

/// Returns the host's address of IPv6: each host has a /64 network of its own.
pub fn v6(machine: &Machine<'_>) -> String {
    let number = machine.address().rsplit('.').next().unwrap_or_default();
    format!("2001:db8:0:{number}::{number}")
}

/// Has the host answer on these ports, by both families.
pub fn serve(machine: &Machine<'_>, ports: &[&str]) {
    let ports = ports.join(" ");
    machine
        .sh(&format!("systemd-run --quiet --unit=wire --property=LimitNOFILE=20000 perl {PROGRAM} serve {ports}"))
        .ok();
    let first = ports.split(' ').next().unwrap_or_default();
    eventually("the host listens", || {
        machine.sh(&format!("WIRE_PATIENCE=2 perl {PROGRAM} reach ::1 {first}")).text().ends_with("reached")
    });
}

/// Tries all ports at once, by both addresses of `to`; returns those that were reached, as `v4 22/tcp`.
pub fn reached(from: &Machine<'_>, to: &Machine<'_>, ports: &[&str]) -> Vec<String> {
    // Whoever is behind the addresses is asked anew: neighbour discovery must work as well.
    from.sh("ip neighbour flush dev host0").ok();
    let mut reached = Vec::new();
    for (family, address) in [("v4", to.address().to_owned()), ("v6", v6(to))] {
        let said = from.sh(&format!("perl {PROGRAM} reach {address} {}", ports.join(" "))).ok();
        let answers: BTreeMap<&str, &str> = said.text().lines().filter_map(|line| line.split_once(' ')).collect();
        assert_eq!(answers.len(), ports.len(), "{said}");
        let found = ports.iter().filter(|port| answers.get(*port) == Some(&"reached"));
        reached.extend(found.map(|port| format!("{family} {port}")));
    }
    reached
}

/// Returns `v4 PORT` and `v6 PORT` for each port: what is reached where nothing is in the way.
pub fn both(ports: &[&str]) -> Vec<String> {
    ["v4", "v6"].iter().flat_map(|family| ports.iter().map(move |port| format!("{family} {port}"))).collect()
}

/// Begins to hold so many connections to a port; returns how many of them came to be.
pub fn hold(from: &Machine<'_>, address: &str, port: &str, count: usize) -> usize {
    from.sh(&format!(
        "rm -f /run/wire-stop /run/wire-held
         systemd-run --quiet --collect --unit=wire-hold sh -c 'perl {PROGRAM} hold {address} {port} {count} >/run/wire-held'"
    ))
    .ok();
    let held = || from.read("/run/wire-held").and_then(|text| text.trim().parse().ok());
    eventually("the connections were tried", || held().is_some());
    held().unwrap_or_default()
}

/// Lets go of what [`hold`] and [`storm`] hold.
pub fn let_go(from: &Machine<'_>) {
    from.write("/run/wire-stop", "");
    eventually("the connections are closed", || {
        from.sh("systemctl is-active wire-hold wire-storm").text().lines().all(|line| line == "inactive")
    });
}

/// Begins a storm of connections to an open and a closed port; it rages once this returns.
pub fn storm(from: &Machine<'_>, address: &str, open: u16, closed: u16, count: usize) {
    from.sh(&format!(
        "rm -f /run/wire-stop /run/wire-ready /run/wire-seen
         systemd-run --quiet --unit=wire-storm --property=LimitNOFILE=20000 --property=StandardOutput=file:/run/wire-seen \\
           --property=StandardError=file:/run/wire-error perl {PROGRAM} storm {address} {open} {closed} {count}"
    ))
    .ok();
    eventually("the storm rages", || from.exists("/run/wire-ready"));
}

/// Ends a storm; returns what it saw, by name.
pub fn calm(from: &Machine<'_>) -> BTreeMap<String, u64> {
    from.write("/run/wire-stop", "");
    eventually("the storm is over", || from.read("/run/wire-seen").is_some_and(|seen| seen.ends_with('\n')));
    let seen = from.read("/run/wire-seen").unwrap_or_default();
    let pairs = seen.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?))).collect()
}
