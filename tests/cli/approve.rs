// SPDX-License-Identifier: Apache-2.0

use super::shown;
use super::team::Team;

#[test]
fn an_approval_makes_up_the_second_signature() {
    let team = Team::new();
    let base = team.id("HEAD");
    let proposed = team.propose(&team.alice, "new-user", "carol");
    let approved = team.run(&team.bob, &["approve", "new-user", "--yes"]);
    insta::assert_snapshot!(shown(&approved), @r"
    1 commit:
      <Add carol>  alice  Add carol
    What they change, taken together:
      hosts/web1.yaml | 2 ++
      1 file changed, 2 insertions(+)
    Every line of it: git diff <Begin> <Add carol>
    Approved: main is <Approve new-user>
    Push it: git push REMOTE main
    --- exit code 0
    ");
    assert_eq!(team.id("HEAD^1"), base);
    assert_eq!(team.id("HEAD^2"), proposed);
    assert_eq!(team.id("HEAD^{tree}"), team.id("new-user^{tree}"));
    assert_eq!(team.repo.git(&["symbolic-ref", "HEAD"]).trim(), "refs/heads/main");
    assert_eq!(team.repo.git(&["status", "--porcelain"]), "");
    let message = team.repo.git(&["log", "-1", "--format=%B"]);
    let trailers = "Hostwrit-Repo: infra.example.org\nHostwrit-Ref: refs/heads/main\nHostwrit-Seq: 2";
    assert!(message.trim().ends_with(trailers), "{message}");
    assert_eq!(team.verify(&[]).code, 0, "{:?}", team.verify(&[]));
}

#[test]
fn trailers_that_the_message_ends_with_stay_where_they_count() {
    for (message, last) in [
        ("They go\n\nHostwrit-Allow-Removals: 12", "Hostwrit-Allow-Removals: 12\nHostwrit-Repo: "),
        ("They go\n\nand nothing else", "\n\nHostwrit-Repo: "),
    ] {
        let team = Team::new();
        team.propose(&team.alice, "new-user", "carol");
        let approved = team.run(&team.bob, &["approve", "new-user", "--yes", "--message", message]);
        assert_eq!(approved.code, 0, "{approved:?}");
        let made = team.repo.git(&["log", "-1", "--format=%B"]);
        assert!(made.starts_with(message) && made.contains(last), "{made}");
        assert_eq!(made.trim().split("\n\n").last().unwrap().matches("Hostwrit-Repo").count(), 1, "{made}");
    }
}

#[test]
fn nobody_approves_what_is_his_own() {
    let team = Team::new();
    let base = team.id("HEAD");
    team.propose(&team.alice, "new-user", "carol");
    let refused = team.run(&team.alice, &["approve", "new-user", "--yes"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("(needs-approval)"), "{refused:?}");
    assert_eq!(team.id("main"), base);

    // Where one signature is enough, a host would take it; it would be no approval all the same.
    team.repo.git(&["switch", "--quiet", "-c", "own"]);
    team.repo.write("hosts/web1.yaml", "files:\n  /etc/motd: {content: two}\n");
    team.commit(&team.alice, "Another motd");
    team.repo.git(&["switch", "--quiet", "main"]);
    let refused = team.run(&team.alice, &["approve", "own", "--yes"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    insta::assert_snapshot!(refused.stderr, @r"
    Error: you are alice, who signed <Another motd> of it: an approval needs another
      to merge it as your own: git merge --no-ff -S
    ");
    assert_eq!(team.id("main"), base);
}

#[test]
fn a_key_that_counts_for_nothing_approves_nothing() {
    let team = Team::new();
    let base = team.id("HEAD");
    team.propose(&team.alice, "new-user", "carol");
    let refused = team.run(&team.ci, &["approve", "new-user", "--yes"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("(heartbeat-key)"), "{refused:?}");
    assert_eq!(team.id("main"), base);
    assert_eq!(team.repo.git(&["status", "--porcelain"]), "");
}

#[test]
fn what_cannot_be_approved_is_said_before_anybody_signs() {
    let team = Team::new();
    team.propose(&team.alice, "new-user", "carol");
    team.repo.write("files/x", "x");
    team.commit(&team.alice, "Beside");
    let approve = |args: &[&str]| {
        let ran = team.run(&team.bob, &[&["approve"], args].concat());
        assert_ne!(ran.code, 0, "{ran:?}");
        ran.stderr
    };
    insta::assert_snapshot!(approve(&["new-user", "--yes"]), @r"
    Error: new-user lacks commits of main, and an approval may not change what was reviewed
      have its author run: git rebase main
    ");
    insta::assert_snapshot!(approve(&["main", "--yes"]), @"Error: main has all that main has: there is nothing to approve");
    insta::assert_snapshot!(approve(&["none", "--yes"]), @r#"Error: there is no commit "none" here"#);
    team.repo.git(&["rebase", "--quiet", "--no-gpg-sign", "main", "new-user"]);
    insta::assert_snapshot!(approve(&["main", "--yes"]), @"Error: refs/heads/new-user is checked out, and hosts follow refs/heads/main: git switch main");
    team.repo.git(&["switch", "--quiet", "main"]);
    insta::assert_snapshot!(approve(&["new-user"]), @"Error: nobody is there to be asked; say --yes once you have read it");
    std::fs::write(team.repo.path().join("files/x"), "y").unwrap();
    insta::assert_snapshot!(approve(&["new-user", "--yes"]), @"Error: there are changes that are not committed; commit or stash them first");
}

#[test]
fn a_branch_that_merged_older_ones_can_be_approved() {
    let team = Team::new();
    team.repo.git(&["switch", "--quiet", "-c", "old"]);
    team.repo.write("files/old", "x");
    team.commit(&team.bob, "An old branch");
    team.repo.git(&["switch", "--quiet", "main"]);
    team.repo.write("files/x", "x");
    team.commit(&team.alice, "Beside");
    team.repo.git(&["switch", "--quiet", "-c", "both"]);
    team.git(&team.bob, &["merge", "--quiet", "--no-ff", "-S", "-m", "Both", "old"]);
    team.repo.git(&["switch", "--quiet", "main"]);
    let approved = team.run(&team.alice, &["approve", "both", "--yes"]);
    assert_eq!(approved.code, 0, "{approved:?}");
    assert_eq!(team.verify(&[]).code, 0, "{:?}", team.verify(&[]));
}
