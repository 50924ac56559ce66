// SPDX-License-Identifier: Apache-2.0
//! Sockets of hostwrit's own on which it listens.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::HostError;
use super::append::own_path;
use super::files::Root;

/// Listens at `path`, in a directory that only root writes to. A socket that nobody listens on any more is replaced.
pub(super) fn listen(root: &Root, path: &Path, mode: u32) -> Result<UnixListener, HostError> {
    let file = own_path(root, path);
    let listen = || {
        if UnixStream::connect(&file).is_ok() {
            return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "another process listens there"));
        }
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&file)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
        Ok(listener)
    };
    listen().map_err(HostError::file("listen on", path))
}
