// SPDX-License-Identifier: Apache-2.0
//! Puts everything back that the undo journal holds. Killed anywhere, it can be done again from the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::{FileKind, HostError, NewFile, Owner, Ruleset, Stat, UnitAction, UnitState, WriteHost};
use crate::model::chain;
use crate::resources::firewall;

use super::accounts::{self, Entries};
use super::notes::{self, Accounts, Links, Note, NotesError, Was};

/// When the way back is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The host runs: units are told at once.
    Running,
    /// The host boots: units have not begun, and may wait for this.
    Boot,
}

/// Why the host is not as it was.
#[derive(Debug, thiserror::Error)]
pub enum RevertError {
    #[error("cannot read how the host was before")]
    Notes(#[from] NotesError),
    #[error("cannot put back {}", .0.join("; "))]
    Places(Vec<String>),
}

/// How the host was before the change: what the notes come to.
#[derive(Default)]
struct Before<'n> {
    /// By path, so that what holds others comes before what it holds. The first note of a place counts.
    places: BTreeMap<PathBuf, Was>,
    attributes: Vec<(PathBuf, u32, (u32, u32))>,
    accounts: Option<&'n Accounts>,
    entries: Vec<&'n Entries>,
    links: Option<&'n Links>,
    ruleset: Option<&'n Ruleset>,
    /// By unit: whether it ran at first, and whether it was ever restarted.
    units: BTreeMap<&'n str, (bool, bool)>,
}

impl<'n> Before<'n> {
    fn of(notes: &'n [Note]) -> Result<Self, NotesError> {
        let mut before = Self::default();
        for note in notes {
            match note {
                Note::Path { path, was } => before.enter(path.to_path()?, was),
                Note::Attributes { path, mode, owner } => before.attributes.push((path.to_path()?, *mode, *owner)),
                Note::Accounts(accounts) => before.accounts = before.accounts.or(Some(accounts)),
                Note::Entries(entries) => before.entries.push(entries),
                Note::Links(links) if before.links.is_none() => {
                    for (path, target) in &links.links {
                        let was = Was::Link { target: target.clone(), owner: (0, 0) };
                        before.places.entry(path.into()).or_insert(was);
                    }
                    before.links = Some(links);
                }
                Note::Links(_) => {}
                Note::Ruleset { was } => before.ruleset = before.ruleset.or(Some(was)),
                Note::Unit { unit, active, restarted } => {
                    before.units.entry(unit).or_insert((*active, false)).1 |= restarted;
                }
            }
        }
        Ok(before)
    }

    fn enter(&mut self, path: PathBuf, was: &Was) {
        // A link of systemd's that was not there when its links were noted has been made since then.
        let is_new = matches!(was, Was::Link { .. }) && self.links.is_some_and(|links| links.would_hold(&path));
        self.places.entry(path).or_insert_with(|| if is_new { Was::Nothing } else { was.clone() });
    }
}

/// Puts back what is noted, and sees to it that those units run that did. Returns what could not be brought back and does not keep the rest from being as it was: units that
/// would not do what they did before.
///
/// # Errors
/// A place could not be put back. All others were: nothing is left undone because of one.
pub(super) fn revert(
    host: &dyn WriteHost,
    notes: &[Note],
    running: &[String],
    moment: Moment,
) -> Result<Vec<String>, RevertError> {
    let before = Before::of(notes)?;
    let mut left = Vec::new();
    // First, for it is what shuts most people out.
    if let Some(was) = before.ruleset {
        let loaded = firewall::put_back(was, host);
        left.extend(loaded.err().map(|error| chain(&error)));
    }
    let mut note = |done: Result<(), NotesError>| left.extend(done.err().map(|error| chain(&error)));
    // What is in the way goes from the inside out, and what was there comes from the outside in.
    for (path, was) in before.places.iter().rev() {
        note(clear(host, path, was).map_err(NotesError::from));
    }
    for directory in before.links.iter().flat_map(|links| &links.directories) {
        note(ensure_directory(host, Path::new(directory)).map_err(NotesError::from));
    }
    for (path, was) in &before.places {
        note(put_back(host, path, was));
    }
    for (path, mode, owner) in before.attributes.iter().rev() {
        note(put_back_attributes(host, path, *mode, *owner).map_err(NotesError::from));
    }
    if let Some(links) = before.links {
        note(remove_new_links(host, links).map_err(NotesError::from));
    }
    for entries in before.entries.iter().rev() {
        note(put_back_entries(host, before.accounts, entries));
    }
    // Also if a place is left: most of the host is as it was, and its units shall be so too.
    let mut units = units(host, &before.units, moment);
    if moment == Moment::Running {
        units.extend(start_again(host, running));
    }
    if let (Some(was), Moment::Running) = (before.ruleset, moment) {
        // Debian's nftables.service empties the packet filter when it stops, whose tables ever are in it.
        let loaded = firewall::put_back(was, host);
        left.extend(loaded.err().map(|error| chain(&error)));
    }
    if left.is_empty() { Ok(units) } else { Err(RevertError::Places(left)) }
}

/// Removes what is of another kind than what was there.
fn clear(host: &dyn WriteHost, path: &Path, was: &Was) -> Result<(), HostError> {
    let now = host.stat(path)?;
    let kind = match was {
        Was::Nothing => None,
        Was::File { .. } => Some(FileKind::File),
        Was::Directory { .. } => Some(FileKind::Directory),
        Was::Link { .. } => Some(FileKind::Link),
    };
    // A device or socket that somebody has put there since is not ours to remove.
    if now.is_some_and(|now| now.kind != FileKind::Special && Some(now.kind) != kind) {
        remove(host, path, now)
    } else {
        Ok(())
    }
}

fn put_back(host: &dyn WriteHost, path: &Path, was: &Was) -> Result<(), NotesError> {
    let now = host.stat(path)?;
    match was {
        Was::Nothing => {}
        Was::File { content, mode, owner } => {
            let content = content.to_vec()?;
            let is_as_it_was = now.is_some_and(|now| has(host, now, FileKind::File, *mode, *owner));
            if !is_as_it_was || host.read(path)?.as_ref() != Some(&content) {
                let file = NewFile { content: &content, owner: settable(host, *owner), mode: *mode, check: None };
                host.replace_file(path, &file)?;
            }
        }
        Was::Directory { mode, owner } => {
            if !now.is_some_and(|now| has(host, now, FileKind::Directory, *mode, *owner)) {
                host.make_dir(path, settable(host, *owner), *mode)?;
            }
        }
        Was::Link { target, owner } => {
            let target = target.to_path()?;
            let is_link = now.filter(|now| now.kind == FileKind::Link);
            let is_owned = is_link.is_some_and(|now| !host.sets_owners() || now.owner == notes::owner(*owner));
            if !is_owned || host.read_link(path)?.as_ref() != Some(&target) {
                host.make_link(path, &target, settable(host, *owner))?;
            }
        }
    }
    Ok(())
}

/// Removes what the change has made. A directory in which others have put something meanwhile is theirs too.
fn remove(host: &dyn WriteHost, path: &Path, now: Option<Stat>) -> Result<(), HostError> {
    let Some(now) = now else { return Ok(()) };
    if now.kind == FileKind::Directory && host.list(path)?.is_some_and(|names| !names.is_empty()) {
        tracing::warn!("{} stays: others have put something into it", path.display());
        return Ok(());
    }
    host.remove(path)
}

fn has(host: &dyn WriteHost, now: Stat, kind: FileKind, mode: u32, owner: (u32, u32)) -> bool {
    now.kind == kind && now.mode == mode && (!host.sets_owners() || now.owner == notes::owner(owner))
}

fn settable(host: &dyn WriteHost, owner: (u32, u32)) -> Option<Owner> {
    host.sets_owners().then_some(notes::owner(owner))
}

fn put_back_attributes(host: &dyn WriteHost, path: &Path, mode: u32, owner: (u32, u32)) -> Result<(), HostError> {
    match host.stat(path)? {
        // What has gone meanwhile, or become another thing, has attributes of its own.
        Some(now)
            if matches!(now.kind, FileKind::File | FileKind::Directory) && !has(host, now, now.kind, mode, owner) =>
        {
            host.set_attributes(path, settable(host, owner), Some(mode))
        }
        _ => Ok(()),
    }
}

fn put_back_entries(host: &dyn WriteHost, was: Option<&Accounts>, entries: &Entries) -> Result<(), NotesError> {
    let Some(was) = was else { return Ok(()) };
    let mut failed = None;
    let edited = host.edit_accounts(&mut |now| {
        accounts::restore(now, was, entries).map_err(|error| {
            let why = error.to_string();
            failed = Some(error);
            why
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(edited?),
    }
}

fn ensure_directory(host: &dyn WriteHost, path: &Path) -> Result<(), HostError> {
    if host.stat(path)?.is_some() { Ok(()) } else { host.make_dir(path, settable(host, (0, 0)), 0o755) }
}

/// Removes the links by which the change has enabled or masked units, and the directories that were made for them.
fn remove_new_links(host: &dyn WriteHost, was: &Links) -> Result<(), HostError> {
    let now = Links::of(host)?;
    for path in now.links.keys().filter(|path| !was.links.contains_key(*path)) {
        host.remove(Path::new(path))?;
    }
    for path in now.directories.difference(&was.directories) {
        remove(host, Path::new(path), host.stat(Path::new(path))?)?;
    }
    Ok(())
}

/// Brings the units that were acted on back to what they did, and returns what they would not do.
fn units(host: &dyn WriteHost, units: &BTreeMap<&str, (bool, bool)>, moment: Moment) -> Vec<String> {
    if !host.is_live() {
        return Vec::new();
    }
    let mut left = Vec::new();
    let mut tell = |done: Result<(), HostError>| left.extend(done.err().map(|error| chain(&error)));
    match moment {
        Moment::Running => {
            tell(host.act_on_unit(UnitAction::DaemonReload, "systemd"));
            for (unit, (active, restarted)) in units {
                // A start of networkd takes over the addresses and routes that it finds; only a reload takes away those that
                // are not declared any more. Where it does not run now there is nothing to reload.
                if *unit == "systemd-networkd.service" && *active && *restarted {
                    let _ = host.act_on_unit(UnitAction::Reload, unit);
                }
                let action = match (*active, *restarted) {
                    (true, true) => UnitAction::Restart,
                    (true, false) => UnitAction::Reload,
                    (false, _) => UnitAction::Stop,
                };
                tell(act(host, action, unit));
            }
        }
        Moment::Boot => {
            // What this boot starts was decided by the links as they were found. Nothing here may be waited for: most units
            // begin after this one has ended.
            tell(systemctl(host, &["daemon-reload"]));
            for (unit, (active, _)) in units {
                tell(systemctl(host, &["--no-block", if *active { "start" } else { "stop" }, "--", unit]));
            }
        }
    }
    left
}

/// Starts what ran before and was not acted on, but was stopped all the same. Returns what would not start.
fn start_again(host: &dyn WriteHost, running: &[String]) -> Vec<String> {
    let start = |name: &String| {
        // One after the other, for one may be another name of the other.
        let states = host.units(&[name.as_str()])?;
        if states.iter().all(is_running) { Ok(()) } else { act(host, UnitAction::Restart, name) }
    };
    running.iter().filter_map(|name| start(name).err()).map(|error| chain(&error)).collect()
}

/// Whether a unit does its work, or is about to.
pub(super) fn is_running(state: &UnitState) -> bool {
    matches!(state.active.as_deref(), Some("active" | "activating" | "reloading"))
}

fn act(host: &dyn WriteHost, action: UnitAction, unit: &str) -> Result<(), HostError> {
    host.act_on_unit(action, unit).or_else(|error| match action {
        // One that failed too often under the new state is not started again before it is told so.
        UnitAction::Restart => {
            systemctl(host, &["reset-failed", "--", unit])?;
            host.act_on_unit(action, unit)
        }
        _ => Err(error),
    })
}

fn systemctl(host: &dyn WriteHost, args: &[&str]) -> Result<(), HostError> {
    let output = host.run("systemctl", args)?;
    if output.success {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    Err(HostError::Systemd(format!("systemctl {}: {said}", args.join(" "))))
}
