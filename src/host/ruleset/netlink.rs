// SPDX-License-Identifier: Apache-2.0
//! Questions to the kernel's packet filter, and how its answers are laid out.
//!
//! Netlink messages as in linux/netlink.h, linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

pub(super) const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(super) const NFT_MSG_NEWGEN: u16 = 15;

const NLM_F_REQUEST: u16 = 1;
/// In a question: all that there is. In an answer: what was told before may be wrong, for it was changed meanwhile.
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Length of a `struct nlmsghdr`, and of a `struct nfgenmsg`.
const HEADER: usize = 16;
const NFGENMSG: usize = 4;

/// The kernel fills at most 32 KiB at once.
const BUFFER: usize = 64 * 1024;

pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?)
}

/// Asks a question that one message answers, and has `take` read that.
pub(super) fn ask(kind: u16, take: impl FnMut(&[u8])) -> io::Result<()> {
    converse(&request(kind, NLM_F_REQUEST, 0, &[]), false, take)
}

/// Asks for all that there is of something, and has `take` read each message of the answer.
///
/// # Errors
/// Of the kind `Interrupted` if the ruleset was changed before all was told: what was taken may be wrong, and asking again helps.
pub(super) fn dump(kind: u16, family: u8, attributes: &[(u16, &[u8])], take: impl FnMut(&[u8])) -> io::Result<()> {
    converse(&request(kind, NLM_F_REQUEST | NLM_F_DUMP, family, attributes), true, take)
}

fn converse(request: &[u8], is_dump: bool, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let socket = open()?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
    sendto(socket.as_raw_fd(), request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    loop {
        // With this flag the kernel tells the length of what did not fit, too.
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC)?;
        let is_over = read(buffer.get(..length).ok_or_else(broken)?, &mut take)?;
        if is_over || !is_dump {
            return Ok(());
        }
    }
}

fn request(kind: u16, flags: u16, family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    // The version is 0, and there is no resource.
    let mut body = vec![family, 0, 0, 0];
    for (kind, value) in attributes {
        body.extend(u16::try_from(value.len() + 4).unwrap_or(u16::MAX).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend((NFNL_SUBSYS_NFTABLES << 8 | kind).to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and port: each question has a socket of its own.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Reads what the kernel sent at once; returns whether that was the end of a list.
pub(super) fn read(bytes: &[u8], take: &mut impl FnMut(&[u8])) -> io::Result<bool> {
    let mut rest = bytes;
    while let Some(message) = next(&mut rest) {
        if u16_at(message, 6).ok_or_else(broken)? & NLM_F_DUMP_INTR != 0 {
            return Err(io::Error::from_raw_os_error(Errno::EINTR as i32));
        }
        match kind(message) {
            NLMSG_NOOP => {}
            NLMSG_ERROR => return refused(message).and(Err(broken())),
            NLMSG_DONE => return refused(message).map(|()| true),
            _ => take(message),
        }
    }
    if rest.is_empty() { Ok(false) } else { Err(broken()) }
}

/// Fails with the number that the kernel gives as the reason, if it gives one.
fn refused(message: &[u8]) -> io::Result<()> {
    match u32_at(message, HEADER).ok_or_else(broken)?.cast_signed() {
        0.. => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    }
}

pub(super) fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer cannot be understood")
}

/// Takes the first message; nothing where there is none, or `rest` begins with something else.
pub(super) fn next<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(u32_at(rest, 0)?).ok().filter(|length| *length >= HEADER)?;
    let message = rest.get(..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(message)
}

/// Returns what a message is about: a subsystem, and one of its words.
pub(super) fn kind(message: &[u8]) -> u16 {
    u16_at(message, 4).unwrap_or_default()
}

/// Returns the family of addresses that a message of the packet filter is about.
pub(super) fn family(message: &[u8]) -> u8 {
    message.get(HEADER).copied().unwrap_or_default()
}

/// Returns the attributes of one message, by type.
pub(super) fn attributes(message: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    nested(message.get(HEADER + NFGENMSG..).unwrap_or_default())
}

/// Returns the attributes that are the value of another one, by type. What is cut off is left out.
pub(super) fn nested(value: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        // The two highest bits of a type are flags.
        let kind = u16_at(rest, 2)? & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Returns a number that is the value of an attribute; those of the packet filter are in network byte order.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// Returns a text that is the value of an attribute.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.strip_suffix(b"\0")?).ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
