// SPDX-License-Identifier: Apache-2.0
//! The courier is killed, or is not what it should be: the steward goes on, and the courier is worth nothing to whoever has it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::fleet::{Fleet, METRICS, NAMES, status};
use crate::lab::Lab;
use crate::machine::Machine;

const COURIER: &str = "hostwrit-courier.service";
const STEWARD: &str = "hostwrit.service";

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

/// What the system calls show: the steward opens no network socket and runs nothing that the network brought, and the courier
/// can read nothing of the host.
pub fn kept_apart(lab: &Lab<'_>) {
    const TRACE: &str = "/var/tmp/steward.trace";
    let mut fleet = Fleet::converged(lab, ["web1"]);
    let host = &fleet.hosts[0];
    // With -D the steward stays the unit's main process. What the unit forbids stays forbidden, but for tracing.
    host.write(
        "/etc/systemd/system/hostwrit.service.d/trace.conf",
        format!(
            "[Service]\nSystemCallFilter=\nExecStart=\nExecStart=/usr/bin/strace -D -f -qq -o {TRACE} \
             -e trace=socket,socketpair,connect,bind,listen,execve,execveat /usr/bin/hostwrit daemon\n"
        ),
    );
    host.sh("systemctl daemon-reload && systemctl restart hostwrit.service").ok();
    fleet.publish("Under a watchful eye.");
    fleet.demand_followed("the start under strace");
    // A refusal, drift of a service, and a remote that is gone are part of what it does.
    let root = fleet.infra.root().to_owned();
    fleet.infra.reset(&root);
    fleet.infra.push();
    fleet.demand_last_good("old tip", &["rollback"]);
    fleet.hosts[0].unplug();
    fleet.demand_last_good("no network", &["fetch-failed"]);
    fleet.hosts[0].plug();
    fleet.reset();
    fleet.publish("Still watched.");
    fleet.demand_followed("what was watched");

    let host = &fleet.hosts[0];
    let trace = host.read(TRACE).unwrap_or_default();
    let calls = |name: &str| trace.lines().filter(|line| line.contains(name)).map(str::to_owned).collect::<Vec<_>>();
    assert!(calls("AF_UNIX").len() > 3, "the steward speaks to its courier at the least:\n{trace}");
    let network = [calls("AF_INET"), calls("AF_PACKET")].concat();
    assert!(network.is_empty(), "the steward opens network sockets: {network:#?}");
    let programs: BTreeSet<&str> =
        trace.lines().filter(|line| line.contains("execve")).filter_map(|line| line.split('"').nth(1)).collect();
    println!("the steward runs {programs:?}");
    let is_of_the_system = |program: &&str| ["/usr/", "/bin/", "/sbin/"].iter().any(|begin| program.starts_with(begin));
    assert!(programs.iter().all(is_of_the_system), "the steward runs {programs:?}");

    let courier = main_process(host, COURIER);
    let process = host.read(&format!("/proc/{courier}/status")).unwrap_or_default();
    let field = |name: &str| process.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}\n{process}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    let user = host.run(&["id", "-u", "hostwrit"]).ok();
    assert_eq!(field("Uid:"), [user.text(); 4].join("\t"));
    let inside = |command: &str| {
        let user = user.text();
        let enter = format!(
            "exec nsenter --target {courier} --mount setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs \
             --inh-caps=-all --bounding-set=-all sh -c '{command}'"
        );
        host.sh(&enter)
    };
    // That it can read what is its own shows that the way in works.
    inside("ls /var/lib/hostwrit-courier/mirror.git/objects/pack && cat /usr/bin/hostwrit >/dev/null").ok();
    host.write("/etc/hostwrit/credentials/git-token", "hunter2");
    host.run(&["chmod", "-R", "go=", "/etc/hostwrit/credentials"]).ok();
    for path in [
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/hostwrit/credentials/git-token",
        "/var/lib/hostwrit/state.json",
        "/var/log/hostwrit/audit/log.jsonl",
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/sudoers.d/hostwrit-deploy",
    ] {
        host.run(&["test", "-s", path]).ok();
        let read = inside(&format!("cat {path}"));
        assert!(read.code != 0 && read.stdout.is_empty(), "the courier can read {path}:\n{read}");
    }
    for path in
        ["/etc", "/usr/bin", "/var/lib", "/var/lib/hostwrit", "/var/log/hostwrit", "/run/hostwrit", "/root", "/"]
    {
        let write = inside(&format!("echo x >{path}/by-the-courier"));
        assert!(write.code != 0, "the courier can write to {path}:\n{write}");
    }
    // What it is told to do by the configuration, which it reads itself, it does.
    let ask = format!(
        "perl -MIO::Socket::UNIX -e '$| = 1; my $s = IO::Socket::UNIX->new(q({METRICS})) or die $!; \
         print $s qq(GET /metrics HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n); print <$s>'"
    );
    host.sh(&ask).ok().says("hostwrit_last_pull_timestamp_seconds");
    let connect = "perl -MIO::Socket::UNIX -e \"exit !IO::Socket::UNIX->new(q(/run/hostwrit/courier.sock))\"";
    assert!(inside(connect).code != 0, "the courier can ask couriers");
    for unit in [COURIER, STEWARD] {
        let score = host.run(&["systemd-analyze", "security", "--no-pager", unit]);
        println!("{}", score.stdout.lines().last().unwrap_or_default());
    }
}

fn main_process(host: &Machine<'_>, unit: &str) -> u32 {
    let process = host.look(&["systemctl", "show", "-P", "MainPID", unit]);
    let process = process.trim().parse().unwrap_or(0);
    assert!(process > 0, "{unit} of {} does not run: {:#}", host.name(), status(host));
    process
}
