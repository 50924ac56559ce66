// SPDX-License-Identifier: Apache-2.0
//! Restarts and reloads that follow from changes of other objects.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::{Declared, Location, Mode, ObjectId, Step};

use super::file::File;
use super::service::{self, Act, DesiredUnit, Service, UnitName};
use super::{Desired, Operation, Resource};

/// Restarts and reloads that are owed, with the object whose change asks for them.
///
/// They are entered durably before the change, and leave when carried out; else a crash between the change and the
/// restart would leave a service with its old configuration for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pending(pub BTreeMap<ObjectId, Trigger>);

impl Pending {
    /// Returns what these services are owed.
    pub fn only(&self, objects: &BTreeSet<ObjectId>) -> Self {
        let owed = self.0.iter().filter(|(object, _)| objects.contains(*object));
        Self(owed.map(|(object, trigger)| (object.clone(), trigger.clone())).collect())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    pub reaction: Reaction,
    /// The object whose change asks for the reaction.
    pub because: ObjectId,
}

/// Restart counts more than reload: it does all that a reload does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reaction {
    Reload,
    Restart,
}

/// Adds the restarts and reloads that the steps, and earlier interrupted ones, ask for: at most one for each service.
///
/// A service that does not run, or shall not, gets none: when it is started, it reads what is there then. A restart is no
/// change that asks for further restarts.
pub fn add(
    steps: &mut Vec<Step<Operation>>,
    services: &[Declared<DesiredUnit>],
    observed: &service::Observed,
    pending: &Pending,
) {
    let changed: BTreeSet<ObjectId> = steps.iter().map(|step| step.object.clone()).collect();
    let mut configured = BTreeSet::new();
    let mut started = BTreeSet::new();
    let mut loaded = BTreeSet::new();
    for step in steps.iter() {
        match &step.operation {
            Operation::Service(operation) if matches!(operation.act, Act::Configure { .. }) => {
                configured.insert(step.object.clone());
            }
            Operation::Service(operation) if operation.act == Act::Load => {
                loaded.insert(step.object.clone());
            }
            Operation::Service(operation) if service::starts(operation) => {
                started.insert(step.object.clone());
            }
            _ => {}
        }
    }
    for declared in services {
        let object = ObjectId::new(Service::KIND, &declared.name);
        let Some(want) = declared.want.as_ref().filter(|_| declared.mode == Mode::Enforce) else { continue };
        // A unit's files may be declared as files as well, which do not know that systemd must load them.
        let file = changed.iter().find(|object| is_file_of(&want.unit, object));
        if file.is_some() && observed.live && !configured.contains(&object) && !loaded.contains(&object) {
            steps.push(service::loads(declared, want).map(Operation::Service));
        }
        if started.contains(&object) || !service::takes_reactions(declared, observed) {
            continue;
        }
        let first = |objects: &[ObjectId], reaction| {
            let because = objects.iter().find(|listed| changed.contains(*listed))?.clone();
            Some(Trigger { reaction, because })
        };
        let own = configured.contains(&object).then_some(&object).or(file);
        let own = own.map(|because| Trigger { reaction: Reaction::Restart, because: because.clone() });
        let asked = own
            .or_else(|| first(&want.restart_when, Reaction::Restart))
            .or_else(|| first(&want.reload_when, Reaction::Reload));
        let owed = pending.0.get(&object).cloned();
        let trigger = match (asked, owed) {
            (Some(asked), Some(owed)) if owed.reaction > asked.reaction => Some(owed),
            (asked, owed) => asked.or(owed),
        };
        if let Some(trigger) = trigger {
            steps.push(service::react(declared, want, &trigger).map(Operation::Service));
        }
    }
}

/// Whether the object is the unit's file, or a drop-in of it, declared as a file.
fn is_file_of(unit: &UnitName, object: &ObjectId) -> bool {
    let path = Path::new(object.name());
    object.kind() == File::KIND && (path == Path::new(&unit.file()) || path.starts_with(unit.drop_in_dir()))
}

/// Returns the restarts and reloads that the steps contain: what is owed once any of the steps was carried out.
///
/// Whatever was owed before and is not here is owed no more: its service left the repo, shall not run, or is started anew.
pub fn owed<'s>(steps: impl IntoIterator<Item = &'s Step<Operation>>) -> Pending {
    Pending(
        steps
            .into_iter()
            .filter_map(|step| match &step.operation {
                Operation::Service(service::Operation { act: Act::React(trigger), .. }) => {
                    Some((step.object.clone(), trigger.clone()))
                }
                _ => None,
            })
            .collect(),
    )
}

/// Returns the service whose debt this step pays, if it pays one: to be forgotten once the step succeeded.
pub fn paid(step: &Step<Operation>) -> Option<&ObjectId> {
    match &step.operation {
        Operation::Service(service::Operation { act: Act::React(_), .. }) => Some(&step.object),
        _ => None,
    }
}

/// Returns the objects whose changes services wait for, and where the repo says so. One that the repo does not declare
/// would never change, so it is a fault.
pub fn references(desired: &Desired) -> Vec<(ObjectId, Location)> {
    let mut references = Vec::new();
    for declared in &desired.services {
        let Some(want) = &declared.want else { continue };
        for (field, objects) in [("restart_when", &want.restart_when), ("reload_when", &want.reload_when)] {
            let at = declared.origin.of(field);
            references.extend(objects.iter().map(|object| (object.clone(), at.clone())));
        }
    }
    references
}
