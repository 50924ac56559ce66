// SPDX-License-Identifier: Apache-2.0
//! Alert rules and dashboard name metrics that there are, and Prometheus itself finds the rules to do what they say.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "reads the project's own files, runs promtool and says so if it cannot"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use hostwrit::metrics::family::{ALL, Kind};
use hostwrit::metrics::serve::{Listener, Published, serve};
use hostwrit::metrics::{FINDINGS, HOLDERS, Metrics, RESULTS, SORTS, STATES, UPDATES};
use serde_json::{Value, json};

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(packaging(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    hostwrit::yaml::read(path, read(path).as_bytes()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Every name of a series that hostwrit can write.
fn known() -> BTreeSet<String> {
    let series = |name: &str, kind| match kind {
        Kind::Summary => vec![format!("{name}_sum"), format!("{name}_count")],
        _ => vec![name.to_owned()],
    };
    ALL.iter().flat_map(|family| series(family.name, family.kind)).collect()
}

/// The names of series in an expression.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("hostwrit_")).map(str::to_owned).collect()
}

/// Every `label="value"` in an expression whose values hostwrit chooses.
fn selected(expression: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("=\"") {
        let label: String = expression[..at].chars().rev().take_while(|c| c.is_ascii_lowercase()).collect();
        let value = expression[at + 2..].split('"').next().unwrap();
        found.push((label.chars().rev().collect(), value.to_owned()));
    }
    found
}

fn texts<'v>(value: &'v Value, key: &str, into: &mut Vec<&'v str>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get(key).and_then(Value::as_str));
            map.values().for_each(|value| texts(value, key, into));
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, into)),
        _ => {}
    }
}

fn rules() -> Vec<Value> {
    yaml("prometheus/alerts.yaml")["groups"][0]["rules"].as_array().unwrap().clone()
}

fn expressions() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("grafana/hostwrit.json")).unwrap();
    let mut shown = Vec::new();
    for key in ["expr", "definition"] {
        texts(&dashboard, key, &mut shown);
    }
    assert!(shown.len() > 20, "the dashboard's expressions are not where this test looks for them");
    let alerts =
        rules().iter().map(|rule| ("alerts.yaml".to_owned(), rule["expr"].as_str().unwrap().to_owned())).collect();
    let shown = shown.into_iter().map(|text| ("hostwrit.json".to_owned(), text.to_owned()));
    [alerts, shown.collect::<Vec<_>>()].concat()
}

#[test]
fn alerts_and_dashboard_name_only_metrics_that_there_are() {
    let known = known();
    for (file, expression) in expressions() {
        let names = named(&expression);
        assert!(!names.is_empty(), "{file}: {expression} names no metric");
        for name in names {
            assert!(known.contains(&name), "{file} names {name}, which hostwrit does not write");
        }
        let own_words = |label: &str| match label {
            "by" => Some(HOLDERS),
            "result" => Some(RESULTS),
            "sort" if expression.contains("hostwrit_pending_updates") => Some(UPDATES),
            "sort" => Some(SORTS),
            "code" if expression.contains("hostwrit_findings") => Some(FINDINGS),
            "state" if expression.contains("hostwrit_health") => Some(STATES),
            _ => None,
        };
        for (label, value) in selected(&expression) {
            let is_known = own_words(&label).is_none_or(|words| words.contains(&value.as_str()));
            assert!(is_known, "{file}: {label}=\"{value}\" is never written");
        }
    }
}

#[test]
fn the_dashboard_shows_every_metric_that_changes() {
    let dashboard: BTreeSet<String> =
        expressions().iter().filter(|(file, _)| file == "hostwrit.json").flat_map(|(_, text)| named(text)).collect();
    // What is the same for years is told by other series, and from when on a secret is told of by an alert.
    let left_out = [
        "hostwrit_start_timestamp_seconds",
        "hostwrit_policy_version",
        "hostwrit_cycles_total",
        "hostwrit_secret_warn_timestamp_seconds",
        "hostwrit_audit_entries",
    ];
    let missing: Vec<_> =
        known().into_iter().filter(|name| !dashboard.contains(name) && !left_out.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn panels_of_the_dashboard_have_their_own_ids_and_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(&read("grafana/hostwrit.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{} says nothing of itself", panel["title"]);
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(x < 24 && cells.insert((x, y)), "{} lies over another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn every_alert_is_seen_to_fire_in_a_test_and_says_what_to_do() {
    let tests = yaml("prometheus/alerts_test.yaml");
    let cases =
        tests["tests"].as_array().unwrap().iter().filter_map(|test| test["alert_rule_test"].as_array()).flatten();
    let fires: BTreeSet<&str> = cases
        .filter(|case| !case["exp_alerts"].as_array().unwrap().is_empty())
        .map(|case| case["alertname"].as_str().unwrap())
        .collect();
    let page = fs::read_to_string(packaging("../docs/how-to/monitor.md")).unwrap();
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        assert!(fires.contains(name), "alerts_test.yaml never sees {name} fire");
        assert!(page.contains(&format!("| `{name}` |")), "monitor.md does not say what to do about {name}");
        for key in ["summary", "description"] {
            assert!(rule["annotations"][key].is_string(), "{name} has no {key}");
        }
    }
}

/// Runs promtool; `None`, said aloud, where there is none.
fn promtool(args: &[&str]) -> Option<Output> {
    match Command::new("promtool").args(args).current_dir(packaging("prometheus")).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "promtool cannot be run (package prometheus): {error}");
            println!("SKIP: promtool does not test the alerts: it is not installed (package prometheus)");
            None
        }
    }
}

fn demand(output: Option<Output>) {
    let Some(output) = output else { return };
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn promtool_finds_that_the_alerts_do_what_their_tests_say() {
    demand(promtool(&["test", "rules", "alerts_test.yaml"]));
}

#[test]
fn promtool_understands_every_expression_of_the_dashboard() {
    let rules: Vec<Value> = expressions()
        .into_iter()
        .filter(|(file, text)| file == "hostwrit.json" && !text.starts_with("label_values("))
        .enumerate()
        .map(|(number, (_, text))| {
            let text = text.replace("$__rate_interval", "5m").replace("$fleet", ".*").replace("$host", ".*");
            assert!(!text.contains('$'), "{text} has a variable that this test does not know");
            json!({"record": format!("panel:{number}"), "expr": text})
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("panels.yaml");
    fs::write(&file, json!({"groups": [{"name": "panels", "rules": rules}]}).to_string()).unwrap();
    demand(promtool(&["check", "rules", file.to_str().unwrap()]));
}

/// A Prometheus of its own; ends with its guard.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a host tells in this state.
fn page(host: &str, state: &str) -> Vec<u8> {
    let mut metrics = Metrics {
        host: host.to_owned(),
        fleet: "f".to_owned(),
        git_ref: "refs/heads/main".to_owned(),
        commit: Some("4eba289bc64d885684246d34080b7eea6fba4566".to_owned()),
        state: state.to_owned(),
        ..Metrics::default()
    };
    metrics.counts.alive = Some(SystemTime::now());
    metrics.counts.started = Some(SystemTime::now());
    metrics.render().into_bytes()
}

#[test]
fn a_real_prometheus_takes_what_hosts_tell_and_tells_it_to_fleet() {
    let dir = tempfile::tempdir().unwrap();
    let pages: Vec<Arc<Published>> = vec![Arc::default(), Arc::default()];
    let mut targets = Vec::new();
    for (published, host) in pages.iter().zip(["web1", "web2"]) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        targets.push(listener.local_addr().unwrap().to_string());
        published.put(&page(host, "converged")).unwrap();
        let published = Arc::clone(published);
        thread::spawn(move || serve(&Listener::Tcp(listener), &published));
    }
    let config = json!({
        "global": {"scrape_interval": "500ms"},
        "rule_files": [packaging("prometheus/alerts.yaml")],
        // A target with a label that hostwrit writes too.
        "scrape_configs": [{"job_name": "hosts", "static_configs": [{"targets": targets, "labels": {"host": "rack"}}]}],
    });
    fs::write(dir.path().join("prometheus.yaml"), config.to_string()).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let started = Command::new("prometheus")
        .arg(format!("--config.file={}", dir.path().join("prometheus.yaml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(_running) = started.map(Running) else {
        assert!(std::env::var_os("CI").is_none(), "prometheus cannot be run (package prometheus)");
        println!("SKIP: no real Prometheus is asked: it is not installed (package prometheus)");
        return;
    };

    let deadline = Instant::now() + Duration::from_secs(60);
    let fleet = |expected: &[(&str, &str)]| loop {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostwrit"));
        command.args(["fleet", "--json", "--prometheus", &format!("http://127.0.0.1:{port}")]).current_dir(dir.path());
        let output = command.output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let word = |host: &Value, key: &str| host[key].as_str().unwrap_or_default().to_owned();
        let hosts: Vec<(String, String)> = answer["hosts"]
            .as_array()
            .map(|hosts| hosts.iter().map(|host| (word(host, "host"), word(host, "state"))).collect())
            .unwrap_or_default();
        if hosts.iter().map(|(host, state)| (host.as_str(), state.as_str())).eq(expected.iter().copied()) {
            return output.status.code();
        }
        assert!(Instant::now() < deadline, "{output:?}");
        thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(fleet(&[("web1", "converged"), ("web2", "converged")]), Some(0));
    pages[0].put(&page("web1", "failing")).unwrap();
    pages[1].put(b"").unwrap();
    assert_eq!(fleet(&[("web1", "failing"), ("web2", "gone")]), Some(1));
}
