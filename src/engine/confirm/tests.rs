// SPDX-License-Identifier: Apache-2.0
//! The journal and the way back, on a real host under a temporary root.

#![allow(clippy::disallowed_methods, reason = "a test's own directory")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::host::{FileKind, HostError, NewFile, ReadHost as _, RealHost, UnitAction, WriteHost};

use super::journal::{Journal, MAX_BYTES};
use super::notes;
use super::revert::{Moment, RevertError, revert};

/// Files, directories, links, account files and units, as a small host has them.
fn host() -> (tempfile::TempDir, RealHost) {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    for path in [
        "etc/ssh",
        "etc/shop",
        "srv/tree/deep",
        "etc/systemd/system/multi-user.target.wants",
        "var/lib/hostwrit/confirm",
    ] {
        std::fs::create_dir_all(at(path)).unwrap();
    }
    for (path, content, mode) in [
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n", 0o644),
        ("etc/shadow", "root:*:1::::::\nalice:$6$secret:1::::::\n", 0o640),
        ("etc/group", "root:x:0:\nsudo:x:27:alice\nalice:x:1000:\n", 0o644),
        ("etc/gshadow", "root:*::\nsudo:*::alice\nalice:!::\n", 0o640),
        ("etc/ssh/sshd_config", "Port 22\n", 0o600),
        ("etc/shop/bytes", "\u{0}\u{1}", 0o4755),
        ("srv/tree/one", "1", 0o644),
        ("srv/tree/deep/two", "2", 0o640),
        (
            "etc/systemd/system/shop.service",
            "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
            0o644,
        ),
        ("etc/systemd/system/idle.service", "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=idle.target\n", 0o644),
    ] {
        std::fs::write(at(path), content).unwrap();
        std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::fs::write(at("etc/shop/binary"), b"\xff\xfe\x00not text").unwrap();
    std::os::unix::fs::symlink("/dev/null", at("etc/shop/link")).unwrap();
    std::os::unix::fs::symlink("../shop.service", at("etc/systemd/system/multi-user.target.wants/shop.service"))
        .unwrap();
    let host = RealHost::open(dir.path()).unwrap();
    (dir, host)
}

/// Path, kind, mode, owner and content of all below the root but hostwrit's own, locks, and the backups of the account files.
fn tree(root: &Path) -> Vec<(PathBuf, u32, u32, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path == root.join("var/lib/hostwrit") || name.ends_with(".lock") || name.ends_with('-') {
                continue;
            }
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_dir() {
                directories.push(path.clone());
                Vec::new()
            } else if meta.is_symlink() {
                std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                std::fs::read(&path).unwrap()
            };
            found.push((path, meta.mode(), meta.uid(), meta.gid(), content));
        }
    }
    found.sort();
    found
}

fn replace(host: &dyn WriteHost, path: &str, content: &[u8]) -> Result<(), HostError> {
    host.replace_file(Path::new(path), &NewFile { content, owner: None, mode: 0o644, check: None })
}

fn back(host: &RealHost) {
    assert_eq!(revert(host, &notes::read(host).unwrap(), &[], Moment::Running).unwrap(), Vec::<String>::new());
}

/// One change of any sort, at a place of the small host or at a new one. Many cannot be made, as on a real host.
fn change(host: &dyn WriteHost, (what, place, value): (u8, u8, u8)) {
    const PLACES: &[&str] = &[
        "/etc/ssh/sshd_config",
        "/etc/ssh/new.conf",
        "/etc/ssh/new.d",
        "/etc/ssh/new.d/inner",
        "/etc/shop",
        "/etc/shop/bytes",
        "/etc/shop/binary",
        "/etc/shop/link",
        "/srv/tree",
        "/srv/tree/one",
        "/srv/tree/deep",
        "/srv/tree/deep/two",
        "/srv/tree/three",
        "/etc/systemd/system/new.service",
        "/etc/systemd/system/shop.service",
    ];
    let path = Path::new(PLACES[usize::from(place) % PLACES.len()]);
    let is_there = |kind| matches!(host.stat(path), Ok(Some(stat)) if stat.kind == kind);
    let unit = ["shop.service", "idle.service", "new.service"][usize::from(place) % 3];
    // A step that cannot be carried out fails, and what was done before it is put back all the same.
    let _ = match what % 10 {
        0 => replace(host, path.to_str().unwrap(), &[value, b'\n']),
        1 => host.make_dir(path, None, [0o755, 0o700][usize::from(value) % 2]),
        2 => host.make_link(path, Path::new(["a", "/b"][usize::from(value) % 2]), None),
        3 if !is_there(FileKind::Link) => host.set_attributes(path, None, Some(0o600 + u32::from(value % 64))),
        4 => host.remove(path),
        5 => host.remove_tree(path),
        6 => host.append(path, &[value]),
        7 => host.edit_accounts(&mut |mut files| {
            let passwd = files.passwd.get_or_insert_default();
            passwd.extend_from_slice(format!("user{value}:x:{value}:100::/:/bin/sh\n").as_bytes());
            Ok(files)
        }),
        8 => host.edit_accounts(&mut |mut files| {
            files.group =
                files.group.map(|group| String::from_utf8(group).unwrap().replace("27:alice", "27:").into_bytes());
            files.shadow = Some(b"root:*:1::::::\n".to_vec());
            Ok(files)
        }),
        _ => {
            let actions = [UnitAction::Enable, UnitAction::Disable, UnitAction::Mask, UnitAction::Unmask];
            host.act_on_unit(actions[usize::from(value) % 4], unit)
        }
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_was_changed_everything_comes_back_to_the_byte(changes in proptest::collection::vec(any::<(u8, u8, u8)>(), 1..20)) {
        let (dir, host) = host();
        let before = tree(dir.path());
        let journal = Journal::of(&host);
        changes.into_iter().for_each(|one| change(&journal, one));
        back(&host);
        prop_assert_eq!(tree(dir.path()), before.clone());
        back(&host);
        prop_assert_eq!(tree(dir.path()), before, "doing it twice does no harm");
    }

    #[test]
    fn a_rehearsal_changes_nothing(changes in proptest::collection::vec(any::<(u8, u8, u8)>(), 1..20)) {
        let (dir, host) = host();
        let before = tree(dir.path());
        let rehearsal = Journal::rehearsal(&host);
        changes.into_iter().for_each(|one| change(&rehearsal, one));
        prop_assert_eq!(tree(dir.path()), before);
        prop_assert_eq!(notes::read(&host).unwrap(), []);
    }
}

#[test]
fn the_journal_is_for_root_alone() {
    let (dir, host) = host();
    replace(&Journal::of(&host), "/etc/ssh/sshd_config", b"Port 2222\n").unwrap();
    let mode = std::fs::metadata(dir.path().join("var/lib/hostwrit/confirm/journal.jsonl")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_place_is_noted_once() {
    let (_dir, host) = host();
    let journal = Journal::of(&host);
    for content in ["a", "b", "c"] {
        replace(&journal, "/etc/ssh/sshd_config", content.as_bytes()).unwrap();
    }
    assert_eq!(notes::read(&host).unwrap().len(), 1);
}

#[test]
fn what_others_put_into_a_new_directory_stays() {
    let (_dir, host) = host();
    Journal::of(&host).make_dir(Path::new("/etc/new.d"), None, 0o755).unwrap();
    replace(&host, "/etc/new.d/theirs", b"theirs").unwrap();
    back(&host);
    assert_eq!(host.read(Path::new("/etc/new.d/theirs")).unwrap().unwrap(), b"theirs");
}

#[test]
fn what_could_not_be_made_again_is_not_removed() {
    let (dir, host) = host();
    nix::unistd::mkfifo(&dir.path().join("etc/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = Journal::of(&host).remove(Path::new("/etc/fifo")).unwrap_err();
    assert_eq!(
        crate::model::chain(&error),
        "cannot note the way back for /etc/fifo: it is a device, socket or FIFO, which could not be made again"
    );
    assert!(dir.path().join("etc/fifo").exists());
}

#[test]
fn more_than_can_be_kept_is_refused_before_it_is_removed() {
    let (dir, host) = host();
    std::fs::File::create(dir.path().join("srv/tree/deep/huge")).unwrap().set_len(MAX_BYTES + 1).unwrap();
    for journal in [Journal::of(&host), Journal::rehearsal(&host)] {
        let error = journal.remove_tree(Path::new("/srv/tree")).unwrap_err();
        assert!(crate::model::chain(&error).contains("more than 64 MiB"), "{}", crate::model::chain(&error));
    }
    assert!(dir.path().join("srv/tree/one").exists());
}

#[test]
fn a_place_that_cannot_be_put_back_does_not_keep_the_others_from_it() {
    let (dir, host) = host();
    let journal = Journal::of(&host);
    replace(&journal, "/etc/ssh/sshd_config", b"Port 2222\n").unwrap();
    replace(&journal, "/etc/shop/bytes", b"new").unwrap();
    let bytes = dir.path().join("etc/shop/bytes");
    std::fs::remove_file(&bytes).unwrap();
    nix::unistd::mkfifo(&bytes, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let notes = notes::read(&host).unwrap();
    let Err(RevertError::Places(left)) = revert(&host, &notes, &[], Moment::Running) else {
        panic!("a FIFO is in the way")
    };
    assert_eq!(left, ["cannot replace /etc/shop/bytes: it is a device, socket or FIFO"]);
    assert_eq!(host.read(Path::new("/etc/ssh/sshd_config")).unwrap().unwrap(), b"Port 22\n");
    std::fs::remove_file(&bytes).unwrap();
    back(&host);
    assert_eq!(host.read(Path::new("/etc/shop/bytes")).unwrap().unwrap(), b"\x00\x01");
}
