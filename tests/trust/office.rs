// SPDX-License-Identifier: Apache-2.0
//! A fleet with several people who may do different things, and a compiler that is small enough to see through.

use hostwrit::model::{Digest, ObjectId, RepoFiles as _};
use hostwrit::trust::authorize;

use super::*;

/// The rules that most tests go by.
pub const RULES: &str = r#"
roles: {owners: [alice, bob, carol], dbas: [dan, alice]}
rules:
  - {change: [policy, "file:/etc/*"], needs: {role: owners, signers: 2}}
  - {change: ["file:/vault"], needs: {role: owners, signers: 3}}
  - {change: ["file:/srv/*"], hosts: {tenant: shop}, needs: {role: dbas}}
  - {change: ["file:/motd", "label:*"], needs: {role: owners}}
"#;

/// Alice, bob and carol own the fleet; dan looks after databases; mallory is nobody.
pub struct Office {
    pub fleet: Fleet,
    pub alice: Key,
    pub bob: Key,
    pub carol: Key,
    pub dan: Key,
    pub mallory: Key,
}

impl Office {
    pub fn new() -> Self {
        Self::with_rules(RULES)
    }

    pub fn with_rules(rules: &str) -> Self {
        let mut fleet = Fleet::new();
        let [bob, carol, dan, mallory] = ["bob", "carol", "dan", "mallory"].map(|name| fleet.keys.key(name));
        let alice = fleet.alice.clone();
        fleet.root = Oid::null(fleet.root.kind());
        let mut office = Self { fleet, alice, bob, carol, dan, mallory };
        office.policy(2, rules);
        office.write("/motd", "hello");
        office.fleet.repo.write("labels/tenant", "shop");
        office.fleet.root = office.fleet.repo.commit("root", Some(&office.alice));
        office
    }

    /// Writes the policy with all principals but mallory, and these rules.
    pub fn policy(&self, version: u64, rules: &str) {
        self.policy_of(
            version,
            &[("alice", &self.alice), ("bob", &self.bob), ("carol", &self.carol), ("dan", &self.dan)],
            rules,
        );
    }

    pub fn policy_of(&self, version: u64, principals: &[(&str, &Key)], rules: &str) {
        self.fleet.policy(version, principals);
        self.edit("roles:", |text, at| format!("{}{}", &text[..at], rules.trim_start()));
    }

    /// Puts one text in another's place in the policy.
    pub fn replace(&self, from: &str, to: &str) {
        self.edit(from, |text, _| text.replace(from, to));
    }

    fn edit(&self, needle: &str, change: impl Fn(&str, usize) -> String) {
        let path = self.fleet.repo.path().join("policy/policy.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let at = text.find(needle).unwrap_or_else(|| panic!("the policy has no {needle}:\n{text}"));
        std::fs::write(&path, change(&text, at)).unwrap();
    }

    /// Writes a file that the host web1 shall have.
    pub fn write(&self, file: &str, content: &str) {
        self.fleet.repo.write(&format!("files{file}"), content);
    }

    /// Commits what is in the work tree.
    pub fn commit(&self, message: &str, key: &Key) -> Oid {
        self.fleet.repo.commit(message, Some(key))
    }

    /// Commits a change of one file upon `parent`.
    pub fn change(&self, parent: &Oid, file: &str, content: &str, key: &Key) -> Oid {
        self.fleet.repo.checkout(parent);
        self.write(file, content);
        self.commit(&format!("{file}: {content}"), key)
    }

    /// Merges `branch` into `base` as it is.
    pub fn approve(&self, base: &Oid, branch: &Oid, key: &Key) -> Oid {
        self.fleet.repo.checkout(base);
        self.fleet.repo.merge(branch, key)
    }

    /// Returns who counted for the changes, or why they are refused.
    pub fn verdict(&self, pin: &Oid, tip: &Oid) -> Result<Vec<Vec<String>>, Refusal> {
        let store = self.fleet.repo.store();
        let tree = judge(&store, &self.fleet.anchor(), Some(pin), tip)?;
        let authorized = authorize(&tree, (), &mut Files)?;
        Ok(authorized.decisions().iter().map(|decision| decision.principals.clone()).collect())
    }

    #[track_caller]
    pub fn allowed(&self, pin: &Oid, tip: &Oid) -> Vec<Vec<String>> {
        self.verdict(pin, tip).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    #[track_caller]
    pub fn denied(&self, pin: &Oid, tip: &Oid, code: Code) -> Refusal {
        match self.verdict(pin, tip) {
            Ok(decisions) => panic!("allowed by {decisions:?}; {code} was expected"),
            Err(refusal) => {
                assert_eq!(refusal.code(), code, "{refusal}");
                refusal
            }
        }
    }
}

/// One host, web1: each file below `files/` is a file of it, each below `labels/` a label; `broken` makes it unsound.
pub struct Files;

impl Compile for Files {
    fn hosts(&mut self, tree: &AuthenticTree<'_>) -> BTreeMap<String, Option<Rc<HostState>>> {
        let mut state = HostState::default();
        let mut is_sound = true;
        for path in tree.paths().unwrap() {
            let content = tree.read(&path).unwrap().unwrap();
            if let Some(file) = path.strip_prefix("files") {
                state.objects.insert(ObjectId::new("file", file), Digest::of(&content));
            } else if let Some(label) = path.strip_prefix("labels/") {
                state.labels.insert(label.to_owned(), String::from_utf8(content).unwrap());
            } else if path == "broken" {
                is_sound = false;
            }
        }
        BTreeMap::from([("web1".to_owned(), is_sound.then(|| Rc::new(state)))])
    }
}
