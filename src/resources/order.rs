// SPDX-License-Identifier: Apache-2.0
//! What is done before what, and what cannot be done without what: the one place that knows several kinds.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::Path;

use crate::model::{Action, ObjectId, Shown, Step};

use super::file::File;
use super::group::{self, Group};
use super::service::{Act, UnitName};
use super::user::{self, User};
use super::{Operation, Resource};

/// When a step is carried out: earlier phases first. Removals go the other way than additions, and go first only where
/// something is added in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Nothing is taken from under a unit that runs.
    StopUnits,
    RemoveUsers,
    /// Files in the place of which, or below which, others are added.
    ClearPaths,
    /// Groups whose number another group may get.
    FreeGroups,
    Groups,
    Users,
    Files,
    Units,
    RemoveFiles,
    /// All ports are opened and closed at once. Before a unit starts: what is closed to the world is so from its first moment,
    /// and behind a port that is open too early nobody listens.
    Ports,
    /// After every file: what a unit reads when it starts is as declared by then.
    StartUnits,
    React,
    RemoveGroups,
}

/// Puts the steps into the order in which they are carried out. Steps of one phase keep their order, but for files, which
/// go by path.
pub fn sort(steps: &mut Vec<Step<Operation>>) {
    let mut keyed: Vec<(Phase, Step<Operation>)> = Vec::with_capacity(steps.len());
    let plan = Overview::of(steps);
    keyed.extend(steps.drain(..).map(|step| (plan.phase(&step), step)));
    keyed.sort_by(|(one, a), (other, b)| one.cmp(other).then_with(|| by_path(*one, a, b)));
    steps.extend(keyed.into_iter().map(|(_, step)| step));
}

/// Returns what the step takes away from the host, by name: its object, or what does not belong into an exact directory.
pub fn removals(step: &Step<Operation>) -> Vec<String> {
    match (&step.operation, step.action) {
        (_, Action::Remove) => vec![step.object.to_string()],
        (Operation::File(operation), _) => {
            operation.strays().iter().map(|path| format!("{}:{}", File::KIND, path.display())).collect()
        }
        _ => Vec::new(),
    }
}

/// Parents before children where files are made, children before parents where they go.
fn by_path(phase: Phase, a: &Step<Operation>, b: &Step<Operation>) -> Ordering {
    let (a, b) = (Path::new(a.object.name()), Path::new(b.object.name()));
    match phase {
        Phase::Files => a.cmp(b),
        Phase::ClearPaths | Phase::RemoveFiles => b.cmp(a),
        _ => Ordering::Equal,
    }
}

/// What one step's place depends on in the others.
struct Overview {
    /// The paths of files that must go before others are made.
    in_the_way: BTreeSet<String>,
    frees_groups: bool,
}

impl Overview {
    fn of(steps: &[Step<Operation>]) -> Self {
        let files = steps.iter().filter(|step| step.object.kind() == File::KIND);
        let (removed, made): (Vec<_>, Vec<_>) = files.partition(|step| step.action == Action::Remove);
        let paths =
            |steps: Vec<&Step<Operation>>| steps.into_iter().map(|step| step.object.name().to_owned()).collect();
        let numbers = |step: &Step<Operation>| {
            matches!(step.operation, Operation::Group(group::Operation::Add { .. } | group::Operation::SetGid { .. }))
        };
        // A group cannot go while it is the primary one of a user who is moved out of it by a later step.
        let moves = |step: &Step<Operation>| match &step.operation {
            Operation::User(user::Operation::Alter(alteration)) => alteration.group.is_some(),
            _ => false,
        };
        Self {
            in_the_way: in_the_way(paths(removed), &paths(made)),
            frees_groups: steps.iter().any(numbers) && !steps.iter().any(moves),
        }
    }

    fn phase(&self, step: &Step<Operation>) -> Phase {
        let removes = step.action == Action::Remove;
        match &step.operation {
            Operation::Check(operation) => match *operation {},
            Operation::Group(_) if !removes => Phase::Groups,
            Operation::Group(_) if self.frees_groups => Phase::FreeGroups,
            Operation::Group(_) => Phase::RemoveGroups,
            Operation::User(_) if removes => Phase::RemoveUsers,
            Operation::User(_) => Phase::Users,
            Operation::File(_) if !removes => Phase::Files,
            Operation::File(_) if self.in_the_way.contains(step.object.name()) => Phase::ClearPaths,
            Operation::File(_) => Phase::RemoveFiles,
            Operation::Blocklist(_) | Operation::Port(_) | Operation::Egress(_) => Phase::Ports,
            Operation::Service(operation) => match operation.act {
                Act::Remove { .. } | Act::Run(false) => Phase::StopUnits,
                Act::Configure { .. } | Act::Load | Act::Mask(_) | Act::Enable(_) => Phase::Units,
                Act::Run(true) => Phase::StartUnits,
                Act::React(_) => Phase::React,
            },
        }
    }
}

/// Returns those of the removed paths that something is made in the place of, or below, with all that is removed below
/// them: a directory goes only when it is empty.
fn in_the_way(mut removed: BTreeSet<String>, made: &BTreeSet<String>) -> BTreeSet<String> {
    let clashes = |path: &String| above(path).any(|path| made.contains(path)) || has_below(made, path);
    let clashing: BTreeSet<String> = removed.iter().filter(|path| clashes(path)).cloned().collect();
    removed.retain(|path| above(path).any(|path| clashing.contains(path)));
    removed
}

/// Returns the path and all above it.
fn above(path: &str) -> impl Iterator<Item = &str> {
    Path::new(path).ancestors().filter_map(Path::to_str)
}

fn has_below(paths: &BTreeSet<String>, path: &str) -> bool {
    let below = format!("{path}/");
    paths.range(below.clone()..).next().is_some_and(|path| path.starts_with(&below))
}

/// Returns the objects that `step` needs: if a step of one of them failed, this one is skipped.
pub fn needs(step: &Step<Operation>) -> Vec<ObjectId> {
    match &step.operation {
        Operation::Check(operation) => match *operation {},
        Operation::Group(_) => Vec::new(),
        Operation::User(operation) => user_needs(operation),
        Operation::File(_) if step.action == Action::Remove => Vec::new(),
        Operation::File(_) => file_needs(step),
        Operation::Blocklist(_) | Operation::Port(_) | Operation::Egress(_) => Vec::new(),
        Operation::Service(operation) => {
            let mut needs = operation.needs.clone();
            if matches!(operation.act, Act::Run(true) | Act::React(_) | Act::Enable(true)) {
                needs.extend(unit_files(&operation.unit));
            }
            needs
        }
    }
}

/// Takes out the steps of these objects, and of those that need one that is taken out, which are added to them. The steps
/// stand in the order in which they are carried out.
pub fn take_out(steps: &mut Vec<Step<Operation>>, objects: &mut BTreeSet<ObjectId>) -> Vec<Step<Operation>> {
    let all = std::mem::take(steps);
    let (taken, left) = all.into_iter().partition(|step| {
        // What is needed comes before what needs it.
        let is_taken = objects.contains(&step.object) || needs(step).iter().any(|need| objects.contains(need));
        if is_taken {
            objects.insert(step.object.clone());
        }
        is_taken
    });
    *steps = left;
    taken
}

fn user_needs(operation: &user::Operation) -> Vec<ObjectId> {
    let primary = |group: &user::PrimaryGroup| match group {
        user::PrimaryGroup::Named(name) => Some(name.clone()),
        user::PrimaryGroup::Own { .. } => None,
    };
    let groups: Vec<String> = match operation {
        user::Operation::Add(user) => primary(&user.group).into_iter().chain(user.groups.iter().cloned()).collect(),
        user::Operation::Alter(user) => user.group.iter().chain(user.groups.iter().flatten()).cloned().collect(),
        user::Operation::Remove(_) | user::Operation::Unnumbered { .. } => Vec::new(),
    };
    groups.into_iter().map(|name| ObjectId::new(Group::KIND, name)).collect()
}

/// A file needs the directories above it, and the owner and group that it gets. Those that it has already are there.
fn file_needs(step: &Step<Operation>) -> Vec<ObjectId> {
    let path = Path::new(step.object.name());
    let above = path.ancestors().skip(1).filter_map(Path::to_str).map(|path| ObjectId::new(File::KIND, path));
    let accounts = step.changes.iter().filter_map(|change| match (change.field.as_str(), &change.to) {
        ("owner", Shown::Text(name)) => Some(ObjectId::new(User::KIND, name)),
        ("group", Shown::Text(name)) => Some(ObjectId::new(Group::KIND, name)),
        _ => None,
    });
    accounts.chain(above).collect()
}

/// Returns where the unit's files are if the repo declares them as files.
fn unit_files(unit: &UnitName) -> impl Iterator<Item = ObjectId> {
    [unit.file(), unit.drop_in_dir()].into_iter().map(|path| ObjectId::new(File::KIND, path))
}
