// SPDX-License-Identifier: Apache-2.0
//! The policy itself: there, readable, of this fleet, never going back.

use hostwrit::trust::Code;

use super::*;

/// Commits the fleet's policy with one text put in another's place.
fn edited(fleet: &Fleet, from: &str, to: &str) -> Oid {
    fleet.repo.checkout(&fleet.root);
    fleet.policy(1, &[("alice", &fleet.alice)]);
    let policy = std::fs::read_to_string(fleet.repo.path().join("policy/policy.yaml")).unwrap();
    assert!(policy.contains(from));
    fleet.repo.write("policy/policy.yaml", &policy.replace(from, to));
    fleet.repo.commit("edit the policy", Some(&fleet.alice))
}

#[test]
fn a_policy_must_be_there() {
    let fleet = Fleet::new();
    fleet.repo.git(&["rm", "-rq", "policy"]);
    let tip = fleet.repo.commit("no policy", Some(&fleet.alice));
    refused(&fleet, None, &tip, Code::PolicyMissing);
    // That it comes back does not help: nobody could sign for it.
    fleet.policy(1, &[("alice", &fleet.alice)]);
    let tip = fleet.repo.commit("policy again", Some(&fleet.alice));
    refused(&fleet, None, &tip, Code::PolicyMissing);
}

#[test]
fn a_policy_with_faults_is_refused() {
    let fleet = Fleet::new();
    accepted(&fleet, None, &edited(&fleet, "format: 1", "format: 1 # the first"));
    for (from, to, says) in [
        ("format: 1", "format: 2", "format 2"),
        ("version:", "versoin:", "versoin"),
        ("rules:", "rulse:", "rulse"),
        ("- {change: [\"*\"], needs: {role: all}}", "[]", "no rule lets anybody"),
        ("change: [\"*\"]", "change: [\"user:*\"]", "no rule lets anybody change the policy"),
        ("change: [\"*\"]", "change: [user]", "names no objects"),
        ("change: [\"*\"]", "change: []", "is about nothing"),
        ("needs: {role: all}", "needs: {role: some}", "no role \"some\""),
        ("needs: {role: all}", "needs: {role: all, signers: 2}", "2 signers are needed"),
        ("needs: {role: all}", "needs: {role: all, signers: 0}", "0 signers are needed"),
        ("all: [alice]", "all: [alice, eve]", "\"eve\" is no principal"),
        ("rules:", "freshness: {max_age: 2d, heartbeat: [alice]}\nrules:", "has the role all"),
        ("rules:", "freshness: {max_age: soon}\nrules:", "not a duration"),
        ("rules:", "freshness: {max_age: 2d, heartbeat: [ci]}\nrules:", "\"ci\" is no principal"),
        ("rules:", "protect: [user]\nrules:", "protect: \"user\" names no objects"),
        ("rules:", "protect: [policy]\nrules:", "is not an object of a host"),
        ("rules:", "protect: [\"policy.remove_key:*\"]\nrules:", "is of the policy"),
        ("rules:", "revoked: [{}]\nrules:", "of one key or of one commit"),
        ("rules:", "revoked: [{key: \"openpgp:12\"}]\nrules:", "no whole fingerprint"),
        ("rules:", "trailers: never\nrules:", "required or optional"),
        ("keys/alice.asc", "", "alice has no key"),
        ("principals:\n  alice: {openpgp: [keys/alice.asc]}", "principals: {}", "nobody could ever sign"),
        ("keys/alice.asc", "keys/bob.asc", "not there"),
        ("keys/alice.asc", "policy.yaml", "certificate"),
        ("keys/alice.asc", "../hosts/web1.yaml", "not there"),
        ("keys/alice.asc", "keys/alice.asc, keys/alice.asc", "listed twice"),
        ("  alice:", "  mallory: {openpgp: [keys/alice.asc]}\n  alice:", "listed twice"),
    ] {
        let refusal = refused(&fleet, None, &edited(&fleet, from, to), Code::PolicyUnreadable);
        assert!(refusal.detail().contains(says), "{refusal}");
    }
}

#[test]
fn a_secret_key_in_the_repo_is_refused() {
    let fleet = Fleet::new();
    let secret = fleet.keys.gpg(&["--armor", "--export-secret-keys", &fleet.alice.fingerprint], b"");
    fleet.repo.write("policy/keys/alice.asc", std::str::from_utf8(&secret).unwrap());
    let tip = fleet.repo.commit("oops", Some(&fleet.alice));
    let refusal = refused(&fleet, None, &tip, Code::PolicyUnreadable);
    assert!(refusal.detail().contains("secret key"), "{refusal}");
}

#[test]
fn a_policy_version_never_goes_down() {
    let fleet = Fleet::new();
    fleet.policy(2, &[("alice", &fleet.alice)]);
    let two = fleet.repo.commit("version 2", Some(&fleet.alice));
    assert_eq!(accepted(&fleet, None, &two).len(), 2);
    fleet.policy(1, &[("alice", &fleet.alice)]);
    let tip = fleet.repo.commit("version 1", Some(&fleet.alice));
    refused(&fleet, Some(&two), &tip, Code::PolicyRollback);

    // Nor through a merge that keeps the other side's policy.
    fleet.repo.checkout(&fleet.root);
    let side = fleet.change("side");
    let sign = format!("-S{}", fleet.alice.fingerprint);
    fleet.repo.git(&["merge", "-s", "ours", "--no-edit", &sign, &two.to_string()]);
    refused(&fleet, Some(&two), &fleet.repo.id("HEAD"), Code::PolicyRollback);
    fleet.repo.checkout(&side);
    assert_eq!(accepted(&fleet, Some(&two), &fleet.repo.merge(&two, &fleet.alice)).len(), 2);
}

#[test]
fn a_policy_of_another_fleet_or_ref_is_refused() {
    let fleet = Fleet::new();
    refused(&fleet, None, &edited(&fleet, "infra.example.org", "other.example.org"), Code::WrongFleet);
    refused(&fleet, None, &edited(&fleet, "refs/heads/main", "refs/heads/test"), Code::WrongRef);
    accepted(&fleet, None, &edited(&fleet, "version: 1", "version: 5"));
}
