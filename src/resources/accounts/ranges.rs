// SPDX-License-Identifier: Apache-2.0
//! What login.defs(5) says of new accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::host::ReadHost;
use crate::resources::ObserveError;

pub const LOGIN_DEFS: &str = "/etc/login.defs";

/// Numbers that may be given to new accounts, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: u32,
    pub last: u32,
}

impl Range {
    /// Returns the lowest number of the range that is not in `taken`, or `None` if all are.
    pub fn lowest_free(self, taken: &BTreeSet<u32>) -> Option<u32> {
        (self.first..=self.last).find(|number| !taken.contains(number) && !super::is_reserved(*number))
    }
}

/// The defaults for new accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    pub uids: Range,
    pub system_uids: Range,
    pub gids: Range,
    pub system_gids: Range,
    /// Days for `chage`: minimum, maximum and warning; `None` leaves the field of shadow(5) empty.
    pub ages: [Option<u32>; 3],
}

impl Default for Defaults {
    fn default() -> Self {
        let (people, system) = (Range { first: 1000, last: 60000 }, Range { first: 101, last: 999 });
        Self { uids: people, system_uids: system, gids: people, system_gids: system, ages: [None; 3] }
    }
}

impl Defaults {
    /// Reads login.defs(5). A host without the file has the defaults of shadow-utils.
    ///
    /// # Errors
    /// The file cannot be read, a number in it is none, or a range has its ends swapped.
    pub fn read(host: &dyn ReadHost) -> Result<Self, ObserveError> {
        let bytes = host.read(Path::new(LOGIN_DEFS))?.unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(text: &str) -> Result<Self, ObserveError> {
        let mut values: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let mut words = line.split_ascii_whitespace();
            if let (Some(key), Some(value)) = (words.next(), words.next())
                && !key.starts_with('#')
            {
                // Of two lines for one key the last counts, as for shadow-utils.
                values.insert(key, (index + 1, value.trim_matches('"')));
            }
        }
        let get = |key: &str| -> Result<Option<u32>, ObserveError> {
            let Some((line, value)) = values.get(key) else { return Ok(None) };
            match number(value) {
                Some(number) => Ok(Some(number)),
                None => Err(malformed(*line, format!("{key} is not a number"))),
            }
        };
        let range = |first: &str, last: &str, default: Range| -> Result<Range, ObserveError> {
            let range = Range { first: get(first)?.unwrap_or(default.first), last: get(last)?.unwrap_or(default.last) };
            if range.first > range.last {
                let line = values.get(first).or_else(|| values.get(last)).map_or(0, |(line, _)| *line);
                return Err(malformed(line, format!("{first} is greater than {last}, so no number is left")));
            }
            // Zero is root's and is never given to anybody.
            Ok(Range { first: range.first.max(1), ..range })
        };
        // -1 stands for "no limit" and leaves the field empty.
        let age =
            |key: &str| if values.get(key).is_some_and(|(_, value)| *value == "-1") { Ok(None) } else { get(key) };

        let default = Self::default();
        let uids = range("UID_MIN", "UID_MAX", default.uids)?;
        let gids = range("GID_MIN", "GID_MAX", default.gids)?;
        // Where people begin lower than usual, the system's range ends below them.
        let below = |people: Range| {
            let last = people.first.saturating_sub(1).max(1);
            Range { first: default.system_uids.first.min(last), last }
        };
        Ok(Self {
            uids,
            gids,
            system_uids: range("SYS_UID_MIN", "SYS_UID_MAX", below(uids))?,
            system_gids: range("SYS_GID_MIN", "SYS_GID_MAX", below(gids))?,
            ages: [age("PASS_MIN_DAYS")?, age("PASS_MAX_DAYS")?, age("PASS_WARN_AGE")?],
        })
    }
}

fn malformed(line: usize, what: String) -> ObserveError {
    ObserveError::Malformed { path: LOGIN_DEFS, line, what }
}

/// Reads a number as strtoul(3) does with base 0.
fn number(text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0x") {
        u32::from_str_radix(digits, 16).ok()
    } else if text.len() > 1 && text.starts_with('0') {
        u32::from_str_radix(text, 8).ok()
    } else {
        text.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_the_file_has_the_usual_ranges() {
        let defaults = Defaults::parse("").unwrap();
        assert_eq!(defaults, Defaults::default());
        assert_eq!(defaults.system_uids, Range { first: 101, last: 999 });
    }

    #[test]
    fn values_are_read_as_shadow_utils_reads_them() {
        let defaults = Defaults::parse(
            "# UID_MIN 1\nUID_MIN\t\t 500\nGID_MIN 0x7d0\nGID_MAX 010000\nSYS_GID_MIN 100\nPASS_MAX_DAYS -1\nPASS_MIN_DAYS 0\n\
             UID_MIN 600 # the last counts\n",
        )
        .unwrap();
        assert_eq!(defaults.uids, Range { first: 600, last: 60000 });
        assert_eq!(defaults.gids, Range { first: 2000, last: 4096 });
        assert_eq!(defaults.system_uids, Range { first: 101, last: 599 });
        assert_eq!(defaults.system_gids, Range { first: 100, last: 1999 });
        assert_eq!(defaults.ages, [Some(0), None, None]);
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_line() {
        let error = Defaults::parse("\nUID_MIN lots\n").unwrap_err();
        assert_eq!(error.to_string(), "/etc/login.defs:2: UID_MIN is not a number");
        let error = Defaults::parse("UID_MIN 5\nUID_MAX 4\n").unwrap_err();
        assert_eq!(error.to_string(), "/etc/login.defs:1: UID_MIN is greater than UID_MAX, so no number is left");
    }
}
