// SPDX-License-Identifier: Apache-2.0
//! Changes groups of the host.

use crate::host::WriteHost;
use crate::resources::ApplyError;
use crate::resources::accounts::{Accounts, Edit, edit, group, passwd};

use super::Operation;

pub fn apply(operation: &Operation, host: &dyn WriteHost) -> Result<(), ApplyError> {
    match operation {
        Operation::Add { name, gid } => edit(host, |files| add(files, name, *gid)),
        Operation::SetGid { name, from, to } => edit(host, |files| set_gid(files, name, *from, *to)),
        Operation::Remove { name } => edit(host, |files| remove(files, name)),
        Operation::Unnumbered { name } => Err(ApplyError::Refused(format!(
            "no number is free for the group {name} in the range of /etc/login.defs; set its gid, or widen the range"
        ))),
    }
}

fn refuse_taken(accounts: &Accounts, name: &str, gid: u32) -> Result<(), ApplyError> {
    match accounts.group_name(gid) {
        Some(other) if other != name => Err(ApplyError::Refused(format!(
            "gid {gid} belongs to the group {other}; give {name} another one, or none"
        ))),
        _ => Ok(()),
    }
}

fn add(files: &mut Edit, name: &str, gid: u32) -> Result<(), ApplyError> {
    let accounts = files.accounts();
    refuse_taken(&accounts, name, gid)?;
    match accounts.groups.get(name) {
        None => files.add_group(name, gid),
        Some(group) if group.gid == gid => {}
        Some(group) => {
            return Err(ApplyError::Refused(format!(
                "the group {name} has come to be since the plan was made, with gid {}; plan again",
                group.gid
            )));
        }
    }
    Ok(())
}

fn set_gid(files: &mut Edit, name: &str, from: u32, to: u32) -> Result<(), ApplyError> {
    let accounts = files.accounts();
    refuse_taken(&accounts, name, to)?;
    if !files.group.has(name) {
        return Err(ApplyError::Refused(format!("the group {name} is gone since the plan was made; plan again")));
    }
    let number = to.to_string();
    files.group.set(name, group::GID, number.as_bytes());
    // Users keep their primary group, as with groupmod(8), unless another group has the old number too.
    if accounts.groups.iter().all(|(other, group)| other == name || group.gid != from) {
        for (user, _) in accounts.users.iter().filter(|(_, user)| user.gid == from) {
            files.passwd.set(user, passwd::GID, number.as_bytes());
        }
    }
    Ok(())
}

fn remove(files: &mut Edit, name: &str) -> Result<(), ApplyError> {
    let accounts = files.accounts();
    let Some(group) = accounts.groups.get(name) else { return Ok(()) };
    if group.gid == 0 {
        return Err(ApplyError::Refused(format!("will not remove {name}: it is root's group, with gid 0")));
    }
    let mut users = accounts.users.iter().filter(|(_, user)| user.gid == group.gid).map(|(name, _)| name.as_str());
    if let Some(user) = users.next() {
        return Err(ApplyError::Refused(format!(
            "will not remove the group {name}: it is the primary group of the user {user}; give {user} another one first"
        )));
    }
    files.remove_group(name);
    Ok(())
}
