// SPDX-License-Identifier: Apache-2.0
//! Block lists: addresses from which nothing comes in, whatever the ports say.

mod resolve;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::Tables;
use crate::model::{Change, Declared, Faults, Origin, Shown};

use super::Contents;
use super::digest::{Digestible, Sum, digest_every_field};
use super::firewall::{Filter, Networks, Owner, Table};

pub use resolve::Date;

/// A list of addresses from which nothing comes in.
pub enum Blocklist {}

/// Addresses from which nothing comes in: a file of the repo with one address or network a line.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// The list, below files/ of the infra repo (required). What follows # or ; in a line is a comment.
    pub file: Option<String>,
    /// The day on which the list was made or fetched: 2026-11-28.
    pub updated: Option<String>,
    /// How old the list may become, in days: 7d.
    pub max_age: Option<String>,
    /// What becomes of a list that is older: it is told of, or it is told of and not loaded any more. Default: warn.
    pub when_old: Option<WhenOld>,
}

/// What becomes of a list that is too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenOld {
    /// It is loaded, and status tells of it.
    #[default]
    Warn,
    /// It is not loaded; what was loaded before stays.
    Refuse,
}

impl Digestible for WhenOld {
    fn add_to(&self, sum: &mut Sum) {
        sum.variant(match self {
            Self::Warn => 0,
            Self::Refuse => 1,
        });
    }
}

/// A block list as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredList {
    /// Below `files/`; there must be one, which only a list that shall be absent may lack.
    pub file: Option<String>,
    pub networks: Networks,
    pub updated: Option<Date>,
    /// In days.
    pub max_age: Option<u32>,
    pub when_old: WhenOld,
}

digest_every_field!(DesiredList { file, networks, updated, max_age, when_old });

impl DesiredList {
    /// Returns how many days the list is older than it may be; `None` if it is not. `today` counts days since 1970.
    pub fn too_old(&self, today: u64) -> Option<u64> {
        let end = self.updated?.days().saturating_add(u64::from(self.max_age?));
        today.checked_sub(end).filter(|days| *days > 0)
    }
}

impl Filter for Blocklist {
    const KIND: &'static str = "blocklist";
    const KEY: &'static str = "blocklists";
    type Spec = Spec;
    type Desired = DesiredList;
    type Entry = Networks;
    const OWNER: Owner = Owner::Blocklists;
    const READS: Tables = Tables::Own;

    fn resolve(name: &str, spec: Spec, origin: &Origin, contents: &dyn Contents) -> Result<DesiredList, Faults> {
        resolve::resolve(name, &spec, origin, contents)
    }

    fn entry(want: &DesiredList) -> &Networks {
        &want.networks
    }

    fn table(entries: &BTreeMap<String, Networks>) -> Table {
        rules::table(entries)
    }

    fn read(table: &Table) -> BTreeMap<String, Option<Networks>> {
        rules::lists(table)
    }

    fn changes(from: Option<&Networks>, declared: &Declared<DesiredList>, want: &DesiredList) -> Vec<Change> {
        let show = |networks: &Networks| Shown::text(resolve::size(networks));
        let from = from.map_or(Shown::Nothing, show);
        vec![Change::new("file", from, show(&want.networks), Some(declared.origin.of("file")))]
    }

    fn shown(entry: &Networks) -> Change {
        Change::new("file", Shown::text(resolve::size(entry)), Shown::Nothing, None)
    }

    fn objection(want: &DesiredList, today: u64) -> Option<String> {
        let days = want.too_old(today).filter(|_| want.when_old == WhenOld::Refuse)?;
        let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        Some(format!("the list is {days} older than it may be; update its file and its date, or raise max_age"))
    }
}
