// SPDX-License-Identifier: Apache-2.0
//! Declared files that are put away, each to be had back by its path. Of each, memory keeps the path and a digest.
//!
//! Files are what a host may have thousands of, and their contents may be long.

use serde::{Deserialize, Serialize};

use crate::host::{HostError, Scratch};
use crate::model::{Declared, Digest};
use crate::resources::digest::of_declared;
use crate::resources::{Content, Resource};

use super::{Desired, File, What};

/// Declared files, on disk.
#[derive(Debug)]
pub struct Shelf {
    /// All paths, one after the other, sorted.
    paths: String,
    /// In the order of the paths.
    entries: Vec<Entry>,
    scratch: Scratch,
}

/// Where it begins, in both, the one before it says.
#[derive(Debug)]
struct Entry {
    /// Where it ends in the scratch file.
    end: u64,
    /// Where its path ends in `paths`.
    path_end: u32,
    sort: Sort,
    /// The digest by which rights go: what comes back is what was authorized, or is not used.
    digest: Digest,
}

/// What the steps of other files depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Absent, or an exact directory: its steps depend on all that is below it.
    Whole,
    /// What is below it would be reached by it.
    Link,
    Other,
}

impl Sort {
    fn of(want: Option<&Desired>) -> Self {
        match want.map(|want| &want.what) {
            None | Some(What::Directory { exact: true }) => Self::Whole,
            Some(What::Link { .. }) => Self::Link,
            Some(_) => Self::Other,
        }
    }
}

/// Why a declared file cannot be had back.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error("cannot put away what is declared, or have it back")]
    Host(#[from] HostError),
    #[error("cannot put away what is declared of file:{path}")]
    Encode {
        path: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("what was put away of file:{path} is not what comes back")]
    Damaged { path: String },
}

/// How a file stands in the scratch file: this as JSON, its length in four bytes before it, and its content after it.
#[derive(Serialize, Deserialize)]
struct Kept<D> {
    has_content: bool,
    declared: D,
}

impl Shelf {
    /// Puts the files away.
    ///
    /// # Errors
    /// The scratch file cannot be written.
    pub fn of(files: &[Declared<Desired>], mut scratch: Scratch) -> Result<Self, ShelfError> {
        let mut sorted: Vec<&Declared<Desired>> = files.iter().collect();
        sorted.sort_by_key(|declared| &declared.name);
        let mut paths = String::with_capacity(files.iter().map(|declared| declared.name.len()).sum());
        let mut entries = Vec::with_capacity(files.len());
        for declared in sorted {
            let bytes =
                encode(declared).map_err(|source| ShelfError::Encode { path: declared.name.clone(), source })?;
            paths.push_str(&declared.name);
            entries.push(Entry {
                end: scratch.put(&bytes)?,
                path_end: u32::try_from(paths.len()).unwrap_or(u32::MAX),
                sort: Sort::of(declared.want.as_ref()),
                digest: of_declared(File::KIND, declared),
            });
        }
        Ok(Self { paths, entries, scratch })
    }

    /// Returns what the file at the path is to others; `None` if none is declared there.
    pub fn sort(&self, path: &str) -> Option<Sort> {
        self.find(path).map(|(_, entry)| entry.sort)
    }

    /// Returns the declared paths that begin so.
    pub fn paths<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = &'s str> + 's {
        let first = self.place_of(prefix);
        (first..self.entries.len()).map(|place| self.path(place)).take_while(move |path| path.starts_with(prefix))
    }

    /// Returns the declared file at the path; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not what was put away.
    pub fn get(&self, path: &str) -> Result<Option<Declared<Desired>>, ShelfError> {
        let Some((place, entry)) = self.find(path) else { return Ok(None) };
        let bytes = self.scratch.get(self.before(place).map_or(0, |before| before.end), entry.end)?;
        match decode(&bytes) {
            Some(declared) if of_declared(File::KIND, &declared) == entry.digest => Ok(Some(declared)),
            _ => Err(ShelfError::Damaged { path: path.to_owned() }),
        }
    }

    /// Returns the entry of the path, and its place.
    fn find(&self, path: &str) -> Option<(usize, &Entry)> {
        let place = self.place_of(path);
        self.entries.get(place).filter(|_| self.path(place) == path).map(|entry| (place, entry))
    }

    fn before(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place.checked_sub(1)?)
    }

    fn path(&self, place: usize) -> &str {
        let path_end = |entry: &Entry| entry.path_end as usize;
        let begin = self.before(place).map_or(0, path_end);
        let end = self.entries.get(place).map_or(0, path_end);
        self.paths.get(begin..end).unwrap_or_default()
    }

    /// Returns the place of the first path that is not before this one.
    fn place_of(&self, path: &str) -> usize {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.path(middle) < path { low = middle + 1 } else { high = middle }
        }
        low
    }
}

fn encode(declared: &Declared<Desired>) -> Result<Vec<u8>, serde_json::Error> {
    let content = match declared.want.as_ref().map(|want| &want.what) {
        Some(What::File { content, .. }) => content.as_ref().map(Content::bytes),
        _ => None,
    };
    let json = serde_json::to_vec(&Kept { has_content: content.is_some(), declared })?;
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes();
    Ok([&length, json.as_slice(), content.unwrap_or_default()].concat())
}

fn decode(bytes: &[u8]) -> Option<Declared<Desired>> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (json, after) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
    let Kept { has_content, mut declared } = serde_json::from_slice::<Kept<Declared<Desired>>>(json).ok()?;
    if let Some(Desired { what: What::File { content, .. }, .. }) = &mut declared.want {
        *content = has_content.then(|| Content::new(after.into()));
    }
    Some(declared)
}
