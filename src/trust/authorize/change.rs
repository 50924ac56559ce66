// SPDX-License-Identifier: Apache-2.0
//! What differs between two states of a host, as changes that rules decide about.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::model::{Digest, HostState, ObjectId};
use crate::trust::history::Judged;
use crate::trust::policy::{Rule, change};
use crate::trust::refusal::{Code, Refusal};

/// An object and where it is: on a host, or in the policy.
pub(super) type Target = (Option<String>, ObjectId);
/// What has too few signers so far.
pub(super) type Lacking = BTreeMap<Target, Short>;
/// A host's labels.
pub(super) type Labels = BTreeMap<String, String>;
pub(super) type States = BTreeMap<String, Option<Rc<HostState>>>;

/// One change, with all that a rule goes by.
pub(super) struct Change<'a> {
    pub(super) target: Target,
    /// The labels of the host before and after: the change needs the rights under each. None for the policy.
    pub(super) labels: Vec<&'a Labels>,
    /// It was there, and is not any more or shall be absent.
    pub(super) removes: bool,
}

/// What is missing for a change.
#[derive(Clone, Default)]
pub(super) struct Short {
    /// Who is needed, in words.
    pub(super) needed: Needed,
    pub(super) labels: BTreeSet<Labels>,
    /// A commit that changes it removes it.
    pub(super) removes: bool,
}

/// Who is needed for a change that too few have signed.
#[derive(Clone, Default)]
pub(super) struct Needed {
    /// In words.
    pub(super) who: String,
    /// By the rule alone there would be enough: it is the protection that asks for more.
    pub(super) is_protection: bool,
}

impl Change<'_> {
    pub(super) fn short(&self, needed: Needed) -> Short {
        let labels = self.labels.iter().map(|labels| (*labels).clone()).collect();
        Short { needed, labels, removes: self.removes }
    }
}

static NO_STATE: HostState = HostState { labels: BTreeMap::new(), objects: BTreeMap::new(), absent: BTreeSet::new() };

/// Returns the state of a host, or `None` where the repo is unsound for it. A host that is not there has an empty one.
pub(super) fn state<'s>(states: &'s States, host: &str) -> Option<&'s HostState> {
    match states.get(host) {
        None => Some(&NO_STATE),
        Some(state) => state.as_deref(),
    }
}

/// Returns every object and label of a host that differs.
pub(super) fn host_changes<'a>(host: &str, before: &'a HostState, after: &'a HostState) -> Vec<Change<'a>> {
    if std::ptr::eq(before, after) || before == after {
        return Vec::new();
    }
    let (old, new) = (everything(before), everything(after));
    let changed = old.keys().chain(new.keys()).filter(|object| old.get(*object) != new.get(*object));
    changed
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|object| Change {
            target: (Some(host.to_owned()), object.clone()),
            labels: vec![&before.labels, &after.labels],
            removes: is_there(object, &old, before) && !is_there(object, &new, after),
        })
        .collect()
}

fn is_there(object: &ObjectId, everything: &BTreeMap<ObjectId, Digest>, state: &HostState) -> bool {
    everything.contains_key(object) && !state.absent.contains(object)
}

/// Returns the objects of a state; labels are objects too, for rights hang on them.
fn everything(state: &HostState) -> BTreeMap<ObjectId, Digest> {
    let labels = state.labels.iter().map(|(key, value)| (ObjectId::new("label", key), Digest::of(value.as_bytes())));
    state.objects.iter().map(|(object, digest)| (object.clone(), *digest)).chain(labels).collect()
}

/// A key that comes and one that goes are the same thing seen from two sides.
pub(super) fn comparable(target: &Target) -> Target {
    let (host, object) = target;
    match object.kind() {
        change::ADD_KEY | change::REMOVE_KEY | change::RENEW_KEY => {
            (host.clone(), ObjectId::new("policy.key", object.name()))
        }
        _ => target.clone(),
    }
}

pub(super) fn too_few(commit: &Judged, lacking: &Lacking) -> Refusal {
    let shown: Vec<String> = lacking
        .iter()
        .take(5)
        .map(|(target, short)| format!("{}, which takes {}", describe(target), short.needed.who))
        .collect();
    let more = match lacking.len() - shown.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let detail = format!("it changes {}{more}; signed by {}", shown.join("; "), commit.principal);
    // If a rule asks for more as well, that is the lesser news.
    let protection = lacking.values().any(|short| short.needed.is_protection);
    Refusal::new(if protection { Code::Protected } else { Code::NeedsApproval }, detail)
}

pub(super) fn describe((host, object): &Target) -> String {
    match host {
        Some(host) => format!("{object} on {host}"),
        None => object.to_string(),
    }
}

/// Says who is needed; `signers` is how many.
pub(super) fn needs(rule: &Rule, signers: usize) -> String {
    let members = rule.members.iter().cloned().collect::<Vec<_>>().join(", ");
    let text = format!("{signers} of {} ({members}) by rule {}", rule.role, rule.number);
    if signers > rule.signers { format!("{text}, for nobody removes what is protected alone") } else { text }
}
