// SPDX-License-Identifier: Apache-2.0
//! How much one run may take away: what is above it is not begun until a signed commit says so.

use super::site::Site;

/// A host file with so many files on it, and a message of the day that tells one commit from another.
fn files(count: usize, motd: &str) -> String {
    let files: String = (0..count).map(|number| format!("  /srv/{number}: {{content: \"{number}\"}}\n")).collect();
    format!("files:\n  /etc/motd: {{content: \"{motd}\\n\"}}\n{files}")
}

fn left(site: &Site) -> usize {
    std::fs::read_dir(site.path("/srv")).unwrap().count()
}

/// Returns a host with 12 files on it, and a tip that removes all of them.
fn losing() -> Site {
    let site = Site::new(&[("hosts/web1.yaml", &files(12, "one"))]);
    site.converge();
    site.host_file(&files(0, "two"));
    site
}

#[test]
fn a_commit_that_removes_too_much_is_not_begun_and_the_last_good_state_stays_enforced() {
    let site = losing();
    site.put("/etc/motd", "drift\n");
    let plan = site.run(&["plan"]);
    assert_eq!(plan.code, 6, "{plan:?}");
    assert!(plan.stderr.contains("COMMIT2 is not begun: it removes 12 objects, and 10 at a time"), "{plan:?}");
    assert!(plan.stderr.contains("Hostwrit-Allow-Removals: 12"), "{plan:?}");
    assert!(plan.stdout.contains("If it is let through, COMMIT2 brings 13 steps:"), "{plan:?}");
    let json: serde_json::Value = serde_json::from_str(&site.run(&["plan", "--json"]).stdout).unwrap();
    assert!(json["ahead"]["objection"].as_str().unwrap().contains("it removes 12 objects"), "{json}");
    assert_eq!(json["objection"], serde_json::Value::Null);

    for _ in 0..2 {
        let applied = site.run(&["apply"]);
        assert_eq!(applied.code, 6, "{applied:?}");
    }
    assert_eq!((left(&site), site.get("/etc/motd").unwrap().as_str()), (12, "one\n"));
    assert_eq!(site.events("refused"), 1, "it is recorded once");
    let status = site.run(&["status"]);
    assert!(status.stdout.contains("does not follow the remote") && status.stdout.contains("[too-many-removals]"));
    let status: serde_json::Value = serde_json::from_str(&site.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!((&status["health"], &status["held"]), (&"held".into(), &13.into()), "{status}");
}

#[test]
fn a_signed_trailer_lets_it_through_on_whichever_of_the_new_commits() {
    let site = losing();
    assert_eq!(site.run(&["apply"]).code, 6);
    site.repo.commit("They go\n\nHostwrit-Allow-Removals: 12", Some(&site.keys.alice));
    site.repo.commit("Something else", Some(&site.keys.alice));
    site.converge();
    assert_eq!((left(&site), site.get("/etc/motd").unwrap().as_str()), (0, "two\n"));
}

#[test]
fn a_trailer_that_allows_less_or_is_no_number_lets_nothing_through() {
    let site = losing();
    for (trailer, words) in [("11", "and 11 at a time"), ("0", "and 10 at a time"), ("all", "is not a number")] {
        site.repo.commit(&format!("x\n\nHostwrit-Allow-Removals: {trailer}"), Some(&site.keys.alice));
        let applied = site.run(&["apply"]);
        assert_eq!(applied.code, 6, "{applied:?}");
        assert!(applied.stderr.contains(words), "{trailer}: {applied:?}");
        assert_eq!(left(&site), 12);
        site.repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    }
}

#[test]
fn who_may_not_change_the_limit_cannot_go_past_it() {
    let site = losing();
    let policy = std::fs::read_to_string(site.repo.path().join("policy/policy.yaml")).unwrap();
    let policy = policy.replace("version: 1", "version: 2").replace("owners: [alice]", "owners: [alice], ops: [bob]");
    let policy = policy.replace("principals:\n", "principals:\n  bob: {openpgp: [keys/bob.asc]}\n");
    let rules = "rules:\n  - {change: [\"limit:*\", policy], needs: {role: owners}}\n  - {change: [\"*\"], needs: {role: ops}}\n";
    let policy = format!("{}{rules}", policy.split("rules:").next().unwrap());
    site.repo.write("policy/keys/bob.asc", &site.keys.ring.public(&site.keys.mallory));
    site.commit(&[("policy/policy.yaml", &policy), ("hosts/web1.yaml", &files(12, "one"))]);
    site.converge();

    site.repo.write("hosts/web1.yaml", &files(0, "two"));
    site.repo.commit("They go\n\nHostwrit-Allow-Removals: 12", Some(&site.keys.mallory));
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 6, "{applied:?}");
    assert!(applied.stderr.contains("which does not count: it changes limit:removals"), "{applied:?}");
    // Nor raise it.
    site.repo.write("hostwrit.yaml", "format: 1\nfleet: infra.example.org\nlimits: {removals: 12}\n");
    site.repo.commit("More", Some(&site.keys.mallory));
    let applied = site.run(&["apply"]);
    assert_eq!(applied.code, 4, "{applied:?}");
    assert!(applied.stderr.contains("limit:removals on web1"), "{applied:?}");
    assert_eq!(left(&site), 12);
    // Who may says it on top.
    site.repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    site.repo.commit("They go\n\nHostwrit-Allow-Removals: 12", Some(&site.keys.alice));
    site.converge();
    assert_eq!(left(&site), 0);
}

#[test]
fn of_what_two_people_sign_the_trailer_of_the_approval_merge_counts() {
    const TRAILER: &str = "Hostwrit-Allow-Removals: 12";
    const REFUSED: &str = "which does not count: ";
    let site = losing();
    let before = site.repo.id("HEAD~1");
    site.repo.checkout(&before);
    let path = site.repo.path().join("policy/policy.yaml");
    let policy = std::fs::read_to_string(&path).unwrap();
    let policy = policy.replace("version: 1", "version: 2").replace("owners: [alice]", "owners: [alice, bob]");
    let policy = policy.replace("principals:\n", "principals:\n  bob: {openpgp: [keys/bob.asc]}\n");
    let rules = |signers: u8| {
        format!(
            "rules:\n  - {{change: [\"limit:*\", policy], needs: {{role: owners, signers: {signers}}}}}\n  \
             - {{change: [\"*\"], needs: {{role: owners}}}}\n"
        )
    };
    let policy = |signers| format!("{}{}", policy.split("rules:").next().unwrap(), rules(signers));
    site.repo.write("policy/keys/bob.asc", &site.keys.ring.public(&site.keys.mallory));
    let (alice, bob) = (&site.keys.alice, &site.keys.mallory);
    site.repo.write("policy/policy.yaml", &policy(2));
    let base = site.repo.commit("two people", Some(alice));
    let follow = |tip: &str| site.repo.git(&["branch", "--force", "main", tip]);
    follow(&base.to_string());
    site.converge();
    let approve = |branch: &str, message: &str| {
        site.repo.checkout(&base);
        site.repo.git_signed(alice, &["merge", "--quiet", "--no-ff", "-m", message, branch]);
        follow("HEAD");
    };
    let demand_refused = |why: &str| {
        let applied = site.run(&["apply"]);
        assert_eq!((applied.code, left(&site)), (6, 12), "{applied:?}");
        assert!(applied.stderr.contains(REFUSED) && applied.stderr.contains(why), "{applied:?}");
    };

    site.repo.write("hosts/web1.yaml", &files(0, "two"));
    let branch = site.repo.commit(&format!("They go\n\n{TRAILER}"), Some(bob)).to_string();
    // Bob's name alone is under it.
    follow(&branch);
    demand_refused("limit:removals on web1 takes 2 of owners");
    // Alice has approved what it does to the hosts, and says nothing of the limit.
    approve(&branch, "Approved");
    demand_refused("and not the merge that approves it");
    // Not even where the branch gives itself the right, and takes it back.
    site.repo.checkout(&base);
    site.repo.write("policy/policy.yaml", &policy(1).replace("version: 2", "version: 3"));
    site.repo.commit("one is enough", Some(bob));
    site.repo.write("hosts/web1.yaml", &files(0, "two"));
    site.repo.commit(&format!("They go\n\n{TRAILER}"), Some(bob));
    site.repo.write("policy/policy.yaml", &policy(2).replace("version: 2", "version: 3"));
    let sly = site.repo.commit("two again", Some(bob)).to_string();
    approve(&sly, "Approved");
    demand_refused("and not the merge that approves it");

    approve(&branch, &format!("Approved\n\n{TRAILER}"));
    site.converge();
    assert_eq!(left(&site), 0);
}

#[test]
fn the_limit_is_that_of_the_commit() {
    let site = losing();
    site.commit(&[("hostwrit.yaml", "format: 1\nfleet: infra.example.org\nlimits: {removals: 12}\n")]);
    site.converge();
    assert_eq!(left(&site), 0);
    let site = Site::new(&[("hosts/web1.yaml", &files(3, "one"))]);
    site.converge();
    site.commit(&[
        ("hostwrit.yaml", "format: 1\nfleet: infra.example.org\nlimits: {removals: 2}\n"),
        ("hosts/web1.yaml", &files(0, "two")),
    ]);
    assert_eq!(site.run(&["apply"]).code, 6);
    assert_eq!(left(&site), 3);
}

#[test]
fn drift_above_the_limit_is_told_and_nothing_at_all_is_changed() {
    let site = Site::new(&[(
        "hosts/web1.yaml",
        "files:\n  /etc/motd: {content: \"one\\n\"}\n  /srv/exact: {type: directory, exact: true}\n",
    )]);
    site.converge();
    (0..11).for_each(|number| site.put(&format!("/srv/exact/{number}"), "x"));
    site.put("/etc/motd", "drift\n");
    for command in ["plan", "apply", "apply"] {
        let ran = site.run(&[command]);
        assert_eq!(ran.code, 6, "{ran:?}");
        assert!(ran.stderr.contains("nothing is changed: it removes 11 objects"), "{ran:?}");
    }
    assert_eq!(site.get("/etc/motd").unwrap(), "drift\n");
    assert_eq!(site.events("refused"), 1, "it is recorded once");
    let status = site.run(&["status"]);
    assert!(status.stdout.contains("stays as it is, and something is held"), "{status:?}");
    site.repo.commit("Sweep\n\nHostwrit-Allow-Removals: 11", Some(&site.keys.alice));
    site.converge();
    assert_eq!(site.get("/etc/motd").unwrap(), "one\n");
    assert_eq!(std::fs::read_dir(site.path("/srv/exact")).unwrap().count(), 0);
}

#[test]
fn what_was_allowed_stays_allowed_when_the_run_was_cut_short() {
    let site = losing();
    site.repo.commit("They go\n\nHostwrit-Allow-Removals: 12", Some(&site.keys.alice));
    super::faults::kill_at_write_of_apply(&site, 12);
    assert!((1..12).contains(&left(&site)), "{}", left(&site));
    site.converge();
    assert_eq!(left(&site), 0);
}
