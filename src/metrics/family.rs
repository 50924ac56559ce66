// SPDX-License-Identifier: Apache-2.0
//! Every metric there is: name, type, labels and help. Dashboards and alerts of others rely on the names.

/// One metric and its series.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    /// The names of its labels, in the order in which they are written.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, and begins at 0 when the daemon starts.
    Counter,
    Gauge,
    /// `NAME_sum` and `NAME_count`.
    Summary,
}

impl Kind {
    /// Returns the word of the exposition format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
        }
    }
}

/// Declares the families once, each as a constant and in the list of all.
macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal $labels:expr, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Family = Family { name: $name, kind: Kind::$kind, labels: &$labels, help: $help };
        )+

        /// Every family, in the order in which they are written.
        pub const ALL: &[Family] = &[$($constant,)+];
    };
}

families! {
    BUILD_INFO = Gauge "hostwrit_build_info" ["version"], "The version that runs; always 1.";
    HOST_INFO = Gauge "hostwrit_host_info" ["host", "fleet", "ref"], "The host's name in the infra repo, its fleet and the ref that it obeys; always 1.";
    START_TIME = Gauge "hostwrit_start_timestamp_seconds" [], "When the daemon started; counters begin at 0 then.";
    COMMIT_INFO = Gauge "hostwrit_commit_info" ["commit"], "The commit that is enforced; always 1. Absent until a commit was accepted.";
    POLICY_VERSION = Gauge "hostwrit_policy_version" [], "The version of the policy under which the last commit was accepted.";
    HEALTH = Gauge "hostwrit_health" ["state"], "1 for the state that the last cycle came to, 0 for all others.";
    PROBLEMS = Gauge "hostwrit_problems" ["code", "sort"], "Problems that the last cycle found, by code. Codes without a problem are absent.";
    FINDINGS = Gauge "hostwrit_findings" ["code"], "What the last cycle found around what is declared, by code; 0 for those that it did not find.";
    BANS = Gauge "hostwrit_bans" ["program"], "Addresses and networks that another program banned when the last cycle ended. Absent for one that has no set in nftables.";
    ALIVE = Gauge "hostwrit_alive_timestamp_seconds" [], "When the daemon last pulled and did what was to be done, if only to find that nothing was.";
    LAST_PULL = Gauge "hostwrit_last_pull_timestamp_seconds" [], "When the remote last answered a pull. Absent until it has since boot.";
    LAST_CYCLE = Gauge "hostwrit_last_cycle_timestamp_seconds" [], "When the last cycle ended. A pull that finds nothing new needs no cycle.";
    LAST_SUCCESS = Gauge "hostwrit_last_success_timestamp_seconds" [], "When the host was last known to agree with the remote's tip. Absent until it has since boot.";
    CYCLES = Counter "hostwrit_cycles_total" ["state"], "Cycles, by the state that they came to.";
    CYCLE_SECONDS = Summary "hostwrit_cycle_duration_seconds" [], "How long cycles took.";
    LAST_CYCLE_SECONDS = Gauge "hostwrit_last_cycle_duration_seconds" [], "How long the last cycle took.";
    OBJECTS = Gauge "hostwrit_objects" ["kind", "state"], "Objects by kind. declared: the repo asks for it. failing: differs although it was to be changed. reported: differs and is only observed. held: differs and is left alone during maintenance. unmanaged: left the repo and was not made by hostwrit.";
    DRIFT_REPAIRED = Counter "hostwrit_drift_repaired_total" [], "Steps that put back what had changed without a commit.";
    STEPS = Counter "hostwrit_steps_total" ["result"], "Steps, by how they ended.";
    REFUSALS = Counter "hostwrit_refusals_total" ["code"], "Times that the remote's tip began to be refused, by code.";
    FETCH_FAILURES = Counter "hostwrit_fetch_failures_total" [], "Cycles in which the remote could not be pulled.";
    HELD = Gauge "hostwrit_held" ["by"], "1 where changes are held back, by what holds them.";
    NEWEST_STATEMENT = Gauge "hostwrit_newest_statement_timestamp_seconds" [], "The newest time that a trusted key has signed for.";
    STATEMENT_MAX_AGE = Gauge "hostwrit_statement_max_age_seconds" [], "How old the newest statement may be by the policy. Absent where the policy has no freshness.";
    REBOOT_NEEDED = Gauge "hostwrit_reboot_needed" [], "1 where a package asked for a reboot (/run/reboot-required), or another kernel is booted next than runs. Absent where neither can be told.";
    PENDING_UPDATES = Gauge "hostwrit_pending_updates" ["sort"], "Packages of which apt knows a newer version, by what it would do. Absent where it is not known.";
    PACKAGE_LISTS = Gauge "hostwrit_package_lists_timestamp_seconds" [], "When the newest of apt's package lists was made. Absent where it is not known.";
    SECRET_DUE = Gauge "hostwrit_secret_due_timestamp_seconds" ["secret"], "When a secret must have been replaced. Absent where it is not known.";
    SECRET_WARN = Gauge "hostwrit_secret_warn_timestamp_seconds" ["secret"], "From when on somebody is to be told that a secret must be replaced. Absent where that is not known.";
    AUDIT_ENTRIES = Gauge "hostwrit_audit_entries" [], "Number of the last entry of the audit log.";
    AUDIT_UNEXPORTED = Gauge "hostwrit_audit_unexported_entries" [], "Entries of the audit log that no other machine has yet. Absent where nothing exports them.";
    SPOOL_WAITING = Gauge "hostwrit_spool_waiting_reports" [], "Reports that wait to be sent. Absent where none are sent.";
    SPOOL_LOST = Counter "hostwrit_spool_lost_reports_total" [], "Reports that were dropped because the spool was full or a receiver refused them. Absent where none are sent.";
    COURIER_UP = Gauge "hostwrit_courier_up" [], "1 where the courier answered in the last cycle.";
}
