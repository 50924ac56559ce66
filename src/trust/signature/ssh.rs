// SPDX-License-Identifier: Apache-2.0
//! SSH signatures (openssh's PROTOCOL.sshsig) and the public keys that make them.

use crate::trust::key_name::KeyName;
use crate::trust::refusal::{Code, Refusal};

/// The namespace of Git's signatures.
pub(in crate::trust) const GIT: &str = "git";

/// An SSH public key that is strong enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::trust) struct SshKey {
    name: KeyName,
}

impl SshKey {
    /// Reads a `.pub` file: one line, `ALGORITHM BASE64 COMMENT`.
    ///
    /// # Errors
    /// Why it is not one good key, in words that follow "the key of alice".
    pub(in crate::trust) fn parse(_line: &[u8]) -> Result<Self, String> {
        Err("is an SSH key, which is not yet read".to_owned())
    }

    /// Returns its fingerprint.
    pub(in crate::trust) fn name(&self) -> &KeyName {
        &self.name
    }
}

/// A signature in its one form, not yet verified. It holds the key that made it, and no time.
#[derive(Debug)]
pub(in crate::trust) struct Ssh {
    key: SshKey,
}

impl Ssh {
    /// Reads an armored signature made for `namespace`.
    pub(in crate::trust) fn parse(_text: &[u8], _namespace: &str) -> Result<Self, Refusal> {
        Err(Refusal::new(Code::UnsupportedSignature, "it is signed with an SSH key"))
    }

    /// Returns the key that made it, as the signature itself says.
    pub(in crate::trust) fn key(&self) -> &SshKey {
        &self.key
    }

    /// Verifies that its key made this signature of `payload`.
    pub(in crate::trust) fn verify(&self, _payload: &[u8]) -> Result<(), Refusal> {
        Err(Refusal::new(Code::UnsupportedSignature, "it is signed with an SSH key"))
    }
}
