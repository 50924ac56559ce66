// SPDX-License-Identifier: Apache-2.0
//! From a tip that a store claims to have, to a tree that known principals signed for, or to a refusal.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;
use std::time::SystemTime;

use serde::Serialize;

use crate::model::RepoFiles;
use crate::model::files::FileError;
use crate::model::git::{ObjectType, Objects, Oid};

use super::anchor::Anchor;
use super::cache::Cache;
use super::commit::{self, Commit};
use super::key_name::KeyName;
use super::objects::Proven;
use super::policy::{self, Policy};
use super::refusal::{Code, Refusal};
use super::signature::OpenPgp;
use super::{tree, walk};

/// The largest file that is read.
const MAX_BLOB: usize = 64 * 1024 * 1024;

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
    objects: Proven<'o>,
    commit: Oid,
    tree: Oid,
    files: BTreeMap<String, Oid>,
    policy_version: u64,
    signatures: Vec<Signature>,
}

impl AuthenticTree<'_> {
    /// Returns the commit.
    pub fn commit(&self) -> &Oid {
        &self.commit
    }

    /// Returns the id of the commit's tree.
    pub fn tree(&self) -> &Oid {
        &self.tree
    }

    /// Returns who signed each commit that was new to this host, oldest first; empty when the tip is the pin.
    pub fn signers(&self) -> &[Signature] {
        &self.signatures
    }

    /// Returns the id of the file at `path`, which stands for its content; `None` if there is none.
    ///
    /// # Errors
    /// A tree on the way cannot be read.
    pub fn file_id(&self, path: &str) -> Result<Option<Oid>, FileError> {
        Ok(self.files.get(path).copied())
    }

    /// Returns the version of the commit's policy.
    pub fn policy_version(&self) -> u64 {
        self.policy_version
    }
}

impl fmt::Debug for AuthenticTree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticTree").field("commit", &self.commit).finish_non_exhaustive()
    }
}

impl RepoFiles for AuthenticTree<'_> {
    fn paths(&self) -> Result<Vec<String>, FileError> {
        Ok(self.files.keys().cloned().collect())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        let Some(id) = self.files.get(path) else { return Ok(None) };
        let data = self
            .objects
            .read(id, ObjectType::Blob, MAX_BLOB)
            .map_err(|refusal| FileError { path: path.to_owned(), source: Box::new(refusal.of(&self.commit)) })?;
        Ok(Some(data))
    }
}

/// Proves that `tip` counts on this host.
///
/// `pin` is the last commit that this host accepted *under this same anchor*; `None` on a host that has accepted none.
/// Every commit that the tip reaches and the pin does not must be signed by a principal whom the policies of **all** its parents
/// know, merge parents included. Without a pin, that is the whole history since the anchor's root, which one of the
/// anchor's signers must have signed with a key of its own policy: that is how a host is introduced to a fleet.
///
/// A signature must be valid at its own time; the tip's must also be valid `now`, unless the tip is the pin.
/// A host without a pin cannot know that a newer history exists than the one it is shown.
/// Revocation across policies and freshness will be further checks on the same walk.
///
/// # Errors
/// The first thing, oldest commit first, that keeps the tip from counting.
pub fn authenticate<'o>(
    objects: &'o dyn Objects,
    anchor: &Anchor,
    pin: Option<&Oid>,
    tip: &Oid,
    now: SystemTime,
    _cache: &mut Cache,
) -> Result<AuthenticTree<'o>, Refusal> {
    let objects = Proven::new(objects);
    let mut judge = Judge { objects, anchor, now, policies: HashMap::new() };
    let mut signatures = Vec::new();
    for id in walk::unproven(objects, &anchor.root, pin, tip)? {
        signatures.push(judge.signature(&id, id == *tip).map_err(|refusal| refusal.of(&id))?);
    }
    let mut prove_tip = || {
        let tree = judge.tree_of(tip)?;
        Ok((tree, judge.policy_of(tip)?.version, tree::list(objects, &tree)?))
    };
    let (tree, policy_version, files) = prove_tip().map_err(|refusal: Refusal| refusal.of(tip))?;
    Ok(AuthenticTree { objects, commit: *tip, tree, files, policy_version, signatures })
}

/// Judges one commit after another, parents first.
struct Judge<'o, 'a> {
    objects: Proven<'o>,
    anchor: &'a Anchor,
    now: SystemTime,
    /// By the id of the directory `policy`, which stands for the whole content, keys and all.
    policies: HashMap<Oid, Rc<Policy>>,
}

impl Judge<'_, '_> {
    /// Returns who signed the commit, if it counts. Its parents have been judged.
    fn signature(&mut self, id: &Oid, is_tip: bool) -> Result<Signature, Refusal> {
        let data = self.objects.read(id, ObjectType::Commit, commit::MAX_BYTES)?;
        let commit = Commit::parse(&data, id.kind())?;
        let text = commit.signature.as_deref();
        let text = text.ok_or_else(|| Refusal::new(Code::Unsigned, "it carries no signature"))?;
        let signature = OpenPgp::parse(text)?;
        signature.check_clock(self.now)?;
        let payload = commit.payload(id.kind());

        // The root is judged by its own policy, for the anchor names both the commit and its signer.
        let is_root = *id == self.anchor.root;
        let judges = if is_root { vec![*id] } else { commit.parents.clone() };
        let mut principal = None;
        let mut least_version = 0;
        for judge in &judges {
            let policy = self.policy_of(judge).map_err(|refusal| refusal.of(judge))?;
            let Some((name, cert)) = policy.holder(&signature.issuer) else {
                let detail = format!("the policy of {judge} knows no principal with the key {}", signature.issuer);
                return Err(Refusal::new(Code::UnknownSigner, detail));
            };
            signature.verify(&payload, cert, self.now, is_tip)?;
            if is_root && !self.anchor.signers.contains(&KeyName::OpenPgp(cert.fingerprint())) {
                let detail = format!("{name}, who signed it with {}, is not among trust.signers", cert.fingerprint());
                return Err(Refusal::new(Code::RootSigner, detail));
            }
            least_version = least_version.max(policy.version);
            principal.get_or_insert_with(|| name.to_owned());
        }
        // Only the root and commits with parents reach this point; the walk refuses all others.
        let principal = principal.ok_or_else(|| Refusal::new(Code::NotDescendant, "it has no parent"))?;

        let version = self.policy_of(id)?.version;
        if version < least_version {
            let detail = format!("its policy has version {version}, a parent's has {least_version}");
            return Err(Refusal::new(Code::PolicyRollback, detail));
        }
        let key = KeyName::OpenPgp(signature.issuer);
        Ok(Signature { commit: *id, principal, key, created: Some(signature.created) })
    }

    fn tree_of(&self, id: &Oid) -> Result<Oid, Refusal> {
        let data = self.objects.read(id, ObjectType::Commit, commit::MAX_BYTES)?;
        Ok(Commit::parse(&data, id.kind())?.tree)
    }

    /// Returns the policy in the tree of a commit.
    fn policy_of(&mut self, id: &Oid) -> Result<Rc<Policy>, Refusal> {
        let missing = || Refusal::new(Code::PolicyMissing, "it has no policy/policy.yaml");
        let directory = tree::find(self.objects, &self.tree_of(id)?, policy::DIRECTORY, true)?.ok_or_else(missing)?;
        if let Some(policy) = self.policies.get(&directory) {
            return Ok(Rc::clone(policy));
        }
        let objects = self.objects;
        let read = |path: &str| match tree::find_file(objects, &directory, path)? {
            Some(id) => objects.read(&id, ObjectType::Blob, MAX_BLOB).map(Some),
            None => Ok(None),
        };
        let text = read(policy::FILE)?.ok_or_else(missing)?;
        let policy = Policy::read(&text, read)?
            .map_err(|faults| Refusal::new(Code::PolicyUnreadable, format!("its policy has faults:\n{faults}")))?;
        policy.check_place(self.anchor)?;
        let policy = Rc::new(policy);
        self.policies.insert(directory, Rc::clone(&policy));
        Ok(policy)
    }
}
