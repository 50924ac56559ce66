// SPDX-License-Identifier: Apache-2.0
//! Checks across objects and across files: one function each, and one line in one of the two lists.

use crate::model::{Fault, Faults, Location};
use crate::resources::Desired;

use super::repo::Repo;

type RepoCheck = fn(&Repo<'_>, &mut Faults);
type HostCheck = fn(&Desired, &mut Faults);

/// True of the repo, whichever the host.
const REPO_CHECKS: &[RepoCheck] = &[names_of_hosts_and_profiles, files_that_would_be_overlooked];
/// True of the desired state of one host.
const HOST_CHECKS: &[HostCheck] = &[];

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

fn is_host_name(name: &str) -> bool {
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
