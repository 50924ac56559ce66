// SPDX-License-Identifier: Apache-2.0
//! YAML text to values that know their place. The only module that knows the YAML library.
//!
//! A file is read in two moves: [`parse`] makes a tree of [`Node`]s, each with line and column, and refuses what hides
//! meaning (duplicate keys, tags, merge keys, several documents); [`from_node`] makes a typed value of a node and
//! reports every fault of it in one run.

mod node;
mod parse;
#[cfg(test)]
mod tests;
mod typed;

use serde::de::DeserializeOwned;

use crate::model::Faults;

pub use node::{Entry, Node, Value};
pub use parse::parse;
pub use typed::{from_node, part_of_node};

/// Reads one document of type `T` from a file.
///
/// # Errors
/// Every fault of the file, each with line and column.
pub fn read<T: DeserializeOwned>(file: &str, text: &[u8]) -> Result<T, Faults> {
    from_node(&parse(file, text)?)
}
