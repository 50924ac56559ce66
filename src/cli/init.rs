// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use sequoia_openpgp::Cert;
use sequoia_openpgp::parse::Parse;

use crate::host::{NewFile, ReadHost, RealHost, WriteHost, command};
use crate::manifest;
use crate::model::RepoFiles;
use crate::model::files::FileError;
use crate::trust::KeyName;
use crate::trust::policy::view::ssh_key_name;

use super::clone::GitClone;
use super::{CommandError, Exit, hooks, output};

/// Make a new infra repo: a policy with one principal, one host and one profile
///
/// The principal's public key is taken from your gpg keyring or from an SSH key file. DIR becomes a Git repository that
/// signs with that key, with hooks that end each message with the trailers that the policy asks for. The files are ready
/// to be committed.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub struct Init {
    /// A new or empty directory; with --hooks, a clone of an infra repo
    #[arg(value_name = "DIR", required_unless_present = "hooks")]
    dir: Option<PathBuf>,
    /// Your OpenPGP key, as gpg knows it: a fingerprint or an address
    #[arg(long, value_name = "KEY", group = "what")]
    key: Option<String>,
    /// Your SSH key: the file with its public half
    #[arg(long, value_name = "FILE", group = "what")]
    ssh_key: Option<PathBuf>,
    /// Only install the hooks, into a clone that is there; by default into the one around the working directory
    #[arg(long, group = "what")]
    hooks: bool,
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

/// The first principal's key.
struct FirstKey {
    name: KeyName,
    /// The public half, as the repo keeps it.
    text: String,
    /// The sort of key, and how its file ends.
    sort: &'static str,
    ending: &'static str,
    /// What git is configured to sign with.
    git_format: &'static str,
    git_key: String,
}

impl Init {
    pub fn run(&self) -> Result<Exit, CommandError> {
        if self.hooks {
            let clone = GitClone::open(self.dir.as_deref().unwrap_or(Path::new(".")))?;
            hooks::install(&clone)?;
            output::answer(format!("The hooks are in {}", clone.git_dir().join("hooks").display()));
            return Ok(Exit::Done);
        }
        self.check_names()?;
        let shown = self.dir.as_deref().unwrap_or(Path::new("."));
        let dir = std::path::absolute(shown).map_err(|error| CommandError::new(Exit::Usage, error))?;
        let above = RealHost::open(Path::new("/"))?;
        let names = above.list(&dir)?.unwrap_or_default();
        if names.iter().any(|name| name != ".git") {
            return Err(usage(format!("{} is not empty; name a new directory", dir.display())));
        }
        let is_repository = !names.is_empty();
        let key = match (&self.key, &self.ssh_key) {
            (Some(key), _) => openpgp_key(key)?,
            (_, Some(file)) => ssh_key(file)?,
            _ => return Err(usage("give --key or --ssh-key".to_owned())),
        };

        let existing = if is_repository { GitClone::open(&dir)?.branch()? } else { None };
        let git_ref = existing.as_deref().unwrap_or("refs/heads/main");
        let files = self.files(&key, git_ref);
        // What hosts would refuse, such as a key that is too weak, must not become the root of a fleet.
        let faults = manifest::check(&files).faults;
        if !faults.is_empty() {
            let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
            return Err(failed(text.join("\n")));
        }
        above.ensure_dir(&dir, 0o755)?;
        let repo = RealHost::open(&dir)?;
        for (path, text) in &files.0 {
            let path = Path::new("/").join(path);
            repo.ensure_dir(path.parent().unwrap_or(&path), 0o755)?;
            let file = NewFile { content: text.as_bytes(), owner: None, mode: 0o644, check: None };
            repo.replace_file(&path, &file)?;
        }
        if !is_repository {
            git_init(&dir)?;
        }
        let clone = GitClone::open(&dir)?;
        for (setting, value) in
            [("gpg.format", key.git_format), ("user.signingkey", key.git_key.as_str()), ("commit.gpgsign", "true")]
        {
            clone.ask(&["config", "--local", setting, value])?;
        }
        hooks::install(&clone)?;
        self.say_what_next(shown, &key, git_ref);
        Ok(Exit::Done)
    }

    fn check_names(&self) -> Result<(), CommandError> {
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
        Ok(())
    }

    fn files(&self, key: &FirstKey, git_ref: &str) -> NewFiles {
        let Self { principal, fleet, host, .. } = self;
        let FirstKey { sort, ending, .. } = key;
        let policy = format!(
            "\
# Who may change this repo. Each commit is judged by the policy of its parents, never by its own.
format: 1
version: 1                # count up with each change of this file
fleet: {fleet}
ref: {git_ref}
trailers: required        # commits say which repo and branch they are for; hooks write that: hostwrit init --hooks
principals:
  {principal}: {{{sort}: [keys/{principal}.{ending}]}}
roles:
  owners: [{principal}]
rules:                    # the first rule that matches what a commit changes decides; what none matches is refused
  - {{change: [\"*\"], needs: {{role: owners}}}}
# With a second owner: what nobody may remove alone, whatever the rules say.
# protect: [\"user:*\", \"port:22/tcp\", \"file:/etc/ssh/*\", \"file:/etc/sudoers*\"]
"
        );
        NewFiles(BTreeMap::from([
            ("hostwrit.yaml".to_owned(), format!("format: 1\nfleet: {fleet}\n")),
            ("policy/policy.yaml".to_owned(), policy),
            (format!("policy/keys/{principal}.{ending}"), key.text.clone()),
            (format!("hosts/{host}.yaml"), HOST.to_owned()),
            ("profiles/base.yaml".to_owned(), PROFILE.to_owned()),
        ]))
    }

    fn say_what_next(&self, dir: &Path, key: &FirstKey, git_ref: &str) {
        let Self { fleet, host, .. } = self;
        let dir = dir.display();
        output::answer(format!("{dir} is an infra repo with the host {host}. What comes next:"));
        output::answer(format!("\n  cd {dir}"));
        output::answer("  hostwrit check");
        output::answer("  git add . && git commit -m 'Begin'");
        output::answer("\nThen push it, and put this into /etc/hostwrit/config.yaml on the host:\n");
        output::answer(format!("  fleet: {fleet}"));
        output::answer("  remote: URL                      # where you pushed it");
        if git_ref != "refs/heads/main" {
            output::answer(format!("  ref: {git_ref}"));
        }
        output::answer(format!("  host: {host}"));
        output::answer("  trust:");
        output::answer("    root: COMMIT                   # git rev-parse HEAD");
        output::answer(format!("    signers: [\"{}\"]", key.name));
    }
}

fn usage(text: String) -> CommandError {
    CommandError::new(Exit::Usage, text)
}

fn failed(text: String) -> CommandError {
    CommandError::new(Exit::Failed, text)
}

/// Takes a key from the caller's gpg keyring.
fn openpgp_key(key: &str) -> Result<FirstKey, CommandError> {
    let export = command::run_as_caller("gpg", &["--export", "--armor", "--", key])?;
    if !export.success || export.stdout.is_empty() {
        return Err(failed(format!("gpg has no key \"{key}\"; `gpg --list-secret-keys` lists yours")));
    }
    let cert = Cert::from_bytes(&export.stdout)
        .map_err(|error| failed(format!("\"{key}\" is not one key: {error}; give its fingerprint")))?;
    Ok(FirstKey {
        git_key: cert.fingerprint().to_hex(),
        name: KeyName::OpenPgp(cert.fingerprint()),
        text: String::from_utf8_lossy(&export.stdout).into_owned(),
        sort: "openpgp",
        ending: "asc",
        git_format: "openpgp",
    })
}

/// Takes a key from the file with its public half.
fn ssh_key(file: &Path) -> Result<FirstKey, CommandError> {
    let path = std::path::absolute(file).map_err(|error| CommandError::new(Exit::Usage, error))?;
    let text = RealHost::open(Path::new("/"))?.read(&path)?;
    let text = text.ok_or_else(|| usage(format!("there is no file {}", file.display())))?;
    let text = String::from_utf8_lossy(&text);
    if text.contains("PRIVATE KEY") {
        return Err(usage(format!("{0} is a secret key; give its public half, {0}.pub", file.display())));
    }
    let name = ssh_key_name(text.as_bytes()).map_err(|why| usage(format!("{} {why}", file.display())))?;
    let git_key = path.to_str().ok_or_else(|| usage(format!("{} is not named in UTF-8", path.display())))?;
    Ok(FirstKey {
        name,
        text: text.into_owned(),
        sort: "ssh",
        ending: "pub",
        git_format: "ssh",
        git_key: git_key.to_owned(),
    })
}

fn git_init(dir: &Path) -> Result<(), CommandError> {
    let dir = dir.to_str().ok_or_else(|| usage(format!("{} is not named in UTF-8", dir.display())))?;
    let made = command::run_as_caller("git", &["init", "--quiet", "--initial-branch=main", "--", dir])?;
    if !made.success {
        return Err(failed(format!("git init failed: {}", String::from_utf8_lossy(&made.stderr).trim())));
    }
    Ok(())
}

/// The files of the repo to be.
struct NewFiles(BTreeMap<String, String>);

impl RepoFiles for NewFiles {
    fn paths(&self) -> Result<Vec<String>, FileError> {
        Ok(self.0.keys().cloned().collect())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        Ok(self.0.get(path).map(|text| text.clone().into_bytes()))
    }
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
