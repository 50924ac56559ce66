// SPDX-License-Identifier: Apache-2.0
//! A host that notes how everything was before it changes it: durably, each place once, and no note, no change.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::host::{
    AccountFiles, Dated, FileKind, HostError, NewFile, Output, Owner, ReadHost, Ruleset, Stat, Tables, Timer,
    UnitAction, UnitState, WriteHost,
};

use super::accounts;
use super::notes::{Accounts, Bytes, JOURNAL, Links, Note, Was};

/// The most that is noted. What goes back must be read, synced and kept on disk beside what replaces it.
pub(super) const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The most notes: each is a sync of the disk.
pub(super) const MAX_NOTES: usize = 10_000;

/// The service that takes all tables out of the packet filter when it stops, and as a rule also when it starts.
const EMPTIES_FILTER: &str = "nftables";

/// Why what cannot be done in part is not done at all in a rehearsal.
const REHEARSED: &str = "it is only rehearsed";

/// Changes `host`, and keeps the way back.
pub(super) struct Journal<'h> {
    host: &'h dyn WriteHost,
    /// Where the notes go: into the journal's file, or nowhere but into the counts.
    writes: bool,
    kept: RefCell<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Paths of which all is noted.
    paths: BTreeSet<PathBuf>,
    /// Paths of which owner and mode are noted.
    attributes: BTreeSet<PathBuf>,
    accounts: bool,
    links: bool,
    ruleset: bool,
    /// By unit: whether a restart of it was noted.
    units: BTreeMap<String, bool>,
    bytes: u64,
    notes: usize,
    /// Why something was not noted.
    refusal: Option<String>,
    /// A note could not be made whole; what stands in the file after it could not be read.
    is_broken: bool,
}

impl<'h> Journal<'h> {
    /// Returns a host that changes `host`, whose journal is empty.
    pub(super) fn of(host: &'h dyn WriteHost) -> Self {
        Self { host, writes: true, kept: RefCell::default() }
    }

    /// Returns one that changes nothing, and only finds out whether the way back can be kept.
    pub(super) fn rehearsal(host: &'h dyn WriteHost) -> Self {
        Self { writes: false, ..Self::of(host) }
    }

    /// Returns why something could not be noted, if so.
    pub(super) fn refusal(self) -> Option<String> {
        self.kept.into_inner().refusal
    }

    fn refuse(path: &Path, why: String) -> HostError {
        HostError::File { action: "note the way back for", path: path.to_owned(), source: std::io::Error::other(why) }
    }

    fn note(&self, note: &Note) -> Result<(), HostError> {
        let journal = Path::new(JOURNAL);
        if self.kept.borrow().is_broken {
            return Err(Self::refuse(journal, "an earlier note could not be made".to_owned()));
        }
        let mut line = serde_json::to_vec(note).map_err(|error| Self::refuse(journal, error.to_string()))?;
        line.push(b'\n');
        {
            let mut kept = self.kept.borrow_mut();
            kept.bytes += line.len() as u64;
            kept.notes += 1;
        }
        self.check_room(0)?;
        if !self.writes {
            return Ok(());
        }
        let noted = self.host.append(journal, &line);
        self.kept.borrow_mut().is_broken = noted.is_err();
        noted
    }

    /// Refuses if so many more bytes would be too many.
    fn check_room(&self, more: u64) -> Result<(), HostError> {
        let kept = self.kept.borrow();
        if kept.bytes + more > MAX_BYTES || kept.notes > MAX_NOTES {
            let mib = MAX_BYTES / 1024 / 1024;
            let why = format!("the state before this change takes more than {mib} MiB or {MAX_NOTES} places");
            drop(kept);
            self.kept.borrow_mut().refusal =
                Some(format!("{why}, so it could not be put back; split it into smaller commits"));
            return Err(Self::refuse(Path::new(JOURNAL), why));
        }
        Ok(())
    }

    /// Notes all of what is at the path.
    fn note_path(&self, path: &Path) -> Result<(), HostError> {
        if self.kept.borrow().paths.contains(path) {
            return Ok(());
        }
        let was = match self.host.stat(path)? {
            None => Was::Nothing,
            Some(Stat { kind: FileKind::File, mode, owner, size }) => {
                self.check_room(size)?;
                let Some(content) = self.host.read(path)? else {
                    return Err(Self::refuse(path, "it is gone since it was looked at".to_owned()));
                };
                Was::File { content: Bytes::new(&content), mode, owner: (owner.uid, owner.gid) }
            }
            Some(Stat { kind: FileKind::Directory, mode, owner, .. }) => {
                Was::Directory { mode, owner: (owner.uid, owner.gid) }
            }
            Some(Stat { kind: FileKind::Link, owner, .. }) => {
                let Some(target) = self.host.read_link(path)? else {
                    return Err(Self::refuse(path, "it is gone since it was looked at".to_owned()));
                };
                Was::Link { target: Bytes::of_path(&target), owner: (owner.uid, owner.gid) }
            }
            Some(Stat { kind: FileKind::Special, .. }) => {
                return Err(Self::refuse(
                    path,
                    "it is a device, socket or FIFO, which could not be made again".to_owned(),
                ));
            }
        };
        self.note(&Note::Path { path: Bytes::of_path(path), was })?;
        self.kept.borrow_mut().paths.insert(path.to_owned());
        Ok(())
    }

    /// Notes what is at the path and all that is below it.
    fn note_tree(&self, path: &Path) -> Result<(), HostError> {
        self.note_path(path)?;
        if self.host.stat(path)?.is_some_and(|stat| stat.kind == FileKind::Directory) {
            for name in self.host.list(path)?.unwrap_or_default() {
                self.note_tree(&path.join(name))?;
            }
        }
        Ok(())
    }

    fn note_attributes(&self, path: &Path) -> Result<(), HostError> {
        let is_noted = |kept: &Kept| kept.paths.contains(path) || kept.attributes.contains(path);
        if is_noted(&self.kept.borrow()) {
            return Ok(());
        }
        if let Some(stat) = self.host.stat(path)? {
            let owner = (stat.owner.uid, stat.owner.gid);
            self.note(&Note::Attributes { path: Bytes::of_path(path), mode: stat.mode, owner })?;
        }
        self.kept.borrow_mut().attributes.insert(path.to_owned());
        Ok(())
    }

    /// Notes the links in systemd's directory, and in those below it that name what a unit wants.
    fn note_links(&self) -> Result<(), HostError> {
        if self.kept.borrow().links {
            return Ok(());
        }
        self.note(&Note::Links(Links::of(self.host)?))?;
        self.kept.borrow_mut().links = true;
        Ok(())
    }

    fn note_unit(&self, unit: &str, restarted: bool) -> Result<(), HostError> {
        let noted = self.kept.borrow().units.get(unit).copied();
        if noted.is_some_and(|before| before || !restarted) {
            return Ok(());
        }
        let state = self.host.units(&[unit])?.pop().and_then(|state| state.active);
        let active = state.is_some_and(|active| active != "inactive" && active != "failed");
        self.note(&Note::Unit { unit: unit.to_owned(), active, restarted })?;
        self.kept.borrow_mut().units.insert(unit.to_owned(), restarted);
        Ok(())
    }

    /// Notes hostwrit's own table. Under another root it is made of files, which are noted as such.
    fn note_ruleset(&self) -> Result<(), HostError> {
        if self.kept.borrow().ruleset || !self.host.is_live() {
            return Ok(());
        }
        self.note(&Note::Ruleset { was: self.host.ruleset(Tables::Own)? })?;
        self.kept.borrow_mut().ruleset = true;
        Ok(())
    }

    fn note_accounts(&self, before: &AccountFiles, after: &AccountFiles) -> Result<(), HostError> {
        let entries = accounts::concerned(before, after);
        if entries.is_empty() {
            return Ok(());
        }
        if !self.kept.borrow().accounts {
            self.note(&Note::Accounts(Accounts::from(before)))?;
            self.kept.borrow_mut().accounts = true;
        }
        self.note(&Note::Entries(entries))
    }

    /// Changes the host, unless this is only rehearsed.
    fn change(&self, change: impl FnOnce(&dyn WriteHost) -> Result<(), HostError>) -> Result<(), HostError> {
        if self.writes { change(self.host) } else { Ok(()) }
    }
}

impl ReadHost for Journal<'_> {
    fn is_live(&self) -> bool {
        self.host.is_live()
    }

    fn sets_owners(&self) -> bool {
        self.host.sets_owners()
    }

    fn now(&self) -> SystemTime {
        self.host.now()
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>, HostError> {
        self.host.stat(path)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        self.host.read(path)
    }

    fn dated(&self, path: &Path, most: usize) -> Result<Option<Dated>, HostError> {
        self.host.dated(path, most)
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        self.host.read_link(path)
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<OsString>>, HostError> {
        self.host.list(path)
    }

    fn units(&self, names: &[&str]) -> Result<Vec<UnitState>, HostError> {
        self.host.units(names)
    }

    fn ruleset(&self, tables: Tables) -> Result<Ruleset, HostError> {
        self.host.ruleset(tables)
    }

    fn ruleset_generation(&self) -> Result<String, HostError> {
        self.host.ruleset_generation()
    }
}

impl WriteHost for Journal<'_> {
    fn replace_file(&self, path: &Path, file: &NewFile<'_>) -> Result<(), HostError> {
        self.note_path(path)?;
        self.change(|host| host.replace_file(path, file))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        // It makes what is missing of the way.
        for directory in path.ancestors().skip(1) {
            if self.host.stat(directory)?.is_none() {
                self.note_path(directory)?;
            }
        }
        if self.host.stat(path)?.is_some_and(|stat| stat.kind == FileKind::Link) {
            return Err(Self::refuse(path, "it is a link, and what it leads to would grow".to_owned()));
        }
        self.note_path(path)?;
        self.change(|host| host.append(path, bytes))
    }

    fn make_dir(&self, path: &Path, owner: Option<Owner>, mode: u32) -> Result<(), HostError> {
        self.note_path(path)?;
        self.change(|host| host.make_dir(path, owner, mode))
    }

    fn make_link(&self, path: &Path, target: &Path, owner: Option<Owner>) -> Result<(), HostError> {
        self.note_path(path)?;
        self.change(|host| host.make_link(path, target, owner))
    }

    fn set_attributes(&self, path: &Path, owner: Option<Owner>, mode: Option<u32>) -> Result<(), HostError> {
        self.note_attributes(path)?;
        self.change(|host| host.set_attributes(path, owner, mode))
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.note_path(path)?;
        self.change(|host| host.remove(path))
    }

    fn remove_tree(&self, path: &Path) -> Result<(), HostError> {
        self.note_tree(path)?;
        self.change(|host| host.remove_tree(path))
    }

    fn edit_accounts(
        &self,
        edit: &mut dyn FnMut(AccountFiles) -> Result<AccountFiles, String>,
    ) -> Result<(), HostError> {
        let mut failed = None;
        // Under the lock, so that nobody changes the files between the note and the change.
        let edited = self.host.edit_accounts(&mut |before| {
            let after = edit(before.clone())?;
            if let Err(error) = self.note_accounts(&before, &after) {
                let why = error.to_string();
                failed = Some(error);
                return Err(why);
            }
            if self.writes { Ok(after) } else { Err(REHEARSED.to_owned()) }
        });
        match (failed, edited) {
            (Some(error), _) => Err(error),
            (None, Err(HostError::Accounts(why))) if why == REHEARSED => Ok(()),
            (None, edited) => edited,
        }
    }

    /// Of what a program does there is no way back.
    fn run_within(&self, limit: Duration, program: &str, args: &[&str]) -> Result<Output, HostError> {
        match self.writes {
            true => self.host.run_within(limit, program, args),
            false => Err(Self::refuse(Path::new(program), REHEARSED.to_owned())),
        }
    }

    fn run_declared(&self, limit: Duration, program: &str, args: &[&str]) -> Result<Output, HostError> {
        match self.writes {
            true => self.host.run_declared(limit, program, args),
            false => Err(Self::refuse(Path::new(program), REHEARSED.to_owned())),
        }
    }

    fn connect(&self, path: &Path) -> Result<(), HostError> {
        self.host.connect(path)
    }

    fn act_on_unit(&self, action: UnitAction, unit: &str) -> Result<(), HostError> {
        if unit.strip_suffix(".service").unwrap_or(unit) == EMPTIES_FILTER {
            self.note_ruleset()?;
        }
        match action {
            UnitAction::Start | UnitAction::Stop | UnitAction::Restart => self.note_unit(unit, true)?,
            UnitAction::Reload => self.note_unit(unit, false)?,
            UnitAction::Enable | UnitAction::Disable | UnitAction::Mask | UnitAction::Unmask => self.note_links()?,
            UnitAction::DaemonReload => {}
        }
        self.change(|host| host.act_on_unit(action, unit))
    }

    fn load_ruleset(&self, commands: &str) -> Result<(), HostError> {
        self.note_ruleset()?;
        self.change(|host| host.load_ruleset(commands))
    }

    fn arm(&self, timer: &Timer<'_>) -> Result<(), HostError> {
        self.change(|host| host.arm(timer))
    }

    fn disarm(&self, name: &str) -> Result<(), HostError> {
        self.change(|host| host.disarm(name))
    }
}
