// SPDX-License-Identifier: Apache-2.0
//! What somebody changes on the host by hand is put back; what nobody declares is left alone.

use crate::infra::Signer;
use crate::lab::Lab;
use crate::site::{Site, WEB1};

/// How somebody changes the host, the object that differs then, and what a command says while the host is as declared.
pub const DRIFTS: &[(&str, &str, &str, &str)] = &[
    ("usermod -s /bin/sh deploy", "user:deploy", "getent passwd deploy | cut -d: -f7", "/bin/bash"),
    ("usermod -u 4777 deploy", "user:deploy", "id -u deploy", "4001"),
    ("usermod -G shop,sudo deploy", "user:deploy", "id -nG deploy", "deploy shop"),
    ("gpasswd -d deploy shop", "user:deploy", "id -nG deploy", "deploy shop"),
    ("usermod -p '$y$j9T$aaaa$bbbb' deploy", "user:deploy", "passwd -S deploy | cut -d' ' -f2", "L"),
    (
        "echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA intruder' >>~deploy/.ssh/authorized_keys",
        "user:deploy",
        "wc -l <~deploy/.ssh/authorized_keys",
        "1",
    ),
    ("chmod 666 ~deploy/.ssh/authorized_keys", "user:deploy", "stat -c %a ~deploy/.ssh/authorized_keys", "600"),
    (
        "echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/hostwrit-deploy",
        "user:deploy",
        "grep -c 'systemctl status hello' /etc/sudoers.d/hostwrit-deploy",
        "1",
    ),
    ("userdel -r deploy", "user:deploy", "id -u deploy", "4001"),
    ("groupmod -g 4444 shop", "group:shop", "getent group shop | cut -d: -f3", "4000"),
    ("echo intruder >>/etc/motd", "file:/etc/motd", "cat /etc/motd", "The first order."),
    ("rm /etc/motd", "file:/etc/motd", "cat /etc/motd", "The first order."),
    ("chmod 600 /etc/motd", "file:/etc/motd", "stat -c %a /etc/motd", "644"),
    ("rm /etc/motd; ln -s /etc/passwd /etc/motd", "file:/etc/motd", "stat -c %F /etc/motd", "regular file"),
    (
        "chown daemon:daemon /etc/hello/hello.conf",
        "file:/etc/hello/hello.conf",
        "stat -c %U:%G /etc/hello/hello.conf",
        "root:shop",
    ),
    (
        "touch /etc/hello/extra; mkdir -p /etc/hello/d/e",
        "file:/etc/hello",
        "ls /etc/hello | xargs",
        "current hello.conf",
    ),
    ("ln -sfn /etc/passwd /etc/hello/current", "file:/etc/hello/current", "readlink /etc/hello/current", "hello.conf"),
    ("systemctl stop hello", "service:hello", "systemctl is-active hello", "active"),
    ("systemctl disable hello", "service:hello", "systemctl is-enabled hello", "enabled"),
    (
        "ln -sf /dev/null /etc/systemd/system/hello.service; systemctl daemon-reload; systemctl stop hello",
        "service:hello",
        "systemctl is-active hello; systemctl is-enabled hello",
        "active\nenabled",
    ),
    (
        "sed -i s/4096/1024/ /etc/systemd/system/hello.service.d/limits.conf; systemctl daemon-reload; systemctl restart hello",
        "service:hello",
        "systemctl show -P LimitNOFILE hello",
        "4096",
    ),
    (
        "rm -r /etc/systemd/system/hello.service*; systemctl daemon-reload",
        "service:hello",
        "systemctl is-active hello; systemctl is-enabled hello; systemctl show -P LimitNOFILE hello | xargs",
        "active\nenabled\n4096",
    ),
];

/// Each kind of drift is shown by `plan` with its object and repaired by one `apply`.
pub fn is_repaired(lab: &Lab<'_>) {
    let site = Site::converged(lab);
    let mut faults = Vec::new();
    for (change, object, look, wanted) in DRIFTS {
        site.web1.sh(change);
        let plan = site.plan();
        if plan.code != 3 || !plan.stdout.contains(object) {
            faults.push(format!("{change}: not shown as drift of {object}:\n{plan}"));
        }
        let apply = site.apply();
        let seen = site.web1.sh(look);
        if apply.code != 0 || seen.text() != *wanted {
            faults.push(format!("{change}: not repaired, wanted {wanted}:\n{seen}\n{apply}"));
        }
        let again = site.plan();
        if again.code != 0 {
            faults.push(format!("{change}: something still differs:\n{again}"));
        }
    }
    assert!(faults.is_empty(), "{} of {} drifts:\n{}", faults.len(), DRIFTS.len(), faults.join("\n\n"));
    site.hostwrit(&["audit", "verify"]).ok();
}

/// An owned object that leaves the repo is removed; one that was there before is left and listed.
pub fn removes_only_what_it_owns(lab: &Lab<'_>) {
    let site = Site::new(lab);
    let web1 = &site.web1;
    web1.run(&["useradd", "--create-home", "elder"]).ok();
    web1.write("/etc/elder.conf", "before hostwrit\n");
    site.infra.replace(WEB1, "users:\n", "users:\n  elder: {shell: /bin/bash}\n");
    site.infra.replace(WEB1, "files:\n", "files:\n  /etc/elder.conf: {content: \"now declared\\n\"}\n");
    site.infra.publish("declares what was there", Signer::Alice);
    site.apply().ok();
    assert_eq!(web1.read("/etc/elder.conf").as_deref(), Some("now declared\n"));

    site.infra.write(WEB1, "profiles: [base]\n");
    site.infra.publish("nearly nothing", Signer::Alice);
    site.plan().exits(3).says("- user:deploy");
    site.apply().ok();
    web1.run(&["getent", "passwd", "deploy"]).exits(2);
    web1.run(&["getent", "group", "shop"]).exits(2);
    for gone in ["/etc/hello", "/etc/systemd/system/hello.service", "/etc/sudoers.d/hostwrit-deploy"] {
        assert!(!web1.exists(gone), "{gone} is still there");
    }
    assert_eq!(web1.run(&["systemctl", "is-active", "hello"]).text(), "inactive");
    assert!(web1.exists("/home/deploy"), "a home is never removed");

    web1.run(&["getent", "passwd", "elder"]).ok();
    assert_eq!(web1.read("/etc/elder.conf").as_deref(), Some("now declared\n"));
    let unmanaged = site.status()["unmanaged"].clone();
    assert_eq!(unmanaged, serde_json::json!(["file:/etc/elder.conf", "user:elder"]));
    site.demand_convergence();
}

/// New content that its `validate` command or visudo refuses does not take the old one's place.
pub fn refused_content_keeps_the_old(lab: &Lab<'_>) {
    const SSHD: &str = "/etc/ssh/sshd_config.d/50-hostwrit.conf";
    let site = Site::converged(lab);
    let order_sshd = |line: &str| {
        let text = format!("files:\n  {SSHD}:\n    content: \"{line}\\n\"\n    validate: [sshd, -t, -f, \"{{}}\"]\n");
        site.infra.write("profiles/sshd.yaml", &text);
    };
    order_sshd("PermitRootLogin no");
    site.infra.replace(WEB1, "profiles: [base]", "profiles: [base, sshd]");
    site.infra.publish("sshd", Signer::Alice);
    site.apply().ok();
    order_sshd("PermitRotLogin no");
    site.infra.publish("a slip", Signer::Alice);
    site.apply().exits(1).says("PermitRotLogin");
    assert_eq!(site.web1.read(SSHD).as_deref(), Some("PermitRootLogin no\n"));
    site.web1.sh("ls -A /etc/ssh/sshd_config.d | grep hostwrit-new").exits(1);
    site.demand_problem("step-failed");
    order_sshd("PermitRootLogin prohibit-password");
    site.infra.publish("put right", Signer::Alice);
    site.apply().ok();

    site.infra.replace(WEB1, "ALL=(root) NOPASSWD:", "ALL=(root NOPASSWD:");
    site.infra.publish("a slip in sudoers", Signer::Alice);
    site.apply().exits(1).says("user:deploy");
    let rule = site.web1.read("/etc/sudoers.d/hostwrit-deploy").unwrap_or_default();
    assert!(rule.contains("ALL=(root) NOPASSWD:"), "the old rule is gone: {rule}");
    site.web1.run(&["visudo", "-cq"]).ok();
    site.web1.run(&["sudo", "-n", "true"]).ok();
    site.infra.replace(WEB1, "ALL=(root NOPASSWD:", "ALL=(root) NOPASSWD:");
    site.infra.publish("put right", Signer::Alice);
    site.apply().ok();
    site.demand_convergence();
}
