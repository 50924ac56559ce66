// SPDX-License-Identifier: Apache-2.0

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;

use crate::host::{ReadHost as _, RealHost};
use crate::manifest::Effects;
use crate::model::git::Oid;
use crate::trust::{Anchor, PolicyView, Revocations, claim};

use super::clone::{CommitFiles, GitClone, Place};
use super::trust::judge::Range;
use super::{CommandError, Exit, output};

/// Put your signature under what another principal has signed, by an approval merge
///
/// Shows the commits of BRANCH that the branch checked out here lacks, and the files that they change, and asks. The
/// merge that it makes has exactly the files of BRANCH, so what you saw is what you sign. Nothing is pushed.
#[derive(Debug, Args)]
pub struct Approve {
    /// The branch or commit to approve, such as origin/new-web-server
    #[arg(value_name = "BRANCH")]
    branch: String,
    /// The clone of the infra repo, with the branch checked out that hosts follow
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The message of the merge
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// What is to be approved, found fit for it.
struct Proposal {
    place: Place,
    /// The tip of the branch that hosts follow.
    base: Oid,
    tip: Oid,
}

impl Approve {
    pub fn run(&self) -> Result<Exit, CommandError> {
        let clone = GitClone::open(&self.dir)?;
        let proposal = self.proposal(&clone)?;
        let Proposal { place, base, tip } = &proposal;
        show(&clone, &proposal)?;
        if !self.yes && !asked("Approve this?")? {
            return Err(CommandError::new(Exit::Pending, "nothing was approved"));
        }
        let subject = self.message.clone().unwrap_or_else(|| format!("Approve {}", self.branch));
        // Trailers that the message ends with, such as Hostwrit-Allow-Removals, stay in the last paragraph, where they count.
        let last = subject.trim().rsplit("\n\n").next().unwrap_or_default();
        let gap =
            if !last.is_empty() && last.lines().all(|line| line.starts_with("Hostwrit-")) { "\n" } else { "\n\n" };
        let message = format!(
            "{}{gap}Hostwrit-Repo: {}\nHostwrit-Ref: {}\nHostwrit-Seq: {}",
            subject.trim(),
            place.fleet,
            place.git_ref,
            clone.next_number(base)?
        );
        let made = clone.signed_commit(&clone.tree(tip)?, &[*base, *tip], &message)?;
        judge(&clone, &proposal, &made)?;
        let moved = clone.ask_whether(&["merge", "--quiet", "--ff-only", &made.to_string()])?;
        if moved.is_none() || clone.commit("HEAD")? != made {
            let text = format!("{made} is made, but {} did not move to it: git merge --ff-only {made}", place.git_ref);
            return Err(CommandError::new(Exit::Failed, text));
        }
        let branch = place.git_ref.trim_start_matches("refs/heads/");
        output::answer(format!("Approved: {branch} is {made}"));
        output::answer(format!("Push it: git push REMOTE {branch}"));
        Ok(Exit::Done)
    }

    /// Finds out what there is to approve, and why it cannot be approved before anybody is asked for a passphrase.
    fn proposal(&self, clone: &GitClone) -> Result<Proposal, CommandError> {
        let failed = |text: String| CommandError::new(Exit::Failed, text);
        let base = clone.commit("HEAD")?;
        let tip = clone.commit(&self.branch)?;
        let place = clone.place(&base)?;
        let followed = place.git_ref.trim_start_matches("refs/heads/");
        match clone.branch()? {
            Some(branch) if branch == place.git_ref => {}
            other => {
                let other = other.unwrap_or_else(|| "no branch".to_owned());
                return Err(failed(format!(
                    "{other} is checked out, and hosts follow {}: git switch {followed}",
                    place.git_ref
                )));
            }
        }
        let is_ancestor = |one: &Oid, other: &Oid| {
            clone.ask_whether(&["merge-base", "--is-ancestor", &one.to_string(), &other.to_string()])
        };
        if is_ancestor(&tip, &base)?.is_some() {
            return Err(failed(format!("{followed} has all that {} has: there is nothing to approve", self.branch)));
        }
        if is_ancestor(&base, &tip)?.is_none() {
            let why = format!(
                "{} lacks commits of {followed}, and an approval may not change what was reviewed",
                self.branch
            );
            let hint = format!("have its author run: git rebase {followed}");
            return Err(failed(format!("{why}\n  {hint}")));
        }
        if !clone.ask(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
            return Err(failed("there are changes that are not committed; commit or stash them first".to_owned()));
        }
        Ok(Proposal { place, base, tip })
    }
}

/// Prints the commits and the files that they change.
fn show(clone: &GitClone, proposal: &Proposal) -> Result<(), CommandError> {
    let range = format!("{}..{}", proposal.base, proposal.tip);
    let objects = clone.objects()?;
    let policy = PolicyView::read(&CommitFiles { objects: &objects, commit: proposal.base }, SystemTime::UNIX_EPOCH)
        .map_err(|faults| CommandError::new(Exit::Unsound, faults))?;
    let log = ["-c", "log.showSignature=false", "log", "--reverse", "--format=%H %s", &range, "--"];
    let mut rows = Vec::new();
    for line in clone.ask(&log)?.lines() {
        let (id, subject) = line.split_once(' ').unwrap_or((line, ""));
        // Only what it says of itself; the judgement comes at the end.
        let signer = match Oid::from_hex(id.as_bytes()).ok().and_then(|id| claim(&objects, &id).ok()) {
            Some(claim) => policy.holder(&claim.key).map_or_else(|| claim.key.to_string(), str::to_owned),
            None => "(unsigned)".to_owned(),
        };
        rows.push(vec![output::short(id).to_owned(), output::plain(&signer), output::plain(subject)]);
    }
    output::answer(format!("{}:", output::count(rows.len(), "commit")));
    output::table(&rows).iter().for_each(|line| output::answer(format!("  {line}")));
    let files = clone.ask(&["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--stat=100", &range, "--"])?;
    output::answer("What they change, taken together:");
    files.lines().for_each(|line| output::answer(format!(" {}", output::plain(line))));
    output::answer(format!("Every line of it: git diff {} {}", short(&proposal.base), short(&proposal.tip)));
    Ok(())
}

/// Judges the merge as every host will, before the branch moves to it.
fn judge(clone: &GitClone, proposal: &Proposal, made: &Oid) -> Result<(), CommandError> {
    let Proposal { place, base, tip } = proposal;
    // What the branch that hosts follow has is taken as proven. If the approved branch leads past it, that is only so
    // from the beginning on.
    let range = format!("{base}..{tip}");
    let edges = clone.ask(&["rev-list", "--boundary", &range, "--"])?;
    let own_edge = format!("-{base}");
    let is_all_newer = edges.lines().filter(|line| line.starts_with('-')).all(|edge| edge == own_edge);
    let root = match is_all_newer {
        true => *base,
        false => {
            clone.commit(&clone.ask(&["rev-list", "--first-parent", "--max-parents=0", &base.to_string(), "--"])?)?
        }
    };
    let anchor = Anchor {
        fleet: place.fleet.clone(),
        git_ref: place.git_ref.clone(),
        root,
        signers: Vec::new(),
        revoked: Revocations::default(),
    };
    let now = RealHost::open(Path::new("/"))?.now();
    let refused = |refusal| CommandError::new(Exit::Refused, refusal);
    let range = Range { anchor: &anchor, base: Some(base), tip: made };
    let good = range.judge(&clone.objects()?, now, &mut Effects::of_fleet()).map_err(refused)?;
    let Some((own, others)) = good.signatures.split_last() else { return Ok(()) };
    match others.iter().find(|other| other.principal == own.principal) {
        None => Ok(()),
        Some(other) => {
            let why = format!(
                "you are {}, who signed {} of it: an approval needs another",
                own.principal,
                short(&other.commit)
            );
            let hint = "to merge it as your own: git merge --no-ff -S";
            Err(CommandError::new(Exit::Refused, format!("{why}\n  {hint}")))
        }
    }
}

fn short(commit: &Oid) -> String {
    output::short(&commit.to_string()).to_owned()
}

/// Asks the person, who must be there.
fn asked(question: &str) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::new(Exit::Usage, "nobody is there to be asked; say --yes once you have read it"));
    }
    output::ask(format!("{question} [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| CommandError::new(Exit::Failed, error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
