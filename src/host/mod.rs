// SPDX-License-Identifier: Apache-2.0
//! The only door to files, commands, accounts, units and the clock.
//!
//! Planning receives a [`ReadHost`] and so *cannot* change anything; only apply receives a [`WriteHost`]. All paths are
//! absolute paths of the managed host: with `--root DIR` they, and every symbolic link on the way, resolve inside DIR.

#![allow(clippy::disallowed_methods, reason = "this is the door")]

pub mod accounts;
pub mod append;
pub mod command;
mod connect;
pub mod effective;
pub mod error;
pub mod files;
mod listen;
pub mod listeners;
pub mod lock;
mod processes;
pub mod real;
pub mod room;
pub mod ruleset;
pub mod scratch;
mod sessions;
pub mod units;
mod updates;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub use accounts::AccountFiles;
pub use command::Output;
pub use effective::Effective;
pub use error::HostError;
pub use listeners::{Listener, Listening, Transport};
pub use lock::RunLock;
pub use processes::{Process, that_names, that_writes};
pub use real::RealHost;
pub use room::Room;
pub use ruleset::{Elements, Ruleset, RulesetMonitor, Tables};
pub use scratch::Scratch;
pub use sessions::{Opened, Session};
pub use units::{Timer, UnitAction, UnitState};
pub use watch::{Depth, Touched, Watcher};

/// Reads the host and never changes it.
pub trait ReadHost {
    /// Whether this is the running system: its root is `/`, so units run and commands of the repo may be tried.
    fn is_live(&self) -> bool;

    /// Whether owners can be set. An ordinary user under `--root DIR` cannot, so owners are then not compared either.
    fn sets_owners(&self) -> bool;

    /// Returns the time of day.
    fn now(&self) -> SystemTime;

    /// Whether this time has come.
    fn has_come(&self, time: SystemTime) -> bool {
        self.now() >= time
    }

    /// Returns what is at `path`, not following a symbolic link in the last place; `None` if nothing is.
    ///
    /// # Errors
    /// The path cannot be looked up for another reason than that it is not there.
    fn stat(&self, path: &Path) -> Result<Option<Stat>, HostError>;

    /// Returns the content of the file at `path`, following symbolic links; `None` if there is none.
    ///
    /// # Errors
    /// The path is not a regular file or cannot be read.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError>;

    /// Returns what the file at `path` holds from the byte `from` on; `None` if there is none.
    ///
    /// # Errors
    /// The path is not a regular file or cannot be read.
    fn read_from(&self, path: &Path, from: u64) -> Result<Option<Vec<u8>>, HostError> {
        let after = |bytes: Vec<u8>| bytes.get(usize::try_from(from).ok()?..).map(<[u8]>::to_vec);
        Ok(self.read(path)?.map(|bytes| after(bytes).unwrap_or_default()))
    }

    /// Returns since when the regular file at `path` holds what it holds, and the first `most` bytes of that, not following a
    /// symbolic link in the last place; `None` if nothing is there.
    ///
    /// # Errors
    /// Something else is there, it cannot be read, or this host does not tell.
    fn dated(&self, path: &Path, _most: usize) -> Result<Option<Dated>, HostError> {
        Err(HostError::file("read", path)(std::io::ErrorKind::Unsupported.into()))
    }

    /// Returns the target of the symbolic link at `path`, or `None` if nothing is there.
    ///
    /// # Errors
    /// The path is not a symbolic link or cannot be read.
    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError>;

    /// Returns the sorted names in the directory at `path`, or `None` if nothing is there.
    ///
    /// # Errors
    /// The path is not a directory or cannot be read.
    fn list(&self, path: &Path) -> Result<Option<Vec<OsString>>, HostError>;

    /// Returns the states of these units, in the order of the names, in one pass.
    ///
    /// # Errors
    /// The service manager does not answer.
    fn units(&self, names: &[&str]) -> Result<Vec<UnitState>, HostError>;

    /// Returns what listens on the running system; `None` under another root, where nothing runs.
    ///
    /// # Errors
    /// The kernel's lists cannot be read.
    fn listening(&self) -> Result<Option<Listening>, HostError> {
        Ok(None)
    }

    /// Returns the process that holds each of these sockets, where that can be told, by inode.
    fn holders(&self, _inodes: &BTreeSet<u64>) -> BTreeMap<u64, Process> {
        BTreeMap::new()
    }

    /// Returns the SSH sessions of these users that began before the time that stands with each, in order of their names; none
    /// under another root, or where no logind can be asked.
    ///
    /// # Errors
    /// logind fails, or the journal cannot be read.
    fn sessions_before(&self, _times: &BTreeMap<String, SystemTime>) -> Result<Vec<Session>, HostError> {
        Ok(Vec::new())
    }

    /// Asks a program of the running system how it would read a configuration. Nothing of the host is changed.
    ///
    /// # Errors
    /// The program cannot be run or does not end in time; under another root there is none to ask. A configuration that it
    /// finds faulty is no error here.
    fn effective(&self, question: &Effective<'_>) -> Result<Output, HostError> {
        Err(question.unanswerable())
    }

    /// Returns tables of the packet filter; under another root those that are kept for the next boot.
    ///
    /// # Errors
    /// `nft` is not there or fails, or what is kept is damaged.
    fn ruleset(&self, tables: Tables) -> Result<Ruleset, HostError>;

    /// Returns a text that is another one whenever any table may have changed. It costs one question to the kernel.
    ///
    /// # Errors
    /// The kernel does not answer, or what is kept cannot be read.
    fn ruleset_generation(&self) -> Result<String, HostError>;

    /// Returns how many elements the named sets of the tables with these names hold, by the table's name; a range is one, and
    /// a table that is not there is left out. Under another root there is none. It starts no program.
    ///
    /// # Errors
    /// The kernel does not answer, or the sets change without end.
    fn set_sizes(&self, _tables: &[&str]) -> Result<BTreeMap<String, u64>, HostError> {
        Ok(BTreeMap::new())
    }
}

/// Changes the host. Every method is whole or not at all, and doing it twice does no harm.
pub trait WriteHost: ReadHost {
    /// Replaces the file at `path`, or makes it: written aside, checked, synced, renamed, the directory synced.
    ///
    /// # Errors
    /// The file's check refused the content, or the file cannot be written; what was there is still there.
    fn replace_file(&self, path: &Path, file: &NewFile<'_>) -> Result<(), HostError>;

    /// Appends to the file at `path` and syncs it; makes the file, with mode 0600, and its directories if need be.
    ///
    /// # Errors
    /// The bytes are not durably on disk; a part of them may be.
    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError>;

    /// Makes the directory at `path`, whose parent must exist, or sets owner and mode of the one that is there.
    ///
    /// # Errors
    /// Something else than a directory is there, or the directory cannot be made.
    fn make_dir(&self, path: &Path, owner: Option<Owner>, mode: u32) -> Result<(), HostError>;

    /// Makes the symbolic link at `path`, or replaces the one that is there.
    ///
    /// # Errors
    /// Something else than a symbolic link is there, or the link cannot be made.
    fn make_link(&self, path: &Path, target: &Path, owner: Option<Owner>) -> Result<(), HostError>;

    /// Sets owner and mode of the file or directory at `path`, never through a symbolic link.
    ///
    /// # Errors
    /// Nothing is there, or the owner or mode cannot be set.
    fn set_attributes(&self, path: &Path, owner: Option<Owner>, mode: Option<u32>) -> Result<(), HostError>;

    /// Removes the file, link or *empty* directory at `path`; nothing there is fine.
    ///
    /// # Errors
    /// The directory is not empty, or the removal is not permitted.
    fn remove(&self, path: &Path) -> Result<(), HostError>;

    /// Removes what is at `path` with all that it holds, crossing neither symbolic links nor mount points.
    ///
    /// # Errors
    /// A part of it cannot be removed.
    fn remove_tree(&self, path: &Path) -> Result<(), HostError>;

    /// Changes the account databases under the locks that shadow-utils uses: `edit` receives the files as they are
    /// under the lock and returns them as they shall be; those that differ are replaced atomically.
    ///
    /// # Errors
    /// The locks cannot be had, `edit` refuses, or a file cannot be written.
    fn edit_accounts(
        &self,
        edit: &mut dyn FnMut(AccountFiles) -> Result<AccountFiles, String>,
    ) -> Result<(), HostError>;

    /// Runs a program of the *running system* with a clean environment, confined as this process is, and waits for it, no longer
    /// than `limit`.
    ///
    /// # Errors
    /// The program cannot be started or does not end in time. A bad exit status is no error here.
    fn run_within(&self, limit: Duration, program: &str, args: &[&str]) -> Result<Output, HostError>;

    /// Runs a program as [`WriteHost::run_within`] does, for a minute at the most.
    ///
    /// # Errors
    /// As there.
    fn run(&self, program: &str, args: &[&str]) -> Result<Output, HostError> {
        self.run_within(command::LIMIT, program, args)
    }

    /// Runs a command that the repo names, no longer than `limit`. What confines the steward's unit does not confine it.
    ///
    /// # Errors
    /// As for [`WriteHost::run_within`], and where the service manager does not take it.
    fn run_declared(&self, limit: Duration, program: &str, args: &[&str]) -> Result<Output, HostError>;

    /// Connects to the unix stream socket at `path` of the *running system*, and hangs up.
    ///
    /// # Errors
    /// Nobody takes connections there.
    fn connect(&self, path: &Path) -> Result<(), HostError>;

    /// Has the service manager act on a unit, and waits for the outcome.
    ///
    /// # Errors
    /// The unit does not exist, the job failed, or the service manager does not answer.
    fn act_on_unit(&self, action: UnitAction, unit: &str) -> Result<(), HostError>;

    /// Has the service manager run a command after a while, whatever becomes of this process.
    ///
    /// # Errors
    /// The service manager does not answer or refuses; then nothing will be run.
    fn arm(&self, timer: &Timer<'_>) -> Result<(), HostError>;

    /// Calls off what [`arm`](Self::arm) has made under this name; that there is nothing is fine.
    ///
    /// # Errors
    /// The service manager does not answer.
    fn disarm(&self, name: &str) -> Result<(), HostError>;

    /// Has the packet filter carry out these commands (libnftables-json(5)) in one transaction. Under another root nothing
    /// filters, and this does nothing: what is kept for the next boot is an ordinary file.
    ///
    /// # Errors
    /// `nft` is not there or refuses; the tables are as they were.
    fn load_ruleset(&self, commands: &str) -> Result<(), HostError>;
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub kind: FileKind,
    /// Permission bits with set-id and sticky bits: `mode & 0o7777`.
    pub mode: u32,
    pub owner: Owner,
    /// Size in bytes.
    pub size: u64,
}

/// A file's content, and its age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated {
    /// When the content last changed, by the file itself: whoever may write it may set that.
    pub changed: SystemTime,
    /// When the kernel last changed anything about it, rounded up to a second: nobody can set that (`st_ctim`, inode(7)).
    pub touched: SystemTime,
    /// Size in bytes.
    pub size: u64,
    /// No more of the content than was asked for.
    pub begin: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Link,
    /// A device, socket or FIFO.
    Special,
}

/// User and group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// A file as it shall be.
#[derive(Clone, Copy, Debug)]
pub struct NewFile<'a> {
    pub content: &'a [u8],
    /// `None` keeps the owner of a file that is there, and is the caller's own for a new one.
    pub owner: Option<Owner>,
    /// Permission bits.
    pub mode: u32,
    /// What must succeed before the content takes the file's place.
    pub check: Option<Check<'a>>,
}

/// A command that looks at new content; `{}` stands for the path of it. Under another root than `/` it would judge by the wrong
/// system and must not be given.
#[derive(Clone, Copy, Debug)]
pub enum Check<'a> {
    /// Hostwrit's own choice, run as [`WriteHost::run`] does.
    Own(&'a [&'a str]),
    /// The repo names it: run as [`WriteHost::run_declared`] does.
    Declared(&'a [String]),
}
