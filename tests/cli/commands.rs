// SPDX-License-Identifier: Apache-2.0

use super::site::{program, ran};
use super::{HOST, is_valid, shown, site};

#[test]
fn plan_apply_status_why_and_verify_tell_one_story() {
    let site = site();
    insta::assert_snapshot!(shown(&site.run(&["status"])), @r"
    web1: no cycle has run since the host started.
    --- exit code 0
    ");
    insta::assert_snapshot!(shown(&site.run(&["why", "file:/etc/motd"])), @r"
    --- stderr
    Error: no commit was accepted yet; run `hostwrit apply` first
    --- exit code 1
    ");
    insta::assert_snapshot!(shown(&site.run(&["apply"])), @r"
    + user:deploy  uid, group, home, shell, password
    ~ file:/etc/motd  content
    2 steps done: web1 agrees with COMMIT1.
    --- exit code 0
    ");
    insta::assert_snapshot!(shown(&site.run(&["plan"])), @r"
    Only reported (observe: true):
    + file:/etc/issue  type file, content 73cb3858a687 (2 bytes), mode 0644  [hosts/web1.yaml:5]
    web1 agrees with COMMIT1: 3 objects, nothing to do.
    --- exit code 0
    ");
    insta::assert_snapshot!(shown(&site.run(&["status"])), @r"
    web1 agrees with the remote
      commit      COMMIT1
      remote      REPO refs/heads/main
      objects     3
      last cycle  TIME, 2 steps
      differ, only reported
        file:/etc/issue
    --- exit code 0
    ");
    insta::assert_snapshot!(shown(&site.run(&["audit", "verify"])), @r"
    /var/log/hostwrit/audit/log.jsonl is intact: 7 entries, head DIGEST
    --- exit code 0
    ");
    site.put("/etc/motd", "drift\n");
    insta::assert_snapshot!(shown(&site.run(&["plan"])), @r"
    ~ file:/etc/motd   content deed8a1aab1c (6 bytes) -> 8fe1fe5bcc69 (18 bytes)  [hosts/web1.yaml:4]
        @@ -1 +1 @@
        -drift
        +Kept by hostwrit.
    Only reported (observe: true):
    + file:/etc/issue  type file, content 73cb3858a687 (2 bytes), mode 0644  [hosts/web1.yaml:5]
    1 step to make web1 agree with COMMIT1. `hostwrit apply` carries it out.
    --- exit code 3
    ");
    site.converge();
    insta::assert_snapshot!(shown(&site.run(&["why", "file:/etc/motd"])), @r"
    file:/etc/motd
      declared  hosts/web1.yaml:4
        content      hosts/web1.yaml:4
      commit    COMMIT1
        COMMIT1 signed by alice (openpgp:ALICE)
      changed   TIME, alter of content, for commit COMMIT1 (log entry 4)
      drifted   TIME, alter of content, for commit COMMIT1 (log entry 9)
    --- exit code 0
    ");
    insta::assert_snapshot!(shown(&site.run(&["why", "file:/etc/none"])), @r"
    --- stderr
    Error: the repo does not declare file:/etc/none for web1; it declares file:/etc/issue, file:/etc/motd
    --- exit code 1
    ");
}

#[test]
fn json_is_as_its_schema_says() {
    let site = site();
    let plan = is_valid("plan", &site.run(&["plan", "--json"]).stdout);
    assert_eq!(plan["steps"][0]["object"], "user:deploy");
    assert_eq!(plan["reported"][0]["object"], "file:/etc/issue");
    site.converge();
    assert_eq!(is_valid("plan", &site.run(&["plan", "--json"]).stdout)["steps"], serde_json::json!([]));
    let status = is_valid("status", &site.run(&["status", "--json"]).stdout);
    assert_eq!((&status["health"], &status["done"]), (&"converged".into(), &2.into()));
    let why = is_valid("why", &site.run(&["why", "--json", "user:deploy"]).stdout);
    assert_eq!(why["signers"][0]["principal"], "alice");
    let verified = is_valid("audit-verify", &site.run(&["audit", "verify", "--json"]).stdout);
    assert_eq!(verified["problems"], serde_json::json!([]));
    let repo = site.repo.path().to_str().unwrap();
    let checked = is_valid("check", &ran(&mut program(&["check", "--json", repo])).stdout);
    assert_eq!(checked["hosts"], 1);
}

#[test]
fn the_owner_of_a_host_without_a_cycle_gets_null() {
    assert_eq!(site().run(&["status", "--json"]).stdout, "null\n");
}

#[test]
fn a_refused_tip_is_told_with_what_stays_in_force() {
    let site = site();
    site.converge();
    site.repo.commit("unsigned", None);
    insta::assert_snapshot!(shown(&site.run(&["plan"])), @r"
    Only reported (observe: true):
    + file:/etc/issue  type file, content 73cb3858a687 (2 bytes), mode 0644  [hosts/web1.yaml:5]
    web1 agrees with COMMIT1: 3 objects, nothing to do.
    --- stderr
    Warning: commit COMMIT2 refused (unsigned): it carries no signature
      sign it: git commit --amend -S, or git rebase --exec 'git commit --amend --no-edit -S' for several
      the last good commit COMMIT1 stays enforced
    --- exit code 4
    ");
    insta::assert_snapshot!(shown(&site.run(&["apply"])), @r"
    web1 agrees with COMMIT1: 3 objects, nothing to do.
    --- stderr
    Warning: commit COMMIT2 refused (unsigned): it carries no signature
      sign it: git commit --amend -S, or git rebase --exec 'git commit --amend --no-edit -S' for several
      the last good commit COMMIT1 stays enforced
    --- exit code 4
    ");
    insta::assert_snapshot!(shown(&site.run(&["status"])), @r"
    web1 agrees with the last good commit, and does not follow the remote
      commit      COMMIT1
      remote      REPO refs/heads/main
      objects     3
      last cycle  TIME, 0 steps
      problems
        commit COMMIT2 refused (unsigned): it carries no signature
          sign it: git commit --amend -S, or git rebase --exec 'git commit --amend --no-edit -S' for several [unsigned]
      differ, only reported
        file:/etc/issue
    --- exit code 0
    ");
    is_valid("status", &site.run(&["status", "--json"]).stdout);
    is_valid("plan", &site.run(&["plan", "--json"]).stdout);
}

#[test]
fn a_step_that_fails_is_told_with_its_reason() {
    let site = site();
    site.host_file("files:\n  /srv/none/a: {content: x}\n");
    insta::assert_snapshot!(shown(&site.run(&["apply"])), @r"
    + file:/srv/none/a  type, content, mode
      failed: the directory /srv/none does not exist; declare file:/srv/none with type: directory
    0 steps done, 1 failed, 0 skipped: web1 does not agree with COMMIT2 yet.
    --- stderr
    Warning: file:/srv/none/a still differs; `hostwrit plan` shows how
    --- exit code 1
    ");
    insta::assert_snapshot!(shown(&site.run(&["status"])), @r"
    web1 does not agree
      commit      COMMIT2
      remote      REPO refs/heads/main
      objects     1
      last cycle  TIME, 0 steps
      problems
        file:/srv/none/a: the directory /srv/none does not exist; declare file:/srv/none with type: directory [step-failed]
    --- exit code 0
    ");
}

#[test]
fn check_tells_every_fault_and_where() {
    let site = site();
    let repo = site.repo.path().to_str().unwrap();
    insta::assert_snapshot!(shown(&site.tidy(ran(&mut program(&["check", repo])))), @r"
    The repo is sound: 3 objects on 1 host.
    --- exit code 0
    ");
    site.repo.write("hosts/web1.yaml", &HOST.replace("password", "pasword").replace("content", "contents"));
    insta::assert_snapshot!(shown(&site.tidy(ran(&mut program(&["check", repo])))), @r#"
    hosts/web1.yaml:2:23: unknown key "pasword"
      did you mean "password"?
    hosts/web1.yaml:4:15: unknown key "contents"
      did you mean "content"?
    hosts/web1.yaml:5:16: unknown key "contents"
      did you mean "content"?
    --- stderr
    3 faults.
    --- exit code 5
    "#);
    let checked = ran(&mut program(&["check", "--json", repo]));
    assert_eq!(checked.code, 5);
    is_valid("check", &checked.stdout);
}

#[test]
fn a_damaged_log_is_told_line_by_line() {
    let site = site();
    site.converge();
    let log = site.log().replacen("\"event\":\"planned\"", "\"event\":\"plonned\"", 1);
    site.put(hostwrit::audit::LOG, &log);
    let verified = site.run(&["audit", "verify"]);
    assert_eq!(verified.code, 1);
    insta::assert_snapshot!(shown(&verified), @r"
    /var/log/hostwrit/audit/log.jsonl: line 3: the entry before it was changed, removed or put here: this one was written after DIGEST, and what stands there now is DIGEST
    --- exit code 1
    ");
    let copy = site.path("/copy.jsonl");
    std::fs::write(&copy, log).unwrap();
    assert_eq!(site.run(&["audit", "verify", copy.to_str().unwrap()]).code, 1);
    assert_eq!(site.run(&["audit", "verify", "/none/such"]).code, 2);
}

#[test]
fn every_schema_is_printed() {
    let listed = ran(&mut program(&["schema"]));
    insta::assert_snapshot!(shown(&listed), @r"
    audit-verify
    check
    config
    doctor
    fleet
    host
    hostwrit
    order
    plan
    policy
    profile
    report
    revocations
    status
    trust-log
    trust-show
    trust-verify
    why
    --- exit code 0
    ");
    for name in listed.stdout.lines() {
        let printed: serde_json::Value = serde_json::from_str(&ran(&mut program(&["schema", name])).stdout).unwrap();
        assert!(jsonschema::meta::is_valid(&printed), "{name}");
    }
    insta::assert_snapshot!(shown(&ran(&mut program(&["schema", "hots"]))), @r#"
    --- stderr
    Error: there is no schema "hots"; there are audit-verify, check, config, doctor, fleet, host, hostwrit, order, plan, policy, profile, report, revocations, status, trust-log, trust-show, trust-verify, why
    --- exit code 2
    "#);
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    for args in [&[][..], &["aply"], &["plan", "--jsn"], &["why"], &["why", "motd"], &["init", "x"], &["--root"]] {
        let ran = ran(&mut program(args));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}: {ran:?}");
    }
    let nowhere = ran(&mut program(&["--root", "/none/such", "plan"]));
    assert_ne!(nowhere.code, 0);
    assert!(nowhere.stderr.contains("/none/such"), "{nowhere:?}");
}

#[test]
fn help_lists_the_exit_codes() {
    let help = ran(&mut program(&["--help"]));
    assert_eq!(help.code, 0);
    for code in ["0  done", "1  a step failed", "2  the command line", "3  changes", "4  refused", "5  the infra repo"]
    {
        assert!(help.stdout.contains(code), "{}", help.stdout);
    }
}
