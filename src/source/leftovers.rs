// SPDX-License-Identifier: Apache-2.0
//! What a killed fetch left in a mirror, and how large the mirror is.
//!
//! The mirror is a store of hostwrit's own that the Git library reads and writes by itself, not a part of the managed
//! host; so its files do not pass through `host`.
#![expect(clippy::disallowed_methods, reason = "the Git library owns these files, beside which host has no say")]

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};

/// Removes lock files and half-written packs. Nobody else may use the mirror meanwhile.
pub(super) fn remove(mirror: &Path) -> io::Result<()> {
    let is_lock = |entry: &DirEntry| entry.file_name().as_encoded_bytes().ends_with(b".lock");
    remove_files(mirror, false, is_lock)?;
    remove_files(&mirror.join("refs"), true, is_lock)?;
    // In these the library keeps finished files under known names only; what has another is a temporary file. One that ends in
    // `.keep` says that a ref is about to name what the pack has.
    remove_files(&mirror.join("objects"), false, |_| true)?;
    remove_files(&mirror.join("objects/pack"), false, |entry| {
        let name = entry.file_name();
        !name.as_encoded_bytes().starts_with(b"pack-") || name.as_encoded_bytes().ends_with(b".keep")
    })?;
    // A pack is named before its index is; without the index it is never read.
    let pack = mirror.join("objects/pack");
    remove_files(&pack, false, |entry| {
        let path = entry.path();
        path.extension().is_some_and(|extension| extension == "pack") && !path.with_extension("idx").exists()
    })
}

/// Removes the files in `directory` that `stale` picks.
fn remove_files(directory: &Path, below_too: bool, stale: impl Fn(&DirEntry) -> bool + Copy) -> io::Result<()> {
    for entry in entries(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && below_too {
            remove_files(&entry.path(), true, stale)?;
        } else if kind.is_file() && stale(&entry) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Returns how many bytes the packs have, finished or not.
pub(super) fn pack_bytes(mirror: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in entries(&mirror.join("objects/pack"))? {
        // A temporary file may get its name, and so vanish, in the middle of this.
        sum += entry?.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(sum)
}

/// Returns how many bytes are free where the mirror is.
pub(super) fn free_bytes(mirror: &Path) -> io::Result<u64> {
    let found = nix::sys::statvfs::statvfs(mirror)?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

/// Returns how many packs there are.
pub(super) fn packs(mirror: &Path) -> usize {
    let is_pack = |entry: &DirEntry| entry.path().extension().is_some_and(|extension| extension == "pack");
    entries(&mirror.join("objects/pack")).map_or(0, |entries| entries.flatten().filter(is_pack).count())
}

fn entries(directory: &Path) -> io::Result<impl Iterator<Item = io::Result<DirEntry>>> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// Removes the directory at `path`: out of the way at once, and then for good.
pub(super) fn discard(path: &Path) -> io::Result<()> {
    discarded(path)?;
    fs::rename(path, beside(path, ".discarded"))?;
    discarded(path)
}

/// Removes what a killed [`discard`] left.
pub(super) fn discarded(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(beside(path, ".discarded")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    PathBuf::from(beside)
}

/// Has `make` make a directory that appears at `path` whole or not at all.
pub(super) fn make_whole<E: From<io::Error>>(path: &Path, make: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let aside = beside(path, ".incomplete");
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => make(&aside)?,
    }
    sync(&aside)?;
    Ok(fs::rename(aside, path)?)
}

/// Makes durable what a fetch has brought: the library leaves that to the kernel, and a power cut would leave refs to objects that
/// are not there.
pub(super) fn sync_fetched(mirror: &Path) -> io::Result<()> {
    sync(&mirror.join("objects/pack"))?;
    sync(&mirror.join("refs"))
}

/// Makes a directory durable with all that is in it.
fn sync(directory: &Path) -> io::Result<()> {
    for entry in entries(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { sync(&entry.path())? } else { File::open(entry.path())?.sync_all()? }
    }
    File::open(directory)?.sync_all()
}
