// SPDX-License-Identifier: Apache-2.0
//! One OpenPGP signature: its one form, and whether a certificate made it in its time.

use std::time::{Duration, SystemTime};

use sequoia_openpgp::cert::amalgamation::{ValidAmalgamation as _, ValidateAmalgamation as _};
use sequoia_openpgp::crypto::hash::Hash as _;
use sequoia_openpgp::crypto::mpi;
use sequoia_openpgp::packet::signature::subpacket::{Subpacket, SubpacketValue};
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::policy::{HashAlgoSecurity, Policy as _, StandardPolicy};
use sequoia_openpgp::serialize::MarshalInto as _;
use sequoia_openpgp::types::{Curve, HashAlgorithm, RevocationStatus, SignatureType};
use sequoia_openpgp::{Cert, Error, Fingerprint, KeyID, packet};

use super::{armor, rsa};
use crate::trust::refusal::{Code, Refusal};

/// How far clocks may differ: the signer's from this host's, and those of two signers.
pub(in crate::trust) const SKEW: Duration = Duration::from_secs(5 * 60);
const MIN_RSA_BITS: usize = 3072;

/// A signature in its one form, not yet verified.
#[derive(Debug)]
pub(in crate::trust) struct OpenPgp {
    packet: packet::Signature,
    /// When it was made, by its own account.
    pub(in crate::trust) created: SystemTime,
    /// The key that made it: a primary key or a subkey.
    pub(in crate::trust) issuer: Fingerprint,
}

impl OpenPgp {
    /// Reads an armored signature.
    ///
    /// Much of a signature packet is not signed: how its length is written, the unhashed area, leading zeros. So only
    /// the form that gpg writes is accepted, for the reason that `armor` gives. An ECDSA signature still has a twin, (r, n - s), which
    /// anyone can compute; Ed25519 and RSA signatures have none.
    pub(in crate::trust) fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let fault = |why: &str| Refusal::new(Code::MalformedSignature, format!("its signature {why}"));
        let bytes = armor::decode(text)?;
        // Tag 2 in the old packet format, with the shortest length.
        let body = match bytes.as_slice() {
            [0x88, length, body @ ..] if body.len() == usize::from(*length) => body,
            [0x89, high @ 1..=u8::MAX, low, body @ ..]
                if body.len() == usize::from(u16::from_be_bytes([*high, *low])) =>
            {
                body
            }
            _ => return Err(fault("is not one signature packet as gpg writes it")),
        };
        let packet = packet::Signature::from_bytes(body).map_err(|_| fault("cannot be read"))?;
        if packet.to_vec().ok().as_deref() != Some(body) {
            return Err(fault("is not written in the shortest way"));
        }
        if packet.version() != 4 || packet.typ() != SignatureType::Binary {
            return Err(fault("is not a version 4 signature of a document"));
        }

        let hashed: Vec<_> = packet.hashed_area().iter().map(Subpacket::value).collect();
        let mut issuers = hashed.iter().filter_map(|value| match value {
            SubpacketValue::IssuerFingerprint(fingerprint) => Some(fingerprint.clone()),
            _ => None,
        });
        let (Some(issuer), None) = (issuers.next(), issuers.next()) else {
            return Err(fault("does not name its key, once, in the part that is signed"));
        };
        let mut times = hashed.iter().filter(|value| matches!(value, SubpacketValue::SignatureCreationTime(_)));
        let (Some(_), None, Some(created)) = (times.next(), times.next(), packet.signature_creation_time()) else {
            return Err(fault("does not say once when it was made"));
        };
        // By its bytes: the length of a subpacket and its critical flag can be written in several ways, too.
        let keyid = KeyID::from(&issuer);
        if unhashed_area(body) != Some([&[9, 16], keyid.as_bytes()].concat().as_slice()) {
            return Err(fault("has something else than its key's id in the part that is not signed"));
        }
        Ok(Self { packet, created, issuer })
    }

    /// Refuses a signature from after `now`.
    pub(in crate::trust) fn check_clock(&self, now: SystemTime) -> Result<(), Refusal> {
        match self.created.duration_since(now) {
            Ok(ahead) if ahead > SKEW => {
                let detail =
                    format!("its signature says that it was made {} s after this host's time", ahead.as_secs());
                Err(Refusal::new(Code::SignatureFromFuture, detail))
            }
            _ => Ok(()),
        }
    }

    /// Verifies that the issuer's key in `cert` made this signature of `payload` and could at that time. The commit's own
    /// dates decide nothing.
    pub(in crate::trust) fn verify(&self, payload: &[u8], cert: &Cert) -> Result<(), Refusal> {
        let policy = algorithms();
        let key = cert.keys().find(|key| key.key().fingerprint() == self.issuer);
        let key = key.ok_or_else(|| Refusal::new(Code::UnknownSigner, "the certificate lacks its key"))?;

        let weak = |why: String| Refusal::new(Code::WeakSignature, why);
        let hash = self.packet.hash_algo();
        if !matches!(hash, HashAlgorithm::SHA256 | HashAlgorithm::SHA384 | HashAlgorithm::SHA512) {
            return Err(weak(format!("its signature uses the hash {hash}")));
        }
        if !is_strong(key.key().mpis()) {
            let bits = key.key().mpis().bits().map(|bits| format!(" of {bits} bits")).unwrap_or_default();
            return Err(weak(format!("its signature is by {} key{bits}", key.key().pk_algo())));
        }
        policy
            .signature(&self.packet, HashAlgoSecurity::CollisionResistance)
            .map_err(|error| weak(format!("its signature is not good enough: {error}")))?;
        if self.created < key.key().creation_time() {
            let detail = format!("the key {} could not sign when it did: it was made later", self.issuer);
            return Err(Refusal::new(Code::KeyUnusable, detail));
        }
        self.verify_digest(payload, key.key())?;
        self.check_key(cert, self.created, "when it signed")
    }

    /// Checks that the issuer's key in `cert` is good for signing at `time`; `when` says in words what time that is.
    pub(in crate::trust) fn check_key(&self, cert: &Cert, time: SystemTime, when: &str) -> Result<(), Refusal> {
        check_key(&self.issuer, cert, time, when)?;
        self.packet
            .signature_alive(time, Some(SKEW))
            .map_err(|error| Refusal::new(Code::KeyExpired, format!("its signature does not count {when}: {error}")))
    }

    fn verify_digest<R: packet::key::KeyRole>(
        &self,
        payload: &[u8],
        key: &packet::Key<packet::key::PublicParts, R>,
    ) -> Result<(), Refusal> {
        let bad = |why: String| Refusal::new(Code::BadSignature, why);
        let digest = || {
            let mut hash = self.packet.hash_algo().context()?.for_signature(self.packet.version());
            hash.update(payload);
            self.packet.hash(&mut hash)?;
            hash.into_digest()
        };
        let digest = digest().map_err(|error| bad(format!("its signature cannot be checked: {error}")))?;
        // The packet repeats the first two bytes of the digest, unsigned: a wrong copy would be yet another form.
        if !digest.starts_with(self.packet.digest_prefix()) {
            return Err(bad(format!("the signature by {} is not of this content", self.issuer)));
        }
        let fits = match (key.mpis(), self.packet.mpis()) {
            (mpi::PublicKey::RSA { n, e }, mpi::Signature::RSA { s }) => {
                rsa::fits(n.value(), e.value(), self.packet.hash_algo(), &digest, s.value())
            }
            _ => self.packet.verify_digest(key, &digest),
        };
        fits.map_err(|error| bad(format!("the signature by {} does not fit: {error}", self.issuer)))
    }
}

/// Checks that the key `issuer` of `cert` is good for signing at `time`.
pub(in crate::trust) fn check_key(
    issuer: &Fingerprint,
    cert: &Cert,
    time: SystemTime,
    when: &str,
) -> Result<(), Refusal> {
    let policy = algorithms();
    let unusable = |error: &dyn std::fmt::Display| {
        Refusal::new(Code::KeyUnusable, format!("the key {issuer} could not sign {when}: {error}"))
    };
    let key = cert.keys().find(|key| key.key().fingerprint() == *issuer);
    let key = key.ok_or_else(|| unusable(&"the certificate lacks it"))?;
    let key = key.with_policy(&policy, time).map_err(|error| unusable(&error))?;
    for alive in [key.valid_cert().alive(), key.alive()] {
        let Err(error) = alive else { continue };
        return Err(match error.downcast_ref::<Error>() {
            Some(Error::Expired(_)) => Refusal::new(Code::KeyExpired, format!("the key {issuer} is expired {when}")),
            _ => unusable(&error),
        });
    }
    let revoked = |status| matches!(status, RevocationStatus::Revoked(_));
    if revoked(key.valid_cert().revocation_status()) || revoked(key.revocation_status()) {
        return Err(Refusal::new(Code::KeyRevoked, format!("the key {issuer} is revoked {when}")));
    }
    if !key.for_signing() {
        return Err(unusable(&"it is not made for signing"));
    }
    Ok(())
}

/// Which algorithms count as good: a matter of hostwrit's version and not of the day, so that a history is judged the
/// same way today and tomorrow. All cut-offs that the library knows lie before this time (2031-01-01).
pub(in crate::trust) fn algorithms() -> StandardPolicy<'static> {
    StandardPolicy::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_924_992_000))
}

/// Returns the area that is not signed, of the body of a version 4 signature: version, type, two algorithms, the signed
/// area with its length, and then this one with its own.
fn unhashed_area(body: &[u8]) -> Option<&[u8]> {
    fn sized(data: &[u8]) -> Option<(&[u8], &[u8])> {
        let (length, rest) = data.split_first_chunk()?;
        rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
    }
    let (_, rest) = sized(body.get(4..)?)?;
    Some(sized(rest)?.0)
}

fn is_strong(key: &mpi::PublicKey) -> bool {
    match key {
        mpi::PublicKey::RSA { n, .. } => n.bits() >= MIN_RSA_BITS,
        mpi::PublicKey::EdDSA { curve, .. } => *curve == Curve::Ed25519,
        mpi::PublicKey::ECDSA { curve, .. } => matches!(curve, Curve::NistP256 | Curve::NistP384 | Curve::NistP521),
        mpi::PublicKey::Ed25519 { .. } | mpi::PublicKey::Ed448 { .. } => true,
        _ => false,
    }
}
