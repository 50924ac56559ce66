// SPDX-License-Identifier: Apache-2.0
//! Files of an authentic tree to desired state: every parse and every cross-file check.
//!
//! Reading never stops at a fault: what is faulty is left out and the rest read, so that one run reports all that is
//! wrong. Nothing here touches a host, except that [`Facts`] are gathered from one.

mod checks;
mod effects;
mod facts;
mod layer;
mod maintenance;
mod merge;
mod repo;
pub mod rollout;
pub mod schema;
mod template;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use handlebars::Context;
use serde_json::{Map, Value as Json};

use crate::model::fault::closest;
use crate::model::{Declared, Digest, Fault, Faults, HostState, Limits, Location, Mode, ObjectId, Origin, RepoFiles};
use crate::resources::{Declarations, Desired, Resource};
use crate::trust::AuthenticTree;
use crate::yaml::{self, Entry};

pub use checks::is_host_name;
pub use effects::{Effects, EveryHost, OneHost};
pub use facts::{Facts, Os};

use layer::{Layer, Sort};
use repo::{HostContents, Repo};
use rollout::Rollout;

/// What [`check`] found.
#[derive(Clone, Debug, Default, serde::Serialize, schemars::JsonSchema)]
pub struct Checked {
    pub hosts: usize,
    /// Objects of all hosts together.
    pub objects: usize,
    pub faults: Faults,
    /// What is right today and may not be for long: keys of the policy that end, principals without a role.
    pub warnings: Faults,
}

/// Checks a repo for every host, with sample facts.
pub fn check(files: &dyn RepoFiles) -> Checked {
    let mut checked = Checked::default();
    let repo = Repo::of(files);
    if let Err(faults) = repo.list() {
        return Checked { faults, ..checked };
    }
    checked.faults.extend(repo.top().err().into_iter().flatten());
    checked.faults.extend(checks::of_repo(&repo));
    // Profiles that no host uses too.
    for name in repo.names("profiles") {
        match repo.layer(&format!("profiles/{name}.yaml"), Sort::Profile) {
            Ok(layer) => checked.faults.extend(layer.iter().flat_map(|layer| layer.faults.clone())),
            Err(faults) => checked.faults.extend(faults),
        }
    }
    let mut labels = BTreeMap::new();
    for host in repo.names("hosts") {
        checked.hosts += 1;
        match compile_host(&repo, host, &Facts::sample(host)) {
            Ok((own, desired)) => {
                checked.objects += desired.objects().len();
                labels.insert(host, own);
            }
            Err(faults) => checked.faults.extend(faults),
        }
    }
    // Of a host with faults nobody can tell which ring it is in.
    if labels.len() == checked.hosts {
        let (faults, warnings) = rollout::idle_rings(&repo, &labels);
        checked.faults.extend(faults);
        checked.warnings.extend(warnings);
    }
    checked
}

/// Returns the id of a repo's fleet and the names of its hosts, without looking into what each shall be.
///
/// # Errors
/// The repo cannot be listed, or its top file is faulty.
pub fn inventory(files: &dyn RepoFiles) -> Result<(String, Vec<String>), Faults> {
    let repo = Repo::of(files);
    repo.list()?;
    let hosts = repo.names("hosts").filter(|name| is_host_name(name)).map(str::to_owned).collect();
    Ok((repo.top()?.0.fleet, hosts))
}

/// Compiles the desired state of one host from a tree whose signers are proven.
///
/// # Errors
/// Every fault that concerns the host, each where it was written.
pub fn compile(tree: &AuthenticTree<'_>, host: &str, facts: &Facts) -> Result<Desired, Faults> {
    compile_files(tree, host, facts)
}

/// Compiles from files of which nothing is proven: private, so that only an authentic tree becomes desired state.
fn compile_files(files: &dyn RepoFiles, host: &str, facts: &Facts) -> Result<Desired, Faults> {
    compile_repo(&Repo::of(files), host, facts).map(|compiled| compiled.desired)
}

/// Compiles one host of a repo that is sound as a whole.
fn compile_repo(repo: &Repo<'_>, host: &str, facts: &Facts) -> Result<Compiled, Faults> {
    match (repo.top(), compile_host(repo, host, facts)) {
        (Ok((top, _)), Ok((labels, desired))) => {
            let desired = Desired { limits: top.limits.clone().unwrap_or_default(), ..desired };
            Ok(Compiled { rollout: top.rollout, limits: top.limits, labels, desired })
        }
        (top, compiled) => {
            let mut faults = Faults::default();
            faults.extend(top.err().into_iter().flatten());
            faults.extend(compiled.err().into_iter().flatten());
            Err(faults)
        }
    }
}

/// Returns the labels of a host, by which rules of the policy choose hosts.
///
/// # Errors
/// The host has no file, or the file is faulty.
pub fn labels(files: &dyn RepoFiles, host: &str) -> Result<BTreeMap<String, String>, Faults> {
    let repo = Repo::of(files);
    let layer = host_layer(&repo, host)?;
    layer.faults.clone().or(layer.labels.clone())
}

/// Returns the names of all hosts, sorted.
///
/// # Errors
/// The tree cannot be listed.
pub fn hosts(files: &dyn RepoFiles) -> Result<Vec<String>, Faults> {
    let repo = Repo::of(files);
    repo.list()?;
    Ok(repo.names("hosts").map(str::to_owned).collect())
}

/// Returns the name of the fleet that the repo is for.
///
/// # Errors
/// `hostwrit.yaml` is missing or faulty.
pub fn fleet(files: &dyn RepoFiles) -> Result<String, Faults> {
    Repo::of(files).top().map(|(top, _)| top.fleet)
}

/// What the repo says of one host.
struct Compiled {
    rollout: Option<Rollout>,
    limits: Option<Limits>,
    labels: Labels,
    desired: Desired,
}

type Labels = BTreeMap<String, String>;

impl Compiled {
    /// Returns what rights go by. The rings are an object like the labels: whoever may change them may have others not wait.
    /// So are the limits.
    fn state(&self) -> HostState {
        let mut objects = self.desired.digests();
        objects.extend(self.rollout.as_ref().map(|rollout| (Rollout::object(), rollout.digest())));
        objects.extend(self.limits.as_ref().map(|limits| {
            // The name is that of the right to go past the limit once.
            let digest = Digest::of(&serde_json::to_vec(limits).unwrap_or_default());
            (ObjectId::new("limit", "removals"), digest)
        }));
        let absent =
            self.desired.objects().into_iter().filter(|object| object.absent).map(|object| object.id).collect();
        HostState { labels: self.labels.clone(), objects, absent }
    }
}

fn compile_host(repo: &Repo<'_>, host: &str, facts: &Facts) -> Result<(Labels, Desired), Faults> {
    let own = host_layer(repo, host)?;
    let mut faults = own.faults.clone();
    let mut layers = Vec::new();
    let mut is_whole = true;
    for (name, at) in &own.profiles {
        match repo.layer(&format!("profiles/{name}.yaml"), Sort::Profile) {
            Ok(Some(layer)) => {
                faults.extend(layer.faults.clone());
                layers.push(layer);
            }
            Ok(None) => {
                faults.push(no_profile(repo, name, at));
                is_whole = false;
            }
            Err(found) => {
                faults.extend(found);
                is_whole = false;
            }
        }
    }
    layers.push(Rc::clone(&own));
    // Without a whole layer, templates and references would only add faults that follow from the first.
    if !is_whole || layers.iter().any(|layer| !layer.is_readable) {
        return Err(faults);
    }

    let variables = variables(&layers, facts, &mut faults);
    let contents = HostContents { repo, variables };
    let mut compiler = Compiler { layers: &layers, contents: &contents, faults };
    let mut desired = Desired::collect(&mut compiler);
    let mut faults = compiler.faults;
    let maintenance = merge::maintenance(&layers, &mut faults);
    // What a fault has left out would be missed by objects that refer to it.
    if faults.is_empty() {
        faults.extend(checks::of_host(&desired));
        faults.extend(maintenance.iter().flat_map(|entry| checks::exceptions(&desired, entry)));
    }
    // What is wrong with it is a fault of its layer already.
    desired.maintenance = maintenance.and_then(|entry| maintenance::read(&entry).ok());
    faults.or((own.labels.clone(), desired))
}

/// Returns the path of a host's file.
fn host_file(host: &str) -> String {
    format!("hosts/{host}.yaml")
}

fn host_layer(repo: &Repo<'_>, host: &str) -> Result<Rc<Layer>, Faults> {
    let path = host_file(host);
    if let Some(layer) = repo.layer(&path, Sort::Host)? {
        return Ok(layer);
    }
    let known: Vec<&str> = repo.names("hosts").collect();
    let fault = Fault::new(Location::file(&path), format!("the repo has no host \"{host}\""));
    Err(match known.as_slice() {
        [] => fault.hint("it has no hosts at all; a host is a file hosts/NAME.yaml"),
        [first @ .., last] if first.len() < 10 => {
            let first: String = first.iter().map(|name| format!("{name}, ")).collect();
            fault.hint(format!("its hosts are {first}{last}"))
        }
        many => match closest(host, many.iter().copied()) {
            Some(near) => fault.hint(format!("it has {} hosts; did you mean \"{near}\"?", many.len())),
            None => fault.hint(format!("it has {} hosts, and none that is called like it", many.len())),
        },
    }
    .into())
}

fn no_profile(repo: &Repo<'_>, name: &str, at: &Location) -> Fault {
    let fault = Fault::new(at.clone(), format!("there is no profile \"{name}\""));
    match closest(name, repo.names("profiles")) {
        Some(near) => fault.hint(format!("did you mean \"{near}\"?")),
        None => fault.hint(format!("a profile is a file; this one would be profiles/{name}.yaml")),
    }
}

/// Returns what templates may use.
fn variables(layers: &[Rc<Layer>], facts: &Facts, faults: &mut Faults) -> Context {
    let mut vars = Map::new();
    for entry in merge::variables(layers, faults) {
        // What cannot be read is a fault of its layer already; here it only must not be missing as well.
        vars.insert(entry.key, yaml::from_node(&entry.value).unwrap_or_default());
    }
    let labels: Map<String, Json> = layers
        .iter()
        .flat_map(|layer| &layer.labels)
        .map(|(key, value)| (key.clone(), Json::String(value.clone())))
        .collect();
    // Facts are strings and numbers under fixed keys; they cannot fail to become JSON.
    let facts = serde_json::to_value(facts).unwrap_or_default();
    let all = [("vars", Json::Object(vars)), ("labels", Json::Object(labels)), ("facts", facts)];
    Context::from(Json::Object(all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
}

/// Gives the objects of each kind, merged and resolved, and collects what is wrong with them.
struct Compiler<'c, 'f> {
    layers: &'c [Rc<Layer>],
    contents: &'c HostContents<'c, 'f>,
    faults: Faults,
}

impl Compiler<'_, '_> {
    /// Reads and checks one merged object. The specification of an absent object is empty; resolving it checks the name.
    fn resolve<R: Resource>(&self, name: &str, fields: &[Entry], origin: &Origin) -> Result<R::Desired, Faults> {
        let (spec, mut faults) = layer::specification::<R>(&origin.object, fields);
        if faults.is_empty()
            && let Some(spec) = spec
        {
            return R::resolve(name, spec, origin, self.contents);
        }
        // The other fields may be faulty too, and so may the name. What the object as a whole lacks, or a field with a
        // fault inside, it may lack only because of that fault.
        let field_at = |place: &Location| {
            let before = fields.iter().filter(|field| field.key_at.file == place.file && field.key_at <= *place);
            before.max_by_key(|field| &field.key_at).map(|field| field.at().clone())
        };
        let known: BTreeSet<Location> = faults.iter().filter_map(|fault| field_at(&fault.at)).collect();
        let of_fields = spec.and_then(|spec| R::resolve(name, spec, origin, self.contents).err());
        let is_new = |fault: &Fault| fault.at != origin.object && !known.contains(&fault.at);
        faults.extend(of_fields.into_iter().flatten().filter(is_new));
        let empty = layer::specification::<R>(&origin.object, &[]).0;
        faults.extend(empty.and_then(|spec| R::resolve(name, spec, origin, self.contents).err()).into_iter().flatten());
        Err(faults)
    }
}

impl Declarations for Compiler<'_, '_> {
    fn of<R: Resource>(&mut self) -> Vec<Declared<R::Desired>> {
        let mut declared = Vec::new();
        for (name, merged) in merge::objects(self.layers, R::KEY, R::KIND, &mut self.faults) {
            let fields = merged.fields.iter().map(|field| (field.key.clone(), field.at().clone())).collect();
            let origin = Origin { object: merged.at, fields };
            match self.resolve::<R>(&name, &merged.fields, &origin) {
                Ok(desired) => {
                    let is = |key| layer::is_true(&merged.fields, key);
                    let mode = if is(layer::OBSERVE) { Mode::Observe } else { Mode::Enforce };
                    let want = if is(layer::ABSENT) { None } else { Some(desired) };
                    declared.push(Declared { name, mode, want, origin });
                }
                Err(faults) => self.faults.extend(faults),
            }
        }
        declared
    }
}
