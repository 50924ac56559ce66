// SPDX-License-Identifier: Apache-2.0
//! What a `gpgsig` header may hold: one OpenPGP or one SSH signature, each in the one form that its own program writes.

mod armor;
pub(super) mod openpgp;
mod rsa;
pub(super) mod ssh;

use std::time::SystemTime;

pub(super) use openpgp::OpenPgp;
pub(super) use ssh::Ssh;

use super::key_name::KeyName;
use super::policy::PublicKey;
use super::refusal::{Code, Refusal};

#[cfg(any(fuzzing, test))]
pub(super) use armor::{decode as decode_armor, encode as encode_armor};

/// A signature in its one form, not yet verified.
#[derive(Debug)]
pub(super) enum GitSignature {
    OpenPgp(Box<OpenPgp>),
    Ssh(Ssh),
}

impl GitSignature {
    /// Reads the text of a `gpgsig` header.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Refusal> {
        if text.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
            return Ssh::parse(text, ssh::GIT).map(Self::Ssh);
        }
        OpenPgp::parse(text).map(|signature| Self::OpenPgp(Box::new(signature)))
    }

    /// Returns the key that made it, as it says itself: of an OpenPGP certificate, the primary key or a subkey.
    pub(super) fn key(&self) -> KeyName {
        match self {
            Self::OpenPgp(signature) => KeyName::OpenPgp(signature.issuer.clone()),
            Self::Ssh(signature) => signature.key().name().clone(),
        }
    }

    /// Returns when it was made, by its own account. An SSH signature does not say.
    pub(super) fn created(&self) -> Option<SystemTime> {
        match self {
            Self::OpenPgp(signature) => Some(signature.created),
            Self::Ssh(_) => None,
        }
    }

    /// Refuses a signature from after `now`.
    pub(super) fn check_clock(&self, now: SystemTime) -> Result<(), Refusal> {
        match self {
            Self::OpenPgp(signature) => signature.check_clock(now),
            Self::Ssh(_) => Ok(()),
        }
    }

    /// Verifies that `key` made this signature of `payload`, and could at the time that the signature states.
    pub(super) fn verify(&self, payload: &[u8], key: &PublicKey) -> Result<(), Refusal> {
        match (self, key) {
            (Self::OpenPgp(signature), PublicKey::OpenPgp { cert, .. }) => signature.verify(payload, cert),
            (Self::Ssh(signature), PublicKey::Ssh(key)) if signature.key() == key => signature.verify(payload),
            _ => Err(Refusal::new(Code::UnknownSigner, "the key that is listed did not make its signature")),
        }
    }

    /// Checks that `key` may still sign at `time`. SSH keys end by being revoked, which is the policy's word, not the key's.
    pub(super) fn check_key(&self, key: &PublicKey, time: SystemTime, when: &str) -> Result<(), Refusal> {
        match (self, key) {
            (Self::OpenPgp(signature), PublicKey::OpenPgp { cert, .. }) => signature.check_key(cert, time, when),
            _ => Ok(()),
        }
    }
}
