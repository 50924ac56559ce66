// SPDX-License-Identifier: Apache-2.0
//! The host as a plan would leave it: the steps are carried out on what is kept here, over what is read of the host.
//!
//! They are carried out by the code that carries them out in earnest, so the two cannot differ. What a program would do
//! beside (a check, a unit's own start) is not simulated.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::host::{
    AccountFiles, Effective, FileKind, HostError, Listening, NewFile, Output, Owner, Process, ReadHost, Ruleset, Stat,
    Tables, Timer, UnitAction, UnitState, WriteHost,
};
use crate::model::Step;
use crate::resources::{self, Operation};

/// As many symbolic links are followed on one way.
const LINKS_MAX: usize = 40;

/// Where processes are listed.
const PROCESSES: &str = "/proc";

const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// A host that changes in memory alone.
pub struct Simulation<'h> {
    host: &'h dyn ReadHost,
    /// What is at a path that was changed; `None` where nothing is any more.
    changed: RefCell<BTreeMap<PathBuf, Option<Node>>>,
    units: RefCell<BTreeMap<String, Vec<UnitAction>>>,
}

#[derive(Clone, Debug)]
struct Node {
    mode: u32,
    owner: Owner,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    File(Vec<u8>),
    /// What the host has in a directory that is new is not in it.
    Directory {
        is_new: bool,
    },
    Link(PathBuf),
    Special,
}

impl<'h> Simulation<'h> {
    /// Carries out the steps. One that fails here fails in earnest too, and leaves what was there.
    pub fn of<'s>(steps: impl Iterator<Item = &'s Step<Operation>>, host: &'h dyn ReadHost) -> Self {
        let simulation = Self { host, changed: RefCell::default(), units: RefCell::default() };
        for step in steps {
            let (Operation::Group(_) | Operation::User(_) | Operation::File(_) | Operation::Service(_)) =
                step.operation
            else {
                // A load of the packet filter would be marked as done, and then left out when it is to be done in earnest.
                continue;
            };
            if let Err(error) = resources::apply(&step.operation, &simulation) {
                tracing::debug!("{} would fail: {error}", step.object);
            }
        }
        simulation
    }

    /// Returns the path without symbolic links on the way; the last part is followed only if `follow` says so.
    fn resolve(&self, path: &Path, follow: bool) -> Result<PathBuf, HostError> {
        let mut todo: Vec<OsString> = parts(path).rev().collect();
        let mut done = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(&part);
            if (todo.is_empty() && !follow) || links >= LINKS_MAX {
                continue;
            }
            if let Some(target) = self.link_at(&done)? {
                links += 1;
                done.pop();
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                todo.extend(parts(&target).rev());
            }
        }
        Ok(done)
    }

    fn link_at(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        match self.seen(path) {
            Seen::Changed(node) => Ok(node.and_then(|node| match node.what {
                What::Link(target) => Some(target),
                _ => None,
            })),
            Seen::Host => match self.host.stat(path)? {
                Some(stat) if stat.kind == FileKind::Link => self.host.read_link(path),
                _ => Ok(None),
            },
        }
    }

    /// Returns what is kept of a path without links in it.
    fn seen(&self, path: &Path) -> Seen {
        let changed = self.changed.borrow();
        if let Some(node) = changed.get(path) {
            return Seen::Changed(node.clone());
        }
        for above in path.ancestors().skip(1) {
            match changed.get(above) {
                None | Some(Some(Node { what: What::Directory { is_new: false }, .. })) => {}
                Some(_) => return Seen::Changed(None),
            }
        }
        Seen::Host
    }

    fn node(&self, path: &Path) -> Result<Option<Node>, HostError> {
        match self.seen(path) {
            Seen::Changed(node) => Ok(node),
            Seen::Host => {
                let Some(stat) = self.host.stat(path)? else { return Ok(None) };
                let what = match stat.kind {
                    FileKind::File => What::File(self.host.read(path)?.unwrap_or_default()),
                    FileKind::Directory => What::Directory { is_new: false },
                    FileKind::Link => What::Link(self.host.read_link(path)?.unwrap_or_default()),
                    FileKind::Special => What::Special,
                };
                Ok(Some(Node { mode: stat.mode, owner: stat.owner, what }))
            }
        }
    }

    fn put(&self, path: PathBuf, node: Option<Node>) {
        self.changed.borrow_mut().insert(path, node);
    }

    fn refuse(path: &Path, why: &str) -> HostError {
        HostError::UnsafePath { path: path.to_owned(), why: why.to_owned() }
    }
}

/// What is known of a path.
enum Seen {
    /// What the host has there is not changed.
    Host,
    Changed(Option<Node>),
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

impl Node {
    fn stat(&self) -> Stat {
        let (kind, size) = match &self.what {
            What::File(content) => (FileKind::File, content.len()),
            What::Directory { .. } => (FileKind::Directory, 0),
            What::Link(_) => (FileKind::Link, 0),
            What::Special => (FileKind::Special, 0),
        };
        Stat { kind, mode: self.mode, owner: self.owner, size: u64::try_from(size).unwrap_or(u64::MAX) }
    }
}

impl ReadHost for Simulation<'_> {
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
        let path = self.resolve(path, false)?;
        match self.seen(&path) {
            Seen::Changed(node) => Ok(node.map(|node| node.stat())),
            Seen::Host => self.host.stat(&path),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        let path = self.resolve(path, true)?;
        match self.seen(&path) {
            Seen::Host => self.host.read(&path),
            Seen::Changed(None) => Ok(None),
            Seen::Changed(Some(Node { what: What::File(content), .. })) => Ok(Some(content)),
            Seen::Changed(Some(_)) => Err(Self::refuse(&path, "it is no file")),
        }
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        let path = self.resolve(path, false)?;
        match self.seen(&path) {
            Seen::Host => self.host.read_link(&path),
            Seen::Changed(None) => Ok(None),
            Seen::Changed(Some(Node { what: What::Link(target), .. })) => Ok(Some(target)),
            Seen::Changed(Some(_)) => Err(Self::refuse(&path, "it is no link")),
        }
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<OsString>>, HostError> {
        if path == Path::new(PROCESSES) {
            // A user whose processes run is not removed now, but will be when they have ended.
            return Ok(Some(Vec::new()));
        }
        let path = self.resolve(path, true)?;
        let mut names: BTreeSet<OsString> = match self.seen(&path) {
            Seen::Host | Seen::Changed(Some(Node { what: What::Directory { is_new: false }, .. })) => {
                match self.host.list(&path)? {
                    Some(names) => names.into_iter().collect(),
                    None => return Ok(None),
                }
            }
            Seen::Changed(None) => return Ok(None),
            Seen::Changed(Some(Node { what: What::Directory { is_new: true }, .. })) => BTreeSet::new(),
            Seen::Changed(Some(_)) => return Err(Self::refuse(&path, "it is no directory")),
        };
        for (changed, node) in self.changed.borrow().iter().filter(|(changed, _)| changed.parent() == Some(&path)) {
            let Some(name) = changed.file_name() else { continue };
            match node {
                Some(_) => names.insert(name.to_owned()),
                None => names.remove(name),
            };
        }
        Ok(Some(names.into_iter().collect()))
    }

    fn units(&self, names: &[&str]) -> Result<Vec<UnitState>, HostError> {
        let mut states = self.host.units(names)?;
        let units = self.units.borrow();
        for state in &mut states {
            for action in units.get(&state.name).into_iter().flatten() {
                act(state, *action);
            }
        }
        Ok(states)
    }

    /// The ports are judged apart from this: their steps share one load, which can be carried out once only.
    fn ruleset(&self, tables: Tables) -> Result<Ruleset, HostError> {
        self.host.ruleset(tables)
    }

    fn ruleset_generation(&self) -> Result<String, HostError> {
        self.host.ruleset_generation()
    }

    fn listening(&self) -> Result<Option<Listening>, HostError> {
        self.host.listening()
    }

    fn holders(&self, inodes: &BTreeSet<u64>) -> BTreeMap<u64, Process> {
        self.host.holders(inodes)
    }

    fn effective(&self, question: &Effective<'_>) -> Result<Output, HostError> {
        self.host.effective(question)
    }
}

/// Notes what an action makes of a unit.
fn act(state: &mut UnitState, action: UnitAction) {
    match action {
        UnitAction::Start | UnitAction::Restart | UnitAction::Reload => state.active = Some("active".to_owned()),
        UnitAction::Stop => state.active = Some("inactive".to_owned()),
        UnitAction::Enable => state.file_state = "enabled".to_owned(),
        UnitAction::Disable => state.file_state = "disabled".to_owned(),
        UnitAction::Mask => {
            state.load = "masked".to_owned();
            state.file_state = "masked".to_owned();
        }
        UnitAction::Unmask => {
            state.load = "loaded".to_owned();
            state.file_state = "disabled".to_owned();
        }
        UnitAction::DaemonReload => {}
    }
}

impl WriteHost for Simulation<'_> {
    fn replace_file(&self, path: &Path, file: &NewFile<'_>) -> Result<(), HostError> {
        let path = self.resolve(path, false)?;
        let before = self.stat(&path)?;
        let owner = file.owner.or(before.map(|stat| stat.owner)).unwrap_or(ROOT);
        self.put(path, Some(Node { mode: file.mode, owner, what: What::File(file.content.to_owned()) }));
        Ok(())
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let path = self.resolve(path, true)?;
        let before = self.node(&path)?.unwrap_or(Node { mode: 0o600, owner: ROOT, what: What::File(Vec::new()) });
        if let What::File(content) = &before.what {
            let what = What::File([content.as_slice(), bytes].concat());
            self.put(path, Some(Node { what, ..before }));
        }
        Ok(())
    }

    fn make_dir(&self, path: &Path, owner: Option<Owner>, mode: u32) -> Result<(), HostError> {
        let path = self.resolve(path, false)?;
        let (what, before) = match self.node(&path)? {
            None => (What::Directory { is_new: true }, ROOT),
            Some(Node { what: what @ What::Directory { .. }, owner, .. }) => (what, owner),
            Some(_) => return Err(Self::refuse(&path, "it is no directory")),
        };
        self.put(path, Some(Node { mode, owner: owner.unwrap_or(before), what }));
        Ok(())
    }

    fn make_link(&self, path: &Path, target: &Path, owner: Option<Owner>) -> Result<(), HostError> {
        let path = self.resolve(path, false)?;
        let what = What::Link(target.to_owned());
        self.put(path, Some(Node { mode: 0o777, owner: owner.unwrap_or(ROOT), what }));
        Ok(())
    }

    fn set_attributes(&self, path: &Path, owner: Option<Owner>, mode: Option<u32>) -> Result<(), HostError> {
        let path = self.resolve(path, false)?;
        let Some(before) = self.node(&path)? else { return Err(Self::refuse(&path, "it is not there")) };
        let node = Node { mode: mode.unwrap_or(before.mode), owner: owner.unwrap_or(before.owner), what: before.what };
        self.put(path, Some(node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        let path = self.resolve(path, false)?;
        if self.stat(&path)?.is_some() {
            self.put(path, None);
        }
        Ok(())
    }

    fn remove_tree(&self, path: &Path) -> Result<(), HostError> {
        let path = self.resolve(path, false)?;
        self.changed.borrow_mut().retain(|changed, _| !changed.starts_with(&path));
        self.put(path, None);
        Ok(())
    }

    fn edit_accounts(
        &self,
        edit: &mut dyn FnMut(AccountFiles) -> Result<AccountFiles, String>,
    ) -> Result<(), HostError> {
        let paths = ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"].map(Path::new);
        let [passwd, shadow, group, gshadow] = paths.map(|path| self.read(path));
        let before = AccountFiles { passwd: passwd?, shadow: shadow?, group: group?, gshadow: gshadow? };
        let after = edit(before.clone()).map_err(HostError::Accounts)?;
        let befores = [before.passwd, before.shadow, before.group, before.gshadow];
        let afters = [after.passwd, after.shadow, after.group, after.gshadow];
        for (path, (before, after)) in paths.into_iter().zip(befores.into_iter().zip(afters)) {
            match after {
                Some(content) if before.as_ref() != Some(&content) => {
                    let mode = if path.ends_with("passwd") || path.ends_with("group") { 0o644 } else { 0o640 };
                    self.replace_file(path, &NewFile { content: &content, owner: None, mode, check: None })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn run_within(&self, _: Duration, program: &str, _: &[&str]) -> Result<Output, HostError> {
        let source =
            std::io::Error::new(std::io::ErrorKind::Unsupported, "nothing is run to find out what a plan does");
        Err(HostError::Run { program: program.to_owned(), source })
    }

    fn run_declared(&self, limit: Duration, program: &str, args: &[&str]) -> Result<Output, HostError> {
        self.run_within(limit, program, args)
    }

    fn connect(&self, path: &Path) -> Result<(), HostError> {
        Err(Self::refuse(path, "nobody is asked to find out what a plan does"))
    }

    fn arm(&self, _: &Timer<'_>) -> Result<(), HostError> {
        Ok(())
    }

    fn disarm(&self, _: &str) -> Result<(), HostError> {
        Ok(())
    }

    fn load_ruleset(&self, _: &str) -> Result<(), HostError> {
        Err(HostError::Ruleset { action: "load", why: "nothing is loaded to find out what a plan does".to_owned() })
    }

    fn act_on_unit(&self, action: UnitAction, unit: &str) -> Result<(), HostError> {
        self.units.borrow_mut().entry(unit.to_owned()).or_default().push(action);
        Ok(())
    }
}
