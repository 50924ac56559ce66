// SPDX-License-Identifier: Apache-2.0

use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::audit::{self, Event};
use crate::cli::{CommandError, Exit, courier, open, output};
use crate::engine::{Cycle, CycleError};
use crate::model::Digest;
use crate::model::git::{Objects, Oid};
use crate::trust::claim;

/// List the commits that this host accepted, refused, put back or was ordered to, newest first, with who signed them
///
/// From the audit log; when each was signed, and the digest by which a policy bars a commit, from the mirror.
#[derive(Debug, Args)]
#[command(name = "log")]
pub struct LogCommand {
    /// At most so many lines
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<usize>,
    /// Print the lines as JSON (schemas/trust-log.json)
    #[arg(long)]
    json: bool,
}

/// A commit that the host accepted, refused or was ordered to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TrustLogLine")]
pub struct Line {
    /// The number of the entry in the audit log.
    entry: u64,
    /// When the host did: RFC 3339, UTC.
    time: String,
    verdict: Verdict,
    commit: Option<String>,
    /// Why it was refused or put back, or which order moved the host there.
    code: Option<String>,
    principal: Option<String>,
    /// The key that signed the commit; of an order, the key that signed the order.
    key: Option<String>,
    /// When the commit was signed, by the signer's account. An SSH signature does not say.
    signed: Option<String>,
    /// SHA-256 of what was signed, as `revoked` of a policy wants it.
    payload: Option<Digest>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Accepted,
    Refused,
    /// It was accepted and did the host no good, so the last good commit was put back.
    Held,
    /// The host moved there because a signed order said so.
    Ordered,
}

impl LogCommand {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let (host, config) = open(root)?;
        let stop = AtomicBool::new(false);
        let source = courier(&host, &config);
        let cycle = Cycle::begin(&config, &host, &source, &stop)?;
        let mut lines = Vec::new();
        for entry in audit::log::read(&host).map_err(CycleError::from)?.into_iter().rev() {
            let line = |verdict, commit| Line::new(entry.seq, &entry.time, verdict, commit, cycle.objects());
            match &entry.event {
                // Oldest first in the entry, as everywhere in the log.
                Event::Accepted { commit, signers, .. } => {
                    // A commit that is accepted again is not proven again, and so names nobody.
                    if signers.is_empty() {
                        lines.push(line(Verdict::Accepted, Some(commit)));
                    }
                    lines.extend(signers.iter().rev().map(|signer| Line {
                        principal: Some(signer.principal.clone()),
                        key: Some(signer.key.clone()),
                        ..line(Verdict::Accepted, Some(&signer.commit))
                    }));
                }
                Event::Refused { commit, code, .. } => {
                    lines.push(Line { code: Some(code.clone()), ..line(Verdict::Refused, commit.as_ref()) });
                }
                Event::Held { commit, code, .. } => {
                    lines.push(Line { code: Some(code.clone()), ..line(Verdict::Held, Some(commit)) });
                }
                Event::Ordered { order, commit, key, .. } => lines.push(Line {
                    code: Some(order.clone()),
                    key: Some(key.clone()),
                    ..line(Verdict::Ordered, Some(commit))
                }),
                _ => {}
            }
            if self.lines.is_some_and(|most| lines.len() >= most) {
                break;
            }
        }
        lines.truncate(self.lines.unwrap_or(usize::MAX));
        if self.json {
            output::answer(serde_json::to_string_pretty(&lines).unwrap_or_default());
        } else if lines.is_empty() {
            output::note("No commit was accepted or refused yet.");
        } else {
            output::table(&lines.iter().map(Line::row).collect::<Vec<_>>()).iter().for_each(output::answer);
        }
        Ok(Exit::Done)
    }
}

impl Line {
    fn new(entry: u64, time: &str, verdict: Verdict, commit: Option<&String>, objects: &dyn Objects) -> Self {
        let id = commit.and_then(|commit| Oid::from_hex(commit.as_bytes()).ok());
        // What was refused may have no readable signature, and may be gone from the mirror.
        let claim = id.and_then(|id| claim(objects, &id).ok());
        Self {
            entry,
            time: time.to_owned(),
            verdict,
            commit: commit.cloned(),
            code: None,
            principal: None,
            key: claim.as_ref().map(|claim| claim.key.to_string()),
            signed: claim.as_ref().and_then(|claim| claim.created).map(output::time),
            payload: claim.map(|claim| claim.payload),
        }
    }

    fn row(&self) -> Vec<String> {
        let verdict = match self.verdict {
            Verdict::Accepted => "accepted",
            Verdict::Refused => "refused",
            Verdict::Held => "held",
            Verdict::Ordered => "ordered",
        };
        let who = self.principal.as_deref().or(self.code.as_deref()).unwrap_or("-");
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            self.time.clone(),
            verdict.to_owned(),
            self.commit.as_deref().map_or("-", output::short).to_owned(),
            who.to_owned(),
            format!("signed {}", self.signed.as_deref().unwrap_or("-")),
            text(&self.key),
            self.payload.as_ref().map_or_else(|| "-".to_owned(), Digest::to_string),
        ]
    }
}
