// SPDX-License-Identifier: Apache-2.0
//! Compares declared groups with those of the host. Pure.

use std::collections::BTreeSet;

use crate::model::ownership::{OwnershipChange, WHOLE};
use crate::model::{Action, Change, Declared, ObjectId, Owned, Shown, Step};
use crate::resources::Resource;

use super::{Desired, Group, Observed, Operation};

pub fn diff(desired: &[Declared<Desired>], observed: &Observed, owned: &Owned) -> Vec<Step<Operation>> {
    // A number that some declared group asks for is not given to another one.
    let mut taken = observed.accounts.gids();
    taken.extend(desired.iter().filter_map(|declared| declared.want.as_ref()?.gid));

    let mut steps = Vec::new();
    for declared in desired {
        let present = observed.accounts.groups.get(&declared.name).map(|group| group.gid);
        let object = ObjectId::new(Group::KIND, &declared.name);
        match (&declared.want, present) {
            (Some(want), None) => steps.push(add(declared, want, &mut taken, observed)),
            (Some(Desired { gid: Some(to), .. }), Some(from)) if *to != from => {
                steps.push(set_gid(declared, from, *to, observed));
            }
            (None, Some(_)) => steps.push(remove(object, Some(declared))),
            (None, None) if owned.is_whole(&object) => steps.push(remove(object, Some(declared))),
            _ => {}
        }
    }
    let declared: BTreeSet<&str> = desired.iter().map(|declared| declared.name.as_str()).collect();
    // One that is gone already gets its step too: else the record would make us remove a later group of that name.
    let left = owned.of_kind(Group::KIND).filter(|object| !declared.contains(object.name()));
    steps.extend(left.map(|object| remove(object.clone(), None)));
    steps
}

fn add(
    declared: &Declared<Desired>,
    want: &Desired,
    taken: &mut BTreeSet<u32>,
    observed: &Observed,
) -> Step<Operation> {
    let range = if want.system { observed.defaults.system_gids } else { observed.defaults.gids };
    let gid = want.gid.or_else(|| range.lowest_free(taken));
    taken.extend(gid);
    let name = declared.name.clone();
    Step {
        object: ObjectId::new(Group::KIND, &declared.name),
        action: Action::Add,
        changes: vec![Change::new("gid", Shown::Nothing, gid.into(), Some(declared.origin.of("gid")))],
        origin: Some(declared.origin.object.clone()),
        ownership: OwnershipChange::claim_whole(),
        operation: match gid {
            Some(gid) => Operation::Add { name, gid },
            None => Operation::Unnumbered { name },
        },
    }
}

fn set_gid(declared: &Declared<Desired>, from: u32, to: u32, observed: &Observed) -> Step<Operation> {
    let origin = declared.origin.of("gid");
    let mut changes = vec![Change::new("gid", Shown::text(from), Shown::text(to), Some(origin))];
    let users = observed.accounts.users.iter().filter(|(_, user)| user.gid == from).map(|(name, _)| name);
    let users: Vec<&String> = users.collect();
    if !users.is_empty() {
        let whose = format!("{from} of {}", users.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", "));
        changes.push(Change::new("primary group", Shown::text(whose), Shown::text(to), Some(origin)));
    }
    Step {
        object: ObjectId::new(Group::KIND, &declared.name),
        action: Action::Alter,
        changes,
        origin: Some(declared.origin.object.clone()),
        ownership: OwnershipChange::default(),
        operation: Operation::SetGid { name: declared.name.clone(), from, to },
    }
}

fn remove(object: ObjectId, declared: Option<&Declared<Desired>>) -> Step<Operation> {
    Step {
        action: Action::Remove,
        changes: Vec::new(),
        origin: declared.map(|declared| declared.origin.object.clone()),
        ownership: OwnershipChange { claims: Default::default(), gives_up: [WHOLE.to_owned()].into() },
        operation: Operation::Remove { name: object.name().to_owned() },
        object,
    }
}
