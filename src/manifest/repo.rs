// SPDX-License-Identifier: Apache-2.0
//! The files of the infra repo, each read and parsed once, however many hosts use it, and only when it is asked for.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use handlebars::Context;
use serde::Deserialize;

use crate::model::fault::closest;
use crate::model::{Fault, Faults, Limits, Location, RepoFiles, chain};
use crate::resources::Contents;
use crate::resources::firewall::{Network, Place};
use crate::yaml::{self, Node, Value};

use super::layer::{Layer, Sort};
use super::rollout::Rollout;
use super::template::{self, Templates};
use super::zones;

/// The one version of the format that is read.
const FORMAT: u32 = 1;
/// The file that marks the top of an infra repo.
pub const TOP: &str = "hostwrit.yaml";

/// What `hostwrit.yaml` says.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Top {
    /// Version of the repo's format: 1.
    format: u32,
    /// Name of the fleet, the same as in the policy and in each host's configuration.
    pub fleet: String,
    /// In which order the hosts follow a new commit. Without it all do at once.
    pub rollout: Option<Rollout>,
    /// How much one run may do to a host, unless the commit itself allows more.
    pub limits: Option<Limits>,
    /// Networks by name, for ports, egress and the like: an address, or a network in CIDR form.
    pub zones: Option<BTreeMap<String, Vec<String>>>,
}

/// What was made of each path.
type Made<T> = RefCell<HashMap<String, T>>;

/// The infra repo, as far as it was read.
pub struct Repo<'f> {
    files: &'f dyn RepoFiles,
    paths: OnceCell<BTreeSet<String>>,
    layers: Made<Rc<Layer>>,
    contents: Made<Result<Arc<[u8]>, String>>,
    templates: Templates,
    compiled: Made<Result<Rc<template::Compiled>, String>>,
    zones: OnceCell<Result<BTreeMap<String, Vec<Network>>, String>>,
    labelled: Made<Result<Vec<Network>, String>>,
    asked: RefCell<Asked>,
}

/// What was asked of the repo, whether or not it was read before: all that the answers can have been made of.
#[derive(Debug, Default)]
pub struct Asked {
    /// Every path whose file was wanted, whether it exists or not.
    pub paths: BTreeSet<String>,
    /// Which other files there are was looked up too: for a hint.
    pub listing: bool,
    /// A file could not be read, which says nothing of its content.
    pub failed: bool,
}

impl<'f> Repo<'f> {
    /// Returns the repo of these files; nothing is read yet.
    pub fn of(files: &'f dyn RepoFiles) -> Self {
        Self {
            files,
            paths: OnceCell::new(),
            layers: RefCell::default(),
            contents: RefCell::default(),
            templates: Templates::new(),
            compiled: RefCell::default(),
            zones: OnceCell::new(),
            labelled: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// Returns the files themselves.
    pub fn files(&self) -> &'f dyn RepoFiles {
        self.files
    }

    /// Lists the repo, for those who cannot do without.
    ///
    /// # Errors
    /// The tree cannot be listed.
    pub fn list(&self) -> Result<(), Faults> {
        if self.paths.get().is_none() {
            let paths = self.files.paths().map_err(|error| unreadable(&error))?;
            // It was empty a moment ago.
            let _ = self.paths.set(paths.into_iter().collect());
        }
        Ok(())
    }

    /// Returns the paths of all files, sorted; none if the tree cannot be listed, which [`Repo::list`] tells.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.asked.borrow_mut().listing = true;
        let _ = self.list();
        self.paths.get().into_iter().flatten().map(String::as_str)
    }

    /// Returns what was asked since the last time, and forgets it.
    pub fn take_asked(&self) -> Asked {
        self.asked.take()
    }

    fn ask(&self, path: &str) {
        let mut asked = self.asked.borrow_mut();
        if !asked.paths.contains(path) {
            asked.paths.insert(path.to_owned());
        }
    }

    /// Returns the names in a folder of YAML files: `web1` for `hosts/web1.yaml`.
    pub fn names(&self, folder: &str) -> impl Iterator<Item = &str> {
        let name = move |path: &'_ str| -> Option<(usize, usize)> {
            let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
            let name = rest.strip_suffix(".yaml")?;
            let start = path.len() - rest.len();
            (!name.is_empty() && !name.contains('/')).then_some((start, start + name.len()))
        };
        self.paths().filter_map(move |path| name(path).and_then(|(start, end)| path.get(start..end)))
    }

    /// Reads `hostwrit.yaml` and returns what it says and how it is written.
    ///
    /// # Errors
    /// The file is missing, faulty or of a format that is not known.
    pub fn top(&self) -> Result<(Top, Node), Faults> {
        let Some(text) = self.read(TOP)? else {
            return Err(Fault::new(Location::file(TOP), "the file is missing")
                .hint("it marks the top of an infra repo and holds two lines: format: 1 and fleet: NAME")
                .into());
        };
        let node = yaml::parse(TOP, &text)?;
        let top: Result<Top, _> = yaml::from_node(&node);
        match (top, node.get("format")) {
            (Ok(top @ Top { format: FORMAT, .. }), _) => {
                let rollout = top.rollout.as_ref().zip(node.get("rollout"));
                let mut faults = rollout.map(|(rollout, section)| rollout.faults(section)).unwrap_or_default();
                faults.extend(node.get("zones").map(zones::faults).unwrap_or_default());
                faults.or((top, node))
            }
            // Whatever else is wrong: another format may name its fields otherwise.
            (_, Some(Node { value: Value::Number(format), at })) if format.parse() != Ok(FORMAT) => {
                Err(Fault::new(at.clone(), format!("format {format} is not known"))
                    .hint(format!("this hostwrit reads format {FORMAT}"))
                    .into())
            }
            (Ok(top), _) => Ok((top, node)),
            (Err(faults), _) => Err(faults),
        }
    }

    /// Returns a host file or profile, or `None` if there is no such file. Its faults are in the layer.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn layer(&self, path: &str, sort: Sort) -> Result<Option<Rc<Layer>>, Faults> {
        self.ask(path);
        if let Some(layer) = self.layers.borrow().get(path) {
            return Ok(Some(Rc::clone(layer)));
        }
        let Some(text) = self.read(path)? else { return Ok(None) };
        let layer = Rc::new(Layer::parse(path, &text, sort));
        self.layers.borrow_mut().insert(path.to_owned(), Rc::clone(&layer));
        Ok(Some(layer))
    }

    /// Returns the content of a file, or `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Faults> {
        self.ask(path);
        // Where the files are folders of a disk, a name in a host file must not lead out of them.
        if !is_below(path) || self.paths.get().is_some_and(|paths| !paths.contains(path)) {
            return Ok(None);
        }
        self.files.read(path).map_err(|error| {
            self.asked.borrow_mut().failed = true;
            unreadable(&error)
        })
    }

    /// Returns the content of `FOLDER/NAME`, or says what is wrong with the name.
    fn content(&self, folder: &str, name: &str) -> Result<Arc<[u8]>, String> {
        if !is_below(name) {
            return Err(format!("\"{name}\" is not a path below {folder}/; write it like nginx/site.conf"));
        }
        let path = format!("{folder}/{name}");
        self.ask(&path);
        if let Some(content) = self.contents.borrow().get(&path) {
            // The only fault that is kept is that of a missing file, and its hint comes from the listing.
            self.asked.borrow_mut().listing |= content.is_err();
            return content.clone();
        }
        let content = match self.read(&path) {
            Ok(Some(bytes)) => Ok(bytes.into()),
            Ok(None) => Err(self.no_file(folder, name)),
            Err(faults) => return Err(faults.to_string()),
        };
        self.contents.borrow_mut().insert(path, content.clone());
        content
    }

    fn no_file(&self, folder: &str, name: &str) -> String {
        let below = |path: &'_ str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let known = self.paths().filter(|path| below(path)).filter_map(|path| path.get(folder.len() + 1..));
        match closest(name, known) {
            Some(near) => format!("the repo has no file {folder}/{name}; did you mean \"{near}\"?"),
            None => format!("the repo has no file {folder}/{name}"),
        }
    }

    fn compiled(&self, name: &str) -> Result<Rc<template::Compiled>, String> {
        let source = self.content("templates", name)?;
        if let Some(template) = self.compiled.borrow().get(name) {
            return template.clone();
        }
        let template = self.templates.compile(&format!("templates/{name}"), &source).map(Rc::new);
        self.compiled.borrow_mut().insert(name.to_owned(), template.clone());
        template
    }
}

/// Addresses by the words of the repo.
impl Repo<'_> {
    fn addresses(&self, place: &Place) -> Result<Vec<Network>, String> {
        match place {
            Place::Zone(name) => self.zone(name),
            Place::Host(name) => self.host_addresses(name),
            Place::Label { key, value } => {
                // Which hosts there are may change with any commit.
                self.asked.borrow_mut().listing = true;
                let label = format!("{key}={value}");
                if let Some(known) = self.labelled.borrow().get(&label) {
                    return known.clone();
                }
                let found = self.label_addresses(key, value);
                self.labelled.borrow_mut().insert(label, found.clone());
                found
            }
        }
    }

    fn zone(&self, name: &str) -> Result<Vec<Network>, String> {
        self.ask(TOP);
        let read = || match self.top() {
            Ok((top, _)) => Ok(zones::networks(top.zones.unwrap_or_default())),
            Err(_) => Err(format!("{TOP}, which holds the zones, is faulty")),
        };
        let zones = self.zones.get_or_init(read).as_ref().map_err(Clone::clone)?;
        let near = || match closest(name, zones.keys().map(String::as_str)) {
            Some(near) => format!("; did you mean \"{near}\"?"),
            None => format!("; a zone is written in {TOP} under zones"),
        };
        zones.get(name).cloned().ok_or_else(|| format!("there is no zone \"{name}\"{}", near()))
    }

    fn host_addresses(&self, host: &str) -> Result<Vec<Network>, String> {
        let path = format!("hosts/{host}.yaml");
        match self.layer(&path, Sort::Host).map_err(|faults| faults.to_string())? {
            None => Err(match closest(host, self.names("hosts")) {
                Some(near) => format!("the repo has no host \"{host}\"; did you mean \"{near}\"?"),
                None => format!("the repo has no host \"{host}\""),
            }),
            Some(layer) => match &layer.addresses {
                Some(addresses) if addresses.is_empty() => {
                    Err(format!("nobody knows the addresses of host \"{host}\"; write them in {path} under addresses"))
                }
                Some(addresses) => Ok(addresses.clone()),
                None => Err(format!("the addresses in {path} are faulty")),
            },
        }
    }

    fn label_addresses(&self, key: &str, value: &str) -> Result<Vec<Network>, String> {
        let mut all = Vec::new();
        for host in self.names("hosts").map(str::to_owned).collect::<Vec<_>>() {
            let layer = self.layer(&format!("hosts/{host}.yaml"), Sort::Host).map_err(|faults| faults.to_string())?;
            let Some(layer) = layer else { continue };
            if !layer.is_readable {
                return Err(format!("hosts/{host}.yaml is faulty, so nobody knows its labels"));
            }
            if layer.labels.get(key).is_some_and(|label| label == value) {
                all.extend(self.host_addresses(&host)?);
            }
        }
        if all.is_empty() { Err(format!("no host has the label {key}: {value}")) } else { Ok(all) }
    }
}

/// The contents of the repo as one host sees them.
pub struct HostContents<'r, 'f> {
    pub repo: &'r Repo<'f>,
    pub variables: Context,
}

impl Contents for HostContents<'_, '_> {
    fn source(&self, path: &str) -> Result<Arc<[u8]>, String> {
        self.repo.content("files", path)
    }

    fn template(&self, path: &str) -> Result<Arc<[u8]>, String> {
        let template = self.repo.compiled(path)?;
        self.repo.templates.render(&format!("templates/{path}"), &template, &self.variables).map(Into::into)
    }

    fn addresses(&self, place: &Place) -> Result<Vec<Network>, String> {
        self.repo.addresses(place)
    }
}

/// Whether this is a path of names alone, none of which leads up or nowhere.
fn is_below(path: &str) -> bool {
    !path.split('/').any(|part| matches!(part, "" | "." | ".."))
}

fn unreadable(error: &crate::model::files::FileError) -> Faults {
    let message = format!("the file cannot be read: {}", chain(error.source.as_ref()));
    Fault::new(Location::file(&error.path), message).into()
}
