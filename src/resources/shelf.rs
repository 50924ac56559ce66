// SPDX-License-Identifier: Apache-2.0
//! All that is declared on one host, as the daemon keeps it: files put away, the rest at hand.

use crate::host::Scratch;

use super::Desired;
use super::file;
use super::file::shelf::ShelfError;

/// The declared objects of one host.
#[derive(Debug)]
pub struct Shelf {
    /// Every kind but files.
    at_hand: Desired,
    files: file::shelf::Shelf,
}

impl Shelf {
    /// Puts away what is declared.
    ///
    /// # Errors
    /// The scratch file cannot be written.
    pub fn of(desired: Desired, scratch: Scratch) -> Result<Self, ShelfError> {
        let files = file::shelf::Shelf::of(&desired.files, scratch)?;
        Ok(Self { at_hand: Desired { files: Vec::new(), ..desired }, files })
    }

    /// Returns what is declared beside files.
    pub fn at_hand(&self) -> &Desired {
        &self.at_hand
    }

    /// Returns the files.
    pub fn files(&self) -> &file::shelf::Shelf {
        &self.files
    }
}
