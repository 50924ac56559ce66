// SPDX-License-Identifier: Apache-2.0
//! Signed trailers that bind a commit to its fleet and ref, and give it a number.
//!
//! A signature says nothing of the place that a commit was meant for: whoever owns the Git server could put a signed commit
//! of somebody's branch on the ref that hosts follow. `git interpret-trailers` has the format: the last paragraph of the message.

use super::anchor::Anchor;
use super::commit::Commit;
use super::refusal::{Code, Refusal};

const REPO: &str = "Hostwrit-Repo";
const REF: &str = "Hostwrit-Ref";
const SEQ: &str = "Hostwrit-Seq";
const ROLLOUT: &str = "Hostwrit-Rollout";
const ALLOW_REMOVALS: &str = "Hostwrit-Allow-Removals";

/// What the trailers of a commit say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trailers {
    pub(super) repo: Option<String>,
    pub(super) git_ref: Option<String>,
    pub(super) seq: Option<u64>,
}

impl Trailers {
    /// Reads the trailers of a message.
    pub(super) fn of(commit: &Commit) -> Result<Self, Refusal> {
        Ok(Self { repo: value(commit, REPO)?, git_ref: value(commit, REF)?, seq: number(commit, SEQ)? })
    }
}

/// Returns what a commit says of how it is to be rolled out.
pub(super) fn rollout(commit: &Commit) -> Result<Option<String>, Refusal> {
    value(commit, ROLLOUT)
}

/// Returns how many objects a commit allows to be removed from each host.
pub(super) fn allow_removals(commit: &Commit) -> Result<Option<u64>, Refusal> {
    number(commit, ALLOW_REMOVALS)
}

/// Returns the number that a trailer has for a value.
fn number(commit: &Commit, name: &str) -> Result<Option<u64>, Refusal> {
    match value(commit, name)? {
        None => Ok(None),
        // One way to write a number, so that two programs never disagree on it.
        Some(text) => match text.parse::<u64>() {
            Ok(number) if number.to_string() == text => Ok(Some(number)),
            _ => {
                let text = text.escape_debug();
                Err(Refusal::new(Code::MalformedTrailers, format!("{name} \"{text}\" is not a number")))
            }
        },
    }
}

/// Returns the value of a trailer, which may be there once.
pub(super) fn value(commit: &Commit, name: &str) -> Result<Option<String>, Refusal> {
    let mut values = last_paragraph(commit.message()).split(|byte| *byte == b'\n').filter_map(|line| {
        let rest = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        Some(String::from_utf8_lossy(rest).trim().to_owned())
    });
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Refusal::new(Code::MalformedTrailers, format!("it has {name} twice"))),
    }
}

fn last_paragraph(message: &[u8]) -> &[u8] {
    let end = message.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1);
    let message = &message[..end];
    let start = message.windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
    &message[start..]
}

/// Checks a commit that stands on the ref, behind its first parent.
pub(super) fn check(commit: &Commit, first: Option<&Commit>, required: bool, anchor: &Anchor) -> Result<(), Refusal> {
    let trailers = Trailers::of(commit)?;
    for (name, found, wanted) in [(REPO, &trailers.repo, &anchor.fleet), (REF, &trailers.git_ref, &anchor.git_ref)] {
        match found {
            Some(found) if found != wanted => {
                let detail = format!("it was made for another place: {name} is \"{found}\", this is \"{wanted}\"");
                return Err(Refusal::new(Code::Teleport, detail));
            }
            None if required => return Err(Refusal::new(Code::TrailersMissing, format!("it has no {name}"))),
            _ => {}
        }
    }
    let before = first.map(Trailers::of).transpose()?.and_then(|trailers| trailers.seq);
    match (trailers.seq, before) {
        (Some(seq), Some(before)) if seq <= before => {
            Err(Refusal::new(Code::Sequence, format!("it has the number {seq}, and its first parent {before}")))
        }
        (None, Some(before)) => {
            Err(Refusal::new(Code::Sequence, format!("it has no {SEQ}, and its first parent has {before}")))
        }
        (None, None) if required => Err(Refusal::new(Code::TrailersMissing, format!("it has no {SEQ}"))),
        _ => Ok(()),
    }
}
