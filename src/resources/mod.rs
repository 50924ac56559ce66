// SPDX-License-Identifier: Apache-2.0
//! The kinds of object, and the one list of them.
//!
//! A kind is a folder: `mod.rs` (what the repo says, what the host is, what a step does), `diff.rs` (pure),
//! `host.rs` (observe, apply). A kind never names another kind; what runs before what is said in [`order`] alone.

pub mod accounts;
pub mod blocklist;
pub mod check;
pub mod content;
pub mod digest;
pub mod egress;
pub mod file;
pub mod findings;
pub mod firewall;
pub mod group;
pub mod interests;
pub mod order;
pub mod part;
pub mod port;
pub mod service;
pub mod shelf;
pub mod triggers;
pub mod user;
pub mod watchlist;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::host::{HostError, ReadHost, WriteHost};
use crate::model::{Declared, Digest, Faults, Limits, Maintenance, Mode, ObjectId, Origin, Owned, Step};

pub use content::{Content, Contents};
pub use digest::Digestible;
pub use file::shelf::ShelfError;
pub use interests::Interests;
pub use part::Part;
pub use shelf::Shelf;
pub use triggers::Pending;
pub use watchlist::{Concerned, Watchlist};

/// A kind of thing that hostwrit keeps as declared, e.g. users.
pub trait Resource {
    /// The word before the colon in an object's identity: `user`.
    const KIND: &'static str;
    /// The top-level key in a host file or profile: `users`.
    const KEY: &'static str;
    /// The object as the repo writes it. Every field is optional, so that layers can be merged field by field.
    type Spec: DeserializeOwned + JsonSchema;
    /// The object as it shall be: contents read, templates rendered, values checked.
    type Desired: Clone + std::fmt::Debug + Digestible + Send + Sync;
    /// All that `diff` needs to know of the host.
    type Observed;
    /// What `apply` carries out.
    type Operation: Clone + std::fmt::Debug + Send + Sync;

    /// Checks one merged object and completes it. Pure but for `contents`.
    ///
    /// # Errors
    /// Every fault of the object, each where it was written.
    fn resolve(name: &str, spec: Self::Spec, origin: &Origin, contents: &dyn Contents)
    -> Result<Self::Desired, Faults>;

    /// Reads the host, in bulk, and never changes it.
    ///
    /// # Errors
    /// The host cannot be read, or what it says cannot be understood.
    fn observe(
        desired: &[Declared<Self::Desired>],
        owned: &Owned,
        host: &dyn ReadHost,
    ) -> Result<Self::Observed, ObserveError>;

    /// Pure. The same inputs always give the same steps in the same order. Objects of `owned` that are not in `desired`
    /// are removed; other objects are left alone.
    fn diff(
        desired: &[Declared<Self::Desired>],
        observed: &Self::Observed,
        owned: &Owned,
    ) -> Vec<Step<Self::Operation>>;

    /// Carries out one step. Doing it twice does no harm.
    ///
    /// # Errors
    /// The step could not be carried out whole.
    fn apply(operation: &Self::Operation, host: &dyn WriteHost) -> Result<(), ApplyError>;

    /// Enters the places and units that `observe` looks at, so that a change of them is seen when it happens.
    ///
    /// # Errors
    /// The host cannot be asked where something is.
    fn interests(
        desired: &[Declared<Self::Desired>],
        owned: &Owned,
        host: &dyn ReadHost,
        interests: &mut Interests,
    ) -> Result<(), ObserveError>;
}

/// Why a host could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error(transparent)]
    Host(#[from] HostError),
    /// A file of the host is not of the form that its manual page gives.
    #[error("{path}:{line}: {what}")]
    Malformed { path: &'static str, line: usize, what: String },
    /// The packet filter's tables are not of the form that libnftables-json(5) gives.
    #[error("cannot understand the packet filter's ruleset: {0}")]
    Ruleset(String),
}

/// Why a step could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Host(#[from] HostError),
    /// The host is not as the plan saw it, or the change would do harm.
    #[error("{0}")]
    Refused(String),
}

/// Gives the declared objects of each kind; the repo's compiler implements it.
pub trait Declarations {
    fn of<R: Resource>(&mut self) -> Vec<Declared<R::Desired>>;
}

/// Is called once for each kind, in the order of the list.
pub trait EachKind {
    fn kind<R: Resource>(&mut self);
}

/// Writes the closed set of kinds once. The order is that in which objects are added and altered.
macro_rules! kinds {
    ($($name:ident: $kind:ident => $resource:ty,)+) => {
        /// All declared objects of one host.
        #[derive(Clone, Debug, Default)]
        pub struct Desired {
            $(pub $name: Vec<Declared<<$resource as Resource>::Desired>>,)+
            /// How much may be done to the host at once.
            pub limits: Limits,
            /// When the host is left alone, but for what that names.
            pub maintenance: Option<Maintenance>,
        }

        /// All that was read of one host.
        pub struct Observed {
            $(pub $name: <$resource as Resource>::Observed,)+
        }

        /// What one step carries out.
        #[derive(Clone, Debug)]
        pub enum Operation {
            $($kind(<$resource as Resource>::Operation),)+
        }

        impl Desired {
            /// Collects the declared objects of every kind.
            pub fn collect(from: &mut impl Declarations) -> Self {
                Self { $($name: from.of::<$resource>(),)+ limits: Limits::default(), maintenance: None }
            }

            /// Returns identity, mode and origin of every declared object.
            pub fn objects(&self) -> Vec<DeclaredObject<'_>> {
                let mut objects = Vec::new();
                $(objects.extend(self.$name.iter().map(DeclaredObject::new::<$resource>));)+
                objects
            }

            /// Returns those of the objects that `keep` names, kind by kind.
            fn only(&self, keep: &part::Kept<'_>) -> Self {
                Self {
                    $($name: keep.of(<$resource as Resource>::KIND, &self.$name),)+
                    limits: self.limits.clone(),
                    maintenance: self.maintenance.clone(),
                }
            }

            /// Returns how many objects of each kind are declared.
            pub fn kinds(&self) -> BTreeMap<String, usize> {
                let counts = [$((<$resource>::KIND, self.$name.len()),)+];
                counts.into_iter().filter(|(_, number)| *number > 0).map(|(kind, number)| (kind.to_owned(), number)).collect()
            }

            /// Returns a digest of all that is asked of each declared object, and of the maintenance. Equal digests lead to equal
            /// steps at equal times.
            pub fn digests(&self) -> BTreeMap<ObjectId, Digest> {
                let mut digests = BTreeMap::new();
                $(digests.extend(self.$name.iter().map(|declared| {
                    let kind = <$resource as Resource>::KIND;
                    (ObjectId::new(kind, &declared.name), digest::of_declared(kind, declared))
                }));)+
                digests.extend(self.maintenance.iter().map(|maintenance| (Maintenance::object(), maintenance.digest())));
                digests
            }
        }

        /// Reads the host, kind by kind.
        ///
        /// # Errors
        /// The host cannot be read, or what it says cannot be understood.
        pub fn observe(desired: &Desired, owned: &Owned, host: &dyn ReadHost) -> Result<Observed, ObserveError> {
            Ok(Observed { $($name: <$resource>::observe(&desired.$name, owned, host)?,)+ })
        }

        fn interests_of_each(
            desired: &Desired,
            owned: &Owned,
            host: &dyn ReadHost,
            interests: &mut Interests,
        ) -> Result<(), ObserveError> {
            $(<$resource>::interests(&desired.$name, owned, host, interests)?;)+
            Ok(())
        }

        /// Returns the steps of all kinds, not yet ordered among kinds.
        fn diff_each(desired: &Desired, observed: &Observed, owned: &Owned) -> Vec<Step<Operation>> {
            let mut steps = Vec::new();
            $(steps.extend(
                <$resource>::diff(&desired.$name, &observed.$name, owned)
                    .into_iter()
                    .map(|step| step.map(Operation::$kind)),
            );)+
            steps
        }

        /// Carries out one step.
        ///
        /// # Errors
        /// The step could not be carried out whole.
        pub fn apply(operation: &Operation, host: &dyn WriteHost) -> Result<(), ApplyError> {
            match operation {
                $(Operation::$kind(operation) => <$resource>::apply(operation, host),)+
            }
        }

        /// Visits every kind, in the order of the list.
        pub fn each_kind(visitor: &mut impl EachKind) {
            $(visitor.kind::<$resource>();)+
        }
    };
}

kinds! {
    groups: Group => group::Group,
    users: User => user::User,
    files: File => file::File,
    blocklists: Blocklist => blocklist::Blocklist,
    ports: Port => port::Port,
    egress: Egress => egress::Egress,
    services: Service => service::Service,
    checks: Check => check::Check,
}

/// What is true of a declared object of any kind.
#[derive(Clone, Debug)]
pub struct DeclaredObject<'a> {
    pub id: ObjectId,
    pub mode: Mode,
    pub absent: bool,
    pub origin: &'a Origin,
}

impl<'a> DeclaredObject<'a> {
    fn new<R: Resource>(declared: &'a Declared<R::Desired>) -> Self {
        Self {
            id: ObjectId::new(R::KIND, &declared.name),
            mode: declared.mode,
            absent: declared.want.is_none(),
            origin: &declared.origin,
        }
    }
}

/// The ordered difference between desired and observed.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Steps to carry out, in this order.
    pub enforced: Vec<Step<Operation>>,
    /// Steps that would be, of objects with `observe: true`.
    pub reported: Vec<Step<Operation>>,
    /// Steps that maintenance holds back.
    pub held: Vec<Step<Operation>>,
}

/// Compares desired with observed. Pure: the same inputs always give the same steps in the same order.
///
/// `pending` are the restarts and reloads that an earlier, interrupted apply still owes; `maintenance` is the one that is in
/// force.
pub fn diff(
    desired: &Desired,
    observed: &Observed,
    owned: &Owned,
    pending: &Pending,
    maintenance: Option<&Maintenance>,
) -> Difference {
    let observe_only: BTreeSet<ObjectId> =
        desired.objects().into_iter().filter(|object| object.mode == Mode::Observe).map(|object| object.id).collect();
    let (reported, mut enforced): (Vec<_>, Vec<_>) =
        diff_each(desired, observed, owned).into_iter().partition(|step| observe_only.contains(&step.object));
    let mut held = maintenance.map(|maintenance| hold_back(&mut enforced, maintenance)).unwrap_or_default();
    // After that: what is not changed restarts nothing. What a change restarts may be held back itself, and is owed then.
    triggers::add(&mut enforced, &desired.services, &observed.services, pending);
    order::sort(&mut enforced);
    held.extend(maintenance.map(|maintenance| hold_back(&mut enforced, maintenance)).unwrap_or_default());
    order::sort(&mut held);
    Difference { enforced, reported, held }
}

/// Takes out the steps of all objects but those that the maintenance excepts, and the steps that need one of these.
fn hold_back(steps: &mut Vec<Step<Operation>>, maintenance: &Maintenance) -> Vec<Step<Operation>> {
    order::sort(steps);
    let is_held = |step: &Step<Operation>| !maintenance.except.contains(&step.object);
    let mut objects: BTreeSet<ObjectId> =
        steps.iter().filter(|step| is_held(step)).map(|step| step.object.clone()).collect();
    order::take_out(steps, &mut objects)
}
