// SPDX-License-Identifier: Apache-2.0
//! Fetching from real repositories, and from remotes that do not mean well.
#![allow(clippy::disallowed_methods)]

mod web;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::model::git::ObjectType;

const MAIN: &str = "refs/heads/main";
static GO: AtomicBool = AtomicBool::new(false);

/// A remote with one commit, and the place of a mirror.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.remote()).unwrap();
        scene.git(&["init", "--quiet", "--initial-branch=main"]);
        scene.commit("one");
        scene
    }

    fn remote(&self) -> PathBuf {
        self.dir.path().join("remote")
    }

    fn url(&self) -> String {
        self.remote().to_str().unwrap().to_owned()
    }

    fn place(&self) -> PathBuf {
        self.dir.path().join("mirror")
    }

    fn mirror(&self, limits: Limits) -> Mirror {
        Mirror::open(&self.place(), HashKind::Sha1, limits).unwrap()
    }

    fn commit(&self, content: &str) -> Oid {
        fs::write(self.remote().join("file"), content).unwrap();
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", "change"]);
        self.git(&["rev-parse", "HEAD"]).trim().parse().unwrap()
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.remote(), args)
    }
}

fn git(directory: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.org"])
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn words(error: &dyn std::error::Error) -> String {
    error.source().map_or(error.to_string(), |source| format!("{error}: {}", words(source)))
}

#[test]
fn a_ref_is_fetched_and_its_objects_are_given() {
    let scene = Scene::new();
    let mirror = scene.mirror(Limits::default());
    let tip = mirror.fetch(&scene.url(), MAIN, None, &GO).unwrap().tip;
    assert_eq!(tip.to_string(), scene.git(&["rev-parse", "HEAD"]).trim());
    let commit = mirror.object(&tip).unwrap();
    assert_eq!(commit.kind, ObjectType::Commit);
    assert_eq!(String::from_utf8(commit.data).unwrap(), scene.git(&["cat-file", "commit", "HEAD"]));
    // Again, without news, and with some, by the same mirror.
    assert_eq!(mirror.fetch(&scene.url(), MAIN, None, &GO).unwrap().tip, tip);
    let next = scene.commit("two");
    assert_eq!(mirror.fetch(&scene.url(), MAIN, None, &GO).unwrap().tip, next);
    assert!(mirror.object(&next).is_ok());
    assert!(matches!(mirror.object(&Oid::null(HashKind::Sha1)), Err(ObjectError::Missing { .. })));
    assert!(matches!(mirror.object(&Oid::null(HashKind::Sha256)), Err(ObjectError::Missing { .. })));
}

#[test]
fn a_remote_that_was_rewound_is_followed() {
    let scene = Scene::new();
    let first = scene.git(&["rev-parse", "HEAD"]);
    let second = scene.commit("two");
    let mirror = scene.mirror(Limits::default());
    assert_eq!(mirror.fetch(&scene.url(), MAIN, None, &GO).unwrap().tip, second);
    scene.git(&["reset", "--quiet", "--hard", first.trim()]);
    assert_eq!(mirror.fetch(&scene.url(), MAIN, None, &GO).unwrap().tip.to_string(), first.trim());
    assert_eq!(git(&scene.place(), &["rev-parse", "refs/hostwrit/incoming"]), first);
    // Another history altogether.
    let third = scene.commit("three");
    assert_eq!(mirror.fetch(&scene.url(), MAIN, None, &GO).unwrap().tip, third);
}

#[test]
fn a_sha256_remote_is_fetched_into_a_sha256_mirror_only() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.remote()).unwrap();
    fs::create_dir(scene.remote()).unwrap();
    scene.git(&["init", "--quiet", "--initial-branch=main", "--object-format=sha256"]);
    let tip = scene.commit("one");
    let mirror = Mirror::open(&scene.place(), HashKind::Sha256, Limits::default()).unwrap();
    assert_eq!(mirror.fetch(&scene.url(), MAIN, None, &GO).unwrap().tip, tip);
    assert!(mirror.object(&tip).is_ok());
    let opened = Mirror::open(&scene.place(), HashKind::Sha1, Limits::default());
    assert!(matches!(opened, Err(MirrorError::Hash { .. })));
}

#[test]
fn a_missing_ref_is_named() {
    let scene = Scene::new();
    let error = scene.mirror(Limits::default()).fetch(&scene.url(), "refs/heads/prod", None, &GO).unwrap_err();
    assert!(matches!(error, FetchError::MissingRef { .. }), "{}", words(&error));
    assert!(error.to_string().contains("refs/heads/prod") && error.to_string().contains(&scene.url()));
}

const HEARTBEAT: &str = "refs/hostwrit/heartbeat";

#[test]
fn a_second_ref_is_fetched_where_there_is_one_and_missed_where_there_is_none() {
    let scene = Scene::new();
    let mirror = scene.mirror(Limits::default());
    let fetch = |beside| mirror.fetch(&scene.url(), MAIN, Some(beside), &GO);
    let first: Oid = scene.git(&["rev-parse", "HEAD"]).trim().parse().unwrap();
    assert_eq!(fetch(HEARTBEAT).unwrap(), Fetched { tip: first, beside: None });

    let beat = scene.commit("a heartbeat");
    scene.git(&["update-ref", HEARTBEAT, "HEAD"]);
    scene.git(&["reset", "--quiet", "--hard", &first.to_string()]);
    assert_eq!(fetch(HEARTBEAT).unwrap(), Fetched { tip: first, beside: Some(beat) });
    assert_eq!(mirror.object(&beat).unwrap().kind, ObjectType::Commit);
    scene.git(&["update-ref", "-d", HEARTBEAT]);
    assert_eq!(fetch(HEARTBEAT).unwrap().beside, None, "one that was fetched before is not there any more");

    // It never stands in for the ref itself.
    scene.git(&["update-ref", HEARTBEAT, "HEAD"]);
    let missing = mirror.fetch(&scene.url(), "refs/heads/prod", Some(HEARTBEAT), &GO).unwrap_err();
    assert!(matches!(missing, FetchError::MissingRef { .. }), "{}", words(&missing));
    assert!(matches!(fetch("refs/heads/*").unwrap_err(), FetchError::Ref { .. }));
}

#[test]
fn only_a_full_ref_of_a_known_kind_of_remote_is_fetched() {
    let scene = Scene::new();
    let mirror = scene.mirror(Limits::default());
    for git_ref in ["main", "refs/heads/*", "refs/heads/a:refs/heads/b", "+refs/heads/main", "refs/heads/../x", ""] {
        let error = mirror.fetch(&scene.url(), git_ref, None, &GO).unwrap_err();
        assert!(matches!(error, FetchError::Ref { .. }), "{git_ref}: {}", words(&error));
    }
    for remote in ["ext::sh -c true", "ftp://example.org/x", "foo::bar", ""] {
        let error = mirror.fetch(remote, MAIN, None, &GO).unwrap_err();
        assert!(matches!(error, FetchError::Remote { .. }), "{remote}: {}", words(&error));
    }
}

#[test]
fn a_path_without_a_repository_says_so() {
    let scene = Scene::new();
    let error = scene.mirror(Limits::default()).fetch("/nonexistent/infra.git", MAIN, None, &GO).unwrap_err();
    let words = words(&error);
    assert!(words.contains("/nonexistent/infra.git") && words.contains("git must be installed"), "{words}");
}

#[test]
fn what_a_killed_fetch_left_is_cleared() {
    let scene = Scene::new();
    let tip = scene.mirror(Limits::default()).fetch(&scene.url(), MAIN, None, &GO).unwrap().tip;
    let left = [
        "refs/hostwrit/incoming.lock",
        "packed-refs.lock",
        "shallow.lock",
        "objects/pack/Xy12Zq",
        "objects/pack/pack-1111111111111111111111111111111111111111.pack",
        "objects/pack/pack-2222222222222222222222222222222222222222.keep",
        "objects/tmp_obj_1",
    ];
    for path in left {
        fs::write(scene.place().join(path), "half").unwrap();
    }
    let next = scene.commit("two");
    let mirror = scene.mirror(Limits::default());
    for path in left {
        assert!(!scene.place().join(path).exists(), "{path} is still there");
    }
    assert!(mirror.object(&tip).is_ok());
    assert_eq!(mirror.fetch(&scene.url(), MAIN, None, &GO).unwrap().tip, next);
}

#[test]
fn a_mirror_that_a_power_cut_has_emptied_is_fetched_anew() {
    let emptied: [fn(&Path) -> Vec<PathBuf>; 3] = [
        |mirror| vec![mirror.join("refs/hostwrit/incoming")],
        |mirror| pack_files(mirror, "pack"),
        |mirror| pack_files(mirror, "idx"),
    ];
    for of in emptied {
        let scene = Scene::new();
        let tip = scene.mirror(Limits::default()).fetch(&scene.url(), MAIN, None, &GO).unwrap().tip;
        let files = of(&scene.place());
        assert!(!files.is_empty());
        for file in files {
            fs::remove_file(&file).unwrap();
            fs::write(&file, "").unwrap();
        }
        let mirror = scene.mirror(Limits::default());
        assert_eq!(mirror.fetch(&scene.url(), MAIN, None, &GO).unwrap().tip, tip);
        assert!(mirror.object(&tip).is_ok());
    }
}

fn pack_files(mirror: &Path, ending: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(mirror.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect()
}

#[test]
fn a_mirror_that_was_half_made_is_made_again() {
    let scene = Scene::new();
    let aside = scene.place().with_file_name("mirror.incomplete");
    fs::create_dir_all(aside.join("objects")).unwrap();
    fs::write(aside.join("config"), "garbage").unwrap();
    let mirror = scene.mirror(Limits::default());
    assert!(mirror.fetch(&scene.url(), MAIN, None, &GO).is_ok());
    assert!(!aside.exists());
}

#[test]
fn a_shallow_or_borrowing_mirror_is_refused() {
    for (path, content) in [("shallow", "x"), ("objects/info/alternates", "/tmp")] {
        let scene = Scene::new();
        scene.mirror(Limits::default());
        fs::write(scene.place().join(path), content).unwrap();
        let opened = Mirror::open(&scene.place(), HashKind::Sha1, Limits::default());
        assert!(matches!(opened, Err(MirrorError::Unsound { .. })), "{path}");
    }
}

#[test]
fn replace_refs_change_nothing() {
    let scene = Scene::new();
    let first = scene.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let second = scene.commit("two");
    scene.mirror(Limits::default()).fetch(&scene.url(), MAIN, None, &GO).unwrap();
    git(&scene.place(), &["replace", &second.to_string(), &first]);
    let data = scene.mirror(Limits::default()).object(&second).unwrap().data;
    assert_eq!(String::from_utf8(data).unwrap(), scene.git(&["cat-file", "commit", "HEAD"]));
}

/// Content that does not compress.
fn noise(bytes: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b' ' + (state % 90) as u8)
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn a_large_object_is_neither_fetched_nor_given() {
    let scene = Scene::new();
    scene.commit(&noise(300_000));
    let blob: Oid = scene.git(&["rev-parse", "HEAD:file"]).trim().parse().unwrap();
    let small = Limits { object_bytes: 100_000, ..Limits::default() };
    let error = scene.mirror(small).fetch(&scene.url(), MAIN, None, &GO).unwrap_err();
    assert!(matches!(error, FetchError::Receive { .. }), "{}", words(&error));
    // Fetched under another limit, it is still not given.
    scene.mirror(Limits::default()).fetch(&scene.url(), MAIN, None, &GO).unwrap();
    assert!(matches!(scene.mirror(small).object(&blob), Err(ObjectError::TooLarge { .. })));
    assert!(scene.mirror(Limits::default()).object(&blob).is_ok());
}

#[test]
fn a_large_pack_is_cut_off() {
    let scene = Scene::new();
    for number in 0..24 {
        fs::write(scene.remote().join(format!("noise{number}")), format!("{number}{}", noise(4_000_000))).unwrap();
    }
    scene.git(&["add", "--all"]);
    scene.git(&["-c", "core.compression=0", "commit", "--quiet", "-m", "large"]);
    let mirror = scene.mirror(Limits { pack_bytes: 1_000_000, ..Limits::default() });
    let error = mirror.fetch(&scene.url(), MAIN, None, &GO).unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{}", words(&error));
    scene.mirror(Limits::default());
    assert!(leftovers::pack_bytes(&scene.place()).unwrap() < 1_000_000);
}

/// A server that takes connections and says nothing.
fn black_hole() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().map(Result::unwrap).collect::<Vec<_>>());
    address.to_string()
}

#[test]
fn a_silent_server_costs_no_more_than_the_time_allowed() {
    let scene = Scene::new();
    let mirror = scene.mirror(Limits { time: Duration::from_millis(300), ..Limits::default() });
    let address = black_hole();
    for scheme in ["git://", "http://"] {
        let begin = Instant::now();
        let error = mirror.fetch(&format!("{scheme}{address}/infra.git"), MAIN, None, &GO).unwrap_err();
        let words = words(&error);
        assert!(matches!(error, FetchError::Deadline { .. }), "{words}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        assert!(words.contains(&address), "{words}");
    }
}

#[test]
fn a_fetch_stops_when_told_to() {
    let scene = Scene::new();
    let mirror = scene.mirror(Limits::default());
    let begin = Instant::now();
    let error = mirror.fetch(&format!("git://{}/x", black_hole()), MAIN, None, &AtomicBool::new(true)).unwrap_err();
    assert!(matches!(error, FetchError::Stopped { .. }), "{}", words(&error));
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[test]
fn no_password_is_shown() {
    let scene = Scene::new();
    let mirror = scene.mirror(Limits::default());
    // Nothing listens on port 1.
    for remote in [
        "http://alice:hunter2@127.0.0.1:1/x",
        "https://alice:hunter2@127.0.0.1:1/x",
        "git://alice:hunter2@127.0.0.1:1/x",
        "ssh://alice:hunter2@127.0.0.1:1/x",
        "foo://a:hunter2@b/c",
    ] {
        let error = mirror.fetch(remote, MAIN, None, &GO).unwrap_err();
        assert!(!words(&error).contains("hunter2"), "{}", words(&error));
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn an_empty_line_is_no_credential() {
    let dir = tempfile::tempdir().unwrap();
    let command = |key: &str| {
        fs::write(dir.path().join("ssh-key"), key).unwrap();
        Access::in_directory(dir.path()).unwrap().ssh_command(Path::new("words"))
    };
    assert!(command("a key\n").contains("IdentitiesOnly"));
    assert!(!command("\n").contains("IdentitiesOnly"));
    assert!(!command("").contains("IdentitiesOnly"));
}

#[test]
fn a_mirror_that_was_half_removed_is_made_anew() {
    let scene = Scene::new();
    drop(scene.mirror(Limits::default()));
    let aside = scene.dir.path().join("mirror.discarded");
    fs::create_dir_all(aside.join("objects")).unwrap();
    Mirror::discard(&scene.place()).unwrap();
    assert!(!scene.place().exists() && !aside.exists());

    // Killed between moving it out of the way and removing it.
    fs::create_dir_all(aside.join("objects")).unwrap();
    let tip = scene.commit("two");
    let fetched = scene.mirror(Limits::default()).fetch(&scene.url(), MAIN, None, &GO).unwrap();
    assert_eq!(fetched.tip, tip);
    assert!(!aside.exists());
}

#[test]
fn what_ssh_says_is_told() {
    let scene = Scene::new();
    let mirror = scene.mirror(Limits::default());
    // Nothing listens on port 1.
    let error = mirror.fetch("ssh://git@127.0.0.1:1/x", MAIN, None, &GO).unwrap_err();
    assert!(words(&error).contains("ssh says: ") && words(&error).contains("Connection refused"), "{}", words(&error));
    let error = mirror.fetch("git://127.0.0.1:1/x", MAIN, None, &GO).unwrap_err();
    assert!(!words(&error).contains("ssh says"), "what it said before is about another remote: {}", words(&error));
}
