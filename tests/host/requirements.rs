// SPDX-License-Identifier: Apache-2.0
//! What a machine must offer so that disposable hosts can run on it.

use std::process::{Command, Stdio};

use crate::apt_sources::{self, AptSources};
use crate::image;

/// Debian's packages of all programs that the harness starts.
const PACKAGES: &str =
    "systemd-container mmdebstrap nftables iproute2 util-linux git gnupg openssh-client openssl perl e2fsprogs mount";

const PROGRAMS: &[&str] = &[
    "setpriv",
    "unshare",
    "nsenter",
    "systemd-nspawn",
    "systemd-run",
    "journalctl",
    "ip",
    "nft",
    "git",
    "gpg",
    "gpg-agent",
    "openssl",
    "ssh",
    "ssh-keygen",
    "perl",
    "mkfs.ext4",
    "losetup",
];

/// Returns what this machine lacks, one reason each, and how to get it.
pub fn missing() -> Result<(), String> {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        // Every further probe would fail for this reason alone.
        missing.push("root".to_owned());
    } else {
        missing.extend(PROGRAMS.iter().filter(|program| !is_installed(program)).map(|program| (*program).to_owned()));
        let probes = [
            ("namespaces for mounts and processes", "unshare --mount --pid --fork true"),
            ("network namespaces with veth", "unshare --net ip link add type veth"),
            (
                "overlay mounts on tmpfs",
                "unshare --mount sh -c 'mount --make-rprivate / && mount -t tmpfs t /mnt && cd /mnt && mkdir l u w m &&
                 mount -t overlay -o lowerdir=l,upperdir=u,workdir=w o m'",
            ),
            (
                "mounting an ext4 by a loop device",
                "unshare --mount sh -c 'mount --make-rprivate / && mount -t tmpfs t /mnt && mkfs.ext4 -q /mnt/i 8M && mkdir /mnt/m &&
                 mount -o loop /mnt/i /mnt/m'",
            ),
            (
                "mounting devpts for a new system, as root of a user namespace cannot",
                "unshare --mount sh -c 'mount --make-rprivate / && mount -t devpts -o newinstance,gid=5 d /mnt'",
            ),
            (
                "a writable cgroup hierarchy",
                "for d in /sys/fs/cgroup/systemd /sys/fs/cgroup; do
                    if mkdir $d/hostwrit-probe.$$; then rmdir $d/hostwrit-probe.$$; exit 0; fi
                 done; exit 1",
            ),
        ];
        missing.extend(probes.iter().filter(|(_, script)| !succeeds(script)).map(|(name, _)| (*name).to_owned()));
        if !image::is_built() {
            if !is_installed("mmdebstrap") {
                missing.push("mmdebstrap".to_owned());
            }
            let release = image::release();
            if AptSources::of(&release).is_empty() {
                let variable = apt_sources::VARIABLE;
                missing.push(format!("apt sources of Debian {release}: name a file that has them in {variable}"));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "host tests need to start disposable hosts (missing: {}); run as root: apt-get install {PACKAGES}",
        missing.join(", ")
    ))
}

fn is_installed(program: &str) -> bool {
    succeeds(&format!("command -v {program}"))
}

fn succeeds(script: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
