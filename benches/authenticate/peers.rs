// SPDX-License-Identifier: Apache-2.0
//! Other programs that verify the same chain.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::chain::{Chain, Scheme, beside};

/// Runs the command to its end.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `sq-git log` without its cache, where `tests/oracle/install` has put it; it reads no SSH signatures.
pub fn sq_git(chain: &Chain) -> Option<Command> {
    let program = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/bin/sq-git"));
    if chain.scheme() == Scheme::Ssh || !program.exists() {
        return None;
    }
    let cache = chain.path().join("cache");
    let _ = std::fs::remove_dir_all(&cache);
    std::fs::create_dir(&cache).unwrap();
    let mut command = Command::new(program);
    command.current_dir(chain.path()).env("XDG_CACHE_HOME", cache).env("HOME", chain.path());
    command.args(["log", "--trust-root", &chain.anchor().root.to_string(), &chain.tip().to_string()]);
    Some(command)
}

/// `git log --format=%G?`, which starts gpg or ssh-keygen for each commit.
pub fn git_log(chain: &Chain) -> Option<Command> {
    let mut command = Command::new("git");
    command.current_dir(chain.path()).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    if chain.scheme() == Scheme::Ssh {
        let signers = beside(chain, "signers", &format!("alice@example.org {}", chain.public_text()));
        command.arg("-c").arg(format!("gpg.ssh.allowedSignersFile={}", signers.display()));
    } else {
        // The path of the agent's socket must be short; no agent is started for a public key.
        let home = chain.path().join("gnupg");
        std::fs::create_dir(&home).unwrap();
        let cert = beside(chain, "alice.asc", &chain.public_text());
        let import = Command::new("gpg")
            .env("GNUPGHOME", &home)
            .args(["--batch", "--quiet", "--no-autostart", "--trust-model", "always", "--import"])
            .arg(cert)
            .stderr(Stdio::null())
            .status();
        if !import.is_ok_and(|status| status.success()) {
            return None;
        }
        command.env("GNUPGHOME", home);
    }
    command.args(["log", "--format=%G?", &chain.tip().to_string()]);
    Some(command)
}
