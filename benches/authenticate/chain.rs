// SPDX-License-Identifier: Apache-2.0
//! Makes chains of signed commits, packed, fast: signs in this process, in the exact form of gpg and ssh-keygen.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use gix::objs::tree::{Entry, EntryKind};
use gix::objs::{Kind, Tree, Write as _};
use hostwrit::model::git::Oid;
use hostwrit::trust::{Anchor, Revocations};
use openssl::base64::encode_block;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::rsa::Rsa;
use openssl::sign::{Signer, Verifier};
use sequoia_openpgp::cert::{CertBuilder, CipherSuite};
use sequoia_openpgp::crypto::hash::Hash as _;
use sequoia_openpgp::crypto::{KeyPair, mpi};
use sequoia_openpgp::packet::Signature;
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::packet::signature::subpacket::{Subpacket, SubpacketValue};
use sequoia_openpgp::serialize::{MarshalInto as _, SerializeInto};
use sequoia_openpgp::types::{HashAlgorithm, KeyFlags, SignatureType};
use sequoia_openpgp::{Cert, armor};

pub const FLEET: &str = "infra.example.org";
pub const REF: &str = "refs/heads/main";
const FILES: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    OpenPgpEd25519,
    OpenPgpRsa4096,
    Ssh,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OpenPgpEd25519 => "openpgp ed25519",
            Self::OpenPgpRsa4096 => "openpgp rsa4096",
            Self::Ssh => "ssh ed25519",
        })
    }
}

/// A signed chain in a packed bare repository.
pub struct Chain {
    scheme: Scheme,
    dir: tempfile::TempDir,
    anchor: Anchor,
    commits: Vec<Oid>,
    key: Key,
    checks: Vec<Check>,
}

/// What the bound verifies: a message, and the signature's numbers as OpenSSL wants them.
struct Check {
    message: Message,
    signature: Vec<u8>,
}

enum Message {
    OpenPgp { payload: Vec<u8>, packet: Box<Signature> },
    Ssh { payload: Vec<u8> },
}

enum Key {
    OpenPgp { cert: Box<Cert>, pair: Box<KeyPair>, public: PKey<Public> },
    Ssh { key: PKey<Private>, public: PKey<Public> },
}

impl Chain {
    pub fn new(scheme: Scheme, length: usize) -> Self {
        // In memory, so that nothing here is a measure of the disk.
        let dir = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
        let git = gix::ThreadSafeRepository::init_opts(
            dir.path(),
            gix::create::Kind::Bare,
            gix::create::Options::default(),
            gix::open::Options::isolated(),
        )
        .unwrap()
        .to_thread_local();
        let mut key = Key::new(scheme);
        let mut files = vec![
            ("hostwrit.yaml".to_owned(), format!("format: 1\nfleet: {FLEET}\n")),
            ("hosts/web1.yaml".to_owned(), "labels: {role: web}\n".to_owned()),
            ("policy/policy.yaml".to_owned(), policy(&key)),
            (format!("policy/{}", key.file()), key.public_text()),
        ];
        if scheme != Scheme::Ssh {
            files.push(("openpgp-policy.toml".to_owned(), policy_of_sq_git(&key.public_text())));
        }
        files.extend((0..FILES).map(|file| (format!("files/f{file}"), String::new())));

        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (mut commits, mut checks) = (Vec::new(), Vec::new());
        for number in 0..length {
            let changed = files.len() - 1 - number % FILES;
            files[changed].1 = format!("{number}\n{}", "A line of a configuration file, as they are.\n".repeat(20));
            let tree = write_tree(&git, &files, "");
            let parent = commits.last().map(|parent| format!("parent {parent}\n")).unwrap_or_default();
            let who = format!("Alice <alice@example.org> {now} +0000");
            let head = format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n");
            let message = format!(
                "\nchange number {number}\n\nHostwrit-Repo: {FLEET}\nHostwrit-Ref: {REF}\nHostwrit-Seq: {number}\n"
            );
            let (armor, check) = key.sign(format!("{head}{message}").into_bytes());
            let signature = armor.trim_end().replace('\n', "\n ");
            let commit = format!("{head}gpgsig {signature}\n{message}");
            commits.push(git.objects.write_buf(Kind::Commit, commit.as_bytes()).unwrap());
            checks.push(check);
        }
        let any = gix::refs::transaction::PreviousValue::Any;
        git.reference(REF, commits[length - 1], any, "bench").unwrap();
        // One pack with deltas, as a remote sends it.
        let repack = Command::new("git").arg("-C").arg(dir.path()).args(["repack", "-adq"]).status().unwrap();
        assert!(repack.success());

        let anchor = Anchor {
            fleet: FLEET.to_owned(),
            git_ref: REF.to_owned(),
            root: commits[0],
            signers: vec![key.name().parse().unwrap()],
            revoked: Revocations::default(),
        };
        Self { scheme, dir, anchor, commits, key, checks }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    pub fn tip(&self) -> &Oid {
        &self.commits[self.commits.len() - 1]
    }

    pub fn before_tip(&self) -> &Oid {
        &self.commits[self.commits.len() - 2]
    }

    /// Returns the certificate or the key, as a key ring or a list of signers takes it.
    pub fn public_text(&self) -> String {
        self.key.public_text()
    }

    /// Verifies every signature and does nothing else.
    pub fn bare_checks(&self, cores: usize) {
        thread::scope(|scope| {
            for part in self.checks.chunks(self.checks.len().div_ceil(cores)) {
                scope.spawn(move || assert!(part.iter().all(|check| self.key.fits(check))));
            }
        });
    }
}

impl Key {
    fn new(scheme: Scheme) -> Self {
        let suite = match scheme {
            Scheme::Ssh => {
                let key = PKey::generate_ed25519().unwrap();
                let public = PKey::public_key_from_raw_bytes(&key.raw_public_key().unwrap(), Id::ED25519).unwrap();
                return Self::Ssh { key, public };
            }
            Scheme::OpenPgpEd25519 => CipherSuite::Cv25519,
            Scheme::OpenPgpRsa4096 => CipherSuite::RSA4k,
        };
        let (cert, _) = CertBuilder::new()
            .set_cipher_suite(suite)
            .add_userid("Alice <alice@example.org>")
            .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
            .generate()
            .unwrap();
        let secret = cert.primary_key().key().clone().parts_into_secret().unwrap();
        let public = match secret.mpis() {
            mpi::PublicKey::EdDSA { q, .. } => PKey::public_key_from_raw_bytes(&q.value()[1..], Id::ED25519).unwrap(),
            mpi::PublicKey::RSA { e, n } => {
                let number = |mpi: &mpi::MPI| BigNum::from_slice(mpi.value()).unwrap();
                PKey::from_rsa(Rsa::from_public_components(number(n), number(e)).unwrap()).unwrap()
            }
            other => panic!("{other:?}"),
        };
        Self::OpenPgp { cert: Box::new(cert), pair: Box::new(secret.into_keypair().unwrap()), public }
    }

    fn name(&self) -> String {
        match self {
            Self::OpenPgp { cert, .. } => format!("openpgp:{}", cert.fingerprint().to_hex()),
            Self::Ssh { public, .. } => {
                let digest = openssl::sha::sha256(&wire_key(public));
                format!("ssh:SHA256:{}", encode_block(&digest).trim_end_matches('='))
            }
        }
    }

    fn file(&self) -> &'static str {
        match self {
            Self::OpenPgp { .. } => "keys/alice.asc",
            Self::Ssh { .. } => "keys/alice.pub",
        }
    }

    fn public_text(&self) -> String {
        match self {
            Self::OpenPgp { cert, .. } => {
                let public = cert.clone().strip_secret_key_material();
                String::from_utf8(SerializeInto::to_vec(&public.armored()).unwrap()).unwrap()
            }
            Self::Ssh { public, .. } => format!("ssh-ed25519 {} alice\n", encode_block(&wire_key(public))),
        }
    }

    /// Returns the armor, and what the bound needs to verify it again.
    fn sign(&mut self, payload: Vec<u8>) -> (String, Check) {
        match self {
            Self::OpenPgp { pair, .. } => {
                let key_id = Subpacket::new(SubpacketValue::Issuer(pair.public().keyid()), false).unwrap();
                let packet = SignatureBuilder::new(SignatureType::Binary)
                    .set_hash_algo(HashAlgorithm::SHA512)
                    .set_issuer_fingerprint(pair.public().fingerprint())
                    .unwrap()
                    .modify_unhashed_area(|mut area| {
                        area.add(key_id)?;
                        Ok(area)
                    })
                    .unwrap()
                    .sign_message(pair.as_mut(), &payload)
                    .unwrap();
                let body = packet.to_vec().unwrap();
                let mut bytes = match u8::try_from(body.len()) {
                    Ok(length) => vec![0x88, length],
                    Err(_) => [vec![0x89], u16::try_from(body.len()).unwrap().to_be_bytes().to_vec()].concat(),
                };
                bytes.extend(body);
                let mut armored = armor::Writer::new(Vec::new(), armor::Kind::Signature).unwrap();
                armored.write_all(&bytes).unwrap();
                let text = String::from_utf8(armored.finalize().unwrap()).unwrap();
                let signature = match packet.mpis() {
                    mpi::Signature::EdDSA { r, s } => {
                        [r.value_padded(32).unwrap().into_owned(), s.value_padded(32).unwrap().into_owned()].concat()
                    }
                    mpi::Signature::RSA { s } => s.value_padded(512).unwrap().into_owned(),
                    other => panic!("{other:?}"),
                };
                (text, Check { message: Message::OpenPgp { payload, packet: Box::new(packet) }, signature })
            }
            Self::Ssh { key, public } => {
                let signature =
                    Signer::new_without_digest(key).unwrap().sign_oneshot_to_vec(&signed_by_ssh(&payload)).unwrap();
                let blob = [
                    b"SSHSIG\0\0\0\x01".as_slice(),
                    &string(&wire_key(public)),
                    &string(b"git"),
                    &string(b""),
                    &string(b"sha512"),
                    &string(&[string(b"ssh-ed25519"), string(&signature)].concat()),
                ]
                .concat();
                let base64 = encode_block(&blob);
                let lines: String = base64
                    .as_bytes()
                    .chunks(70)
                    .map(|line| format!("{}\n", std::str::from_utf8(line).unwrap()))
                    .collect();
                let text = format!("-----BEGIN SSH SIGNATURE-----\n{lines}-----END SSH SIGNATURE-----\n");
                (text, Check { message: Message::Ssh { payload }, signature })
            }
        }
    }

    fn fits(&self, check: &Check) -> bool {
        let ed25519 = |public, message: &[u8]| {
            Verifier::new_without_digest(public).unwrap().verify_oneshot(&check.signature, message).unwrap()
        };
        match (self, &check.message) {
            (Self::OpenPgp { public, .. }, Message::OpenPgp { payload, packet }) => {
                let mut hash = packet.hash_algo().context().unwrap().for_signature(packet.version());
                hash.update(payload);
                packet.hash(&mut hash).unwrap();
                let digest = hash.into_digest().unwrap();
                if public.id() == Id::ED25519 {
                    return ed25519(public, &digest);
                }
                let mut context = openssl::pkey_ctx::PkeyCtx::new(public).unwrap();
                context.verify_init().unwrap();
                context.set_signature_md(openssl::md::Md::sha512()).unwrap();
                context.verify(&digest, &check.signature).unwrap()
            }
            (Self::Ssh { public, .. }, Message::Ssh { payload }) => ed25519(public, &signed_by_ssh(payload)),
            _ => unreachable!("one key signed the whole chain"),
        }
    }
}

/// What an SSH signature of Git is made of (openssh's PROTOCOL.sshsig).
fn signed_by_ssh(payload: &[u8]) -> Vec<u8> {
    let digest = openssl::hash::hash(MessageDigest::sha512(), payload).unwrap();
    [b"SSHSIG".as_slice(), &string(b"git"), &string(b""), &string(b"sha512"), &string(&digest)].concat()
}

fn wire_key(public: &PKey<Public>) -> Vec<u8> {
    [string(b"ssh-ed25519"), string(&public.raw_public_key().unwrap())].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn policy(key: &Key) -> String {
    let kind = if matches!(key, Key::Ssh { .. }) { "ssh" } else { "openpgp" };
    format!(
        "format: 1\nversion: 1\nfleet: {FLEET}\nref: {REF}\nprincipals:\n  alice: {{{kind}: [{}]}}\n{}",
        key.file(),
        include_str!("../../tests/oracle/rules.yaml").replace("EVERYONE", "alice")
    )
}

fn policy_of_sq_git(cert: &str) -> String {
    format!(
        "version = 0\ncommit_goodlist = []\n\n[authorization.alice]\nsign_commit = true\nsign_tag = true\n\
         sign_archive = true\nadd_user = true\nretire_user = true\naudit = true\nkeyring = \"\"\"\n{cert}\"\"\"\n"
    )
}

/// Writes the tree of the files below `dir`, which is empty or ends in a slash.
fn write_tree(git: &gix::Repository, files: &[(String, String)], dir: &str) -> Oid {
    let mut tree = Tree::empty();
    for (path, content) in files.iter().filter(|(path, _)| path.starts_with(dir)) {
        let rest = &path[dir.len()..];
        let (name, kind, oid) = match rest.split_once('/') {
            Some((name, _)) if tree.entries.iter().any(|entry| entry.filename == name) => continue,
            Some((name, _)) => (name, EntryKind::Tree, write_tree(git, files, &format!("{dir}{name}/"))),
            None => (rest, EntryKind::Blob, git.objects.write_buf(Kind::Blob, content.as_bytes()).unwrap()),
        };
        tree.entries.push(Entry { mode: kind.into(), filename: name.into(), oid });
    }
    tree.entries.sort();
    git.write_object(&tree).unwrap().detach()
}

/// Writes a file that a peer needs beside the repository.
pub fn beside(chain: &Chain, name: &str, content: &str) -> std::path::PathBuf {
    let path = chain.path().join(name);
    fs::write(&path, content).unwrap();
    path
}
