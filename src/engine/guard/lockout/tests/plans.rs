// SPDX-License-Identifier: Apache-2.0
//! Whole plans: each way to lock oneself out, and its harmless neighbour.

use super::super::{WayIn, examine, judge, ways_in, why_nobody_gets_in};
use super::{Host, KEY, Object, loaded, steps};
use crate::audit::entry::Cause;
use crate::engine::Plan;
use crate::engine::guard::Proposal;
use crate::trust::Allowance;

/// What the guard says of the plan; empty if nothing.
fn said(host: &Host, objects: &[Object<'_>]) -> String {
    let (steps, desired) = steps(host, objects);
    examine(&steps, &desired, host).err().unwrap_or_default()
}

fn config(lines: &str) -> String {
    format!("content: \"{}\"", lines.replace('"', "\\\"").replace('\n', "\\n"))
}

#[test]
fn what_an_intruder_gave_himself_is_taken_away_though_nobody_else_could_become_root() {
    let host = Host::with_alice();
    let (steps, desired) = steps(&host, &[("user", "alice", "groups: []")]);
    let allowance = Allowance::Unasked;
    for (cause, is_refused) in [(Cause::Commit, true), (Cause::Drift, false)] {
        let plan = Plan { cause, steps: steps.clone(), ..Plan::of_nothing("0") };
        let (plan, desired, host) = (&plan, &desired, &host);
        let proposal = Proposal { plan, desired, host, allowance: &allowance, is_way_back: false };
        assert_eq!(judge(&proposal).is_err(), is_refused, "{cause:?}");
    }
}

#[test]
fn each_way_to_lock_oneself_out_is_refused_and_named() {
    let sshd = "/etc/ssh/sshd_config.d/10.conf";
    let key_elsewhere = format!("ssh_keys: ['from=\"192.0.2.1\",command=\"/bin/true\" {KEY}']");
    let expired = format!("ssh_keys: ['expiry-time=\"20200101\" {KEY}']");
    let ways: &[(&[Object<'_>], &str)] = &[
        (&[("user", "alice", "absent: true")], "alice: there is no such user"),
        (&[("user", "alice", "shell: /usr/sbin/nologin")], "alice: the shell /usr/sbin/nologin lets nobody in"),
        (&[("user", "alice", "shell: /bin/zsh")], "alice: the shell /bin/zsh is no program"),
        (&[("user", "alice", "expires: 2020-01-01")], "alice: the account has expired"),
        (&[("user", "alice", "groups: []")], "alice: no rule of sudo lets them become root"),
        (&[("user", "alice", "ssh_keys: []")], "no key that sshd accepts (~/.ssh/authorized_keys holds no key)"),
        (&[("user", "alice", &key_elsewhere)], "holds a key that may only run a command"),
        (&[("user", "alice", &expired)], "holds a key that expired at 20200101"),
        (&[("user", "alice", "home: /home/new")], "no key that sshd accepts (~/.ssh/authorized_keys is not there"),
        (&[("group", "sudo", "absent: true")], "alice: no rule of sudo"),
        (&[("file", sshd, &config("AllowUsers bob\n"))], "alice: AllowUsers of sshd has only bob"),
        (&[("file", sshd, &config("DenyGroups sudo\n"))], "alice: DenyGroups sudo of sshd shuts them out"),
        (&[("file", sshd, &config("PubkeyAuthentication no\n"))], "PubkeyAuthentication of sshd is no"),
        (&[("file", sshd, &config("AuthorizedKeysFile /etc/keys/%u\n"))], "(/etc/keys/alice is not there)"),
        (&[("file", sshd, &config("AuthenticationMethods password\n"))], "AuthenticationMethods of sshd takes no key"),
        (
            &[("file", sshd, &config("ListenAddress 127.0.0.1:22\nMatch Group sudo\nForceCommand /bin/true\n"))],
            "ForceCommand",
        ),
        (
            &[("file", sshd, &config("Match Group sudo\nPubkeyAuthentication no\n"))],
            "PubkeyAuthentication of sshd is no",
        ),
        (&[("file", sshd, &config("Nonsense\n"))], "sshd would not start: "),
        (
            &[("file", "/etc/ssh/sshd_config", "absent: true")],
            "sshd would not start: /etc/ssh/sshd_config is not there",
        ),
        (&[("file", "/etc/ssh/host_key", "absent: true")], "sshd would not start: it has no host key that it can use"),
        (
            &[("file", "/etc/sudoers.d/broken", &config("no rule\n"))],
            "sudo cannot read its rules (/etc/sudoers.d/broken:1: syntax error)",
        ),
        (
            &[("file", "/etc/sudoers.d/zz", &config("alice ALL=(ALL) !ALL\n"))],
            "alice: no rule of sudo lets them become root",
        ),
        (
            &[("file", "/etc/sudoers.d/zz", &config("alice ALL=(ALL) ALL\n"))],
            "alice: sudo asks for a password, and theirs is locked",
        ),
        (&[("file", "/etc/sudoers", "{mode: '0666'}")], "sudo does not read /etc/sudoers, which anybody may write"),
        (&[("file", "/etc/sudoers", "absent: true")], "sudo finds no /etc/sudoers"),
        (&[("file", "/usr/bin/sudo", "{mode: '0755'}")], "sudo has the mode 0755 and cannot become root"),
        (&[("file", "/home/alice", "{type: directory, mode: '0777'}")], "others may write to /home/alice (mode 0777)"),
        // Without a word on its owner a directory is root's.
        (&[("file", "/home/alice", "{type: directory, mode: '0700'}")], "/home/alice is closed to them (mode 0700)"),
        (&[("file", "/home/alice/.ssh/authorized_keys", "absent: true")], "~/.ssh/authorized_keys is not there"),
        (
            &[("file", "/etc/nologin", &config("closed\n"))],
            "alice: /etc/nologin is there, so that only root may log in",
        ),
        (&[("file", "/etc/shells", &config("/bin/sh\n"))], "alice: the shell /bin/bash is not in /etc/shells"),
        (&[("file", "/bin/bash", "absent: true")], "alice: the shell /bin/bash is no program"),
        (&[("service", "ssh", "running: false")], "sshd would not start: ssh.service is inactive"),
        (&[("service", "ssh", "enabled: false")], "sshd would not start: ssh.service does not start at boot"),
        (&[("service", "ssh", "{masked: true, running: false}")], "sshd would not start: ssh.service is masked"),
    ];
    for (objects, why) in ways {
        let said = said(&Host::with_alice(), objects);
        assert!(said.contains(why), "{objects:?}\n  said:   {said}\n  wanted: {why}");
        assert!(said.starts_with("after this plan no administrator could log in by SSH and become root: "), "{said}");
    }
}

#[test]
fn harmless_neighbours_pass() {
    let sshd = "/etc/ssh/sshd_config.d/10.conf";
    let here = format!("ssh_keys: ['from=\"192.0.2.1\" {KEY}']");
    let new_home = format!("{{home: /home/new, ssh_keys: ['{KEY}']}}");
    let bob_takes_over = format!("{{groups: [sudo], ssh_keys: ['{KEY} b']}}");
    let ways: &[&[Object<'_>]] = &[
        &[("user", "bob", "absent: true")],
        &[("user", "alice", "shell: /bin/sh"), ("file", "/bin/sh", "{content: '', mode: '0755'}")],
        &[("user", "alice", "expires: 2100-01-01")],
        &[("user", "alice", "groups: [sudo, users]")],
        &[("user", "alice", &here)],
        &[("user", "alice", &new_home)],
        &[("user", "alice", "password: locked"), ("user", "bob", "password: locked")],
        &[("user", "alice", "absent: true"), ("user", "bob", &bob_takes_over)],
        &[("user", "alice", "{groups: [], sudo: 'ALL=(ALL) NOPASSWD: ALL'}")],
        &[("file", sshd, &config("AllowUsers alice\n"))],
        &[("file", sshd, &config("DenyGroups users\n"))],
        &[
            ("file", sshd, &config("AuthorizedKeysFile /etc/keys/%u\n")),
            ("file", "/etc/keys", "type: directory"),
            ("file", "/etc/keys/alice", &config(KEY)),
        ],
        &[("file", sshd, &config("Match Group users\nPubkeyAuthentication no\n"))],
        &[("file", sshd, &config("Match User bob\nForceCommand /bin/true\n"))],
        &[("file", "/etc/sudoers.d/zz", &config("bob ALL=(ALL) ALL\n"))],
        &[("file", "/etc/sudoers.d/zz.off", &config("broken, and passed over for its dot\n"))],
        &[("file", "/home/alice", "{type: directory, mode: '0700', owner: alice}")],
        &[("file", "/etc/motd", &config("hello\n"))],
        &[("service", "nginx", "running: true"), ("file", "/etc/shells", &config("/bin/bash\n"))],
    ];
    for objects in ways {
        let mut host = Host::with_alice();
        host.units.insert("nginx.service", ("inactive", "disabled"));
        assert_eq!(said(&host, objects), "", "{objects:?}");
    }
}

#[test]
fn an_administrator_who_is_logged_in_is_lost_all_the_same() {
    let host = Host::with_alice();
    host.put("/proc/4711/status", 0o444, "Name:\tbash\nUid:\t1000\t1000\t1000\t1000\n");
    assert!(said(&host, &[("user", "alice", "absent: true")]).contains("alice: there is no such user"));
}

#[test]
fn one_of_several_administrators_is_enough() {
    let host = Host::with_alice();
    host.put("/etc/sudoers.d/bob", 0o440, "bob ALL=(ALL) ALL\n");
    assert_eq!(said(&host, &[("user", "alice", "absent: true")]), "");
    let both = said(&host, &[("user", "alice", "shell: /bin/false"), ("user", "bob", "password: locked")]);
    assert!(
        both.contains(
            "alice: the shell /bin/false lets nobody in; bob: sudo asks for a password, and theirs is locked"
        )
    );
}

#[test]
fn where_nobody_can_log_in_nothing_is_refused() {
    let host = Host::with_alice();
    host.put("/etc/sudoers", 0o440, "nonsense\n");
    assert_eq!(said(&host, &[("user", "alice", "absent: true")]), "", "nobody is lost");
}

#[test]
fn root_counts_where_sshd_lets_root_in() {
    let host = Host::with_alice();
    let allow = ("file", "/etc/ssh/sshd_config", "content: \"PermitRootLogin prohibit-password\\n\"");
    let key = format!("ssh_keys: ['{KEY}']");
    host.put("/root/.bashrc", 0o644, "");
    assert_eq!(said(&host, &[allow, ("user", "root", &key), ("user", "alice", "absent: true")]), "");
    host.put("/etc/ssh/sshd_config", 0o644, "PermitRootLogin prohibit-password\n");
    host.put("/root/.ssh/authorized_keys", 0o600, KEY);
    host.put("/etc/sudoers", 0o440, "\n");
    let no = ("file", "/etc/ssh/sshd_config", "content: \"PermitRootLogin no\\n\"");
    assert!(said(&host, &[no]).contains("root: PermitRootLogin of sshd is no"));
}

#[test]
fn a_plan_that_has_no_part_in_it_asks_nobody() {
    let host = Host::with_alice();
    assert_eq!(said(&host, &[("file", "/etc/motd", &config("hello\n"))]), "");
    assert_eq!(host.asked.get(), 0);
    assert_eq!(said(&host, &[("file", "/etc/ssh/moduli", &config(""))]), "");
    assert_eq!(host.asked.get(), 1, "without Match one answer is for everybody");
}

#[test]
fn files_that_the_configuration_names_elsewhere_have_a_part_in_it() {
    let host = Host::with_alice();
    host.put("/etc/ssh/sshd_config", 0o644, "Include /srv/sshd.conf\nAuthorizedKeysFile /var/keys/%u\n");
    host.put("/srv/sshd.conf", 0o644, "\n");
    host.put("/var/keys/alice", 0o644, KEY);
    assert!(said(&host, &[("file", "/var/keys/alice", "absent: true")]).contains("/var/keys/alice is not there"));
    assert!(said(&host, &[("file", "/srv/sshd.conf", &config("DenyUsers alice\n"))]).contains("DenyUsers alice"));
}

#[test]
fn ports_that_shut_administrators_out_are_refused() {
    let ssh = ("port", "22/tcp", "{from: [192.0.2.0/24], management: true}");
    for (live, objects, why) in [
        // Closed, with everything else open or with a port of its own.
        (None, vec![("port", "443/tcp", "{}")], "alice: port 22 of sshd is not open to 192.0.2.1"),
        (Some(vec![ssh]), vec![("port", "443/tcp", "{}")], "alice: port 22 of sshd is not open to"),
        (None, vec![("port", "2222/tcp", "management: true")], "alice: port 22 of sshd is not open to"),
        // To networks from which nobody gets in today.
        (
            Some(vec![ssh]),
            vec![("port", "22/tcp", "{from: [198.51.100.0/24], management: true}")],
            "alice: none of the sources that are declared for them reaches sshd now",
        ),
        // The one that counts is the one with management.
        (
            None,
            vec![
                ("port", "22/tcp", "{from: [192.0.2.0/24]}"),
                ("port", "2222/tcp", "{from: [203.0.113.0/24], management: true}"),
            ],
            "alice: port 22 of sshd is not open to 203.0.113.1",
        ),
    ] {
        let mut host = Host::with_alice();
        if let Some(live) = live {
            host.ruleset = loaded(&host, &live);
        }
        let said = said(&host, &objects);
        assert!(said.contains(why), "{objects:?}\n  said:   {said}\n  wanted: {why}");
    }
}

#[test]
fn ports_that_let_administrators_in_pass() {
    let ssh = ("port", "22/tcp", "{from: [192.0.2.0/24], management: true}");
    let wider = ("port", "22/tcp", "{from: [192.0.2.0/24, 198.51.100.0/24], management: true}");
    let key = format!("ssh_keys: ['from=\"192.0.2.77\" {KEY}']");
    for (live, objects) in [
        (None, vec![ssh]),
        (None, vec![("port", "22/tcp", "{}")]),
        (None, vec![("port", "20-30/tcp", "{rate: 6/minute}")]),
        // Exchanged in two steps.
        (Some(vec![ssh]), vec![wider]),
        (Some(vec![wider]), vec![("port", "22/tcp", "{from: [198.51.100.0/24], management: true}")]),
        (Some(vec![ssh]), vec![ssh, ("port", "443/tcp", "{}")]),
        // From one address of the network.
        (Some(vec![ssh]), vec![ssh, ("user", "alice", &key)]),
        (None, vec![ssh, ("egress", "443/tcp", "{}")]),
    ] {
        let mut host = Host::with_alice();
        if let Some(live) = live {
            host.ruleset = loaded(&host, &live);
        }
        assert_eq!(said(&host, &objects), "", "{objects:?}");
    }
}

#[test]
fn a_key_for_another_network_than_the_administrators_is_refused() {
    let ssh = ("port", "22/tcp", "{from: [192.0.2.0/24], management: true}");
    let mut host = Host::with_alice();
    host.ruleset = loaded(&host, &[ssh]);
    let key = format!("ssh_keys: ['from=\"198.51.100.7\" {KEY}']");
    assert!(said(&host, &[ssh, ("user", "alice", &key)]).contains("holds a key that counts only from 198.51.100.7"));
    let users = ("file", "/etc/ssh/sshd_config.d/10.conf", "content: \"AllowUsers alice@198.51.100.0/24\\n\"");
    assert!(said(&host, &[ssh, users]).contains("AllowUsers of sshd has only alice@198.51.100.0/24"));
    let users = ("file", "/etc/ssh/sshd_config.d/10.conf", "content: \"AllowUsers alice@192.0.2.128/25\\n\"");
    assert_eq!(said(&host, &[ssh, users]), "");
}

#[test]
fn administrators_of_a_network_are_known_beside_a_port_that_is_open_to_anybody() {
    let ssh = ("port", "22/tcp", "{from: [10.66.0.0/16], management: true}");
    let https = ("port", "443/tcp", "{}");
    let mut host = Host::with_alice();
    host.ruleset = loaded(&host, &[ssh, https]);
    let way = |from: &str, by_key| {
        let (user, from) = ("alice".to_owned(), from.parse().unwrap());
        WayIn { user, from, port: 22, asks: false, by_key }
    };
    assert_eq!(ways_in(&host).unwrap(), [way("10.66.0.1", true), way("10.66.255.254", true)]);
    let said = said(&host, &[ssh, https, ("user", "alice", "ssh_keys: []")]);
    assert!(said.contains("alice: no key that sshd accepts"), "{said}");

    host.put("/etc/ssh/sshd_config", 0o644, "AuthenticationMethods publickey,keyboard-interactive:pam\n");
    host.put("/etc/shadow", 0o640, "root:*:1::::::\nalice:$y$hash:1::::::\n");
    assert_eq!(ways_in(&host).unwrap(), [way("10.66.0.1", false), way("10.66.255.254", false)]);
}

#[test]
fn where_nobody_gets_in_it_is_said_of_each_administrator_why() {
    let host = Host::with_alice();
    assert_eq!(why_nobody_gets_in(&host).unwrap(), None);
    std::fs::remove_file(host.path("/home/alice/.ssh/authorized_keys")).unwrap();
    let why = why_nobody_gets_in(&host).unwrap().expect("alice was the only one");
    assert!(why.contains("alice: no key that sshd accepts (~/.ssh/authorized_keys is not there"), "{why}");
    assert!(why.contains("root: ") && !why.contains("bob"), "{why}");
}

#[test]
fn to_look_at_a_plan_does_not_carry_its_ports_out() {
    let host = Host::with_alice();
    let (steps, desired) = steps(&host, &[("port", "22/tcp", "{}")]);
    examine(&steps, &desired, &host).unwrap();
    let crate::resources::Operation::Port(crate::resources::firewall::Operation::Load(load)) = &steps[0].operation
    else {
        panic!("{steps:?}")
    };
    assert!(
        load.apply(&super::super::simulation::Simulation::of(std::iter::empty(), &host)).is_err(),
        "it is not done yet"
    );
}
