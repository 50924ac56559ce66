// SPDX-License-Identifier: Apache-2.0
//! What of a host the observation of the declared objects depends on, and back: which objects a touched place concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::host::{Depth, HostError, ReadHost, Touched};
use crate::model::{ObjectId, Owned};

use super::accounts::Names;
use super::{Desired, ObserveError, interests_of_each};

/// Places and units that declared objects depend on. Each kind enters its own.
#[derive(Clone, Debug, Default)]
pub struct Interests {
    objects: BTreeMap<ObjectId, u32>,
    places: BTreeMap<PathBuf, Place>,
    units: BTreeMap<String, Vec<u32>>,
    ruleset: Vec<u32>,
    /// Objects of which the host itself says where their places are.
    moving: BTreeSet<u32>,
    /// Numbers of the users and groups that objects name; `None` for one that is not there.
    users: BTreeMap<String, Option<u32>>,
    groups: BTreeMap<String, Option<u32>>,
}

#[derive(Clone, Debug, Default)]
struct Place {
    /// Concerned when something happens at the path, or on the way to it.
    at: Vec<u32>,
    /// Concerned when a name comes or goes in the directory as well.
    within: Vec<u32>,
}

/// What a host's objects are concerned by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concerned {
    /// These objects at the most.
    Objects(BTreeSet<ObjectId>),
    /// Perhaps all, for this reason.
    All(&'static str),
}

impl Interests {
    /// Returns what the declared objects depend on. `host` is asked where that is: a home directory stands in passwd(5).
    ///
    /// # Errors
    /// The host cannot be asked.
    pub fn of(desired: &Desired, owned: &Owned, host: &dyn ReadHost) -> Result<Self, ObserveError> {
        let mut interests = Self::default();
        interests_of_each(desired, owned, host, &mut interests)?;
        let names = Names::read(host)?;
        interests.users.iter_mut().for_each(|(name, number)| *number = names.uid(name));
        interests.groups.iter_mut().for_each(|(name, number)| *number = names.gid(name));
        Ok(interests)
    }

    /// The object depends on what is at `path`.
    pub fn place(&mut self, path: impl Into<PathBuf>, object: &ObjectId) {
        let object = self.number_of(object);
        self.places.entry(path.into()).or_default().at.push(object);
    }

    /// The object depends on which names there are in the directory.
    pub fn names_in(&mut self, directory: impl Into<PathBuf>, object: &ObjectId) {
        let object = self.number_of(object);
        self.places.entry(directory.into()).or_default().within.push(object);
    }

    /// Where the object's places are the host says, so that may change with the object.
    pub fn moves(&mut self, object: &ObjectId) {
        let object = self.number_of(object);
        self.moving.insert(object);
    }

    /// Whether places may be others after a change of this object.
    pub fn may_move_with(&self, object: &ObjectId) -> bool {
        self.objects.get(object).is_none_or(|number| self.moving.contains(number))
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

    /// Whether any object depends on the packet filter.
    pub fn has_ruleset(&self) -> bool {
        !self.ruleset.is_empty()
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

    /// Returns the directories to watch, with all that lie above them.
    pub fn directories(&self) -> BTreeMap<PathBuf, Depth> {
        let mut directories = BTreeMap::new();
        for (path, place) in &self.places {
            if !place.within.is_empty() {
                directories.insert(path.clone(), Depth::Contents);
            }
            let Some(parent) = path.parent() else { continue };
            if directories.insert(parent.to_owned(), Depth::Contents).is_some() {
                // Those above it are there already.
                continue;
            }
            for above in parent.ancestors().skip(1) {
                if directories.contains_key(above) {
                    break;
                }
                directories.insert(above.to_owned(), Depth::Names);
            }
        }
        directories
    }

    /// Returns the full names of the units to listen for.
    pub fn units(&self) -> BTreeSet<String> {
        self.units.keys().cloned().collect()
    }

    /// Whether anything depends on what is at `path`, below it, or on which names there are beside it.
    pub fn concerns(&self, path: &Path) -> bool {
        let beside = || path.parent().and_then(|parent| self.places.get(parent));
        self.at_or_below(path).next().is_some() || beside().is_some_and(|place| !place.within.is_empty())
    }

    /// Returns the objects that are concerned by what was touched.
    pub fn touched_by<'t>(&self, touched: impl IntoIterator<Item = &'t Touched>) -> Concerned {
        let mut numbers: BTreeSet<u32> = BTreeSet::new();
        for touched in touched {
            match touched {
                Touched::Everything(why) => return Concerned::All(why),
                Touched::Path(path) => {
                    numbers.extend(self.at_or_below(path).flat_map(|(_, place)| place.at.iter().chain(&place.within)));
                    let beside = path.parent().and_then(|parent| self.places.get(parent));
                    numbers.extend(beside.into_iter().flat_map(|place| &place.within));
                }
                Touched::Unit(unit) => numbers.extend(self.units.get(unit).into_iter().flatten()),
                Touched::Units => numbers.extend(self.units.values().flatten()),
                Touched::Ruleset => numbers.extend(&self.ruleset),
            }
        }
        if numbers.is_empty() {
            return Concerned::Objects(BTreeSet::new());
        }
        let is_concerned = |(_, number): &(&ObjectId, &u32)| numbers.contains(*number);
        Concerned::Objects(self.objects.iter().filter(is_concerned).map(|(object, _)| object.clone()).collect())
    }

    /// Returns whether a user or group that some object names has another number now: then the owners of files are to be
    /// compared anew, wherever those are.
    ///
    /// # Errors
    /// The account files cannot be read.
    pub fn is_renumbered(&self, host: &dyn ReadHost) -> Result<bool, HostError> {
        if self.users.is_empty() && self.groups.is_empty() {
            return Ok(false);
        }
        let names = Names::read(host)?;
        Ok(self.users.iter().any(|(name, number)| names.uid(name) != *number)
            || self.groups.iter().any(|(name, number)| names.gid(name) != *number))
    }

    fn at_or_below<'s>(&'s self, path: &'s Path) -> impl Iterator<Item = (&'s PathBuf, &'s Place)> {
        // Paths are compared part by part, so all below one follow it at once.
        self.places
            .range::<Path, _>((Bound::Included(path), Bound::Unbounded))
            .take_while(move |(below, _)| below.starts_with(path))
    }
}
