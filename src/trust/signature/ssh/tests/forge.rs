// SPDX-License-Identifier: Apache-2.0
//! Keys whose signatures can be bent in any way before they are signed and after, and the real ssh-keygen.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::{fs, io::Write as _};

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use tempfile::TempDir;

use super::super::key::Curve;
use super::super::wire::Writer;
use super::super::{Algorithm, encode_armor};

/// One key for all tests: it takes long to make.
static RSA: LazyLock<Rsa<Private>> = LazyLock::new(|| Rsa::generate(3072).unwrap());

/// A key with its secret.
pub(super) struct Forger {
    pub(super) algorithm: Algorithm,
    pub(super) secret: Secret,
    application: &'static str,
}

pub(super) enum Secret {
    Ed25519(PKey<Private>),
    Ecdsa(Curve, EcKey<Private>),
    Rsa(Rsa<Private>),
}

/// What is signed besides the payload.
pub(super) struct Claim {
    pub(super) namespace: &'static str,
    pub(super) reserved: &'static str,
    pub(super) hash: &'static str,
    pub(super) rsa: &'static str,
    pub(super) flags: u8,
}

impl Default for Claim {
    fn default() -> Self {
        Self { namespace: "git", reserved: "", hash: "sha512", rsa: "rsa-sha2-512", flags: 1 }
    }
}

/// A signature in its parts.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) version: u32,
    pub(super) key: Vec<u8>,
    pub(super) namespace: Vec<u8>,
    pub(super) reserved: Vec<u8>,
    pub(super) hash: Vec<u8>,
    pub(super) algorithm: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// Flags and counter.
    pub(super) token: Vec<u8>,
    pub(super) tail: Vec<u8>,
}

impl Forger {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let curve = |curve: Curve| {
            let group = EcGroup::from_curve_name(curve.nid()).unwrap();
            Secret::Ecdsa(curve, EcKey::generate(&group).unwrap())
        };
        let secret = match algorithm {
            Algorithm::Ed25519 | Algorithm::SkEd25519 => Secret::Ed25519(PKey::generate_ed25519().unwrap()),
            Algorithm::Ecdsa(name) => curve(name),
            Algorithm::SkEcdsa => curve(Curve::P256),
            Algorithm::Rsa => Secret::Rsa(RSA.clone()),
        };
        Self { algorithm, secret, application: "ssh:" }
    }

    pub(super) fn rsa(bits: u32, exponent: u32) -> Self {
        let secret = Rsa::generate_with_e(bits, &BigNum::from_u32(exponent).unwrap()).unwrap();
        Self { algorithm: Algorithm::Rsa, secret: Secret::Rsa(secret), application: "" }
    }

    pub(super) fn is_token(&self) -> bool {
        matches!(self.algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsa)
    }

    pub(super) fn blob(&self) -> Vec<u8> {
        let writer = Writer::default().string(self.algorithm.as_str().as_bytes());
        let writer = match &self.secret {
            Secret::Ed25519(key) => writer.string(&key.raw_public_key().unwrap()),
            Secret::Ecdsa(curve, key) => {
                writer.string(curve.name()).string(&self.point(key, PointConversionForm::UNCOMPRESSED))
            }
            Secret::Rsa(key) => writer.positive(&key.e().to_vec()).positive(&key.n().to_vec()),
        };
        if self.is_token() { writer.string(self.application.as_bytes()).0 } else { writer.0 }
    }

    pub(super) fn point(&self, key: &EcKey<Private>, form: PointConversionForm) -> Vec<u8> {
        key.public_key().to_bytes(key.group(), form, &mut BigNumContext::new().unwrap()).unwrap()
    }

    pub(super) fn line(&self) -> String {
        pub_line(self.algorithm.as_str(), &self.blob())
    }

    pub(super) fn sign(&self, payload: &[u8]) -> Parts {
        self.sign_as(&Claim::default(), payload)
    }

    pub(super) fn sign_as(&self, claim: &Claim, payload: &[u8]) -> Parts {
        let digest = hash(MessageDigest::from_name(claim.hash).unwrap(), payload).unwrap();
        let mut message = Writer::default()
            .bytes(b"SSHSIG")
            .string(claim.namespace.as_bytes())
            .string(claim.reserved.as_bytes())
            .string(claim.hash.as_bytes())
            .string(&digest)
            .0;
        let mut token = Vec::new();
        if self.is_token() {
            token = vec![claim.flags, 0x12, 0x34, 0x56, 0x78];
            let (application, message_digest) =
                (openssl::sha::sha256(self.application.as_bytes()), openssl::sha::sha256(&message));
            message = [application.as_slice(), &token, &message_digest].concat();
        }
        let mut algorithm = self.algorithm.as_str();
        let value = match &self.secret {
            Secret::Ed25519(key) => Signer::new_without_digest(key).unwrap().sign_oneshot_to_vec(&message).unwrap(),
            Secret::Ecdsa(curve, key) => {
                let signature = EcdsaSig::sign(&hash(curve.hash(), &message).unwrap(), key).unwrap();
                numbers(signature.r(), signature.s())
            }
            Secret::Rsa(key) => {
                algorithm = claim.rsa;
                let digest = match claim.rsa {
                    "rsa-sha2-256" => MessageDigest::sha256(),
                    "rsa-sha2-512" => MessageDigest::sha512(),
                    _ => MessageDigest::sha1(),
                };
                let key = PKey::from_rsa(key.clone()).unwrap();
                Signer::new(digest, &key).unwrap().sign_oneshot_to_vec(&message).unwrap()
            }
        };
        Parts {
            version: 1,
            key: self.blob(),
            namespace: claim.namespace.into(),
            reserved: claim.reserved.into(),
            hash: claim.hash.into(),
            algorithm: algorithm.into(),
            value,
            token,
            tail: Vec::new(),
        }
    }
}

/// Writes the two numbers of an ECDSA signature.
pub(super) fn numbers(r: &openssl::bn::BigNumRef, s: &openssl::bn::BigNumRef) -> Vec<u8> {
    Writer::default().positive(&r.to_vec()).positive(&s.to_vec()).0
}

pub(super) fn pub_line(algorithm: &str, blob: &[u8]) -> String {
    format!("{algorithm} {} somebody@example.org\n", openssl::base64::encode_block(blob))
}

impl Parts {
    pub(super) fn blob(&self) -> Vec<u8> {
        let signature = Writer::default().string(&self.algorithm).string(&self.value).bytes(&self.token).0;
        Writer::default()
            .bytes(b"SSHSIG")
            .bytes(&self.version.to_be_bytes())
            .string(&self.key)
            .string(&self.namespace)
            .string(&self.reserved)
            .string(&self.hash)
            .string(&signature)
            .bytes(&self.tail)
            .0
    }

    pub(super) fn armor(&self) -> String {
        encode_armor(&self.blob())
    }

    /// Returns it with a change.
    pub(super) fn but(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut parts = self.clone();
        change(&mut parts);
        parts
    }
}

/// The real program, in a directory of its own.
pub(super) struct Keygen(TempDir);

impl Keygen {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Makes a key and returns the path of the secret one.
    pub(super) fn key(&self, kind: &str, bits: &str) -> PathBuf {
        let path = self.0.path().join(format!("{kind}{bits}"));
        let mut args = vec!["-q", "-t", kind, "-N", "", "-C", "made by a test", "-f"];
        args.push(path.to_str().unwrap());
        if !bits.is_empty() {
            args.extend(["-b", bits]);
        }
        self.run(&args, b"").unwrap();
        path
    }

    pub(super) fn public(path: &Path) -> Vec<u8> {
        fs::read(path.with_extension("pub")).unwrap()
    }

    pub(super) fn fingerprint(&self, path: &Path) -> String {
        let line = self.run(&["-lf", path.to_str().unwrap()], b"").unwrap();
        line.split(' ').nth(1).unwrap().to_owned()
    }

    pub(super) fn sign(&self, path: &Path, namespace: &str, hash: &str, payload: &[u8]) -> String {
        let option = format!("hashalg={hash}");
        self.run(&["-q", "-Y", "sign", "-n", namespace, "-O", &option, "-f", path.to_str().unwrap()], payload).unwrap()
    }

    /// Tells whether the program takes the signature for one of this content.
    pub(super) fn takes(&self, armor: &str, payload: &[u8]) -> bool {
        let path = self.0.path().join("signature");
        fs::write(&path, armor).unwrap();
        let args = ["-q", "-Y", "check-novalidate", "-n", "git", "-s", path.to_str().unwrap()];
        self.run(&args, payload).is_ok()
    }

    pub(super) fn run(&self, args: &[&str], input: &[u8]) -> Result<String, String> {
        let mut child = Command::new("ssh-keygen")
            .args(args)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ssh-keygen is installed");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}
