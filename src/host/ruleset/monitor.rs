// SPDX-License-Identifier: Apache-2.0
//! Changes of hostwrit's table, told by the kernel as they happen: multicast group `NFNLGRP_NFTABLES` of netlink.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, bind, recv, setsockopt, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::TABLE;
use super::netlink::{NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN, attributes, kind, next, open, text};

/// `NFNLGRP_NFTABLES` is the seventh group; an address has one bit for each.
const GROUP: u32 = 1 << 6;

/// The first attribute of tables, chains, rules, sets and elements names their table (linux/netfilter/nf_tables.h).
const TABLE_NAME: u16 = 1;

/// Somebody who loads a block list makes thousands of messages at once; one that does not fit is told by `ENOBUFS`.
const QUEUE: usize = 1024 * 1024;

/// More messages than this are not taken in one go.
const DRAINED_MAX: usize = 65_536;

/// Listens for changes of hostwrit's table. Made and used inside a tokio runtime; without changes it costs nothing.
#[derive(Debug)]
pub struct RulesetMonitor {
    socket: AsyncFd<OwnedFd>,
}

impl RulesetMonitor {
    /// Begins to listen.
    ///
    /// # Errors
    /// The kernel has no netfilter, or does not let us listen.
    pub fn new() -> io::Result<Self> {
        let socket = open()?;
        // Best effort: a queue of the usual length is fine too.
        let _ = setsockopt(&socket, sockopt::RcvBuf, &QUEUE);
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
        #[expect(deprecated, reason = "its successor is unsafe for types that do not keep their descriptor; ours does")]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Self { socket })
    }

    /// Waits until a table was changed, anybody's. May be dropped at any time.
    ///
    /// # Errors
    /// The socket is gone.
    pub async fn ready(&self) -> io::Result<()> {
        self.socket.readable().await.map(drop)
    }

    /// Takes what was told since the last time, without waiting; returns whether hostwrit's table is concerned.
    pub fn drain(&self) -> bool {
        let mut is_concerned = false;
        let mut buffer = vec![0; 64 * 1024];
        for _ in 0..DRAINED_MAX {
            let read = self.socket.try_io(Interest::READABLE, |socket| {
                Ok(recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?)
            });
            match read {
                Ok(length) => is_concerned |= is_of_own_table(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return is_concerned,
                // More was changed than the queue holds.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => is_concerned = true,
                Err(_) => return true,
            }
        }
        true
    }
}

/// Whether one of these messages is about hostwrit's table.
pub(super) fn is_of_own_table(messages: &[u8]) -> bool {
    let mut rest = messages;
    while let Some(message) = next(&mut rest) {
        // Words below this one tell of tables, chains, rules, sets and elements.
        let is_about_a_table = kind(message) >> 8 == NFNL_SUBSYS_NFTABLES && kind(message) & 0xff < NFT_MSG_NEWGEN;
        let name = attributes(message).find(|(kind, _)| *kind == TABLE_NAME).and_then(|(_, name)| text(name));
        if is_about_a_table && name == Some(TABLE) {
            return true;
        }
    }
    false
}
