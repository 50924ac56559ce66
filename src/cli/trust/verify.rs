// SPDX-License-Identifier: Apache-2.0

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::clone::GitClone;
use crate::cli::{CommandError, Exit, courier, open, output};
use crate::engine::{Cycle, revocations};
use crate::host::{ReadHost as _, RealHost};
use crate::manifest::{Effects, Facts};
use crate::model::git::{Objects, Oid};
use crate::model::{Digest, ObjectId};
use crate::trust::{Anchor, Compile, Decision, KeyName, Refusal, Revocations, Signature};

use super::judge::{Good, Range};

/// Prove signatures and rights of commits again, one by one
///
/// On a host: of all commits up to the one that it obeys, by its own configuration and as far as they concern it, from the
/// mirror and without asking the remote. With --trust-root: in a clone, for all hosts of the fleet.
#[derive(Debug, Args)]
pub struct Verify {
    /// BASE..TIP or TIP; without BASE, all since the root of trust, and without TIP, up to HEAD or what the host obeys
    #[arg(value_name = "RANGE")]
    range: Option<String>,
    /// Judge a clone: the commit where trust begins, as the hosts' configuration has it
    #[arg(long, value_name = "COMMIT", requires = "signer")]
    trust_root: Option<String>,
    /// Whose signature on that commit counts: openpgp:FINGERPRINT or ssh:SHA256:FINGERPRINT
    #[arg(long, value_name = "KEY", requires = "trust_root")]
    signer: Vec<KeyName>,
    /// The clone
    #[arg(long, value_name = "DIR", default_value = ".", requires = "trust_root")]
    clone: PathBuf,
    /// Print the result as JSON (schemas/trust-verify.json)
    #[arg(long)]
    json: bool,
}

/// What `hostwrit trust verify --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TrustVerify")]
pub struct Answer {
    /// Where trust begins.
    root: String,
    /// What was taken as proven; null: nothing but the root.
    base: Option<String>,
    tip: String,
    /// What was found good, oldest first.
    good: Vec<GoodCommit>,
    /// The first refusal; what builds on it was not judged.
    refused: Option<Refused>,
}

/// A commit that counts.
#[derive(Debug, Serialize, JsonSchema)]
struct GoodCommit {
    commit: String,
    principal: String,
    key: KeyName,
    /// When it was signed: RFC 3339, UTC. An SSH signature does not say.
    signed: Option<String>,
    /// SHA-256 of what was signed: what a list of revoked commits goes by.
    payload: Digest,
    /// Which rule allowed each change.
    decisions: Vec<Allowed>,
}

/// A change and the rule that allowed it.
#[derive(Debug, Serialize, JsonSchema)]
struct Allowed {
    /// Null: the policy.
    host: Option<String>,
    object: ObjectId,
    /// The rule's place in the policy of the parent, from 1; 0: a principal renewed a key of his own.
    rule: usize,
    /// Those whose signatures counted for it.
    principals: Vec<String>,
}

/// What does not count, and why.
#[derive(Debug, Serialize, JsonSchema)]
struct Refused {
    commit: Option<String>,
    code: String,
    message: String,
    hint: String,
}

impl Verify {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let (answer, refusal) = match &self.trust_root {
            Some(trust_root) => self.in_clone(trust_root)?,
            None => self.on_host(root)?,
        };
        if self.json {
            output::answer(serde_json::to_string_pretty(&answer).unwrap_or_default());
        } else {
            output::table(&answer.rows()).iter().for_each(output::answer);
            if let Some(refusal) = &refusal {
                output::error(refusal);
            }
        }
        Ok(if refusal.is_some() { Exit::Refused } else { Exit::Done })
    }

    fn in_clone(&self, trust_root: &str) -> Result<(Answer, Option<Refusal>), CommandError> {
        let clone = GitClone::open(&self.clone)?;
        let root = clone.commit(trust_root)?;
        let (base, tip) = self.range();
        let base = base.map(|base| clone.commit(base)).transpose()?;
        let tip = clone.commit(tip.unwrap_or("HEAD"))?;
        // Every policy has to agree with that of the root, whose signer the caller has named.
        let place = clone.place(&root)?;
        let anchor = Anchor {
            fleet: place.fleet,
            git_ref: place.git_ref,
            root,
            signers: self.signer.clone(),
            revoked: Revocations::default(),
        };
        let now = RealHost::open(Path::new("/"))?.now();
        let range = Range { anchor: &anchor, base: base.as_ref(), tip: &tip };
        Ok(answer(range, &clone.objects()?, now, &mut Effects::of_fleet()))
    }

    fn on_host(&self, root: &Path) -> Result<(Answer, Option<Refusal>), CommandError> {
        let (host, config) = open(root)?;
        let stop = AtomicBool::new(false);
        let source = courier(&host, &config);
        let cycle = Cycle::begin(&config, &host, &source, &stop)?;
        let id = |text: &str| {
            let why = || CommandError::new(Exit::Usage, format!("\"{text}\" is not the whole id of a commit"));
            Oid::from_hex(text.as_bytes()).map_err(|_| why())
        };
        let (base, tip) = self.range();
        let base = base.map(id).transpose()?;
        let tip = match tip {
            Some(tip) => id(tip)?,
            None => *cycle.last_good()?.commit(),
        };
        let facts = Facts::gather(&host, &config.host)?;
        let mut effects = Effects::of_host(&config.host, facts);
        let revoked = revocations::read(config.revocations.as_deref(), &host);
        let revoked = revoked.map_err(|error| CommandError::new(Exit::Failed, error))?;
        let anchor = Anchor { revoked, ..config.anchor.clone() };
        let range = Range { anchor: &anchor, base: base.as_ref(), tip: &tip };
        Ok(answer(range, cycle.objects(), host.now(), &mut effects))
    }

    fn range(&self) -> (Option<&str>, Option<&str>) {
        let given = |text: &'_ str| !text.is_empty();
        match self.range.as_deref().map(|range| range.split_once("..").ok_or(range)) {
            None => (None, None),
            Some(Err(tip)) => (None, Some(tip).filter(|tip| given(tip))),
            Some(Ok((base, tip))) => (Some(base).filter(|base| given(base)), Some(tip).filter(|tip| given(tip))),
        }
    }
}

fn answer(
    range: Range<'_>,
    objects: &dyn Objects,
    now: SystemTime,
    compile: &mut dyn Compile,
) -> (Answer, Option<Refusal>) {
    let (good, refusal) = match range.judge(objects, now, compile) {
        Ok(good) => (good, None),
        Err(refusal) => {
            let refused = refusal.commit().unwrap_or(range.tip);
            (range.judge_before(refused, objects, now, compile), Some(refusal))
        }
    };
    let answer = Answer {
        root: range.anchor.root.to_string(),
        base: range.base.map(ToString::to_string),
        tip: range.tip.to_string(),
        good: good_commits(good),
        refused: refusal.as_ref().map(|refusal| Refused {
            commit: refusal.commit().map(ToString::to_string),
            code: refusal.code().to_string(),
            message: refusal.detail().to_owned(),
            hint: refusal.hint().to_owned(),
        }),
    };
    (answer, refusal)
}

fn good_commits(good: Good) -> Vec<GoodCommit> {
    let Good { signatures, decisions } = good;
    let of = |commit: Oid| decisions.iter().filter(move |decision| decision.commit == commit);
    let allowed = |Decision { host, object, rule, principals, .. }: &Decision| Allowed {
        host: host.clone(),
        object: object.clone(),
        rule: *rule,
        principals: principals.clone(),
    };
    signatures
        .into_iter()
        .map(|Signature { commit, principal, key, created, payload }| GoodCommit {
            commit: commit.to_string(),
            principal,
            key,
            signed: created.map(output::time),
            payload,
            decisions: of(commit).map(allowed).collect(),
        })
        .collect()
}

impl Answer {
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for good in &self.good {
            let allowed = rights(&good.decisions);
            let mut left = ["good".to_owned(), output::short(&good.commit).to_owned(), good.principal.clone()];
            let allowed = if allowed.is_empty() { vec![self.without_decision(good)] } else { allowed };
            for line in allowed {
                let [verdict, commit, principal] = std::mem::take(&mut left);
                rows.push(vec![verdict, commit, principal, line]);
            }
        }
        if let Some(refused) = &self.refused {
            let commit = refused.commit.as_deref().unwrap_or(&self.tip);
            rows.push(vec![
                "refused".to_owned(),
                output::short(commit).to_owned(),
                String::new(),
                refused.code.clone(),
            ]);
        }
        if rows.is_empty() {
            rows.push(vec![format!("nothing to judge: {} is what was taken as proven", output::short(&self.tip))]);
        }
        rows
    }

    fn without_decision(&self, good: &GoodCommit) -> String {
        let text = match good.commit == self.root {
            true => "where trust begins",
            false => "nothing decided here: without effect, or left to an approval",
        };
        text.to_owned()
    }
}

/// As many objects of a kind of decision as are named.
const NAMED: usize = 3;

/// Returns the decisions in few words, those alike in one line.
fn rights(decisions: &[Allowed]) -> Vec<String> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for Allowed { host, object, rule, principals } in decisions {
        let by = if *rule == 0 { "own key".to_owned() } else { format!("rule {rule}, {}", principals.join(" and ")) };
        let what = host.as_ref().map_or_else(|| object.to_string(), |host| format!("{object} on {host}"));
        match groups.iter_mut().find(|(known, _)| *known == by) {
            Some((_, objects)) if objects.contains(&what) => {}
            Some((_, objects)) => objects.push(what),
            None => groups.push((by, vec![what])),
        }
    }
    let line = |(by, objects): (String, Vec<String>)| {
        let more = match objects.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named: Vec<String> = objects.iter().take(NAMED).map(|object| output::plain(object)).collect();
        format!("{by}: {}{more}", named.join(", "))
    };
    groups.into_iter().map(line).collect()
}
