// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, clippy::print_stderr)]

mod diff;
mod host;
mod resolve;
mod shelf;

use std::sync::Arc;

use super::*;
use crate::model::{Action, Location, Mode, ObjectId, Shown};

/// A repo with the file `files/motd` and the template `templates/site`.
struct Repo;

impl Contents for Repo {
    fn source(&self, path: &str) -> Result<Arc<[u8]>, String> {
        if path == "motd" { Ok(b"from the repo\n".as_slice().into()) } else { Err(format!("there is no files/{path}")) }
    }

    fn template(&self, path: &str) -> Result<Arc<[u8]>, String> {
        if path == "site" { Ok(b"rendered\n".as_slice().into()) } else { Err(format!("there is no templates/{path}")) }
    }

    fn addresses(
        &self,
        place: &crate::resources::firewall::Place,
    ) -> Result<Vec<crate::resources::firewall::Network>, String> {
        Err(format!("there is no {place}"))
    }
}

/// The object is named in line 1, and field number n of `fields` in line n + 1.
fn origin(fields: &[&str]) -> Origin {
    let at = |line: usize| Location { file: "hosts/web1.yaml".into(), line: u32::try_from(line).unwrap(), column: 1 };
    let fields = fields.iter().enumerate().map(|(number, field)| ((*field).to_owned(), at(number + 2))).collect();
    Origin { object: at(1), fields }
}

/// The keys that `yaml`, one field a line, sets.
fn keys(yaml: &str) -> Vec<&str> {
    yaml.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect()
}

fn resolved(name: &str, yaml: &str) -> Result<Desired, Faults> {
    let text = if yaml.is_empty() { "{}" } else { yaml };
    let spec: Spec = crate::yaml::read("hosts/web1.yaml", text.as_bytes()).unwrap();
    File::resolve(name, spec, &origin(&keys(yaml)), &Repo)
}

fn want(name: &str, yaml: &str) -> Declared<Desired> {
    Declared {
        name: name.to_owned(),
        mode: Mode::Enforce,
        want: Some(resolved(name, yaml).unwrap()),
        origin: origin(&keys(yaml)),
    }
}

fn absent(name: &str) -> Declared<Desired> {
    Declared { name: name.to_owned(), mode: Mode::Enforce, want: None, origin: origin(&["absent"]) }
}

fn owned(paths: &[&str]) -> Owned {
    let mut owned = Owned::default();
    for path in paths {
        owned.claim(&ObjectId::new(File::KIND, *path), &crate::model::ownership::OwnershipChange::claim_whole());
    }
    owned
}

/// The steps as text: sign, path, and each change.
fn shown(steps: &[Step<Operation>]) -> Vec<String> {
    let text = |shown: &Shown| match shown {
        Shown::Nothing => "nothing".to_owned(),
        Shown::Text(text) => text.clone(),
        Shown::Secret => "secret".to_owned(),
    };
    let change =
        |change: &crate::model::Change| format!("{} {} -> {}", change.field, text(&change.from), text(&change.to));
    steps
        .iter()
        .map(|step| {
            let changes: Vec<String> = step.changes.iter().map(change).collect();
            format!("{} {}: {}", step.action.sign(), step.object.name(), changes.join("; "))
        })
        .collect()
}
