// SPDX-License-Identifier: Apache-2.0
//! Files: regular files, directories and symbolic links, by absolute path.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{ReadHost, WriteHost};
use crate::model::{Declared, Faults, Origin, Owned, Step};

use super::{ApplyError, Contents, ObserveError, Resource};

/// A file, directory or symbolic link.
pub enum File {}

/// A file as the repo writes it; its name is its absolute path.
///
/// With content, or as a directory, unset owner, group and mode mean root, root and 0644 (directories: 0755). A file
/// without content is one whose content is left alone: only the attributes that are set are kept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Default: `file`.
    #[serde(rename = "type")]
    pub file_type: Option<FileType>,
    /// The content itself.
    pub content: Option<String>,
    /// A file below `files/` of the infra repo.
    pub source: Option<String>,
    /// A Handlebars template below `templates/` of the infra repo.
    pub template: Option<String>,
    /// User, by name or number.
    pub owner: Option<String>,
    /// Group, by name or number.
    pub group: Option<String>,
    /// Permission bits in octal, in quotes: "0644".
    pub mode: Option<String>,
    /// Where a link points to.
    pub target: Option<String>,
    /// A directory that holds only what the repo declares in it: everything else is removed. Default: false.
    pub exact: Option<bool>,
    /// A command that must succeed before new content takes the file's place; `{}` stands for the path of the new
    /// content. Tried only on the running system.
    pub validate: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    #[default]
    File,
    Directory,
    Link,
}

impl Resource for File {
    const KIND: &'static str = "file";
    const KEY: &'static str = "files";
    type Spec = Spec;
    type Desired = ();
    type Observed = ();
    type Operation = ();

    fn resolve(_: &str, _: Spec, _: &Origin, _: &dyn Contents) -> Result<(), Faults> {
        todo!()
    }
    fn observe(_: &[Declared<()>], _: &Owned, _: &dyn ReadHost) -> Result<(), ObserveError> {
        todo!()
    }
    fn diff(_: &[Declared<()>], (): &(), _: &Owned) -> Vec<Step<()>> {
        todo!()
    }
    fn apply((): &(), _: &dyn WriteHost) -> Result<(), ApplyError> {
        todo!()
    }
}
