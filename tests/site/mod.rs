// SPDX-License-Identifier: Apache-2.0
//! A signed infra repo and a host below a temporary root, with the program to run on it.
//!
//! Used by several test programs, none of which uses all of it.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};

use hostwrit::engine::Config;
use hostwrit::host::RealHost;
use hostwrit::model::git::Oid;
use hostwrit::source::{Limits, Mirror};
use tempfile::TempDir;

use super::fixture::{FLEET, Key, Keyring, Repo};

/// The only host of the repo.
pub const HOST: &str = "web1";
/// Entries below the root that are hostwrit's own and not managed.
const OWN: [&str; 5] =
    ["var/lib/hostwrit", "var/lib/hostwrit-courier", "var/log/hostwrit", "run/hostwrit", "etc/hostwrit"];

/// Keys take long to make, so the tests of one program share them.
pub struct Keys {
    pub ring: Keyring,
    pub alice: Key,
    pub mallory: Key,
}

static KEYS: Mutex<Weak<Keys>> = Mutex::new(Weak::new());

/// Returns the shared keys. They go away with the last test that holds them; a static would leave them behind.
pub fn keys() -> Arc<Keys> {
    let mut shared = KEYS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(keys) = shared.upgrade() {
        return keys;
    }
    let ring = Keyring::new();
    let (alice, mallory) = (ring.key("alice"), ring.key("mallory"));
    let keys = Arc::new(Keys { ring, alice, mallory });
    *shared = Arc::downgrade(&keys);
    keys
}

/// What a command left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// An infra repo and a host that follows it.
pub struct Site {
    pub keys: Arc<Keys>,
    pub repo: Repo,
    dir: TempDir,
}

impl Site {
    /// Makes a fresh host, and a repo with a policy, these files, and one commit signed by alice, where trust begins.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let keys = keys();
        let repo = Repo::new(&keys.ring);
        let dir = tempfile::tempdir().unwrap();
        let site = Self { keys, repo, dir };
        site.repo.write("hostwrit.yaml", &format!("format: 1\nfleet: {FLEET}\n"));
        site.repo.write("policy/policy.yaml", &format!(
            "format: 1\nversion: 1\nfleet: {FLEET}\nref: refs/heads/main\nprincipals:\n  alice: {{openpgp: [keys/alice.asc]}}\nroles: {{owners: [alice]}}\nrules:\n  - {{change: [\"*\"], needs: {{role: owners}}}}\n"
        ));
        site.repo.write("policy/keys/alice.asc", &site.keys.ring.public(&site.keys.alice));
        files.iter().for_each(|(path, text)| site.repo.write(path, text));
        let root = site.repo.commit("Begin", Some(&site.keys.alice));
        make_base(&site.root());
        site.put(
            "/etc/hostwrit/config.yaml",
            &format!(
                "fleet: {FLEET}\nremote: {}\nhost: {HOST}\ntrust:\n  root: {root}\n  signers: [\"openpgp:{}\"]\n",
                site.repo.path().display(),
                site.keys.alice.fingerprint
            ),
        );
        site
    }

    /// The directory that stands for `/`.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Writes a file of the host, by hand.
    pub fn put(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    /// Reads a file of the host.
    pub fn get(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// Changes the host's file in the repo and commits, signed by alice.
    pub fn host_file(&self, text: &str) -> Oid {
        self.commit(&[("hosts/web1.yaml", text)])
    }

    pub fn commit(&self, files: &[(&str, &str)]) -> Oid {
        files.iter().for_each(|(path, text)| self.repo.write(path, text));
        self.repo.commit("Change", Some(&self.keys.alice))
    }

    pub fn open(&self) -> RealHost {
        RealHost::open(&self.root()).unwrap()
    }

    pub fn config(&self) -> Config {
        Config::read(&self.open()).unwrap()
    }

    /// Where this host's courier keeps its mirror.
    pub fn mirror(&self) -> PathBuf {
        self.path("/var/lib/hostwrit-courier/mirror.git")
    }

    /// Returns the mirror itself, for a cycle in this process: it takes the place of the courier.
    pub fn source(&self) -> Mirror {
        fs::create_dir_all(self.mirror().parent().unwrap()).unwrap();
        Mirror::open(&self.mirror(), self.config().anchor.root.kind(), Limits::default()).unwrap()
    }

    /// Returns the program with a clean environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = program(args);
        command.arg("--root").arg(self.root());
        command
    }

    /// Runs the program on this host.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.tidy(ran(&mut self.command(args)))
    }

    /// Replaces what differs from run to run by words.
    pub fn tidy(&self, ran: Ran) -> Ran {
        let tidy = |text: String| {
            let mut text = text.replace(&self.repo.path().display().to_string(), "REPO");
            text = text.replace(&self.root().display().to_string(), "ROOT");
            let commits = self.repo.git(&["rev-list", "--topo-order", "--all", "--reflog"]);
            for (number, commit) in commits.lines().rev().enumerate() {
                let name = format!("COMMIT{}", number + 1);
                text = text.replace(commit, &name).replace(&commit[..10], &name);
            }
            text.replace(&self.keys.alice.fingerprint, "ALICE").replace(&self.keys.mallory.fingerprint, "MALLORY")
        };
        Ran { code: ran.code, stdout: tidy(ran.stdout), stderr: tidy(ran.stderr) }
    }

    /// Applies, and demands that the host then agrees with the repo and the log is intact.
    pub fn converge(&self) -> Ran {
        let applied = self.run(&["apply"]);
        assert_eq!(applied.code, 0, "{applied:?}");
        self.agrees();
        applied
    }

    /// Demands that there is nothing to do and that the log is intact.
    pub fn agrees(&self) {
        let plan = self.run(&["plan"]);
        assert_eq!(plan.code, 0, "{plan:?}");
        let verified = self.run(&["audit", "verify"]);
        assert_eq!(verified.code, 0, "{verified:?}");
        assert!(!verified.stdout.contains("without an outcome"), "{verified:?}");
    }

    /// Copies the whole host, to go back to it.
    pub fn snapshot(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&self.root(), copy.path());
        copy
    }

    pub fn restore(&self, snapshot: &TempDir) {
        fs::remove_dir_all(self.root()).unwrap();
        fs::create_dir(self.root()).unwrap();
        copy_tree(snapshot.path(), &self.root());
    }

    /// Lists the managed part of the root.
    pub fn listing(&self) -> Vec<Listed> {
        list(&self.root()).into_iter().filter(|one| !OWN.iter().any(|own| one.path[1..].starts_with(own))).collect()
    }

    pub fn log(&self) -> String {
        self.get(hostwrit::audit::LOG).unwrap_or_default()
    }

    /// Counts the entries of the log that tell of this event.
    pub fn events(&self, event: &str) -> usize {
        self.log().matches(&format!("\"event\":\"{event}\"")).count()
    }
}

/// Returns the program with a clean environment.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostwrit"));
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", "/nonexistent").args(args).stdin(Stdio::null());
    command
}

pub fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn copy_tree(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(status.success());
}

/// Makes what a fresh host has and the kinds read.
fn make_base(root: &Path) {
    for dir in [
        "etc/hostwrit",
        "etc/ssh",
        "etc/sudoers.d",
        "etc/systemd/system",
        "etc/skel",
        "home",
        "run",
        "srv",
        "usr/lib/systemd/system",
        "var/lib",
        "var/log",
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (path, mode, text) in [
        ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n"),
        ("etc/shadow", 0o640, "root:*:20000:0:99999:7:::\nwww-data:*:20000:0:99999:7:::\n"),
        ("etc/group", 0o644, "root:x:0:\nsudo:x:27:\nwww-data:x:33:\n"),
        ("etc/gshadow", 0o640, "root:*::\nsudo:*::\nwww-data:*::\n"),
        ("etc/login.defs", 0o644, "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\n"),
        ("etc/hostname", 0o644, "web1\n"),
        ("etc/os-release", 0o644, "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"),
        ("etc/motd", 0o644, "A fresh host.\n"),
    ] {
        fs::write(root.join(path), text).unwrap();
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// One entry of a directory tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// From the root, beginning with a slash.
    pub path: String,
    /// Type and permission bits.
    pub mode: u32,
    pub owner: (u32, u32),
    /// Content of a file, target of a link.
    pub content: Vec<u8>,
}

/// Lists everything below `root`, sorted.
pub fn list(root: &Path) -> Vec<Listed> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_symlink() {
                fs::read_link(&path).unwrap().to_str().unwrap().as_bytes().to_vec()
            } else if meta.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            if meta.is_dir() {
                dirs.push(path.clone());
            }
            found.push(Listed {
                path: format!("/{}", path.strip_prefix(root).unwrap().to_str().unwrap()),
                mode: meta.mode(),
                owner: (meta.uid(), meta.gid()),
                content,
            });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}
