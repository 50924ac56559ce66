// SPDX-License-Identifier: Apache-2.0

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::host::{FileKind, HostError, ReadHost, RealHost};
use crate::manifest;
use crate::model::RepoFiles;
use crate::model::files::FileError;
use crate::trust::PolicyView;

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
        let clone = Clone::open(&self.dir)?;
        let mut checked = manifest::check(&clone);
        let now = clone.dir.now();
        // A policy with faults is told of by its faults.
        if let Ok(policy) = PolicyView::read(&clone, now) {
            checked.warnings = policy.warnings(now);
        }
        if self.json {
            output::answer(serde_json::to_string_pretty(&checked).unwrap_or_default());
        } else {
            checked.faults.iter().for_each(|fault| output::answer(fault.to_string()));
            checked.warnings.iter().for_each(|warning| output::warning(warning.to_string()));
            let found =
                format!("{} on {}", output::count(checked.objects, "object"), output::count(checked.hosts, "host"));
            match checked.faults.len() {
                0 => output::answer(format!("The repo is sound: {found}.")),
                faults => output::note(format!("{}.", output::count(faults, "fault"))),
            }
        }
        Ok(if checked.faults.is_empty() { Exit::Done } else { Exit::Unsound })
    }
}

/// The files of a clone as they lie there, without Git's own.
pub struct Clone {
    dir: RealHost,
}

impl Clone {
    pub fn open(dir: &Path) -> Result<Self, CommandError> {
        Ok(Self { dir: RealHost::open(dir).map_err(|error| CommandError::new(Exit::Usage, error))? })
    }
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
