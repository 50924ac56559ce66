// SPDX-License-Identifier: Apache-2.0
//! `policy/policy.yaml`: who the principals are, by which keys they are known, and who may change what.

pub(super) mod change;
mod keys;
mod rules;
pub mod spec;
pub mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::model::{Fault, Faults, Location, ObjectId, RepoFiles};
use crate::yaml;

use super::anchor::Anchor;
use super::key_name::KeyName;
use super::refusal::{Code, Refusal};
use super::revocation::{Revocations, Revoked};

pub(super) use keys::PublicKey;
use rules::Pattern;
pub(super) use rules::{Place, Rule};
pub use spec::PolicyFile;
use spec::{Age, Trailers};

/// The directory of the policy; key paths are relative to it.
pub(super) const DIRECTORY: &str = "policy";
/// The policy file in it.
pub(super) const FILE: &str = "policy.yaml";
const PATH: &str = "policy/policy.yaml";

/// How many must sign for the removal of something that is protected, if the rule does not ask for more.
const SIGNERS_TO_REMOVE: usize = 2;

/// A policy with its keys read.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) version: u64,
    fleet: String,
    git_ref: String,
    pub(super) trailers_required: bool,
    pub(super) principals: BTreeMap<String, Vec<PublicKey>>,
    roles: BTreeMap<String, BTreeSet<String>>,
    pub(super) rules: Vec<Rule>,
    /// What nobody may remove alone.
    protect: Vec<Pattern>,
    revoked: Revocations,
    /// All that is revoked: in the list, and hard revocations in the certificates.
    pub(super) distrusted: Revocations,
    pub(super) freshness: Option<Freshness>,
    /// Each key and subkey: who holds it, and which of his it is part of.
    holders: HashMap<KeyName, (String, usize)>,
}

/// How old the newest signed word from the ref may be, and who may give such a word without changing anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    pub max_age: Duration,
    pub heartbeat: BTreeSet<String>,
}

/// Who holds a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder<'p> {
    pub(super) principal: &'p str,
    /// The whole certificate, where the key is a part of one.
    pub(super) key: &'p PublicKey,
}

impl Policy {
    /// Reads the policy and its keys; `read` gives the file at a path below `policy/`.
    ///
    /// # Errors
    /// The outer error is `read`'s own; the inner one holds every fault of the policy.
    pub(super) fn read<E>(
        text: &[u8],
        mut read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Result<Self, Faults>, E> {
        let file: PolicyFile = match yaml::read(PATH, text) {
            Ok(file) => file,
            Err(faults) => return Ok(Err(faults)),
        };
        let mut faults = Faults::default();
        let mut principals = BTreeMap::new();
        let mut holders: HashMap<KeyName, (String, usize)> = HashMap::new();
        if file.principals.is_empty() {
            faults.push(fault("there is no principal, so nobody could ever sign again", "list at least one"));
        }
        for (name, keys) in file.principals {
            let mut read_keys = Vec::new();
            let openpgp = keys.openpgp.iter().map(|path| (path, Sort::OpenPgp));
            for (path, sort) in openpgp.chain(keys.ssh.iter().map(|path| (path, Sort::Ssh))) {
                let at = Location::file(&format!("{DIRECTORY}/{path}"));
                let mut fault = |message: String, hint: &str| faults.push(Fault::new(at.clone(), message).hint(hint));
                let Some(data) = read(path)? else {
                    fault(format!("the key of {name} is not there"), sort.hint());
                    continue;
                };
                let key = match sort {
                    Sort::OpenPgp => PublicKey::read_openpgp(&data),
                    Sort::Ssh => PublicKey::read_ssh(&data),
                };
                let key = match key {
                    Ok(key) => key,
                    Err(why) => {
                        fault(format!("the key of {name} {why}"), sort.hint());
                        continue;
                    }
                };
                // One key under two names would be one person who counts twice.
                for part in key.parts() {
                    if let Some((other, _)) = holders.insert(part.clone(), (name.clone(), read_keys.len())) {
                        fault(format!("the key {part} is listed twice, for {other} and {name}"), "list it once");
                    }
                }
                read_keys.push(key);
            }
            if keys.openpgp.is_empty() && keys.ssh.is_empty() {
                let hint = "list at least one file under openpgp or ssh, such as openpgp: [keys/alice.asc]";
                faults.push(fault(format!("{name} has no key"), hint));
            }
            principals.insert(name, read_keys);
        }

        let mut roles = BTreeMap::new();
        for (role, members) in file.roles {
            for stranger in members.iter().filter(|member| !principals.contains_key(*member)) {
                faults.push(fault(format!("role {role}: \"{stranger}\" is no principal"), "list him there first"));
            }
            roles.insert(role, members.into_iter().collect::<BTreeSet<_>>());
        }
        let rules = read_rules(file.rules, &roles, &mut faults);
        let protect = read_protect(&file.protect, &mut faults);
        let revoked = Revocations::of(PATH, file.revoked);
        let freshness = file.freshness.map(|spec| {
            let Age(max_age) = spec.max_age;
            Freshness { max_age, heartbeat: spec.heartbeat.into_iter().collect() }
        });
        for name in freshness.iter().flat_map(|freshness| &freshness.heartbeat) {
            if !principals.contains_key(name) {
                faults.push(fault(format!("freshness: \"{name}\" is no principal"), "list it there first"));
            }
            for (role, _) in roles.iter().filter(|(_, members)| members.contains(name)) {
                faults.push(fault(
                    format!("freshness: {name}, who signs heartbeats, has the role {role}"),
                    "a key that a robot holds all day may do nothing else: give it a principal of its own",
                ));
            }
        }
        let (version, fleet, git_ref) = (file.version, file.fleet, file.git_ref);
        let trailers_required = file.trailers == Trailers::Required;
        let revoked = match revoked {
            Ok(revoked) => revoked,
            Err(found) => {
                faults.extend(found);
                Revocations::default()
            }
        };
        let distrusted = distrusted(&revoked, &principals);
        Ok(faults.or(Self {
            version,
            fleet,
            git_ref,
            trailers_required,
            principals,
            roles,
            rules,
            protect,
            revoked,
            distrusted,
            freshness,
            holders,
        }))
    }

    /// Refuses a policy of another fleet or ref.
    pub(super) fn check_place(&self, anchor: &Anchor) -> Result<(), Refusal> {
        if self.fleet != anchor.fleet {
            let detail =
                format!("its policy is for the fleet \"{}\", this host is in \"{}\"", self.fleet, anchor.fleet);
            return Err(Refusal::new(Code::WrongFleet, detail));
        }
        if self.git_ref != anchor.git_ref {
            let detail = format!("its policy is for \"{}\", this host follows \"{}\"", self.git_ref, anchor.git_ref);
            return Err(Refusal::new(Code::WrongRef, detail));
        }
        Ok(())
    }

    /// Returns who holds the key.
    pub(super) fn holder(&self, key: &KeyName) -> Option<Holder<'_>> {
        let (principal, place) = self.holders.get(key)?;
        let key = self.principals.get(principal)?.get(*place)?;
        Some(Holder { principal, key })
    }

    /// Returns the key that goes by this name, whoever holds it.
    pub(super) fn key(&self, name: &KeyName) -> Option<&PublicKey> {
        self.principals.values().flatten().find(|key| key.name() == name)
    }

    /// Returns the rule that decides about an object.
    pub(super) fn rule(&self, object: &ObjectId, place: Place<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches(object, place))
    }

    /// Returns how many must sign for the removal of the object, about which `rule` decides.
    pub(super) fn signers_to_remove(&self, object: &ObjectId, rule: &Rule) -> usize {
        let is_list = *object == ObjectId::new("policy", change::PROTECT);
        let is_protected = is_list || self.protect.iter().any(|pattern| pattern.matches(object));
        if is_protected { rule.signers.max(SIGNERS_TO_REMOVE) } else { rule.signers }
    }

    /// Whether this principal's key may sign heartbeats and nothing else.
    pub(super) fn is_heartbeat(&self, principal: &str) -> bool {
        self.freshness.as_ref().is_some_and(|freshness| freshness.heartbeat.contains(principal))
    }

    /// Returns what is revoked here and not any more in `later`. A key that leaves the policy may take its revocation
    /// along only if the list has it.
    pub(super) fn revocation_lost_in(&self, later: &Self) -> Option<String> {
        let in_certs = self.principals.values().flatten().find_map(|key| {
            let name = key.name();
            let lost = key.revocation_lost_in(later.key(name))?;
            let listed = later.revoked.keys.contains_key(name) || later.revoked.keys.contains_key(&lost);
            (later.key(name).is_some() || !listed).then(|| lost.to_string())
        });
        self.revoked.lost_in(&later.revoked).or(in_certs)
    }

    /// Returns the rules as they are written: who is in a role is the role's own matter.
    fn rules_without_members(&self) -> Vec<Rule> {
        self.rules.iter().map(|rule| Rule { members: BTreeSet::new(), ..rule.clone() }).collect()
    }
}

#[derive(Clone, Copy)]
enum Sort {
    OpenPgp,
    Ssh,
}

impl Sort {
    fn hint(self) -> &'static str {
        match self {
            Self::OpenPgp => "export one: gpg --export --armor FINGERPRINT",
            Self::Ssh => "copy one: the .pub file that ssh-keygen made",
        }
    }
}

fn distrusted(revoked: &Revocations, principals: &BTreeMap<String, Vec<PublicKey>>) -> Revocations {
    let mut all = revoked.clone();
    for key in principals.values().flatten().flat_map(PublicKey::hard_revoked) {
        // An exception in the list is one for the revocation in the certificate too.
        if !matches!(all.keys.get(&key), Some(Revoked::Hard { .. })) {
            all.keys.insert(key, Revoked::Hard { except: BTreeSet::new() });
        }
    }
    all
}

fn fault(message: impl Into<String>, hint: &str) -> Fault {
    Fault::new(Location::file(PATH), message).hint(hint)
}

fn read_rules(
    specs: Vec<spec::RuleSpec>,
    roles: &BTreeMap<String, BTreeSet<String>>,
    faults: &mut Faults,
) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (number, spec) in (1..).zip(specs) {
        let mut change = Vec::new();
        for text in &spec.change {
            match Pattern::parse(text) {
                Some(pattern) => change.push(pattern),
                None => faults.push(fault(
                    format!("rule {number}: \"{text}\" names no objects"),
                    "write kind:name, with * for any characters; policy for the policy; * for everything",
                )),
            }
        }
        if spec.change.is_empty() {
            faults.push(fault(format!("rule {number} is about nothing"), "list objects under change"));
        }
        let members = roles.get(&spec.needs.role).cloned();
        if members.is_none() {
            faults.push(fault(format!("rule {number}: there is no role \"{}\"", spec.needs.role), "add it to roles"));
        }
        let members = members.unwrap_or_default();
        if spec.needs.signers == 0 || (spec.needs.signers > members.len() && roles.contains_key(&spec.needs.role)) {
            faults.push(fault(
                format!(
                    "rule {number}: {} signers are needed of role {}, which has {}",
                    spec.needs.signers,
                    spec.needs.role,
                    members.len()
                ),
                "need at least 1, and no more than there are",
            ));
        }
        let (role, signers) = (spec.needs.role, spec.needs.signers);
        rules.push(Rule { number, change, hosts: spec.hosts, role, members, signers });
    }
    // Without a word on the policy nobody could ever correct it.
    let anybody = rules.iter().any(|rule| rule.matches(&ObjectId::new("policy", "rules"), Place::Fleet));
    if !anybody && faults.is_empty() {
        faults.push(fault(
            "no rule lets anybody change the policy",
            "add one, such as {change: [policy], needs: {role: owners, signers: 2}}",
        ));
    }
    rules
}

fn read_protect(texts: &[String], faults: &mut Faults) -> Vec<Pattern> {
    let mut protect = Vec::new();
    for text in texts {
        match Pattern::parse(text) {
            Some(Pattern::Glob(glob)) if glob.starts_with("policy") => faults.push(fault(
                format!("protect: \"{text}\" is of the policy, which is not an object of a host"),
                "protect what hosts have; let a rule with two signers keep the policy: {change: [policy], ...}",
            )),
            Some(Pattern::Policy) => faults.push(fault(
                "protect: \"policy\" is not an object of a host",
                "protect what hosts have; let a rule with two signers keep the policy: {change: [policy], ...}",
            )),
            Some(pattern) => protect.push(pattern),
            None => faults.push(fault(
                format!("protect: \"{text}\" names no objects"),
                "write kind:name, with * for any characters; * for everything",
            )),
        }
    }
    protect
}

/// Finds every fault of the policy among `files`, for whoever edits them. Says nothing about who signed it.
///
/// # Errors
/// The policy is missing or has faults.
pub fn check(files: &dyn RepoFiles) -> Result<(), Faults> {
    read_files(files).map(drop)
}

fn read_files(files: &dyn RepoFiles) -> Result<Policy, Faults> {
    let unreadable = |path: &str, error: &dyn std::fmt::Display| {
        Faults::from(Fault::new(Location::file(path), format!("cannot be read: {error}")))
    };
    let text = files.read(PATH).map_err(|error| unreadable(PATH, &error))?;
    let Some(text) = text else {
        return Err(Fault::new(Location::file(PATH), "there is no policy").hint(Code::PolicyMissing.hint()).into());
    };
    let read = |key: &str| {
        let path = format!("{DIRECTORY}/{key}");
        files.read(&path).map_err(|error| unreadable(&path, &error))
    };
    Policy::read(&text, read)?
}
