// SPDX-License-Identifier: Apache-2.0
//! Orders: what the owners of a fleet tell one host past its repo, in a file signed by an offline key.
//!
//! An order moves the pin. It is for one host, one use and a few hours, and names the commit whole, so that whoever gets
//! hold of an old one has nothing. Whether it was used before is for whoever remembers to say.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::git::Oid;
use crate::yaml;

use super::key_name::KeyName;
use super::refusal::{Code, Refusal};
use super::signature::Ssh;

/// What `ssh-keygen -Y sign -n` is given, so that no other signature of the key is taken for an order.
pub const NAMESPACE: &str = "hostwrit-order@v1";

/// The longest time between `not_before` and `not_after`.
const LONGEST: Duration = Duration::from_secs(4 * 60 * 60);
/// The largest file that is looked at.
const MAX_BYTES: usize = 16 * 1024;
const MAX_REASON: usize = 1000;

/// What an order lifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The commit may be older than the pin or beside it. It must be proven from the root as any other.
    RePin,
    /// The commit counts because the order says so, whoever signed it.
    BreakGlass,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RePin => "re-pin",
            Self::BreakGlass => "break-glass",
        })
    }
}

/// An order that a key of this host's configuration signed, for this host and this time. Made only by [`Order::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    kind: Kind,
    commit: Oid,
    nonce: String,
    key: KeyName,
    not_after: SystemTime,
    reason: String,
}

/// The file as people write it.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderFile {
    /// What the order lifts.
    order: Kind,
    /// The fleet's id, as the host's configuration has it.
    fleet: String,
    /// The one host that it is for, by its name in the infra repo.
    host: String,
    /// The whole id of the commit that the pin moves to.
    commit: String,
    /// 8 to 64 letters, digits and hyphens that no other order for the host has.
    #[schemars(regex(pattern = r"^[A-Za-z0-9-]{8,64}$"))]
    nonce: String,
    /// When the order begins to count: RFC 3339, UTC.
    not_before: String,
    /// When it ends: 4 hours after that at the most.
    not_after: String,
    /// Why it is given; the audit log keeps it.
    reason: String,
}

impl Order {
    /// Reads an order and proves that it counts: one of `keys` signed just these bytes as an order, for this host, and
    /// `now` is in its time. Nothing of it is read before the signature is proven.
    ///
    /// # Errors
    /// The first thing that keeps the order from counting.
    pub fn verify(
        text: &[u8],
        signature: &[u8],
        keys: &[KeyName],
        fleet: &str,
        host: &str,
        now: SystemTime,
    ) -> Result<Self, Refusal> {
        let malformed = |why: String| Refusal::new(Code::OrderMalformed, why);
        if text.len() > MAX_BYTES {
            return Err(malformed(format!("it has {} bytes; {MAX_BYTES} are allowed", text.len())));
        }
        // What a signature lacks is said of commits elsewhere; here it comes to this one code.
        let unsigned = |refusal: Refusal| Refusal::new(Code::OrderSigner, refusal.detail());
        let signature = Ssh::parse(signature, NAMESPACE).map_err(unsigned)?;
        let key = signature.key().name().clone();
        if !keys.contains(&key) {
            let detail = format!("it is signed with {key}, which is not among trust.break_glass");
            return Err(Refusal::new(Code::OrderSigner, detail));
        }
        signature.verify(text).map_err(unsigned)?;

        let file: OrderFile =
            yaml::read("the order", text).map_err(|faults| malformed(format!("it has faults:\n{faults}")))?;
        for (what, theirs, ours) in [("fleet", &file.fleet, fleet), ("host", &file.host, host)] {
            if theirs != ours {
                let detail = format!("it is for the {what} \"{}\", this is \"{ours}\"", theirs.escape_debug());
                return Err(Refusal::new(Code::OrderElsewhere, detail));
            }
        }
        let lower = !file.commit.bytes().any(|byte| byte.is_ascii_uppercase());
        let commit = Oid::from_hex(file.commit.as_bytes()).ok().filter(|_| lower);
        let commit = commit.ok_or_else(|| malformed("commit: is not the whole id of a commit".to_owned()))?;
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        if !(8..=64).contains(&file.nonce.len()) || !file.nonce.bytes().all(plain) {
            return Err(malformed("nonce: is not 8 to 64 letters, digits and hyphens".to_owned()));
        }
        if file.reason.trim().is_empty() || file.reason.chars().count() > MAX_REASON {
            return Err(malformed(format!("reason: is empty, or longer than {MAX_REASON} characters")));
        }
        let time = |key: &str, text: &str| {
            humantime::parse_rfc3339(text)
                .map_err(|_| malformed(format!("{key}: is not a time in UTC such as 2026-11-22T18:00:00Z")))
        };
        let not_before = time("not_before", &file.not_before)?;
        let not_after = time("not_after", &file.not_after)?;
        let expired = |why: String| Err(Refusal::new(Code::OrderExpired, why));
        match not_after.duration_since(not_before) {
            Err(_) => return expired("it ends before it begins".to_owned()),
            Ok(length) if length > LONGEST => {
                return expired(format!("it is for {}; 4h are allowed", humantime::format_duration(length)));
            }
            Ok(_) => {}
        }
        if now < not_before {
            return expired(format!("its time begins at {}", file.not_before));
        }
        if now > not_after {
            return expired(format!("its time ended at {}", file.not_after));
        }
        Ok(Self { kind: file.order, commit, nonce: file.nonce, key, not_after, reason: file.reason })
    }

    /// Refuses an order that was used before, by its nonce.
    ///
    /// # Errors
    /// It is among `used`.
    pub fn check_unused(&self, mut used: impl FnMut(&str) -> bool) -> Result<(), Refusal> {
        if used(&self.nonce) {
            let detail = format!("the order {} was obeyed by this host before", self.nonce);
            return Err(Refusal::new(Code::OrderUsed, detail));
        }
        Ok(())
    }

    /// Returns what it lifts.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the commit that the pin moves to.
    pub fn commit(&self) -> &Oid {
        &self.commit
    }

    /// Returns the text that no other order for this host has.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Returns the key that signed it.
    pub fn key(&self) -> &KeyName {
        &self.key
    }

    /// Returns when it ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Returns why it was given, in its author's words.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}
