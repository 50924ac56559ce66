// SPDX-License-Identifier: Apache-2.0
//! The heartbeat: a commit beside the ref that says, signed by a key that may say nothing else, where the ref was at a time.

use std::time::SystemTime;

use crate::model::Digest;
use crate::model::git::Oid;

use super::authenticate::{AuthenticTree, distrusted};
use super::refusal::{Code, Refusal};
use super::signature::GitSignature;
use super::signature::openpgp::SKEW;
use super::trailers::{self, Trailers};
use super::walk::descends_in;

/// The ref on which heartbeats are. It is never obeyed.
pub const HEARTBEAT_REF: &str = "refs/hostwrit/heartbeat";

/// The trailer with the time: RFC 3339, UTC.
const TIME: &str = "Hostwrit-Heartbeat";

/// Returns the time of the heartbeat `commit`, if it counts for `tree`, the tree of the commit that the host obeys.
///
/// It counts when a principal of `freshness.heartbeat` of that tree's policy signed it, with a key that is good now, for
/// this fleet and as a heartbeat; its only parent is the commit of `tree` or an ancestor of it, and it has the same tree as
/// its parent. So what it says is known to be so: at that time the ref was at a commit that this host has.
///
/// # Errors
/// The first thing that keeps it from counting.
pub fn heartbeat(tree: &AuthenticTree<'_>, commit: &Oid, now: SystemTime) -> Result<SystemTime, Refusal> {
    judge(tree, commit, now).map_err(|refusal| refusal.of(commit))
}

fn judge(tree: &AuthenticTree<'_>, id: &Oid, now: SystemTime) -> Result<SystemTime, Refusal> {
    let history = &tree.history;
    let commit = history.objects.commit(id)?;
    let text = commit.signature.as_deref();
    let text = text.ok_or_else(|| Refusal::new(Code::Unsigned, "it carries no signature"))?;
    let signature = GitSignature::parse(text)?;
    signature.check_clock(now)?;
    let signed_by = signature.key();
    let policy = history.policy(tree.commit())?;
    let holder = policy.holder(&signed_by).filter(|holder| policy.is_heartbeat(holder.principal));
    let Some(holder) = holder else {
        let detail = format!("{signed_by}, which signed it, belongs to nobody under freshness.heartbeat");
        return Err(Refusal::new(Code::HeartbeatSigner, detail));
    };
    for revoked in [&policy.distrusted, &history.anchor.revoked] {
        let keys = [&signed_by, holder.key.name()];
        distrusted(revoked, &keys, id, signature.created(), &Digest::of(&commit.payload))?;
    }
    signature.verify(&commit.payload, holder.key)?;
    signature.check_key(holder.key, now, "now")?;

    let said = Trailers::of(&commit)?;
    for (name, found, wanted) in
        [("Hostwrit-Repo", said.repo, history.anchor.fleet.as_str()), ("Hostwrit-Ref", said.git_ref, HEARTBEAT_REF)]
    {
        match found {
            Some(found) if found == wanted => {}
            Some(found) => {
                let detail = format!("it was made for another place: {name} is \"{found}\", this is \"{wanted}\"");
                return Err(Refusal::new(Code::Teleport, detail));
            }
            None => return Err(Refusal::new(Code::HeartbeatPlace, format!("it has no {name}"))),
        }
    }
    let text = trailers::value(&commit, TIME)?;
    let text = text.ok_or_else(|| Refusal::new(Code::HeartbeatPlace, format!("it has no {TIME}")))?;
    let time = humantime::parse_rfc3339(&text)
        .map_err(|_| Refusal::new(Code::HeartbeatPlace, format!("{TIME} \"{text}\" is not a time in UTC")))?;
    if time > now + SKEW {
        let detail = format!("it is of {text}, which is after this host's time");
        return Err(Refusal::new(Code::SignatureFromFuture, detail));
    }

    let &[parent] = commit.parents.as_slice() else {
        let detail = format!("it has {} parents, and a heartbeat has one", commit.parents.len());
        return Err(Refusal::new(Code::HeartbeatPlace, detail));
    };
    // Only after the signature, for this may walk far.
    if !descends_in(&history.objects, tree.commit(), &parent)? {
        let detail = format!("its parent {parent} is not in the history of {}, which this host obeys", tree.commit());
        return Err(Refusal::new(Code::HeartbeatPlace, detail));
    }
    if history.objects.commit(&parent)?.tree != commit.tree {
        return Err(Refusal::new(Code::HeartbeatPlace, "it changes files, and a heartbeat changes none"));
    }
    Ok(time)
}
