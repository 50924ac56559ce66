// SPDX-License-Identifier: Apache-2.0
//! Package updates that wait, as apt itself counts them: it is asked after a cycle, or when somebody was at work in its
//! directories, in a thread of its own, and only when what its answer depends on has changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use humantime::{format_rfc3339_seconds, parse_rfc3339};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tracing::warn;

use crate::host::{HostError, NewFile, Output, ReadHost, RealHost, WriteHost as _};
use crate::model::{Digest, chain};

use super::stir::Stir;

/// Where the answer lives; gone after a boot.
const UPDATES: &str = "/run/hostwrit/updates.json";

/// Where apt keeps the lists of the archives, and what each archive says of itself.
const LISTS: &str = "/var/lib/apt/lists";

/// An apt that did not answer is not asked again any sooner, unless something has changed.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// A list that is fetched and a package that is installed take many files: so long nothing must be touched.
const QUIET: Duration = Duration::from_secs(5);

/// An upgrade of everything takes longer, and is looked at in between.
const LONGEST_WORK: Duration = Duration::from_secs(10 * 60);

/// As much as is shown of what apt complains about.
const LONGEST_WORD: usize = 300;

/// The updates that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Updates")]
pub struct Updates {
    /// When apt was asked: RFC 3339, UTC.
    pub asked: String,
    /// What it said; absent where it did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Why it did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// When the newest of the package lists was made: RFC 3339, UTC; absent where none of them says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lists: Option<String>,
}

/// Numbers of packages of which apt knows a newer version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "PendingUpdates")]
pub struct Pending {
    /// `apt-get dist-upgrade` would take one that a security archive has.
    pub security: u64,
    /// It would take one that no security archive has.
    pub other: u64,
    /// It would leave them: they are held, their turn has not come yet, or what they need cannot be had.
    pub kept_back: u64,
}

impl Pending {
    /// Returns the numbers by the words of the metric.
    pub fn by_sort(&self) -> BTreeMap<&'static str, u64> {
        [("security", self.security), ("other", self.other), ("kept-back", self.kept_back)].into()
    }
}

impl Updates {
    /// Returns what apt said when it was asked last in this boot, if it was.
    pub fn read(host: &dyn ReadHost) -> Option<Self> {
        Kept::read(host).ok().flatten().map(|kept| kept.updates)
    }
}

/// What is kept of an answer.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Of what the answer depended on, before apt was asked.
    basis: Digest,
    updates: Updates,
}

impl Kept {
    fn read(host: &dyn ReadHost) -> Result<Option<Self>, HostError> {
        // One that cannot be understood was written by another version: as good as none.
        Ok(host.read(Path::new(UPDATES))?.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    fn holds(&self, basis: &Digest, now: SystemTime) -> bool {
        let is_young = || {
            let asked = parse_rfc3339(&self.updates.asked).ok();
            asked.and_then(|asked| now.duration_since(asked).ok()).is_some_and(|age| age < AGAIN)
        };
        self.basis == *basis && (self.updates.pending.is_some() || is_young())
    }
}

/// Has apt asked while the daemon goes on.
pub struct Lookout {
    host: Arc<RealHost>,
    /// Tells when somebody has been at work in apt's directories.
    stir: Stir,
    thread: Option<JoinHandle<()>>,
    /// Something has changed since the thread began.
    is_owed: bool,
    /// The thread has ended.
    ended: Arc<Notify>,
}

impl Lookout {
    /// Prepares to ask; nobody is asked yet. Made inside a tokio runtime.
    pub fn new(host: Arc<RealHost>) -> Self {
        let watcher = host.watch_updates().unwrap_or_else(|error| {
            warn!("updates are looked up after cycles alone: {}", chain(&error));
            None
        });
        Self {
            host,
            stir: Stir::new(watcher, QUIET, LONGEST_WORK),
            thread: None,
            is_owed: false,
            ended: Arc::default(),
        }
    }

    /// Has apt asked; if it is being asked already, once more after that. [`Lookout::answered`] tells when it was.
    pub fn look(&mut self) {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            self.is_owed = true;
            return;
        }
        self.is_owed = false;
        let (host, ended) = (Arc::clone(&self.host), Arc::clone(&self.ended));
        // Not waited for at the end either: what it would leave then nobody needs.
        let thread = thread::Builder::new().name("updates".to_owned()).spawn(move || {
            if let Err(error) = look(&host) {
                warn!("which updates wait is not known: {}", chain(&error));
            }
            ended.notify_one();
        });
        self.thread = thread.inspect_err(|error| warn!("which updates wait is not looked up: {error}")).ok();
    }

    /// Has apt asked whenever somebody was at work in its directories, and returns when it was asked. May be dropped at any
    /// time.
    pub async fn answered(&mut self) {
        loop {
            tokio::select! {
                () = self.ended.notified() => {
                    // It has told all, and ends at once.
                    self.thread = None;
                    if self.is_owed {
                        self.look();
                    }
                    return;
                }
                () = self.stir.settled() => self.look(),
            }
        }
    }
}

/// Asks apt, if its answer may be another than the one that is kept, and keeps what it says.
fn look(host: &RealHost) -> Result<(), HostError> {
    let path = Path::new(UPDATES);
    let Some(basis) = host.updates_basis()? else { return host.remove(path) };
    let now = host.now();
    if Kept::read(host)?.is_some_and(|kept| kept.holds(&basis, now)) {
        return Ok(());
    }
    let lists = Lists::read(host)?;
    let answer = match lists.are_there {
        true => host.simulate_upgrade().map_err(|error| chain(&error)).and_then(|output| understand(&output)),
        // apt would say that nothing waits.
        false => Err("there are no package lists; apt-get update fetches them".to_owned()),
    };
    if let Err(why) = &answer {
        warn!("which updates wait is not known: {why}");
    }
    let updates = Updates {
        asked: format_rfc3339_seconds(now).to_string(),
        unknown: answer.as_ref().err().cloned(),
        pending: answer.ok(),
        lists: lists.newest.map(|time| format_rfc3339_seconds(time).to_string()),
    };
    let text = serde_json::to_vec(&Kept { basis, updates }).unwrap_or_default();
    host.replace_file(path, &NewFile { content: &text, owner: None, mode: 0o644, check: None })
}

/// Returns the numbers in apt's answer, or why there are none.
fn understand(output: &Output) -> Result<Pending, String> {
    let complaint = || {
        let said = String::from_utf8_lossy(&output.stderr);
        // Of what it could not read apt only warns, and goes on as if it were not there.
        let serious = |line: &&str| line.starts_with("E: ") || line.starts_with("W: Unable to read ");
        said.lines().find(serious).map(|line| line.chars().take(LONGEST_WORD).collect())
    };
    match complaint() {
        Some(complaint) => Err(complaint),
        None if !output.success => Err(format!("apt-get ended with {}", output.status)),
        None => read(&String::from_utf8_lossy(&output.stdout))
            .ok_or_else(|| "apt-get did not answer in the way that is known of it".to_owned()),
    }
}

/// Reads what `apt-get --simulate dist-upgrade` answers in the C locale (apt-get(8)); `None` if it is something else.
///
/// `Inst NAME [OLD] (NEW RELEASES [ARCHITECTURE])` is a package that would be replaced, without `[OLD]` one that would come
/// with it, and a line of counts says how many there are.
fn read(answer: &str) -> Option<Pending> {
    let mut pending = Pending::default();
    let mut counts = None;
    for line in answer.lines() {
        if let Some(package) = line.strip_prefix("Inst ") {
            let Some(releases) = replaced(package) else { continue };
            *(if is_of_security(releases) { &mut pending.security } else { &mut pending.other }) += 1;
        } else if let Some(found) = counted(line) {
            counts = Some(found);
        }
    }
    let (replaced, kept_back) = counts?;
    pending.kept_back = kept_back;
    (pending.security + pending.other == replaced).then_some(pending)
}

/// Returns the releases that have the new version of a package; `None` of one that is not installed yet.
fn replaced(package: &str) -> Option<&str> {
    let (_, versions) = package.split_once(' ')?;
    let (_, new) = versions.strip_prefix('[')?.split_once("] (")?;
    // What the step would break for a moment may stand behind it, in brackets too.
    let new = &new[..new.rfind("])")?];
    let (_, releases) = new[..new.rfind(" [")?].split_once(' ')?;
    Some(releases)
}

/// Whether one of `LABEL:VERSION/ARCHIVE, …` is a security archive: of Debian by its label, of others by its name.
fn is_of_security(releases: &str) -> bool {
    releases.split(", ").any(|release| {
        let (label, archive) = release.rsplit_once(':').unwrap_or(("", release));
        label == "Debian-Security" || archive.ends_with("-security")
    })
}

/// Reads `1 upgraded, 0 newly installed, 0 to remove and 2 not upgraded.`, in which reinstalled and downgraded ones stand as
/// well if there are any: how many would be replaced, and how many be left.
fn counted(line: &str) -> Option<(u64, u64)> {
    let (first, kept_back) = line.strip_suffix(" not upgraded.")?.split_once(" to remove and ")?;
    let mut replaced = 0u64;
    for count in first.split(", ") {
        match count.split_once(' ') {
            Some((number, "upgraded" | "reinstalled" | "downgraded")) => {
                replaced = replaced.checked_add(number.parse().ok()?)?;
            }
            Some((_, "newly installed")) | None => {}
            Some(_) => return None,
        }
    }
    Some((replaced, kept_back.parse().ok()?))
}

/// What apt knows newer versions from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lists {
    are_there: bool,
    /// When the newest of them was made, as its archive has signed.
    newest: Option<SystemTime>,
}

impl Lists {
    fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let mut lists = Self::default();
        for name in host.list(Path::new(LISTS))?.unwrap_or_default() {
            let shown = name.to_string_lossy();
            // Packed or not.
            lists.are_there |= shown.contains("_Packages");
            if shown.ends_with("Release")
                && let Some(text) = host.read(&Path::new(LISTS).join(&name))?
            {
                lists.newest = lists.newest.max(date(&String::from_utf8_lossy(&text)));
            }
        }
        Ok(lists)
    }
}

/// Reads the field `Date` of a Release file: `Sat, 28 Nov 2026 07:00:00 UTC` (wiki.debian.org/DebianRepository/Format).
fn date(release: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let value = release.lines().find_map(|line| line.strip_prefix("Date:"))?;
    let words: Vec<&str> = value.split_whitespace().collect();
    let [_, day, month, year, time, "UTC" | "GMT" | "+0000"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    parse_rfc3339(&format!("{year}-{month:02}-{day:0>2}T{time:0>8}Z")).ok()
}

#[cfg(test)]
mod tests;
