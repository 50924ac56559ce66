// SPDX-License-Identifier: Apache-2.0
//! `policy/policy.yaml`: who the principals are, and by which keys they are known.

use std::collections::BTreeMap;

use sequoia_openpgp::cert::CertParser;
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::{Cert, Fingerprint};
use serde::{Deserialize, Deserializer};

use crate::model::{Fault, Faults, Location, RepoFiles};
use crate::yaml;

use super::anchor::Anchor;
use super::refusal::{Code, Refusal};

/// The directory of the policy; key paths are relative to it.
pub(super) const DIRECTORY: &str = "policy";
/// The policy file in it.
pub(super) const FILE: &str = "policy.yaml";

/// `policy/policy.yaml`: who may change what.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// The version of this file's format: 1.
    #[expect(dead_code, reason = "that it reads is all that it must do")]
    format: Format,
    /// Goes up with each change of the policy and never down.
    version: u64,
    /// The fleet that this repo is for; must equal the hosts' configuration.
    fleet: String,
    /// The ref that hosts follow, in full: refs/heads/main.
    #[serde(rename = "ref")]
    git_ref: String,
    /// People and robots, each with their keys.
    principals: BTreeMap<String, Keys>,
    /// Named groups of principals.
    #[serde(default, deserialize_with = "not_yet")]
    #[schemars(skip)]
    #[expect(dead_code, reason = "refused while it is read")]
    roles: (),
    /// Which change needs whom.
    #[serde(default, deserialize_with = "not_yet")]
    #[schemars(skip)]
    #[expect(dead_code, reason = "refused while it is read")]
    rules: (),
}

/// The keys of one principal.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// Files with one OpenPGP certificate each, relative to policy/.
    openpgp: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Format;

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            other => Err(serde::de::Error::custom(format!("format {other} is not known; this version reads format 1"))),
        }
    }
}

impl schemars::JsonSchema for Format {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "const": 1 })
    }
}

/// Leaving rules out of account would grant more than they say, so a policy that has them must not be read.
fn not_yet<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
    Err(serde::de::Error::custom("roles and rules are not supported by this version of hostwrit"))
}

/// A policy with its keys read.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) version: u64,
    fleet: String,
    git_ref: String,
    principals: Vec<Principal>,
}

#[derive(Debug)]
struct Principal {
    name: String,
    certs: Vec<Cert>,
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
        let file: PolicyFile = match yaml::read(&format!("{DIRECTORY}/{FILE}"), text) {
            Ok(file) => file,
            Err(faults) => return Ok(Err(faults)),
        };
        let mut faults = Faults::default();
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        let mut principals = Vec::new();
        let mut lockout = |message: String| {
            let fault = Fault::new(Location::file(&format!("{DIRECTORY}/{FILE}")), message);
            faults.push(fault.hint("list at least one file under openpgp, such as keys/alice.asc"));
        };
        if file.principals.is_empty() {
            lockout("there is no principal, so nobody could ever sign again".to_owned());
        }
        for (name, _) in file.principals.iter().filter(|(_, keys)| keys.openpgp.is_empty()) {
            lockout(format!("{name} has no key"));
        }
        for (name, keys) in file.principals {
            let mut certs = Vec::new();
            for path in keys.openpgp {
                let mut fault = |message: String, hint: &str| {
                    faults.push(Fault::new(Location::file(&format!("{DIRECTORY}/{path}")), message).hint(hint));
                };
                let Some(data) = read(&path)? else {
                    fault(format!("the key of {name} is not there"), "export it: gpg --export --armor FINGERPRINT");
                    continue;
                };
                let cert = match read_cert(&data) {
                    Ok(cert) => cert,
                    Err(why) => {
                        fault(format!("the key of {name} {why}"), "export one: gpg --export --armor FINGERPRINT");
                        continue;
                    }
                };
                // One key under two names would be one person who counts twice.
                for key in cert.keys() {
                    let fingerprint = key.key().fingerprint().to_hex();
                    if let Some(other) = owners.insert(fingerprint.clone(), name.clone()) {
                        fault(format!("the key {fingerprint} is listed twice, for {other} and {name}"), "list it once");
                    }
                }
                certs.push(cert);
            }
            principals.push(Principal { name, certs });
        }
        let (version, fleet, git_ref) = (file.version, file.fleet, file.git_ref);
        Ok(faults.or(Self { version, fleet, git_ref, principals }))
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

    /// Returns who holds the key, and the certificate that it is part of.
    pub(super) fn holder(&self, key: &Fingerprint) -> Option<(&str, &Cert)> {
        self.principals.iter().find_map(|principal| {
            let cert = principal.certs.iter().find(|cert| cert.keys().any(|part| part.key().fingerprint() == *key))?;
            Some((principal.name.as_str(), cert))
        })
    }
}

fn read_cert(data: &[u8]) -> Result<Cert, String> {
    let mut certs = CertParser::from_bytes(data).map_err(|error| format!("is no OpenPGP certificate: {error}"))?;
    match (certs.next(), certs.next()) {
        (Some(Ok(cert)), None) if cert.is_tsk() => Err("is a secret key, which must never be in a repo".to_owned()),
        (Some(Ok(cert)), None) => Ok(cert),
        (Some(Err(error)), _) => Err(format!("is no OpenPGP certificate: {error}")),
        (Some(_), Some(_)) => Err("is more than one certificate".to_owned()),
        (None, _) => Err("is no OpenPGP certificate".to_owned()),
    }
}

/// Finds every fault of the policy among `files`, for whoever edits them. Says nothing about who signed it.
///
/// # Errors
/// The policy is missing or has faults.
pub fn check(files: &dyn RepoFiles) -> Result<(), Faults> {
    let path = format!("{DIRECTORY}/{FILE}");
    let unreadable = |path: &str, error: &dyn std::fmt::Display| {
        Faults::from(Fault::new(Location::file(path), format!("cannot be read: {error}")))
    };
    let text = files.read(&path).map_err(|error| unreadable(&path, &error))?;
    let Some(text) = text else {
        return Err(Fault::new(Location::file(&path), "there is no policy").hint(Code::PolicyMissing.hint()).into());
    };
    let read = |key: &str| {
        let path = format!("{DIRECTORY}/{key}");
        files.read(&path).map_err(|error| unreadable(&path, &error))
    };
    Policy::read(&text, read)?.map(|_| ())
}
