// SPDX-License-Identifier: Apache-2.0
//! `trust show`, `trust verify`, `trust log`, `heartbeat`, and the warnings of `check`.

use super::site::{program, ran};
use super::team::{POLICY, Team};
use super::{is_valid, shown, site};

#[test]
fn who_may_change_what_is_shown_in_a_clone() {
    let team = Team::new();
    insta::assert_snapshot!(shown(&team.run(&team.ci, &["trust", "show", "."])), @r"
    infra.example.org refs/heads/main, policy version 1, trailers required

    PRINCIPAL  ROLES              KEY                                                     GOOD
    alice      owners             openpgp:ALICE        yes
    bob        owners             ssh:BOB  yes
    ci         (heartbeats only)  ssh:CI  yes

    RULE  NEEDS                     HOSTS  TO CHANGE
    1     2 of owners (alice, bob)  all    policy user:*
    2     1 of owners (alice, bob)  all    *

    Stale after 2days without a signed word; heartbeats by ci
    --- exit code 0
    ");
    let answer = is_valid("trust-show", &team.untidy(&team.ci, &["trust", "show", ".", "--json"]).stdout);
    assert_eq!(answer["policy"]["rules"][0]["members"], serde_json::json!(["alice", "bob"]));
    team.repo.write("policy/policy.yaml", &POLICY.replace("[\"*\"]", "[\"file:*\"]"));
    let shown = team.run(&team.ci, &["trust", "show", "."]).stdout;
    assert!(shown.contains("-     nobody may                all    anything else"), "{shown}");
    team.repo.write("policy/policy.yaml", "format: 1\n");
    assert_eq!(team.run(&team.ci, &["trust", "show", "."]).code, 5);
}

#[test]
fn a_host_shows_the_rules_that_can_matter_there() {
    let site = site();
    let policy = site.repo.path().join("policy/policy.yaml");
    let text = std::fs::read_to_string(policy).unwrap();
    let rule =
        |number: usize, hosts: &str| format!("  - {{change: [\"user:n{number}\"], {hosts}needs: {{role: owners}}}}\n");
    let text = format!("{text}{}{}", rule(1, "hosts: {role: web}, "), rule(2, "hosts: {role: db}, "));
    let host = format!("labels: {{role: web}}\n{}", super::HOST);
    site.commit(&[("policy/policy.yaml", &text), ("hosts/web1.yaml", &host)]);
    assert_eq!(site.run(&["trust", "show"]).code, 1, "nothing was accepted yet");
    site.converge();
    insta::assert_snapshot!(shown(&site.run(&["trust", "show"])), @r"
    web1 obeys COMMIT2, infra.example.org refs/heads/main, policy version 1, trailers optional

    PRINCIPAL  ROLES   KEY                                               GOOD
    alice      owners  openpgp:ALICE  yes

    RULE  NEEDS                HOSTS     TO CHANGE
    1     1 of owners (alice)  all       *
    2     1 of owners (alice)  role=web  user:n1
    --- exit code 0
    ");
    let answer = is_valid("trust-show", &ran(&mut site.command(&["trust", "show", "--json"])).stdout);
    assert_eq!(answer["policy"]["rules"].as_array().unwrap().len(), 2, "{answer}");
}

#[test]
fn verify_names_signers_rules_and_approvals_of_each_commit() {
    let team = Team::new();
    team.repo.write("hosts/web1.yaml", "files:\n  /etc/motd: {content: two}\n");
    team.commit(&team.bob, "Another motd");
    team.propose(&team.alice, "new-user", "carol");
    assert_eq!(team.run(&team.bob, &["approve", "new-user", "--yes"]).code, 0);
    insta::assert_snapshot!(shown(&team.verify(&[])), @r"
    good  <Begin>  alice  where trust begins
    good  <Another motd>  bob    rule 2, bob: file:/etc/motd on web1
    good  <Add carol>  alice  nothing decided here: without effect, or left to an approval
    good  <Approve new-user>  bob    rule 1, alice and bob: user:carol on web1
    --- exit code 0
    ");
    insta::assert_snapshot!(shown(&team.verify(&["HEAD~1..HEAD"])), @r"
    good  <Add carol>  alice  nothing decided here: without effect, or left to an approval
    good  <Approve new-user>  bob    rule 1, alice and bob: user:carol on web1
    --- exit code 0
    ");
    let answer = is_valid("trust-verify", &team.untidy_verify(&["--json"]).stdout);
    assert_eq!(answer["refused"], serde_json::Value::Null);
    insta::assert_snapshot!(shown(&team.verify(&["HEAD..HEAD"])), @r"
    nothing to judge: <Approve new-user> is what was taken as proven
    --- exit code 0
    ");
}

#[test]
fn verify_says_what_is_good_in_spite_of_a_refusal() {
    let team = Team::new();
    team.repo.write("hosts/web1.yaml", "files:\n  /etc/motd: {content: two}\n");
    team.commit(&team.bob, "Another motd");
    team.propose(&team.alice, "new-user", "carol");
    team.git(&team.alice, &["merge", "--quiet", "--no-ff", "-S", "-m", "Merged alone", "new-user"]);
    team.repo.write("files/x", "x");
    team.commit(&team.bob, "Later");
    let refused = team.verify(&[]);
    insta::assert_snapshot!(shown(&refused), @r"
    good     <Begin>  alice  where trust begins
    good     <Another motd>  bob    rule 2, bob: file:/etc/motd on web1
    refused  <Add carol>         needs-approval
    --- stderr
    Error: commit <Add carol> refused (needs-approval): it changes user:carol on web1, which takes 2 of owners (alice, bob) by rule 1; signed by alice
      have another of that role approve the branch: hostwrit approve BRANCH
    --- exit code 4
    ");
    let answer = team.untidy_verify(&["--json"]);
    assert_eq!(answer.code, 4);
    let answer = is_valid("trust-verify", &answer.stdout);
    assert_eq!(answer["refused"]["code"], "needs-approval");
    assert_eq!(answer["good"].as_array().unwrap().len(), 2, "{answer}");

    let stranger = team.bob.name().to_string();
    let root = team.id("HEAD~3");
    let refused = team.run(&team.ci, &["trust", "verify", "--trust-root", &root, "--signer", &stranger]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("(root-signer)"), "{refused:?}");
}

#[test]
fn a_host_verifies_what_it_obeys_and_lists_what_it_accepted_and_refused() {
    let site = site();
    site.converge();
    site.commit(&[("hosts/web1.yaml", &super::HOST.replace("Kept", "Still kept"))]);
    site.converge();
    insta::assert_snapshot!(shown(&site.run(&["trust", "verify"])), @r"
    good  COMMIT1  alice  where trust begins
    good  COMMIT2  alice  rule 1, alice: file:/etc/motd on web1
    --- exit code 0
    ");
    is_valid("trust-verify", &ran(&mut site.command(&["trust", "verify", "--json"])).stdout);
    site.repo.commit("unsigned", None);
    assert_eq!(site.run(&["apply"]).code, 4);
    insta::assert_snapshot!(shown(&site.run(&["trust", "log"])), @r"
    TIME  refused   COMMIT3  unsigned  signed -                     -                                                 -
    TIME  accepted  COMMIT2  alice     signed TIME  openpgp:ALICE  DIGEST
    TIME  accepted  COMMIT1  alice     signed TIME  openpgp:ALICE  DIGEST
    --- exit code 0
    ");
    let lines = is_valid("trust-log", &ran(&mut site.command(&["trust", "log", "--json", "-n", "1"])).stdout);
    assert_eq!((lines.as_array().unwrap().len(), &lines[0]["code"]), (1, &"unsigned".into()));
    // The digest is that of the commit without its signature.
    let lines = is_valid("trust-log", &ran(&mut site.command(&["trust", "log", "--json"])).stdout);
    let raw = site.repo.git(&["cat-file", "commit", lines[1]["commit"].as_str().unwrap()]);
    let (head, rest) = raw.split_once("gpgsig ").unwrap();
    let (_, message) = rest.split_once("-----END PGP SIGNATURE-----\n").unwrap();
    let message = message.trim_start_matches([' ', '\n']);
    let digest = hostwrit::model::Digest::of(format!("{head}\n{message}").as_bytes());
    assert_eq!(lines[1]["payload"], digest.to_string());
}

#[test]
fn a_heartbeat_stands_on_the_tip_and_can_be_pushed() {
    let team = Team::new();
    let remote = tempfile::tempdir().unwrap();
    team.repo.git(&["init", "--quiet", "--bare", remote.path().to_str().unwrap()]);
    let beat = team.run(&team.ci, &["heartbeat", "--push", remote.path().to_str().unwrap()]);
    assert_eq!((beat.code, beat.stdout.as_str()), (0, "<Heartbeat>\n"), "{beat:?}");
    assert_eq!(team.id("refs/hostwrit/heartbeat^"), team.id("main"));
    assert_eq!(team.id("refs/hostwrit/heartbeat^{tree}"), team.id("main^{tree}"));
    let message = team.repo.git(&["log", "-1", "--format=%B", "refs/hostwrit/heartbeat"]);
    let expected =
        "Heartbeat\n\nHostwrit-Repo: infra.example.org\nHostwrit-Ref: refs/hostwrit/heartbeat\nHostwrit-Heartbeat: 2";
    assert!(message.starts_with(expected), "{message}");
    assert!(humantime::parse_rfc3339(message.trim().rsplit(' ').next().unwrap()).is_ok(), "{message}");
    assert!(team.repo.git(&["cat-file", "commit", "refs/hostwrit/heartbeat"]).contains("SSH SIGNATURE"));

    // On a newer tip it is no fast-forward, and is pushed all the same.
    team.commit(&team.alice, "Next");
    assert_eq!(team.run(&team.ci, &["heartbeat", "--push", remote.path().to_str().unwrap()]).code, 0);
    let there = team.repo.git(&["ls-remote", remote.path().to_str().unwrap(), "refs/hostwrit/heartbeat"]);
    assert!(there.starts_with(&team.id("refs/hostwrit/heartbeat")), "{there}");
    assert_eq!(team.id("main"), team.id("HEAD"));
}

#[test]
fn a_heartbeat_is_only_for_what_hosts_follow() {
    let team = Team::new();
    team.repo.git(&["switch", "--quiet", "-c", "feature"]);
    insta::assert_snapshot!(shown(&team.run(&team.ci, &["heartbeat"])), @r"
    --- stderr
    Error: refs/heads/feature is checked out, and hosts follow refs/heads/main; run git switch main
    --- exit code 2
    ");
    team.repo.git(&["switch", "--quiet", "--detach", "main"]);
    assert_eq!(team.run(&team.ci, &["heartbeat"]).code, 0, "CI checks out a commit and no branch");
}

#[test]
fn check_warns_of_keys_that_end_and_of_principals_without_a_role() {
    let team = Team::new();
    assert_eq!(team.run(&team.ci, &["check"]).stderr, "");
    let (soon, later, gone) = (
        team.ring.key_of("soon", "ed25519", "seconds=1000000", &[]),
        team.ring.key_of("later", "ed25519", "40d", &[]),
        team.ring.key_of("gone", "ed25519", "seconds=86400", &["--faked-system-time", "20260101T000000"]),
    );
    let revoked = team.ring.key("revoked");
    team.ring.revoke(&revoked);
    for (name, key) in [("soon", &soon), ("later", &later), ("gone", &gone), ("revoked", &revoked)] {
        team.repo.write(&format!("policy/keys/{name}.asc"), &team.ring.public(key));
    }
    let policy = POLICY.replace("[keys/alice.asc]", "[keys/alice.asc, keys/soon.asc, keys/later.asc, keys/gone.asc]");
    let policy = policy.replace("roles:", "  dave: {openpgp: [keys/revoked.asc]}\nroles:");
    team.repo.write("policy/policy.yaml", &format!("{policy}revoked: [{{key: \"{}\"}}]\n", team.bob.name()));
    let checked = team.run(&team.ci, &["check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let mut text = checked.stderr;
    for (name, key) in [("SOON", &soon), ("GONE", &gone), ("REVOKED", &revoked), ("LATER", &later)] {
        text = text.replace(&key.fingerprint, name);
    }
    let day = text.split("in 11 days, on ").nth(1).unwrap().get(..10).unwrap().to_owned();
    // Sorted by fingerprint, which differs from run to run.
    let text = text.replace(&day, "DAY");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut pairs: Vec<String> = lines.chunks(2).map(<[&str]>::concat).collect();
    pairs.sort();
    insta::assert_snapshot!(pairs.concat(), @r"
    Warning: policy/policy.yaml: dave is in no role, and so may change nothing
      give a role, or take the principal out
    Warning: policy/policy.yaml: openpgp:GONE of alice expired on 2026-01-02
      extend it, commit the new certificate, or take it out
    Warning: policy/policy.yaml: openpgp:REVOKED of dave is revoked
      take it out of principals; leave it under revoked
    Warning: policy/policy.yaml: openpgp:SOON of alice expires in 11 days, on DAY
      extend it and commit the new certificate
    Warning: policy/policy.yaml: ssh:BOB of bob is revoked
      take it out of principals; leave it under revoked
    ");
    let checked = is_valid("check", &team.run(&team.ci, &["check", "--json"]).stdout);
    assert_eq!(checked["warnings"].as_array().unwrap().len(), 5, "{checked}");
    assert_eq!(ran(&mut program(&["check", "example-repo"])).stderr, "");
}
