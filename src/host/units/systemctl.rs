// SPDX-License-Identifier: Apache-2.0
//! Asks systemd by `systemctl`, which reaches it without a bus.

use std::io::ErrorKind;

use super::{JOB_LIMIT, UnitAction, UnitState, is_template, needs_reload};
use crate::host::files::Root;
use crate::host::{HostError, Output, command};

pub(super) fn states(root: &Root, names: &[&str]) -> Result<Vec<UnitState>, HostError> {
    let concrete: Vec<&str> = names.iter().copied().filter(|name| !is_template(name)).collect();
    let mut shown = if concrete.is_empty() { Vec::new() } else { show(&concrete)? }.into_iter();
    names
        .iter()
        .map(|&name| match if is_template(name) { None } else { shown.next() } {
            // What is shown of an alias is what it stands for, whose file state is not the alias's own.
            Some(Shown { mut state, drop_ins }) => {
                if state.name != name {
                    state.name = name.to_owned();
                    state.file_state = file_state(name)?;
                }
                state.needs_reload = needs_reload(root, &state, &drop_ins)?;
                Ok(state)
            }
            None => {
                let file_state = file_state(name)?;
                let load = if file_state.is_empty() { "not-found" } else { "loaded" }.to_owned();
                Ok(UnitState { name: name.to_owned(), load, active: None, file_state, needs_reload: false })
            }
        })
        .collect()
}

pub(super) fn act(action: UnitAction, unit: &str) -> Result<(), HostError> {
    if matches!(action, UnitAction::Start | UnitAction::Restart | UnitAction::Reload) {
        // As over the bus: what a unit failed before does not count. One that is not loaded has nothing to reset.
        systemctl(&["reset-failed", "--", unit])?;
    }
    let output = match action {
        UnitAction::DaemonReload => systemctl(&["daemon-reload"])?,
        UnitAction::Reload => systemctl(&["reload-or-restart", "--", unit])?,
        _ => systemctl(&[action.verb(), "--", unit])?,
    };
    if output.success { Ok(()) } else { Err(action.failed(unit)(why(&output))) }
}

/// What `systemctl show` says of one unit; its name differs from the one that was asked for if that is an alias.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) state: UnitState,
    /// The paths of the drop-ins that systemd has loaded.
    pub(super) drop_ins: Vec<String>,
}

fn show(names: &[&str]) -> Result<Vec<Shown>, HostError> {
    let mut args = vec!["show", "--property=Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,DropInPaths", "--"];
    args.extend(names);
    let output = systemctl(&args)?;
    if !output.success {
        return Err(HostError::Systemd(why(&output)));
    }
    let shown = parse(&String::from_utf8_lossy(&output.stdout));
    if shown.len() != names.len() {
        let (asked, answered) = (names.len(), shown.len());
        return Err(HostError::Systemd(format!("asked systemctl for {asked} units, it answered for {answered}")));
    }
    Ok(shown)
}

/// Reads the answer of `systemctl show`: a block of `Key=value` for each unit, with an empty line between.
pub(super) fn parse(text: &str) -> Vec<Shown> {
    text.split("\n\n")
        .filter(|block| !block.trim().is_empty())
        .map(|block| {
            let value = |key: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
                line.unwrap_or_default().to_owned()
            };
            let state = UnitState {
                name: value("Id"),
                load: value("LoadState"),
                active: Some(value("ActiveState")),
                file_state: value("UnitFileState"),
                needs_reload: value("NeedDaemonReload") == "yes",
            };
            Shown { state, drop_ins: value("DropInPaths").split_whitespace().map(str::to_owned).collect() }
        })
        .collect()
}

fn file_state(name: &str) -> Result<String, HostError> {
    // The status says whether the unit is enabled; that it is not is no error here.
    let output = systemctl(&["is-enabled", "--", name])?;
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(if state == "not-found" { String::new() } else { state })
}

fn systemctl(args: &[&str]) -> Result<Output, HostError> {
    command::run_within(JOB_LIMIT, "systemctl", args).map_err(|error| match error {
        HostError::Run { source, .. } if source.kind() == ErrorKind::NotFound => {
            HostError::Systemd("no system bus is running, and there is no systemctl".to_owned())
        }
        error => error,
    })
}

fn why(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    match stderr.trim() {
        "" => format!("systemctl ended with {}", output.status),
        // Several lines become one: it will stand in an error's chain.
        said => said.split('\n').map(str::trim).collect::<Vec<_>>().join(" "),
    }
}
