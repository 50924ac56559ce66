// SPDX-License-Identifier: Apache-2.0
//! Ports, egress and block lists, tried by connections between hosts, by IPv4 and IPv6, TCP and UDP.

use std::time::Duration;

use crate::image;
use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::{Machine, eventually, within};
use crate::site::{Site, WEB1, configure, project};
use crate::wire::{both, calm, hold, let_go, reached, serve, storm, v6, wire};

/// A fight is told after some rounds, which come ever less often.
const LATE: Duration = Duration::from_secs(240);

/// A site whose host `web1` answers on these ports, and other hosts beside it, all with both families.
fn wired<'lab, const N: usize>(
    lab: &'lab Lab<'lab>,
    others: [&'static str; N],
    ports: &[&str],
) -> (Site<'lab>, [Machine<'lab>; N]) {
    let site = Site::new(lab);
    let others = lab.boot_all(others);
    others.iter().chain([&site.web1]).for_each(wire);
    serve(&site.web1, ports);
    let top = site.infra.read("hostwrit.yaml");
    let addresses = |machine: &Machine<'_>| format!("[{}, \"{}\"]", machine.address(), v6(machine));
    if let Some(first) = others.first() {
        site.infra.write("hostwrit.yaml", &format!("{top}zones: {{office: {}}}\n", addresses(first)));
    }
    for other in &others {
        let name = other.name();
        site.infra.write(
            &format!("hosts/{name}.yaml"),
            &format!("labels: {{role: {name}}}\naddresses: {}\n", addresses(other)),
        );
    }
    site.apply().ok();
    (site, others)
}

/// Declares more for `web1`, in the place of what was declared so before.
fn declare(site: &Site<'_>, more: &str) {
    let before = site.infra.read(WEB1);
    let own = before.split("# More:\n").next().unwrap_or_default();
    site.infra.write(WEB1, &format!("{own}# More:\n{more}"));
    site.infra.publish("other ports", Signer::Alice);
}

fn apply(site: &Site<'_>, more: &str) {
    declare(site, more);
    site.apply().ok();
    site.demand_convergence();
}

/// Who may reach what, before, after, with a block list, and after the last port left the repo.
pub fn reached_and_refused(lab: &Lab<'_>) {
    let all = ["80/tcp", "53/udp", "81/tcp", "82/udp", "83/tcp", "8002/tcp", "8009/udp", "9000/tcp", "9001/udp"];
    let (site, [office, backup]) = wired(lab, ["office", "backup"], &all);
    let web1 = &site.web1;
    assert_eq!(reached(&office, web1, &all), both(&all));
    // What others have in the packet filter stays theirs: here fail2ban's and an old one's.
    web1.sh("nft add table inet f2b-table; nft add set inet f2b-table s '{type ipv4_addr; elements = {203.0.113.9}; }'
             nft add chain inet f2b-table c '{type filter hook input priority -1; }'; nft add rule inet f2b-table c ip saddr @s reject
             nft add table ip old; nft add chain ip old c").ok();
    let others = || web1.sh("nft list table inet f2b-table; nft list table ip old").ok().text().to_owned();
    let before = others();

    let ports = format!(
        "ports:
  22/tcp: {{management: true}}
  80/tcp: {{}}
  53/udp: {{}}
  81/tcp: {{from: [office]}}
  82/udp: {{from: [\"host:backup\"]}}
  83/tcp: {{from: [\"label:role=backup\", {}]}}
  8000-8004/tcp: {{log: true}}
  8005-8010/udp: {{from: [192.0.2.0/24]}}
",
        office.address()
    );
    apply(&site, &ports);
    let for_all = ["80/tcp", "53/udp", "8002/tcp"];
    let expected = |more: &[&str]| {
        let mut expected: Vec<String> = both(&for_all);
        expected.extend(more.iter().map(|port| (*port).to_owned()));
        expected.sort();
        expected
    };
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let of_office = ["v4 81/tcp", "v6 81/tcp", "v4 83/tcp", "v4 8009/udp"];
    assert_eq!(sorted(reached(&office, web1, &all)), expected(&of_office), "from the office");
    let of_backup = ["v4 82/udp", "v6 82/udp", "v4 83/tcp", "v6 83/tcp", "v4 8009/udp"];
    assert_eq!(sorted(reached(&backup, web1, &all)), expected(&of_backup), "from the backup host");
    assert_eq!(reached(web1, web1, &all), both(&all), "the host reaches itself");
    assert!(
        web1.look(&["dmesg"]).contains("hostwrit port:8000-8004/tcp") || !web1.look(&["dmesg"]).contains("hostwrit")
    );

    let list = format!("# a list\n{} ; the backup host\n{}\n198.51.100.0/24\n", backup.address(), v6(&backup));
    site.infra.write("files/bad.txt", &list);
    apply(&site, &format!("{ports}blocklists:\n  bad: {{file: bad.txt, updated: 2026-01-01, max_age: 30000d}}\n"));
    assert_eq!(reached(&backup, web1, &all), [""; 0], "a listed host reaches nothing");
    assert_eq!(sorted(reached(&office, web1, &all)), expected(&of_office), "others as before");

    // One that nft refuses changes nothing. The name of a set may have 31 characters where the kernel is old, and 255 here.
    let table = web1.sh("nft list table inet hostwrit").ok().text().to_owned();
    web1.sh("cp /var/lib/hostwrit/firewall/ports.json /root/good.json
             sed -i s/accept/acept/ /var/lib/hostwrit/firewall/ports.json")
        .ok();
    site.hostwrit(&["firewall"]).exits(1);
    assert_eq!(
        web1.sh("nft list table inet hostwrit").ok().text(),
        table,
        "a ruleset that nft refuses changes nothing"
    );
    web1.sh("cp /root/good.json /var/lib/hostwrit/firewall/ports.json").ok();
    assert_eq!(others(), before);

    apply(&site, "");
    assert_eq!(reached(&backup, web1, &all), both(&all), "the last port takes all rules with it");
    web1.sh("nft list table inet hostwrit").exits(1);
    assert_eq!(others(), before);
    assert!(!web1.exists("/var/lib/hostwrit/firewall/ports.json"));
}

/// Each source has its own count of new connections, and of those that it holds.
pub fn limits(lab: &Lab<'_>) {
    let all = ["80/tcp", "81/tcp"];
    let (site, [office, backup]) = wired(lab, ["office", "backup"], &all);
    let web1 = &site.web1;
    apply(&site, "ports: {22/tcp: {}, 80/tcp: {rate: 3/hour}, 81/tcp: {connections: 2}}\n");
    for address in [web1.address().to_owned(), v6(web1)] {
        assert_eq!(hold(&office, &address, "80/tcp", 6), 3, "three an hour, by {address}");
        let_go(&office);
        assert_eq!(hold(&backup, &address, "80/tcp", 1), 1, "another source has not used its own up");
        let_go(&backup);

        assert_eq!(hold(&office, &address, "81/tcp", 4), 2, "two at a time");
        assert_eq!(hold(&backup, &address, "81/tcp", 1), 1);
        let_go(&backup);
        let_go(&office);
        eventually("what was closed is counted no more", || {
            let held = hold(&office, &address, "81/tcp", 1);
            let_go(&office);
            held == 1
        });
    }
    // Another port is opened: who has used up his share has it used up still.
    apply(&site, "ports: {22/tcp: {}, 80/tcp: {rate: 3/hour}, 81/tcp: {connections: 2}, 82/tcp: {}}\n");
    assert_eq!(hold(&office, web1.address(), "80/tcp", 1), 0, "a limit outlives a change of other ports");
    let_go(&office);
}

/// Ports that a container engine publishes are reached only if they are declared, whatever port the container listens on.
pub fn of_containers(lab: &Lab<'_>) {
    let (site, [office]) = wired(lab, ["office"], &["22/udp"]);
    let web1 = &site.web1;
    // A container as Docker makes it: a network of its own, and rules that rewrite the destination.
    web1.sh("set -e
         sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
         ip netns add box; ip link add box0 type veth peer name eth0 netns box
         ip address add 172.18.0.1/24 dev box0; ip -6 address add fd00:18::1/64 dev box0 nodad; ip link set box0 up
         ip -n box address add 172.18.0.2/24 dev eth0; ip -n box -6 address add fd00:18::2/64 dev eth0 nodad
         ip -n box link set eth0 up; ip -n box link set lo up
         ip -n box route add default via 172.18.0.1; ip -n box -6 route add default via fd00:18::1
         nft add table inet docker; nft add chain inet docker pre '{type nat hook prerouting priority dstnat; }'
         for port in 8080 8081 8082; do
           nft add rule inet docker pre iifname host0 tcp dport $port dnat ip to 172.18.0.2:80
           nft add rule inet docker pre iifname host0 tcp dport $port dnat ip6 to [fd00:18::2]:80
         done
         nft add rule inet docker pre iifname host0 udp dport 8081 dnat ip to 172.18.0.2:80
         systemd-run --quiet --unit=box ip netns exec box perl /usr/local/lib/wire.pl serve 80/tcp 80/udp")
        .ok();
    office.sh(&format!("ip -6 route add fd00:18::/64 via {}", v6(web1))).ok();
    let all = ["8080/tcp", "8081/tcp", "8082/tcp"];
    eventually("the container answers", || reached(&office, web1, &all) == both(&all));
    // 80/tcp, on which the container listens, is declared; 8080, which is asked for, is not.
    apply(&site, "ports: {22/tcp: {}, 80/tcp: {}, 8081/tcp: {}, 8082/tcp: {from: [198.51.100.0/24]}}\n");
    assert_eq!(reached(&office, web1, &all), both(&["8081/tcp"]));
    assert_eq!(reached(&office, web1, &["8081/udp"]), [""; 0], "declared is TCP, and UDP is published too");
    web1.sh("ip netns exec box ping -c1 -W5 172.18.0.1 || ip netns exec box perl -e 1").ok();
    apply(&site, "ports: {22/tcp: {}, 8080-8082/tcp: {from: [office]}}\n");
    assert_eq!(reached(&office, web1, &all), both(&all));
}

/// A host with egress begins no other connection, and follows its repo all the same.
pub fn egress(lab: &Lab<'_>) {
    let (site, [office, backup]) = wired(lab, ["office", "backup"], &["22/udp"]);
    let web1 = &site.web1;
    let all = ["80/tcp", "53/udp"];
    [&office, &backup].into_iter().for_each(|machine| serve(machine, &all));
    assert_eq!(reached(web1, &office, &all), both(&all));
    let ways = "egress: {9418/tcp: {to: [192.0.2.1]}, 80/tcp: {to: [\"host:backup\"]}, 53/udp: {}}\n";
    apply(&site, ways);
    assert_eq!(reached(web1, &office, &all), both(&["53/udp"]));
    let mut seen = reached(web1, &backup, &all);
    seen.sort();
    let mut expected = both(&all);
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(reached(web1, web1, &["22/udp"]), both(&["22/udp"]), "the host reaches itself");
    assert_eq!(reached(&office, web1, &["22/udp"]), both(&["22/udp"]), "and answers whoever comes in");
    apply(&site, "");
    assert_eq!(reached(web1, &office, &all), both(&all));
}

/// Rules that somebody changes by hand are put right by the daemon; at boot they are in force before there is a network.
pub fn drift_and_boot(lab: &Lab<'_>) {
    let all = ["80/tcp", "9000/tcp"];
    let (mut site, [office]) = wired(lab, ["office"], &all);
    apply(&site, "ports: {22/tcp: {from: [office]}, 80/tcp: {}}\negress: {1-65535/tcp: {}, 1-65535/udp: {}}\n");
    configure(&site.web1, &site.infra, site.remote.url(), "1h");
    site.web1
        .write("/etc/systemd/system/hostwrit.service", "[Service]\nType=exec\nExecStart=/usr/bin/hostwrit daemon\n");
    site.web1.sh("systemctl daemon-reload; systemctl start hostwrit").ok();
    eventually("the first cycle ends", || site.web1.exists("/run/hostwrit/status.json"));
    std::thread::sleep(std::time::Duration::from_secs(2));
    // The order in which nft lists chains is that in which they were made.
    let list = "nft --stateless list table inet hostwrit | sort";
    let good = site.web1.sh(list).ok().text().to_owned();
    for change in [
        "nft flush chain inet hostwrit port_input",
        "nft delete table inet hostwrit",
        "nft flush ruleset",
        "nft insert rule inet hostwrit port_input tcp dport 9000 accept",
        "nft add chain inet hostwrit mine '{type filter hook input priority 5; policy drop; }'",
        "nft chain inet hostwrit port_input '{policy accept; }'",
    ] {
        site.web1.sh(change).ok();
        within(std::time::Duration::from_secs(60), change, || site.web1.sh(list).text() == good);
    }
    assert_eq!(reached(&office, &site.web1, &all), both(&["80/tcp"]));
    let log = site.web1.read("/var/log/hostwrit/audit/log.jsonl").unwrap_or_default();
    assert!(log.matches("\"cause\":\"drift\"").count() >= 6, "the log has the repairs");
    names_who_fights(&site);
    within(LATE, "the rules are put right when nobody fights any more", || site.web1.sh(list).text() == good);

    let unit = std::fs::read(project().join("packaging/systemd/hostwrit-firewall.service")).expect("the unit is there");
    site.web1.write("/etc/systemd/system/hostwrit-firewall.service", unit);
    site.web1.sh("systemctl stop hostwrit; systemctl disable hostwrit; systemctl enable hostwrit-firewall").ok();
    site.web1.unplug();
    site.web1.reboot();
    assert_eq!(site.web1.sh(list).ok().text(), good, "without daemon and remote");
    site.web1.plug();
    let started = |unit: &str, property: &str| -> u64 {
        let said = site.web1.run(&["systemctl", "show", "-P", property, unit]).ok();
        said.text().parse().unwrap_or_else(|_| panic!("no time: {said}"))
    };
    let loaded = started("hostwrit-firewall", "ExecMainExitTimestampMonotonic");
    for unit in ["systemd-networkd", "ssh"] {
        let began = started(unit, "ExecMainStartTimestampMonotonic");
        assert!(0 < loaded && loaded < began, "loaded at {loaded}, and {unit} began at {began}");
    }
    wire(&site.web1);
    serve(&site.web1, &all);
    assert_eq!(reached(&office, &site.web1, &all), both(&["80/tcp"]));
}

/// A script that empties the packet filter again and again is named in the status.
fn names_who_fights(site: &Site<'_>) {
    site.web1.run(&["systemd-run", "--unit=fighter", "sh", "-c", "while :; do nft flush ruleset; sleep 1; done"]).ok();
    let pid = site.web1.run(&["systemctl", "show", "-P", "MainPID", "fighter"]).ok().text().to_owned();
    let named = format!("perhaps process {pid} (sh, uid 0), which names it in its arguments, changes port:");
    within(LATE, "who empties the packet filter is named", || {
        let status = site.status();
        let mut problems = status["problems"].as_array().into_iter().flatten();
        problems.any(|problem| problem["message"].as_str().unwrap_or_default().starts_with(&named))
    });
    site.web1.run(&["systemctl", "stop", "fighter"]).ok();
}

/// Swapped a hundred times under a thousand connections, the ruleset is never open and never closed for all.
pub fn swapped_under_load(lab: &Lab<'_>) {
    let all = ["80/tcp", "80/udp", "81/tcp", "81/udp"];
    let (site, [office]) = wired(lab, ["office"], &all);
    let web1 = &site.web1;
    let kept = "/var/lib/hostwrit/firewall/ports.json";
    apply(&site, "ports: {22/tcp: {}, 80/tcp: {}, 80/udp: {rate: 1000000/second}, 82/tcp: {}}\n");
    web1.sh(&format!("cp {kept} /root/one.json")).ok();
    apply(
        &site,
        "ports: {22/tcp: {}, 79-80/tcp: {from: [0.0.0.0/0, \"::/0\"], log: true}, 1-80/udp: {}, 83/tcp: {from: [office]}}\n",
    );
    web1.sh(&format!("cp {kept} /root/two.json")).ok();
    for address in [web1.address().to_owned(), v6(web1)] {
        storm(&office, &address, 80, 81, 1000);
        for _ in 0..10 {
            let swap = format!(
                "set -e; for round in 1 2 3 4 5; do for set in one two; do cp /root/$set.json {kept}; hostwrit firewall; done; done"
            );
            web1.sh(&swap).ok();
        }
        let seen = calm(&office);
        println!("{address}: {seen:?}");
        assert!(seen["begun"] > 100 && seen["rounds"] > 0, "the storm did rage: {seen:?}");
        for wrong in ["admitted", "refused", "lost", "broken"] {
            assert_eq!(seen[wrong], 0, "{wrong}: {seen:?}");
        }
    }
    site.demand_convergence();
}

/// Where nft does not load the rules, the step fails by its name, those that were in force stay, and the next run makes it right.
pub fn that_nft_refuses(lab: &Lab<'_>) {
    let site = Site::new(lab);
    let web1 = &site.web1;
    let state = || {
        let script = "nft --stateless list table inet hostwrit | sort; cat /var/lib/hostwrit/firewall/* | sha256sum";
        web1.sh(script).ok().text().to_owned()
    };
    let demand_told = |what: &str| {
        let status = site.status();
        let problems = status["problems"].to_string();
        assert!(problems.contains("step-failed") && problems.contains("port:"), "{what}: {status:#}");
        assert!(problems.contains("what was in force stays"), "{what}: {status:#}");
        site.hostwrit(&["audit", "verify"]).ok();
    };
    // Another program holds the table: the kernel lets nobody else change it as long as that program runs.
    web1.sh("systemd-run --quiet --unit=owner sh -c \"(echo 'add table inet hostwrit { flags owner; }'; sleep 600) | nft --interactive\"
             until nft list tables | grep -q hostwrit; do sleep 0.1; done")
        .ok();
    declare(&site, "ports:\n  22/tcp: {}\n  80/tcp: {}\n");
    // nft 1.0.6 cannot even write down such a table: it says so, and nothing is begun. Later ones can, and the kernel refuses.
    let (word, advice) = match image::release().as_str() {
        "bookworm" => ("nft's answer cannot be understood", "flags owner"),
        _ => ("Operation not permitted", "If another program holds the table inet hostwrit, stop it"),
    };
    site.apply().exits(1).says(word).says(advice);
    assert!(site.status()["problems"].to_string().contains(advice), "{:#}", site.status());
    assert!(web1.sh("nft list table inet hostwrit").ok().stdout.contains("flags owner"), "the table was touched");
    web1.run(&["systemctl", "stop", "owner"]).ok();
    site.apply().ok();
    site.demand_convergence();

    // nft fails, or is not there: a program of that name in front of it, and none at all.
    let good = state();
    assert!(good.contains("dport { 80 }") || good.contains("dport 80"), "{good}");
    let fails =
        "#!/bin/sh\ncase \"$*\" in *--file*) echo 'Error: no memory' >&2; exit 1;; esac\nexec /usr/sbin/nft \"$@\"\n";
    web1.write("/usr/local/sbin/nft", fails);
    web1.run(&["chmod", "755", "/usr/local/sbin/nft"]).ok();
    declare(&site, "ports:\n  22/tcp: {}\n  81/tcp: {}\n");
    site.apply().exits(1).says("port:81/tcp").says("cannot load the packet filter's ruleset: nft: Error: no memory");
    demand_told("nft that fails");
    assert_eq!(state(), good, "nft that fails");
    web1.sh("rm /usr/local/sbin/nft; mv /usr/sbin/nft /usr/sbin/nft.away").ok();
    site.apply().exits(1).says("there is no nft; install the package nftables");
    assert!(site.status()["problems"].to_string().contains("install the package nftables"), "{:#}", site.status());
    web1.run(&["mv", "/usr/sbin/nft.away", "/usr/sbin/nft"]).ok();
    assert_eq!(state(), good, "no nft");
    site.apply().ok();
    site.demand_convergence();
    assert!(state().contains("81"), "{}", state());
}
