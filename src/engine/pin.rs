// SPDX-License-Identifier: Apache-2.0
//! The pin, and its three copies: state, audit log, and a file in `/etc`.
//!
//! Any one of them is enough to refuse what is older. Where they differ, as after a backup was restored, the newest counts.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::audit::{self, Event};
use crate::host::{HostError, NewFile, ReadHost, WriteHost};
use crate::model::git::{Objects, Oid};
use crate::trust::{self, order};

use super::state::{self, State, StateError};

/// The directory of the copy, where the configuration is, too.
pub const COPY_DIR: &str = "/etc/hostwrit";
/// The copy that survives the loss of state and log: one line, the commit.
pub const COPY: &str = "/etc/hostwrit/pin";

/// The commit that this host accepted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    pub commit: Oid,
    /// It was accepted under the root commit that the configuration names today. If not, its history is proven anew.
    pub same_root: bool,
}

/// The order by which the pin stands where it does, until a commit is accepted by the rules again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ordered {
    pub order: order::Kind,
    pub commit: String,
    pub nonce: String,
    pub reason: String,
    /// The pin before, which must not be taken for a newer one.
    pub from: Option<String>,
}

/// What the copies come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub pin: Option<Pin>,
    pub ordered: Option<Ordered>,
    /// The copies contradict each other: why. Nothing new may be accepted, and no copy changed.
    pub conflict: Option<String>,
}

/// What one copy says.
struct Told {
    commit: String,
    root: Option<String>,
    ordered: Option<Ordered>,
}

impl Known {
    /// Compares the copies. `root` is the root commit of the configuration; `objects` has the history, if anybody has.
    ///
    /// # Errors
    /// A copy cannot be read, or the state names something else than a commit.
    pub fn of(host: &dyn ReadHost, state: &State, root: &Oid, objects: &dyn Objects) -> Result<Self, StateError> {
        let told = told(host, state)?;
        let mut known = match told {
            None => Self::default(),
            Some(told) => {
                let commit = Oid::from_hex(told.commit.as_bytes()).map_err(|_| StateError::Pin(told.commit))?;
                let same_root = told.root.and_then(|accepted| Oid::from_hex(accepted.as_bytes()).ok()) == Some(*root);
                Self { pin: Some(Pin { commit, same_root }), ordered: told.ordered, conflict: None }
            }
        };
        let Some(copy) = host.read(Path::new(COPY))? else { return Ok(known) };
        let Some(copy) = copy.strip_suffix(b"\n").and_then(|line| Oid::from_hex(line).ok()) else {
            known.conflict = Some(format!("{COPY} does not hold one commit"));
            return Ok(known);
        };
        let from_copy = Pin { commit: copy, same_root: false };
        let Some(pin) = known.pin else {
            known.pin = Some(from_copy);
            return Ok(known);
        };
        let superseded = known.ordered.as_ref().is_some_and(|order| order.from.as_ref() == Some(&copy.to_string()));
        if pin.commit == copy || superseded {
            return Ok(known);
        }
        // What cannot be walked, because the mirror is lost and the remote does not have it, does not descend.
        let descends = |one: &Oid, from: &Oid| trust::descends(objects, one, from).unwrap_or(false);
        if descends(&copy, &pin.commit) {
            known = Self { pin: Some(from_copy), ..Self::default() };
        } else if !descends(&pin.commit, &copy) {
            let detail = format!("{COPY} has {copy}, state and log have {}", pin.commit);
            known.conflict = Some(format!("{detail}, and neither can be shown to descend from the other"));
        }
        Ok(known)
    }
}

/// Returns what the state says, or the audit log where that knows of a later move or the state is lost.
fn told(host: &dyn ReadHost, state: &State) -> Result<Option<Told>, StateError> {
    if state.pin.is_none() || state::log_bytes(host)? != state.log_bytes {
        // Entries that the state knows of cannot be later than its pin.
        let known = state.log.filter(|_| state.pin.is_some()).map_or(0, |head| head.seq);
        match audit::log::last_pinned(host, known)? {
            Some(Event::Accepted { commit, root, .. }) => {
                return Ok(Some(Told { commit, root: root.or_else(|| state.root.clone()), ordered: None }));
            }
            Some(Event::Ordered { order, commit, from, root, nonce, reason, .. }) => {
                let order =
                    if order == order::Kind::RePin.to_string() { order::Kind::RePin } else { order::Kind::BreakGlass };
                let ordered = Some(Ordered { order, commit: commit.clone(), nonce, reason, from });
                return Ok(Some(Told { commit, root: Some(root), ordered }));
            }
            _ => {}
        }
    }
    let told = |commit| Told { commit, root: state.root.clone(), ordered: state.ordered.clone() };
    Ok(state.pin.clone().map(told))
}

/// Whether the copy in `/etc` names this commit.
///
/// # Errors
/// It cannot be read.
pub fn is_copied(host: &dyn ReadHost, commit: &str) -> Result<bool, HostError> {
    Ok(host.read(Path::new(COPY))?.is_some_and(|copy| copy == format!("{commit}\n").as_bytes()))
}

/// Makes the copy in `/etc` say what the state says, if it does not.
///
/// # Errors
/// It cannot be written.
pub fn copy(host: &dyn WriteHost, state: &State) -> Result<(), HostError> {
    match &state.pin {
        Some(pin) if !is_copied(host, pin)? => {
            let line = format!("{pin}\n");
            let file = NewFile { content: line.as_bytes(), owner: None, mode: 0o644, check: None };
            host.replace_file(Path::new(COPY), &file)
        }
        _ => Ok(()),
    }
}
