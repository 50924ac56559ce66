// SPDX-License-Identifier: Apache-2.0
//! What the host was told out of band: where trust begins.

use crate::model::git::Oid;

use super::key_name::KeyName;
use super::revocation::Revocations;

/// Where trust begins. Nothing of it is ever taken from the infra repo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The fleet that every policy must name.
    pub fleet: String,
    /// The ref that every policy must name, in full: `refs/heads/main`.
    pub git_ref: String,
    /// The commit where authentication starts. What lies before it does not count.
    pub root: Oid,
    /// Whose signature on the root commit counts; any one of them is enough.
    pub signers: Vec<KeyName>,
    /// Keys and commits that this host distrusts, whatever the repo says.
    pub revoked: Revocations,
}
