// SPDX-License-Identifier: Apache-2.0
//! Objects that have the id that they were asked for by.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::model::git::{ObjectError, ObjectType, Objects, Oid};

use super::commit::{self, Commit};
use super::refusal::{Code, Refusal};
use super::tree::{self, Entry};

/// How many trees are remembered. Most of the trees of two neighbouring commits are the same.
const MAX_TREES: usize = 4096;

/// A store whose every answer is hashed before anybody sees it, and which reads commits and trees once.
pub(super) struct Proven<'o> {
    store: &'o dyn Objects,
    commits: RefCell<HashMap<Oid, Arc<Commit>>>,
    trees: RefCell<HashMap<Oid, Rc<[Entry]>>>,
}

impl<'o> Proven<'o> {
    pub(super) fn new(store: &'o dyn Objects) -> Self {
        Self { store, commits: RefCell::default(), trees: RefCell::default() }
    }

    /// Returns a commit, taken apart.
    pub(super) fn commit(&self, id: &Oid) -> Result<Arc<Commit>, Refusal> {
        if let Some(commit) = self.commits.borrow().get(id) {
            return Ok(Arc::clone(commit));
        }
        let parse = || Commit::parse(&self.read(id, ObjectType::Commit, commit::MAX_BYTES)?, id.kind());
        let commit = Arc::new(parse().map_err(|refusal| refusal.of(id))?);
        self.commits.borrow_mut().insert(*id, Arc::clone(&commit));
        Ok(commit)
    }

    /// Forgets the commits, which are large when a history is long.
    pub(super) fn forget_commits(&self) {
        self.commits.borrow_mut().clear();
    }

    /// Returns the entries of a tree.
    pub(super) fn tree(&self, id: &Oid) -> Result<Rc<[Entry]>, Refusal> {
        if let Some(entries) = self.trees.borrow().get(id) {
            return Ok(Rc::clone(entries));
        }
        let data = self.read(id, ObjectType::Tree, tree::MAX_BYTES)?;
        let entries: Rc<[Entry]> = tree::parse(&data, id.kind())?.into();
        let mut trees = self.trees.borrow_mut();
        if trees.len() >= MAX_TREES {
            trees.clear();
        }
        trees.insert(*id, Rc::clone(&entries));
        Ok(entries)
    }

    /// Returns the content of the object `id`, which is a `kind` and has at most `limit` bytes.
    pub(super) fn read(&self, id: &Oid, kind: ObjectType, limit: usize) -> Result<Vec<u8>, Refusal> {
        let object = self.store.object(id).map_err(|error| {
            let code = match error {
                ObjectError::Missing { .. } => Code::ObjectMissing,
                ObjectError::TooLarge { .. } => Code::ObjectTooLarge,
                ObjectError::Unreadable { .. } => Code::ObjectUnreadable,
            };
            Refusal::new(code, format!("{kind} {id} is needed and was not to be had")).caused_by(error)
        })?;
        if object.data.len() > limit {
            let size = object.data.len();
            return Err(Refusal::new(
                Code::ObjectTooLarge,
                format!("{kind} {id} has {size} bytes; {limit} are allowed"),
            ));
        }
        // The type is part of what is hashed, so a store cannot lie about it either. For SHA-1 the hash detects the
        // known collision attacks and then gives an error instead of an id.
        match gix::objs::compute_hash(id.kind(), object.kind, &object.data) {
            Ok(actual) if actual == *id => {}
            Ok(actual) => {
                let detail = format!("the store was asked for {id} and gave the content of {actual}");
                return Err(Refusal::new(Code::ObjectMismatch, detail));
            }
            Err(_) => {
                return Err(Refusal::new(Code::ObjectMismatch, format!("object {id} is a forged hash collision")));
            }
        }
        if object.kind != kind {
            let detail = format!("object {id} is a {}, and a {kind} was needed", object.kind);
            return Err(Refusal::new(Code::WrongObjectType, detail));
        }
        Ok(object.data)
    }
}
