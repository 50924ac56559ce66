// SPDX-License-Identifier: Apache-2.0
//! Whether somebody listens on a unix socket of the managed host.

use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_to, socket};

use super::HostError;

/// Connects to the stream socket at `path`, and hangs up. A queue that is full is no listener: nothing is waited for.
pub(super) fn connect(path: &Path) -> Result<(), HostError> {
    let connect = || -> Result<(), Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect_to(stream.as_raw_fd(), &UnixAddr::new(path)?)
    };
    connect().map_err(|errno| HostError::file("connect to", path)(errno.into()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;
    use crate::model::chain;

    #[test]
    fn a_socket_on_which_somebody_listens_can_be_connected_to_and_nothing_else_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let listener = UnixListener::bind(path("live")).unwrap();
        assert!(connect(&path("live")).is_ok());
        drop(listener);
        let told = chain(&connect(&path("live")).unwrap_err());
        assert!(told.contains("cannot connect to") && told.contains("refused"), "{told}");
        assert!(connect(&path("missing")).is_err());
        let _datagrams = UnixDatagram::bind(path("datagrams")).unwrap();
        assert!(connect(&path("datagrams")).is_err());
        assert!(connect(Path::new(&format!("/{}", "x".repeat(200)))).is_err());
    }

    #[test]
    fn a_listener_that_takes_nobody_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("full");
        let _listener = UnixListener::bind(&path).unwrap();
        // The connections of this test are closed and still wait in the queue, until that is full.
        assert!((0..10_000).any(|_| connect(&path).is_err()));
    }
}
