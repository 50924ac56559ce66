// SPDX-License-Identifier: Apache-2.0
//! Keys by their fingerprints.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use sequoia_openpgp::Fingerprint;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key by its fingerprint: `openpgp:` and hexadecimal digits, or `ssh:SHA256:` and what `ssh-keygen -l` prints.
///
/// An OpenPGP certificate goes by the fingerprint of its primary key; its subkeys have names of their own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyName {
    OpenPgp(Fingerprint),
    /// SHA-256 of the public key as it goes over the wire (RFC 4253, section 6.6).
    Ssh([u8; 32]),
}

/// The text does not name a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAKeyName {
    #[error("\"{0}\" names no kind of key; write openpgp: or ssh:SHA256: and the fingerprint")]
    Kind(String),
    #[error(
        "\"{0}\" has no whole fingerprint: it takes SHA256: and 43 characters, as `ssh-keygen -lf KEY.pub` prints them"
    )]
    Ssh(String),
    #[error(
        "\"{0}\" has no whole fingerprint: it takes 40 or 64 hexadecimal digits without spaces, \
         as the fpr line of `gpg --with-colons --fingerprint` has them"
    )]
    OpenPgp(String),
}

impl FromStr for KeyName {
    type Err = NotAKeyName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix("ssh:") {
            let fault = || NotAKeyName::Ssh(text.to_owned());
            let base64 = rest.strip_prefix("SHA256:").filter(|base64| base64.len() == 43).ok_or_else(fault)?;
            let bytes = openssl::base64::decode_block(&format!("{base64}=")).map_err(|_| fault())?;
            let name = Self::Ssh(bytes.try_into().map_err(|_| fault())?);
            // Base64 of 32 bytes leaves two bits over, which must not make a second name.
            return if name.to_string() == text { Ok(name) } else { Err(fault()) };
        }
        let digits = text.strip_prefix("openpgp:").ok_or_else(|| NotAKeyName::Kind(text.to_owned()))?;
        let whole = matches!(digits.len(), 40 | 64) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        match digits.parse() {
            Ok(fingerprint @ (Fingerprint::V4(_) | Fingerprint::V6(_))) if whole => Ok(Self::OpenPgp(fingerprint)),
            _ => Err(NotAKeyName::OpenPgp(text.to_owned())),
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenPgp(fingerprint) => write!(f, "openpgp:{fingerprint:X}"),
            Self::Ssh(digest) => {
                write!(f, "ssh:SHA256:{}", openssl::base64::encode_block(digest).trim_end_matches('='))
            }
        }
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for KeyName {
    fn schema_name() -> Cow<'static, str> {
        "KeyName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A key by its fingerprint: openpgp:HEX or ssh:SHA256:BASE64",
            "pattern": "^(openpgp:([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})|ssh:SHA256:[A-Za-z0-9+/]{43})$",
        })
    }
}
