// SPDX-License-Identifier: Apache-2.0

use std::net::{TcpListener, TcpStream, UdpSocket};

use proptest::prelude::*;

use super::*;
use crate::host::processes::parse_status;

/// Two servers, and a connection of one of them.
const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 4712 1 0000000000000000 100 0 0 10 0
   2: 0100007F:0016 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000 20 4 30 10 -1
";

const UDP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: B80D0120000000000000000001000000:0223 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000   998        0 815 2 0000000000000000 0
  101: 0000000000000000FFFF00000200A8C0:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000   998        0 816 2 0000000000000000 0
  102: B80D0120000000000000000001000000:0224 B80D0120000000000000000002000000:0035 01 00000000:00000000 00:00000000 00000000   998        0 817 2 0000000000000000 0
";

fn read(table: &str, transport: Transport) -> Vec<(String, u16, u64)> {
    let found = read_table(table.as_bytes(), transport).unwrap();
    found.into_iter().map(|socket| (socket.address.to_string(), socket.port, socket.inode)).collect()
}

#[test]
#[cfg(target_endian = "little")]
fn lists_of_the_kernel_are_read_as_it_writes_them() {
    assert_eq!(read(TCP, Transport::Tcp), [("0.0.0.0".to_owned(), 22, 4711), ("127.0.0.1".to_owned(), 8080, 4712)]);
    let udp = [("2001:db8::1".to_owned(), 547, 815), ("192.168.0.2".to_owned(), 53, 816)];
    assert_eq!(read(UDP6, Transport::Udp), udp);
    assert_eq!(read("", Transport::Udp), []);
}

#[test]
fn a_process_is_who_it_acts_as() {
    let status = b"Name:\tnginx\x1b[2J\nUmask:\t0022\nUid:\t0\t33\t0\t33\nGid:\t0\t0\t0\t0\n";
    let process = parse_status(7, status).unwrap();
    assert_eq!((process.pid, process.name.as_str(), process.uid), (7, "nginx\u{fffd}[2J", 33));
    assert_eq!(parse_status(7, b"Name:\tnginx\n"), None);
}

#[test]
fn ranges_of_ports_are_two_numbers() {
    assert_eq!(parse_range("32768\t60999\n"), Some(32768..=60999));
    for text in ["", "1", "a b", "1 70000"] {
        assert_eq!(parse_range(text), None, "{text:?}");
    }
}

/// Looks at this very process, which holds the sockets.
#[test]
fn sockets_of_this_process_are_found_with_it() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    // A connection of the same port, as the kernel lists many on a busy host.
    let _connection = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let own = |listening: &Listening| {
        let port = tcp.local_addr().unwrap().port();
        listening.sockets.iter().find(|socket| socket.transport == Transport::Tcp && socket.port == port).cloned()
    };
    let found = own(&listening().unwrap()).expect("the listening socket is in the kernel's list");
    assert_eq!(found.address, tcp.local_addr().unwrap().ip());

    let holders = Holders::default();
    for _ in 0..2 {
        let found = holders.of(&[found.inode, u64::MAX].into());
        assert_eq!(found.len(), 1, "{found:?}");
        let process = &found[&inode(&tcp)];
        assert_eq!((process.pid, process.uid), (std::process::id(), nix::unistd::geteuid().as_raw()));
    }
    drop(tcp);
    assert!(holders.of(&[found.inode].into()).is_empty(), "nobody holds it any more");
}

#[test]
fn a_client_that_asks_a_name_server_is_no_listener() {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = client.local_addr().unwrap().port();
    let listening = listening().unwrap();
    assert!(listening.client_ports.contains(&port), "{port} is none of {:?}", listening.client_ports);
    let is_client = |socket: &Listener| socket.transport == Transport::Udp && socket.port == port;
    assert!(!listening.sockets.iter().any(is_client));
}

fn inode(socket: &TcpListener) -> u64 {
    use std::os::fd::AsRawFd as _;
    held_at(std::process::id(), u32::try_from(socket.as_raw_fd()).unwrap()).unwrap()
}

/// Writes an address as the kernel does.
fn written(address: IpAddr, port: u16) -> String {
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let words = octets.chunks(4).map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap())));
    format!("{}:{port:04X}", words.collect::<String>())
}

proptest! {
    #[test]
    fn addresses_are_read_back(address: IpAddr, port: u16) {
        prop_assert_eq!(parse_address(&written(address, port)), Some((address.to_canonical(), port)));
    }

    #[test]
    fn no_line_ends_the_program(line in "\\PC*", bytes: Vec<u8>) {
        for transport in [Transport::Tcp, Transport::Udp] {
            let _ = parse_line(&line, transport);
            let _ = read_table(bytes.as_slice(), transport);
        }
        let _ = parse_status(1, &bytes);
    }

    #[test]
    fn nearly_a_line_is_none_or_a_listener(at in 0usize..150, with in "\\PC") {
        let line = TCP.lines().nth(1).unwrap();
        let cut: String = line.chars().take(at).chain(with.chars()).chain(line.chars().skip(at + 1)).collect();
        if let Some(listener) = parse_line(&cut, Transport::Tcp) {
            prop_assert_eq!(listener.transport, Transport::Tcp);
        }
    }
}
