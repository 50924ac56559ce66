// SPDX-License-Identifier: Apache-2.0

use std::path::{Path, PathBuf};

use clap::Args;
use sequoia_openpgp::Cert;
use sequoia_openpgp::parse::Parse;

use crate::host::{NewFile, ReadHost, RealHost, WriteHost, command};
use crate::manifest;

use super::{CommandError, Exit, output};

/// Make a new infra repo: a policy with one principal, one host and one profile
///
/// The principal's public key is taken from your gpg keyring. The files are ready to be committed and signed.
#[derive(Debug, Args)]
pub struct Init {
    /// A new or empty directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Your key, as gpg knows it: a fingerprint or an address
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Your name in the policy
    #[arg(long, value_name = "NAME", default_value = "owner")]
    principal: String,
    /// The fleet's id: a name that no other fleet has
    #[arg(long, value_name = "ID", default_value = "infra.example.org")]
    fleet: String,
    /// The first host's name
    #[arg(long, value_name = "NAME", default_value = "host1")]
    host: String,
}

impl Init {
    pub fn run(&self) -> Result<Exit, CommandError> {
        let failed = |text: String| CommandError::new(Exit::Failed, text);
        let usage = |text: String| CommandError::new(Exit::Usage, text);
        let plain = |text: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                && !text.starts_with(['.', '-'])
        };
        for (option, value) in [("--principal", &self.principal), ("--fleet", &self.fleet)] {
            if !plain(value) {
                return Err(usage(format!("{option} \"{value}\": use letters, digits, dots, dashes and underscores")));
            }
        }

        if !manifest::is_host_name(&self.host) {
            return Err(usage(format!("--host \"{}\": use letters, digits, dots and hyphens", self.host)));
        }

        let export = command::run_as_caller("gpg", &["--export", "--armor", "--", &self.key])?;
        if !export.success || export.stdout.is_empty() {
            let hint = "`gpg --list-secret-keys` lists yours";
            return Err(failed(format!("gpg has no key \"{}\"; {hint}", self.key)));
        }
        let cert = Cert::from_bytes(&export.stdout)
            .map_err(|error| failed(format!("\"{}\" is not one key: {error}; give its fingerprint", self.key)))?;

        let dir = std::path::absolute(&self.dir).map_err(|error| CommandError::new(Exit::Usage, error))?;
        let above = RealHost::open(Path::new("/"))?;
        if above.list(&dir)?.is_some_and(|names| names.iter().any(|name| name != ".git")) {
            return Err(usage(format!("{} is not empty; name a new directory", dir.display())));
        }
        above.ensure_dir(&dir, 0o755)?;
        let repo = RealHost::open(&dir)?;
        let Self { principal, fleet, host, .. } = self;
        let public_key = String::from_utf8_lossy(&export.stdout);
        for (path, text) in [
            ("/hostwrit.yaml".to_owned(), format!("format: 1\nfleet: {fleet}\n")),
            ("/policy/policy.yaml".to_owned(), policy(principal, fleet)),
            (format!("/policy/keys/{principal}.asc"), public_key.into_owned()),
            (format!("/hosts/{host}.yaml"), HOST.to_owned()),
            ("/profiles/base.yaml".to_owned(), PROFILE.to_owned()),
        ] {
            let path = Path::new(&path);
            repo.ensure_dir(path.parent().unwrap_or(path), 0o755)?;
            let file = NewFile { content: text.as_bytes(), owner: None, mode: 0o644, check: None };
            repo.replace_file(path, &file)?;
        }

        let fingerprint = cert.fingerprint().to_hex();
        let shown = self.dir.display();
        output::answer(format!("{shown} is an infra repo with the host {host}. What comes next:"));
        output::answer(format!("\n  cd {shown}"));
        output::answer("  git init --initial-branch=main   # unless it is one already");
        output::answer("  hostwrit check");
        output::answer(format!("  git add . && git commit --gpg-sign={fingerprint} -m 'Begin'"));
        output::answer("\nThen push it, and put this into /etc/hostwrit/config.yaml on the host:\n");
        output::answer(format!("  fleet: {fleet}"));
        output::answer("  remote: URL                      # where you pushed it");
        output::answer(format!("  host: {host}"));
        output::answer("  trust:");
        output::answer("    root: COMMIT                   # git rev-parse HEAD");
        output::answer(format!("    signers: [\"openpgp:{fingerprint}\"]"));
        Ok(Exit::Done)
    }
}

fn policy(principal: &str, fleet: &str) -> String {
    format!(
        "# Who may change this repo. Each commit is judged by the policy of its parents, never by its own.\n\
         format: 1\n\
         version: 1                # count up with each change of this file\n\
         fleet: {fleet}\n\
         ref: refs/heads/main\n\
         principals:\n  {principal}: {{openpgp: [keys/{principal}.asc]}}\n"
    )
}

const HOST: &str = "\
# What this host has of its own, on top of its profiles.
labels: {}
profiles: [base]
vars: {}
";

const PROFILE: &str = "\
# What every host has.
files:
  /etc/motd:
    content: |
      This host is kept by hostwrit. Changes by hand do not last.
";
