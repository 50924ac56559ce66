// SPDX-License-Identifier: Apache-2.0
//! A part of the desired state that can be planned by itself: its steps are those that the whole plan has for it.
//!
//! Beside [`super::order`] and [`super::triggers`] this is the place that knows several kinds.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use crate::model::{Declared, ObjectId, Owned, Record};

use super::blocklist::Blocklist;
use super::egress::Egress;
use super::file::shelf::{ShelfError, Sort};
use super::file::{self, File};
use super::group::Group;
use super::port::Port;
use super::service::Service;
use super::user::User;
use super::{Desired, Pending, Resource, Shelf};

/// Some declared objects, with all on which their steps depend, and the record of those alone.
///
/// What is not in it is not in the record either, or the plan would take it for something that left the repo.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub desired: Desired,
    pub owned: Owned,
    pub pending: Pending,
    /// The objects of this part, declared or owned.
    pub objects: BTreeSet<ObjectId>,
}

impl Part {
    /// Returns the part that has `objects` in it.
    ///
    /// `with_reactions` takes the services in that these objects restart or reload: without them the part says whether the
    /// objects differ, and no more.
    ///
    /// # Errors
    /// A declared file cannot be had back.
    pub fn around(
        objects: BTreeSet<ObjectId>,
        with_reactions: bool,
        declared: &Shelf,
        record: &Record,
        pending: &Pending,
    ) -> Result<Self, ShelfError> {
        let mut objects = objects;
        loop {
            let before = objects.len();
            add_accounts(&mut objects, declared.at_hand(), record);
            add_files(&mut objects, declared.files(), record);
            add_filters(&mut objects, declared.at_hand(), record);
            if with_reactions {
                add_reactions(&mut objects, declared);
            }
            if objects.len() == before {
                break;
            }
        }
        let mut desired = declared.at_hand().only(&Kept::of_all(&objects));
        for object in objects.iter().filter(|object| object.kind() == File::KIND) {
            desired.files.extend(declared.files().get(object.name())?);
        }
        Ok(Self { desired, owned: record.only(&objects).0, pending: pending.only(&objects), objects })
    }
}

/// Names, by kind.
pub(super) struct Kept<'k>(HashSet<(&'k str, &'k str)>);

impl<'k> Kept<'k> {
    fn of_all(objects: &'k BTreeSet<ObjectId>) -> Self {
        Self(objects.iter().map(|object| (object.kind(), object.name())).collect())
    }

    /// Returns those of the kind's declared objects that are kept.
    pub(super) fn of<D: Clone>(&self, kind: &str, declared: &[Declared<D>]) -> Vec<Declared<D>> {
        if !self.0.iter().any(|(kept, _)| *kept == kind) {
            return Vec::new();
        }
        declared.iter().filter(|declared| self.0.contains(&(kind, declared.name.as_str()))).cloned().collect()
    }
}

/// The number that a new user or group gets depends on what all others ask for.
fn add_accounts(objects: &mut BTreeSet<ObjectId>, desired: &Desired, record: &Record) {
    if !objects.iter().any(|object| [User::KIND, Group::KIND].contains(&object.kind())) {
        return;
    }
    objects.extend(desired.users.iter().map(|user| ObjectId::new(User::KIND, &user.name)));
    objects.extend(desired.groups.iter().map(|group| ObjectId::new(Group::KIND, &group.name)));
    objects.extend(record.owned_of_kind(User::KIND).chain(record.owned_of_kind(Group::KIND)));
}

/// A path depends on the declared links above it. A directory of which the names count, for it is exact or on its way
/// out, depends on all that is declared or owned below it.
fn add_files(objects: &mut BTreeSet<ObjectId>, files: &file::shelf::Shelf, record: &Record) {
    let paths: Vec<String> =
        objects.iter().filter(|object| object.kind() == File::KIND).map(|object| object.name().to_owned()).collect();
    for path in &paths {
        let above = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
        objects.extend(
            above.filter(|above| files.sort(above) == Some(Sort::Link)).map(|above| ObjectId::new(File::KIND, above)),
        );
        // One that is not declared is owned, and on its way out.
        if files.sort(path).is_none_or(|sort| sort == Sort::Whole) {
            let below = format!("{}/", path.trim_end_matches('/'));
            objects.extend(files.paths(&below).map(|path| ObjectId::new(File::KIND, path)));
            objects.extend(record.owned_below(File::KIND, &below));
        }
    }
}

/// All ports are loaded at once, and so are all block lists.
fn add_filters(objects: &mut BTreeSet<ObjectId>, desired: &Desired, record: &Record) {
    for kind in [Port::KIND, Egress::KIND, Blocklist::KIND] {
        if objects.iter().any(|object| object.kind() == kind) {
            objects.extend(desired.objects().into_iter().map(|object| object.id).filter(|id| id.kind() == kind));
            objects.extend(record.owned_of_kind(kind));
        }
    }
}

/// A service is restarted or reloaded by what it names, and has to load its own files; and what it names is looked at
/// with it, so that it is restarted once for all of them.
fn add_reactions(objects: &mut BTreeSet<ObjectId>, declared: &Shelf) {
    let files = declared.files();
    for service in &declared.at_hand().services {
        let Some(want) = &service.want else { continue };
        let id = ObjectId::new(Service::KIND, &service.name);
        let (unit, drop_ins) = (want.unit.file(), want.unit.drop_in_dir());
        let below = format!("{drop_ins}/");
        let own = [unit.as_str(), drop_ins.as_str()].into_iter().filter(|path| files.sort(path).is_some());
        let mut causes: BTreeSet<ObjectId> =
            own.chain(files.paths(&below)).map(|path| ObjectId::new(File::KIND, path)).collect();
        causes.extend(want.restart_when.iter().chain(&want.reload_when).cloned());
        if objects.contains(&id) || causes.iter().any(|cause| objects.contains(cause)) {
            objects.insert(id);
            objects.append(&mut causes);
        }
    }
}
