// SPDX-License-Identifier: Apache-2.0
//! Where in the infra repo something was written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// A place in a text file. Lines and columns count from 1; line 0 means the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
pub struct Location {
    /// Path in the infra repo, or of the configuration file.
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
}

impl Location {
    /// Returns the place of a file as a whole.
    pub fn file(path: &str) -> Self {
        Self { file: path.into(), line: 0, column: 0 }
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Many places share the name of one file; what comes from elsewhere need not.
        #[derive(Deserialize)]
        struct Place {
            file: String,
            line: u32,
            column: u32,
        }
        let Place { file, line, column } = Place::deserialize(deserializer)?;
        Ok(Self { file: file.into(), line, column })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Where an object, and each of its fields, was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Where the object is named: in the layer that counts most among those that name it.
    pub object: Location,
    /// Each field that the repo sets, by its key.
    pub fields: BTreeMap<String, Location>,
}

impl Origin {
    /// Returns where `field` was written, or where the object is named if no layer sets the field.
    pub fn of(&self, field: &str) -> &Location {
        self.fields.get(field).unwrap_or(&self.object)
    }
}
