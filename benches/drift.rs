// SPDX-License-Identifier: Apache-2.0
//! How long drift of a file, a user or a group lasts while the daemon watches up to 10,000 objects, beside a bound measured in the
//! same run. Units and ports need a booted host: the scenario `drift-of-units-and-ports` of tests/host.
//!
//! The bound is a loop over inotify that puts back what was changed, durably and whole, and remembers and records nothing.
//! Both are measured from the end of the change to the moment at which all is right again, once in memory and once on disk, with a
//! rest after each, for what is right again is entered in log and state after that. What is changed too often is slowed by the
//! daemon, so no object is changed more than four times before both are started anew.
//! `make bench`; `HOSTWRIT_BENCH_OBJECTS=10,1000` leaves out the largest host, `HOSTWRIT_BENCH_EVENTS=100` most events.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "measures from outside")]

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// So often an object is put right before the daemon takes it for a fight.
const EACH: usize = 4;
/// Longer than what is still written after an object was put right.
const REST: Duration = Duration::from_millis(50);
/// As in packaging/systemd.
const TUNABLES: &str = "glibc.malloc.tcache_count=0:glibc.malloc.trim_threshold=131072:glibc.malloc.arena_max=1";
const DIRECTORIES: usize = 200;
/// As many users or groups at the most.
const ACCOUNTS: usize = 250;
/// The number of the first group.
const FIRST_GROUP: usize = 20_000;
/// 1 KiB a file.
const LINE: &str = "A line of sixty-four characters, the last of which ends the line";

fn main() {
    if let Some(root) = std::env::args().skip_while(|word| word != "--bound").nth(1) {
        return bound(Path::new(&root));
    }
    let number = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let events: usize = number("HOSTWRIT_BENCH_EVENTS", "1000").parse().expect("a number");
    let sizes = number("HOSTWRIT_BENCH_OBJECTS", "10,1000,10000");
    println!(
        "drift to repair: {events} edits of files of 1 KiB, of shells of users, and of numbers of groups, on a host of N objects"
    );
    println!(
        "{:>8} {:>5} {:>8}  {:>10}  {:>8}  {:>8}  {:>8}  {:>14}",
        "N", "", "", "", "p50 ms", "p99 ms", "max ms", "CPU ms an edit"
    );
    let memory = Path::new("/dev/shm");
    let places = [("memory", memory), ("disk", Path::new(env!("CARGO_TARGET_TMPDIR")))];
    let places: Vec<_> = places.into_iter().filter(|(_, place)| place.is_dir()).collect();
    for size in sizes.split(',').map(|size| size.trim().parse().expect("numbers with commas")) {
        for (name, place) in &places {
            for kind in [Kind::File, Kind::User, Kind::Group] {
                let bench = Bench::new(place, kind, size, events);
                bench.measure(name, "bound", || {
                    let mut command = Command::new(std::env::current_exe().unwrap());
                    command.arg("--bound").arg(bench.root());
                    command
                });
                bench.measure(name, "hostwrit", || {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_hostwrit"));
                    command.env("GLIBC_TUNABLES", TUNABLES).arg("--root").arg(bench.root()).arg("daemon");
                    command
                });
            }
        }
    }
}

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    User,
    Group,
}

/// The minimal program.
fn bound(root: &Path) {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
    let mut dirs = HashMap::new();
    let below = fs::read_dir(root.join("srv")).unwrap().map(|entry| entry.unwrap().path());
    for path in below.chain([root.join("etc")]) {
        let flags = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        dirs.insert(inotify.add_watch(&path, flags).unwrap(), path);
    }
    let [passwd, group] = ["etc/passwd", "etc/group"].map(|path| fs::read(root.join(path)).unwrap());
    fs::create_dir_all(root.join("run/hostwrit")).unwrap();
    fs::write(root.join("run/hostwrit/status.json"), "").unwrap();
    loop {
        for event in inotify.read_events().unwrap() {
            let path = dirs[&event.wd].join(event.name.unwrap());
            let name = path.file_name().unwrap().to_str().unwrap();
            let content = match name.strip_prefix('f').map(str::parse) {
                Some(Ok(number)) => content_of(number).into_bytes(),
                _ if name == "passwd" => passwd.clone(),
                _ if name == "group" => group.clone(),
                _ => continue,
            };
            if fs::read(&path).is_ok_and(|found| found == content) {
                continue;
            }
            let aside = path.with_extension("new");
            let mut file = File::create(&aside).unwrap();
            file.write_all(&content).unwrap();
            file.sync_all().unwrap();
            fs::rename(aside, &path).unwrap();
            File::open(path.parent().unwrap()).unwrap().sync_all().unwrap();
        }
    }
}

/// A host that agrees with its repo.
struct Bench {
    dir: tempfile::TempDir,
    kind: Kind,
    size: usize,
    events: usize,
    _fleet: fixture::Fleet,
}

impl Bench {
    fn new(place: &Path, kind: Kind, size: usize, events: usize) -> Self {
        let dir = tempfile::tempdir_in(place).unwrap();
        let fleet = fixture::Fleet::new();
        fleet.repo.write("hostwrit.yaml", &format!("format: 1\nfleet: {}\n", fleet.anchor().fleet));
        fleet.repo.write("hosts/web1.yaml", &host_file(kind, size));
        (0..files_of(kind, size)).for_each(|file| fleet.repo.write(&format!("files/f{file}"), &content_of(file)));
        fleet.change("files");
        let anchor = fleet.anchor();
        let config = format!(
            "fleet: {}\nremote: {}\nref: {}\nhost: web1\ninterval: 1h\nfull_check: 1h\ntrust:\n  root: {}\n  signers: [\"{}\"]\n",
            anchor.fleet,
            fleet.repo.path().display(),
            anchor.git_ref,
            anchor.root,
            anchor.signers[0],
        );
        let bench = Self { dir, kind, size, events, _fleet: fleet };
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
            ("etc/hostwrit/config.yaml", &config),
        ] {
            fs::write(root.join(path), text).unwrap();
        }
        let mut apply = Command::new(env!("CARGO_BIN_EXE_hostwrit"));
        let output = apply.arg("--root").arg(&root).arg("apply").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        bench
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn measure(&self, place: &str, who: &str, command: impl Fn() -> Command) {
        let objects = match self.kind {
            Kind::File => files_of(self.kind, self.size),
            Kind::User | Kind::Group => accounts_of(self.kind, self.size),
        };
        let (mut times, mut cpu, mut memory) = (Vec::new(), 0.0, 0);
        while times.len() < self.events {
            let running = self.start(command());
            let before = running.cpu_ms();
            let few = (self.events - times.len()).min(objects * EACH);
            times.extend((0..few).map(|event| self.edit(event % objects)));
            cpu += running.cpu_ms() - before;
            memory = running.memory_kb();
        }
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1_000.0;
        println!(
            "{:>8} {:>5} {place:>8}  {who:>10}  {:>8.2}  {:>8.2}  {:>8.2}  {:>14.2}  (PSS {memory} kB)",
            self.size,
            format!("{:?}", self.kind).to_lowercase(),
            at(0.5),
            at(0.99),
            at(1.0),
            cpu / times.len() as f64
        );
    }

    fn start(&self, mut command: Command) -> Running {
        let status = self.root().join("run/hostwrit/status.json");
        let _ = fs::remove_file(&status);
        let running = Running(command.stderr(Stdio::null()).spawn().unwrap());
        while !status.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        // It looks at everything once more when its watches stand.
        std::thread::sleep(Duration::from_secs(if self.size > 1_000 { 4 } else { 1 }));
        running
    }

    /// Returns a file, its text, and the text in which this word stands for that.
    fn edit_of(&self, file: &str, word: String, other: String) -> (PathBuf, String, String) {
        let path = self.root().join(file);
        let wanted = fs::read_to_string(&path).unwrap();
        let drift = wanted.replace(&word, &other);
        assert_ne!(wanted, drift);
        (path, wanted, drift)
    }

    /// Changes one object and returns how long it stays so.
    fn edit(&self, object: usize) -> Duration {
        std::thread::sleep(REST);
        let (path, wanted, drift) = match self.kind {
            Kind::File => (self.root().join(&path_of(object)[1..]), content_of(object), "drift\n".to_owned()),
            Kind::User => {
                self.edit_of("etc/passwd", format!("/home/u{object}:/bin/bash"), format!("/home/u{object}:/bin/sh"))
            }
            Kind::Group => {
                let number = FIRST_GROUP + object;
                self.edit_of("etc/group", format!("g{object}:x:{number}:"), format!("g{object}:x:1{number}:"))
            }
        };
        // As usermod(8) and editors do it.
        let aside = path.with_extension("drift");
        fs::write(&aside, &drift).unwrap();
        fs::rename(&aside, &path).unwrap();
        let start = Instant::now();
        loop {
            if fs::read(&path).is_ok_and(|found| found == wanted.as_bytes()) {
                return start.elapsed();
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{} is not put right", path.display());
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

struct Running(Child);

impl Running {
    /// Processor time, of all threads.
    fn cpu_ms(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks * 10.0
    }

    fn memory_kb(&self) -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id())).unwrap();
        let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn path_of(file: usize) -> String {
    format!("/srv/d{}/f{file}", file % DIRECTORIES)
}

fn content_of(file: usize) -> String {
    format!("{file}\n{}", format!("{LINE}\n").repeat(16))
}

/// Of a host on which users or groups are changed, they are a part of the objects.
fn accounts_of(kind: Kind, size: usize) -> usize {
    if kind == Kind::File { 0 } else { size.min(ACCOUNTS) }
}

fn files_of(kind: Kind, size: usize) -> usize {
    size - accounts_of(kind, size)
}

fn host_file(kind: Kind, size: usize) -> String {
    let (accounts, files) = (0..accounts_of(kind, size), files_of(kind, size));
    let mut text = String::new();
    match kind {
        Kind::File => {}
        Kind::User => {
            text.push_str("users:\n");
            accounts.for_each(|user| writeln!(text, "  u{user}: {{shell: /bin/bash, password: locked}}").unwrap());
        }
        Kind::Group => {
            text.push_str("groups:\n");
            accounts.for_each(|group| writeln!(text, "  g{group}: {{gid: {}}}", FIRST_GROUP + group).unwrap());
        }
    }
    text.push_str("files:\n  /srv: {type: directory}\n");
    for directory in 0..DIRECTORIES.min(files) {
        writeln!(text, "  /srv/d{directory}: {{type: directory}}").unwrap();
    }
    for file in 0..files {
        writeln!(text, "  {}: {{source: f{file}, mode: \"0644\"}}", path_of(file)).unwrap();
    }
    text
}
