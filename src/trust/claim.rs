// SPDX-License-Identifier: Apache-2.0
//! What a commit says of itself. Nothing of it is proven: for people who look, never for anything that decides.

use std::time::SystemTime;

use crate::model::Digest;
use crate::model::git::{Objects, Oid};

use super::key_name::KeyName;
use super::objects::Proven;
use super::refusal::{Code, Refusal};
use super::signature::GitSignature;

/// What a commit and its signature say, unverified.
#[derive(Clone, Debug)]
pub struct Claim {
    pub parents: Vec<Oid>,
    /// The key that made the signature, as the signature says.
    pub key: KeyName,
    /// When it was made; an SSH signature does not say.
    pub created: Option<SystemTime>,
    /// SHA-256 of what was signed: what a list of revoked commits goes by.
    pub payload: Digest,
}

/// Reads what a commit says of itself.
///
/// # Errors
/// The commit cannot be read, or carries no signature in a form that hostwrit knows.
pub fn claim(objects: &dyn Objects, id: &Oid) -> Result<Claim, Refusal> {
    let commit = Proven::new(objects).commit(id)?;
    let signature = match commit.signature.as_deref() {
        Some(text) => GitSignature::parse(text).map_err(|refusal| refusal.of(id))?,
        None => return Err(Refusal::new(Code::Unsigned, "it carries no signature").of(id)),
    };
    Ok(Claim {
        parents: commit.parents.clone(),
        key: signature.key(),
        created: signature.created(),
        payload: Digest::of(&commit.payload),
    })
}

/// Returns the parents of a commit, whether it is signed or not.
///
/// # Errors
/// The commit cannot be read.
pub fn parents(objects: &dyn Objects, id: &Oid) -> Result<Vec<Oid>, Refusal> {
    Ok(Proven::new(objects).commit(id)?.parents.clone())
}
