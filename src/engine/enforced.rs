// SPDX-License-Identifier: Apache-2.0
//! What the daemon keeps between two cycles of what a host is held to: little, however much that is.

use std::path::Path;
use std::sync::Arc;

use crate::host::RealHost;
use crate::model::Record;
use crate::resources::file::File;
use crate::resources::{Desired, Resource as _, Shelf, Watchlist};
use crate::trust::{Allowance, Authorized};

use super::{CycleError, State};

/// Where the file that has no name has one for a moment: beside what must not be lost, where there is room.
const SCRATCH: &str = "/var/lib/hostwrit/.scratch";

/// What a host is held to, and what that depends on. Made of authorized desired state and of nothing else.
#[derive(Clone, Debug)]
pub struct Enforced {
    commit: Arc<str>,
    removals: Arc<Allowance>,
    declared: Arc<Shelf>,
    watchlist: Arc<Watchlist>,
}

impl Enforced {
    /// Puts away what is declared, and finds out what on this host it depends on. The caller holds the run lock.
    ///
    /// # Errors
    /// The host or its state cannot be read, or nothing can be put away.
    pub fn of(desired: Authorized<Desired>, host: &RealHost) -> Result<Self, CycleError> {
        let commit = desired.commit().to_string().into();
        let removals = Arc::new(desired.removals().clone());
        let watchlist = Watchlist::of(desired.desired(), &State::read(host)?.owned, host)?;
        let declared = Shelf::of(desired.into_desired(), host.scratch(Path::new(SCRATCH))?)?;
        Ok(Self { commit, removals, declared: Arc::new(declared), watchlist: Arc::new(watchlist) })
    }

    /// Returns the commit that asks for it.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Returns how many removals the signers of the commit allow.
    pub fn removals(&self) -> &Allowance {
        &self.removals
    }

    /// Returns what is declared.
    pub fn declared(&self) -> &Shelf {
        &self.declared
    }

    /// Returns what is watched for its sake.
    pub fn watchlist(&self) -> &Arc<Watchlist> {
        &self.watchlist
    }

    /// Whether both were made of the same desired state.
    pub fn is_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.declared, &other.declared)
    }

    /// Looks up anew where on this host the objects are that may move; `None` if all are where they were.
    ///
    /// # Errors
    /// The host cannot be read.
    pub fn moved(&self, record: &Record, host: &RealHost) -> Result<Option<Self>, CycleError> {
        // Files never move.
        let owned = record.owned_but(File::KIND);
        let moved = self.watchlist.moved(self.declared.at_hand(), &owned, host)?;
        Ok(moved.map(|watchlist| Self { watchlist: Arc::new(watchlist), ..self.clone() }))
    }
}
