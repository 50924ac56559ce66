// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, reason = "changes a temporary root by hand")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::host::{Listener, RealHost, Transport};

/// Asks everything that can be asked of a path.
fn ask(host: &dyn ReadHost) -> (Option<Vec<Question>>, Digest) {
    let recorder = Recorder::new(host);
    recorder.stat(Path::new("/etc/motd")).unwrap();
    recorder.read(Path::new("/etc/motd")).unwrap();
    recorder.read(Path::new("/etc/nothing")).unwrap();
    recorder.dated(Path::new("/etc/token"), 4).unwrap();
    recorder.read_link(Path::new("/etc/link")).unwrap();
    recorder.list(Path::new("/etc")).unwrap();
    recorder.units(&["hello.service"]).unwrap();
    recorder.now();
    let Recorded { questions, answers } = recorder.recorded.into_inner();
    (questions, answers.digest())
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc");
    fs::create_dir_all(etc.join("systemd/system")).unwrap();
    fs::write(etc.join("motd"), "Welcome\n").unwrap();
    fs::write(etc.join("token"), "abcd").unwrap();
    symlink("motd", etc.join("link")).unwrap();
    root
}

type Change = fn(&Path);

/// Writes a file that says it was last changed so many seconds after a certain time.
fn rewrite(path: &Path, content: &str, seconds: u64) {
    fs::write(path, content).unwrap();
    let changed = UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(changed).unwrap();
}

#[test]
fn each_question_notices_a_change_of_its_answer() {
    let changes: [(&str, Change); 10] = [
        ("a file's content", |etc| fs::write(etc.join("motd"), "Welcomf\n").unwrap()),
        ("a file's mode", |etc| fs::set_permissions(etc.join("motd"), fs::Permissions::from_mode(0o600)).unwrap()),
        ("a file's absence", |etc| fs::write(etc.join("nothing"), "").unwrap()),
        ("what a dated file begins with", |etc| rewrite(&etc.join("token"), "abce", 0)),
        ("a dated file's size", |etc| rewrite(&etc.join("token"), "abcde", 0)),
        ("a dated file's age", |etc| rewrite(&etc.join("token"), "abcd", 1)),
        ("a link's target", |etc| {
            fs::remove_file(etc.join("link")).unwrap();
            symlink("matd", etc.join("link")).unwrap();
        }),
        ("a directory's names", |etc| fs::write(etc.join("more"), "").unwrap()),
        ("a unit's file", |etc| fs::write(etc.join("systemd/system/hello.service"), "[Unit]\n").unwrap()),
        ("a unit's mask", |etc| symlink("/dev/null", etc.join("systemd/system/hello.service")).unwrap()),
    ];
    for (what, change) in changes {
        let root = root();
        let etc = root.path().join("etc");
        fs::set_permissions(etc.join("motd"), fs::Permissions::from_mode(0o644)).unwrap();
        rewrite(&etc.join("token"), "abcd", 0);
        let host = RealHost::open(root.path()).unwrap();
        let (questions, before) = ask(&host);
        assert_eq!(questions.unwrap().len(), 8);
        assert_eq!(ask(&host).1, before, "the same host gives the same answers");
        change(&etc);
        assert_ne!(ask(&host).1, before, "{what} changed unnoticed");
    }
}

#[test]
fn what_listens_is_asked_again_and_a_new_socket_noticed() {
    let root = root();
    let host = RealHost::open(root.path()).unwrap();
    let recorder = Recorder::new(&host);
    assert_eq!(recorder.listening().unwrap(), None);
    assert_eq!(recorder.recorded.into_inner().questions, Some(vec![Question::Listening]));

    let digest = |listening: Option<&Listening>| {
        let mut answers = Answers::new();
        answers.listening(listening);
        answers.digest()
    };
    let socket = |inode| Listener { transport: Transport::Tcp, port: 22, address: [0, 0, 0, 0].into(), inode };
    let listening = |inodes: &[u64]| Listening {
        sockets: inodes.iter().map(|inode| socket(*inode)).collect(),
        client_ports: 32768..=60999,
    };
    let answers = [None, Some(listening(&[])), Some(listening(&[1])), Some(listening(&[2])), Some(listening(&[1, 2]))];
    let digests: BTreeSet<Digest> = answers.iter().map(|listening| digest(listening.as_ref())).collect();
    assert_eq!(digests.len(), answers.len(), "another process on the same port is another answer");
}

#[test]
fn answers_that_run_together_the_same_are_told_apart() {
    let digest = |parts: &[&[u8]]| {
        let mut answers = Answers::new();
        parts.iter().for_each(|part| answers.bytes(Some(part)));
        answers.digest()
    };
    assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    assert_ne!(digest(&[b"", b""]), digest(&[b""]));
}

#[test]
fn a_question_that_is_not_text_is_not_kept() {
    let root = root();
    let host = RealHost::open(root.path()).unwrap();
    let recorder = Recorder::new(&host);
    recorder.stat(Path::new(std::ffi::OsStr::from_bytes(b"/etc/\xff"))).unwrap();
    recorder.stat(Path::new("/etc/motd")).unwrap();
    assert_eq!(recorder.recorded.into_inner().questions, None);
}

#[test]
fn a_file_whose_age_could_not_be_told_is_not_kept() {
    let root = root();
    let host = RealHost::open(root.path()).unwrap();
    let recorder = Recorder::new(&host);
    recorder.dated(Path::new("/etc/link"), 4).unwrap_err();
    recorder.stat(Path::new("/etc/motd")).unwrap();
    assert_eq!(recorder.recorded.into_inner().questions, None);
}

#[test]
fn whether_a_time_has_come_is_kept_with_the_time() {
    let root = root();
    let host = RealHost::open(root.path()).unwrap();
    let (long_ago, far_off) = (UNIX_EPOCH, host.now() + 2 * DAY);
    let recorder = Recorder::new(&host);
    assert!(recorder.has_come(long_ago) && !recorder.has_come(far_off));
    // Also a part of the day that has begun, of which a plan is not told.
    assert!(recorder.has_come(host.now()));
    let Recorded { questions, answers } = recorder.recorded.into_inner();
    assert_eq!(questions.unwrap()[..2], [Question::HasCome(long_ago), Question::HasCome(far_off)]);
    let mut other = Answers::new();
    [1, 1, 1].into_iter().for_each(|yes| other.number(yes));
    assert_ne!(answers.digest(), other.digest());
}

#[test]
fn a_plan_is_told_the_day_and_no_more_of_the_time() {
    let root = root();
    let host = RealHost::open(root.path()).unwrap();
    let told = Recorder::new(&host).now();
    assert_eq!(told.duration_since(UNIX_EPOCH).unwrap().as_secs() % DAY.as_secs(), 0);
}
