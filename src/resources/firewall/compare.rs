// SPDX-License-Identifier: Apache-2.0
//! Compares what is declared of one kind with what its part of the table holds. Pure, but for observing.
//!
//! Every step loads the whole part, so what is only watched, or may not be loaded, is kept in it as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::host::{ReadHost, Tables, WriteHost};
use crate::model::ownership::{OwnershipChange, WHOLE};
use crate::model::{Action, Change, Declared, Faults, Mode, ObjectId, Origin, Owned, Shown, Step};
use crate::resources::{ApplyError, Contents, Digestible, Interests, ObserveError, Resource};

use super::{Kept, Load, Owner, Table};

/// A kind that has a part of the table: all of a [`Resource`] but what is the same for each of them.
pub trait Filter {
    /// As [`Resource::KIND`].
    const KIND: &'static str;
    /// As [`Resource::KEY`].
    const KEY: &'static str;
    /// As [`Resource::Spec`].
    type Spec: DeserializeOwned + JsonSchema;
    /// As [`Resource::Desired`].
    type Desired: Clone + Debug + Digestible + Send + Sync;
    /// What the table says of one object.
    type Entry: Clone + PartialEq;
    /// Whose part it is.
    const OWNER: Owner;
    /// How much of the table must be read.
    const READS: Tables;

    /// As [`Resource::resolve`].
    ///
    /// # Errors
    /// Every fault of the object, each where it was written.
    fn resolve(name: &str, spec: Self::Spec, origin: &Origin, contents: &dyn Contents)
    -> Result<Self::Desired, Faults>;

    /// Returns what the table shall say of a declared object.
    fn entry(want: &Self::Desired) -> &Self::Entry;

    /// Returns the chains and sets that say all this; nothing where there is nothing to say.
    fn table(entries: &BTreeMap<String, Self::Entry>) -> Table;

    /// Returns what a part says, by the names of objects; `None` for one that is not as [`Filter::table`] writes it.
    fn read(table: &Table) -> BTreeMap<String, Option<Self::Entry>>;

    /// Returns what differs, field by field; of a new object (`from` is `None`), all that is said of it.
    fn changes(from: Option<&Self::Entry>, declared: &Declared<Self::Desired>, want: &Self::Desired) -> Vec<Change>;

    /// Shows an object that goes.
    fn shown(entry: &Self::Entry) -> Change;

    /// Says why what is declared may not be loaded today, if it may not. `today` counts days since 1970.
    fn objection(_want: &Self::Desired, _today: u64) -> Option<String> {
        None
    }
}

impl<F: Filter> Resource for F {
    const KIND: &'static str = F::KIND;
    const KEY: &'static str = F::KEY;
    type Spec = F::Spec;
    type Desired = F::Desired;
    type Observed = Observed<F::Entry>;
    type Operation = Operation;

    fn resolve(name: &str, spec: F::Spec, origin: &Origin, contents: &dyn Contents) -> Result<F::Desired, Faults> {
        F::resolve(name, spec, origin, contents)
    }

    fn observe(
        desired: &[Declared<F::Desired>],
        owned: &Owned,
        host: &dyn ReadHost,
    ) -> Result<Observed<F::Entry>, ObserveError> {
        observe::<F>(desired, owned, host)
    }

    fn diff(desired: &[Declared<F::Desired>], observed: &Observed<F::Entry>, owned: &Owned) -> Vec<Step<Operation>> {
        diff::<F>(desired, observed, owned)
    }

    fn apply(operation: &Operation, host: &dyn WriteHost) -> Result<(), ApplyError> {
        match operation {
            Operation::Load(load) => load.apply(host),
            Operation::Refuse(why) => Err(ApplyError::Refused(why.clone())),
        }
    }

    /// All objects of the kind depend on the table and on what is kept of it.
    fn interests(
        desired: &[Declared<F::Desired>],
        owned: &Owned,
        _: &dyn ReadHost,
        interests: &mut Interests,
    ) -> Result<(), ObserveError> {
        let declared = desired.iter().map(|declared| id::<F>(&declared.name));
        for object in declared.chain(owned.of_kind(F::KIND).cloned()) {
            interests.ruleset(&object);
            interests.place(F::OWNER.kept(), &object);
        }
        Ok(())
    }
}

/// What was read of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed<E> {
    /// By the name of the object; `None` where its rules are none that hostwrit writes.
    pub entries: BTreeMap<String, Option<E>>,
    /// The kind's part of the table.
    pub table: Table,
    /// What is loaded at the next boot.
    pub kept: Kept,
    /// Days since 1970.
    pub today: u64,
}

impl<E> Default for Observed<E> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), table: Table::default(), kept: Kept::default(), today: 0 }
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Loads all objects of the kind.
    Load(Arc<Load>),
    /// Fails, and says why.
    Refuse(String),
}

/// Reads the part of one kind.
fn observe<F: Filter>(
    desired: &[Declared<F::Desired>],
    owned: &Owned,
    host: &dyn ReadHost,
) -> Result<Observed<F::Entry>, ObserveError> {
    // A host without any object of the kind needs no nft.
    if desired.is_empty() && owned.of_kind(F::KIND).next().is_none() {
        return Ok(Observed::default());
    }
    let table = Table::read(&host.ruleset(F::READS)?)?.only(|name| F::OWNER.owns(name));
    let asks_for_day = desired.iter().filter_map(|declared| declared.want.as_ref());
    let asks_for_day = asks_for_day.filter(|want| F::objection(want, u64::MAX).is_some()).count() > 0;
    let today = if asks_for_day { day(host) } else { 0 };
    Ok(Observed { entries: F::read(&table), table, kept: Kept::read(F::OWNER, host)?, today })
}

fn day(host: &dyn ReadHost) -> u64 {
    const DAY: u64 = 24 * 60 * 60;
    host.now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs() / DAY)
}

/// Returns the steps that make the part as declared.
fn diff<F: Filter>(
    desired: &[Declared<F::Desired>],
    observed: &Observed<F::Entry>,
    owned: &Owned,
) -> Vec<Step<Operation>> {
    let load = Arc::new(Load::new(F::OWNER, F::table(&wanted::<F>(desired, observed))));
    let differ = Differ::<F> { observed, owned, load };
    let mut steps = Vec::new();
    for declared in desired {
        match &declared.want {
            Some(want) => steps.extend(differ.put(declared, want)),
            None => steps.extend(differ.take_away(&id::<F>(&declared.name), Some(declared))),
        }
    }
    // The table is hostwrit's as a whole: what somebody else has put there goes like what has left the repo.
    let declared: BTreeSet<&str> = desired.iter().map(|declared| declared.name.as_str()).collect();
    let present = observed.entries.keys().map(|name| id::<F>(name));
    let left: BTreeSet<ObjectId> = present.chain(owned.of_kind(F::KIND).cloned()).collect();
    let left = left.iter().filter(|object| !declared.contains(object.name()));
    steps.extend(left.filter_map(|object| differ.take_away(object, None)));

    let watched: BTreeSet<ObjectId> = desired
        .iter()
        .filter(|declared| declared.mode == Mode::Observe)
        .map(|declared| id::<F>(&declared.name))
        .collect();
    let is_loaded =
        |step: &Step<Operation>| matches!(step.operation, Operation::Load(_)) && !watched.contains(&step.object);
    if !steps.iter().any(is_loaded) {
        steps.extend(differ.put_frame(desired));
    }
    steps
}

/// Returns what the part shall say once all steps are carried out.
fn wanted<F: Filter>(desired: &[Declared<F::Desired>], observed: &Observed<F::Entry>) -> BTreeMap<String, F::Entry> {
    let mut wanted = BTreeMap::new();
    for declared in desired {
        let entry = match (declared.mode, &declared.want) {
            (Mode::Enforce, None) => None,
            (Mode::Enforce, Some(want)) if F::objection(want, observed.today).is_none() => Some(F::entry(want).clone()),
            _ => observed.entries.get(&declared.name).cloned().flatten(),
        };
        wanted.extend(entry.map(|entry| (declared.name.clone(), entry)));
    }
    wanted
}

struct Differ<'o, F: Filter> {
    observed: &'o Observed<F::Entry>,
    owned: &'o Owned,
    load: Arc<Load>,
}

impl<F: Filter> Differ<'_, F> {
    fn put(&self, declared: &Declared<F::Desired>, want: &F::Desired) -> Option<Step<Operation>> {
        let (action, changes) = match self.observed.entries.get(&declared.name) {
            None => (Action::Add, F::changes(None, declared, want)),
            Some(Some(seen)) if seen == F::entry(want) => return None,
            Some(Some(seen)) => (Action::Alter, F::changes(Some(seen), declared, want)),
            Some(None) => (Action::Alter, vec![as_declared("rules", declared)]),
        };
        let operation = match F::objection(want, self.observed.today) {
            Some(why) => Operation::Refuse(why),
            None => Operation::Load(Arc::clone(&self.load)),
        };
        let is_new = action == Action::Add;
        Some(Step {
            object: id::<F>(&declared.name),
            action,
            changes,
            origin: Some(declared.origin.object.clone()),
            ownership: if is_new { OwnershipChange::claim_whole() } else { OwnershipChange::default() },
            operation,
        })
    }

    fn take_away(&self, object: &ObjectId, declared: Option<&Declared<F::Desired>>) -> Option<Step<Operation>> {
        let seen = self.observed.entries.get(object.name());
        // One that is gone already gets its step too, or the record would remember it for ever.
        if seen.is_none() && self.owned.parts(object).next().is_none() {
            return None;
        }
        Some(Step {
            object: object.clone(),
            action: Action::Remove,
            changes: seen.into_iter().flatten().map(F::shown).collect(),
            origin: declared.map(|declared| declared.origin.object.clone()),
            ownership: OwnershipChange { claims: Default::default(), gives_up: [WHOLE.to_owned()].into() },
            operation: Operation::Load(Arc::clone(&self.load)),
        })
    }

    /// What belongs to no single object, the default above all, is put right with the first one.
    fn put_frame(&self, desired: &[Declared<F::Desired>]) -> Option<Step<Operation>> {
        let declared = desired.iter().find(|declared| declared.mode == Mode::Enforce)?;
        let mut changes = Vec::new();
        if self.observed.table != self.load.table {
            changes.push(as_declared("table", declared));
        }
        if !self.observed.kept.is_of(&self.load.table) {
            changes.push(as_declared("at boot", declared));
        }
        (!changes.is_empty()).then(|| Step {
            object: id::<F>(&declared.name),
            action: Action::Alter,
            changes,
            origin: Some(declared.origin.object.clone()),
            ownership: OwnershipChange::default(),
            operation: Operation::Load(Arc::clone(&self.load)),
        })
    }
}

fn as_declared<D>(field: &str, declared: &Declared<D>) -> Change {
    let (from, to) = (Shown::text("changed by somebody else"), Shown::text("as declared"));
    Change::new(field, from, to, Some(&declared.origin.object))
}

fn id<F: Filter>(name: &str) -> ObjectId {
    ObjectId::new(F::KIND, name)
}
