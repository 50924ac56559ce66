// SPDX-License-Identifier: Apache-2.0
//! RSA as OpenPGP signs with it (RFC 9580, section 5.2.3.1), with keys that are made ready once.
//!
//! sequoia makes OpenSSL's form of the key for every signature, which takes longer than verifying it.

use std::cell::RefCell;
use std::collections::HashMap;

use openssl::bn::BigNum;
use openssl::md::{Md, MdRef};
use openssl::pkey::{PKey, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::{Padding, Rsa};
use sequoia_openpgp::types::HashAlgorithm;
use sequoia_openpgp::{Error, Result};

/// How many keys each thread keeps ready.
const MAX_KEYS: usize = 64;

/// Modulus and exponent: the key itself, not a name that two keys could share.
type Numbers = (Vec<u8>, Vec<u8>);

thread_local! {
    static READY: RefCell<HashMap<Numbers, PKey<Public>>> = RefCell::default();
}

/// Checks that the key of modulus `n` and exponent `e` signed `digest`, a hash by `hash`, with PKCS #1 v1.5.
pub(super) fn fits(n: &[u8], e: &[u8], hash: HashAlgorithm, digest: &[u8], signature: &[u8]) -> Result<()> {
    let md = md(hash).ok_or(Error::UnsupportedHashAlgorithm(hash))?;
    // OpenPGP leaves out leading zeros, and OpenSSL wants them.
    let signature = [vec![0; n.len().saturating_sub(signature.len())], signature.to_vec()].concat();
    let key = ready(n, e)?;
    let mut context = PkeyCtx::new(&key)?;
    context.verify_init()?;
    context.set_rsa_padding(Padding::PKCS1)?;
    context.set_signature_md(md)?;
    if context.verify(digest, &signature)? { Ok(()) } else { Err(Error::ManipulatedMessage.into()) }
}

fn md(hash: HashAlgorithm) -> Option<&'static MdRef> {
    match hash {
        HashAlgorithm::SHA256 => Some(Md::sha256()),
        HashAlgorithm::SHA384 => Some(Md::sha384()),
        HashAlgorithm::SHA512 => Some(Md::sha512()),
        _ => None,
    }
}

fn ready(n: &[u8], e: &[u8]) -> Result<PKey<Public>> {
    READY.with_borrow_mut(|ready| {
        let name = (n.to_vec(), e.to_vec());
        if let Some(key) = ready.get(&name) {
            return Ok(key.clone());
        }
        let key = Rsa::from_public_components(BigNum::from_slice(n)?, BigNum::from_slice(e)?)?;
        let key = PKey::from_rsa(key)?;
        if ready.len() >= MAX_KEYS {
            ready.clear();
        }
        ready.insert(name, key.clone());
        Ok(key)
    })
}
