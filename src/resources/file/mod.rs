// SPDX-License-Identifier: Apache-2.0
//! Files: regular files, directories and symbolic links, by absolute path.

mod diff;
mod host;
mod renew;
mod resolve;
pub mod shelf;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::{FileKind, ReadHost, Stat, WriteHost};
use crate::model::{Declared, Digest, Faults, Origin, Owned, Step};

use super::accounts::Names;
use super::digest::{Digestible, Sum, digest_every_field};
use super::{ApplyError, Content, Contents, Interests, ObserveError, Resource};

pub use renew::{Expiry, Renew, RenewSpec};

/// Only shorter contents are shown line by line.
const TEXT_MAX: usize = 64 * 1024;

/// A file, directory or symbolic link.
pub enum File {}

/// A file as the repo writes it; its name is its absolute path.
///
/// With content, or as a directory, unset owner, group and mode mean root, root and 0644 (directories: 0755). A file
/// without content is one whose content is left alone: only the attributes that are set are kept, and if there is no
/// such file, an empty one is made, unless it has `renew`.
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
    /// When the file must be renewed. Nothing is done about it: `status`, alarms and metrics tell of it. Without content, a file
    /// that is not there is not made, for somebody else makes it.
    pub renew: Option<RenewSpec>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    #[default]
    File,
    Directory,
    Link,
}

/// A file, directory or link as it shall be. What is `None` is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    pub what: What,
    pub owner: Option<Account>,
    pub group: Option<Account>,
    /// Permission bits; always `None` for a link.
    pub mode: Option<u32>,
    /// When it must be renewed, by somebody else; always `None` for what is no regular file.
    pub renew: Option<Renew>,
}

impl Desired {
    /// Whether somebody else makes the file: it is kept as it shall be once it is there.
    pub fn is_brought(&self) -> bool {
        self.renew.is_some() && matches!(self.what, What::File { content: None, .. })
    }
}

/// What shall be at the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    File {
        /// Is no JSON: whoever writes the rest down writes the content beside it.
        #[serde(skip)]
        content: Option<Content>,
        check: Option<Vec<String>>,
    },
    Directory {
        exact: bool,
    },
    Link {
        target: PathBuf,
    },
}

impl What {
    fn kind(&self) -> FileKind {
        match self {
            Self::File { .. } => FileKind::File,
            Self::Directory { .. } => FileKind::Directory,
            Self::Link { .. } => FileKind::Link,
        }
    }
}

/// A user or group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Account {
    Name(String),
    Number(u32),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => number.fmt(f),
        }
    }
}

digest_every_field!(Desired { what, owner, group, mode, renew });

impl Digestible for What {
    fn add_to(&self, sum: &mut Sum) {
        match self {
            Self::File { content, check } => {
                sum.variant(0);
                content.add_to(sum);
                check.add_to(sum);
            }
            Self::Directory { exact } => {
                sum.variant(1);
                exact.add_to(sum);
            }
            Self::Link { target } => {
                sum.variant(2);
                target.add_to(sum);
            }
        }
    }
}

impl Digestible for Account {
    fn add_to(&self, sum: &mut Sum) {
        match self {
            Self::Name(name) => {
                sum.variant(0);
                name.add_to(sum);
            }
            Self::Number(number) => {
                sum.variant(1);
                number.add_to(sum);
            }
        }
    }
}

/// What there is on the host.
#[derive(Debug, Default)]
pub struct Observed {
    /// Whether owners are compared.
    sets_owners: bool,
    names: Names,
    /// What is at the paths of declared and owned objects; a path at which nothing is has no entry.
    entries: HashMap<String, Entry>,
    /// Paths that could not be looked at, and why. One of them, which any user can bring about in a directory of
    /// their own, must not keep the rest from being put right.
    unknown: HashMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    stat: Stat,
    detail: Detail,
}

/// What more was looked at: only as much as the comparison needs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Detail {
    Nothing,
    /// The content is as it shall be.
    Same,
    /// The content is another.
    Differs(Seen),
    Target(PathBuf),
    /// The names in a directory.
    Names(Vec<OsString>),
}

/// A content that is not as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// `None` for a file so large that it was not read.
    digest: Option<Digest>,
    /// Kept if it is short enough to be shown.
    text: Option<String>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    path: PathBuf,
    act: Act,
}

impl Operation {
    /// Returns what the operation removes because it does not belong into an exact directory.
    pub fn strays(&self) -> Vec<PathBuf> {
        match &self.act {
            Act::Directory { strays, .. } => strays.iter().map(|name| self.path.join(name)).collect(),
            _ => Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    /// Puts a file of this content in the place of what is there.
    Write {
        content: Content,
        check: Option<Vec<String>>,
        attributes: Attributes,
    },
    /// Makes an empty file; one that came meanwhile keeps its content.
    Create(Attributes),
    /// Makes the directory unless it is there, sets its attributes, and removes what does not belong in it.
    Directory {
        attributes: Attributes,
        strays: Vec<OsString>,
    },
    Link {
        target: PathBuf,
        attributes: Attributes,
    },
    /// Sets the attributes of a file and nothing else.
    Attributes(Attributes),
    Remove,
    /// Leaves what is there, which then is no longer hostwrit's.
    Leave,
    /// Would do harm; fails with the reason.
    Refuse(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Attributes {
    owner: Option<Account>,
    group: Option<Account>,
    mode: Option<u32>,
}

impl Resource for File {
    const KIND: &'static str = "file";
    const KEY: &'static str = "files";
    type Spec = Spec;
    type Desired = Desired;
    type Observed = Observed;
    type Operation = Operation;

    fn resolve(name: &str, spec: Spec, origin: &Origin, contents: &dyn Contents) -> Result<Desired, Faults> {
        resolve::resolve(name, spec, origin, contents)
    }

    fn observe(desired: &[Declared<Desired>], owned: &Owned, host: &dyn ReadHost) -> Result<Observed, ObserveError> {
        host::observe(desired, owned, host)
    }

    fn diff(desired: &[Declared<Desired>], observed: &Observed, owned: &Owned) -> Vec<Step<Operation>> {
        diff::diff(desired, observed, owned)
    }

    fn apply(operation: &Operation, host: &dyn WriteHost) -> Result<(), ApplyError> {
        host::apply(operation, host)
    }

    fn interests(
        desired: &[Declared<Desired>],
        owned: &Owned,
        _: &dyn ReadHost,
        interests: &mut Interests,
    ) -> Result<(), ObserveError> {
        host::interests(desired, owned, interests);
        Ok(())
    }
}
