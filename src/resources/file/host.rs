// SPDX-License-Identifier: Apache-2.0
//! Files on the host: read in one pass, changed one step at a time.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;

use crate::host::{Check, FileKind, HostError, NewFile, Owner, ReadHost, Stat, WriteHost};
use crate::model::{Declared, Digest, ObjectId, Owned};
use crate::resources::accounts::Names;
use crate::resources::{ApplyError, Content, Interests, ObserveError, Resource};

use super::{Account, Act, Attributes, Desired, Detail, Entry, File, Observed, Operation, Seen, TEXT_MAX, What};

/// A content that differs in size is read up to this size, for its digest.
const READ_MAX: u64 = 16 * 1024 * 1024;

/// The mode of a file of which the repo says none.
const DEFAULT_MODE: u32 = 0o644;

pub(super) fn observe(
    desired: &[Declared<Desired>],
    owned: &Owned,
    host: &dyn ReadHost,
) -> Result<Observed, ObserveError> {
    let mut observed = Observed { sets_owners: host.sets_owners(), names: Names::read(host)?, ..Observed::default() };
    let declared = desired.iter().map(|object| (object.name.as_str(), object.want.as_ref().map(|want| &want.what)));
    for (name, want) in declared {
        observed.enter(name, look(name, want, host));
    }
    for name in owned.of_kind(File::KIND).map(ObjectId::name) {
        if !observed.entries.contains_key(name) && !observed.unknown.contains_key(name) {
            observed.enter(name, look(name, None, host));
        }
    }
    Ok(observed)
}

impl Observed {
    fn enter(&mut self, name: &str, found: Result<Option<Entry>, HostError>) {
        match found {
            Ok(Some(entry)) => drop(self.entries.insert(name.to_owned(), entry)),
            Ok(None) => {}
            Err(error) => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                self.unknown.insert(name.to_owned(), format!("{error}{cause}"));
            }
        }
    }
}

/// Looks at one path; `want` is `None` for what is to go.
fn look(name: &str, want: Option<&What>, host: &dyn ReadHost) -> Result<Option<Entry>, HostError> {
    let path = Path::new(name);
    let Some(stat) = host.stat(path)? else { return Ok(None) };
    let detail = match (stat.kind, want) {
        (FileKind::File, Some(What::File { content: Some(content), .. })) => compare(path, stat, content, host)?,
        (FileKind::Link, Some(What::Link { .. })) => host.read_link(path)?.map_or(Detail::Nothing, Detail::Target),
        (FileKind::Directory, None | Some(What::Directory { exact: true })) => {
            host.list(path)?.map_or(Detail::Nothing, Detail::Names)
        }
        _ => Detail::Nothing,
    };
    Ok(Some(Entry { stat, detail }))
}

fn compare(path: &Path, stat: Stat, content: &Content, host: &dyn ReadHost) -> Result<Detail, HostError> {
    let same_size = usize::try_from(stat.size) == Ok(content.bytes().len());
    if !same_size && stat.size > READ_MAX {
        return Ok(Detail::Differs(Seen { digest: None, text: None }));
    }
    Ok(match host.read(path)? {
        Some(bytes) if bytes == content.bytes() => Detail::Same,
        Some(bytes) => Detail::Differs(Seen {
            digest: Some(Digest::of(&bytes)),
            text: if bytes.len() < TEXT_MAX { String::from_utf8(bytes).ok() } else { None },
        }),
        // Removed between the two looks; the next cycle sees it gone.
        None => Detail::Differs(Seen { digest: None, text: None }),
    })
}

/// Enters the paths of declared and owned objects, and the directories of which the names count.
pub(super) fn interests(desired: &[Declared<Desired>], owned: &Owned, interests: &mut Interests) {
    for declared in desired {
        let object = ObjectId::new(File::KIND, &declared.name);
        interests.place(&declared.name, &object);
        let Some(want) = &declared.want else { continue };
        if want.what == (What::Directory { exact: true }) {
            interests.names_in(&declared.name, &object);
        }
        if let Some(Account::Name(name)) = &want.owner {
            interests.user(name);
        }
        if let Some(Account::Name(name)) = &want.group {
            interests.group(name);
        }
    }
    let declared: HashSet<&str> = desired.iter().map(|declared| declared.name.as_str()).collect();
    for object in owned.of_kind(File::KIND).filter(|object| !declared.contains(object.name())) {
        interests.place(object.name(), object);
        // If it is a directory, it goes once it is empty.
        interests.names_in(object.name(), object);
    }
}

pub(super) fn apply(operation: &Operation, host: &dyn WriteHost) -> Result<(), ApplyError> {
    let path = operation.path.as_path();
    match &operation.act {
        Act::Refuse(why) => return Err(ApplyError::Refused(why.clone())),
        Act::Leave => {}
        Act::Remove => remove(path, host)?,
        Act::Attributes(attributes) => {
            let Some(there) = host.stat(path)? else {
                return Err(ApplyError::Refused(format!("{} is gone since the plan was made", path.display())));
            };
            host.set_attributes(path, owner(attributes, Some(there), host)?, attributes.mode)?;
        }
        Act::Create(attributes) => {
            let there = prepare(path, &[FileKind::File], host)?;
            let owner = owner(attributes, there, host)?;
            if there.is_some() {
                host.set_attributes(path, owner, attributes.mode)?;
            } else {
                let mode = attributes.mode.unwrap_or(DEFAULT_MODE);
                host.replace_file(path, &NewFile { content: b"", owner, mode, check: None })?;
            }
        }
        Act::Write { content, check, attributes } => {
            let there = prepare(path, &[FileKind::File, FileKind::Link], host)?;
            host.replace_file(
                path,
                &NewFile {
                    content: content.bytes(),
                    owner: owner(attributes, there, host)?,
                    mode: attributes.mode.unwrap_or(DEFAULT_MODE),
                    // Under another root the command would judge by the wrong system, so it is not tried.
                    check: check.as_deref().filter(|_| host.is_live()).map(Check::Declared),
                },
            )?;
        }
        Act::Directory { attributes, strays } => {
            let there = prepare(path, &[FileKind::Directory], host)?;
            let owner = owner(attributes, there, host)?;
            let mode = attributes.mode.or(there.map(|stat| stat.mode)).unwrap_or(0o755);
            host.make_dir(path, owner, mode)?;
            for name in strays {
                host.remove_tree(&path.join(name))?;
            }
        }
        Act::Link { target, attributes } => {
            let there = prepare(path, &[FileKind::Link], host)?;
            host.make_link(path, target, owner(attributes, there, host)?)?;
        }
    }
    Ok(())
}

/// Sees that something can be made at `path`: the parent is there, and what is at `path` is of a kind that can be
/// replaced at once or is taken away here. Returns what is still there.
///
/// A missing parent is not made: nobody said who shall own it, and it is more often a slip than a wish.
fn prepare(path: &Path, replaceable: &[FileKind], host: &dyn WriteHost) -> Result<Option<Stat>, ApplyError> {
    let Some(there) = host.stat(path)? else {
        let parent = path.parent().unwrap_or(path);
        if host.stat(parent)?.is_none() {
            let parent = parent.display();
            return Err(ApplyError::Refused(format!(
                "the directory {parent} does not exist; declare file:{parent} with type: directory"
            )));
        }
        return Ok(None);
    };
    match there.kind {
        kind if replaceable.contains(&kind) => return Ok(Some(there)),
        FileKind::Special => {
            return Err(ApplyError::Refused(format!(
                "{} is a device, socket or FIFO, which hostwrit does not replace; remove it first",
                path.display()
            )));
        }
        FileKind::Directory => remove(path, host)?,
        FileKind::File | FileKind::Link => host.remove(path)?,
    }
    Ok(None)
}

fn remove(path: &Path, host: &dyn WriteHost) -> Result<(), ApplyError> {
    let is_directory = host.stat(path)?.is_some_and(|stat| stat.kind == FileKind::Directory);
    if is_directory && let Some(name) = host.list(path)?.unwrap_or_default().first() {
        return Err(ApplyError::Refused(format!(
            "the directory {path} is not empty: there is {name} in it; remove what is in it first, for instance by \
             declaring the directory with exact: true",
            path = path.display(),
            name = name.display(),
        )));
    }
    Ok(host.remove(path)?)
}

/// Returns the owner to set, or `None` where owners are not set or nothing is asked for.
///
/// Names are looked up only now: the user may have been made by an earlier step.
fn owner(attributes: &Attributes, there: Option<Stat>, host: &dyn WriteHost) -> Result<Option<Owner>, ApplyError> {
    if !host.sets_owners() || (attributes.owner.is_none() && attributes.group.is_none()) {
        return Ok(None);
    }
    let is_named = |account: &Option<Account>| matches!(account, Some(Account::Name(_)));
    let names =
        if is_named(&attributes.owner) || is_named(&attributes.group) { Names::read(host)? } else { Names::default() };
    let missing = |what: &str, name: &str| {
        ApplyError::Refused(format!("there is no {what} {name}; declare {what}:{name}, or install what brings it"))
    };
    let now = there.map_or(Owner { uid: 0, gid: 0 }, |stat| stat.owner);
    let uid = match &attributes.owner {
        None => now.uid,
        Some(Account::Number(uid)) => *uid,
        Some(Account::Name(name)) => names.uid(name).ok_or_else(|| missing("user", name))?,
    };
    let gid = match &attributes.group {
        None => now.gid,
        Some(Account::Number(gid)) => *gid,
        Some(Account::Name(name)) => names.gid(name).ok_or_else(|| missing("group", name))?,
    };
    Ok(Some(Owner { uid, gid }))
}
