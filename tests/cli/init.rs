// SPDX-License-Identifier: Apache-2.0

use std::process::Command;

use super::shown;
use super::site::{Ran, Site, keys, program, ran};

fn init(args: &[&str]) -> Ran {
    let keys = keys();
    let ran = ran(program(&[&["init"], args].concat()).env("GNUPGHOME", keys.ring.home()));
    let tidy = |text: &str| text.replace(&keys.alice.fingerprint, "ALICE");
    Ran { code: ran.code, stdout: tidy(&ran.stdout), stderr: tidy(&ran.stderr) }
}

#[test]
fn a_new_repo_passes_check_and_can_be_committed_and_followed() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("infra");
    let keys = keys();
    let path = repo.to_str().unwrap();
    let made = init(&[path, "--key", &keys.alice.fingerprint, "--host", "web1", "--principal", "alice"]);
    let made = Ran { stdout: made.stdout.replace(path, "REPO"), ..made };
    insta::assert_snapshot!(shown(&made), @r#"
    REPO is an infra repo with the host web1. What comes next:

      cd REPO
      hostwrit check
      git add . && git commit -m 'Begin'

    Then push it, and put this into /etc/hostwrit/config.yaml on the host:

      fleet: infra.example.org
      remote: URL                      # where you pushed it
      host: web1
      trust:
        root: COMMIT                   # git rev-parse HEAD
        signers: ["openpgp:ALICE"]
    --- exit code 0
    "#);
    assert_eq!(ran(&mut program(&["check", path])).code, 0);

    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(&repo).args(["-c", "user.name=alice", "-c", "user.email=alice@example.org"]).args(args);
        let output = command
            .env("GNUPGHOME", keys.ring.home())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "Begin"]);
    let message = git(&["log", "-1", "--format=%B"]);
    assert!(message.ends_with("Hostwrit-Ref: refs/heads/main\nHostwrit-Seq: 1"), "{message}");
    let root = git(&["rev-parse", "HEAD"]);

    // The configuration that init printed, with its two blanks filled in.
    let printed: String = made
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("  fleet:"))
        .map(|l| format!("{}\n", &l[2..]))
        .collect();
    let config =
        printed.replace("URL", path).replace("COMMIT ", &format!("{root} ")).replace("ALICE", &keys.alice.fingerprint);
    let site = Site::new(&[]);
    site.put("/etc/hostwrit/config.yaml", &config);
    let plan = site.run(&["plan"]);
    assert_eq!(plan.code, 3, "{plan:?}");
    assert!(plan.stdout.contains("file:/etc/motd"), "{plan:?}");
    site.converge();
}

#[test]
fn init_refuses_what_it_cannot_do_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys();
    std::fs::write(dir.path().join("mine"), "").unwrap();
    let used = dir.path().to_str().unwrap();
    let fresh = dir.path().join("fresh");
    let fresh = fresh.to_str().unwrap();
    let tidy = |ran: Ran| Ran { stderr: ran.stderr.replace(used, "DIR"), ..ran };
    insta::assert_snapshot!(shown(&tidy(init(&[used, "--key", &keys.alice.fingerprint]))), @r"
    --- stderr
    Error: DIR is not empty; name a new directory
    --- exit code 2
    ");
    insta::assert_snapshot!(shown(&tidy(init(&[fresh, "--key", "nobody@example.org"]))), @r#"
    --- stderr
    Error: gpg has no key "nobody@example.org"; `gpg --list-secret-keys` lists yours
    --- exit code 1
    "#);
    insta::assert_snapshot!(shown(&tidy(init(&[fresh, "--key", &keys.alice.fingerprint, "--host", "web_1"]))), @r#"
    --- stderr
    Error: --host "web_1": use letters, digits, dots and hyphens
    --- exit code 2
    "#);
    insta::assert_snapshot!(shown(&tidy(init(&[fresh, "--key", "example.org"]))), @r#"
    --- stderr
    Error: "example.org" is not one key: Malformed Cert: Additional packets found, is this a keyring?; give its fingerprint
    --- exit code 1
    "#);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_fleet_can_begin_with_an_ssh_key() {
    let dir = tempfile::tempdir().unwrap();
    let ring = super::fixture::Keyring::new();
    let bob = ring.ssh_key("bob", "ed25519");
    let public = ring.home().join("bob.ssh.pub");
    let repo = dir.path().join("infra");
    let path = repo.to_str().unwrap();
    let made = init(&[path, "--ssh-key", public.to_str().unwrap(), "--host", "web1", "--principal", "bob"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.stdout.contains(&format!("signers: [\"{}\"]", bob.name())), "{made:?}");
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(&repo).args(["-c", "user.name=bob", "-c", "user.email=bob@example.org"]).args(args);
        let ran = ran(command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null"));
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.stdout.trim().to_owned()
    };
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "Begin"]);
    let root = git(&["rev-parse", "HEAD"]);
    let signer = bob.name().to_string();
    let verified = ran(&mut program(&["trust", "verify", "--clone", path, "--trust-root", &root, "--signer", &signer]));
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn init_takes_a_repository_that_has_no_commit_yet() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let made = ran(Command::new("git").args(["init", "--quiet", "--initial-branch=trunk", path]));
    assert_eq!(made.code, 0, "{made:?}");
    let made = init(&[path, "--key", &keys().alice.fingerprint]);
    assert!(made.stdout.contains("\n  ref: refs/heads/trunk\n"), "{made:?}");
    let policy = std::fs::read_to_string(dir.path().join("policy/policy.yaml")).unwrap();
    assert!(policy.contains("ref: refs/heads/trunk\n"), "{policy}");
}

#[test]
fn a_key_that_hosts_would_refuse_begins_no_fleet() {
    let dir = tempfile::tempdir().unwrap();
    let ring = super::fixture::Keyring::new();
    ring.ssh_key("weak", "rsa2048");
    let new = dir.path().join("new");
    let with = |file: &str| {
        let file = ring.home().join(file);
        let made = init(&[new.to_str().unwrap(), "--ssh-key", file.to_str().unwrap()]);
        assert_ne!(made.code, 0, "{made:?}");
        made.stderr.replace(ring.home().to_str().unwrap(), "HOME")
    };
    insta::assert_snapshot!(with("weak.ssh.pub"), @"Error: HOME/weak.ssh.pub is an RSA key of 2048 bits; it takes 3072 to 16384");
    insta::assert_snapshot!(with("weak.ssh"), @"Error: HOME/weak.ssh is a secret key; give its public half, HOME/weak.ssh.pub");
    insta::assert_snapshot!(with("none.pub"), @"Error: there is no file HOME/none.pub");
    assert!(!new.exists());
}
