// SPDX-License-Identifier: Apache-2.0
//! The real host, under a root directory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::model::Digest;

use super::files::Root;
use super::listeners::{self, Holders};
use super::{
    AccountFiles, Dated, Effective, HostError, Listening, NewFile, Output, Owner, Process, ReadHost, Room, Ruleset,
    RunLock, Scratch, Session, Stat, Tables, Timer, UnitAction, UnitState, Watcher, WriteHost, accounts, append,
    command, connect, effective, files, listen, room, ruleset, scratch, sessions, units, updates,
};

/// The host whose root directory is `/` or, with `--root DIR`, DIR.
#[derive(Debug)]
pub struct RealHost {
    root: Root,
    holders: Holders,
    own_table: ruleset::OwnTable,
}

impl RealHost {
    /// Opens the host below `root`, a directory that exists.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn open(root: &Path) -> Result<Self, HostError> {
        Ok(Self { root: Root::open(root)?, holders: Holders::default(), own_table: ruleset::OwnTable::default() })
    }

    /// Frees what was read of the packet filter: it is as large as its block lists.
    pub fn forget_ruleset(&self) {
        self.own_table.forget();
    }

    /// Returns the directory that stands for `/`.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Takes the run lock, so that two applies never overlap; waits for it as long as `wait`.
    ///
    /// # Errors
    /// Another process holds the lock, or it cannot be made.
    pub fn lock(&self, wait: Duration) -> Result<RunLock, HostError> {
        RunLock::take(&self.root, wait)
    }

    /// Takes the run lock from whoever holds it: a hostwrit that does not give it up is killed. Returns `None` if it is held all
    /// the same, by a process that the kernel cannot end yet.
    ///
    /// # Errors
    /// The lock cannot be made.
    pub fn seize(&self) -> Result<Option<RunLock>, HostError> {
        RunLock::seize(&self.root)
    }

    /// Makes the directory at `path` with those above it, as hostwrit's own places need it.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn ensure_dir(&self, path: &Path, mode: u32) -> Result<(), HostError> {
        append::ensure_dir(&self.root, path, mode)
    }

    /// Whether a program that changes accounts holds their locks, so that more is about to be written.
    pub fn are_accounts_locked(&self) -> bool {
        accounts::are_locked(&self.root)
    }

    /// Returns what room there is to write in the directory at `path`. Writes nothing.
    ///
    /// # Errors
    /// The directory is not there, or the system does not tell.
    pub fn room(&self, path: &Path) -> Result<Room, HostError> {
        room::room(&self.root, path)
    }

    /// Returns a digest that is another one whenever what apt would upgrade may have changed; `None` where there is no apt.
    ///
    /// # Errors
    /// apt's files cannot be looked at.
    pub fn updates_basis(&self) -> Result<Option<Digest>, HostError> {
        if self.is_live() { updates::basis() } else { Ok(None) }
    }

    /// Watches the directories that the digest is of; `None` where there is no apt. Made inside a tokio runtime.
    ///
    /// # Errors
    /// The kernel gives no queue of events.
    pub fn watch_updates(&self) -> Result<Option<Watcher>, HostError> {
        if self.is_live() { updates::watch() } else { Ok(None) }
    }

    /// Has apt of the running system say what it would upgrade. Nothing is changed and nothing is locked.
    ///
    /// # Errors
    /// apt cannot be run or does not end in time. A bad exit status is no error here.
    pub fn simulate_upgrade(&self) -> Result<Output, HostError> {
        updates::simulate()
    }

    /// Makes a file without a name beside `path`, which has that name for a moment. The caller holds the run lock.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn scratch(&self, path: &Path) -> Result<Scratch, HostError> {
        scratch::scratch(&self.root, path)
    }

    /// Listens on the socket at `path`, which gets these permission bits and does not block. What an earlier process left
    /// there is removed.
    ///
    /// # Errors
    /// Another process listens there, or the socket cannot be made.
    pub fn listen(&self, path: &Path, mode: u32) -> Result<UnixListener, HostError> {
        listen::listen(&self.root, path, mode)
    }
}

impl ReadHost for RealHost {
    fn is_live(&self) -> bool {
        self.root.path() == Path::new("/")
    }

    fn sets_owners(&self) -> bool {
        self.is_live() || nix::unistd::geteuid().is_root()
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>, HostError> {
        files::stat(&self.root, path)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        files::read(&self.root, path)
    }

    fn read_from(&self, path: &Path, from: u64) -> Result<Option<Vec<u8>>, HostError> {
        files::read_from(&self.root, path, from)
    }

    fn dated(&self, path: &Path, most: usize) -> Result<Option<Dated>, HostError> {
        files::dated(&self.root, path, most)
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        files::read_link(&self.root, path)
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<OsString>>, HostError> {
        files::list(&self.root, path)
    }

    fn units(&self, names: &[&str]) -> Result<Vec<UnitState>, HostError> {
        units::states(&self.root, names)
    }

    fn listening(&self) -> Result<Option<Listening>, HostError> {
        self.is_live().then(listeners::listening).transpose()
    }

    fn holders(&self, inodes: &BTreeSet<u64>) -> BTreeMap<u64, Process> {
        if self.is_live() { self.holders.of(inodes) } else { BTreeMap::new() }
    }

    fn sessions_before(&self, times: &BTreeMap<String, SystemTime>) -> Result<Vec<Session>, HostError> {
        if self.is_live() && !times.is_empty() { sessions::before(times) } else { Ok(Vec::new()) }
    }

    fn effective(&self, question: &Effective<'_>) -> Result<Output, HostError> {
        match self.is_live() {
            true => effective::ask(question),
            false => Err(question.unanswerable()),
        }
    }

    fn ruleset(&self, tables: Tables) -> Result<Ruleset, HostError> {
        ruleset::read(&self.root, tables, &self.own_table)
    }

    fn ruleset_generation(&self) -> Result<String, HostError> {
        ruleset::generation(&self.root)
    }

    fn set_sizes(&self, tables: &[&str]) -> Result<BTreeMap<String, u64>, HostError> {
        ruleset::set_sizes(&self.root, tables)
    }
}

impl WriteHost for RealHost {
    fn replace_file(&self, path: &Path, file: &NewFile<'_>) -> Result<(), HostError> {
        files::replace(&self.root, path, file)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        append::append(&self.root, path, bytes)
    }

    fn make_dir(&self, path: &Path, owner: Option<Owner>, mode: u32) -> Result<(), HostError> {
        files::make_dir(&self.root, path, owner, mode)
    }

    fn make_link(&self, path: &Path, target: &Path, owner: Option<Owner>) -> Result<(), HostError> {
        files::make_link(&self.root, path, target, owner)
    }

    fn set_attributes(&self, path: &Path, owner: Option<Owner>, mode: Option<u32>) -> Result<(), HostError> {
        files::set_attributes(&self.root, path, owner, mode)
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        files::remove(&self.root, path)
    }

    fn remove_tree(&self, path: &Path) -> Result<(), HostError> {
        files::remove_tree(&self.root, path)
    }

    fn edit_accounts(
        &self,
        edit: &mut dyn FnMut(AccountFiles) -> Result<AccountFiles, String>,
    ) -> Result<(), HostError> {
        accounts::edit(&self.root, edit)
    }

    fn run_within(&self, limit: Duration, program: &str, args: &[&str]) -> Result<Output, HostError> {
        command::run_within(limit, program, args)
    }

    fn run_declared(&self, limit: Duration, program: &str, args: &[&str]) -> Result<Output, HostError> {
        command::run_declared(limit, program, args)
    }

    fn connect(&self, path: &Path) -> Result<(), HostError> {
        connect::connect(path)
    }

    fn act_on_unit(&self, action: UnitAction, unit: &str) -> Result<(), HostError> {
        units::act(&self.root, action, unit)
    }

    fn arm(&self, timer: &Timer<'_>) -> Result<(), HostError> {
        units::timer::arm(&self.root, timer)
    }

    fn disarm(&self, name: &str) -> Result<(), HostError> {
        if self.is_live() { units::timer::disarm(&self.root, name) } else { Ok(()) }
    }

    fn load_ruleset(&self, commands: &str) -> Result<(), HostError> {
        ruleset::load(&self.root, commands)
    }
}
