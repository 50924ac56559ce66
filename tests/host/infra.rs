// SPDX-License-Identifier: Apache-2.0
//! Infra repos made at run time: real keys by gpg, real commits by git.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::Lab;
use crate::machine::eventually;
use crate::process::{Background, bound, run};

pub const FLEET: &str = "infra.example.org";
pub const REF: &str = "refs/heads/main";

/// The keys of one test run, and the agent that holds them.
pub struct Keys {
    home: PathBuf,
    alice: String,
    mallory: String,
    /// SSH keys of a person who logs in, and of a host that fetches: the private key's file.
    ssh: PathBuf,
    _agent: Background,
}

/// Who signs a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The only principal of the policy.
    Alice,
    /// Somebody with a key that the policy does not know, unless a scenario admits it.
    Mallory,
    Nobody,
}

impl Keys {
    /// Makes the keys below `dir`, whose path must be short: the agent's socket stands in it.
    pub fn make(dir: &Path) -> Self {
        let home = dir.join("gnupg");
        fs::create_dir_all(&home).expect("the folder for temporary files can be written");
        let mut chmod = Command::new("chmod");
        run({
            chmod.arg("0700").arg(&home);
            chmod
        });
        // gpg would start an agent by itself, which would outlive a killed test run; the agent also forks, so a PID
        // namespace has to hold it.
        let mut agent = bound("unshare");
        agent.args(["--pid", "--fork", "--kill-child=KILL", "sh", "-ec"]);
        agent.arg("gpg-agent --quiet --homedir \"$1\" --daemon >/dev/null; exec sleep infinity").arg("sh").arg(&home);
        let agent = Background::start(agent);
        eventually("gpg-agent listens", || home.join("S.gpg-agent").exists());

        let ssh = dir.join("ssh-key");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "alice@example.org", "-f"]).arg(&ssh);
        run(keygen);

        let mut keys = Self { home, alice: String::new(), mallory: String::new(), ssh, _agent: agent };
        keys.alice = keys.make_key("alice@example.org");
        keys.mallory = keys.make_key("mallory@example.org");
        keys
    }

    fn make_key(&self, person: &str) -> String {
        let mut generate = self.gpg();
        generate.args(["--passphrase", "", "--quick-generate-key", person, "ed25519", "sign", "never"]);
        run(generate);
        let mut list = self.gpg();
        list.args(["--with-colons", "--list-keys", person]);
        let list = run(list).stdout;
        let line = list.lines().find_map(|line| line.strip_prefix("fpr:")).expect("gpg lists the key it made");
        line.split(':').find(|field| !field.is_empty()).expect("gpg lists the fingerprint").to_owned()
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&self.home).args(["--batch", "--quiet"]);
        command
    }

    fn public_key(&self, fingerprint: &str) -> String {
        let mut export = self.gpg();
        export.args(["--armor", "--export", fingerprint]);
        run(export).stdout
    }

    fn fingerprint(&self, signer: Signer) -> Option<&str> {
        match signer {
            Signer::Alice => Some(&self.alice),
            Signer::Mallory => Some(&self.mallory),
            Signer::Nobody => None,
        }
    }

    /// Returns the file of an SSH private key.
    pub fn ssh_private(&self) -> &Path {
        &self.ssh
    }

    /// Returns the line of the SSH public key, as `authorized_keys` has it.
    pub fn ssh_public(&self) -> String {
        fs::read_to_string(self.ssh.with_extension("pub")).expect("ssh-keygen wrote it").trim().to_owned()
    }
}

/// An infra repo: a work tree where commits are made, and the bare repo that hosts fetch.
pub struct Infra<'run> {
    keys: &'run Keys,
    work: PathBuf,
    bare: PathBuf,
    root: String,
}

impl<'run> Infra<'run> {
    /// Makes a repo whose first commit, signed by Alice, holds the files of `folder` under a policy that knows only her.
    pub fn new(lab: &Lab<'run>, folder: &Path) -> Self {
        let bare = lab.dir().join("srv/infra.git");
        let work = lab.dir().join("work");
        let mut infra = Self { keys: lab.keys(), work, bare, root: String::new() };
        let (bare, work) = (path_text(&infra.bare), path_text(&infra.work));
        run(infra.git(&["init", "--quiet", "--bare", "--initial-branch=main", &bare]));
        // A large object stays in the pack that brought it.
        run(infra.git(&["--git-dir", &bare, "config", "receive.unpackLimit", "1"]));
        run(infra.git(&["init", "--quiet", "--initial-branch=main", &work]));
        let mut copy = Command::new("cp");
        copy.arg("-rT").arg(folder).arg(&infra.work);
        run(copy);
        // The folder's own policy names keys whose private halves nobody here has.
        let _ = fs::remove_dir_all(infra.work.join("policy"));
        // Of the folder's own top only the fleet is another one here.
        let top = fs::read_to_string(folder.join("hostwrit.yaml")).unwrap_or_else(|_| "format: 1\n".to_owned());
        let rest: Vec<&str> = top.lines().filter(|line| !line.starts_with("fleet:")).collect();
        infra.write("hostwrit.yaml", &format!("{}\nfleet: {FLEET}\n", rest.join("\n")));
        infra.write(
            "policy/policy.yaml",
            &format!(
                "format: 1\nversion: 1\nfleet: {FLEET}\nref: {REF}\nprincipals:\n  alice: {{openpgp: [keys/alice.asc]}}\nroles: {{owners: [alice]}}\nrules:\n  - {{change: [\"*\"], needs: {{role: owners}}}}\n"
            ),
        );
        infra.write("policy/keys/alice.asc", &infra.keys.public_key(&infra.keys.alice));
        infra.root = infra.publish("first state", Signer::Alice);
        infra
    }

    /// Returns the first commit.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Returns the fingerprint of the key that signed the first commit.
    pub fn fingerprint(&self) -> &str {
        &self.keys.alice
    }

    /// Returns the public key of somebody who signs, as a policy has it.
    pub fn public_key(&self, signer: Signer) -> String {
        self.keys.fingerprint(signer).map(|fingerprint| self.keys.public_key(fingerprint)).unwrap_or_default()
    }

    /// Returns the folder in which the bare repo stands as `infra.git`.
    pub fn served(&self) -> &Path {
        self.bare.parent().expect("the bare repo stands in a folder")
    }

    /// Writes a file of the work tree.
    pub fn write(&self, path: &str, content: &str) {
        let file = self.work.join(path);
        let parent = file.parent().expect("a file stands in a folder");
        fs::create_dir_all(parent).expect("the work tree can be written");
        fs::write(file, content).expect("the work tree can be written");
    }

    /// Returns a file of the work tree.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.work.join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
    }

    /// Replaces a part, which must be there, of a file of the work tree.
    pub fn replace(&self, path: &str, from: &str, to: &str) {
        let content = self.read(path);
        assert!(content.contains(from), "{path} does not contain {from}:\n{content}");
        self.write(path, &content.replace(from, to));
    }

    /// Commits the work tree as it is and returns the commit; hosts do not see it before it is pushed.
    pub fn commit(&self, message: &str, signer: Signer) -> String {
        run(self.git(&["add", "--all"]));
        let sign = match self.keys.fingerprint(signer) {
            Some(fingerprint) => format!("--gpg-sign={fingerprint}"),
            None => "--no-gpg-sign".to_owned(),
        };
        run(self.git(&["commit", "--quiet", "--allow-empty", &sign, "--message", message]));
        run(self.git(&["rev-parse", "HEAD"])).text().to_owned()
    }

    /// Makes the served branch what the work tree's is, forced.
    pub fn push(&self) {
        run(self.git(&["push", "--quiet", "--force", &path_text(&self.bare), "HEAD:refs/heads/main"]));
    }

    /// Commits, pushes, and returns the commit.
    pub fn publish(&self, message: &str, signer: Signer) -> String {
        let commit = self.commit(message, signer);
        self.push();
        commit
    }

    /// Commits the work tree as the first commit of another history, pushes that, and returns the commit.
    pub fn publish_other_history(&self, message: &str, signer: Signer) -> String {
        run(self.git(&["checkout", "--quiet", "--orphan", "other"]));
        let commit = self.publish(message, signer);
        run(self.git(&["checkout", "--quiet", "main"]));
        run(self.git(&["branch", "--quiet", "--delete", "--force", "other"]));
        commit
    }

    /// Writes a file of so many zeros.
    pub fn write_zeros(&self, path: &str, length: u64) {
        self.write(path, "");
        let file = fs::File::options().write(true).open(self.work.join(path)).expect("it was just written");
        file.set_len(length).expect("a hole takes no room");
    }

    /// Puts the work tree and its branch back to an earlier commit.
    pub fn reset(&self, commit: &str) {
        run(self.git(&["reset", "--quiet", "--hard", commit]));
    }

    /// Returns a git of the machine that sees neither its configuration nor its keys.
    fn git(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("GNUPGHOME", &self.keys.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs([("GIT_AUTHOR_NAME", "Alice"), ("GIT_AUTHOR_EMAIL", "alice@example.org")])
            .envs([("GIT_COMMITTER_NAME", "Alice"), ("GIT_COMMITTER_EMAIL", "alice@example.org")]);
        if self.work.is_dir() {
            command.current_dir(&self.work);
        }
        command
    }
}

fn path_text(path: &Path) -> String {
    path.to_str().expect("the folder for temporary files has a UTF-8 name").to_owned()
}
