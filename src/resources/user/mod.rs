// SPDX-License-Identifier: Apache-2.0
//! Users: local users with their password, groups, SSH keys and sudo rule.

mod diff;
mod files;
mod host;
mod keys;
mod resolve;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{ReadHost, WriteHost};
use crate::model::{Declared, Faults, Origin, Owned, Secret, Step};

use super::accounts::{Accounts, Defaults, Range};
use super::digest::{Digestible, Sum, digest_every_field};
use super::{ApplyError, Contents, Interests, ObserveError, Resource};

pub use files::{Access, Accesses};
pub use keys::Key;

/// A local user.
pub enum User {}

/// A user as the repo writes it. A field that no layer sets is left as it is; a new user gets useradd(8)'s defaults.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// The user's number. Unset: kept, and for a new user the lowest free one in login.defs(5)'s range.
    pub uid: Option<u32>,
    /// Primary group, by name. Unset: kept, and for a new user a group of the user's own name.
    pub group: Option<String>,
    /// Supplementary groups, by name: exactly these.
    pub groups: Option<Vec<String>>,
    /// The comment (GECOS) field of passwd(5).
    pub comment: Option<String>,
    /// Home directory. Made, with the content of /etc/skel, when the user is made. Default for a new user: /home/NAME.
    pub home: Option<String>,
    /// Login shell. Default for a new user: /bin/bash; for a system user: /usr/sbin/nologin.
    pub shell: Option<String>,
    /// A new user takes its number from the range of system users and gets no home. Default: false.
    pub system: Option<bool>,
    pub password: Option<PasswordSpec>,
    /// The day on which the account ends, as YYYY-MM-DD, or `never`.
    pub expires: Option<String>,
    /// Lines of ~/.ssh/authorized_keys: exactly these; others are removed, and reported.
    pub ssh_keys: Option<Vec<String>>,
    /// What sudoers(5) shall allow the user, without the user's name: `ALL=(ALL:ALL) ALL`. Unset: hostwrit gives the
    /// user no rule, and takes away one that it gave before.
    pub sudo: Option<String>,
}

/// `locked`, or the hash of a password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PasswordSpec {
    /// No password opens the account.
    Locked,
    /// A hash as crypt(5) gives it, such as `mkpasswd -m yescrypt` prints.
    Hash(Secret),
}

/// A user as it shall be. What is `None` is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub uid: Option<u32>,
    pub group: Option<String>,
    pub groups: Option<BTreeSet<String>>,
    pub comment: Option<String>,
    pub home: Option<String>,
    pub shell: Option<String>,
    pub system: bool,
    pub password: Option<PasswordSpec>,
    pub expires: Option<Expiry>,
    pub ssh_keys: Option<Vec<Key>>,
    pub sudo: Option<String>,
}

/// When an account ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    Never,
    /// In days since 1970-01-01.
    On(i64),
}

impl Expiry {
    /// Whether the account has ended.
    pub fn has_come(self, host: &dyn ReadHost) -> bool {
        self.day().and_then(day_begins).is_some_and(|time| host.has_come(time))
    }

    fn day(self) -> Option<i64> {
        match self {
            Self::Never => None,
            Self::On(day) => Some(day),
        }
    }
}

/// Returns when a day begins, counted from 1970-01-01; `None` before that, and where no time is so far off.
fn day_begins(day: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(day).ok()?.checked_mul(86_400)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

digest_every_field!(Desired { uid, group, groups, comment, home, shell, system, password, expires, ssh_keys, sudo });

impl Digestible for PasswordSpec {
    fn add_to(&self, sum: &mut Sum) {
        match self {
            Self::Locked => sum.variant(0),
            Self::Hash(hash) => {
                sum.variant(1);
                hash.add_to(sum);
            }
        }
    }
}

impl Digestible for Expiry {
    fn add_to(&self, sum: &mut Sum) {
        match self {
            Self::Never => sum.variant(0),
            Self::On(day) => {
                sum.variant(1);
                day.add_to(sum);
            }
        }
    }
}

/// What the host says of users.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub accounts: Accounts,
    pub defaults: Defaults,
    /// In days since 1970-01-01.
    pub today: i64,
    /// Whether owners are compared.
    pub sets_owners: bool,
    /// Keys and sudo rules of the users that the repo or the record of ownership names.
    pub accesses: Accesses,
}

/// What a step does to a user.
#[derive(Clone, Debug)]
pub enum Operation {
    Add(Box<Addition>),
    Alter(Box<Alteration>),
    Remove(Removal),
    /// No number is left for the user.
    Unnumbered {
        name: String,
    },
}

/// A new user.
#[derive(Clone, Debug)]
pub struct Addition {
    pub name: String,
    pub uid: u32,
    pub group: PrimaryGroup,
    pub groups: BTreeSet<String>,
    pub comment: String,
    pub home: String,
    pub shell: String,
    /// What shadow(5) shall hold.
    pub hash: Secret,
    pub expires: Option<i64>,
    pub today: i64,
    /// Days for `chage`: minimum, maximum and warning.
    pub ages: [Option<u32>; 3],
    pub make_home: Option<Home>,
    pub keys: Option<KeysFile>,
    pub sudo: Option<SudoFile>,
}

/// The primary group of a new user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrimaryGroup {
    Named(String),
    /// A group of the user's own name, made if there is none: with this number, or where an earlier step of the plan
    /// took that, with the next free one of the range.
    Own {
        gid: u32,
        range: Range,
    },
}

/// How a home directory is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    Empty,
    /// With what is in /etc/skel.
    FromSkel,
}

/// What changes of a user. What is `None` is left as it is.
#[derive(Clone, Debug, Default)]
pub struct Alteration {
    pub name: String,
    /// From and to.
    pub uid: Option<(u32, u32)>,
    pub group: Option<String>,
    pub groups: Option<BTreeSet<String>>,
    pub comment: Option<String>,
    pub home: Option<String>,
    pub shell: Option<String>,
    pub password: Option<PasswordSpec>,
    pub expires: Option<Expiry>,
    pub today: i64,
    /// The user's home directory, where it does not exist and is needed.
    pub make_home: Option<String>,
    pub keys: Option<KeysFile>,
    pub sudo: Option<SudoFile>,
}

/// The keys that open an account, as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysFile {
    /// The home directory that the file stands in.
    pub home: String,
    pub content: Vec<u8>,
    /// Whether sshd's second file is there, and is to go.
    pub remove_second: bool,
}

/// The file that gives a user rights by sudo(8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SudoFile {
    Write {
        /// The rule, without the user's name.
        rule: String,
    },
    Remove,
}

/// What is removed with a user. The home directory never is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    pub name: String,
    /// Whether the group of the user's own name goes too, if nobody needs it.
    pub own_group: bool,
}

/// The part of a user that stands for its sudo rule, in the record of ownership.
const SUDO: &str = "sudo";

/// The part that stands for the group of the user's own name.
const OWN_GROUP: &str = "group";

impl Resource for User {
    const KIND: &'static str = "user";
    const KEY: &'static str = "users";
    type Spec = Spec;
    type Desired = Desired;
    type Observed = Observed;
    type Operation = Operation;

    fn resolve(name: &str, spec: Spec, origin: &Origin, _: &dyn Contents) -> Result<Desired, Faults> {
        resolve::resolve(name, spec, origin)
    }

    fn observe(desired: &[Declared<Desired>], owned: &Owned, host: &dyn ReadHost) -> Result<Observed, ObserveError> {
        host::observe(desired, owned, host)
    }

    fn diff(desired: &[Declared<Desired>], observed: &Observed, owned: &Owned) -> Vec<Step<Operation>> {
        diff::diff(desired, observed, owned)
    }

    fn apply(operation: &Operation, host: &dyn WriteHost) -> Result<(), ApplyError> {
        host::apply(operation, host)
    }

    fn interests(
        desired: &[Declared<Desired>],
        owned: &Owned,
        host: &dyn ReadHost,
        interests: &mut Interests,
    ) -> Result<(), ObserveError> {
        host::interests(desired, owned, host, interests)
    }
}
