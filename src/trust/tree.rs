// SPDX-License-Identifier: Apache-2.0
//! The closed grammar of a tree: plain files and directories with plain names, in Git's order.

use std::collections::{BTreeMap, BTreeSet};

use gix::hash::Kind as Hash;

use crate::model::git::Oid;

use super::objects::Proven;
use super::refusal::{Code, Refusal};

/// The largest tree object that is looked at.
pub(super) const MAX_BYTES: usize = 4 * 1024 * 1024;
const MAX_NAME: usize = 200;
const MAX_PATH: usize = 1000;
const MAX_DEPTH: usize = 16;
/// Files and directories of one commit.
const MAX_ENTRIES: usize = 200_000;

/// The names that may begin with `.git`: nothing is ever checked out, so they mean nothing here.
const GIT_NAMES: &[&str] = &[".gitattributes", ".github", ".gitignore", ".gitlab-ci.yml"];

/// One line of a tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) is_directory: bool,
    pub(super) id: Oid,
}

/// Takes apart the content of a tree object whose ids are of type `hash`.
pub(super) fn parse(data: &[u8], hash: Hash) -> Result<Vec<Entry>, Refusal> {
    let fault = |why: String| Refusal::new(Code::MalformedTree, why);
    let mut entries: Vec<Entry> = Vec::new();
    let mut folded = BTreeSet::new();
    let mut rest = data;
    while !rest.is_empty() {
        let cut = || fault("a tree ends in the middle of an entry".to_owned());
        let name_end = rest.iter().position(|byte| *byte == 0).ok_or_else(cut)?;
        let (line, after) = (&rest[..name_end], &rest[name_end + 1..]);
        let (id, after) = after.split_at_checked(hash.len_in_bytes()).ok_or_else(cut)?;
        rest = after;

        let space = line.iter().position(|byte| *byte == b' ').ok_or_else(cut)?;
        let (mode, name) = (&line[..space], &line[space + 1..]);
        let shown = String::from_utf8_lossy(name).escape_debug().to_string();
        let name = allowed_name(name).map_err(|why| fault(format!("the name \"{shown}\" {why}")))?;
        let is_directory = match mode {
            b"100644" | b"100755" => false,
            b"40000" => true,
            b"120000" => return Err(fault(format!("{shown} is a symbolic link"))),
            b"160000" => return Err(fault(format!("{shown} is a submodule"))),
            _ => return Err(fault(format!("{shown} has the mode {}", String::from_utf8_lossy(mode).escape_debug()))),
        };
        let id = Oid::try_from(id).map_err(|_| cut())?;
        let entry = Entry { name: name.to_owned(), is_directory, id };
        if entries.last().is_some_and(|before| sort_key(before) >= sort_key(&entry)) {
            return Err(fault(format!("{shown} is not in its place in the order")));
        }
        if !folded.insert(name.to_ascii_lowercase()) {
            return Err(fault(format!("{shown} differs from another name only by upper and lower case")));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Git sorts a directory as if its name ended with a slash.
fn sort_key(entry: &Entry) -> Vec<u8> {
    let mut key = entry.name.clone().into_bytes();
    if entry.is_directory {
        key.push(b'/');
    }
    key
}

fn allowed_name(name: &[u8]) -> Result<&str, &'static str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._@-".contains(byte);
    let name = std::str::from_utf8(name).ok().filter(|name| name.bytes().all(|byte| plain(&byte)));
    let name = name.ok_or("has other characters than letters, digits and . _ @ -")?;
    if name.is_empty() || name.len() > MAX_NAME {
        return Err("is empty or too long");
    }
    if name == "." || name == ".." {
        return Err("is no name");
    }
    if name.to_ascii_lowercase().starts_with(".git") && !GIT_NAMES.contains(&name) {
        return Err("means something to git");
    }
    Ok(name)
}

/// Returns the entry `name` of the tree `id`, if there is one of that type.
pub(super) fn find(objects: &Proven<'_>, id: &Oid, name: &str, is_directory: bool) -> Result<Option<Oid>, Refusal> {
    let entries = objects.tree(id)?;
    Ok(entries.iter().find(|entry| entry.name == name && entry.is_directory == is_directory).map(|entry| entry.id))
}

/// Returns the file at `path` below the tree `id`, if there is one.
pub(super) fn find_file(objects: &Proven<'_>, id: &Oid, path: &str) -> Result<Option<Oid>, Refusal> {
    let (directories, file) = path.rsplit_once('/').map_or((None, path), |(before, file)| (Some(before), file));
    let mut tree = *id;
    for directory in directories.into_iter().flat_map(|path| path.split('/')) {
        match find(objects, &tree, directory, true)? {
            Some(id) => tree = id,
            None => return Ok(None),
        }
    }
    find(objects, &tree, file, false)
}

/// Returns every file below the tree `root`, by path.
pub(super) fn list(objects: &Proven<'_>, root: &Oid) -> Result<BTreeMap<String, Oid>, Refusal> {
    let mut files = BTreeMap::new();
    let mut seen = 0;
    let mut todo = vec![(String::new(), 0, *root)];
    while let Some((prefix, depth, tree)) = todo.pop() {
        for entry in objects.tree(&tree)?.iter() {
            let path = format!("{prefix}{}", entry.name);
            seen += 1;
            let fault = |why: &str| Refusal::new(Code::MalformedTree, format!("{path}: {why}"));
            if seen > MAX_ENTRIES {
                return Err(fault(&format!("there are more than {MAX_ENTRIES} files and directories")));
            }
            if path.len() > MAX_PATH || depth > MAX_DEPTH {
                return Err(fault("the path is too long or too deep"));
            }
            if entry.is_directory {
                todo.push((format!("{path}/"), depth + 1, entry.id));
            } else {
                files.insert(path, entry.id);
            }
        }
    }
    Ok(files)
}
