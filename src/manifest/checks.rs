// SPDX-License-Identifier: Apache-2.0
//! Checks across objects and across files: one function each, and one line in one of the two lists.

use std::collections::BTreeMap;

use crate::model::fault::closest;
use crate::model::{Declared, Fault, Faults, Location, ObjectId};
use crate::resources::egress::Egress;
use crate::resources::file::{File, What};
use crate::resources::firewall::Ports;
use crate::resources::port::Port;
use crate::resources::{Desired, Resource, triggers};
use crate::{trust, yaml};

use super::maintenance;
use super::repo::Repo;

const POLICY: &str = "policy/policy.yaml";

type RepoCheck = fn(&Repo<'_>, &mut Faults);
type HostCheck = fn(&Desired, &mut Faults);

/// True of the repo, whichever the host.
const REPO_CHECKS: &[RepoCheck] = &[names_of_hosts_and_profiles, files_that_would_be_overlooked, policy, fleet];
/// True of the desired state of one host.
const HOST_CHECKS: &[HostCheck] = &[
    references_to_objects,
    users_of_one_number,
    groups_of_one_number,
    files_inside_of_what_is_no_directory,
    ports_once,
    block_lists_have_files,
    checks_without_a_way,
];

/// Checks what does not depend on a host.
pub fn of_repo(repo: &Repo<'_>) -> Faults {
    let mut faults = Faults::default();
    REPO_CHECKS.iter().for_each(|check| check(repo, &mut faults));
    faults
}

/// Checks the desired state of one host.
pub fn of_host(desired: &Desired) -> Faults {
    let mut faults = Faults::default();
    HOST_CHECKS.iter().for_each(|check| check(desired, &mut faults));
    faults
}

/// Hosts are named as hosts are; profiles too, so that both can be written in lists and commands without quotes.
fn names_of_hosts_and_profiles(repo: &Repo<'_>, faults: &mut Faults) {
    for folder in ["hosts", "profiles"] {
        for name in repo.names(folder).filter(|name| !is_host_name(name)) {
            let at = Location::file(&format!("{folder}/{name}.yaml"));
            faults.push(
                Fault::new(at, format!("\"{name}\" cannot be the name of a {}", folder.trim_end_matches('s'))).hint(
                    "names consist of letters, digits, dots and hyphens, and begin and end with a letter or digit",
                ),
            );
        }
    }
}

/// A check that checks nothing would always pass.
fn checks_without_a_way(desired: &Desired, faults: &mut Faults) {
    for declared in &desired.checks {
        if declared.want.as_ref().is_some_and(|want| want.way.is_none()) {
            let what = format!("nothing says how to check {}", declared.name);
            faults.push(
                Fault::new(declared.origin.object.clone(), what).hint("write one of http, tcp, unix and command"),
            );
        }
    }
}

/// Whether this can be the name of a host or profile.
pub fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|part| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        })
}

/// A host file that is not seen is a host that silently gets nothing.
fn files_that_would_be_overlooked(repo: &Repo<'_>, faults: &mut Faults) {
    for path in repo.paths() {
        let Some((folder @ ("hosts" | "profiles"), rest)) = path.split_once('/') else { continue };
        let fault = |what: &str| Fault::new(Location::file(path), what.to_owned());
        if rest.ends_with(".yml") {
            faults.push(fault("the file is not read").hint("name it .yaml"));
        } else if rest.contains('/') && rest.ends_with(".yaml") {
            faults.push(fault("the file is not read").hint(format!("put it directly into {folder}/")));
        }
    }
}

/// The policy is judged by [`trust`]; here it is only read, with the keys that it names.
fn policy(repo: &Repo<'_>, faults: &mut Faults) {
    faults.extend(trust::policy::check(repo.files()).err().into_iter().flatten());
}

/// The repo and its policy are for the same fleet.
fn fleet(repo: &Repo<'_>, faults: &mut Faults) {
    // What is wrong with either file is found where it is read.
    let (Ok((top, _)), Ok(Some(text))) = (repo.top(), repo.read(POLICY)) else { return };
    let own = top.fleet;
    let Ok(policy) = yaml::parse(POLICY, &text) else { return };
    if let Some(yaml::Node { value: yaml::Value::String(fleet), at }) = policy.get("fleet")
        && *fleet != own
    {
        faults.push(
            Fault::new(at.clone(), format!("the policy is for fleet \"{fleet}\", and hostwrit.yaml for \"{own}\""))
                .hint("write the same name in both"),
        );
    }
}

/// A service that waits for an object that is not declared would wait for ever.
fn references_to_objects(desired: &Desired, faults: &mut Faults) {
    declared(desired, triggers::references(desired), faults);
}

/// An exception for an object that is not declared would be none, and nobody would notice before it matters.
pub fn exceptions(desired: &Desired, entry: &yaml::Entry) -> Faults {
    let mut faults = Faults::default();
    let named = maintenance::read(entry).map(|maintenance| maintenance.except).unwrap_or_default();
    let at = entry.value.get("except").map_or(&entry.key_at, |except| &except.at);
    declared(desired, named.into_iter().map(|object| (object, at.clone())).collect(), &mut faults);
    faults
}

/// Each of the objects must be declared; each comes with the place that names it.
fn declared(desired: &Desired, named: Vec<(ObjectId, Location)>, faults: &mut Faults) {
    let objects = desired.objects();
    for (wanted, at) in named {
        if objects.iter().any(|object| object.id == wanted) {
            continue;
        }
        let known: Vec<String> = objects.iter().map(|object| object.id.to_string()).collect();
        let fault = Fault::new(at, format!("{wanted} is not declared for this host"));
        faults.push(match closest(&wanted.to_string(), known.iter().map(String::as_str)) {
            Some(near) => fault.hint(format!("did you mean {near}?")),
            None => fault.hint("declare it, or remove it here"),
        });
    }
}

fn users_of_one_number(desired: &Desired, faults: &mut Faults) {
    numbers("uid", "user", &desired.users, |user| user.uid, faults);
}

fn groups_of_one_number(desired: &Desired, faults: &mut Faults) {
    numbers("gid", "group", &desired.groups, |group| group.gid, faults);
}

/// Two names for one number are one account to the kernel.
fn numbers<D>(field: &str, kind: &str, all: &[Declared<D>], number: impl Fn(&D) -> Option<u32>, faults: &mut Faults) {
    let mut taken: BTreeMap<u32, &str> = BTreeMap::new();
    for declared in all {
        let Some(number) = declared.want.as_ref().and_then(&number) else { continue };
        if let Some(other) = taken.insert(number, &declared.name) {
            let at = declared.origin.of(field).clone();
            faults.push(
                Fault::new(at, format!("{field} {number} is that of {kind}:{other} too"))
                    .hint("give each a number of its own"),
            );
        }
    }
}

/// A file needs a directory around it.
fn files_inside_of_what_is_no_directory(desired: &Desired, faults: &mut Faults) {
    let files: BTreeMap<&str, _> = desired.files.iter().map(|file| (file.name.as_str(), &file.want)).collect();
    for file in desired.files.iter().filter(|file| file.want.is_some()) {
        let above = file.name.char_indices().filter(|(place, c)| *c == '/' && *place > 0);
        for outer in above.filter_map(|(place, _)| file.name.get(..place)) {
            let what = match files.get(outer) {
                Some(Some(outer)) => match outer.what {
                    What::File { .. } => "is a file",
                    What::Link { .. } => "is a link",
                    What::Directory { .. } => continue,
                },
                Some(None) => "shall be absent",
                None => continue,
            };
            let outer = ObjectId::new(File::KIND, outer);
            let fault = Fault::new(file.origin.object.clone(), format!("it lies inside of {outer}, which {what}"));
            faults.push(fault.hint("declare the one a directory, or move the other"));
        }
    }
}

/// A port that two objects name would be open as the one says, or as the other.
fn ports_once(desired: &Desired, faults: &mut Faults) {
    overlaps(Port::KIND, &desired.ports, |port| port.opening.ports, faults);
    overlaps(Egress::KIND, &desired.egress, |way| way.ports, faults);
}

fn overlaps<D>(kind: &'static str, all: &[Declared<D>], ports: impl Fn(&D) -> Ports, faults: &mut Faults) {
    let mut sorted: Vec<(Ports, &Declared<D>)> =
        all.iter().filter_map(|declared| Some((ports(declared.want.as_ref()?), declared))).collect();
    sorted.sort_by_key(|(ports, _)| *ports);
    let mut widest: Option<Ports> = None;
    for (ports, declared) in sorted {
        if let Some(other) = widest.filter(|other| other.overlaps(ports)) {
            let other = ObjectId::new(kind, other.to_string());
            let fault = Fault::new(declared.origin.object.clone(), format!("{other} has some of these ports too"));
            faults.push(fault.hint("let each port be in one object only"));
        }
        widest = widest.filter(|widest| widest.protocol == ports.protocol && widest.last >= ports.last).or(Some(ports));
    }
}

/// Only a list that shall be absent needs no file.
fn block_lists_have_files(desired: &Desired, faults: &mut Faults) {
    let lists = desired.blocklists.iter().filter(|list| list.want.as_ref().is_some_and(|want| want.file.is_none()));
    for list in lists {
        let fault = Fault::new(list.origin.object.clone(), "the list has no file");
        faults.push(fault.hint("write file: and the path of a file below files/"));
    }
}
