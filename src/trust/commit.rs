// SPDX-License-Identifier: Apache-2.0
//! The closed grammar of a commit: `tree`, `parent`*, `author`, `committer`, [`encoding`], [`gpgsig`], a blank line,
//! the message; nothing else, in no other order.
//!
//! Git and its libraries disagree about commits that have more, so a commit that has more is no commit here.

use gix::hash::Kind as Hash;

use crate::model::git::Oid;

use super::refusal::{Code, Refusal};

/// The largest commit that is looked at.
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// A commit taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Commit<'a> {
    pub(super) tree: Oid,
    pub(super) parents: Vec<Oid>,
    author: &'a [u8],
    committer: &'a [u8],
    encoding: Option<&'a [u8]>,
    /// The signature, its lines ended by `\n` as gpg wrote them.
    pub(super) signature: Option<Vec<u8>>,
    message: &'a [u8],
}

impl<'a> Commit<'a> {
    /// Takes apart the content of a commit object whose ids are of type `hash`.
    pub(super) fn parse(data: &'a [u8], hash: Hash) -> Result<Self, Refusal> {
        let fault = |why: &str| Refusal::new(Code::MalformedCommit, why);
        if data.contains(&0) {
            return Err(fault("it has a NUL byte"));
        }
        let mut lines = Lines(data);
        let id = |hex: &[u8]| {
            let id = Oid::from_hex(hex).ok().filter(|id| id.kind() == hash);
            id.ok_or_else(|| fault("an object id in its header is not one"))
        };

        let tree = id(lines.take(b"tree ").ok_or_else(|| fault("it does not begin with its tree"))?)?;
        let mut parents = Vec::new();
        while let Some(parent) = lines.take(b"parent ") {
            let parent = id(parent)?;
            if parents.contains(&parent) {
                return Err(fault("it names a parent twice"));
            }
            parents.push(parent);
            if parents.len() > 2 {
                return Err(Refusal::new(Code::Octopus, "it has more than two parents"));
            }
        }
        let author = lines.take(b"author ").filter(|who| is_identity(who));
        let author = author.ok_or_else(|| fault("where its author should stand is something else"))?;
        let committer = lines.take(b"committer ").filter(|who| is_identity(who));
        let committer = committer.ok_or_else(|| fault("where its committer should stand is something else"))?;
        let encoding = lines.take(b"encoding ");
        let signature = lines.take(signature_header(hash)).map(|first| {
            let mut signature = [first, b"\n"].concat();
            while let Some(next) = lines.take(b" ") {
                signature.extend_from_slice(next);
                signature.push(b'\n');
            }
            signature
        });
        if lines.take(signature_header(hash)).is_some() {
            return Err(fault("it has two signatures"));
        }
        let Some(message) = lines.0.strip_prefix(b"\n") else {
            let header = lines.0.split(|byte| matches!(byte, b' ' | b'\n')).next().unwrap_or_default();
            let header = String::from_utf8_lossy(&header[..header.len().min(40)]);
            return Err(fault(&format!("its header has \"{}\", which is not allowed there", header.escape_debug())));
        };

        let commit = Self { tree, parents, author, committer, encoding, signature, message };
        // Whatever the steps above let slip, such as upper-case digits, would make two ids of one commit.
        if commit.encode(true, hash) != data {
            return Err(fault("it is not written the way that git writes it"));
        }
        Ok(commit)
    }

    /// Returns what the signature is about: the commit without it.
    pub(super) fn payload(&self, hash: Hash) -> Vec<u8> {
        self.encode(false, hash)
    }

    fn encode(&self, signed: bool, hash: Hash) -> Vec<u8> {
        let mut data = format!("tree {}\n", self.tree).into_bytes();
        for parent in &self.parents {
            data.extend_from_slice(format!("parent {parent}\n").as_bytes());
        }
        let mut header = |name: &[u8], value: &[u8]| data.extend_from_slice(&[name, value, b"\n"].concat());
        header(b"author ", self.author);
        header(b"committer ", self.committer);
        if let Some(encoding) = self.encoding {
            header(b"encoding ", encoding);
        }
        if let Some(signature) = self.signature.as_deref().filter(|_| signed) {
            let lines = signature.strip_suffix(b"\n").unwrap_or(signature);
            for (number, line) in lines.split(|byte| *byte == b'\n').enumerate() {
                header(if number == 0 { signature_header(hash) } else { b" " }, line);
            }
        }
        data.push(b'\n');
        data.extend_from_slice(self.message);
        data
    }
}

/// Git has a header of its own for the signature in each type of repository.
fn signature_header(hash: Hash) -> &'static [u8] {
    match hash {
        Hash::Sha256 => b"gpgsig-sha256 ",
        _ => b"gpgsig ",
    }
}

/// `NAME <MAIL> SECONDS ZONE`. Nothing is decided by it: the time in it is the signer's own claim.
fn is_identity(text: &[u8]) -> bool {
    let Some(mail_end) = text.iter().rposition(|byte| *byte == b'>') else { return false };
    let mail_begins = text[..mail_end].contains(&b'<');
    let mut time = text[mail_end + 1..].split(|byte| *byte == b' ');
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    mail_begins
        && time.next().is_some_and(<[u8]>::is_empty)
        && time.next().is_some_and(digits)
        && time.next().is_some_and(|zone| zone.len() == 5 && matches!(zone[0], b'+' | b'-') && digits(&zone[1..]))
        && time.next().is_none()
}

/// What is left to read.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    /// Takes the next line if it begins with `prefix`, and returns the rest of that line.
    fn take(&mut self, prefix: &[u8]) -> Option<&'a [u8]> {
        let rest = self.0.strip_prefix(prefix)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        self.0 = &rest[end + 1..];
        Some(&rest[..end])
    }
}
