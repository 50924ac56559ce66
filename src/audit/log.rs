// SPDX-License-Identifier: Apache-2.0
//! Appends entries, each linked to the one before.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::LOG;
use super::entry::{Entry, Event};
use crate::host::{HostError, ReadHost, WriteHost};
use crate::model::Digest;

/// The last entry of a log, as this host remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub seq: u64,
    pub digest: Digest,
}

impl Head {
    /// The head of a log without entries.
    pub const EMPTY: Self = Self { seq: 0, digest: Digest::ZERO };
}

/// Why the log cannot be written or read. Without a log there is no change.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("cannot use the audit log")]
    Host(#[from] HostError),
    #[error("line {line} of {LOG} is not an entry of the audit log; `hostwrit audit verify` says more")]
    Malformed {
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot write an entry of the audit log")]
    Encode(#[source] serde_json::Error),
}

/// The log, open for appending. Whoever holds it holds the run lock.
pub struct Log<'h> {
    host: &'h dyn WriteHost,
    head: Head,
}

impl<'h> Log<'h> {
    /// Opens the log, makes it if there is none, and records what a crash or somebody else did to its end.
    ///
    /// `remembered` is the head that this host wrote down after its last run.
    ///
    /// # Errors
    /// The log cannot be read or written.
    pub fn open(host: &'h dyn WriteHost, remembered: Option<Head>) -> Result<Self, AuditError> {
        if let Some(head) = remembered
            && ends_with(host, head)?
        {
            return Ok(Self { host, head });
        }
        let text = host.read(Path::new(LOG))?.unwrap_or_default();
        let End { head, torn } = end_of(&text);
        let kept = match remembered {
            Some(remembered) => holds(&text, remembered),
            None => true,
        };
        let mut log = Self { host, head };
        if !text.is_empty() && !text.ends_with(b"\n") {
            // The line is ended, not cut off: the file stays append-only, even under `chattr +a`.
            host.append(Path::new(LOG), b"\n")?;
        }
        if let Some(torn) = torn {
            log.append([Event::Recovered { bytes: torn.len() as u64, digest: Digest::of(torn) }])?;
        }
        if let Some(remembered) = remembered.filter(|_| !kept) {
            log.append([Event::Cut { remembered: remembered.seq, remembered_digest: remembered.digest }])?;
        }
        Ok(log)
    }

    /// Returns the last entry's place in the chain.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Appends the events with one write and one sync, and returns the `seq` of the first.
    ///
    /// # Errors
    /// The entries are not durably on disk.
    pub fn append(&mut self, events: impl IntoIterator<Item = Event>) -> Result<u64, AuditError> {
        let time = humantime::format_rfc3339_seconds(self.host.now()).to_string();
        let first = self.head.seq + 1;
        let mut head = self.head;
        let mut lines = Vec::new();
        for event in events {
            let entry = Entry { seq: head.seq + 1, prev: head.digest, time: time.clone(), event };
            let line = serde_json::to_vec(&entry).map_err(AuditError::Encode)?;
            head = Head { seq: entry.seq, digest: Digest::of(&line) };
            lines.extend(line);
            lines.push(b'\n');
        }
        if !lines.is_empty() {
            self.host.append(Path::new(LOG), &lines)?;
            self.head = head;
        }
        Ok(first)
    }

    /// Returns every entry, oldest first.
    ///
    /// # Errors
    /// The log cannot be read, or a line of it is no entry.
    pub fn entries(&self) -> Result<Vec<Entry>, AuditError> {
        read(self.host)
    }
}

/// Returns the last event that moved the pin, looking only at entries after `seq`.
///
/// Lines that are no entries are passed over: what a damaged log still says counts, so that old commits stay refused.
///
/// # Errors
/// The log cannot be read.
pub fn last_pinned(host: &(impl ReadHost + ?Sized), seq: u64) -> Result<Option<Event>, HostError> {
    find_last(host, seq, |event| matches!(event, Event::Accepted { .. } | Event::Ordered { .. }))
}

/// Whether the log tells of an order with this nonce.
///
/// # Errors
/// The log cannot be read.
pub fn was_ordered(host: &(impl ReadHost + ?Sized), nonce: &str) -> Result<bool, HostError> {
    let is_it = |event: &Event| matches!(event, Event::Ordered { nonce: known, .. } if known == nonce);
    Ok(find_last(host, 0, is_it)?.is_some())
}

/// Returns the entry of the last commit that was held, unless another was accepted or ordered after it.
///
/// # Errors
/// The log cannot be read.
pub fn last_held(host: &(impl ReadHost + ?Sized)) -> Result<Option<Entry>, HostError> {
    let text = host.read(Path::new(LOG))?.unwrap_or_default();
    let moves = |event: &Event| matches!(event, Event::Accepted { .. } | Event::Ordered { .. } | Event::Held { .. });
    let last = backwards(&text).find(|entry| moves(&entry.event));
    Ok(last.filter(|entry| matches!(entry.event, Event::Held { .. })))
}

/// Returns the last event by which a commit was accepted.
///
/// # Errors
/// The log cannot be read.
pub fn acceptance_of(host: &(impl ReadHost + ?Sized), commit: &str) -> Result<Option<Event>, HostError> {
    find_last(host, 0, |event| matches!(event, Event::Accepted { commit: accepted, .. } if accepted == commit))
}

fn find_last(
    host: &(impl ReadHost + ?Sized),
    after: u64,
    wanted: impl Fn(&Event) -> bool,
) -> Result<Option<Event>, HostError> {
    let text = host.read(Path::new(LOG))?.unwrap_or_default();
    Ok(backwards(&text).take_while(|entry| entry.seq > after).map(|entry| entry.event).find(wanted))
}

fn backwards(text: &[u8]) -> impl Iterator<Item = Entry> {
    text.rsplit(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

/// Returns every entry of the host's log, oldest first; none if there is no log.
///
/// # Errors
/// The log cannot be read, or a line of it is no entry.
pub fn read(host: &(impl ReadHost + ?Sized)) -> Result<Vec<Entry>, AuditError> {
    let text = host.read(Path::new(LOG))?.unwrap_or_default();
    let mut entries: Vec<Entry> = Vec::new();
    let mut broken: Option<(usize, serde_json::Error)> = None;
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        match serde_json::from_slice::<Entry>(line) {
            Ok(entry) => {
                // What is left of a cut-off write is no entry; the one after it says so.
                if let Some((line, source)) = broken.take()
                    && !matches!(entry.event, Event::Recovered { .. })
                {
                    return Err(AuditError::Malformed { line, source });
                }
                entries.push(entry);
            }
            Err(source) => broken = Some((number + 1, source)),
        }
    }
    match broken {
        // The last line may still be in the middle of being written.
        Some(_) if !text.ends_with(b"\n") => Ok(entries),
        Some((line, source)) => Err(AuditError::Malformed { line, source }),
        None => Ok(entries),
    }
}

/// An entry that is longer than this is looked for in the whole log.
const TAIL: u64 = 64 * 1024;

/// Whether the log ends, whole, with this entry, as it does unless somebody was killed or wrote to it: no more than its last
/// bytes are read.
fn ends_with(host: &dyn WriteHost, head: Head) -> Result<bool, HostError> {
    let Some(stat) = host.stat(Path::new(LOG))? else { return Ok(false) };
    let begin = stat.size.saturating_sub(TAIL);
    let tail = host.read_from(Path::new(LOG), begin)?.unwrap_or_default();
    let Some(lines) = tail.strip_suffix(b"\n") else { return Ok(false) };
    let start = lines.iter().rposition(|&byte| byte == b'\n').map(|newline| newline + 1);
    // Without a newline before it the line may have begun earlier.
    let Some(start) = start.or((begin == 0).then_some(0)) else { return Ok(false) };
    Ok(parse(&lines[start..]).is_ok_and(|last| last == head))
}

/// How a log ends.
struct End<'t> {
    /// The last entry.
    head: Head,
    /// What is left of cut-off writes after it, without the newline at its end.
    torn: Option<&'t [u8]>,
}

fn parse(line: &[u8]) -> Result<Head, serde_json::Error> {
    serde_json::from_slice::<Entry>(line).map(|entry| Head { seq: entry.seq, digest: Digest::of(line) })
}

/// Returns the last entry and what stands after it: a write can be cut off more than once in a row, as on a full disk.
fn end_of(text: &[u8]) -> End<'_> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut end = text.len();
    while end > 0 {
        let start = text[..end].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        if let Ok(head) = parse(&text[start..end]) {
            return End { head, torn: text.get(end + 1..) };
        }
        end = start.saturating_sub(1);
    }
    End { head: Head::EMPTY, torn: Some(text).filter(|text| !text.is_empty()) }
}

/// Whether the log still holds the entry that the host remembers as its last; there may be more after it.
fn holds(text: &[u8], remembered: Head) -> bool {
    if remembered.seq == 0 {
        return true;
    }
    let entries = text.rsplit(|&byte| byte == b'\n').filter_map(|line| parse(line).ok());
    let mut not_after = entries.skip_while(|head| head.seq > remembered.seq);
    not_after.next() == Some(remembered)
}
