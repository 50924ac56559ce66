// SPDX-License-Identifier: Apache-2.0
//! What the system calls of the steward show, and what the courier is worth to whoever has it.

use std::collections::{BTreeMap, BTreeSet};

use super::couriers::{COURIER, STEWARD, main_process};
use crate::fleet::{Fleet, METRICS, status};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::site::WEB1;

/// Where strace writes, a file for each thread.
const TRACE: &str = "/var/tmp/steward.trace";

/// All that the steward starts itself for what it does here; who fights it would ask journalctl, and which updates wait apt. What the repo
/// names and the login that proves a change are services of systemd's.
const PROGRAMS: [&str; 6] = [
    "/usr/bin/cvtsudoers",
    "/usr/bin/hostwrit",
    "/usr/bin/systemd-run",
    "/usr/sbin/nft",
    "/usr/sbin/sshd",
    "/usr/sbin/visudo",
];

/// A program that the repo brings, and names as a command.
const LOOK: &str = "/usr/local/bin/look";

const ADMINISTRATOR: &str = r#"users:
  admin: {uid: 4002, shell: /bin/bash, password: locked, ssh_keys: ["ALICE_KEY"], sudo: "ALL=(ALL:ALL) NOPASSWD: ALL"}
"#;

const FILES: &str = r#"files:
  /usr/local/bin/look: {source: look, mode: "0755"}
  /var/lib/looked-at: {content: "x\n", validate: [/usr/local/bin/look, "{}"]}
  /etc/nginx/nginx.conf:
    content: "events {} http { server { listen 8080; return 200; } }\n"
    validate: [nginx, -t, -c, "{}"]
"#;

const REST: &str = r#"ports:
  22/tcp: {management: true}
  8080/tcp: {}
services:
  nginx: {running: true, reload_when: ["file:/etc/nginx/nginx.conf"]}
checks:
  command: {command: [/usr/local/bin/look, /var/lib/looked-at]}
  http: {http: "http://127.0.0.1:8080/"}
"#;

/// The steward opens no network socket and runs nothing that the network brought, and the courier can read nothing of the host.
pub fn kept_apart(lab: &Lab<'_>) {
    let mut fleet = Fleet::converged(lab, ["web1"]);
    work_under_strace(&mut fleet);
    demand_no_network(&fleet.hosts[0]);
    demand_known_programs(&fleet.hosts[0]);
    demand_worthless_courier(&fleet.hosts[0]);
    for unit in [COURIER, STEWARD] {
        let score = fleet.hosts[0].run(&["systemd-analyze", "security", "--no-pager", unit]);
        println!("{}", score.stdout.lines().last().unwrap_or_default());
    }
}

/// Has the steward do something of all that it does: accounts, files, ports, a service, validators, checks, a proof of the way in by
/// an administrator's login, a refusal, drift, and a remote that is gone.
fn work_under_strace(fleet: &mut Fleet<'_>) {
    let host = &fleet.hosts[0];
    // With -D the steward stays the unit's main process. What the unit forbids stays forbidden, but for tracing.
    host.write(
        "/etc/systemd/system/hostwrit.service.d/trace.conf",
        format!(
            "[Service]\nSystemCallFilter=\nExecStart=\nExecStart=/usr/bin/strace -D -ff -qq -o {TRACE} \
             -e trace=socket,socketpair,connect,bind,listen,execve,execveat /usr/bin/hostwrit daemon\n"
        ),
    );
    host.sh("systemctl daemon-reload && systemctl restart hostwrit.service").ok();
    let administrator = ADMINISTRATOR.replace("ALICE_KEY", &fleet.lab.keys().ssh_public());
    fleet.infra.write("profiles/watched.yaml", &administrator);
    fleet.infra.replace(WEB1, "profiles: [base]", "profiles: [base, watched]");
    fleet.publish("Under a watchful eye.");
    fleet.demand_followed("the start under strace");
    fleet.infra.write("files/look", "#!/bin/sh\nexec test -e \"$1\"\n");
    // Only now is there a way in that a change could close.
    fleet.infra.write("profiles/watched.yaml", &format!("{administrator}{FILES}{REST}"));
    fleet.publish("With all that there is.");
    fleet.demand_followed("ports, commands and checks");
    let checked = status(&fleet.hosts[0]);
    assert_eq!(checked["checked"]["passed"], 2, "{checked:#}");
    assert!(fleet.hosts[0].journal().contains("hostwrit: proves that administrators can log in"));

    let root = fleet.infra.root().to_owned();
    fleet.infra.reset(&root);
    fleet.infra.push();
    fleet.demand_last_good("old tip", &["rollback"]);
    fleet.hosts[0].unplug();
    fleet.demand_last_good("no network", &["fetch-failed"]);
    fleet.hosts[0].plug();
    fleet.reset();
    fleet.infra.write("profiles/watched.yaml", &format!("{administrator}{FILES}"));
    fleet.publish("Still watched.");
    fleet.demand_followed("what was watched");
}

/// Returns the system calls of each thread of the steward and of what it has started, in order.
fn threads(host: &Machine<'_>) -> BTreeMap<String, Vec<String>> {
    let mut threads: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in host.sh(&format!("grep . {TRACE}.*")).ok().stdout.lines() {
        let (file, call) = line.split_once(':').expect("grep names the file");
        threads.entry(file.to_owned()).or_default().push(call.to_owned());
    }
    threads
}

/// Returns the program of a successful `execve`.
fn started(call: &str) -> Option<&str> {
    (call.starts_with("execve") && call.ends_with(" = 0")).then(|| call.split('"').nth(1))?
}

/// Demands that neither the steward nor what it starts has a socket of the network.
fn demand_no_network(host: &Machine<'_>) {
    let (mut local, mut refused) = (0, 0);
    for (thread, calls) in threads(host) {
        let mut program = "/usr/bin/hostwrit";
        for call in &calls {
            program = started(call).unwrap_or(program);
            if call.contains("AF_UNIX") || call.contains("AF_NETLINK") {
                local += 1;
            } else if call.contains("AF_") {
                // Asked for its configuration, sshd would look what addresses there are. The unit lets it have no socket.
                let is_refused = call.starts_with("socket(") && call.contains("= -1 EAFNOSUPPORT ");
                assert!(is_refused && program == "/usr/sbin/sshd", "{program} ({thread}): {call}");
                refused += 1;
            }
        }
    }
    assert!(local > 30, "the steward speaks to its courier, to systemd and to the kernel at the least: {local}");
    println!(
        "{local} calls about sockets of the host's own; {refused} times sshd asked for one of the network in vain"
    );
}

/// Demands that what is started are programs of the host, and that none of them came out of the repo.
fn demand_known_programs(host: &Machine<'_>) {
    let threads = threads(host);
    let programs: BTreeSet<&str> = threads.values().flatten().filter_map(|call| started(call)).collect();
    assert_eq!(programs, BTreeSet::from(PROGRAMS));
    let mirrored = |program: &str| {
        let look = format!(
            "id=$(git hash-object --no-filters {program}) && \
             git --git-dir=/var/lib/hostwrit-courier/mirror.git cat-file --batch-all-objects --batch-check | grep -c $id"
        );
        host.sh(&look).text().to_owned()
    };
    // What it brings is found there, and did run.
    assert_eq!(mirrored(LOOK), "1");
    for program in PROGRAMS {
        assert_eq!(mirrored(program), "0", "{program} is in the mirror");
    }
}

/// Demands that whoever has the courier has no right and no secret of the host.
fn demand_worthless_courier(host: &Machine<'_>) {
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
}
