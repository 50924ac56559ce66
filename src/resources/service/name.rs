// SPDX-License-Identifier: Apache-2.0
//! Names of units, as systemd.unit(5) allows them.

use std::fmt;

use crate::resources::digest::{Digestible, Sum};

/// The types that a repo may declare.
const SUFFIXES: [&str; 9] =
    [".service", ".socket", ".timer", ".mount", ".automount", ".swap", ".path", ".target", ".slice"];
/// The types that have no unit file, for systemd makes their units from hardware and calls.
const MADE_BY_SYSTEM: [&str; 2] = [".device", ".scope"];
/// systemd's `UNIT_NAME_MAX`.
const MAX: usize = 255;

/// The full name of a unit, with its suffix: `nginx.service`, `backup@home.timer`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitName(String);

impl UnitName {
    /// Returns the full name of the unit that the repo calls `name`: without a suffix, that of a service.
    ///
    /// # Errors
    /// What is wrong with the name, and what would be right.
    pub fn parse(name: &str) -> Result<Self, (String, String)> {
        let wrong = |what: &str, hint: String| Err((format!("\"{name}\" is not a name for a service: {what}"), hint));
        if let Some(stem) = name.strip_suffix(".service") {
            // One object, one name; else the same unit could be declared twice.
            return wrong("the suffix .service is understood", format!("write {stem}"));
        }
        if let Some(suffix) = MADE_BY_SYSTEM.iter().find(|&&suffix| name.ends_with(suffix)) {
            return wrong(&format!("the system itself makes units of type {suffix}"), declarable());
        }
        let full = if SUFFIXES.iter().any(|&suffix| name.ends_with(suffix)) {
            name.to_owned()
        } else {
            format!("{name}.service")
        };
        let stem = full.rsplit_once('.').map_or("", |(stem, _)| stem);
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if let Some(bad) = name.chars().find(|&c| !is_allowed(c)) {
            return wrong(
                &format!("it holds {bad:?}"),
                "allowed are ASCII letters, digits and : - _ . \\ @; systemd-escape(1) writes other names so"
                    .to_owned(),
            );
        }
        if stem.is_empty() || stem.starts_with('@') {
            return wrong("nothing stands before its suffix", "write a name such as nginx or backup.timer".to_owned());
        }
        if full.len() > MAX {
            return wrong(&format!("it is longer than {MAX} characters"), "choose a shorter name".to_owned());
        }
        Ok(Self(full))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a template, of which only instances can run: `backup@.service`.
    pub fn is_template(&self) -> bool {
        self.0.contains("@.")
    }

    /// Returns where the administrator's unit file is.
    pub fn file(&self) -> String {
        format!("/etc/systemd/system/{self}")
    }

    /// Returns where the administrator's drop-ins are.
    pub fn drop_in_dir(&self) -> String {
        format!("/etc/systemd/system/{self}.d")
    }

    /// Returns where the drop-in that the repo calls `name` is.
    pub fn drop_in(&self, name: &str) -> String {
        format!("{}/{name}.conf", self.drop_in_dir())
    }
}

impl Digestible for UnitName {
    fn add_to(&self, sum: &mut Sum) {
        let Self(name) = self;
        name.add_to(sum);
    }
}

fn declarable() -> String {
    format!("a repo declares units of type {}", SUFFIXES.join(", "))
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
