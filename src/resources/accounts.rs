// SPDX-License-Identifier: Apache-2.0
//! The account databases as data: passwd(5), shadow(5), group(5), gshadow(5), and the ranges of login.defs(5).
//!
//! Reading and editing are lossless: a line that nobody edits, whether it is a comment, malformed or an entry of NIS,
//! stays as it is, byte for byte. Writing the files is the affair of the host.

pub mod ranges;
mod table;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::host::{AccountFiles, HostError, ReadHost, WriteHost};
use crate::model::Secret;

use super::ApplyError;

pub use ranges::{Defaults, Range};
pub use table::Table;

pub const PASSWD: &str = "/etc/passwd";
pub const SHADOW: &str = "/etc/shadow";
pub const GROUP: &str = "/etc/group";
pub const GSHADOW: &str = "/etc/gshadow";

/// The account files that everybody may read, and that names and numbers stand in.
pub const PUBLIC: [&str; 2] = [PASSWD, GROUP];

/// Columns of passwd(5).
pub mod passwd {
    pub const PASSWORD: usize = 1;
    pub const UID: usize = 2;
    pub const GID: usize = 3;
    pub const COMMENT: usize = 4;
    pub const HOME: usize = 5;
    pub const SHELL: usize = 6;
}

/// Columns of shadow(5).
pub mod shadow {
    pub const HASH: usize = 1;
    pub const CHANGED: usize = 2;
    pub const EXPIRES: usize = 7;
}

/// Columns of group(5).
pub mod group {
    pub const GID: usize = 2;
    pub const MEMBERS: usize = 3;
}

/// Columns of gshadow(5).
pub mod gshadow {
    pub const ADMINISTRATORS: usize = 2;
    pub const MEMBERS: usize = 3;
}

/// The numbers that no account may have: `(uid_t) -1`, in 16 and in 32 bits.
pub fn is_reserved(number: u32) -> bool {
    number == u32::from(u16::MAX) || number == u32::MAX
}

/// Says why useradd(8) would not accept `name` for a new user or group; `None` if it would.
pub fn fault_of_name(name: &str) -> Option<String> {
    let stem = name.strip_suffix('$').unwrap_or(name);
    let mut chars = stem.chars();
    let starts_well = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    if starts_well && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-') {
        (name.len() > 32).then(|| format!("the name \"{name}\" has {} characters; 32 is the most", name.len()))
    } else {
        Some(format!("\"{}\" cannot be the name of a user or group", name.escape_debug()))
    }
}

pub const NAME_HINT: &str =
    "use at most 32 lower-case letters, digits, _ and -, with a letter or _ first; a last $ marks a machine";

/// Says why no account of the repo may have this number; `None` if one may. Zero is for root alone.
pub fn fault_of_number(field: &str, number: u32, is_root: bool) -> Option<String> {
    match (number, is_root) {
        (0, false) => Some(format!("{field} 0 is root's")),
        (1.., true) => Some(format!("root's {field} is 0, not {number}")),
        _ if is_reserved(number) => Some(format!("{field} {number} is reserved: it stands for \"no such number\"")),
        _ => None,
    }
}

pub const NUMBER_HINT: &str = "use a number from 1 to 4294967294 other than 65535, or leave the field out";

/// Whether `name` may be that of a group that exists: packages bring some that useradd(8) would not accept.
pub fn could_name_a_group(name: &str) -> bool {
    let stem = name.strip_suffix('$').unwrap_or(name);
    !stem.is_empty()
        && name.len() <= 32
        && !stem.starts_with('-')
        && !stem.bytes().all(|byte| byte.is_ascii_digit())
        && stem.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// A user as passwd(5) has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    /// `x` where shadow(5) has the hash.
    pub password: Secret,
    pub uid: u32,
    pub gid: u32,
    pub comment: String,
    pub home: String,
    pub shell: String,
}

/// A user as shadow(5) has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowEntry {
    pub hash: Secret,
    /// The day on which the account ends, in days since 1970-01-01.
    pub expires: Option<i64>,
}

/// A group as group(5) has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEntry {
    pub gid: u32,
    pub members: Vec<String>,
}

/// All users and groups, by name. Of two lines with one name the first counts, as for glibc.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    pub users: BTreeMap<String, UserEntry>,
    pub shadow: BTreeMap<String, ShadowEntry>,
    pub groups: BTreeMap<String, GroupEntry>,
}

impl Accounts {
    /// Returns what the files say.
    pub fn of(files: &AccountFiles) -> Self {
        Self {
            users: users(&Table::passwd(bytes(&files.passwd))),
            shadow: shadows(&Table::shadow(bytes(&files.shadow))),
            groups: groups(&Table::group(bytes(&files.group))),
        }
    }

    /// Reads passwd(5) and group(5).
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read_public(host: &dyn ReadHost) -> Result<Self, HostError> {
        Ok(Self::of(&public_files(host)?))
    }

    /// Reads passwd(5), group(5) and shadow(5).
    ///
    /// # Errors
    /// A file cannot be read; shadow(5) by root alone, as a rule.
    pub fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let shadow = host.read(Path::new(SHADOW))?;
        Ok(Self::of(&AccountFiles { shadow, ..public_files(host)? }))
    }

    /// Returns the numbers of all users.
    pub fn uids(&self) -> BTreeSet<u32> {
        self.users.values().map(|user| user.uid).collect()
    }

    /// Returns the numbers of all groups, and those that users name as their primary group without such a group.
    pub fn gids(&self) -> BTreeSet<u32> {
        self.groups.values().map(|group| group.gid).chain(self.users.values().map(|user| user.gid)).collect()
    }

    /// Returns the name of the group with this number.
    pub fn group_name(&self, gid: u32) -> Option<&str> {
        self.groups.iter().find(|(_, group)| group.gid == gid).map(|(name, _)| name.as_str())
    }

    /// Returns the groups that list `user` as a member, sorted.
    pub fn groups_of(&self, user: &str) -> BTreeSet<String> {
        let lists = |group: &GroupEntry| group.members.iter().any(|member| member == user);
        self.groups.iter().filter(|(_, group)| lists(group)).map(|(name, _)| name.clone()).collect()
    }
}

fn bytes(file: &Option<Vec<u8>>) -> &[u8] {
    file.as_deref().unwrap_or_default()
}

fn public_files(host: &dyn ReadHost) -> Result<AccountFiles, HostError> {
    Ok(AccountFiles {
        passwd: host.read(Path::new(PASSWD))?,
        group: host.read(Path::new(GROUP))?,
        ..AccountFiles::default()
    })
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

fn users(table: &Table) -> BTreeMap<String, UserEntry> {
    let entry = |fields: &[&[u8]]| {
        Some(UserEntry {
            password: Secret::new(text(fields[passwd::PASSWORD])),
            uid: number(fields[passwd::UID])?,
            gid: number(fields[passwd::GID])?,
            comment: text(fields[passwd::COMMENT]),
            home: text(fields[passwd::HOME]),
            shell: text(fields[passwd::SHELL]),
        })
    };
    table.collect(entry)
}

fn shadows(table: &Table) -> BTreeMap<String, ShadowEntry> {
    let entry = |fields: &[&[u8]]| {
        let expires: Option<i64> = std::str::from_utf8(fields[shadow::EXPIRES]).ok().and_then(|day| day.parse().ok());
        Some(ShadowEntry { hash: Secret::new(text(fields[shadow::HASH])), expires: expires.filter(|day| *day >= 0) })
    };
    table.collect(entry)
}

fn groups(table: &Table) -> BTreeMap<String, GroupEntry> {
    let entry = |fields: &[&[u8]]| {
        Some(GroupEntry { gid: number(fields[group::GID])?, members: members(fields[group::MEMBERS]) })
    };
    table.collect(entry)
}

fn members(field: &[u8]) -> Vec<String> {
    field.split(|byte| *byte == b',').filter(|name| !name.is_empty()).map(text).collect()
}

/// The four files while they are edited.
#[derive(Clone, Debug)]
pub struct Edit {
    pub passwd: Table,
    pub shadow: Table,
    pub group: Table,
    /// `None` where the host keeps no gshadow(5): hostwrit does not introduce it.
    pub gshadow: Option<Table>,
    before: AccountFiles,
}

impl Edit {
    pub fn new(files: AccountFiles) -> Self {
        Self {
            passwd: Table::passwd(bytes(&files.passwd)),
            shadow: Table::shadow(bytes(&files.shadow)),
            group: Table::group(bytes(&files.group)),
            gshadow: files.gshadow.as_deref().map(Table::gshadow),
            before: files,
        }
    }

    /// Returns the files as they shall be. A file that was not there and has no line stays away.
    pub fn finish(self) -> AccountFiles {
        let file = |before: Option<Vec<u8>>, table: Table| {
            let after = table.into_bytes();
            if before.is_none() && after.is_empty() { None } else { Some(after) }
        };
        AccountFiles {
            passwd: file(self.before.passwd, self.passwd),
            shadow: file(self.before.shadow, self.shadow),
            group: file(self.before.group, self.group),
            gshadow: self.gshadow.map(Table::into_bytes),
        }
    }

    /// Returns the users and groups as they are at this point of the edit, without shadow(5).
    pub fn accounts(&self) -> Accounts {
        Accounts { users: users(&self.passwd), groups: groups(&self.group), shadow: BTreeMap::new() }
    }

    /// Adds a group without members.
    pub fn add_group(&mut self, name: &str, gid: u32) {
        match &mut self.gshadow {
            Some(gshadow) => {
                // What a removal left there would make the entry a second one.
                gshadow.remove(name);
                gshadow.add(&format!("{name}:!::"));
                self.group.add(&format!("{name}:x:{gid}:"));
            }
            None => self.group.add(&format!("{name}:!:{gid}:")),
        }
    }

    /// Removes a group.
    pub fn remove_group(&mut self, name: &str) {
        self.group.remove(name);
        if let Some(gshadow) = &mut self.gshadow {
            gshadow.remove(name);
        }
    }

    /// Makes `user` a member of exactly these groups.
    ///
    /// # Errors
    /// Returns the first group that does not exist.
    pub fn set_groups_of(&mut self, user: &str, groups: &BTreeSet<String>) -> Result<(), String> {
        let present = self.accounts().groups;
        if let Some(missing) = groups.iter().find(|group| !present.contains_key(*group)) {
            return Err(missing.clone());
        }
        for group in present.keys() {
            let member = groups.contains(group);
            set_in_list(&mut self.group, group, group::MEMBERS, user, member);
            if let Some(gshadow) = &mut self.gshadow {
                set_in_list(gshadow, group, gshadow::MEMBERS, user, member);
            }
        }
        Ok(())
    }

    /// Takes `user` out of all groups, as a member and as an administrator.
    pub fn leave_all_groups(&mut self, user: &str) {
        for group in self.group.names() {
            set_in_list(&mut self.group, &group, group::MEMBERS, user, false);
        }
        if let Some(gshadow) = &mut self.gshadow {
            for group in gshadow.names() {
                set_in_list(gshadow, &group, gshadow::MEMBERS, user, false);
                set_in_list(gshadow, &group, gshadow::ADMINISTRATORS, user, false);
            }
        }
    }
}

/// Enters `name` into a list separated by commas, or takes it out; the order of the others stays.
fn set_in_list(table: &mut Table, entry: &str, column: usize, name: &str, present: bool) {
    let Some(list) = table.field(entry, column) else { return };
    let names: Vec<&[u8]> = list.split(|byte| *byte == b',').filter(|name| !name.is_empty()).collect();
    if names.contains(&name.as_bytes()) == present {
        return;
    }
    let mut names: Vec<&[u8]> = names.into_iter().filter(|other| *other != name.as_bytes()).collect();
    if present {
        names.push(name.as_bytes());
    }
    let list = names.join(&b',');
    table.set(entry, column, &list);
}

/// The names and numbers of users and groups, both ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
    user_names: BTreeMap<u32, String>,
    group_names: BTreeMap<u32, String>,
}

impl Names {
    /// Reads passwd(5) and group(5), each once.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(host: &dyn ReadHost) -> Result<Self, HostError> {
        let mut names = Self::default();
        // Of two names for one number the first in the file counts, as for glibc: so not by way of a sorted map.
        if let Some(bytes) = host.read(Path::new(PASSWD))? {
            for (name, uid) in Table::passwd(&bytes).numbers(passwd::UID) {
                names.user_names.entry(uid).or_insert_with(|| name.clone());
                names.users.entry(name).or_insert(uid);
            }
        }
        if let Some(bytes) = host.read(Path::new(GROUP))? {
            for (name, gid) in Table::group(&bytes).numbers(group::GID) {
                names.group_names.entry(gid).or_insert_with(|| name.clone());
                names.groups.entry(name).or_insert(gid);
            }
        }
        Ok(names)
    }

    /// Returns the number of the user called `name`.
    pub fn uid(&self, name: &str) -> Option<u32> {
        self.users.get(name).copied()
    }

    /// Returns the number of the group called `name`.
    pub fn gid(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied()
    }

    /// Returns the name of the user with this number.
    pub fn user(&self, uid: u32) -> Option<&str> {
        self.user_names.get(&uid).map(String::as_str)
    }

    /// Returns the name of the group with this number.
    pub fn group(&self, gid: u32) -> Option<&str> {
        self.group_names.get(&gid).map(String::as_str)
    }
}

/// Edits the account files of `host` under their locks. When `change` refuses, nothing is written.
///
/// # Errors
/// What `change` refuses, or the files cannot be locked, read or written.
pub fn edit(
    host: &dyn WriteHost,
    mut change: impl FnMut(&mut Edit) -> Result<(), ApplyError>,
) -> Result<(), ApplyError> {
    let mut refusal = None;
    let edited = host.edit_accounts(&mut |files| {
        let mut edit = Edit::new(files);
        match change(&mut edit) {
            Ok(()) => Ok(edit.finish()),
            Err(error) => {
                let why = error.to_string();
                refusal = Some(error);
                Err(why)
            }
        }
    });
    // The host can only pass on a text; the error itself says more.
    match refusal {
        Some(error) => Err(error),
        None => Ok(edited?),
    }
}
