// SPDX-License-Identifier: Apache-2.0
//! A YAML value and each of its parts, with the place of each.

use crate::model::Location;

/// One value and where it was written.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub at: Location,
}

/// What YAML can say, as far as it is accepted here.
#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    /// A number as it was written: `0644` is kept, for what it means depends on who reads it.
    Number(String),
    String(String),
    List(Vec<Node>),
    /// In the order of the file; no key occurs twice.
    Map(Vec<Entry>),
}

/// A key of a map with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_at: Location,
    pub value: Node,
}

impl Node {
    /// Returns the value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// Whether both say the same, wherever it was written. The order of a map's keys says nothing.
    pub fn says_the_same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(one), Value::Bool(two)) => one == two,
            (Value::Number(one), Value::Number(two)) | (Value::String(one), Value::String(two)) => one == two,
            (Value::List(one), Value::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.says_the_same(two))
            }
            (Value::Map(one), Value::Map(two)) => {
                one.len() == two.len()
                    && one
                        .iter()
                        .all(|entry| other.get(&entry.key).is_some_and(|value| entry.value.says_the_same(value)))
            }
            _ => false,
        }
    }
}

impl Entry {
    /// Returns where people look for the entry: the value if it begins on the key's line, else the key.
    pub fn at(&self) -> &Location {
        if self.value.at.line == self.key_at.line { &self.value.at } else { &self.key_at }
    }
}
