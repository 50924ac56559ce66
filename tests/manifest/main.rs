// SPDX-License-Identifier: Apache-2.0
//! Repos as people write them: what is accepted, what is refused, and with which words.
//!
//! `HOSTWRIT_BLESS=1 cargo test --test manifest` rewrites the expected files; read the difference before you commit it.
#![allow(clippy::disallowed_methods)]

#[path = "../fixture/mod.rs"]
mod fixture;

mod corpus;
mod effects;
mod example_repo;
mod schemas;

use std::collections::BTreeMap;
use std::path::Path;

use hostwrit::model::RepoFiles;
use hostwrit::model::files::FileError;

/// A repo in memory.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// Reads a folder, without the expectation that lies in it. A repo without `hostwrit.yaml` or `policy/` gets those
    /// of the example repo, so that an example shows only what it is about.
    fn completed(folder: &Path) -> Self {
        let mut files = Self::read(folder);
        let example = Self::read(&in_repo("example-repo"));
        for part in ["hostwrit.yaml", "policy/"] {
            if !files.0.keys().any(|path| path.starts_with(part)) {
                files.0.extend(
                    example.0.iter().filter(|(path, _)| path.starts_with(part)).map(|(k, v)| (k.clone(), v.clone())),
                );
            }
        }
        files
    }

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

    /// Makes a repo of texts, with the example repo's `hostwrit.yaml` and policy.
    fn of<const N: usize>(texts: [(&str, &str); N]) -> Self {
        let mut files = Self::read(&in_repo("example-repo"));
        files.0.retain(|path, _| path == "hostwrit.yaml" || path.starts_with("policy/"));
        files.0.extend(texts.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())));
        files
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
