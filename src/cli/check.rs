// SPDX-License-Identifier: Apache-2.0

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::host::{FileKind, HostError, ReadHost, RealHost};
use crate::manifest;
use crate::model::RepoFiles;
use crate::model::files::FileError;

use super::{CommandError, Exit, output};

/// Say whether an infra repo is sound, for every host in it
///
/// Reads the files as they are in the folder, committed or not, so that editors and pre-commit hooks can call it. Says
/// nothing of who signed: hosts judge that.
#[derive(Debug, Args)]
pub struct Check {
    /// The clone of the infra repo
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Print the faults as JSON (schemas/check.json)
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(&self) -> Result<Exit, CommandError> {
        let clone = Clone { dir: RealHost::open(&self.dir).map_err(|error| CommandError::new(Exit::Usage, error))? };
        let checked = manifest::check(&clone);
        if self.json {
            output::answer(serde_json::to_string_pretty(&checked).unwrap_or_default());
        } else {
            checked.faults.iter().for_each(|fault| output::answer(fault.to_string()));
            let hosts = if checked.hosts == 1 { "host" } else { "hosts" };
            let found = format!("{} objects on {} {hosts}", checked.objects, checked.hosts);
            match checked.faults.len() {
                0 => output::answer(format!("The repo is sound: {found}.")),
                1 => output::note("1 fault."),
                faults => output::note(format!("{faults} faults.")),
            }
        }
        Ok(if checked.faults.is_empty() { Exit::Done } else { Exit::Unsound })
    }
}

/// The files of a clone, without Git's own.
struct Clone {
    dir: RealHost,
}

impl RepoFiles for Clone {
    fn paths(&self) -> Result<Vec<String>, FileError> {
        let mut paths = Vec::new();
        let mut dirs = VecDeque::from([PathBuf::from("/")]);
        while let Some(dir) = dirs.pop_front() {
            let failed = |source: HostError| FileError { path: dir.display().to_string(), source: source.into() };
            for name in self.dir.list(&dir).map_err(failed)?.unwrap_or_default() {
                let path = dir.join(&name);
                let stat = self.dir.stat(&path).map_err(failed)?;
                match stat.map(|stat| stat.kind) {
                    Some(FileKind::Directory) if path != Path::new("/.git") => dirs.push_back(path),
                    Some(FileKind::File) => {
                        paths.push(path.to_string_lossy().trim_start_matches('/').to_owned());
                    }
                    _ => {}
                }
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        self.dir
            .read(&Path::new("/").join(path))
            .map_err(|source| FileError { path: path.to_owned(), source: source.into() })
    }
}
