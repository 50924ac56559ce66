// SPDX-License-Identifier: Apache-2.0
//! Entries that wait for their sinks: a directory of files, capped, that survives a kill at any instruction.
//!
//! ```text
//! 00000000000000000017.jsonl   entries 17, 18, ..., one a line, each with the names of its sinks
//! cursor-loki.json             how far the sink loki is, and what became of what it was sent
//! repeats.json                 what was told, so that it is not told again too soon
//! lock                         held by the process that has the spool open
//! ```
//!
//! A file goes when every sink has had what it wants of it. Over the cap the oldest goes, and is counted as lost for
//! each sink that still waited for it. A cursor that was not written in time costs a second delivery, never an entry.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use super::config::Outlet;
use super::entry::{Entry, Kind, Sent};
use super::files::{self, UNFINISHED};
use super::repeats::{News, Repeats, Route, Wish};

/// A longer entry loses its fields, and then the end of its message.
const MAX_ENTRY: usize = 64 * 1024;
/// What is left of a message then.
const CUT_MESSAGE: usize = 4 * 1024;
/// A file holds no more: the oldest file is what goes first.
const FILE_ENTRIES: usize = 256;
const FILE_BYTES: usize = 256 * 1024;
/// What a file takes is counted in blocks of the disk: most files are small.
const BLOCK: u64 = 4096;

const LOCK: &str = "lock";
const REPEATS: &str = "repeats.json";
const CURSOR: &str = "cursor-";
const ENTRIES: &str = ".jsonl";

/// Marks an entry of the audit log in the index; the bits below are the sinks.
const AUDIT: u32 = 1 << 31;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    pub bytes: u64,
    pub entries: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Self { bytes: 32 * 1024 * 1024, entries: 20_000 }
    }
}

/// The spool cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}")]
pub struct SpoolError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError { what, path, source }
}

/// What became of the entries of one sink since the spool knows the sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The receiver has answered for them.
    pub sent: u64,
    /// The receiver will not have them.
    pub refused: u64,
    /// They went to make room, or could not be stored or read.
    pub lost: u64,
}

/// How far one sink is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Cursor {
    /// The first entry that was not yet dealt with.
    next: u64,
    #[serde(flatten)]
    counters: Counters,
}

/// One line of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    id: String,
    to: Route,
    entry: Entry,
}

/// What is known of a file without reading it.
#[derive(Debug)]
struct Stored {
    first: u64,
    bytes: u64,
    /// For each entry, the sinks that it is for.
    masks: Vec<u32>,
}

impl Stored {
    fn end(&self) -> u64 {
        self.first.saturating_add(self.masks.len() as u64)
    }

    fn name(&self) -> String {
        format!("{:020}{ENTRIES}", self.first)
    }

    /// Returns how many entries the sink still waits for.
    fn waiting(&self, sink: usize, cursor: &Cursor) -> u64 {
        let passed = usize::try_from(cursor.next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.masks.iter().skip(passed).filter(|mask| **mask & 1 << sink != 0).count() as u64
    }
}

/// Entries for one request.
#[derive(Debug)]
pub(super) struct Batch {
    pub entries: Vec<Sent>,
    /// Where the cursor goes when the batch was dealt with.
    pub end: u64,
}

/// The spool; clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    caps: Caps,
    wishes: Vec<Wish>,
    cursors: Vec<Cursor>,
    files: VecDeque<Stored>,
    next: u64,
    /// Makes ids differ from those of other spools, and of this one before it was opened again.
    origin: String,
    repeats: Repeats,
    /// Held as long as the spool is open; a killed process lets go of it.
    _lock: Flock<File>,
}

impl Spool {
    /// Opens the spool in `dir`, and makes it if there is none.
    ///
    /// What was stored for a sink that is not among `outlets` is forgotten.
    ///
    /// # Errors
    /// The directory cannot be made, read or written, or somebody else has the spool open.
    pub fn open(dir: &Path, outlets: &[Outlet], caps: Caps) -> Result<Self, SpoolError> {
        files::ensure_dir(dir).map_err(failed("make", dir))?;
        let lock = files::lock(&dir.join(LOCK)).map_err(failed("lock", &dir.join(LOCK)))?;
        let wish = |outlet: &Outlet| Wish {
            name: outlet.name.clone(),
            only: outlet.only.clone(),
            repeat_after: outlet.repeat_after,
        };
        let wishes: Vec<Wish> = outlets.iter().map(wish).collect();
        let names = names_in(dir)?;
        for name in &names {
            let cursor = name.strip_prefix(CURSOR).and_then(|name| name.strip_suffix(".json"));
            let stale = cursor.is_some_and(|name| wishes.iter().all(|wish| wish.name != name));
            if stale || name.starts_with(UNFINISHED) {
                let path = dir.join(name);
                files::remove(&path).map_err(failed("remove", &path))?;
            }
        }
        let cursors = wishes.iter().map(|wish| read_json(&dir.join(cursor_name(wish))).unwrap_or_default()).collect();
        let mut repeats: Repeats = read_json(&dir.join(REPEATS)).unwrap_or_default();
        repeats.keep_only(&wishes);
        let mut inner = Inner {
            dir: dir.to_owned(),
            caps,
            wishes,
            cursors,
            files: VecDeque::new(),
            next: 1,
            origin: format!("{:016x}", RandomState::new().hash_one(0)),
            repeats,
            _lock: lock,
        };
        for name in names {
            if let Some(first) = name.strip_suffix(ENTRIES).and_then(|first| first.parse().ok()) {
                inner.index(first)?;
            }
        }
        let end = inner.files.back().map_or(1, Stored::end);
        inner.next = inner.cursors.iter().map(|cursor| cursor.next).fold(end, u64::max);
        inner.forget_what_is_done()?;
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    /// Stores one entry for the sinks that want it. It is on disk when this returns; nothing waits for the network.
    ///
    /// # Errors
    /// The entry cannot be written; it is counted as lost.
    pub fn push(&self, entry: &Entry) -> Result<(), SpoolError> {
        self.push_all(std::slice::from_ref(entry))
    }

    /// Stores many entries with few writes.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_all(&self, entries: &[Entry]) -> Result<(), SpoolError> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let news = inner.repeats.single(entries, &inner.wishes);
        inner.store(news)
    }

    /// Stores what one cycle has to say. Problems of the cycle before that are not among it are reported as resolved,
    /// unless the cycle ended early and so is not `whole`.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_cycle(&self, entries: &[Entry], whole: bool) -> Result<(), SpoolError> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let news = inner.repeats.cycle(entries, whole, &inner.wishes);
        inner.store(news)
    }

    /// Returns how many entries at least one sink still waits for.
    pub fn waiting(&self) -> u64 {
        self.lock().count(|mask| mask != 0)
    }

    /// Returns how many of these are entries of the audit log.
    pub fn waiting_audit(&self) -> u64 {
        self.lock().count(|mask| mask & AUDIT != 0)
    }

    /// Returns, by sink, how many entries wait and what became of the others.
    pub fn by_sink(&self) -> BTreeMap<String, (u64, Counters)> {
        let inner = self.lock();
        let one = |(sink, wish): (usize, &Wish)| {
            let cursor = &inner.cursors[sink];
            let waiting = inner.files.iter().map(|file| file.waiting(sink, cursor)).sum();
            (wish.name.clone(), (waiting, cursor.counters))
        };
        inner.wishes.iter().enumerate().map(one).collect()
    }

    /// Returns the next entries for a sink, in order; none if it waits for nothing.
    pub(super) fn batch(&self, sink: usize, entries: usize, bytes: usize) -> Result<Batch, SpoolError> {
        self.lock().batch(sink, entries, bytes)
    }

    /// Notes that everything before `end` was dealt with.
    pub(super) fn done(&self, sink: usize, end: u64, sent: u64, refused: u64) -> Result<(), SpoolError> {
        let mut inner = self.lock();
        let Some(cursor) = inner.cursors.get_mut(sink) else { return Ok(()) };
        cursor.next = cursor.next.max(end);
        cursor.counters.sent += sent;
        cursor.counters.refused += refused;
        // First make room: on a full disk the cursor could not be written before. A file that is gone is not sent again.
        inner.forget_what_is_done()?;
        inner.write_cursor(sink)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that runs under the lock leaves it half changed in a way that a later call would not put right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Reads a file that was left by an earlier run.
    fn index(&mut self, first: u64) -> Result<(), SpoolError> {
        let mut stored = Stored { first, bytes: 0, masks: Vec::new() };
        let path = self.dir.join(stored.name());
        let text = fs::read(&path).map_err(failed("read", &path))?;
        let mut whole = Vec::new();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let seq = stored.end();
            let mask = match serde_json::from_slice::<Option<Line>>(line) {
                Ok(read) => {
                    whole.extend_from_slice(line);
                    read.map_or(0, |read| self.mask(&read.to, read.entry.kind))
                }
                Err(_) => {
                    // Nobody knows for whom it was. `null` keeps its place, so that it is counted once.
                    whole.extend_from_slice(b"null");
                    self.cursors.iter_mut().filter(|cursor| cursor.next <= seq).for_each(|c| c.counters.lost += 1);
                    0
                }
            };
            whole.push(b'\n');
            stored.masks.push(mask);
        }
        if whole != text {
            files::replace(&self.dir, &stored.name(), &whole).map_err(failed("write", &path))?;
            (0..self.cursors.len()).try_for_each(|sink| self.write_cursor(sink))?;
        }
        stored.bytes = (whole.len() as u64).next_multiple_of(BLOCK);
        self.files.push_back(stored);
        Ok(())
    }

    fn mask(&self, to: &Route, kind: Kind) -> u32 {
        let bits = self.wishes.iter().enumerate().filter(|(_, wish)| to.contains_key(&wish.name));
        let mask = bits.fold(0, |mask, (sink, _)| mask | 1 << sink);
        if mask != 0 && kind == Kind::Audit { mask | AUDIT } else { mask }
    }

    fn store(&mut self, news: News) -> Result<(), SpoolError> {
        let subjects: Vec<String> = news.entries.iter().filter_map(|(entry, _)| entry.subject()).collect();
        let mut lines: Vec<(Vec<u8>, u32)> = Vec::new();
        for (entry, to) in news.entries {
            let mask = self.mask(&to, entry.kind);
            let id = format!("{}-{}-{}", entry.host, self.origin, self.next + lines.len() as u64);
            lines.push((line(Line { id, to, entry }), mask));
        }
        let mut rest = lines.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |(line, _): &&(Vec<u8>, u32)| {
                bytes += line.len();
                bytes <= FILE_BYTES
            };
            let (now, later) = rest.split_at(rest.iter().take(FILE_ENTRIES).take_while(fits).count().max(1));
            if let Err(error) = self.write(now) {
                for (_, mask) in rest {
                    let cursors = self.cursors.iter_mut().enumerate();
                    cursors.filter(|(sink, _)| mask & 1 << sink != 0).for_each(|(_, c)| c.counters.lost += 1);
                }
                // Nobody was told, so the next cycle tells it again.
                self.repeats.forget(&subjects);
                return Err(error);
            }
            rest = later;
        }
        if news.changed {
            // After the entries: killed in between, they are told a second time, and not never.
            let text = serde_json::to_vec(&self.repeats).unwrap_or_default();
            files::replace(&self.dir, REPEATS, &text).map_err(failed("write", &self.dir.join(REPEATS)))?;
        }
        Ok(())
    }

    fn write(&mut self, lines: &[(Vec<u8>, u32)]) -> Result<(), SpoolError> {
        let masks = lines.iter().map(|(_, mask)| *mask).collect();
        let content: Vec<u8> = lines.iter().flat_map(|(line, _)| line).copied().collect();
        let stored = Stored { first: self.next, bytes: (content.len() as u64).next_multiple_of(BLOCK), masks };
        self.make_room(&stored)?;
        files::replace(&self.dir, &stored.name(), &content).map_err(failed("write", &self.dir.join(stored.name())))?;
        self.next = stored.end();
        self.files.push_back(stored);
        Ok(())
    }

    /// Removes the oldest files until there is room for one more.
    fn make_room(&mut self, more: &Stored) -> Result<(), SpoolError> {
        let mut bytes = more.bytes + self.files.iter().map(|file| file.bytes).sum::<u64>();
        let mut entries = (more.masks.len() + self.files.iter().map(|file| file.masks.len()).sum::<usize>()) as u64;
        while bytes > self.caps.bytes || entries > self.caps.entries {
            let Some(oldest) = self.files.front() else { break };
            bytes -= oldest.bytes;
            entries -= oldest.masks.len() as u64;
            self.give_up(0)?;
        }
        Ok(())
    }

    /// Counts what is left of a file as lost, and removes it.
    fn give_up(&mut self, at: usize) -> Result<(), SpoolError> {
        let Some(file) = self.files.remove(at) else { return Ok(()) };
        // Counted before it is removed: killed in between, it is found done with at the next start.
        for sink in 0..self.cursors.len() {
            let lost = file.waiting(sink, &self.cursors[sink]);
            if lost > 0 {
                self.cursors[sink].counters.lost += lost;
                if at == 0 {
                    self.cursors[sink].next = file.end();
                }
                self.write_cursor(sink)?;
            }
        }
        let path = self.dir.join(file.name());
        files::remove(&path).map_err(failed("remove", &path))
    }

    /// Returns the next entries for a sink. A file that somebody removed or damaged is given up, and not waited for.
    fn batch(&mut self, sink: usize, entries: usize, bytes: usize) -> Result<Batch, SpoolError> {
        loop {
            let failed = match self.try_batch(sink, entries, bytes) {
                Ok(batch) => return Ok(batch),
                Err(failed) => failed,
            };
            let gone = matches!(failed.source.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData);
            let at = self.files.iter().position(|file| failed.path == self.dir.join(file.name()));
            match at.filter(|_| gone) {
                Some(at) => self.give_up(at)?,
                None => return Err(failed),
            }
        }
    }

    fn try_batch(&self, sink: usize, entries: usize, bytes: usize) -> Result<Batch, SpoolError> {
        let Some(cursor) = self.cursors.get(sink) else { return Ok(Batch { entries: Vec::new(), end: 0 }) };
        let mut batch = Batch { entries: Vec::new(), end: cursor.next };
        let mut size = 0;
        for file in self.files.iter().filter(|file| file.waiting(sink, cursor) > 0) {
            let path = self.dir.join(file.name());
            let text = fs::read(&path).map_err(failed("read", &path))?;
            let lines = text.split(|byte| *byte == b'\n').zip(&file.masks).zip(file.first..);
            for ((text, mask), seq) in lines.filter(|(_, seq)| *seq >= cursor.next) {
                if mask & 1 << sink == 0 {
                    continue;
                }
                size += text.len();
                if batch.entries.len() == entries || (size > bytes && !batch.entries.is_empty()) {
                    return Ok(batch);
                }
                // It was read when the spool was opened, or written by this process.
                let line: Line = serde_json::from_slice(text)
                    .map_err(|error| failed("read", &path)(io::Error::new(io::ErrorKind::InvalidData, error)))?;
                let repeats = line.to.get(&self.wishes[sink].name).copied().unwrap_or(0);
                batch.entries.push(Sent { id: line.id, entry: line.entry, repeats, seq });
                batch.end = seq + 1;
            }
        }
        Ok(batch)
    }

    /// Removes the files at the front that no sink waits for any more.
    fn forget_what_is_done(&mut self) -> Result<(), SpoolError> {
        while let Some(file) = self.files.front() {
            if self.cursors.iter().enumerate().any(|(sink, cursor)| file.waiting(sink, cursor) > 0) {
                break;
            }
            let path = self.dir.join(file.name());
            files::remove(&path).map_err(failed("remove", &path))?;
            self.files.pop_front();
        }
        Ok(())
    }

    fn write_cursor(&self, sink: usize) -> Result<(), SpoolError> {
        let name = cursor_name(&self.wishes[sink]);
        let text = serde_json::to_vec(&self.cursors[sink]).unwrap_or_default();
        files::replace(&self.dir, &name, &text).map_err(failed("write", &self.dir.join(name)))
    }

    fn count(&self, wanted: impl Fn(u32) -> bool) -> u64 {
        let waits = |file: &Stored, at: usize, mask: u32| {
            let seq = file.first.saturating_add(at as u64);
            self.cursors.iter().enumerate().any(|(sink, cursor)| mask & 1 << sink != 0 && cursor.next <= seq)
        };
        let of = |file: &Stored| {
            file.masks.iter().enumerate().filter(|(at, mask)| wanted(**mask) && waits(file, *at, **mask)).count() as u64
        };
        self.files.iter().map(of).sum()
    }
}

fn cursor_name(wish: &Wish) -> String {
    format!("{CURSOR}{}.json", wish.name)
}

/// Returns the names in a directory, sorted, so that the oldest file comes first.
fn names_in(dir: &Path) -> Result<BTreeSet<String>, SpoolError> {
    let read = || -> io::Result<BTreeSet<String>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    read().map_err(failed("read", dir))
}

/// Reads what this module wrote; a file that is missing or damaged says nothing.
fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Returns the line of an entry, cut down if it is too long.
fn line(mut line: Line) -> Vec<u8> {
    let mut text = serde_json::to_vec(&line).unwrap_or_default();
    if text.len() > MAX_ENTRY {
        let entry = &mut line.entry;
        entry.fields.clear();
        entry.fields.insert("cut".to_owned(), text.len().into());
        let mut end = entry.message.len().min(CUT_MESSAGE);
        while !entry.message.is_char_boundary(end) {
            end -= 1;
        }
        entry.message.truncate(end);
        text = serde_json::to_vec(&line).unwrap_or_default();
    }
    text.push(b'\n');
    text
}
