// SPDX-License-Identifier: Apache-2.0
//! Who changes an object, where that can be known: by what the audit daemon or the journal has, or a process that lives.
//!
//! It is looked up when an object is fought over, beside the repair and never before it. What is found is a hint for
//! people: a root process can hide, and arguments can lie.

use std::path::Path;

use serde::Deserialize;

use crate::host::{Process, ReadHost as _, RealHost, WriteHost as _, that_names, that_writes};
use crate::model::ObjectId;

/// Where auditd writes unless its configuration says otherwise: auditd.conf(5).
const AUDIT_LOG: &str = "/var/log/audit/audit.log";

/// A longer one is not read.
const AUDIT_MAX: u64 = 16 * 1024 * 1024;

/// Who says in the journal that it changes accounts, or for whom it runs what: as `SYSLOG_IDENTIFIER`.
const TELLERS: &[&str] = &[
    "useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel", "gpasswd", "passwd", "chage", "chsh", "sudo",
];

/// What changes the packet filter's tables of nftables, as commands and messages name it.
const FILTERS: &[&str] = &["nft", "nftables", "nftables.service"];

/// Returns who changes the object, in words for people; `None` where nothing tells.
pub fn changes(object: &ObjectId, host: &RealHost) -> Option<String> {
    // Processes and the journal are those of the running system.
    if !host.is_live() {
        return None;
    }
    let name = object.name();
    match object.kind() {
        "file" => audited_on(host, name)
            .or_else(|| that_writes(Path::new(name)).map(|process| shown(&process)))
            .or_else(|| that_names(&[name]).map(|process| guessed(&process))),
        "user" | "group" => told(&journal(host)?, name),
        "service" => {
            let unit = format!("{name}.service");
            let by_word = |word: &str| that_names(&["systemctl", word]).map(|process| guessed(&process));
            let told = journal(host).and_then(|journal| told(&journal, name).or_else(|| told(&journal, &unit)));
            told.or_else(|| by_word(name)).or_else(|| by_word(&unit))
        }
        "port" | "egress" | "blocklist" => {
            let journal = journal(host);
            let told = FILTERS.iter().find_map(|word| told(journal.as_deref()?, word));
            // One that loads rules itself, as ours does, has ended before anybody looks.
            let calls = |word: &&str| that_names(&[word]).filter(|process| process.name != **word);
            told.or_else(|| FILTERS.iter().find_map(calls).map(|process| guessed(&process)))
        }
        _ => None,
    }
}

fn shown(process: &Process) -> String {
    format!("process {} ({}, uid {})", process.pid, process.name, process.uid)
}

fn guessed(process: &Process) -> String {
    format!("perhaps {}, which names it in its arguments,", shown(process))
}

fn audited_on(host: &RealHost, path: &str) -> Option<String> {
    let log = Path::new(AUDIT_LOG);
    host.stat(log).ok()?.filter(|stat| stat.size <= AUDIT_MAX)?;
    audited(&String::from_utf8_lossy(&host.read(log).ok()??), path)
}

/// Finds the last process, but hostwrit, that auditd saw at the path. Its records: one `SYSCALL`, then one `PATH` for each
/// path, all with the same serial number.
fn audited(log: &str, path: &str) -> Option<String> {
    let named = format!("name=\"{path}\"");
    let mut syscall: Option<(&str, &str)> = None;
    let mut found = None;
    for line in log.lines() {
        let serial = line.split_once("msg=audit(").and_then(|(_, rest)| rest.split_once(')')).map(|(serial, _)| serial);
        let Some(serial) = serial else { continue };
        if line.contains("type=SYSCALL ") {
            syscall = Some((serial, line));
        } else if line.contains("type=PATH ")
            && line.split(' ').any(|word| word == named)
            && let Some((of, by)) = syscall.filter(|(of, _)| *of == serial)
            && field(by, "comm") != Some("hostwrit")
        {
            found = Some((of, by));
        }
    }
    let (_, by) = found?;
    let text = |key| field(by, key).unwrap_or("?").replace(char::is_control, "\u{fffd}");
    Some(format!("process {} ({}, uid {}, login uid {}; auditd)", text("pid"), text("comm"), text("uid"), text("auid")))
}

fn field<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}

fn journal(host: &RealHost) -> Option<String> {
    let mut arguments = vec!["--quiet", "--no-pager", "--output=json", "--since=-5min", "--lines=200"];
    let matches: Vec<String> = TELLERS.iter().map(|teller| format!("SYSLOG_IDENTIFIER={teller}")).collect();
    arguments.extend(matches.iter().map(String::as_str));
    let output = host.run("journalctl", &arguments).ok()?;
    output.success.then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One message as `journalctl --output=json` has it: systemd.journal-fields(7).
#[derive(Deserialize)]
struct Message {
    #[serde(rename = "MESSAGE")]
    text: String,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    teller: String,
    #[serde(rename = "_PID", default)]
    pid: Option<String>,
    #[serde(rename = "_UID", default)]
    uid: Option<String>,
}

/// Finds the last message that has the name as a word of its own.
fn told(journal: &str, name: &str) -> Option<String> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '$');
    let of = |line: &str| {
        let message: Message = serde_json::from_str(line).ok()?;
        let is_named = message.text.split(|c| !is_part(c)).any(|word| word == name);
        is_named.then(|| message.shown()).flatten()
    };
    journal.lines().rev().find_map(of)
}

impl Message {
    fn shown(&self) -> Option<String> {
        let plain = |text: &str| text.replace(char::is_control, "\u{fffd}");
        if self.teller == "sudo" {
            // `alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/systemctl stop app`: only the program is told.
            let (user, rest) = self.text.split_once(" : ")?;
            let program = rest.split_once("COMMAND=")?.1.split(' ').next()?;
            return Some(format!("{} by sudo {}", plain(user.trim()), plain(program)));
        }
        let or_unknown = |value: &Option<String>| plain(value.as_deref().unwrap_or("?"));
        Some(format!("{} (process {}, uid {})", plain(&self.teller), or_unknown(&self.pid), or_unknown(&self.uid)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AUDIT: &str = "\
type=SYSCALL msg=audit(1700000000.123:7): arch=c000003e syscall=257 success=yes ppid=1 pid=812 auid=1000 uid=0 gid=0 comm=\"sh\" exe=\"/usr/bin/dash\" key=\"motd\"
type=CWD msg=audit(1700000000.123:7): cwd=\"/\"
type=PATH msg=audit(1700000000.123:7): item=0 name=\"/etc/\" inode=1 nametype=PARENT
type=PATH msg=audit(1700000000.123:7): item=1 name=\"/etc/motd\" inode=2 nametype=NORMAL
type=SYSCALL msg=audit(1700000001.123:8): pid=9 auid=4294967295 uid=0 comm=\"hostwrit\"
type=PATH msg=audit(1700000001.123:8): item=1 name=\"/etc/motd\" inode=3 nametype=CREATE
type=PATH msg=audit(1700000001.123:9): item=1 name=\"/etc/issue\" inode=3 nametype=CREATE
";

    #[test]
    fn auditd_tells_the_last_process_that_is_not_our_own() {
        assert_eq!(audited(AUDIT, "/etc/motd").unwrap(), "process 812 (sh, uid 0, login uid 1000; auditd)");
        assert_eq!(audited(AUDIT, "/etc/issue"), None, "a path without its call is nobody's");
        assert_eq!(audited(AUDIT, "/etc/mot"), None);
    }

    const JOURNAL: &str = r#"{"MESSAGE":"change user 'deploy' shell from '/bin/bash' to '/bin/sh'","SYSLOG_IDENTIFIER":"usermod","_PID":"77","_UID":"0"}
{"MESSAGE":"   alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/systemctl stop app.service --token=x","SYSLOG_IDENTIFIER":"sudo","_PID":"78","_UID":"1000"}
{"MESSAGE":"     bob : TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/usr/sbin/nft flush ruleset","SYSLOG_IDENTIFIER":"sudo","_PID":"79","_UID":"1001"}
{"MESSAGE":[1,2],"SYSLOG_IDENTIFIER":"usermod"}
"#;

    #[test]
    fn the_journal_tells_who_changed_an_account_and_who_had_sudo_stop_a_unit() {
        assert_eq!(told(JOURNAL, "deploy").unwrap(), "usermod (process 77, uid 0)");
        assert_eq!(told(JOURNAL, "app.service").unwrap(), "alice by sudo /usr/bin/systemctl", "and no argument");
        assert_eq!(told(JOURNAL, "nft").unwrap(), "bob by sudo /usr/sbin/nft", "a program by its path");
        assert_eq!((told(JOURNAL, "deplo"), told(JOURNAL, "app")), (None, None));
    }

    proptest! {
        #[test]
        fn whatever_the_logs_hold_nothing_ends_the_daemon(text in "[ -~\\n]{0,200}", name in "[a-z/]{0,8}") {
            let _ = (audited(&text, &name), told(&text, &name));
            let _ = audited(&format!("type=SYSCALL msg=audit({text}): \ntype=PATH msg=audit({text}): name=\"{name}\""), &name);
        }
    }
}
