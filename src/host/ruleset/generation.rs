// SPDX-License-Identifier: Apache-2.0
//! The number of the ruleset's generation, from the kernel itself: each transaction that changes anything counts it up.
//!
//! Netlink messages as in linux/netlink.h, linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::{KEPT, is_live};
use crate::host::HostError;
use crate::host::files::{self, Root};
use crate::model::Digest;

pub(super) const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWGEN: u16 = 15;
const NFT_MSG_GETGEN: u16 = 16;
const NFTA_GEN_ID: u16 = 1;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Length of a `struct nlmsghdr`, and of a `struct nfgenmsg`.
pub(super) const HEADER: usize = 16;
pub(super) const NFGENMSG: usize = 4;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Returns a text that is another one whenever the ruleset may be another one. It changes no ruleset to ask.
pub fn generation(root: &Root) -> Result<String, HostError> {
    if !is_live(root) {
        return of_kept(root);
    }
    let failed = |source: io::Error| HostError::Ruleset { action: "read", why: format!("netlink: {source}") };
    let number = ask().map_err(failed)?;
    // The kernel counts from the start of the system.
    let boot = files::read(root, Path::new(BOOT_ID))?.unwrap_or_default();
    Ok(format!("{} {number}", String::from_utf8_lossy(&boot).trim()))
}

fn of_kept(root: &Root) -> Result<String, HostError> {
    let mut all = Vec::new();
    for name in files::list(root, Path::new(KEPT))?.unwrap_or_default() {
        let content = files::read(root, &Path::new(KEPT).join(&name))?.unwrap_or_default();
        all.extend_from_slice(format!("{name:?} {}\n", content.len()).as_bytes());
        all.extend(content);
    }
    Ok(Digest::of(&all).to_string())
}

fn ask() -> io::Result<u32> {
    let socket = open()?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &request(), &kernel, MsgFlags::empty())?;
    let mut buffer = [0; 1024];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    answer(buffer.get(..length).unwrap_or_default())
}

pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?)
}

fn request() -> Vec<u8> {
    let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
    let length = u32::try_from(HEADER + NFGENMSG).unwrap_or_default();
    let mut message = Vec::with_capacity(HEADER + NFGENMSG);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and port: one question, one answer.
    message.extend([0; 8]);
    // Family, version, and no resource.
    message.extend([0; NFGENMSG]);
    message
}

/// Takes the number from the kernel's answer.
pub(super) fn answer(message: &[u8]) -> io::Result<u32> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer cannot be understood");
    let kind = u16_at(message, 4).ok_or_else(broken)?;
    if kind == NLMSG_ERROR {
        let code = u32_at(message, HEADER).ok_or_else(broken)?.cast_signed();
        return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
    }
    if kind != NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN {
        return Err(broken());
    }
    let (_, value) = attributes(message).find(|(kind, _)| *kind == NFTA_GEN_ID).ok_or_else(broken)?;
    let value: [u8; 4] = value.try_into().map_err(|_| broken())?;
    Ok(u32::from_be_bytes(value))
}

/// Returns the attributes of one message, by type. What is cut off is left out.
pub(super) fn attributes(message: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = message.get(HEADER + NFGENMSG..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        // The two highest bits of a type are flags.
        let kind = u16_at(rest, 2)? & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
