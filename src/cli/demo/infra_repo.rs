// SPDX-License-Identifier: Apache-2.0
//! Makes a signed infra repo without a work tree: what `git commit -S` and `git push` do, for the demo alone.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use gix::objs::tree::{Entry, EntryKind};
use gix::objs::{Kind, Tree, Write as _};
use sequoia_openpgp::Cert;
use sequoia_openpgp::armor;
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::packet::signature::subpacket::{Subpacket, SubpacketValue};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::MarshalInto as _;
use sequoia_openpgp::types::{HashAlgorithm, KeyFlags, SignatureType};

use crate::model::git::Oid;

/// Anything that can go wrong here is a fault of the machine, not of the user's input: it is told and ends the demo.
pub type Error = Box<dyn std::error::Error>;

/// A person of the demo, with a throw-away key.
pub struct Person {
    pub name: &'static str,
    cert: Cert,
}

impl Person {
    /// Makes the person's key.
    pub fn new(name: &'static str) -> Result<Self, Error> {
        let (cert, _) = CertBuilder::new()
            .add_userid(format!("{name} <{name}@demo.invalid>"))
            .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
            .generate()?;
        Ok(Self { name, cert })
    }

    /// Returns the public key as `gpg --export --armor` writes it.
    pub fn public_key(&self) -> Result<Vec<u8>, Error> {
        Ok(sequoia_openpgp::serialize::SerializeInto::to_vec(&self.cert.clone().strip_secret_key_material().armored())?)
    }

    pub fn fingerprint(&self) -> String {
        self.cert.fingerprint().to_hex()
    }

    /// Signs as gpg does. Only gpg's form of a signature counts, because much of a packet is not itself signed.
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let policy = StandardPolicy::new();
        let key = self.cert.keys().with_policy(&policy, None).secret().for_signing().next().ok_or("no signing key")?;
        let key = key.key().clone();
        let key_id = Subpacket::new(SubpacketValue::Issuer(key.keyid()), false)?;
        let packet = SignatureBuilder::new(SignatureType::Binary)
            .set_hash_algo(HashAlgorithm::SHA512)
            .set_issuer_fingerprint(key.fingerprint())?
            .modify_unhashed_area(|mut area| {
                area.add(key_id)?;
                Ok(area)
            })?
            .sign_message(&mut key.into_keypair()?, payload)?;
        let body = packet.to_vec()?;
        // RFC 4880, section 4.2.1: tag 2 in the old format, its length in two bytes if one is too short.
        let mut bytes = match u8::try_from(body.len()) {
            Ok(length) => vec![0x88, length],
            Err(_) => [vec![0x89], u16::try_from(body.len())?.to_be_bytes().to_vec()].concat(),
        };
        bytes.extend(body);
        let mut armored = armor::Writer::new(Vec::new(), armor::Kind::Signature)?;
        armored.write_all(&bytes)?;
        Ok(armored.finalize()?)
    }
}

/// A bare repository with one branch.
pub struct InfraRepo {
    git: gix::Repository,
    files: BTreeMap<String, Vec<u8>>,
    tip: Option<Oid>,
    fleet: String,
    branch: String,
    /// Of the last commit.
    number: u64,
}

impl InfraRepo {
    /// Makes the repository at `path` with these files, not yet committed.
    pub fn create(path: &Path, fleet: &str, branch: &str, files: BTreeMap<String, Vec<u8>>) -> Result<Self, Error> {
        let git = gix::ThreadSafeRepository::init_opts(
            path,
            gix::create::Kind::Bare,
            gix::create::Options::default(),
            gix::open::Options::isolated(),
        )?;
        let (fleet, branch) = (fleet.to_owned(), branch.to_owned());
        Ok(Self { git: git.to_thread_local(), files, tip: None, fleet, branch, number: 0 })
    }

    /// Changes one file, not yet committed.
    pub fn edit(&mut self, path: &str, change: impl FnOnce(String) -> String) -> Result<(), Error> {
        let text = self.files.get(path).cloned().ok_or_else(|| format!("the example has no {path}"))?;
        self.files.insert(path.to_owned(), change(String::from_utf8(text)?).into_bytes());
        Ok(())
    }

    /// Commits all files on top of the branch, signed by `signer` if there is one, and moves the branch.
    pub fn commit(&mut self, signer: Option<&Person>, message: &str, now: SystemTime) -> Result<Oid, Error> {
        let tree = self.write_tree("")?;
        let who = signer.map_or("nobody", |person| person.name);
        let seconds = now.duration_since(UNIX_EPOCH)?.as_secs();
        let mut head = format!("tree {tree}\n");
        if let Some(parent) = self.tip {
            head.push_str(&format!("parent {parent}\n"));
        }
        for role in ["author", "committer"] {
            head.push_str(&format!("{role} {who} <{who}@demo.invalid> {seconds} +0000\n"));
        }
        self.number += 1;
        let Self { fleet, branch, number, .. } = self;
        let body = format!("\n{message}\n\nHostwrit-Repo: {fleet}\nHostwrit-Ref: {branch}\nHostwrit-Seq: {number}\n");
        let signature = match signer {
            None => String::new(),
            Some(person) => {
                let armor = String::from_utf8(person.sign(format!("{head}{body}").as_bytes())?)?;
                // A header's further lines begin with a space.
                format!("gpgsig {}\n", armor.trim_end().replace('\n', "\n "))
            }
        };
        let commit = self.git.objects.write_buf(Kind::Commit, format!("{head}{signature}{body}").as_bytes())?;
        self.move_to(commit)?;
        Ok(commit)
    }

    /// Moves the branch, as somebody with power over the Git server can.
    pub fn move_to(&mut self, commit: Oid) -> Result<(), Error> {
        let any = gix::refs::transaction::PreviousValue::Any;
        self.git.reference(self.branch.as_str(), commit, any, "demo")?;
        self.tip = Some(commit);
        Ok(())
    }

    /// Writes the tree of the files below `dir`, which is empty or ends in a slash.
    fn write_tree(&self, dir: &str) -> Result<Oid, Error> {
        let mut entries: BTreeMap<&str, Entry> = BTreeMap::new();
        for (path, content) in self.files.iter().filter(|(path, _)| path.starts_with(dir)) {
            let rest = &path[dir.len()..];
            let (name, mode, oid) = match rest.split_once('/') {
                Some((name, _)) if entries.contains_key(name) => continue,
                Some((name, _)) => (name, EntryKind::Tree, self.write_tree(&format!("{dir}{name}/"))?),
                None => (rest, EntryKind::Blob, self.git.objects.write_buf(Kind::Blob, content)?),
            };
            entries.insert(name, Entry { mode: mode.into(), filename: name.into(), oid });
        }
        let mut tree = Tree { entries: entries.into_values().collect() };
        tree.entries.sort();
        Ok(self.git.write_object(&tree)?.detach())
    }
}
