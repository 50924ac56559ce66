// SPDX-License-Identifier: Apache-2.0
//! `from` and `to`: networks, or the words by which the infra repo knows them.

use std::fmt;

use crate::model::{Fault, Faults, Origin};
use crate::resources::Contents;

use super::{Network, Networks};

/// Addresses that the infra repo knows by a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A zone of `hostwrit.yaml`.
    Zone(String),
    /// Another host, by its name.
    Host(String),
    /// All hosts with this label.
    Label { key: String, value: String },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(name) => f.write_str(name),
            Self::Host(name) => write!(f, "host:{name}"),
            Self::Label { key, value } => write!(f, "label:{key}={value}"),
        }
    }
}

/// What is wrong with the name of a zone, if anything. A zone must not look like an address or another word.
pub fn fault_of_zone_name(name: &str) -> Option<&'static str> {
    let is_name_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        Some("it does not begin with a lower-case letter")
    } else if !name.bytes().all(is_name_byte) {
        Some("it holds something else than lower-case letters, digits and hyphens")
    } else if name.len() > 63 {
        Some("it is longer than 63 characters")
    } else {
        None
    }
}

/// Resolves a list of places; an empty list gives no networks, which stands for all addresses.
///
/// What is written never becomes nothing: a word behind which there is no address is a fault, or a port for nobody would be
/// one for everybody.
pub fn resolve(
    field: &str,
    places: &[String],
    origin: &Origin,
    contents: &dyn Contents,
    faults: &mut Faults,
) -> Networks {
    let mut all = Vec::new();
    for text in places {
        match networks(text, contents) {
            Ok(networks) => all.extend(networks),
            Err((what, hint)) => {
                let fault = Fault::new(origin.of(field).clone(), what);
                faults.push(if hint.is_empty() { fault } else { fault.hint(hint) });
            }
        }
    }
    all.into_iter().collect()
}

fn networks(text: &str, contents: &dyn Contents) -> Result<Vec<Network>, (String, String)> {
    let place = match text.split_once(':') {
        Some(("host", name)) => Place::Host(name.to_owned()),
        Some(("label", label)) => match label.split_once('=') {
            Some((key, value)) if !key.is_empty() => Place::Label { key: key.to_owned(), value: value.to_owned() },
            _ => return Err((format!("\"{text}\" is no label"), "write label:KEY=VALUE".to_owned())),
        },
        _ if fault_of_zone_name(text).is_none() && text.parse::<Network>().is_err() => Place::Zone(text.to_owned()),
        _ => return text.parse().map(|network| vec![network]),
    };
    let found = contents.addresses(&place).map_err(|what| (what, String::new()))?;
    if found.is_empty() {
        return Err((format!("there is no address behind {place}"), "leave it out, or give it one".to_owned()));
    }
    Ok(found)
}
