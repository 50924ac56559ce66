// SPDX-License-Identifier: Apache-2.0
//! What is watched on a host, and back: which objects a touched place concerns.
//!
//! The daemon keeps it for as long as it runs, so it is a few large pieces of memory, however many objects there are.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::host::{Depth, HostError, ReadHost, Touched};
use crate::model::{ObjectId, Owned};

use super::accounts::Names;
use super::{Desired, Interests, ObserveError};

/// What a host's objects are concerned by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concerned {
    /// These objects at the most.
    Objects(BTreeSet<ObjectId>),
    /// Perhaps all, for this reason.
    All(&'static str),
}

/// The interests of all objects of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watchlist {
    /// Written `kind:name`, sorted as objects are; an object's number is its place.
    objects: Texts,
    /// Sorted by path, then by object.
    places: Vec<Place>,
    paths: Texts,
    units: BTreeMap<String, Vec<u32>>,
    /// Objects that depend on hostwrit's table of the packet filter.
    ruleset: Vec<u32>,
    /// Objects of which the host itself says where their places are.
    moving: BTreeSet<u32>,
    /// Numbers of the users and groups that objects name; `None` for one that is not there.
    users: BTreeMap<String, Option<u32>>,
    groups: BTreeMap<String, Option<u32>>,
}

/// One object's interest in one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    path: u32,
    object: u32,
    /// Concerned when a name comes or goes in the directory as well.
    within: bool,
}

/// Many texts in one piece of memory, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Texts {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(number(self.bytes.len()));
    }

    fn get(&self, at: u32) -> &[u8] {
        let at = at as usize;
        let begin = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        let end = self.ends.get(at).map_or(begin, |end| *end as usize);
        self.bytes.get(begin..end).unwrap_or_default()
    }

    fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Watchlist {
    /// Returns what the declared objects depend on. `host` is asked where that is: a home directory stands in passwd(5).
    ///
    /// # Errors
    /// The host cannot be asked.
    pub fn of(desired: &Desired, owned: &Owned, host: &dyn ReadHost) -> Result<Self, ObserveError> {
        let mut interests = Interests::of(desired, owned, host)?;
        interests.look_up(host)?;
        Ok(Self::lay_out(&interests))
    }

    /// Returns the list in which the objects of `desired` and `owned` have the places that the host gives them now, and
    /// all others, which have none but their own, theirs; `None` if that is the same.
    ///
    /// # Errors
    /// The host cannot be asked.
    pub fn moved(&self, desired: &Desired, owned: &Owned, host: &dyn ReadHost) -> Result<Option<Self>, ObserveError> {
        let mut interests = Interests::of(desired, owned, host)?;
        self.users.keys().for_each(|name| interests.user(name));
        self.groups.keys().for_each(|name| interests.group(name));
        interests.look_up(host)?;
        if interests.users == self.users && interests.groups == self.groups && self.has(&Self::lay_out(&interests)) {
            return Ok(None);
        }
        let asked: BTreeSet<ObjectId> = interests.objects.keys().cloned().collect();
        for place in &self.places {
            let Some(object) = self.object(place.object).filter(|object| !asked.contains(object)) else { continue };
            match place.within {
                true => interests.names_in(self.path(place), &object),
                false => interests.place(self.path(place), &object),
            }
        }
        let list = Self::lay_out(&interests);
        Ok((list != *self).then_some(list))
    }

    fn lay_out(interests: &Interests) -> Self {
        let mut list = Self::default();
        let mut numbers = vec![0; interests.objects.len()];
        for (object, entered) in &interests.objects {
            if let Some(place) = numbers.get_mut(*entered as usize) {
                *place = number(list.objects.ends.len());
            }
            list.objects.push(object.to_string().as_bytes());
        }
        let renumbered = |entered: &u32| numbers.get(*entered as usize).copied().unwrap_or(u32::MAX);
        let mut paths: Vec<(&Path, &super::interests::Place)> =
            interests.places.iter().map(|(path, place)| (path.as_path(), place)).collect();
        paths.sort_by_key(|(path, _)| path.as_os_str().as_bytes());
        for (path, place) in paths {
            let path_number = number(list.paths.ends.len());
            list.paths.push(path.as_os_str().as_bytes());
            let at = place.at.iter().map(|object| (renumbered(object), false));
            let within = place.within.iter().map(|object| (renumbered(object), true));
            let all: BTreeSet<(u32, bool)> = at.chain(within).collect();
            list.places.extend(all.into_iter().map(|(object, within)| Place { path: path_number, object, within }));
        }
        let all = |objects: &Vec<u32>| objects.iter().map(renumbered).collect();
        list.units = interests.units.iter().map(|(unit, objects)| (unit.clone(), all(objects))).collect();
        list.ruleset = all(&interests.ruleset);
        list.moving = interests.moving.iter().map(renumbered).collect();
        (list.users, list.groups) = (interests.users.clone(), interests.groups.clone());
        list.objects.shrink();
        list.paths.shrink();
        list.places.shrink_to_fit();
        list
    }

    /// Whether the objects of the other list have the same places here. Costs little, whatever else there is.
    fn has(&self, other: &Self) -> bool {
        let objects = (0..number(other.len())).map(|number| self.number_of(other.objects.get(number)));
        let Some(numbers) = objects.collect::<Option<BTreeSet<u32>>>() else { return false };
        let own = self.places.iter().filter(|place| numbers.contains(&place.object)).map(|place| self.told(place));
        own.eq(other.places.iter().map(|place| other.told(place)))
    }

    fn told(&self, place: &Place) -> (&[u8], &[u8], bool) {
        (self.paths.get(place.path), self.objects.get(place.object), place.within)
    }

    fn number_of(&self, text: &[u8]) -> Option<u32> {
        let object: ObjectId = std::str::from_utf8(text).ok()?.parse().ok()?;
        // They are sorted by kind and name, of which the text is not always in the same order.
        let is_before = |number| self.object(number).is_some_and(|other| other < object);
        let found = binary_search(0..number(self.len()), is_before);
        (self.objects.get(found) == text).then_some(found)
    }

    /// Whether places may be others after a change of this object.
    pub fn may_move_with(&self, object: &ObjectId) -> bool {
        self.number_of(object.to_string().as_bytes()).is_none_or(|number| self.moving.contains(&number))
    }

    /// Returns the directories to watch, with all that lie above them.
    pub fn directories(&self) -> BTreeMap<PathBuf, Depth> {
        let mut directories = BTreeMap::new();
        for place in &self.places {
            let path = self.path(place);
            if place.within {
                directories.insert(path.to_owned(), Depth::Contents);
            }
            let Some(parent) = path.parent() else { continue };
            if directories.get(parent) == Some(&Depth::Contents) {
                continue;
            }
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

    /// Whether any object depends on the packet filter.
    pub fn has_ruleset(&self) -> bool {
        !self.ruleset.is_empty()
    }

    /// Whether anything depends on what is at `path`, below it, or on which names there are beside it.
    pub fn concerns(&self, path: &Path) -> bool {
        self.at_or_below(path).next().is_some() || self.beside(path).next().is_some()
    }

    /// Returns the objects that are concerned by what was touched.
    pub fn touched_by<'t>(&self, touched: impl IntoIterator<Item = &'t Touched>) -> Concerned {
        let mut numbers: BTreeSet<u32> = BTreeSet::new();
        for touched in touched {
            match touched {
                Touched::Everything(why) => return Concerned::All(why),
                Touched::Path(path) => {
                    numbers.extend(self.at_or_below(path).chain(self.beside(path)).map(|place| place.object));
                }
                Touched::Unit(unit) => numbers.extend(self.units.get(unit).into_iter().flatten()),
                Touched::Units => numbers.extend(self.units.values().flatten()),
                Touched::Ruleset => numbers.extend(&self.ruleset),
            }
        }
        Concerned::Objects(numbers.into_iter().filter_map(|number| self.object(number)).collect())
    }

    /// Returns how many objects there are.
    pub fn len(&self) -> usize {
        self.objects.ends.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.objects.ends.is_empty()
    }

    /// Returns up to `most` objects, beginning with that of this number.
    pub fn objects(&self, from: usize, most: usize) -> BTreeSet<ObjectId> {
        let to = self.len().min(from.saturating_add(most));
        (number(from)..number(to)).filter_map(|number| self.object(number)).collect()
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

    fn object(&self, number: u32) -> Option<ObjectId> {
        std::str::from_utf8(self.objects.get(number)).ok()?.parse().ok()
    }

    fn path(&self, place: &Place) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(self.paths.get(place.path)))
    }

    /// Returns the places at `path`, and after them those below it.
    fn at_or_below(&self, path: &Path) -> impl Iterator<Item = &Place> {
        let exact = path.as_os_str().as_bytes();
        let mut below = exact.to_vec();
        if below.last() != Some(&b'/') {
            below.push(b'/');
        }
        let is_below = move |place: &&Place| self.paths.get(place.path).starts_with(&below);
        let first = |wanted: &[u8]| self.places.partition_point(|place| self.paths.get(place.path) < wanted);
        let begin = first(&[exact, if exact.ends_with(b"/") { b"" } else { b"/" }].concat());
        self.at(path).chain(self.places[begin..].iter().take_while(is_below))
    }

    fn at(&self, path: &Path) -> impl Iterator<Item = &Place> {
        let exact = path.as_os_str().as_bytes().to_vec();
        let begin = self.places.partition_point(|place| self.paths.get(place.path) < exact.as_slice());
        self.places[begin..].iter().take_while(move |place| self.paths.get(place.path) == exact)
    }

    /// Returns the places of those for whom it matters which names there are beside `path`.
    fn beside(&self, path: &Path) -> impl Iterator<Item = &Place> {
        path.parent().into_iter().flat_map(|parent| self.at(parent)).filter(|place| place.within)
    }
}

/// Returns the first of the numbers that is not before what is looked for.
fn binary_search(numbers: std::ops::Range<u32>, is_before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (numbers.start, numbers.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
