// SPDX-License-Identifier: Apache-2.0
//! The way back as a whole, whoever takes it: the steward, the timer or the boot.
//!
//! A change is unproven as long as [`UNPROVEN`] is there, and nothing else decides. It goes away by one removal, when the change is
//! proven or when all is as it was; so a kill anywhere leaves either a change that goes back or one that does not.

use std::path::Path;

use crate::host::{HostError, RealHost, WriteHost};

use super::marker::{self, By, MarkerError, REVERTED, Reverted, UNPROVEN, Unproven};
use super::notes::{self, JOURNAL};
use super::revert::{Moment, RevertError, revert};

/// Why a change was not put back.
#[derive(Debug, thiserror::Error)]
pub enum BackError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Marker(#[from] MarkerError),
    #[error("the change of commit {commit} is not proven and could not be put back as a whole")]
    Revert {
        commit: String,
        #[source]
        source: RevertError,
    },
}

/// Returns the name of the timer that puts a change back.
pub(super) fn timer(id: &str) -> String {
    format!("hostwrit-revert-{id}")
}

/// Puts the change back that is not proven, and leaves word of it.
///
/// # Errors
/// A place could not be put back. The change stays unproven, so that this is done again.
pub(super) fn put_back(
    host: &dyn WriteHost,
    unproven: Unproven,
    (by, why, holds): (By, String, bool),
    moment: Moment,
) -> Result<(), BackError> {
    let failed = |source| BackError::Revert { commit: unproven.commit.clone(), source };
    let notes = notes::read(host).map_err(|error| failed(error.into()))?;
    tracing::warn!(commit = %unproven.commit, "puts the host back as it was: {why}");
    let left = revert(host, &notes, &unproven.running, moment).map_err(failed)?;
    if !notes.is_empty() {
        marker::write(&Reverted::of(unproven, by, why, holds, left), REVERTED, host)?;
    }
    forget(host)
}

/// The change is proven, or all is as it was: from here on nobody puts anything back.
pub(super) fn forget(host: &dyn WriteHost) -> Result<(), BackError> {
    host.remove(Path::new(UNPROVEN))?;
    Ok(host.remove(Path::new(JOURNAL))?)
}

/// Puts an unproven change back from outside: as the timer, or while the host boots. Returns its commit; `None` if there is none.
///
/// A steward that still works on it is killed first, however far it has come: what it was to do by now it has not done.
///
/// # Errors
/// A place could not be put back, and this is to be done again.
pub fn from_outside(host: &RealHost, boots: bool) -> Result<Option<String>, BackError> {
    if marker::unproven(host)?.is_none() {
        return Ok(None);
    }
    // Without the lock if the kernel cannot end its holder yet: a killed process makes no further system call.
    let _lock = host.seize()?;
    // Again, for it may have been proven just now.
    let Some(unproven) = marker::unproven(host)? else { return Ok(None) };
    let commit = unproven.commit.clone();
    let within = humantime::format_duration(std::time::Duration::from_secs(unproven.within));
    let (by, moment, why) = if boots {
        (By::Boot, Moment::Boot, "the host was started again before the change was proven".to_owned())
    } else {
        (By::Timer, Moment::Running, format!("nobody has proven the change within {within}"))
    };
    put_back(host, unproven, (by, why, true), moment)?;
    Ok(Some(commit))
}
