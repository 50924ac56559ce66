// SPDX-License-Identifier: Apache-2.0
//! The policy as people read it: who may do what, with which keys, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use sequoia_openpgp::Cert;
use sequoia_openpgp::cert::amalgamation::ValidAmalgamation as _;
use sequoia_openpgp::types::RevocationStatus;
use serde::Serialize;

use crate::model::{Fault, Faults, Location, RepoFiles};
use crate::trust::key_name::KeyName;
use crate::trust::revocation::Revoked;
use crate::trust::signature::openpgp::algorithms;

use super::rules::Pattern;
use super::{PATH, Policy, PublicKey, read_files};

/// Keys that end within this time are worth a warning.
const SOON: Duration = Duration::from_secs(30 * DAY);
const DAY: u64 = 24 * 60 * 60;

/// A policy as people read it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PolicyView {
    pub fleet: String,
    /// The ref that hosts follow, in full.
    #[serde(rename = "ref")]
    pub git_ref: String,
    pub version: u64,
    /// Whether each commit of the ref must say in signed trailers where it belongs.
    pub trailers_required: bool,
    pub principals: Vec<PrincipalView>,
    /// Who is in each role.
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// In order: the first that matches a changed object decides.
    pub rules: Vec<RuleView>,
    /// What nobody may remove alone, as patterns.
    pub protect: Vec<String>,
    /// What counts no more, by the list of the policy.
    pub revoked: Vec<RevokedView>,
    pub freshness: Option<FreshnessView>,
    /// Who holds each key and subkey.
    #[serde(skip)]
    holders: BTreeMap<KeyName, String>,
}

/// A principal with all keys.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PrincipalView {
    pub name: String,
    pub roles: Vec<String>,
    /// Signs heartbeats, and nothing else.
    pub heartbeat: bool,
    pub keys: Vec<KeyView>,
}

/// A key of a principal.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct KeyView {
    pub key: KeyName,
    pub standing: Standing,
    /// From when on it can sign no more: RFC 3339, UTC.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Option<String>")]
    pub expires: Option<SystemTime>,
}

/// Whether a key can sign now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Good,
    Expired,
    Revoked,
    /// It is not made for signing, or too weak.
    Unusable,
}

/// A rule: which changes need whom.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RuleView {
    /// Its place, from 1.
    pub number: usize,
    /// The objects, as patterns.
    pub change: Vec<String>,
    /// The labels of the hosts that it is about; none: all hosts.
    pub hosts: BTreeMap<String, String>,
    pub role: String,
    /// How many principals of the role must sign.
    pub signers: usize,
    /// Who is in the role.
    pub members: BTreeSet<String>,
}

/// A key or a commit that counts no more.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RevokedView {
    /// The key, or the digest of what the commit's signature is about.
    pub what: String,
    /// Signatures from this time on do not count. Without it none does.
    #[serde(serialize_with = "time")]
    #[schemars(with = "Option<String>")]
    pub since: Option<SystemTime>,
    /// Commits that count all the same.
    pub except: Vec<String>,
}

/// How old the newest signed word from the ref may be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FreshnessView {
    /// Such as `2days`.
    pub max_age: String,
    /// Who signs heartbeats.
    pub heartbeat: BTreeSet<String>,
}

fn time<S: serde::Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| humantime::format_rfc3339_seconds(time).to_string()).serialize(serializer)
}

impl PolicyView {
    /// Reads the policy among `files`, and says how its keys stand at `now`. Says nothing about who signed it.
    ///
    /// # Errors
    /// The policy is missing or has faults.
    pub fn read(files: &dyn RepoFiles, now: SystemTime) -> Result<Self, Faults> {
        Ok(Self::of(&read_files(files)?, now))
    }

    fn of(policy: &Policy, now: SystemTime) -> Self {
        let principals = policy.principals.iter().map(|(name, keys)| PrincipalView {
            name: name.clone(),
            roles: policy
                .roles
                .iter()
                .filter(|(_, members)| members.contains(name))
                .map(|(role, _)| role.clone())
                .collect(),
            heartbeat: policy.is_heartbeat(name),
            keys: keys.iter().map(|key| key_view(policy, key, now)).collect(),
        });
        let rules = policy.rules.iter().map(|rule| RuleView {
            number: rule.number,
            change: rule.change.iter().map(Pattern::to_string).collect(),
            hosts: rule.hosts.clone(),
            role: rule.role.clone(),
            signers: rule.signers,
            members: rule.members.clone(),
        });
        let keys = policy.revoked.keys.iter().map(|(key, how)| match how {
            Revoked::Hard { except } => {
                let except = except.iter().map(ToString::to_string).collect();
                RevokedView { what: key.to_string(), since: None, except }
            }
            Revoked::Since(since) => RevokedView { what: key.to_string(), since: Some(*since), except: Vec::new() },
        });
        let commits = policy.revoked.commits.iter().map(|digest| RevokedView {
            what: digest.to_string(),
            since: None,
            except: Vec::new(),
        });
        Self {
            fleet: policy.fleet.clone(),
            git_ref: policy.git_ref.clone(),
            version: policy.version,
            trailers_required: policy.trailers_required,
            principals: principals.collect(),
            roles: policy.roles.clone(),
            rules: rules.collect(),
            protect: policy.protect.iter().map(Pattern::to_string).collect(),
            revoked: keys.chain(commits).collect(),
            freshness: policy.freshness.as_ref().map(|freshness| FreshnessView {
                max_age: humantime::format_duration(freshness.max_age).to_string(),
                heartbeat: freshness.heartbeat.clone(),
            }),
            holders: policy.holders.iter().map(|(key, (name, _))| (key.clone(), name.clone())).collect(),
        }
    }

    /// Returns who holds a key, which may be a subkey.
    pub fn holder(&self, key: &KeyName) -> Option<&str> {
        self.holders.get(key).map(String::as_str)
    }

    /// Returns what somebody should look to before it keeps a person from signing.
    pub fn warnings(&self, now: SystemTime) -> Faults {
        let mut warnings = Faults::default();
        let mut warn = |message: String, hint: &str| {
            warnings.push(Fault::new(Location::file(PATH), message).hint(hint));
        };
        for principal in &self.principals {
            let name = &principal.name;
            if principal.roles.is_empty() && !principal.heartbeat {
                warn(
                    format!("{name} is in no role, and so may change nothing"),
                    "give a role, or take the principal out",
                );
            }
            for KeyView { key, standing, expires } in &principal.keys {
                let day = expires.map(|time| humantime::format_rfc3339_seconds(time).to_string()).unwrap_or_default();
                let day = day.split('T').next().unwrap_or_default();
                let left = expires.and_then(|time| time.duration_since(now).ok()).filter(|left| *left <= SOON);
                match (standing, left.map(|left| left.as_secs() / DAY)) {
                    (Standing::Expired, _) => {
                        warn(
                            format!("{key} of {name} expired on {day}"),
                            "extend it, commit the new certificate, or take it out",
                        );
                    }
                    (Standing::Revoked, _) => {
                        warn(format!("{key} of {name} is revoked"), "take it out of principals; leave it under revoked")
                    }
                    (Standing::Unusable, _) => {
                        warn(format!("{key} of {name} cannot sign"), "list a key that is made for signing")
                    }
                    (Standing::Good, Some(days)) => {
                        let days = match days {
                            0 => "in less than a day".to_owned(),
                            1 => "in 1 day".to_owned(),
                            days => format!("in {days} days"),
                        };
                        warn(
                            format!("{key} of {name} expires {days}, on {day}"),
                            "extend it and commit the new certificate",
                        );
                    }
                    (Standing::Good, None) => {}
                }
            }
        }
        warnings
    }
}

fn key_view(policy: &Policy, key: &PublicKey, now: SystemTime) -> KeyView {
    let (standing, expires) = match key {
        PublicKey::OpenPgp { cert, .. } => standing(cert, now),
        // An SSH key that could not sign is a fault of the policy.
        PublicKey::Ssh(_) => (Standing::Good, None),
    };
    let listed = match policy.distrusted.keys.get(key.name()) {
        Some(Revoked::Hard { .. }) => true,
        Some(Revoked::Since(since)) => *since <= now,
        None => false,
    };
    KeyView { key: key.name().clone(), standing: if listed { Standing::Revoked } else { standing }, expires }
}

/// Says how a certificate stands, and when the last of its signing keys ends.
fn standing(cert: &Cert, now: SystemTime) -> (Standing, Option<SystemTime>) {
    let algorithms = algorithms();
    let Ok(valid) = cert.with_policy(&algorithms, now) else { return (Standing::Unusable, None) };
    if matches!(valid.revocation_status(), RevocationStatus::Revoked(_)) {
        return (Standing::Revoked, None);
    }
    let whole = valid.primary_key().key_expiration_time();
    let signing: Vec<_> = valid.keys().for_signing().collect();
    let usable = signing.iter().filter(|key| !matches!(key.revocation_status(), RevocationStatus::Revoked(_)));
    let ends: Vec<Option<SystemTime>> = usable
        .map(|key| match (whole, key.key_expiration_time()) {
            (Some(whole), Some(own)) => Some(whole.min(own)),
            (whole, own) => whole.or(own),
        })
        .collect();
    if ends.is_empty() {
        return (if signing.is_empty() { Standing::Unusable } else { Standing::Revoked }, None);
    }
    // One that never ends outlasts all others.
    let last = if ends.contains(&None) { None } else { ends.into_iter().flatten().max() };
    let is_over = last.is_some_and(|last| last <= now);
    (if is_over { Standing::Expired } else { Standing::Good }, last)
}

/// Returns the name of an SSH public key, if the policy would accept it.
///
/// # Errors
/// Why not, in words that follow "the key of alice".
pub fn ssh_key_name(line: &[u8]) -> Result<KeyName, String> {
    PublicKey::read_ssh(line).map(|key| key.name().clone())
}
