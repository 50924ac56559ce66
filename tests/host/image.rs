// SPDX-License-Identifier: Apache-2.0
//! The file tree of a minimal Debian that all hosts start from: built once, then shared read-only.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use hostwrit::model::Digest;

use crate::process::{bound, run};
use crate::requirements;

pub const SUITE: &str = "bookworm";

const CACHE: &str = "/var/cache/hostwrit-test";

/// What a host has beyond the minimal system. libcurl4 and libssl3 are what hostwrit itself links. Other firewalls are there
/// to be found, and do nothing until a scenario starts them. nginx has the validator that most people write first.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "dbus",
    "fail2ban",
    "firewalld",
    "git",
    "gnupg",
    "iproute2",
    "iptables",
    "less",
    "libcurl4",
    "libpam-systemd",
    "libssl3",
    "nftables",
    "nginx",
    "openssh-client",
    "openssh-server",
    "passwd",
    "procps",
    "python3-systemd",
    "strace",
    "sudo",
    "systemd",
    "systemd-sysv",
    "ufw",
];

/// Runs after the packages are in, with the tree as `$1`. Leaves nothing of the building machine in it.
const TUNE: &str = r#"
set -eu
cd "$1"
rm -rf etc/apt/sources.list etc/apt/sources.list.d/* etc/apt/apt.conf.d/99mmdebstrap etc/resolv.conf etc/hostname \
    var/lib/apt/lists/* var/cache/apt/*.bin var/cache/apt/archives/*.deb usr/share/doc/* usr/share/man/* usr/share/locale/*
: > etc/machine-id
mkdir -p var/log/journal
chroot . systemctl -q enable systemd-networkd.service ssh.service
chroot . systemctl -q disable systemd-networkd-wait-online.service fail2ban.service firewalld.service nginx.service ufw.service
chroot . systemctl -q mask getty@.service console-getty.service e2scrub_all.timer apt-daily.timer apt-daily-upgrade.timer \
    systemd-resolved.service systemd-timesyncd.service
"#;

/// Returns the tree, building it first if this recipe was never built here.
pub fn ensure() -> PathBuf {
    let tree = path();
    fs::create_dir_all(CACHE).unwrap_or_else(|error| panic!("cannot make {CACHE}: {error}"));
    let lock_path = Path::new(CACHE).join("lock");
    let lock = File::create(&lock_path).unwrap_or_else(|error| panic!("cannot make {}: {error}", lock_path.display()));
    // Held until the file is closed: two runs at once build one image, not two.
    lock.lock().unwrap_or_else(|error| panic!("cannot lock {}: {error}", lock_path.display()));
    if !tree.is_dir() {
        build(&tree);
    }
    tree
}

/// Whether this recipe was built here before.
pub fn is_built() -> bool {
    path().is_dir()
}

fn path() -> PathBuf {
    let recipe = format!("{SUITE}\n{}\n{TUNE}", PACKAGES.join("\n"));
    Path::new(CACHE).join(Digest::of(recipe.as_bytes()).short())
}

fn build(tree: &Path) {
    eprintln!("building the image {} (once; about a minute)", tree.display());
    let unfinished = tree.with_extension("tmp");
    remove(&unfinished);
    let hook = tree.with_extension("tune");
    fs::write(&hook, TUNE).unwrap_or_else(|error| panic!("cannot write {}: {error}", hook.display()));

    // In a mount namespace of its own, so that no mount is left in the tree when the run is interrupted.
    let mut command = bound("unshare");
    command
        .args(["--mount", "mmdebstrap"])
        .args(["--quiet", "--variant=minbase", "--mode=root", "--format=directory", "--dpkgopt=force-unsafe-io"])
        .arg("--aptopt=Apt::Install-Recommends \"false\"")
        .args(machine_apt_options().iter().map(|option| format!("--aptopt={option}")))
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(format!("--customize-hook=sh {} \"$1\"", hook.display()))
        .arg(SUITE)
        .arg(&unfinished)
        .args(requirements::apt_sources());
    run(command);

    fs::remove_file(&hook).unwrap_or_else(|error| panic!("cannot remove {}: {error}", hook.display()));
    fs::rename(&unfinished, tree).unwrap_or_else(|error| panic!("cannot rename {}: {error}", unfinished.display()));
}

/// Returns the settings of this machine's apt that decide whether its sources can be used at all, such as a proxy.
fn machine_apt_options() -> Vec<String> {
    const NEEDED: &[&str] =
        &["Acquire::Check-Valid-Until ", "Acquire::Check-Date ", "Acquire::http::Proxy ", "Acquire::https::Proxy "];
    let mut command = Command::new("apt-config");
    command.arg("dump");
    let settings = run(command).stdout;
    settings.lines().filter(|line| NEEDED.iter().any(|name| line.starts_with(name))).map(str::to_owned).collect()
}

/// Removes what an interrupted build left.
fn remove(unfinished: &Path) {
    if unfinished.exists() {
        let mut command = Command::new("rm");
        command.args(["-rf", "--one-file-system"]).arg(unfinished);
        run(command);
    }
}
