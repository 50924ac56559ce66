// SPDX-License-Identifier: Apache-2.0
//! The file tree of a minimal Debian that all hosts start from: built once, then shared read-only.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use hostwrit::model::Digest;

use crate::apt_sources::AptSources;
use crate::process::{bound, run};

/// Names another release of Debian than the usual one.
const RELEASE: &str = "HOSTWRIT_HOST_RELEASE";

const CACHE: &str = "/var/cache/hostwrit-test";

/// What a host has beyond the minimal system. libssl3 is what hostwrit itself links; Debian 13's package of it has another name,
/// and provides this. Other firewalls are there to be found, and do nothing until a scenario starts them. nginx has the validator
/// that most people write first.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "curl",
    "dbus",
    "fail2ban",
    "firewalld",
    "git",
    "gnupg",
    "iproute2",
    "iptables",
    "less",
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

/// Returns the name of the Debian release that the hosts have.
pub fn release() -> String {
    std::env::var(RELEASE).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "bookworm".to_owned())
}

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
    let recipe = format!("{}\n{}\n{TUNE}", release(), PACKAGES.join("\n"));
    Path::new(CACHE).join(Digest::of(recipe.as_bytes()).short())
}

fn build(tree: &Path) {
    eprintln!("building the image {} (once; about a minute)", tree.display());
    let unfinished = tree.with_extension("tmp");
    let inputs = tree.with_extension("inputs");
    remove(&unfinished);
    remove(&inputs);
    fs::create_dir(&inputs).unwrap_or_else(|error| panic!("cannot make {}: {error}", inputs.display()));
    let hook = inputs.join("tune");
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
        .arg(release())
        .arg(&unfinished)
        .args(AptSources::of(&release()).iter().map(|sources| sources.write(&inputs)));
    run(command);

    remove(&inputs);
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

/// Removes a folder, if it is there.
fn remove(folder: &Path) {
    if folder.exists() {
        let mut command = Command::new("rm");
        command.args(["-rf", "--one-file-system"]).arg(folder);
        run(command);
    }
}
