// SPDX-License-Identifier: Apache-2.0
//! Nodes to typed values, through serde.
//!
//! Serde stops at the first error. To report all of them, the entry at fault is recorded and left out, and the rest is
//! tried again. Texts of values never go into a fault: they may be secret.

mod access;
mod failure;

use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::model::{Faults, Location};

use super::{Node, Value};
use access::{Items, Pairs, TextVariant, Variant};
use failure::{Failure, What};

/// How many faults of one value are collected before the rest is left for the next run.
const MAX_FAULTS: usize = 100;

/// Makes a typed value of a node.
///
/// # Errors
/// Every fault of the value, each with line and column.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Faults> {
    match part_of_node(node, &[]) {
        (Some(value), faults) => faults.or(value),
        (None, faults) => Err(faults),
    }
}

/// Makes a typed value of a node from which the caller has already taken the keys in `taken`: they are known too.
///
/// Returns as well every fault, each with line and column. If there are any, the value is what is left without the faulty
/// parts: good for finding further faults, and for nothing else.
pub fn part_of_node<T: DeserializeOwned>(node: &Node, taken: &[&str]) -> (Option<T>, Faults) {
    let mut faults = Faults::default();
    let mut failure = match T::deserialize(node) {
        Ok(value) => return (Some(value), faults),
        Err(failure) => failure,
    };
    let mut rest = node.clone();
    let mut left_out: Vec<(Location, String)> = Vec::new();
    loop {
        if !left_out.iter().any(|(map, key)| failure.follows_from(map, key)) {
            faults.push(failure.fault(&node.at, taken));
        }
        let Some(entry) = leave_out(&mut rest, &failure.path()) else { return (None, faults) };
        left_out.extend(entry);
        if faults.len() >= MAX_FAULTS {
            return (None, faults);
        }
        match T::deserialize(&rest) {
            Ok(value) => return (Some(value), faults),
            Err(next) => failure = next,
        }
    }
}

/// Removes the entry or item that the path leads to; the nearest entry of a map, if there is one. Returns the map's
/// place and the key; `None` if nothing is left to remove.
fn leave_out(root: &mut Node, path: &[usize]) -> Option<Option<(Location, String)>> {
    let mut lengths = Vec::new();
    let mut node = &*root;
    for (depth, index) in path.iter().enumerate() {
        node = match &node.value {
            Value::Map(entries) => {
                lengths.push(depth + 1);
                &entries.get(*index)?.value
            }
            Value::List(items) => items.get(*index)?,
            _ => return None,
        };
    }
    let length = lengths.last().copied().unwrap_or(path.len().min(1));
    let (last, ways) = path.get(..length)?.split_last()?;
    let mut node = root;
    for index in ways {
        node = match &mut node.value {
            Value::Map(entries) => &mut entries.get_mut(*index)?.value,
            Value::List(items) => items.get_mut(*index)?,
            _ => return None,
        };
    }
    let at = node.at.clone();
    match &mut node.value {
        Value::Map(entries) if *last < entries.len() => Some(Some((at, entries.remove(*last).key))),
        Value::List(items) if *last < items.len() => {
            items.remove(*last);
            Some(None)
        }
        _ => None,
    }
}

/// Reads a whole number: decimal, `0x` or `0o`. One with leading zeros is none, for readers differ on what it means.
fn whole(text: &str) -> Option<i128> {
    if let Some(hex) = text.strip_prefix("0x") {
        return i128::from_str_radix(hex, 16).ok();
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return i128::from_str_radix(octal, 8).ok();
    }
    if has_leading_zero(text) { None } else { text.parse().ok() }
}

fn has_leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn float(text: &str) -> Option<f64> {
    if has_leading_zero(text) {
        return None;
    }
    whole(text).map(|number| number as f64).or_else(|| text.parse().ok()).filter(|number: &f64| number.is_finite())
}

impl Node {
    fn wants(&self, wanted: impl Into<String>) -> Failure {
        let hint = match &self.value {
            Value::Null => Some("give it a value, or leave the key out".to_owned()),
            _ => None,
        };
        Failure::new(What::Type { wanted: wanted.into(), found: self.found(), hint }, &self.at)
    }

    fn found(&self) -> String {
        match &self.value {
            Value::Null => "empty".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(text) => format!("the number {text}"),
            Value::String(_) => "text".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    fn wants_whole(&self, min: i128, max: i128) -> Failure {
        let failure = self.wants(format!("a whole number from {min} to {max}"));
        match &self.value {
            Value::Number(text) if has_leading_zero(text) => failure.hint("write it without the leading zero"),
            Value::String(text) if whole(text).is_some() => failure.hint("write it without the quotes"),
            _ => failure,
        }
    }

    fn whole<N: TryFrom<i128>>(&self, min: i128, max: i128) -> Result<N, Failure> {
        match &self.value {
            Value::Number(text) => {
                whole(text).and_then(|number| N::try_from(number).ok()).ok_or_else(|| self.wants_whole(min, max))
            }
            _ => Err(self.wants_whole(min, max)),
        }
    }

    fn text(&self) -> Result<&str, Failure> {
        match &self.value {
            Value::String(text) => Ok(text),
            Value::Number(text) => Err(self.wants("text").hint(format!("put it in quotes: \"{text}\""))),
            Value::Bool(value) => Err(self.wants("text").hint(format!("put it in quotes: \"{value}\""))),
            _ => Err(self.wants("text")),
        }
    }
}

macro_rules! whole_numbers {
    ($($method:ident: $number:ident => $visit:ident,)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            let number = self.whole::<$number>($number::MIN as i128, $number::MAX as i128)?;
            visitor.$visit(number).map_err(|failure: Failure| failure.at(&self.at))
        })+
    };
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let result = match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(text) => match whole(text) {
                Some(number) => match (u64::try_from(number), i64::try_from(number)) {
                    (Ok(number), _) => visitor.visit_u64(number),
                    (_, Ok(number)) => visitor.visit_i64(number),
                    _ => return Err(self.wants_whole(i64::MIN.into(), u64::MAX.into())),
                },
                None => match float(text) {
                    Some(number) => visitor.visit_f64(number),
                    None => {
                        let failure = self.wants("a number without a leading zero, or text");
                        return Err(failure.hint(format!("put it in quotes: \"{text}\"")));
                    }
                },
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items::new(items)),
            Value::Map(entries) => visitor.visit_map(Pairs::new(entries)),
        };
        result.map_err(|failure| failure.at(&self.at))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.value {
            Value::Bool(value) => visitor.visit_bool(*value).map_err(|failure: Failure| failure.at(&self.at)),
            Value::String(text) => Err(match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => self.wants("true or false").hint("write true"),
                "no" | "off" | "n" | "false" => self.wants("true or false").hint("write false"),
                _ => self.wants("true or false"),
            }),
            _ => Err(self.wants("true or false")),
        }
    }

    whole_numbers! {
        deserialize_i8: i8 => visit_i8,
        deserialize_i16: i16 => visit_i16,
        deserialize_i32: i32 => visit_i32,
        deserialize_i64: i64 => visit_i64,
        deserialize_u8: u8 => visit_u8,
        deserialize_u16: u16 => visit_u16,
        deserialize_u32: u32 => visit_u32,
        deserialize_u64: u64 => visit_u64,
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.value {
            Value::Number(text) => match float(text) {
                Some(number) => visitor.visit_f64(number).map_err(|failure: Failure| failure.at(&self.at)),
                None => Err(self.wants("a number")),
            },
            _ => Err(self.wants("a number")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_borrowed_str(self.text()?).map_err(|failure: Failure| failure.at(&self.at))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    /// A key without a value is a fault, not an unset field: `ssh_keys:` with its lines deleted must not come to mean
    /// "leave the keys alone".
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self).map_err(|failure| failure.at(&self.at))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            _ => Err(self.wants("empty")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self).map_err(|failure| failure.at(&self.at))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.value {
            Value::List(items) => visitor.visit_seq(Items::new(items)).map_err(|failure| failure.at(&self.at)),
            Value::Null => Err(self.wants("a list").hint("write [] for an empty list, or leave the key out")),
            Value::Map(_) => Err(self.wants("a list")),
            _ => Err(self.wants("a list").hint("write it in brackets: [...]")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.value {
            Value::Map(entries) => visitor.visit_map(Pairs::new(entries)).map_err(|failure| failure.at(&self.at)),
            Value::Null => Err(self.wants("a map").hint("write {} for an empty map, or leave the key out")),
            _ => Err(self.wants("a map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let result = match &self.value {
            Value::String(text) => visitor.visit_enum(TextVariant { text, at: &self.at }),
            Value::Map(entries) if entries.len() == 1 => visitor.visit_enum(Variant { entry: &entries[0] }),
            Value::Map(_) => return Err(self.wants(format!("a map with exactly one of {}", variants.join(", ")))),
            _ => return Err(self.wants(failure::one_of(variants))),
        };
        result.map_err(|failure| failure.at(&self.at))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit_struct tuple_struct identifier }
}

impl<'de> IntoDeserializer<'de, Failure> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
