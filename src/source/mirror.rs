// SPDX-License-Identifier: Apache-2.0
//! A bare Git store that gives objects by id.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gix::hash::Kind as HashKind;
use serde::{Deserialize, Serialize};

use crate::model::git::{ObjectError, Objects, Oid, RawObject};

use super::access::Access;
use super::advertisement::Advertised;
use super::fetch::Cause;
use super::leftovers;
use super::ssh;

/// How much a remote may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How long a whole fetch may take.
    pub time: Duration,
    /// How many bytes one fetch may bring.
    pub pack_bytes: u64,
    /// How large one object may be.
    pub object_bytes: u64,
    /// How many bytes of the file system stay free: others need it too, first of all the audit log.
    pub free_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self { time: Duration::from_secs(5 * 60), pack_bytes: 256 * MIB, object_bytes: 64 * MIB, free_bytes: 64 * MIB }
    }
}

/// A bare Git repository into which a ref is fetched, or two, and whose objects are read by id.
///
/// It reads no configuration but its own, follows neither replace refs nor alternates, and is never shallow.
pub struct Mirror {
    pub(super) directory: PathBuf,
    repo: gix::Repository,
    pub(super) limits: Limits,
    pub(super) access: Access,
    pub(super) advertised: Advertised,
    pub(super) left_behind: Cell<bool>,
}

/// Why a mirror cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    #[error("cannot clear what an earlier fetch left in the mirror {}", directory.display())]
    Clear {
        directory: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot make the mirror {}", directory.display())]
    Make {
        directory: PathBuf,
        #[source]
        source: MakeError,
    },
    #[error("cannot open the mirror {}; if it is damaged, remove it and it is fetched anew", directory.display())]
    Open {
        directory: PathBuf,
        #[source]
        source: Cause,
    },
    #[error("the mirror {} {what}; remove it and it is fetched anew", directory.display())]
    Unsound { directory: PathBuf, what: &'static str },
    #[error("the mirror {} holds {found} objects, and trust.root is a {wanted} id", directory.display())]
    Hash { directory: PathBuf, found: HashKind, wanted: HashKind },
}

/// Why a mirror cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Git(#[from] Cause),
}

impl Mirror {
    /// Opens the mirror at `directory`, or makes one for ids of type `hash`, and clears what a killed fetch left there.
    ///
    /// Nobody else may use the mirror meanwhile.
    ///
    /// # Errors
    /// The mirror cannot be made or opened, or its answers could not be relied on.
    pub fn open(directory: &Path, hash: HashKind, limits: Limits) -> Result<Self, MirrorError> {
        let path = || directory.to_owned();
        let clear = |source| MirrorError::Clear { directory: path(), source };
        leftovers::discarded(directory).map_err(clear)?;
        if directory.join("HEAD").exists() {
            leftovers::remove(directory).map_err(clear)?;
            let mirror = Self::reopen(directory, hash, limits)?;
            if mirror.has_what_it_names() {
                return Ok(mirror);
            }
            // A power cut in the middle of a fetch. Each further one would ask only for what is newer than what is lost.
            tracing::warn!("the mirror {} has lost objects; it is fetched anew", directory.display());
            leftovers::discard(directory).map_err(clear)?;
        }
        make(directory, hash).map_err(|source| MirrorError::Make { directory: path(), source })?;
        Self::reopen(directory, hash, limits)
    }

    /// Whether each ref can be read, and so can the object that it names.
    fn has_what_it_names(&self) -> bool {
        let Ok(refs) = self.repo.references() else { return false };
        let Ok(mut all) = refs.all() else { return false };
        all.all(|found| {
            let id = found.ok().and_then(|found| found.try_id().map(gix::Id::detach));
            id.is_some_and(|id| matches!(self.repo.try_find_header(id), Ok(Some(_))))
        })
    }

    /// Removes the mirror at `directory`, which nobody else may use meanwhile. Killed in the middle, it leaves no half of one.
    ///
    /// # Errors
    /// A part of it cannot be removed.
    pub fn discard(directory: &Path) -> io::Result<()> {
        leftovers::discard(directory)
    }

    /// Opens a mirror that this process has opened before, while others may be using it.
    ///
    /// # Errors
    /// The mirror cannot be opened, or its answers could not be relied on.
    pub fn reopen(directory: &Path, hash: HashKind, limits: Limits) -> Result<Self, MirrorError> {
        let path = || directory.to_owned();
        let unsound = |what| Err(MirrorError::Unsound { directory: path(), what });
        if directory.join("shallow").exists() {
            return unsound("is shallow");
        }
        if directory.join("objects/info/alternates").exists() {
            return unsound("borrows objects from another store");
        }
        let repo = options(directory, limits, &Access::default())
            .open(directory)
            .map_err(|source| MirrorError::Open { directory: path(), source: Cause::of(&source, None) })?
            .to_thread_local();
        if repo.object_hash() != hash {
            return Err(MirrorError::Hash { directory: path(), found: repo.object_hash(), wanted: hash });
        }
        Ok(Self {
            directory: path(),
            repo,
            limits,
            access: Access::default(),
            advertised: Advertised::default(),
            left_behind: Cell::new(false),
        })
    }

    /// Returns how many packs the mirror at `directory` has, and how many bytes they are.
    pub fn packs(directory: &Path) -> (usize, u64) {
        (leftovers::packs(directory), leftovers::pack_bytes(directory).unwrap_or(0))
    }

    /// Whether a fetch did not end when it was told to, and still holds a thread, a connection and memory.
    pub fn has_left_a_thread(&self) -> bool {
        self.left_behind.get()
    }

    /// Shows these credentials to remotes that ask.
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Asks no server again for what it has advertised there.
    pub fn with_advertised(self, advertised: Advertised) -> Self {
        Self { advertised, ..self }
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("directory", &self.directory).finish_non_exhaustive()
    }
}

fn make(directory: &Path, hash: HashKind) -> Result<(), MakeError> {
    let options = gix::create::Options { object_hash: Some(hash), ..Default::default() };
    leftovers::make_whole(directory, |aside| {
        gix::ThreadSafeRepository::init_opts(aside, gix::create::Kind::Bare, options, gix::open::Options::isolated())
            .map(drop)
            .map_err(|error| Cause::of(&error, None).into())
    })
}

/// Everything that the library would otherwise take from the environment or from Git's own configuration.
pub(super) fn options(directory: &Path, limits: Limits, access: &Access) -> gix::open::Options {
    let settings = [
        // What is read must be what the id says, whatever refs the mirror has.
        "core.useReplaceRefs=false",
        "core.commitGraph=false",
        "clone.rejectShallow=true",
        // No `ext::` and no remote helpers: they run programs.
        "protocol.allow=never",
        "protocol.file.allow=always",
        "protocol.git.allow=always",
        "protocol.ssh.allow=always",
        "protocol.http.allow=always",
        "protocol.https.allow=always",
        "ssh.variant=ssh",
        // Each thread has room for large objects of its own.
        "pack.threads=2",
        // Milliseconds; then bytes a second over so many seconds.
        "gitoxide.http.connectTimeout=20000",
        "http.lowSpeedLimit=1000",
        "http.lowSpeedTime=30",
        concat!("gitoxide.userAgent=hostwrit/", env!("CARGO_PKG_VERSION")),
    ];
    let own = [
        format!("gitoxide.objects.allocLimit={}", limits.object_bytes),
        format!("core.sshCommand={}", access.ssh_command(&ssh::words_file(directory))),
    ];
    gix::open::Options::isolated()
        .open_path_as_is(true)
        .strict_config(true)
        // A second call would put its settings in the place of these.
        .config_overrides(settings.map(str::to_owned).into_iter().chain(own))
}

impl Objects for Mirror {
    fn object(&self, id: &Oid) -> Result<RawObject, ObjectError> {
        let unreadable =
            |error: gix::Error| ObjectError::Unreadable { id: *id, source: Cause::of(&error, None).into() };
        if id.kind() != self.repo.object_hash() {
            return Err(ObjectError::Missing { id: *id });
        }
        // The repository was opened with the same limit. Its header is read only to tell what went wrong.
        let object = match self.repo.try_find_object(*id) {
            Ok(object) => object.ok_or(ObjectError::Missing { id: *id })?,
            Err(error) => {
                let size = self.repo.try_find_header(*id).ok().flatten().map(|header| header.size());
                let is_too_large = size.is_some_and(|size| size > self.limits.object_bytes);
                let too_large = ObjectError::TooLarge { id: *id, limit: self.limits.object_bytes };
                return Err(if is_too_large { too_large } else { unreadable(error) });
            }
        };
        let mut object = object.detach();
        Ok(RawObject { kind: object.kind, data: std::mem::take(&mut object.data) })
    }
}
