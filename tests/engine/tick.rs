// SPDX-License-Identifier: Apache-2.0
//! A pull that finds nothing new on a settled host costs the same however much is declared, seen at the system calls.
#![allow(clippy::print_stdout)]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use hostwrit::source::SOCKET;

use super::announce::{courier, eventually};
use crate::site::Site;

/// The first word of the name of each declared file.
const DECLARED: &str = "tick-object-";
/// So many pulls are looked at, after as many in which the daemon comes to rest.
const PULLS: usize = 6;
/// Threads that wait for each other, and timers, make a pull differ from the next by so many calls.
const SLACK: usize = 8;

/// Whether programs can be traced here.
fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let can = traced.is_ok_and(|ended| ended.success());
    if !can {
        assert!(std::env::var_os("CI").is_none(), "strace must work under CI");
        println!("SKIP: strace does not work here, so the system calls of a pull are not counted");
    }
    can
}

/// The system calls of some pulls of a settled daemon on a host with so many files, a list for each pull.
fn pulls(files: usize) -> Vec<Vec<String>> {
    let mut host = "files:\n".to_owned();
    (0..files).for_each(|file| writeln!(host, "  /srv/{DECLARED}{file}: {{content: \"{file}\\n\"}}").unwrap());
    let site = Site::new(&[("hosts/web1.yaml", &host)]);
    site.put("/run/hostwrit/.keep", "");
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    site.put("/etc/hostwrit/config.yaml", &format!("{config}interval: 1s\nsplay: 0s\nfull_check: 1h\n"));
    let listener = UnixListener::bind(site.path(SOCKET)).unwrap();
    let _courier = courier(&site, &listener);
    site.converge();
    let trace = site.root().with_file_name("trace");
    let daemon = site.command(&["daemon"]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-s", "200", "-o"]).arg(&trace).arg(daemon.get_program()).args(daemon.get_args());
    let mut traced = traced.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let asked = || fs::read_to_string(&trace).unwrap_or_default().matches(SOCKET).count();
    eventually("the daemon has settled and pulled", || asked() > 2 * PULLS);
    let text = fs::read_to_string(&trace).unwrap();
    let daemon = text.split_whitespace().next().unwrap();
    assert!(Command::new("kill").args(["-TERM", daemon]).status().unwrap().success());
    traced.wait().unwrap();
    // A pull begins where the courier is asked. The first come with a cycle, and the last is cut short.
    let lines: Vec<&str> = text.lines().collect();
    let begins: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].contains(SOCKET)).collect();
    let last = begins.len() - 1;
    let windows = begins[last - PULLS..=last].windows(2);
    windows.map(|pair| lines[pair[0]..pair[1]].iter().map(|line| (*line).to_owned()).collect()).collect()
}

#[test]
fn a_pull_that_finds_nothing_costs_nothing_that_grows_with_the_host() {
    if !can_trace() {
        return;
    }
    let (few, many) = (pulls(10), pulls(1000));
    for call in few.iter().chain(&many).flatten() {
        assert!(!call.contains("execve("), "a program was started: {call}");
        assert!(!call.contains(DECLARED), "a declared file was looked at: {call}");
    }
    let fewest = |pulls: &[Vec<String>]| pulls.iter().map(Vec::len).min().unwrap();
    let (of_few, of_many) = (fewest(&few), fewest(&many));
    println!("{of_few} system calls for a pull with 10 files, {of_many} with 1,000");
    assert!(of_few > 10, "these are no pulls: {few:?}");
    assert!(of_few.abs_diff(of_many) <= SLACK, "{of_few} calls with 10 files, {of_many} with 1,000: {many:?}");
}
