// SPDX-License-Identifier: Apache-2.0
//! Which living processes have to do with a file or a name, by proc(5).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// No more processes are looked at, and for no longer.
const MOST: usize = 4096;
const LONGEST: Duration = Duration::from_millis(500);

/// A process, as far as people need to know it. Never its arguments: they may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// As the kernel shows it: at most 15 bytes, and chosen by the process.
    pub name: String,
    /// The effective user.
    pub uid: u32,
}

/// Returns a process that has the file at `path` open for writing, or one that was there before.
pub fn that_writes(path: &Path) -> Option<Process> {
    others().find(|process| has_open(process.pid, path))
}

/// Returns a process that has all of these words in its arguments.
pub fn that_names(words: &[&str]) -> Option<Process> {
    others().find(|process| {
        let arguments = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        let text = String::from_utf8_lossy(&arguments).into_owned();
        words.iter().all(|word| text.split(is_no_part).any(|part| part == *word))
    })
}

/// Whether the character ends a word in a command line.
fn is_no_part(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\0' | '"' | '\'' | ';' | '>' | '<' | '&' | '|' | '(' | ')' | '=')
}

/// Returns all processes but this one, until there are too many or it takes too long.
fn others() -> impl Iterator<Item = Process> {
    let begun = Instant::now();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .take(MOST)
        .take_while(move |_| begun.elapsed() < LONGEST)
        .filter_map(of)
}

/// Returns the process with this number, if there is one.
pub(super) fn of(pid: u32) -> Option<Process> {
    parse_status(pid, &fs::read(format!("/proc/{pid}/status")).ok()?)
}

/// Reads name and effective user out of `/proc/PID/status`: proc(5). The directory's owner would not do: it is root where the
/// process has given up rights.
pub(super) fn parse_status(pid: u32, status: &[u8]) -> Option<Process> {
    let status = String::from_utf8_lossy(status);
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    let uid = field("Uid")?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    // Whoever runs the process has chosen the name: it must not steer a terminal.
    let name = field("Name")?.replace(char::is_control, "\u{fffd}");
    Some(Process { pid, name, uid })
}

fn has_open(pid: u32, path: &Path) -> bool {
    let dir = format!("/proc/{pid}/fd");
    // The kernel's word for a file that another was put in the place of, as a repair does: proc(5).
    let mut replaced = path.as_os_str().to_owned();
    replaced.push(" (deleted)");
    let is_wanted = |target: PathBuf| target == path || target.as_os_str() == replaced;
    let fds = fs::read_dir(&dir).into_iter().flatten().flatten();
    fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(is_wanted)).any(|fd| {
        // The link's permission bits say how it was opened: proc(5).
        fs::symlink_metadata(fd.path()).is_ok_and(|meta| meta.mode() & 0o200 != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_has_a_file_open_for_writing_is_found_and_a_reader_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (written, read) = (dir.path().join("written"), dir.path().join("read"));
        fs::write(&read, "").unwrap();
        let mut sleeper = Command::new("sleep");
        sleeper.arg("60").stdout(fs::File::create(&written).unwrap()).stdin(fs::File::open(&read).unwrap());
        let mut child = sleeper.spawn().unwrap();
        // Between fork and exec it has the name of its parent.
        let begun = Instant::now();
        let mut found = that_writes(&written);
        while found.as_ref().is_none_or(|found| found.name != "sleep") && begun.elapsed() < Duration::from_secs(20) {
            found = that_writes(&written);
        }
        let reader = that_writes(&read);
        fs::write(dir.path().join("new"), "").unwrap();
        fs::rename(dir.path().join("new"), &written).unwrap();
        let still = that_writes(&written);
        child.kill().unwrap();
        child.wait().unwrap();
        let found = found.unwrap();
        assert_eq!((found.pid, found.name.as_str(), reader), (child.id(), "sleep", None));
        assert_eq!(still, Some(found), "the repair has put another file in its place");
    }

    #[test]
    fn a_process_is_found_by_whole_words_of_its_arguments() {
        let word = format!("/nowhere/{}", std::process::id());
        let script = format!("while :; do sleep 1; : >{word}; done");
        let mut command = Command::new("sh");
        let mut child = command.args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Between fork and exec it has the arguments of its parent.
        let begun = Instant::now();
        let mut found = None;
        while found.is_none() && begun.elapsed() < Duration::from_secs(20) {
            found = that_names(&[&word]);
        }
        let part = that_names(&["/nowhere"]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((found.map(|process| process.pid), part), (Some(child.id()), None));
    }
}
