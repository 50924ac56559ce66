// SPDX-License-Identifier: Apache-2.0
//! What the kernel says of TCP sessions and of the host's own addresses: /proc/net/{tcp,tcp6,fib_trie,if_inet6}, as proc(5) and the
//! kernel's Documentation/networking/proc_net_tcp.rst describe them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::host::{HostError, ReadHost};

/// One end of a TCP connection that is, or was, on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) state: State,
}

/// As include/net/tcp_states.h numbers them; those that are told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Established,
    Listen,
    /// This host has closed it, before the other side did.
    ClosedHere,
    Other,
}

impl State {
    fn of(number: u8) -> Self {
        match number {
            1 => Self::Established,
            10 => Self::Listen,
            // FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSING.
            4 | 5 | 6 | 11 => Self::ClosedHere,
            _ => Self::Other,
        }
    }
}

/// Returns all TCP sockets.
pub(super) fn tcp(host: &dyn ReadHost) -> Result<Vec<Session>, HostError> {
    let mut sessions = Vec::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // A kernel without IPv6 has no second table.
        let table = host.read(Path::new(path))?.unwrap_or_default();
        sessions.extend(String::from_utf8_lossy(&table).lines().filter_map(session));
    }
    Ok(sessions)
}

/// Reads a line; `None` for the title, and for what is no line of such a table.
fn session(line: &str) -> Option<Session> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (socket(words.next()?)?, socket(words.next()?)?);
    Some(Session { local, remote, state: State::of(u8::from_str_radix(words.next()?, 16).ok()?) })
}

/// Reads `0100007F:0016`: the address as words of 32 bits in the host's byte order, the port as a number.
fn socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words: Vec<[u8; 4]> = (0..address.len())
        .step_by(8)
        .map(|at| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    let address = match <[u8; 16]>::try_from(words.concat()) {
        Ok(bytes) => Ipv6Addr::from(bytes).to_canonical(),
        Err(bytes) => IpAddr::V4(<[u8; 4]>::try_from(bytes).ok()?.into()),
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

/// Returns the addresses at which others reach this host: neither loopback nor of one link alone.
pub(super) fn addresses(host: &dyn ReadHost) -> Result<BTreeSet<IpAddr>, HostError> {
    let read = |path: &str| -> Result<String, HostError> {
        Ok(String::from_utf8_lossy(&host.read(Path::new(path))?.unwrap_or_default()).into_owned())
    };
    let (trie, ipv6) = (read("/proc/net/fib_trie")?, read("/proc/net/if_inet6")?);
    let found =
        local_ipv4(&trie).into_iter().map(IpAddr::V4).chain(ipv6.lines().filter_map(local_ipv6).map(IpAddr::V6));
    Ok(found.filter(|address| !address.is_loopback()).collect())
}

/// Reads the table of routes: `|-- 192.0.2.11` and below it `/32 host LOCAL`.
fn local_ipv4(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut leaf = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if let (Some(address), "/32 host LOCAL") = (leaf, line) {
            found.push(address);
        }
    }
    found
}

/// Reads `20010db8000000000000000000000001 02 40 00 80 host0`: address, interface, prefix, scope, flags, name. Scope 0 is global.
fn local_ipv6(line: &str) -> Option<Ipv6Addr> {
    let mut words = line.split_ascii_whitespace();
    let address = u128::from_str_radix(words.next()?, 16).ok()?;
    (words.nth(2)? == "00").then_some(Ipv6Addr::from(address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_of_each_table_is_read() {
        let line = "   1: 0B0200C0:0016 010200C0:C350 01 00000000:00000000 02:000A 00000000     0        0 12 2 0000 20 4 30 10 -1";
        let read = session(line).unwrap();
        assert_eq!(
            (read.local.to_string(), read.remote.to_string()),
            ("192.0.2.11:22".into(), "192.0.2.1:50000".into())
        );
        assert_eq!(read.state, State::Established);
        let line =
            "   0: B80D0120000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000";
        let read = session(line).unwrap();
        assert_eq!((read.local.to_string().as_str(), read.state), ("[2001:db8::1]:22", State::Listen));
        let line = "   0: 0000000000000000FFFF00000B0200C0:0016 0000000000000000FFFF0000010200C0:0001 06";
        let read = session(line).unwrap();
        assert_eq!((read.local.to_string().as_str(), read.state), ("192.0.2.11:22", State::ClosedHere));
        assert_eq!(
            session("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"),
            None
        );
    }

    #[test]
    fn own_addresses_are_those_that_others_reach() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 127.0.0.0/8 2 0 2\n\
                    |-- 127.0.0.1\n              /32 host LOCAL\n     |-- 192.0.2.0\n        /24 link UNICAST\n\
                    |-- 192.0.2.11\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        assert_eq!(local_ipv4(trie), [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 11)]);
        assert_eq!(
            local_ipv6("20010db8000000000000000000000001 02 40 00 80    host0"),
            Some("2001:db8::1".parse().unwrap())
        );
        assert_eq!(local_ipv6("fe8000000000000000000000000000001 02 40 20 80    host0"), None);
        assert_eq!(local_ipv6("fe800000000000000000000000000001 02 40 20 80    host0"), None);
    }

    proptest! {
        #[test]
        fn no_table_makes_the_reader_panic(text: String) {
            let _ = session(&text);
            let _ = socket(&text);
            let _ = local_ipv4(&text);
            let _ = local_ipv6(&text);
        }

        #[test]
        fn no_address_makes_the_reader_panic(address in "[0-9A-Fa-f:é]{0,40}", port in "[0-9A-F]{0,6}") {
            let _ = socket(&format!("{address}:{port}"));
        }
    }
}
