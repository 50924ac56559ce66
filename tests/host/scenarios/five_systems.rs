// SPDX-License-Identifier: Apache-2.0
//! Five systems that this was made for, each with hosts of its own: what they ask of a firewall is written in one infra repo,
//! converged, and tried by connections from outside, of IPv4 and IPv6.
//!
//! Another host, `world`, has the addresses of all who come: each is one of the places that the repo knows.

use serde_json::Value;

use crate::git_server::GitServer;
use crate::infra::{Infra, Signer};
use crate::lab::Lab;
use crate::machine::{Machine, eventually};
use crate::site::{configure, demand_convergence, hostwrit, project};

/// The ends of the addresses of those who come: `192.0.2.END` and `2001:db8::END`.
const NODE: u8 = 201;
const CICD: u8 = 202;
const PROXY: u8 = 210;
const BALANCER: u8 = 211;
const APP: u8 = 212;
const MONITOR: u8 = 213;
const STRANGER: u8 = 66;
const BLOCKED: u8 = 77;

/// The port that a container publishes.
const REDIS: u16 = 6379;

/// One system's host.
struct System {
    host: &'static str,
    /// Its profile in the repo. `KEY` stands for an administrator's key, `OLD` for a day of the last month.
    profile: &'static str,
    /// Ports on which programs listen on all addresses.
    listens: &'static [u16],
    /// Who comes for which port.
    reached: &'static [(u8, u16)],
    refused: &'static [(u8, u16)],
    findings: &'static [&'static str],
}

const SYSTEMS: &[System] = &[
    // Web, its panel and SSH from anywhere, all else closed; databases that listen too widely are told of; fail2ban bans.
    System {
        host: "sculptor",
        profile: "
ports: {22/tcp: {management: true}, 80/tcp: {}, 443/tcp: {}, 9443/tcp: {}}
files:
  /etc/fail2ban/jail.d/sshd.local:
    content: \"[DEFAULT]\\nbackend = systemd\\nbanaction = nftables\\n[sshd]\\nenabled = true\\n\"
services:
  fail2ban: {enabled: true, running: true, restart_when: [\"file:/etc/fail2ban/jail.d/sshd.local\"]}
",
        listens: &[80, 443, 9443, 3306],
        reached: &[(STRANGER, 22), (STRANGER, 80), (STRANGER, 443), (STRANGER, 9443), (BLOCKED, 80)],
        refused: &[(STRANGER, 3306), (NODE, 3306)],
        findings: &["undeclared-listener port:3306/tcp"],
    },
    // A host of the DMZ: only its proxy may come, SSH only from node and cicd, and who is on a list not at all.
    System {
        host: "vault",
        profile: "
ports:
  22/tcp: {from: [node, cicd], management: true}
  80/tcp: {}
  443/tcp: {from: [\"host:proxy\"]}
  9100/tcp: {from: [\"label:role=monitor\"]}
blocklists:
  drop: {file: blocklists/drop.txt, updated: OLD, max_age: 7d, when_old: warn}
users:
  tappaas:
    shell: /bin/bash
    password: locked
    ssh_keys: [\"from=\\\"192.0.2.202\\\" KEY\"]
    sudo: \"ALL=(ALL:ALL) NOPASSWD: ALL\"
files:
  /etc/ssh/sshd_config.d/10-root.conf:
    content: \"PermitRootLogin prohibit-password\\nPasswordAuthentication no\\n\"
    validate: [sshd, -t, -f, \"{}\"]
",
        listens: &[80, 443, 9100],
        reached: &[(NODE, 22), (CICD, 22), (PROXY, 443), (MONITOR, 9100), (NODE, 80)],
        refused: &[(STRANGER, 22), (PROXY, 22), (NODE, 443), (STRANGER, 443), (PROXY, 9100), (BLOCKED, 80)],
        findings: &["blocklist-old blocklist:drop"],
    },
    // Containers: what Docker publishes past a firewall is closed and told of, and so is a database that listens too widely.
    System {
        host: "stella",
        profile: "
ports:
  22/tcp: {from: [node], management: true}
  443/tcp: {rate: 40/second, connections: 100}
files:
  /var/lib/stella: {type: directory}
  /var/lib/stella/client.jwt: {owner: root, group: root, mode: \"0600\", renew: {expiry: jwt, every: 30d, warn: 5d}}
  /var/lib/stella/trivy.token: {mode: \"0600\", renew: {every: 30d}}
",
        listens: &[443, 27017],
        reached: &[(NODE, 22), (STRANGER, 443)],
        refused: &[(STRANGER, 22), (STRANGER, REDIS), (STRANGER, 27017)],
        findings: &[
            "undeclared-listener port:27017/tcp",
            "published-port port:6379/tcp",
            "renew-overdue file:/var/lib/stella/client.jwt",
            "renew-unknown file:/var/lib/stella/trivy.token",
        ],
    },
    // Three tiers: anybody comes to the balancer, the balancer to the application, and the application to the database.
    System {
        host: "balancer",
        profile: "
ports:
  22/tcp: {from: [node], management: true}
  80/tcp: {}
  443/tcp: {}
",
        listens: &[80, 443, 8080],
        reached: &[(STRANGER, 80), (STRANGER, 443), (NODE, 22)],
        refused: &[(STRANGER, 22), (STRANGER, 8080)],
        findings: &["undeclared-listener port:8080/tcp"],
    },
    System {
        host: "kapp",
        profile: "
ports:
  22/tcp: {from: [node], management: true}
  8080/tcp: {from: [\"label:role=balancer\"]}
",
        listens: &[8080],
        reached: &[(BALANCER, 8080), (NODE, 22)],
        refused: &[(STRANGER, 8080), (APP, 8080), (NODE, 8080), (BALANCER, 22)],
        findings: &[],
    },
    System {
        host: "kdb",
        profile: "
ports:
  22/tcp: {from: [node], management: true}
  5432/tcp: {from: [\"host:app\"]}
",
        listens: &[5432],
        reached: &[(APP, 5432), (NODE, 22)],
        refused: &[(BALANCER, 5432), (STRANGER, 5432), (NODE, 5432), (APP, 22)],
        findings: &[],
    },
    // Web from anywhere, its agents' ports from networks of management, no plain AMQP, and out to the directory alone.
    System {
        host: "conductor",
        profile: "
ports:
  22/tcp: {from: [node], management: true}
  80/tcp: {}
  443/tcp: {}
  53333/tcp: {from: [node, cicd]}
  5671/tcp: {from: [node, cicd]}
egress:
  636/tcp: {to: [directory]}
  9418/tcp: {to: [192.0.2.1]}
",
        listens: &[80, 443, 53333, 5671, 5672],
        reached: &[(STRANGER, 80), (STRANGER, 443), (NODE, 53333), (CICD, 53333), (NODE, 5671), (CICD, 5671)],
        refused: &[(STRANGER, 53333), (STRANGER, 5671), (STRANGER, 5672), (NODE, 5672), (CICD, 22)],
        findings: &["undeclared-listener port:5672/tcp"],
    },
];

/// Who may administer each of them.
const ADMINISTRATOR: &str = "
users:
  alice:
    shell: /bin/bash
    ssh_keys: [\"KEY\"]
    sudo: \"ALL=(ALL:ALL) NOPASSWD: ALL\"
";

/// A token of which `exp` is 2025-11-28T00:00:00Z. Nobody verifies it.
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3NjQyODgwMDAsInN1YiI6InN0ZWxsYSJ9.bm9ib2R5IHZlcmlmaWVzIGl0";

/// What they need stands in one repo, and is so on their hosts.
pub fn needs(lab: &Lab<'_>) {
    let infra = repo(lab);
    let remote = GitServer::git(lab, &infra);
    let [world, hosts @ ..] =
        lab.boot_all(["world", "sculptor", "vault", "stella", "balancer", "kapp", "kdb", "conductor"]);
    prepare_world(lab, &world);
    for (system, host) in SYSTEMS.iter().zip(&hosts) {
        assert_eq!(system.host, host.name());
        add_ipv6(host);
        listen(host, system.listens);
        configure(host, &infra, remote.url(), "1h");
    }
    let [sculptor, vault, stella, _, _, _, conductor] = &hosts;
    publish_as_docker(stella);
    issue_a_token(stella);
    bounce_as_crowdsec(vault);
    let all: Vec<Try> = SYSTEMS.iter().zip(&hosts).flat_map(|(system, host)| tries(system, host)).collect();
    // All that listens is reached as long as nobody filters; what Docker passes on by IPv4 alone.
    let open = all.iter().filter(|one| one.port != REDIS || one.address.contains('.'));
    demand_outcomes(&world, &open.map(|one| Try { is_reached: true, ..one.clone() }).collect::<Vec<_>>());
    for host in &hosts {
        hostwrit(host, &["apply"]).ok();
    }
    demand_outcomes(&world, &all);
    for (system, host) in SYSTEMS.iter().zip(&hosts) {
        demand_convergence(host);
        demand_findings(host, system.findings);
    }
    its_mode_was_put_right_and_nothing_else(stella);
    fail2ban_is_left_alone(&world, sculptor);
    crowdsec_is_left_alone(&world, vault);
    keys_are_bound_to_addresses(&world, vault);
    only_the_directory_is_reached_from(&world, conductor);
}

fn repo<'run>(lab: &Lab<'run>) -> Infra<'run> {
    let infra = Infra::new(lab, &project().join("tests/host/repo"));
    let key = lab.keys().ssh_public();
    let old = humantime::format_rfc3339(std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 86_400));
    let (old, _) =
        old.to_string().split_once('T').map(|(day, time)| (day.to_owned(), time.to_owned())).expect("a time");
    let fill = |text: &str| text.replace("KEY", &key).replace("OLD", &old);
    let top = infra.read("hostwrit.yaml");
    let both = |end: u8| format!("[192.0.2.{end}, \"2001:db8::{end}\"]");
    infra.write(
        "hostwrit.yaml",
        &format!("{top}zones:\n  node: {}\n  cicd: {}\n  directory: [192.0.2.0/24]\n", both(NODE), both(CICD)),
    );
    infra.write(
        "files/blocklists/drop.txt",
        &format!("; who is not let in\n192.0.2.{BLOCKED} # one\n2001:db8::{BLOCKED}/128\n198.51.100.0/24\n"),
    );
    infra.write("profiles/administrator.yaml", &fill(ADMINISTRATOR));
    for system in SYSTEMS {
        infra.write(&format!("profiles/{}.yaml", system.host), &fill(system.profile));
        infra.write(&format!("hosts/{}.yaml", system.host), &format!("profiles: [administrator, {}]\n", system.host));
    }
    for (host, role, end) in [
        ("proxy", "proxy", PROXY),
        ("front", "balancer", BALANCER),
        ("app", "app", APP),
        ("watcher", "monitor", MONITOR),
    ] {
        let text = format!("labels: {{role: {role}}}\naddresses: {}\n", both(end));
        infra.write(&format!("hosts/{host}.yaml"), &text);
    }
    infra.publish("five systems", Signer::Alice);
    infra
}

/// Gives the host an address of IPv6 that ends as its other one does.
fn add_ipv6(host: &Machine<'_>) {
    let end = host.address().rsplit('.').next().expect("an address has dots");
    host.sh(&format!(
        "sysctl -qw net.ipv6.conf.host0.disable_ipv6=0; ip -6 address add 2001:db8::{end}/64 dev host0 nodad"
    ))
    .ok();
}

/// Gives `world` the addresses of all who come, a key, and servers to be reached.
fn prepare_world(lab: &Lab<'_>, world: &Machine<'_>) {
    add_ipv6(world);
    for end in [NODE, CICD, PROXY, BALANCER, APP, MONITOR, STRANGER, BLOCKED] {
        world
            .sh(&format!(
                "ip address add 192.0.2.{end}/24 dev host0 && ip -6 address add 2001:db8::{end}/64 dev host0 nodad"
            ))
            .ok();
    }
    let key = std::fs::read(lab.keys().ssh_private()).expect("it was made by this run");
    world.write("/root/key", key);
    world.run(&["chmod", "600", "/root/key"]).ok();
    listen(world, &[636, 25]);
}

/// Starts a program that listens on all addresses on each of the ports, and says hello.
fn listen(host: &Machine<'_>, ports: &[u16]) {
    let program = format!(
        "import selectors, socket\n\
         chosen = selectors.DefaultSelector()\n\
         for port in {ports:?}:\n\
         \x20   chosen.register(socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True), selectors.EVENT_READ)\n\
         open('/tmp/listens', 'w').close()\n\
         while True:\n\
         \x20   for key, _ in chosen.select():\n\
         \x20       connection, _ = key.fileobj.accept()\n\
         \x20       connection.sendall(b'hello\\n')\n\
         \x20       connection.close()\n"
    );
    host.run(&["systemd-run", "--quiet", "--unit", "servers", "python3", "-c", &program]).ok();
    eventually("the servers listen", || host.exists("/tmp/listens"));
}

#[track_caller]
fn demand_findings(host: &Machine<'_>, expected: &[&str]) {
    let output = hostwrit(host, &["status", "--json"]).ok();
    let status: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("not JSON ({error}):\n{output}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = status["findings"].as_array().cloned().unwrap_or_default();
    let found: Vec<String> =
        findings.iter().map(|finding| format!("{} {}", text(&finding["code"]), text(&finding["object"]))).collect();
    assert_eq!(found, expected, "{}: {findings:#?}", host.name());
}

/// Somebody comes for a port, and is let in or not.
#[derive(Clone, Debug)]
struct Try {
    from: String,
    address: String,
    port: u16,
    is_reached: bool,
}

/// Returns what a system says of connections, by IPv4 and IPv6.
fn tries(system: &System, host: &Machine<'_>) -> Vec<Try> {
    let reached = system.reached.iter().map(|(from, port)| (*from, *port, true));
    let refused = system.refused.iter().map(|(from, port)| (*from, *port, false));
    reached.chain(refused).flat_map(|(from, port, is_reached)| both(host, from, port, is_reached)).collect()
}

fn both(host: &Machine<'_>, from: u8, port: u16, is_reached: bool) -> [Try; 2] {
    let end = host.address().rsplit('.').next().expect("an address has dots");
    ["192.0.2.", "2001:db8::"].map(|begin| Try {
        from: format!("{begin}{from}"),
        address: format!("{begin}{end}"),
        port,
        is_reached,
    })
}

/// Tries all at once, and demands that each comes out as it should.
#[track_caller]
fn demand_outcomes(world: &Machine<'_>, tries: &[Try]) {
    let reached = reached(world, tries);
    let wrong: Vec<_> = tries.iter().zip(&reached).filter(|(one, reached)| one.is_reached != **reached).collect();
    assert!(wrong.is_empty(), "of {} connections these came out otherwise: {wrong:#?}", tries.len());
}

/// Says of each whether it was let in.
fn reached(world: &Machine<'_>, tries: &[Try]) -> Vec<bool> {
    let line = |one: &Try| format!("('{}', '{}', {})", one.from, one.address, one.port);
    let program = format!(
        "import socket\n\
         from concurrent.futures import ThreadPoolExecutor\n\
         def come(one):\n\
         \x20   source, to, port = one\n\
         \x20   try:\n\
         \x20       with socket.create_connection((to, port), 15, (source, 0)) as s:\n\
         \x20           s.settimeout(15)\n\
         \x20           return 'reached' if s.recv(1) else 'refused'\n\
         \x20   except OSError:\n\
         \x20       return 'refused'\n\
         tries = [{}]\n\
         with ThreadPoolExecutor(len(tries)) as pool:\n\
         \x20   print(*pool.map(come, tries), sep='\\n')\n",
        tries.iter().map(line).collect::<Vec<_>>().join(", ")
    );
    let outcomes = world.run(&["python3", "-c", &program]).ok();
    let outcomes: Vec<bool> = outcomes.text().lines().map(|outcome| outcome == "reached").collect();
    assert_eq!(outcomes.len(), tries.len(), "each has an outcome");
    outcomes
}

/// Whether this end of an address is let in by IPv4.
fn is_reached(world: &Machine<'_>, host: &Machine<'_>, from: u8, port: u16) -> bool {
    let [v4, _] = both(host, from, port, true);
    reached(world, &[v4])[0]
}

/// Passes 6379 on to a container as Docker does for `-p 6379:6379`; the container answers, and still nobody comes to it.
fn publish_as_docker(stella: &Machine<'_>) {
    stella
        .sh("set -e
             sysctl -qw net.ipv4.ip_forward=1
             ip link add docker0 type bridge && ip address add 172.17.0.1/16 dev docker0 && ip link set docker0 up
             systemd-run --quiet --unit redis --service-type=exec --property=PrivateNetwork=yes python3 -c '
import socket
s = socket.create_server((\"\", 6379))
while True:
    c, _ = s.accept()
    c.sendall(b\"+PONG\\n\")
    c.close()
'
             pid=$(systemctl show -P MainPID redis)
             ip link add veth0 type veth peer name eth0 netns $pid && ip link set veth0 master docker0 up
             nsenter -t $pid -n sh -c 'ip address add 172.17.0.2/16 dev eth0; ip link set eth0 up; ip route add default via 172.17.0.1'
             iptables -t nat -N DOCKER
             iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
             iptables -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 6379 -j DNAT --to-destination 172.17.0.2:6379")
        .ok();
    eventually("the container answers", || {
        stella.run(&["timeout", "5", "bash", "-c", "exec 3<>/dev/tcp/172.17.0.2/6379 && head -c1 <&3"]).text() == "+"
    });
}

/// Puts a token there that has expired and that everybody may read.
fn issue_a_token(stella: &Machine<'_>) {
    stella.run(&["mkdir", "-p", "/var/lib/stella"]).ok();
    stella.write("/var/lib/stella/client.jwt", TOKEN);
    stella.run(&["chmod", "0644", "/var/lib/stella/client.jwt"]).ok();
}

fn its_mode_was_put_right_and_nothing_else(stella: &Machine<'_>) {
    assert_eq!(stella.run(&["stat", "-c", "%a %U", "/var/lib/stella/client.jwt"]).text(), "600 root");
    assert_eq!(stella.read("/var/lib/stella/client.jwt").as_deref(), Some(TOKEN));
    assert!(!stella.exists("/var/lib/stella/trivy.token"), "it is somebody else's to make");
    let said = hostwrit(stella, &["status"]).ok().says("the token in it expired at 2025-11-28T00:00:00Z");
    assert!(!said.stdout.contains("eyJ") && !stella.journal().contains("eyJ"), "nothing of it is shown");
}

/// Makes the table that CrowdSec's firewall bouncer makes, with one decision in it.
fn bounce_as_crowdsec(vault: &Machine<'_>) {
    let table = "table ip crowdsec {
 set crowdsec-blacklists { type ipv4_addr; flags timeout; elements = { 198.51.100.7 timeout 4h }; }
 chain crowdsec-chain-input {
  type filter hook input priority filter - 10; policy accept;
  ip saddr @crowdsec-blacklists counter drop;
 }
}";
    vault.run_with(&[], &["nft", "-f", "-"], table.as_bytes()).ok();
}

/// Returns how many addresses others ban, as the last cycle has counted them.
fn bans(host: &Machine<'_>) -> Value {
    let output = hostwrit(host, &["status", "--json"]).ok();
    let status: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}:\n{output}"));
    status["bans"].clone()
}

fn fail2ban_is_left_alone(world: &Machine<'_>, sculptor: &Machine<'_>) {
    sculptor.run(&["systemctl", "is-active", "fail2ban"]).ok();
    let banned = format!("192.0.2.{STRANGER}");
    eventually("the jail is there", || sculptor.run(&["fail2ban-client", "status", "sshd"]).code == 0);
    sculptor.run(&["fail2ban-client", "set", "sshd", "banip", &banned]).ok();
    let ssh = || is_reached(world, sculptor, STRANGER, 22);
    eventually("the ban counts", || !ssh());
    hostwrit(sculptor, &["apply"]).ok();
    sculptor.run(&["fail2ban-client", "status", "sshd"]).ok().says("Currently banned:\t1");
    sculptor.run(&["nft", "list", "table", "inet", "f2b-table"]).ok().says(&banned);
    assert_eq!(bans(sculptor), serde_json::json!({"fail2ban": 1}));
    hostwrit(sculptor, &["status"]).ok().says("banned      1 by fail2ban");
    assert!(!ssh(), "what fail2ban banned is let in");
    sculptor.run(&["fail2ban-client", "set", "sshd", "unbanip", &banned]).ok();
    assert!(ssh());
    demand_convergence(sculptor);
}

fn crowdsec_is_left_alone(world: &Machine<'_>, vault: &Machine<'_>) {
    vault.run(&["nft", "list", "table", "ip", "crowdsec"]).ok().says("198.51.100.7");
    let decide = |word: &str| {
        let element = format!("{{ 192.0.2.{MONITOR} }}");
        vault.run(&["nft", word, "element", "ip", "crowdsec", "crowdsec-blacklists", &element]).ok();
        is_reached(world, vault, MONITOR, 9100)
    };
    assert!(!decide("add"), "what CrowdSec decided is let in");
    hostwrit(vault, &["apply"]).ok();
    assert_eq!(bans(vault), serde_json::json!({"crowdsec": 2}));
    assert!(decide("delete"));
}

/// The key of `tappaas` counts from cicd alone, although the port is open for node as well.
fn keys_are_bound_to_addresses(world: &Machine<'_>, vault: &Machine<'_>) {
    let log_in = |from: u8, user: &str| {
        let (source, to) = (format!("BindAddress=192.0.2.{from}"), format!("{user}@{}", vault.address()));
        let options =
            ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=20", "-o", &source];
        let command = [&["ssh", "-i", "/root/key"], &options[..], &[to.as_str(), "sudo", "-n", "id", "-un"]].concat();
        world.run(&command)
    };
    assert_eq!(log_in(CICD, "tappaas").ok().text(), "root");
    assert_eq!(log_in(NODE, "alice").ok().text(), "root");
    log_in(NODE, "tappaas").exits(255).says("Permission denied");
    log_in(STRANGER, "tappaas").exits(255);
    vault.run(&["sshd", "-T"]).ok().says("permitrootlogin without-password").says("passwordauthentication no");
}

fn only_the_directory_is_reached_from(world: &Machine<'_>, conductor: &Machine<'_>) {
    let reaches = |port: u16| {
        let script = format!("exec 3<>/dev/tcp/{}/{port} && head -c5 <&3", world.address());
        conductor.run(&["timeout", "10", "bash", "-c", &script]).text() == "hello"
    };
    assert!(reaches(636), "{}", conductor.run(&["nft", "list", "ruleset"]));
    assert!(!reaches(25), "mail gets out");
}
