// SPDX-License-Identifier: Apache-2.0
//! What this host needs to enforce the commit that it accepted last, whoever else is gone: the remote, the courier, its mirror.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use crate::host::{HostError, NewFile, WriteHost};
use crate::model::git::{ObjectError, Objects, Oid, RawObject};
use crate::source::{Kept, Recorder, Source};
use crate::trust::Cache;

use super::desired::Judge;
use super::pin::Pin;
use super::{Cycle, CycleError, State};

/// Where the objects are kept: one file for each commit, named by its id. There are two from when a commit is accepted until it
/// has proven good.
pub const DIR: &str = "/var/lib/hostwrit/last-good";

/// What was kept, and whoever can be asked for more.
pub(super) struct Store<'c> {
    host: &'c dyn WriteHost,
    /// Read when the first object is asked for: most cycles ask for none.
    kept: OnceCell<Kept>,
    pub(super) source: &'c dyn Source,
}

impl<'c> Store<'c> {
    pub(super) fn new(host: &'c dyn WriteHost, source: &'c dyn Source) -> Self {
        Self { host, kept: OnceCell::new(), source }
    }

    /// Reads what was kept. What cannot be read can still be asked for.
    fn read(&self) -> Kept {
        let mut kept = Kept::default();
        for name in self.host.list(Path::new(DIR)).ok().flatten().unwrap_or_default() {
            if let Ok(Some(text)) = self.host.read(&Path::new(DIR).join(name)) {
                kept.read(&text);
            }
        }
        kept
    }
}

impl Objects for Store<'_> {
    fn object(&self, id: &Oid) -> Result<RawObject, ObjectError> {
        match self.kept.get_or_init(|| self.read()).get(id) {
            Some(object) => Ok(object.clone()),
            None => self.source.object(id),
        }
    }
}

impl Cycle<'_> {
    /// Keeps all that it takes to enforce `commit`, unless that was done.
    pub(super) fn keep(&self, commit: &Oid) -> Result<(), CycleError> {
        let path = path(commit);
        if self.host.stat(&path)?.is_some() {
            return Ok(());
        }
        let recorder = Recorder::new(&self.store);
        // What a cache knows would not be read, and a cache can be lost.
        let mut cache = Cache::default();
        let mut judge =
            Judge { config: self.config, objects: &recorder, host: self.host, cache: &mut cache, heartbeat: None };
        judge.last_good(Pin { commit: *commit, same_root: true })?;
        self.host.make_dir(Path::new(DIR), None, 0o700)?;
        let content = recorder.to_bytes();
        self.host.replace_file(&path, &NewFile { content: &content, owner: None, mode: 0o600, check: None })?;
        Ok(())
    }

    /// Drops what was kept of commits that nobody will go back to: all but the pin and the last good one.
    pub(super) fn keep_only(&self, state: &State) -> Result<(), HostError> {
        let own: Vec<PathBuf> =
            [&state.pin, &state.good].into_iter().flatten().map(|id| Path::new(DIR).join(id)).collect();
        let is_kept =
            state.enforced().map(|id| self.host.stat(&Path::new(DIR).join(id))).transpose()?.flatten().is_some();
        if !is_kept {
            return Ok(());
        }
        for name in self.host.list(Path::new(DIR))?.unwrap_or_default() {
            let path = Path::new(DIR).join(name);
            if !own.contains(&path) {
                self.host.remove(&path)?;
            }
        }
        Ok(())
    }
}

fn path(commit: &Oid) -> PathBuf {
    Path::new(DIR).join(commit.to_string())
}
