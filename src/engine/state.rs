// SPDX-License-Identifier: Apache-2.0
//! What a host remembers between two cycles.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::audit::{Head, LOG};
use crate::host::{HostError, NewFile, ReadHost, WriteHost};
use crate::model::{Maintenance, ObjectId, Owned};
use crate::resources::Pending;

use super::checks::Checked;
use super::desired::Times;
use super::freshness::Freshness;
use super::hold::HeldCommit;
use super::pin::Ordered;
use super::rollout::Rollout;
use crate::model::chain;

/// Where hostwrit keeps what it must not lose.
pub const DIR: &str = "/var/lib/hostwrit";
/// Where the state lives on the host.
pub const STATE: &str = "/var/lib/hostwrit/state.json";

/// The pin, ownership, and what an interrupted apply left to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: u32,
    /// The last commit that this host fully accepted; never moves back.
    #[serde(default)]
    pub pin: Option<String>,
    /// The root commit of the configuration under which the pin was accepted.
    #[serde(default)]
    pub root: Option<String>,
    /// The order by which the pin stands where it does, until a commit is accepted by the rules again.
    #[serde(default)]
    pub ordered: Option<Ordered>,
    /// What made each order that this host has obeyed one that can be used once.
    #[serde(default)]
    pub nonces: BTreeSet<String>,
    /// Times that were signed for.
    #[serde(default)]
    pub freshness: Freshness,
    /// The last commit with which the host agreed and whose checks passed.
    #[serde(default)]
    pub good: Option<String>,
    /// The last commit that was accepted and put back, until another is accepted.
    #[serde(default)]
    pub held: Option<HeldCommit>,
    /// What the checks came to when they last ran; `None` where there are none.
    #[serde(default)]
    pub checked: Option<Checked>,
    /// How many removals the pin allows.
    #[serde(default)]
    pub removals: Option<u64>,
    /// The commit that the host agreed with when it was last observed.
    #[serde(default)]
    pub converged: Option<String>,
    #[serde(default)]
    pub owned: Owned,
    /// Declared objects that were there before hostwrit: when they leave the repo, they stay and are listed.
    #[serde(default)]
    pub altered: BTreeSet<ObjectId>,
    /// Restarts and reloads that are owed.
    #[serde(default)]
    pub pending: Pending,
    /// The commit whose change was put back because hostwrit ended before it was proven: a second time it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<String>,
    /// An apply is under way, or was killed.
    #[serde(default)]
    pub applying: bool,
    /// The last entry of the audit log.
    #[serde(default)]
    pub log: Option<Head>,
    /// The size of the audit log when this was written: if it is another now, it may know of a later acceptance.
    #[serde(default)]
    pub log_bytes: u64,
    /// The last refusal that is in the log, so that it is not recorded again at every pull.
    #[serde(default)]
    pub refused: Option<Refused>,
    /// The maintenance that the log says has begun and has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// The host's ring, and what waits for its turn.
    #[serde(default)]
    pub rollout: Rollout,
}

/// A refusal as the state remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub commit: Option<String>,
    pub code: String,
}

/// The format that this version writes.
const FORMAT: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("{STATE} cannot be understood; move it away and hostwrit starts from the audit log's last accepted commit")]
    Malformed(#[source] serde_json::Error),
    #[error("{STATE} names the pin \"{0}\", which is not a commit")]
    Pin(String),
    #[error("{STATE} has format {0}, which this version does not know; install the version that wrote it")]
    Format(u32),
}

impl State {
    /// Reads the host's state; a host without one has an empty one.
    ///
    /// # Errors
    /// The state cannot be read or understood.
    pub fn read(host: &dyn ReadHost) -> Result<Self, StateError> {
        let Some(text) = host.read(Path::new(STATE))? else {
            return Ok(Self { format: FORMAT, ..Self::default() });
        };
        let state: Self = serde_json::from_slice(&text).map_err(StateError::Malformed)?;
        if state.format == FORMAT { Ok(state) } else { Err(StateError::Format(state.format)) }
    }

    /// Learns what the enforced commit and the heartbeat say of time. `heartbeat` is the commit at the heartbeat ref, the
    /// outer `None` where the remote could not be asked. Returns why the heartbeat does not count, if so.
    pub fn learn(&mut self, times: &Times, heartbeat: Option<Option<String>>, now: SystemTime) -> Option<String> {
        self.freshness.allow(times.max_age);
        let heard = times.heartbeat.as_ref().and_then(|heartbeat| heartbeat.as_ref().ok());
        times.signed.iter().chain(heard).for_each(|time| self.freshness.learn(*time, now));
        if let Some(heartbeat) = heartbeat {
            self.freshness.heartbeat = heartbeat;
        }
        times.heartbeat.as_ref().and_then(|heartbeat| heartbeat.as_ref().err()).map(|refusal| chain(refusal.as_ref()))
    }

    /// Puts the pin where an order says that was obeyed under this root.
    pub fn adopt(&mut self, ordered: Ordered, root: String) {
        self.pin = Some(ordered.commit.clone());
        self.root = Some(root);
        self.nonces.insert(ordered.nonce.clone());
        // Whoever orders a commit that is held wants it tried again.
        self.held = None;
        self.removals = None;
        self.ordered = Some(ordered);
    }

    /// Replaces the host's state, durably.
    ///
    /// # Errors
    /// The state cannot be written; the one before is still there.
    pub fn write(&mut self, host: &dyn WriteHost) -> Result<(), StateError> {
        self.log_bytes = log_bytes(host)?;
        let text = serde_json::to_vec(self).map_err(StateError::Malformed)?;
        let file = NewFile { content: &text, owner: None, mode: 0o600, check: None };
        Ok(host.replace_file(Path::new(STATE), &file)?)
    }
}

/// Returns the size of the audit log.
///
/// # Errors
/// It cannot be looked at.
pub fn log_bytes(host: &(impl ReadHost + ?Sized)) -> Result<u64, HostError> {
    Ok(host.stat(Path::new(LOG))?.map_or(0, |stat| stat.size))
}
