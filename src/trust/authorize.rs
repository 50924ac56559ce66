// SPDX-License-Identifier: Apache-2.0
//! May those who signed change what they changed?

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::model::HostState;
use crate::model::git::Oid;

use super::authenticate::{AuthenticTree, Signature};
use super::refusal::Refusal;

/// Desired state that its signers may ask for. Made only by [`authorize()`]; the engine accepts nothing else.
#[derive(Debug)]
pub struct Authorized<D> {
    desired: D,
    commit: Oid,
    policy_version: u64,
    signers: Vec<Signature>,
}

impl<D> Authorized<D> {
    /// Returns the desired state.
    pub fn desired(&self) -> &D {
        &self.desired
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
}

/// Says what a tree means for the hosts that are judged. The compiler of the repo is behind it; `trust` does not know it.
pub trait Compile {
    /// Returns the state of each judged host, by its name. A host without a file has an empty state; `None` stands for
    /// a host for which the repo is unsound there.
    fn hosts(&mut self, tree: &AuthenticTree<'_>) -> BTreeMap<String, Option<Rc<HostState>>>;
}

/// Returns `desired`, compiled from `tree`, as something that the engine accepts.
///
/// In this version every principal of the policy may change everything, so that a known principal signed each commit is
/// all that is asked, and nothing is refused here. Rules by effect go here: this function will be given the changes in
/// desired state, host by host and object by object, and each will need a rule that allows its signers.
///
/// # Errors
/// The signers may not make these changes; not in this version.
pub fn authorize<D>(
    tree: &AuthenticTree<'_>,
    desired: D,
    _compile: &mut dyn Compile,
) -> Result<Authorized<D>, Refusal> {
    Ok(Authorized {
        desired,
        commit: *tree.commit(),
        policy_version: tree.policy_version(),
        signers: tree.signers().to_vec(),
    })
}
