// SPDX-License-Identifier: Apache-2.0
//! What a host remembers, what it does when that is lost or damaged, and what it must forget.

use super::site::Site;

const STATE: &str = "/var/lib/hostwrit/state.json";
const RECORD_DIR: &str = "/var/lib/hostwrit/record";
const LOG: &str = hostwrit::audit::LOG;
const HOST: &str = "files:\n  /etc/motd: {content: \"good\\n\"}\n  /etc/new: {content: \"new\\n\"}\n";

fn converged() -> Site {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    site.converge();
    site
}

#[test]
fn old_commits_stay_refused_when_the_state_is_lost() {
    let site = converged();
    let old = site.repo.id("HEAD");
    site.host_file("files:\n  /etc/motd: {content: \"next\\n\"}\n");
    site.converge();
    std::fs::remove_file(site.path(STATE)).unwrap();
    site.repo.git(&["reset", "--quiet", "--hard", &old.to_string()]);
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 4, "{applied:?}");
    assert_eq!(site.get("/etc/motd").unwrap(), "next\n");
}

#[test]
fn why_still_names_the_signer_when_the_state_was_lost() {
    let site = converged();
    std::fs::remove_file(site.path(STATE)).unwrap();
    site.converge();
    let why = site.run(&["why", "file:/etc/motd"]);
    assert!(why.stdout.contains("signed by"), "{why:?}");
}

#[test]
fn a_truncated_state_is_an_error_that_says_what_to_do_and_nothing_is_changed() {
    let site = converged();
    let state = site.get(STATE).unwrap();
    site.put("/etc/motd", "drift\n");
    for length in [0, 1, state.len() / 2, state.len() - 1] {
        site.put(STATE, &state[..length]);
        let before = site.listing();
        let applied = site.run(&["apply"]);
        assert_eq!(applied.code, 1, "{applied:?}");
        assert!(applied.stderr.contains("move it away"), "{applied:?}");
        assert_eq!(site.listing(), before);
        let verified = site.run(&["audit", "verify"]);
        assert_eq!(verified.code, 0, "{verified:?}");
        assert!(verified.stderr.starts_with("Warning: the log's end cannot be compared"), "{verified:?}");
    }
    std::fs::rename(site.path(STATE), site.path("/tmp-state")).unwrap();
    site.converge();
    assert_eq!(site.get("/etc/motd").unwrap(), "good\n");
}

/// Returns path and text of the record of the objects. There is one, named by the state.
fn record(site: &Site) -> (String, String) {
    let names: Vec<_> =
        std::fs::read_dir(site.path(RECORD_DIR)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let [name] = names.as_slice() else { panic!("{names:?}") };
    let path = format!("{RECORD_DIR}/{}", name.to_str().unwrap());
    let text = site.get(&path).unwrap();
    (path, text)
}

#[test]
fn a_record_that_is_gone_or_another_is_an_error_that_says_what_to_do_and_nothing_is_changed() {
    let site = converged();
    let (path, text) = record(&site);
    assert!(text.contains("{\"object\":\"file:/etc/new\",\"owned\":[\"whole\"]}\n"), "{text}");
    site.put("/etc/motd", "drift\n");
    let damages: [(&str, &str, Change); 3] = [
        ("gone", "lacks the file", |site| std::fs::remove_file(site.path(&record(site).0)).unwrap()),
        ("cut", "has other content", |site| site.put(&record(site).0, &record(site).1[1..])),
        ("no text", "has other content", |site| std::fs::write(site.path(&record(site).0), [0xff]).unwrap()),
    ];
    for (what, words, damage) in damages {
        damage(&site);
        let before = site.listing();
        let applied = site.run(&["apply"]);
        assert_eq!(applied.code, 1, "{what}: {applied:?}");
        assert!(applied.stderr.contains(words), "{what}: {applied:?}");
        assert!(applied.stderr.contains("move the state away"), "{what}: {applied:?}");
        assert_eq!(site.listing(), before, "{what}");
        site.put(&path, &text);
    }
    site.converge();
    assert_eq!(site.get("/etc/motd").unwrap(), "good\n");
}

#[test]
fn a_record_that_no_state_names_goes_with_the_next_change() {
    let site = converged();
    site.put(&format!("{RECORD_DIR}/stray.jsonl"), "");
    site.host_file("files:\n  /etc/new: {content: \"new\\n\"}\n  /etc/newer: {content: \"newer\\n\"}\n");
    site.converge();
    assert!(record(&site).1.contains("file:/etc/newer"));
    site.host_file("labels: {}\n");
    site.converge();
    assert!(record(&site).1.contains("file:/etc/motd"), "it was there before");
}

#[test]
fn a_torn_tail_of_the_log_is_recorded_and_the_log_stays_intact() {
    let site = converged();
    let log = site.log();
    site.put(LOG, &format!("{log}{{\"seq\":99,\"pre"));
    assert_eq!(site.run(&["audit", "verify"]).code, 1);
    site.put("/etc/motd", "drift\n");
    site.converge();
    assert_eq!(site.events("recovered"), 1);
    assert!(site.log().starts_with(&log));
}

#[test]
fn a_log_cut_at_the_end_of_an_entry_is_found_at_once_and_for_ever() {
    let site = converged();
    let log = site.log();
    let cut = log[..log.len() - 1].rfind('\n').unwrap() + 1;
    site.put(LOG, &log[..cut]);
    let verified = site.run(&["audit", "verify"]);
    assert_eq!(verified.code, 1, "{verified:?}");
    site.put("/etc/motd", "drift\n");
    assert_eq!(site.run(&["apply"]).code, 0);
    assert_eq!(site.events("cut"), 1);
    site.put("/etc/motd", "drift\n");
    assert_eq!(site.run(&["apply"]).code, 0);
    assert_eq!(site.events("cut"), 1, "recorded once");
    assert_eq!(site.run(&["audit", "verify"]).code, 1, "what was cut stays known");
}

#[test]
fn a_log_whose_last_entry_was_rewritten_is_found() {
    let site = converged();
    let log = site.log();
    let last = log.trim_end().rfind('\n').unwrap() + 1;
    let rewritten = format!("{}{}", &log[..last], log[last..].replace("\"time\":\"2", "\"time\":\"1"));
    assert_ne!(rewritten, log);
    site.put(LOG, &rewritten);
    let verified = site.run(&["audit", "verify"]);
    assert_eq!(verified.code, 1, "{verified:?}");
    assert!(verified.stdout.contains("the log was rewritten"), "{verified:?}");
}

#[test]
fn a_log_that_is_gone_is_found() {
    let site = converged();
    std::fs::remove_file(site.path(LOG)).unwrap();
    assert_eq!(site.run(&["audit", "verify"]).code, 1);
}

#[test]
fn what_somebody_removed_before_it_left_the_repo_is_forgotten() {
    let site = converged();
    std::fs::remove_file(site.path("/etc/new")).unwrap();
    site.host_file("labels: {}\n");
    site.converge();
    site.put("/etc/new", "made by hand\n");
    site.converge();
    assert_eq!(site.get("/etc/new").unwrap(), "made by hand\n");
}

#[test]
fn accounts_and_units_that_somebody_removed_before_they_left_the_repo_are_forgotten() {
    let site = Site::new(&[]);
    let accounts = ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"];
    let fresh = accounts.map(|file| site.get(file).unwrap());
    site.host_file(
        "groups: {shop: {gid: 4000}}\nusers: {deploy: {uid: 4001, password: locked}}\n\
         services: {hello: {unit: {content: \"[Service]\\nExecStart=/bin/true\\n\"}}}\n",
    );
    site.converge();
    let unit = "/etc/systemd/system/hello.service";
    let made = accounts.map(|file| site.get(file).unwrap());
    accounts.iter().zip(&fresh).for_each(|(file, text)| site.put(file, text));
    std::fs::remove_file(site.path(unit)).unwrap();
    site.host_file("labels: {}\n");
    site.converge();
    accounts.iter().zip(&made).for_each(|(file, text)| site.put(file, text));
    site.put(unit, "[Service]\nExecStart=/bin/false\n");
    site.converge();
    assert_eq!(accounts.map(|file| site.get(file).unwrap()), made);
    assert!(site.get(unit).is_some());
}

#[test]
fn what_a_failed_step_did_not_make_is_not_owned() {
    let site = Site::new(&[("hosts/web1.yaml", "files:\n  /srv/in/file: {content: x}\n")]);
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 1, "{applied:?}");
    site.put("/srv/in/file", "made by hand\n");
    site.host_file("labels: {}\n");
    site.converge();
    assert_eq!(site.get("/srv/in/file").unwrap(), "made by hand\n");
}

#[test]
fn what_was_never_made_and_what_was_removed_is_not_listed_as_left() {
    let site = Site::new(&[("hosts/web1.yaml", "files:\n  /srv/in/file: {content: x}\n  /etc/motd: {content: x}\n")]);
    assert_eq!(site.run(&["apply"]).code, 1);
    site.host_file("files:\n  /etc/motd: {absent: true}\n");
    site.converge();
    site.host_file("labels: {}\n");
    let plan = site.run(&["plan"]);
    assert!(!plan.stdout.contains("No longer in the repo"), "{plan:?}");
}

#[test]
fn what_is_only_reported_stays_owned() {
    let site = converged();
    site.host_file("files:\n  /etc/new: {absent: true, observe: true}\n  /etc/another: {content: x}\n");
    site.converge();
    assert_eq!(site.get("/etc/new").unwrap(), "new\n");
    site.host_file("labels: {}\n");
    site.converge();
    assert_eq!(site.get("/etc/new"), None);
}

const AGREEMENT: &str = "/var/lib/hostwrit/agreement.json";

/// Lets the kept agreement claim a number of objects that no compilation would give, to see whether it is used.
fn mark(site: &Site) {
    let agreement = site.get(AGREEMENT).unwrap();
    assert!(agreement.contains("\"objects\":2"), "{agreement}");
    site.put(AGREEMENT, &agreement.replace("\"objects\":2", "\"objects\":777"));
}

#[test]
fn a_host_that_still_agrees_is_not_compiled_again() {
    let site = converged();
    mark(&site);
    let planned = site.run(&["plan"]);
    assert_eq!(planned.code, 0, "{planned:?}");
    assert!(planned.stdout.contains("777 objects, nothing to do"), "{planned:?}");
}

type Change = fn(&Site);

#[test]
fn an_agreement_is_not_believed_when_anything_it_depends_on_has_changed() {
    let changes: [(&str, Change, i32); 6] = [
        ("a file", |site| site.put("/etc/motd", "drift\n"), 3),
        ("a file is gone", |site| std::fs::remove_file(site.path("/etc/new")).unwrap(), 3),
        ("a fact", |site| site.put("/etc/os-release", "ID=debian\nVERSION_ID=\"99\"\n"), 0),
        ("the state", |site| site.put(STATE, &site.get(STATE).unwrap().replace("\"format\":1", "\"format\": 1")), 0),
        (
            "the commit",
            |site| {
                site.commit(&[("README", "more\n")]);
            },
            0,
        ),
        ("the agreement", |site| site.put(AGREEMENT, "{}"), 0),
    ];
    for (what, change, code) in changes {
        let site = converged();
        mark(&site);
        change(&site);
        let planned = site.run(&["plan"]);
        assert_eq!(planned.code, code, "{what}: {planned:?}");
        assert!(!planned.stdout.contains("777"), "{what}: {planned:?}");
    }
}

#[test]
fn a_commit_whose_acceptance_was_logged_is_not_gone_back_behind() {
    let site = converged();
    let old = site.repo.id("HEAD");
    let (before, record) = (site.get(STATE).unwrap(), record(&site));
    let between = site.host_file("files:\n  /etc/motd: {content: \"between\\n\"}\n");
    site.host_file("files:\n  /etc/motd: {content: \"next\\n\"}\n");
    site.converge();
    assert_ne!(old, between);
    // As if hostwrit had been killed between the log's entry and the state.
    site.put(STATE, &before);
    site.put(&record.0, &record.1);
    site.repo.git(&["reset", "--quiet", "--hard", &between.to_string()]);
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 4, "{applied:?}");
    assert_eq!(site.get("/etc/motd").unwrap(), "next\n");
}
