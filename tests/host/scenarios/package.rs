// SPDX-License-Identifier: Apache-2.0
//! The Debian package on a host that never had hostwrit: what installing, upgrading, removing and purging it do.

use std::fs;
use std::time::Duration;

use crate::authority::Authority;
use crate::bootstrap_page::{carry_out_cloud_config, carry_out_one_line};
use crate::git_server::GitServer;
use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::{Machine, eventually, within};
use crate::package::Package;
use crate::site::Site;

/// The first cycle of a daemon that has just been started.
const FIRST_CYCLE: Duration = Duration::from_secs(60);

/// A new version is proven: the old one ends, and the new one has its first cycle.
const PROOF: Duration = Duration::from_secs(90);

/// Makes a program that starts and says nothing.
const HANGS: &str = "printf '#!/bin/sh\\nexec sleep infinity\\n' >usr/bin/hostwrit";

const KEPT: &str = "/var/lib/hostwrit/previous";

/// What loads the packet filter at boot where hostwrit was removed.
const LEFT: &str = "left-by-hostwrit.service";

/// Install, enrol, converge, reboot, upgrade, downgrade (refused), remove, install again, purge.
pub fn from_install_to_purge(lab: &Lab<'_>) {
    let package = Package::of_this_program();
    let newer = package.remade("0.9-life", "");
    let web1 = lab.boot_without_hostwrit("web1");

    // Installed: asks nothing, starts nothing, breaks nothing.
    package.install(&web1).ok();
    assert_eq!(activity(&web1, "hostwrit.service"), "inactive");
    assert_eq!(web1.run(&["systemctl", "is-system-running"]).text(), "running");
    assert_eq!(web1.run(&["stat", "-c", "%U %a", "/var/lib/hostwrit-courier"]).text(), "hostwrit 700");
    assert_eq!(web1.run(&["stat", "-c", "%U %a", "/etc/hostwrit/credentials"]).text(), "root 700");
    web1.run(&["dpkg", "--verify", "hostwrit"]).ok();
    web1.sh("find /usr/share/man/man1 -name 'hostwrit*.1.gz' -exec gunzip --test {} + && hostwrit --version").ok();

    // Enrolled: the configuration is written, and the daemon started.
    let mut site = Site::on(lab, web1);
    let host_file = site.infra.read("hosts/web1.yaml");
    site.infra.write("hosts/web1.yaml", &format!("{host_file}ports:\n  22/tcp: {{rate: 60/minute}}\n"));
    site.infra.publish("a port", Signer::Alice);
    start(&site);
    demand_two_processes(&site.web1);
    let before = site.status()["time"].clone();
    let filter = filter_of(&site.web1);
    assert!(filter.contains("dport 22"), "{filter}");

    // A reboot later it works by itself, also if the remote is there only when it was asked already: nobody waits for the
    // next pull, which is an hour away.
    let served = site.infra.served().join("infra.git");
    let away = served.with_extension("away");
    fs::rename(&served, &away).expect("the folder is the test run's own");
    site.web1.reboot();
    within(FIRST_CYCLE, "the remote is missed", || {
        site.web1.exists("/run/hostwrit/status.json") && health(&site) == "last-good"
    });
    site.demand_problem("fetch-failed");
    fs::rename(&away, &served).expect("the folder is the test run's own");
    within(FIRST_CYCLE, "it works after a boot", || {
        site.web1.exists("/run/hostwrit/status.json") && site.status()["time"] != before && health(&site) == "converged"
    });
    demand_two_processes(&site.web1);

    // Upgraded: the new version proves itself, and then nothing is left of the old one.
    let old_process = main_process(&site.web1);
    newer.install(&site.web1).ok();
    within(PROOF, "the new version is proven", || !site.web1.exists(KEPT));
    assert_ne!(main_process(&site.web1), old_process, "the new version does not run");
    assert_eq!(installed(&site.web1), newer.version);
    assert!(site.web1.journal().contains("hostwrit 0.9-life is proven"));
    demand_two_processes(&site.web1);

    // Downgrades are refused, and leave all as it was.
    let process = main_process(&site.web1);
    let refused = package.install(&site.web1).exits(1).says("A downgrade is refused");
    assert!(refused.stderr.contains("apt-get remove hostwrit"), "it does not say what to do:\n{refused}");
    assert_eq!(installed(&site.web1), newer.version);
    assert_eq!(main_process(&site.web1), process);
    assert!(!site.web1.exists(KEPT));

    // Upgraded while it is stopped, it stays stopped.
    site.web1.run(&["systemctl", "stop", "hostwrit.service"]).ok();
    package.remade("0.9.1-life", "").install(&site.web1).ok();
    assert_eq!(activity(&site.web1, "hostwrit.service"), "inactive");
    assert!(!site.web1.exists(KEPT));
    site.web1.run(&["systemctl", "start", "hostwrit.service"]).ok();

    // Removed: it is gone; its data and what it manages are not. That is also the way to an older version.
    site.web1.run(&["dpkg", "--remove", "hostwrit"]).ok().says("the packet filter stays as it is");
    assert!(!site.web1.exists("/usr/bin/hostwrit"));
    demand_usable(&site, "The first order.");
    assert!(site.web1.exists("/etc/hostwrit/config.yaml") && site.web1.exists("/var/lib/hostwrit/state.json"));
    site.web1.reboot();
    assert_eq!(filter_of(&site.web1), filter, "the packet filter ended with the boot");
    package.install(&site.web1).ok();
    site.order_motd("The second order.");
    site.infra.publish("after it was installed again", Signer::Alice);
    site.web1.run(&["systemctl", "reload", "hostwrit.service"]).ok();
    within(FIRST_CYCLE, "it goes on where it was", || site.motd() == "The second order.");
    eventually("its cycle ends", || health(&site) == "converged");
    site.web1.reboot();
    assert_eq!(activity(&site.web1, "hostwrit-firewall.service"), "active");
    assert_eq!(activity(&site.web1, LEFT), "inactive", "what was left counts, though hostwrit is back");
    eventually("the daemon is back", || site.web1.exists("/run/hostwrit/status.json") && health(&site) == "converged");

    // Purged: its configuration, credentials and state are gone, the record of what it did is not.
    site.web1.write("/etc/hostwrit/credentials/git-token", "secret");
    site.web1.run(&["dpkg", "--purge", "hostwrit"]).ok();
    for gone in
        ["/etc/hostwrit", "/etc/default/hostwrit", "/var/lib/hostwrit", "/var/lib/hostwrit-courier", "/run/hostwrit"]
    {
        assert!(!site.web1.exists(gone), "{gone} is still there");
    }
    assert_eq!(site.web1.sh("find /etc/systemd -name 'hostwrit*'").text(), "");
    assert!(site.web1.exists("/var/log/hostwrit/audit/log.jsonl"));
    demand_usable(&site, "The second order.");
    site.web1.reboot();
    assert_eq!(site.web1.run(&["systemctl", "is-system-running"]).text(), "running");
    demand_usable(&site, "The second order.");
    assert_eq!(filter_of(&site.web1), filter, "a purge and a boot, and the host is open");
    assert_eq!(activity(&site.web1, LEFT), "active");
}

/// A version that does not start, and one that hangs (also over a boot): the one before is put back, and says so.
pub fn undoes_a_bad_upgrade(lab: &Lab<'_>) {
    let package = Package::of_this_program();
    let mut site = Site::on(lab, lab.boot_without_hostwrit("web1"));
    site.web1.run(&["rm", "-r", "/etc/hostwrit"]).ok();
    site.remote = GitServer::http(lab, &site.infra);
    carry_out_one_line(&site.web1, &site.infra, &site.remote);
    wait_for_first_cycle(&site);
    let program = site.web1.run(&["sha256sum", "/usr/bin/hostwrit"]).ok();
    let undone = |site: &Site<'_>, version: &str| {
        let note = site.web1.read("/var/lib/hostwrit/upgrade-undone").unwrap_or_default();
        note.contains(&format!("the upgrade of hostwrit to {version} was undone")) && !site.web1.exists(KEPT)
    };

    let broken = package.remade("0.9-broken", "printf '#!/bin/sh\\nexit 1\\n' >usr/bin/hostwrit");
    broken.install(&site.web1).ok();
    within(PROOF, "a version that does not start is undone", || undone(&site, "0.9-broken"));
    demand_works(&site, "After the broken one.");
    eventually("status tells", || {
        let status = site.status();
        let mut problems = status["problems"].as_array().into_iter().flatten();
        problems.any(|one| {
            let message = one["message"].as_str().unwrap_or_default();
            one["code"] == "upgrade-undone"
                && message.contains("dpkg still names 0.9-broken; 'apt-get install --reinstall")
        })
    });
    assert_eq!(site.web1.run(&["sha256sum", "/usr/bin/hostwrit"]).ok().stdout, program.stdout);
    assert!(site.web1.sh("journalctl -p alert -t hostwrit").ok().stdout.contains("0.9-broken was undone"));
    let doctor = site.hostwrit(&["doctor"]).says("ok       boot");
    doctor.says("warning  package").says("dpkg names 0.9-broken, and");
    site.web1.run(&["systemctl", "mask", "hostwrit-revert"]).ok();
    site.hostwrit(&["doctor"]).says("hostwrit-revert.service is masked").says("systemctl unmask hostwrit-revert");
    site.web1.run(&["systemctl", "unmask", "hostwrit-revert"]).ok();

    // Whatever it hangs in; a boot in the middle changes nothing.
    site.web1
        .write("/etc/systemd/system/hostwrit-upgrade.service.d/soon.conf", "[Service]\nEnvironment=CYCLE_LIMIT=10\n");
    site.web1.write("/etc/systemd/system/hostwrit.service.d/soon.conf", "[Service]\nTimeoutStopSec=5\n");
    site.web1.run(&["systemctl", "daemon-reload"]).ok();
    let hanging = package.remade("0.9.1-hanging", HANGS);
    hanging.install(&site.web1).ok();
    eventually("its proof has begun", || site.web1.exists("/run/hostwrit/upgrade-started"));
    site.web1.reboot();
    within(PROOF, "a version that hangs is undone", || undone(&site, "0.9.1-hanging"));
    demand_works(&site, "After the hanging one.");

    // One that works is taken all the same, even while another is not proven yet, and the note goes.
    package.remade("0.9.2-hanging", HANGS).install(&site.web1).ok();
    eventually("its proof has begun", || site.web1.exists("/run/hostwrit/upgrade-started"));
    package.remade("0.9.3-good", "").install(&site.web1).ok();
    within(PROOF, "a good version is proven", || !site.web1.exists(KEPT));
    assert!(!site.web1.exists("/var/lib/hostwrit/upgrade-undone"));
    demand_works(&site, "After the good one.");
}

/// dpkg runs as a step of the steward that it replaces: the step ends in good order, and then the new version starts.
pub fn upgraded_by_the_steward(lab: &Lab<'_>) {
    const TOKEN: &str = "deploy:correct-horse-battery";
    let newer = Package::of_this_program().remade("0.9-steward", "");
    let web1 = lab.boot_without_hostwrit("web1");
    let place = newer.copy_to(&web1);
    // As cloud-init does it: with the configuration there, the installation starts everything. The repo is a private one.
    let mut site = Site::on(lab, web1);
    site.web1.run(&["rm", "-r", "/etc/hostwrit"]).ok();
    let authority = Authority::new(lab);
    let certificate = fs::read(&authority.certificate).expect("openssl wrote it");
    site.web1.write("/usr/local/share/ca-certificates/infra.crt", certificate);
    site.web1.run(&["update-ca-certificates"]).ok();
    site.remote = GitServer::https(lab, &site.infra, &authority, TOKEN);
    carry_out_cloud_config(&site.web1, &site.infra, &site.remote, TOKEN);
    wait_for_first_cycle(&site);
    let modes = ["/etc/hostwrit", "/etc/hostwrit/credentials", "/etc/hostwrit/credentials/git-token"];
    let modes = modes.map(|path| site.web1.run(&["stat", "-c", "%U %a", path]).text().to_owned());
    assert_eq!(modes, ["root 755", "root 700", "root 600"]);

    // Of all that a step may run, a unit is what can run dpkg: a command of the repo may not write to /usr.
    let command = format!("dpkg --install {place} >/var/tmp/dpkg.log 2>&1 && sleep 3 && echo done >/var/tmp/upgrade");
    let profile = format!(
        "files:\n  /etc/motd: {{content: \"By its own hand.\\n\"}}\nservices:\n  upgrade:\n    running: true\n    unit:\n      \
         content: |\n        [Service]\n        Type=oneshot\n        RemainAfterExit=yes\n        \
         ExecStart=/bin/sh -c '{command}'\n"
    );
    site.infra.write("profiles/base.yaml", &profile);
    site.infra.publish("upgrade hostwrit", Signer::Alice);
    let old_process = main_process(&site.web1);
    site.web1.run(&["systemctl", "reload", "hostwrit.service"]).ok();
    within(PROOF, "dpkg ended well", || installed(&site.web1) == newer.version);
    within(PROOF, "the new version is proven", || !site.web1.exists(KEPT));
    assert_eq!(site.web1.read("/var/tmp/upgrade").as_deref(), Some("done\n"), "dpkg was cut off");
    let told = site.web1.run(&["journalctl", "-u", "hostwrit.service", &format!("_PID={old_process}")]).ok();
    assert!(told.stdout.contains("done object=service:upgrade"), "the step was not finished: {told}");
    assert_ne!(main_process(&site.web1), old_process);
    assert!(!site.web1.exists("/var/lib/hostwrit/upgrade-undone"));
    site.web1.run(&["dpkg", "--audit"]).ok();
    demand_works(&site, "After that.");
}

/// Starts the daemon on a host that was just enrolled, and waits for it.
fn start(site: &Site<'_>) {
    site.web1.run(&["systemctl", "start", "hostwrit.service"]).ok();
    wait_for_first_cycle(site);
}

fn wait_for_first_cycle(site: &Site<'_>) {
    within(FIRST_CYCLE, "the first state is enforced", || site.motd() == "The first order.");
    eventually("the first cycle ends", || health(site) == "converged");
}

/// Demands that a new commit is enforced.
#[track_caller]
fn demand_works(site: &Site<'_>, text: &str) {
    site.order_motd(text);
    site.infra.publish("one more order", Signer::Alice);
    eventually("the daemon runs", || activity(&site.web1, "hostwrit.service") == "active");
    site.web1.run(&["systemctl", "reload", "hostwrit.service"]).ok();
    within(FIRST_CYCLE, "a new commit is enforced", || site.motd() == text);
    site.hostwrit(&["audit", "verify"]).ok();
}

/// Demands that what hostwrit manages is there, and the host as usable as ever, without hostwrit.
#[track_caller]
fn demand_usable(site: &Site<'_>, motd: &str) {
    let web1 = &site.web1;
    assert_eq!(site.motd(), motd);
    web1.run(&["getent", "passwd", "deploy"]).ok();
    web1.run_with(&["--uid=deploy"], &["sudo", "-n", "systemctl", "status", "hello"], b"").ok();
    assert_eq!(activity(web1, "hello.service"), "active");
    assert_eq!(activity(web1, "ssh.service"), "active");
    assert_eq!(web1.run(&["systemctl", "--failed", "--quiet", "--no-legend"]).text(), "");
}

/// Demands that root does not fetch, and that who fetches is not root.
#[track_caller]
fn demand_two_processes(web1: &Machine<'_>) {
    for (unit, user) in [("hostwrit.service", "root"), ("hostwrit-courier.service", "hostwrit")] {
        assert_eq!(activity(web1, unit), "active", "{unit}");
        let process = web1.run(&["systemctl", "show", "--property=MainPID", "--value", unit]).ok();
        let owner = web1.run(&["stat", "-c", "%U", &format!("/proc/{}", process.text())]).ok();
        assert_eq!(owner.text(), user, "{unit}");
    }
    assert!(web1.exists("/var/lib/hostwrit-courier/mirror.git"));
}

fn filter_of(web1: &Machine<'_>) -> String {
    web1.sh("nft --stateless list table inet hostwrit").ok().text().to_owned()
}

fn health(site: &Site<'_>) -> String {
    site.status()["health"].as_str().unwrap_or_default().to_owned()
}

fn activity(web1: &Machine<'_>, unit: &str) -> String {
    web1.run(&["systemctl", "is-active", unit]).text().to_owned()
}

fn main_process(web1: &Machine<'_>) -> String {
    web1.run(&["systemctl", "show", "--property=MainPID", "--value", "hostwrit.service"]).text().to_owned()
}

/// Returns the version that dpkg knows, or nothing while it is at work.
fn installed(web1: &Machine<'_>) -> String {
    // systemd-run makes one $ of two.
    let format = "--showformat=$${db:Status-Status} $${Version}";
    let output = web1.run(&["dpkg-query", "--show", format, "hostwrit"]);
    output.text().strip_prefix("installed ").unwrap_or_default().to_owned()
}
