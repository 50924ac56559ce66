// SPDX-License-Identifier: Apache-2.0
//! Files below a root directory: looked up without leaving it, replaced whole or not at all.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{HostError, NewFile, Owner, Stat};

/// The directory that stands for `/`.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

impl Root {
    /// Opens the directory.
    ///
    /// # Errors
    /// It does not exist or is not a directory.
    pub fn open(path: &Path) -> Result<Self, HostError> {
        let open = || {
            let path = std::path::absolute(path)?;
            let fd = std::fs::File::open(&path)?.into();
            Ok(Self { path, fd })
        };
        open().map_err(HostError::file("open", path))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

pub fn stat(root: &Root, path: &Path) -> Result<Option<Stat>, HostError> {
    let _ = (&root.fd, path);
    todo!()
}
pub fn read(_: &Root, _: &Path) -> Result<Option<Vec<u8>>, HostError> {
    todo!()
}
pub fn read_link(_: &Root, _: &Path) -> Result<Option<PathBuf>, HostError> {
    todo!()
}
pub fn list(_: &Root, _: &Path) -> Result<Option<Vec<OsString>>, HostError> {
    todo!()
}
pub fn replace(_: &Root, _: &Path, _: &NewFile<'_>) -> Result<(), HostError> {
    todo!()
}
pub fn make_dir(_: &Root, _: &Path, _: Option<Owner>, _: u32) -> Result<(), HostError> {
    todo!()
}
pub fn make_link(_: &Root, _: &Path, _: &Path, _: Option<Owner>) -> Result<(), HostError> {
    todo!()
}
pub fn set_attributes(_: &Root, _: &Path, _: Option<Owner>, _: Option<u32>) -> Result<(), HostError> {
    todo!()
}
pub fn remove(_: &Root, _: &Path) -> Result<(), HostError> {
    todo!()
}
pub fn remove_tree(_: &Root, _: &Path) -> Result<(), HostError> {
    todo!()
}
