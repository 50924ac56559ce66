// SPDX-License-Identifier: Apache-2.0
//! From a tip that a store claims to have, to a tree that known principals signed for, or to a refusal.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::rc::Rc;
use std::slice;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::model::files::FileError;
use crate::model::git::{ObjectType, Objects, Oid};
use crate::model::{Digest, RepoFiles};

use super::anchor::Anchor;
use super::cache::Cache;
use super::commit::Commit;
use super::history::{History, Judged, MAX_BLOB, Policies};
use super::key_name::KeyName;
use super::objects::Proven;
use super::policy::{Freshness, Policy, PublicKey};
use super::refusal::{Code, Refusal};
use super::revocation::Revocations;
use super::signature::openpgp::{SKEW, check_key};
use super::signature::{GitSignature, OpenPgp};
use super::verify::{Check, Claim, Signed, Workers};
use super::{trailers, tree, walk};

/// How many commits may wait for their signatures to be verified.
const BATCH: usize = 4096;

/// Who signed a commit, proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub commit: Oid,
    /// The name in the policy of the commit's first parent; the root's own policy for the root.
    pub principal: String,
    /// The key or subkey that signed.
    pub key: KeyName,
    /// When it was signed, by the signer's account; an SSH signature does not say.
    pub created: Option<SystemTime>,
    /// SHA-256 of what was signed: what a list of revoked commits goes by.
    pub payload: Digest,
}

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("Signature", 3)?;
        fields.serialize_field("commit", &self.commit.to_string())?;
        fields.serialize_field("principal", &self.principal)?;
        fields.serialize_field("key", &self.key)?;
        fields.end()
    }
}

/// The tree of a commit that counts. Made only by [`authenticate()`], from objects that it hashed itself.
pub struct AuthenticTree<'o> {
    pub(super) history: Rc<History<'o>>,
    commit: Oid,
    tree: Oid,
    files: OnceCell<BTreeMap<String, Oid>>,
    policy: Arc<Policy>,
}

impl<'o> AuthenticTree<'o> {
    /// Returns the tree of a commit of the history that has been proven.
    pub(super) fn of(history: &Rc<History<'o>>, commit: &Oid) -> Result<Self, Refusal> {
        let of = |refusal: Refusal| refusal.of(commit);
        Ok(Self {
            commit: *commit,
            tree: history.objects.commit(commit)?.tree,
            files: OnceCell::new(),
            policy: history.policy(commit).map_err(of)?,
            history: Rc::clone(history),
        })
    }

    /// Returns the commit.
    pub fn commit(&self) -> &Oid {
        &self.commit
    }

    /// Returns the id of the commit's tree.
    pub fn tree(&self) -> &Oid {
        &self.tree
    }

    /// Returns who signed each commit that was new to this host, oldest first; empty when the tip is the pin.
    pub fn signers(&self) -> Vec<Signature> {
        self.history.news().map(Judged::signature).collect()
    }

    /// Returns the version of the commit's policy.
    pub fn policy_version(&self) -> u64 {
        self.policy.version
    }

    /// Returns how old the newest signed word from the ref may be, if the policy limits that.
    pub fn freshness(&self) -> Option<&Freshness> {
        self.policy.freshness.as_ref()
    }

    /// Returns when the commit was made at the earliest: its own time, or that of its newest ancestor that has one.
    ///
    /// # Errors
    /// A commit on the way cannot be read.
    pub fn time(&self, cache: &mut Cache) -> Result<Option<SystemTime>, Refusal> {
        self.history.time(&self.commit, cache)
    }

    /// Returns the id of the file at `path`, which stands for its content; `None` if there is none.
    ///
    /// # Errors
    /// A tree on the way cannot be read.
    pub fn file_id(&self, path: &str) -> Result<Option<Oid>, FileError> {
        tree::find_file(&self.history.objects, &self.tree, path).map_err(|refusal| self.failed(path, refusal))
    }

    fn files(&self) -> Result<&BTreeMap<String, Oid>, Refusal> {
        if self.files.get().is_none() {
            let files = tree::list(&self.history.objects, &self.tree)?;
            let _ = self.files.set(files);
        }
        Ok(self.files.get_or_init(BTreeMap::new))
    }

    fn failed(&self, path: &str, refusal: Refusal) -> FileError {
        FileError { path: path.to_owned(), source: Box::new(refusal.of(&self.commit)) }
    }
}

impl fmt::Debug for AuthenticTree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticTree").field("commit", &self.commit).finish_non_exhaustive()
    }
}

impl RepoFiles for AuthenticTree<'_> {
    fn paths(&self) -> Result<Vec<String>, FileError> {
        Ok(self.files().map_err(|refusal| self.failed("", refusal))?.keys().cloned().collect())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        let Some(id) = self.file_id(path)? else { return Ok(None) };
        let data = self.history.objects.read(&id, ObjectType::Blob, MAX_BLOB);
        data.map(Some).map_err(|refusal| self.failed(path, refusal))
    }
}

/// Proves that `tip` counts on this host.
///
/// `pin` is the last commit that this host accepted *under this same anchor*; `None` on a host that has accepted none.
/// Every commit that the tip reaches and the pin does not must be signed by a principal whom the policies of **all** its parents
/// know, merge parents included. Without a pin, that is the whole history since the anchor's root, which one of the
/// anchor's signers must have signed with a key of its own policy: that is how a host is introduced to a fleet.
///
/// Rights go by position, keys by time: see docs/spec/trust.md, which names the test of each rule.
/// A host without a pin cannot know that a newer history exists than the one it is shown.
///
/// # Errors
/// The first thing, oldest commit first, that keeps the tip from counting.
pub fn authenticate<'o>(
    objects: &'o dyn Objects,
    anchor: &Anchor,
    pin: Option<&Oid>,
    tip: &Oid,
    now: SystemTime,
    cache: &mut Cache,
) -> Result<AuthenticTree<'o>, Refusal> {
    let objects = Proven::new(objects);
    let policies = Policies::default();
    let workers = Workers::default();
    let mut signed = HashMap::new();
    // What went well before is in the cache. Else most of what is new is by keys that the host knows already, so
    // verifying begins while the rest is read.
    let question = Cache::question("proven", &[anchor.root.as_bytes(), tip.as_bytes()]);
    let known = policies.of(&objects, anchor, pin.unwrap_or(&anchor.root));
    let known = known.ok().filter(|_| !cache.knows(&question));
    let graph = walk::unproven(&objects, &anchor.root, pin, tip, &mut |id, commit| {
        let commit = Arc::new(Signed::new(Arc::clone(commit)));
        if let Some(policy) = &known {
            workers.foresee(&commit, policy);
        }
        signed.insert(*id, commit);
    })?;
    let on_ref: HashSet<Oid> = graph.first_parents(&objects, tip)?.into_iter().collect();
    let news = graph.news().to_vec();
    let history = History::new(objects, graph, anchor.clone(), pin.copied(), policies);
    let mut judge = Judge { history, tip: *tip, on_ref, now, cache, workers: &workers, signed, waiting: Vec::new() };
    judge.judge(&news)?;
    judge.check_retroactively(pin)?;
    judge.cache.keep(question);
    let history = judge.history;
    history.objects.forget_commits();
    let tree = AuthenticTree::of(&Rc::new(history), tip)?;
    tree.files().map_err(|refusal| refusal.of(tip))?;
    Ok(tree)
}

/// Judges one commit after another, parents first.
struct Judge<'o, 'a> {
    history: History<'o>,
    tip: Oid,
    /// The new commits on the chain of first parents: those that the ref itself was at.
    on_ref: HashSet<Oid>,
    now: SystemTime,
    cache: &'a mut Cache,
    workers: &'a Workers,
    /// The new commits that are yet to be looked at, but for the root.
    signed: HashMap<Oid, Arc<Signed>>,
    waiting: Vec<Candidate>,
}

/// A commit whose signature is yet to be verified.
struct Candidate {
    id: Oid,
    check: Check,
    principal: String,
    key: PublicKey,
}

impl Judge<'_, '_> {
    /// Judges the new commits, parents first.
    fn judge(&mut self, news: &[Oid]) -> Result<(), Refusal> {
        for id in news {
            match self.examine(id) {
                Ok(is_barrier) if is_barrier || self.waiting.len() >= BATCH => self.settle()?,
                Ok(_) => {}
                // What is wrong with an older commit comes first.
                Err(refusal) => return Err(self.settle().err().unwrap_or_else(|| refusal.of(id))),
            }
        }
        self.settle()
    }

    /// Looks at all that can be known before the signature is verified. Returns whether nothing further may be
    /// looked at before that: the commit brings a policy of its own, and what nobody signed must not be parsed.
    fn examine(&mut self, id: &Oid) -> Result<bool, Refusal> {
        let signed = match self.signed.remove(id) {
            Some(signed) => signed,
            None => Arc::new(Signed::new(self.history.objects.commit(id)?)),
        };
        let claim = signed.claim()?;
        claim.signature.check_clock(self.now)?;
        let signed_by = claim.signature.key();

        // The root is judged by its own policy, for the anchor names both the commit and its signer.
        let is_root = *id == self.history.anchor.root;
        let judges = if is_root { slice::from_ref(id) } else { &signed.commit.parents[..] };
        let mut holder: Option<(String, PublicKey)> = None;
        let mut keys: Vec<PublicKey> = Vec::new();
        let mut policies: Vec<Oid> = Vec::new();
        for judge in judges {
            let policy = self.history.policy(judge).map_err(|refusal| refusal.of(judge))?;
            let Some(found) = policy.holder(&signed_by) else {
                let detail = format!("the policy of {judge} knows no principal with the key {signed_by}");
                return Err(Refusal::new(Code::UnknownSigner, detail));
            };
            let (principal, key) = (found.principal, found.key);
            if is_root && !self.history.anchor.signers.contains(key.name()) {
                let detail = format!("{principal}, who signed it with {}, is not among trust.signers", key.name());
                return Err(Refusal::new(Code::RootSigner, detail));
            }
            if policy.is_heartbeat(principal) {
                let detail = format!("{principal}, who signed it, may sign heartbeats and nothing else");
                return Err(Refusal::new(Code::HeartbeatKey, detail));
            }
            for revoked in [&policy.distrusted, &self.history.anchor.revoked].into_iter().filter(|_| !is_root) {
                distrusted(revoked, &[&signed_by, key.name()], id, claim.signature.created(), &claim.payload)?;
            }
            policies.push(self.history.policy_id(judge)?);
            holder.get_or_insert_with(|| (principal.to_owned(), key.clone()));
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        // Only the root and commits with parents reach this point; the walk refuses all others.
        let (principal, key) = holder.ok_or_else(|| Refusal::new(Code::NotDescendant, "it has no parent"))?;

        let is_barrier = !self.history.knows_policy(id)?;
        let text = signed.commit.signature.as_deref().unwrap_or_default();
        let mut question = vec![env!("CARGO_PKG_VERSION").as_bytes(), text, claim.payload.as_bytes()];
        question.extend(policies.iter().map(|id| id.as_bytes()));
        let question = Cache::question("signature", &question);
        let is_known = self.cache.knows(&question);
        let check = Check { signed, keys, question, is_known };
        self.workers.take(&check);
        self.waiting.push(Candidate { id: *id, check, principal, key });
        Ok(is_barrier)
    }

    /// Verifies the signature of each that waits, unless a worker was there before, and looks at what the commit brings,
    /// oldest first.
    fn settle(&mut self) -> Result<(), Refusal> {
        let waiting = std::mem::take(&mut self.waiting);
        let last = waiting.len().saturating_sub(1);
        for (place, candidate) in waiting.into_iter().enumerate() {
            let id = candidate.id;
            let renewed = match candidate.check.run() {
                Ok(()) => None,
                // Whoever extends his key may do so with that key: the commit itself brings the new certificate.
                Err(refusal) if place == last && refusal.code() == Code::KeyExpired => {
                    let renewed = self.renewed(&candidate).map_err(|refusal| refusal.of(&id))?;
                    Some(renewed.ok_or_else(|| refusal.of(&id))?)
                }
                Err(refusal) => return Err(refusal.of(&id)),
            };
            self.cache.keep(candidate.check.question);
            self.accept(candidate, renewed).map_err(|refusal| refusal.of(&id))?;
        }
        Ok(())
    }

    /// Returns the key with what the commit itself brings for it, if that makes its signature valid.
    fn renewed(&self, candidate: &Candidate) -> Result<Option<PublicKey>, Refusal> {
        let policy = self.history.policy(&candidate.id)?;
        let Some(newer) = policy.key(candidate.key.name()) else { return Ok(None) };
        let keys: Vec<PublicKey> = candidate.check.keys.iter().map(|key| key.renewed_by(newer)).collect();
        let is_good = keys.iter().all(|key| candidate.check.signed.verify(key).is_ok());
        Ok(keys.into_iter().next().filter(|_| is_good))
    }

    /// Enters a commit whose signature is good, if what it brings is good too.
    fn accept(&mut self, candidate: Candidate, renewed: Option<PublicKey>) -> Result<(), Refusal> {
        let Candidate { id, check, principal, key } = candidate;
        let Claim { signature, payload } = check.signed.claim()?;
        let commit = &check.signed.commit;
        let policy = self.history.policy(&id)?;
        let is_root = id == self.history.anchor.root;
        let parents: &[Oid] = if is_root { &[] } else { &commit.parents };

        for parent in parents {
            let before = self.history.policy(parent)?;
            if Arc::ptr_eq(&before, &policy) {
                continue;
            }
            if policy.version < before.version {
                let detail = format!("its policy has version {}, a parent's has {}", policy.version, before.version);
                return Err(Refusal::new(Code::PolicyRollback, detail));
            }
            if let Some(lost) = before.revocation_lost_in(&policy) {
                let detail = format!("its policy leaves out the revocation of {lost}, which {parent} has");
                return Err(Refusal::new(Code::RevocationDropped, detail));
            }
        }

        let key = match (renewed, policy.key(key.name())) {
            (Some(key), _) => key,
            (None, Some(newer)) => key.renewed_by(newer),
            (None, None) => key,
        };
        if id == self.tip {
            signature.check_key(&key, self.now, "now")?;
            self.check_endorsers(commit)?;
        }
        let created = signature.created();
        for parent in parents {
            let Some(created) = created else { break };
            if self.history.time(parent, self.cache)?.is_some_and(|before| created + SKEW < before) {
                let detail = format!("its signature says that it was made before that of its parent {parent}");
                return Err(Refusal::new(Code::TimeBackwards, detail));
            }
        }
        if let [first, second] = parents {
            self.check_merge(first, second, created)?;
        }
        if self.on_ref.contains(&id) {
            let first = parents.first().map(|parent| self.history.objects.commit(parent)).transpose()?;
            let must_be_there = match parents.first() {
                Some(parent) => self.history.policy(parent)?.trailers_required,
                None => false,
            };
            trailers::check(commit, first.as_deref(), must_be_there, &self.history.anchor)?;
        }
        let signed_by = signature.key();
        let parents = parents.to_vec();
        let tree = commit.tree;
        self.history.enter(Judged { id, tree, parents, principal, key, signed_by, created, payload: *payload });
        Ok(())
    }

    /// Checks what a merge brings in: by its second parent, and by its first if that is the one that leaves the pin.
    fn check_merge(&mut self, first: &Oid, second: &Oid, created: Option<SystemTime>) -> Result<(), Refusal> {
        let mut time = created;
        if time.is_none() {
            time = self.history.time(first, self.cache)?.max(self.history.time(second, self.cache)?);
        }
        self.check_merged(first, second, time)?;
        let graph = &self.history.graph;
        if !graph.holds_pin(first) && graph.holds_pin(second) { self.check_merged(second, first, time) } else { Ok(()) }
    }

    /// Checks that the keys of what `onto` gets by a merge are still good at the time of the merge: one that ran out, or
    /// was revoked on the branch that it is merged into, cannot come back by way of an old branch.
    fn check_merged(&self, onto: &Oid, merged: &Oid, time: Option<SystemTime>) -> Result<(), Refusal> {
        let policy = self.history.policy(onto)?;
        let mut seen = HashSet::new();
        for id in self.history.graph.sides(onto, merged).second {
            let Some(merged) = self.history.judged(&id) else { continue };
            let of = |refusal: Refusal| refusal.of(&id);
            // Whatever time its signature states: it is merged at this time.
            let signed = merged.created.map(|created| time.map_or(created, |time| time.max(created)));
            for revoked in [&policy.distrusted, &self.history.anchor.revoked] {
                distrusted(revoked, &merged.keys(), &id, signed, &merged.payload).map_err(of)?;
            }
            let (KeyName::OpenPgp(issuer), Some(time)) = (&merged.signed_by, time) else { continue };
            let newer = policy.key(merged.key.name());
            let key = newer.map_or_else(|| merged.key.clone(), |newer| merged.key.renewed_by(newer));
            if let PublicKey::OpenPgp { cert, .. } = key
                && seen.insert(merged.signed_by.clone())
            {
                check_key(issuer, &cert, time, "when it was merged").map_err(of)?;
            }
        }
        Ok(())
    }

    /// Checks that those whose branch the tip puts its name to, as it is, may sign now as well: they count with its signer.
    fn check_endorsers(&self, tip: &Commit) -> Result<(), Refusal> {
        let mut next = tip.parents.get(1);
        while let Some(endorsed) = next.and_then(|id| self.history.judged(id)).filter(|commit| commit.tree == tip.tree)
        {
            if let (KeyName::OpenPgp(issuer), PublicKey::OpenPgp { cert, .. }) = (&endorsed.signed_by, &endorsed.key) {
                check_key(issuer, cert, self.now, "now").map_err(|refusal| refusal.of(&endorsed.id))?;
            }
            next = endorsed.parents.get(1);
        }
        Ok(())
    }

    /// Checks what was revoked for good against every commit since the root: the new ones, and those of the past if that
    /// was not done before.
    fn check_retroactively(&mut self, pin: Option<&Oid>) -> Result<(), Refusal> {
        let mut revoked = self.history.policy(&self.tip)?.distrusted.clone();
        revoked.add(&self.history.anchor.revoked);
        if self.history.graph.news().is_empty() || !revoked.reach_back() {
            return Ok(());
        }
        // The root counts because the host was given its id, whoever's key signed it.
        let root = self.history.anchor.root;
        let clean = |commit: &Oid| {
            Cache::question("clean", &[root.as_bytes(), format!("{revoked:?}").as_bytes(), commit.as_bytes()])
        };
        if let Some(pin) = pin
            && !self.cache.knows(&clean(pin))
        {
            for id in walk::past(&self.history.objects, &root, pin)?.into_iter().filter(|id| *id != root) {
                self.check_past(&revoked, &id).map_err(|refusal| refusal.of(&id))?;
            }
        }
        for judged in self.history.news().filter(|judged| judged.id != root) {
            never_counts(&revoked, &judged.keys(), &judged.id, &judged.payload)
                .map_err(|refusal| refusal.of(&judged.id))?;
        }
        let question = clean(&self.tip);
        self.cache.keep(question);
        Ok(())
    }

    /// Checks a commit that was accepted long ago against what was revoked since.
    fn check_past(&self, revoked: &Revocations, id: &Oid) -> Result<(), Refusal> {
        let commit = self.history.objects.commit(id)?;
        let payload = Digest::of(&commit.payload);
        let text = commit.signature.as_deref();
        // It was accepted by the rules, or an order made it count, as it can one that nobody signed.
        let Some(signature) = text.and_then(|text| GitSignature::parse(text).ok()) else {
            return never_counts(revoked, &[], id, &payload);
        };
        let signed_by = signature.key();
        let judge = if *id == self.history.anchor.root { Some(id) } else { commit.parents.first() };
        let policy = judge.map(|judge| self.history.policy(judge)).transpose()?;
        let whole =
            policy.as_ref().and_then(|policy| policy.holder(&signed_by)).map(|holder| holder.key.name().clone());
        let keys: Vec<&KeyName> = [&signed_by].into_iter().chain(whole.as_ref()).collect();
        distrusted(revoked, &keys, id, signature.created(), &payload)
    }
}

/// Refuses a commit by one of `keys` (a key and the certificate that it is part of), or with this payload, if it was
/// revoked for all time or before it was `created`.
pub(super) fn distrusted(
    revoked: &Revocations,
    keys: &[&KeyName],
    id: &Oid,
    created: Option<SystemTime>,
    payload: &Digest,
) -> Result<(), Refusal> {
    never_counts(revoked, keys, id, payload)?;
    let key = keys.last().map(ToString::to_string).unwrap_or_default();
    // A signature without a time is later than the list that says so.
    match revoked.since(keys) {
        Some(since) if created.is_none_or(|created| created >= since) => {
            let since = humantime::format_rfc3339_seconds(since);
            Err(Refusal::new(Code::KeyRevoked, format!("{key}, which signed it, is revoked since {since}")))
        }
        _ => Ok(()),
    }
}

/// Refuses a commit by one of `keys`, or with this payload, if it was revoked for all time.
fn never_counts(revoked: &Revocations, keys: &[&KeyName], id: &Oid, payload: &Digest) -> Result<(), Refusal> {
    if revoked.commits.contains(payload) {
        return Err(Refusal::new(Code::CommitRevoked, format!("what it signs, {payload}, is revoked")));
    }
    if revoked.is_hard(keys, id) {
        let key = keys.last().map(ToString::to_string).unwrap_or_default();
        return Err(Refusal::new(Code::KeyRevoked, format!("{key}, which signed it, is revoked for all time")));
    }
    Ok(())
}

/// Returns what is known of the time of a commit that was proven before, from itself alone.
pub(super) fn signed_time(commit: &Commit) -> Option<SystemTime> {
    let text = commit.signature.as_deref()?;
    OpenPgp::parse(text).ok().map(|signature| signature.created)
}
