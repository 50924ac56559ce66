// SPDX-License-Identifier: Apache-2.0
//! The courier is killed, or is not what it should be: the steward goes on.

use std::time::{Duration, Instant};

use crate::fleet::{Fleet, NAMES, status};
use crate::lab::Lab;
use crate::machine::Machine;

pub const COURIER: &str = "hostwrit-courier.service";
pub const STEWARD: &str = "hostwrit.service";

/// Stands in the courier's place, on its socket.
const FALSE_COURIER: &str = r#"
my $manner = shift;
while (accept(my $steward, STDIN)) {
    next if fork;
    while (sysread($steward, my $head, 5)) {
        my ($tag, $length) = unpack 'aN', $head;
        sysread($steward, my $body, $length) if $length;
        if ($manner eq 'garbage') { syswrite $steward, pack('C*', map { int rand 256 } 1 .. 4096) }
        elsif ($manner eq 'silence') { sleep }
        elsif ($manner eq 'flood') { while (defined syswrite $steward, "O\x03\xff\xff\xff" . "\0" x 60000) { } exit }
        elsif ($manner eq 'drip') { while (defined syswrite $steward, "F") { sleep 1 } exit }
        elsif ($tag eq 'f') { syswrite $steward, pack('aN/a*', 'F', ('5' x 40) . ' -') }
        else { syswrite $steward, pack('aN', 'M', 0) }
    }
    exit;
}
"#;

/// Killed every few milliseconds it can do nothing, and nothing is lost by it; then it does its work as before.
pub fn killed(lab: &Lab<'_>) {
    let mut fleet = Fleet::converged(lab, ["web1"]);
    let steward = main_process(&fleet.hosts[0], STEWARD);
    // Started as often as it is killed, so that a limit on starts would be met.
    let script = "while :; do systemctl start --no-block hostwrit-courier; sleep 0.02
                  systemctl kill --signal=KILL hostwrit-courier; sleep 0.03; done";
    fleet.hosts[0].run(&["systemd-run", "--quiet", "--unit=killer", "sh", "-c", script]).ok();
    let begin = Instant::now();
    let mut round = 0;
    while begin.elapsed() < Duration::from_secs(20) {
        round += 1;
        fleet.publish(&format!("Order {round}."));
        // It may get through between two kills; whether it does is not what counts.
        fleet.demand_repairs_by(&fleet.hosts, "kill -9 of the courier", |motd| motd.contains("rder"));
    }
    fleet.hosts[0].run(&["systemctl", "stop", "killer"]).ok();
    fleet.demand_followed("kill -9 of the courier");
    assert_eq!(main_process(&fleet.hosts[0], STEWARD), steward, "the steward was started anew");
    let restarts = fleet.hosts[0].run(&["systemctl", "show", "-P", "NRestarts", COURIER]);
    println!("killed in {round} rounds; systemd started the courier again {} times in the last life", restarts.text());
}

/// What sits on its socket sends garbage, on four hosts at once; then on each of them another kind: floods, drips, says nothing, lies.
pub fn false_one(lab: &Lab<'_>) {
    const DROP_IN: &str = "/etc/systemd/system/hostwrit-courier.service.d/false.conf";
    let mut fleet = Fleet::converged(lab, NAMES);
    for manners in [["garbage"; 4], ["flood", "drip", "silence", "lies"]] {
        for (host, manner) in fleet.hosts.iter().zip(manners) {
            host.write("/usr/local/lib/false-courier.pl", FALSE_COURIER);
            let start = format!("/usr/bin/perl /usr/local/lib/false-courier.pl {manner}");
            host.write(DROP_IN, format!("[Service]\nExecStart=\nExecStart={start}\n"));
            host.sh("systemctl daemon-reload && systemctl restart hostwrit-courier.service").ok();
        }
        for (host, manner) in fleet.hosts.iter().zip(manners) {
            let code = if manner == "lies" { "object-missing" } else { "fetch-failed" };
            fleet.demand_last_good_of(std::slice::from_ref(host), manner, &[code]);
            let memory = crate::fleet::peak_kib(host, STEWARD);
            assert!(memory < 256 * 1024, "{manner}: the steward took {memory} KiB");
        }
        for host in &fleet.hosts {
            host.sh(&format!("rm {DROP_IN}; systemctl daemon-reload; systemctl restart hostwrit-courier.service")).ok();
        }
        fleet.publish(&format!("After {}.", manners.join(", ")));
        fleet.demand_followed(&manners.join(", "));
    }
}

pub fn main_process(host: &Machine<'_>, unit: &str) -> u32 {
    let process = host.look(&["systemctl", "show", "-P", "MainPID", unit]);
    let process = process.trim().parse().unwrap_or(0);
    assert!(process > 0, "{unit} of {} does not run: {:#}", host.name(), status(host));
    process
}
