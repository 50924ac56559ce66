// SPDX-License-Identifier: Apache-2.0
//! Generated histories: what each commit does, who signs it and how, and the objects that come of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use gix::objs::tree::{Entry, EntryKind};
use gix::objs::{Kind, Tree, Write as _};
use hostwrit::model::git::{Oid, RawObject};
use hostwrit::trust::{Anchor, Code, Revocations};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixture::{FLEET, REF, Store, with_header};
use crate::people::{ALICE, BOB, COUNT, DORA, Form, NICK, People, WES};

/// The root is signed on 2024-02-01, each further commit 25 days after the one before.
const FIRST: u64 = 1_706_745_600;
const DAY: Duration = Duration::from_secs(24 * 3600);
const STEP: u32 = 25;

/// What one generated commit is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    act: Act,
    signer: Signer,
    shape: Shape,
    /// On the last commit that both accepted, or on the very last one.
    on_good_ground: bool,
    /// An earlier commit to merge.
    merge: Option<prop::sample::Index>,
}

#[derive(Clone, Debug)]
enum Act {
    Edit,
    /// The person's certificate is in the policy in this form from now on.
    List(usize, Form),
    Drop(prop::sample::Index),
    /// A member's certificate is renewed by a commit that he signs himself.
    Renew(prop::sample::Index),
    DropAll,
    LowerVersion,
    /// The files of the policy are gone, ours and theirs.
    NoPolicy,
}

#[derive(Clone, Debug)]
enum Signer {
    Member(prop::sample::Index),
    Anyone(usize),
    Nobody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Plain,
    Comment,
    TextMode,
    Sha224,
    /// Two signatures in one armor.
    Doubled,
    ExtraHeader,
    /// The message is changed after signing.
    Altered,
    QuarterOfAnHourAhead,
    DayAhead,
    BeforeTheRoot,
    BeforeTheKey,
}

pub fn chains() -> impl Strategy<Value = Vec<Plan>> {
    vec(plan(Just(None).boxed()), 14)
}

pub fn merges() -> impl Strategy<Value = Vec<Plan>> {
    vec(plan(prop::option::weighted(0.4, any::<prop::sample::Index>()).boxed()), 14)
}

fn plan(merge: BoxedStrategy<Option<prop::sample::Index>>) -> impl Strategy<Value = Plan> {
    let form =
        prop_oneof![5 => Just(Form::Plain), 2 => Just(Form::Renewed), 1 => Just(Form::Soft), 1 => Just(Form::Hard)];
    let act = prop_oneof![
        8 => Just(Act::Edit),
        9 => (0..COUNT, form).prop_map(|(person, form)| Act::List(person, form)),
        2 => any::<prop::sample::Index>().prop_map(Act::Drop),
        6 => any::<prop::sample::Index>().prop_map(Act::Renew),
        1 => prop_oneof![Just(Act::DropAll), Just(Act::LowerVersion), Just(Act::NoPolicy)],
    ];
    let signer = prop_oneof![
        16 => any::<prop::sample::Index>().prop_map(Signer::Member),
        3 => (0..COUNT).prop_map(Signer::Anyone),
        1 => Just(Signer::Nobody),
    ];
    let odd = prop::sample::select(vec![
        Shape::Comment,
        Shape::TextMode,
        Shape::Sha224,
        Shape::Doubled,
        Shape::ExtraHeader,
        Shape::Altered,
        Shape::QuarterOfAnHourAhead,
        Shape::DayAhead,
        Shape::BeforeTheRoot,
        Shape::BeforeTheKey,
    ]);
    let shape = prop_oneof![6 => Just(Shape::Plain), 1 => odd];
    let plan = (act, signer, shape, prop::bool::weighted(0.85), merge);
    plan.prop_map(|(act, signer, shape, on_good_ground, merge)| Plan { act, signer, shape, on_good_ground, merge })
}

/// A commit as it was made.
#[derive(Clone)]
pub struct Commit {
    pub id: Oid,
    pub parents: Vec<Oid>,
    pub signed: SystemTime,
    /// The refusals that it was made to earn, where sq-git sees no fault.
    pub oddities: Vec<Code>,
    content: Content,
    story: String,
}

/// What the tree of a commit says.
#[derive(Clone)]
struct Content {
    version: u64,
    members: BTreeMap<usize, Form>,
    policy: bool,
    edits: usize,
}

/// A history that grows, in a repository and in memory.
pub struct History<'p> {
    people: &'p People,
    dir: tempfile::TempDir,
    git: gix::Repository,
    store: Store,
    commits: Vec<Commit>,
    good: usize,
}

impl<'p> History<'p> {
    /// Begins with a root that alice signed and where she, bob, dora and nick are listed.
    pub fn new(people: &'p People) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let git = gix::ThreadSafeRepository::init_opts(
            dir.path(),
            gix::create::Kind::Bare,
            gix::create::Options::default(),
            gix::open::Options::isolated(),
        )
        .unwrap()
        .to_thread_local();
        let store = Store { objects: HashMap::new() };
        let mut history = Self { people, dir, git, store, commits: Vec::new(), good: 0 };
        let members = [(ALICE, Form::Plain), (BOB, Form::Plain), (DORA, Form::Plain), (NICK, Form::Plain)].into();
        let content = Content { version: 1, members, policy: true, edits: 0 };
        let signed = SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST);
        history.write(Vec::new(), content, Some(ALICE), Shape::Plain, signed, Vec::new(), "root".to_owned());
        // sq-git wants a HEAD, whatever it is asked about.
        let any = gix::refs::transaction::PreviousValue::Any;
        history.git.reference(REF, *history.root(), any, "test").unwrap();
        history
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn root(&self) -> &Oid {
        &self.commits[0].id
    }

    pub fn last(&self) -> &Commit {
        &self.commits[self.commits.len() - 1]
    }

    pub fn find(&self, id: &Oid) -> Option<&Commit> {
        self.commits.iter().find(|commit| commit.id == *id)
    }

    pub fn anchor(&self) -> Anchor {
        let alice = self.people.fingerprint(ALICE);
        Anchor {
            fleet: FLEET.to_owned(),
            git_ref: REF.to_owned(),
            root: *self.root(),
            signers: vec![format!("openpgp:{alice}").parse().unwrap()],
            revoked: Revocations::default(),
        }
    }

    /// Remembers whether the last commit is one to build on.
    pub fn judged(&mut self, good: bool) {
        if good {
            self.good = self.commits.len() - 1;
        }
    }

    /// Adds a commit.
    pub fn commit(&mut self, plan: &Plan) -> Oid {
        let first = if plan.on_good_ground { self.good } else { self.commits.len() - 1 };
        let first = self.commits[first].clone();
        let mut parents = vec![first.id];
        let mut content = first.content;
        let mut contents_before = vec![content.clone()];
        let mut least_version = content.version;
        if let Some(other) = &plan.merge {
            let other = other.get(&self.commits);
            if other.id != first.id {
                parents.push(other.id);
                contents_before.push(other.content.clone());
                least_version = least_version.max(other.content.version);
                content.version = least_version;
            }
        }
        let mut oddities = Vec::new();
        let mut renewer = None;
        content.edits = self.commits.len();
        match &plan.act {
            Act::Edit => {}
            Act::List(person, form) => {
                content.members.insert(*person, *form);
                content.version += 1;
            }
            Act::Drop(which) if content.members.len() > 1 => {
                let person = *which.get(&content.members.keys().copied().collect::<Vec<_>>());
                content.members.remove(&person);
                content.version += 1;
            }
            Act::Drop(_) => {}
            Act::Renew(which) => {
                let members: Vec<_> = content.members.keys().copied().collect();
                if let Some(person) = members.get(which.index(members.len().max(1))) {
                    content.members.insert(*person, Form::Renewed);
                    renewer = Some(*person);
                }
                content.version += 1;
            }
            Act::DropAll => content.members.clear(),
            Act::LowerVersion => content.version -= 1,
            Act::NoPolicy => content.policy = false,
        }
        let drops = |before: &Content| {
            before.members.iter().any(|(person, form)| {
                let after = content.members.get(person);
                match form {
                    Form::Plain | Form::Renewed => false,
                    Form::Soft => !matches!(after, Some(Form::Soft | Form::Hard)),
                    Form::Hard => after != Some(&Form::Hard),
                }
            })
        };
        if contents_before.iter().any(drops) {
            oddities.push(Code::RevocationDropped);
        }
        if !content.policy {
            oddities.push(Code::PolicyMissing);
        } else if content.members.is_empty() {
            oddities.push(Code::PolicyUnreadable);
        } else if content.version < least_version {
            oddities.push(Code::PolicyRollback);
        }
        let members: Vec<_> = content.members.keys().copied().collect();
        let signer = match &plan.signer {
            Signer::Member(_) if renewer.is_some() => renewer,
            Signer::Member(which) if !members.is_empty() => Some(*which.get(&members)),
            Signer::Member(_) => Some(ALICE),
            Signer::Anyone(person) => Some(*person),
            Signer::Nobody => None,
        };
        let (shape, number) = (plan.shape, u32::try_from(self.commits.len()).unwrap());
        let in_turn = SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST) + number * STEP * DAY;
        let signed = match shape {
            Shape::QuarterOfAnHourAhead => SystemTime::now() + Duration::from_secs(15 * 60),
            Shape::DayAhead => SystemTime::now() + DAY,
            Shape::BeforeTheRoot => SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST) - DAY,
            Shape::BeforeTheKey => SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST) - 365 * DAY,
            _ => in_turn,
        };
        oddities.extend(match shape {
            Shape::Comment => Some(Code::ArmorNotCanonical),
            Shape::TextMode | Shape::Doubled => Some(Code::MalformedSignature),
            Shape::Sha224 => Some(Code::WeakSignature),
            Shape::ExtraHeader => Some(Code::MalformedCommit),
            Shape::QuarterOfAnHourAhead => Some(Code::SignatureFromFuture),
            Shape::BeforeTheRoot => Some(Code::TimeBackwards),
            Shape::Plain | Shape::Altered | Shape::DayAhead | Shape::BeforeTheKey => None,
        });
        // Signed by a key that the commit itself retires: sq-git leaves the child's revocations out of account.
        if signer.is_some_and(|signer| {
            let form = |content: &Content| content.members.get(&signer).copied();
            form(&content) == Some(Form::Soft) && form(&contents_before[0]) != Some(Form::Soft)
        }) {
            oddities.push(Code::KeyRevoked);
        }
        let renewed = |content: &Content| content.members.get(&NICK) == Some(&Form::Renewed);
        if signer == Some(NICK) && renewed(&content) && !renewed(&contents_before[0]) {
            oddities.push(Code::UnknownSigner);
        }
        if signer == Some(WES) {
            oddities.push(Code::WeakSignature);
        }
        let story =
            format!("{:?} by {} ({shape:?})", plan.act, signer.map_or("nobody", |person| self.people.get(person).name));
        self.write(parents, content, signer, shape, signed, oddities, story)
    }

    #[expect(clippy::too_many_arguments, reason = "a commit has as many parts")]
    fn write(
        &mut self,
        parents: Vec<Oid>,
        content: Content,
        signer: Option<usize>,
        shape: Shape,
        signed: SystemTime,
        oddities: Vec<Code>,
        story: String,
    ) -> Oid {
        let tree = self.write_tree(&content);
        let message = format!("{story}\n");
        let mut payload = crate::fixture::payload(&tree, &parents, &message);
        if shape == Shape::ExtraHeader {
            payload = with_header(&payload, "mergetag", "none");
        }
        let mut commit = payload.clone();
        if let Some(signer) = signer {
            commit = with_header(&payload, "gpgsig", &self.armor(signer, payload.as_bytes(), signed, shape));
        }
        if shape == Shape::Altered {
            commit.push_str("altered\n");
        }
        let id = self.write_object(Kind::Commit, commit.into_bytes());
        self.commits.push(Commit { id, parents, signed, oddities, content, story });
        id
    }

    fn armor(&self, signer: usize, payload: &[u8], at: SystemTime, shape: Shape) -> String {
        let sign = |options: &[&str]| self.people.sign(signer, payload, at, options);
        match shape {
            Shape::Comment => sign(&["--comment", "hello"]),
            Shape::TextMode => sign(&["--textmode"]),
            Shape::Sha224 => sign(&["--digest-algo", "SHA224"]),
            Shape::BeforeTheKey => sign(&["--ignore-time-conflict", "--ignore-valid-from"]),
            Shape::Doubled => {
                let armor = sign(&[]);
                let packet = self.people.gpg(&["--dearmor"], armor.as_bytes());
                let armor = self.people.gpg(&["--enarmor"], &[packet.clone(), packet].concat());
                let armor = String::from_utf8(armor).unwrap().replace("PGP ARMORED FILE", "PGP SIGNATURE");
                let mut text = String::new();
                for line in armor.lines().filter(|line| !line.starts_with("Comment")) {
                    writeln!(text, "{line}").unwrap();
                }
                text
            }
            _ => sign(&[]),
        }
    }

    fn write_tree(&mut self, content: &Content) -> Oid {
        let mut files = vec![("edits".to_owned(), content.edits.to_string())];
        if content.policy {
            let mut ours = format!(
                "format: 1\nversion: {}\nfleet: {FLEET}\nref: {REF}\nprincipals: {{{}}}\n",
                content.version,
                content.members.keys().map(|person| self.principal(*person)).collect::<Vec<_>>().join(", "),
            );
            let names: Vec<_> = content.members.keys().map(|person| self.people.get(*person).name).collect();
            ours.push_str(&include_str!("rules.yaml").replace("EVERYONE", &names.join(", ")));
            let mut theirs = "version = 0\ncommit_goodlist = []\n".to_owned();
            for (person, form) in &content.members {
                let person = self.people.get(*person);
                let (name, cert) = (person.name, person.cert(*form));
                write!(
                    theirs,
                    "\n[authorization.{name}]\nsign_commit = true\nsign_tag = true\nsign_archive = true\nadd_user = true\n\
                     retire_user = true\naudit = true\nkeyring = \"\"\"\n{cert}\"\"\"\n"
                )
                .unwrap();
                files.push((format!("policy/keys/{name}.asc"), cert.to_owned()));
            }
            files.push(("policy/policy.yaml".to_owned(), ours));
            files.push(("openpgp-policy.toml".to_owned(), theirs));
        }
        self.write_directory(&files, "")
    }

    fn principal(&self, person: usize) -> String {
        let name = self.people.get(person).name;
        format!("{name}: {{openpgp: [keys/{name}.asc]}}")
    }

    /// Writes the tree of the files below `dir`, which is empty or ends in a slash.
    fn write_directory(&mut self, files: &[(String, String)], dir: &str) -> Oid {
        let mut tree = Tree::empty();
        for (path, content) in files.iter().filter(|(path, _)| path.starts_with(dir)) {
            let rest = &path[dir.len()..];
            let (name, kind, oid) = match rest.split_once('/') {
                Some((name, _)) if tree.entries.iter().any(|entry| entry.filename == name) => continue,
                Some((name, _)) => (name, EntryKind::Tree, self.write_directory(files, &format!("{dir}{name}/"))),
                None => (rest, EntryKind::Blob, self.write_object(Kind::Blob, content.clone().into_bytes())),
            };
            tree.entries.push(Entry { mode: kind.into(), filename: name.into(), oid });
        }
        tree.entries.sort();
        let mut data = Vec::new();
        gix::objs::WriteTo::write_to(&tree, &mut data).unwrap();
        self.write_object(Kind::Tree, data)
    }

    fn write_object(&mut self, kind: Kind, data: Vec<u8>) -> Oid {
        let id = self.git.objects.write_buf(kind, &data).unwrap();
        self.store.objects.insert(id, RawObject { kind, data });
        id
    }
}

/// The whole story, for whoever has to find out why the two differ.
impl fmt::Display for History<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, commit) in self.commits.iter().enumerate() {
            let on: Vec<_> = commit
                .parents
                .iter()
                .map(|parent| self.commits.iter().position(|commit| commit.id == *parent).unwrap().to_string())
                .collect();
            let members: Vec<_> = commit
                .content
                .members
                .iter()
                .map(|(person, form)| format!("{}: {form:?}", self.people.get(*person).name))
                .collect();
            let on = if on.is_empty() { String::new() } else { format!(" on {}", on.join(" and ")) };
            writeln!(f, "{number} {}{on}: {}; then {}", commit.id, commit.story, members.join(", "))?;
        }
        Ok(())
    }
}
