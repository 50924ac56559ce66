// SPDX-License-Identifier: Apache-2.0
//! What the host was told out of band: where trust begins.

use std::fmt;
use std::str::FromStr;

use sequoia_openpgp::Fingerprint;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::git::Oid;

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
    pub signers: Vec<Signer>,
}

/// A key named by its fingerprint, written `openpgp:` and the hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Signer(Fingerprint);

impl Signer {
    /// Whether this names the certificate whose primary key has this fingerprint.
    pub(super) fn is(&self, primary: &Fingerprint) -> bool {
        self.0 == *primary
    }
}

/// The text does not name a signer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASigner {
    #[error("\"{0}\" names no kind of key; write openpgp: and the fingerprint of the primary key")]
    Kind(String),
    #[error("\"{0}\" names an SSH key, which this version cannot check; write openpgp: and a fingerprint")]
    Ssh(String),
    #[error(
        "\"{0}\" has no whole fingerprint: it takes 40 or 64 hexadecimal digits without spaces, \
         as the fpr line of `gpg --with-colons --fingerprint` has them"
    )]
    Fingerprint(String),
}

impl FromStr for Signer {
    type Err = NotASigner;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("ssh:") {
            return Err(NotASigner::Ssh(text.to_owned()));
        }
        let digits = text.strip_prefix("openpgp:").ok_or_else(|| NotASigner::Kind(text.to_owned()))?;
        let whole = matches!(digits.len(), 40 | 64) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        match digits.parse() {
            Ok(fingerprint @ (Fingerprint::V4(_) | Fingerprint::V6(_))) if whole => Ok(Self(fingerprint)),
            _ => Err(NotASigner::Fingerprint(text.to_owned())),
        }
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "openpgp:{:X}", self.0)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Signer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Signer {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Signer".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^openpgp:([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$" })
    }
}
