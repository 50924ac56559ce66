// SPDX-License-Identifier: Apache-2.0
//! What is found around declared ports and users: listeners, published ports, other firewalls, sessions. Nothing of it is touched.

use serde_json::Value;

use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::{Machine, eventually};
use crate::site::{Site, WEB1, configure};

/// Opens the ports and nothing else.
const PORTS: &str = "profiles: [base]\nports:\n  22/tcp: {}\n  443/tcp: {}\n  8443/tcp: {}\n  53/udp: {}\n";

const DAEMON: &str = "[Service]\nType=exec\nExecStart=/usr/bin/hostwrit daemon\n";

/// A server: what it is, for `python3 -c`, and how it is called.
fn serve(web1: &Machine<'_>, unit: &str, user: &str, kind: &str, address: &str, port: u16) {
    let program = format!(
        "import socket, time\n\
         family = socket.AF_INET6 if ':' in '{address}' else socket.AF_INET\n\
         s = socket.socket(family, socket.SOCK_{kind})\n\
         s.bind(('{address}', {port}))\n\
         {listen}\n\
         open('/tmp/{unit}', 'w').close()\n\
         time.sleep(100000)",
        listen = if kind == "STREAM" { "s.listen()" } else { "" }
    );
    let user = format!("--uid={user}");
    web1.run(&[
        "systemd-run",
        "--quiet",
        "--collect",
        "--unit",
        unit,
        &user,
        "--property=AmbientCapabilities=CAP_NET_BIND_SERVICE",
        "python3",
        "-c",
        &program,
    ])
    .ok();
    eventually("the server listens", || web1.exists(&format!("/tmp/{unit}")));
}

fn findings(site: &Site<'_>) -> Vec<Value> {
    let plan = site.hostwrit(&["plan", "--json"]).ok();
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap_or_else(|error| panic!("not JSON ({error}):\n{plan}"));
    plan["findings"].as_array().cloned().unwrap_or_default()
}

/// Code and subject of each finding.
fn found(site: &Site<'_>) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let subject = |finding: &Value| match &finding["object"] {
        Value::Null => text(&finding["place"]),
        object => text(object),
    };
    findings(site).iter().map(|finding| format!("{} {}", text(&finding["code"]), subject(finding))).collect()
}

#[track_caller]
fn demand(site: &Site<'_>, expected: &[&str]) {
    assert_eq!(found(site), expected, "{}", site.hostwrit(&["plan"]));
}

fn with_ports<'lab>(lab: &'lab Lab<'lab>, ports: &str) -> Site<'lab> {
    let site = Site::new(lab);
    site.infra.write(WEB1, ports);
    site.infra.publish("ports", Signer::Alice);
    site.apply().ok();
    site
}

/// What listens and is not declared is named with its process and user, what is declared and not served is named too, and
/// each is gone when it is put right. The daemon says each once.
pub fn listeners_are_found(lab: &Lab<'_>) {
    let site = with_ports(lab, PORTS);
    let web1 = &site.web1;
    demand(&site, &["not-listening port:443/tcp", "not-listening port:53/udp", "not-listening port:8443/tcp"]);

    serve(web1, "https", "root", "STREAM", "::", 443);
    serve(web1, "inside", "root", "STREAM", "127.0.0.1", 8443);
    serve(web1, "names", "root", "DGRAM", "0.0.0.0", 53);
    serve(web1, "private", "root", "STREAM", "127.0.0.1", 9000);
    let loopback = "not-listening port:8443/tcp";
    demand(&site, &[loopback]);
    site.plan().ok().says("on the loopback alone").says("nothing to do");

    serve(web1, "stray", "games", "STREAM", "0.0.0.0", 9090);
    serve(web1, "syslog", "root", "DGRAM", "::", 514);
    demand(&site, &[loopback, "undeclared-listener port:9090/tcp", "undeclared-listener port:514/udp"]);
    let stray = findings(&site).into_iter().find(|finding| finding["object"] == "port:9090/tcp");
    let stray = stray.expect("it was just found");
    assert_eq!((&stray["process"]["name"], &stray["process"]["user"]), (&"python3".into(), &"games".into()), "{stray}");
    let pid = web1.run(&["systemctl", "show", "-P", "MainPID", "stray"]).ok();
    assert_eq!(stray["process"]["pid"].to_string(), pid.text());
    site.plan().ok().says("python3").says("user games").says("declare 9090/tcp");
    site.apply().ok().says("nothing to do");
    assert_eq!(site.status()["findings"].as_array().map(Vec::len), Some(3));
    site.hostwrit(&["status"]).ok().says("found, left alone").says("undeclared-listener");

    look_again_costs_little(web1);
    tell_once(&site);
    web1.run(&["systemctl", "stop", "stray", "syslog"]).ok();
    demand(&site, &[loopback]);
    site.demand_convergence();

    site.infra.write(WEB1, "profiles: [base]\n");
    site.infra.publish("no ports", Signer::Alice);
    site.apply().ok();
    demand(&site, &[]);
}

/// Of a host that is as it was, the kernel's lists are read again, once each; no program is run and no process is looked into.
fn look_again_costs_little(web1: &Machine<'_>) {
    let trace = "strace -f -qq -o /tmp/trace -e trace=execve,openat,open,readlink,readlinkat hostwrit plan";
    web1.sh(trace).ok().says("undeclared-listener");
    let trace = web1.read("/tmp/trace").unwrap_or_default();
    let lines = |what: &str| trace.lines().filter(|line| line.contains(what)).collect::<Vec<_>>();
    for list in ["\"/proc/net/tcp\"", "\"/proc/net/tcp6\"", "\"/proc/net/udp\"", "\"/proc/net/udp6\""] {
        assert_eq!(lines(list).len(), 1, "{list}: {trace}");
    }
    assert!(lines("nft").is_empty(), "{:?}", lines("nft"));
    let descriptors =
        lines("/fd").into_iter().filter(|line| line.contains("\"/proc/") && !line.contains("/proc/self/fd"));
    assert_eq!(descriptors.collect::<Vec<_>>(), [""; 0]);
}

/// The daemon, which looks at the whole host every second, has one line for each finding, a metric, and one more for a new one.
fn tell_once(site: &Site<'_>) {
    let web1 = &site.web1;
    site.configure_with("metrics: {textfile: /var/lib/hostwrit/hostwrit.prom}\n");
    web1.write("/etc/systemd/system/hostwrit.service", DAEMON);
    web1.sh("systemctl daemon-reload && systemctl start hostwrit").ok();
    let lines = |port: &str| web1.journal().lines().filter(|line| line.contains(&format!("port:{port}: "))).count();
    let metric = || web1.read("/var/lib/hostwrit/hostwrit.prom").unwrap_or_default();
    eventually("the daemon has found both", || metric().contains("hostwrit_findings{code=\"undeclared-listener\"} 2"));
    serve(web1, "late", "games", "STREAM", "::", 7070);
    eventually("the daemon has found the third", || {
        metric().contains("hostwrit_findings{code=\"undeclared-listener\"} 3")
    });
    web1.run(&["systemctl", "stop", "late"]).ok();
    eventually("the third is gone", || metric().contains("hostwrit_findings{code=\"undeclared-listener\"} 2"));
    count_bans(web1, &metric);
    web1.run(&["systemctl", "stop", "hostwrit"]).ok();
    assert_eq!((lines("9090/tcp"), lines("514/udp"), lines("7070/tcp")), (1, 1, 1), "{}", web1.journal());
    configure(web1, &site.infra, site.remote.url(), "1h");
}

/// The tables of fail2ban, as its action `nftables` makes them, and of CrowdSec's firewall bouncer.
const BANS: &str = "
add table inet f2b-table
add chain inet f2b-table f2b-chain { type filter hook input priority -1; }
add set inet f2b-table addr-set-sshd { type ipv4_addr; }
add rule inet f2b-table f2b-chain tcp dport { 22 } ip saddr @addr-set-sshd reject
add element inet f2b-table addr-set-sshd { 198.51.100.1, 198.51.100.2 }
table ip crowdsec {
 set crowdsec-blacklists { type ipv4_addr; flags timeout; elements = { 198.51.100.7 timeout 4h }; }
 chain crowdsec-chain-input { type filter hook input priority filter - 10; policy accept; ip saddr @crowdsec-blacklists counter drop; }
}
table ip6 crowdsec6 {
 set crowdsec6-blacklists { type ipv6_addr; flags timeout; elements = { 2001:db8::7 timeout 4h, 2001:db8::8 timeout 4h }; }
}
";

/// What other programs ban is counted by the daemon, and told in its metrics and its status.
fn count_bans(web1: &Machine<'_>, metric: &dyn Fn() -> String) {
    assert!(!metric().contains("hostwrit_bans{"), "{}", metric());
    web1.run_with(&[], &["nft", "-f", "-"], BANS.as_bytes()).ok();
    for line in ["hostwrit_bans{program=\"fail2ban\"} 2\n", "hostwrit_bans{program=\"crowdsec\"} 3\n"] {
        eventually(&format!("the daemon tells {line}"), || metric().contains(line));
    }
    let status = web1.run(&["hostwrit", "status"]).ok();
    status.says("banned      3 by crowdsec, 2 by fail2ban");
    for table in ["inet f2b-table", "ip crowdsec", "ip6 crowdsec6"] {
        web1.run(&["nft", &format!("delete table {table}")]).ok();
    }
    eventually("nothing is banned any more", || !metric().contains("hostwrit_bans{"));
}

/// ufw, firewalld, a table that drops, and the kernel's old tables are named, left alone, and no longer named when they are gone.
pub fn other_firewalls_are_found(lab: &Lab<'_>) {
    let site = with_ports(lab, "profiles: [base]\nports: {22/tcp: {management: true}}\n");
    let web1 = &site.web1;
    demand(&site, &[]);

    let foreign = "table inet other { chain in { type filter hook input priority 10; policy drop; ct state established accept; }; \
                   chain out { type filter hook output priority 10; policy accept; tcp dport 25 drop; }; }";
    web1.run(&["nft", foreign]).ok();
    demand(&site, &["foreign-drop inet other in"]);
    site.plan().ok().says("hook input");
    site.apply().ok();
    web1.run(&["nft", "list", "table", "inet", "other"]).ok().says("policy drop");
    web1.run(&["nft", "delete", "table", "inet", "other"]).ok();
    demand(&site, &[]);

    web1.run(&["ufw", "--force", "enable"]).ok();
    demand(&site, &["other-firewall ufw"]);
    site.plan().ok().says("`ufw disable` ends that");
    web1.run(&["ufw", "status"]).ok().says("Status: active");
    web1.run(&["ufw", "disable"]).ok();
    demand(&site, &[]);

    web1.run(&["systemctl", "start", "firewalld"]).ok();
    eventually("firewalld has made its table", || web1.run(&["nft", "list", "table", "inet", "firewalld"]).code == 0);
    demand(&site, &["other-firewall firewalld"]);
    web1.run(&["systemctl", "stop", "firewalld"]).ok();
    demand(&site, &[]);

    let legacy = web1.run(&["iptables-legacy", "-A", "INPUT", "-p", "tcp", "--dport", "99", "-j", "DROP"]);
    if legacy.code == 0 {
        demand(&site, &["iptables-legacy iptables-legacy"]);
        site.plan().ok().says("(filter)");
    } else {
        assert!(std::env::var_os("CI").is_none(), "this kernel has no old tables: {legacy}");
        println!(
            "SKIP: this kernel has no old tables of iptables, so they are not seen to be found: {}",
            legacy.stderr
        );
    }
    site.demand_convergence();
}

/// A port that is published as Docker does it is found although nothing on the host listens on it, and is reached from
/// outside when, and only when, it is declared.
pub fn published_ports_are_found(lab: &Lab<'_>) {
    let site = with_ports(lab, "profiles: [base]\nports: {22/tcp: {management: true}}\n");
    let (web1, peer) = (&site.web1, lab.boot("peer"));
    web1.sh(CONTAINER).ok();
    let reached = || {
        let script = format!("exec 3<>/dev/tcp/{}/8080 && read -r line <&3 && echo \"$line\"", web1.address());
        peer.run(&["timeout", "5", "bash", "-c", &script]).text() == "from the container"
    };
    demand(&site, &["published-port port:8080/tcp"]);
    site.plan().ok().says("ip nat DOCKER").says("declare 8080/tcp, or publish it on 127.0.0.1 alone");
    assert!(!reached(), "a port that is not declared is reached past the firewall");

    site.infra.write(WEB1, "profiles: [base]\nports: {22/tcp: {management: true}, 8080/tcp: {}}\n");
    site.infra.publish("the container's port", Signer::Alice);
    site.apply().ok();
    demand(&site, &[]);
    assert!(reached(), "a declared port is not reached: {}", web1.run(&["nft", "list", "ruleset"]));
    web1.run(&["iptables", "-t", "nat", "-S", "DOCKER"]).ok().says("--dport 8080");
}

/// A network namespace behind a bridge, a server in it, and the rules that Docker writes for `-p 8080:80` and for
/// `-p 127.0.0.1:8081:80`.
const CONTAINER: &str = r#"
set -e
sysctl -qw net.ipv4.ip_forward=1
ip link add docker0 type bridge
ip address add 172.17.0.1/16 dev docker0
ip link set docker0 up
systemd-run --quiet --collect --unit container --service-type=exec --property=PrivateNetwork=yes python3 -c '
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 80))
s.listen()
while True:
    c, _ = s.accept()
    c.sendall(b"from the container\n")
    c.close()
'
pid=$(systemctl show -P MainPID container)
ip link add veth0 type veth peer name eth0 netns "$pid"
ip link set veth0 master docker0 up
nsenter -t "$pid" -n sh -c "ip address add 172.17.0.2/16 dev eth0; ip link set eth0 up; ip route add default via 172.17.0.1"
iptables -t nat -N DOCKER
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
iptables -t nat -A DOCKER -i docker0 -j RETURN
iptables -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
iptables -t nat -A DOCKER -d 127.0.0.1/32 ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80
iptables -N DOCKER
iptables -N DOCKER-USER
iptables -P FORWARD DROP
iptables -A FORWARD -j DOCKER-USER
iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -o docker0 -j DOCKER
iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
iptables -A DOCKER-USER -j RETURN
iptables -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
"#;

/// Who is in with a key that a commit takes away stays in, and is named.
pub fn sessions_are_found(lab: &Lab<'_>) {
    let site = Site::converged(lab);
    let web1 = &site.web1;
    web1.sh("ssh-keygen -q -t ed25519 -N '' -f /root/stolen; ssh-keygen -q -t ed25519 -N '' -f /root/kept").ok();
    let public = |name: &str| web1.read(&format!("/root/{name}.pub")).unwrap_or_default().trim().to_owned();
    let host_file = site.infra.read(WEB1);
    let with_keys = |keys: &[String]| {
        let line =
            format!("ssh_keys: [{}]", keys.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(", "));
        let lines =
            host_file.lines().map(|old| if old.contains("ssh_keys:") { format!("    {line}") } else { old.to_owned() });
        site.infra.write(WEB1, &(lines.collect::<Vec<_>>().join("\n") + "\n"));
        site.infra.publish("keys", Signer::Alice);
        site.apply().ok();
    };
    with_keys(&[public("stolen"), public("kept")]);
    let log_in = |key: &str| {
        let ssh =
            format!("ssh -i /root/{key} -o BatchMode=yes -o StrictHostKeyChecking=no deploy@127.0.0.1 sleep 7771");
        web1.run(&["systemd-run", "--quiet", "--collect", "--unit", key, "sh", "-c", &ssh]).ok();
    };
    log_in("stolen");
    log_in("kept");
    eventually("both are in", || web1.look(&["pgrep", "-c", "-x", "-f", "sleep 7771"]).trim() == "2");
    assert_eq!(found(&site), [] as [String; 0]);

    with_keys(&[public("kept")]);
    // Whoever is in may say that the file is of long ago.
    web1.sh("touch -d 2020-01-01 ~deploy/.ssh/authorized_keys").ok();
    assert_eq!(found(&site), ["live-session user:deploy"]);
    let fingerprint = web1.sh("ssh-keygen -l -f /root/stolen | cut -d' ' -f2").ok();
    let message = findings(&site)[0]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("from 127.0.0.1") && message.contains(fingerprint.text()), "{message}");
    site.hostwrit(&["status"]).ok().says("live-session");

    let advice =
        message.rsplit_once("; ").and_then(|(_, advice)| advice.strip_suffix(" ends it")).expect("it says what to do");
    web1.sh(advice).ok();
    eventually("it has ended", || found(&site).is_empty());
    assert_eq!(web1.look(&["pgrep", "-c", "-x", "-f", "sleep 7771"]).trim(), "1", "the other one stays");

    // Suspended, as users.md says: nobody comes in any more, and who is in is found whatever the key.
    let kept = "ssh -i /root/kept -o BatchMode=yes -o StrictHostKeyChecking=no deploy@127.0.0.1 true";
    web1.sh(kept).ok();
    let suspended =
        site.infra.read(WEB1).replace("    password: locked\n", "    password: locked\n    expires: \"1970-01-02\"\n");
    site.infra.write(WEB1, &suspended);
    site.infra.publish("suspended", Signer::Alice);
    site.apply().ok();
    web1.sh(kept).exits(255);
    let message = findings(&site)[0]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("the account has ended since"), "{message}");
}
