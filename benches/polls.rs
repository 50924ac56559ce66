// SPDX-License-Identifier: Apache-2.0
//! What a poll that finds nothing new costs the server, through the courier and through `git fetch` in the same run; and how a
//! fleet comes back after an outage.
//!
//! Bytes and exchanges are counted by a relay between client and server. Processor time is that of the server and all that
//! it starts, over all polls of a client; clients take turns. `make bench`; `cargo bench --bench polls -- arrival` simulates the
//! fleet and measures nothing.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, reason = "measures from outside")]

#[path = "polls/arrival.rs"]
mod arrival;
#[path = "../tests/fixture/mod.rs"]
mod fixture;
#[path = "../tests/host/http_server.rs"]
mod http_server;
#[path = "polls/processes.rs"]
#[allow(dead_code)]
mod processes;
#[path = "polls/relay.rs"]
mod relay;
#[path = "polls/servers.rs"]
mod servers;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hostwrit::source::{Ask, Courier, Fetched, HashKind, Limits, Source as _};
use tempfile::TempDir;

use processes::{Running, cpu_of_children, ms};
use relay::{Count, Relay};
use servers::Server;

const ROUNDS: u32 = 4;
/// Polls of one client in one round.
const POLLS: u32 = 25;
/// Refs that nobody asks for.
const OTHER_REFS: usize = 1_000;
const REFS: [&str; 2] = [fixture::REF, "refs/hostwrit/heartbeat"];
/// How often each host of the fleet asks, for "hosts a core".
const INTERVAL: f64 = 60.0;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == http_server::ARGUMENT) {
        return http_server::serve(&arguments[at + 1], &arguments[at + 2]).unwrap();
    }
    if let Some(at) = arguments.iter().position(|argument| argument == servers::HINT) {
        return servers::serve_hint(&arguments[at + 1]);
    }
    if !arguments.iter().any(|argument| argument == "arrival") {
        polls();
        println!();
    }
    arrival::print();
}

/// What one client's polls cost.
#[derive(Default)]
struct Spent {
    polls: u32,
    count: Count,
    server: Duration,
    client: Duration,
}

impl Spent {
    fn server_ms(&self) -> f64 {
        ms(self.server) / f64::from(self.polls)
    }

    fn bytes(&self) -> f64 {
        (self.count.up + self.count.down) as f64
    }

    fn print(&self, server: &str, client: &str, peer: Option<&Self>) {
        let each = |number: u64| number as f64 / f64::from(self.polls);
        let ratio = |of: f64, to: f64| format!("{:.2}", of / to);
        let ratios = peer.map(|peer| [ratio(self.bytes(), peer.bytes()), ratio(self.server_ms(), peer.server_ms())]);
        let [bytes, cpu] = ratios.unwrap_or_default();
        println!(
            "{server:>12} {client:>14} {:>8.0} {:>6.0} {:>11.1} {:>9.1} {:>9.2} {:>9.2} {:>12.0} {bytes:>11} {cpu:>9}",
            each(self.count.up),
            each(self.count.down),
            each(self.count.connections),
            each(self.count.exchanges),
            self.server_ms(),
            ms(self.client) / f64::from(self.polls),
            INTERVAL * 1_000.0 / self.server_ms(),
        );
    }
}

fn polls() {
    let fleet = fixture::Fleet::new();
    fleet.repo.git(&["update-ref", REFS[1], "HEAD"]);
    let head = fleet.repo.id("HEAD");
    let others: String = (0..OTHER_REFS).map(|number| format!("create refs/changes/{number}/head {head}\n")).collect();
    let list = fleet.repo.path().join(".git/others");
    std::fs::write(&list, others).unwrap();
    let mut update = Command::new("git");
    update.current_dir(fleet.repo.path()).args(["update-ref", "--stdin"]).stdin(std::fs::File::open(&list).unwrap());
    assert!(update.status().unwrap().success());
    fleet.repo.git(&["pack-refs", "--all"]);

    println!(
        "a poll that finds nothing new, of a repo with {OTHER_REFS} other refs; {} polls a client, in turns",
        ROUNDS * POLLS
    );
    println!(
        "{:>12} {:>14} {:>8} {:>6} {:>11} {:>9} {:>9} {:>9} {:>12} {:>11} {:>9}",
        "server",
        "client",
        "bytes up",
        "down",
        "connections",
        "exchanges",
        "server ms",
        "client ms",
        "hosts a core",
        "bytes ratio",
        "cpu ratio"
    );
    let folder = fleet.repo.path();
    for server in [Server::git(folder), Server::http(folder)] {
        let relay = Relay::to(server.port);
        let url = format!("{}://127.0.0.1:{}{}", server.scheme, relay.port, server.path);
        let (courier, git) = (Client::courier(&url, None), Client::git(&url));
        let [mut ours, mut fetch] = [Spent::default(), Spent::default()];
        for _ in 0..ROUNDS {
            fetch.add(&server, &relay, || git.poll(), cpu_of_children);
            ours.add(&server, &relay, || courier.poll(), || courier.cpu());
        }
        fetch.print(server.name, "git fetch", None);
        ours.print(server.name, "courier", Some(&fetch));
    }

    // The hint spares the Git server; it needs none to be there but for the first answer.
    let (git, hint) = (Server::git(folder), Server::hint());
    let relay = Relay::to(hint.port);
    let remote = format!("git://127.0.0.1:{}{}", git.port, git.path);
    let courier = Client::courier(&remote, Some(format!("http://127.0.0.1:{}/infra.tip", relay.port)));
    let (git_before, mut spent) = (git.cpu(), Spent::default());
    for _ in 0..ROUNDS * 8 {
        spent.add(&hint, &relay, || courier.poll(), || courier.cpu());
    }
    spent.print(hint.name, "courier", None);
    assert!(git.cpu() - git_before <= Duration::from_millis(10), "Git was asked although the hint was the same");
}

impl Spent {
    fn add(&mut self, server: &Server, relay: &Relay, poll: impl Fn(), client: impl Fn() -> Duration) {
        // What is done once, is not what a poll costs.
        poll();
        let (server_before, client_before, count) = (server.cpu(), client(), relay.count());
        (0..POLLS).for_each(|_| poll());
        self.count += relay.count() - count;
        self.server += server.cpu() - server_before;
        self.client += client() - client_before;
        self.polls += POLLS;
    }
}

/// Who polls.
#[allow(clippy::large_enum_variant, reason = "there are a few of them")]
enum Client {
    Courier { line: Box<Courier>, process: Running, ask: Ask, found: Fetched, _directory: TempDir },
    Git { url: String, store: TempDir },
}

static GO: AtomicBool = AtomicBool::new(false);

impl Client {
    /// Starts a courier, which then has all that there is.
    fn courier(url: &str, hint: Option<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = processes::hostwrit();
        command.args(["courier", "--directory"]).arg(directory.path()).stdin(Stdio::from(OwnedFd::from(theirs)));
        let process = Running::start(&mut command);
        let line = Box::new(Courier::at(ours, HashKind::Sha1, Limits::default()));
        let [git_ref, beside] = REFS.map(str::to_owned);
        let ask = Ask {
            remote: url.to_owned(),
            git_ref,
            beside: Some(beside),
            hint,
            max_quiet: 24 * 3600,
            limits: Limits::default(),
        };
        let found = line.fetch(&ask, &GO).unwrap();
        assert!(found.beside.is_some());
        Self::Courier { line, process, ask, found, _directory: directory }
    }

    fn git(url: &str) -> Self {
        let store = tempfile::tempdir().unwrap();
        assert!(git_in(store.path()).args(["init", "--quiet", "--bare"]).status().unwrap().success());
        Self::Git { url: url.to_owned(), store }
    }

    fn poll(&self) {
        match self {
            Self::Courier { line, ask, found, .. } => assert_eq!(line.fetch(ask, &GO).unwrap(), *found),
            Self::Git { url, store } => {
                let refspecs = REFS.map(|name| format!("+{name}:{name}"));
                let mut fetch = git_in(store.path());
                fetch.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "fetch", "--quiet", "--no-tags", url]);
                assert!(fetch.args(refspecs).status().unwrap().success());
            }
        }
    }

    fn cpu(&self) -> Duration {
        match self {
            Self::Courier { process, .. } => process.cpu(),
            Self::Git { .. } => cpu_of_children(),
        }
    }
}

fn git_in(directory: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(directory).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    git
}
