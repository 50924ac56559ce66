// SPDX-License-Identifier: Apache-2.0
//! Users: local users with their password, groups, SSH keys and sudo rule.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{ReadHost, WriteHost};
use crate::model::{Declared, Faults, Origin, Owned, Secret, Step};

use super::{ApplyError, Contents, ObserveError, Resource};

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
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PasswordSpec {
    /// No password opens the account.
    Locked,
    /// A hash as crypt(5) gives it, such as `mkpasswd -m yescrypt` prints.
    Hash(Secret),
}

impl Resource for User {
    const KIND: &'static str = "user";
    const KEY: &'static str = "users";
    type Spec = Spec;
    type Desired = ();
    type Observed = ();
    type Operation = ();

    fn resolve(_: &str, _: Spec, _: &Origin, _: &dyn Contents) -> Result<(), Faults> {
        todo!()
    }
    fn observe(_: &[Declared<()>], _: &Owned, _: &dyn ReadHost) -> Result<(), ObserveError> {
        todo!()
    }
    fn diff(_: &[Declared<()>], (): &(), _: &Owned) -> Vec<Step<()>> {
        todo!()
    }
    fn apply((): &(), _: &dyn WriteHost) -> Result<(), ApplyError> {
        todo!()
    }
}
