// SPDX-License-Identifier: Apache-2.0
//! Checks a block list as the repo writes it, and reads its file.

use std::str::FromStr;

use crate::model::{Fault, Faults, Origin};
use crate::resources::Contents;
use crate::resources::digest::{Digestible, Sum};
use crate::resources::firewall::{Network, Networks, fault_of_zone_name};

use super::{DesiredList, Spec};

/// So many faulty lines are listed; a file that is no list has one in every line.
const FAULTS_MAX: usize = 5;

/// A day of the Gregorian calendar: `2026-11-28`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u32,
    month: u32,
    day: u32,
}

impl FromStr for Date {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-').map(|digits| {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|_| is_number).ok_or(())
        });
        let mut next = || parts.next().ok_or(())?;
        let (year, month, day) = (next()?, next()?, next()?);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            4 | 6 | 9 | 11 => 30,
            2 if is_leap => 29,
            2 => 28,
            _ => 31,
        };
        let is_day = text.len() == 10 && (1970..=9999).contains(&year) && (1..=12).contains(&month);
        if is_day && (1..=last).contains(&day) { Ok(Self { year, month, day }) } else { Err(()) }
    }
}

impl Date {
    /// Returns the days since 1970-01-01.
    pub fn days(self) -> u64 {
        // Years that begin in March end with the leap day.
        let year = u64::from(self.year) - u64::from(self.month < 3);
        let month = u64::from((self.month + 9) % 12);
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + u64::from(self.day) - 1;
        // From the first of March of the year 0.
        days.saturating_sub(719_468)
    }
}

impl Digestible for Date {
    fn add_to(&self, sum: &mut Sum) {
        let Self { year, month, day } = self;
        [year, month, day].into_iter().for_each(|number| number.add_to(sum));
    }
}

pub(super) fn resolve(
    name: &str,
    spec: &Spec,
    origin: &Origin,
    contents: &dyn Contents,
) -> Result<DesiredList, Faults> {
    let mut faults = Faults::default();
    if let Some(why) = fault_of_zone_name(name) {
        let fault = Fault::new(origin.object.clone(), format!("\"{name}\" cannot be the name of a block list: {why}"));
        faults.push(fault.hint("write a name such as spamhaus-drop"));
    }
    let mut wrong = |field: &str, what: String, hint: &str| {
        faults.push(Fault::new(origin.of(field).clone(), what).hint(hint.to_owned()));
    };
    let updated = spec.updated.as_deref().and_then(|text| {
        let date = text.parse().ok();
        if date.is_none() {
            wrong("updated", format!("\"{text}\" is no day"), "write year, month and day: 2026-11-28");
        }
        date
    });
    let max_age = spec.max_age.as_deref().and_then(|text| {
        let age = text.strip_suffix('d').and_then(|days| days.parse().ok()).filter(|days| (1..=36_500).contains(days));
        if age.is_none() {
            wrong("max_age", format!("\"{text}\" is no age of a list"), "write a number of days: 7d");
        }
        age
    });
    if spec.max_age.is_some() && spec.updated.is_none() {
        let hint = "write the day on which the list was fetched: updated: 2026-11-28";
        wrong("max_age", "nobody can tell how old the list is".to_owned(), hint);
    }
    if spec.when_old.is_some() && spec.max_age.is_none() {
        let hint = "write max_age, or leave when_old out";
        wrong("when_old", "the list is never too old".to_owned(), hint);
    }
    let networks = spec.file.as_ref().map(|path| read(path, origin, contents, &mut faults)).unwrap_or_default();
    let (file, when_old) = (spec.file.clone(), spec.when_old.unwrap_or_default());
    faults.or(DesiredList { file, networks, updated, max_age, when_old })
}

fn read(path: &str, origin: &Origin, contents: &dyn Contents, faults: &mut Faults) -> Networks {
    let at = || origin.of("file").clone();
    let bytes = match contents.source(path) {
        Ok(bytes) => bytes,
        Err(why) => {
            faults.push(Fault::new(at(), why));
            return Networks::default();
        }
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        faults.push(Fault::new(at(), format!("files/{path} is not text in UTF-8")));
        return Networks::default();
    };
    let mut networks: Vec<Network> = Vec::new();
    let mut wrong = 0;
    for (line, number) in text.lines().zip(1..) {
        let entry = line.split(['#', ';']).next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        let (what, hint) = match entry.parse::<Network>() {
            Ok(network) if network.is_everything() => {
                ("a block list cannot hold all addresses".to_owned(), "take the line out".to_owned())
            }
            Ok(network) => {
                networks.push(network);
                continue;
            }
            Err(fault) => fault,
        };
        wrong += 1;
        if wrong <= FAULTS_MAX {
            faults.push(Fault::new(at(), format!("files/{path}, line {number}: {what}")).hint(hint));
        }
    }
    if wrong > FAULTS_MAX {
        let more = wrong - FAULTS_MAX;
        faults.push(Fault::new(at(), format!("files/{path}: {more} more lines are neither address nor network")));
    }
    networks.into_iter().collect()
}

/// Shows how much a list holds.
pub(super) fn size(networks: &Networks) -> String {
    match networks.len() {
        1 => "1 network".to_owned(),
        number => format!("{number} networks"),
    }
}
