// SPDX-License-Identifier: Apache-2.0
//! All scenarios. Each makes its own hosts and can run alone.

use crate::lab::Lab;

mod apart;
mod bootstrap;
mod checks;
mod commands;
mod confirm;
mod control;
mod converge;
mod couriers;
mod credentials;
mod daemon;
mod drift;
mod faults;
mod five_systems;
mod harness;
mod lockout;
mod maintenance;
mod metrics;
mod package;
mod ports;
mod power;
mod refusal;
mod remotes;
mod speed;
mod surroundings;
mod updates;
mod watch;

/// One story about hosts, told by a function that panics where the story goes wrong.
pub struct Scenario {
    /// What is claimed; the filter on the command line looks in it.
    pub name: &'static str,
    pub run: fn(&Lab<'_>),
}

/// Those that take more than a minute first, so that none of them is left for the end.
pub const ALL: &[Scenario] = &[
    Scenario { name: "kill-at-each-write", run: faults::kill_at_each_write },
    Scenario { name: "lockout-goes-back", run: lockout::goes_back },
    Scenario { name: "lockout-is-refused", run: lockout::is_refused },
    Scenario { name: "confirm-killed-at-each-step", run: power::killed_in_the_middle },
    Scenario { name: "commands-of-the-repo", run: commands::of_the_repo },
    Scenario { name: "confirm-power-cut", run: power::cut_in_the_middle },
    Scenario { name: "maintenance-leaves-the-host-alone", run: maintenance::leaves_the_host_alone },
    Scenario { name: "fabric-hostile-server", run: remotes::hostile },
    Scenario { name: "confirm-ports-with-a-session", run: confirm::ports_with_a_session },
    Scenario { name: "needs-of-five-systems", run: five_systems::needs },
    Scenario { name: "ports-limits", run: ports::limits },
    Scenario { name: "ports-reached-and-refused", run: ports::reached_and_refused },
    Scenario { name: "fabric-lost-server", run: remotes::lost },
    Scenario { name: "fabric-courier-false", run: couriers::false_one },
    Scenario { name: "fabric-courier-killed", run: couriers::killed },
    Scenario { name: "processes-kept-apart", run: apart::kept_apart },
    Scenario { name: "checks-killed-on-the-way-back", run: checks::killed_on_the_way_back },
    Scenario { name: "checks-put-a-bad-commit-back", run: checks::put_a_bad_commit_back },
    Scenario { name: "checks-run-by-both-processes", run: checks::run_by_both_processes },
    Scenario { name: "commands-cut-off", run: commands::cut_off },
    Scenario { name: "limits-removals", run: checks::limits_removals },
    Scenario { name: "confirm-goes-back-by-itself", run: confirm::goes_back_by_itself },
    Scenario { name: "confirm-rebooted-in-the-middle", run: confirm::rebooted_in_the_middle },
    Scenario { name: "confirm-killed-in-the-middle", run: confirm::killed_in_the_middle },
    Scenario { name: "confirm-killed-without-a-bus", run: confirm::killed_without_a_bus },
    Scenario { name: "confirm-hung-in-the-middle", run: confirm::hung_in_the_middle },
    Scenario { name: "drift-is-repaired", run: drift::is_repaired },
    Scenario { name: "drift-is-seen", run: watch::is_seen },
    Scenario { name: "drift-of-units-and-ports", run: speed::of_units_and_ports },
    Scenario { name: "fights-are-told", run: watch::names_who_fights },
    Scenario { name: "package-from-install-to-purge", run: package::from_install_to_purge },
    Scenario { name: "package-undoes-a-bad-upgrade", run: package::undoes_a_bad_upgrade },
    Scenario { name: "package-upgraded-by-the-steward", run: package::upgraded_by_the_steward },
    Scenario { name: "image-built-with-root", run: bootstrap::image },
    Scenario { name: "daemon-keeps-the-host", run: daemon::keeps_the_host },
    Scenario { name: "credentials-https", run: credentials::https },
    Scenario { name: "credentials-ssh", run: credentials::ssh },
    Scenario { name: "control-pause-and-sync", run: control::pause_and_sync },
    Scenario { name: "ports-swapped-under-load", run: ports::swapped_under_load },
    Scenario { name: "ports-drift-and-boot", run: ports::drift_and_boot },
    Scenario { name: "ports-that-nft-refuses", run: ports::that_nft_refuses },
    Scenario { name: "ports-of-containers", run: ports::of_containers },
    Scenario { name: "ports-egress", run: ports::egress },
    Scenario { name: "refusal-unproven-commits", run: refusal::unproven_commits },
    Scenario { name: "refusal-remote-gone", run: refusal::remote_gone },
    Scenario { name: "refusal-unsound-repo", run: refusal::unsound_repo },
    Scenario { name: "maintenance-contains-a-break-in", run: maintenance::contains_a_break_in },
    Scenario { name: "metrics-and-reports-of-the-package", run: metrics::are_told },
    Scenario { name: "updates-are-counted", run: updates::are_counted },
    Scenario { name: "surroundings-listeners", run: surroundings::listeners_are_found },
    Scenario { name: "surroundings-live-sessions", run: surroundings::sessions_are_found },
    Scenario { name: "surroundings-other-firewalls", run: surroundings::other_firewalls_are_found },
    Scenario { name: "surroundings-published-ports", run: surroundings::published_ports_are_found },
    Scenario { name: "converge-first", run: converge::first_converge },
    Scenario { name: "converge-later-commit", run: converge::later_commit },
    Scenario { name: "converge-example-repo", run: converge::example_repo },
    Scenario { name: "no-log-no-change", run: faults::no_log_no_change },
    Scenario { name: "reading-changes-nothing", run: converge::reading_changes_nothing },
    Scenario { name: "converge-http-remote", run: converge::http_remote },
    Scenario { name: "converge-ssh-remote", run: converge::ssh_remote },
    Scenario { name: "removes-only-what-it-owns", run: drift::removes_only_what_it_owns },
    Scenario { name: "refused-content-keeps-the-old", run: drift::refused_content_keeps_the_old },
    Scenario { name: "harness-boots-and-reboots", run: harness::boots_and_reboots },
    Scenario { name: "harness-joins-hosts", run: harness::joins_hosts },
    Scenario { name: "harness-serves-git", run: harness::serves_git },
];
