// SPDX-License-Identifier: Apache-2.0
//! Repos as people write them: what is accepted, what is refused, and with which words.
//!
//! `HOSTWRIT_BLESS=1 cargo test --test manifest` rewrites the expected files; read the difference before you commit it.
#![allow(clippy::disallowed_methods)]

mod corpus;
mod example_repo;
mod layers;
mod schemas;

use std::collections::BTreeMap;
use std::path::Path;

use hostwrit::model::RepoFiles;
use hostwrit::model::files::FileError;

/// A repo in memory.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// Reads a folder, without the expectation that lies in it.
    fn read(folder: &Path) -> Self {
        fn add(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    add(&entry.path(), &format!("{name}/"), files);
                } else if name != corpus::EXPECTED {
                    files.insert(name, std::fs::read(entry.path()).unwrap());
                }
            }
        }
        let mut files = Self::default();
        add(folder, "", &mut files.0);
        files
    }

    /// Makes a repo of texts, with a `hostwrit.yaml` of its own.
    fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        let top = ("hostwrit.yaml", "format: 1\nfleet: test.example.org\n");
        Self(files.into_iter().chain([top]).map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect())
    }
}

impl RepoFiles for Files {
    fn paths(&self) -> Result<Vec<String>, FileError> {
        Ok(self.0.keys().cloned().collect())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        Ok(self.0.get(path).cloned())
    }
}

fn in_repo(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn folders(path: &str) -> Vec<std::path::PathBuf> {
    let mut folders: Vec<_> = std::fs::read_dir(in_repo(path)).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn blesses() -> bool {
    std::env::var_os("HOSTWRIT_BLESS").is_some_and(|value| value == "1")
}
