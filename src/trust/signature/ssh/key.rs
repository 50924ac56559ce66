// SPDX-License-Identifier: Apache-2.0
//! SSH public keys that are strong enough to sign with.

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::Rsa;

use super::wire::{Reader, Writer};
use crate::trust::key_name::KeyName;
use crate::trust::refusal::Code;

/// The largest `.pub` file that is looked at; one with an RSA key of 16384 bits has about 3 KB.
const MAX_BYTES: usize = 16 * 1024;
const RSA_BITS: std::ops::RangeInclusive<i32> = 3072..=16384;

/// Encoded points of order 1, 2, 4 or 8, without the sign bit. No secret belongs to them: for such a "key", anybody can
/// make a signature of some messages or of all.
pub(super) const SMALL_ORDER: [[u8; 32]; 7] = [
    small(0, 0, 0),
    small(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    small(0xec, 0xff, 0x7f),
    small(0xed, 0xff, 0x7f),
    small(0xee, 0xff, 0x7f),
];

const fn small(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut point = [between; 32];
    (point[0], point[31]) = (first, last);
    point
}

/// An SSH public key that is strong enough.
#[derive(Clone, Debug)]
pub(in crate::trust) struct SshKey {
    name: KeyName,
    /// The key as it goes over the wire.
    pub(super) blob: Vec<u8>,
    pub(super) algorithm: Algorithm,
    pub(super) public: PublicKey,
    /// The key is in a FIDO token, and signs for this application only.
    pub(super) application: Option<Vec<u8>>,
}

/// The same key has the same fingerprint.
impl PartialEq for SshKey {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for SshKey {}

#[derive(Clone, Debug)]
pub(super) enum PublicKey {
    Ed25519(PKey<Public>),
    Ecdsa(Curve, EcKey<Public>),
    Rsa(PKey<Public>),
}

/// The kinds of keys that may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Ed25519,
    Ecdsa(Curve),
    Rsa,
    SkEd25519,
    SkEcdsa,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Self::P256 => b"nistp256",
            Self::P384 => b"nistp384",
            Self::P521 => b"nistp521",
        }
    }

    /// Returns the length of a point that is written out: a tag and two coordinates.
    fn point_len(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::P384 => 97,
            Self::P521 => 133,
        }
    }

    pub(super) fn nid(self) -> Nid {
        match self {
            Self::P256 => Nid::X9_62_PRIME256V1,
            Self::P384 => Nid::SECP384R1,
            Self::P521 => Nid::SECP521R1,
        }
    }

    /// Returns the hash that goes with it (RFC 5656, section 6.2.1).
    pub(super) fn hash(self) -> MessageDigest {
        match self {
            Self::P256 => MessageDigest::sha256(),
            Self::P384 => MessageDigest::sha384(),
            Self::P521 => MessageDigest::sha512(),
        }
    }
}

impl Algorithm {
    const ALL: [Self; 7] = [
        Self::Ed25519,
        Self::Ecdsa(Curve::P256),
        Self::Ecdsa(Curve::P384),
        Self::Ecdsa(Curve::P521),
        Self::Rsa,
        Self::SkEd25519,
        Self::SkEcdsa,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::Ecdsa(Curve::P256) => "ecdsa-sha2-nistp256",
            Self::Ecdsa(Curve::P384) => "ecdsa-sha2-nistp384",
            Self::Ecdsa(Curve::P521) => "ecdsa-sha2-nistp521",
            Self::Rsa => "ssh-rsa",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::SkEcdsa => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    fn read(name: &[u8]) -> Result<Self, Fault> {
        if let Some(known) = Self::ALL.into_iter().find(|known| known.as_str().as_bytes() == name) {
            return Ok(known);
        }
        let shown = shown(name);
        Err(if name == b"ssh-dss" {
            Fault::Weak("is a DSA key, which is too weak".to_owned())
        } else if name.ends_with(b"-cert-v01@openssh.com") {
            Fault::Unsupported(format!("is a certificate ({shown}); use the plain key that it certifies"))
        } else {
            Fault::Unsupported(format!("is of the kind \"{shown}\", which is not supported"))
        })
    }
}

/// Why bytes are no good key, in words that follow "the key of alice".
#[derive(Debug)]
pub(super) enum Fault {
    Malformed(String),
    Unsupported(String),
    Weak(String),
}

impl Fault {
    pub(super) fn into_parts(self) -> (Code, String) {
        match self {
            Self::Malformed(why) => (Code::MalformedSignature, why),
            Self::Unsupported(why) => (Code::UnsupportedSignature, why),
            Self::Weak(why) => (Code::WeakSignature, why),
        }
    }
}

impl SshKey {
    /// Reads a `.pub` file: one line, `ALGORITHM BASE64 COMMENT`.
    ///
    /// # Errors
    /// Why it is not one good key, in words that follow "the key of alice".
    pub(in crate::trust) fn parse(line: &[u8]) -> Result<Self, String> {
        if line.trim_ascii_start().starts_with(b"-----BEGIN") && line.windows(11).any(|part| part == b"PRIVATE KEY") {
            return Err("is a private key: whoever can read the repository has it now. Retire it, make another one \
                        with ssh-keygen, and list its .pub file"
                .to_owned());
        }
        let fault = "is not one line `ALGORITHM BASE64 COMMENT`, as ssh-keygen writes a .pub file";
        if line.len() > MAX_BYTES {
            return Err(fault.to_owned());
        }
        let line = std::str::from_utf8(line).map_err(|_| fault)?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        if line.contains(char::is_control) {
            return Err(format!("{fault}: it has a second line or a control character"));
        }
        let (algorithm, rest) = line.split_once(' ').ok_or(fault)?;
        let (base64, _comment) = rest.split_once(' ').unwrap_or((rest, ""));
        // Of an unknown word before the key, the likeliest sense is options, as authorized_keys has them.
        if !algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-@.".contains(&byte)) {
            return Err(format!("{fault}: it does not begin with the algorithm; options are not allowed"));
        }
        let blob = openssl::base64::decode_block(base64).ok();
        let blob = blob.filter(|blob| !blob.is_empty() && openssl::base64::encode_block(blob) == base64);
        let blob = blob.ok_or_else(|| format!("{fault}: after the algorithm stands no base64"))?;
        let key = Self::from_blob(&blob).map_err(|fault| fault.into_parts().1)?;
        if key.algorithm.as_str() != algorithm {
            let kind = key.algorithm.as_str();
            return Err(format!("is of the kind {kind} but says {}", shown(algorithm.as_bytes())));
        }
        Ok(key)
    }

    /// Reads a key as it goes over the wire.
    pub(super) fn from_blob(blob: &[u8]) -> Result<Self, Fault> {
        let malformed = || Fault::Malformed("is not written the way that OpenSSH writes one".to_owned());
        let unusable = |_: ErrorStack| Fault::Malformed("is not a key that OpenSSL can use".to_owned());
        let mut reader = Reader(blob);
        let algorithm = Algorithm::read(reader.string().ok_or_else(malformed)?)?;
        let mut writer = Writer::default().string(algorithm.as_str().as_bytes());
        let public = match algorithm {
            Algorithm::Ed25519 | Algorithm::SkEd25519 => {
                let point: [u8; 32] = reader.string().and_then(|point| point.try_into().ok()).ok_or_else(malformed)?;
                let mut unsigned = point;
                unsigned[31] &= 0x7f;
                if SMALL_ORDER.contains(&unsigned) {
                    return Err(Fault::Weak("is an Ed25519 key that anybody can sign for".to_owned()));
                }
                writer = writer.string(&point);
                PublicKey::Ed25519(PKey::public_key_from_raw_bytes(&point, Id::ED25519).map_err(unusable)?)
            }
            Algorithm::Ecdsa(_) | Algorithm::SkEcdsa => {
                let curve = if let Algorithm::Ecdsa(curve) = algorithm { curve } else { Curve::P256 };
                let (name, point) = reader.string().zip(reader.string()).ok_or_else(malformed)?;
                // Compressed points would be other bytes of the same key.
                if name != curve.name() || point.len() != curve.point_len() || point.first() != Some(&4) {
                    return Err(malformed());
                }
                writer = writer.string(name).string(point);
                PublicKey::Ecdsa(curve, ec_key(curve, point).map_err(unusable)?)
            }
            Algorithm::Rsa => {
                let (exponent, modulus) = reader.positive().zip(reader.positive()).ok_or_else(malformed)?;
                writer = writer.positive(exponent).positive(modulus);
                PublicKey::Rsa(rsa_key(exponent, modulus)?)
            }
        };
        let mut application = None;
        if matches!(algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsa) {
            let name = reader.string().ok_or_else(malformed)?;
            writer = writer.string(name);
            application = Some(name.to_owned());
        }
        reader.end().ok_or_else(malformed)?;
        // Whatever the steps above let slip would give one key two fingerprints.
        if writer.0 != blob {
            return Err(malformed());
        }
        Ok(Self {
            name: KeyName::Ssh(openssl::sha::sha256(blob)),
            blob: blob.to_owned(),
            algorithm,
            public,
            application,
        })
    }

    /// Returns its fingerprint.
    pub(in crate::trust) fn name(&self) -> &KeyName {
        &self.name
    }
}

fn ec_key(curve: Curve, point: &[u8]) -> Result<EcKey<Public>, ErrorStack> {
    let group = EcGroup::from_curve_name(curve.nid())?;
    let mut context = BigNumContext::new()?;
    // Refuses coordinates that are too large, and points beside the curve. The curves' orders are prime: every point
    // on them but zero, which has no such encoding, is a good key.
    let point = EcPoint::from_bytes(&group, point, &mut context)?;
    EcKey::from_public_key(&group, &point)
}

fn rsa_key(exponent: &[u8], modulus: &[u8]) -> Result<PKey<Public>, Fault> {
    let number = |digits: &[u8]| {
        BigNum::from_slice(digits).map_err(|_| Fault::Malformed("has a number that is too large".to_owned()))
    };
    let (e, n) = (number(exponent)?, number(modulus)?);
    let bits = n.num_bits();
    if !RSA_BITS.contains(&bits) {
        let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
        return Err(Fault::Weak(format!("is an RSA key of {bits} bits; it takes {least} to {most}")));
    }
    // Small exponents have a history of forgeries; OpenSSL takes none above 64 bits with a modulus of this size.
    if !(17..=64).contains(&e.num_bits()) || !e.is_bit_set(0) || !n.is_bit_set(0) {
        return Err(Fault::Weak("is an RSA key with an unusual exponent or an even modulus".to_owned()));
    }
    let key = Rsa::from_public_components(n, e).and_then(PKey::from_rsa);
    key.map_err(|_| Fault::Malformed("is not a key that OpenSSL can use".to_owned()))
}

/// Returns a name from outside as it may be shown.
pub(super) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(64)]).escape_debug().to_string()
}
