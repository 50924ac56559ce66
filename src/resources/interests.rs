// SPDX-License-Identifier: Apache-2.0
//! What of a host the observation of the declared objects depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::host::{HostError, ReadHost};
use crate::model::{ObjectId, Owned};

use super::accounts::Names;
use super::{Desired, ObserveError, interests_of_each};

/// Places and units that declared objects depend on. Each kind enters its own; [`Watchlist`](super::Watchlist) is made of them.
#[derive(Clone, Debug, Default)]
pub struct Interests {
    pub(super) objects: BTreeMap<ObjectId, u32>,
    pub(super) places: BTreeMap<PathBuf, Place>,
    pub(super) units: BTreeMap<String, Vec<u32>>,
    pub(super) ruleset: Vec<u32>,
    /// Objects of which the host itself says where their places are.
    pub(super) moving: BTreeSet<u32>,
    /// Numbers of the users and groups that objects name; `None` for one that is not there.
    pub(super) users: BTreeMap<String, Option<u32>>,
    pub(super) groups: BTreeMap<String, Option<u32>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Concerned when something happens at the path, or on the way to it.
    pub(super) at: Vec<u32>,
    /// Concerned when a name comes or goes in the directory as well.
    pub(super) within: Vec<u32>,
}

impl Interests {
    /// Returns what the declared objects depend on. `host` is asked where that is: a home directory stands in passwd(5).
    ///
    /// # Errors
    /// The host cannot be asked.
    pub(super) fn of(desired: &Desired, owned: &Owned, host: &dyn ReadHost) -> Result<Self, ObserveError> {
        let mut interests = Self::default();
        interests_of_each(desired, owned, host, &mut interests)?;
        Ok(interests)
    }

    /// Notes the numbers that the named users and groups have now.
    pub(super) fn look_up(&mut self, host: &dyn ReadHost) -> Result<(), HostError> {
        let names = Names::read(host)?;
        self.users.iter_mut().for_each(|(name, number)| *number = names.uid(name));
        self.groups.iter_mut().for_each(|(name, number)| *number = names.gid(name));
        Ok(())
    }

    /// The object depends on what is at `path`.
    pub fn place(&mut self, path: impl AsRef<Path>, object: &ObjectId) {
        let object = self.number_of(object);
        self.at(path.as_ref()).at.push(object);
    }

    /// The object depends on which names there are in the directory.
    pub fn names_in(&mut self, directory: impl AsRef<Path>, object: &ObjectId) {
        let object = self.number_of(object);
        self.at(directory.as_ref()).within.push(object);
    }

    fn at(&mut self, path: &Path) -> &mut Place {
        // passwd(5) may have a home as `/home//deploy/`.
        self.places.entry(path.components().collect()).or_default()
    }

    /// Where the object's places are the host says, so that may change with the object.
    pub fn moves(&mut self, object: &ObjectId) {
        let object = self.number_of(object);
        self.moving.insert(object);
    }

    /// The object depends on the state of the unit.
    pub fn unit(&mut self, unit: &str, object: &ObjectId) {
        let object = self.number_of(object);
        self.units.entry(unit.to_owned()).or_default().push(object);
    }

    /// The object depends on hostwrit's table of the packet filter.
    pub fn ruleset(&mut self, object: &ObjectId) {
        let object = self.number_of(object);
        self.ruleset.push(object);
    }

    /// Some object depends on the number of this user.
    pub fn user(&mut self, name: &str) {
        if !self.users.contains_key(name) {
            self.users.insert(name.to_owned(), None);
        }
    }

    /// Some object depends on the number of this group.
    pub fn group(&mut self, name: &str) {
        if !self.groups.contains_key(name) {
            self.groups.insert(name.to_owned(), None);
        }
    }

    fn number_of(&mut self, object: &ObjectId) -> u32 {
        let next = u32::try_from(self.objects.len()).unwrap_or(u32::MAX);
        match self.objects.get(object) {
            Some(number) => *number,
            None => *self.objects.entry(object.clone()).or_insert(next),
        }
    }
}
