// SPDX-License-Identifier: Apache-2.0
//! How long drift of units and of the packet filter lasts, on a host with a hundred of each: systemd and the kernel tell of it.
//!
//! `HOSTWRIT_DRIFT_EVENTS=1000` for numbers that mean something; benches/drift.rs has those of files and users.

use std::fmt::Write as _;

use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::scenarios::watch;
use crate::site::{Site, WEB1};

/// Changed in turn, and slowly enough that the daemon does not take it for a fight.
const OBJECTS: usize = 100;
/// As many events are made by one command on the host, which may take no longer than 90 s.
const BATCH: usize = 50;

/// Prints for each event how many milliseconds after the change the host is as declared.
const MEASURE: &str = r#"
for event in $(seq $FIRST $LAST); do
    n=$((event % OBJECTS))
    CHANGE
    started=$(date +%s%3N)
    until LOOK; do
        [ $(($(date +%s%3N) - started)) -lt 60000 ] || { echo "event $event is not put right"; exit 1; }
        sleep 0.002
    done
    echo $(($(date +%s%3N) - started))
    sleep 0.3
done
"#;

/// What is changed, and what a command says while it is as declared; `$n` is the number of the object.
const KINDS: [(&str, &str, &str); 2] = [
    ("unit", "systemctl stop tick$n", "systemctl is-active --quiet tick$n"),
    (
        "port",
        r#"nft delete rule inet hostwrit port_input handle $(
            nft --handle list chain inet hostwrit port_input | sed -n "/dport $((10000 + 2 * n)) /s/.*# handle //p")"#,
        r#"nft list chain inet hostwrit port_input | grep -q "dport $((10000 + 2 * n)) ""#,
    ),
];

/// Every event is put right by itself; what is printed is how fast.
pub fn of_units_and_ports(lab: &Lab<'_>) {
    let events = std::env::var("HOSTWRIT_DRIFT_EVENTS").map_or(10, |events| events.parse().expect("a number"));
    let site = Site::new(lab);
    let mut more = "ports:\n  22/tcp: {}\n".to_owned();
    (0..OBJECTS).for_each(|n| writeln!(more, "  {}/tcp: {{}}", 10_000 + 2 * n).expect("a string takes it"));
    let before = site.infra.read(WEB1);
    let (others, services) = before.split_once("services:\n").expect("the usual host has services");
    let mut units = String::new();
    for n in 0..OBJECTS {
        writeln!(
            units,
            "  tick{n}:\n    unit: {{content: \"[Service]\\nExecStart=/bin/sleep infinity\\n\"}}\n    running: true"
        )
        .expect("a string takes it");
    }
    site.infra.write(WEB1, &format!("{others}services:\n{units}{services}{more}"));
    site.infra.publish("a hundred of each", Signer::Alice);
    site.apply().ok();
    watch::start_first(&site);
    for (kind, change, look) in KINDS {
        let mut times: Vec<u64> = Vec::new();
        while times.len() < events {
            let last = (times.len() + BATCH).min(events) - 1;
            times.extend(measure(&site.web1, change, look, times.len(), last));
        }
        times.sort_unstable();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!("{kind}: {events} events, p50 {} ms, p99 {} ms, longest {} ms", at(0.5), at(0.99), at(1.0));
    }
    site.web1.run(&["systemctl", "stop", "hostwrit"]).ok();
    site.demand_convergence();
}

fn measure(web1: &Machine<'_>, change: &str, look: &str, first: usize, last: usize) -> Vec<u64> {
    let script = MEASURE.replace("CHANGE", change).replace("LOOK", look);
    let output = web1.sh(&format!("OBJECTS={OBJECTS}; FIRST={first}; LAST={last}\n{script}")).ok();
    output.text().lines().map(|line| line.parse().expect("the script prints numbers")).collect()
}
