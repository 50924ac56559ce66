// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

const SHORT: Duration = Duration::from_millis(200);

fn root() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let etc = dir.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    for (name, content, mode) in [
        ("passwd", "root:x:0:0:root:/root:/bin/bash\n", 0o644),
        ("shadow", "root:*:20000:0:99999:7:::\n", 0o640),
        ("group", "root:x:0:\n", 0o644),
        ("gshadow", "root:*::\n", 0o640),
    ] {
        std::fs::write(etc.join(name), content).unwrap();
        std::fs::set_permissions(etc.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

fn read(dir: &tempfile::TempDir, name: &str) -> String {
    std::fs::read_to_string(dir.path().join("etc").join(name)).unwrap()
}

fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir.path().join("etc"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn append(file: &mut Option<Vec<u8>>, line: &str) {
    file.get_or_insert_default().extend_from_slice(line.as_bytes());
}

fn add_alice(mut files: AccountFiles) -> Result<AccountFiles, String> {
    append(&mut files.passwd, "alice:x:1000:1000::/home/alice:/bin/bash\n");
    append(&mut files.shadow, "alice:!:20000::::::\n");
    append(&mut files.group, "alice:x:1000:\n");
    Ok(files)
}

#[test]
fn changed_files_are_replaced_with_their_mode_and_a_backup_and_the_others_left_alone() {
    let (dir, root) = root();
    let inode = |name: &str| std::fs::metadata(dir.path().join("etc").join(name)).unwrap().ino();
    let gshadow = inode("gshadow");
    edit(&root, &mut add_alice).unwrap();

    assert!(read(&dir, "passwd").ends_with("alice:x:1000:1000::/home/alice:/bin/bash\n"));
    assert_eq!(read(&dir, "passwd-"), "root:x:0:0:root:/root:/bin/bash\n");
    assert_eq!(read(&dir, "shadow-"), "root:*:20000:0:99999:7:::\n");
    assert_eq!(inode("gshadow"), gshadow);
    for name in ["shadow", "shadow-"] {
        let mode = std::fs::metadata(dir.path().join("etc").join(name)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o640, "{name}");
    }
    let expected = [".pwd.lock", "group", "group-", "gshadow", "passwd", "passwd-", "shadow", "shadow-"];
    assert_eq!(names(&dir), expected, "no lock and no temporary file is left");
}

#[test]
fn files_that_are_missing_are_made_and_a_shadow_file_is_not_readable_to_others() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    edit(&Root::open(dir.path()).unwrap(), &mut add_alice).unwrap();
    assert_eq!(names(&dir), [".pwd.lock", "group", "passwd", "shadow"]);
    let mode = |name: &str| std::fs::metadata(dir.path().join("etc").join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("passwd"), mode("shadow"), mode("group")), (0o644, 0o600, 0o644));
}

#[test]
fn a_refused_edit_changes_nothing_and_releases_the_locks() {
    let (dir, root) = root();
    let error = edit(&root, &mut |_| Err("no".to_owned())).unwrap_err();
    assert_eq!(error.to_string(), "cannot change the account files: no");
    assert_eq!(names(&dir), [".pwd.lock", "group", "gshadow", "passwd", "shadow"]);
    edit_patiently(&root, &mut add_alice, SHORT).unwrap();
}

#[test]
fn a_file_is_never_removed() {
    let (_dir, root) = root();
    let mut edit_away = |files: AccountFiles| Ok(AccountFiles { shadow: None, ..files });
    let error = edit(&root, &mut edit_away).unwrap_err();
    assert!(error.to_string().contains("etc/shadow would be removed"), "{error}");
}

#[test]
fn a_symbolic_link_in_place_of_a_file_is_refused() {
    let (dir, root) = root();
    let passwd = dir.path().join("etc/passwd");
    std::fs::rename(&passwd, dir.path().join("etc/elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &passwd).unwrap();
    let error = edit(&root, &mut add_alice).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("symbolic link"), "{cause}");
}

#[test]
fn what_a_killed_process_left_does_not_stand_in_the_way() {
    let (dir, root) = root();
    let etc = dir.path().join("etc");
    // A PID that was: of a process that has ended and been reaped.
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let own = std::process::id();
    std::fs::write(etc.join("passwd+"), "half a fi").unwrap();
    std::fs::write(etc.join(format!("passwd.{pid}")), format!("{pid}\0")).unwrap();
    std::fs::hard_link(etc.join(format!("passwd.{pid}")), etc.join("passwd.lock")).unwrap();
    std::fs::write(etc.join("shadow.lock"), format!("{pid}\n")).unwrap();
    // An earlier process with the number that is ours now, killed between link and unlink.
    std::fs::write(etc.join(format!("group.{own}")), format!("{own}\0")).unwrap();
    std::fs::hard_link(etc.join(format!("group.{own}")), etc.join("group.lock")).unwrap();

    edit_patiently(&root, &mut add_alice, SHORT).unwrap();
    let expected = [".pwd.lock", "group", "group-", "gshadow", "passwd", "passwd-", "shadow", "shadow-"];
    assert_eq!(names(&dir), expected);
    assert!(read(&dir, "passwd").contains("alice"));
}

#[test]
fn the_lock_file_of_a_living_process_is_respected_and_named() {
    let (dir, root) = root();
    let lock = dir.path().join("etc/shadow.lock");
    std::fs::write(&lock, "1\0").unwrap();
    let error = edit_patiently(&root, &mut add_alice, SHORT).unwrap_err();
    assert!(matches!(&error, HostError::Lock { path, why } if path == &lock && why.contains("process 1 ")), "{error}");
    assert!(!read(&dir, "passwd").contains("alice"));
    let expected = [".pwd.lock", "group", "gshadow", "passwd", "shadow", "shadow.lock"];
    assert_eq!(names(&dir), expected, "the locks taken before it are released");
}

#[test]
fn a_lock_file_without_a_pid_is_refused_with_what_to_do() {
    let (dir, root) = root();
    std::fs::write(dir.path().join("etc/passwd.lock"), "").unwrap();
    let error = edit_patiently(&root, &mut add_alice, SHORT).unwrap_err();
    assert!(error.to_string().contains("it holds no PID"), "{error}");
}

/// Holds the lock of lckpwdf(3), as another program does: by fcntl(2), for the whole process.
struct Holder(Child);

impl Holder {
    fn start(lock: &Path) -> Self {
        let script = "use Fcntl; open(my $f, '>', $ARGV[0]) or die; \
            my $l = pack('s s x4 q q l x4', F_WRLCK, 0, 0, 0, 0); \
            fcntl($f, F_SETLKW, $l) or die $!; $| = 1; print qq(held\\n); <STDIN>;";
        let mut child = Command::new("perl")
            .args(["-e", script])
            .arg(lock)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("perl is part of every Debian system");
        let mut line = [0; 5];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(&line, b"held\n");
        Self(child)
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn whoever_holds_either_lock_is_seen_and_a_dead_one_is_not() {
    let (dir, root) = root();
    let etc = dir.path().join("etc");
    assert!(!are_locked(&root), "there is no lock file yet");
    let holder = Holder::start(&etc.join(".pwd.lock"));
    assert!(are_locked(&root));
    holder.end();
    assert!(!are_locked(&root), "the file stays, and says nothing");
    let mut living = Command::new("sleep").arg("60").spawn().unwrap();
    for name in ["passwd", "shadow", "group", "gshadow"] {
        let lock = etc.join(format!("{name}.lock"));
        std::fs::write(&lock, format!("{}\0", living.id())).unwrap();
        assert!(are_locked(&root), "{name}");
        std::fs::rename(lock, etc.join("group.lock")).unwrap();
    }
    living.kill().unwrap();
    living.wait().unwrap();
    assert!(!are_locked(&root), "who held it was killed");
    edit_patiently(
        &root,
        &mut |files| {
            assert!(are_locked(&root));
            Ok(files)
        },
        SHORT,
    )
    .unwrap();
    assert!(!are_locked(&root));
}

#[test]
fn the_lock_of_lckpwdf_is_waited_for_and_then_taken() {
    let (dir, root) = root();
    let holder = Holder::start(&dir.path().join("etc/.pwd.lock"));
    let error = edit_patiently(&root, &mut add_alice, SHORT).unwrap_err();
    let expected = format!("process {} has held it", holder.0.id());
    assert!(matches!(&error, HostError::Lock { why, .. } if why.contains(&expected)), "{error}");

    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            holder.end();
        });
        edit_patiently(&root, &mut add_alice, Duration::from_secs(30)).unwrap();
    });
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(read(&dir, "passwd").contains("alice"));
}

#[test]
fn others_are_shut_out_during_an_edit() {
    let (dir, root) = root();
    let etc = dir.path().join("etc");
    edit(&root, &mut |files| {
        let pid = std::fs::read_to_string(etc.join("gshadow.lock")).unwrap();
        assert_eq!(pid, format!("{}\0", std::process::id()));
        let second = edit_patiently(&root, &mut add_alice, Duration::ZERO);
        assert!(matches!(second, Err(HostError::Lock { .. })), "{second:?}");
        Ok(files)
    })
    .unwrap();
}

#[test]
fn two_threads_take_turns_and_lose_nothing() {
    let (dir, root) = root();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let root = &root;
            scope.spawn(move || {
                for turn in 0..5 {
                    let line = format!("u{thread}x{turn}:x:{}:1::/:/bin/sh\n", 1000 + thread * 10 + turn);
                    edit(root, &mut |mut files| {
                        append(&mut files.passwd, &line);
                        Ok(files)
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(read(&dir, "passwd").lines().count(), 21);
}

#[test]
fn a_new_user_comes_to_be_with_the_last_file_and_a_removed_one_goes_with_the_first() {
    let (dir, root) = root();
    // A directory that cannot be replaced stops the work at that file: in place of the backup that comes first there.
    let block = |name: &str| std::fs::create_dir(dir.path().join("etc").join(name)).unwrap();
    let unblock = |name: &str| std::fs::remove_dir(dir.path().join("etc").join(name)).unwrap();

    block("passwd-");
    edit(&root, &mut add_alice).unwrap_err();
    assert!(read(&dir, "shadow").contains("alice") && read(&dir, "group").contains("alice"));
    assert!(!read(&dir, "passwd").contains("alice"));
    unblock("passwd-");
    let mut finish = |mut files: AccountFiles| {
        append(&mut files.passwd, "alice:x:1000:1000::/home/alice:/bin/bash\n");
        Ok(files)
    };
    edit(&root, &mut finish).unwrap();

    std::fs::remove_file(dir.path().join("etc/shadow-")).unwrap();
    block("shadow-");
    let without = |file: Option<Vec<u8>>| {
        let text = String::from_utf8(file.unwrap()).unwrap();
        Some(
            text.lines()
                .filter(|line| !line.contains("alice"))
                .flat_map(|line| [line, "\n"])
                .collect::<String>()
                .into(),
        )
    };
    let mut remove = |files: AccountFiles| {
        Ok(AccountFiles {
            passwd: without(files.passwd),
            shadow: without(files.shadow),
            group: without(files.group),
            gshadow: files.gshadow,
        })
    };
    edit(&root, &mut remove).unwrap_err();
    assert!(!read(&dir, "passwd").contains("alice"));
    assert!(read(&dir, "shadow").contains("alice") && read(&dir, "group").contains("alice"));
    unblock("shadow-");
    edit(&root, &mut remove).unwrap();
    assert!(!read(&dir, "shadow").contains("alice"));
    assert!(names(&dir).iter().all(|name| !name.ends_with('+') && !name.ends_with(".lock") || name == ".pwd.lock"));
}

#[test]
fn useradd_waits_for_an_edit_and_neither_loses_the_work_of_the_other() {
    let useradd = Path::new("/usr/sbin/useradd");
    if !nix::unistd::geteuid().is_root() || !useradd.exists() {
        // Only root can have useradd(8) work below another root.
        return;
    }
    let (dir, root) = root();
    let start = Instant::now();
    let mut child = None;
    edit(&root, &mut |files| {
        child = Some(Command::new(useradd).arg("-R").arg(dir.path()).args(["-N", "bob"]).spawn().unwrap());
        std::thread::sleep(Duration::from_millis(700));
        assert!(child.as_mut().unwrap().try_wait().unwrap().is_none(), "it waits");
        add_alice(files)
    })
    .unwrap();
    assert!(child.unwrap().wait().unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(14));
    for file in ["passwd", "shadow"] {
        let names: Vec<String> =
            read(&dir, file).lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(names, ["root", "alice", "bob"], "{file}");
    }
}
