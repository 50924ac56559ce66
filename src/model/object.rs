// SPDX-License-Identifier: Apache-2.0
//! The identity of a managed thing.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One managed thing, written `kind:name`: `user:deploy`, `file:/etc/motd`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    kind: Cow<'static, str>,
    name: String,
}

impl ObjectId {
    /// Returns the identity of the object of `kind` that is called `name`.
    pub fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind: Cow::Borrowed(kind), name: name.into() }
    }

    /// Returns the word before the colon.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns what stands after the first colon.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

/// The text is not of the form `kind:name`.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not an object; write kind:name, such as user:deploy or file:/etc/motd")]
pub struct NotAnObject(String);

impl FromStr for ObjectId {
    type Err = NotAnObject;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_kind_char = |c: char| c.is_ascii_lowercase() || c == '.' || c == '_';
        match text.split_once(':') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() && kind.chars().all(is_kind_char) => {
                Ok(Self { kind: Cow::Owned(kind.to_owned()), name: name.to_owned() })
            }
            _ => Err(NotAnObject(text.to_owned())),
        }
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for ObjectId {
    fn schema_name() -> Cow<'static, str> {
        "ObjectId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "One managed thing, written kind:name",
            "pattern": "^[a-z._]+:.+$",
        })
    }
}
