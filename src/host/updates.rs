// SPDX-License-Identifier: Apache-2.0
//! What apt would upgrade. It is asked itself, for nobody else knows what pins, holds and phasing come to.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{User, geteuid};

use crate::model::Digest;

use super::command::run_as;
use super::{Depth, HostError, Output, Watcher};

const APT: &str = "/usr/bin/apt-get";

/// Whom apt itself becomes to read what comes from the network.
const USER: &str = "_apt";

/// Thousands of packages on a busy host take a minute.
const LIMIT: Duration = Duration::from_secs(180);

/// A line for each package that would be changed.
const OUTPUT_MAX: usize = 16 * 1024 * 1024;

/// What the answer depends on: files, and directories of files.
const BASIS: &[&str] = &[
    "/var/lib/dpkg/status",
    "/var/lib/dpkg/arch",
    "/var/lib/apt/lists",
    "/var/lib/apt/extended_states",
    "/etc/apt",
    "/etc/apt/apt.conf.d",
    "/etc/apt/preferences.d",
    "/etc/apt/sources.list.d",
];

/// Where that lies, and what to watch of it. dpkg and apt put a new file in the place of an old one; people write into theirs.
const WATCHED: &[(&str, Depth)] = &[
    ("/var/lib/dpkg", Depth::Names),
    ("/var/lib/apt", Depth::Names),
    ("/var/lib/apt/lists", Depth::Contents),
    ("/etc/apt", Depth::Contents),
    ("/etc/apt/apt.conf.d", Depth::Contents),
    ("/etc/apt/preferences.d", Depth::Contents),
    ("/etc/apt/sources.list.d", Depth::Contents),
];

/// No lock is taken, so that nobody who installs something meets one; and whatever the host's apt.conf says, the answer has
/// the line of counts.
const SIMULATE: &[&str] = &[
    "--simulate",
    "--option=Debug::NoLocking=true",
    "--option=APT::Get::Show-User-Simulation-Note=false",
    "--option=quiet=1",
    "dist-upgrade",
];

/// As root apt would write its caches anew.
const WITHOUT_CACHE: &[&str] = &["--option=Dir::Cache::pkgcache=", "--option=Dir::Cache::srcpkgcache="];

/// Returns a digest of names, sizes and times of what the answer depends on; `None` where there is no apt.
pub(super) fn basis() -> Result<Option<Digest>, HostError> {
    if !Path::new(APT).exists() {
        return Ok(None);
    }
    let mut text = String::new();
    for path in BASIS.iter().map(Path::new) {
        enter(path, &mut text).map_err(HostError::file("look at", path))?;
    }
    Ok(Some(Digest::of(text.as_bytes())))
}

/// Watches where what the answer depends on lies; `None` where there is no apt.
pub(super) fn watch() -> Result<Option<Watcher>, HostError> {
    if !Path::new(APT).exists() {
        return Ok(None);
    }
    let mut watcher = Watcher::new(Path::new("/"))?;
    watcher.set(WATCHED.iter().map(|(path, depth)| (PathBuf::from(path), *depth)).collect());
    Ok(Some(watcher))
}

fn enter(path: &Path, text: &mut String) -> io::Result<()> {
    let Some(found) = if_there(fs::metadata(path))? else { return Ok(()) };
    if !found.is_dir() {
        write_line(path, &found, text);
        return Ok(());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        files.push(entry?.path());
    }
    files.sort();
    for file in files {
        // Of a source on this host the list is a link. What is gone by now is as good as never seen.
        if let Some(found) = if_there(fs::metadata(&file))?.filter(fs::Metadata::is_file) {
            write_line(&file, &found, text);
        }
    }
    Ok(())
}

fn if_there(looked: io::Result<fs::Metadata>) -> io::Result<Option<fs::Metadata>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_line(path: &Path, found: &fs::Metadata, text: &mut String) {
    let modified = (found.mtime(), found.mtime_nsec());
    // The second time tells that a mode has changed: who may read a file decides whether it counts.
    let changed = (found.ctime(), found.ctime_nsec());
    let _ = writeln!(text, "{path:?} {} {} {modified:?} {changed:?}", found.ino(), found.size());
}

/// Asks without any right, and as root only where a file of apt's is for root alone, such as one with a password.
pub(super) fn simulate() -> Result<Output, HostError> {
    let failed = |errno: nix::Error| HostError::Run { program: APT.to_owned(), source: errno.into() };
    let user = if geteuid().is_root() { User::from_name(USER).map_err(failed)? } else { None };
    let output = run_as(user.as_ref(), LIMIT, OUTPUT_MAX, APT, SIMULATE)?;
    let is_shut_out = String::from_utf8_lossy(&output.stderr).contains("Permission denied");
    if user.is_none() || !is_shut_out {
        return Ok(output);
    }
    run_as(None, LIMIT, OUTPUT_MAX, APT, &[WITHOUT_CACHE, SIMULATE].concat())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn whatever_may_change_the_answer_changes_what_is_entered() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let entered = |path: &Path| {
            let mut text = String::new();
            enter(path, &mut text).unwrap();
            text
        };
        assert_eq!(entered(&at("lists")), "", "what is not there changes nothing");
        fs::create_dir_all(at("lists/partial")).unwrap();
        fs::write(at("archive"), "1").unwrap();
        fs::write(at("lists/partial/a"), "1").unwrap();
        assert_eq!(entered(&at("lists")), "", "what is fetched just now does not count yet");
        let mut before = BTreeSet::from([String::new()]);
        let mut is_other = |what: &str| assert!(before.insert(entered(&at("lists"))), "{what}");
        fs::write(at("lists/a_Packages"), "1").unwrap();
        is_other("a new file");
        fs::write(at("lists/a_Packages"), "12").unwrap();
        is_other("another size");
        fs::set_permissions(at("lists/a_Packages"), fs::Permissions::from_mode(0o600)).unwrap();
        is_other("another mode");
        fs::write(at("lists/new"), "34").unwrap();
        fs::rename(at("lists/new"), at("lists/a_Packages")).unwrap();
        is_other("another file of that size in its place");
        symlink(at("archive"), at("lists/b_Packages")).unwrap();
        is_other("a link to a list on this host");
        fs::write(at("archive"), "123").unwrap();
        is_other("the list behind a link");
        assert!(entered(&at("lists/a_Packages")).contains("a_Packages"), "a file by itself");
    }
}
