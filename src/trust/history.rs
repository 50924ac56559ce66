// SPDX-License-Identifier: Apache-2.0
//! What has been judged so far: commits, who signed them, and the policies that judge.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use crate::model::Digest;
use crate::model::git::{ObjectType, Oid};

use super::anchor::Anchor;
use super::authenticate::{Signature, signed_time};
use super::cache::Cache;
use super::key_name::KeyName;
use super::objects::Proven;
use super::policy::{self, Policy, PublicKey};
use super::refusal::{Code, Refusal};
use super::tree;
use super::walk::Graph;

/// The largest file that is read.
pub(super) const MAX_BLOB: usize = 64 * 1024 * 1024;

/// The objects of a store and what was proven of them.
pub(super) struct History<'o> {
    pub(super) objects: Proven<'o>,
    pub(super) graph: Graph,
    pub(super) anchor: Anchor,
    /// What this host accepted last.
    pub(super) pin: Option<Oid>,
    policies: Policies,
    judged: HashMap<Oid, Judged>,
}

/// The policies that were read, by the id of the directory `policy`, which stands for the whole content, keys and all.
#[derive(Default)]
pub(super) struct Policies(RefCell<HashMap<Oid, Arc<Policy>>>);

impl Policies {
    /// Returns the policy in the tree of a commit.
    pub(super) fn of(&self, objects: &Proven<'_>, anchor: &Anchor, commit: &Oid) -> Result<Arc<Policy>, Refusal> {
        let directory = directory(objects, commit)?;
        if let Some(policy) = self.0.borrow().get(&directory) {
            return Ok(Arc::clone(policy));
        }
        let read = |path: &str| match tree::find_file(objects, &directory, path)? {
            Some(id) => objects.read(&id, ObjectType::Blob, MAX_BLOB).map(Some),
            None => Ok(None),
        };
        let text = read(policy::FILE)?.ok_or_else(missing)?;
        let policy = Policy::read(&text, read)?
            .map_err(|faults| Refusal::new(Code::PolicyUnreadable, format!("its policy has faults:\n{faults}")))?;
        policy.check_place(anchor)?;
        let policy = Arc::new(policy);
        self.0.borrow_mut().insert(directory, Arc::clone(&policy));
        Ok(policy)
    }
}

/// Returns the id of the directory `policy` of a commit.
fn directory(objects: &Proven<'_>, commit: &Oid) -> Result<Oid, Refusal> {
    let tree = objects.commit(commit)?.tree;
    tree::find(objects, &tree, policy::DIRECTORY, true)?.ok_or_else(missing)
}

/// A new commit whose signer is proven.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) id: Oid,
    pub(super) tree: Oid,
    pub(super) parents: Vec<Oid>,
    /// By the policy of the first parent.
    pub(super) principal: String,
    /// The key that made the signature, whole.
    pub(super) key: PublicKey,
    /// The key or subkey itself.
    pub(super) signed_by: KeyName,
    pub(super) created: Option<SystemTime>,
    pub(super) payload: Digest,
}

impl Judged {
    /// Returns the names of the key that signed: its own, and that of the whole certificate.
    pub(super) fn keys(&self) -> [&KeyName; 2] {
        [&self.signed_by, self.key.name()]
    }

    pub(super) fn signature(&self) -> Signature {
        Signature {
            commit: self.id,
            principal: self.principal.clone(),
            key: self.signed_by.clone(),
            created: self.created,
            payload: self.payload,
        }
    }
}

impl<'o> History<'o> {
    pub(super) fn new(objects: Proven<'o>, graph: Graph, anchor: Anchor, pin: Option<Oid>, policies: Policies) -> Self {
        Self { objects, graph, anchor, pin, policies, judged: HashMap::new() }
    }

    pub(super) fn enter(&mut self, judged: Judged) {
        self.judged.insert(judged.id, judged);
    }

    /// Returns a commit that is new and was judged.
    pub(super) fn judged(&self, id: &Oid) -> Option<&Judged> {
        self.judged.get(id)
    }

    /// Returns the new commits that were judged, oldest first.
    pub(super) fn news(&self) -> impl Iterator<Item = &Judged> {
        self.graph.news().iter().filter_map(|id| self.judged.get(id))
    }

    /// Returns the id of the directory `policy` of a commit.
    pub(super) fn policy_id(&self, id: &Oid) -> Result<Oid, Refusal> {
        directory(&self.objects, id)
    }

    /// Whether the policy of a commit is one that was read before.
    pub(super) fn knows_policy(&self, id: &Oid) -> Result<bool, Refusal> {
        // One that is missing is refused when it is asked for.
        Ok(self.policy_id(id).is_ok_and(|directory| self.policies.0.borrow().contains_key(&directory)))
    }

    /// Returns the policy in the tree of a commit.
    pub(super) fn policy(&self, id: &Oid) -> Result<Arc<Policy>, Refusal> {
        self.policies.of(&self.objects, &self.anchor, id)
    }

    /// Returns when a commit was made at the earliest: its own time, or that of its newest ancestor that has one.
    pub(super) fn time(&self, id: &Oid, cache: &mut Cache) -> Result<Option<SystemTime>, Refusal> {
        let timeless = |id: &Oid| Cache::question("timeless", &[self.anchor.root.as_bytes(), id.as_bytes()]);
        let (mut newest, mut seen, mut todo) = (None, HashSet::new(), vec![*id]);
        while let Some(next) = todo.pop() {
            if !seen.insert(next) || cache.knows(&timeless(&next)) {
                continue;
            }
            let own = match self.judged.get(&next) {
                Some(judged) => judged.created,
                None => signed_time(&*self.objects.commit(&next)?),
            };
            match own {
                Some(time) => newest = newest.max(Some(time)),
                None if next != self.anchor.root => todo.extend(&self.objects.commit(&next)?.parents),
                None => {}
            }
        }
        if newest.is_none() {
            cache.keep(timeless(id));
        }
        Ok(newest)
    }
}

fn missing() -> Refusal {
    Refusal::new(Code::PolicyMissing, "it has no policy/policy.yaml")
}
