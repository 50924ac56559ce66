// SPDX-License-Identifier: Apache-2.0
//! One case for each rule that could be taken out of the code without any other test noticing.

use std::cell::RefCell;

use hostwrit::model::git::{ObjectError, RawObject};
use hostwrit::trust::{Revocations, heartbeat};

use super::fixture::Keyring;
use super::office::Office;
use super::*;

/// A fleet of alice's and bob's, whose root alice signed.
fn pair() -> (Fleet, Key) {
    let mut fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.root = fleet.repo.commit("root", Some(&fleet.alice));
    (fleet, bob)
}

/// Commits the policy of the two with a list of revocations, signed by alice.
fn revoke(fleet: &Fleet, bob: &Key, list: &str) -> Oid {
    fleet.policy(3, &[("alice", &fleet.alice), ("bob", bob)]);
    let policy = std::fs::read_to_string(fleet.repo.path().join("policy/policy.yaml")).unwrap();
    fleet.repo.write("policy/policy.yaml", &format!("{policy}revoked: [{list}]\n"));
    fleet.repo.commit("revoke", Some(&fleet.alice))
}

/// A fleet of alice's, bob's and carol's, hers with an SSH key, whose root is from the beginning of 2024.
fn of_2024() -> (Fleet, [Key; 2], Oid) {
    let keys = Keyring::new();
    let then = ["--faked-system-time", "20240101T000000!"];
    let [alice, bob] = ["alice", "bob"].map(|name| keys.key_of(name, "ed25519", "never", &then));
    let mut fleet = Fleet::of(keys, alice);
    let carol = fleet.keys.ssh_key("carol", "ed25519");
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob), ("carol", &carol)]);
    let tree = fleet.repo.write_tree();
    fleet.root = signed_at(&fleet, &fleet.alice, &tree, &[], "20240201T000000!");
    (fleet, [bob, carol], tree)
}

/// Writes a commit with this payload and signature.
fn written(fleet: &Fleet, payload: &str, armor: &str) -> Oid {
    fleet.repo.object("commit", with_header(payload, "gpgsig", armor).as_bytes())
}

/// Remembers what it was asked for.
struct Watched<'s> {
    store: &'s fixture::Store,
    asked: RefCell<Vec<Oid>>,
}

impl Objects for Watched<'_> {
    fn object(&self, id: &Oid) -> Result<RawObject, ObjectError> {
        self.asked.borrow_mut().push(*id);
        self.store.object(id)
    }
}

#[test]
fn a_policy_that_nobody_signed_is_not_read() {
    let fleet = Fleet::new();
    fleet.policy(2, &[("alice", &fleet.alice)]);
    let tree = fleet.repo.write_tree();
    let policy = fleet.repo.id(&format!("{tree}:policy/policy.yaml"));
    let commit = payload(&tree, &[fleet.root], "change");
    let armor = fleet.keys.sign(&fleet.alice, commit.as_bytes(), &[]);
    let on_top = |forged: bool| {
        let below = if forged { commit.replace("change", "another") } else { commit.clone() };
        let below = written(&fleet, &below, &armor);
        let above = payload(&tree, &[below], "on top");
        written(&fleet, &above, &fleet.keys.sign(&fleet.alice, above.as_bytes(), &[]))
    };
    let (good, forged) = (on_top(false), on_top(true));
    let store = fleet.repo.store();
    let watched = || Watched { store: &store, asked: RefCell::default() };
    let honest = watched();
    assert!(judge(&honest, &fleet.anchor(), None, &good).is_ok());
    assert!(honest.asked.borrow().contains(&policy));
    let lying = watched();
    refused_by(&lying, &fleet.anchor(), None, &forged, Code::BadSignature);
    assert!(!lying.asked.borrow().contains(&policy), "the policy was read before the signature was verified");
}

#[test]
fn an_id_of_the_other_hash_is_no_id() {
    let fleet = Fleet::new();
    let tree = fleet.repo.id("HEAD^{tree}");
    let good = payload(&tree, &[fleet.root], "change");
    for odd in
        [good.replace(&tree.to_string(), &"0".repeat(64)), good.replace(&fleet.root.to_string(), &"1".repeat(64))]
    {
        let armor = fleet.keys.sign(&fleet.alice, odd.as_bytes(), &[]);
        refused(&fleet, None, &written(&fleet, &odd, &armor), Code::MalformedCommit);
    }
}

#[test]
fn a_path_has_an_end() {
    let fleet = Fleet::new();
    let path = |length: usize| vec!["d".repeat(length); 6].join("/");
    fleet.repo.write(&path(160), "");
    accepted(&fleet, None, &fleet.repo.commit("long", Some(&fleet.alice)));
    fleet.repo.write(&path(170), "");
    refused(&fleet, None, &fleet.repo.commit("too long", Some(&fleet.alice)), Code::MalformedTree);
}

#[test]
fn what_the_cache_knows_is_of_one_signature_and_one_content() {
    let fleet = Fleet::new();
    let tree = fleet.repo.id("HEAD^{tree}");
    let (one, two) = (payload(&tree, &[fleet.root], "one"), payload(&tree, &[fleet.root], "two"));
    let of_one = fleet.keys.sign(&fleet.alice, one.as_bytes(), &[]);
    let of_two = fleet.keys.sign(&fleet.alice, two.as_bytes(), &[]);
    let good = [written(&fleet, &one, &of_one), written(&fleet, &two, &of_two)];
    let swapped = [written(&fleet, &one, &of_two), written(&fleet, &two, &of_one)];
    let store = fleet.repo.store();
    let mut cache = Cache::default();
    let mut ask = |tip: &Oid| {
        let answer = authenticate(&store, &fleet.anchor(), None, tip, SystemTime::now(), &mut cache);
        answer.map(drop).map_err(|refusal| refusal.code())
    };
    // Twice, for a refusal must not be remembered as a proof.
    for _ in 0..2 {
        assert_eq!(good.map(|tip| ask(&tip)), [Ok(()), Ok(())]);
        assert_eq!(swapped.map(|tip| ask(&tip)), [Err(Code::BadSignature), Err(Code::BadSignature)]);
    }
}

#[test]
fn what_the_cache_knows_of_the_past_is_of_one_list_of_revocations() {
    let (fleet, bob) = pair();
    let stranger = fleet.keys.key("stranger");
    fleet.repo.commit("by bob", Some(&bob));
    let (pin, tip) = (fleet.change("one"), fleet.change("two"));
    let store = fleet.repo.store();
    let mut cache = Cache::default();
    let mut ask = |key: &Key, pin: Option<&Oid>, tip: &Oid| {
        let text = format!("format: 1\nrevoked: [{{key: \"{}\"}}]\n", key.name());
        let anchor = Anchor { revoked: Revocations::parse("revoked.yaml", text.as_bytes()).unwrap(), ..fleet.anchor() };
        let answer = authenticate(&store, &anchor, pin, tip, SystemTime::now(), &mut cache);
        answer.map(drop).map_err(|refusal| refusal.code())
    };
    assert_eq!(ask(&stranger, None, &pin), Ok(()));
    assert_eq!(ask(&stranger, Some(&pin), &tip), Ok(()));
    assert_eq!(ask(&bob, Some(&pin), &tip), Err(Code::KeyRevoked));
}

#[test]
fn times_do_not_run_back_through_commits_without_one() {
    let (fleet, [bob, carol], tree) = of_2024();
    let june = signed_at(&fleet, &fleet.alice, &tree, &[fleet.root], "20240601T000000!");
    let timeless = payload(&tree, &[june], "by carol");
    let timeless = written(&fleet, &timeless, &fleet.keys.sign(&carol, timeless.as_bytes(), &[]));
    accepted(&fleet, None, &signed_at(&fleet, &bob, &tree, &[timeless], "20240701T000000!"));
    let back = signed_at(&fleet, &bob, &tree, &[timeless], "20240501T000000!");
    for pin in [None, Some(&june), Some(&timeless)] {
        assert_eq!(refused(&fleet, pin, &back, Code::TimeBackwards).commit(), Some(&back));
    }
}

#[test]
fn a_signature_may_run_out_before_its_key() {
    let (fleet, _, tree) = of_2024();
    let commit = payload(&tree, &[fleet.root], "for two days");
    let options = ["--faked-system-time", "20240601T000000!", "--default-sig-expire", "2d"];
    let brief = written(&fleet, &commit, &fleet.keys.sign(&fleet.alice, commit.as_bytes(), &options));
    refused(&fleet, None, &brief, Code::KeyExpired);
    accepted(&fleet, None, &signed_at(&fleet, &fleet.alice, &tree, &[brief], "20240701T000000!"));
}

#[test]
fn a_merge_of_an_expired_key_is_refused_whatever_tree_it_has() {
    let keys = Keyring::new();
    let then = ["--faked-system-time", "20240101T000000!"];
    let alice = keys.key_of("alice", "ed25519", "never", &then);
    let bob = keys.key_of("bob", "ed25519", "20250101T000000", &then);
    let mut fleet = Fleet::of(keys, alice);
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    let tree = fleet.repo.write_tree();
    fleet.repo.write("files/motd", "another");
    let other = fleet.repo.write_tree();
    fleet.root = signed_at(&fleet, &fleet.alice, &tree, &[], "20240201T000000!");
    let stale = signed_at(&fleet, &bob, &other, &[fleet.root], "20240601T000000!");
    for (main, merge, good) in
        [("20240701T000000!", "20240801T000000!", true), ("20260101T000000!", "20260201T000000!", false)]
    {
        let main = signed_at(&fleet, &fleet.alice, &tree, &[fleet.root], main);
        let merge = signed_at(&fleet, &fleet.alice, &tree, &[main, stale], merge);
        if good {
            accepted(&fleet, Some(&main), &merge);
        } else {
            assert_eq!(refused(&fleet, Some(&main), &merge, Code::KeyExpired).commit(), Some(&stale));
        }
    }
}

#[test]
fn a_key_that_is_not_for_signing_any_more_signs_nothing() {
    let keys = Keyring::new();
    let then = ["--faked-system-time", "20240101T000000!"];
    let [alice, bob] = ["alice", "bob"].map(|name| keys.key_of(name, "ed25519", "never", &then));
    let thief = Keyring::new();
    thief.gpg(&["--import"], &keys.gpg(&["--export-secret-keys", &bob.fingerprint], b""));
    let mut fleet = Fleet::of(keys, alice);
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.root = fleet.repo.commit("root", Some(&fleet.alice));
    let by_bob = |parent: &Oid| {
        let commit = payload(&fleet.repo.id(&format!("{parent}^{{tree}}")), &[*parent], "by bob");
        written(&fleet, &commit, &thief.sign(&bob, commit.as_bytes(), &[]))
    };
    accepted(&fleet, None, &by_bob(&fleet.root));
    let options = ["--no-batch", "--no-tty", "--command-fd", "0", "--edit-key", &bob.fingerprint];
    fleet.keys.gpg(&options, b"change-usage\nS\nQ\nsave\n");
    fleet.policy(3, &[("alice", &fleet.alice), ("bob", &bob)]);
    let parent = fleet.repo.commit("bob's key certifies only", Some(&fleet.alice));
    refused(&fleet, None, &by_bob(&parent), Code::KeyUnusable);
}

#[test]
fn an_older_certificate_takes_nothing_from_the_parents() {
    let keys = Keyring::new();
    let then = ["--faked-system-time", "20240101T000000!"];
    let alice = keys.key_of("alice", "ed25519", "never", &then);
    let bob = keys.key_of("bob", "ed25519", "20250101T000000", &then);
    let before = keys.public(&bob);
    keys.gpg(&["--quick-set-expire", &bob.fingerprint, "5y"], b"");
    let mut fleet = Fleet::of(keys, alice);
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.root = fleet.repo.commit("root", Some(&fleet.alice));
    fleet.repo.write("policy/keys/bob.asc", &before);
    accepted(&fleet, None, &fleet.repo.commit("as before", Some(&bob)));
    // For the commits after it, it is the certificate.
    refused(&fleet, None, &fleet.repo.commit("expired", Some(&bob)), Code::KeyExpired);
}

#[test]
fn a_number_must_be_there_where_trailers_are_required() {
    let fleet = Fleet::new();
    let policy = std::fs::read_to_string(fleet.repo.path().join("policy/policy.yaml")).unwrap();
    fleet.repo.write("policy/policy.yaml", &policy.replace("roles:", "trailers: required\nroles:"));
    let required = fleet.repo.commit("from now on", Some(&fleet.alice));
    let trailers = "change\n\nHostwrit-Repo: infra.example.org\nHostwrit-Ref: refs/heads/main";
    let unnumbered = fleet.repo.commit(trailers, Some(&fleet.alice));
    refused(&fleet, None, &unnumbered, Code::TrailersMissing);
    fleet.repo.checkout(&required);
    accepted(&fleet, None, &fleet.repo.commit(&format!("{trailers}\nHostwrit-Seq: 1"), Some(&fleet.alice)));
}

#[test]
fn an_exception_must_be_in_every_list_that_names_the_key() {
    let (fleet, bob) = pair();
    let by_bob = fleet.repo.commit("by bob", Some(&bob));
    let tip = revoke(&fleet, &bob, &format!("{{key: \"{}\", except: [{by_bob}]}}", bob.name()));
    let own = |except: &str| {
        let text = format!("format: 1\nrevoked: [{{key: \"{}\", except: [{except}]}}]\n", bob.name());
        Anchor { revoked: Revocations::parse("revoked.yaml", text.as_bytes()).unwrap(), ..fleet.anchor() }
    };
    let store = fleet.repo.store();
    assert!(judge(&store, &own(&by_bob.to_string()), None, &tip).is_ok());
    assert_eq!(refused_by(&store, &own(""), None, &tip, Code::KeyRevoked).commit(), Some(&by_bob));
}

#[test]
fn a_certificate_is_revoked_with_its_subkeys() {
    let mut fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    fleet.keys.gpg(&["--passphrase", "", "--quick-add-key", &bob.fingerprint, "ed25519", "sign", "never"], b"");
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.root = fleet.repo.commit("root", Some(&fleet.alice));
    let by_bob = fleet.repo.commit("by bob", Some(&bob));
    let store = fleet.repo.store();
    let signers = judge(&store, &fleet.anchor(), None, &by_bob).unwrap().signers();
    assert_ne!(signers.last().unwrap().key, bob.name(), "gpg is expected to sign with the subkey");
    for how in ["", ", since: 2020-01-01T00:00:00Z"] {
        fleet.repo.checkout(&fleet.root);
        revoke(&fleet, &bob, &format!("{{key: \"{}\"{how}}}", bob.name()));
        refused(&fleet, None, &fleet.repo.commit("by bob", Some(&bob)), Code::KeyRevoked);
    }
    fleet.repo.checkout(&by_bob);
    let tip = revoke(&fleet, &bob, &format!("{{key: \"{}\"}}", bob.name()));
    assert_eq!(refused(&fleet, None, &tip, Code::KeyRevoked).commit(), Some(&by_bob));
}

#[test]
fn a_certificate_that_was_retired_ends_its_subkeys() {
    let mut fleet = Fleet::new();
    let bob = fleet.keys.key("bob");
    fleet.keys.gpg(&["--passphrase", "", "--quick-add-key", &bob.fingerprint, "ed25519", "sign", "never"], b"");
    fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
    fleet.root = fleet.repo.commit("root", Some(&fleet.alice));
    let thief = Keyring::new();
    thief.gpg(&["--import"], &fleet.keys.gpg(&["--export-secret-keys", &bob.fingerprint], b""));
    // Reason 3: no longer used. Then an empty description, and yes.
    let options = ["--no-batch", "--no-tty", "--command-fd", "0", "--gen-revoke", &bob.fingerprint];
    let retired = fleet.keys.gpg(&options, b"y\n3\n\ny\n");
    fleet.keys.gpg(&["--import"], &retired);
    fleet.policy(3, &[("alice", &fleet.alice), ("bob", &bob)]);
    let parent = fleet.repo.commit("bob retires his key", Some(&fleet.alice));
    accepted(&fleet, None, &parent);
    let commit = payload(&fleet.repo.write_tree(), &[parent], "by bob");
    let tip = written(&fleet, &commit, &thief.sign(&bob, commit.as_bytes(), &[]));
    refused(&fleet, None, &tip, Code::KeyRevoked);
}

#[test]
fn a_certificate_does_not_lose_its_revocation() {
    let (fleet, bob) = pair();
    let before = fleet.keys.public(&bob);
    fleet.keys.revoke(&bob);
    fleet.repo.write("policy/keys/bob.asc", &fleet.keys.public(&bob));
    let revoked = fleet.repo.commit("revoked", Some(&fleet.alice));
    accepted(&fleet, None, &revoked);
    fleet.repo.write("policy/keys/bob.asc", &before);
    refused(&fleet, Some(&revoked), &fleet.repo.commit("as before", Some(&fleet.alice)), Code::RevocationDropped);
}

#[test]
fn every_section_of_the_policy_needs_the_right_to_it() {
    let office = Office::new();
    let root = office.fleet.root;
    for (from, to) in [
        ("roles:", "trailers: required\nroles:"),
        ("dbas: [dan, alice]", "dbas: [dan]"),
        ("owners, signers: 3", "owners, signers: 2"),
        ("rules:", "freshness: {max_age: 2d}\nrules:"),
        ("rules:", "protect: [\"user:*\"]\nrules:"),
        ("rules:", &format!("revoked: [{{commit: \"sha256:{}\"}}]\nrules:", "0".repeat(64))),
    ] {
        office.fleet.repo.checkout(&root);
        office.replace(from, to);
        let alone = office.commit(to, &office.alice);
        office.denied(&root, &alone, Code::NeedsApproval);
        office.allowed(&root, &office.approve(&root, &alone, &office.bob));
    }
}

#[test]
fn nobody_gives_himself_a_second_key() {
    let office = Office::new();
    let root = office.fleet.root;
    office.fleet.repo.write("policy/keys/more.asc", &office.fleet.keys.public(&office.mallory));
    office.replace("keys/dan.asc", "keys/dan.asc, keys/more.asc");
    office.denied(&root, &office.commit("my second key", &office.dan), Code::NotAuthorized);
}

#[test]
fn a_rule_for_some_hosts_is_not_about_the_policy() {
    let office = Office::with_rules(
        r#"
roles: {owners: [alice], dbas: [dan]}
rules:
  - {change: ["*"], hosts: {tenant: shop}, needs: {role: dbas}}
  - {change: [policy], needs: {role: owners}}
"#,
    );
    let root = office.fleet.root;
    office.allowed(&root, &office.change(&root, "/motd", "by dan", &office.dan));
    for (key, good) in [(&office.dan, false), (&office.alice, true)] {
        office.fleet.repo.checkout(&root);
        office.replace("owners: [alice]", "owners: [alice, dan]");
        let tip = office.commit("one more owner", key);
        if good {
            office.allowed(&root, &tip);
        } else {
            office.denied(&root, &tip, Code::NotAuthorized);
        }
    }
}

#[test]
fn a_rule_for_some_hosts_asks_for_all_of_its_labels() {
    let office = Office::with_rules(
        r#"
roles: {owners: [alice], dbas: [dan]}
rules:
  - {change: ["file:*"], hosts: {tenant: shop, ring: canary}, needs: {role: dbas}}
  - {change: ["*"], needs: {role: owners}}
"#,
    );
    let root = office.fleet.root;
    office.denied(&root, &office.change(&root, "/motd", "by dan", &office.dan), Code::NotAuthorized);
    office.fleet.repo.checkout(&root);
    office.fleet.repo.write("labels/ring", "canary");
    let canary = office.commit("a canary", &office.alice);
    office.allowed(&canary, &office.change(&canary, "/motd", "by dan", &office.dan));
}

#[test]
fn a_host_takes_nothing_along_into_a_place_where_one_has_no_right() {
    let office = Office::with_rules(
        r#"
roles: {owners: [alice], dbas: [dan]}
rules:
  - {change: ["file:/srv/*"], hosts: {tenant: shop}, needs: {role: dbas}}
  - {change: ["*"], needs: {role: owners}}
"#,
    );
    let root = office.fleet.root;
    office.fleet.repo.write("labels/tenant", "blog");
    let blog = office.commit("to the blog", &office.alice);
    office.allowed(&root, &blog);
    office.allowed(&root, &office.change(&blog, "/srv/a", "by alice", &office.alice));
    office.fleet.repo.checkout(&blog);
    office.fleet.repo.write("labels/tenant", "shop");
    office.write("/srv/a", "by alice");
    office.denied(&root, &office.commit("back, with a file", &office.alice), Code::NotAuthorized);
}

#[test]
fn a_merge_adds_nothing_that_neither_side_has() {
    let office = Office::new();
    let root = office.fleet.root;
    let left = office.change(&root, "/motd", "by alice", &office.alice);
    let right = office.change(&root, "/srv/a", "by dan", &office.dan);
    let merged = office.approve(&left, &right, &office.dan);
    office.allowed(&root, &merged);
    office.fleet.repo.checkout(&left);
    office.fleet.repo.git(&["merge", "--quiet", "--no-ff", "--no-commit", &right.to_string()]);
    office.write("/etc/evil", "by dan");
    office.denied(&root, &office.commit("merge", &office.dan), Code::NotAuthorized);
}

#[test]
fn nothing_is_inherited_where_the_common_ancestor_is_unsound() {
    let office = Office::new();
    let root = office.fleet.root;
    office.fleet.repo.write("broken", "");
    let broken = office.commit("broken", &office.alice);
    let repaired = |motd: Option<&str>| {
        office.fleet.repo.checkout(&broken);
        office.fleet.repo.git(&["rm", "-q", "broken"]);
        if let Some(motd) = motd {
            office.write("/motd", motd);
        }
        office.commit("repaired", &office.alice)
    };
    let (left, right) = (repaired(None), repaired(Some("by alice")));
    // Nobody can tell whether the left side had changed it.
    office.denied(&root, &office.approve(&left, &right, &office.dan), Code::NotAuthorized);
    office.allowed(&root, &office.approve(&left, &right, &office.bob));
}

#[test]
fn nobody_approves_a_branch_that_he_signed_himself() {
    let office = Office::new();
    let root = office.fleet.root;
    // Mallory's key is now one that alice has on her laptop.
    let laptop = &office.mallory;
    office.fleet.repo.write("policy/keys/laptop.asc", &office.fleet.keys.public(laptop));
    office.replace("keys/alice.asc", "keys/alice.asc, keys/laptop.asc");
    let listed = office.commit("a laptop", &office.alice);
    let base = office.approve(&root, &listed, &office.bob);
    let change = office.change(&base, "/etc/x", "by alice", &office.alice);
    let branch = office.change(&change, "/motd", "by bob", &office.bob);
    office.denied(&root, &office.approve(&base, &branch, &office.alice), Code::NeedsApproval);
    office.denied(&root, &office.approve(&base, &branch, laptop), Code::NeedsApproval);
    office.allowed(&root, &office.approve(&base, &branch, &office.carol));
}

#[test]
fn who_signed_another_tree_does_not_count_for_this_one() {
    let office = Office::new();
    let root = office.fleet.root;
    let change = office.change(&root, "/etc/x", "by alice", &office.alice);
    let aside = office.change(&root, "/motd", "by bob", &office.bob);
    let branch = office.approve(&change, &aside, &office.alice);
    // Bob is an owner and signed a commit of the branch, but never saw the file.
    office.denied(&root, &office.approve(&root, &branch, &office.dan), Code::NeedsApproval);
    office.allowed(&root, &office.approve(&root, &branch, &office.carol));
}

#[test]
fn a_heartbeat_is_signed_by_a_key_that_is_good_now_and_not_revoked() {
    let keys = Keyring::new();
    let then = ["--faked-system-time", "20240101T000000!"];
    let alice = keys.key_of("alice", "ed25519", "never", &then);
    let ci = keys.key_of("ci", "ed25519", "20250101T000000", &then);
    let fleet = Fleet::of(keys, alice);
    let robot = fleet.keys.ssh_key("robot", "ed25519");
    let list = |more: &str| {
        fleet.repo.checkout(&fleet.root);
        fleet.policy(2, &[("alice", &fleet.alice), ("ci", &ci), ("robot", &robot)]);
        let path = fleet.repo.path().join("policy/policy.yaml");
        let policy = std::fs::read_to_string(path).unwrap().replace("all: [alice, ci, robot]", "all: [alice]");
        let freshness = "freshness: {max_age: 2d, heartbeat: [ci, robot]}\n";
        fleet.repo.write("policy/policy.yaml", &format!("{policy}{freshness}{more}"));
        fleet.repo.commit("freshness", Some(&fleet.alice))
    };
    let beat = |tip: &Oid, key: &Key, options: &[&str], time: &str| {
        let message = "beat\n\nHostwrit-Repo: infra.example.org\nHostwrit-Ref: refs/hostwrit/heartbeat\n\
                       Hostwrit-Heartbeat: 2024-06-01T00:00:00Z";
        let commit = payload(&fleet.repo.id(&format!("{tip}^{{tree}}")), &[*tip], message);
        let armor = fleet.keys.sign(key, commit.as_bytes(), options);
        written(&fleet, &commit.replace("2024-06-01", time), &armor)
    };
    let heard = |tip: &Oid, beat: &Oid| {
        let store = fleet.repo.store();
        let tree = judge(&store, &fleet.anchor(), None, tip).unwrap();
        heartbeat(&tree, beat, SystemTime::now()).map(drop).map_err(|refusal| refusal.code())
    };
    let tip = list("");
    assert_eq!(heard(&tip, &beat(&tip, &robot, &[], "2024-06-01")), Ok(()));
    assert_eq!(heard(&tip, &beat(&tip, &robot, &[], "2024-06-02")), Err(Code::BadSignature));
    let in_time = ["--faked-system-time", "20240601T000000!"];
    assert_eq!(heard(&tip, &beat(&tip, &ci, &in_time, "2024-06-01")), Err(Code::KeyExpired));
    let tip = list(&format!("revoked: [{{key: \"{}\"}}]\n", robot.name()));
    assert_eq!(heard(&tip, &beat(&tip, &robot, &[], "2024-06-01")), Err(Code::KeyRevoked));
}
