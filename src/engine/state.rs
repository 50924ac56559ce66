// SPDX-License-Identifier: Apache-2.0
//! What a host remembers between two cycles.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::audit::{Head, LOG};
use crate::host::{HostError, NewFile, ReadHost, WriteHost};
use crate::model::record::NotARecord;
use crate::model::{Digest, Maintenance, ObjectId, Owned, Record};
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
/// Where the record of the objects lives: one file, named by its digest. There are two while it changes.
pub const RECORD_DIR: &str = "/var/lib/hostwrit/record";

/// The pin, ownership, and what an interrupted apply left to do.
///
/// What grows with the number of objects stands in a file of its own, the [`Record`], which the state names by its digest:
/// so whoever changes nothing of it need not write it, and both change at once (docs/decisions/0022-very-large-hosts.md).
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
    /// The record of all objects; `None` stands for an empty one.
    #[serde(default)]
    record: Option<Digest>,
    /// What hostwrit made, of the objects in `scope`.
    #[serde(skip)]
    pub owned: Owned,
    /// Those of them that were there before hostwrit: when they leave the repo, they stay and are listed.
    #[serde(skip)]
    pub altered: BTreeSet<ObjectId>,
    #[serde(skip)]
    scope: Scope,
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
    /// Why no administrator can log in and become root, if a port is declared for that and it was so at the last look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_way_in: Option<String>,
    /// The host's ring, and what waits for its turn.
    #[serde(default)]
    pub rollout: Rollout,
}

/// Of which objects a state knows what is owned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Scope {
    #[default]
    All,
    /// Of these; the record has the others.
    Some(BTreeSet<ObjectId>, Record),
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
    #[error("{RECORD_DIR} lacks the file {}, which {STATE} names; {RECORD_LOST}", file_name(digest))]
    RecordMissing { digest: Digest },
    #[error("a file in {RECORD_DIR} has other content than {STATE} names; {RECORD_LOST}")]
    RecordDamaged { digest: Digest },
    #[error("the file {} in {RECORD_DIR} cannot be understood; {RECORD_LOST}", file_name(digest))]
    RecordMalformed {
        digest: Digest,
        #[source]
        source: NotARecord,
    },
    #[error("{STATE} has format {0}, which this version does not know; install the version that wrote it")]
    Format(u32),
}

/// What makes a lost record right again.
const RECORD_LOST: &str = "put it back from a backup, or move the state away: hostwrit then starts from the audit log's \
                           last accepted commit, and knows no object as its own";

impl State {
    /// Reads the host's state; a host without one has an empty one.
    ///
    /// # Errors
    /// The state or its record cannot be read or understood.
    pub fn read(host: &dyn ReadHost) -> Result<Self, StateError> {
        let mut state = Self::read_file(host)?;
        (state.owned, state.altered) = state.read_record(host, None)?.all();
        Ok(state)
    }

    /// Reads the state, and of its objects none as yet: [`State::enter`] says which. `known` is a record that was read
    /// before; it is not read again if it is still the one that counts.
    ///
    /// # Errors
    /// The state or its record cannot be read or understood.
    pub fn read_part(host: &dyn ReadHost, known: Option<&Record>) -> Result<Self, StateError> {
        let mut state = Self::read_file(host)?;
        state.scope = Scope::Some(BTreeSet::new(), state.read_record(host, known)?);
        Ok(state)
    }

    /// Returns the record as it was read or written last, where the state is of a part of the objects.
    pub fn record(&self) -> Option<&Record> {
        match &self.scope {
            Scope::All => None,
            Scope::Some(_, record) => Some(record),
        }
    }

    /// Takes in what is remembered of these objects. Of all others the state, when it is written, keeps what it had.
    pub fn enter(&mut self, objects: &BTreeSet<ObjectId>) {
        if let Scope::Some(known, record) = &mut self.scope {
            known.clone_from(objects);
            (self.owned, self.altered) = record.only(known);
        }
    }

    fn read_file(host: &dyn ReadHost) -> Result<Self, StateError> {
        let Some(text) = host.read(Path::new(STATE))? else {
            return Ok(Self { format: FORMAT, ..Self::default() });
        };
        let state: Self = serde_json::from_slice(&text).map_err(StateError::Malformed)?;
        if state.format == FORMAT { Ok(state) } else { Err(StateError::Format(state.format)) }
    }

    fn read_record(&self, host: &dyn ReadHost, known: Option<&Record>) -> Result<Record, StateError> {
        let Some(digest) = self.record else { return Ok(Record::default()) };
        if let Some(known) = known.filter(|known| known.digest() == digest) {
            return Ok(known.clone());
        }
        let bytes = host.read(&record_path(&digest))?.ok_or(StateError::RecordMissing { digest })?;
        let text = String::from_utf8(bytes).map_err(|_| StateError::RecordDamaged { digest })?;
        if Digest::of(text.as_bytes()) != digest {
            return Err(StateError::RecordDamaged { digest });
        }
        Record::parse(&text).map_err(|source| StateError::RecordMalformed { digest, source })
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

    /// Replaces the host's state, durably; its record only if that has changed.
    ///
    /// # Errors
    /// The state cannot be written; the one before is still there.
    pub fn write(&mut self, host: &dyn WriteHost) -> Result<(), StateError> {
        let record = self.make_record();
        let is_kept = self.record == Some(record.digest()) || record.is_empty();
        if !is_kept {
            host.make_dir(Path::new(RECORD_DIR), None, 0o700)?;
            let file = NewFile { content: record.text().as_bytes(), owner: None, mode: 0o600, check: None };
            host.replace_file(&record_path(&record.digest()), &file)?;
        }
        let before = std::mem::replace(&mut self.record, (!record.is_empty()).then(|| record.digest()));
        self.log_bytes = log_bytes(host)?;
        let text = serde_json::to_vec(self).map_err(StateError::Malformed)?;
        host.replace_file(Path::new(STATE), &NewFile { content: &text, owner: None, mode: 0o600, check: None })?;
        if before != self.record {
            self.drop_other_records(host)?;
        }
        if let Scope::Some(_, known) = &mut self.scope {
            *known = record;
        }
        Ok(())
    }

    fn make_record(&self) -> Record {
        match &self.scope {
            Scope::All => Record::of(&self.owned, &self.altered),
            Scope::Some(objects, record) if record.only(objects) == (self.owned.clone(), self.altered.clone()) => {
                record.clone()
            }
            Scope::Some(objects, record) => record.replaced(objects, &self.owned, &self.altered),
        }
    }

    /// Drops the record before, and those that a kill kept from being named.
    fn drop_other_records(&self, host: &dyn WriteHost) -> Result<(), HostError> {
        let own = self.record.as_ref().map(file_name);
        for name in host.list(Path::new(RECORD_DIR))?.unwrap_or_default() {
            if own.as_deref().is_none_or(|own| name != *own) {
                host.remove(&Path::new(RECORD_DIR).join(name))?;
            }
        }
        Ok(())
    }
}

fn record_path(digest: &Digest) -> PathBuf {
    Path::new(RECORD_DIR).join(file_name(digest))
}

fn file_name(digest: &Digest) -> String {
    let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}.jsonl")
}

/// Returns the size of the audit log.
///
/// # Errors
/// It cannot be looked at.
pub fn log_bytes(host: &(impl ReadHost + ?Sized)) -> Result<u64, HostError> {
    Ok(host.stat(Path::new(LOG))?.map_or(0, |stat| stat.size))
}
