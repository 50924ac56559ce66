// SPDX-License-Identifier: Apache-2.0
//! The files of an infra repo, wherever they come from.

/// The files of an infra repo at one moment: an authentic tree, or a clone that somebody edits.
pub trait RepoFiles {
    /// Returns the paths of all files, sorted, with `/` between the parts.
    ///
    /// # Errors
    /// The tree cannot be read.
    fn paths(&self) -> Result<Vec<String>, FileError>;

    /// Returns the content of the file at `path`, or `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read or is too large.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError>;
}

/// Why a file of the infra repo could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path} of the infra repo")]
pub struct FileError {
    pub path: String,
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
