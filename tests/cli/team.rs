// SPDX-License-Identifier: Apache-2.0
//! Two people, one robot and a clone of their infra repo.

use std::process::Command;

use super::fixture::{Key, Keyring, Repo};
use super::site::{Ran, program, ran};

pub const POLICY: &str = "\
format: 1
version: 1
fleet: infra.example.org
ref: refs/heads/main
trailers: required
principals:
  alice: {openpgp: [keys/alice.asc]}
  bob: {ssh: [keys/bob.pub]}
  ci: {ssh: [keys/ci.pub]}
roles: {owners: [alice, bob]}
rules:
  - {change: [policy, \"user:*\"], needs: {role: owners, signers: 2}}
  - {change: [\"*\"], needs: {role: owners}}
freshness: {max_age: 2d, heartbeat: [ci]}
";

/// Alice signs with OpenPGP, Bob with SSH; what concerns users takes both.
pub struct Team {
    pub ring: Keyring,
    pub alice: Key,
    pub bob: Key,
    pub ci: Key,
    pub repo: Repo,
}

impl Team {
    pub fn new() -> Self {
        let ring = Keyring::new();
        let (alice, bob, ci) = (ring.key("alice"), ring.ssh_key("bob", "ed25519"), ring.ssh_key("ci", "ed25519"));
        let repo = Repo::new(&ring);
        let team = Self { ring, alice, bob, ci, repo };
        team.repo.write("hostwrit.yaml", "format: 1\nfleet: infra.example.org\n");
        team.repo.write("policy/policy.yaml", POLICY);
        for (file, key) in [("alice.asc", &team.alice), ("bob.pub", &team.bob), ("ci.pub", &team.ci)] {
            team.repo.write(&format!("policy/keys/{file}"), &team.ring.public(key));
        }
        team.repo.write("hosts/web1.yaml", "files:\n  /etc/motd: {content: one}\n");
        assert_eq!(team.run(&team.alice, &["init", "--hooks", "."]).code, 0);
        team.commit(&team.alice, "Begin");
        team
    }

    /// Commits all that is in the work tree.
    pub fn commit(&self, who: &Key, message: &str) -> String {
        self.repo.git(&["add", "--all"]);
        self.git(who, &["commit", "--quiet", "--allow-empty", "-S", "-m", message]);
        self.id("HEAD")
    }

    pub fn id(&self, name: &str) -> String {
        self.repo.git(&["rev-parse", name]).trim().to_owned()
    }

    pub fn git(&self, who: &Key, args: &[&str]) -> Ran {
        let mut command = Command::new("git");
        let ran = ran(self.as_person(who, &mut command).args(args));
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran
    }

    /// Runs the program as this person, in the clone.
    pub fn run(&self, who: &Key, args: &[&str]) -> Ran {
        self.tidy(self.untidy(who, args))
    }

    /// Runs the program, and returns what it printed as it is.
    pub fn untidy(&self, who: &Key, args: &[&str]) -> Ran {
        ran(self.as_person(who, &mut program(args)))
    }

    fn as_person<'c>(&self, who: &Key, command: &'c mut Command) -> &'c mut Command {
        let ssh = [("bob", &self.bob), ("ci", &self.ci)];
        let (format, key) = match ssh.iter().find(|(_, key)| key.fingerprint == who.fingerprint) {
            Some((name, _)) => ("ssh", format!("{}/{name}.ssh.pub", self.ring.home().display())),
            None => ("openpgp", who.fingerprint.clone()),
        };
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Test").env(format!("GIT_{role}_EMAIL"), "test@example.org");
        }
        command.env("GIT_CONFIG_COUNT", "2").env("GIT_CONFIG_KEY_0", "gpg.format").env("GIT_CONFIG_VALUE_0", format);
        command.env("GIT_CONFIG_KEY_1", "user.signingkey").env("GIT_CONFIG_VALUE_1", key);
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GNUPGHOME", self.ring.home()).current_dir(self.repo.path())
    }

    /// Replaces what differs from run to run by words.
    pub fn tidy(&self, ran: Ran) -> Ran {
        let tidy = |text: String| {
            let mut text = text;
            for (name, key) in [("ALICE", &self.alice), ("BOB", &self.bob), ("CI", &self.ci)] {
                text = text.replace(key.fingerprint.as_str(), name);
            }
            // By age, and among those of one second by the order in which they were made.
            let commits = self.repo.git(&["log", "--all", "--reflog", "--topo-order", "--reverse", "--format=%H %s"]);
            for line in commits.lines() {
                let (commit, subject) = line.split_once(' ').unwrap();
                let name = format!("<{subject}>");
                text = text.replace(commit, &name).replace(&commit[..10], &name);
            }
            text
        };
        Ran { code: ran.code, stdout: tidy(ran.stdout), stderr: tidy(ran.stderr) }
    }

    /// Begins a branch with one commit that adds a user.
    pub fn propose(&self, who: &Key, branch: &str, user: &str) -> String {
        self.repo.git(&["switch", "--quiet", "-c", branch]);
        let path = self.repo.path().join("hosts/web1.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let text = if text.contains("users:\n") { text } else { format!("{text}users:\n") };
        std::fs::write(&path, format!("{text}  {user}: {{password: locked}}\n")).unwrap();
        let commit = self.commit(who, &format!("Add {user}"));
        self.repo.git(&["switch", "--quiet", "main"]);
        commit
    }

    /// Verifies the clone as CI does.
    pub fn verify(&self, args: &[&str]) -> Ran {
        self.tidy(self.untidy_verify(args))
    }

    pub fn untidy_verify(&self, args: &[&str]) -> Ran {
        let root = self.repo.git(&["rev-list", "--max-parents=0", "main"]);
        let signer = self.alice.name().to_string();
        self.untidy(&self.ci, &[&["trust", "verify", "--trust-root", root.trim(), "--signer", &signer], args].concat())
    }
}
