// SPDX-License-Identifier: Apache-2.0
//! How long drift of a file lasts while the daemon watches 10,000 objects, beside a bound measured in the same run.
//!
//! The bound is a loop over inotify that puts the file back, durably and whole, and remembers and records nothing. Both are
//! measured from the end of the change to the moment at which the file is right again, once in memory and once on disk.
//! `make bench`.

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

const OBJECTS: usize = 10_000;
const DIRECTORIES: usize = 200;
const EVENTS: usize = 1_000;
/// 1 KiB a file.
const LINE: &str = "A line of sixty-four characters, the last of which ends the line";

fn main() {
    if let Some(root) = std::env::args().skip_while(|word| word != "--bound").nth(1) {
        return bound(Path::new(&root));
    }
    println!("drift to repair: {EVENTS} edits of files, {OBJECTS} files of 1 KiB watched in {DIRECTORIES} directories");
    println!("{:>8}  {:>10}  {:>8}  {:>8}  {:>8}  {:>14}", "", "", "p50 ms", "p99 ms", "max ms", "CPU ms an edit");
    let memory = Path::new("/dev/shm");
    let places = [("memory", memory), ("disk", Path::new(env!("CARGO_TARGET_TMPDIR")))];
    for (name, place) in places.into_iter().filter(|(_, place)| place.is_dir()) {
        let bench = Bench::new(place);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--bound").arg(bench.root());
        bench.measure(name, "bound", command);
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostwrit"));
        command.arg("--root").arg(bench.root()).arg("daemon");
        bench.measure(name, "hostwrit", command);
    }
}

/// The minimal program.
fn bound(root: &Path) {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
    let mut dirs = HashMap::new();
    for directory in 0..DIRECTORIES {
        let path = root.join(format!("srv/d{directory}"));
        let flags = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        dirs.insert(inotify.add_watch(&path, flags).unwrap(), path);
    }
    fs::create_dir_all(root.join("run/hostwrit")).unwrap();
    fs::write(root.join("run/hostwrit/status.json"), "").unwrap();
    loop {
        for event in inotify.read_events().unwrap() {
            let path = dirs[&event.wd].join(event.name.unwrap());
            let Some(number) = path.file_name().unwrap().to_str().unwrap().strip_prefix('f') else { continue };
            let content = content_of(number.parse().unwrap());
            if fs::read(&path).is_ok_and(|found| found == content.as_bytes()) {
                continue;
            }
            let aside = path.with_extension("new");
            let mut file = File::create(&aside).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.sync_all().unwrap();
            fs::rename(aside, &path).unwrap();
            File::open(path.parent().unwrap()).unwrap().sync_all().unwrap();
        }
    }
}

/// A host that agrees with its repo.
struct Bench {
    dir: tempfile::TempDir,
    _fleet: fixture::Fleet,
}

impl Bench {
    fn new(place: &Path) -> Self {
        let dir = tempfile::tempdir_in(place).unwrap();
        let fleet = fixture::Fleet::new();
        fleet.repo.write("hostwrit.yaml", &format!("format: 1\nfleet: {}\n", fleet.anchor().fleet));
        fleet.repo.write("hosts/web1.yaml", &host_file());
        (0..OBJECTS).for_each(|file| fleet.repo.write(&format!("files/f{file}"), &content_of(file)));
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
        let bench = Self { dir, _fleet: fleet };
        let root = bench.root();
        for place in ["etc/hostwrit", "srv", "run", "var/lib", "var/log"] {
            fs::create_dir_all(root.join(place)).unwrap();
        }
        for (path, text) in [
            ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
            ("etc/group", "root:x:0:\n"),
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

    fn measure(&self, place: &str, who: &str, mut command: Command) {
        let status = self.root().join("run/hostwrit/status.json");
        let _ = fs::remove_file(&status);
        let running = Running(command.stderr(Stdio::null()).spawn().unwrap());
        while !status.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        // It looks at everything once more when its watches stand.
        std::thread::sleep(Duration::from_secs(2));
        let before = running.cpu_ms();
        let mut times: Vec<Duration> = (0..EVENTS).map(|event| self.edit(event * (OBJECTS / EVENTS))).collect();
        let cpu = (running.cpu_ms() - before) / EVENTS as f64;
        let memory = running.memory_kb();
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1_000.0;
        println!(
            "{place:>8}  {who:>10}  {:>8.2}  {:>8.2}  {:>8.2}  {cpu:>14.2}  (PSS {memory} kB)",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }

    /// Changes one file and returns how long it stays so.
    fn edit(&self, file: usize) -> Duration {
        let path = self.root().join(&path_of(file)[1..]);
        let wanted = content_of(file);
        fs::write(&path, "drift\n").unwrap();
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

fn host_file() -> String {
    let mut text = "files:\n".to_owned();
    for directory in 0..DIRECTORIES {
        writeln!(text, "  /srv/d{directory}: {{type: directory}}").unwrap();
    }
    for file in 0..OBJECTS {
        writeln!(text, "  {}: {{source: f{file}, mode: \"0644\"}}", path_of(file)).unwrap();
    }
    text
}
