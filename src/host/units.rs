// SPDX-License-Identifier: Apache-2.0
//! Units of systemd: over D-Bus on the running system, by `systemctl` where no bus runs, and by files alone under
//! another root, where nothing runs.

pub(super) mod bus;
mod offline;
pub(super) mod oneshot;
mod signals;
mod systemctl;
#[cfg(test)]
mod tests;
pub(super) mod timer;

pub use signals::{Bell, listen};
pub use timer::Timer;

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::files::{self, Root};
use super::{FileKind, HostError};

/// Longer than a restart with systemd's default limits may take: 90 s to stop and 90 s to start.
const JOB_LIMIT: Duration = Duration::from_secs(200);

/// What systemd says of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitState {
    pub name: String,
    /// `LoadState`: `loaded`, `not-found`, `masked`, `bad-setting`, `error`; under another root only `loaded` or `not-found`.
    pub load: String,
    /// `ActiveState`: `active`, `inactive`, `failed`, `activating`, ...; `None` for a template and under another root,
    /// where nothing runs.
    pub active: Option<String>,
    /// `UnitFileState`: `enabled`, `disabled`, `static`, `masked`, `indirect`, `generated`, ...; empty if there is no unit file.
    pub file_state: String,
    /// The unit's files on disk are newer than what systemd has loaded.
    pub needs_reload: bool,
}

/// What the service manager may be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitAction {
    Start,
    Stop,
    Restart,
    /// Reload, or restart where the unit cannot reload.
    Reload,
    Enable,
    Disable,
    Mask,
    Unmask,
    /// Load changed unit files. The unit is not looked at.
    DaemonReload,
}

impl UnitAction {
    /// Returns the word for people; it is systemctl's own where that has one.
    fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Mask => "mask",
            Self::Unmask => "unmask",
            Self::DaemonReload => "load the changed files of",
        }
    }

    /// Returns a closure that says why the action on `unit` failed.
    fn failed<T: std::fmt::Display>(self, unit: &str) -> impl FnOnce(T) -> HostError {
        move |why| HostError::Unit { action: self.verb(), unit: unit.to_owned(), why: why.to_string() }
    }
}

pub(super) fn states(root: &Root, names: &[&str]) -> Result<Vec<UnitState>, HostError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    if !is_live(root) {
        return offline::states(root, names);
    }
    match bus::Bus::open() {
        Some(bus) => bus.states(root, names),
        None => systemctl::states(root, names),
    }
}

pub(super) fn act(root: &Root, action: UnitAction, unit: &str) -> Result<(), HostError> {
    if !is_live(root) {
        return offline::act(root, action, unit);
    }
    match bus::Bus::open() {
        Some(bus) => bus.act(action, unit),
        None => systemctl::act(action, unit),
    }
}

fn is_live(root: &Root) -> bool {
    root.path() == Path::new("/")
}

/// Whether the name is of a template, of which only instances run: `backup@.service`.
fn is_template(name: &str) -> bool {
    name.contains("@.")
}

/// Whether systemd has to load the unit's files again. `state` is what systemd says, `loaded` the drop-ins that it knows.
///
/// Its own `NeedDaemonReload` is not exact: of a masked unit it is true for ever, and it misses the first drop-in of a
/// unit, for systemd remembers which directories there are.
fn needs_reload(root: &Root, state: &UnitState, loaded: &[String]) -> Result<bool, HostError> {
    match state.load.as_str() {
        "not-found" => Ok(false),
        "masked" => Ok(!state.file_state.starts_with("masked")),
        "loaded" => Ok(state.needs_reload || has_unloaded_drop_in(root, &state.name, loaded)?),
        _ => Ok(state.needs_reload),
    }
}

/// Whether the administrator has a drop-in for the unit that is not among those that systemd has loaded.
fn has_unloaded_drop_in(root: &Root, unit: &str, loaded: &[String]) -> Result<bool, HostError> {
    let dir = format!("/etc/systemd/system/{unit}.d");
    let dir = Path::new(&dir);
    for name in files::list(root, dir)?.unwrap_or_default() {
        let path = dir.join(&name);
        // One of the same name in a directory that counts more hides this one.
        let is_loaded = loaded.iter().any(|loaded| Path::new(loaded).file_name() == Some(&name));
        let is_conf = path.extension() == Some(OsStr::new("conf"));
        if is_conf && !is_loaded && files::stat(root, &path)?.is_some_and(|stat| stat.kind == FileKind::File) {
            return Ok(true);
        }
    }
    Ok(false)
}
