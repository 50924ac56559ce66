// SPDX-License-Identifier: Apache-2.0
//! OpenPGP armor in the one form that gpg writes: no headers, lines of 64 characters, a checksum.
//!
//! The armor is not signed. If several forms were accepted, anyone could give a signed commit a second id, and a mirror
//! could so lead some hosts onto a commit that nobody will ever build on.

use crate::trust::refusal::{Code, Refusal};

const BEGIN: &str = "-----BEGIN PGP SIGNATURE-----\n\n";
const END: &str = "-----END PGP SIGNATURE-----\n";
/// The largest armor that is looked at; a signature by an RSA key of 16384 bits has about 3 KB.
const MAX_BYTES: usize = 16 * 1024;

/// Returns the bytes that the armor holds.
pub(in crate::trust) fn decode(armor: &[u8]) -> Result<Vec<u8>, Refusal> {
    let refused = |why: &str| Refusal::new(Code::ArmorNotCanonical, format!("the armor of its signature {why}"));
    if armor.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
        return Err(Refusal::new(Code::UnsupportedSignature, "it is signed with an SSH key"));
    }
    if armor.starts_with(b"-----BEGIN SIGNED MESSAGE-----") {
        return Err(Refusal::new(Code::UnsupportedSignature, "it is signed with an X.509 certificate"));
    }
    if armor.len() > MAX_BYTES {
        return Err(refused("is too long"));
    }
    let text = std::str::from_utf8(armor).map_err(|_| refused("is not text"))?;
    let body = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).ok_or_else(|| {
        refused("has headers such as Version or Comment, or something else than BEGIN and END PGP SIGNATURE around it")
    })?;
    let (base64, _checksum) = body.rsplit_once("\n=").ok_or_else(|| refused("has no checksum"))?;
    let bytes = openssl::base64::decode_block(&base64.replace('\n', "")).map_err(|_| refused("is not base64"))?;
    // The only proof of the one form: write it again and compare.
    if encode(&bytes) != text {
        return Err(refused("is not what gpg writes: its line breaks, checksum or spare bits differ"));
    }
    Ok(bytes)
}

/// Returns the armor of `bytes`.
pub(in crate::trust) fn encode(bytes: &[u8]) -> String {
    let mut text = BEGIN.to_owned();
    // 48 bytes make 64 characters.
    for line in bytes.chunks(48) {
        text.push_str(&openssl::base64::encode_block(line));
        text.push('\n');
    }
    let checksum = crc24(bytes).to_be_bytes();
    text.push_str(&format!("={}\n{END}", openssl::base64::encode_block(&checksum[1..])));
    text
}

/// The checksum of RFC 4880, section 6.1.
fn crc24(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xB7_04CE, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 16, |crc, _| {
            let shifted = crc << 1;
            if shifted & 0x100_0000 == 0 { shifted } else { shifted ^ 0x186_4CFB }
        })
    })
}
