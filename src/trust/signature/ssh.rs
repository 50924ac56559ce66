// SPDX-License-Identifier: Apache-2.0
//! SSH signatures (openssh's PROTOCOL.sshsig) and the public keys that make them.
//!
//! The codec is our own, because only one form of each signature may count (docs/decisions/0012-ssh-signatures.md);
//! OpenSSL does the mathematics.

mod key;
#[cfg(test)]
mod tests;
mod wire;

use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Public};
use openssl::sign::Verifier;

pub(in crate::trust) use key::SshKey;
use key::{Algorithm, PublicKey, shown};
use wire::{Reader, Writer};

use crate::trust::refusal::{Code, Refusal};

/// The namespace of Git's signatures.
pub(in crate::trust) const GIT: &str = "git";

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "-----END SSH SIGNATURE-----\n";
/// How ssh-keygen breaks lines, whatever PROTOCOL.sshsig says.
const LINE: usize = 70;
/// The largest armor that is looked at; a signature by an RSA key of 16384 bits has about 6 KB.
const MAX_BYTES: usize = 16 * 1024;
const MAGIC: &[u8; 6] = b"SSHSIG";
const VERSION: u32 = 1;
/// Bits of the flags of a FIDO token's signature: somebody touched it.
const USER_PRESENT: u8 = 1;

/// A signature in its one form, not yet verified. It holds the key that made it, and no time.
#[derive(Debug)]
pub(in crate::trust) struct Ssh {
    key: SshKey,
    /// Where the signature is valid, e.g. "git".
    namespace: String,
    hash: Hash,
    value: Value,
    /// What a FIDO token signs besides.
    token: Option<Token>,
}

/// The hash of what was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn digest(self) -> MessageDigest {
        match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }
}

#[derive(Debug)]
enum Value {
    Ed25519(Vec<u8>),
    /// The digits of both numbers.
    Ecdsa(Vec<u8>, Vec<u8>),
    /// With a hash that the signature names besides that of what was signed.
    Rsa(Hash, Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
struct Token {
    flags: u8,
    counter: [u8; 4],
}

impl Ssh {
    /// Reads an armored signature made for `namespace`.
    ///
    /// An ECDSA signature still has a twin, (r, n - s), which anyone can compute; Ed25519 and RSA signatures have none.
    pub(in crate::trust) fn parse(text: &[u8], namespace: &str) -> Result<Self, Refusal> {
        let blob = decode_armor(text)?;
        let signature = Self::from_blob(&blob)?;
        if signature.namespace != namespace {
            let made_for = shown(signature.namespace.as_bytes());
            let detail = format!("its signature was made for the namespace \"{made_for}\", not for \"{namespace}\"");
            return Err(Refusal::new(Code::MalformedSignature, detail));
        }
        // Whatever the steps above let slip would make two ids of one commit.
        if signature.to_blob() != blob {
            return Err(malformed("is not written the way that ssh-keygen writes it"));
        }
        Ok(signature)
    }

    fn from_blob(blob: &[u8]) -> Result<Self, Refusal> {
        let cut = || malformed("is cut off or has something after its end");
        let mut reader = Reader(blob);
        if reader.bytes().as_ref() != Some(MAGIC) {
            return Err(malformed("does not begin with SSHSIG"));
        }
        let version = reader.number().ok_or_else(cut)?;
        if version != VERSION {
            let detail = format!("its signature has the version {version} of the SSH signature format, not {VERSION}");
            return Err(Refusal::new(Code::UnsupportedSignature, detail));
        }
        let mut string = || reader.string().ok_or_else(cut);
        let (key, namespace, reserved, hash, value) = (string()?, string()?, string()?, string()?, string()?);
        reader.end().ok_or_else(cut)?;

        let key = SshKey::from_blob(key).map_err(|fault| {
            let (code, why) = fault.into_parts();
            Refusal::new(code, format!("the key of its signature {why}"))
        })?;
        let namespace = String::from_utf8(namespace.to_owned()).map_err(|_| malformed("has no text as namespace"))?;
        if !reserved.is_empty() {
            return Err(malformed("has something in the field that is reserved"));
        }
        let known = [Hash::Sha256, Hash::Sha512].into_iter().find(|known| known.as_str().as_bytes() == hash);
        let hash = known.ok_or_else(|| {
            let detail = format!("its signature uses the hash \"{}\", not sha256 or sha512", shown(hash));
            Refusal::new(Code::WeakSignature, detail)
        })?;
        let (value, token) = read_value(&key, value)?;
        Ok(Self { key, namespace, hash, value, token })
    }

    fn to_blob(&self) -> Vec<u8> {
        let algorithm = match self.value {
            Value::Rsa(Hash::Sha256, _) => "rsa-sha2-256",
            Value::Rsa(Hash::Sha512, _) => "rsa-sha2-512",
            _ => self.key.algorithm.as_str(),
        };
        let value = match &self.value {
            Value::Ed25519(value) | Value::Rsa(_, value) => value.clone(),
            Value::Ecdsa(r, s) => Writer::default().positive(r).positive(s).0,
        };
        let mut signature = Writer::default().string(algorithm.as_bytes()).string(&value);
        if let Some(Token { flags, counter }) = self.token {
            signature = signature.bytes(&[flags]).bytes(&counter);
        }
        Writer::default()
            .bytes(MAGIC)
            .bytes(&VERSION.to_be_bytes())
            .string(&self.key.blob)
            .string(self.namespace.as_bytes())
            .string(b"")
            .string(self.hash.as_str().as_bytes())
            .string(&signature.0)
            .0
    }

    /// Returns the key that made it, as the signature itself says.
    pub(in crate::trust) fn key(&self) -> &SshKey {
        &self.key
    }

    /// Verifies that its key made this signature of `payload`.
    pub(in crate::trust) fn verify(&self, payload: &[u8]) -> Result<(), Refusal> {
        let bad = |why: &str| Refusal::new(Code::BadSignature, format!("the signature by {} {why}", self.key.name()));
        match self.fits(payload) {
            Ok(true) => Ok(()),
            Ok(false) => Err(bad("is not of this content")),
            // OpenSSL says so of numbers that are out of range, among others.
            Err(_) => Err(bad("is not one that its key can make")),
        }
    }

    fn fits(&self, payload: &[u8]) -> Result<bool, ErrorStack> {
        let digest = hash(self.hash.digest(), payload)?;
        let mut message = Writer::default()
            .bytes(MAGIC)
            .string(self.namespace.as_bytes())
            .string(b"")
            .string(self.hash.as_str().as_bytes())
            .string(&digest)
            .0;
        // What the token signs is not the message but this (openssh's PROTOCOL.u2f).
        if let (Some(application), Some(Token { flags, counter })) = (&self.key.application, self.token) {
            message = Writer::default()
                .bytes(&openssl::sha::sha256(application))
                .bytes(&[flags])
                .bytes(&counter)
                .bytes(&openssl::sha::sha256(&message))
                .0;
        }
        match (&self.key.public, &self.value) {
            (PublicKey::Ed25519(key), Value::Ed25519(value)) => {
                Verifier::new_without_digest(key)?.verify_oneshot(value, &message)
            }
            (PublicKey::Ecdsa(curve, key), Value::Ecdsa(r, s)) => {
                let signature = EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
                signature.verify(&hash(curve.hash(), &message)?, key)
            }
            (PublicKey::Rsa(key), Value::Rsa(hash, value)) => rsa_fits(key, *hash, value, &message),
            // `read_value` goes by the key.
            _ => Ok(false),
        }
    }
}

fn rsa_fits(key: &PKey<Public>, hash: Hash, value: &[u8], message: &[u8]) -> Result<bool, ErrorStack> {
    // PKCS#1 v1.5 is the padding that OpenSSL takes by itself.
    Verifier::new(hash.digest(), key)?.verify_oneshot(value, message)
}

/// Reads the innermost part: the mathematics of the signature, and what a token adds.
fn read_value(key: &SshKey, data: &[u8]) -> Result<(Value, Option<Token>), Refusal> {
    let fault = || malformed("holds other numbers than its key makes, or not in the shortest form");
    let mut reader = Reader(data);
    let (algorithm, value) = reader.string().zip(reader.string()).ok_or_else(fault)?;
    let expected = key.algorithm.as_str().as_bytes();
    let value = match (&key.public, algorithm) {
        (PublicKey::Rsa(_), b"ssh-rsa") => {
            return Err(Refusal::new(Code::WeakSignature, "its signature is by RSA with SHA-1"));
        }
        (PublicKey::Rsa(key), b"rsa-sha2-256" | b"rsa-sha2-512") => {
            // A leading zero left out, or one too many, would make another form.
            if value.len() != key.size() {
                return Err(fault());
            }
            let hash = if algorithm == b"rsa-sha2-256" { Hash::Sha256 } else { Hash::Sha512 };
            Value::Rsa(hash, value.to_owned())
        }
        (PublicKey::Ed25519(_), _) if algorithm == expected => {
            if value.len() != 64 {
                return Err(fault());
            }
            Value::Ed25519(value.to_owned())
        }
        (PublicKey::Ecdsa(..), _) if algorithm == expected => {
            let mut numbers = Reader(value);
            let (r, s) = numbers.positive().zip(numbers.positive()).ok_or_else(fault)?;
            numbers.end().ok_or_else(fault)?;
            Value::Ecdsa(r.to_owned(), s.to_owned())
        }
        _ if algorithm.starts_with(b"webauthn-sk-") => {
            let detail = format!("its signature is of the kind \"{}\", made by a web browser", shown(algorithm));
            return Err(Refusal::new(Code::UnsupportedSignature, detail));
        }
        _ => {
            return Err(malformed(&format!(
                "is of the kind \"{}\", its key of the kind {}",
                shown(algorithm),
                key.algorithm.as_str()
            )));
        }
    };
    let token = match key.algorithm {
        Algorithm::SkEd25519 | Algorithm::SkEcdsa => {
            let ([flags], counter) = reader.bytes().zip(reader.bytes()).ok_or_else(fault)?;
            if flags & USER_PRESENT == 0 {
                let detail = "its signature was made by a token that nobody touched";
                return Err(Refusal::new(Code::WeakSignature, detail));
            }
            Some(Token { flags, counter })
        }
        Algorithm::Ed25519 | Algorithm::Ecdsa(_) | Algorithm::Rsa => None,
    };
    reader.end().ok_or_else(fault)?;
    Ok((value, token))
}

/// Returns the bytes that the armor holds.
fn decode_armor(armor: &[u8]) -> Result<Vec<u8>, Refusal> {
    let refused = |why: &str| Refusal::new(Code::ArmorNotCanonical, format!("the armor of its signature {why}"));
    if armor.len() > MAX_BYTES {
        return Err(refused("is too long"));
    }
    let text = std::str::from_utf8(armor).map_err(|_| refused("is not text"))?;
    let body = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let body = body.ok_or_else(|| refused("has something else than BEGIN and END SSH SIGNATURE around it"))?;
    let bytes = openssl::base64::decode_block(&body.replace('\n', "")).map_err(|_| refused("is not base64"))?;
    // The only proof of the one form: write it again and compare.
    if encode_armor(&bytes) != text {
        return Err(refused("is not what ssh-keygen writes: its line breaks or spare bits differ"));
    }
    Ok(bytes)
}

/// Returns the armor of `bytes`.
fn encode_armor(bytes: &[u8]) -> String {
    let mut text = BEGIN.to_owned();
    for (at, digit) in openssl::base64::encode_block(bytes).chars().enumerate() {
        if at > 0 && at % LINE == 0 {
            text.push('\n');
        }
        text.push(digit);
    }
    text.push('\n');
    text.push_str(END);
    text
}

fn malformed(why: &str) -> Refusal {
    Refusal::new(Code::MalformedSignature, format!("its signature {why}"))
}
