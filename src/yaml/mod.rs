// SPDX-License-Identifier: Apache-2.0
//! YAML text to values that know their place. The only module that knows the YAML library.

use serde::de::DeserializeOwned;

use crate::model::{Fault, Faults, Location};

/// Reads one document of type `T` from a file.
///
/// # Errors
/// Every fault of the file, each with line and column.
pub fn read<T: DeserializeOwned>(file: &str, text: &[u8]) -> Result<T, Faults> {
    serde_yaml::from_slice(text).map_err(|error| Fault::new(Location::file(file), error.to_string()).into())
}
