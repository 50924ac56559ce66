// SPDX-License-Identifier: Apache-2.0
//! The daemon sees what is touched and puts it right long before its next pull, looks at nothing else, and does not let
//! itself be kept busy.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::site::Site;

const HOST: &str = r#"
groups:
  shop: {gid: 4000}
users:
  deploy:
    uid: 4001
    shell: /bin/sh
    ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIA8rskiY262hIdqG9uZyeXH7CwnkDun+ZgTncrMQJ2t alice"]
files:
  /etc/motd: {content: "good\n"}
  /etc/other: {content: "other\n"}
  /etc/shop: {type: directory, exact: true}
  /etc/shop/a: {content: "a\n", mode: "0600"}
  /etc/shop/current: {type: link, target: a}
  /srv/app: {type: directory}
  /srv/app/deep: {type: directory}
  /srv/app/deep/conf: {content: "conf\n"}
"#;

/// Far from the next pull, and from the time that an observation takes.
const SOON: Duration = Duration::from_secs(20);

/// The daemon of a host that pulls every hour.
struct Daemon<'s> {
    site: &'s Site,
    process: Child,
}

impl<'s> Daemon<'s> {
    fn start(site: &'s Site) -> Self {
        let config = site.get("/etc/hostwrit/config.yaml").unwrap();
        if !config.contains("interval") {
            site.put("/etc/hostwrit/config.yaml", &format!("interval: 1h\nsplay: 0s\n{config}"));
        }
        let _ = fs::remove_file(site.path("/run/hostwrit/status.json"));
        let process = site.command(&["daemon"]).stderr(Stdio::null()).spawn().unwrap();
        let daemon = Self { site, process };
        daemon.within("the first cycle ends", |site| site.get("/run/hostwrit/status.json").is_some());
        daemon
    }

    fn within(&self, what: &str, condition: impl Fn(&Site) -> bool) {
        let deadline = Instant::now() + SOON;
        while !condition(self.site) {
            assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.site.get("/run/hostwrit/status.json").unwrap()).unwrap()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.process.id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.process.wait();
    }
}

#[test]
fn drift_is_put_right_at_once_without_a_pull() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    let daemon = Daemon::start(&site);
    // From here on nothing can be fetched.
    fs::rename(site.repo.path().join(".git"), site.repo.path().join("gone")).unwrap();
    let is = |path: &'static str, text: &'static str| move |site: &Site| site.get(path).as_deref() == Some(text);

    site.put("/etc/motd", "drift\n");
    daemon.within("an edited file", is("/etc/motd", "good\n"));
    fs::remove_file(site.path("/etc/motd")).unwrap();
    daemon.within("a removed file", is("/etc/motd", "good\n"));
    site.put("/etc/.motd.swp", "drift\n");
    fs::rename(site.path("/etc/.motd.swp"), site.path("/etc/motd")).unwrap();
    daemon.within("a replaced file", is("/etc/motd", "good\n"));
    fs::set_permissions(site.path("/etc/shop/a"), fs::Permissions::from_mode(0o666)).unwrap();
    daemon.within("a mode", |site| site.path("/etc/shop/a").metadata().unwrap().permissions().mode() & 0o777 == 0o600);
    fs::create_dir_all(site.path("/etc/shop/stray/deep")).unwrap();
    daemon.within("a stray in an exact directory", |site| !site.path("/etc/shop/stray").exists());
    fs::remove_file(site.path("/etc/shop/current")).unwrap();
    symlink("/etc/passwd", site.path("/etc/shop/current")).unwrap();
    daemon.within("a link", |site| fs::read_link(site.path("/etc/shop/current")).is_ok_and(|link| link == *"a"));
    fs::remove_dir_all(site.path("/srv/app")).unwrap();
    daemon.within("a removed tree", is("/srv/app/deep/conf", "conf\n"));
    site.put("/srv/app/deep/conf", "drift\n");
    daemon.within("a file in a tree that came back", is("/srv/app/deep/conf", "conf\n"));

    let passwd = site.get("/etc/passwd").unwrap();
    site.put("/etc/passwd+", &passwd.replace("deploy:/bin/sh", "deploy:/bin/false"));
    fs::rename(site.path("/etc/passwd+"), site.path("/etc/passwd")).unwrap();
    daemon.within("a shell", |site| site.get("/etc/passwd").unwrap().contains("deploy:/bin/sh"));
    let group = site.get("/etc/group").unwrap();
    site.put("/etc/group", &group.replace("shop:x:4000", "shop:x:4444"));
    daemon.within("the number of a group", |site| site.get("/etc/group").unwrap().contains("shop:x:4000"));
    let keys = "/home/deploy/.ssh/authorized_keys";
    fs::remove_file(site.path(keys)).unwrap();
    daemon.within("a removed key", |site| site.get(keys).is_some_and(|keys| keys.contains("alice")));

    daemon.within("the status tells of it", |_| daemon.status()["cause"] == "drift");
    drop(daemon);
    fs::rename(site.repo.path().join("gone"), site.repo.path().join(".git")).unwrap();
    site.agrees();
    assert!(site.log().contains("\"cause\":\"drift\""));
}

/// Takes the lock of lckpwdf(3), which ends with the file.
fn lock(file: &fs::File) {
    let whole = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as _,
        l_whence: nix::libc::SEEK_SET as _,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_OFD_SETLK(&whole)).unwrap();
}

/// As usermod(8) does it: several files in turn, under the lock of lckpwdf(3).
#[test]
fn a_program_that_changes_accounts_is_answered_once_when_it_is_done() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    let daemon = Daemon::start(&site);
    let repairs = || site.log().matches("\"cause\":\"drift\"").count();
    // Once its watches stand the daemon looks at all objects, and only then at what it hears of.
    site.put("/etc/motd", "drift\n");
    daemon.within("the first repair", |site| site.get("/etc/motd").as_deref() == Some("good\n"));
    for attempt in 1.. {
        let before = repairs();
        let file = fs::File::create(site.path("/etc/.pwd.lock")).unwrap();
        let begin = Instant::now();
        lock(&file);
        for (name, from, to) in
            [("passwd", "deploy:/bin/sh", "deploy:/bin/false"), ("group", "shop:x:4000", "shop:x:4444")]
        {
            let text = site.get(&format!("/etc/{name}")).unwrap();
            assert!(text.contains(from), "{text}");
            site.put(&format!("/etc/{name}+"), &text.replace(from, to));
            fs::rename(site.path(&format!("/etc/{name}+")), site.path(&format!("/etc/{name}"))).unwrap();
            std::thread::sleep(Duration::from_millis(150));
        }
        let took = begin.elapsed();
        drop(file);
        daemon.within("both files", |site| {
            site.get("/etc/passwd").unwrap().contains("deploy:/bin/sh")
                && site.get("/etc/group").unwrap().contains("shop:x:4000")
        });
        // On a busy machine it may take longer than the daemon waits for anybody; then it is not the daemon's fault.
        if took < Duration::from_secs(1) {
            assert_eq!(repairs(), before + 1, "one repair: {}", site.log());
            break;
        }
        assert!(attempt < 10, "two small files took {took:?}");
    }
    drop(daemon);
    site.agrees();
}

#[test]
fn what_is_neither_declared_nor_owned_is_left_alone_by_a_repair() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    site.put("/etc/elder", "before\n");
    site.converge();
    site.host_file(
        &HOST.replace("  /etc/other: {content: \"other\\n\"}\n", "  /etc/elder: {content: \"declared\\n\"}\n"),
    );
    site.converge();
    site.host_file(&HOST.replace("  /etc/other: {content: \"other\\n\"}\n", ""));
    let daemon = Daemon::start(&site);
    let unmanaged = daemon.status()["unmanaged"].clone();
    assert_eq!(unmanaged, serde_json::json!(["file:/etc/elder"]));
    site.put("/etc/elder", "theirs\n");
    site.put("/etc/motd", "drift\n");
    daemon.within("a repair", |site| site.get("/etc/motd").as_deref() == Some("good\n"));
    daemon.within("its status", |_| daemon.status()["cause"] == "drift");
    assert_eq!(site.get("/etc/elder").as_deref(), Some("theirs\n"));
    assert_eq!(
        daemon.status()["unmanaged"],
        unmanaged,
        "a repair knows nothing of other objects and must not forget them"
    );
    assert_eq!(daemon.status()["health"], "converged");
    drop(daemon);
    site.agrees();
}

#[test]
fn an_object_that_is_changed_back_again_and_again_is_slowed_and_reported() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    let daemon = Daemon::start(&site);
    for _ in 0..5 {
        site.put("/etc/motd", "drift\n");
        daemon.within("a repair", |site| site.get("/etc/motd").as_deref() == Some("good\n"));
    }
    let fought = |status: &serde_json::Value| {
        let problems = status["problems"].as_array().unwrap().iter();
        problems
            .filter(|problem| problem["code"] == "fought-over")
            .map(|problem| problem["object"].clone())
            .collect::<Vec<_>>()
    };
    daemon.within("the fight is told", |_| fought(&daemon.status()) == ["file:/etc/motd"]);
    site.put("/etc/motd", "drift\n");
    // Others are put right meanwhile.
    site.put("/etc/other", "drift\n");
    daemon.within("another file", |site| site.get("/etc/other").as_deref() == Some("other\n"));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(site.get("/etc/motd").as_deref(), Some("drift\n"), "what is fought over waits");
    daemon.within("its turn comes", |site| site.get("/etc/motd").as_deref() == Some("good\n"));
}

#[test]
fn a_pause_holds_repairs_back_until_it_ends() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    let daemon = Daemon::start(&site);
    let paused = site.run(&["pause", "--for", "1h", "--reason", "a test"]);
    assert_eq!(paused.code, 0, "{paused:?}");
    site.put("/etc/motd", "drift\n");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(site.get("/etc/motd").as_deref(), Some("drift\n"));
    let resumed = site.run(&["resume"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    daemon.within("what was held is done", |site| site.get("/etc/motd").as_deref() == Some("good\n"));
    site.put("/etc/motd", "drift\n");
    daemon.within("drift after the pause", |site| site.get("/etc/motd").as_deref() == Some("good\n"));
}

#[test]
fn a_new_commit_is_watched_in_the_place_of_the_old() {
    let site = Site::new(&[("hosts/web1.yaml", HOST)]);
    let daemon = Daemon::start(&site);
    site.host_file("files:\n  /srv/new: {content: \"new\\n\"}\n  /etc/motd: {content: \"newer\\n\"}\n");
    // By hand beside the daemon: its next repair sees that the pin has moved on, and looks at the whole host.
    assert_eq!(site.run(&["apply"]).code, 0);
    assert_eq!(site.get("/etc/motd").as_deref(), Some("newer\n"));
    daemon.within("the daemon learns of the commit", |_| daemon.status()["commit"] != serde_json::Value::Null);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(site.get("/etc/motd").as_deref(), Some("newer\n"), "the old state must not be put back");
    site.put("/etc/motd", "drift\n");
    daemon.within("drift from the new commit", |site| site.get("/etc/motd").as_deref() == Some("newer\n"));
    site.put("/srv/new", "drift\n");
    daemon.within("drift of a new object", |site| site.get("/srv/new").as_deref() == Some("new\n"));
    drop(daemon);
    site.agrees();
}
