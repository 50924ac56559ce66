// SPDX-License-Identifier: Apache-2.0
//! Whether the host waits for a reboot, as far as it can tell.

use std::path::{Path, PathBuf};

use crate::host::{FileKind, HostError, ReadHost};

/// Where Debian says that a package asked for one; the second is the older name of the first.
const ASKED: &[&str] = &["/run/reboot-required", "/var/run/reboot-required"];

/// The kernel that is booted next, as the packages of kernels keep it: the one or the other, by `link_in_boot` of
/// kernel-img.conf(5).
const NEXT: &[&str] = &["/vmlinuz", "/boot/vmlinuz"];

/// The release of the kernel that runs.
const RUNNING: &str = "/proc/sys/kernel/osrelease";

/// Returns whether a package asked for a reboot, or another kernel is booted next; `None` where neither can be told, as in a
/// container that has no kernel of its own.
pub fn is_needed(host: &dyn ReadHost) -> Option<bool> {
    // What cannot be read is not known either.
    if is_asked_for(host).ok()? { Some(true) } else { waits_for_kernel(host).ok()? }
}

fn is_asked_for(host: &dyn ReadHost) -> Result<bool, HostError> {
    for path in ASKED {
        if host.stat(Path::new(path))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn waits_for_kernel(host: &dyn ReadHost) -> Result<Option<bool>, HostError> {
    let Some(running) = host.read(Path::new(RUNNING))? else { return Ok(None) };
    let running = PathBuf::from(format!("vmlinuz-{}", String::from_utf8_lossy(&running).trim()));
    // What runs may come from outside, as some clouds have it: then a boot would not bring what is here.
    if host.stat(&Path::new("/boot").join(&running))?.is_none() {
        return Ok(None);
    }
    for link in NEXT.iter().map(Path::new) {
        if host.stat(link)?.is_some_and(|stat| stat.kind == FileKind::Link)
            && let Some(target) = host.read_link(link)?
        {
            return Ok(Some(target.file_name() != running.file_name()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::host::RealHost;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "prepares a temporary root by hand")]
    fn it_is_needed_where_a_package_asks_or_another_kernel_is_booted_next() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for dir in ["run", "boot", "var", "proc/sys/kernel"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        let host = RealHost::open(root.path()).unwrap();
        assert_eq!(is_needed(&host), None, "nothing tells");
        fs::write(at("proc/sys/kernel/osrelease"), "6.1.0-31-amd64\n").unwrap();
        symlink("boot/vmlinuz-6.1.0-32-amd64", at("vmlinuz")).unwrap();
        assert_eq!(is_needed(&host), None, "what runs is none of those here");
        fs::write(at("boot/vmlinuz-6.1.0-31-amd64"), "").unwrap();
        assert_eq!(is_needed(&host), Some(true), "another is booted next");
        fs::remove_file(at("vmlinuz")).unwrap();
        assert_eq!(is_needed(&host), None, "which is booted next is not known");
        symlink("vmlinuz-6.1.0-31-amd64", at("boot/vmlinuz")).unwrap();
        assert_eq!(is_needed(&host), Some(false));
        for path in ["run/reboot-required", "var/run/reboot-required"] {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), "").unwrap();
            assert_eq!(is_needed(&host), Some(true), "{path}");
            fs::remove_file(at(path)).unwrap();
        }
    }
}
