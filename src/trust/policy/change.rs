// SPDX-License-Identifier: Apache-2.0
//! What one policy changes in another, as objects that rules can name.

use std::collections::BTreeMap;

use crate::model::ObjectId;

use super::{Policy, PublicKey};
use crate::trust::key_name::KeyName;

/// The kind of a key that a principal gets.
pub(in crate::trust) const ADD_KEY: &str = "policy.add_key";
/// The kind of a key that a principal loses.
pub(in crate::trust) const REMOVE_KEY: &str = "policy.remove_key";
/// The kind of a certificate about which its owner says more: a later expiry, a new subkey, a revocation.
pub(in crate::trust) const RENEW_KEY: &str = "policy.renew_key";

/// The name of the list of what is protected.
pub(super) const PROTECT: &str = "protect";

/// Returns the objects of the policy that differ.
pub(in crate::trust) fn changes(before: &Policy, after: &Policy) -> Vec<ObjectId> {
    let mut changed = Vec::new();
    for (section, differs) in [
        ("trailers", before.trailers_required != after.trailers_required),
        ("roles", before.roles != after.roles),
        (PROTECT, before.protect != after.protect),
        ("rules", before.rules_without_members() != after.rules_without_members()),
        ("revoked", before.revoked != after.revoked),
        ("freshness", before.freshness != after.freshness),
    ] {
        if differs {
            changed.push(ObjectId::new("policy", section));
        }
    }
    let (old, new) = (keys(before), keys(after));
    for (name, key) in &new {
        let kinds: &[&'static str] = match old.get(name) {
            None => &[ADD_KEY],
            Some(before) if before == key => &[],
            // It is another one then.
            Some(before) if before.is_taken_back_by(key) => &[ADD_KEY, REMOVE_KEY],
            Some(_) => &[RENEW_KEY],
        };
        changed.extend(kinds.iter().map(|kind| ObjectId::new(kind, name.0)));
    }
    changed.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| ObjectId::new(REMOVE_KEY, name.0)));
    // Principals without a key cannot be, so each that comes or goes is seen by its keys.
    changed.sort();
    changed.dedup();
    changed
}

/// Whether the changed part of the policy takes something out of the list of what is protected: that takes as many signers as
/// the removal itself.
pub(in crate::trust) fn unprotects(object: &ObjectId, before: &Policy, after: &Policy) -> bool {
    *object == ObjectId::new("policy", PROTECT) && before.protect.iter().any(|pattern| !after.protect.contains(pattern))
}

/// Returns every key by the principal and its name.
fn keys(policy: &Policy) -> BTreeMap<(&str, KeyName), &PublicKey> {
    let keys = policy.principals.iter();
    keys.flat_map(|(name, keys)| keys.iter().map(move |key| ((name.as_str(), key.name().clone()), key))).collect()
}
