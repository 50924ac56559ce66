// SPDX-License-Identifier: Apache-2.0
//! Goes from commit to commit and asks the policies of their parents.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::model::ObjectId;
use crate::model::git::Oid;

use super::change::{
    Change, Lacking, Needed, States, Target, comparable, describe, host_changes, needs, state, too_few,
};
use super::{Allowance, Compile, Decision, Urgency};
use crate::trust::authenticate::AuthenticTree;
use crate::trust::history::{History, Judged};
use crate::trust::policy::{Place, Policy, change};
use crate::trust::refusal::{Code, Refusal};
use crate::trust::trailers;

/// The object that rules name to say who may have hosts follow at once.
const URGENT: (&str, &str) = ("rollout", "now");
/// The object that rules name to say who may change how much one run removes, and who may go past it.
const REMOVALS: (&str, &str) = ("limit", "removals");

/// How many commits' states are remembered.
const MAX_STATES: usize = 64;

/// A merge by which somebody puts his name to a branch as it is.
struct Approval {
    /// The commits of the branch.
    branch: Vec<Oid>,
    /// Those who signed this very tree as what shall come next: by the policy of the first parent.
    principals: BTreeSet<String>,
}

/// What the new commits come to.
pub(super) struct Verdict {
    pub(super) decisions: Vec<Decision>,
    pub(super) urgency: Urgency,
    pub(super) removals: Allowance,
}

/// What was judged so far.
pub(super) struct Judge<'h, 'o, 'c> {
    history: &'h Rc<History<'o>>,
    compile: &'c mut dyn Compile,
    states: HashMap<Oid, Rc<States>>,
    approvals: HashMap<Oid, Option<Rc<Approval>>>,
    /// What proposals change with too few signers so far.
    lacking: HashMap<Oid, Lacking>,
    /// What each new commit changes.
    changed: HashMap<Oid, BTreeSet<Target>>,
    decisions: Vec<Decision>,
}

impl<'h, 'o, 'c> Judge<'h, 'o, 'c> {
    pub(super) fn new(history: &'h Rc<History<'o>>, compile: &'c mut dyn Compile) -> Self {
        Self {
            history,
            compile,
            states: HashMap::new(),
            approvals: HashMap::new(),
            lacking: HashMap::new(),
            changed: HashMap::new(),
            decisions: Vec::new(),
        }
    }

    /// Judges every new commit, oldest first, and returns which rule allowed each change.
    pub(super) fn all(mut self, tip: &Oid) -> Result<Verdict, Refusal> {
        let history = Rc::clone(self.history);
        let on_its_own = self.on_their_own(tip)?;
        for commit in history.news().filter(|commit| commit.id != history.anchor.root) {
            let is_proposal = !on_its_own.contains(&commit.id);
            self.commit(commit, is_proposal).map_err(|refusal| refusal.of(&commit.id))?;
        }
        self.check_net(tip).map_err(|refusal| refusal.of(tip))?;
        let urgency = self.urgency(tip).map_err(|refusal| refusal.of(tip))?;
        let removals = self.removals(&on_its_own)?;
        Ok(Verdict { decisions: self.decisions, urgency, removals })
    }

    /// Says whether the tip asks not to be waited for, and whether its signers may: on each host they need the rights to
    /// change [`URGENT`] there. To ask without them does no harm, so the commit counts all the same.
    fn urgency(&mut self, tip: &Oid) -> Result<Urgency, Refusal> {
        let history = Rc::clone(self.history);
        let Some(commit) = history.judged(tip) else { return Ok(Urgency::Unasked) };
        let message = history.objects.commit(tip)?;
        match trailers::rollout(&message) {
            Ok(None) => return Ok(Urgency::Unasked),
            Ok(Some(word)) if word == "now" => {}
            Ok(Some(word)) => {
                return Ok(Urgency::Denied(format!(
                    "\"{}\" is not a word that it knows; write now",
                    word.escape_debug()
                )));
            }
            Err(refusal) => return Ok(Urgency::Denied(refusal.detail().to_owned())),
        }
        Ok(match self.denial(commit, URGENT)? {
            None => Urgency::Allowed,
            Some(why) => Urgency::Denied(why),
        })
    }

    /// Says how many removals the new commits allow each host, and whether their signers may: they need the rights to
    /// change [`REMOVALS`] there. The largest number counts, whichever commit has it: a host may see several at once.
    ///
    /// What lies under an approval merge is a proposal, its policy included. What counts is what those say who approve it.
    fn removals(&mut self, on_its_own: &HashSet<Oid>) -> Result<Allowance, Refusal> {
        let history = Rc::clone(self.history);
        let mut allowance = Allowance::Unasked;
        for commit in history.news().filter(|commit| commit.id != history.anchor.root) {
            let message = history.objects.commit(&commit.id)?;
            let number = match trailers::allow_removals(&message) {
                Ok(None) => continue,
                Ok(Some(number)) => Ok(number),
                Err(refusal) => Err(refusal.detail().to_owned()),
            };
            let denial = match on_its_own.contains(&commit.id) {
                true => self.denial(commit, REMOVALS).map_err(|refusal| refusal.of(&commit.id))?,
                false => Some(format!("commit {} has it, and not the merge that approves it", commit.id)),
            };
            allowance = match (allowance, number, denial) {
                (Allowance::Granted(before), Ok(number), None) => Allowance::Granted(before.max(number)),
                (_, Ok(number), None) => Allowance::Granted(number),
                (Allowance::Granted(before), ..) => Allowance::Granted(before),
                (_, Err(why), _) | (_, Ok(_), Some(why)) => Allowance::Denied(why),
            };
        }
        Ok(allowance)
    }

    /// Returns why the signers of a commit may not change `object` on some host; `None` if they may on every one.
    fn denial(&mut self, commit: &Judged, object: (&'static str, &str)) -> Result<Option<String>, Refusal> {
        let history = Rc::clone(self.history);
        let approval = self.approval(commit)?;
        // The policy on an approved branch is a part of what is proposed.
        let judges = if approval.is_some() { 1 } else { commit.parents.len() };
        let after = self.states(&commit.id)?;
        for parent in commit.parents.iter().take(judges) {
            let policy = history.policy(parent)?;
            let signers = match &approval {
                Some(approval) => approval.principals.clone(),
                None => {
                    policy.holder(&commit.signed_by).map(|holder| holder.principal.to_owned()).into_iter().collect()
                }
            };
            let before = self.states(parent)?;
            for host in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
                let labels =
                    [state(&before, host), state(&after, host)].into_iter().flatten().map(|state| &state.labels);
                let target = (Some(host.clone()), ObjectId::new(object.0, object.1));
                let change = Change { target, labels: labels.collect(), removes: false };
                match self.decide(commit, &policy, &change, &signers) {
                    Ok(None) => {}
                    Ok(Some(needed)) => return Ok(Some(format!("{} takes {}", describe(&change.target), needed.who))),
                    Err(refusal) => return Ok(Some(refusal.detail().to_owned())),
                }
            }
        }
        Ok(None)
    }

    /// Returns the new commits that need all their signers themselves. The others lie under an approval merge.
    fn on_their_own(&mut self, tip: &Oid) -> Result<HashSet<Oid>, Refusal> {
        let history = Rc::clone(self.history);
        let (mut found, mut todo) = (HashSet::new(), vec![*tip]);
        while let Some(id) = todo.pop() {
            let Some(commit) = history.judged(&id).filter(|_| found.insert(id)) else { continue };
            match (self.approval(commit)?, commit.parents.first()) {
                (Some(_), Some(first)) => todo.push(*first),
                _ => todo.extend(&commit.parents),
            }
        }
        Ok(found)
    }

    /// Returns the approval that a commit is, if it is one.
    fn approval(&mut self, merge: &Judged) -> Result<Option<Rc<Approval>>, Refusal> {
        if let Some(known) = self.approvals.get(&merge.id) {
            return Ok(known.clone());
        }
        let approval = self.find_approval(merge)?.map(Rc::new);
        self.approvals.insert(merge.id, approval.clone());
        Ok(approval)
    }

    fn find_approval(&mut self, merge: &Judged) -> Result<Option<Approval>, Refusal> {
        let history = Rc::clone(self.history);
        let [first, second] = merge.parents.as_slice() else { return Ok(None) };
        if history.judged(second).is_none_or(|approved| approved.tree != merge.tree) {
            return Ok(None);
        }
        let sides = history.graph.sides(first, second);
        if sides.bases != [*first] {
            return Ok(None);
        }
        for id in &sides.second {
            match history.judged(id) {
                // His own branch: a merge like any other.
                Some(own) if own.principal == merge.principal || own.key.name() == merge.key.name() => return Ok(None),
                Some(_) => {}
                None => return Ok(None),
            }
        }
        let policy = history.policy(first)?;
        let mut principals = BTreeSet::new();
        let mut next = Some(merge);
        // Nested approvals are of the same tree by what an approval is.
        while let Some(commit) = next {
            principals.extend(policy.holder(&commit.signed_by).map(|holder| holder.principal.to_owned()));
            next = match commit.id == merge.id || self.approval(commit)?.is_some() {
                true => commit.parents.get(1).and_then(|second| history.judged(second)),
                false => None,
            };
        }
        Ok(Some(Approval { branch: sides.second, principals }))
    }

    /// Judges what a commit changes in each of its parents.
    fn commit(&mut self, commit: &Judged, is_proposal: bool) -> Result<(), Refusal> {
        let approval = self.approval(commit)?;
        let mut lacking = Lacking::new();
        for parent in &commit.parents {
            let policy = self.history.policy(parent)?;
            let signers: BTreeSet<String> =
                policy.holder(&commit.signed_by).map(|holder| holder.principal.to_owned()).into_iter().collect();
            lacking.extend(self.against(commit, parent, &policy, &signers, approval.as_deref())?);
        }
        if lacking.is_empty() {
            return Ok(());
        }
        if !is_proposal {
            return Err(too_few(commit, &lacking));
        }
        self.lacking.insert(commit.id, lacking);
        Ok(())
    }

    /// Judges what a commit changes in one parent, and returns what has too few signers so far.
    fn against(
        &mut self,
        commit: &Judged,
        parent: &Oid,
        policy: &Policy,
        signers: &BTreeSet<String>,
        approval: Option<&Approval>,
    ) -> Result<Lacking, Refusal> {
        let other = commit.parents.iter().find(|other| *other != parent);
        let (before, after) = (self.states(parent)?, self.states(&commit.id)?);
        let mut lacking = Lacking::new();
        let mut changes = self.policy_changes(parent, &commit.id)?;
        let mut unsound = Vec::new();
        for host in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            match (state(&before, host), state(&after, host)) {
                (Some(before), Some(after)) => changes.extend(host_changes(host, before, after)),
                (None, Some(_)) => unsound.push(host.clone()),
                // The next commit for which the repo is sound answers for this one.
                (_, None) => {}
            }
        }
        self.changed.entry(commit.id).or_default().extend(changes.iter().map(|change| change.target.clone()));

        if let Some(approval) = approval.filter(|_| commit.parents.first() == Some(parent)) {
            return self.approve(commit, approval, policy, &changes, &[&before, &after]);
        }
        let inherited = match other {
            Some(other) => self.inherited(commit, parent, other, &changes)?,
            None => BTreeSet::new(),
        };
        for change in changes.iter().filter(|change| !inherited.contains(&change.target)) {
            if let Some(needed) = self.decide(commit, policy, change, signers)? {
                lacking.insert(change.target.clone(), change.short(needed));
            }
        }
        self.inherit(
            commit,
            parent,
            other,
            policy,
            signers,
            changes.iter().filter(|change| inherited.contains(&change.target)),
        )?;
        for host in unsound {
            lacking.extend(self.after_unsound(commit, parent, &host, policy, signers)?);
        }
        Ok(lacking)
    }

    /// Makes up the signers of a branch with those of its approval. Returns what is still short of some.
    fn approve(
        &mut self,
        merge: &Judged,
        approval: &Approval,
        policy: &Policy,
        changes: &[Change<'_>],
        sides: &[&States],
    ) -> Result<Lacking, Refusal> {
        let mut lacking = Lacking::new();
        for id in &approval.branch {
            for (target, short) in self.lacking.remove(id).unwrap_or_default() {
                let known = lacking.entry(target).or_default();
                known.needed = short.needed;
                known.labels.extend(short.labels);
                known.removes |= short.removes;
            }
        }
        let is_sound = |host: &String| sides.iter().all(|states| state(states, host).is_some());
        let change_of = |target: &Target| changes.iter().find(|change| change.target == *target);
        // What the branch changed and changed back needs nobody, if one can tell.
        lacking.retain(|target, _| change_of(target).is_some() || !target.0.as_ref().is_none_or(is_sound));
        let mut still = Lacking::new();
        for (target, short) in &lacking {
            // Under the labels of the whole, and under those that each commit was judged by.
            let whole = change_of(target).into_iter().flat_map(|change| change.labels.iter().copied());
            let removes = short.removes || change_of(target).is_some_and(|change| change.removes);
            let change = Change { target: target.clone(), labels: whole.chain(&short.labels).collect(), removes };
            if let Some(needed) = self.decide(merge, policy, &change, &approval.principals)? {
                still.insert(target.clone(), change.short(needed));
            }
        }
        Ok(still)
    }

    /// Returns the changes of a merge, seen from `parent`, that come from its other parent: there the object is as in the
    /// merge, and this side has left it as it was where the two parted.
    fn inherited(
        &mut self,
        merge: &Judged,
        parent: &Oid,
        other: &Oid,
        changes: &[Change<'_>],
    ) -> Result<BTreeSet<Target>, Refusal> {
        let mut inherited: BTreeSet<Target> = changes.iter().map(|change| change.target.clone()).collect();
        let differs_from_other = self.differences(other, &merge.id)?;
        inherited.retain(|target| !differs_from_other.contains(&comparable(target)));
        let bases = self.history.graph.sides(parent, other).bases;
        if bases.is_empty() {
            return Ok(BTreeSet::new());
        }
        for base in &bases {
            let own = self.differences(base, parent)?;
            inherited.retain(|target| !own.contains(&comparable(target)));
        }
        // Where one of them is unsound, nobody can tell.
        let unsound = self.unsound_hosts([parent, other, &merge.id].into_iter().chain(&bases))?;
        inherited.retain(|(host, _)| host.as_ref().is_none_or(|host| !unsound.contains(host)));
        Ok(inherited)
    }

    /// Judges what a merge takes over from its other parent. It was judged where it was made; again only if the policy
    /// of this side has changed since the two parted, so that an old branch cannot bring old rights back.
    fn inherit<'a>(
        &mut self,
        merge: &Judged,
        parent: &Oid,
        other: Option<&Oid>,
        policy: &Policy,
        signers: &BTreeSet<String>,
        inherited: impl Iterator<Item = &'a Change<'a>>,
    ) -> Result<(), Refusal> {
        let Some(other) = other else { return Ok(()) };
        let sides = self.history.graph.sides(parent, other);
        let mut is_newer = false;
        for base in &sides.bases {
            is_newer |= self.history.policy_id(base)? != self.history.policy_id(parent)?;
        }
        if !is_newer {
            return Ok(());
        }
        for change in inherited {
            let history = Rc::clone(self.history);
            let authors = sides
                .second
                .iter()
                .filter(|id| self.changed.get(*id).is_some_and(|changed| changed.contains(&change.target)));
            let authors = authors.filter_map(|id| policy.holder(&history.judged(id)?.signed_by));
            let all: BTreeSet<String> =
                signers.iter().cloned().chain(authors.map(|holder| holder.principal.to_owned())).collect();
            if let Some(needed) = self.decide(merge, policy, change, &all)? {
                return Err(too_few(merge, &Lacking::from([(change.target.clone(), change.short(needed))])));
            }
        }
        Ok(())
    }

    /// Judges a commit whose parent is unsound for a host: against the last sound ones, with all who signed in between.
    fn after_unsound(
        &mut self,
        commit: &Judged,
        parent: &Oid,
        host: &str,
        policy: &Policy,
        signers: &BTreeSet<String>,
    ) -> Result<Lacking, Refusal> {
        let history = Rc::clone(self.history);
        let after = self.states(&commit.id)?;
        let Some(after) = state(&after, host) else { return Ok(Lacking::new()) };
        let (mut sound, mut between) = (Vec::new(), Vec::new());
        let (mut seen, mut todo) = (HashSet::new(), vec![*parent]);
        while let Some(id) = todo.pop().filter(|id| seen.insert(*id)) {
            match state(&*self.states(&id)?, host) {
                Some(state) => sound.push(Rc::new(state.clone())),
                None => {
                    if id != history.anchor.root {
                        todo.extend(&history.objects.commit(&id)?.parents);
                    }
                    between.push(id);
                }
            }
        }
        if sound.is_empty() {
            sound.push(Rc::default());
        }
        let mut lacking = Lacking::new();
        for before in &sound {
            for change in host_changes(host, before, after) {
                self.changed.entry(commit.id).or_default().insert(change.target.clone());
                if let Some(needed) = self.decide(commit, policy, &change, signers)? {
                    lacking.insert(change.target.clone(), change.short(needed));
                }
                for broken in between.iter().filter_map(|id| history.judged(id)) {
                    let Some(judge) = broken.parents.first() else { continue };
                    let policy = history.policy(judge)?;
                    let signer = BTreeSet::from([broken.principal.clone()]);
                    self.decide(broken, &policy, &change, &signer).map_err(|refusal| refusal.of(&broken.id))?;
                }
            }
        }
        Ok(lacking)
    }

    /// Asks the policy about a change. Returns who is needed, if too few have signed.
    ///
    /// # Errors
    /// No rule is about the object, or none of the signers is in the role.
    fn decide(
        &mut self,
        commit: &Judged,
        policy: &Policy,
        change: &Change<'_>,
        signers: &BTreeSet<String>,
    ) -> Result<Option<Needed>, Refusal> {
        let (host, object) = &change.target;
        let decision = |rule: usize, principals: Vec<String>| Decision {
            commit: commit.id,
            host: host.clone(),
            object: object.clone(),
            rule,
            principals,
        };
        if object.kind() == change::RENEW_KEY && signers.contains(object.name()) {
            self.decisions.push(decision(0, vec![object.name().to_owned()]));
            return Ok(None);
        }
        let places: Vec<Place<'_>> = match host {
            None => vec![Place::Fleet],
            Some(_) => change.labels.iter().copied().collect::<BTreeSet<_>>().into_iter().map(Place::Host).collect(),
        };
        let mut needed = None;
        for place in places {
            let what = describe(&change.target);
            let Some(rule) = policy.rule(object, place) else {
                return Err(Refusal::new(
                    Code::NoRule,
                    format!("it changes {what}, and no rule allows that to anybody"),
                ));
            };
            let asked = if change.removes { policy.signers_to_remove(object, rule) } else { rule.signers };
            let of_role: Vec<String> = signers.intersection(&rule.members).cloned().collect();
            if of_role.is_empty() {
                let who = signers.iter().cloned().collect::<Vec<_>>().join(", ");
                let detail = format!("it changes {what}, which takes {}; signed by {who}", needs(rule, asked));
                return Err(Refusal::new(Code::NotAuthorized, detail));
            }
            if of_role.len() < asked {
                let is_protection = of_role.len() >= rule.signers;
                needed = Some(Needed { who: needs(rule, asked), is_protection });
            } else {
                self.decisions.push(decision(rule.number, of_role));
            }
        }
        Ok(needed)
    }

    /// Checks that every object that differs between what the host had and the tip was judged.
    fn check_net(&mut self, tip: &Oid) -> Result<(), Refusal> {
        let base = self.history.pin.unwrap_or(self.history.anchor.root);
        let explained: BTreeSet<Target> = self.changed.values().flatten().map(comparable).collect();
        let unexplained = self.differences(&base, tip)?.into_iter().find(|target| !explained.contains(target));
        match unexplained {
            Some(target) => {
                let what = describe(&target);
                Err(Refusal::new(
                    Code::Unexplained,
                    format!("{what} is not as in {base}, and no commit since changes it"),
                ))
            }
            None => Ok(()),
        }
    }

    /// Returns everything that differs between two commits, on hosts for which both are sound.
    fn differences(&mut self, one: &Oid, other: &Oid) -> Result<BTreeSet<Target>, Refusal> {
        let (before, after) = (self.states(one)?, self.states(other)?);
        let mut found: BTreeSet<Target> =
            self.policy_changes(one, other)?.iter().map(|change| comparable(&change.target)).collect();
        for host in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            if let (Some(before), Some(after)) = (state(&before, host), state(&after, host)) {
                found.extend(host_changes(host, before, after).into_iter().map(|change| change.target));
            }
        }
        Ok(found)
    }

    fn unsound_hosts<'a>(&mut self, commits: impl Iterator<Item = &'a Oid>) -> Result<BTreeSet<String>, Refusal> {
        let mut unsound = BTreeSet::new();
        for commit in commits {
            let states = self.states(commit)?;
            unsound.extend(states.iter().filter(|(_, state)| state.is_none()).map(|(host, _)| host.clone()));
        }
        Ok(unsound)
    }

    fn policy_changes(&self, before: &Oid, after: &Oid) -> Result<Vec<Change<'static>>, Refusal> {
        let (before, after) = (self.history.policy(before)?, self.history.policy(after)?);
        if Arc::ptr_eq(&before, &after) {
            return Ok(Vec::new());
        }
        let objects = change::changes(&before, &after).into_iter();
        let removes = |object: &ObjectId| change::unprotects(object, &before, &after);
        let change = |object| Change { removes: removes(&object), target: (None, object), labels: Vec::new() };
        Ok(objects.map(change).collect())
    }

    /// Returns the states of the judged hosts at a commit.
    fn states(&mut self, id: &Oid) -> Result<Rc<States>, Refusal> {
        if let Some(states) = self.states.get(id) {
            return Ok(Rc::clone(states));
        }
        let tree = AuthenticTree::of(self.history, id)?;
        let states = Rc::new(self.compile.hosts(&tree));
        if self.states.len() >= MAX_STATES {
            self.states.clear();
        }
        self.states.insert(*id, Rc::clone(&states));
        Ok(states)
    }
}
