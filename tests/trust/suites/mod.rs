// SPDX-License-Identifier: Apache-2.0
//! The tests of other projects, retold: their facts and stories, on keys and objects of our own.
//!
//! README.md beside this folder names the source of each, and where our answer is meant to differ from theirs.

mod differences;
mod dotfiles;
mod fsck;
mod gitsign;
mod gittuf;
mod guix;
mod merges;
mod revocation;
mod sequoia_git;
mod signed_commit;
mod two_persons;

use hostwrit::model::git::{ObjectType, RawObject};

use super::fixture::Store;
use super::*;

/// Commits made object by object, without a work tree: where only the shape of the history matters.
struct History {
    fleet: Fleet,
    store: Store,
    tree: Oid,
    count: usize,
}

impl History {
    fn new() -> Self {
        Self::of(Fleet::new())
    }

    fn of(fleet: Fleet) -> Self {
        let (store, tree) = (fleet.repo.store(), fleet.repo.id("HEAD^{tree}"));
        Self { fleet, store, tree, count: 0 }
    }

    /// Adds a commit of the root's tree, signed by `key` if there is one.
    fn commit(&mut self, parents: &[Oid], key: Option<&Key>) -> Oid {
        let tree = self.tree;
        self.commit_tree(&tree, parents, key)
    }

    fn commit_tree(&mut self, tree: &Oid, parents: &[Oid], key: Option<&Key>) -> Oid {
        // The same commit by the same key within a second would be the same object.
        self.count += 1;
        let mut commit = payload(tree, parents, &format!("commit {}", self.count));
        if let Some(key) = key {
            commit = with_header(&commit, "gpgsig", &self.fleet.keys.sign(key, commit.as_bytes(), &[]));
        }
        self.add(ObjectType::Commit, commit.into_bytes())
    }

    /// Adds a line of commits by `key` upon `parent`, and returns `parent` and all of them.
    fn line(&mut self, parent: &Oid, length: usize, key: Option<&Key>) -> Vec<Oid> {
        let mut line = vec![*parent];
        for _ in 0..length {
            let parent = line[line.len() - 1];
            line.push(self.commit(&[parent], key));
        }
        line
    }

    fn add(&mut self, kind: ObjectType, data: Vec<u8>) -> Oid {
        let id = gix::objs::compute_hash(self.fleet.root.kind(), kind, &data).unwrap();
        self.store.objects.insert(id, RawObject { kind, data });
        id
    }

    #[track_caller]
    fn accepted(&self, pin: Option<&Oid>, tip: &Oid) -> usize {
        let tree = judge(&self.store, &self.fleet.anchor(), pin, tip).unwrap_or_else(|refusal| panic!("{refusal}"));
        tree.signers().len()
    }

    #[track_caller]
    fn refused(&self, pin: Option<&Oid>, tip: &Oid, code: Code) -> Refusal {
        refused_by(&self.store, &self.fleet.anchor(), pin, tip, code)
    }
}

/// Signs what `unsigned` holds and puts the signature where git puts it.
fn sign(fleet: &Fleet, key: &Key, unsigned: &str) -> String {
    with_header(unsigned, "gpgsig", &fleet.keys.sign(key, unsigned.as_bytes(), &[]))
}

/// A commit of the root's tree upon the root, without a signature.
fn unsigned(fleet: &Fleet) -> String {
    payload(&fleet.repo.id(&format!("{}^{{tree}}", fleet.root)), &[fleet.root], "change")
}
