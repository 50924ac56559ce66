// SPDX-License-Identifier: Apache-2.0
//! What the two processes cost a host that has nothing to do: memory, descriptors, threads, and processor time a day.
//!
//! Courier and steward run as systemd runs them, on a root of their own, and converge it from nothing first. Then they poll
//! once a second, of which the cost of a day of polls is told; then they are made to run cycles that look at everything, and are
//! measured again. `make bench`; `HOSTWRIT_BENCH_FILES=10,1000` leaves out the largest host,
//! `HOSTWRIT_BENCH_CYCLES=100` most of the cycles, and with `GLIBC_TUNABLES=` the allocator is as it is by itself.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, reason = "measures from outside")]

#[path = "../tests/fixture/mod.rs"]
mod fixture;
#[path = "../tests/host/http_server.rs"]
#[allow(dead_code)]
mod http_server;
#[path = "polls/processes.rs"]
#[allow(dead_code)]
mod processes;
#[path = "polls/servers.rs"]
#[allow(dead_code)]
mod servers;

use std::fmt::Write as _;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use processes::{Running, cpu_of_children, ms};
use servers::Server;

/// Polls that are measured, one a second.
const POLLS: u32 = 40;
/// A poll a minute.
const POLLS_A_DAY: f64 = 24.0 * 60.0;
/// How long cycles may take in all; a large host makes fewer than the others.
const PATIENCE: Duration = Duration::from_secs(900);
const DIRECTORIES: usize = 10;
/// As in packaging/systemd.
const TUNABLES: &str = "glibc.malloc.tcache_count=0:glibc.malloc.trim_threshold=131072:glibc.malloc.arena_max=1";
/// 1 KiB a file.
const LINE: &str = "A line of sixty-four characters, the last of which ends the line";

fn main() {
    let sizes = std::env::var("HOSTWRIT_BENCH_FILES").unwrap_or_else(|_| "10,1000,10000".to_owned());
    println!("steward and courier of a host that has nothing to do; memory is PSS in MiB, of which anonymous");
    println!(
        "{:>6} {:>12} {:>14} {:>14} {:>7} {:>4} {:>8} {:>9} {:>14} {:>10}",
        "files", "", "steward", "courier", "both", "fds", "threads", "tick ms", "CPU s a day", "git fetch"
    );
    for size in sizes.split(',').map(|size| size.trim().parse().expect("numbers with commas")) {
        measure(size);
    }
}

fn measure(size: usize) {
    let site = Site::new(size);
    site.settle();
    let before = site.cpu();
    thread::sleep(Duration::from_secs(u64::from(POLLS)));
    let tick = (site.cpu() - before) / POLLS;
    let peer = site.git_fetch();
    let idle = site.costs();
    let day = |each: Duration| each.as_secs_f64() * POLLS_A_DAY;
    print(&format!("{size}"), "idle", &idle);
    println!(" {:>9.2} {:>14.1} {:>10.1}", ms(tick), day(tick), day(peer));
    let (cycles, each) = site.cycles();
    site.settle();
    print("", &format!("{cycles} cycles"), &site.costs());
    println!("   {:.2} ms a cycle", ms(each));
}

fn print(size: &str, when: &str, costs: &[Cost; 2]) {
    let [steward, courier] = costs;
    let memory = |cost: &Cost| format!("{:.1} ({:.1})", cost.pss, cost.anonymous);
    print!(
        "{size:>6} {when:>12} {:>14} {:>14} {:>7.1} {:>4} {:>8}",
        memory(steward),
        memory(courier),
        steward.pss + courier.pss,
        steward.descriptors + courier.descriptors,
        steward.threads + courier.threads
    );
}

/// What a process keeps, in MiB and in numbers.
struct Cost {
    pss: f64,
    anonymous: f64,
    descriptors: usize,
    threads: usize,
}

impl Cost {
    fn of(process: &Running) -> Self {
        let place = PathBuf::from(format!("/proc/{}", process.id()));
        let rollup = fs::read_to_string(place.join("smaps_rollup")).unwrap();
        let mib = |name: &str| {
            let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        let number_in = |folder: &str| fs::read_dir(place.join(folder)).unwrap().count();
        Self { pss: mib("Pss:"), anonymous: mib("Pss_Anon:"), descriptors: number_in("fd"), threads: number_in("task") }
    }
}

/// A host that has converged, its two processes, and its Git server.
struct Site {
    steward: Running,
    courier: Running,
    git: Server,
    store: TempDir,
    dir: TempDir,
    _fleet: fixture::Fleet,
}

impl Site {
    fn new(size: usize) -> Self {
        // In memory, so that the first apply is not a measure of the disk.
        let dir = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
        let fleet = fixture::Fleet::new();
        fleet.repo.write("hostwrit.yaml", &format!("format: 1\nfleet: {}\n", fleet.anchor().fleet));
        fleet.repo.write("hosts/web1.yaml", &host_file(size));
        for file in 0..size {
            fleet.repo.write(&format!("files/f{file}"), &format!("{file}\n{}", format!("{LINE}\n").repeat(16)));
        }
        fleet.change("files");
        fleet.repo.git(&["update-ref", "refs/hostwrit/heartbeat", "HEAD"]);
        let git = Server::git(fleet.repo.path());

        let root = dir.path().join("root");
        for place in ["etc/hostwrit", "etc/sudoers.d", "home", "srv", "run/hostwrit", "var/lib", "var/log"] {
            fs::create_dir_all(root.join(place)).unwrap();
        }
        for (path, text) in [
            ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
            ("etc/shadow", "root:*:20000:0:99999:7:::\n"),
            ("etc/group", "root:x:0:\n"),
            ("etc/gshadow", "root:*::\n"),
            ("etc/os-release", "ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n"),
        ] {
            fs::write(root.join(path), text).unwrap();
        }
        let (anchor, remote) = (fleet.anchor(), format!("git://127.0.0.1:{}{}", git.port, git.path));
        let config = format!(
            "fleet: {}\nremote: {remote}\nref: {}\nhost: web1\ninterval: 1s\nsplay: 0s\ntrust:\n  root: {}\n  signers: [\"{}\"]\n",
            anchor.fleet, anchor.git_ref, anchor.root, anchor.signers[0],
        );
        fs::write(root.join("etc/hostwrit/config.yaml"), config).unwrap();

        let tunables = std::env::var("GLIBC_TUNABLES").unwrap_or_else(|_| TUNABLES.to_owned());
        let socket = UnixListener::bind(root.join("run/hostwrit/courier.sock")).unwrap();
        let mut courier = processes::hostwrit();
        courier
            .env("GLIBC_TUNABLES", &tunables)
            .args(["courier", "--directory"])
            .arg(root.join("var/lib/hostwrit-courier"));
        let courier = Running::start(courier.stdin(Stdio::from(OwnedFd::from(socket))));
        let mut steward = processes::hostwrit();
        steward
            .env("GLIBC_TUNABLES", &tunables)
            .arg("--root")
            .arg(&root)
            .arg("daemon")
            .stderr(fs::File::create(dir.path().join("log")).unwrap());
        let steward = Running::start_loudly(&mut steward);
        let store = tempfile::tempdir().unwrap();
        let mut init = Command::new("git");
        assert!(init.args(["init", "--quiet", "--bare"]).current_dir(store.path()).status().unwrap().success());
        let site = Self { steward, courier, git, store, dir, _fleet: fleet };
        site.wait_for("converged", 1);
        site
    }

    /// Waits until what was started has ended, and memory that is given back late is given back.
    fn settle(&self) {
        thread::sleep(Duration::from_secs(12));
    }

    /// Waits until the daemon has said this so many times.
    fn wait_for(&self, words: &str, times: usize) {
        let begin = Instant::now();
        loop {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap();
            if log.matches(words).count() >= times {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(300), "the daemon never said \"{words}\":\n{log}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn cpu(&self) -> Duration {
        self.steward.cpu() + self.courier.cpu()
    }

    fn costs(&self) -> [Cost; 2] {
        [&self.steward, &self.courier].map(Cost::of)
    }

    /// Returns what a poll costs that is a program started by cron.
    fn git_fetch(&self) -> Duration {
        let fetch = || {
            let mut git = Command::new("git");
            git.current_dir(self.store.path()).args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
            git.args(["fetch", "--quiet", "--no-tags"]);
            git.arg(format!("git://127.0.0.1:{}{}", self.git.port, self.git.path)).arg("+refs/heads/main:refs/tip");
            assert!(git.status().unwrap().success());
        };
        fetch();
        let before = cpu_of_children();
        (0..POLLS).for_each(|_| fetch());
        (cpu_of_children() - before) / POLLS
    }

    /// Has the daemon look at everything, again and again. Returns how often, and the processor time of one time.
    fn cycles(&self) -> (usize, Duration) {
        let (begin, before) = (Instant::now(), self.cpu());
        let steward = Pid::from_raw(self.steward.id().try_into().unwrap());
        let cycles = std::env::var("HOSTWRIT_BENCH_CYCLES").map_or(1_000, |cycles| cycles.parse().expect("a number"));
        let mut done = 0;
        while done < cycles && begin.elapsed() < PATIENCE {
            // The configuration is read again after the cycle before, and makes for another one.
            kill(steward, Signal::SIGHUP).unwrap();
            done += 1;
            self.wait_for("configuration read again", done);
        }
        (done, (self.cpu() - before) / u32::try_from(done).unwrap())
    }
}

fn host_file(size: usize) -> String {
    let mut text = "files:\n".to_owned();
    for directory in 0..DIRECTORIES {
        writeln!(text, "  /srv/d{directory}: {{type: directory}}").unwrap();
    }
    for file in 0..size {
        writeln!(text, "  /srv/d{}/f{file}: {{source: f{file}, mode: \"0644\"}}", file % DIRECTORIES).unwrap();
    }
    text
}
