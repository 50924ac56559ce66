// SPDX-License-Identifier: Apache-2.0
//! Keys and commits that count no more.

use hostwrit::trust::Revocations;

use super::*;

/// Alice and bob, and one commit of bob's behind the root.
struct Pair {
    fleet: Fleet,
    bob: Key,
    by_bob: Oid,
}

impl Pair {
    fn new() -> Self {
        let fleet = Fleet::new();
        let bob = fleet.keys.key("bob");
        fleet.policy(2, &[("alice", &fleet.alice), ("bob", &bob)]);
        fleet.repo.commit("bob comes", Some(&fleet.alice));
        fleet.repo.write("files/motd", "bob was here");
        let by_bob = fleet.repo.commit("by bob", Some(&bob));
        Self { fleet, bob, by_bob }
    }

    /// Has alice commit this list of revocations.
    fn revoke(&self, list: &str) -> Oid {
        self.fleet.policy(3, &[("alice", &self.fleet.alice), ("bob", &self.bob)]);
        self.append(&format!("revoked: [{list}]\n"));
        self.fleet.repo.commit("revoke", Some(&self.fleet.alice))
    }

    fn append(&self, text: &str) {
        let policy = std::fs::read_to_string(self.fleet.repo.path().join("policy/policy.yaml")).unwrap();
        self.fleet.repo.write("policy/policy.yaml", &(policy + text));
    }

    fn bobs_key(&self) -> String {
        format!("openpgp:{}", self.bob.fingerprint)
    }

    fn by_alice(&self) -> Oid {
        self.fleet.change("alice goes on")
    }

    fn by_bob(&self) -> Oid {
        self.fleet.repo.write("files/motd", "bob goes on");
        self.fleet.repo.commit("bob goes on", Some(&self.bob))
    }
}

#[test]
fn a_hard_revocation_counts_against_every_commit_since_the_root() {
    let pair = Pair::new();
    let key = pair.bobs_key();
    let tip = pair.revoke(&format!("{{key: \"{key}\"}}"));
    let refusal = refused(&pair.fleet, None, &tip, Code::KeyRevoked);
    assert_eq!(refusal.commit(), Some(&pair.by_bob));
    // Also where the host had accepted it long ago.
    refused(&pair.fleet, Some(&pair.by_bob), &tip, Code::KeyRevoked);
    // Unless a signed list excepts it by name; that covers no other commit.
    pair.fleet.repo.checkout(&pair.by_bob);
    let tip = pair.revoke(&format!("{{key: \"{key}\", except: [{}]}}", pair.by_bob));
    assert_eq!(accepted(&pair.fleet, None, &tip).len(), 4);
    assert_eq!(accepted(&pair.fleet, Some(&pair.by_bob), &tip).len(), 1);
    refused(&pair.fleet, Some(&tip), &pair.by_bob(), Code::KeyRevoked);
}

#[test]
fn a_hard_revocation_in_the_certificate_counts_the_same() {
    let pair = Pair::new();
    pair.fleet.keys.revoke(&pair.bob);
    pair.fleet.policy(3, &[("alice", &pair.fleet.alice), ("bob", &pair.bob)]);
    let tip = pair.fleet.repo.commit("revoke", Some(&pair.fleet.alice));
    refused(&pair.fleet, None, &tip, Code::KeyRevoked);
    refused(&pair.fleet, Some(&pair.by_bob), &tip, Code::KeyRevoked);
    // An exception in the list is one for the certificate too.
    pair.fleet.repo.checkout(&pair.by_bob);
    pair.fleet.policy(3, &[("alice", &pair.fleet.alice), ("bob", &pair.bob)]);
    pair.append(&format!("revoked: [{{key: \"{}\", except: [{}]}}]\n", pair.bobs_key(), pair.by_bob));
    let tip = pair.fleet.repo.commit("revoke", Some(&pair.fleet.alice));
    assert_eq!(accepted(&pair.fleet, None, &tip).len(), 4);
}

#[test]
fn the_root_counts_whatever_became_of_its_key() {
    let pair = Pair::new();
    let fleet = &pair.fleet;
    fleet.repo.checkout(&fleet.root);
    // Bob takes over from alice, and revokes her key.
    fleet.policy(3, &[("bob", &pair.bob)]);
    let handed_over = fleet.repo.commit("hand over", Some(&fleet.alice));
    let except = |commits: &str| {
        fleet.repo.checkout(&handed_over);
        fleet.policy(4, &[("bob", &pair.bob)]);
        pair.append(&format!("revoked: [{{key: \"{}\", except: [{commits}]}}]\n", fleet.alice.name()));
        fleet.repo.commit("revoke", Some(&pair.bob))
    };
    let refusal = refused(fleet, None, &except(""), Code::KeyRevoked);
    assert_eq!(refusal.commit(), Some(&handed_over));
    assert_eq!(accepted(fleet, None, &except(&handed_over.to_string())), ["alice", "alice", "bob"]);
}

#[test]
fn a_soft_revocation_counts_from_its_date() {
    let pair = Pair::new();
    let key = pair.bobs_key();
    // Later than all that is signed here.
    let tip = pair.revoke(&format!("{{key: \"{key}\", since: 2100-01-01T00:00:00Z}}"));
    accepted(&pair.fleet, None, &tip);
    accepted(&pair.fleet, None, &pair.by_bob());
    // Since a moment ago: what is there stays good, what comes does not.
    pair.fleet.repo.checkout(&pair.by_bob);
    let tip = pair.revoke(&format!("{{key: \"{key}\", since: 2020-01-01T00:00:00Z}}"));
    assert_eq!(accepted(&pair.fleet, None, &tip).len(), 4);
    refused(&pair.fleet, None, &pair.by_bob(), Code::KeyRevoked);
}

#[test]
fn a_soft_revocation_holds_for_what_a_merge_brings_in() {
    let pair = Pair::new();
    let stale = pair.by_bob();
    pair.fleet.repo.checkout(&pair.by_bob);
    let tip = pair.revoke(&format!("{{key: \"{}\", since: 2020-01-01T00:00:00Z}}", pair.bobs_key()));
    let merge = pair.fleet.repo.merge(&stale, &pair.fleet.alice);
    refused(&pair.fleet, Some(&tip), &merge, Code::KeyRevoked);
}

#[test]
fn a_revocation_is_never_unmade() {
    let pair = Pair::new();
    let key = pair.bobs_key();
    let hard = format!("{{key: \"{key}\", except: [{}]}}", pair.by_bob);
    for (before, after) in [
        (hard.clone(), String::new()),
        (hard.clone(), format!("{{key: \"{key}\", since: 2020-01-01T00:00:00Z}}")),
        (
            format!("{{key: \"{key}\", since: 2020-01-01T00:00:00Z}}"),
            format!("{{key: \"{key}\", since: 2021-01-01T00:00:00Z}}"),
        ),
        (format!("{{commit: \"sha256:{}\"}}", "0".repeat(64)), String::new()),
    ] {
        pair.fleet.repo.checkout(&pair.by_bob);
        pair.revoke(&before);
        refused(&pair.fleet, None, &pair.revoke(&after), Code::RevocationDropped);
    }
    // It may become harder, and a list may grow.
    pair.fleet.repo.checkout(&pair.by_bob);
    pair.revoke(&format!("{{key: \"{key}\", since: 2021-01-01T00:00:00Z}}"));
    accepted(&pair.fleet, None, &pair.revoke(&format!("{{key: \"{key}\", since: 2020-01-01T00:00:00Z}}")));
    accepted(&pair.fleet, None, &pair.revoke(&hard));
}

#[test]
fn a_revoked_certificate_may_leave_only_if_the_list_has_it() {
    let pair = Pair::new();
    let alice = [("alice", &pair.fleet.alice)];
    pair.fleet.keys.revoke(&pair.bob);
    pair.fleet.policy(3, &[("alice", &pair.fleet.alice), ("bob", &pair.bob)]);
    let listed = format!("revoked: [{{key: \"{}\", except: [{}]}}]\n", pair.bobs_key(), pair.by_bob);
    pair.append(&listed);
    let tip = pair.fleet.repo.commit("revoke", Some(&pair.fleet.alice));
    pair.fleet.policy(4, &alice);
    refused(&pair.fleet, None, &pair.fleet.repo.commit("forget", Some(&pair.fleet.alice)), Code::RevocationDropped);
    pair.fleet.repo.checkout(&tip);
    pair.fleet.policy(4, &alice);
    pair.append(&listed);
    accepted(&pair.fleet, None, &pair.fleet.repo.commit("bob leaves", Some(&pair.fleet.alice)));
}

#[test]
fn a_merge_cannot_bring_a_revoked_key_back() {
    // The story of sequoia-git's bypass: `merge -s ours` of the side that knows nothing of the revocation.
    let pair = Pair::new();
    let side = pair.by_alice();
    pair.fleet.repo.checkout(&pair.by_bob);
    let revoked = pair.revoke(&format!("{{key: \"{}\", except: [{}]}}", pair.bobs_key(), pair.by_bob));
    pair.fleet.repo.checkout(&side);
    let sign = format!("-S{}", pair.fleet.alice.fingerprint);
    pair.fleet.repo.git(&["merge", "--quiet", "-s", "ours", "-m", "ours", &sign, &revoked.to_string()]);
    let merge = pair.fleet.repo.id("HEAD");
    let refusal = refused(&pair.fleet, Some(&revoked), &merge, Code::PolicyRollback);
    assert_eq!(refusal.commit(), Some(&merge));
}

#[test]
fn the_hosts_own_list_counts_whatever_the_repo_says() {
    let pair = Pair::new();
    let tip = pair.by_alice();
    let list = |entry: &str| {
        let text = format!("format: 1\nrevoked: [{entry}]\n");
        let revoked = Revocations::parse("revocations.yaml", text.as_bytes()).unwrap();
        Anchor { revoked, ..pair.fleet.anchor() }
    };
    let store = pair.fleet.repo.store();
    let bob = list(&format!("{{key: \"{}\"}}", pair.bobs_key()));
    refused_by(&store, &bob, None, &tip, Code::KeyRevoked);
    refused_by(&store, &bob, Some(&pair.by_bob), &tip, Code::KeyRevoked);
    // What is accepted stays: there is nothing new to judge.
    assert!(judge(&store, &bob, Some(&tip), &tip).is_ok());
    let excepted = list(&format!("{{key: \"{}\", except: [{}]}}", pair.bobs_key(), pair.by_bob));
    assert!(judge(&store, &excepted, None, &tip).is_ok());
}

#[test]
fn a_revoked_commit_goes_by_what_it_signs() {
    let pair = Pair::new();
    let tip = pair.by_alice();
    let store = pair.fleet.repo.store();
    let tree = judge(&store, &pair.fleet.anchor(), None, &tip).unwrap();
    let payload = tree.signers().iter().find(|signature| signature.commit == pair.by_bob).unwrap().payload;
    let tip = pair.revoke(&format!("{{commit: \"{payload}\"}}"));
    let refusal = refused(&pair.fleet, None, &tip, Code::CommitRevoked);
    assert_eq!(refusal.commit(), Some(&pair.by_bob));
    refused(&pair.fleet, Some(&pair.by_bob), &tip, Code::CommitRevoked);
}

#[test]
fn a_list_of_revocations_with_faults_is_no_list() {
    for (text, says) in [
        ("revoked: []", "format"),
        ("format: 2\nrevoked: []", "format 2"),
        ("format: 1\nrevoked: [{key: \"openpgp:12\"}]", "fingerprint"),
        ("format: 1\nrevoked: [{since: 2020-01-01T00:00:00Z}]", "of one key or of one commit"),
        ("format: 1\nrevoked: [{commit: abc}]", "digest"),
        ("format: 1\nrevoke: []", "revoke"),
    ] {
        let faults = Revocations::parse("revocations.yaml", text.as_bytes()).unwrap_err();
        assert!(faults.to_string().contains(says), "{faults}");
    }
    assert!(Revocations::parse("revocations.yaml", b"format: 1\nrevoked: []").is_ok());
}

#[test]
fn the_hosts_own_list_may_revoke_from_a_date_on() {
    let pair = Pair::new();
    let own = |since: &str| {
        let text = format!("format: 1\nrevoked: [{{key: \"{}\", since: {since}}}]\n", pair.bob.name());
        Anchor { revoked: Revocations::parse("revoked.yaml", text.as_bytes()).unwrap(), ..pair.fleet.anchor() }
    };
    let store = pair.fleet.repo.store();
    refused_by(&store, &own("2020-01-01T00:00:00Z"), None, &pair.by_bob, Code::KeyRevoked);
    assert!(judge(&store, &own("2100-01-01T00:00:00Z"), None, &pair.by_bob).is_ok());
}

#[test]
fn a_soft_revocation_stays_soft_beside_a_hard_one() {
    let pair = Pair::new();
    let stranger = pair.fleet.keys.key("stranger");
    let soft = format!("{{key: \"{}\", since: 2020-01-01T00:00:00Z}}", pair.bob.name());
    let tip = pair.revoke(&format!("{soft}, {{key: \"{}\"}}", stranger.name()));
    assert_eq!(accepted(&pair.fleet, None, &tip).len(), 4);
}
