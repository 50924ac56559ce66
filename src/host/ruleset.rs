// SPDX-License-Identifier: Apache-2.0
//! The packet filter of the kernel: read and loaded by `nft` as JSON (libnftables-json(5)), on the running system. Under
//! another root nothing filters; what is kept there for the next boot is all that there is.

mod generation;
mod monitor;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
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

/// A set of 100,000 networks is 3 MB of JSON.
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
#[serde(transparent)]
pub struct Ruleset(String);

impl Ruleset {
    /// Takes what `nft` wrote, or what was kept of it.
    pub fn new(json: String) -> Self {
        Self(json)
    }

    /// A ruleset without any table.
    pub fn empty() -> Self {
        Self(r#"{"nftables": []}"#.to_owned())
    }

    /// Returns the JSON text.
    pub fn json(&self) -> &str {
        &self.0
    }
}

/// Reads tables of the running system, or what is kept under another root.
pub(super) fn read(root: &Root, tables: Tables) -> Result<Ruleset, HostError> {
    if !is_live(root) {
        return kept(root);
    }
    let list: &[&str] = match tables {
        Tables::Own => &["--json", "list", "table", "inet", TABLE],
        Tables::OwnOutline => &["--json", "--terse", "list", "table", "inet", TABLE],
        Tables::All => &["--json", "--terse", "list", "ruleset"],
    };
    let output = nft("read", list, &[])?;
    let says = String::from_utf8_lossy(&output.stderr);
    if !output.success {
        // Of a table that is not there nft says no more than the error's text.
        return match tables {
            Tables::Own | Tables::OwnOutline if says.contains("No such file or directory") => Ok(Ruleset::empty()),
            _ => Err(HostError::Ruleset { action: "read", why: first_line(&says, &output.status) }),
        };
    }
    match String::from_utf8(output.stdout) {
        // Under nft 1.0.6 a ruleset without tables may be no text at all.
        Ok(json) if json.trim().is_empty() => Ok(Ruleset::empty()),
        Ok(json) => Ok(Ruleset(json)),
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
    Ok(Ruleset(format!("{{\"nftables\":[{}]}}", parts.join(","))))
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
