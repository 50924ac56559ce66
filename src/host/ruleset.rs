// SPDX-License-Identifier: Apache-2.0
//! The packet filter of the kernel: read and loaded by `nft` as JSON (libnftables-json(5)), on the running system; what is in
//! large sets is read from the kernel itself. Under another root nothing filters; what is kept there for the next boot is all
//! that there is.

mod generation;
mod monitor;
mod netlink;
mod sets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::{self, Root};
use super::{HostError, Output, command};

pub(super) use generation::generation;
pub use monitor::RulesetMonitor;

/// The name of hostwrit's own table, of the family `inet`. No other is ever changed.
pub const TABLE: &str = "hostwrit";

/// Where hostwrit's table is kept for the next boot, one file for each kind of object; under another root this is the
/// ruleset itself.
pub const KEPT: &str = "/var/lib/hostwrit/firewall";

/// A set of 100,000 networks is 3 MB of JSON, where nft is asked for it.
const OUTPUT_MAX: usize = 256 * 1024 * 1024;

/// Large sets take seconds on a busy host.
const LIMIT: Duration = Duration::from_secs(120);

/// Which tables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tables {
    /// hostwrit's own, whole.
    Own,
    /// hostwrit's own, without the elements of its named sets: much less where there are block lists.
    OwnOutline,
    /// Those of everybody, without the elements of named sets.
    All,
}

/// Tables of the kernel as `nft --json list` writes them: `{"nftables": [{"table": ..}, {"chain": ..}, ..]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    json: String,
    /// What is in sets of hostwrit's table, by name, where the text leaves it out.
    elements: BTreeMap<String, Elements>,
}

/// What is in a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Elements {
    /// The first and the last address of each range, in their order.
    Ranges(Vec<(IpAddr, IpAddr)>),
    /// Not addresses alone.
    Other,
}

impl Ruleset {
    /// Takes what `nft` wrote, or what was kept of it.
    pub fn new(json: String) -> Self {
        Self { json, elements: BTreeMap::new() }
    }

    /// A ruleset without any table.
    pub fn empty() -> Self {
        Self::new(r#"{"nftables": []}"#.to_owned())
    }

    /// Returns the JSON text.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Returns what is in sets of hostwrit's table, by name, where the text leaves it out.
    pub fn elements(&self) -> &BTreeMap<String, Elements> {
        &self.elements
    }
}

/// hostwrit's own table as it was read last, with the generation that it is of. While that lasts it is as it was: a cycle needs it
/// some six times, and it changes once.
#[derive(Debug, Default)]
pub(super) struct OwnTable(Mutex<Option<(u32, Ruleset)>>);

impl OwnTable {
    fn read(&self) -> Result<Ruleset, HostError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = generation::number().map_err(unanswered)?;
        if let Some((_, ruleset)) = last.as_ref().filter(|(of, _)| *of == generation) {
            return Ok(ruleset.clone());
        }
        *last = None;
        let (generation, ruleset) = own()?;
        *last = generation.map(|generation| (generation, ruleset.clone()));
        Ok(ruleset)
    }

    /// Frees what was read last.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Reads tables of the running system, or what is kept under another root.
pub(super) fn read(root: &Root, tables: Tables, own: &OwnTable) -> Result<Ruleset, HostError> {
    if !is_live(root) {
        return kept(root);
    }
    match tables {
        Tables::Own => own.read(),
        Tables::OwnOutline => outline(list),
        Tables::All => list(&["--json", "--terse", "list", "ruleset"]),
    }
}

/// Reads hostwrit's own table without elements, with the others of its family: nft 1.0.6 reads all elements, and then leaves them
/// out, where it is asked for one table alone.
///
/// What others have there may be more than nft understands: 1.0.6 falls over sets that 1.1 has made, perhaps in a container.
fn outline(list: impl Fn(&[&str]) -> Result<Ruleset, HostError>) -> Result<Ruleset, HostError> {
    let family = list(&["--json", "--terse", "list", "ruleset", "inet"]);
    family.or_else(|_| list(&["--json", "--terse", "list", "table", "inet", TABLE]))
}

/// Reads hostwrit's own table whole: rules through nft, what is in sets from the kernel. With it goes the generation that it is of,
/// where that is known.
fn own() -> Result<(Option<u32>, Ruleset), HostError> {
    for _ in 0..TRIES {
        let before = generation::number().map_err(unanswered)?;
        let Ruleset { json, .. } = outline(list)?;
        match sets::of_own_table() {
            Ok(elements) if generation::number().map_err(unanswered)? == before => {
                return Ok((Some(before), Ruleset { json, elements }));
            }
            // Somebody changed something meanwhile: half of it may be from before.
            Ok(_) => {}
            Err(error) if was_changed(&error) => {}
            Err(error) => return Err(unanswered(error)),
        }
    }
    Ok((None, list(&["--json", "list", "table", "inet", TABLE])?))
}

/// How often a table is read that changes while it is. After that nft is asked for all of it, which tries until it has it.
const TRIES: usize = 5;

/// Whether the kernel says that what was asked for was changed, or removed, while it was told.
fn was_changed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::NotFound)
}

/// Counts the elements of the named sets of tables with these names, by the table's name. Under another root there are none.
pub(super) fn set_sizes(root: &Root, tables: &[&str]) -> Result<BTreeMap<String, u64>, HostError> {
    if !is_live(root) {
        return Ok(BTreeMap::new());
    }
    let mut sizes = sets::sizes(tables);
    for _ in 1..TRIES {
        match &sizes {
            Err(error) if was_changed(error) => sizes = sets::sizes(tables),
            _ => break,
        }
    }
    sizes.map_err(unanswered)
}

fn unanswered(source: io::Error) -> HostError {
    HostError::Ruleset { action: "read", why: format!("netlink: {source}") }
}

fn list(arguments: &[&str]) -> Result<Ruleset, HostError> {
    let output = nft("read", arguments, &[])?;
    let says = String::from_utf8_lossy(&output.stderr);
    if !output.success {
        // Of a table that is not there nft says no more than the error's text.
        return match arguments {
            [.., TABLE] if says.contains("No such file or directory") => Ok(Ruleset::empty()),
            _ => Err(HostError::Ruleset { action: "read", why: first_line(&says, &output.status) }),
        };
    }
    match String::from_utf8(output.stdout) {
        // Under nft 1.0.6 a ruleset without tables may be no text at all.
        Ok(json) if json.trim().is_empty() => Ok(Ruleset::empty()),
        Ok(json) => Ok(Ruleset::new(json)),
        Err(_) => Err(HostError::Ruleset { action: "read", why: "nft did not answer in UTF-8".to_owned() }),
    }
}

/// Carries out commands (libnftables-json(5)) in one transaction. Under another root nothing filters.
pub(super) fn load(root: &Root, commands: &str) -> Result<(), HostError> {
    if !is_live(root) {
        return Ok(());
    }
    let output = nft("load", &["--json", "--file", "-"], commands.as_bytes())?;
    if output.success {
        return Ok(());
    }
    let why = first_line(&String::from_utf8_lossy(&output.stderr), &output.status);
    // A transaction is whole or not at all.
    let why = format!("{why}; what was in force stays. If another program holds the table inet {TABLE}, stop it");
    Err(HostError::Ruleset { action: "load", why })
}

fn nft(action: &'static str, args: &[&str], input: &[u8]) -> Result<Output, HostError> {
    command::run_with_input(LIMIT, OUTPUT_MAX, "nft", args, input).map_err(|error| match error {
        HostError::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            HostError::Ruleset { action, why: "there is no nft; install the package nftables".to_owned() }
        }
        error => error,
    })
}

/// Joins the parts that are kept for the next boot: lists of commands, each of which adds an object.
fn kept(root: &Root) -> Result<Ruleset, HostError> {
    let mut parts = Vec::new();
    for name in files::list(root, Path::new(KEPT))?.unwrap_or_default() {
        let path = Path::new(KEPT).join(name);
        let Some(text) = files::read(root, &path)? else { continue };
        let text = String::from_utf8_lossy(&text);
        let list = text.trim().strip_prefix("{\"nftables\":[").and_then(|rest| rest.strip_suffix("]}"));
        let Some(list) = list else {
            let why = format!("{} is not what hostwrit keeps there; remove it", path.display());
            return Err(HostError::Ruleset { action: "read", why });
        };
        parts.push(list.to_owned());
    }
    Ok(Ruleset::new(format!("{{\"nftables\":[{}]}}", parts.join(","))))
}

fn is_live(root: &Root) -> bool {
    root.path() == Path::new("/")
}

fn first_line(says: &str, status: &str) -> String {
    match says.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!("nft: {line}"),
        None => format!("nft ended with {status}"),
    }
}
