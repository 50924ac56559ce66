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
pub(super) struct Commit {
    pub(super) tree: Oid,
    pub(super) parents: Vec<Oid>,
    /// The signature, its lines ended by `\n` as the signing program wrote them.
    pub(super) signature: Option<Vec<u8>>,
    /// What the signature is about: the commit without it.
    pub(super) payload: Vec<u8>,
    /// Where the message begins in the payload.
    message: usize,
}

impl Commit {
    /// Takes apart the content of a commit object whose ids are of type `hash`.
    pub(super) fn parse(data: &[u8], hash: Hash) -> Result<Self, Refusal> {
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
        let ids_end = data.len() - lines.0.len();
        let author = lines.take(b"author ").filter(|who| is_identity(who));
        author.ok_or_else(|| fault("where its author should stand is something else"))?;
        let committer = lines.take(b"committer ").filter(|who| is_identity(who));
        committer.ok_or_else(|| fault("where its committer should stand is something else"))?;
        lines.take(b"encoding ");
        let header_end = data.len() - lines.0.len();
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
        let payload = [&data[..header_end], b"\n", message].concat();
        let commit = Self { tree, parents, signature, message: header_end + 1, payload };
        // Ids can be written in upper case too, which would make two ids of one commit. All else was taken as it stands.
        if commit.ids() != data[..ids_end] {
            return Err(fault("it is not written the way that git writes it"));
        }
        Ok(commit)
    }

    /// Returns the lines that name tree and parents, as git writes them.
    fn ids(&self) -> Vec<u8> {
        let parents: String = self.parents.iter().map(|parent| format!("parent {parent}\n")).collect();
        format!("tree {}\n{parents}", self.tree).into_bytes()
    }

    /// Returns the message.
    pub(super) fn message(&self) -> &[u8] {
        &self.payload[self.message..]
    }
}

/// Git has a header of its own for the signature in each type of repository.
fn signature_header(hash: Hash) -> &'static [u8] {
    match hash {
        Hash::Sha256 => b"gpgsig-sha256 ",
        _ => b"gpgsig ",
    }
}

/// `NAME <MAIL> SECONDS ZONE`, as strictly as `git fsck` has it. Nothing is decided by it: the time in it is the signer's own claim.
fn is_identity(text: &[u8]) -> bool {
    let angle = |text: &[u8]| text.iter().position(|byte| matches!(byte, b'<' | b'>'));
    let parse = || {
        let (name, rest) = text.split_at(angle(text)?);
        let rest = rest.strip_prefix(b"<").filter(|_| name.ends_with(b" "))?;
        let rest = rest[angle(rest)?..].strip_prefix(b"> ")?;
        let (seconds, zone) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
        let time: i64 = seconds.parse().ok().filter(|time| *time >= 0)?;
        let zone = zone.strip_prefix(['+', '-'])?;
        // One way to write it: no sign, no zeros in front.
        Some(time.to_string() == seconds && zone.len() == 4 && zone.bytes().all(|byte| byte.is_ascii_digit()))
    };
    parse().unwrap_or(false)
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
