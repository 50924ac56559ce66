// SPDX-License-Identifier: Apache-2.0
//! May those who signed change what they changed?
//!
//! Rights go by effect: what a commit makes of the hosts, not which files it touches. `judge` goes from commit to commit;
//! `change` says what differs between two states.

mod change;
mod judge;

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Serialize;

use crate::model::git::Oid;
use crate::model::{HostState, ObjectId};

use super::authenticate::{AuthenticTree, Signature};
use super::refusal::Refusal;

use judge::{Judge, Verdict};

/// Desired state that its signers may ask for. Made only by [`authorize()`]; the engine accepts nothing else.
#[derive(Debug)]
pub struct Authorized<D> {
    desired: D,
    commit: Oid,
    policy_version: u64,
    signers: Vec<Signature>,
    decisions: Vec<Decision>,
    urgency: Urgency,
    removals: Allowance,
}

impl<D> Authorized<D> {
    /// Returns the desired state.
    pub fn desired(&self) -> &D {
        &self.desired
    }

    /// Returns the desired state alone, which then is no longer known to be authorized.
    pub fn into_desired(self) -> D {
        self.desired
    }

    /// Returns the commit that asks for it.
    pub fn commit(&self) -> &Oid {
        &self.commit
    }

    /// Returns the version of the policy that allowed it.
    pub fn policy_version(&self) -> u64 {
        self.policy_version
    }

    /// Returns who signed each commit that was new to this host, oldest first.
    pub fn signers(&self) -> &[Signature] {
        &self.signers
    }

    /// Returns which rule allowed each change, oldest commit first.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Returns whether its signers ask hosts not to wait for their turn.
    pub fn urgency(&self) -> &Urgency {
        &self.urgency
    }

    /// Returns how many removals its signers allow each host.
    pub fn removals(&self) -> &Allowance {
        &self.removals
    }
}

/// Whether a commit asks, by the signed trailer `Hostwrit-Rollout: now`, that hosts follow it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Urgency {
    Unasked,
    Allowed,
    /// It asks, and why that does not count.
    Denied(String),
}

/// Whether a commit allows hosts to remove more than the limit, by the signed trailer `Hostwrit-Allow-Removals: NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowance {
    Unasked,
    Granted(u64),
    /// It asks, and why that does not count.
    Denied(String),
}

/// A change that a rule allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub commit: Oid,
    /// The host that the object is on; `None` for the policy.
    pub host: Option<String>,
    pub object: ObjectId,
    /// The rule's place in the policy, from 1; 0 for a principal who renews a key of his own.
    pub rule: usize,
    /// Those who signed for it and count, by name.
    pub principals: Vec<String>,
}

impl Serialize for Decision {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("Decision", 5)?;
        fields.serialize_field("commit", &self.commit.to_string())?;
        fields.serialize_field("host", &self.host)?;
        fields.serialize_field("object", &self.object)?;
        fields.serialize_field("rule", &self.rule)?;
        fields.serialize_field("principals", &self.principals)?;
        fields.end()
    }
}

/// Says what a tree means for the hosts that are judged. The compiler of the repo is behind it; `trust` does not know it.
pub trait Compile {
    /// Returns the state of each judged host, by its name. A host without a file has an empty state; `None` stands for
    /// a host for which the repo is unsound there.
    fn hosts(&mut self, tree: &AuthenticTree<'_>) -> BTreeMap<String, Option<Rc<HostState>>>;
}

/// Returns `desired`, compiled from `tree`, as something that the engine accepts: every change that the new commits make
/// to a judged host or to the policy has a rule that lets its signers make it.
///
/// A commit is compared with each of its parents, by the policy of that parent. Under an *approval merge* the commits of the
/// approved branch are proposals: their signers must be in the role, and the merge makes up the number.
///
/// # Errors
/// The first change, oldest commit first, that its signers may not make.
pub fn authorize<D>(tree: &AuthenticTree<'_>, desired: D, compile: &mut dyn Compile) -> Result<Authorized<D>, Refusal> {
    let Verdict { decisions, urgency, removals } = Judge::new(&tree.history, compile).all(tree.commit())?;
    Ok(Authorized {
        desired,
        commit: *tree.commit(),
        policy_version: tree.policy_version(),
        signers: tree.signers(),
        decisions,
        urgency,
        removals,
    })
}
