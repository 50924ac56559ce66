// SPDX-License-Identifier: Apache-2.0
//! Lines of authorized_keys, as sshd(8) reads them.

use std::fmt;

use openssl::base64;

use crate::resources::digest::{Digestible, Sum};

/// The types of key that sshd accepts; DSA is none since OpenSSH 10.
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A public key that opens an account, with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The line as it was written, without spaces around it.
    line: String,
    kind: &'static str,
    blob: Vec<u8>,
    comment: String,
    restricted: bool,
}

/// Why a line is no key. It never repeats the line, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAKey {
    Private,
    ControlCharacter,
    Comment,
    Quote,
    Type,
    Dsa,
    Blob,
    OtherType,
}

impl fmt::Display for NotAKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Private => "this is a private key, and it is known by now to all who can read the repo",
            Self::ControlCharacter => "the key has a line break or another control character in it",
            Self::Comment => "the line is empty or a comment, and no key",
            Self::Quote => "a quotation mark in the options of the key is never closed",
            Self::Type => "the line has no type of key that sshd knows",
            Self::Dsa => "DSA keys are too weak, and sshd no longer accepts them",
            Self::Blob => "the key itself, the long word after the type, is damaged or cut off",
            Self::OtherType => "the key itself is of another type than the word before it says",
        })
    }
}

impl NotAKey {
    /// Says what would be right.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Private => {
                "make a new pair with ssh-keygen -t ed25519, never use this one again, and write the .pub file here"
            }
            Self::Quote => "close the quotation mark, as in command=\"/usr/bin/true\" ssh-ed25519 AAAA...",
            _ => {
                "write the one line of the .pub file: the type, the key and a comment, such as ssh-ed25519 AAAA... alice"
            }
        }
    }
}

impl Key {
    /// Reads one line.
    ///
    /// # Errors
    /// Says why it is no key.
    pub fn parse(line: &str) -> Result<Self, NotAKey> {
        if line.contains("PRIVATE KEY") || line.contains("b3BlbnNzaC1rZXktdjE") || line.contains("PuTTY-User-Key-File")
        {
            return Err(NotAKey::Private);
        }
        let line = line.trim_matches([' ', '\t', '\n', '\r']);
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(NotAKey::ControlCharacter);
        }
        if line.is_empty() || line.starts_with('#') {
            return Err(NotAKey::Comment);
        }
        let (first, mut rest) = split_word(line);
        let mut kind = first;
        let restricted = key_type(first).is_none() && first != "ssh-dss";
        if restricted {
            let options = end_of_options(line)?;
            (kind, rest) = split_word(line[options..].trim_start());
        }
        if kind == "ssh-dss" {
            return Err(NotAKey::Dsa);
        }
        let kind = key_type(kind).ok_or(NotAKey::Type)?;
        let (blob, comment) = split_word(rest);
        let blob = decode(blob).ok_or(NotAKey::Blob)?;
        let fields = fields(&blob).ok_or(NotAKey::Blob)?;
        match fields.split_first() {
            Some((stated, _)) if *stated != kind.as_bytes() => Err(NotAKey::OtherType),
            Some((_, key)) if !key.is_empty() => {
                Ok(Self { line: line.to_owned(), kind, comment: comment.to_owned(), restricted, blob })
            }
            _ => Err(NotAKey::Blob),
        }
    }

    /// The key itself, whatever its options and comment.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    pub fn line(&self) -> &str {
        &self.line
    }

    /// Returns the type, such as `ssh-ed25519`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns the options before the type, with commas between them; empty if there are none.
    pub fn options(&self) -> &str {
        match end_of_options(&self.line) {
            Ok(end) if self.restricted => &self.line[..end],
            _ => "",
        }
    }

    /// Returns the fingerprint, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        let digest = base64::encode_block(&openssl::sha::sha256(&self.blob));
        format!("SHA256:{}", digest.trim_end_matches('='))
    }
}

impl Digestible for Key {
    fn add_to(&self, sum: &mut Sum) {
        let Self { line, kind, blob, comment, restricted } = self;
        line.add_to(sum);
        kind.add_to(sum);
        sum.bytes(blob);
        comment.add_to(sum);
        restricted.add_to(sum);
    }
}

/// Names a key for people: comments are what they know, but anybody can write any, so the fingerprint stands with it.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.fingerprint())?;
        if !self.comment.is_empty() {
            write!(f, " ({})", self.comment.escape_debug())?;
        }
        if self.restricted { f.write_str(" with options") } else { Ok(()) }
    }
}

fn key_type(word: &str) -> Option<&'static str> {
    TYPES.into_iter().find(|kind| *kind == word)
}

fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_matches([' ', '\t']))
}

/// Returns where the options end: at the first space outside quotation marks.
fn end_of_options(line: &str) -> Result<usize, NotAKey> {
    let (mut quoted, mut escaped) = (false, false);
    for (place, byte) in line.bytes().enumerate() {
        match byte {
            b'"' if !escaped => quoted = !quoted,
            b' ' | b'\t' if !quoted => return Ok(place),
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
    }
    if quoted { Err(NotAKey::Quote) } else { Err(NotAKey::Type) }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    // The decoder of OpenSSL skips spaces; there must be none.
    let strict = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    (strict && !text.is_empty()).then(|| base64::decode_block(text).ok()).flatten()
}

/// Splits a key into its parts, each with its length before it; they must fill it to the last byte.
fn fields(mut blob: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !blob.is_empty() {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        fields.push(field);
        blob = rest;
    }
    Some(fields)
}

/// Returns the content of authorized_keys that holds exactly these keys.
pub fn render(keys: &[Key]) -> Vec<u8> {
    keys.iter().flat_map(|key| [key.line.as_bytes(), b"\n"]).flatten().copied().collect()
}
