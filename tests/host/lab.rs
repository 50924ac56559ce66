// SPDX-License-Identifier: Apache-2.0
//! What one scenario is given: a fabric, hosts to plug into it, and a folder whose content stays if it fails.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::fabric::Fabric;
use crate::infra::Keys;
use crate::machine::{DISK, Has, Machine, remove_cgroup};
use crate::process::{Output, run};

pub struct Lab<'run> {
    number: u32,
    image: &'run Path,
    keys: &'run Keys,
    dir: PathBuf,
    kept: PathBuf,
    transcript: Mutex<File>,
    fabric: Fabric,
    next_address: Cell<u8>,
}

impl<'run> Lab<'run> {
    /// The names of all cgroups and folders of test runs begin so; the number of the process follows.
    pub const CGROUP_PREFIX: &'static str = "hostwrit-host-";

    pub fn new(scenario: &str, image: &'run Path, keys: &'run Keys) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Short, for sockets stand in it, and their paths must stay below 108 bytes.
        let dir = run_dir().join(number.to_string());
        fs::create_dir_all(&dir).expect("the folder for temporary files can be written");
        let kept = kept_dir(scenario);
        let _ = fs::remove_dir_all(&kept);
        fs::create_dir_all(&kept).expect("target/ can be written");
        let transcript = File::create(kept.join("commands.log")).expect("target/ can be written");
        Self {
            number,
            image,
            keys,
            dir,
            kept,
            transcript: Mutex::new(transcript),
            fabric: Fabric::new(),
            next_address: Cell::new(11),
        }
    }

    /// Boots one host.
    pub fn boot(&self, name: &'static str) -> Machine<'_> {
        let [machine] = self.boot_all([name]);
        machine
    }

    /// Boots a host on which hostwrit was never installed.
    pub fn boot_without_hostwrit(&self, name: &'static str) -> Machine<'_> {
        let mut machine = self.switch_on(name, self.image.as_os_str(), Has::Nothing);
        machine.wait_until_booted();
        machine
    }

    /// Boots a host from the image with a layer above it.
    pub fn boot_layer(&self, name: &'static str, layer: &Path) -> Machine<'_> {
        let mut image = layer.as_os_str().to_owned();
        image.push(":");
        image.push(self.image);
        let mut machine = self.switch_on(name, &image, Has::Nothing);
        machine.wait_until_booted();
        machine
    }

    /// Boots a host that keeps what it writes on an ext4 of its own, so that its power can be cut.
    pub fn boot_with_disk(&self, name: &'static str) -> Machine<'_> {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).expect("the run's own folder can be written");
        let mut format = Command::new("mkfs.ext4");
        format.arg("-q").arg(dir.join(DISK)).arg("2G");
        run(format);
        let mut machine = self.switch_on(name, self.image.as_os_str(), Has::Program);
        machine.wait_until_booted();
        machine
    }

    fn switch_on(&self, name: &'static str, image: &OsStr, has: Has) -> Machine<'_> {
        let number = self.next_address.get();
        self.next_address.set(number + 1);
        Machine::switch_on(self, name, format!("192.0.2.{number}"), image, has)
    }

    /// Boots several hosts at the same time.
    pub fn boot_all<const N: usize>(&self, names: [&'static str; N]) -> [Machine<'_>; N] {
        let mut machines = names.map(|name| self.switch_on(name, self.image.as_os_str(), Has::Program));
        machines.iter_mut().for_each(Machine::wait_until_booted);
        machines
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn image(&self) -> &Path {
        self.image
    }

    pub fn keys(&self) -> &'run Keys {
        self.keys
    }

    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Returns the folder for what the scenario makes; gone when it ends.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the folder that stays if the scenario fails.
    pub fn kept(&self) -> &Path {
        &self.kept
    }

    /// Runs a command of the machine, in the fabric.
    pub fn run_in_fabric(&self, command: &[&str]) -> Output {
        let mut inner = self.fabric.command(command[0]);
        inner.args(&command[1..]);
        self.run(inner, format!("[fabric] {}", command.join(" ")))
    }

    /// Runs a prepared command of the machine.
    pub fn run(&self, command: Command, shown: String) -> Output {
        let output = Output::of(command, shown, b"");
        self.record(&output);
        output
    }

    /// Adds to the transcript of the scenario's commands.
    pub fn record(&self, output: &Output) {
        let mut transcript = self.transcript.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The transcript is only there to help people; a full disk shall not hide what the scenario found.
        let _ = writeln!(transcript, "{output}\n");
    }
}

impl Drop for Lab<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.kept);
        }
    }
}

/// Returns the folder that keeps what a failed scenario left.
pub fn kept_dir(scenario: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp is in target/");
    target.join("host-tests").join(scenario)
}

/// Returns the folder for what this run makes.
pub fn run_dir() -> PathBuf {
    std::env::temp_dir().join(format!("{}{}", Lab::CGROUP_PREFIX, std::process::id()))
}

/// Removes the folders and cgroups of runs that were killed. Their processes and mounts the kernel has ended.
pub fn sweep() {
    let places = ["/sys/fs/cgroup".into(), "/sys/fs/cgroup/systemd".into(), std::env::temp_dir()];
    let names = places.iter().flat_map(fs::read_dir).flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let number = name.strip_prefix(Lab::CGROUP_PREFIX).and_then(|rest| rest.split('-').next());
        if number.is_some_and(|number| !Path::new("/proc").join(number).exists()) {
            remove_cgroup(&name);
            let _ = fs::remove_dir_all(std::env::temp_dir().join(&name));
        }
    }
}
