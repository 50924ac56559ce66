// SPDX-License-Identifier: Apache-2.0
//! Units of systemd: over D-Bus on the running system, by `systemctl` where no bus runs and under another root.

/// What systemd says of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitState {
    pub name: String,
    /// `LoadState`: `loaded`, `not-found`, `masked`, `bad-setting`, `error`; under another root only `loaded` or `not-found`.
    pub load: String,
    /// `ActiveState`: `active`, `inactive`, `failed`, `activating`, ...; `None` under another root, where nothing runs.
    pub active: Option<String>,
    /// `UnitFileState`: `enabled`, `disabled`, `static`, `masked`, `indirect`, `generated`, ...; empty if there is no unit file.
    pub file_state: String,
    /// The unit file on disk is newer than what systemd has loaded.
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

pub(super) fn states(_: &std::path::Path, _: &[&str]) -> Result<Vec<UnitState>, super::HostError> {
    todo!()
}

pub(super) fn act(_: &std::path::Path, _: UnitAction, _: &str) -> Result<(), super::HostError> {
    todo!()
}
