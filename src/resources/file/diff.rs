// SPDX-License-Identifier: Apache-2.0
//! What differs between files as declared and as observed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use similar::TextDiff;

use crate::host::FileKind;
use crate::model::ownership::{OwnershipChange, WHOLE};
use crate::model::{Action, Change, Declared, Mode, ObjectId, Origin, Owned, Shown, Step};
use crate::resources::{Content, Resource};

use super::resolve::reserved;
use super::{Account, Act, Attributes, Desired, Detail, Entry, File, Observed, Operation, Seen, What};

/// Longer texts than this are not compared line by line: nobody would read the result.
const LINES_MAX: usize = 2000;

/// As many removed entries of a directory are named; the others are counted.
const NAMED_MAX: usize = 20;

/// Removals first, children before parents; then the rest, parents before children.
pub(super) fn diff(desired: &[Declared<Desired>], observed: &Observed, owned: &Owned) -> Vec<Step<Operation>> {
    let declared: Declarations<'_> = desired.iter().map(|object| (object.name.as_str(), object)).collect();
    let (mut steps, going) = removals(&declared, observed, owned);
    for (path, object) in &declared {
        if let Some(want) = &object.want {
            let strays = strays(path, &declared, &going, want, observed);
            steps.extend(difference(object, want, &strays, &declared, observed, owned));
        }
    }
    steps
}

type Declarations<'a> = BTreeMap<&'a str, &'a Declared<Desired>>;

/// Whether the repo wants something below the directory.
fn wants_below(declared: &Declarations<'_>, directory: &str) -> bool {
    let below = format!("{directory}/");
    declared
        .range(below.as_str()..)
        .take_while(|(path, _)| path.starts_with(&below))
        .any(|(_, object)| object.want.is_some())
}

/// Returns the steps that remove something, and the paths at which nothing will be after them.
fn removals(
    declared: &Declarations<'_>,
    observed: &Observed,
    owned: &Owned,
) -> (Vec<Step<Operation>>, BTreeSet<PathBuf>) {
    let absent =
        declared.iter().filter(|(_, object)| object.want.is_none()).map(|(path, object)| (*path, Some(*object)));
    // Both are sorted, so one pass over both finds what is owned and no longer declared.
    let mut names = declared.keys().peekable();
    let left = owned.of_kind(File::KIND).map(ObjectId::name).filter(move |path| {
        while names.next_if(|name| *name < path).is_some() {}
        names.peek() != Some(&path)
    });
    let candidates: BTreeMap<&str, Option<&Declared<Desired>>> = absent.chain(left.map(|path| (path, None))).collect();

    let mut steps = Vec::new();
    let mut going = BTreeSet::new();
    for (path, object) in candidates.into_iter().rev() {
        let id = ObjectId::new(File::KIND, path);
        if let Some(why) = observed.unknown.get(path) {
            steps.push(unknown(path, Action::Remove, Shown::Nothing, object, why));
            continue;
        }
        let entry = observed.entries.get(path);
        if entry.is_none() && !owned.is_whole(&id) {
            continue;
        }
        // A directory that holds more than hostwrit put there is removed only if the repo says so in words.
        let keeps = object.is_none()
            && entry.is_some_and(|entry| match &entry.detail {
                Detail::Names(names) => names.iter().any(|name| !going.contains(&Path::new(path).join(name))),
                _ => false,
            })
            || object.is_none() && wants_below(declared, path);
        if !keeps {
            going.insert(PathBuf::from(path));
        }
        let to = if keeps { Shown::text("left, for it is not empty") } else { Shown::Nothing };
        let from = entry.map(|entry| Shown::text(type_name(entry.stat.kind)));
        steps.push(Step {
            object: id,
            action: Action::Remove,
            // Without an entry it is gone already, and the step only ends the ownership.
            changes: from.map(|from| Change::new("type", from, to, None)).into_iter().collect(),
            origin: object.map(|object| object.origin.object.clone()),
            ownership: OwnershipChange { claims: [].into(), gives_up: [WHOLE.to_owned()].into() },
            operation: Operation { path: path.into(), act: if keeps { Act::Leave } else { Act::Remove } },
        });
    }
    (steps, going)
}

/// Returns what is in an exact directory and does not belong there.
fn strays(
    path: &str,
    declared: &Declarations<'_>,
    going: &BTreeSet<PathBuf>,
    want: &Desired,
    observed: &Observed,
) -> Vec<OsString> {
    let (What::Directory { exact: true }, Some(Entry { detail: Detail::Names(names), .. })) =
        (&want.what, observed.entries.get(path))
    else {
        return Vec::new();
    };
    let belongs = |name: &OsStr| {
        let below = Path::new(path).join(name);
        let is_declared =
            |below: &str| declared.contains_key(below) || wants_below(declared, below) || reserved(below).is_some();
        going.contains(&below) || below.to_str().is_some_and(is_declared)
    };
    names.iter().filter(|name| !belongs(name)).cloned().collect()
}

/// Returns the step that makes one object as it shall be, if it is not so.
fn difference(
    object: &Declared<Desired>,
    want: &Desired,
    strays: &[OsString],
    declared: &Declarations<'_>,
    observed: &Observed,
    owned: &Owned,
) -> Option<Step<Operation>> {
    if let Some(why) = observed.unknown.get(&object.name) {
        let to = Shown::text(type_name(want.what.kind()));
        return Some(unknown(&object.name, Action::Alter, to, Some(object), why));
    }
    let entry = observed.entries.get(&object.name);
    if entry.is_none() && want.is_brought() {
        return given_up(object, owned);
    }
    let changes = Comparison { want, origin: &object.origin, observed, entry }.changes(strays);
    if changes.is_empty() {
        return None;
    }
    let is_there = entry.is_some_and(|entry| entry.stat.kind == want.what.kind());
    let attributes = Attributes { owner: want.owner.clone(), group: want.group.clone(), mode: want.mode };
    let act = match &want.what {
        What::File { content: Some(content), check } => {
            let same = entry.is_some_and(|entry| entry.detail == Detail::Same);
            if is_there && same {
                Act::Attributes(attributes)
            } else {
                Act::Write { content: content.clone(), check: check.clone(), attributes }
            }
        }
        What::File { content: None, .. } => match entry {
            None => Act::Create(attributes),
            Some(_) if is_there => Act::Attributes(attributes),
            Some(entry) => Act::Refuse(format!(
                "{} is a {} and shall be a file, but the repo gives no content for it; declare content, or the right type",
                object.name,
                type_name(entry.stat.kind)
            )),
        },
        What::Directory { .. } => Act::Directory { attributes, strays: strays.to_vec() },
        What::Link { target } => Act::Link { target: target.clone(), attributes },
    };
    let act = match link_above(&object.name, declared) {
        None => act,
        Some(link) => Act::Refuse(format!(
            "{} lies below {link}, which the repo declares as a link; declare it under the link's target",
            object.name
        )),
    };
    let (action, ownership) = match entry {
        None => (Action::Add, OwnershipChange::claim_whole()),
        Some(_) => (Action::Alter, OwnershipChange::default()),
    };
    Some(Step {
        object: ObjectId::new(File::KIND, &object.name),
        action,
        changes,
        origin: Some(object.origin.object.clone()),
        ownership,
        operation: Operation { path: PathBuf::from(&object.name), act },
    })
}

/// Returns the step after which a file that somebody else makes, and that is not there, is hostwrit's no more, if it was.
fn given_up(object: &Declared<Desired>, owned: &Owned) -> Option<Step<Operation>> {
    let id = ObjectId::new(File::KIND, &object.name);
    (object.mode == Mode::Enforce && owned.is_whole(&id)).then(|| Step {
        object: id,
        action: Action::Remove,
        changes: Vec::new(),
        origin: Some(object.origin.object.clone()),
        ownership: OwnershipChange { claims: [].into(), gives_up: [WHOLE.to_owned()].into() },
        // Whoever makes it may just have done so.
        operation: Operation { path: PathBuf::from(&object.name), act: Act::Leave },
    })
}

/// Returns the step for what could not be looked at: it says so, and when carried out fails with the reason.
fn unknown(path: &str, action: Action, to: Shown, object: Option<&Declared<Desired>>, why: &str) -> Step<Operation> {
    Step {
        object: ObjectId::new(File::KIND, path),
        action,
        changes: vec![Change::new("type", Shown::text("unknown"), to, None)],
        origin: object.map(|object| object.origin.object.clone()),
        ownership: OwnershipChange::default(),
        operation: Operation { path: path.into(), act: Act::Refuse(why.to_owned()) },
    }
}

/// Returns the declared link through which `path` would be reached. By such a way one path is two objects, and who may
/// change the one could change the other.
fn link_above<'a>(path: &str, declared: &Declarations<'a>) -> Option<&'a str> {
    let slashes = path.match_indices('/').map(|(place, _)| place).filter(|place| *place > 0);
    slashes
        .filter_map(|place| declared.get_key_value(&path[..place]))
        .find(|(_, object)| matches!(object.want, Some(Desired { what: What::Link { .. }, .. })))
        .map(|(path, _)| *path)
}

/// One object beside what there is.
struct Comparison<'a> {
    want: &'a Desired,
    origin: &'a Origin,
    observed: &'a Observed,
    entry: Option<&'a Entry>,
}

impl Comparison<'_> {
    fn changes(&self, strays: &[OsString]) -> Vec<Change> {
        let kind = self.want.what.kind();
        let mut changes = Vec::new();
        if self.entry.is_none_or(|entry| entry.stat.kind != kind) {
            let from = self.entry.map(|entry| type_name(entry.stat.kind));
            changes.push(self.change("type", from.into(), Shown::text(type_name(kind))));
        }
        changes.extend(match &self.want.what {
            What::File { content, .. } => content.as_ref().and_then(|content| self.content(content)),
            What::Link { target } => self.target(target),
            What::Directory { .. } => None,
        });
        if self.observed.sets_owners {
            changes.extend(self.owner());
            changes.extend(self.group());
        }
        changes.extend(self.mode());
        if !strays.is_empty() {
            changes.push(self.change("exact", list(strays), Shown::text("removed")));
        }
        changes
    }

    /// What is at the path, if it is of the right type: attributes of another thing mean nothing.
    fn present(&self) -> Option<&Entry> {
        self.entry.filter(|entry| entry.stat.kind == self.want.what.kind())
    }

    fn change(&self, field: &str, from: Shown, to: Shown) -> Change {
        Change::new(field, from, to, self.origin.fields.get(field))
    }

    fn content(&self, content: &Content) -> Option<Change> {
        let field = ["content", "source", "template"]
            .into_iter()
            .find(|field| self.origin.fields.contains_key(*field))
            .unwrap_or("content");
        let size = content.bytes().len();
        let shown = || Shown::text(format!("{} ({size} bytes)", content.digest().short()));
        let Some(entry) = self.present() else { return Some(self.change(field, Shown::Nothing, shown())) };
        let Detail::Differs(seen) = &entry.detail else { return None };
        let from = match seen.digest {
            Some(digest) => format!("{} ({} bytes)", digest.short(), entry.stat.size),
            None => format!("{} bytes", entry.stat.size),
        };
        let mut change = self.change(field, Shown::text(from), shown());
        let everybody_reads = |mode: u32| mode & 0o004 != 0;
        if everybody_reads(entry.stat.mode) && self.want.mode.is_some_and(everybody_reads) {
            change.diff = text_diff(seen, content);
        }
        Some(change)
    }

    fn target(&self, target: &Path) -> Option<Change> {
        let now = self.present().and_then(|entry| match &entry.detail {
            Detail::Target(now) => Some(now.as_path()),
            _ => None,
        });
        (now != Some(target))
            .then(|| self.change("target", now.map(Path::display).into(), Shown::text(target.display())))
    }

    fn owner(&self) -> Option<Change> {
        let names = &self.observed.names;
        let want = self.want.owner.as_ref()?;
        let now = self.present().map(|entry| entry.stat.owner.uid);
        let number = number(want, |name| names.uid(name));
        self.account("owner", want, number, now, |uid| names.user(uid))
    }

    fn group(&self) -> Option<Change> {
        let names = &self.observed.names;
        let want = self.want.group.as_ref()?;
        let now = self.present().map(|entry| entry.stat.owner.gid);
        let number = number(want, |name| names.gid(name));
        self.account("group", want, number, now, |gid| names.group(gid))
    }

    fn account<'n>(
        &self,
        field: &str,
        want: &Account,
        number: Option<u32>,
        now: Option<u32>,
        name: impl Fn(u32) -> Option<&'n str>,
    ) -> Option<Change> {
        // A name without a number is that of a user who is yet to be made.
        if now.is_some() && now == number {
            return None;
        }
        let named = |number: u32| name(number).map_or_else(|| number.to_string(), str::to_owned);
        let to = match want {
            Account::Name(name) => name.clone(),
            Account::Number(number) => named(*number),
        };
        Some(self.change(field, now.map(named).into(), Shown::text(to)))
    }

    fn mode(&self) -> Option<Change> {
        let want = self.want.mode?;
        let now = self.present().map(|entry| entry.stat.mode);
        let shown = |mode: u32| format!("{mode:04o}");
        (now != Some(want)).then(|| self.change("mode", now.map(shown).into(), Shown::text(shown(want))))
    }
}

fn number(account: &Account, find: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    match account {
        Account::Name(name) => find(name),
        Account::Number(number) => Some(*number),
    }
}

/// Returns a unified diff if both sides are short text.
fn text_diff(seen: &Seen, content: &Content) -> Option<String> {
    let new = std::str::from_utf8(content.bytes()).ok().filter(|text| text.len() < super::TEXT_MAX)?;
    let old = seen.text.as_deref()?;
    // Other control characters could play tricks on the terminal of whoever reads the plan.
    let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    let is_short = |text: &str| text.lines().nth(LINES_MAX).is_none();
    [old, new]
        .into_iter()
        .all(|text| is_text(text) && is_short(text))
        .then(|| TextDiff::from_lines(old, new).unified_diff().context_radius(3).to_string())
}

fn list(names: &[OsString]) -> Shown {
    let named = names.iter().take(NAMED_MAX).map(|name| name.to_string_lossy().escape_debug().to_string());
    let more = names.len().checked_sub(NAMED_MAX).filter(|more| *more > 0).map(|more| format!("{more} more"));
    Shown::list(named.chain(more))
}

fn type_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Link => "link",
        FileKind::Special => "device, socket or FIFO",
    }
}
