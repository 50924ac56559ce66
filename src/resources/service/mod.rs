// SPDX-License-Identifier: Apache-2.0
//! Services: units of systemd.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{ReadHost, WriteHost};
use crate::model::{Declared, Faults, ObjectId, Origin, Owned, Step};

use super::content::ContentSpec;
use super::{ApplyError, Contents, ObserveError, Resource};

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

impl Resource for Service {
    const KIND: &'static str = "service";
    const KEY: &'static str = "services";
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
