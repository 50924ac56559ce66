// SPDX-License-Identifier: Apache-2.0
//! Replaces the chains and sets of one kind, in one transaction, and keeps them for the next boot.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::json;

use crate::host::ruleset::{KEPT, TABLE};
use crate::host::{HostError, NewFile, ReadHost, Ruleset, Tables, WriteHost};
use crate::model::{Digest, chain};
use crate::resources::{ApplyError, ObserveError};

use super::{Set, Table};

/// Whose a chain or set is, by the begin of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Ports,
    Egress,
    Blocklists,
}

impl Owner {
    /// Block lists come first, for what is loaded at boot.
    pub const ALL: [Self; 3] = [Self::Blocklists, Self::Ports, Self::Egress];

    /// Whether a chain or set of this name is the owner's. What nobody has named is taken for a port's, and so is put right.
    pub fn owns(self, name: &str) -> bool {
        self == match name {
            _ if name.starts_with(Self::Egress.prefix()) => Self::Egress,
            _ if name.starts_with(Self::Blocklists.prefix()) => Self::Blocklists,
            _ => Self::Ports,
        }
    }

    /// How the names begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Ports => "port_",
            Self::Egress => "egress_",
            Self::Blocklists => "blocklist_",
        }
    }

    /// Returns where the owner's part of the table is kept for the next boot.
    pub fn kept(self) -> PathBuf {
        let name = match self {
            Self::Ports => "ports.json",
            Self::Egress => "egress.json",
            Self::Blocklists => "blocklists.json",
        };
        PathBuf::from(KEPT).join(name)
    }
}

/// All chains and sets of one kind as they shall be. The steps of all its objects share one; the first that is carried out
/// loads it for all.
#[derive(Debug)]
pub struct Load {
    pub owner: Owner,
    pub table: Table,
    /// What came of it, once it was tried.
    done: OnceLock<Result<(), String>>,
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.owner == other.owner && self.table == other.table
    }
}

/// What is kept for the next boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept(Option<Digest>);

impl Kept {
    /// Reads what is kept of one kind.
    pub fn read(owner: Owner, host: &dyn ReadHost) -> Result<Self, HostError> {
        Ok(Self(host.read(&owner.kept())?.map(|text| Digest::of(&text))))
    }

    /// Whether this is what is kept of the table.
    pub fn is_of(&self, table: &Table) -> bool {
        self.0 == (!table.is_empty()).then(|| Digest::of(kept_text(table).as_bytes()))
    }
}

impl Load {
    pub fn new(owner: Owner, table: Table) -> Self {
        Self { owner, table, done: OnceLock::new() }
    }

    /// Loads the chains and sets, unless that was tried before.
    ///
    /// # Errors
    /// nft refuses, and the table is as it was; or it cannot be kept for the next boot.
    pub fn apply(&self, host: &dyn WriteHost) -> Result<(), ApplyError> {
        if let Some(done) = self.done.get() {
            return done.clone().map_err(ApplyError::Refused);
        }
        let done = self.load(host);
        let _ = self.done.set(done.as_ref().copied().map_err(|error| chain(error)));
        done
    }

    fn load(&self, host: &dyn WriteHost) -> Result<(), ApplyError> {
        // Read anew: what another one has put there since the plan goes too, and twice does no harm.
        let present = Table::read(&host.ruleset(Tables::OwnOutline)?).map_err(refused)?;
        host.load_ruleset(&replacement(&present, &self.table, |name| self.owner.owns(name)))?;
        let path = self.owner.kept();
        if self.table.is_empty() {
            return Ok(host.remove(&path)?);
        }
        ensure_dir(KEPT.as_ref(), 0o700, host)?;
        let text = kept_text(&self.table);
        let file = NewFile { content: text.as_bytes(), owner: None, mode: 0o600, check: None };
        Ok(host.replace_file(&path, &file)?)
    }
}

/// Makes the directory with those above it, as far as they are missing.
fn ensure_dir(path: &Path, mode: u32, host: &dyn WriteHost) -> Result<(), HostError> {
    if host.stat(path)?.is_some() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        ensure_dir(parent, 0o755, host)?;
    }
    host.make_dir(path, None, mode)
}

fn refused(error: ObserveError) -> ApplyError {
    ApplyError::Refused(error.to_string())
}

/// Loads all that is kept, each kind by itself: what is wrong with one keeps no other from being loaded.
///
/// # Errors
/// One text for each kind that could not be loaded.
pub fn load_kept(host: &dyn WriteHost) -> Result<(), Vec<String>> {
    let faults: Vec<String> = Owner::ALL.into_iter().filter_map(|owner| load_kept_of(owner, host).err()).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn load_kept_of(owner: Owner, host: &dyn WriteHost) -> Result<(), String> {
    let path = owner.kept();
    let text = |error: &dyn std::error::Error| format!("{}: {}", path.display(), chain(error));
    let Some(kept) = host.read(&path).map_err(|error| text(&error))? else { return Ok(()) };
    let wanted = read_kept(&kept).map_err(|error| text(&error))?;
    let present = host.ruleset(Tables::OwnOutline).map_err(|error| text(&error))?;
    let present = Table::read(&present).map_err(|error| text(&error))?;
    host.load_ruleset(&replacement(&present, &wanted, |name| owner.owns(name))).map_err(|error| text(&error))
}

fn read_kept(kept: &[u8]) -> Result<Table, ObserveError> {
    let text = std::str::from_utf8(kept).map_err(|error| ObserveError::Ruleset(error.to_string()))?;
    Table::read(&Ruleset::new(text.to_owned()))
}

/// Puts hostwrit's table back as it was read before, whole.
///
/// # Errors
/// nft refuses, and the table is as it is.
pub fn put_back(before: &Ruleset, host: &dyn WriteHost) -> Result<(), ApplyError> {
    let wanted = Table::read(before).map_err(refused)?;
    let present = Table::read(&host.ruleset(Tables::OwnOutline)?).map_err(refused)?;
    Ok(host.load_ruleset(&replacement(&present, &wanted, |_| true))?)
}

/// Returns the commands that make `wanted` of what is `present`, as far as `owns` says.
///
/// Chains at hooks are emptied and filled, not made anew: a new one would for a moment stand beside the old one, and a packet
/// in that moment would see no rules. Sets in which the filter remembers sources stay, or a limit would begin anew.
pub(super) fn replacement(present: &Table, wanted: &Table, owns: impl Fn(&str) -> bool) -> String {
    let ours = present.only(&owns);
    let mut commands = vec![format!("{{\"add\":{}}}", table_object())];
    if wanted.is_empty() && ours == *present {
        commands.push(format!("{{\"delete\":{}}}", table_object()));
        return document(&commands);
    }
    let command = |verb: &str, kind: &str, name: &str| {
        json!({verb: {kind: {"family": "inet", "table": TABLE, "name": name}}}).to_string()
    };
    let stays = |name: &str| match (ours.chains.get(name), wanted.chains.get(name)) {
        (Some(present), Some(wanted)) => match (&present.base, &wanted.base) {
            (Some(present), Some(wanted)) => {
                (&present.kind, &present.hook, present.prio) == (&wanted.kind, &wanted.hook, wanted.prio)
            }
            _ => false,
        },
        _ => false,
    };
    let remembers = |name: &str| {
        let set = ours.sets.get(name);
        matches!(set, Some(Set::PerSource { .. })) && set == wanted.sets.get(name)
    };
    commands.extend(ours.chains.keys().map(|name| command("flush", "chain", name)));
    commands.extend(ours.chains.keys().filter(|name| !stays(name)).map(|name| command("delete", "chain", name)));
    commands.extend(ours.sets.keys().filter(|name| !remembers(name)).map(|name| command("delete", "set", name)));
    // The kernel takes such a set for another one when it is added once more.
    let mut missing = wanted.clone();
    missing.sets.retain(|name, _| !remembers(name));
    commands.extend(missing.objects().into_iter().map(|object| format!("{{\"add\":{object}}}")));
    document(&commands)
}

/// Returns the text of what is kept: commands that make the table where there is none.
fn kept_text(table: &Table) -> String {
    let objects = std::iter::once(table_object()).chain(table.objects());
    document(&objects.map(|object| format!("{{\"add\":{object}}}")).collect::<Vec<_>>())
}

fn table_object() -> String {
    json!({"table": {"family": "inet", "name": TABLE}}).to_string()
}

/// One command a line.
fn document(commands: &[String]) -> String {
    format!("{{\"nftables\":[\n{}\n]}}\n", commands.join(",\n"))
}
