// SPDX-License-Identifier: Apache-2.0
//! Groups: local groups of `/etc/group`.

mod diff;
mod host;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{ReadHost, WriteHost};
use crate::model::{Declared, Fault, Faults, ObjectId, Origin, Owned, Step};

use super::accounts::{self, Accounts, Defaults};
use super::digest::digest_every_field;
use super::{ApplyError, Contents, Interests, ObserveError, Resource};

/// A local group.
pub enum Group {}

/// A group as the repo writes it. Its members are named by the users.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// The group's number. Unset: kept, and for a new group the lowest free one in login.defs(5)'s range.
    pub gid: Option<u32>,
    /// A new group takes its number from the range of system groups. Default: false.
    pub system: Option<bool>,
}

/// A group as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub gid: Option<u32>,
    pub system: bool,
}

digest_every_field!(Desired { gid, system });

/// What the host says of groups.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub accounts: Accounts,
    pub defaults: Defaults,
}

/// What a step does to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Add {
        name: String,
        gid: u32,
    },
    /// No number is left for the group.
    Unnumbered {
        name: String,
    },
    SetGid {
        name: String,
        from: u32,
        to: u32,
    },
    Remove {
        name: String,
    },
}

impl Resource for Group {
    const KIND: &'static str = "group";
    const KEY: &'static str = "groups";
    type Spec = Spec;
    type Desired = Desired;
    type Observed = Observed;
    type Operation = Operation;

    fn resolve(name: &str, spec: Spec, origin: &Origin, _: &dyn Contents) -> Result<Desired, Faults> {
        let mut faults = Faults::default();
        if let Some(why) = accounts::fault_of_name(name) {
            faults.push(Fault::new(origin.object.clone(), why).hint(accounts::NAME_HINT));
        }
        if let Some(why) = spec.gid.and_then(|gid| accounts::fault_of_number("gid", gid, name == "root")) {
            faults.push(Fault::new(origin.of("gid").clone(), why).hint(accounts::NUMBER_HINT));
        }
        faults.or(Desired { gid: spec.gid, system: spec.system.unwrap_or(false) })
    }

    fn observe(_: &[Declared<Desired>], _: &Owned, host: &dyn ReadHost) -> Result<Observed, ObserveError> {
        Ok(Observed { accounts: Accounts::read_public(host)?, defaults: Defaults::read(host)? })
    }

    fn diff(desired: &[Declared<Desired>], observed: &Observed, owned: &Owned) -> Vec<Step<Operation>> {
        diff::diff(desired, observed, owned)
    }

    fn apply(operation: &Operation, host: &dyn WriteHost) -> Result<(), ApplyError> {
        host::apply(operation, host)
    }

    fn interests(
        desired: &[Declared<Desired>],
        owned: &Owned,
        _: &dyn ReadHost,
        interests: &mut Interests,
    ) -> Result<(), ObserveError> {
        let objects = desired.iter().map(|declared| ObjectId::new(Self::KIND, &declared.name));
        for object in objects.chain(owned.of_kind(Self::KIND).cloned()) {
            accounts::PUBLIC.iter().for_each(|file| interests.place(file, &object));
        }
        Ok(())
    }
}
