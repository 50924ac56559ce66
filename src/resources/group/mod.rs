// SPDX-License-Identifier: Apache-2.0
//! Groups: local groups of `/etc/group`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{ReadHost, WriteHost};
use crate::model::{Declared, Faults, Origin, Owned, Step};

use super::{ApplyError, Contents, ObserveError, Resource};

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

impl Resource for Group {
    const KIND: &'static str = "group";
    const KEY: &'static str = "groups";
    type Spec = Spec;
    type Desired = ();
    type Observed = ();
    type Operation = ();

    fn resolve(_: &str, _: Spec, _: &Origin, _: &dyn Contents) -> Result<(), Faults> {
        todo!()
    }
    fn observe(_: &[Declared<()>], _: &Owned, _: &dyn ReadHost) -> Result<(), ObserveError> {
        todo!()
    }
    fn diff(_: &[Declared<()>], (): &(), _: &Owned) -> Vec<Step<()>> {
        todo!()
    }
    fn apply((): &(), _: &dyn WriteHost) -> Result<(), ApplyError> {
        todo!()
    }
}
