// SPDX-License-Identifier: Apache-2.0
//! Keys that count no more, and commits that never shall: in the policy, and in a file of the host's own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::Deserialize;

use crate::model::git::Oid;
use crate::model::{Digest, Fault, Faults, Location};
use crate::yaml;

use super::key_name::KeyName;
use super::policy::spec::{CommitId, Format, Time};

/// A list of revocations, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    pub(super) keys: BTreeMap<KeyName, Revoked>,
    /// Commits that never count, by the SHA-256 of what was signed: an ECDSA signature has a twin, and with it a commit
    /// has two ids, but both sign the same.
    pub(super) commits: BTreeSet<Digest>,
}

/// How a key was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Revoked {
    /// Whatever it ever signed does not count, but for these commits.
    Hard { except: BTreeSet<Oid> },
    /// What it signed from that time on does not count.
    Since(SystemTime),
}

/// The host's own file of revocations (`trust.revocations` of the configuration).
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevocationFile {
    /// The version of this file's format: 1.
    #[expect(dead_code, reason = "that it reads is all that it must do")]
    format: Format,
    /// Keys and commits that this host distrusts, whatever the repo says.
    revoked: Vec<Revocation>,
}

/// One revocation: of a key, or of a commit.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The key: openpgp:FINGERPRINT or ssh:SHA256:FINGERPRINT.
    key: Option<KeyName>,
    /// Signatures from this time on do not count. Without it none does, whenever it was made.
    since: Option<Time>,
    /// Commits that count all the same, by their whole ids.
    #[serde(default)]
    except: Vec<CommitId>,
    /// A commit that never counts, by the digest that `hostwrit trust log` prints for it: sha256: and 64 digits.
    #[schemars(with = "Option<String>")]
    commit: Option<Digest>,
}

impl Revocations {
    /// Reads the host's own file.
    ///
    /// # Errors
    /// Every fault of the text.
    pub fn parse(file: &str, text: &[u8]) -> Result<Self, Faults> {
        Self::of(file, yaml::read::<RevocationFile>(file, text)?.revoked)
    }

    /// Puts a list in order.
    pub(super) fn of(file: &str, list: Vec<Revocation>) -> Result<Self, Faults> {
        let mut revocations = Self::default();
        let mut faults = Faults::default();
        let mut fault = |message: String, hint: &str| faults.push(Fault::new(Location::file(file), message).hint(hint));
        for Revocation { key, since, except, commit } in list {
            match (key, commit) {
                (Some(key), None) if since.is_some() && !except.is_empty() => fault(
                    format!("the revocation of {key} has both since and except"),
                    "with since, what was signed before counts anyway",
                ),
                (Some(key), None) => {
                    let how = match since {
                        Some(Time(since)) => Revoked::Since(since),
                        None => Revoked::Hard { except: except.into_iter().map(|CommitId(id)| id).collect() },
                    };
                    if revocations.keys.insert(key.clone(), how).is_some() {
                        fault(format!("{key} is revoked twice"), "list it once");
                    }
                }
                (None, Some(commit)) if since.is_none() && except.is_empty() => {
                    revocations.commits.insert(commit);
                }
                _ => fault(
                    "a revocation is of one key or of one commit".to_owned(),
                    "write {key: …}, {key: …, since: …}, {key: …, except: […]} or {commit: …}",
                ),
            }
        }
        faults.or(revocations)
    }

    /// Returns what was revoked here and is not in `later`, or less so: a revocation is never un-made.
    pub(super) fn lost_in(&self, later: &Self) -> Option<String> {
        let weaker = |before: &Revoked, after: Option<&Revoked>| match (before, after) {
            (_, None) | (Revoked::Hard { .. }, Some(Revoked::Since(_))) => true,
            (Revoked::Since(before), Some(Revoked::Since(after))) => after > before,
            (_, Some(Revoked::Hard { .. })) => false,
        };
        let key = self.keys.iter().find(|(key, how)| weaker(how, later.keys.get(key)));
        let commit = || self.commits.difference(&later.commits).next();
        key.map(|(key, _)| key.to_string()).or_else(|| commit().map(Digest::to_string))
    }

    /// Returns whether a commit, signed by one of `keys` (a key and the certificate that it is part of), never counts.
    pub(super) fn is_hard(&self, keys: &[&KeyName], commit: &Oid) -> bool {
        keys.iter().any(|key| match self.keys.get(key) {
            Some(Revoked::Hard { except }) => !except.contains(commit),
            _ => false,
        })
    }

    /// Returns from when on signatures by one of `keys` do not count.
    pub(super) fn since(&self, keys: &[&KeyName]) -> Option<SystemTime> {
        let since = keys.iter().filter_map(|key| match self.keys.get(key) {
            Some(Revoked::Since(since)) => Some(*since),
            _ => None,
        });
        since.min()
    }

    /// Returns whether anything is revoked that counts against commits of the past.
    pub(super) fn reach_back(&self) -> bool {
        !self.commits.is_empty() || self.keys.values().any(|how| matches!(how, Revoked::Hard { .. }))
    }

    /// Adds what another list revokes; of two words about one key, the harder counts.
    pub(super) fn add(&mut self, other: &Self) {
        self.commits.extend(other.commits.iter().copied());
        for (key, how) in &other.keys {
            match (self.keys.get_mut(key), how) {
                (None, _) => drop(self.keys.insert(key.clone(), how.clone())),
                // An exception must be made in both lists to be one.
                (Some(Revoked::Hard { except }), Revoked::Hard { except: others }) => {
                    except.retain(|commit| others.contains(commit));
                }
                (Some(Revoked::Hard { .. }), Revoked::Since(_)) => {}
                (Some(own), Revoked::Hard { .. }) => *own = how.clone(),
                (Some(Revoked::Since(own)), Revoked::Since(other)) => *own = (*own).min(*other),
            }
        }
    }
}
