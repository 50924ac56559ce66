// SPDX-License-Identifier: Apache-2.0
//! What templates may know of the host that they are rendered on.

use std::path::Path;

use serde::Serialize;

use crate::host::{HostError, ReadHost};

/// Facts of one host, as templates see them under `facts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The host's name in the infra repo.
    pub hostname: String,
    pub os: Os,
    /// As Rust names it: `x86_64`, `aarch64`.
    pub architecture: String,
    /// Number of processors; 0 where the host is a directory and does not run.
    pub cpus: u32,
    /// Size of the memory; 0 where the host is a directory and does not run.
    pub memory_mib: u64,
}

/// What os-release(5) says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Os {
    /// `debian`
    pub id: String,
    /// `12`; empty on rolling releases.
    pub version_id: String,
    /// `bookworm`; empty where there is none.
    pub codename: String,
}

impl Facts {
    /// Reads the facts of a host.
    ///
    /// Under another root than `/` the operating system is the one that is installed there; processors and memory
    /// belong to the machine that happens to run hostwrit, so they are left at 0.
    ///
    /// # Errors
    /// A file that has the facts is there and cannot be read.
    pub fn gather(host: &dyn ReadHost, hostname: &str) -> Result<Self, HostError> {
        let read = |path: &str| -> Result<String, HostError> {
            Ok(String::from_utf8_lossy(&host.read(Path::new(path))?.unwrap_or_default()).into_owned())
        };
        let mut release = read("/etc/os-release")?;
        if release.is_empty() {
            release = read("/usr/lib/os-release")?;
        }
        let (cpus, memory_mib) = if host.is_live() {
            (cpus(&read("/sys/devices/system/cpu/online")?), memory_mib(&read("/proc/meminfo")?))
        } else {
            (0, 0)
        };
        let architecture = std::env::consts::ARCH.to_owned();
        Ok(Self { hostname: hostname.to_owned(), os: Os::parse(&release), architecture, cpus, memory_mib })
    }

    /// Returns facts to check a repo with, away from its hosts.
    pub fn sample(hostname: &str) -> Self {
        Self {
            hostname: hostname.to_owned(),
            os: Os { id: "debian".to_owned(), version_id: "12".to_owned(), codename: "bookworm".to_owned() },
            architecture: "x86_64".to_owned(),
            cpus: 2,
            memory_mib: 4096,
        }
    }
}

impl Os {
    fn parse(release: &str) -> Self {
        let value = |key: &str| {
            let line = release.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        Self {
            // The value that os-release(5) gives to a missing ID.
            id: value("ID").unwrap_or_else(|| "linux".to_owned()),
            version_id: value("VERSION_ID").unwrap_or_default(),
            codename: value("VERSION_CODENAME").unwrap_or_default(),
        }
    }
}

/// Counts a list such as `0-3,8`.
fn cpus(online: &str) -> u32 {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    online
        .split(',')
        .filter_map(|range| match range.split_once('-') {
            Some((first, last)) => Some(number(last)?.saturating_sub(number(first)?).saturating_add(1)),
            None => number(range).map(|_| 1),
        })
        .fold(0, u32::saturating_add)
}

fn memory_mib(meminfo: &str) -> u64 {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    kib.map_or(0, |kib: u64| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_with_and_without_quotes() {
        let debian = Os::parse("PRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n");
        assert_eq!(debian, Facts::sample("x").os);
        assert_eq!(Os::parse("").id, "linux");
    }

    #[test]
    fn processors_and_memory_are_counted() {
        assert_eq!(cpus("0-3,8\n"), 5);
        assert_eq!(cpus("0\n"), 1);
        assert_eq!(cpus(""), 0);
        assert_eq!(memory_mib("MemTotal:        2048000 kB\nMemFree: 1 kB\n"), 2000);
        assert_eq!(memory_mib("garbage"), 0);
    }
}
