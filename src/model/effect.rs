// SPDX-License-Identifier: Apache-2.0
//! What a commit means for a host, as far as rights go by it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Digest, ObjectId};

/// The desired state of one host, reduced to what tells one state from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    /// The host's labels, by which rules choose hosts.
    pub labels: BTreeMap<String, String>,
    /// Every declared object, with a digest of all that is asked of it.
    pub objects: BTreeMap<ObjectId, Digest>,
    /// Those of the declared objects that shall not be there; the digests tell them apart already.
    pub absent: BTreeSet<ObjectId>,
}

impl HostState {
    /// Returns a digest that no other state has.
    pub fn digest(&self) -> Digest {
        let mut text = String::new();
        // With its length before it, no text can be taken for two.
        let mut add = |part: &str| text.extend([&part.len().to_string(), ":", part]);
        add(&self.labels.len().to_string());
        self.labels.iter().for_each(|(key, value)| {
            add(key);
            add(value);
        });
        self.objects.iter().for_each(|(object, digest)| {
            add(&object.to_string());
            add(&digest.to_string());
        });
        Digest::of(text.as_bytes())
    }
}
