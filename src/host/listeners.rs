// SPDX-License-Identifier: Apache-2.0
//! What listens on the running system, and whose processes they are: from /proc, without another program.
//!
//! Formats: proc(5), and the kernel's Documentation/networking/proc_net_tcp.rst. What the kernel does not let us read is
//! left out: who listens is told to people, and decides nothing.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::HostError;
use super::processes::{self, Process};

/// Where the kernel says from which ports clients get theirs: ip-sysctl.rst.
const CLIENT_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// What the kernel takes when nobody has changed it.
const USUAL_CLIENT_PORTS: RangeInclusive<u16> = 32768..=60999;

/// What waits for others on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// In order of protocol, port and address.
    pub sockets: Vec<Listener>,
    /// Ports that the kernel gives to clients. UDP sockets there are left out of `sockets`: nothing tells those of servers
    /// from those of clients, which come and go with each question to a name server.
    pub client_ports: RangeInclusive<u16>,
}

/// A socket on which somebody waits for others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    pub transport: Transport,
    pub port: u16,
    /// IPv6's own form of an IPv4 address is given as that. `::` stands, as a rule, for IPv4 as well.
    pub address: IpAddr,
    /// The number by which processes hold the socket.
    pub inode: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// Returns the word that the repo and nftables know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Where sockets were found, by inode, so that they need not be looked for again.
#[derive(Debug, Default)]
pub(super) struct Holders(Mutex<BTreeMap<u64, Option<Place>>>);

/// Process and descriptor.
type Place = (u32, u32);

/// Reads what listens.
///
/// # Errors
/// A list of the kernel is there and cannot be read.
pub(super) fn listening() -> Result<Listening, HostError> {
    let range = fs::read_to_string(CLIENT_PORTS).ok();
    let client_ports = range.and_then(|text| parse_range(&text)).unwrap_or(USUAL_CLIENT_PORTS);
    let mut sockets = Vec::new();
    for (path, transport) in [
        ("/proc/net/tcp", Transport::Tcp),
        ("/proc/net/tcp6", Transport::Tcp),
        ("/proc/net/udp", Transport::Udp),
        ("/proc/net/udp6", Transport::Udp),
    ] {
        let path = Path::new(path);
        match File::open(path) {
            Ok(file) => {
                let read = read_table(BufReader::new(file), transport).map_err(HostError::file("read", path))?;
                sockets.extend(read);
            }
            // A kernel without IPv6 has no list of it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(HostError::file("open", path)(error)),
        }
    }
    sockets.retain(|socket| socket.transport == Transport::Tcp || !client_ports.contains(&socket.port));
    sockets.sort_unstable();
    Ok(Listening { sockets, client_ports })
}

/// Returns the listening sockets of one list.
///
/// Of TCP the kernel lists those that listen first, so the connections after them, of which there may be many, are not read.
fn read_table(table: impl io::BufRead, transport: Transport) -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        match (parse_line(&line?, transport), transport) {
            (Some(listener), _) => found.push(listener),
            (None, Transport::Tcp) => break,
            (None, Transport::Udp) => {}
        }
    }
    Ok(found)
}

/// Reads one line of a list; `None` if its socket does not listen, or it is no such line.
fn parse_line(line: &str, transport: Transport) -> Option<Listener> {
    // TCP_LISTEN; of UDP TCP_CLOSE, which is what a socket without a peer has.
    let waits = match transport {
        Transport::Tcp => "0A",
        Transport::Udp => "07",
    };
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, remote, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
    let (address, port) = parse_address(local)?;
    let (peer, peer_port) = parse_address(remote)?;
    let is_alone = peer.is_unspecified() && peer_port == 0;
    (state == waits && is_alone).then_some(())?;
    Some(Listener { transport, port, address, inode: inode.parse().ok()? })
}

/// Reads `0100007F:0016`: the address as words in the byte order of this machine, and the port.
fn parse_address(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex(address) || !is_hex(port) || port.len() != 4 {
        return None;
    }
    let words: Option<Vec<[u8; 4]>> = address
        .as_bytes()
        .chunks(8)
        .map(|word| Some(u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes()))
        .collect();
    let address = match (address.len(), words?.as_slice()) {
        (8, [word]) => IpAddr::V4(Ipv4Addr::from(*word)),
        (32, [a, b, c, d]) => {
            let bytes: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    let (from, to) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(from..=to)
}

impl Holders {
    /// Returns the process that holds each of these sockets, where it can be told: of several the eldest, and systemd only
    /// where nobody else does, for it keeps the sockets that it opens for others.
    ///
    /// All processes are looked through only if one that is known has gone or a socket is new.
    pub(super) fn of(&self, inodes: &BTreeSet<u64>) -> BTreeMap<u64, Process> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |inode: &u64| match known.get(inode) {
            Some(Some((pid, fd))) => held_at(*pid, *fd) == Some(*inode),
            // The kernel's own, as that of an NFS server is.
            Some(None) => true,
            None => false,
        };
        if !inodes.iter().all(is_known) {
            let found = search(inodes);
            *known = inodes.iter().map(|inode| (*inode, found.get(inode).copied())).collect();
        }
        let process = |inode: &u64| Some((*inode, processes::of(known.get(inode)?.as_ref()?.0)?));
        inodes.iter().filter_map(process).collect()
    }
}

/// Looks through the descriptors of all processes for sockets.
fn search(wanted: &BTreeSet<u64>) -> BTreeMap<u64, Place> {
    let mut pids: Vec<u32> = numbers_in("/proc");
    // By number is nearly by age, and systemd comes last.
    pids.sort_unstable_by_key(|pid| (*pid == 1, *pid));
    let mut found = BTreeMap::new();
    for pid in pids {
        if found.len() == wanted.len() {
            break;
        }
        for fd in numbers_in(&format!("/proc/{pid}/fd")) {
            if let Some(inode) = held_at(pid, fd).filter(|inode| wanted.contains(inode)) {
                found.entry(inode).or_insert((pid, fd));
            }
        }
    }
    found
}

/// Returns the names in a directory that are numbers; none where it is gone or closed to us.
fn numbers_in(dir: &str) -> Vec<u32> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Returns the inode of the socket at a descriptor of a process.
fn held_at(pid: u32, fd: u32) -> Option<u64> {
    let target = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
