// SPDX-License-Identifier: Apache-2.0
//! Who may change what: rules by effect, and how many must sign.

use hostwrit::model::{Digest, ObjectId, RepoFiles as _};
use hostwrit::trust::{Authorized, Urgency, authorize};

use super::fixture::Keyring;
use super::*;

/// A compiler for tests: each line `KIND:NAME = VALUE` of `hosts/NAME` is an object, each `label KEY = VALUE` a label; a
/// line that is neither makes the host unsound.
struct Lines;

impl Compile for Lines {
    fn hosts(&mut self, tree: &AuthenticTree<'_>) -> BTreeMap<String, Option<Rc<HostState>>> {
        let paths = tree.paths().unwrap();
        let hosts = paths.iter().filter_map(|path| path.strip_prefix("state/"));
        hosts
            .map(|host| {
                let text = tree.read(&format!("state/{host}")).unwrap().unwrap();
                (host.to_owned(), parse(std::str::from_utf8(&text).unwrap()).map(Rc::new))
            })
            .collect()
    }
}

fn parse(text: &str) -> Option<HostState> {
    let mut state = HostState::default();
    for line in text.lines() {
        let (name, value) = line.split_once(" = ")?;
        match name.strip_prefix("label ") {
            Some(key) => drop(state.labels.insert(key.to_owned(), value.to_owned())),
            None => {
                let object: ObjectId = name.parse().unwrap();
                if value == "absent" {
                    state.absent.insert(object.clone());
                }
                state.objects.insert(object, Digest::of(value.as_bytes()));
            }
        }
    }
    Some(state)
}

/// Alice and bob own everything, changes of users and of the policy take both; carol has the files of the shop.
const RULES: &str = r#"roles: {owners: [alice, bob], dbas: [carol]}
rules:
  - {change: [policy, "user:*"], needs: {role: owners, signers: 2}}
  - {change: ["file:*"], hosts: {tenant: shop}, needs: {role: dbas}}
  - {change: ["*"], needs: {role: owners}}
"#;

struct Team {
    fleet: Fleet,
    bob: Key,
    carol: Key,
}

impl Team {
    fn new() -> Self {
        Self::with(RULES)
    }

    fn with(rules: &str) -> Self {
        let keys = Keyring::new();
        let (alice, bob, carol) = (keys.key("alice"), keys.key("bob"), keys.key("carol"));
        let fleet = Fleet::of(keys, alice.clone());
        fleet.policy(1, &[("alice", &alice), ("bob", &bob), ("carol", &carol)]);
        let mut team = Self { fleet, bob, carol };
        team.rules(rules);
        team.state("web1", "label tenant = shop\nfile:/a = 1\nport:80 = open\nuser:deploy = 1\n");
        team.fleet.root = team.fleet.repo.commit("root", Some(&alice));
        team
    }

    /// Puts these roles and rules into the policy.
    fn rules(&self, rules: &str) {
        let path = self.fleet.repo.path().join("policy/policy.yaml");
        let policy = std::fs::read_to_string(path).unwrap();
        let (before, _) = policy.split_once("roles:").unwrap();
        self.fleet.repo.write("policy/policy.yaml", &format!("{before}{rules}"));
    }

    fn state(&self, host: &str, lines: &str) {
        self.fleet.repo.write(&format!("state/{host}"), lines);
    }

    fn change(&self, lines: &str, key: &Key) -> Oid {
        self.state("web1", lines);
        self.fleet.repo.commit("change", Some(key))
    }

    /// Merges as it is what `branch` is, on top of `onto`.
    fn approve(&self, onto: &Oid, branch: &Oid, key: &Key) -> Oid {
        self.fleet.repo.checkout(onto);
        self.fleet.repo.merge(branch, key)
    }

    fn judge(&self, pin: Option<&Oid>, tip: &Oid) -> Result<Authorized<()>, Refusal> {
        let store = self.fleet.repo.store();
        let tree = judge(&store, &self.fleet.anchor(), pin, tip)?;
        authorize(&tree, (), &mut Lines)
    }

    #[track_caller]
    fn allowed(&self, tip: &Oid) -> Authorized<()> {
        self.judge(None, tip).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    #[track_caller]
    fn refused(&self, tip: &Oid, code: Code) -> Refusal {
        let refusal = self.judge(None, tip).map(|_| ()).expect_err("a refusal was expected");
        assert_eq!(refusal.code(), code, "{refusal}");
        refusal
    }
}

const START: &str = "label tenant = shop\nfile:/a = 1\nport:80 = open\nuser:deploy = 1\n";

fn with(from: &str, to: &str) -> String {
    assert!(START.contains(from));
    START.replace(from, to)
}

#[test]
fn the_first_rule_that_matches_decides() {
    let team = Team::new();
    let port = team.change(&with("port:80 = open", "port:80 = shut"), &team.fleet.alice);
    let decisions = team.allowed(&port);
    let [decision] = decisions.decisions() else { panic!("{decisions:?}") };
    assert_eq!((decision.object.to_string().as_str(), decision.rule), ("port:80", 3));
    assert_eq!((decision.host.as_deref(), decision.principals.as_slice()), (Some("web1"), &["alice".to_owned()][..]));

    team.fleet.repo.checkout(&team.fleet.root);
    let file = team.change(&with("file:/a = 1", "file:/a = 2"), &team.carol);
    assert_eq!(team.allowed(&file).decisions()[0].rule, 2);
    // The owners are not asked about the files of the shop, and so may not change them.
    team.fleet.repo.checkout(&team.fleet.root);
    let file = team.change(&with("file:/a = 1", "file:/a = 2"), &team.fleet.alice);
    team.refused(&file, Code::NotAuthorized);
    team.fleet.repo.checkout(&team.fleet.root);
    let port = team.change(&with("port:80 = open", "port:80 = shut"), &team.carol);
    let refusal = team.refused(&port, Code::NotAuthorized);
    assert!(refusal.detail().contains("port:80 on web1"), "{refusal}");
}

#[test]
fn what_no_rule_is_about_is_refused() {
    let team =
        Team::with("roles: {owners: [alice]}\nrules:\n  - {change: [policy, \"file:*\"], needs: {role: owners}}\n");
    team.allowed(&team.change(&with("file:/a = 1", "file:/a = 2"), &team.fleet.alice));
    team.refused(&team.change(&with("port:80 = open", "port:80 = shut"), &team.fleet.alice), Code::NoRule);
}

#[test]
fn a_file_without_effect_needs_no_right() {
    let team = Team::new();
    team.fleet.repo.write("README.md", "hello");
    assert!(team.allowed(&team.fleet.repo.commit("readme", Some(&team.carol))).decisions().is_empty());
}

#[test]
fn labels_are_objects_and_a_change_needs_the_rights_under_the_old_and_the_new_ones() {
    let team = Team::new();
    // Carol cannot take the host out of the shop, nor anybody into it.
    let moved = team.change(&with("label tenant = shop", "label tenant = blog"), &team.carol);
    team.refused(&moved, Code::NotAuthorized);
    team.fleet.repo.checkout(&team.fleet.root);
    let moved = team.change(&with("label tenant = shop", "label tenant = blog"), &team.fleet.alice);
    team.allowed(&moved);
    // Changing a file along with the label takes the rights of both sides.
    team.fleet.repo.checkout(&team.fleet.root);
    let both = with("label tenant = shop", "label tenant = blog").replace("file:/a = 1", "file:/a = 2");
    team.refused(&team.change(&both, &team.fleet.alice), Code::NotAuthorized);
}

#[test]
fn two_must_sign_where_the_rule_says_so() {
    let team = Team::new();
    let root = team.fleet.root;
    let alone = team.change(&with("user:deploy = 1", "user:deploy = 2"), &team.fleet.alice);
    team.refused(&alone, Code::NeedsApproval);
    let approved = team.approve(&root, &alone, &team.bob);
    assert_eq!(team.allowed(&approved).decisions().last().unwrap().principals, ["alice", "bob"]);
    // Oneself does not make two, nor does somebody without the role.
    team.refused(&team.approve(&root, &alone, &team.fleet.alice), Code::NeedsApproval);
    team.refused(&team.approve(&root, &alone, &team.carol), Code::NeedsApproval);
}

/// One owner may change anything, the policy included; some things nobody may remove alone.
const PROTECTED: &str = r#"roles: {owners: [alice, bob], dbas: [carol]}
rules:
  - {change: ["file:*"], needs: {role: dbas}}
  - {change: ["*"], needs: {role: owners}}
protect: ["port:*", "file:/a", "label:tenant"]
"#;

#[test]
fn nobody_removes_alone_what_is_protected() {
    let team = Team::with(PROTECTED);
    let root = team.fleet.root;
    for removed in [
        // Left out, declared absent, and with the label or the host that it hangs on.
        with("port:80 = open\n", ""),
        with("port:80 = open", "port:80 = absent"),
        with("label tenant = shop\n", ""),
        "label tenant = shop\nfile:/a = 1\n".to_owned(),
    ] {
        team.fleet.repo.checkout(&root);
        let alone = team.change(&removed, &team.fleet.alice);
        let refusal = team.refused(&alone, Code::Protected);
        assert!(
            refusal.detail().contains("2 of owners (alice, bob) by rule 2, for nobody removes what is protected alone")
        );
        team.allowed(&team.approve(&root, &alone, &team.bob));
        // Those who may not change it at all do not make two.
        team.refused(&team.approve(&root, &alone, &team.carol), Code::Protected);
    }
    // To alter it, to remove something else, and to say once more that it shall be absent takes what the rule asks for.
    for harmless in [
        with("port:80 = open", "port:80 = shut"),
        with("user:deploy = 1\n", ""),
        with("port:80", "port:443 = absent\nport:80"),
    ] {
        team.fleet.repo.checkout(&root);
        team.allowed(&team.change(&harmless, &team.fleet.alice));
    }
    // Carol is alone in her role.
    team.fleet.repo.checkout(&root);
    team.refused(&team.change(&with("file:/a = 1\n", ""), &team.carol), Code::Protected);
}

#[test]
fn nobody_takes_protection_away_alone() {
    let team = Team::with(PROTECTED);
    let root = team.fleet.root;
    for list in ["[\"file:/a\", \"label:tenant\"]", "[]"] {
        team.fleet.repo.checkout(&root);
        team.rules(&PROTECTED.replace("[\"port:*\", \"file:/a\", \"label:tenant\"]", list));
        let alone = team.fleet.repo.commit("less", Some(&team.fleet.alice));
        let refusal = team.refused(&alone, Code::Protected);
        assert!(refusal.detail().contains("policy:protect"), "{refusal}");
        team.allowed(&team.approve(&root, &alone, &team.bob));
    }
    // More of it is what the rule says.
    team.fleet.repo.checkout(&root);
    team.rules(&PROTECTED.replace("protect: [", "protect: [\"user:*\", "));
    team.allowed(&team.fleet.repo.commit("more", Some(&team.fleet.alice)));
    // From the next commit on it counts.
    team.refused(&team.change(&with("user:deploy = 1\n", ""), &team.fleet.alice), Code::Protected);
}

#[test]
fn an_approval_is_of_the_very_tree() {
    let team = Team::new();
    let alone = team.change(&with("user:deploy = 1", "user:deploy = 2"), &team.fleet.alice);
    team.fleet.repo.checkout(&team.fleet.root);
    team.fleet.repo.git(&["merge", "--quiet", "--no-ff", "--no-commit", &alone.to_string()]);
    team.fleet.repo.write("README.md", "one more thing");
    let altered = team.fleet.repo.commit("merge", Some(&team.bob));
    team.refused(&altered, Code::NeedsApproval);
}

#[test]
fn what_a_branch_changes_and_changes_back_needs_the_role_but_no_second_signer() {
    let team = Team::new();
    let root = team.fleet.root;
    team.change(&with("user:deploy = 1", "user:deploy = 2"), &team.fleet.alice);
    let back = team.change(&with("port:80 = open", "port:80 = shut"), &team.fleet.alice);
    team.allowed(&team.approve(&root, &back, &team.carol));

    team.fleet.repo.checkout(&root);
    team.change(&with("port:80 = open", "port:80 = shut"), &team.carol);
    let back = team.change(START, &team.fleet.alice);
    team.refused(&team.approve(&root, &back, &team.bob), Code::NotAuthorized);
}

#[test]
fn nested_approvals_count_each_principal_once() {
    let rules =
        RULES.replace("owners: [alice, bob]", "owners: [alice, bob, carol]").replace("signers: 2", "signers: 3");
    let team = Team::with(&rules.replace("dbas: [carol]", "dbas: [alice]"));
    let root = team.fleet.root;
    let change = team.change(&with("user:deploy = 1", "user:deploy = 2"), &team.fleet.alice);
    let once = team.approve(&root, &change, &team.bob);
    team.refused(&once, Code::NeedsApproval);
    team.allowed(&team.approve(&root, &once, &team.carol));
    team.refused(&team.approve(&root, &once, &team.bob), Code::NeedsApproval);
}

#[test]
fn a_second_key_of_the_same_person_is_no_second_person() {
    let team = Team::new();
    let root = team.fleet.root;
    let laptop = team.fleet.keys.key("laptop");
    team.fleet.repo.write("policy/keys/laptop.asc", &team.fleet.keys.public(&laptop));
    let policy = std::fs::read_to_string(team.fleet.repo.path().join("policy/policy.yaml")).unwrap();
    team.fleet.repo.write("policy/policy.yaml", &policy.replace("keys/alice.asc", "keys/alice.asc, keys/laptop.asc"));
    let listed = team.fleet.repo.commit("a second key", Some(&team.fleet.alice));
    let listed = team.approve(&root, &listed, &team.bob);
    let change = team.change(&with("user:deploy = 1", "user:deploy = 2"), &team.fleet.alice);
    team.refused(&team.approve(&listed, &change, &laptop), Code::NeedsApproval);
    team.allowed(&team.approve(&listed, &change, &team.bob));
}

#[test]
fn the_policy_needs_the_rights_to_the_policy() {
    let team = Team::new();
    let root = team.fleet.root;
    team.rules(&RULES.replace("signers: 2", "signers: 1"));
    let weaker = team.fleet.repo.commit("weaker", Some(&team.fleet.alice));
    team.refused(&weaker, Code::NeedsApproval);
    team.refused(&team.approve(&root, &weaker, &team.carol), Code::NeedsApproval);
    team.allowed(&team.approve(&root, &weaker, &team.bob));
}

#[test]
fn a_merge_takes_over_what_the_other_side_changed_by_right() {
    let team = Team::new();
    let root = team.fleet.root;
    let files = team.change(&with("file:/a = 1", "file:/a = 2"), &team.carol);
    team.fleet.repo.checkout(&root);
    team.fleet.repo.write("README.md", "main goes on");
    let main = team.fleet.repo.commit("main", Some(&team.bob));
    // Alice may not change the file, but she may merge what carol did.
    let merge = team.approve(&main, &files, &team.fleet.alice);
    team.allowed(&merge);
    // A merge that changes something itself needs the right to.
    team.fleet.repo.checkout(&main);
    team.fleet.repo.git(&["merge", "--quiet", "--no-ff", "--no-commit", &files.to_string()]);
    let evil = team.change(&with("file:/a = 1", "file:/a = 3"), &team.fleet.alice);
    team.refused(&evil, Code::NotAuthorized);
}

#[test]
fn a_merge_that_drops_the_other_sides_change_makes_a_change() {
    let team = Team::new();
    let root = team.fleet.root;
    let files = team.change(&with("file:/a = 1", "file:/a = 2"), &team.carol);
    team.fleet.repo.checkout(&root);
    team.fleet.repo.write("README.md", "side");
    let side = team.fleet.repo.commit("side", Some(&team.fleet.alice));
    team.fleet.repo.checkout(&files);
    let sign = format!("-S{}", team.fleet.alice.fingerprint);
    team.fleet.repo.git(&["merge", "--quiet", "-s", "ours", "-m", "ours", &sign, &side.to_string()]);
    team.allowed(&team.fleet.repo.id("HEAD"));
    team.fleet.repo.checkout(&side);
    team.fleet.repo.git(&["merge", "--quiet", "-s", "ours", "-m", "ours", &sign, &files.to_string()]);
    team.refused(&team.fleet.repo.id("HEAD"), Code::NotAuthorized);
}

#[test]
fn an_old_branch_does_not_bring_old_rights_back() {
    let team = Team::new();
    let root = team.fleet.root;
    // Carol loses her role.
    team.rules(&RULES.replace("dbas: [carol]", "dbas: [alice]"));
    let taken = team.fleet.repo.commit("carol leaves", Some(&team.fleet.alice));
    let taken = team.approve(&root, &taken, &team.bob);
    team.allowed(&taken);
    // What she signs on an old branch counts there; who merges it must have the right himself.
    team.fleet.repo.checkout(&root);
    let stale = team.change(&with("file:/a = 1", "file:/a = 2"), &team.carol);
    team.refused(&team.approve(&taken, &stale, &team.bob), Code::NotAuthorized);
    team.allowed(&team.approve(&taken, &stale, &team.fleet.alice));
}

#[test]
fn what_an_unsound_commit_hides_is_judged_when_it_comes_out() {
    let team = Team::new();
    let broken = |key: &Key| team.change("this is no state", key);
    let shut = with("port:80 = open", "port:80 = shut");
    // The one who broke it had no right to what comes out.
    broken(&team.carol);
    team.refused(&team.change(&shut, &team.fleet.alice), Code::NotAuthorized);
    team.fleet.repo.checkout(&team.fleet.root);
    broken(&team.bob);
    team.refused(&team.change(&shut, &team.carol), Code::NotAuthorized);
    team.fleet.repo.checkout(&team.fleet.root);
    broken(&team.bob);
    let sound = team.change(&shut, &team.fleet.alice);
    team.allowed(&sound);
    team.fleet.repo.checkout(&team.fleet.root);
    broken(&team.carol);
    team.allowed(&team.change(START, &team.carol));
}

#[test]
fn an_unsound_ref_does_not_turn_one_approval_into_two() {
    let team = Team::new();
    let broken = team.change("this is no state", &team.fleet.alice);
    let alone = team.change(&with("user:deploy = 1", "user:deploy = 2"), &team.fleet.alice);
    // Carol's name under it makes it a proposal, and nothing more.
    team.refused(&team.approve(&broken, &alone, &team.carol), Code::NeedsApproval);
    team.allowed(&team.approve(&broken, &alone, &team.bob));
}

#[test]
fn keys_are_renewed_by_their_holder_and_added_by_right() {
    let rules = RULES
        .replace("change: [policy, ", "change: [\"policy.add_key:*\"], needs: {role: dbas}}\n  - {change: [policy, ");
    let team = Team::with(&rules);
    let root = team.fleet.root;
    // Adding a key is a right of its own.
    let dave = team.fleet.keys.key("dave");
    team.fleet.repo.write("policy/keys/dave.asc", &team.fleet.keys.public(&dave));
    let policy = std::fs::read_to_string(team.fleet.repo.path().join("policy/policy.yaml")).unwrap();
    team.fleet
        .repo
        .write("policy/policy.yaml", &policy.replace("roles:", "  dave: {openpgp: [keys/dave.asc]}\nroles:"));
    let added = team.fleet.repo.commit("dave", Some(&team.carol));
    assert_eq!(team.allowed(&added).decisions()[0].object, ObjectId::new("policy.add_key", "dave"));
    // Removing one is another.
    team.fleet.repo.write("policy/policy.yaml", &policy);
    team.refused(&team.fleet.repo.commit("no dave", Some(&team.carol)), Code::NotAuthorized);

    // Everybody may extend his own key, and nobody another's.
    team.fleet.repo.checkout(&root);
    team.fleet.keys.gpg(&["--quick-set-expire", &team.carol.fingerprint, "2y"], b"");
    team.fleet.repo.write("policy/keys/carol.asc", &team.fleet.keys.public(&team.carol));
    let renewed = team.fleet.repo.commit("two more years", Some(&team.carol));
    assert_eq!(team.allowed(&renewed).decisions()[0].rule, 0);
    team.fleet.repo.checkout(&root);
    team.fleet.repo.write("policy/keys/carol.asc", &team.fleet.keys.public(&team.carol));
    team.refused(&team.fleet.repo.commit("two more years", Some(&team.fleet.alice)), Code::NeedsApproval);
}

#[test]
fn a_change_that_no_commit_accounts_for_is_refused() {
    /// Says something else each time that it is asked.
    struct Fickle(u8);
    impl Compile for Fickle {
        fn hosts(&mut self, _: &AuthenticTree<'_>) -> BTreeMap<String, Option<Rc<HostState>>> {
            self.0 += 1;
            let objects = [(ObjectId::new("file", "/a"), Digest::of(&[u8::from(self.0 > 71)]))].into();
            [("web1".to_owned(), Some(Rc::new(HostState { labels: BTreeMap::new(), objects, ..HostState::default() })))]
                .into()
        }
    }
    let fleet = Fleet::new();
    let mut tip = fleet.root;
    for number in 0..70 {
        tip = fleet.change(&number.to_string());
    }
    let store = fleet.repo.store();
    let tree = judge(&store, &fleet.anchor(), Some(&fleet.root), &tip).unwrap();
    // The compiler's answer about the first commit changes while the others are judged.
    let refusal = authorize(&tree, (), &mut Fickle(0)).expect_err("refused");
    assert!(matches!(refusal.code(), Code::Unexplained), "{refusal}");
}

#[test]
fn a_commit_hurries_hosts_only_where_as_many_sign_as_the_rule_asks_for() {
    let team = Team::with(&RULES.replace("\"user:*\"]", "\"user:*\", \"rollout:now\"]"));
    let (root, repo) = (team.fleet.root, &team.fleet.repo);
    let urgent = "Fix\n\nHostwrit-Rollout: now";
    team.state("web1", &with("port:80 = open", "port:80 = shut"));
    let alone = repo.commit(urgent, Some(&team.fleet.alice));
    let urgency = team.allowed(&alone).urgency().clone();
    assert!(
        matches!(&urgency, Urgency::Denied(why) if why.contains("rollout:now on web1 takes 2 of owners")),
        "{urgency:?}"
    );
    // What the branch asks for, the merge does not ask for.
    assert_eq!(*team.allowed(&team.approve(&root, &alone, &team.bob)).urgency(), Urgency::Unasked);
    let approve = |key: &Key| {
        repo.checkout(&root);
        repo.git_signed(key, &["merge", "--quiet", "--no-ff", "-m", urgent, &alone.to_string()]);
        repo.id("HEAD")
    };
    assert_eq!(*team.allowed(&approve(&team.bob)).urgency(), Urgency::Allowed);
    assert!(matches!(team.allowed(&approve(&team.fleet.alice)).urgency(), Urgency::Denied(_)));
}
