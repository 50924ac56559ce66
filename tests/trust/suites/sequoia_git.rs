// SPDX-License-Identifier: Apache-2.0
//! The rights of sequoia-git (`tests/policy.rs`, `keyring-update.rs`, `expired-cert.rs`, `revoked-cert.rs`).
//!
//! Its rights are kinds of objects here: `add-user` is `policy.add_key`, `retire-user` is `policy.remove_key`, `audit`
//! is `policy:revoked`, and `sign-commit` is whatever the rules give. Alice has all of them, bob may commit, carol and dan
//! are known and may do nothing, mallory is not known.

use super::*;
use crate::fixture::{Keyring, Repo};
use crate::office::Office;

const RIGHTS: &str = r#"
roles: {maintainers: [alice], committers: [alice, bob]}
rules:
  - {change: [policy], needs: {role: maintainers}}
  - {change: ["*"], needs: {role: committers}}
"#;

/// All principals, with the keys that the office has.
fn principals(office: &Office) -> Vec<(&'static str, &Key)> {
    vec![("alice", &office.alice), ("bob", &office.bob), ("carol", &office.carol), ("dan", &office.dan)]
}

/// Commits a policy with these principals and rules upon `parent`.
fn policy(office: &Office, parent: &Oid, principals: &[(&str, &Key)], rules: &str, by: &Key) -> Oid {
    office.fleet.repo.checkout(parent);
    let version = std::fs::read_to_string(office.fleet.repo.path().join("policy/policy.yaml")).unwrap();
    let version = version.lines().find_map(|line| line.strip_prefix("version: ")).unwrap().parse::<u64>().unwrap();
    office.policy_of(version + 1, principals, rules);
    office.commit("policy", by)
}

#[test]
fn sign_commit() {
    let office = Office::with_rules(RIGHTS);
    let root = office.fleet.root;
    for good in [&office.alice, &office.bob] {
        office.allowed(&root, &office.change(&root, "/a", "Aller Anfang ist schwer.", good));
    }
    office.denied(&root, &office.change(&root, "/a", "x", &office.carol), Code::NotAuthorized);
    let bad = office.change(&root, "/a", "x", &office.mallory);
    office.denied(&root, &bad, Code::UnknownSigner);
    // A good commit upon it does not make it good.
    let upon = office.change(&bad, "/b", "x", &office.alice);
    assert_eq!(office.denied(&root, &upon, Code::UnknownSigner).commit(), Some(&bad));
    // Nor does it help to say that trust begins there: the root's signer must be in its own policy.
    let mut anchor = office.fleet.anchor();
    anchor.root = bad;
    anchor.signers.push(format!("openpgp:{}", office.mallory.fingerprint).parse().unwrap());
    refused_by(&office.fleet.repo.store(), &anchor, None, &upon, Code::UnknownSigner);
}

#[test]
fn add_user() {
    let office = Office::with_rules(RIGHTS);
    let root = office.fleet.root;
    let mut more = principals(&office);
    more.push(("mallory", &office.mallory));
    let rules = RIGHTS.replace("[alice, bob]", "[alice, bob, mallory]");
    for (by, code) in [
        (&office.bob, Code::NotAuthorized),
        (&office.carol, Code::NotAuthorized),
        (&office.mallory, Code::UnknownSigner),
    ] {
        office.denied(&root, &policy(&office, &root, &more, RIGHTS, by), code);
        office.denied(&root, &policy(&office, &root, &more, &rules, by), code);
    }
    let added = policy(&office, &root, &more, &rules, &office.alice);
    office.allowed(&root, &added);
    office.allowed(&added, &office.change(&added, "/a", "x", &office.mallory));
    // To be listed is to be known, and no more.
    let listed = policy(&office, &root, &more, RIGHTS, &office.alice);
    office.allowed(&root, &listed);
    office.denied(&listed, &office.change(&listed, "/a", "x", &office.mallory), Code::NotAuthorized);
}

#[test]
fn retire_user() {
    let office = Office::with_rules(RIGHTS);
    let root = office.fleet.root;
    let fewer = [("alice", &office.alice), ("bob", &office.bob), ("carol", &office.carol)];
    for (by, code) in
        [(&office.bob, Code::NotAuthorized), (&office.dan, Code::NotAuthorized), (&office.mallory, Code::UnknownSigner)]
    {
        office.denied(&root, &policy(&office, &root, &fewer, RIGHTS, by), code);
    }
    let retired = policy(&office, &root, &fewer, RIGHTS, &office.alice);
    office.allowed(&root, &retired);
    office.denied(&retired, &office.change(&retired, "/a", "x", &office.dan), Code::UnknownSigner);
    // Taking a role away is a change of the policy too, and works at once.
    let rules = RIGHTS.replace("[alice, bob]", "[alice]");
    office.denied(&root, &policy(&office, &root, &principals(&office), &rules, &office.bob), Code::NotAuthorized);
    let demoted = policy(&office, &root, &principals(&office), &rules, &office.alice);
    office.allowed(&root, &demoted);
    office.denied(&demoted, &office.change(&demoted, "/a", "x", &office.bob), Code::NotAuthorized);
}

#[test]
fn the_rights_to_add_and_to_remove_are_two() {
    let rules = r#"
roles: {owners: [alice], hirers: [bob], firers: [carol]}
rules:
  - {change: ["policy.add_key:*"], needs: {role: hirers}}
  - {change: ["policy.remove_key:*"], needs: {role: firers}}
  - {change: ["*"], needs: {role: owners}}
"#;
    let office = Office::with_rules(rules);
    let root = office.fleet.root;
    let mut more = principals(&office);
    more.push(("mallory", &office.mallory));
    let fewer = [("alice", &office.alice), ("bob", &office.bob), ("carol", &office.carol)];
    office.allowed(&root, &policy(&office, &root, &more, rules, &office.bob));
    office.allowed(&root, &policy(&office, &root, &fewer, rules, &office.carol));
    office.denied(&root, &policy(&office, &root, &more, rules, &office.carol), Code::NotAuthorized);
    office.denied(&root, &policy(&office, &root, &fewer, rules, &office.bob), Code::NotAuthorized);
    // Another key under an old name is one that comes and one that goes.
    let swapped = [("alice", &office.alice), ("bob", &office.bob), ("carol", &office.carol), ("dan", &office.mallory)];
    for by in [&office.bob, &office.carol, &office.dan] {
        office.denied(&root, &policy(&office, &root, &swapped, rules, by), Code::NotAuthorized);
    }
}

/// Appends a list of revocations to the policy and commits it.
fn revoke(office: &Office, parent: &Oid, list: &str, by: &Key) -> Oid {
    let rules = format!("{}revoked: [{list}]\n", RIGHTS.trim_start());
    policy(office, parent, &principals(office), &rules, by)
}

fn hard(key: &Key, except: &[&Oid]) -> String {
    let except: Vec<String> = except.iter().map(ToString::to_string).collect();
    format!("{{key: \"openpgp:{}\", except: [{}]}}", key.fingerprint, except.join(", "))
}

#[test]
fn an_exception_saves_a_commit_from_a_revocation_and_from_nothing_else() {
    let office = Office::with_rules(RIGHTS);
    let root = office.fleet.root;
    let bad = office.change(&root, "/a", "I'll go fetch the hammer!", &office.mallory);
    for (by, code) in [(&office.alice, Code::UnknownSigner), (&office.bob, Code::UnknownSigner)] {
        let listed = revoke(&office, &bad, &hard(&office.mallory, &[&bad]), by);
        assert_eq!(office.denied(&root, &listed, code).commit(), Some(&bad));
    }
    let unsigned = {
        office.fleet.repo.checkout(&root);
        office.write("/a", "x");
        office.fleet.repo.commit("unsigned", None)
    };
    let listed = revoke(&office, &unsigned, &hard(&office.alice, &[&unsigned]), &office.alice);
    assert_eq!(office.denied(&root, &listed, Code::Unsigned).commit(), Some(&unsigned));
}

/// `goodlist_1` and `goodlist_5`: revoke, then except, by one who may and by one who may not.
#[test]
fn an_exception_may_come_after_the_revocation_from_one_who_may() {
    let office = Office::with_rules(RIGHTS);
    let root = office.fleet.root;
    let b = office.change(&root, "/riley", "was here", &office.bob);
    let c = office.change(&b, "/work", "1", &office.alice);
    office.allowed(&root, &c);
    let d = revoke(&office, &c, &hard(&office.bob, &[]), &office.alice);
    let e = office.change(&d, "/work", "2", &office.alice);
    for tip in [&d, &e] {
        assert_eq!(office.denied(&root, tip, Code::KeyRevoked).commit(), Some(&b));
    }
    let f = revoke(&office, &e, &hard(&office.bob, &[&b]), &office.alice);
    let g = office.change(&f, "/work", "3", &office.alice);
    for (pin, tip) in [(&root, &f), (&root, &g), (&b, &g), (&c, &f)] {
        office.allowed(pin, tip);
    }
    // Whoever has not the right cannot except, nor can the one whom it is about.
    let not_allowed = revoke(&office, &e, &hard(&office.bob, &[&b]), &office.carol);
    let upon = office.change(&not_allowed, "/work", "3", &office.alice);
    assert_eq!(office.denied(&root, &upon, Code::NotAuthorized).commit(), Some(&not_allowed));
    let himself = revoke(&office, &e, &hard(&office.bob, &[&b]), &office.bob);
    office.denied(&root, &himself, Code::KeyRevoked);
}

/// `goodlist_2`: it is the tip's policy that counts, by whatever way it came there.
#[test]
fn an_exception_on_a_branch_counts_once_it_is_merged() {
    let office = Office::with_rules(RIGHTS);
    let root = office.fleet.root;
    let b = office.change(&root, "/riley", "was here", &office.bob);
    let d = revoke(&office, &b, &hard(&office.bob, &[]), &office.alice);
    let j = office.change(&d, "/work", "j", &office.alice);
    let h = office.change(&d, "/other", "h", &office.alice);
    let i = revoke(&office, &h, &hard(&office.bob, &[&b]), &office.alice);
    assert_eq!(office.denied(&root, &j, Code::KeyRevoked).commit(), Some(&b));
    let k = office.approve(&j, &i, &office.alice);
    office.allowed(&root, &k);
}

/// `goodlist_3`: a branch without the revocation does not lead around it.
#[test]
fn a_revocation_on_one_branch_counts_for_the_whole_merge() {
    let office = Office::with_rules(RIGHTS);
    let root = office.fleet.root;
    let b = office.change(&root, "/riley", "was here", &office.bob);
    let e = revoke(&office, &b, &hard(&office.bob, &[]), &office.alice);
    let d = office.change(&b, "/work", "d", &office.alice);
    office.allowed(&root, &d);
    for (first, second) in [(&d, &e), (&e, &d)] {
        let merge = office.approve(first, second, &office.alice);
        assert_eq!(office.denied(&root, &merge, Code::KeyRevoked).commit(), Some(&b));
        // The merge keeps the policy of the one side, all but its version.
        office.fleet.repo.checkout(&d);
        office.policy_of(3, &principals(&office), RIGHTS);
        let tree = office.fleet.repo.write_tree();
        office.fleet.repo.git(&["reset", "--quiet", "--hard"]);
        let ours = sign(&office.fleet, &office.alice, &payload(&tree, &[*first, *second], "ours"));
        let ours = office.fleet.repo.object("commit", ours.as_bytes());
        assert_eq!(office.denied(&root, &ours, Code::RevocationDropped).commit(), Some(&ours));
    }
}

/// `goodlist_4`: two exceptions from two branches.
#[test]
fn exceptions_add_up_when_branches_are_merged() {
    let office = Office::with_rules(RIGHTS);
    let root = office.fleet.root;
    let b = office.change(&root, "/riley", "was here", &office.bob);
    let c = office.change(&b, "/riley", "was here, again", &office.bob);
    let d = revoke(&office, &c, &hard(&office.bob, &[]), &office.alice);
    let e = revoke(&office, &d, &hard(&office.bob, &[&b]), &office.alice);
    let f = revoke(&office, &d, &hard(&office.bob, &[&c]), &office.alice);
    assert_eq!(office.denied(&root, &e, Code::KeyRevoked).commit(), Some(&c));
    assert_eq!(office.denied(&root, &f, Code::KeyRevoked).commit(), Some(&b));
    revoke(&office, &e, &hard(&office.bob, &[&b, &c]), &office.alice);
    let both = office.fleet.repo.id("HEAD^{tree}");
    let g = sign(&office.fleet, &office.alice, &payload(&both, &[e, f], "G"));
    office.allowed(&root, &office.fleet.repo.object("commit", g.as_bytes()));
}

/// Gives a principal of the policy these files of keys.
fn with_keys(office: &Office, parent: &Oid, name: &str, files: &[(&str, String)], by: &Key) -> Oid {
    office.fleet.repo.checkout(parent);
    for (file, key) in files {
        office.fleet.repo.write(&format!("policy/keys/{file}"), key);
    }
    let list: Vec<String> = files.iter().map(|(file, _)| format!("keys/{file}")).collect();
    let policy = std::fs::read_to_string(office.fleet.repo.path().join("policy/policy.yaml")).unwrap();
    let line = policy.lines().find(|line| line.starts_with(&format!("  {name}: "))).unwrap().to_owned();
    office.replace(&line, &format!("  {name}: {{openpgp: [{}]}}", list.join(", ")));
    office.commit("keys", by)
}

#[test]
fn nobody_slips_a_certificate_into_anothers_keyring_or_out_of_it() {
    let office = Office::with_rules(RIGHTS);
    let root = office.fleet.root;
    let public = |key: &Key| office.fleet.keys.public(key);
    let two = [("alice.asc", public(&office.alice)), ("alice-bob.asc", public(&office.mallory))];
    office.denied(&root, &with_keys(&office, &root, "alice", &two, &office.bob), Code::NotAuthorized);
    // Not even into his own: a key that he has beside him may be anybody's.
    let his = [("bob.asc", public(&office.bob)), ("bob2.asc", public(&office.mallory))];
    office.denied(&root, &with_keys(&office, &root, "bob", &his, &office.bob), Code::NotAuthorized);
    let added = with_keys(&office, &root, "alice", &two, &office.alice);
    office.allowed(&root, &added);
    office.allowed(&added, &office.change(&added, "/b", "bbb.", &office.mallory));
    let one = [("alice.asc", public(&office.alice))];
    office.denied(&added, &with_keys(&office, &added, "alice", &one, &office.bob), Code::NotAuthorized);
    office.allowed(&added, &with_keys(&office, &added, "alice", &one, &office.alice));
}

#[test]
fn a_principal_may_renew_a_key_of_his_own_and_nobody_elses() {
    let office = Office::with_rules(RIGHTS);
    let root = office.fleet.root;
    let keys = &office.fleet.keys;
    for (key, name) in [(&office.bob, "bob"), (&office.carol, "carol")] {
        keys.gpg(&["--passphrase", "", "--quick-add-key", &key.fingerprint, "ed25519", "sign", "never"], b"");
        let renewed = [(format!("{name}.asc"), keys.public(key))];
        let renewed = renewed.each_ref().map(|(file, key)| (file.as_str(), key.clone()));
        // The exclamation mark keeps gpg from signing with the new subkey, which counts only from then on.
        let primary = Key::openpgp(format!("{}!", key.fingerprint));
        let own = with_keys(&office, &root, name, &renewed, &primary);
        office.allowed(&root, &own);
        let by_dan = with_keys(&office, &root, name, &renewed, &office.dan);
        office.denied(&root, &by_dan, Code::NotAuthorized);
        office.allowed(&root, &with_keys(&office, &root, name, &renewed, &office.alice));
    }
}

/// Alice's certificate ended in 2025. She has extended it since.
#[test]
fn an_expired_certificate_is_renewed_by_the_commit_that_brings_the_new_one() {
    let keys = Keyring::new();
    let then = ["--faked-system-time", "20240101T000000!"];
    let alice = keys.key_of("alice", "ed25519", "20250101T000000", &then);
    let repo = Repo::new(&keys);
    let mut fleet = Fleet { keys, repo, alice, root: Oid::null(gix::hash::Kind::Sha1) };
    fleet.policy(1, &[("alice", &fleet.alice)]);
    let tree = fleet.repo.write_tree();
    fleet.root = signed_at(&fleet, &fleet.alice, &tree, &[], "20240201T000000!");
    let c2 = signed_at(&fleet, &fleet.alice, &tree, &[fleet.root], "20240301T000000!");
    fleet.keys.gpg(&["--quick-set-expire", &fleet.alice.fingerprint, "never"], b"");
    fleet.repo.write("policy/keys/alice.asc", &fleet.keys.public(&fleet.alice));
    let renewed = fleet.repo.write_tree();
    let commit = |tree: &Oid, parent: &Oid| {
        let commit = sign(&fleet, &fleet.alice, &payload(tree, &[*parent], "@ t3"));
        fleet.repo.object("commit", commit.as_bytes())
    };
    refused(&fleet, None, &c2, Code::KeyExpired);
    let without = commit(&tree, &c2);
    refused(&fleet, None, &without, Code::KeyExpired);
    // Nor may the new certificate come one commit later.
    assert_eq!(refused(&fleet, None, &commit(&renewed, &without), Code::KeyExpired).commit(), Some(&without));
    let with = commit(&renewed, &c2);
    assert_eq!(accepted(&fleet, None, &with), ["alice"; 3]);
    assert_eq!(accepted(&fleet, Some(&c2), &commit(&renewed, &with)), ["alice"; 2]);
}

/// `hard_revocation_bypass_branched_policy`: on a branch from before the revocation the old policy is kept by `-s ours`.
#[test]
fn a_hard_revocation_is_not_merged_away() {
    let mut fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.root = fleet.repo.commit("initial", Some(&fleet.alice));
    let first = fleet.repo.commit("bob's first commit", Some(&bob));
    accepted(&fleet, None, &first);
    let by_bob = fleet.repo.commit("bob's feature commit", Some(&bob));
    accepted(&fleet, None, &by_bob);
    fleet.repo.checkout(&first);
    fleet.keys.revoke(&bob);
    fleet.policy(3, &[("alice", &fleet.alice), ("bob", &bob)]);
    let revoked = fleet.repo.commit("bob's key is compromised", Some(&fleet.alice));
    assert_eq!(refused(&fleet, None, &revoked, Code::KeyRevoked).commit(), Some(&first));

    fleet.repo.checkout(&by_bob);
    let sign = format!("-S{}", fleet.alice.fingerprint);
    fleet.repo.git(&["merge", "--quiet", "--strategy=ours", "--no-edit", &sign, &revoked.to_string()]);
    let ours = fleet.repo.id("HEAD");
    let refusal = judge(&fleet.repo.store(), &fleet.anchor(), None, &ours).unwrap_err();
    assert!(matches!(refusal.code(), Code::PolicyRollback | Code::RevocationDropped), "{refusal}");
    // With the version as it should be, and the certificate as it was.
    let old_cert = fleet.repo.git(&["show", &format!("{by_bob}:policy/keys/bob.asc")]);
    fleet.policy(3, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.repo.write("policy/keys/bob.asc", &old_cert);
    let merge = payload(&fleet.repo.write_tree(), &[by_bob, revoked], "ours");
    let merge = fleet.repo.object("commit", super::sign(&fleet, &fleet.alice, &merge).as_bytes());
    refused(&fleet, None, &merge, Code::RevocationDropped);
    // And without bob altogether: what he signed has no key any more, and is no better for it.
    fleet.policy(3, &[("alice", &fleet.alice)]);
    let merge = payload(&fleet.repo.write_tree(), &[by_bob, revoked], "without bob");
    let merge = fleet.repo.object("commit", super::sign(&fleet, &fleet.alice, &merge).as_bytes());
    refused(&fleet, None, &merge, Code::RevocationDropped);
}
