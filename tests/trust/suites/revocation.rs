// SPDX-License-Identifier: Apache-2.0
//! Sequoia's certificates that are revoked, renewed and revoked for good (`tests/data/keys/really-revoked-*`,
//! `already-revoked*`, `about-to-expire*`, `peter-*-backsig`, `hash-algos`), made anew with the same times.
//!
//! Each is bob's in the policy of a root that alice signed; bob signs a commit at some time, and alice the tip, now.

use std::time::Duration;

use sequoia_openpgp::cert::prelude::*;
use sequoia_openpgp::crypto::KeyPair;
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::SerializeInto as _;
use sequoia_openpgp::types::{HashAlgorithm, KeyFlags, ReasonForRevocation, SignatureType};
use sequoia_openpgp::{Cert, Packet};

use super::*;
use crate::fixture::Keyring;

const POLICY: &StandardPolicy = &StandardPolicy::new();

/// A day after 1 January 2024.
fn day(number: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200 + number * 24 * 3600)
}

/// The option that makes gpg believe that it is that day.
fn on(number: u64) -> [String; 2] {
    let seconds = day(number).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    ["--faked-system-time".to_owned(), format!("{seconds}!")]
}

/// Bob's certificate with its secret keys, from day 10: a primary key that certifies and signs, and a signing subkey.
fn bob() -> Cert {
    let flags = KeyFlags::empty().set_certification().set_signing();
    let builder = CertBuilder::new().set_creation_time(day(10)).set_primary_key_flags(flags);
    builder.add_userid("bob <bob@example.org>").add_signing_subkey().generate().unwrap().0
}

fn pair(cert: &Cert) -> KeyPair {
    cert.primary_key().key().clone().parts_into_secret().unwrap().into_keypair().unwrap()
}

fn with(cert: Cert, packets: impl IntoIterator<Item = Packet>) -> Cert {
    cert.insert_packets(packets).unwrap().0
}

/// What is revoked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Cert,
    Subkey,
    UserId,
}

impl Part {
    fn revoke(self, cert: Cert, on: u64, reason: ReasonForRevocation) -> Cert {
        let mut pair = pair(&cert);
        let packet: Packet = match self {
            Self::Cert => CertRevocationBuilder::new()
                .set_signature_creation_time(day(on))
                .unwrap()
                .set_reason_for_revocation(reason, b"")
                .unwrap()
                .build(&mut pair, &cert, None)
                .unwrap()
                .into(),
            Self::Subkey => SubkeyRevocationBuilder::new()
                .set_signature_creation_time(day(on))
                .unwrap()
                .set_reason_for_revocation(reason, b"")
                .unwrap()
                .build(&mut pair, &cert, cert.keys().subkeys().next().unwrap().key(), None)
                .unwrap()
                .into(),
            Self::UserId => UserIDRevocationBuilder::new()
                .set_signature_creation_time(day(on))
                .unwrap()
                .set_reason_for_revocation(reason, b"")
                .unwrap()
                .build(&mut pair, &cert, cert.userids().next().unwrap().userid(), None)
                .unwrap()
                .into(),
        };
        with(cert, [packet])
    }

    /// Signs all of the certificate's parts anew.
    fn renew(cert: Cert, on: u64) -> Cert {
        let mut pair = pair(&cert);
        let valid = cert.with_policy(POLICY, day(11)).unwrap();
        let later = |signature: &sequoia_openpgp::packet::Signature| {
            SignatureBuilder::from(signature.clone()).set_signature_creation_time(day(on)).unwrap()
        };
        let direct = later(valid.direct_key_signature().unwrap()).sign_direct_key(&mut pair, None).unwrap();
        let user = valid.userids().next().unwrap();
        let user = later(user.binding_signature()).sign_userid_binding(&mut pair, None, user.userid()).unwrap();
        let subkey = valid.keys().subkeys().next().unwrap();
        let mut signer = subkey.key().clone().parts_into_secret().unwrap().into_keypair().unwrap();
        let backsig = SignatureBuilder::new(SignatureType::PrimaryKeyBinding)
            .set_signature_creation_time(day(on))
            .unwrap()
            .sign_primary_key_binding(&mut signer, cert.primary_key().key(), subkey.key().role_as_subordinate())
            .unwrap();
        let binding = later(subkey.binding_signature())
            .set_embedded_signature(backsig)
            .unwrap()
            .sign_subkey_binding(&mut pair, None, subkey.key().role_as_subordinate())
            .unwrap();
        with(cert, [direct.into(), user.into(), binding.into()])
    }
}

/// A fleet whose root, of day 1, knows alice and bob.
struct Series {
    history: History,
    alice: Key,
    bob: Cert,
}

impl Series {
    /// The policy has `listed`; the secret keys are those of `bob`, which is how gpg knows him.
    fn new(bob: Cert, listed: &Cert) -> Self {
        let keys = Keyring::new();
        let first: Vec<String> = on(0).to_vec();
        let first: Vec<&str> = first.iter().map(String::as_str).collect();
        let alice = keys.key_of("alice", "ed25519", "never", &first);
        keys.gpg(&["--import"], &bob.as_tsk().to_vec().unwrap());
        let fleet = Fleet::of(keys, alice.clone());
        let bob_key = Key::openpgp(bob.fingerprint().to_hex());
        fleet.policy(2, &[("alice", &alice), ("bob", &bob_key)]);
        let armored = listed.clone().strip_secret_key_material().armored().to_vec().unwrap();
        fleet.repo.write("policy/keys/bob.asc", std::str::from_utf8(&armored).unwrap());
        let tree = fleet.repo.write_tree();
        let mut history = History::of(fleet);
        history.tree = tree;
        let mut series = Self { history, alice, bob };
        let alice = series.alice.fingerprint.clone();
        series.history.fleet.root = series.signed(&[], &alice, 1);
        series
    }

    fn signed(&mut self, parents: &[Oid], key: &str, on_day: u64) -> Oid {
        let commit = payload(&self.history.tree, parents, "change");
        let [option, time] = on(on_day);
        // The exclamation mark keeps gpg from choosing another key of the certificate.
        let key = Key::openpgp(format!("{key}!"));
        let armor = self.history.fleet.keys.sign(&key, commit.as_bytes(), &[&option, &time]);
        self.history.add(ObjectType::Commit, with_header(&commit, "gpgsig", &armor).into_bytes())
    }

    /// Returns why a commit by bob's primary key or by his subkey does not count, if it does not.
    fn verdict(&mut self, part: Part, on_day: u64) -> Option<Code> {
        let key = match part {
            Part::Subkey => self.bob.keys().subkeys().next().unwrap().key().fingerprint(),
            Part::Cert | Part::UserId => self.bob.fingerprint(),
        };
        let (root, alice) = (self.history.fleet.root, self.alice.clone());
        let commit = self.signed(&[root], &key.to_hex(), on_day);
        let tip = self.history.commit(&[commit], Some(&alice));
        let refusal = judge(&self.history.store, &self.history.fleet.anchor(), None, &tip).err()?;
        assert_eq!(refusal.commit(), Some(&commit), "{refusal}");
        Some(refusal.code())
    }
}

/// The five states: as made, soft revocation on day 100, signed anew on day 200, hard revocation on day 300, anew on day 400.
fn states(part: Part) -> Vec<Cert> {
    let zero = bob();
    let (soft, hard) = match part {
        Part::UserId => (ReasonForRevocation::UIDRetired, ReasonForRevocation::Unspecified),
        Part::Cert | Part::Subkey => (ReasonForRevocation::KeyRetired, ReasonForRevocation::KeyCompromised),
    };
    let one = part.revoke(zero.clone(), 100, soft);
    let two = Part::renew(one.clone(), 200);
    let three = part.revoke(two.clone(), 300, hard);
    let four = Part::renew(three.clone(), 400);
    vec![zero, one, two, three, four]
}

const REVOKED: Option<Code> = Some(Code::KeyRevoked);

/// Before the soft revocation, after it, after the renewal, after the hard revocation, after the second renewal.
const DAYS: [u64; 5] = [50, 150, 250, 350, 450];

#[test]
fn a_soft_revocation_counts_from_its_time_and_a_hard_one_always() {
    for part in [Part::Cert, Part::Subkey] {
        let expected = [
            [None; 5],
            [None, REVOKED, REVOKED, REVOKED, REVOKED],
            [None, REVOKED, None, None, None],
            [REVOKED; 5],
            [REVOKED; 5],
        ];
        let states = states(part);
        for (number, (listed, expected)) in states.iter().zip(expected).enumerate() {
            let mut series = Series::new(states[0].clone(), listed);
            let found = DAYS.map(|on_day| series.verdict(part, on_day));
            assert_eq!(found, expected, "{part:?}, state {number}");
        }
    }
}

#[test]
fn a_revoked_subkey_takes_no_other_key_with_it() {
    let states = states(Part::Subkey);
    let mut series = Series::new(states[0].clone(), &states[4]);
    assert_eq!(series.verdict(Part::Cert, 350), None);
    assert_eq!(series.verdict(Part::Subkey, 350), REVOKED);
}

#[test]
fn a_revoked_name_revokes_no_key() {
    let states = states(Part::UserId);
    for listed in &states {
        let mut series = Series::new(states[0].clone(), listed);
        assert_eq!(DAYS.map(|on_day| series.verdict(Part::UserId, on_day)), [None; 5]);
        assert_eq!(DAYS.map(|on_day| series.verdict(Part::Subkey, on_day)), [None; 5]);
    }
}

#[test]
fn a_certificate_that_was_revoked_when_it_came_counts_for_nothing() {
    for reason in [
        ReasonForRevocation::KeyCompromised,
        ReasonForRevocation::Unspecified,
        // A reason that nobody knows counts as hard.
        ReasonForRevocation::Unknown(77),
    ] {
        let bob = bob();
        let listed = Part::Cert.revoke(bob.clone(), 11, reason);
        let mut series = Series::new(bob, &listed);
        assert_eq!(series.verdict(Part::Cert, 20), REVOKED, "{reason}");
        assert_eq!(series.verdict(Part::Subkey, 20), REVOKED, "{reason}");
    }
}

#[test]
fn a_key_counts_until_it_expires_or_longer_if_it_was_extended() {
    let base = bob();
    let until = |expiry: u64| {
        let mut pair = pair(&base);
        let valid = base.with_policy(POLICY, day(11)).unwrap();
        let limited = |signature: &sequoia_openpgp::packet::Signature| {
            let period = day(expiry).duration_since(day(10)).unwrap();
            let builder = SignatureBuilder::from(signature.clone()).set_signature_creation_time(day(12)).unwrap();
            builder.set_key_validity_period(period).unwrap()
        };
        let direct = limited(valid.direct_key_signature().unwrap()).sign_direct_key(&mut pair, None).unwrap();
        let user = valid.userids().next().unwrap();
        let user = limited(user.binding_signature()).sign_userid_binding(&mut pair, None, user.userid()).unwrap();
        with(base.clone(), [direct.into(), user.into()])
    };
    let (short, long) = (until(100), until(3000));
    let expired = Some(Code::KeyExpired);
    let mut series = Series::new(base.clone(), &short);
    assert_eq!([99, 101].map(|on_day| series.verdict(Part::Cert, on_day)), [None, expired]);
    assert_eq!([99, 101].map(|on_day| series.verdict(Part::Subkey, on_day)), [None, expired]);
    let mut series = Series::new(base.clone(), &long);
    assert_eq!([99, 101].map(|on_day| series.verdict(Part::Cert, on_day)), [None, None]);
}

/// Bob with a signing subkey that says in this way that it belongs to him.
fn with_backsig(sign: impl Fn(SignatureBuilder) -> Option<SignatureBuilder>) -> Cert {
    let flags = KeyFlags::empty().set_certification().set_signing();
    let builder = CertBuilder::new().set_creation_time(day(10)).set_primary_key_flags(flags.clone());
    let cert = builder.add_userid("bob <bob@example.org>").generate().unwrap().0;
    let other = bob();
    let subkey = other.keys().subkeys().next().unwrap().key().clone().parts_into_secret().unwrap();
    let mut signer = subkey.clone().into_keypair().unwrap();
    let backsig = SignatureBuilder::new(SignatureType::PrimaryKeyBinding).set_signature_creation_time(day(11)).unwrap();
    let backsig = sign(backsig).map(|backsig| {
        backsig.sign_primary_key_binding(&mut signer, cert.primary_key().key(), subkey.role_as_subordinate()).unwrap()
    });
    let mut binding = SignatureBuilder::new(SignatureType::SubkeyBinding)
        .set_signature_creation_time(day(11))
        .unwrap()
        .set_key_flags(KeyFlags::empty().set_signing())
        .unwrap();
    if let Some(backsig) = backsig {
        binding = binding.set_embedded_signature(backsig).unwrap();
    }
    let binding = binding.sign_subkey_binding(&mut pair(&cert), None, subkey.role_as_subordinate()).unwrap();
    with(cert.clone(), [Packet::from(subkey.role_into_subordinate()), binding.into()])
}

#[test]
fn a_subkey_must_say_that_it_belongs_to_its_primary_key() {
    // The secret keys come as gpg takes them; what the policy lists is what counts.
    let verdict = |listed: &Cert| {
        let mut series = Series::new(listed.clone(), listed);
        series.verdict(Part::Subkey, 50)
    };
    assert_eq!(verdict(&with_backsig(Some)), None);
    let weak = with_backsig(|backsig| Some(backsig.set_hash_algo(HashAlgorithm::SHA1)));
    let expired =
        with_backsig(|backsig| Some(backsig.set_signature_validity_period(Duration::from_secs(24 * 3600)).unwrap()));
    for listed in [weak, expired, with_backsig(|_| None)] {
        assert_eq!(verdict(&listed), Some(Code::KeyUnusable));
    }
}

#[test]
fn a_certificate_that_only_weak_hashes_hold_together_counts_for_nothing() {
    let rebuilt = |hash| {
        let cert = bob();
        let mut pair = pair(&cert);
        let valid = cert.with_policy(POLICY, day(11)).unwrap();
        let direct = SignatureBuilder::from(valid.direct_key_signature().unwrap().clone())
            .set_hash_algo(hash)
            .set_signature_creation_time(day(10))
            .unwrap()
            .sign_direct_key(&mut pair, None)
            .unwrap();
        let key = cert.primary_key().key().clone();
        let user = valid.userids().next().unwrap();
        let binding = SignatureBuilder::from(user.binding_signature().clone())
            .set_hash_algo(hash)
            .set_signature_creation_time(day(10))
            .unwrap()
            .sign_userid_binding(&mut pair, None, user.userid())
            .unwrap();
        let packets: Vec<Packet> = vec![key.into(), direct.into(), user.userid().clone().into(), binding.into()];
        let bare = Cert::from_packets(packets.into_iter()).unwrap();
        let mut series = Series::new(cert.clone(), &bare);
        series.verdict(Part::Cert, 50)
    };
    for hash in [HashAlgorithm::SHA256, HashAlgorithm::SHA384, HashAlgorithm::SHA512] {
        assert_eq!(rebuilt(hash), None, "{hash}");
    }
    for hash in [HashAlgorithm::SHA1, HashAlgorithm::MD5, HashAlgorithm::RipeMD] {
        assert_eq!(rebuilt(hash), Some(Code::KeyUnusable), "{hash}");
    }
}
