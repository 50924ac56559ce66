// SPDX-License-Identifier: Apache-2.0
//! What a commit means for hosts: the states that rights are judged by, compiled only where something changed.
//!
//! A compile is remembered with the files that it asked for, each with the id of its content. Where all of them are the
//! same in another tree, so is the result, whatever else that tree holds.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use crate::model::files::FileError;
use crate::model::git::Oid;
use crate::model::{Digest, Faults, HostState, RepoFiles};
use crate::resources::Desired;
use crate::trust::{AuthenticTree, Compile};

use super::repo::{Asked, Repo};
use super::{Compiled, Facts, compile_repo, host_file};

#[cfg(test)]
mod tests;

/// The states of the judged hosts, in one tree after the other.
pub struct Effects<J> {
    judged: J,
    memory: Memory,
}

/// One host, with its own facts.
pub struct OneHost {
    name: String,
    facts: Facts,
}

/// Every host of each tree, with sample facts: what a template makes of other facts is not seen.
pub struct EveryHost;

/// Which hosts are judged.
pub trait Judged {
    /// How many states are remembered of each host: histories go back and forth between branches.
    const REMEMBERED: usize;

    /// Returns the judged hosts that a tree may have; `None` if the tree cannot be listed.
    fn hosts(&self, repo: &Repo<'_>) -> Option<Vec<(String, Facts)>>;
}

impl Judged for OneHost {
    const REMEMBERED: usize = 32;

    fn hosts(&self, _: &Repo<'_>) -> Option<Vec<(String, Facts)>> {
        Some(vec![(self.name.clone(), self.facts.clone())])
    }
}

impl Judged for EveryHost {
    // There may be a thousand hosts.
    const REMEMBERED: usize = 4;

    fn hosts(&self, repo: &Repo<'_>) -> Option<Vec<(String, Facts)>> {
        repo.list().ok()?;
        let hosts = repo.names("hosts").map(|name| (name.to_owned(), Facts::sample(name))).collect();
        // That the repo was listed for its hosts says nothing of any one of them.
        repo.take_asked();
        Some(hosts)
    }
}

impl Effects<OneHost> {
    /// Judges what commits mean for one host.
    pub fn of_host(name: &str, facts: Facts) -> Self {
        Self { judged: OneHost { name: name.to_owned(), facts }, memory: Memory::default() }
    }

    /// Compiles the host's desired state, as [`compile`](super::compile) does, and remembers what it means: when the
    /// same tree is judged after this, it is not compiled again.
    ///
    /// # Errors
    /// Every fault that concerns the host, each where it was written.
    pub fn desired(&mut self, tree: &AuthenticTree<'_>) -> Result<Desired, Faults> {
        let OneHost { name, facts } = &self.judged;
        // Where no commit is new, none will be judged, and the digests of all contents would be for nothing.
        if tree.signers().is_empty() {
            self.memory.compiles += 1;
            return super::compile(tree, name, facts);
        }
        self.desired_of(tree)
    }

    /// Returns a digest of all that a tree wants of the host; `None` where the repo is unsound for it.
    pub fn wants(&mut self, tree: &AuthenticTree<'_>) -> Option<Digest> {
        let OneHost { name, facts } = &self.judged;
        let state = self.memory.state::<OneHost>(&Repo::of(tree), &Ids::of(tree), name, facts)?;
        Some(state.digest())
    }

    fn desired_of(&mut self, tree: &dyn Tree) -> Result<Desired, Faults> {
        let OneHost { name, facts } = &self.judged;
        let compiled = self.memory.compile::<OneHost>(&Repo::of(tree), &Ids::of(tree), name, facts).0;
        compiled.map(|compiled| compiled.desired)
    }
}

impl Effects<EveryHost> {
    /// Judges what commits mean for every host. A host without a file in a tree has no state there.
    pub fn of_fleet() -> Self {
        Self { judged: EveryHost, memory: Memory::default() }
    }
}

impl<J: Judged> Effects<J> {
    /// Returns how often a host was compiled, for tests and measurements.
    pub fn compiles(&self) -> u64 {
        self.memory.compiles
    }

    fn hosts_of(&mut self, tree: &dyn Tree) -> BTreeMap<String, Option<Rc<HostState>>> {
        let (repo, ids) = (Repo::of(tree), Ids::of(tree));
        match self.judged.hosts(&repo) {
            Some(hosts) => hosts
                .into_iter()
                .map(|(name, facts)| {
                    let state = self.memory.state::<J>(&repo, &ids, &name, &facts);
                    (name, state)
                })
                .collect(),
            // Nothing is known of the tree, so it is unsound for all.
            None => self.memory.states.keys().map(|name| (name.clone(), None)).collect(),
        }
    }
}

impl<J: Judged> Compile for Effects<J> {
    fn hosts(&mut self, tree: &AuthenticTree<'_>) -> BTreeMap<String, Option<Rc<HostState>>> {
        self.hosts_of(tree)
    }
}

/// Files that have ids which stand for their content.
trait Tree: RepoFiles {
    /// Returns the id of the tree as a whole.
    fn id(&self) -> Oid;

    /// Returns the id of the file at `path`; `None` if there is none.
    fn file_id(&self, path: &str) -> Result<Option<Oid>, FileError>;
}

impl Tree for AuthenticTree<'_> {
    fn id(&self) -> Oid {
        *self.tree()
    }

    fn file_id(&self, path: &str) -> Result<Option<Oid>, FileError> {
        AuthenticTree::file_id(self, path)
    }
}

/// The ids of one tree's files, each looked up once however many hosts use the file.
struct Ids<'t> {
    tree: &'t dyn Tree,
    known: RefCell<HashMap<String, Option<Oid>>>,
}

impl<'t> Ids<'t> {
    fn of(tree: &'t dyn Tree) -> Self {
        Self { tree, known: RefCell::default() }
    }

    fn get(&self, path: &str) -> Result<Option<Oid>, FileError> {
        if let Some(id) = self.known.borrow().get(path) {
            return Ok(*id);
        }
        let id = self.tree.file_id(path)?;
        self.known.borrow_mut().insert(path.to_owned(), id);
        Ok(id)
    }
}

/// What was compiled before.
#[derive(Default)]
struct Memory {
    /// By host; the one that was used last is the first.
    states: HashMap<String, VecDeque<Known>>,
    compiles: u64,
}

impl Memory {
    /// Returns the state of a host, compiled if it is not known; `None` where the repo is unsound for it.
    fn state<J: Judged>(&mut self, repo: &Repo<'_>, ids: &Ids<'_>, host: &str, facts: &Facts) -> Option<Rc<HostState>> {
        match ids.get(&host_file(host)) {
            Ok(Some(_)) => {}
            Ok(None) => return Some(Rc::default()),
            Err(_) => return None,
        }
        if let Some(states) = self.states.get_mut(host)
            && let Some(place) = states.iter().position(|known| known.holds(ids))
            && let Some(known) = states.remove(place)
        {
            let state = known.state.clone();
            states.push_front(known);
            return state;
        }
        self.compile::<J>(repo, ids, host, facts).1
    }

    /// Compiles one host and remembers what it means.
    fn compile<J: Judged>(
        &mut self,
        repo: &Repo<'_>,
        ids: &Ids<'_>,
        host: &str,
        facts: &Facts,
    ) -> (Result<Compiled, Faults>, Option<Rc<HostState>>) {
        self.compiles += 1;
        let compiled = compile_repo(repo, host, facts);
        let state = compiled.as_ref().ok().map(|compiled| Rc::new(compiled.state()));
        if let Some(known) = Known::of(state.clone(), repo.take_asked(), ids) {
            let states = self.states.entry(host.to_owned()).or_default();
            states.push_front(known);
            states.truncate(J::REMEMBERED);
        }
        (compiled, state)
    }
}

/// The state of a host, and all that it was made of.
struct Known {
    inputs: Vec<(String, Option<Oid>)>,
    /// The one tree that the state is known of: where the compile looked at which files there are.
    tree: Option<Oid>,
    state: Option<Rc<HostState>>,
}

impl Known {
    /// Returns what is worth remembering: nothing if a file could not be read, for it may be read the next time.
    fn of(state: Option<Rc<HostState>>, asked: Asked, ids: &Ids<'_>) -> Option<Self> {
        let Asked { paths, listing, failed } = asked;
        if failed {
            return None;
        }
        let mut inputs = Vec::with_capacity(paths.len());
        for path in paths {
            let id = ids.get(&path).ok()?;
            inputs.push((path, id));
        }
        Some(Self { inputs, tree: listing.then(|| ids.tree.id()), state })
    }

    /// Whether a compile in the tree of `ids` would give the same.
    fn holds(&self, ids: &Ids<'_>) -> bool {
        let is_same = |(path, id): &(String, Option<Oid>)| ids.get(path).is_ok_and(|now| now == *id);
        self.tree.is_none_or(|tree| tree == ids.tree.id()) && self.inputs.iter().all(is_same)
    }
}
