// SPDX-License-Identifier: Apache-2.0
//! What a host proves before it keeps a change, and what it can be asked to prove: no more than what held before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::host::{HostError, ReadHost, Tables, WriteHost};
use crate::model::chain;
use crate::resources::Desired;
use crate::resources::firewall::{self, Packet, Ports, Protocol, Table};
use crate::source::{Ask, Probe, Source, Trial};

use super::login;
use super::sockets::{self, Session, State};

/// What sshd says first (RFC 4253, section 4.2).
const BANNER: &str = "SSH-2.0-";
/// How long a listener has for its banner where it is not known whether it is sshd.
const FIRST_LOOK: Duration = Duration::from_millis(500);
/// How many listeners are asked whether they are sshd.
const MOST_LISTENERS: usize = 16;
/// How long sshd has to answer, which may be busy.
const SSH_TIME: Duration = Duration::from_secs(5);
/// How long a fetch may take that only proves that the remote answers.
const FETCH_TIME: Duration = Duration::from_secs(20);

/// Why nobody could log in for a proof.
const MORE: &str = "sshd asks all of them for more than a key";

/// Some addresses, of which a host that is open for anybody lets at least one in, whatever block lists it has.
const ANYWHERE: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V4(Ipv4Addr::new(100, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Whoever can look at the network, and what is asked of the remote.
pub(super) struct Network<'n> {
    pub(super) host: &'n dyn WriteHost,
    /// What the host is to be.
    pub(super) desired: &'n Desired,
    pub(super) source: &'n dyn Source,
    pub(super) ask: Ask,
    pub(super) stop: &'n AtomicBool,
}

impl Network<'_> {
    /// Asks the remote itself: a hint about it may be on another server.
    fn fetch(&self) -> Result<(), String> {
        let mut ask = Ask { hint: None, ..self.ask.clone() };
        ask.limits.time = ask.limits.time.min(FETCH_TIME);
        self.source.fetch(&ask, self.stop).map(drop).map_err(|error| chain(&error))
    }

    fn greets(&self, at: SocketAddr, time: Duration) -> Result<(), String> {
        let what = Trial::Tcp { address: at.to_string(), banner: Some(BANNER.to_owned()) };
        let probe = Probe { what, time: u64::try_from(time.as_millis()).unwrap_or(u64::MAX) };
        self.source.probe(&probe, self.stop).map_err(|error| error.to_string())
    }
}

/// How the host was reached before the change.
pub(super) struct Before {
    remote: Result<(), String>,
    /// Where sshd answered.
    ssh: BTreeSet<SocketAddr>,
    /// Who was logged in.
    sessions: Vec<Session>,
    /// Whether an administrator came in.
    login: Result<(), String>,
}

impl Before {
    /// Looks at the host before the change.
    ///
    /// # Errors
    /// The kernel's tables cannot be read.
    pub(super) fn look(network: &Network<'_>) -> Result<Self, HostError> {
        let sockets = sockets::tcp(network.host)?;
        let addresses = sockets::addresses(network.host)?;
        let ports: BTreeSet<u16> = sockets
            .iter()
            .filter(|socket| socket.state == State::Listen && !socket.local.ip().is_loopback())
            .map(|socket| socket.local.port())
            .collect();
        let candidates = ports.into_iter().take(MOST_LISTENERS);
        let ports: Vec<u16> = candidates
            .filter(|port| addresses.iter().any(|address| network.greets((*address, *port).into(), FIRST_LOOK).is_ok()))
            .collect();
        let pairs = ports.iter().flat_map(|port| addresses.iter().map(|address| SocketAddr::new(*address, *port)));
        let ssh: BTreeSet<SocketAddr> = pairs.filter(|at| network.greets(*at, FIRST_LOOK).is_ok()).collect();
        let is_login = |socket: &&Session| {
            socket.state == State::Established
                && ports.contains(&socket.local.port())
                && !socket.remote.ip().is_loopback()
                && !addresses.contains(&socket.remote.ip())
        };
        let sessions = sockets.iter().filter(is_login).copied().collect();
        let login =
            login::log_in(network.host, &addresses).and_then(|who| who.map(drop).ok_or_else(|| MORE.to_owned()));
        Ok(Self { remote: network.fetch(), ssh, sessions, login })
    }

    /// Proves that the host can be reached as before. Returns what was proven, and what could not be asked for.
    ///
    /// # Errors
    /// What does not hold any more.
    pub(super) fn prove(&self, network: &Network<'_>) -> Result<Vec<String>, String> {
        let read = |error: HostError| chain(&error);
        let addresses = sockets::addresses(network.host).map_err(read)?;
        Ok(vec![
            self.prove_sessions(network, &addresses)?,
            self.prove_ssh(network, &addresses)?,
            self.prove_login(network, &addresses)?,
            self.prove_remote(network)?,
        ])
    }

    fn prove_sessions(&self, network: &Network<'_>, addresses: &BTreeSet<IpAddr>) -> Result<String, String> {
        let now = sockets::tcp(network.host).map_err(|error| chain(&error))?;
        let is_lost = |session: &&Session| {
            // One that is gone without a trace was ended by the other side, who may just have left.
            let found = now.iter().find(|now| (now.local, now.remote) == (session.local, session.remote));
            found.is_some_and(|found| found.state == State::ClosedHere) || !addresses.contains(&session.local.ip())
        };
        match self.sessions.iter().find(is_lost) {
            Some(lost) => Err(format!("the SSH session from {} was cut off", lost.remote)),
            None if self.sessions.is_empty() => Ok("nobody was logged in by SSH".to_owned()),
            None => Ok(format!("SSH sessions are up: {}", self.sessions.len())),
        }
    }

    fn prove_ssh(&self, network: &Network<'_>, addresses: &BTreeSet<IpAddr>) -> Result<String, String> {
        if self.ssh.is_empty() {
            return Ok("SSH answered nowhere before the change, so it is not asked for".to_owned());
        }
        // An address that the host has no more is the remote's to notice, and the sessions'.
        let kept: Vec<SocketAddr> = self.ssh.iter().filter(|at| addresses.contains(&at.ip())).copied().collect();
        if kept.is_empty() {
            return Err("the host has none of the addresses any more at which SSH answered".to_owned());
        }
        let declared = management(network.desired);
        let mut greeting = BTreeSet::new();
        for at in &kept {
            // Where nothing is declared, SSH stays where it is.
            let ports = if declared.is_empty() { vec![at.port()] } else { declared.keys().copied().collect() };
            let mut refusals = Vec::new();
            for at in ports.into_iter().map(|port| SocketAddr::new(at.ip(), port)) {
                match network.greets(at, SSH_TIME) {
                    Ok(()) => drop(greeting.insert(at)),
                    Err(why) => refusals.push(format!("SSH does not answer at {at}: {why}")),
                }
            }
            if !greeting.iter().any(|greeting| greeting.ip() == at.ip()) {
                return Err(refusals.join("; "));
            }
        }
        for (port, sources) in &declared {
            if !greeting.iter().any(|at| at.port() == *port) {
                return Err(format!("SSH answers at no address on the management port {port}"));
            }
            prove_admission(network.host, *port, sources)?;
        }
        let shown: Vec<String> = greeting.iter().map(SocketAddr::to_string).collect();
        Ok(format!("SSH answers at {}", shown.join(", ")))
    }

    fn prove_login(&self, network: &Network<'_>, addresses: &BTreeSet<IpAddr>) -> Result<String, String> {
        if let Err(why) = &self.login {
            return Ok(format!("no administrator came in before the change, so it is not asked for: {why}"));
        }
        match login::log_in(network.host, addresses) {
            Ok(Some(who)) => Ok(format!("an administrator can log in by SSH and become root: {who}")),
            Ok(None) => Ok(format!("a login of an administrator is not asked for: {MORE}")),
            Err(why) => Err(format!("no administrator can log in by SSH and become root any more: {why}")),
        }
    }

    fn prove_remote(&self, network: &Network<'_>) -> Result<String, String> {
        match &self.remote {
            Err(why) => Ok(format!("the remote did not answer before the change, so it is not asked for: {why}")),
            Ok(()) => {
                network.fetch().map_err(|why| format!("the remote does not answer any more: {why}"))?;
                Ok("the remote answers".to_owned())
            }
        }
    }
}

/// Returns the declared ports on which administrators log in, each with some of those who may reach it.
fn management(desired: &Desired) -> BTreeMap<u16, Vec<IpAddr>> {
    let mut found: BTreeMap<u16, Vec<IpAddr>> = BTreeMap::new();
    for want in desired.ports.iter().filter_map(|declared| declared.want.as_ref()) {
        let Ports { protocol, first, last } = want.opening.ports;
        if !want.management || protocol != Protocol::Tcp {
            continue;
        }
        let sources = want.opening.from.ranges().map(|range| range.0);
        let sources: Vec<IpAddr> = if want.opening.from.is_empty() { ANYWHERE.into() } else { sources.collect() };
        for port in (first..=last).take(MOST_LISTENERS) {
            found.entry(port).or_default().extend(&sources);
        }
    }
    found
}

/// Demands that the rules in force let at least one of the sources in: a probe from the host to itself passes none of them.
fn prove_admission(host: &dyn ReadHost, port: u16, sources: &[IpAddr]) -> Result<(), String> {
    let ruleset = host.ruleset(Tables::Own).map_err(|error| chain(&error))?;
    let table = Table::read(&ruleset).map_err(|error| chain(&error))?;
    let is_admitted =
        |source: &IpAddr| firewall::admits(&table, Packet { source: *source, protocol: Protocol::Tcp, port });
    if table.is_empty() || sources.iter().any(is_admitted) {
        return Ok(());
    }
    Err(format!("the packet filter lets no management source in at port {port}"))
}
