// SPDX-License-Identifier: Apache-2.0
//! What listens, beside what is declared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::host::{Listener, Listening, Transport};
use crate::model::ObjectId;
use crate::resources::Resource as _;
use crate::resources::firewall::{Ports, Protocol};
use crate::resources::port::Port;

use super::published::Published;
use super::{Code, Finding, Process};

/// The program that stands in for a container's port beside the rules that pass it on: Docker's `userland-proxy`.
const DOCKER_PROXY: &str = "docker-proxy";

/// Whether the port is declared, by itself or in a range.
pub fn is_declared(declared: &[Ports], port: Ports) -> bool {
    (port.first..=port.last).all(|number| declared.iter().any(|ports| ports.contains(port.protocol, number)))
}

/// Returns the object that a port is, or would be.
pub fn object(port: Ports) -> ObjectId {
    ObjectId::new(Port::KIND, port.to_string())
}

/// Returns the port on which a socket listens.
fn port_of(socket: &Listener) -> Ports {
    let protocol = match socket.transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    };
    Ports { protocol, first: socket.port, last: socket.port }
}

/// Returns the inodes of the sockets whose processes are to be named.
pub fn to_be_named(declared: &[Ports], listening: &Listening) -> BTreeSet<u64> {
    undeclared(declared, listening).map(|socket| socket.inode).collect()
}

/// Returns what is declared and not served. `published` serve as well, for what is passed on needs no socket here.
///
/// Of ranges nothing is said: they are for what comes and goes. Neither is it of UDP ports among those of clients, for the
/// sockets there are not known.
pub fn not_listening(declared: &[Ports], listening: &Listening, published: &[Published]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for port in declared.iter().filter(|port| port.first == port.last) {
        let is_unknown = port.protocol == Protocol::Udp && listening.client_ports.contains(&port.first);
        if is_unknown || published.iter().any(|published| published.may_be(*port)) {
            continue;
        }
        let sockets = listening.sockets.iter().filter(|socket| port_of(socket) == *port);
        let (inside, open): (Vec<_>, Vec<_>) = sockets.partition(|socket| socket.address.is_loopback());
        let message = match (inside.is_empty(), open.is_empty()) {
            (_, false) => continue,
            (true, true) => {
                "declared, and nobody listens on it; start what shall serve it, or take the port out of the repo"
            }
            (false, true) => {
                "declared, and what listens on it does so on the loopback alone; have it listen on an address of this \
                 host, or take the port out of the repo"
            }
        };
        findings.push(Finding {
            code: Code::NotListening,
            object: Some(object(*port)),
            place: None,
            process: None,
            message: message.to_owned(),
        });
    }
    findings
}

/// Returns what listens beyond the loopback and is not declared. `processes` has those that could be found, by inode.
pub fn undeclared_listeners(
    declared: &[Ports],
    listening: &Listening,
    processes: &BTreeMap<u64, Process>,
) -> Vec<Finding> {
    let mut sockets: BTreeMap<Ports, Vec<&Listener>> = BTreeMap::new();
    for socket in undeclared(declared, listening) {
        sockets.entry(port_of(socket)).or_default().push(socket);
    }
    let finding = |(port, sockets): (Ports, Vec<&Listener>)| {
        let process = sockets.iter().find_map(|socket| processes.get(&socket.inode)).cloned();
        let addresses: BTreeSet<String> =
            sockets.iter().map(|socket| SocketAddr::new(socket.address, socket.port).to_string()).collect();
        let place = addresses.into_iter().collect::<Vec<_>>().join(", ");
        let who = process.as_ref().map_or_else(|| "a process that cannot be told".to_owned(), Process::to_string);
        let (code, message) = match &process {
            Some(process) if process.name == DOCKER_PROXY => (
                Code::PublishedPort,
                format!(
                    "{who} takes it for a container on {place}, and no port declares it; declare {port}, or publish it \
                     on 127.0.0.1 alone"
                ),
            ),
            _ => (
                Code::UndeclaredListener,
                format!(
                    "{who} listens on {place}, and no port declares it; declare {port}, have it listen on the loopback \
                     alone, or stop it"
                ),
            ),
        };
        Finding { code, object: Some(object(port)), place: Some(place), process, message }
    };
    sockets.into_iter().map(finding).collect()
}

fn undeclared<'l>(declared: &'l [Ports], listening: &'l Listening) -> impl Iterator<Item = &'l Listener> {
    let is_open = |address: &IpAddr| !address.is_loopback();
    listening.sockets.iter().filter(move |socket| is_open(&socket.address) && !is_declared(declared, port_of(socket)))
}
