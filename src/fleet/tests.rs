// SPDX-License-Identifier: Apache-2.0
use std::time::Duration;

use super::gather::of_samples;
use super::prometheus::Sample;
use super::*;
use crate::metrics::Metrics;

const NOW: f64 = 1_763_850_000.0;

/// Returns the series of a page of metrics, as Prometheus has them after it asked a target.
fn scraped(page: &str, target: &[(&str, &str)]) -> Vec<Sample> {
    let mut samples = Vec::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let own = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let own = own.map(|label| label.split_once("=\"").unwrap());
        let mut all: BTreeMap<String, String> =
            target.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        for (label, value) in own {
            let value = value.trim_end_matches('"').to_owned();
            let label = if all.contains_key(label) { format!("exported_{label}") } else { label.to_owned() };
            all.insert(label, value);
        }
        all.insert("__name__".to_owned(), name.to_owned());
        samples.push(Sample { labels: all, asked: NOW, value: value.parse().unwrap() });
    }
    samples
}

/// What a host tells whose daemon last pulled so many seconds ago.
fn page(host: &str, state: &str, age: u64, change: impl FnOnce(&mut Metrics)) -> String {
    let at = |seconds| std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    let mut metrics = Metrics {
        host: host.to_owned(),
        fleet: "f".to_owned(),
        git_ref: "refs/heads/main".to_owned(),
        commit: Some("4eba289bc64d885684246d34080b7eea6fba4566".to_owned()),
        state: state.to_owned(),
        ..Metrics::default()
    };
    metrics.counts.started = Some(at(host.len() as u64 + 1_763_000_000));
    metrics.counts.alive = Some(at(NOW as u64 - age));
    metrics.counts.last_success = Some(at(NOW as u64 - 2 * age));
    change(&mut metrics);
    metrics.render()
}

fn question() -> Question {
    Question { fleet: None, silent_after: Duration::from_secs(3600) }
}

fn states(fleet: &Fleet) -> Vec<(&str, State)> {
    fleet.hosts.iter().map(|host| (host.host.as_str(), host.state)).collect()
}

#[test]
fn a_host_is_what_its_page_says() {
    let page = page("web1", "failing", 60, |metrics| {
        metrics.problems =
            [(("step-failed".to_owned(), "step"), 2), (("unsigned".to_owned(), "refusal"), 1)].into_iter().collect();
        metrics.findings = [("published-port", 2)].into();
        metrics.held = ["pause"].into();
        metrics.reboot_needed = Some(true);
        metrics.pending_updates = [("security", 3), ("other", 5)].into();
    });
    let fleet = of_samples(&scraped(&page, &[("instance", "10.0.0.1:9100"), ("job", "node")]), &[], &question());
    let expected = Host {
        instance: Some("10.0.0.1:9100".to_owned()),
        commit: Some("4eba289bc64d885684246d34080b7eea6fba4566".to_owned()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        age: Some(60),
        success_age: Some(120),
        problems: [("step-failed".to_owned(), 2), ("unsigned".to_owned(), 1)].into(),
        findings: [("published-port".to_owned(), 2)].into(),
        refuses: true,
        held: vec!["pause".to_owned()],
        reboot_needed: true,
        security_updates: Some(3),
        ..Host::named("f", "web1", State::Failing)
    };
    assert_eq!(fleet.hosts, [expected]);
}

#[test]
fn hosts_are_told_apart_by_where_they_are_asked() {
    let mut samples = scraped(&page("web1", "converged", 60, |_| ()), &[("instance", "a")]);
    samples.extend(scraped(&page("db01x", "last-good", 60, |_| ()), &[("instance", "b")]));
    samples.extend(scraped(&page("old", "converged", 3601, |_| ()), &[("instance", "c")]));
    samples.extend(scraped(&page("new", "some-word", 10, |_| ()), &[("instance", "d")]));
    let fleet = of_samples(&samples, &[], &question());
    let expected =
        [("db01x", State::LastGood), ("new", State::Unknown), ("old", State::Silent), ("web1", State::Converged)];
    assert_eq!(states(&fleet), expected);
}

#[test]
fn labels_that_the_target_has_too_are_ours_under_their_other_name() {
    let target = [("instance", "a"), ("host", "rack-7"), ("state", "prod")];
    let fleet = of_samples(&scraped(&page("web1", "converged", 60, |_| ()), &target), &[], &question());
    assert_eq!(states(&fleet), [("web1", State::Converged)]);
    assert!(fleet.hosts[0].commit.is_some(), "series without the label belong to the same target");
}

#[test]
fn one_machine_asked_twice_is_one_host_and_two_of_one_name_are_told() {
    let (file, http) = (page("web1", "failing", 90, |_| ()), page("web1", "converged", 30, |_| ()));
    let mut samples = scraped(&file, &[("instance", "a:9100")]);
    samples.extend(scraped(&http, &[("instance", "a:9731")]));
    let fleet = of_samples(&samples, &[], &question());
    assert_eq!((states(&fleet), fleet.hosts[0].is_doubled), (vec![("web1", State::Converged)], false));

    let copy = page("web1", "converged", 20, |metrics| metrics.counts.started = None);
    samples.extend(scraped(&copy, &[("instance", "b:9100")]));
    let fleet = of_samples(&samples, &[], &question());
    assert_eq!(fleet.hosts.len(), 2);
    assert!(fleet.hosts.iter().all(|host| host.is_doubled), "somebody copied a configuration");
}

#[test]
fn who_told_of_itself_within_a_day_and_does_not_any_more_is_gone() {
    let now = scraped(&page("web1", "converged", 60, |_| ()), &[("instance", "new-address")]);
    let mut earlier = scraped(&page("web1", "converged", 60, |_| ()), &[("instance", "old-address")]);
    earlier.extend(scraped(&page("db1", "converged", 60, |_| ()), &[("instance", "b")]));
    // `last_over_time` may leave the name out.
    earlier.retain(|sample| sample.labels["__name__"] == "hostwrit_host_info");
    earlier.iter_mut().for_each(|sample| drop(sample.labels.remove("__name__")));
    let fleet = of_samples(&now, &earlier, &question());
    assert_eq!(states(&fleet), [("db1", State::Gone), ("web1", State::Converged)]);
    assert_eq!(fleet.hosts[0].instance.as_deref(), Some("b"));
}

#[test]
fn hosts_of_the_repo_that_nobody_knows_are_missing() {
    let now = scraped(&page("web1", "converged", 60, |_| ()), &[("instance", "a")]);
    let mut fleet = of_samples(&now, &[], &question());
    fleet.demand("f", ["db1", "web1"]);
    assert_eq!(states(&fleet), [("db1", State::Missing), ("web1", State::Converged)]);
    fleet.demand("other", ["web1"]);
    assert_eq!(fleet.hosts.len(), 3, "a host of another fleet is another host");
}

#[test]
fn other_fleets_are_left_out_where_one_is_asked_for() {
    let other = page("web9", "failing", 60, |metrics| metrics.fleet = "other".to_owned());
    let mut samples = scraped(&page("web1", "converged", 60, |_| ()), &[("instance", "a")]);
    samples.extend(scraped(&other, &[("instance", "b")]));
    let one = Question { fleet: Some("f".to_owned()), ..question() };
    assert_eq!(states(&of_samples(&samples, &samples, &one)), [("web1", State::Converged)]);
    assert_eq!(of_samples(&samples, &[], &question()).hosts.len(), 2);
}

#[test]
fn series_without_a_host_or_with_strange_values_are_passed_over() {
    let mut samples = scraped(&page("web1", "converged", 60, |_| ()), &[("instance", "a")]);
    samples.retain(|sample| sample.labels["__name__"] != "hostwrit_host_info");
    assert_eq!(of_samples(&samples, &samples, &question()).hosts, []);
    let mut samples = scraped(&page("web1", "converged", 60, |_| ()), &[("instance", "a")]);
    for value in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        samples.iter_mut().for_each(|sample| sample.value = value);
        assert_eq!(of_samples(&samples, &[], &question()).hosts.len(), 1, "{value}");
    }
}
