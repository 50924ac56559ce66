// SPDX-License-Identifier: Apache-2.0
//! What was found to be so, so that it need not be found again.

use std::collections::BTreeSet;

use openssl::sha::Sha256;

use crate::model::Digest;

/// Answers that stay true. Each is the digest of the question with everything that could change the answer, and only
/// what was proven is kept, so that a cache that is lost costs time and nothing else. Whoever keeps one keeps it where only root can write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    proven: BTreeSet<Digest>,
}

impl Cache {
    /// Returns a cache of answers that an earlier run found.
    pub fn of(proven: impl IntoIterator<Item = Digest>) -> Self {
        Self { proven: proven.into_iter().collect() }
    }

    /// Returns the answers, to keep them.
    pub fn proven(&self) -> impl Iterator<Item = &Digest> {
        self.proven.iter()
    }

    /// Returns the digest of a question with everything that its answer depends on.
    pub(super) fn question(sort: &str, parts: &[&[u8]]) -> Digest {
        let mut hash = Sha256::new();
        for part in [sort.as_bytes()].into_iter().chain(parts.iter().copied()) {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Digest::from_bytes(hash.finish())
    }

    pub(super) fn knows(&self, question: &Digest) -> bool {
        self.proven.contains(question)
    }

    pub(super) fn keep(&mut self, question: Digest) {
        self.proven.insert(question);
    }
}
