// SPDX-License-Identifier: Apache-2.0
//! What a hostile server makes the courier cost: no more than the limits, and nothing that stays.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use hostwrit::model::chain;
use hostwrit::source::{Ask, Courier, HashKind, Limits, Mirror, SOCKET, Source as _};

use crate::hostile_server::{self, Manner};
use crate::site::Site;

const MIB: u64 = 1024 * 1024;
static GO: AtomicBool = AtomicBool::new(false);

/// The program's courier on a socket that it was given.
struct Running(Child);

impl Running {
    fn start(site: &Site, socket: OwnedFd) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostwrit"));
        command.args(["courier", "--directory"]).arg(site.path("/var/lib/hostwrit-courier"));
        Self(command.stdin(Stdio::from(socket)).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Returns the most memory that it ever had, in bytes; `None` once it has ended.
    fn peak(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().unwrap() * 1024)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(remote: &str, limits: Limits) -> Ask {
    let git_ref = "refs/heads/main".to_owned();
    Ask { remote: remote.to_owned(), git_ref, beside: None, hint: None, max_quiet: 0, limits }
}

/// Starts a hostile server and returns its address as a remote.
fn hostile(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || hostile_server::serve_on(&listener, manner));
    format!("http://{address}/infra.git")
}

fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn a_hostile_server_costs_no_more_than_the_limits() {
    thread::scope(|scope| Manner::ALL.iter().for_each(|manner| drop(scope.spawn(|| demand_limits(*manner)))));
}

fn demand_limits(manner: Manner) {
    let limits = Limits { time: Duration::from_secs(4), pack_bytes: 8 * MIB, ..Limits::default() };
    let site = Site::new(&[("hosts/web1.yaml", "files: {}\n")]);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let running = Running::start(&site, theirs.into());
    let courier = Courier::at(ours, HashKind::Sha1, limits);
    let (remote, begin) = (hostile(manner), Instant::now());
    let (mut peak, mut most) = (0, 0);
    let words = thread::scope(|scope| {
        let fetch = scope.spawn(|| chain(&courier_fetch(courier, &remote, limits)));
        while !fetch.is_finished() {
            peak = running.peak().unwrap_or(0).max(peak);
            most = bytes_below(&site.mirror()).max(most);
            thread::sleep(Duration::from_millis(10));
        }
        fetch.join().unwrap()
    });
    assert!(manner.words().iter().any(|known| words.contains(known)), "{manner:?}: {words}");
    assert!(begin.elapsed() < Duration::from_secs(15), "{manner:?} took {:?}", begin.elapsed());
    assert!(peak < 640 * MIB, "{manner:?} took {peak} bytes of memory");
    assert!(most < 256 * MIB, "{manner:?} took {most} bytes of the disk");
    drop(running);

    // The next courier finds nothing that hinders it, and leaves nothing of what was.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let _running = Running::start(&site, theirs.into());
    let courier = Courier::at(ours, HashKind::Sha1, limits);
    let remote = site.repo.path().to_str().unwrap();
    courier.fetch(&ask(remote, limits), &GO).unwrap_or_else(|error| panic!("{manner:?}: {}", chain(&error)));
    let left = bytes_below(&site.mirror());
    assert!(left < MIB, "{manner:?} left {left} bytes behind");
}

fn courier_fetch(courier: Courier, remote: &str, limits: Limits) -> hostwrit::source::FetchError {
    courier.fetch(&ask(remote, limits), &GO).unwrap_err()
}

#[test]
fn a_courier_in_which_a_fetch_hangs_makes_room_for_another() {
    let site = Site::new(&[("hosts/web1.yaml", "files: {}\n")]);
    site.put("/run/hostwrit/.keep", "");
    let listener = UnixListener::bind(site.path(SOCKET)).unwrap();
    let limits = Limits { time: Duration::from_millis(200), ..Limits::default() };
    let mut running = Running::start(&site, listener.try_clone().unwrap().into());
    let courier = Courier::of(&site.root(), HashKind::Sha1);
    // Over Git's own protocol nothing but the limit ends the waiting.
    let remote = hostile(Manner::Silent).replace("http://", "git://");
    let words = chain(&courier.fetch(&ask(&remote, limits), &GO).unwrap_err());
    assert!(words.contains("took more than"), "{words}");
    assert!(running.0.try_wait().unwrap().is_none(), "it stays for as long as somebody is connected");
    drop(courier);
    let begin = Instant::now();
    let status = loop {
        match running.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(begin.elapsed() < Duration::from_secs(10), "it goes on with a thread that hangs"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success());
    // systemd still listens.
    let _running = Running::start(&site, listener.into());
    let remote = site.repo.path().to_str().unwrap();
    Courier::of(&site.root(), HashKind::Sha1).fetch(&ask(remote, Limits::default()), &GO).unwrap();
}

#[test]
fn a_mirror_that_has_outgrown_the_limit_is_fetched_anew() {
    let site = Site::new(&[("hosts/web1.yaml", "files: {}\n")]);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let _running = Running::start(&site, theirs.into());
    let courier = Courier::at(ours, HashKind::Sha1, Limits::default());
    let remote = site.repo.path().to_str().unwrap();
    courier.fetch(&ask(remote, Limits::default()), &GO).unwrap();
    // What a server sent that the host never obeyed.
    let junk = site.mirror().join("objects/pack/pack-1111111111111111111111111111111111111111.idx");
    fs::write(&junk, vec![0; 9 * MIB as usize]).unwrap();
    let small = Limits { pack_bytes: 8 * MIB, ..Limits::default() };
    let tip = courier.fetch(&ask(remote, small), &GO).unwrap().tip;
    assert!(!junk.exists());
    assert_eq!(tip.to_string(), site.repo.git(&["rev-parse", "HEAD"]).trim());
}

#[test]
fn the_last_of_the_disk_is_left_to_others() {
    let site = Site::new(&[("hosts/web1.yaml", "files: {}\n")]);
    let limits = Limits { free_bytes: u64::MAX, ..Limits::default() };
    let remote = hostile(Manner::EndlessPack);
    let mirror = Mirror::open(&site.repo.path().with_extension("mirror"), HashKind::Sha1, limits).unwrap();
    let words = chain(&mirror.fetch(&remote, "refs/heads/main", None, &GO).unwrap_err());
    assert!(words.contains("make room"), "{words}");
}
