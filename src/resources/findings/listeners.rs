// SPDX-License-Identifier: Apache-2.0
//! What listens, beside what is declared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use crate::host::{Listener, Listening, Transport};
use crate::model::ObjectId;

use super::published::Published;
use super::{Code, Finding, Process};

/// The program that stands in for a container's port beside the rules that pass it on: Docker's `userland-proxy`.
const DOCKER_PROXY: &str = "docker-proxy";

/// What of a declared port counts here.
#[derive(Clone, Debug)]
pub struct DeclaredPort {
    pub object: ObjectId,
    pub transport: Transport,
    pub ports: RangeInclusive<u16>,
}

impl DeclaredPort {
    fn has(&self, transport: Transport, port: u16) -> bool {
        self.transport == transport && self.ports.contains(&port)
    }
}

/// Whether one of the ports is declared.
pub fn is_declared(declared: &[DeclaredPort], transport: Transport, port: u16) -> bool {
    declared.iter().any(|one| one.has(transport, port))
}

/// Returns the object that a port is, or would be.
pub fn object(transport: Transport, port: u16) -> ObjectId {
    ObjectId::new("port", format!("{port}/{}", transport.as_str()))
}

/// Returns the inodes of the sockets whose processes are to be named.
pub fn to_be_named(declared: &[DeclaredPort], listening: &Listening) -> BTreeSet<u64> {
    undeclared(declared, listening).map(|socket| socket.inode).collect()
}

/// Returns what is declared and not served. `published` serve as well, for what is passed on needs no socket here.
///
/// Of ranges nothing is said: they are for what comes and goes. Neither is it of UDP ports among those of clients, for the
/// sockets there are not known.
pub fn not_listening(declared: &[DeclaredPort], listening: &Listening, published: &[Published]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for port in declared.iter().filter(|port| port.ports.start() == port.ports.end()) {
        let (transport, number) = (port.transport, *port.ports.start());
        let is_unknown = transport == Transport::Udp && listening.client_ports.contains(&number);
        let is_passed_on = published.iter().any(|published| published.may_be(transport, number));
        if is_unknown || is_passed_on {
            continue;
        }
        let sockets = listening.sockets.iter().filter(|socket| socket.transport == transport && socket.port == number);
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
            object: Some(port.object.clone()),
            place: None,
            process: None,
            message: message.to_owned(),
        });
    }
    findings
}

/// Returns what listens beyond the loopback and is not declared. `processes` has those that could be found, by inode.
pub fn undeclared_listeners(
    declared: &[DeclaredPort],
    listening: &Listening,
    processes: &BTreeMap<u64, Process>,
) -> Vec<Finding> {
    let mut sockets: BTreeMap<(Transport, u16), Vec<&Listener>> = BTreeMap::new();
    for socket in undeclared(declared, listening) {
        sockets.entry((socket.transport, socket.port)).or_default().push(socket);
    }
    let finding = |((transport, port), sockets): ((Transport, u16), Vec<&Listener>)| {
        let process = sockets.iter().find_map(|socket| processes.get(&socket.inode)).cloned();
        let addresses: BTreeSet<String> =
            sockets.iter().map(|socket| SocketAddr::new(socket.address, socket.port).to_string()).collect();
        let place = addresses.into_iter().collect::<Vec<_>>().join(", ");
        let name = format!("{port}/{}", transport.as_str());
        let who = process.as_ref().map_or_else(|| "a process that cannot be told".to_owned(), Process::to_string);
        let (code, message) = match &process {
            Some(process) if process.name == DOCKER_PROXY => (
                Code::PublishedPort,
                format!(
                    "{who} takes it for a container on {place}, and no port declares it; declare {name}, or publish it \
                     on 127.0.0.1 alone"
                ),
            ),
            _ => (
                Code::UndeclaredListener,
                format!(
                    "{who} listens on {place}, and no port declares it; declare {name}, have it listen on the loopback \
                     alone, or stop it"
                ),
            ),
        };
        Finding { code, object: Some(object(transport, port)), place: Some(place), process, message }
    };
    sockets.into_iter().map(finding).collect()
}

fn undeclared<'l>(declared: &'l [DeclaredPort], listening: &'l Listening) -> impl Iterator<Item = &'l Listener> {
    let is_open = |address: &IpAddr| !address.is_loopback();
    listening
        .sockets
        .iter()
        .filter(move |socket| is_open(&socket.address) && !is_declared(declared, socket.transport, socket.port))
}
