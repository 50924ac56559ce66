// SPDX-License-Identifier: Apache-2.0
//! Services: units of systemd.

mod diff;
mod host;
mod name;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{ReadHost, WriteHost};
use crate::model::{Declared, Faults, ObjectId, Origin, Owned, Step};

use super::content::ContentSpec;
use super::digest::digest_every_field;
use super::triggers::Trigger;
use super::{ApplyError, Content, Contents, Interests, ObserveError, Resource};

pub(super) use diff::{loads, react, starts, takes_reactions};
pub use name::UnitName;

/// A unit of systemd.
pub enum Service {}

/// A unit as the repo writes it. A name without a suffix stands for NAME.service.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// The unit file, put into /etc/systemd/system.
    pub unit: Option<ContentSpec>,
    /// Drop-ins by name: `limits` is put into /etc/systemd/system/NAME.service.d/limits.conf.
    pub drop_ins: Option<BTreeMap<String, ContentSpec>>,
    /// Starts at boot.
    pub enabled: Option<bool>,
    /// Cannot be started at all.
    pub masked: Option<bool>,
    /// Runs now.
    pub running: Option<bool>,
    /// Objects whose change restarts the unit, if it shall run.
    pub restart_when: Option<Vec<ObjectId>>,
    /// Objects whose change reloads the unit, if it shall run.
    pub reload_when: Option<Vec<ObjectId>>,
}

/// A unit as it shall be. A field that is `None` is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredUnit {
    pub unit: UnitName,
    pub file: Option<Content>,
    pub drop_ins: BTreeMap<String, Content>,
    pub enabled: Option<bool>,
    pub masked: Option<bool>,
    pub running: Option<bool>,
    pub restart_when: Vec<ObjectId>,
    pub reload_when: Vec<ObjectId>,
}

digest_every_field!(DesiredUnit { unit, file, drop_ins, enabled, masked, running, restart_when, reload_when });

/// What was read of all units that are declared or owned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Whether the host runs; under another root nothing does, so whether a unit runs is not compared.
    pub live: bool,
    /// By the name of the object, not of the unit.
    pub units: BTreeMap<String, ObservedUnit>,
}

/// What was read of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedUnit {
    /// `ActiveState`; `None` where nothing runs, and for a template.
    pub active: Option<String>,
    /// `UnitFileState`; empty if there is no unit file anywhere.
    pub file_state: String,
    /// Its files are newer than what systemd has loaded.
    pub needs_reload: bool,
    /// What is at the administrator's place for the unit file.
    pub file: OnDisk,
    /// The drop-ins that the repo declares or hostwrit made.
    pub drop_ins: BTreeMap<String, OnDisk>,
}

/// What is at the place of a unit file or drop-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnDisk {
    Missing,
    File {
        content: Content,
        mode: u32,
        /// User and group, by number; `None` where owners cannot be set and so are not compared.
        owner: Option<(u32, u32)>,
    },
    /// Something else, in words: a link, as of a masked unit.
    Other(&'static str),
}

/// What a step does to its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub unit: UnitName,
    pub act: Act,
    /// The objects that must be as declared before this is done: those whose change restarts or reloads the unit, and the
    /// service itself where an earlier step of it writes the unit's files.
    pub needs: Vec<ObjectId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Writes and removes the unit file and drop-ins, by path, and has systemd load them.
    Configure {
        write: Vec<(String, Content)>,
        remove: Vec<String>,
    },
    /// Has systemd load unit files that changed outside of a step.
    Load,
    Mask(bool),
    Enable(bool),
    /// Starts or stops the unit.
    Run(bool),
    /// Restarts or reloads the running unit.
    React(Trigger),
    /// Removes the files that hostwrit made; where they hold the unit itself, it is stopped and disabled first.
    Remove {
        whole: bool,
        files: Vec<String>,
    },
}

impl Resource for Service {
    const KIND: &'static str = "service";
    const KEY: &'static str = "services";
    type Spec = Spec;
    type Desired = DesiredUnit;
    type Observed = Observed;
    type Operation = Operation;

    fn resolve(name: &str, spec: Spec, origin: &Origin, contents: &dyn Contents) -> Result<DesiredUnit, Faults> {
        resolve::resolve(name, &spec, origin, contents)
    }

    fn observe(
        desired: &[Declared<DesiredUnit>],
        owned: &Owned,
        host: &dyn ReadHost,
    ) -> Result<Observed, ObserveError> {
        host::observe(desired, owned, host)
    }

    fn diff(desired: &[Declared<DesiredUnit>], observed: &Observed, owned: &Owned) -> Vec<Step<Operation>> {
        diff::diff(desired, observed, owned)
    }

    fn apply(operation: &Operation, host: &dyn WriteHost) -> Result<(), ApplyError> {
        host::apply(operation, host)
    }

    fn interests(
        desired: &[Declared<DesiredUnit>],
        owned: &Owned,
        host: &dyn ReadHost,
        interests: &mut Interests,
    ) -> Result<(), ObserveError> {
        host::interests(desired, owned, host, interests)
    }
}

/// Returns the name of the part of ownership that stands for a drop-in.
fn drop_in_part(name: &str) -> String {
    format!("{DROP_IN}{name}")
}

const DROP_IN: &str = "drop-in:";

/// Returns the drop-ins that hostwrit made for the unit.
fn owned_drop_ins<'a>(owned: &'a Owned, object: &ObjectId) -> impl Iterator<Item = &'a str> {
    owned.parts(object).filter_map(|part| part.strip_prefix(DROP_IN))
}
