// SPDX-License-Identifier: Apache-2.0
//! Reads units from the host and carries out steps on them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use crate::host::{FileKind, HostError, NewFile, Owner, ReadHost, UnitAction, UnitState, WriteHost};
use crate::model::{Declared, ObjectId, Owned};
use crate::resources::triggers::Reaction;
use crate::resources::{ApplyError, Content, Interests, ObserveError, Resource};

use super::{Act, DesiredUnit, Observed, ObservedUnit, OnDisk, Operation, Service, UnitName};
use super::{diff, owned_drop_ins};

const ROOT: Owner = Owner { uid: 0, gid: 0 };

pub(super) fn observe(
    desired: &[Declared<DesiredUnit>],
    owned: &Owned,
    host: &dyn ReadHost,
) -> Result<Observed, ObserveError> {
    let drop_ins = |object: &ObjectId| owned_drop_ins(owned, object).map(str::to_owned).collect::<BTreeSet<_>>();
    let mut wanted = BTreeMap::new();
    for object in owned.of_kind(Service::KIND) {
        wanted.insert(object.name(), drop_ins(object));
    }
    for declared in desired {
        let names: &mut BTreeSet<String> = wanted.entry(&declared.name).or_default();
        names.extend(declared.want.iter().flat_map(|want| want.drop_ins.keys().cloned()));
    }
    // A name that no unit can have is none that hostwrit ever made a part of.
    let units: Vec<(&str, UnitName, BTreeSet<String>)> =
        wanted.into_iter().filter_map(|(name, drop_ins)| Some((name, UnitName::parse(name).ok()?, drop_ins))).collect();
    let names: Vec<&str> = units.iter().map(|(_, unit, _)| unit.as_str()).collect();
    let states = host.units(&names)?;
    let mut observed = Observed { live: host.is_live(), units: BTreeMap::new() };
    for ((name, unit, drop_ins), state) in units.into_iter().zip(states) {
        let drop_ins = drop_ins
            .into_iter()
            .map(|drop_in| {
                let on_disk = on_disk(host, &unit.drop_in(&drop_in))?;
                Ok((drop_in, on_disk))
            })
            .collect::<Result<_, HostError>>()?;
        let UnitState { active, file_state, needs_reload, .. } = state;
        let file = on_disk(host, &unit.file())?;
        observed.units.insert(name.to_owned(), ObservedUnit { active, file_state, needs_reload, file, drop_ins });
    }
    Ok(observed)
}

/// Where systemd keeps the links that enable units.
const UNITS: &str = "/etc/systemd/system";

/// Enters the units, their files, and the links that enable them.
pub(super) fn interests(
    desired: &[Declared<DesiredUnit>],
    owned: &Owned,
    host: &dyn ReadHost,
    interests: &mut Interests,
) -> Result<(), ObserveError> {
    let objects: BTreeSet<ObjectId> = desired
        .iter()
        .map(|declared| ObjectId::new(Service::KIND, &declared.name))
        .chain(owned.of_kind(Service::KIND).cloned())
        .collect();
    if objects.is_empty() {
        return Ok(());
    }
    let is_of_links =
        |name: &&OsString| name.to_str().is_some_and(|name| name.ends_with(".wants") || name.ends_with(".requires"));
    let names = host.list(Path::new(UNITS))?.unwrap_or_default();
    let links: Vec<_> = names.iter().filter(is_of_links).map(|name| Path::new(UNITS).join(name)).collect();
    for object in &objects {
        let Ok(unit) = UnitName::parse(object.name()) else { continue };
        interests.unit(unit.as_str(), object);
        interests.moves(object);
        interests.place(unit.file(), object);
        // Any drop-in there is one that systemd has to load.
        interests.place(unit.drop_in_dir(), object);
        interests.names_in(unit.drop_in_dir(), object);
        links.iter().for_each(|directory| interests.place(directory.join(unit.as_str()), object));
    }
    Ok(())
}

fn on_disk(host: &dyn ReadHost, path: &str) -> Result<OnDisk, HostError> {
    let path = Path::new(path);
    let Some(stat) = host.stat(path)? else { return Ok(OnDisk::Missing) };
    match stat.kind {
        FileKind::File => {}
        FileKind::Link => return Ok(OnDisk::Other("a link")),
        FileKind::Directory => return Ok(OnDisk::Other("a directory")),
        FileKind::Special => return Ok(OnDisk::Other("a device, socket or FIFO")),
    }
    // Gone in between: the next cycle sees it as it is.
    let Some(content) = host.read(path)? else { return Ok(OnDisk::Missing) };
    let owner = host.sets_owners().then_some((stat.owner.uid, stat.owner.gid));
    Ok(OnDisk::File { content: Content::new(content.into()), mode: stat.mode, owner })
}

pub(super) fn apply(operation: &Operation, host: &dyn WriteHost) -> Result<(), ApplyError> {
    let unit = &operation.unit;
    match &operation.act {
        Act::Configure { write, remove } => {
            for (path, content) in write {
                write_file(host, path, content)?;
            }
            remove_files(host, unit, remove)?;
            load(host)?;
        }
        Act::Load => load(host)?,
        Act::Mask(wanted) => {
            host.act_on_unit(if *wanted { UnitAction::Mask } else { UnitAction::Unmask }, unit.as_str())?;
            load(host)?;
        }
        Act::Enable(true) => enable(host, unit)?,
        Act::Enable(false) => disable(host, unit)?,
        Act::Run(true) => host.act_on_unit(UnitAction::Start, unit.as_str())?,
        Act::Run(false) => stop(host, unit)?,
        Act::React(trigger) => {
            let action = match trigger.reaction {
                Reaction::Restart => UnitAction::Restart,
                Reaction::Reload => UnitAction::Reload,
            };
            host.act_on_unit(action, unit.as_str())?;
        }
        Act::Remove { whole, files } => {
            if *whole {
                stop(host, unit)?;
                disable(host, unit)?;
            }
            remove_files(host, unit, files)?;
            load(host)?;
        }
    }
    Ok(())
}

fn state(host: &dyn ReadHost, unit: &UnitName) -> Result<Option<UnitState>, HostError> {
    Ok(host.units(&[unit.as_str()])?.pop())
}

/// Has systemd load changed unit files, where it runs.
fn load(host: &dyn WriteHost) -> Result<(), HostError> {
    if host.is_live() { host.act_on_unit(UnitAction::DaemonReload, "systemd") } else { Ok(()) }
}

/// Stops the unit; one that does not run, or that systemd does not know, is stopped already.
fn stop(host: &dyn WriteHost, unit: &UnitName) -> Result<(), HostError> {
    let active = state(host, unit)?.and_then(|state| state.active);
    match active.as_deref() {
        None | Some("inactive" | "failed") => Ok(()),
        Some(_) => host.act_on_unit(UnitAction::Stop, unit.as_str()),
    }
}

/// Enables the unit and looks whether that took, for systemd also says yes to units that cannot be enabled.
fn enable(host: &dyn WriteHost, unit: &UnitName) -> Result<(), ApplyError> {
    host.act_on_unit(UnitAction::Enable, unit.as_str())?;
    load(host)?;
    let state = state(host, unit)?.map(|state| state.file_state).unwrap_or_default();
    let why = match state.as_str() {
        "enabled" => return Ok(()),
        "static" => {
            "its unit file has no [Install] section, so nothing says at what it would start; \
                     leave `enabled` away, or add a drop-in with an [Install] section"
        }
        "indirect" => "its [Install] section only names other units; declare those",
        "alias" => "it is another name for a unit; declare that unit",
        "generated" | "transient" => "its unit file is made at each boot; leave `enabled` away",
        "masked" | "masked-runtime" => "it is masked; add masked: false",
        other => {
            return Err(ApplyError::Refused(format!("{unit} is \"{other}\" still, though systemd has enabled it")));
        }
    };
    Err(ApplyError::Refused(format!("{unit} cannot be enabled: {why}")))
}

/// Disables the unit; one without a unit file, which systemd refuses to disable, has nothing to be disabled.
fn disable(host: &dyn WriteHost, unit: &UnitName) -> Result<(), HostError> {
    if state(host, unit)?.is_some_and(|state| state.file_state.starts_with("enabled")) {
        host.act_on_unit(UnitAction::Disable, unit.as_str())?;
        load(host)?;
    }
    Ok(())
}

fn write_file(host: &dyn WriteHost, path: &str, content: &Content) -> Result<(), HostError> {
    let path = Path::new(path);
    if let Some(dir) = path.parent() {
        make_dirs(host, dir)?;
    }
    let owner = host.sets_owners().then_some(ROOT);
    host.replace_file(path, &NewFile { content: content.bytes(), owner, mode: diff::MODE, check: None })
}

/// Makes the directory, and those above it, where they are missing: those that are there are not our business.
fn make_dirs(host: &dyn WriteHost, dir: &Path) -> Result<(), HostError> {
    if host.stat(dir)?.is_some() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_dirs(host, parent)?;
    }
    host.make_dir(dir, host.sets_owners().then_some(ROOT), 0o755)
}

/// Removes the files, and the directory of drop-ins once nothing is left in it.
fn remove_files(host: &dyn WriteHost, unit: &UnitName, files: &[String]) -> Result<(), HostError> {
    files.iter().try_for_each(|file| host.remove(Path::new(file)))?;
    let dir = unit.drop_in_dir();
    let dir = Path::new(&dir);
    let is_dir = host.stat(dir)?.is_some_and(|stat| stat.kind == FileKind::Directory);
    if !files.is_empty() && is_dir && host.list(dir)?.is_some_and(|names| names.is_empty()) {
        host.remove(dir)?;
    }
    Ok(())
}
