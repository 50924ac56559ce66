// SPDX-License-Identifier: Apache-2.0
//! All that is declared on one host, as the daemon keeps it: files put away, the rest at hand.

use crate::host::Scratch;
use crate::model::{ObjectId, Origin};

use super::file::shelf::ShelfError;
use super::file::{self, File};
use super::{Desired, Resource as _};

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

    /// Returns the identity of every declared object.
    pub fn objects(&self) -> impl Iterator<Item = ObjectId> {
        let files = self.files.paths("").map(|path| ObjectId::new(File::KIND, path));
        self.at_hand.objects().into_iter().map(|object| object.id).chain(files)
    }

    /// Returns where the repo declares the object; `None` if it does not.
    ///
    /// # Errors
    /// A declared file cannot be had back.
    pub fn origin(&self, object: &ObjectId) -> Result<Option<Origin>, ShelfError> {
        if object.kind() == File::KIND {
            return Ok(self.files.get(object.name())?.map(|declared| declared.origin));
        }
        let at_hand = self.at_hand.objects();
        Ok(at_hand.into_iter().find(|declared| declared.id == *object).map(|declared| declared.origin.clone()))
    }
}
