// SPDX-License-Identifier: Apache-2.0
//! Ways to lock oneself out, each a signed commit. Most the host refuses before anything is changed, and says who would be shut out
//! and why; those that cannot be seen beforehand it puts back by itself. After each the administrator still logs in by SSH and
//! becomes root. Beside them, commits that look alike and do no harm.

use std::collections::BTreeSet;

use crate::git_server::log_in;
use crate::image;
use crate::infra::Signer;
use crate::lab::Lab;
use crate::process::Output;
use crate::site::{Site, WEB1, project};

/// What the host is before each way: one administrator with a key, by the group sudo, from the management network.
const HOST: &str = r#"labels: {role: web}
groups:
  ops: {}
users:
  admin: {groups: [sudo, ops], shell: /bin/bash, password: locked, ssh_keys: ["ALICE_KEY"]}
files:
  /etc/sudoers.d/admins: {content: "%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n", mode: "0440"}
  # files
services:
  ssh: {enabled: true, running: true}
  # services
ports:
  22/tcp: {from: [192.0.2.0/24], management: true}
  # ports
"#;

/// A change of [`HOST`]: what is replaced, and by what.
type Change<'a> = (&'a str, &'a str);

const FILES: &str = "  # files\n";
const PORT: &str = "  22/tcp: {from: [192.0.2.0/24], management: true}\n";
const ADMIN: &str = "{groups: [sudo, ops], shell: /bin/bash, password: locked, ssh_keys: [\"ALICE_KEY\"]}";
const ADMINS: &str = "%sudo ALL=(ALL:ALL) NOPASSWD: ALL\\n";
const SSH: &str = "  ssh: {enabled: true, running: true}\n";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/10-hostwrit.conf";

/// A way out: its name, the change, and what the host says of it.
struct Way {
    name: &'static str,
    change: Vec<(String, String)>,
    says: &'static str,
}

fn way(name: &'static str, change: &[Change<'_>], says: &'static str) -> Way {
    let change = change.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    Way { name, change, says }
}

/// A file with this content.
fn file(name: &'static str, path: &str, content: &str, says: &'static str) -> Way {
    way(name, &[(FILES, &format!("  {path}: {{content: \"{content}\\n\"}}\n"))], says)
}

/// A drop-in of sshd.
fn sshd(name: &'static str, lines: &str, says: &'static str) -> Way {
    file(name, DROP_IN, lines, says)
}

/// The ways that the guard sees in the plan.
fn ways() -> Vec<Way> {
    let key = |options: &str| ADMIN.replace("\"ALICE_KEY\"", &format!("'{options} ALICE_KEY'"));
    let refused =
        if image::release() == "bookworm" { "sshd would not start: " } else { "RefuseConnection of sshd is yes" };
    vec![
        way("close 22", &[(PORT, "  443/tcp: {}\n")], "admin: port 22 of sshd is not open to"),
        way("open another port for administrators", &[("22/tcp", "2222/tcp")], "admin: port 22 of sshd is not open to"),
        way(
            "wrong management network",
            &[("192.0.2.0/24", "198.51.100.0/24")],
            "none of the sources that are declared",
        ),
        way(
            "a block list that holds the management network",
            &[("  # ports\n", "blocklists:\n  bad: {file: bad.txt}\n")],
            "admin: port 22 of sshd is not open to",
        ),
        sshd("move sshd", "Port 2222", "admin: port 2222 of sshd is not open to"),
        sshd("listen on the loopback alone", "ListenAddress 127.0.0.1", "sshd listens on no address of IPv4"),
        sshd("AllowUsers without the admin", "AllowUsers deploy", "admin: AllowUsers of sshd has only deploy"),
        sshd(
            "AllowUsers from elsewhere",
            "AllowUsers admin@198.51.100.*",
            "AllowUsers of sshd has only admin@198.51.100.*",
        ),
        sshd("DenyUsers", "DenyUsers ad*", "admin: DenyUsers ad* of sshd shuts them out"),
        sshd("AllowGroups without the admin's", "AllowGroups wheel", "admin: AllowGroups of sshd has only wheel"),
        sshd("DenyGroups", "DenyGroups ops", "admin: DenyGroups ops of sshd shuts them out"),
        sshd("no keys", "PubkeyAuthentication no", "admin: PubkeyAuthentication of sshd is no"),
        sshd("keys elsewhere", "AuthorizedKeysFile /etc/ssh/keys/%u", "(/etc/ssh/keys/admin is not there)"),
        sshd(
            "keys and a password",
            "AuthenticationMethods publickey,password",
            "AuthenticationMethods of sshd asks for a password too",
        ),
        sshd(
            "no key of this type",
            "PubkeyAcceptedAlgorithms rsa-sha2-512",
            "which PubkeyAcceptedAlgorithms leaves out",
        ),
        sshd(
            "a Match of the user",
            "Match User admin\\n  PubkeyAuthentication no",
            "PubkeyAuthentication of sshd is no",
        ),
        sshd(
            "a Match of the user with an =",
            "Match User=admin\\n  PubkeyAuthentication no",
            "PubkeyAuthentication of sshd is no",
        ),
        sshd(
            "a Match of the group",
            "Match Group ops\\n  ForceCommand /bin/true",
            "ForceCommand of sshd lets them run only /bin/true",
        ),
        sshd(
            "a Match of the address",
            "Match Address 192.0.2.0/24\\n  PubkeyAuthentication no",
            "PubkeyAuthentication of sshd is no",
        ),
        sshd("no sessions", "MaxSessions 0", "admin: MaxSessions of sshd is 0"),
        sshd("a word that sshd does not know", "Nonsense yes", "sshd would not start: "),
        sshd("a word that newer versions know", "RefuseConnection yes", refused),
        file(
            "a drop-in that wins",
            "/etc/ssh/sshd_config.d/00.conf",
            "AllowUsers nobody",
            "AllowUsers of sshd has only nobody",
        ),
        file("a broken sshd_config", "/etc/ssh/sshd_config", "Prot 22", "sshd would not start: "),
        way(
            "no host keys",
            &[(
                FILES,
                "  /etc/ssh/ssh_host_rsa_key: {absent: true}\n  /etc/ssh/ssh_host_ecdsa_key: {absent: true}\n  \
                       /etc/ssh/ssh_host_ed25519_key: {absent: true}\n",
            )],
            "sshd would not start: it has no host key that it can use",
        ),
        way(
            "an account that has expired",
            &[("password: locked", "password: locked, expires: \"2020-01-01\"")],
            "the account has expired",
        ),
        way(
            "a shell that lets nobody in",
            &[("/bin/bash", "/usr/sbin/nologin")],
            "the shell /usr/sbin/nologin lets nobody in",
        ),
        way("a shell that is not there", &[("/bin/bash", "/bin/zsh")], "the shell /bin/zsh is no program"),
        way(
            "no key any more",
            &[("[\"ALICE_KEY\"]", "[]")],
            "no key that sshd accepts (~/.ssh/authorized_keys holds no key",
        ),
        way(
            "a key from elsewhere",
            &[(ADMIN, &key("from=\"198.51.100.7\""))],
            "holds a key that counts only from 198.51.100.7",
        ),
        way(
            "a key that has expired",
            &[(ADMIN, &key("expiry-time=\"20200101\""))],
            "holds a key that expired at 20200101",
        ),
        way(
            "a key for one command",
            &[(ADMIN, &key("command=\"/bin/true\""))],
            "holds a key that may only run a command",
        ),
        way(
            "another home, without keys",
            &[(ADMIN, "{groups: [sudo], shell: /bin/bash, home: /srv/admin, ssh_keys: []}")],
            "no key that sshd accepts",
        ),
        way("no admin", &[(ADMIN, "{absent: true}")], "admin: there is no such user"),
        way(
            "no group sudo for the admin",
            &[("groups: [sudo, ops]", "groups: [ops]")],
            "admin: no rule of sudo lets them become root",
        ),
        way("no rules any more", &[(ADMINS, "# nobody\\n")], "admin: sudo asks for a password, and theirs is locked"),
        way("broken rules", &[(ADMINS, "%sudo ALL=\\n")], "sudo cannot read its rules (/etc/sudoers.d/admins:"),
        way(
            "rules with a password",
            &[("NOPASSWD: ALL", "ALL")],
            "admin: sudo asks for a password, and theirs is locked",
        ),
        file(
            "a rule that takes away",
            "/etc/sudoers.d/zz",
            "admin ALL=(ALL:ALL) !ALL",
            "admin: no rule of sudo lets them become root",
        ),
        file(
            "broken rules in a file of their own",
            "/etc/sudoers.d/zz",
            "admin ALL",
            "sudo cannot read its rules (/etc/sudoers.d/zz:",
        ),
        way(
            "sudo without its bit",
            &[(FILES, "  /usr/bin/sudo: {mode: \"0755\"}\n")],
            "sudo has the mode 0755 and cannot become root",
        ),
        way(
            "a home that anybody may write to",
            &[(FILES, "  /home/admin: {type: directory, mode: \"0777\", owner: admin}\n")],
            "others may write to /home/admin (mode 0777)",
        ),
        way(
            "a home that is root's",
            &[(FILES, "  /home/admin: {type: directory, mode: \"0700\"}\n")],
            "/home/admin is closed to them (mode 0700)",
        ),
        file("nologin", "/etc/nologin", "closed", "admin: /etc/nologin is there, so that only root may log in"),
        file("no shell is a login shell", "/etc/shells", "/bin/rbash", "the shell /bin/bash is not in /etc/shells"),
        way(
            "sshd stopped",
            &[("running: true}\n  # services", "running: false}\n  # services")],
            "sshd would not start: ssh.service is inactive",
        ),
        way(
            "sshd disabled",
            &[("enabled: true, running", "enabled: false, running")],
            "ssh.service does not start at boot",
        ),
        way(
            "sshd masked",
            &[(SSH, "  ssh: {masked: true, running: false}\n")],
            "sshd would not start: ssh.service is masked",
        ),
        way(
            "the unit is a link to nothing",
            &[(FILES, "  /etc/systemd/system/ssh.service: {type: link, target: /dev/null}\n")],
            "ssh.service is masked",
        ),
    ]
}

/// A file with this content, after which a unit is restarted.
fn file_of_unit(name: &'static str, path: &str, content: &str, unit: &str, says: &'static str) -> Way {
    let file = format!("{FILES}  {path}: {{content: \"{content}\\n\"}}\n");
    let restart = format!("restart_when: [\"file:{path}\"]");
    if unit == "ssh" {
        let running = "ssh: {enabled: true, running: true";
        return way(name, &[(FILES, &file), (running, &format!("{running}, {restart}"))], says);
    }
    let service = format!("  {unit}: {{running: true, {restart}}}\n");
    way(name, &[(FILES, &file), ("  # services\n", &service)], says)
}

/// The ways that the guard does not see, by the limits that docs/reference/lockout.md has: the host finds out when it has gone
/// them.
fn unseen_ways() -> Vec<Way> {
    const REMOTE: &str = "the remote does not answer any more";
    const SSH: &str = "SSH does not answer at 192.0.2.11:22";
    const LOGIN: &str = "no administrator can log in by SSH and become root any more: admin from 192.0.2.1: ";
    const CLOSED: &str = "there is no administrator for whom the way is open";
    let rules = |hook: &str| {
        format!(
            "table inet theirs {{\\n chain only {{\\n type filter hook {hook} priority 10; policy drop\\n iif lo accept\\n \
             oif lo accept\\n ct state established,related accept\\n }}\\n}}"
        )
    };
    let nftables = |name, rules: &str, says| file_of_unit(name, "/etc/nftables.conf", rules, "nftables", says);
    let networkd = |name, part, lines, says| {
        let directory = "/etc/systemd/network/10-host0.network.d";
        let mut way = file_of_unit(name, &format!("{directory}/{part}.conf"), lines, "systemd-networkd", says);
        way.change.push((FILES.to_owned(), format!("{FILES}  {directory}: {{type: directory}}\n")));
        way
    };
    let unit = |name, lines: &str, says| {
        let drop_in = format!("running: true, drop_ins: {{mine: {{content: \"[Service]\\n{lines}\\n\"}}}}");
        way(name, &[("ssh: {enabled: true, running: true", &format!("ssh: {{enabled: true, {drop_in}"))], says)
    };
    vec![
        nftables("a table of another's that lets nothing out", &rules("output"), REMOTE),
        nftables("a table of another's that lets nobody in", &rules("input").replace("oif lo accept\\n", ""), CLOSED),
        way("egress without the remote", &[("ports:\n", "egress:\n  443/tcp: {}\nports:\n")], REMOTE),
        networkd("no route to the remote", "route", "[Route]\\nDestination=192.0.2.1/32\\nGateway=192.0.2.250", REMOTE),
        networkd("the interface down", "down", "[Link]\\nActivationPolicy=always-down", "SSH answered"),
        file_of_unit("sshd at an address of another host", DROP_IN, "ListenAddress 192.0.2.77", "ssh", SSH),
        unit("sshd moved by its unit", "ExecStart=\\nExecStart=/usr/sbin/sshd -D -p 2222", SSH),
        unit("sshd that its unit does not start", "ExecStartPre=/bin/false", SSH),
        way(
            "sshd stopped by another unit",
            &[
                (FILES, "  /etc/ssh/sshd_config.d/x.conf: {content: \"PrintLastLog no\\n\"}\n"),
                (
                    "  # services\n",
                    "  alone:\n    unit: {content: \"[Unit]\\nConflicts=ssh.service\\n[Service]\\nType=oneshot\\nRemainAfterExit=yes\\n\
                     ExecStart=/bin/true\\n\"}\n    running: true\n",
                ),
            ],
            SSH,
        ),
        file("TCP wrappers", "/etc/hosts.deny", "sshd: ALL", SSH),
        file("PAM refuses all accounts", "/etc/pam.d/sshd", "account required pam_deny.so", LOGIN),
        file(
            "PAM refuses the management network",
            "/etc/pam.d/sshd",
            "account required pam_access.so accessfile=/etc/ssh/access\\nsession required pam_permit.so\\n\"}\n  \
             /etc/ssh/access: {content: \"-:ALL:192.0.2.0/24",
            LOGIN,
        ),
        file("PAM refuses sudo", "/etc/pam.d/sudo", "account required pam_deny.so", LOGIN),
        file("no more logins", "/etc/security/limits.d/none.conf", "* hard maxlogins 0", LOGIN),
        file("no processes", "/etc/security/limits.d/none.conf", "* hard nproc 0", LOGIN),
        file("nobody has a name", "/etc/nsswitch.conf", "passwd: systemd\\ngroup: systemd\\nshadow: systemd", SSH),
        file("a plugin of sudo that is not there", "/etc/sudo.conf", "Plugin sudoers_policy nowhere.so", LOGIN),
        sshd("a list of revoked keys that is not there", "RevokedKeys /etc/ssh/revoked", LOGIN),
    ]
}

/// Changes that look alike, and after which the administrator still gets in.
fn neighbours() -> Vec<Way> {
    let key = |options: &str| ADMIN.replace("\"ALICE_KEY\"", &format!("'{options} ALICE_KEY'"));
    vec![
        way("another port beside 22", &[("  # ports\n", "  443/tcp: {}\n")], ""),
        way("a limit of new connections", &[("management: true", "management: true, rate: 60/minute")], ""),
        sshd("AllowUsers with the admin", "AllowUsers deploy admin@192.0.2.0/24", ""),
        sshd("AllowGroups with the admin's", "AllowGroups sudo", ""),
        sshd("a Match of another", "Match User deploy\\n  PubkeyAuthentication no", ""),
        file("rules for another", "/etc/sudoers.d/zz", "deploy ALL=(ALL:ALL) ALL", ""),
        way("a key from here", &[(ADMIN, &key("from=\"192.0.2.0/24\""))], ""),
        way(
            "a rule of the admin's own",
            &[("groups: [sudo, ops]", "groups: [ops], sudo: 'ALL=(ALL:ALL) NOPASSWD: ALL'")],
            "",
        ),
        way(
            "keys elsewhere, with the key",
            &[(
                FILES,
                &format!(
                    "  {DROP_IN}: {{content: \"AuthorizedKeysFile /etc/ssh/keys/%u\\n\"}}\n  \
                 /etc/ssh/keys: {{type: directory}}\n  /etc/ssh/keys/admin: {{content: \"ALICE_KEY\\n\"}}\n"
                ),
            )],
            "",
        ),
    ]
}

/// Writes [`HOST`] with a change.
fn order(site: &Site<'_>, lab: &Lab<'_>, change: &[(String, String)]) {
    let mut host = HOST.to_owned();
    for (from, to) in change {
        assert!(host.contains(from), "{from} is not in:\n{host}");
        host = host.replace(from, to);
    }
    site.infra.write(WEB1, &host.replace("ALICE_KEY", &lab.keys().ssh_public()));
}

/// Demands that the administrator gets in and becomes root.
#[track_caller]
fn demand_way_in(lab: &Lab<'_>, site: &Site<'_>, after: &str) {
    let output = log_in(lab, &site.web1, "admin", "sudo -n id -u");
    assert!(output.code == 0 && output.text() == "0", "after {after}: {output}");
}

/// Demands that sshd and cvtsudoers say the same to the daemon, confined as it is, as to anybody.
fn demand_answers_in_confinement(site: &Site<'_>) {
    let unit =
        std::fs::read_to_string(project().join("packaging/systemd/hostwrit.service")).expect("the unit is there");
    let confines =
        ["Restrict", "NoNew", "SystemCall", "Lock", "MemoryDeny", "Keyring", "Private", "Protect", "Capability"];
    let lines =
        unit.lines().filter(|line| confines.iter().any(|word| line.starts_with(word)) && !line.contains("Restart"));
    let settings: Vec<String> = lines.map(|line| format!("--property={line}")).collect();
    assert!(settings.len() > 15, "{settings:?}");
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let sshd = "/usr/sbin/sshd -T -f /etc/ssh/sshd_config -C user=admin,host=192.0.2.1,addr=192.0.2.1";
    for command in [sshd, "cvtsudoers -c /dev/null -f json /etc/sudoers"] {
        let command: Vec<&str> = command.split(' ').collect();
        let free = site.web1.run(&command).ok();
        let confined = site.web1.run_with(&settings, &command, b"").ok();
        // Without sockets of the internet, addresses come in another order.
        let lines = |output: &Output| output.stdout.lines().map(str::to_owned).collect::<BTreeSet<String>>();
        assert_eq!(lines(&confined), lines(&free));
        assert!(free.stdout.lines().count() > 5, "{free}");
    }
}

/// Each way that nobody foresees goes back by itself, and its commit is held.
pub fn goes_back(lab: &Lab<'_>) {
    let site = Site::new(lab);
    let config = site.web1.read("/etc/hostwrit/config.yaml").expect("the site wrote it");
    site.web1.write("/etc/hostwrit/config.yaml", format!("{config}confirm_within: 20s\n"));
    order(&site, lab, &[]);
    site.infra.publish("the host", Signer::Alice);
    site.apply().ok();
    site.demand_convergence();
    demand_way_in(lab, &site, "the first commit");
    let rules = || site.web1.sh("nft --stateless list table inet hostwrit | sort").ok().text().to_owned();
    let good = rules();

    let ways = unseen_ways();
    assert!(ways.len() > 15);
    for Way { name, change, says } in &ways {
        order(&site, lab, change);
        site.infra.publish(name, Signer::Alice);
        site.apply().exits(6).says(says);
        demand_way_in(lab, &site, name);
        assert_eq!(rules(), good, "{name}: other rules than before");
        site.demand_problem("held");
        assert!(!site.web1.exists("/var/lib/hostwrit/confirm/unproven.json"), "{name}: something is left to put back");
    }
    order(&site, lab, &[("  # ports\n".to_owned(), "  443/tcp: {}\n".to_owned())]);
    site.infra.publish("another port", Signer::Alice);
    site.apply().ok();
    demand_way_in(lab, &site, "a change that is proven");
    site.demand_convergence();
    let log = site.web1.read("/var/log/hostwrit/audit/log.jsonl").unwrap_or_default();
    assert!(log.contains("an administrator can log in by SSH and become root: admin from 192.0.2.1"), "{log}");
}

/// A host on which nobody could log in before either takes the commit, and says so for as long as it is true.
fn demand_alarm_while_nobody_gets_in(site: &Site<'_>, lab: &Lab<'_>) {
    let nobody = [("[\"ALICE_KEY\"]".to_owned(), "[]".to_owned())];
    order(site, lab, &nobody);
    site.infra.publish("nobody has a key", Signer::Alice);
    for _ in 0..2 {
        site.apply().ok().says("admin: no key that sshd accepts");
        site.demand_problem("no-way-in");
    }
}

/// Each way is refused before anything is changed, and each neighbour is carried out.
pub fn is_refused(lab: &Lab<'_>) {
    let site = Site::new(lab);
    // Without the package netbase nft knows no protocol by its name.
    site.web1.write("/etc/protocols", "icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n");
    site.infra.write("files/bad.txt", "192.0.2.0/24 ; the management network\n");
    demand_alarm_while_nobody_gets_in(&site, lab);
    order(&site, lab, &[]);
    let good = site.infra.publish("the host", Signer::Alice);
    site.apply().ok();
    site.demand_convergence();
    demand_way_in(lab, &site, "the first commit");
    assert!(!site.status()["problems"].to_string().contains("no-way-in"), "somebody gets in");

    let ways = ways();
    assert!(ways.len() > 40);
    for Way { name, change, says } in &ways {
        order(&site, lab, change);
        site.infra.publish(name, Signer::Alice);
        let plan = site.plan();
        assert!(plan.code == 6 && plan.stderr.contains(says), "{name}: should say \"{says}\":\n{plan}");
        site.apply().exits(6).says("after this plan no administrator could log in by SSH and become root");
        demand_way_in(lab, &site, name);
        site.infra.reset(&good);
    }
    site.demand_problem("lockout");
    // A refused commit in the way of nothing: the next one counts.
    for Way { name, change, .. } in neighbours() {
        order(&site, lab, &change);
        site.infra.publish(name, Signer::Alice);
        site.apply().ok();
        // A reload is done before sshd listens again; and so many restarts are an error unless they are forgotten.
        site.web1.sh("systemctl reset-failed ssh; systemctl restart ssh").ok();
        demand_way_in(lab, &site, name);
        site.demand_convergence();
        order(&site, lab, &[]);
        site.infra.publish("back", Signer::Alice);
        site.apply().ok();
    }
    demand_answers_in_confinement(&site);
    site.hostwrit(&["audit", "verify"]).ok();
    assert!(!site.web1.exists("/run/hostwrit/effective"), "the copies of configurations are gone");
}
