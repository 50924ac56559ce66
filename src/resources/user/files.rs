// SPDX-License-Identifier: Apache-2.0
//! The files that open an account and give it rights: authorized_keys and a sudo rule, as wanted and as found. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::{FileKind, Stat};
use crate::model::{Change, Location, Shown};

use super::{Key, KeysFile, SudoFile, keys};

pub const SUDOERS_D: &str = "/etc/sudoers.d";
pub const SUDO_MODE: u32 = 0o440;
pub const SSH_DIR_MODE: u32 = 0o700;
pub const KEYS_MODE: u32 = 0o600;

/// What was found of each user, by name.
pub type Accesses = BTreeMap<String, Access>;

/// What opens a user's account, and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Looked at only where the repo declares keys.
    pub keys: Option<FoundKeys>,
    pub sudo: Option<Found>,
}

/// What was found in a home directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundKeys {
    pub home: String,
    pub home_is_there: bool,
    /// `~/.ssh`.
    pub directory: Option<Stat>,
    /// `~/.ssh/authorized_keys`.
    pub file: Option<Found>,
    /// `~/.ssh/authorized_keys2`, which sshd reads too unless it is configured otherwise.
    pub second: Option<Found>,
}

/// A file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub stat: Stat,
    /// Empty if it is no regular file.
    pub content: Vec<u8>,
}

/// Returns the path of a user's sudo rule. sudo passes over names with a dot, which no declared user has.
pub fn sudo_path(user: &str) -> PathBuf {
    Path::new(SUDOERS_D).join(sudo_file_name(user))
}

pub fn sudo_file_name(user: &str) -> String {
    format!("hostwrit-{user}")
}

pub fn sudo_content(user: &str, rule: &str) -> Vec<u8> {
    format!("{user} {rule}\n").into_bytes()
}

/// Compares a user's sudo rule with what was found; `owners` says whether owners count.
pub fn diff_sudo(
    user: &str,
    want: Option<&String>,
    found: Option<&Found>,
    owners: bool,
    origin: &Location,
) -> Option<(SudoFile, Change)> {
    let shown = found.map(|found| {
        let text = String::from_utf8_lossy(&found.content);
        let rule = text.strip_prefix(user).and_then(|rest| rest.strip_prefix(' ')).unwrap_or(&text);
        rule.trim_end().escape_debug().to_string()
    });
    match (want, found) {
        (None, None) => None,
        (None, Some(_)) => Some((SudoFile::Remove, Change::new("sudo", shown.into(), Shown::Nothing, Some(origin)))),
        (Some(rule), _) => {
            let write = SudoFile::Write { rule: rule.clone() };
            match found {
                Some(found) if found.content == sudo_content(user, rule) => {
                    let good = found.stat.kind == FileKind::File
                        && found.stat.mode == SUDO_MODE
                        && (!owners || (found.stat.owner.uid, found.stat.owner.gid) == (0, 0));
                    let change = |found: &Found| {
                        let good = if owners { "file 0440 of 0:0" } else { "file 0440" };
                        Change::new(
                            "sudo",
                            Shown::Text(attributes(&found.stat, owners)),
                            Shown::text(good),
                            Some(origin),
                        )
                    };
                    (!good).then(|| (write, change(found)))
                }
                _ => Some((write, Change::new("sudo", shown.into(), Shown::text(rule), Some(origin)))),
            }
        }
    }
}

/// Compares a user's keys with what was found; `uid` is given where owners count.
pub fn diff_keys(
    want: &[Key],
    found: &FoundKeys,
    uid: Option<u32>,
    origin: &Location,
) -> Option<(KeysFile, Vec<Change>)> {
    let content = keys::render(want);
    let present = found.file.as_ref().map(|file| file.content.as_slice()).unwrap_or_default();
    let mut changes = Vec::new();
    if present != content {
        changes = changed_keys(want, present, origin);
    }
    if let Some(second) = &found.second {
        let keys = read_keys(&second.content).0;
        let gone = Shown::Text(format!("authorized_keys2: {}", listed(&keys)));
        changes.push(Change::new("ssh_keys", gone, Shown::Nothing, Some(origin)));
    }
    let parts = [
        ("~/.ssh", found.directory, FileKind::Directory, SSH_DIR_MODE),
        ("~/.ssh/authorized_keys", found.file.as_ref().map(|file| file.stat), FileKind::File, KEYS_MODE),
    ];
    // Without keys there need be no file; if there is none, the directory is of no account.
    let parts = parts.into_iter().filter(|_| found.file.is_some() || !want.is_empty());
    for (name, stat, kind, mode) in parts {
        let Some(stat) = stat else { continue };
        if stat.kind != kind || stat.mode != mode || uid.is_some_and(|uid| uid != stat.owner.uid) {
            let of = uid.map(|uid| format!(" of {uid}")).unwrap_or_default();
            let good = format!("{name}: {} {mode:04o}{of}", word(kind));
            let bad = match uid {
                Some(_) => format!("{name}: {} {:04o} of {}", word(stat.kind), stat.mode, stat.owner.uid),
                None => format!("{name}: {}", attributes(&stat, false)),
            };
            changes.push(Change::new("ssh_keys", Shown::Text(bad), Shown::Text(good), Some(origin)));
        }
    }
    let file = KeysFile { home: found.home.clone(), content, remove_second: found.second.is_some() };
    (!changes.is_empty()).then_some((file, changes))
}

/// Says key by key what goes and what comes.
fn changed_keys(want: &[Key], present: &[u8], origin: &Location) -> Vec<Change> {
    let (present, others) = read_keys(present);
    let change = |from: Option<&Key>, to: Option<&Key>| Change::new("ssh_keys", from.into(), to.into(), Some(origin));
    let mut changes = Vec::new();
    for old in &present {
        match want.iter().find(|new| new.blob() == old.blob()) {
            None => changes.push(change(Some(old), None)),
            Some(new) if new.line() != old.line() => changes.push(change(Some(old), Some(new))),
            Some(_) => {}
        }
    }
    let is_new = |new: &&Key| present.iter().all(|old| old.blob() != new.blob());
    changes.extend(want.iter().filter(is_new).map(|new| change(None, Some(new))));
    if others > 0 {
        // Not shown: whatever they are, they may be somebody's secret.
        let lines = if others == 1 { "line that is no key" } else { "lines that are no keys" };
        let lines = Shown::Text(format!("{others} {lines}"));
        changes.push(Change::new("ssh_keys", lines, Shown::Nothing, Some(origin)));
    }
    if changes.is_empty() {
        let same = Shown::text("the same keys, written otherwise");
        changes.push(Change::new("ssh_keys", same, Shown::text("as declared"), Some(origin)));
    }
    changes
}

/// Returns the keys of a file, and how many lines are neither keys nor empty.
fn read_keys(content: &[u8]) -> (Vec<Key>, usize) {
    let text = String::from_utf8_lossy(content);
    let mut others = 0;
    let mut keys = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match Key::parse(line) {
            Ok(key) => keys.push(key),
            Err(_) => others += 1,
        }
    }
    (keys, others)
}

fn listed(keys: &[Key]) -> String {
    if keys.is_empty() { "no keys".to_owned() } else { keys.iter().map(Key::to_string).collect::<Vec<_>>().join(", ") }
}

fn attributes(stat: &Stat, owners: bool) -> String {
    let of = if owners { format!(" of {}:{}", stat.owner.uid, stat.owner.gid) } else { String::new() };
    format!("{} {:04o}{of}", word(stat.kind), stat.mode)
}

fn word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Link => "symbolic link",
        FileKind::Special => "device, socket or FIFO",
    }
}
