// SPDX-License-Identifier: Apache-2.0
//! Four hosts, one Git server, and all that can be wrong between them: the last good state is enforced throughout, and
//! afterwards the hosts follow again without a hand.

use crate::fleet::{Fleet, MAX_MIB, NAMES, mirror_kib, peak_kib};
use crate::hostile_server::Manner;
use crate::infra::Signer;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::site::{BASE, hostwrit};

const LOST: &[&str] = &["fetch-failed"];

/// Cables are pulled, packets vanish, all of them or four in ten.
pub fn lost(lab: &Lab<'_>) {
    let mut fleet = Fleet::converged(lab, NAMES);

    fleet.hosts[..2].iter().for_each(Machine::unplug);
    fleet.demand_last_good_of(&fleet.hosts[..2], "partition", LOST);
    hostwrit(&fleet.hosts[0], &["status"]).says("fetch-failed");
    fleet.publish("While two were cut off.");
    fleet.demand_followed_by(&fleet.hosts[2..], "partition");
    fleet.hosts[..2].iter().for_each(Machine::plug);
    fleet.demand_followed("partition");

    NAMES.iter().for_each(|host| lab.fabric().lose(host, 100));
    fleet.demand_last_good("black hole", LOST);
    fleet.publish("Into the void.");
    NAMES.iter().for_each(|host| lab.fabric().lose_nothing(host));
    fleet.demand_followed("black hole");

    NAMES.iter().for_each(|host| lab.fabric().lose(host, 40));
    fleet.publish("Six in ten arrive.");
    fleet.demand_followed("40 % loss");
    fleet.demand_repairs(&fleet.hosts, "40 % loss");
    NAMES.iter().for_each(|host| lab.fabric().lose_nothing(host));
    fleet.publish("All arrive.");
    fleet.demand_followed("40 % loss");
}

/// The server is swapped for one that means harm.
pub fn hostile(lab: &Lab<'_>) {
    let mut fleet = Fleet::converged(lab, NAMES);
    fleet.publish("The second order.");
    fleet.demand_followed("the second order");

    let root = fleet.infra.root().to_owned();
    fleet.infra.reset(&root);
    fleet.infra.push();
    fleet.demand_last_good("old tip", &["rollback"]);
    recover(&mut fleet, "old tip");

    fleet.infra.write(BASE, "files:\n  /etc/motd: {content: \"All yours.\\n\"}\n");
    fleet.infra.publish_other_history("another history", Signer::Alice);
    fleet.demand_last_good("other history", &["not-descendant"]);
    recover(&mut fleet, "other history");

    // Signed by the right person, and still more than a host can be asked to take.
    fleet.infra.write_zeros("files/huge", 1 << 30);
    fleet.infra.publish("1 GB", Signer::Alice);
    fleet.demand_last_good("1 GB blob", LOST);
    // Not by a courier that its limit of memory ended: the size stands before the object, and nothing of it is read.
    fleet.demand_words("1 GB blob", &["too large to fit in memory"]);
    for host in &fleet.hosts {
        let courier = peak_kib(host, "hostwrit-courier");
        assert!(courier > 0 && courier < 128 * 1024, "1 GB blob: the courier of {} took {courier} KiB", host.name());
    }
    recover(&mut fleet, "1 GB blob");

    for manner in Manner::ALL {
        fleet.serve_hostile(*manner);
        fleet.demand_last_good(&manner.name(), LOST);
        fleet.demand_words(&manner.name(), manner.words());
        for host in &fleet.hosts {
            let (steward, courier) = (peak_kib(host, "hostwrit"), peak_kib(host, "hostwrit-courier"));
            let mirror = mirror_kib(host);
            assert!(steward < 128 * 1024, "{manner:?}: the steward of {} took {steward} KiB", host.name());
            assert!(courier < 640 * 1024, "{manner:?}: the courier of {} took {courier} KiB", host.name());
            // A fetch that is under way is looked at a few times a second.
            assert!(mirror < 3 * MAX_MIB * 1024, "{manner:?}: the mirror of {} has {mirror} KiB", host.name());
        }
        recover(&mut fleet, &manner.name());
    }
}

/// Puts the true server back with a new commit, and demands that all follow.
#[track_caller]
fn recover(fleet: &mut Fleet<'_>, fault: &str) {
    fleet.reset();
    fleet.publish(&format!("After {fault}."));
    fleet.serve();
    fleet.demand_followed(fault);
}
