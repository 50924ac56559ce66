// SPDX-License-Identifier: Apache-2.0
//! People with keys of several kinds, made by gpg once for all histories.

use std::time::{Duration, SystemTime};

use sequoia_openpgp::Cert;
use sequoia_openpgp::cert::CertRevocationBuilder;
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::serialize::SerializeInto as _;
use sequoia_openpgp::types::ReasonForRevocation;

use crate::fixture::{Key, Keyring};

/// All keys are from this day on.
const BORN: &str = "20240101T000000!";
/// Dora's key runs out.
const DORA_EXPIRES: &str = "20240701T000000";
/// When her renewal was made.
const RENEWED: &str = "20240601T000000!";
/// From when on a revocation that is soft counts: 2024-08-01.
const REVOKED: u64 = 1_722_470_400;

/// The first of them signs the root.
pub const ALICE: usize = 0;
pub const BOB: usize = 1;
pub const DORA: usize = 3;
pub const NICK: usize = 4;
pub const WES: usize = 5;
pub const COUNT: usize = 7;

/// How a certificate stands in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// Dora's with its expiry lifted, nick's with the subkey that he signs with; as before for the others.
    Renewed,
    /// Retired: counts no more from a day on.
    Soft,
    /// Compromised: never counted.
    Hard,
}

pub struct Person {
    pub name: &'static str,
    key: Key,
    plain: String,
    renewed: String,
    soft: String,
    hard: String,
}

impl Person {
    pub fn cert(&self, form: Form) -> &str {
        match form {
            Form::Plain => &self.plain,
            Form::Renewed => &self.renewed,
            Form::Soft => &self.soft,
            Form::Hard => &self.hard,
        }
    }
}

pub struct People {
    keyring: Keyring,
    people: Vec<Person>,
}

impl People {
    pub fn new() -> Self {
        let keyring = Keyring::new();
        let people = [
            ("alice", "ed25519", "never"),
            ("bob", "ed25519", "never"),
            ("carol", "rsa3072", "never"),
            ("dora", "ed25519", DORA_EXPIRES),
            ("nick", "nistp256", "never"),
            ("wes", "rsa2048", "never"),
            ("mallory", "ed25519", "never"),
        ];
        let people: Vec<_> = people
            .into_iter()
            .map(|(name, algorithm, expiry)| {
                let born = ["--faked-system-time", BORN];
                let key = keyring.key_of(name, algorithm, expiry, &born);
                let add_subkey = || {
                    let args = ["--passphrase", "", "--quick-add-key", &key.fingerprint, "ed25519", "sign", "never"];
                    keyring.gpg(&[&born, &args[..]].concat(), b"");
                };
                // These two sign with a subkey: gpg takes the newest key that can.
                if name == "bob" {
                    add_subkey();
                }
                let plain = keyring.public(&key);
                match name {
                    "dora" => {
                        let args = ["--faked-system-time", RENEWED, "--quick-set-expire", &key.fingerprint, "0"];
                        keyring.gpg(&args, b"");
                    }
                    "nick" => add_subkey(),
                    _ => {}
                }
                let renewed = keyring.public(&key);
                let secret = keyring.gpg(&["--export-secret-keys", &key.fingerprint], b"");
                let revoked = |reason| revoked(&plain, &secret, reason);
                let (soft, hard) =
                    (revoked(ReasonForRevocation::KeyRetired), revoked(ReasonForRevocation::KeyCompromised));
                Person { name, key, plain, renewed, soft, hard }
            })
            .collect();
        assert_eq!(people.len(), COUNT);
        Self { keyring, people }
    }

    pub fn get(&self, person: usize) -> &Person {
        &self.people[person]
    }

    /// Returns the fingerprint of the person's primary key.
    pub fn fingerprint(&self, person: usize) -> &str {
        &self.people[person].key.fingerprint
    }

    pub fn gpg(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        self.keyring.gpg(args, input)
    }

    /// Signs as gpg does, at a time of the caller's choice.
    pub fn sign(&self, person: usize, payload: &[u8], at: SystemTime, options: &[&str]) -> String {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let time = format!("{seconds}!");
        let options = [&["--faked-system-time", &time, "--no-tty"], options].concat();
        self.keyring.sign(&self.people[person].key, payload, &options)
    }
}

/// Returns the certificate with a revocation by its own key.
fn revoked(public: &str, secret: &[u8], reason: ReasonForRevocation) -> String {
    let secret = Cert::from_bytes(secret).unwrap();
    let mut signer = secret.primary_key().key().clone().parts_into_secret().unwrap().into_keypair().unwrap();
    let cert = Cert::from_bytes(public.as_bytes()).unwrap();
    let revocation = CertRevocationBuilder::new()
        .set_reason_for_revocation(reason, b"")
        .unwrap()
        .set_signature_creation_time(SystemTime::UNIX_EPOCH + Duration::from_secs(REVOKED))
        .unwrap()
        .build(&mut signer, &cert, None)
        .unwrap();
    let cert = cert.insert_packets(revocation).unwrap().0;
    String::from_utf8(cert.armored().to_vec().unwrap()).unwrap()
}
