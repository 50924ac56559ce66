// SPDX-License-Identifier: Apache-2.0
//! Reads users from the host and changes them.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::host::{Check, FileKind, HostError, NewFile, Owner, ReadHost, WriteHost};
use crate::model::{Declared, ObjectId, Owned};
use crate::resources::accounts::{Accounts, Defaults, Edit, PUBLIC, SHADOW, edit, passwd, shadow};
use crate::resources::{ApplyError, Interests, ObserveError, Resource};

use super::diff::{default_home, is_locked};
use super::files::{
    Access, Accesses, Found, FoundKeys, KEYS_MODE, SSH_DIR_MODE, SUDO_MODE, SUDOERS_D, sudo_content, sudo_file_name,
    sudo_path,
};
use super::{
    Addition, Alteration, Desired, Home, KeysFile, Observed, Operation, PasswordSpec, PrimaryGroup, Removal, SudoFile,
    User,
};

pub fn observe(desired: &[Declared<Desired>], owned: &Owned, host: &dyn ReadHost) -> Result<Observed, ObserveError> {
    let mut names: BTreeSet<&str> = desired.iter().map(|declared| declared.name.as_str()).collect();
    names.extend(owned.of_kind(User::KIND).map(|object| object.name()));
    if names.is_empty() {
        // So that whoever may not read /etc/shadow can work with a repo that declares no user.
        return Ok(Observed::default());
    }
    let accounts = Accounts::read(host)?;
    let mut accesses = Accesses::new();
    let rules = host.list(Path::new(SUDOERS_D))?.unwrap_or_default();
    for name in names {
        let sudo =
            if rules.iter().any(|rule| *rule == *sudo_file_name(name)) { find(host, &sudo_path(name))? } else { None };
        accesses.insert(name.to_owned(), Access { keys: None, sudo });
    }
    for declared in desired {
        let Some(want) = declared.want.as_ref().filter(|want| want.ssh_keys.is_some()) else { continue };
        let home = home_of(&declared.name, want.home.clone(), &accounts);
        accesses.entry(declared.name.clone()).or_default().keys = Some(find_keys(host, home)?);
    }
    let since = host.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Observed {
        accounts,
        defaults: Defaults::read(host)?,
        today: i64::try_from(since.as_secs() / 86_400).unwrap_or(0),
        sets_owners: host.sets_owners(),
        accesses,
    })
}

/// Enters the account files, and each user's keys and sudo rule.
pub fn interests(
    desired: &[Declared<Desired>],
    owned: &Owned,
    host: &dyn ReadHost,
    interests: &mut Interests,
) -> Result<(), ObserveError> {
    let mut names: BTreeSet<&str> = desired.iter().map(|declared| declared.name.as_str()).collect();
    names.extend(owned.of_kind(User::KIND).map(ObjectId::name));
    for name in &names {
        let object = ObjectId::new(User::KIND, *name);
        PUBLIC.iter().chain([&SHADOW]).for_each(|file| interests.place(file, &object));
        interests.place(sudo_path(name), &object);
    }
    let with_keys = |declared: &Declared<Desired>| declared.want.as_ref().is_some_and(|want| want.ssh_keys.is_some());
    if !desired.iter().any(with_keys) {
        return Ok(());
    }
    let accounts = Accounts::read_public(host)?;
    for declared in desired.iter().filter(|declared| with_keys(declared)) {
        let object = ObjectId::new(User::KIND, &declared.name);
        let wanted = declared.want.as_ref().and_then(|want| want.home.clone());
        let home = home_of(&declared.name, wanted, &accounts);
        let directory = Path::new(&home).join(".ssh");
        for file in ["authorized_keys", "authorized_keys2"] {
            interests.place(directory.join(file), &object);
        }
        interests.place(directory, &object);
        interests.moves(&object);
    }
    Ok(())
}

/// Returns the home directory that the user has, or will have.
fn home_of(name: &str, wanted: Option<String>, accounts: &Accounts) -> String {
    let present = || accounts.users.get(name).map(|user| user.home.clone());
    wanted.or_else(present).unwrap_or_else(|| default_home(name))
}

/// Returns what is at `path`. Only a regular file is read: a link there may lead to anybody's file.
fn find(host: &dyn ReadHost, path: &Path) -> Result<Option<Found>, HostError> {
    let Some(stat) = host.stat(path)? else { return Ok(None) };
    let content = if stat.kind == FileKind::File { host.read(path)?.unwrap_or_default() } else { Vec::new() };
    Ok(Some(Found { stat, content }))
}

fn find_keys(host: &dyn ReadHost, home: String) -> Result<FoundKeys, HostError> {
    let directory = Path::new(&home).join(".ssh");
    let stat = host.stat(&directory)?;
    let is_directory = stat.is_some_and(|stat| stat.kind == FileKind::Directory);
    let find = |name| if is_directory { find(host, &directory.join(name)) } else { Ok(None) };
    Ok(FoundKeys {
        home_is_there: stat.is_some() || host.stat(Path::new(&home))?.is_some(),
        directory: stat,
        file: find("authorized_keys")?,
        second: find("authorized_keys2")?,
        home,
    })
}

pub fn apply(operation: &Operation, host: &dyn WriteHost) -> Result<(), ApplyError> {
    match operation {
        Operation::Add(user) => {
            // The home directory comes first, under the lock: killed before the user is there, the next run begins anew.
            edit(host, |files| add(files, user, host))?;
            put_files(host, &user.name, user.keys.as_ref(), user.sudo.as_ref())
        }
        Operation::Alter(user) => alter(user, host),
        Operation::Remove(user) => remove(user, host),
        Operation::Unnumbered { name } => refuse(format!(
            "no number is free for the user {name} in the range of /etc/login.defs; set its uid, or widen the range"
        )),
    }
}

fn refuse<T>(why: String) -> Result<T, ApplyError> {
    Err(ApplyError::Refused(why))
}

fn add(files: &mut Edit, user: &Addition, host: &dyn WriteHost) -> Result<(), ApplyError> {
    let name = &user.name;
    let accounts = files.accounts();
    match accounts.users.get(name) {
        None => refuse_taken(&accounts, name, user.uid)?,
        Some(present) if present.uid == user.uid => return Ok(()),
        Some(present) => {
            return refuse(format!(
                "the user {name} has come to be since the plan was made, with uid {}; plan again",
                present.uid
            ));
        }
    }
    let gid = match &user.group {
        PrimaryGroup::Named(group) => gid(&accounts, group)?,
        PrimaryGroup::Own { gid, range } => match accounts.groups.get(name) {
            Some(group) => group.gid,
            None => {
                let taken = accounts.gids();
                let free = if taken.contains(gid) { range.lowest_free(&taken) } else { Some(*gid) };
                let Some(free) = free else {
                    return refuse(format!("no number is free for the group {name} of the user {name}; set its group"));
                };
                files.add_group(name, free);
                free
            }
        },
    };
    set_groups(files, name, &user.groups)?;
    if let Some(home) = user.make_home {
        make_home(host, name, Path::new(&user.home), Owner { uid: user.uid, gid }, home)?;
    }
    // What an earlier user of this name left there must not open the account of this one.
    files.shadow.remove(name);
    let day = |day: Option<u32>| day.map(|day| day.to_string()).unwrap_or_default();
    let [min, max, warn] = user.ages.map(day);
    let expires = user.expires.map(|day| day.to_string()).unwrap_or_default();
    files.shadow.add(&format!("{name}:{}:{}:{min}:{max}:{warn}::{expires}:", user.hash.expose(), user.today));
    let Addition { uid, comment, home, shell, .. } = user;
    files.passwd.add(&format!("{name}:x:{uid}:{gid}:{comment}:{home}:{shell}"));
    Ok(())
}

fn refuse_taken(accounts: &Accounts, name: &str, uid: u32) -> Result<(), ApplyError> {
    match accounts.users.iter().find(|(other, user)| user.uid == uid && *other != name) {
        Some((other, _)) => refuse(format!("uid {uid} belongs to the user {other}; give {name} another one, or none")),
        None => Ok(()),
    }
}

fn missing_group(group: &str) -> ApplyError {
    ApplyError::Refused(format!(
        "the group {group} does not exist; declare it under groups, or install the package that brings it"
    ))
}

fn gid(accounts: &Accounts, group: &str) -> Result<u32, ApplyError> {
    accounts.groups.get(group).map(|group| group.gid).ok_or_else(|| missing_group(group))
}

fn set_groups(files: &mut Edit, name: &str, groups: &BTreeSet<String>) -> Result<(), ApplyError> {
    files.set_groups_of(name, groups).map_err(|group| missing_group(&group))
}

fn alter(user: &Alteration, host: &dyn WriteHost) -> Result<(), ApplyError> {
    if let Some((from, to)) = user.uid {
        refuse_if_running(host, &user.name, from)?;
        let accounts = Accounts::read_public(host)?;
        refuse_taken(&accounts, &user.name, to)?;
        // Before the number itself: killed in between, the difference is still there and the rest is done then.
        if let Some(present) = accounts.users.get(&user.name).filter(|_| host.sets_owners()) {
            let home = Path::new(&present.home);
            // Some users have / or another directory of root's as their home; that is not theirs to take along.
            if host.stat(home)?.is_some_and(|stat| stat.owner.uid == from) {
                hand_over(host, home, from, to)?;
            }
        }
    }
    edit(host, |files| alter_account(files, user))?;
    if let Some(home) = &user.make_home
        && let Some(present) = Accounts::read_public(host)?.users.get(&user.name)
    {
        let owner = Owner { uid: present.uid, gid: present.gid };
        make_home(host, &user.name, Path::new(home), owner, Home::Empty)?;
    }
    put_files(host, &user.name, user.keys.as_ref(), user.sudo.as_ref())
}

fn alter_account(files: &mut Edit, user: &Alteration) -> Result<(), ApplyError> {
    let name = &user.name;
    let accounts = files.accounts();
    let changes_account = user.uid.is_some()
        || user.group.is_some()
        || user.groups.is_some()
        || [&user.comment, &user.home, &user.shell].iter().any(|field| field.is_some())
        || user.password.is_some()
        || user.expires.is_some();
    if !changes_account {
        return Ok(());
    }
    if !accounts.users.contains_key(name) {
        return refuse(format!("the user {name} is gone since the plan was made; plan again"));
    }
    if let Some((_, to)) = user.uid {
        refuse_taken(&accounts, name, to)?;
        files.passwd.set(name, passwd::UID, to.to_string().as_bytes());
    }
    if let Some(group) = &user.group {
        files.passwd.set(name, passwd::GID, gid(&accounts, group)?.to_string().as_bytes());
    }
    if let Some(groups) = &user.groups {
        set_groups(files, name, groups)?;
    }
    let texts = [(passwd::COMMENT, &user.comment), (passwd::HOME, &user.home), (passwd::SHELL, &user.shell)];
    for (column, text) in texts {
        if let Some(text) = text {
            files.passwd.set(name, column, text.as_bytes());
        }
    }
    if let Some(password) = &user.password {
        set_password(files, user, password);
    }
    if let Some(expires) = user.expires {
        ensure_shadow_line(files, user);
        let day = expires.day().map(|day| day.to_string()).unwrap_or_default();
        files.shadow.set(name, shadow::EXPIRES, day.as_bytes());
    }
    Ok(())
}

fn set_password(files: &mut Edit, user: &Alteration, password: &PasswordSpec) {
    ensure_shadow_line(files, user);
    match password {
        PasswordSpec::Hash(hash) => {
            files.shadow.set(&user.name, shadow::HASH, hash.expose().as_bytes());
            files.shadow.set(&user.name, shadow::CHANGED, user.today.to_string().as_bytes());
        }
        PasswordSpec::Locked => {
            let present = files.shadow.field(&user.name, shadow::HASH).unwrap_or_default();
            if !is_locked(&crate::model::Secret::new(String::from_utf8_lossy(&present))) {
                // The hash stays behind the mark, as with usermod -L, so that the lock can be taken off again.
                files.shadow.set(&user.name, shadow::HASH, &[b"!", present.as_slice()].concat());
            }
        }
    }
}

/// Moves the hash to shadow(5) where passwd(5) still has it.
fn ensure_shadow_line(files: &mut Edit, user: &Alteration) {
    let name = &user.name;
    let in_passwd = files.passwd.field(name, passwd::PASSWORD).unwrap_or_default();
    let shadowed = in_passwd == b"x";
    if !files.shadow.has(name) {
        files.shadow.add(&format!("{name}:!:{}::::::", user.today));
    }
    if !shadowed {
        files.shadow.set(name, shadow::HASH, &in_passwd);
        files.passwd.set(name, passwd::PASSWORD, b"x");
    }
}

fn remove(user: &Removal, host: &dyn WriteHost) -> Result<(), ApplyError> {
    let name = &user.name;
    if let Some(present) = Accounts::read_public(host)?.users.get(name) {
        if present.uid == 0 {
            return refuse(format!("will not remove {name}: uid 0 is root's"));
        }
        refuse_if_running(host, name, present.uid)?;
    }
    // The rights go first: killed in between, what is left is a user who may do less.
    host.remove(&sudo_path(name))?;
    edit(host, |files| {
        files.passwd.remove(name);
        files.shadow.remove(name);
        files.leave_all_groups(name);
        if user.own_group {
            let accounts = files.accounts();
            let needed = |gid: u32| accounts.users.values().any(|user| user.gid == gid);
            if accounts.groups.get(name).is_none_or(|group| group.members.is_empty() && !needed(group.gid)) {
                files.remove_group(name);
            }
        }
        Ok(())
    })
}

/// Refuses if a process runs as `uid`, as userdel(8) does: its number could be given to another user while it runs.
fn refuse_if_running(host: &dyn ReadHost, name: &str, uid: u32) -> Result<(), ApplyError> {
    if !host.is_live() {
        return Ok(());
    }
    for entry in host.list(Path::new("/proc"))?.unwrap_or_default() {
        let Some(pid) = entry.to_str().and_then(|entry| entry.parse::<u32>().ok()) else { continue };
        // One that cannot be read has ended meanwhile.
        let Ok(Some(status)) = host.read(&PathBuf::from(format!("/proc/{pid}/status"))) else { continue };
        let status = String::from_utf8_lossy(&status);
        let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        if field("Uid:").split_whitespace().any(|number| number.parse() == Ok(uid)) {
            let program = field("Name:").trim().escape_debug().to_string();
            return refuse(format!("process {pid} ({program}) runs as {name}; end the user's processes first"));
        }
    }
    Ok(())
}

/// Makes the home directory, or completes one that was begun; one that another user owns is left alone.
fn make_home(host: &dyn WriteHost, name: &str, home: &Path, owner: Owner, how: Home) -> Result<(), ApplyError> {
    if home.starts_with("/nonexistent") {
        return refuse(format!("the home of {name} is to be made, and /nonexistent never exists; set its home"));
    }
    let to = host.sets_owners().then_some(owner);
    match host.stat(home)? {
        None => {
            let root = host.sets_owners().then_some(Owner { uid: 0, gid: 0 });
            let above: Vec<&Path> = home.ancestors().skip(1).collect();
            for directory in above.into_iter().rev() {
                if host.stat(directory)?.is_none() {
                    host.make_dir(directory, root, 0o755)?;
                }
            }
            host.make_dir(home, to, 0o700)?;
        }
        // Root's directory, such as /var/www, or a link that somebody made on purpose: it serves as it is.
        Some(stat) if stat.kind != FileKind::Directory || (to.is_some() && stat.owner.uid == 0 && owner.uid != 0) => {
            return Ok(());
        }
        Some(stat) if to.is_some() && stat.owner.uid != owner.uid => {
            return refuse(format!(
                "{} is there already and belongs to uid {}, not to the new user {name} with uid {}; \
                 set that uid, or another home, or move the directory away",
                home.display(),
                stat.owner.uid,
                owner.uid
            ));
        }
        Some(_) => {}
    }
    match how {
        Home::FromSkel => copy_missing(host, Path::new("/etc/skel"), home, to),
        Home::Empty => Ok(()),
    }
}

/// Copies what is in one directory and not yet in the other.
fn copy_missing(host: &dyn WriteHost, from: &Path, to: &Path, owner: Option<Owner>) -> Result<(), ApplyError> {
    for name in host.list(from)?.unwrap_or_default() {
        let (from, to) = (from.join(&name), to.join(&name));
        let Some(stat) = host.stat(&from)? else { continue };
        let present = host.stat(&to)?;
        match stat.kind {
            FileKind::Directory => {
                if present.is_none() {
                    host.make_dir(&to, owner, stat.mode)?;
                }
                if present.is_none_or(|present| present.kind == FileKind::Directory) {
                    copy_missing(host, &from, &to, owner)?;
                }
            }
            _ if present.is_some() => {}
            FileKind::File => {
                let content = host.read(&from)?.unwrap_or_default();
                host.replace_file(&to, &NewFile { content: &content, owner, mode: stat.mode, check: None })?;
            }
            FileKind::Link => {
                if let Some(target) = host.read_link(&from)? {
                    host.make_link(&to, &target, owner)?;
                }
            }
            FileKind::Special => {}
        }
    }
    Ok(())
}

/// Gives what one user owns below `path` to another, as usermod -u does. The directory itself goes last, so that a run
/// that was killed is begun anew.
fn hand_over(host: &dyn WriteHost, path: &Path, from: u32, to: u32) -> Result<(), ApplyError> {
    let Some(stat) = host.stat(path)? else { return Ok(()) };
    if stat.kind == FileKind::Directory {
        for name in host.list(path)?.unwrap_or_default() {
            hand_over(host, &path.join(name), from, to)?;
        }
    }
    if stat.owner.uid != from {
        return Ok(());
    }
    let owner = Some(Owner { uid: to, gid: stat.owner.gid });
    match stat.kind {
        FileKind::File | FileKind::Directory => host.set_attributes(path, owner, Some(stat.mode))?,
        FileKind::Link => {
            if let Some(target) = host.read_link(path)? {
                host.make_link(path, &target, owner)?;
            }
        }
        FileKind::Special => {}
    }
    Ok(())
}

fn put_files(
    host: &dyn WriteHost,
    name: &str,
    keys: Option<&KeysFile>,
    sudo: Option<&SudoFile>,
) -> Result<(), ApplyError> {
    if let Some(keys) = keys {
        put_keys(host, name, keys)?;
    }
    match sudo {
        Some(SudoFile::Write { rule }) => put_sudo(host, name, rule),
        Some(SudoFile::Remove) => Ok(host.remove(&sudo_path(name))?),
        None => Ok(()),
    }
}

fn put_keys(host: &dyn WriteHost, name: &str, keys: &KeysFile) -> Result<(), ApplyError> {
    let home = Path::new(&keys.home);
    let directory = home.join(".ssh");
    let file = directory.join("authorized_keys");
    if keys.content.is_empty() && host.stat(&file)?.is_none() {
        // No keys are wanted and none are there.
    } else {
        let accounts = Accounts::read_public(host)?;
        let Some(user) = accounts.users.get(name) else {
            return refuse(format!("the user {name} is gone since the plan was made; plan again"));
        };
        let owner = host.sets_owners().then_some(Owner { uid: user.uid, gid: user.gid });
        host.make_dir(&directory, owner, SSH_DIR_MODE)?;
        host.replace_file(&file, &NewFile { content: &keys.content, owner, mode: KEYS_MODE, check: None })?;
    }
    if keys.remove_second {
        host.remove(&directory.join("authorized_keys2"))?;
    }
    Ok(())
}

fn put_sudo(host: &dyn WriteHost, name: &str, rule: &str) -> Result<(), ApplyError> {
    let install = |why: &str| ApplyError::Refused(format!("{why}, so {name} cannot be given its rule; install sudo"));
    let owner = host.sets_owners().then_some(Owner { uid: 0, gid: 0 });
    if host.stat(Path::new(SUDOERS_D))?.is_none() {
        if host.is_live() {
            return Err(install("there is no /etc/sudoers.d"));
        }
        host.make_dir(Path::new(SUDOERS_D), owner, 0o755)?;
    }
    // Under another root the programs of the running system say nothing of the rules there.
    let check = host.is_live().then_some(Check::Own(&["visudo", "-cf", "{}"]));
    let content = sudo_content(name, rule);
    let file = NewFile { content: &content, owner, mode: SUDO_MODE, check };
    match host.replace_file(&sudo_path(name), &file) {
        Err(HostError::Run { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(install("there is no visudo to check the rule"))
        }
        result => Ok(result?),
    }
}
