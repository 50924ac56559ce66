// SPDX-License-Identifier: Apache-2.0
//! The hooks that `init` installs: whichever way a commit is made, its message ends with the right trailers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::site::{Ran, program, ran};

/// A clone of an infra repo with the hooks.
struct Clone(TempDir);

impl Clone {
    fn new() -> Self {
        let clone = Self::without_hooks();
        assert_eq!(clone.install().code, 0);
        clone
    }

    fn without_hooks() -> Self {
        let clone = Self(tempfile::tempdir().unwrap());
        clone.git(&["init", "--quiet", "--initial-branch=main"]);
        clone.write("policy/policy.yaml", "format: 1\nfleet: \"infra.example.org\"  # ours\nref: refs/heads/main\n");
        clone.git(&["add", "."]);
        clone
    }

    fn install(&self) -> Ran {
        let git_dir = self.0.path().canonicalize().unwrap();
        let ran = ran(self.environment(&mut program(&["init", "--hooks"])).arg(self.0.path()));
        let tidy = |text: String| text.replace(git_dir.to_str().unwrap(), "CLONE");
        Ran { code: ran.code, stdout: tidy(ran.stdout), stderr: tidy(ran.stderr) }
    }

    fn environment<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Test").env(format!("GIT_{role}_EMAIL"), "test@example.org");
        }
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null")
    }

    /// Runs git with an editor that leaves each message as it is but for `edit`, a program of sed.
    fn edited(&self, edit: &str, args: &[&str]) -> Ran {
        let mut command = Command::new("git");
        self.environment(&mut command).env("GIT_EDITOR", format!("sed -i '{edit}'"));
        ran(command.current_dir(self.0.path()).args(args))
    }

    fn git(&self, args: &[&str]) -> String {
        let ran = self.edited("", args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.stdout
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Changes a file, ready to be committed.
    fn change(&self, path: &str, text: &str) {
        self.write(path, text);
        self.git(&["add", "."]);
    }

    /// Demands that a commit has these trailers, once each and in its last paragraph.
    fn has(&self, commit: &str, branch: &str, number: u32) {
        let message = self.git(&["log", "-1", "--format=%B", commit, "--"]);
        let trailers =
            format!("Hostwrit-Repo: infra.example.org\nHostwrit-Ref: refs/heads/{branch}\nHostwrit-Seq: {number}");
        let last = message.trim_end().rsplit("\n\n").next().unwrap();
        assert!(last.ends_with(&trailers), "{commit} should be number {number} of {branch}:\n{message}");
        assert_eq!(message.matches("Hostwrit-").count(), 3, "{message}");
    }
}

#[test]
fn every_way_to_commit_ends_the_message_with_the_trailers() {
    let clone = Clone::new();
    clone.git(&["commit", "-q", "-m", "One"]);
    clone.has("HEAD", "main", 1);
    clone.change("a", "1");
    clone.git(&["commit", "-q", "-m", "Two", "-m", "---\nBody: and more.\n\nSigned-off-by: Test <test@example.org>"]);
    clone.has("HEAD", "main", 2);
    assert!(clone.git(&["log", "-1", "--format=%B"]).contains("<test@example.org>\nHostwrit-Repo"));
    clone.git(&["commit", "-q", "--amend", "--no-edit"]);
    clone.has("HEAD", "main", 2);
    clone.git(&["commit", "-q", "--amend", "-m", "Two, in other words"]);
    clone.has("HEAD", "main", 2);
    clone.change("a", "2");
    clone.git(&["commit", "-q", "-m", "Three: not --amend", "--no-verify"]);
    clone.has("HEAD", "main", 3);

    clone.git(&["switch", "-q", "-c", "feature"]);
    clone.change("b", "1");
    assert_eq!(clone.edited("1s/^/Typed by hand/", &["commit", "-q", "-v"]).code, 0);
    clone.has("HEAD", "feature", 4);
    clone.change("b", "2");
    clone.git(&["commit", "-q", "-C", "HEAD"]);
    clone.has("HEAD", "feature", 5);
    clone.git(&["revert", "--no-edit", "HEAD"]);
    clone.has("HEAD", "feature", 6);

    clone.git(&["switch", "-q", "main"]);
    clone.change("c", "1");
    clone.git(&["commit", "-q", "-m", "Beside"]);
    clone.git(&["cherry-pick", "feature~2"]);
    clone.has("HEAD", "main", 5);
    clone.git(&["reset", "-q", "--hard", "HEAD^"]);
    clone.git(&["rebase", "-q", "main", "feature"]);
    clone.has("feature", "feature", 7);
    clone.has("feature~2", "feature", 5);
    clone.git(&["switch", "-q", "main"]);
    clone.git(&["merge", "-q", "--no-ff", "-m", "Merge", "feature"]);
    clone.has("HEAD", "main", 5);
    clone.git(&["reset", "-q", "--hard", "HEAD^"]);
    assert_eq!(clone.edited("1s/^/By hand: /", &["merge", "-q", "--no-ff", "--edit", "feature"]).code, 0);
    clone.has("HEAD", "main", 5);
}

#[test]
fn a_rebase_that_edits_keeps_the_numbers_rising() {
    let clone = Clone::new();
    clone.git(&["commit", "-q", "-m", "One"]);
    for name in ["a", "b", "c"] {
        clone.change(name, "1");
        clone.git(&["commit", "-q", "-m", name]);
    }
    let todo = |edit: &str| format!("sequence.editor=sed -i '{edit}'");
    assert_eq!(
        clone.edited("1s/^/Reworded /", &["-c", &todo("s/^pick/reword/"), "rebase", "-q", "-i", "HEAD~3"]).code,
        0
    );
    clone.has("HEAD", "main", 4);
    clone.has("HEAD~2", "main", 2);
    clone.git(&["-c", &todo("3s/^pick/fixup/"), "rebase", "-q", "-i", "HEAD~3"]);
    clone.has("HEAD~1", "main", 2);
    // The commit that was amended had the number 3: one is left out, or not.
    let last = clone.git(&["log", "-1", "--format=%(trailers:key=Hostwrit-Seq,valueonly)"]);
    assert!(["3", "4"].contains(&last.trim()), "{last}");
}

#[test]
fn a_commit_without_a_message_is_still_given_up() {
    let clone = Clone::new();
    for args in [&["commit"][..], &["commit", "-v"]] {
        let ran = clone.edited("", args);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains("empty commit message"), "{ran:?}");
    }
}

#[test]
fn a_commit_of_no_branch_or_of_no_fleet_gets_no_trailers() {
    let clone = Clone::new();
    clone.git(&["commit", "-q", "-m", "One"]);
    clone.git(&["switch", "-q", "--detach"]);
    clone.git(&["commit", "-q", "--allow-empty", "-m", "Nowhere"]);
    assert_eq!(clone.git(&["log", "-1", "--format=%B"]).trim(), "Nowhere");
    clone.git(&["switch", "-q", "main"]);
    clone.git(&["rm", "-q", "-r", "policy"]);
    let made = clone.edited("", &["commit", "-q", "-m", "Of no fleet"]);
    assert_eq!((made.code, made.stderr.contains("names no fleet")), (0, true), "{made:?}");
    assert_eq!(clone.git(&["log", "-1", "--format=%B"]).trim(), "Of no fleet");
}

fn hook(clone: &Clone, dir: &str, name: &str, text: &str) {
    clone.write(&format!("{dir}/{name}"), text);
    let path = clone.0.path().join(dir).join(name);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_hook_that_is_there_stays_and_the_line_to_add_to_it_works() {
    let clone = Clone::without_hooks();
    hook(&clone, ".git/hooks", "commit-msg", "#!/bin/sh\nset -e\n");
    let installed = clone.install();
    insta::assert_snapshot!(super::shown(&installed), @r#"
    --- stderr
    Error: a hook is there already, and stays as it is; add this line to it
      CLONE/.git/hooks/commit-msg:  sh "$(git rev-parse --git-common-dir)/hooks/hostwrit-trailers" commit-msg "$@" || exit
    --- exit code 1
    "#);
    assert_eq!(read(&clone.0.path().join(".git/hooks/commit-msg")), "#!/bin/sh\nset -e\n");
    let line = installed.stderr.lines().last().unwrap().split_once(":  ").unwrap().1.to_owned();
    hook(&clone, ".git/hooks", "commit-msg", &format!("#!/bin/sh\nset -e\n{line}\necho ours\n"));
    assert_eq!(clone.install().code, 0);
    let made = clone.edited("1s/^/One/", &["commit", "-q"]);
    assert_eq!((made.code, made.stderr.as_str()), (0, "ours\n"), "{made:?}");
    clone.has("HEAD", "main", 1);
}

#[test]
fn hooks_that_other_clones_may_share_are_left_alone() {
    let clone = Clone::without_hooks();
    clone.git(&["config", "core.hooksPath", "shared"]);
    let installed = clone.install();
    assert_eq!(installed.code, 1);
    assert!(installed.stderr.contains("core.hooksPath is shared"), "{installed:?}");
    assert!(!clone.0.path().join("shared").exists());
    for line in installed.stderr.lines().skip(1) {
        let (name, line) = line.trim().trim_start_matches("in ").split_once(":  ").unwrap();
        hook(&clone, "shared", name, &format!("#!/bin/sh\n{line}\n"));
    }
    clone.git(&["commit", "-q", "-m", "One"]);
    clone.has("HEAD", "main", 1);
}

#[test]
fn the_hooks_can_be_installed_again_and_serve_every_work_tree() {
    let clone = Clone::new();
    assert_eq!(clone.install().code, 0);
    clone.git(&["commit", "-q", "-m", "One"]);
    clone.git(&["worktree", "add", "-q", "-b", "beside", "beside"]);
    clone.git(&["-C", "beside", "commit", "-q", "--allow-empty", "-m", "There"]);
    clone.has("beside", "beside", 2);
}

#[test]
fn hooks_need_a_clone() {
    let nowhere = tempfile::tempdir().unwrap();
    let ran = ran(program(&["init", "--hooks"]).arg(nowhere.path()));
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("not a git repository"), "{ran:?}");
}
