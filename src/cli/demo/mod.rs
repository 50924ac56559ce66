// SPDX-License-Identifier: Apache-2.0
//! The whole loop in a throw-away directory, told as a story.

mod infra_repo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use include_dir::{Dir, include_dir};

use crate::audit::{LOG, OutcomeResult, verify::verify};
use crate::engine::config::CONFIG;
use crate::engine::{Config, Cycle, Report};
use crate::host::{NewFile, ReadHost, RealHost, WriteHost};
use crate::model::chain;

use super::{CommandError, Exit, courier, output};
use infra_repo::{Error, InfraRepo, Person};

/// Show the whole loop on the example repo, in a throw-away directory
///
/// Makes keys and a signed infra repo, converges a make-believe host below DIR, damages it, repairs it, and offers it
/// commits that it must refuse. Nothing outside DIR is touched. It needs `git`, and `visudo` for the sudo rule.
#[derive(Debug, Args)]
pub struct Demo {
    /// An empty or new directory; by default one is made below the system's temporary directory
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

static EXAMPLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/example-repo");

/// The host of the example that the demo plays.
const HOST: &str = "web1";
const FLEET: &str = "infra.example.org";
const BRANCH: &str = "refs/heads/main";
/// A file that the example gives to the host; the demo damages it.
const MOTD: &str = "/etc/motd";

impl Demo {
    pub fn run(&self) -> Result<Exit, CommandError> {
        let dir = self
            .dir
            .clone()
            .unwrap_or_else(|| std::env::temp_dir().join(format!("hostwrit-demo-{}", std::process::id())));
        play(&dir).map_err(|error| CommandError::new(Exit::Failed, error))?;
        Ok(Exit::Done)
    }
}

fn play(dir: &Path) -> Result<(), Error> {
    let dir = std::path::absolute(dir)?;
    let above = RealHost::open(Path::new("/"))?;
    if above.list(&dir)?.is_some_and(|names| !names.is_empty()) {
        return Err(format!("{} is not empty; name a new directory", dir.display()).into());
    }
    above.ensure_dir(&dir, 0o755)?;

    title("A signed infra repo");
    let (admin, webmaster, mallory) = (Person::new("admin")?, Person::new("webmaster")?, Person::new("mallory")?);
    let files = example_files(&[&admin, &webmaster])?;
    let mut repo = InfraRepo::create(&dir.join("infra.git"), FLEET, BRANCH, files)?;
    let root_commit = repo.commit(Some(&admin), "One web server", above.now())?;
    say(format!("example-repo/ is committed as {}, signed by admin ({}).", short(&root_commit), admin.fingerprint()));

    title("A host that knows only where to start");
    let root = dir.join("root");
    let host = make_host(&root)?;
    write(&host, CONFIG, &config_text(&dir, &root_commit.to_string(), &admin))?;
    let config = Config::read(&host)?;
    say(format!("{HOST} lives in {} and trusts one commit and one key.", root.display()));
    if !host.sets_owners() {
        say("You are not root, so owners of files are neither set nor compared.");
    }

    title("hostwrit plan: what would change, and which line asks for it");
    let report = plan(&config, &host)?;
    show_plan(&report);

    title("hostwrit apply: carry out just that");
    let report = apply(&config, &host)?;
    expect(report.converged(), "the host agrees with the repo after apply")?;
    say("A second look finds nothing to do, so it is done.");

    title("Somebody changes the host by hand");
    write(&host, MOTD, "All your host are belong to us.\n")?;
    let report = plan(&config, &host)?;
    show_plan(&report);
    expect(report.plan.steps.len() == 1, "the change by hand is seen, and nothing else")?;
    let report = apply(&config, &host)?;
    expect(report.converged(), "the change by hand is repaired")?;

    title("A commit that nobody signed");
    repo.edit("hosts/web1.yaml", |text| format!("{text}\n# a word from nobody\n"))?;
    repo.commit(None, "Trust me", above.now())?;
    refused(&config, &host, "unsigned")?;

    title("A commit signed by a stranger");
    repo.move_to(root_commit)?;
    repo.commit(Some(&mallory), "Trust me too", above.now())?;
    refused(&config, &host, "unknown-signer")?;

    title("A commit by admin again");
    repo.move_to(root_commit)?;
    repo.edit("profiles/base.yaml", |text| {
        text.replace("Authorized use only.", "Authorized use only. Ask ops first.")
    })?;
    let next = repo.commit(Some(&admin), "A word to our guests", above.now())?;
    let report = apply(&config, &host)?;
    expect(report.converged() && report.hindrance.is_none(), "the signed commit is followed")?;
    say(format!("The host follows {}.", short(&next)));

    title("A commit by the webmaster, who may change what the web servers say");
    repo.edit("profiles/web.yaml", |text| text.replace("Hello from", "Welcome to"))?;
    let site = repo.commit(Some(&webmaster), "A warmer welcome", above.now())?;
    let report = apply(&config, &host)?;
    expect(report.converged() && report.hindrance.is_none(), "the webmaster's commit is followed")?;
    say(format!("The host follows {}.", short(&site)));

    title("The webmaster lets himself in, in a file that he may edit");
    repo.edit("profiles/web.yaml", |text| {
        text.replace("users:\n", "users:\n  webmaster: {password: locked, sudo: \"ALL=(ALL:ALL) NOPASSWD: ALL\"}\n")
    })?;
    repo.commit(Some(&webmaster), "Tidy up", above.now())?;
    refused(&config, &host, "not-authorized")?;

    title("The audit log");
    let verified = verify(&host.read(Path::new(LOG))?.unwrap_or_default());
    expect(verified.problems.is_empty(), "the audit log is intact")?;
    say(format!("{} entries, chained and intact. Head: {}", verified.entries, verified.head));

    title("Look around");
    say(format!("  infra repo  git -C {} log --show-signature", dir.join("infra.git").display()));
    say(format!("  host        ls -l {}", root.join("etc").display()));
    say(format!("  audit log   less {}", root.join(LOG.trim_start_matches('/')).display()));
    say(format!("  ask why     hostwrit --root {} why file:{MOTD}", root.display()));
    say(format!("  clean up    rm -r {}", dir.display()));
    Ok(())
}

/// Returns the example's files, with these people's throw-away keys in the place of the example's.
fn example_files(people: &[&Person]) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    fn collect(dir: &Dir<'_>, files: &mut BTreeMap<String, Vec<u8>>) {
        for file in dir.files() {
            files.insert(file.path().to_string_lossy().into_owned(), file.contents().to_vec());
        }
        dir.dirs().for_each(|dir| collect(dir, files));
    }
    let mut files = BTreeMap::new();
    collect(&EXAMPLE, &mut files);
    for person in people {
        files.insert(format!("policy/keys/{}.asc", person.name), person.public_key()?);
    }
    Ok(files)
}

fn config_text(dir: &Path, root_commit: &str, admin: &Person) -> String {
    format!(
        "fleet: {FLEET}\nremote: {}\nref: {BRANCH}\nhost: {HOST}\ntrust:\n  root: {root_commit}\n  signers: [\"openpgp:{}\"]\n",
        // JSON is YAML, and quotes whatever the path holds.
        serde_json::json!(dir.join("infra.git")),
        admin.fingerprint()
    )
}

/// Makes the few files that a fresh Debian has and that the kinds read.
fn make_host(root: &Path) -> Result<RealHost, Error> {
    RealHost::open(Path::new("/"))?.ensure_dir(root, 0o755)?;
    let host = RealHost::open(root)?;
    for dir in [
        "/etc/hostwrit",
        "/etc/ssh/sshd_config.d",
        "/etc/sudoers.d",
        "/etc/systemd/system",
        "/etc/skel",
        "/home",
        "/root",
        "/srv",
        "/opt",
        "/usr/lib",
        "/usr/local/bin",
        "/var/lib",
        "/var/log",
        "/run",
    ] {
        host.ensure_dir(Path::new(dir), 0o755)?;
    }
    for (path, text) in [
        ("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"),
        ("/etc/shadow", "root:*:20000:0:99999:7:::\nwww-data:*:20000:0:99999:7:::\n"),
        ("/etc/group", "root:x:0:\nadm:x:4:\nsudo:x:27:\nwww-data:x:33:\n"),
        ("/etc/gshadow", "root:*::\nadm:*::\nsudo:*::\nwww-data:*::\n"),
        (
            "/etc/login.defs",
            "UID_MIN 1000\nUID_MAX 60000\nSYS_UID_MIN 100\nSYS_UID_MAX 999\nGID_MIN 1000\nGID_MAX 60000\nSYS_GID_MIN 100\nSYS_GID_MAX 999\n",
        ),
        ("/etc/hostname", "web1\n"),
        ("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"),
        (MOTD, "Welcome to a fresh host.\n"),
    ] {
        write(&host, path, text)?;
    }
    Ok(host)
}

fn write(host: &RealHost, path: &str, text: &str) -> Result<(), Error> {
    let file = NewFile { content: text.as_bytes(), owner: None, mode: 0o644, check: None };
    Ok(host.replace_file(Path::new(path), &file)?)
}

static GO_ON: AtomicBool = AtomicBool::new(false);

fn plan(config: &Config, host: &RealHost) -> Result<Report, Error> {
    let source = courier(host, config);
    Ok(Cycle::begin(config, host, &source, &GO_ON)?.plan()?)
}

/// Applies, and says how many steps that took; only those that did not go well are worth a line of the story.
fn apply(config: &Config, host: &RealHost) -> Result<Report, Error> {
    let source = courier(host, config);
    let report = Cycle::begin(config, host, &source, &GO_ON)?.apply(&mut |step, outcome| {
        if outcome.result != OutcomeResult::Done {
            say(output::outcome_line(step, outcome));
        }
    })?;
    let done = report.outcomes.iter().filter(|outcome| outcome.result == OutcomeResult::Done).count();
    if done > 0 {
        say(format!("{} done, each recorded before and after.", output::count(done, "step")));
    }
    Ok(report)
}

/// Applies, and demands that the tip is refused with this code while the host stays as it is.
fn refused(config: &Config, host: &RealHost, code: &str) -> Result<(), Error> {
    let report = apply(config, host)?;
    let hindrance = report.hindrance.as_ref().ok_or("the commit was not refused")?;
    say(chain(hindrance));
    expect(hindrance.code() == code && report.plan.steps.is_empty(), "the commit is refused and the host stays")?;
    say(format!("The last good commit, {}, stays enforced.", output::short(&report.plan.commit)));
    Ok(())
}

fn show_plan(report: &Report) {
    output::plan_lines(&report.plan.view(None)).into_iter().for_each(say);
}

/// The demo is a proof as well: what it says happened must have happened.
fn expect(holds: bool, claim: &str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(format!("the demo failed: it does not hold that {claim}").into()) }
}

fn title(text: &str) {
    output::answer(format!("\n== {text}"));
}

fn say(text: impl AsRef<str>) {
    text.as_ref().lines().for_each(|line| output::answer(format!("   {line}")));
}

fn short(commit: &crate::model::git::Oid) -> String {
    output::short(&commit.to_string()).to_owned()
}
