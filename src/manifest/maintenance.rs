// SPDX-License-Identifier: Apache-2.0
//! `maintenance` of a host file or profile: when hosts are left alone.

use std::collections::BTreeMap;

use crate::model::maintenance::{LONGEST, Maintenance, REASON_MAX, is_reason};
use crate::model::{Fault, Faults, Location};
use crate::yaml::{self, Entry, Node, Value};

/// The key in a host file or profile.
pub const KEY: &str = "maintenance";

/// Reads and checks it.
///
/// # Errors
/// All that is wrong with it.
pub fn read(entry: &Entry) -> Result<Maintenance, Faults> {
    // Within a map of its own, so that faults can name the key.
    let alone = Node { value: Value::Map(vec![entry.clone()]), at: entry.key_at.clone() };
    let mut read: BTreeMap<String, Maintenance> = yaml::from_node(&alone)?;
    let Some(maintenance) = read.remove(&entry.key) else { return Err(Faults::default()) };
    faults(&maintenance, entry).or(maintenance)
}

fn faults(maintenance: &Maintenance, entry: &Entry) -> Faults {
    let mut faults = Faults::default();
    let at = |key: &str| -> Location { entry.value.get(key).map_or(&entry.key_at, |node| &node.at).clone() };
    for (key, text) in [("from", &maintenance.from), ("until", &maintenance.until)] {
        if humantime::parse_rfc3339(text).is_err() {
            let fault = Fault::new(at(key), format!("\"{}\" is no time", text.escape_debug()));
            faults.push(fault.hint("write it in UTC as RFC 3339 does: \"2026-12-01T20:00:00Z\""));
        }
    }
    if let Some((from, until)) = maintenance.bounds() {
        match until.duration_since(from) {
            Ok(length) if length > LONGEST => {
                let fault = Fault::new(at("until"), "the maintenance is too long");
                faults.push(fault.hint("end it 30 days after it begins at the latest; a new commit can make it last"));
            }
            Ok(length) if !length.is_zero() => {}
            _ => {
                let fault = Fault::new(at("until"), "the maintenance ends before it begins");
                faults.push(fault.hint("write an until that is later than from"));
            }
        }
    }
    if !is_reason(&maintenance.reason) {
        let fault = Fault::new(at("reason"), "the reason does not say why");
        faults.push(fault.hint(format!("write one line of 1 to {REASON_MAX} characters")));
    }
    faults
}
