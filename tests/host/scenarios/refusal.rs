// SPDX-License-Identifier: Apache-2.0
//! A remote that offers nothing acceptable, or does not answer, changes nothing: the last good state stays enforced.

use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::eventually;
use crate::site::{BASE, Site};

/// Exit code of a refusal by trust, and of an unsound repo.
const REFUSED: i32 = 4;
const UNSOUND: i32 = 5;

/// Unsigned, wrongly signed and old commits are refused, each while drift is repaired.
pub fn unproven_commits(lab: &Lab<'_>) {
    let site = Site::converged(lab);
    site.order_motd("The second order.");
    let good = site.infra.publish("good", Signer::Alice);
    site.apply().ok();

    for (signer, code) in [(Signer::Nobody, "unsigned"), (Signer::Mallory, "unknown-signer")] {
        site.order_motd("All yours.");
        let bad = site.infra.publish("bad", signer);
        demand_refusal(&site, REFUSED, code);
        let status = site.status().to_string();
        assert!(status.contains(&bad), "status does not name the refused commit {bad}: {status}");
        assert_eq!(site.status()["commit"], good.as_str());
        // A good commit on top does not make it good.
        site.infra.publish("on top", Signer::Alice);
        demand_refusal(&site, REFUSED, code);
        site.infra.reset(&good);
    }

    site.infra.reset(site.infra.root());
    site.infra.push();
    demand_refusal(&site, REFUSED, "rollback");

    site.infra.reset(&good);
    site.order_motd("The third order.");
    site.infra.publish("good again", Signer::Alice);
    site.apply().ok();
    assert_eq!(site.motd(), "The third order.");
    site.demand_convergence();
    assert_eq!(site.status()["health"], "converged");
}

/// A proven commit with faults in it is refused whole.
pub fn unsound_repo(lab: &Lab<'_>) {
    let site = Site::converged(lab);
    site.order_motd("The second order.");
    site.infra.publish("good", Signer::Alice);
    site.apply().ok();
    site.infra.write(BASE, "files:\n  /etc/motd: {contents: \"typing error\"}\n");
    site.infra.publish("a slip", Signer::Alice);
    demand_refusal(&site, UNSOUND, "unsound");
    site.apply().says("profiles/base.yaml:2");
}

/// Without the remote, drift is still repaired; when it is back, the host follows it again.
pub fn remote_gone(lab: &Lab<'_>) {
    let mut site = Site::converged(lab);
    site.order_motd("The second order.");
    site.infra.publish("good", Signer::Alice);
    site.apply().ok();
    site.order_motd("The third order.");
    site.infra.publish("not seen yet", Signer::Alice);
    site.web1.unplug();
    demand_refusal(&site, 1, "fetch-failed");
    // Not even a reboot without the remote makes the host forget.
    site.web1.plug();
    site.web1.reboot();
    site.web1.unplug();
    demand_refusal(&site, 1, "fetch-failed");

    site.web1.plug();
    eventually("the host follows again", || site.apply().code == 0);
    assert_eq!(site.motd(), "The third order.");
    site.demand_convergence();
    assert_eq!(site.status()["health"], "converged");
}

/// Makes drift and demands that `apply` ends with `exit`, repairs it, and leaves a status that says `code`.
#[track_caller]
fn demand_refusal(site: &Site<'_>, exit: i32, code: &str) {
    site.web1.sh("echo drift >/etc/motd; systemctl stop hello; usermod -s /bin/sh deploy").ok();
    site.apply().exits(exit);
    assert_eq!(site.motd(), "The second order.", "{code}");
    assert_eq!(site.web1.run(&["systemctl", "is-active", "hello"]).text(), "active", "{code}");
    assert!(site.web1.run(&["getent", "passwd", "deploy"]).ok().text().ends_with("/bin/bash"), "{code}");
    site.demand_problem(code);
    assert_eq!(site.status()["health"], "last-good");
    site.hostwrit(&["audit", "verify"]).ok();
}
