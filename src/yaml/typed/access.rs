// SPDX-License-Identifier: Apache-2.0
//! The parts of lists, maps and enums as serde asks for them; each failure on the way learns where it happened.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::model::Location;
use crate::yaml::{Entry, Node};

use super::failure::{Failure, What};

pub(super) struct Items<'de> {
    items: &'de [Node],
    next: usize,
}

impl<'de> Items<'de> {
    pub(super) fn new(items: &'de [Node]) -> Self {
        Self { items, next: 0 }
    }
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(item) = self.items.get(self.next) else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        seed.deserialize(item).map(Some).map_err(|failure| failure.in_item(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len().saturating_sub(self.next))
    }
}

pub(super) struct Pairs<'de> {
    entries: &'de [Entry],
    next: usize,
}

impl<'de> Pairs<'de> {
    pub(super) fn new(entries: &'de [Entry]) -> Self {
        Self { entries, next: 0 }
    }
}

impl<'de> MapAccess<'de> for Pairs<'de> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
        seed.deserialize(Key(entry)).map(Some).map_err(|failure| failure.at(&entry.key_at).below(self.next))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let index = self.next;
        self.next += 1;
        match self.entries.get(index) {
            Some(entry) => seed.deserialize(&entry.value).map_err(|failure| failure.in_entry(index, &entry.key)),
            None => Err(serde::de::Error::custom("a value was asked for where no key is")),
        }
    }
}

struct Key<'de>(&'de Entry);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_borrowed_str(&self.0.key)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_enum(TextVariant { text: &self.0.key, at: &self.0.key_at })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

/// A variant that is written as text alone: `locked`.
pub(super) struct TextVariant<'de> {
    pub(super) text: &'de str,
    pub(super) at: &'de Location,
}

impl<'de> EnumAccess<'de> for TextVariant<'de> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let name: StrDeserializer<'_, Failure> = self.text.into_deserializer();
        Ok((seed.deserialize(name).map_err(|failure| failure.at(self.at))?, self))
    }
}

impl TextVariant<'_> {
    /// Only a known name of a variant gets here, so it may be shown.
    fn needs_value(&self) -> Failure {
        Failure::new(What::Message(format!("\"{}\" needs a value", self.text)), self.at)
            .hint(format!("write {{{}: ...}}", self.text))
    }
}

impl<'de> VariantAccess<'de> for TextVariant<'de> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Failure> {
        Err(self.needs_value())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Failure> {
        Err(self.needs_value())
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Failure> {
        Err(self.needs_value())
    }
}

/// A variant that is written as a map of one key: `{hash: ...}`.
pub(super) struct Variant<'de> {
    pub(super) entry: &'de Entry,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let name = seed.deserialize(Key(self.entry)).map_err(|failure| failure.at(&self.entry.key_at).below(0))?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        let Entry { key, key_at, .. } = self.entry;
        Err(Failure::new(What::Message(format!("\"{key}\" takes no value")), key_at).hint(format!("write {key} alone")))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(&self.entry.value).map_err(|failure| failure.in_entry(0, &self.entry.key))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failure> {
        self.entry.value.deserialize_tuple(len, visitor).map_err(|failure| failure.in_entry(0, &self.entry.key))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        self.entry.value.deserialize_map(visitor).map_err(|failure| failure.in_entry(0, &self.entry.key))
    }
}
