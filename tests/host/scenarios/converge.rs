// SPDX-License-Identifier: Apache-2.0
//! A host that never ran hostwrit is made what the repo says, as others see it.

use crate::git_server::{GitServer, let_root_fetch, log_in, push_over_ssh, serve_over_ssh};
use crate::infra::{Infra, Signer};
use crate::lab::Lab;
use crate::site::{Site, WEB1, configure, demand_convergence, hostwrit, project};

/// Every kind takes effect, Alice can log in, and a second run finds nothing to do.
pub fn first_converge(lab: &Lab<'_>) {
    let site = Site::new(lab);
    let web1 = &site.web1;
    log_in(lab, web1, "deploy", "true").exits(255);
    site.plan().exits(3).says("user:deploy");
    assert_ne!(site.motd(), "The first order.", "plan changed the host");
    site.apply().ok();

    assert_eq!(site.motd(), "The first order.");
    assert_eq!(web1.run(&["stat", "-c", "%a %U %G %s", "/etc/motd"]).ok().text(), "644 root root 17");
    assert_eq!(web1.run(&["stat", "-c", "%a %U %G", "/etc/hello/hello.conf"]).ok().text(), "640 root shop");
    assert_eq!(web1.run(&["cat", "/etc/hello/current"]).ok().stdout, "greeting = hello\n");
    assert_eq!(web1.run(&["getent", "group", "shop"]).ok().text(), "shop:x:4000:deploy");
    let passwd = web1.run(&["getent", "passwd", "deploy"]).ok();
    assert!(passwd.text().starts_with("deploy:x:4001:"), "{passwd}");
    assert!(passwd.text().ends_with(":/home/deploy:/bin/bash"), "{passwd}");
    assert_eq!(web1.run(&["id", "-nG", "deploy"]).ok().text(), "deploy shop");
    assert_eq!(web1.run(&["passwd", "--status", "deploy"]).ok().text().split(' ').nth(1), Some("L"));
    web1.run(&["pwck", "-rq"]);
    assert_eq!(web1.run(&["systemctl", "is-active", "hello"]).text(), "active");
    assert_eq!(web1.run(&["systemctl", "is-enabled", "hello"]).text(), "enabled");
    assert_eq!(web1.run(&["systemctl", "show", "-P", "LimitNOFILE", "hello"]).text(), "4096");

    assert_eq!(log_in(lab, web1, "deploy", "id -un").ok().text(), "deploy");
    log_in(lab, web1, "deploy", "sudo -n systemctl status hello").ok();
    log_in(lab, web1, "deploy", "sudo -n id").exits(1);

    site.demand_convergence();
    let started = web1.run(&["systemctl", "show", "-P", "InvocationID", "hello"]);
    site.apply().ok().says("nothing to do");
    let again = web1.run(&["systemctl", "show", "-P", "InvocationID", "hello"]);
    assert_eq!(started.text(), again.text(), "the service was restarted for no reason");
    // By the agreement that the apply left, and the long way without it.
    for before in ["test -e /var/lib/hostwrit/agreement.json", "rm /var/lib/hostwrit/agreement.json"] {
        let script = format!("{before} && strace -f -qq -o /tmp/started -e trace=execve,execveat hostwrit plan");
        web1.sh(&script).ok().says("nothing to do");
        // Where no courier runs, it starts its own.
        let started = web1.sh("grep exec /tmp/started | grep -vc '\"courier\"'").ok();
        assert_eq!(started.text(), "1", "a plan with nothing to do started a program: {started}");
    }
    site.hostwrit(&["why", "user:deploy"]).ok().says("hosts/web1.yaml");
    assert_eq!(site.status()["health"], "converged");
}

/// `plan`, `status`, `why` and `audit verify` leave every file as it is, but for hostwrit's own mirror.
pub fn reading_changes_nothing(lab: &Lab<'_>) {
    const LIST: &str = "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp \\
        -o -path /var/log/journal -o -path /var/lib/systemd -o -path /var/lib/hostwrit-courier \\) -prune \\
        -o -printf '%p %y %m %U:%G %s %T@ %C@\\n' | sort";
    let site = Site::converged(lab);
    site.web1.sh("echo drift >/etc/motd; usermod -s /bin/sh deploy; touch /etc/hello/extra; systemctl stop hello").ok();
    site.infra.replace(WEB1, "greeting: hello", "greeting: good day");
    site.infra.publish("not applied", Signer::Alice);
    let before = site.web1.sh(LIST).ok().stdout;
    site.plan().exits(3);
    site.hostwrit(&["plan", "--json"]).exits(3);
    site.status();
    site.hostwrit(&["why", "user:deploy"]).ok();
    site.hostwrit(&["audit", "verify"]).ok();
    let after = site.web1.sh(LIST).ok().stdout;
    let changed: Vec<&str> = after.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
    assert!(changed.is_empty(), "changed:\n{}", changed.join("\n"));
    assert_eq!(before.lines().count(), after.lines().count(), "something is gone");
    assert_eq!(site.web1.run(&["systemctl", "is-active", "hello"]).text(), "inactive");
}

/// A restart is made when a listed file changes, and only then; the change survives a reboot.
pub fn later_commit(lab: &Lab<'_>) {
    let mut site = Site::converged(lab);
    let invocation = |site: &Site<'_>| site.web1.run(&["systemctl", "show", "-P", "InvocationID", "hello"]).stdout;
    let first = invocation(&site);
    site.order_motd("The second order.");
    site.infra.publish("another message", Signer::Alice);
    site.apply().ok();
    assert_eq!(site.motd(), "The second order.");
    assert_eq!(invocation(&site), first, "nothing that the service lists has changed");

    site.infra.replace(WEB1, "greeting: hello", "greeting: good day");
    site.infra.publish("another greeting", Signer::Alice);
    site.apply().ok();
    assert_eq!(site.web1.read("/etc/hello/hello.conf").as_deref(), Some("greeting = good day\n"));
    assert_ne!(invocation(&site), first, "the service still runs with its old configuration");

    site.web1.reboot();
    assert_eq!(site.web1.run(&["systemctl", "is-active", "hello"]).text(), "active");
    site.demand_convergence();
    site.apply().ok().says("nothing to do");
}

/// Both hosts of the example repo converge.
pub fn example_repo(lab: &Lab<'_>) {
    let infra = Infra::new(lab, &project().join("example-repo"));
    let remote = GitServer::git(lab, &infra);
    let machines = lab.boot_all(["web1", "db1"]);
    for machine in &machines {
        configure(machine, &infra, remote.url(), "1h");
        hostwrit(machine, &["apply"]).ok();
        demand_convergence(machine);
        hostwrit(machine, &["apply"]).ok().says("nothing to do");
        assert!(machine.run(&["systemctl", "--failed", "--quiet"]).ok().text().is_empty());
        machine.run(&["sshd", "-t"]).ok();
        machine.run(&["visudo", "-cq"]).ok();
    }
}

/// The remote may be a web server; a pull that finds nothing new is no error.
pub fn http_remote(lab: &Lab<'_>) {
    let site = Site::converged(lab);
    let http = GitServer::http(lab, &site.infra);
    configure(&site.web1, &site.infra, http.url(), "1h");
    site.demand_convergence();
    site.order_motd("The second order.");
    site.infra.publish("by HTTP", Signer::Alice);
    site.apply().ok();
    assert_eq!(site.motd(), "The second order.");
    site.demand_convergence();
    drop(http);
    site.apply().exits(1);
    site.demand_problem("fetch-failed");
}

/// The remote may be another host's SSH server.
pub fn ssh_remote(lab: &Lab<'_>) {
    let infra = Infra::new(lab, &project().join("tests/host/repo"));
    infra.replace(WEB1, "ALICE_KEY", &lab.keys().ssh_public());
    infra.publish("Alice's SSH key", Signer::Alice);
    let [web1, git] = lab.boot_all(["web1", "git"]);
    let remote = serve_over_ssh(lab, &infra, &git);
    let_root_fetch(lab, &git, &web1);
    configure(&web1, &infra, &remote, "1h");
    hostwrit(&web1, &["apply"]).ok();
    demand_convergence(&web1);

    infra.replace(WEB1, "/bin/bash", "/bin/sh");
    infra.publish("another shell", Signer::Alice);
    push_over_ssh(&infra, &git);
    hostwrit(&web1, &["apply"]).ok();
    assert!(web1.run(&["getent", "passwd", "deploy"]).ok().text().ends_with(":/bin/sh"));

    // An SSH server with another key is not the remote.
    git.sh("rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh").ok();
    hostwrit(&web1, &["apply"]).exits(1);
}
