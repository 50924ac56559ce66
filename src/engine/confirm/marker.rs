// SPDX-License-Identifier: Apache-2.0
//! What stands on the disk while a change is not proven yet, and after it was put back.

use std::collections::BTreeSet;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::audit::Event;
pub use crate::audit::entry::RevertedBy as By;
use crate::engine::State;
use crate::host::{HostError, NewFile, ReadHost, WriteHost};
use crate::model::{ObjectId, Owned};
use crate::resources::Pending as Owed;

/// Where all of this is kept; for root alone, for contents of files are in it.
pub const DIR: &str = "/var/lib/hostwrit/confirm";
/// While this is there, the change is not proven. hostwrit-revert.service looks for it at boot.
pub const UNPROVEN: &str = "/var/lib/hostwrit/confirm/unproven.json";
/// Left by whoever has put a change back, for the next start of the steward.
pub const REVERTED: &str = "/var/lib/hostwrit/confirm/reverted.json";

/// The format that this version writes.
const FORMAT: u32 = 1;

/// A change that is not proven yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unproven {
    format: u32,
    /// Tells this change from all others; the timer is named by it.
    pub(super) id: String,
    pub(super) commit: String,
    /// When the first step was about to be carried out: RFC 3339, UTC.
    pub(super) since: String,
    /// By then it is proven or goes back, in seconds.
    pub(super) within: u64,
    /// The objects whose steps can cut the host off.
    pub(super) objects: Vec<ObjectId>,
    pub(super) memory: Memory,
    /// The units that ran before the change, of those without which nobody gets in.
    #[serde(default)]
    pub(super) running: Vec<String>,
}

impl Unproven {
    pub(super) fn new(
        id: String,
        commit: String,
        since: String,
        within: u64,
        objects: Vec<ObjectId>,
        memory: Memory,
        running: Vec<String>,
    ) -> Self {
        Self { format: FORMAT, id, commit, since, within, objects, memory, running }
    }
}

/// What hostwrit remembered of the host before the change: what goes back with the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::engine) struct Memory {
    owned: Owned,
    altered: BTreeSet<ObjectId>,
    owed: Owed,
}

impl Memory {
    pub(in crate::engine) fn of(state: &State) -> Self {
        Self { owned: state.owned.clone(), altered: state.altered.clone(), owed: state.pending.clone() }
    }

    pub(super) fn put_back(self, state: &mut State) {
        (state.owned, state.altered, state.pending) = (self.owned, self.altered, self.owed);
    }
}

/// A change that was put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reverted {
    format: u32,
    pub(super) id: String,
    pub(super) commit: String,
    pub(super) by: By,
    pub(super) why: String,
    /// Whether the commit is to blame: it is not tried again.
    pub(super) holds: bool,
    /// What would not be as before: units that did not start or stop.
    pub(super) left: Vec<String>,
    pub(super) memory: Memory,
}

impl Reverted {
    pub(super) fn of(unproven: Unproven, by: By, why: String, holds: bool, left: Vec<String>) -> Self {
        let Unproven { id, commit, memory, .. } = unproven;
        Self { format: FORMAT, id, commit, by, why, holds, left, memory }
    }
}

impl Reverted {
    pub(super) fn event(&self) -> Event {
        Event::Reverted {
            id: self.id.clone(),
            commit: self.commit.clone(),
            by: self.by,
            why: self.why.clone(),
            left: self.left.clone(),
        }
    }

    /// Says why, and what is not as it was.
    pub(super) fn words(&self) -> String {
        match self.left.as_slice() {
            [] => self.why.clone(),
            left => format!("{}; not as before: {}", self.why, left.join("; ")),
        }
    }
}

/// Why a marker cannot be gone by.
#[derive(Debug, thiserror::Error)]
pub enum MarkerError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("{path} cannot be understood")]
    Malformed {
        path: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path} has format {format}, which this version does not know; install the version that wrote it")]
    Format { path: &'static str, format: u32 },
}

pub(super) fn unproven(host: &dyn ReadHost) -> Result<Option<Unproven>, MarkerError> {
    read(host, UNPROVEN)
}

pub(super) fn reverted(host: &dyn ReadHost) -> Result<Option<Reverted>, MarkerError> {
    read(host, REVERTED)
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn read<T: DeserializeOwned>(host: &dyn ReadHost, path: &'static str) -> Result<Option<T>, MarkerError> {
    let Some(text) = host.read(Path::new(path))? else { return Ok(None) };
    let malformed = |source| MarkerError::Malformed { path, source };
    // First, for a later format may have other keys.
    let Format { format } = serde_json::from_slice(&text).map_err(malformed)?;
    if format != FORMAT {
        return Err(MarkerError::Format { path, format });
    }
    serde_json::from_slice(&text).map_err(malformed).map(Some)
}

/// Writes a marker, durably.
pub(super) fn write<T: Serialize>(marker: &T, path: &'static str, host: &dyn WriteHost) -> Result<(), MarkerError> {
    let content = serde_json::to_vec(marker).map_err(|source| MarkerError::Malformed { path, source })?;
    let file = NewFile { content: &content, owner: None, mode: 0o600, check: None };
    Ok(host.replace_file(Path::new(path), &file)?)
}
