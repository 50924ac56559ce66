// SPDX-License-Identifier: Apache-2.0
//! What people on a host may ask of its daemon, under systemd.

use std::time::Duration;

use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::{Machine, eventually, within};
use crate::process::Output;
use crate::site::{Site, configure};

const UNIT: &str = "[Service]
Type=notify
WatchdogSec=10
ExecStart=/usr/bin/hostwrit daemon
ExecReload=/bin/kill -HUP $MAINPID
";

/// Holds fifty connections, says nothing, and comes again when it is sent away.
const MANY: &str = r#"
use IO::Select; use IO::Socket::UNIX; $| = 1;
my ($all, $told) = (IO::Select->new, 0);
while (1) {
    while ($all->count < 50) { $all->add(IO::Socket::UNIX->new("/run/hostwrit/control.sock") or die "connect: $!") }
    for my $one ($all->can_read(1)) {
        print "refused\n" if (<$one> // "") =~ /"busy"/ && !$told++;
        $all->remove($one);
        close $one;
    }
    select undef, undef, undef, 0.2;
}
"#;

const SOON: Duration = Duration::from_secs(20);

fn as_user(machine: &Machine<'_>, user: &str, arguments: &[&str]) -> Output {
    let mut command = vec!["hostwrit"];
    command.extend(arguments);
    machine.run_with(&[&format!("--uid={user}")], &command, b"")
}

/// A key that can make the host pull, and nothing else: what a Git server's hook uses.
fn demand_sync_by_ssh(site: &Site<'_>) {
    let web1 = &site.web1;
    web1.sh("ssh-keygen -q -t ed25519 -N '' -f /root/push").ok();
    let key = web1.read("/root/push.pub").unwrap_or_default();
    let page = include_str!("../../../docs/how-to/sync-on-push.md");
    let order = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page has a block");
    let (before, after) = order.split_once("ssh-ed25519 ").expect("the page has a key");
    let order = format!("{before}{}'{}", key.trim(), after.split_once('\'').expect("the key is quoted").1);
    let (groups, users) = order.split_once("users:\n").expect("the page has a user");
    let host_file = site.infra.read("hosts/web1.yaml");
    let with = |file: &str, key: &str, lines: &str| file.replacen(&format!("\n{key}"), &format!("\n{key}{lines}"), 1);
    let host_file = with(&with(&host_file, "users:\n", users), "groups:\n", groups.trim_start_matches("groups:\n"));
    site.infra.write("hosts/web1.yaml", &host_file);
    site.infra.publish("who may ask for a pull", Signer::Alice);
    site.hostwrit(&["sync", "--wait"]).ok().says("+ user:pusher");

    site.order_motd("The pushed order.");
    site.infra.publish("pushed", Signer::Alice);
    let ssh = "ssh -i /root/push -o BatchMode=yes -o StrictHostKeyChecking=no pusher@127.0.0.1";
    web1.sh(&format!("{ssh} </dev/null")).ok();
    eventually("the push is followed", || site.motd() == "The pushed order.");
    web1.sh(&format!("{ssh} 'hostwrit pause --for 1h --reason x; touch /tmp/other' </dev/null")).ok();
    assert!(!web1.exists("/tmp/other"), "the key runs what it is told");
    assert_eq!(site.status().get("paused"), None);
}

/// A pull at once, a pause that holds drift and a commit and ends by itself, and who may ask for them.
pub fn pause_and_sync(lab: &Lab<'_>) {
    let site = Site::new(lab);
    let web1 = &site.web1;
    configure(web1, &site.infra, site.remote.url(), "1h");
    web1.write("/etc/systemd/system/hostwrit.service", UNIT);
    web1.sh("systemctl daemon-reload && systemctl start hostwrit").ok();
    eventually("the first cycle ends", || site.status()["health"] == "converged");
    let shown = || web1.run(&["systemctl", "show", "-P", "StatusText", "hostwrit"]).text().to_owned();
    eventually("systemd shows the status", || shown().starts_with("web1 agrees with "));

    // The interval is an hour; whoever asks does not wait for it.
    site.order_motd("The second order.");
    site.infra.publish("asked for", Signer::Alice);
    site.hostwrit(&["sync", "--wait"]).ok().says("~ file:/etc/motd");
    assert_eq!(site.motd(), "The second order.");
    web1.sh("echo drift >/etc/motd").ok();
    site.hostwrit(&["sync", "--wait"]).ok();
    assert_eq!(site.motd(), "The second order.");

    demand_sync_by_ssh(&site);

    // Who may ask what.
    web1.sh("useradd ordinary; useradd trusted; gpasswd -a trusted hostwrit-admin").ok();
    as_user(web1, "ordinary", &["status"]).ok().says("web1 agrees with the remote").says("daemon      runs since");
    for arguments in [&["sync"][..], &["sync", "--wait"], &["pause", "--for", "1h", "--reason", "x"], &["resume"]] {
        as_user(web1, "ordinary", arguments).exits(1).says("for root and for members of the group hostwrit-admin");
    }
    as_user(web1, "trusted", &["sync", "--wait"]).ok();
    // Root is answered meanwhile.
    web1.run(&["systemd-run", "--quiet", "--uid=ordinary", "--unit=many", "perl", "-e", MANY]).ok();
    let said = || web1.run(&["journalctl", "--no-pager", "-o", "cat", "-u", "many"]).stdout;
    eventually("an ordinary user has all that he can get", || said().contains("refused"));
    for _ in 0..3 {
        site.hostwrit(&["sync", "--wait"]).ok();
        site.hostwrit(&["status"]).ok().says("daemon      runs since");
    }
    assert_eq!(web1.run(&["systemctl", "is-active", "many"]).text(), "active", "{}", said());
    web1.run(&["systemctl", "stop", "many"]).ok();

    // A pause holds drift and a new commit, also over a restart of the daemon, and says so.
    as_user(web1, "trusted", &["pause", "--for", "2h", "--reason", "ticket 4711"]).ok();
    let pin = web1.read("/etc/hostwrit/pin");
    web1.sh("echo drift >/etc/motd").ok();
    site.order_motd("The third order.");
    site.infra.publish("held", Signer::Alice);
    web1.run(&["systemctl", "restart", "hostwrit"]).ok();
    site.hostwrit(&["sync", "--wait"]).exits(6).says("held");
    site.hostwrit(&["apply"]).exits(6).says("ticket 4711");
    site.plan().exits(3).says("The third order.");
    assert_eq!((site.motd().as_str(), web1.read("/etc/hostwrit/pin")), ("drift", pin));
    let status = site.status();
    assert_eq!((&status["health"], &status["held"]), (&"held".into(), &1.into()), "{status:#}");
    assert_eq!(status["paused"]["by"]["user"], "trusted", "{status:#}");
    assert!(shown().contains("paused until"), "{}", shown());

    site.hostwrit(&["resume"]).ok();
    within(SOON, "the daemon catches up when it is resumed", || site.motd() == "The third order.");
    site.hostwrit(&["pause", "--for", "5s", "--reason", "short"]).ok();
    web1.sh("echo drift >/etc/motd").ok();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(site.motd(), "drift", "it is paused");
    within(SOON, "the pause ends by itself", || site.motd() == "The third order.");
    let log = web1.read("/var/log/hostwrit/audit/log.jsonl").unwrap_or_default();
    let paused: Vec<&str> = log.lines().filter(|line| line.contains("\"event\":\"paused\"")).collect();
    assert_eq!((paused.len(), log.matches("\"event\":\"resumed\"").count()), (2, 2), "{log}");
    assert!(paused[0].contains("\"user\":\"trusted\"") && paused[0].contains("ticket 4711"), "{}", paused[0]);

    // The journal can be asked by field; the watchdog is content; the doctor finds nothing to worry about.
    site.infra.publish("by nobody", Signer::Nobody);
    site.hostwrit(&["sync", "--wait"]).exits(4);
    let told =
        web1.run(&["journalctl", "--no-pager", "-o", "cat", "HOSTWRIT_CODE=unsigned", "HOSTWRIT_HOST=web1"]).ok();
    assert!(told.stdout.contains("refused (unsigned)"), "{told}");
    let restarts = web1.run(&["systemctl", "show", "-P", "NRestarts", "hostwrit"]);
    assert_eq!((restarts.text(), web1.run(&["systemctl", "is-active", "hostwrit"]).text()), ("0", "active"));
    let doctor = site.hostwrit(&["doctor"]);
    doctor.says("ok       remote").says("ok       daemon").says("warning  last-cycle");
    site.hostwrit(&["audit", "verify"]).ok();

    // A daemon that cannot go on is ended by the watchdog: SIGSTOP stands for a loop that does not turn.
    web1.sh("kill -STOP $(systemctl show -P MainPID hostwrit)").ok();
    within(Duration::from_secs(40), "the watchdog ends it", || {
        web1.run(&["systemctl", "show", "-P", "Result", "hostwrit"]).text() == "watchdog"
    });
}
