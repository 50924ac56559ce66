// SPDX-License-Identifier: Apache-2.0
//! The keys that a policy lists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use sequoia_openpgp::Cert;
use sequoia_openpgp::cert::CertParser;
use sequoia_openpgp::packet::Signature;
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::serialize::MarshalInto as _;
use sequoia_openpgp::types::RevocationType;

use crate::trust::key_name::KeyName;
use crate::trust::signature::ssh::SshKey;

/// A key of a principal.
#[derive(Clone, Debug)]
pub(in crate::trust) enum PublicKey {
    OpenPgp { name: KeyName, cert: Arc<Cert> },
    Ssh(SshKey),
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            // Certificates are long, and mostly it is the very same.
            (Self::OpenPgp { cert, .. }, Self::OpenPgp { cert: other, .. }) => {
                Arc::ptr_eq(cert, other) || cert == other
            }
            (Self::Ssh(key), Self::Ssh(other)) => key == other,
            _ => false,
        }
    }
}

impl PublicKey {
    /// Reads one OpenPGP certificate.
    ///
    /// # Errors
    /// Why it is not one, in words that follow "the key of alice".
    pub(super) fn read_openpgp(data: &[u8]) -> Result<Self, String> {
        let mut certs = CertParser::from_bytes(data).map_err(|error| format!("is no OpenPGP certificate: {error}"))?;
        match (certs.next(), certs.next()) {
            (Some(Ok(cert)), None) if cert.is_tsk() => Err("is a secret key, which must never be in a repo".to_owned()),
            (Some(Ok(cert)), None) => Ok(Self::of_cert(cert)),
            (Some(Err(error)), _) => Err(format!("is no OpenPGP certificate: {error}")),
            (Some(_), Some(_)) => Err("is more than one certificate".to_owned()),
            (None, _) => Err("is no OpenPGP certificate".to_owned()),
        }
    }

    /// Reads one SSH public key.
    ///
    /// # Errors
    /// Why it is not one, in words that follow "the key of alice".
    pub(super) fn read_ssh(data: &[u8]) -> Result<Self, String> {
        SshKey::parse(data).map(Self::Ssh)
    }

    fn of_cert(cert: Cert) -> Self {
        Self::OpenPgp { name: KeyName::OpenPgp(cert.fingerprint()), cert: Arc::new(cert) }
    }

    /// Returns the name that the key goes by: of a certificate, that of its primary key.
    pub(in crate::trust) fn name(&self) -> &KeyName {
        match self {
            Self::OpenPgp { name, .. } => name,
            Self::Ssh(key) => key.name(),
        }
    }

    /// Returns the names of all keys that it consists of, its own first.
    pub(super) fn parts(&self) -> Vec<KeyName> {
        match self {
            Self::OpenPgp { cert, .. } => cert.keys().map(|key| KeyName::OpenPgp(key.key().fingerprint())).collect(),
            Self::Ssh(key) => vec![key.name().clone()],
        }
    }

    /// Returns the keys that the certificate itself says to be revoked, each with the revocations.
    fn revocations(&self) -> Vec<(KeyName, Vec<&Signature>)> {
        let Self::OpenPgp { name, cert } = self else { return Vec::new() };
        let primary = cert.primary_key();
        let primary = (name.clone(), primary.self_revocations().collect::<Vec<_>>());
        let subkeys = cert
            .keys()
            .subkeys()
            .map(|key| (KeyName::OpenPgp(key.key().fingerprint()), key.self_revocations().collect::<Vec<_>>()));
        [primary].into_iter().chain(subkeys).filter(|(_, revocations)| !revocations.is_empty()).collect()
    }

    /// Returns the keys whose revocation counts against all that they ever signed, as RFC 9580 (5.2.3.31) has it: the
    /// key is compromised, or no reason was given.
    pub(super) fn hard_revoked(&self) -> Vec<KeyName> {
        let is_hard = |signature: &&Signature| {
            signature.reason_for_revocation().is_none_or(|(reason, _)| reason.revocation_type() == RevocationType::Hard)
        };
        let revoked = self.revocations().into_iter();
        revoked.filter(|(_, revocations)| revocations.iter().any(is_hard)).map(|(key, _)| key).collect()
    }

    /// Returns a key with a revocation that `later`, the same certificate at another time, lacks.
    pub(super) fn revocation_lost_in(&self, later: Option<&Self>) -> Option<KeyName> {
        let bytes = |signature: &Signature| signature.to_vec().unwrap_or_default();
        let kept: Vec<Vec<u8>> = later
            .map(|later| later.revocations().into_iter().flat_map(|(_, signatures)| signatures).map(bytes).collect())
            .unwrap_or_default();
        // One for all time is as good as any that it stands for.
        let hard = later.map(Self::hard_revoked).unwrap_or_default();
        let mut lost = self.revocations().into_iter().filter(|(key, _)| !hard.contains(key));
        lost.find(|(_, signatures)| signatures.iter().any(|signature| !kept.contains(&bytes(signature))))
            .map(|(key, _)| key)
    }

    /// Whether `later`, the same certificate, takes something back: a part is missing there, or what its owner said of
    /// one last. An earlier end that its owner set could so be undone by whoever has a copy from before.
    pub(super) fn is_taken_back_by(&self, later: &Self) -> bool {
        let (Self::OpenPgp { cert: own, .. }, Self::OpenPgp { cert: later, .. }) = (self, later) else { return false };
        let later = last_words(later);
        last_words(own).iter().any(|(part, said)| later.get(part).is_none_or(|later| later < said))
    }

    /// Returns the certificate with all that `newer`, the same certificate, knows as well.
    pub(in crate::trust) fn renewed_by(&self, newer: &Self) -> Self {
        match (self, newer) {
            (Self::OpenPgp { name, cert: own }, Self::OpenPgp { name: other, cert: newer })
                if name == other && !Arc::ptr_eq(own, newer) && own != newer =>
            {
                // Merging can only fail for different certificates.
                let merged = Cert::clone(own).merge_public(Cert::clone(newer));
                merged.map_or_else(|_| self.clone(), Self::of_cert)
            }
            _ => self.clone(),
        }
    }
}

/// Returns when the owner of a certificate last said something of each of its parts.
fn last_words(cert: &Cert) -> BTreeMap<Vec<u8>, Option<SystemTime>> {
    let newest = |signatures: &mut dyn Iterator<Item = &Signature>| {
        signatures.filter_map(|signature| signature.signature_creation_time()).max()
    };
    let keys = cert.keys().map(|key| {
        let part = key.key().fingerprint().as_bytes().to_vec();
        (part, newest(&mut key.bundle().self_signatures()))
    });
    let users = cert.userids().map(|user| (user.userid().value().to_vec(), newest(&mut user.self_signatures())));
    keys.chain(users).collect()
}
