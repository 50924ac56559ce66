// SPDX-License-Identifier: Apache-2.0
//! The daemon under systemd.

use std::time::{Duration, Instant};

use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::{eventually, within};
use crate::site::{Site, configure};

const UNIT: &str = "[Service]
Type=exec
ExecStart=/usr/bin/hostwrit daemon
ExecReload=/bin/kill -HUP $MAINPID
";

/// Longer than a few intervals of one second.
const SOON: Duration = Duration::from_secs(10);

/// It follows the remote, repairs drift, takes its signals, and shares the host with people who run hostwrit by hand.
pub fn keeps_the_host(lab: &Lab<'_>) {
    let site = Site::new(lab);
    let web1 = &site.web1;
    configure(web1, &site.infra, site.remote.url(), "1s");
    web1.write("/etc/systemd/system/hostwrit.service", UNIT);
    web1.sh("systemctl daemon-reload && systemctl start hostwrit").ok();
    eventually("the first state is enforced", || site.motd() == "The first order.");
    eventually("the first cycle ends", || site.status()["health"] == "converged");

    site.order_motd("The second order.");
    site.infra.publish("while it runs", Signer::Alice);
    within(SOON, "the new commit is enforced", || site.motd() == "The second order.");
    web1.sh("echo drift >/etc/motd").ok();
    within(SOON, "drift is repaired", || site.motd() == "The second order.");
    web1.unplug();
    within(SOON, "status says that the remote is gone", || site.status()["health"] == "last-good");
    web1.sh("echo drift >/etc/motd").ok();
    within(SOON, "drift is repaired without the remote", || site.motd() == "The second order.");
    web1.plug();
    within(SOON, "it follows again", || site.status()["health"] == "converged");

    // By hand at the same time: whoever comes second finds the work done.
    for round in 0..5 {
        site.order_motd(&format!("Order {round}."));
        site.infra.publish("by hand and by the daemon", Signer::Alice);
        let both = web1.sh("hostwrit apply & first=$!; hostwrit apply; second=$?; wait $first && exit $second").ok();
        let lines: Vec<&str> = both.stdout.lines().filter(|line| line.contains("file:/etc/motd")).collect();
        assert!(lines.len() <= 1, "the same step was carried out twice:\n{both}");
        assert_eq!(site.motd(), format!("Order {round}."));
    }
    site.hostwrit(&["audit", "verify"]).ok();

    // SIGHUP: a new interval, and a pull at once.
    configure(web1, &site.infra, site.remote.url(), "1h");
    web1.run(&["systemctl", "reload", "hostwrit"]).ok();
    std::thread::sleep(Duration::from_secs(3));
    site.order_motd("The last order.");
    site.infra.publish("after the reload", Signer::Alice);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(site.motd(), "Order 4.", "the new interval is not used");
    web1.run(&["systemctl", "reload", "hostwrit"]).ok();
    within(SOON, "SIGHUP pulls at once", || site.motd() == "The last order.");
    web1.write("/etc/hostwrit/config.yaml", "fleet: [\n");
    web1.run(&["systemctl", "reload", "hostwrit"]).ok();
    eventually("the journal says what is wrong", || web1.journal().contains("/etc/hostwrit/config.yaml"));
    assert_eq!(web1.run(&["systemctl", "is-active", "hostwrit"]).text(), "active");

    let start = Instant::now();
    web1.run(&["systemctl", "stop", "hostwrit"]).ok();
    assert!(start.elapsed() < Duration::from_secs(10), "SIGTERM took {:?}", start.elapsed());
    assert_eq!(web1.run(&["systemctl", "show", "-P", "Result", "hostwrit"]).text(), "success");
    assert_eq!(web1.run(&["systemctl", "show", "-P", "ExecMainStatus", "hostwrit"]).text(), "0");
}
