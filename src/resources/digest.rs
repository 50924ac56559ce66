// SPDX-License-Identifier: Apache-2.0
//! All that is asked of an object, as one digest: rights go by whether it changed.
//!
//! Not through `Hash` or `Serialize`: a path's `Hash` takes `a//b` for `a/b`, and a secret has no `Serialize`. Values are
//! written one after the other so that no two write the same bytes: numbers in full width, everything else with its
//! length or variant before it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use openssl::sha::Sha256;

use crate::model::{Declared, Digest, Mode, ObjectId, Secret};

#[cfg(test)]
mod tests;

/// Can be told from every other value of its type by a digest.
///
/// Structs get it from [`digest_every_field`]; an implementation by hand takes its value apart without `..`, so that a
/// new field or variant does not compile until it counts.
pub trait Digestible {
    fn add_to(&self, sum: &mut Sum);
}

/// A digest in the making.
pub struct Sum(Sha256);

impl Sum {
    /// Adds bytes, with their length before them.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.update(bytes);
    }

    /// Adds which variant of an enum a value is; its fields follow.
    pub fn variant(&mut self, number: u8) {
        self.0.update(&[number]);
    }

    fn length(&mut self, length: usize) {
        u64::try_from(length).unwrap_or(u64::MAX).add_to(self);
    }
}

/// Makes a struct digestible, field by field. Every field must be named, or it does not compile.
macro_rules! digest_every_field {
    ($struct:path { $($field:ident),+ $(,)? }) => {
        impl $crate::resources::digest::Digestible for $struct {
            fn add_to(&self, sum: &mut $crate::resources::digest::Sum) {
                let Self { $($field),+ } = self;
                $($crate::resources::digest::Digestible::add_to($field, sum);)+
            }
        }
    };
}
pub(super) use digest_every_field;

/// Returns the digest of all that is asked of the object; where it is asked does not count.
pub fn of_declared<D: Digestible>(kind: &str, declared: &Declared<D>) -> Digest {
    let Declared { name, mode, want, origin: _ } = declared;
    let mut sum = Sum(Sha256::new());
    sum.bytes(kind.as_bytes());
    name.add_to(&mut sum);
    mode.add_to(&mut sum);
    want.add_to(&mut sum);
    Digest::from_bytes(sum.0.finish())
}

impl Digestible for Mode {
    fn add_to(&self, sum: &mut Sum) {
        sum.variant(match self {
            Self::Enforce => 0,
            Self::Observe => 1,
        });
    }
}

impl Digestible for ObjectId {
    fn add_to(&self, sum: &mut Sum) {
        sum.bytes(self.kind().as_bytes());
        sum.bytes(self.name().as_bytes());
    }
}

impl Digestible for Secret {
    fn add_to(&self, sum: &mut Sum) {
        sum.bytes(self.expose().as_bytes());
    }
}

impl Digestible for str {
    fn add_to(&self, sum: &mut Sum) {
        sum.bytes(self.as_bytes());
    }
}

impl Digestible for String {
    fn add_to(&self, sum: &mut Sum) {
        self.as_str().add_to(sum);
    }
}

impl Digestible for PathBuf {
    fn add_to(&self, sum: &mut Sum) {
        sum.bytes(self.as_os_str().as_bytes());
    }
}

impl Digestible for bool {
    fn add_to(&self, sum: &mut Sum) {
        sum.variant(u8::from(*self));
    }
}

impl Digestible for u32 {
    fn add_to(&self, sum: &mut Sum) {
        sum.0.update(&self.to_be_bytes());
    }
}

impl Digestible for Duration {
    fn add_to(&self, sum: &mut Sum) {
        self.as_secs().add_to(sum);
        self.subsec_nanos().add_to(sum);
    }
}

impl Digestible for u64 {
    fn add_to(&self, sum: &mut Sum) {
        sum.0.update(&self.to_be_bytes());
    }
}

impl Digestible for i64 {
    fn add_to(&self, sum: &mut Sum) {
        sum.0.update(&self.to_be_bytes());
    }
}

impl<T: Digestible> Digestible for Option<T> {
    fn add_to(&self, sum: &mut Sum) {
        match self {
            None => sum.variant(0),
            Some(value) => {
                sum.variant(1);
                value.add_to(sum);
            }
        }
    }
}

impl<T: Digestible> Digestible for Vec<T> {
    fn add_to(&self, sum: &mut Sum) {
        sum.length(self.len());
        self.iter().for_each(|value| value.add_to(sum));
    }
}

impl<T: Digestible> Digestible for BTreeSet<T> {
    fn add_to(&self, sum: &mut Sum) {
        sum.length(self.len());
        self.iter().for_each(|value| value.add_to(sum));
    }
}

impl<K: Digestible, V: Digestible> Digestible for BTreeMap<K, V> {
    fn add_to(&self, sum: &mut Sum) {
        sum.length(self.len());
        for (key, value) in self {
            key.add_to(sum);
            value.add_to(sum);
        }
    }
}
