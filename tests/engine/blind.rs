// SPDX-License-Identifier: Apache-2.0
//! Where the kernel does not let the daemon watch, it says so, and a full check puts right what drifted.
#![allow(clippy::print_stdout)]

use std::fmt::Write as _;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::site::Site;

const FILES: usize = 10_000;
const DIRECTORIES: usize = 250;
/// Watches that the kernel gives: fewer than there are directories.
const WATCHES: usize = 100;

/// Ten thousand small files are made on a slow disk, by a slow build.
const LONG: Duration = Duration::from_secs(300);

/// The daemon in a user namespace of its own, where that many watches and instances are all that it gets.
struct Limited<'s> {
    site: &'s Site,
    process: Child,
}

impl<'s> Limited<'s> {
    fn start(site: &'s Site, limits: &str) -> Self {
        let _ = fs::remove_file(site.path("/run/hostwrit/status.json"));
        let daemon = site.command(&["daemon"]);
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", &format!("{limits} && exec \"$0\" \"$@\"")]);
        command.arg(daemon.get_program()).args(daemon.get_args());
        command.env_clear().envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let process = command.stderr(Stdio::null()).spawn().unwrap();
        let daemon = Self { site, process };
        daemon.within("the first cycle ends", || daemon.site.get("/run/hostwrit/status.json").is_some());
        daemon
    }

    fn within(&self, what: &str, condition: impl Fn() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(begin.elapsed() < LONG, "not within {LONG:?}: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns what the status says of what is not watched.
    fn said(&self) -> Option<String> {
        let status: serde_json::Value = serde_json::from_str(&self.site.get("/run/hostwrit/status.json")?).ok()?;
        let mut problems = status["problems"].as_array()?.iter();
        let problem = problems.find(|problem| problem["code"] == "not-watched")?;
        problem["message"].as_str().map(str::to_owned)
    }

    fn is(&self, path: &str, text: &str) -> bool {
        self.site.get(path).as_deref() == Some(text)
    }
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.process.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.process.wait();
    }
}

/// Whether this machine gives user namespaces in which the kernel's limits can be lowered.
fn can_limit() -> bool {
    let script = "echo 1 >/proc/sys/user/max_inotify_watches";
    let mut command = Command::new("unshare");
    let can =
        command.args(["--user", "--map-root-user", "sh", "-c", script]).status().is_ok_and(|ended| ended.success());
    if !can {
        assert!(std::env::var_os("CI").is_none(), "user namespaces must work under CI");
        println!("SKIP: user namespaces are not to be had here");
    }
    can
}

#[test]
fn where_the_limit_of_watches_is_reached_full_checks_are_the_truth() {
    if !can_limit() {
        return;
    }
    let place = |file: usize| format!("/srv/d{:03}/f{file}", file % DIRECTORIES);
    let mut host = "files:\n  /srv: {type: directory}\n".to_owned();
    (0..DIRECTORIES).for_each(|number| writeln!(host, "  /srv/d{number:03}: {{type: directory}}").unwrap());
    (0..FILES).for_each(|file| writeln!(host, "  {}: {{content: \"{file}\\n\"}}", place(file)).unwrap());
    let site = Site::new(&[("hosts/web1.yaml", &host)]);
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    site.put("/etc/hostwrit/config.yaml", &format!("interval: 1s\nsplay: 0s\nfull_check: 5s\n{config}"));
    site.converge();

    let daemon = Limited::start(&site, &format!("echo {WATCHES} >/proc/sys/user/max_inotify_watches"));
    daemon.within("it says what it cannot watch", || daemon.said().is_some());
    let said = daemon.said().unwrap();
    assert!(said.contains("raise fs.inotify.max_user_watches"), "{said}");
    let others = said.split(" and ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    assert!(others.is_some_and(|others| others + 1 >= DIRECTORIES - WATCHES), "{said}");

    // The first directories got a watch, and the last one none: there only a look at the whole host finds something.
    let (seen, unseen) = (place(0), place(DIRECTORIES - 1));
    assert!(said.starts_with('/'), "{said}");
    site.put(&unseen, "drift\n");
    daemon.within("a full check finds what was not seen", || daemon.is(&unseen, &format!("{}\n", DIRECTORIES - 1)));
    site.put(&seen, "drift\n");
    daemon.within("what is watched is put right", || daemon.is(&seen, "0\n"));
    assert!(daemon.said().is_some(), "it goes on saying so");
    drop(daemon);
    site.agrees();
}

#[test]
fn without_an_instance_of_inotify_full_checks_are_the_truth() {
    if !can_limit() {
        return;
    }
    let site = Site::new(&[("hosts/web1.yaml", "files:\n  /etc/motd: {content: \"good\\n\"}\n")]);
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    site.put("/etc/hostwrit/config.yaml", &format!("interval: 1s\nsplay: 0s\nfull_check: 2s\n{config}"));
    site.converge();
    let daemon = Limited::start(&site, "echo 0 >/proc/sys/user/max_inotify_instances");
    daemon.within("it says so", || daemon.said().is_some_and(|said| said.contains("full checks alone")));
    site.put("/etc/motd", "drift\n");
    daemon.within("a full check finds it", || daemon.is("/etc/motd", "good\n"));
    drop(daemon);
    site.agrees();
}
