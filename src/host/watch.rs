// SPDX-License-Identifier: Apache-2.0
//! What somebody touches on the host, told by the kernel as it happens.
//!
//! Directories are watched, never files: a file that is replaced by a rename takes its watch with it. What is told is a
//! hint and no more; what really is, is observed. docs/decisions/0017-watching.md says why this is inotify itself.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::HostError;
use super::files::Root;

/// What was touched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Something at this path of the managed host, or below it.
    Path(PathBuf),
    /// A unit of systemd, by its full name.
    Unit(String),
    /// Unit files, and systemd does not say whose.
    Units,
    /// hostwrit's table of the packet filter.
    Ruleset,
    /// Perhaps anything: what was told is not complete, for this reason.
    Everything(&'static str),
}

/// What is asked of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Names in it come and go: it is on the way to something.
    Names,
    /// What stands in it changes as well.
    Contents,
}

impl Depth {
    fn mask(self) -> AddWatchFlags {
        let names = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        match self {
            Self::Names => names,
            // Not opening and reading: we would hear ourselves, and every start of a program.
            Self::Contents => {
                names | AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_ATTRIB
            }
        }
    }
}

/// More events than this are not taken in one go, or a storm of them would keep everything else from running.
const DRAINED_MAX: usize = 65_536;

/// Watches directories of one host. Made and used inside a tokio runtime; without events it costs nothing.
#[derive(Debug)]
pub struct Watcher {
    root: Root,
    inotify: AsyncFd<Instance>,
    wanted: BTreeMap<PathBuf, Depth>,
    /// Two paths may lead to one directory, which then has one watch.
    watches: HashMap<WatchDescriptor, BTreeSet<PathBuf>>,
    armed: BTreeMap<PathBuf, WatchDescriptor>,
    /// Directories that are there and cannot be watched.
    unwatched: BTreeMap<PathBuf, Errno>,
}

/// Lends the kernel's queue to tokio.
#[derive(Debug)]
struct Instance(Inotify);

impl AsRawFd for Instance {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watcher {
    /// Prepares to watch the host below `root`.
    ///
    /// # Errors
    /// The kernel gives no queue of events: the limit `fs.inotify.max_user_instances` is reached.
    pub fn new(root: &Path) -> Result<Self, HostError> {
        #[expect(deprecated, reason = "its successor is unsafe for types that do not keep their descriptor; ours does")]
        let open = || -> io::Result<AsyncFd<Instance>> {
            let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
            AsyncFd::with_interest(Instance(inotify), Interest::READABLE)
        };
        Ok(Self {
            root: Root::open(root)?,
            inotify: open().map_err(HostError::file("watch", root))?,
            wanted: BTreeMap::new(),
            watches: HashMap::new(),
            armed: BTreeMap::new(),
            unwatched: BTreeMap::new(),
        })
    }

    /// Watches these directories and no others. Those above each should be among them: what is missing is watched as soon
    /// as it comes to be, and that is seen in the directory above.
    pub fn set(&mut self, wanted: BTreeMap<PathBuf, Depth>) {
        let before = std::mem::replace(&mut self.wanted, wanted);
        for path in before.keys().filter(|path| !self.wanted.contains_key(*path)).cloned().collect::<Vec<_>>() {
            self.disarm(&path);
            self.unwatched.remove(&path);
        }
        let is_new =
            |(path, depth): &(&PathBuf, &Depth)| before.get(*path) != Some(depth) || self.unwatched.contains_key(*path);
        let new: Vec<_> = self.wanted.iter().filter(is_new).map(|(path, depth)| (path.clone(), *depth)).collect();
        for (path, depth) in new {
            self.arm(&path, depth);
        }
    }

    /// Returns the directories that are there and that the kernel will not watch, each with the reason. Changes in them
    /// are seen by whoever looks, not before.
    pub fn unwatched(&self) -> &BTreeMap<PathBuf, Errno> {
        &self.unwatched
    }

    /// Returns the number of watches that the kernel holds.
    pub fn watches(&self) -> usize {
        self.watches.len()
    }

    /// Waits until something was touched. May be dropped at any time.
    ///
    /// # Errors
    /// The queue of events is gone.
    pub async fn ready(&self) -> io::Result<()> {
        // The readiness is kept: it is cleared by the read that finds nothing.
        self.inotify.readable().await.map(drop)
    }

    /// Hands out what was touched since the last time, without waiting.
    pub fn drain(&mut self, touched: &mut dyn FnMut(Touched)) {
        let mut drained = 0;
        while drained < DRAINED_MAX {
            let read = self.inotify.try_io(Interest::READABLE, |inotify| Ok(inotify.0.read_events()?));
            match read {
                Ok(events) => {
                    drained += events.len();
                    events.into_iter().for_each(|event| self.take(event, touched));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return touched(Touched::Everything("the kernel's list of changes cannot be read")),
            }
        }
    }

    fn take(&mut self, event: InotifyEvent, touched: &mut dyn FnMut(Touched)) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            touched(Touched::Everything("more changed at once than the kernel lists"));
            // Directories may have gone and come unseen.
            return self.arm_below(Path::new("/"));
        }
        let Some(dirs) = self.watches.get(&event.wd) else { return };
        let dirs: Vec<PathBuf> = dirs.iter().cloned().collect();
        let comes_or_goes = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
        let gone = AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            // The kernel has dropped the watch: the directory was removed, or its file system unmounted.
            self.watches.remove(&event.wd);
            self.armed.retain(|dir, _| !dirs.contains(dir));
        }
        for dir in dirs {
            let path = event.name.as_ref().map_or_else(|| dir.clone(), |name| dir.join(name));
            let is_on_the_way = event.mask.intersects(comes_or_goes) && self.wanted.contains_key(&path);
            // Before it is told: what happens below from now on is seen, and what happened is found by whoever looks.
            if is_on_the_way || event.mask.intersects(gone) {
                self.arm_below(&path);
            }
            touched(Touched::Path(path));
        }
    }

    /// Looks up anew what is at `path` and below: there may be other directories now than those that are watched.
    fn arm_below(&mut self, path: &Path) {
        let below = self.wanted.range(path.to_owned()..).take_while(|(below, _)| below.starts_with(path));
        for (path, depth) in below.map(|(path, depth)| (path.clone(), *depth)).collect::<Vec<_>>() {
            self.arm(&path, depth);
        }
    }

    fn arm(&mut self, path: &Path, depth: Depth) {
        self.unwatched.remove(path);
        let fd = match self.root.open_inside(path, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Ok(fd) => fd,
            // Nothing is there, or no directory: the watch of the one above tells when that changes.
            Err(_) => return self.disarm(path),
        };
        let way = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let inotify = &self.inotify.get_ref().0;
        let wd = match inotify.add_watch(way.as_str(), depth.mask()) {
            Ok(wd) => wd,
            Err(error) => {
                self.disarm(path);
                self.unwatched.insert(path.to_owned(), error);
                return;
            }
        };
        let others = self.watches.get(&wd).into_iter().flatten().filter(|other| *other != path);
        let deepest = others.filter_map(|other| self.wanted.get(other)).max().copied().unwrap_or(depth);
        if deepest > depth {
            // The last mask counts for all paths to this directory.
            let _ = inotify.add_watch(way.as_str(), deepest.mask());
        }
        if self.armed.get(path) != Some(&wd) {
            self.disarm(path);
            self.armed.insert(path.to_owned(), wd);
            self.watches.entry(wd).or_default().insert(path.to_owned());
        }
    }

    fn disarm(&mut self, path: &Path) {
        let Some(wd) = self.armed.remove(path) else { return };
        let Some(dirs) = self.watches.get_mut(&wd) else { return };
        dirs.remove(path);
        if dirs.is_empty() {
            self.watches.remove(&wd);
            // Fails if the kernel has dropped it already, which is as good.
            let _ = self.inotify.get_ref().0.rm_watch(wd);
        }
    }
}
