// SPDX-License-Identifier: Apache-2.0
//! What has to change on a unit. Pure.

use std::collections::BTreeSet;

use similar::TextDiff;

use crate::model::ownership::{OwnershipChange, Parts, WHOLE};
use crate::model::{Action, Change, Declared, Location, ObjectId, Owned, Shown, Step};
use crate::resources::triggers::{Reaction, Trigger};
use crate::resources::{Content, Resource};

use super::{Act, DesiredUnit, Observed, ObservedUnit, OnDisk, Operation, Service, UnitName};
use super::{drop_in_part, owned_drop_ins};

/// The permission bits of a unit file: everybody may read it, so it is no place for secrets.
pub(super) const MODE: u32 = 0o644;
const OWNER: (u32, u32) = (0, 0);

pub(super) fn diff(desired: &[Declared<DesiredUnit>], observed: &Observed, owned: &Owned) -> Vec<Step<Operation>> {
    let mut steps = Vec::new();
    for declared in desired {
        let Some(seen) = observed.units.get(&declared.name) else { continue };
        match &declared.want {
            Some(want) => {
                let unit = Unit { declared, want, seen, live: observed.live, owned };
                steps.extend(unit.configure());
                steps.extend(unit.load());
                steps.extend(unit.mask());
                steps.extend(unit.enable());
                steps.extend(unit.run());
            }
            None => steps.extend(remove(&id(&declared.name), seen, owned, Some(&declared.origin.object))),
        }
    }
    let names: BTreeSet<&str> = desired.iter().map(|declared| declared.name.as_str()).collect();
    for object in owned.of_kind(Service::KIND).filter(|object| !names.contains(object.name())) {
        if let Some(seen) = observed.units.get(object.name()) {
            steps.extend(remove(object, seen, owned, None));
        }
    }
    steps
}

/// Whether a restart or reload of the declared unit makes sense: it shall run, and it does.
pub(in crate::resources) fn takes_reactions(declared: &Declared<DesiredUnit>, observed: &Observed) -> bool {
    let (Some(want), Some(seen)) = (&declared.want, observed.units.get(&declared.name)) else { return false };
    let shall_run = want.running != Some(false) && want.masked != Some(true);
    observed.live && shall_run && seen.runs()
}

/// Whether the step starts a unit that was stopped, which makes a restart superfluous.
pub(in crate::resources) fn starts(operation: &Operation) -> bool {
    operation.act == Act::Run(true)
}

/// Returns the step that restarts or reloads the declared unit.
pub(in crate::resources) fn react(
    declared: &Declared<DesiredUnit>,
    want: &DesiredUnit,
    trigger: &Trigger,
) -> Step<Operation> {
    let object = id(&declared.name);
    let done = match trigger.reaction {
        Reaction::Restart => "restarted",
        Reaction::Reload => "reloaded",
    };
    let because = if trigger.because == object {
        "its own files changed".to_owned()
    } else {
        format!("{} changed", trigger.because)
    };
    let asks = match trigger.reaction {
        Reaction::Restart if want.restart_when.contains(&trigger.because) => "restart_when",
        Reaction::Reload if want.reload_when.contains(&trigger.because) => "reload_when",
        _ => "unit",
    };
    let origin = declared.origin.of(asks);
    let to = Shown::text(format!("{done} ({because})"));
    let change = Change::new("running", Shown::text("running"), to, Some(origin));
    let mut step = alter(declared, want, change, Act::React(trigger.clone()));
    if trigger.because == object {
        step.operation.needs.push(object);
    }
    step
}

/// Returns the step that has systemd load the declared unit's changed files.
pub(in crate::resources) fn loads(declared: &Declared<DesiredUnit>, want: &DesiredUnit) -> Step<Operation> {
    let (from, to) = (Shown::text("older than its files"), Shown::text("as its files"));
    alter(declared, want, Change::new("loaded", from, to, Some(&declared.origin.object)), Act::Load)
}

/// One declared unit beside what was read of it.
struct Unit<'a> {
    declared: &'a Declared<DesiredUnit>,
    want: &'a DesiredUnit,
    seen: &'a ObservedUnit,
    live: bool,
    owned: &'a Owned,
}

/// What one `Configure` step will do.
#[derive(Default)]
struct Files {
    write: Vec<(String, Content)>,
    remove: Vec<String>,
    changes: Vec<Change>,
    ownership: OwnershipChange,
}

impl Unit<'_> {
    fn configure(&self) -> Option<Step<Operation>> {
        let object = id(&self.declared.name);
        let UnitFiles { mut files, makes_unit } = self.unit_file(&object);
        let dropped = owned_drop_ins(self.owned, &object).filter(|name| !self.want.drop_ins.contains_key(*name));
        let drop_ins = self.want.drop_ins.iter().map(|(name, content)| (name.as_str(), Some(content)));
        for (name, content) in drop_ins.chain(dropped.map(|name| (name, None))) {
            let on_disk = self.seen.drop_ins.get(name).unwrap_or(&OnDisk::Missing);
            let origin = self.declared.origin.of("drop_ins");
            let field = format!("drop_ins.{name}");
            files.compare(&field, self.want.unit.drop_in(name), on_disk, content, &drop_in_part(name), origin);
        }
        if files.is_empty() {
            return None;
        }
        Some(Step {
            object,
            action: if makes_unit { Action::Add } else { Action::Alter },
            changes: files.changes,
            origin: Some(self.declared.origin.object.clone()),
            ownership: files.ownership,
            operation: Operation {
                unit: self.want.unit.clone(),
                act: Act::Configure { write: files.write, remove: files.remove },
                needs: Vec::new(),
            },
        })
    }

    fn unit_file(&self, object: &ObjectId) -> UnitFiles {
        let mut files = Files::default();
        // Without one in the repo, only a unit file that hostwrit made before is its business.
        if self.want.file.is_some() || self.owned.is_whole(object) {
            let origin = self.declared.origin.of("unit");
            let path = self.want.unit.file();
            files.compare("unit", path, &self.seen.file, self.want.file.as_ref(), WHOLE, origin);
        }
        let makes_unit = !files.write.is_empty() && self.seen.file_state.is_empty();
        UnitFiles { files, makes_unit }
    }

    /// A change from outside that systemd has not loaded yet; what `configure` writes it loads itself.
    fn load(&self) -> Option<Step<Operation>> {
        if !self.live || !self.seen.needs_reload || self.configure().is_some() {
            return None;
        }
        Some(loads(self.declared, self.want))
    }

    fn mask(&self) -> Option<Step<Operation>> {
        let is_masked = match self.want.masked? {
            true => self.seen.file_state == "masked",
            // A unit file takes the place of the mask by itself.
            false if self.want.file.is_some() && matches!(self.seen.file, OnDisk::Other(_)) => return None,
            false => self.seen.file_state.starts_with("masked"),
        };
        let wanted = self.want.masked?;
        (is_masked != wanted).then(|| self.alter("masked", yes_no(is_masked), yes_no(wanted), Act::Mask(wanted)))
    }

    fn enable(&self) -> Option<Step<Operation>> {
        let wanted = self.want.enabled?;
        // Only `enabled` outlasts a reboot; `enabled-runtime` does not. What a mask hides is not known until it is gone.
        if (self.seen.file_state == "enabled") == wanted && !self.unmasks() {
            return None;
        }
        let from = match self.seen.file_state.as_str() {
            "" => Shown::Nothing,
            state => Shown::text(state),
        };
        let to = Shown::text(if wanted { "enabled" } else { "disabled" });
        Some(self.alter("enabled", from, to, Act::Enable(wanted)))
    }

    /// Whether the steps take a mask away, so that the unit file below it shows.
    fn unmasks(&self) -> bool {
        self.seen.file_state.starts_with("masked")
            && (self.want.masked == Some(false) || self.want.file.is_some() && self.seen.file != OnDisk::Missing)
    }

    fn run(&self) -> Option<Step<Operation>> {
        let wanted = self.want.running.filter(|_| self.live)?;
        if self.seen.runs() == wanted {
            return None;
        }
        let from = Shown::text(self.seen.active.as_deref().unwrap_or("inactive"));
        let to = Shown::text(if wanted { "active" } else { "inactive" });
        Some(self.alter("running", from, to, Act::Run(wanted)))
    }

    fn alter(&self, field: &str, from: Shown, to: Shown, act: Act) -> Step<Operation> {
        let needs_files = matches!(act, Act::Run(true) | Act::Enable(true)) && self.configure().is_some();
        let change = Change::new(field, from, to, Some(self.declared.origin.of(field)));
        let mut step = alter(self.declared, self.want, change, act);
        if needs_files {
            step.operation.needs.push(step.object.clone());
        }
        step
    }
}

struct UnitFiles {
    files: Files,
    /// The unit had no file at all, so the step adds it.
    makes_unit: bool,
}

impl Files {
    fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Compares one file; `want` is `None` for one that hostwrit made and the repo no longer has.
    fn compare(
        &mut self,
        field: &str,
        path: String,
        on_disk: &OnDisk,
        want: Option<&Content>,
        part: &str,
        origin: &Location,
    ) {
        let Some(want) = want else {
            let mut change = Change::new(field, shown(on_disk), Shown::Nothing, Some(origin));
            change.diff = text_diff(on_disk, &[]);
            self.changes.push(change);
            self.remove.push(path);
            self.ownership.gives_up.insert(part.to_owned());
            return;
        };
        let change = match on_disk {
            OnDisk::File { content, mode, owner } if content == want => {
                let owner_is_right = owner.is_none_or(|owner| owner == OWNER);
                if *mode == MODE && owner_is_right {
                    return;
                }
                Change::new(field, attributes(*mode, *owner), attributes(MODE, owner.map(|_| OWNER)), Some(origin))
            }
            _ => {
                let mut change = Change::new(field, shown(on_disk), Shown::text(want.digest().short()), Some(origin));
                change.diff = text_diff(on_disk, want.bytes());
                change
            }
        };
        // A file that somebody else made stays theirs, even with our content.
        if !matches!(on_disk, OnDisk::File { .. }) {
            self.ownership.claims.insert(part.to_owned());
        }
        self.changes.push(change);
        self.write.push((path, want.clone()));
    }
}

impl ObservedUnit {
    /// Whether the unit runs or is about to.
    fn runs(&self) -> bool {
        matches!(self.active.as_deref(), Some("active" | "activating" | "reloading" | "refreshing"))
    }
}

/// Removes what hostwrit made of a unit, or what the repo says shall be absent; what a package brought stays.
fn remove(object: &ObjectId, seen: &ObservedUnit, owned: &Owned, origin: Option<&Location>) -> Option<Step<Operation>> {
    let unit = UnitName::parse(object.name()).ok()?;
    let gives_up: Parts = owned.parts(object).map(str::to_owned).collect();
    // An explicit `absent: true` also takes away a unit file that the administrator put there.
    let is_asked_for = origin.is_some() && matches!(seen.file, OnDisk::File { .. });
    let whole = gives_up.contains(WHOLE) || is_asked_for;
    if gives_up.is_empty() && !whole {
        return None;
    }
    let mut files = Vec::new();
    let mut changes = Vec::new();
    if whole {
        files.push(unit.file());
        changes.push(Change::new("unit", shown(&seen.file), Shown::Nothing, origin));
        if seen.runs() {
            changes.push(Change::new("running", Shown::text("active"), Shown::text("inactive"), origin));
        }
        if seen.file_state == "enabled" {
            changes.push(Change::new("enabled", Shown::text("enabled"), Shown::text("disabled"), origin));
        }
    }
    for name in owned_drop_ins(owned, object) {
        files.push(unit.drop_in(name));
        let on_disk = seen.drop_ins.get(name).unwrap_or(&OnDisk::Missing);
        changes.push(Change::new(&format!("drop_ins.{name}"), shown(on_disk), Shown::Nothing, origin));
    }
    Some(Step {
        object: object.clone(),
        action: Action::Remove,
        changes,
        origin: origin.cloned(),
        ownership: OwnershipChange { claims: Parts::new(), gives_up },
        operation: Operation { unit, act: Act::Remove { whole, files }, needs: Vec::new() },
    })
}

fn alter(declared: &Declared<DesiredUnit>, want: &DesiredUnit, change: Change, act: Act) -> Step<Operation> {
    let starts = matches!(act, Act::Run(true) | Act::React(_));
    let needs = if starts { want.restart_when.iter().chain(&want.reload_when).cloned().collect() } else { Vec::new() };
    Step {
        object: id(&declared.name),
        action: Action::Alter,
        origin: change.origin.clone(),
        changes: vec![change],
        ownership: OwnershipChange::default(),
        operation: Operation { unit: want.unit.clone(), act, needs },
    }
}

fn id(name: &str) -> ObjectId {
    ObjectId::new(Service::KIND, name)
}

fn yes_no(value: bool) -> Shown {
    Shown::text(if value { "yes" } else { "no" })
}

fn shown(on_disk: &OnDisk) -> Shown {
    match on_disk {
        OnDisk::Missing => Shown::Nothing,
        OnDisk::File { content, .. } => Shown::text(content.digest().short()),
        OnDisk::Other(what) => Shown::text(what),
    }
}

fn attributes(mode: u32, owner: Option<(u32, u32)>) -> Shown {
    Shown::text(match owner {
        Some((uid, gid)) => format!("mode {mode:04o}, owner {uid}:{gid}"),
        None => format!("mode {mode:04o}"),
    })
}

/// Returns a unified diff, unless a side is no text or may not be read by everybody.
fn text_diff(on_disk: &OnDisk, new: &[u8]) -> Option<String> {
    let old = match on_disk {
        OnDisk::File { content, mode, .. } if mode & 0o004 != 0 => content.bytes(),
        OnDisk::File { .. } => return None,
        OnDisk::Missing | OnDisk::Other(_) => &[],
    };
    let (old, new) = (std::str::from_utf8(old).ok()?, std::str::from_utf8(new).ok()?);
    Some(TextDiff::from_lines(old, new).unified_diff().context_radius(3).to_string())
}
