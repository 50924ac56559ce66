// SPDX-License-Identifier: Apache-2.0
use super::*;

/// Metrics in which all is known.
fn whole() -> Metrics {
    let at = |seconds| UNIX_EPOCH + Duration::from_millis(seconds);
    Metrics {
        host: "web1".to_owned(),
        fleet: "a \"fleet\"\\".to_owned(),
        git_ref: "refs/heads/main".to_owned(),
        commit: Some("4eba289bc64d885684246d34080b7eea6fba4566".to_owned()),
        policy_version: Some(7),
        state: "failing".to_owned(),
        problems: BTreeMap::from([(("step-failed".to_owned(), "step"), 2)]),
        findings: BTreeMap::from([("published-port", 2)]),
        bans: BTreeMap::from([("fail2ban".to_owned(), 3)]),
        last_pull: Some(at(1_763_850_000_000)),
        last_cycle: Some(at(1_763_850_000_250)),
        objects: BTreeMap::from([(("file".to_owned(), "declared"), 3), (("user".to_owned(), "failing"), 2)]),
        counts: Counts {
            started: Some(at(1_763_840_000_000)),
            alive: Some(at(1_763_850_001_000)),
            last_success: Some(at(1_763_849_000_000)),
            cycles: BTreeMap::from([("converged".to_owned(), 5), ("failing".to_owned(), 1)]),
            cycle_time: Duration::from_millis(1500),
            last_cycle_time: Duration::from_millis(250),
            drift_repaired: 4,
            steps: BTreeMap::from([("done", 9), ("failed", 2)]),
            refusals: BTreeMap::from([("unsigned".to_owned(), 1)]),
            fetch_failures: 3,
        },
        held: BTreeSet::from(["pause"]),
        newest_statement: Some(at(1_763_800_000_000)),
        statement_max_age: Some(Duration::from_secs(172_800)),
        reboot_needed: Some(true),
        pending_updates: BTreeMap::from([("kept-back", 0), ("other", 9), ("security", 3)]),
        package_lists: Some(at(1_763_800_000_000)),
        secrets_due: BTreeMap::from([("file:/etc/shop.token".to_owned(), at(1_800_000_000_000))]),
        secrets_warn: BTreeMap::from([("file:/etc/shop.token".to_owned(), at(1_799_000_000_000))]),
        audit_entries: Some(40),
        audit_unexported: Some(2),
        spool: Some(Spool { waiting: 1, lost: 0 }),
        courier_up: Some(true),
    }
}

/// The families of a page, by their `TYPE` lines.
fn families_of(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn when_all_is_known_every_family_is_written_once() {
    let page = whole().render();
    let mut written = families_of(&page);
    written.sort_unstable();
    let mut known: Vec<_> = family::ALL.iter().map(|family| family.name).collect();
    known.sort_unstable();
    assert_eq!(written, known);
}

#[test]
fn the_page_says_what_the_metrics_hold() {
    let page = whole().render();
    for line in [
        r#"hostwrit_host_info{host="web1",fleet="a \"fleet\"\\",ref="refs/heads/main"} 1"#,
        r#"hostwrit_commit_info{commit="4eba289bc64d885684246d34080b7eea6fba4566"} 1"#,
        r#"hostwrit_health{state="converged"} 0"#,
        r#"hostwrit_health{state="failing"} 1"#,
        r#"hostwrit_problems{code="step-failed",sort="step"} 2"#,
        r#"hostwrit_findings{code="published-port"} 2"#,
        r#"hostwrit_findings{code="foreign-drop"} 0"#,
        r#"hostwrit_bans{program="fail2ban"} 3"#,
        "hostwrit_last_cycle_timestamp_seconds 1763850000.25",
        r#"hostwrit_cycles_total{state="last-good"} 0"#,
        "hostwrit_cycle_duration_seconds_sum 1.5",
        "hostwrit_cycle_duration_seconds_count 6",
        r#"hostwrit_objects{kind="file",state="declared"} 3"#,
        r#"hostwrit_steps_total{result="skipped"} 0"#,
        r#"hostwrit_pending_updates{sort="security"} 3"#,
        r#"hostwrit_pending_updates{sort="kept-back"} 0"#,
        "hostwrit_package_lists_timestamp_seconds 1763800000",
        r#"hostwrit_held{by="pause"} 1"#,
        r#"hostwrit_held{by="guard"} 0"#,
        r#"hostwrit_secret_due_timestamp_seconds{secret="file:/etc/shop.token"} 1800000000"#,
        r#"hostwrit_secret_warn_timestamp_seconds{secret="file:/etc/shop.token"} 1799000000"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\nis not in\n{page}");
    }
}

#[test]
fn what_is_not_known_has_no_series() {
    let page = Metrics::default().render();
    for family in [
        &family::SECRET_DUE,
        &family::SECRET_WARN,
        &family::COURIER_UP,
        &family::PENDING_UPDATES,
        &family::PACKAGE_LISTS,
        &family::COMMIT_INFO,
        &family::SPOOL_LOST,
    ] {
        assert!(!page.contains(family.name), "{}", family.name);
    }
}

#[test]
fn every_family_keeps_to_the_conventions() {
    for family in family::ALL {
        let name = family.name;
        assert!(name.starts_with("hostwrit_") && family.help.ends_with('.'), "{name}");
        assert_eq!(family.kind == family::Kind::Counter, name.ends_with("_total"), "{name}");
    }
}

/// Another judge than our own eyes: Prometheus itself.
#[test]
#[allow(clippy::disallowed_methods, clippy::print_stdout, reason = "runs promtool, and says so if it cannot")]
fn promtool_accepts_the_page() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let tool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut tool) = tool else {
        assert!(std::env::var_os("CI").is_none(), "promtool is not installed (package prometheus)");
        println!("SKIP: promtool does not check metrics: it is not installed (package prometheus)");
        return;
    };
    tool.stdin.take().unwrap().write_all(whole().render().as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
