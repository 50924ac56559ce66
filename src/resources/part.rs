// SPDX-License-Identifier: Apache-2.0
//! A part of the desired state that can be planned by itself: its steps are those that the whole plan has for it.
//!
//! Beside [`super::order`] and [`super::triggers`] this is the place that knows several kinds.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use crate::model::{Declared, ObjectId, Owned};

use super::blocklist::Blocklist;
use super::egress::Egress;
use super::file::{self, File};
use super::group::Group;
use super::port::Port;
use super::service::Service;
use super::user::User;
use super::{Desired, Pending, Resource, triggers};

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
    pub fn around(
        objects: BTreeSet<ObjectId>,
        with_reactions: bool,
        desired: &Desired,
        owned: &Owned,
        pending: &Pending,
    ) -> Self {
        let mut objects = objects;
        loop {
            let before = objects.len();
            add_accounts(&mut objects, desired, owned);
            add_files(&mut objects, desired, owned);
            add_filters(&mut objects, desired, owned);
            if with_reactions {
                add_reactions(&mut objects, desired);
            }
            if objects.len() == before {
                break;
            }
        }
        let owed = pending.0.iter().filter(|(object, _)| objects.contains(*object));
        Self {
            desired: desired.only(&Kept::of_all(&objects)),
            owned: owned.only(&objects),
            pending: Pending(owed.map(|(object, trigger)| (object.clone(), trigger.clone())).collect()),
            objects,
        }
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
fn add_accounts(objects: &mut BTreeSet<ObjectId>, desired: &Desired, owned: &Owned) {
    if !objects.iter().any(|object| [User::KIND, Group::KIND].contains(&object.kind())) {
        return;
    }
    objects.extend(desired.users.iter().map(|user| ObjectId::new(User::KIND, &user.name)));
    objects.extend(desired.groups.iter().map(|group| ObjectId::new(Group::KIND, &group.name)));
    objects.extend(owned.of_kind(User::KIND).chain(owned.of_kind(Group::KIND)).cloned());
}

/// A path depends on the declared links above it. A directory of which the names count, for it is exact or on its way
/// out, depends on all that is declared or owned below it.
fn add_files(objects: &mut BTreeSet<ObjectId>, desired: &Desired, owned: &Owned) {
    let paths: HashSet<&str> =
        objects.iter().filter(|object| object.kind() == File::KIND).map(ObjectId::name).collect();
    if paths.is_empty() {
        return;
    }
    let mut above = HashSet::new();
    let mut whole: HashSet<&str> = paths.clone();
    let mut more: Vec<ObjectId> = Vec::new();
    for path in &paths {
        above.extend(Path::new(path).ancestors().skip(1).filter_map(Path::to_str));
    }
    for declared in &desired.files {
        let name = declared.name.as_str();
        let what = declared.want.as_ref().map(|want| &want.what);
        if !matches!(what, None | Some(file::What::Directory { exact: true })) {
            whole.remove(name);
        }
        if above.contains(name) && matches!(what, Some(file::What::Link { .. })) {
            more.push(ObjectId::new(File::KIND, name));
        }
    }
    if !whole.is_empty() {
        let is_below = |path: &str| {
            Path::new(path).ancestors().skip(1).filter_map(Path::to_str).any(|above| whole.contains(above))
        };
        let names = desired.files.iter().map(|declared| declared.name.as_str());
        let owned = owned.of_kind(File::KIND).map(ObjectId::name);
        more.extend(names.chain(owned).filter(|name| is_below(name)).map(|name| ObjectId::new(File::KIND, name)));
    }
    objects.extend(more);
}

/// All ports are loaded at once, and so are all block lists.
fn add_filters(objects: &mut BTreeSet<ObjectId>, desired: &Desired, owned: &Owned) {
    for kind in [Port::KIND, Egress::KIND, Blocklist::KIND] {
        if objects.iter().any(|object| object.kind() == kind) {
            objects.extend(desired.objects().into_iter().map(|object| object.id).filter(|id| id.kind() == kind));
            objects.extend(owned.of_kind(kind).cloned());
        }
    }
}

/// A service is restarted or reloaded by what it names, and has to load its own files; and what it names is looked at
/// with it, so that it is restarted once for all of them.
fn add_reactions(objects: &mut BTreeSet<ObjectId>, desired: &Desired) {
    for declared in &desired.services {
        let Some(want) = &declared.want else { continue };
        let id = ObjectId::new(Service::KIND, &declared.name);
        let files =
            desired.files.iter().map(|file| file.name.as_str()).filter(|path| triggers::is_path_of(&want.unit, path));
        let mut causes: BTreeSet<ObjectId> = files.map(|path| ObjectId::new(File::KIND, path)).collect();
        causes.extend(want.restart_when.iter().chain(&want.reload_when).cloned());
        if objects.contains(&id) || causes.iter().any(|cause| objects.contains(cause)) {
            objects.insert(id);
            objects.append(&mut causes);
        }
    }
}
