// SPDX-License-Identifier: Apache-2.0
//! A host whose n-th write fails.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hostwrit::host::{
    AccountFiles, Dated, HostError, Listening, NewFile, Output, Owner, Process, ReadHost, RealHost, Ruleset, Session,
    Stat, Tables, Timer, UnitAction, UnitState, WriteHost,
};

/// What happens at the n-th write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails; the ones after it do not.
    Fail,
    /// It fails and so does everything after it, as if the process had been killed before the write.
    KillBefore,
    /// It is done, and everything after it fails, as if the process had been killed right after the write.
    KillAfter,
    /// A part of it is done if it is an append, and everything after it fails.
    Tear,
}

/// A service that reads its configuration when it starts, on a host where it runs.
pub struct RunningService {
    pub config: PathBuf,
    /// The configuration that it has read last.
    pub read: RefCell<Vec<u8>>,
}

/// The command of a check that passes as long as the service has not read the word "bad".
pub const CHECK: &str = "/bin/check-the-service";

pub struct FaultyHost<'h> {
    host: &'h RealHost,
    service: Option<&'h RunningService>,
    fault: Fault,
    /// The write that the fault is at, counted from 1.
    at: usize,
    writes: Cell<usize>,
    /// How far the clock is ahead.
    ahead: Duration,
    /// Who is logged in.
    sessions: Vec<Session>,
    /// The timers that run.
    pub armed: RefCell<BTreeSet<String>>,
}

impl<'h> FaultyHost<'h> {
    pub fn new(host: &'h RealHost, fault: Fault, at: usize) -> Self {
        Self {
            host,
            service: None,
            fault,
            at,
            writes: Cell::new(0),
            ahead: Duration::ZERO,
            sessions: Vec::new(),
            armed: RefCell::default(),
        }
    }

    /// Makes the host a live one whose every unit is this service.
    pub fn with_service(self, service: &'h RunningService) -> Self {
        Self { service: Some(service), ..self }
    }

    /// Returns a host without a fault, on which these are logged in.
    pub fn with_sessions(host: &'h RealHost, sessions: &[Session]) -> Self {
        Self { sessions: sessions.to_vec(), ..Self::new(host, Fault::Fail, usize::MAX) }
    }

    /// Returns a host without a fault, on which it is so much later.
    pub fn later(host: &'h RealHost, ahead: Duration) -> Self {
        Self::new(host, Fault::Fail, usize::MAX).ahead_by(ahead)
    }

    /// Has it be so much later.
    pub fn ahead_by(self, ahead: Duration) -> Self {
        Self { ahead, ..self }
    }

    /// Whether the write that the fault is at was reached.
    pub fn struck(&self) -> bool {
        self.writes.get() >= self.at
    }

    fn error() -> HostError {
        HostError::File { action: "write to", path: "/faulty".into(), source: io::Error::other("a made-up fault") }
    }

    fn dead(&self) -> bool {
        self.fault != Fault::Fail && self.writes.get() >= self.at
    }

    fn read<T>(&self, read: impl FnOnce(&RealHost) -> Result<T, HostError>) -> Result<T, HostError> {
        if self.dead() { Err(Self::error()) } else { read(self.host) }
    }

    fn write(&self, write: impl FnOnce(&RealHost) -> Result<(), HostError>) -> Result<(), HostError> {
        if self.dead() {
            return Err(Self::error());
        }
        self.writes.set(self.writes.get() + 1);
        if self.writes.get() != self.at {
            return write(self.host);
        }
        if self.fault == Fault::KillAfter {
            write(self.host)?;
        }
        Err(Self::error())
    }
}

impl ReadHost for FaultyHost<'_> {
    fn is_live(&self) -> bool {
        self.service.is_some() || self.host.is_live()
    }

    fn sets_owners(&self) -> bool {
        self.host.sets_owners()
    }

    fn now(&self) -> SystemTime {
        self.host.now() + self.ahead
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>, HostError> {
        self.read(|host| host.stat(path))
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        self.read(|host| host.read(path))
    }

    fn dated(&self, path: &Path, most: usize) -> Result<Option<Dated>, HostError> {
        self.read(|host| host.dated(path, most))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        self.read(|host| host.read_link(path))
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<OsString>>, HostError> {
        self.read(|host| host.list(path))
    }

    fn units(&self, names: &[&str]) -> Result<Vec<UnitState>, HostError> {
        let running = |name: &&str| UnitState {
            name: (*name).to_owned(),
            load: "loaded".to_owned(),
            active: Some("active".to_owned()),
            file_state: "enabled".to_owned(),
            needs_reload: false,
        };
        self.read(|host| match self.service {
            Some(_) => Ok(names.iter().map(running).collect()),
            None => host.units(names),
        })
    }

    fn listening(&self) -> Result<Option<Listening>, HostError> {
        self.read(ReadHost::listening)
    }

    fn sessions_before(&self, times: &BTreeMap<String, SystemTime>) -> Result<Vec<Session>, HostError> {
        let began_before = |session: &&Session| times.get(&session.user).is_some_and(|time| session.since < *time);
        Ok(self.sessions.iter().filter(began_before).cloned().collect())
    }

    fn holders(&self, inodes: &BTreeSet<u64>) -> BTreeMap<u64, Process> {
        self.host.holders(inodes)
    }

    fn ruleset(&self, tables: Tables) -> Result<Ruleset, HostError> {
        self.read(|host| host.ruleset(tables))
    }

    fn ruleset_generation(&self) -> Result<String, HostError> {
        self.read(|host| host.ruleset_generation())
    }
}

impl WriteHost for FaultyHost<'_> {
    fn replace_file(&self, path: &Path, file: &NewFile<'_>) -> Result<(), HostError> {
        self.write(|host| host.replace_file(path, file))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        if self.fault == Fault::Tear && self.writes.get() + 1 == self.at {
            self.host.append(path, &bytes[..bytes.len() * 2 / 3])?;
        }
        self.write(|host| host.append(path, bytes))
    }

    fn make_dir(&self, path: &Path, owner: Option<Owner>, mode: u32) -> Result<(), HostError> {
        self.write(|host| host.make_dir(path, owner, mode))
    }

    fn make_link(&self, path: &Path, target: &Path, owner: Option<Owner>) -> Result<(), HostError> {
        self.write(|host| host.make_link(path, target, owner))
    }

    fn set_attributes(&self, path: &Path, owner: Option<Owner>, mode: Option<u32>) -> Result<(), HostError> {
        self.write(|host| host.set_attributes(path, owner, mode))
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.write(|host| host.remove(path))
    }

    fn remove_tree(&self, path: &Path) -> Result<(), HostError> {
        self.write(|host| host.remove_tree(path))
    }

    fn edit_accounts(
        &self,
        edit: &mut dyn FnMut(AccountFiles) -> Result<AccountFiles, String>,
    ) -> Result<(), HostError> {
        self.write(|host| host.edit_accounts(edit))
    }

    fn run_within(&self, limit: Duration, program: &str, args: &[&str]) -> Result<Output, HostError> {
        let mut output = None;
        self.write(|host| host.run_within(limit, program, args).map(|done| output = Some(done)))?;
        output.ok_or_else(Self::error)
    }

    fn run_declared(&self, limit: Duration, program: &str, args: &[&str]) -> Result<Output, HostError> {
        if let (Some(service), CHECK) = (self.service, program) {
            return self.read(|_| {
                let success = !service.read.borrow().windows(3).any(|word| word == b"bad");
                let status = if success { "exit status: 0" } else { "exit status: 1" }.to_owned();
                Ok(Output { success, status, stdout: Vec::new(), stderr: b"it read \x1bbad\nmore".to_vec() })
            });
        }
        let mut output = None;
        self.write(|host| host.run_declared(limit, program, args).map(|done| output = Some(done)))?;
        output.ok_or_else(Self::error)
    }

    fn connect(&self, path: &Path) -> Result<(), HostError> {
        self.read(|host| host.connect(path))
    }

    fn act_on_unit(&self, action: UnitAction, unit: &str) -> Result<(), HostError> {
        self.write(|host| match self.service {
            Some(service) => {
                if action == UnitAction::Restart {
                    *service.read.borrow_mut() = std::fs::read(&service.config).unwrap();
                }
                Ok(())
            }
            None => host.act_on_unit(action, unit),
        })
    }

    fn arm(&self, timer: &Timer<'_>) -> Result<(), HostError> {
        self.write(|_| {
            self.armed.borrow_mut().insert(timer.name.to_owned());
            Ok(())
        })
    }

    fn disarm(&self, name: &str) -> Result<(), HostError> {
        self.write(|_| {
            self.armed.borrow_mut().remove(name);
            Ok(())
        })
    }

    fn load_ruleset(&self, commands: &str) -> Result<(), HostError> {
        self.write(|host| host.load_ruleset(commands))
    }
}
