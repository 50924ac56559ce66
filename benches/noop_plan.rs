// SPDX-License-Identifier: Apache-2.0
//! What a plan that finds nothing to do costs, beside a bound measured in the same run.
//!
//! The bound is a program that lstats and reads the same files once, and the account files. Both are measured as whole
//! processes, in processor time, several times in turn; what is printed is the median and the ratio. `make bench`.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "measures from outside")]

#[path = "../tests/fixture/mod.rs"]
#[allow(dead_code, reason = "made for the tests")]
mod fixture;

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const SIZES: [usize; 3] = [100, 1_000, 10_000];
const USERS: usize = 50;
const DIRECTORIES: usize = 10;
const ROUNDS: usize = 7;
/// 1 KiB a file.
const LINE: &str = "A line of sixty-four characters, the last of which ends the line";

fn main() {
    if let Some(list) = std::env::args().skip_while(|word| word != "--bound").nth(1) {
        return bound(Path::new(&list));
    }
    println!(
        "no-op plan: N files of 1 KiB in {DIRECTORIES} directories and {USERS} users; processor time of the whole process"
    );
    println!("{:>8}  {:>12}  {:>12}  {:>6}", "N", "bound ms", "plan ms", "ratio");
    for size in SIZES {
        let bench = Bench::new(size);
        let (mut bounds, mut plans) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bounds.push(cpu_of(Command::new(std::env::current_exe().unwrap()).arg("--bound").arg(bench.list())));
            plans.push(cpu_of(&mut bench.hostwrit("plan")));
        }
        let (bound, plan) = (median(bounds), median(plans));
        println!(
            "{size:>8}  {:>12.1}  {:>12.1}  {:>6.2}",
            ms(bound),
            ms(plan),
            plan.as_secs_f64() / bound.as_secs_f64()
        );
    }
}

/// The minimal program.
fn bound(list: &Path) {
    let mut bytes = 0;
    for path in fs::read_to_string(list).unwrap().lines() {
        assert!(fs::symlink_metadata(path).unwrap().is_file());
        bytes += fs::read(path).unwrap().len();
    }
    assert!(bytes > 0);
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Runs the command to its end and returns the processor time of it and its children.
fn cpu_of(command: &mut Command) -> Duration {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        Duration::from_micros((usage.user_time() + usage.system_time()).num_microseconds().try_into().unwrap())
    };
    let before = used();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    used() - before
}

/// A converged host, and a Git server that is asked without starting a process here.
struct Bench {
    dir: tempfile::TempDir,
    git_daemon: Child,
    fleet: fixture::Fleet,
}

impl Bench {
    fn new(size: usize) -> Self {
        // In memory, so that the first apply is not a measure of the disk.
        let dir = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
        let fleet = fixture::Fleet::new();
        fleet.repo.write("hostwrit.yaml", &format!("format: 1\nfleet: {}\n", fleet.anchor().fleet));
        fleet.repo.write("hosts/web1.yaml", &host_file(size));
        for file in 0..size {
            fleet.repo.write(&format!("files/f{file}"), &format!("{file}\n{}", format!("{LINE}\n").repeat(16)));
        }
        fleet.change("files and users");

        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Not through `git daemon`, whose own child would outlive it.
        let programs = Command::new("git").arg("--exec-path").output().unwrap().stdout;
        let git_daemon = Command::new(Path::new(String::from_utf8(programs).unwrap().trim()).join("git-daemon"))
            .args(["--export-all", "--listen=127.0.0.1", &format!("--port={port}")])
            .arg(fleet.repo.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bench = Self { dir, git_daemon, fleet };
        let root = bench.root();
        for place in ["etc/hostwrit", "etc/sudoers.d", "home", "srv", "run", "var/lib", "var/log"] {
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
        let anchor = bench.fleet.anchor();
        let config = format!(
            "fleet: {}\nremote: git://127.0.0.1:{port}{}\nref: {}\nhost: web1\ntrust:\n  root: {}\n  signers: [\"{}\"]\n",
            anchor.fleet,
            bench.fleet.repo.path().display(),
            anchor.git_ref,
            anchor.root,
            anchor.signers[0],
        );
        fs::write(root.join("etc/hostwrit/config.yaml"), config).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let output = bench.hostwrit("apply").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        let mut list = String::new();
        for path in (0..size).map(path_of) {
            writeln!(list, "{}{path}", root.display()).unwrap();
        }
        for path in ["etc/passwd", "etc/shadow", "etc/group", "etc/gshadow"] {
            writeln!(list, "{}", root.join(path).display()).unwrap();
        }
        fs::write(bench.list(), list).unwrap();
        bench
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn list(&self) -> PathBuf {
        self.dir.path().join("list")
    }

    fn hostwrit(&self, command: &str) -> Command {
        let mut hostwrit = Command::new(env!("CARGO_BIN_EXE_hostwrit"));
        hostwrit.arg("--root").arg(self.root()).arg(command);
        hostwrit
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.git_daemon.kill();
        let _ = self.git_daemon.wait();
    }
}

fn path_of(file: usize) -> String {
    format!("/srv/d{}/f{file}", file % DIRECTORIES)
}

fn host_file(size: usize) -> String {
    let mut text = "users:\n".to_owned();
    for user in 0..USERS {
        writeln!(text, "  u{user}: {{comment: User {user}, shell: /bin/bash, password: locked}}").unwrap();
    }
    text.push_str("files:\n");
    for directory in 0..DIRECTORIES {
        writeln!(text, "  /srv/d{directory}: {{type: directory}}").unwrap();
    }
    for file in 0..size {
        writeln!(text, "  {}: {{source: f{file}, mode: \"0644\"}}", path_of(file)).unwrap();
    }
    text
}
