// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use super::*;

/// A watcher over a temporary root.
struct Scene {
    root: tempfile::TempDir,
    watcher: Watcher,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    /// Makes the directories and watches `watched`, all above them included.
    fn new(dirs: &[&str], watched: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        dirs.iter().for_each(|dir| fs::create_dir_all(root.path().join(dir)).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let watcher = runtime.block_on(async { Watcher::new(root.path()).unwrap() });
        let mut scene = Self { root, watcher, runtime };
        scene.watch(watched);
        scene
    }

    fn watch(&mut self, watched: &[&str]) {
        let mut wanted = BTreeMap::new();
        for dir in watched {
            for above in Path::new(dir).ancestors().skip(1) {
                wanted.entry(above.to_owned()).or_insert(Depth::Names);
            }
            wanted.insert(PathBuf::from(dir), Depth::Contents);
        }
        self.watcher.set(wanted);
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// Returns what was touched, in order and without repeats; waits for the first.
    fn touched(&mut self) -> Vec<Touched> {
        let waited =
            self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), self.watcher.ready()).await });
        waited.expect("nothing was told").unwrap();
        self.touched_already()
    }

    fn touched_already(&mut self) -> Vec<Touched> {
        // Lets tokio see whether the queue is readable.
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_millis(20), self.watcher.ready()).await });
        let mut all = Vec::new();
        self.watcher.drain(&mut |touched| {
            if !all.contains(&touched) {
                all.push(touched);
            }
        });
        all
    }

    fn tells(&mut self, path: &str) -> bool {
        self.touched().contains(&Touched::Path(path.into()))
    }
}

#[test]
fn a_file_that_is_written_replaced_removed_or_given_another_mode_is_told() {
    let mut scene = Scene::new(&["etc"], &["/etc"]);
    let file = scene.path("/etc/motd");
    fs::write(&file, "one").unwrap();
    assert!(scene.tells("/etc/motd"));
    fs::write(&file, "two").unwrap();
    assert!(scene.tells("/etc/motd"));
    fs::write(scene.path("/etc/new"), "three").unwrap();
    fs::rename(scene.path("/etc/new"), &file).unwrap();
    assert!(scene.tells("/etc/motd"));
    fs::write(&file, "four").unwrap();
    assert!(scene.tells("/etc/motd"), "a replaced file must stay watched");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(scene.tells("/etc/motd"));
    fs::remove_file(&file).unwrap();
    assert!(scene.tells("/etc/motd"));
}

#[test]
fn reading_and_opening_are_not_told() {
    let mut scene = Scene::new(&["etc"], &["/etc"]);
    fs::write(scene.path("/etc/motd"), "one").unwrap();
    scene.touched();
    fs::read(scene.path("/etc/motd")).unwrap();
    fs::read_dir(scene.path("/etc")).unwrap().count();
    assert_eq!(scene.touched_already(), []);
}

#[test]
fn a_directory_on_the_way_is_asked_for_names_alone() {
    let mut scene = Scene::new(&["var/log/app"], &["/var/log/app"]);
    fs::write(scene.path("/var/log/syslog"), "").unwrap();
    scene.touched();
    fs::write(scene.path("/var/log/syslog"), "a line\n").unwrap();
    assert_eq!(scene.touched_already(), []);
}

#[test]
fn a_directory_that_comes_later_is_watched_with_all_below() {
    let mut scene = Scene::new(&["etc"], &["/etc/a/b"]);
    fs::create_dir_all(scene.path("/etc/a/b")).unwrap();
    assert!(scene.tells("/etc/a"));
    fs::write(scene.path("/etc/a/b/file"), "").unwrap();
    assert!(scene.tells("/etc/a/b/file"));
}

#[test]
fn a_directory_that_is_replaced_is_watched_anew() {
    let mut scene = Scene::new(&["etc/a/b", "etc/other/b"], &["/etc/a/b"]);
    fs::rename(scene.path("/etc/a"), scene.path("/etc/old")).unwrap();
    assert!(scene.tells("/etc/a"));
    fs::write(scene.path("/etc/old/b/file"), "").unwrap();
    assert_eq!(scene.touched_already(), [], "what was moved away is no longer ours to watch");
    fs::rename(scene.path("/etc/other"), scene.path("/etc/a")).unwrap();
    assert!(scene.tells("/etc/a"));
    fs::write(scene.path("/etc/a/b/file"), "").unwrap();
    assert!(scene.tells("/etc/a/b/file"));
    fs::remove_dir_all(scene.path("/etc/a")).unwrap();
    assert!(scene.tells("/etc/a"));
    fs::create_dir_all(scene.path("/etc/a/b")).unwrap();
    assert!(scene.tells("/etc/a"));
    fs::write(scene.path("/etc/a/b/file"), "").unwrap();
    assert!(scene.tells("/etc/a/b/file"));
}

#[test]
fn a_link_on_the_way_is_followed_inside_the_root_and_its_change_is_told() {
    let mut scene = Scene::new(&["srv/one", "srv/two", "etc"], &["/etc"]);
    symlink("/srv/one", scene.path("/etc/app")).unwrap();
    scene.watch(&["/etc/app"]);
    fs::write(scene.path("/srv/one/file"), "").unwrap();
    assert!(scene.tells("/etc/app/file"));
    fs::remove_file(scene.path("/etc/app")).unwrap();
    symlink("/srv/two", scene.path("/etc/app")).unwrap();
    assert!(scene.tells("/etc/app"));
    fs::write(scene.path("/srv/two/file"), "").unwrap();
    assert!(scene.tells("/etc/app/file"));
}

#[test]
fn one_directory_under_two_names_is_told_under_both() {
    let mut scene = Scene::new(&["usr/lib"], &[]);
    symlink("usr/lib", scene.path("/lib")).unwrap();
    scene.watch(&["/usr/lib", "/lib"]);
    fs::write(scene.path("/usr/lib/file"), "").unwrap();
    let touched = scene.touched();
    for path in ["/usr/lib/file", "/lib/file"] {
        assert!(touched.contains(&Touched::Path(path.into())), "{path} is not in {touched:?}");
    }
    scene.watch(&["/lib"]);
    fs::write(scene.path("/usr/lib/file"), "again").unwrap();
    let touched = scene.touched();
    assert!(touched.contains(&Touched::Path("/lib/file".into())), "{touched:?}");
}

#[test]
fn what_is_no_longer_wanted_is_no_longer_watched() {
    let mut scene = Scene::new(&["etc/a", "etc/b"], &["/etc/a", "/etc/b"]);
    assert_eq!(scene.watcher.watches(), 4);
    scene.watch(&["/etc/b"]);
    assert_eq!(scene.watcher.watches(), 3);
    fs::write(scene.path("/etc/a/file"), "").unwrap();
    assert_eq!(scene.touched_already(), []);
    fs::write(scene.path("/etc/b/file"), "").unwrap();
    assert!(scene.tells("/etc/b/file"));
}

#[test]
fn more_changes_than_the_kernel_lists_mean_that_anything_may_have_changed() {
    let mut scene = Scene::new(&["etc/a"], &["/etc/a"]);
    let queue: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let files = [scene.path("/etc/a/one"), scene.path("/etc/a/two")];
    for round in 0..queue {
        // In turn, for the kernel joins equal events that follow one another.
        fs::write(&files[round % 2], "").unwrap();
    }
    let touched = scene.touched();
    assert!(touched.iter().any(|touched| matches!(touched, Touched::Everything(_))), "no overflow was told");
    fs::write(scene.path("/etc/a/three"), "").unwrap();
    assert!(scene.tells("/etc/a/three"));
}

#[test]
fn hundreds_of_directories_are_set_twice_without_a_second_watch() {
    let dirs: Vec<String> = (0..500).map(|number| format!("/srv/d{number}")).collect();
    let names: Vec<&str> = dirs.iter().map(|dir| &dir[1..]).collect();
    let mut scene = Scene::new(&names, &[]);
    let watched: Vec<&str> = dirs.iter().map(String::as_str).collect();
    scene.watch(&watched);
    scene.watch(&watched);
    assert_eq!(scene.watcher.watches(), 502);
    assert!(scene.watcher.unwatched().is_empty());
}

/// The limit is lowered in a user namespace of its own, where this very test runs once more.
#[test]
fn what_fits_is_watched_when_the_kernel_gives_no_more_watches_and_the_rest_is_named() {
    const INSIDE: &str = "HOSTWRIT_TEST_FEW_WATCHES";
    if std::env::var_os(INSIDE).is_none() {
        let this = std::env::current_exe().unwrap();
        let name =
            "host::watch::tests::what_fits_is_watched_when_the_kernel_gives_no_more_watches_and_the_rest_is_named";
        let script = "echo 20 >/proc/sys/user/max_inotify_watches && exec \"$0\" --exact \"$1\"";
        let output = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", script])
            .arg(this)
            .arg(name)
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("unshare failed") || said.contains("max_inotify_watches") {
            return println!("SKIP: no user namespaces here: {said}");
        }
        assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let dirs: Vec<String> = (10..60).map(|number| format!("/srv/d{number}")).collect();
    let names: Vec<&str> = dirs.iter().map(|dir| &dir[1..]).collect();
    let mut scene = Scene::new(&names, &[]);
    scene.watch(&dirs.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(scene.watcher.watches(), 20);
    assert_eq!(scene.watcher.unwatched().len(), 52 - 20);
    assert!(scene.watcher.unwatched().values().all(|error| *error == Errno::ENOSPC));
    fs::write(scene.path("/srv/d10/file"), "").unwrap();
    assert!(scene.tells("/srv/d10/file"));
    // With fewer wishes there is room for all.
    scene.watch(&["/srv/d58", "/srv/d59"]);
    assert!(scene.watcher.unwatched().is_empty());
    fs::write(scene.path("/srv/d59/file"), "").unwrap();
    assert!(scene.tells("/srv/d59/file"));
}
