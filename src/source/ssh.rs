// SPDX-License-Identifier: Apache-2.0
//! What ssh says when it cannot connect. The Git library hears the other end alone, which only falls silent.
#![expect(clippy::disallowed_methods, reason = "the file is the courier's own, and no part of the managed host")]

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// How much of it is read.
const MAX_BYTES: u64 = 64 * 1024;
/// How many lines of it are told: the last one is the verdict, the one before it the reason.
const LINES: usize = 2;
const MAX_LINE: usize = 300;

/// Returns where ssh writes what it says (`-E`) about a fetch into the mirror at `directory`.
pub(super) fn words_file(directory: &Path) -> PathBuf {
    directory.join("ssh-words")
}

/// Forgets what ssh said before.
pub(super) fn forget_words(directory: &Path) -> io::Result<()> {
    match fs::remove_file(words_file(directory)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns the end of what ssh said, in one line; nothing if it said nothing. A server may have a part in the words.
pub(super) fn last_words(directory: &Path) -> Option<String> {
    let mut text = Vec::new();
    File::open(words_file(directory)).ok()?.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let is_shown = |letter: &char| !letter.is_control();
    let lines = text.lines().map(|line| line.trim().chars().filter(is_shown).take(MAX_LINE).collect::<String>());
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..)?;
    if last.is_empty() { None } else { Some(last.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_ssh_said_is_told_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_words(dir.path()), None);
        for (text, told) in [
            ("", None),
            ("\r\n \n", None),
            ("Host key verification failed.\r\n", Some("Host key verification failed.")),
            (
                "@@@@\n\nIt has changed.\r\nHost key verification failed.\r\n\n",
                Some("It has changed.; Host key verification failed."),
            ),
            ("bell \u{7} and \u{1b}[31mcolour", Some("bell  and [31mcolour")),
        ] {
            fs::write(words_file(dir.path()), text).unwrap();
            assert_eq!(last_words(dir.path()).as_deref(), told, "{text:?}");
        }
        fs::write(words_file(dir.path()), "x".repeat(1_000_000)).unwrap();
        assert_eq!(last_words(dir.path()).unwrap().len(), MAX_LINE);
        forget_words(dir.path()).unwrap();
        forget_words(dir.path()).unwrap();
        assert_eq!(last_words(dir.path()), None);
    }
}
