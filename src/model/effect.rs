// SPDX-License-Identifier: Apache-2.0
//! What a commit means for a host, as far as rights go by it.

use std::collections::BTreeMap;

use super::{Digest, ObjectId};

/// The desired state of one host, reduced to what tells one state from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    /// The host's labels, by which rules choose hosts.
    pub labels: BTreeMap<String, String>,
    /// Every declared object, with a digest of all that is asked of it.
    pub objects: BTreeMap<ObjectId, Digest>,
}
