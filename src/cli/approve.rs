// SPDX-License-Identifier: Apache-2.0

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;

use crate::model::git::Oid;

use super::clone::{GitClone, Place};
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
        let message = format!(
            "{}\n\nHostwrit-Repo: {}\nHostwrit-Ref: {}\nHostwrit-Seq: {}",
            subject.trim(),
            place.fleet,
            place.git_ref,
            clone.next_number(base)?
        );
        let made = clone.signed_commit(&clone.tree(tip)?, &[*base, *tip], &message)?;
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
    let commits = clone.ask(&[
        "-c",
        "log.showSignature=false",
        "log",
        "--reverse",
        "--no-decorate",
        "--format=%h  %<(20,trunc)%an  %s",
        &range,
        "--",
    ])?;
    output::answer(format!("{}:", output::count(commits.lines().count(), "commit")));
    commits.lines().for_each(|line| output::answer(format!("  {}", plain(line))));
    let files = clone.ask(&["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--stat=100", &range, "--"])?;
    output::answer("What they change, taken together:");
    files.lines().for_each(|line| output::answer(format!(" {}", plain(line))));
    output::answer(format!("Every line of it: git diff {} {}", short(&proposal.base), short(&proposal.tip)));
    Ok(())
}

/// What others wrote must not steer the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
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
