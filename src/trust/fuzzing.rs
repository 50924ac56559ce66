// SPDX-License-Identifier: Apache-2.0
//! Doors to the private parsers, for the fuzz targets below `fuzz/` and for the test that replays their corpus. No part
//! of the program.
//!
//! Each door takes any bytes, says whether they were accepted, and panics when something does not hold that must hold of
//! all input. What it demands is found by another road than the parser's own: with Git's grammar as gix reads it, by
//! taking bytes apart anew, or by trying the twins that a laxer parser would accept beside the original.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use gix::bstr::ByteSlice as _;
use gix::hash::Kind as Hash;
use openssl::base64::{decode_block, encode_block};
use openssl::sha::sha256;
use sequoia_openpgp::parse::Parse as _;
use sequoia_openpgp::serialize::MarshalInto as _;
use sequoia_openpgp::{Cert, KeyID, Packet, PacketPile};

use crate::model::{Faults, ObjectId};

use super::commit::Commit;
use super::policy::change::{ADD_KEY, REMOVE_KEY, changes};
use super::policy::{Place, Policy};
use super::signature::ssh::{GIT, SshKey};
use super::signature::{OpenPgp, Ssh, decode_armor, encode_armor};
use super::trailers::Trailers;
use super::{KeyName, Revocations, tree};

#[cfg(test)]
mod tests;

/// What the signatures of `fuzz/fixtures` are about.
const PAYLOAD: &[u8] = include_bytes!("../../fuzz/fixtures/payload");

/// A key of `fuzz/fixtures` and the one signature of `PAYLOAD` by it.
struct Fixture {
    path: &'static str,
    key: &'static [u8],
    signature: &'static [u8],
    /// Anybody can compute a second signature (r, n - s) from an ECDSA signature.
    has_twin: bool,
}

macro_rules! fixture {
    ($name:literal, $extension:literal, $has_twin:literal) => {
        Fixture {
            path: concat!("keys/", $name, $extension),
            key: include_bytes!(concat!("../../fuzz/fixtures/", $name, $extension)),
            signature: include_bytes!(concat!("../../fuzz/fixtures/", $name, ".sig")),
            has_twin: $has_twin,
        }
    };
}

const FIXTURES: &[Fixture] = &[
    fixture!("openpgp-ed25519", ".asc", false),
    fixture!("openpgp-rsa", ".asc", false),
    fixture!("openpgp-p256", ".asc", true),
    fixture!("ssh-ed25519", ".pub", false),
    fixture!("ssh-rsa", ".pub", false),
    fixture!("ssh-ecdsa", ".pub", true),
];

/// Takes the content of a commit object.
pub fn commit(data: &[u8]) -> bool {
    let accepted = [Hash::Sha1, Hash::Sha256].map(|hash| commit_of(data, hash));
    assert!(accepted != [true, true], "it is a commit in both types of repository");
    accepted.contains(&true)
}

fn commit_of(data: &[u8], hash: Hash) -> bool {
    let Ok(commit) = Commit::parse(data, hash) else { return false };
    let payload = &commit.payload;
    let header = if hash == Hash::Sha256 { "gpgsig-sha256" } else { "gpgsig" };

    // The content that is signed and the signature leave no room for anything else: together they are the commit.
    let mut whole = payload.clone();
    if let Some(signature) = &commit.signature {
        let lines = signature.strip_suffix(b"\n").expect("each line of a signature ends").replace("\n", "\n ");
        let header_end = payload.find("\n\n").expect("a message follows the header") + 1;
        whole.splice(header_end..header_end, [header.as_bytes(), b" ", &lines, b"\n"].concat());
    }
    assert_eq!(whole.as_bstr(), data.as_bstr());
    let parents: String = commit.parents.iter().map(|parent| format!("parent {parent}\n")).collect();
    let ids = format!("tree {}\n{parents}author ", commit.tree);
    assert!(data.starts_with(ids.as_bytes()), "an id is written in another way");

    // What is signed is a commit itself, one that nobody signed.
    let unsigned = Commit::parse(payload, hash).expect("the content that is signed is a commit");
    assert!(unsigned.signature.is_none());
    assert_eq!(unsigned.payload.as_bstr(), payload.as_bstr());
    assert_eq!(
        (unsigned.tree, &unsigned.parents, unsigned.message()),
        (commit.tree, &commit.parents, commit.message())
    );

    // Git reads the same in it. Two programs that see different parents would judge different histories.
    let other = gix::objs::CommitRef::from_bytes(data, hash).expect("our grammar is narrower than Git's");
    assert_eq!(other.tree(), commit.tree);
    assert_eq!(other.parents().collect::<Vec<_>>(), commit.parents);
    assert!(commit.parents.len() <= 2 && other.extra_headers.len() == usize::from(commit.signature.is_some()));
    for (name, value) in &other.extra_headers {
        assert_eq!(*name, header);
        assert_eq!(value.trim_end_with(|c| c == '\n').as_bstr(), signature_text(&commit).as_bstr());
    }
    assert_eq!(other.message, commit.message());

    // A trailer is on one line of the message. Bytes that are no text cannot be compared; they equal no fleet and no ref.
    if let Ok(trailers) = Trailers::of(&commit) {
        for text in [trailers.repo, trailers.git_ref].iter().flatten().filter(|text| !text.contains('\u{fffd}')) {
            assert!(!text.contains('\n') && commit.message().contains_str(text));
        }
    }
    true
}

fn signature_text(commit: &Commit) -> &[u8] {
    commit.signature.as_deref().unwrap_or_default().trim_end_with(|c| c == '\n')
}

/// Takes the content of a tree object.
pub fn tree(data: &[u8]) -> bool {
    [Hash::Sha1, Hash::Sha256].map(|hash| tree_of(data, hash)).contains(&true)
}

fn tree_of(data: &[u8], hash: Hash) -> bool {
    let Ok(entries) = tree::parse(data, hash) else { return false };
    let other = gix::objs::TreeRef::from_bytes(data, hash).expect("our grammar is narrower than Git's");
    assert_eq!(other.entries.len(), entries.len());
    assert!(other.entries.is_sorted_by(|one, next| one < next), "the entries are not in Git's order");

    let mut whole = Vec::new();
    let mut folded: Vec<String> = Vec::new();
    for (entry, other) in entries.iter().zip(&other.entries) {
        assert_eq!((entry.name.as_bytes(), entry.id.as_slice()), (other.filename.as_bytes(), other.oid.as_bytes()));
        let mode: &[u8] = match other.mode.value() {
            0o100_644 => b"100644",
            0o100_755 => b"100755",
            0o40_000 => b"40000",
            mode => panic!("{} has the mode {mode:o}", entry.name),
        };
        assert_eq!(entry.is_directory, mode == b"40000");
        whole.extend_from_slice(&[mode, b" ", entry.name.as_bytes(), b"\0", entry.id.as_slice()].concat());

        let name = entry.name.to_ascii_lowercase();
        assert!(!name.is_empty() && !name.contains(['/', '\\', ':', '~', ' ']) && name.is_ascii());
        assert!(![".", "..", ".git", ".gitmodules"].contains(&name.as_str()));
        assert!(!folded.contains(&name), "{name} is there twice, but for upper and lower case");
        folded.push(name);
    }
    assert_eq!(whole.as_bstr(), data.as_bstr());
    true
}

/// Takes the text of a `policy.yaml`, or of a host's own file of revocations. The keys of `fuzz/fixtures` stand in `keys/`.
pub fn policy(data: &[u8]) -> bool {
    let as_revocations = revocations(data);
    let policy = match read_policy(data) {
        Ok(policy) => policy,
        Err(faults) => {
            faults_hold(&faults);
            assert_eq!(read_policy(data).err(), Some(faults), "the same text has other faults the second time");
            return as_revocations;
        }
    };
    assert!(read_policy(&[data, b"\n# A comment.\n"].concat()).is_ok(), "a comment at its end makes a fault of it");
    assert!(read_policy(&[data, b"\n", data].concat()).is_err(), "one of two policies in the same file does not count");
    policy_holds(&policy);
    true
}

fn read_policy(text: &[u8]) -> Result<Policy, Faults> {
    let key = |path: &str| FIXTURES.iter().find(|fixture| fixture.path == path).map(|fixture| fixture.key.to_vec());
    let Ok(outcome) = Policy::read(text, |path| Ok::<_, Infallible>(key(path)));
    outcome
}

fn faults_hold(faults: &Faults) {
    let shown = faults.to_string();
    assert!(!shown.is_empty(), "it is refused and has no fault");
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "a fault steers the terminal: {shown:?}");
}

/// What must hold of every policy that counts, whatever its text.
fn policy_holds(policy: &Policy) {
    let mut keys = 0;
    for (name, own) in &policy.principals {
        assert!(!own.is_empty(), "{name} has no key");
        for key in own {
            let holder = policy.holder(key.name()).expect("its key belongs to nobody");
            assert_eq!((holder.principal, holder.key.name()), (name.as_str(), key.name()));
            keys += 1;
        }
        assert!(!policy.is_heartbeat(name) || policy.rules.iter().all(|rule| !rule.members.contains(name)));
    }
    assert!((1..=FIXTURES.len()).contains(&keys), "one key counts twice");
    for rule in &policy.rules {
        assert!((1..=rule.members.len()).contains(&rule.signers), "nobody can ever do what rule {} asks", rule.number);
        assert!(rule.members.iter().all(|name| policy.principals.contains_key(name)));
    }
    // Without a rule for it the policy could never be corrected.
    let fleet_rule = policy.rule(&ObjectId::new("policy", "rules"), Place::Fleet).expect("no rule covers the rules");
    let labels = BTreeMap::from([("tenant".to_owned(), "shop".to_owned())]);
    for object in [ObjectId::new("file", "/etc/ssh/sshd_config"), ObjectId::new("user", "deploy")] {
        // The first that matches decides.
        let decides = policy.rule(&object, Place::Host(&labels)).map(|rule| rule.number);
        let anywhere = policy.rule(&object, Place::Host(&BTreeMap::new())).map(|rule| rule.number);
        assert!(anywhere.is_none() || decides.is_some_and(|decides| Some(decides) <= anywhere));
    }
    assert!(fleet_rule.number >= 1);
    assert_eq!(changes(policy, policy), []);
    assert_eq!(policy.revocation_lost_in(policy), None);

    let base = read_policy(BASE).expect("the known policy is one");
    let (there, back) = (changes(&base, policy), changes(policy, &base));
    assert_eq!(there.is_empty(), back.is_empty(), "a change that cannot be seen from both sides");
    // A key that comes one way goes the other way.
    let (own, of_base) = (listed(policy), listed(&base));
    for (more, less, comes, goes) in [(&own, &of_base, &there, &back), (&of_base, &own, &back, &there)] {
        for (name, _) in more.difference(less) {
            assert!(comes.contains(&ObjectId::new(ADD_KEY, name.as_str())), "{name} gets a key unseen");
            assert!(goes.contains(&ObjectId::new(REMOVE_KEY, name.as_str())), "{name} loses a key unseen");
        }
    }
}

/// Returns every key with who holds it.
fn listed(policy: &Policy) -> BTreeSet<(String, KeyName)> {
    let keys = policy.principals.iter();
    keys.flat_map(|(name, own)| own.iter().map(|key| (name.clone(), key.name().clone()))).collect()
}

/// A policy to compare with.
const BASE: &[u8] = b"format: 1
version: 1
fleet: infra.example.org
ref: refs/heads/main
principals: {alice: {openpgp: [keys/openpgp-ed25519.asc]}}
roles: {owners: [alice]}
rules: [{change: [\"*\"], needs: {role: owners}}]
";

fn revocations(data: &[u8]) -> bool {
    let revoked = match Revocations::parse("revocations.yaml", data) {
        Ok(revoked) => revoked,
        Err(faults) => {
            faults_hold(&faults);
            return false;
        }
    };
    // Nothing is lost on the way to itself, and to say it twice changes nothing.
    assert_eq!(revoked.lost_in(&revoked), None);
    let mut twice = revoked.clone();
    twice.add(&revoked);
    assert_eq!(twice, revoked);
    let mut from_none = Revocations::default();
    from_none.add(&revoked);
    assert_eq!(from_none, revoked);
    true
}

/// Takes an armored OpenPGP signature, the body of a signature packet or a certificate; their first bytes tell them apart.
pub fn openpgp(data: &[u8]) -> bool {
    match data.first() {
        Some(b'-') if data.starts_with(b"-----BEGIN PGP SIG") => openpgp_signature(data),
        // Version 4. As bytes, for in armor nearly every change is refused for the checksum.
        Some(4) => match packet(data) {
            Some(packet) => openpgp_signature(encode_armor(&packet).as_bytes()),
            None => false,
        },
        _ => certificate(data),
    }
}

/// Returns a signature packet in the one form that counts.
fn packet(body: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(body.len()).ok()?.to_be_bytes();
    Some(if length[0] == 0 { [&[0x88, length[1]], body].concat() } else { [&[0x89], &length[..], body].concat() })
}

fn openpgp_signature(text: &[u8]) -> bool {
    let Ok(signature) = OpenPgp::parse(text) else { return false };
    let accepts = |packet: &[u8]| OpenPgp::parse(encode_armor(packet).as_bytes()).is_ok();

    let bytes = decode_armor(text).expect("it was decoded before");
    assert_eq!(encode_armor(&bytes).as_bytes().as_bstr(), text.as_bstr());
    refuses_other_spellings(text, |text| OpenPgp::parse(text).is_ok());

    // All that is not signed follows from what is: the parts that count, put together anew, are the same bytes.
    let pile = PacketPile::from_bytes(&bytes).expect("it was read before");
    let [Packet::Signature(parts)] = pile.children().collect::<Vec<_>>()[..] else {
        panic!("it is not one signature packet");
    };
    let hashed = parts.hashed_area().to_vec().expect("it was read before");
    let key_id = KeyID::from(&signature.issuer);
    let body = [
        &[4, 0, u8::from(parts.pk_algo()), u8::from(parts.hash_algo())][..],
        &u16::try_from(hashed.len()).expect("it was read before").to_be_bytes(),
        &hashed,
        &[0, 10, 9, 16],
        key_id.as_bytes(),
        parts.digest_prefix(),
        &parts.mpis().to_vec().expect("it was read before"),
    ]
    .concat();
    assert_eq!(packet(&body).as_deref(), Some(&bytes[..]), "more than what is signed makes its bytes");

    // Other ways to write the same packet.
    let length = u32::try_from(body.len()).expect("it was short enough").to_be_bytes();
    assert!(!accepts(&[&[0x8A], &length[..], &body].concat()), "a length of four bytes");
    assert!(!accepts(&[&[0x8B], &body[..]].concat()), "no length");
    assert!(!accepts(&[&[0xC2, 0xFF], &length[..], &body].concat()), "the new packet format");
    assert!(!accepts(&[&bytes[..], &bytes].concat()), "two signatures");
    assert!(!accepts(&[&bytes[..], &[0xCA, 3], b"PGP"].concat()), "a marker packet behind it");

    for fixture in FIXTURES.iter().filter(|fixture| fixture.path.ends_with(".asc") && !fixture.has_twin) {
        let cert = Cert::from_bytes(fixture.key).expect("the fixture is a certificate");
        if signature.verify(PAYLOAD, &cert).is_ok() {
            assert_eq!(text.as_bstr(), fixture.signature.as_bstr(), "a second form of a signature by {}", fixture.path);
        }
    }
    true
}

/// A certificate is read as the key file of a policy, for there is no other way to it.
fn certificate(data: &[u8]) -> bool {
    let Ok(outcome) = Policy::read(BASE, |_| Ok::<_, Infallible>(Some(data.to_vec())));
    let Ok(policy) = outcome else { return false };
    // Each of its keys leads back to it.
    let cert = Cert::from_bytes(data).expect("it was read before");
    assert!(!cert.is_tsk(), "a secret key was accepted");
    for key in cert.keys() {
        let holder = policy.holder(&KeyName::OpenPgp(key.key().fingerprint())).expect("its key belongs to nobody");
        assert_eq!((holder.principal, holder.key.name()), ("alice", &KeyName::OpenPgp(cert.fingerprint())));
    }
    policy_holds(&policy);
    true
}

/// Takes an armored SSH signature, one without its armor or a `.pub` line; their first bytes tell them apart.
pub fn ssh(data: &[u8]) -> bool {
    if data.starts_with(b"-----BEGIN") {
        ssh_signature(data)
    } else if data.starts_with(b"SSHSIG") {
        ssh_signature(ssh_armor(data).as_bytes())
    } else {
        ssh_key(data)
    }
}

/// Returns the armor of `blob` as ssh-keygen writes it.
fn ssh_armor(blob: &[u8]) -> String {
    let base64 = encode_block(blob);
    let lines: Vec<_> = base64.as_bytes().chunks(70).map(|line| String::from_utf8_lossy(line)).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

fn ssh_signature(text: &[u8]) -> bool {
    let Ok(signature) = Ssh::parse(text, GIT) else { return false };
    let accepts = |blob: &[u8]| Ssh::parse(ssh_armor(blob).as_bytes(), GIT).is_ok();
    refuses_other_spellings(text, |text| Ssh::parse(text, GIT).is_ok());
    for other in ["", "file", "Git", "git\0", "hostwrit-order@v1"] {
        assert!(Ssh::parse(text, other).is_err(), "a signature for git counts for {other:?}");
    }

    let base64 = text.to_str_lossy().lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let blob = decode_block(&base64).expect("it was decoded before");
    assert_eq!(ssh_armor(&blob).as_bytes().as_bstr(), text.as_bstr());
    let mut rest = blob.strip_prefix(b"SSHSIG\0\0\0\x01").expect("it was read before");
    let mut next = || string(&mut rest).expect("it was read before");
    let (key, namespace, reserved, hash, value) = (next(), next(), next(), next(), next());
    assert_eq!(*signature.key().name(), KeyName::Ssh(sha256(key)));
    assert_eq!((namespace, reserved), (&b"git"[..], &b""[..]));
    assert!([&b"sha256"[..], b"sha512"].contains(&hash));
    assert!(rest.is_empty());
    assert!(!accepts(&[&blob[..], b"\0"].concat()), "a byte behind its end");
    let mut inner = value;
    let algorithm = string(&mut inner).expect("it was read before").to_str_lossy();
    assert!(!algorithm.starts_with("ssh-dss") && algorithm != "ssh-rsa", "the weak algorithm {algorithm}");

    if signature.verify(PAYLOAD).is_ok() {
        let fixture = FIXTURES.iter().filter(|fixture| !fixture.has_twin);
        for fixture in fixture.filter(|fixture| public_blob(fixture.key).as_deref() == Some(key)) {
            // RSA signs both hashes; the fixture has one of them.
            let known = decode_block(
                &fixture.signature.to_str_lossy().lines().filter(|line| !line.starts_with('-')).collect::<String>(),
            );
            assert_eq!(Some(blob.as_bstr()), known.as_deref().ok().map(|known| known.as_bstr()), "{}", fixture.path);
        }
        assert!(signature.verify(&[PAYLOAD, b"\n"].concat()).is_err(), "it is a signature of two texts");
    }
    true
}

fn ssh_key(line: &[u8]) -> bool {
    let Ok(key) = SshKey::parse(line) else { return false };
    let blob = public_blob(line).expect("it was read before");
    assert_eq!(*key.name(), KeyName::Ssh(sha256(&blob)));
    // The kind is written twice.
    let algorithm = string(&mut &blob[..]).expect("it was read before");
    assert!(line.starts_with(&[algorithm, b" "].concat()), "it says one kind and holds another");
    assert!(SshKey::parse(&[line, b"\n", line].concat()).is_err(), "two keys in one file");
    true
}

/// Returns the key of a `.pub` line as it goes over the wire.
fn public_blob(line: &[u8]) -> Option<Vec<u8>> {
    decode_block(line.to_str_lossy().split_ascii_whitespace().nth(1)?).ok()
}

/// Takes a string of SSH: its length, then its bytes.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (text, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = after;
    Some(text)
}

/// Tries texts that hold the same signature as `text`. Each that counts would be a second id of a signed commit.
fn refuses_other_spellings(text: &[u8], accepts: impl Fn(&[u8]) -> bool) {
    let first_line = text.find_byte(b'\n').expect("armor has lines") + 1;
    let last_line = text.trim_end().rfind_byte(b'\n').expect("armor has lines") + 1;
    let with = |at: usize, noise: &[u8]| [&text[..at], noise, &text[at..]].concat();
    let (middle, end) = (first_line + 3, text.len());
    let others = [
        text.replace("\n", "\r\n"),
        text.trim_end().to_vec(),
        with(0, b"\n"),
        with(0, b" "),
        with(end, b"\n"),
        with(end, text),
        with(first_line - 1, b" "),
        with(first_line, b"\n"),
        with(first_line, b"Comment: none\n"),
        with(middle, b"\n"),
        with(middle, b" "),
        with(last_line, b"\n"),
        with(last_line - 1, b"="),
    ];
    for other in others {
        assert!(!accepts(&other), "a second form is accepted: {}", other.as_bstr());
    }
}
