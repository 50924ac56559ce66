// SPDX-License-Identifier: Apache-2.0
//! The host's own list of keys and commits that count no more, whatever the repo says.

use std::path::{Path, PathBuf};

use crate::host::{HostError, ReadHost};
use crate::model::Faults;
use crate::trust::Revocations;

/// Why the list cannot be gone by. Without it nothing new is accepted: who can remove it must gain nothing.
#[derive(Debug, thiserror::Error)]
pub enum RevocationsError {
    #[error("{} of trust.revocations is not there; put it back, with an empty list if nothing is revoked", path.display())]
    Missing { path: PathBuf },
    #[error("cannot read the file of trust.revocations")]
    Host(#[from] HostError),
    #[error("the file of trust.revocations has faults:\n{0}")]
    Unsound(Faults),
}

/// Reads the list; a host that names none has an empty one.
///
/// # Errors
/// The configuration names a file that is not there, cannot be read, or has faults.
pub fn read(path: Option<&Path>, host: &dyn ReadHost) -> Result<Revocations, RevocationsError> {
    let Some(path) = path else { return Ok(Revocations::default()) };
    let text = host.read(path)?.ok_or_else(|| RevocationsError::Missing { path: path.to_owned() })?;
    Revocations::parse(&path.display().to_string(), &text).map_err(RevocationsError::Unsound)
}
