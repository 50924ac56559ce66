// SPDX-License-Identifier: Apache-2.0
//! What the undo journal holds: how each place was before it was changed, one JSON object a line, appended and synced before the
//! change. `docs/reference/confirm.md` is the format.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::{AccountFiles, FileKind, HostError, Owner, ReadHost, Ruleset};

/// Where the notes of the change that is not proven yet are kept.
pub(super) const JOURNAL: &str = "/var/lib/hostwrit/confirm/journal.jsonl";

/// One note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Note {
    /// What was at a path.
    Path { path: Bytes, was: Was },
    /// Owner and mode of what was at a path, which keeps its content.
    Attributes { path: Bytes, mode: u32, owner: (u32, u32) },
    /// The account files before the first change of them.
    Accounts(Accounts),
    /// The entries of the account files that a change concerned, by file.
    Entries(BTreeMap<AccountFile, BTreeSet<Bytes>>),
    /// The links by which units are enabled, masked and named.
    Links(Links),
    /// hostwrit's own table of the packet filter; of others nothing is ever changed.
    Ruleset { was: Ruleset },
    /// Whether a unit ran before it was acted on; and whether it was restarted, or only reloaded.
    Unit { unit: String, active: bool, restarted: bool },
}

/// What was at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "was", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Was {
    Nothing,
    File { content: Bytes, mode: u32, owner: (u32, u32) },
    Directory { mode: u32, owner: (u32, u32) },
    Link { target: Bytes, owner: (u32, u32) },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AccountFile {
    Passwd,
    Shadow,
    Group,
    Gshadow,
}

/// The four account files as they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Accounts {
    pub(super) passwd: Option<Bytes>,
    pub(super) shadow: Option<Bytes>,
    pub(super) group: Option<Bytes>,
    pub(super) gshadow: Option<Bytes>,
}

impl From<&AccountFiles> for Accounts {
    fn from(files: &AccountFiles) -> Self {
        let bytes = |content: &Option<Vec<u8>>| content.as_deref().map(Bytes::new);
        Self {
            passwd: bytes(&files.passwd),
            shadow: bytes(&files.shadow),
            group: bytes(&files.group),
            gshadow: bytes(&files.gshadow),
        }
    }
}

/// The links of systemd's directory, and of those in it that name what a unit wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Links {
    /// Target by path.
    pub(super) links: BTreeMap<String, Bytes>,
    /// The directories, by path.
    pub(super) directories: BTreeSet<String>,
}

/// Where systemd keeps the links that enable, mask and name units.
const UNITS: &str = "/etc/systemd/system";

impl Links {
    /// Reads them.
    ///
    /// # Errors
    /// A directory or link cannot be read.
    pub(super) fn of(host: &dyn ReadHost) -> Result<Self, HostError> {
        let mut found = Self::default();
        let mut directories = vec![UNITS.to_owned()];
        while let Some(directory) = directories.pop() {
            for name in host.list(Path::new(&directory))?.unwrap_or_default() {
                // A name that is no text is none that systemd would take for a unit's.
                let Some(name) = name.to_str() else { continue };
                let path = format!("{directory}/{name}");
                match host.stat(Path::new(&path))?.map(|stat| stat.kind) {
                    Some(FileKind::Directory) if name.ends_with(".wants") || name.ends_with(".requires") => {
                        found.directories.insert(path.clone());
                        directories.push(path);
                    }
                    Some(FileKind::Link) => {
                        if let Some(target) = host.read_link(Path::new(&path))? {
                            found.links.insert(path, Bytes::of_path(&target));
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// Whether a link at this path would be among them, and is not.
    pub(super) fn would_hold(&self, path: &Path) -> bool {
        let directory = path.parent().and_then(Path::to_str).unwrap_or_default();
        let is_of_links = directory == UNITS || directory.ends_with(".wants") || directory.ends_with(".requires");
        let is_held = path.to_str().is_some_and(|path| self.links.contains_key(path));
        is_of_links && directory.starts_with(UNITS) && !is_held
    }
}

/// Bytes as JSON can hold them: as text where they are text, so that people can read what will be put back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Bytes {
    Text(String),
    Base64(String),
}

impl Bytes {
    pub(super) fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(openssl::base64::encode_block(bytes)),
        }
    }

    pub(super) fn of_path(path: &Path) -> Self {
        Self::new(path.as_os_str().as_bytes())
    }

    pub(super) fn to_vec(&self) -> Result<Vec<u8>, NotesError> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Base64(text) => openssl::base64::decode_block(text).map_err(|_| NotesError::Base64),
        }
    }

    pub(super) fn to_path(&self) -> Result<PathBuf, NotesError> {
        Ok(PathBuf::from(OsStr::from_bytes(&self.to_vec()?)))
    }
}

pub(super) fn owner((uid, gid): (u32, u32)) -> Owner {
    Owner { uid, gid }
}

/// Why the notes cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum NotesError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("{JOURNAL}:{line} cannot be understood")]
    Malformed {
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("{JOURNAL} holds what should be base64 and is not")]
    Base64,
}

/// Returns the notes in the order in which they were made; none if there is no journal.
///
/// A last line without its end is of a write that was cut off: the change that it was to announce was not made.
pub(super) fn read(host: &dyn ReadHost) -> Result<Vec<Note>, NotesError> {
    parse(&host.read(Path::new(JOURNAL))?.unwrap_or_default())
}

pub(super) fn parse(text: &[u8]) -> Result<Vec<Note>, NotesError> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &text[..end]);
    whole
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(at, line)| serde_json::from_slice(line).map_err(|source| NotesError::Malformed { line: at + 1, source }))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_that_was_cut_off_is_no_note_and_any_other_fault_is_an_error() {
        let note = Note::Unit { unit: "ssh.service".to_owned(), active: true, restarted: true };
        let line = serde_json::to_string(&note).unwrap();
        let cut = format!("{line}\n{}", &line[..20]);
        assert_eq!(parse(cut.as_bytes()).unwrap(), std::slice::from_ref(&note));
        assert_eq!(parse(b"").unwrap(), []);
        assert_eq!(parse(&line.as_bytes()[..20]).unwrap(), []);
        let torn = format!("{}\n{line}\n", &line[..20]);
        assert_eq!(parse(torn.as_bytes()).unwrap_err().to_string(), format!("{JOURNAL}:1 cannot be understood"));
    }

    proptest! {
        #[test]
        fn bytes_come_back_as_they_were(bytes: Vec<u8>) {
            let json = serde_json::to_string(&Bytes::new(&bytes)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap().to_vec().unwrap(), bytes);
        }

        #[test]
        fn no_journal_makes_the_reader_panic(text: Vec<u8>) {
            let _ = parse(&text);
            let _ = parse(&[b"{\"note\":\"path\"".as_slice(), &text, b"}\n"].concat());
        }
    }
}
