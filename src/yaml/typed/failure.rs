// SPDX-License-Identifier: Apache-2.0
//! What stopped serde, where, and which entry to leave out in order to go on.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use crate::model::{Fault, Location, fault};

/// One error of serde. Boxed, for it travels in every `Result`.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    what: What,
    at: Option<Location>,
    /// The key of the value at fault, as soon as it is known.
    key: Option<String>,
    /// The value is an item of the key's list.
    is_item: bool,
    /// Indices of entries and items, innermost first.
    way: Vec<usize>,
}

#[derive(Debug)]
pub(super) enum What {
    Type { wanted: String, found: String, hint: Option<String> },
    Missing(&'static str),
    Unknown { key: String, known: &'static [&'static str] },
    Variant { hint: Option<String>, known: &'static [&'static str] },
    Message(String),
    MessageWithHint(String, String),
}

impl Failure {
    pub(super) fn new(what: What, at: &Location) -> Self {
        Self::of(what).at(at)
    }

    fn of(what: What) -> Self {
        Self(Box::new(Inner { what, at: None, key: None, is_item: false, way: Vec::new() }))
    }

    pub(super) fn hint(mut self, text: impl Into<String>) -> Self {
        match &mut self.0.what {
            What::Type { hint, .. } => *hint = Some(text.into()),
            What::Message(message) => {
                self.0.what = What::MessageWithHint(std::mem::take(message), text.into());
            }
            _ => {}
        }
        self
    }

    /// Sets the place, unless a place further in is known.
    pub(super) fn at(mut self, at: &Location) -> Self {
        self.0.at.get_or_insert_with(|| at.clone());
        self
    }

    /// Notes that the failure lies below the entry or item `index`.
    pub(super) fn below(mut self, index: usize) -> Self {
        self.0.way.push(index);
        self
    }

    pub(super) fn in_item(mut self, index: usize) -> Self {
        self.0.is_item |= self.0.key.is_none();
        self.below(index)
    }

    pub(super) fn in_entry(mut self, index: usize, key: &str) -> Self {
        self.0.key.get_or_insert_with(|| key.to_owned());
        self.below(index)
    }

    /// Returns the indices that lead to the failure, outermost first.
    pub(super) fn path(&self) -> Vec<usize> {
        self.0.way.iter().rev().copied().collect()
    }

    /// Whether it failed only because `key` was left out of the map at `map`: the field is missed, or what is left of
    /// the map is of no type.
    pub(super) fn follows_from(&self, map: &Location, key: &str) -> bool {
        self.0.at.as_ref() == Some(map)
            && match &self.0.what {
                What::Missing(name) => *name == key,
                What::Type { .. } => true,
                _ => false,
            }
    }

    /// Says it in words. `taken` are keys of the outermost map that are known beside those of its type.
    pub(super) fn fault(&self, outermost: &Location, taken: &[&str]) -> Fault {
        let at = self.0.at.clone().unwrap_or_else(|| outermost.clone());
        let subject = match &self.0.key {
            Some(key) if self.0.is_item => format!("each item of \"{key}\""),
            Some(key) => format!("\"{key}\""),
            None => "the file".to_owned(),
        };
        match &self.0.what {
            What::Type { wanted, found, hint } => {
                // A file as a whole has no key to leave out.
                let hint = hint.clone().filter(|_| self.0.key.is_some());
                Fault { at, message: format!("{subject} must be {wanted}, but is {found}"), hint }
            }
            What::Missing(name) => Fault::new(at, format!("\"{name}\" is missing")),
            What::Unknown { key, known } => {
                let fault = Fault::new(at, format!("unknown key \"{key}\""));
                let taken = if self.0.way.len() == 1 { taken } else { &[] };
                let known: Vec<&str> = known.iter().chain(taken).copied().collect();
                match fault::closest(key, known.iter().copied()) {
                    Some(name) => fault.hint(format!("did you mean \"{name}\"?")),
                    None if known.is_empty() => fault.hint("no key is known here"),
                    None => fault.hint(format!("known keys are {}", known.join(", "))),
                }
            }
            What::Variant { hint, known } => {
                Fault { at, message: format!("{subject} must be {}", one_of(known)), hint: hint.clone() }
            }
            What::Message(message) => Fault::new(at, message.clone()),
            What::MessageWithHint(message, hint) => Fault::new(at, message.clone()).hint(hint.clone()),
        }
    }
}

/// Lists what would be right.
pub(super) fn one_of(known: &[&str]) -> String {
    match known {
        [] => "something else".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn found(unexpected: &Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => "text".to_owned(),
        Unexpected::Unit | Unexpected::Option => "empty".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

impl Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of(What::Message(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(What::Type { wanted: expected.to_string(), found: found(&unexpected), hint: None })
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::of(What::Type { wanted: expected.to_string(), found: format!("of {length} items"), hint: None })
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        let hint = fault::closest(variant, known.iter().copied()).map(|name| format!("did you mean \"{name}\"?"));
        Self::of(What::Variant { hint, known })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::of(What::Unknown { key: key.to_owned(), known })
    }

    fn missing_field(name: &'static str) -> Self {
        Self::of(What::Missing(name))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault(&Location::file(""), &[]).message)
    }
}

impl std::error::Error for Failure {}
