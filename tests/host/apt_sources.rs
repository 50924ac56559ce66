// SPDX-License-Identifier: Apache-2.0
//! Where the packages of the image come from: the machine's own apt sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Names a file of apt sources to build the image from, where the machine's own do not have Debian.
pub const VARIABLE: &str = "HOSTWRIT_HOST_TESTS_SOURCES";

/// A file of apt sources, read.
pub struct AptSources {
    /// Its file name: apt tells the two formats apart by how it ends.
    name: String,
    text: String,
}

impl AptSources {
    /// Returns the sources that offer a release of Debian. A mirror has all releases: where the machine has only its own, that
    /// name is replaced.
    pub fn of(release: &str) -> Vec<Self> {
        if let Some(file) = std::env::var_os(VARIABLE).filter(|file| !file.is_empty()) {
            return Self::read(file.into()).into_iter().collect();
        }
        let mut files = of_machine();
        let own = release_of_machine();
        let other = if files.iter().any(|file| file.has(release)) { release } else { &own };
        files.retain(|file| file.has(other));
        files.iter_mut().for_each(|file| file.text = file.text.replace(other, release));
        files
    }

    fn read(file: PathBuf) -> Option<Self> {
        let name = file.file_name()?.to_string_lossy().into_owned();
        Some(Self { name, text: fs::read_to_string(file).ok()? })
    }

    /// Whether these are Debian's own sources of `release`, which have the component `main`. Other programs' suites may have the
    /// release's name in theirs.
    fn has(&self, release: &str) -> bool {
        let is_suite =
            |word: &str| word.strip_prefix(release).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        self.text.split_whitespace().any(is_suite) && self.text.contains("main")
    }

    /// Writes the sources to `folder`, and returns where.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join(&self.name);
        fs::write(&path, &self.text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }
}

/// Returns all files of apt sources that the machine has.
fn of_machine() -> Vec<AptSources> {
    let entries = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sources" || extension == "list"));
    files.push("/etc/apt/sources.list".into());
    files.sort();
    files.into_iter().filter_map(AptSources::read).collect()
}

/// Returns the name of the machine's own release.
fn release_of_machine() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.unwrap_or("bookworm").trim_matches('"').to_owned()
}
