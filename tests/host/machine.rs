// SPDX-License-Identifier: Apache-2.0
//! One disposable host: a booted Debian in namespaces and a cgroup of its own.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::process::{Background, Output, run};

/// The file that is the disk of a host with one, in its folder.
pub const DISK: &str = "disk.img";

const BOOT_LIMIT: Duration = Duration::from_secs(90);

/// A command that takes longer is ended with exit status 124.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);

/// A running host. On drop it is gone, with all that it wrote.
pub struct Machine<'lab> {
    lab: &'lab Lab<'lab>,
    name: &'static str,
    address: String,
    image: OsString,
    has: Has,
    dir: PathBuf,
    cgroup: String,
    /// Where systemd-nspawn tells of the boot that is under way.
    notify: Option<UnixDatagram>,
    process: Background,
    leader: u32,
}

/// What a host has of hostwrit when it boots first.
#[derive(Clone, Copy)]
pub enum Has {
    /// The program, and nothing else.
    Program,
    Nothing,
}

impl<'lab> Machine<'lab> {
    /// Switches the host on; [`Machine::wait_until_booted`] waits for it. `image` is a tree, or several, the uppermost first
    /// and with a `:` between them.
    pub fn switch_on(lab: &'lab Lab<'lab>, name: &'static str, address: String, image: &OsStr, has: Has) -> Self {
        let dir = lab.dir().join(name);
        fs::create_dir_all(dir.join("disk")).expect("the run's own folder can be written");
        let notify = Some(listen(&dir));
        let cgroup = format!("{}{}-{}-{name}", Lab::CGROUP_PREFIX, std::process::id(), lab.number());
        let image = image.to_owned();
        let process = start(lab, name, &address, &image, has, &dir, &cgroup);
        Self { lab, name, address, image, has, dir, cgroup, notify, process, leader: 0 }
    }

    /// Waits until the host's systemd has started everything and the network is up.
    pub fn wait_until_booted(&mut self) {
        let deadline = Instant::now() + BOOT_LIMIT;
        let notify = self.notify.take().expect("the host was switched on");
        // systemd 253 and later say that they are ready after each reload too, as may have been done just before a reboot:
        // only what comes after the start of a new systemd-nspawn tells of this boot.
        for awaited in ["X_NSPAWN_LEADER_PID=", "READY=1"] {
            self.wait_for_message(&notify, awaited, deadline);
        }
        // Closed from here on, for nobody would read what each further reload says, and systemd-nspawn would wait for that.
        drop(notify);
        self.leader = leader(self.process.id())
            .unwrap_or_else(|| panic!("{} is ready, but its process 1 cannot be found", self.name));
        let wanted = format!("inet {}/", self.address);
        eventually("the host has its address", || {
            self.look(&["ip", "-4", "address", "show", "host0"]).contains(&wanted)
        });
    }

    /// Waits until systemd-nspawn has sent a message with a line that begins so.
    fn wait_for_message(&mut self, notify: &UnixDatagram, awaited: &str, deadline: Instant) {
        while !receive(notify).lines().any(|line| line.starts_with(awaited)) {
            if let Ok(Some(status)) = self.process.child().try_wait() {
                let console = fs::read_to_string(self.lab.kept().join(format!("{}-console.log", self.name)));
                panic!("{} ended while it booted ({status}):\n{}", self.name, console.unwrap_or_default());
            }
            assert!(Instant::now() < deadline, "{} did not boot within {BOOT_LIMIT:?}", self.name);
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Runs a command in the host as a service of its systemd, and waits for its end.
    pub fn run(&self, command: &[&str]) -> Output {
        self.run_with(&[], command, b"")
    }

    /// Runs a shell script in the host.
    pub fn sh(&self, script: &str) -> Output {
        self.run(&["sh", "-c", script])
    }

    /// Runs a command with settings for systemd-run, such as `--uid=deploy`, and text on its standard input.
    ///
    /// Always through systemd-run: a bare nsenter would have all capabilities of the machine that runs the tests, so
    /// that code under test could set its clock.
    pub fn run_with(&self, settings: &[&str], command: &[&str], input: &[u8]) -> Output {
        let limit = COMMAND_LIMIT.as_secs();
        let mut outer = Command::new("timeout");
        outer
            .args([&format!("{}", limit + 5), "nsenter", &format!("--target={}", self.leader), "--all"])
            .args(["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--service-type=exec"])
            .arg(format!("--property=RuntimeMaxSec={limit}"))
            .args(settings)
            .arg("--")
            .args(command)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let output = Output::of(outer, format!("[{}] {}", self.name, command.join(" ")), input);
        self.lab.record(&output);
        output
    }

    /// Reads something of the host from outside, without a trace in its journal. Never for code under test.
    pub fn look(&self, command: &[&str]) -> String {
        let mut outer = Command::new("nsenter");
        outer.args([&format!("--target={}", self.leader), "--all", "--"]).args(command);
        Output::of(outer, format!("[{}] {}", self.name, command.join(" ")), b"").stdout
    }

    /// Returns the content of a file, or `None` if there is none.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read(self.outside(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes a file and the directories above it. An existing file keeps its owner and mode.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let outside = self.outside(path);
        let parent = outside.parent().expect("an absolute path of a file has a parent");
        fs::create_dir_all(parent).unwrap_or_else(|error| panic!("cannot make {}: {error}", parent.display()));
        fs::write(&outside, content).unwrap_or_else(|error| panic!("cannot write {path} in {}: {error}", self.name));
    }

    pub fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(self.outside(path)).is_ok()
    }

    /// Returns the path from outside. An absolute symbolic link on the way would lead out of the host.
    fn outside(&self, path: &str) -> PathBuf {
        assert!(path.starts_with('/'), "{path} is not an absolute path");
        PathBuf::from(format!("/proc/{}/root{path}", self.leader))
    }

    /// Returns the journal of this boot and those before.
    pub fn journal(&self) -> String {
        let mut command = Command::new("journalctl");
        command.args(["--no-pager", "--output=short-precise", "--directory"]).arg(self.outside("/var/log/journal"));
        Output::of(command, format!("[{}] journalctl", self.name), b"").stdout
    }

    /// Reboots in good order.
    pub fn reboot(&mut self) {
        self.notify = Some(listen(&self.dir));
        // Whether it was heard shows below: the bus may go away before the answer comes.
        self.run(&["systemctl", "--no-block", "reboot"]);
        self.wait_until_booted();
    }

    /// Cuts the power of a host with a disk ([`Lab::boot_with_disk`]), and switches it on again: what was not made durable is lost.
    pub fn cut_power(&mut self) {
        let wrapper = children(self.process.id())[0];
        // Any file on the disk will do.
        let on_disk = format!("/proc/{wrapper}/root{}/disk/upper/etc/hosts", self.dir.display());
        let mut shut_down = Command::new("perl");
        // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h): from here on nothing reaches the disk, and what
        // the journal of ext4 has in memory never does.
        shut_down.args([
            "-e",
            "open(my $f, '<', shift) or die $!; my $flags = pack('L', 2); ioctl($f, 0x8004587d, $flags) or die $!",
        ]);
        shut_down.arg(on_disk);
        run(shut_down);
        self.process.child().kill().expect("the host runs");
        self.process.child().wait().expect("it is our child");
        remove_cgroup(&self.cgroup);
        let disk = self.dir.join(DISK);
        let link = format!("vb-{}", self.name);
        eventually("the kernel has let go of the host's disk and of its cable", || {
            let mut loops = Command::new("losetup");
            loops.arg("--associated").arg(&disk);
            let mut links = self.lab.fabric().command("ip");
            links.args(["-o", "link"]);
            run(loops).text().is_empty() && !run(links).stdout.contains(&link)
        });
        self.notify = Some(listen(&self.dir));
        let Self { lab, name, address, image, has, dir, cgroup, .. } = &*self;
        self.process = start(lab, name, address, image, *has, dir, cgroup);
        self.wait_until_booted();
    }

    /// Shuts down in good order.
    pub fn stop(mut self) {
        self.run(&["systemctl", "--no-block", "poweroff"]).ok();
        eventually("the host is off", || matches!(self.process.child().try_wait(), Ok(Some(_))));
    }

    pub fn unplug(&self) {
        self.lab.fabric().unplug(self.name);
    }

    pub fn plug(&self) {
        self.lab.fabric().plug(self.name);
    }

    /// Keeps what helps to understand a failure.
    fn keep(&self) {
        let keep = |what: &str, content: &str| {
            // Must not panic: it runs while a panic is under way.
            let _ = fs::write(self.lab.kept().join(format!("{}-{what}", self.name)), content);
        };
        keep("journal.log", &self.journal());
        keep("failed-units.log", &self.look(&["systemctl", "--no-pager", "--failed"]));
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && self.leader != 0 {
            self.keep();
        }
        let _ = self.process.child().kill();
        let _ = self.process.child().wait();
        remove_cgroup(&self.cgroup);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Makes the socket to which systemd-nspawn sends what it tells of a host.
fn listen(dir: &Path) -> UnixDatagram {
    let path = dir.join("notify");
    // That of the boot before.
    let _ = fs::remove_file(&path);
    let socket = UnixDatagram::bind(path).expect("a socket in the run's own folder can be bound");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket takes a time limit");
    socket
}

/// Receives one message; nothing if none came within the socket's time limit.
fn receive(socket: &UnixDatagram) -> String {
    let mut message = [0; 4096];
    let length = socket.recv(&mut message).unwrap_or(0);
    String::from_utf8_lossy(&message[..length]).into_owned()
}

/// Starts the process that holds all of a host.
fn start(lab: &Lab<'_>, name: &str, address: &str, image: &OsStr, has: Has, dir: &Path, cgroup: &str) -> Background {
    let console = lab.kept().join(format!("{name}-console.log"));
    let console = File::options().create(true).append(true).open(console).expect("target/ can be written");
    let mut command = lab.fabric().command("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"])
        .args(["sh", "-c", include_str!("wrapper.sh"), "wrapper.sh", name, address])
        .arg(image)
        .arg(dir)
        .arg(cgroup)
        .args(match has {
            Has::Program => Some(format!("--bind-ro={}:/usr/bin/hostwrit", env!("CARGO_BIN_EXE_hostwrit"))),
            Has::Nothing => None,
        })
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("NOTIFY_SOCKET", dir.join("notify"))
        .env("SYSTEMD_NSPAWN_LOCK", "0")
        // As Debian does it since release 11, also where the machine mounts the hierarchies of before. systemd 256 and later
        // would not boot with those.
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        .stdout(console.try_clone().expect("a file descriptor can be duplicated"))
        .stderr(console);
    Background::start(command)
}

/// Finds the host's process 1 below the process that holds its namespaces.
fn leader(outermost: u32) -> Option<u32> {
    let mut level = vec![outermost];
    // unshare, wrapper.sh, systemd-nspawn, process 1.
    for _ in 0..3 {
        level = level.into_iter().flat_map(children).collect();
    }
    level.into_iter().find(|process| is_process_1(*process))
}

fn children(process: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn is_process_1(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("NSpid:"));
    line.is_some_and(|line| line.split_whitespace().last() == Some("1"))
}

/// Removes a host's cgroups. Those of a killed host are empty a moment later only.
pub fn remove_cgroup(name: &str) {
    for hierarchy in [".", "systemd", "unified", "memory", "pids", "freezer"] {
        let dir = Path::new("/sys/fs/cgroup").join(hierarchy).join(name);
        let deadline = Instant::now() + Duration::from_secs(5);
        while dir.is_dir() && Instant::now() < deadline {
            let mut command = Command::new("find");
            command.arg(&dir).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"]);
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            if dir.is_dir() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Waits, for at most 30 seconds, until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(Duration::from_secs(30), what, condition);
}

/// Waits until `condition` holds.
#[track_caller]
pub fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
