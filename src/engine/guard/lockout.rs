// SPDX-License-Identifier: Apache-2.0
//! No plan may leave the host without one administrator who can log in by SSH and become root.
//!
//! This is judged on the host as the plan would leave it: the steps are carried out on a copy in memory ([`simulation`]), and sshd
//! and sudo themselves are asked how they would read what is there then. What cannot be seen that way (another program's
//! packet filter, PAM, a network that is down) is for the confirmation after the change, where an administrator really logs in.
//!
//! A plan is refused only if it makes things worse: where nobody can log in now, as on a fresh image, there is nobody to lose.

mod admin;
mod gather;
mod keys;
mod patterns;
mod reach;
mod simulation;
mod sshd;
mod sudo;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

use crate::audit::entry::Cause;
use crate::host::{Effective, HostError, Output, ReadHost};
use crate::model::{Step, chain};
use crate::resources::accounts::{Accounts, UserEntry};
use crate::resources::{Desired, ObserveError, Operation};

use super::{Objection, Proposal};
use admin::Way;
use gather::Scene;
use reach::Reach;
use simulation::Simulation;
use sshd::Methods;
use sudo::Right;

/// The objection's code.
pub const CODE: &str = "lockout";

/// As many administrators are named.
const NAMED_MAX: usize = 8;

/// What is below these paths has a part in who may log in and become root.
const PATHS: [&str; 19] = [
    "/etc/ssh",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/shells",
    "/etc/nologin",
    "/run/nologin",
    "/etc/systemd/system/ssh.service",
    "/etc/systemd/system/sshd.service",
    "/etc/systemd/system/ssh.socket",
    "/etc/systemd/system/sshd.socket",
    "/usr/bin/sudo",
    "/usr/sbin/sshd",
    "/bin/bash",
    "/bin/sh",
    "/usr/bin/bash",
    "/usr/bin/sh",
];

/// Judges a plan. One that goes back to a state that was good, and one that a signed order asks for, are not judged; and
/// neither is one that puts drift right: what the commit leads to was judged before, and an intruder who gives himself
/// root must not be kept as the last administrator.
///
/// # Errors
/// The plan takes the last way in, or what it leads to cannot be found out.
pub(super) fn judge(proposal: &Proposal<'_>) -> Result<(), Objection> {
    // Nobody logs in to a tree of files that does not run, and its programs cannot be asked.
    let Proposal { plan, desired, host, .. } = *proposal;
    if !host.is_live() || proposal.is_way_back || plan.cause == Cause::Drift {
        return Ok(());
    }
    examine(&plan.steps, desired, host).map_err(|message| Objection { code: CODE, message })
}

fn examine(steps: &[Step<Operation>], desired: &Desired, host: &dyn ReadHost) -> Result<(), String> {
    let find = || -> Result<Option<String>, ObserveError> {
        let places = Places::of(host)?;
        if !steps.iter().any(|step| places.concern(step)) {
            return Ok(None);
        }
        find_lockout(steps, desired, host)
    };
    match find() {
        Ok(None) => Ok(()),
        Ok(Some(message)) => Err(message),
        Err(error) => {
            Err(format!("cannot find out whether an administrator could still log in by SSH: {}", chain(&error)))
        }
    }
}

/// The places that have a part in who may log in.
struct Places(BTreeSet<String>);

impl Places {
    fn of(host: &dyn ReadHost) -> Result<Self, HostError> {
        let mut places: BTreeSet<String> = PATHS.map(str::to_owned).into();
        let users = Accounts::read_public(host)?.users.into_values();
        let may_log_in =
            |user: &UserEntry| !["nologin", "false", "sync"].iter().any(|shell| user.shell.ends_with(shell));
        places.extend(users.filter(|user| may_log_in(user) && user.home.len() > 1).map(|user| user.home));
        places.extend(sshd::named_paths(host)?);
        Ok(Self(places))
    }

    /// Whether the step might change who may log in. A directory above such a place has a part in it too.
    fn concern(&self, step: &Step<Operation>) -> bool {
        match &step.operation {
            Operation::Group(_) | Operation::User(_) | Operation::Port(_) | Operation::Blocklist(_) => true,
            // What goes out is answered to all the same: the confirmation after the change sees what that does.
            Operation::Egress(_) | Operation::Check(_) => false,
            Operation::Service(operation) => {
                let unit = operation.unit.as_str();
                ["ssh.", "sshd."].iter().any(|name| unit.starts_with(name))
            }
            Operation::File(_) => {
                let path = Path::new(step.object.name());
                self.0.iter().any(|place| path.starts_with(place) || Path::new(place).starts_with(path))
            }
        }
    }
}

/// Says why nobody could log in any more; `None` if somebody could, or nobody can now.
fn find_lockout(
    steps: &[Step<Operation>],
    desired: &Desired,
    host: &dyn ReadHost,
) -> Result<Option<String>, ObserveError> {
    let simulation = Simulation::of(steps.iter(), host);
    let after = Scene::of(&simulation)?;
    let open_now = Reach::now(desired, steps, host)?;
    let open_after = open_now.after(steps);
    let administrators = after.administrators();
    let mut sources = reach::samples(&reach::declared(&desired.ports), &after.nets(&administrators)?);
    if open_after != open_now {
        // Whether the networks that somebody has just written down are the right ones, only those prove that get in now.
        let before = Scene::of(host)?;
        let mut known = Vec::new();
        for source in sources {
            if before.hears(source, &open_now)? {
                known.push(source);
            }
        }
        sources = known;
    }
    for user in &administrators {
        if after.admin(user, &sources, &open_after)?.obstacle().is_none() {
            return Ok(None);
        }
    }
    let mut lost = Vec::new();
    for user in who_gets_in(&Scene::of(host)?, &open_now)?.into_keys() {
        let why = after.admin(&user, &sources, &open_after)?.obstacle().unwrap_or_default();
        lost.push(format!("{user}: {why}"));
    }
    if lost.is_empty() {
        // There is nobody to lose; that it is so is told by the cycle (engine/way_in.rs).
        return Ok(None);
    }
    Ok(Some(message(lost)))
}

/// From where an administrator gets in, and at which port of sshd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayIn {
    pub user: String,
    pub from: IpAddr,
    pub port: u16,
    /// Whether sudo asks for a password.
    pub asks: bool,
    /// Whether sshd wants no more than a key; else it asks for a password or a second factor too.
    pub by_key: bool,
}

/// Returns the ways in which administrators could log in and become root now, by all that the guard sees.
///
/// # Errors
/// The host cannot be read or asked.
pub fn ways_in(host: &dyn ReadHost) -> Result<Vec<WayIn>, ObserveError> {
    let found = who_gets_in(&Scene::of(host)?, &Reach::live(host)?)?;
    Ok(found.into_values().flatten().collect())
}

/// Says of each administrator why they cannot log in and become root now; `None` if one of them can.
///
/// # Errors
/// The host cannot be read or asked.
pub fn why_nobody_gets_in(host: &dyn ReadHost) -> Result<Option<String>, ObserveError> {
    let (scene, reach) = (Scene::of(host)?, Reach::live(host)?);
    if !who_gets_in(&scene, &reach)?.is_empty() {
        return Ok(None);
    }
    let sources = sources_now(&scene, &reach)?;
    let mut lost = Vec::new();
    for user in scene.administrators() {
        let why = scene.admin(&user, &sources, &reach)?.obstacle().unwrap_or_default();
        lost.push(format!("{user}: {why}"));
    }
    Ok(Some(shown(lost)))
}

/// Returns addresses that stand for all from which somebody may come now.
fn sources_now(scene: &Scene<'_>, reach: &Reach) -> Result<Vec<IpAddr>, HostError> {
    let mut named = reach.named();
    named.extend(scene.nets(&scene.administrators())?);
    Ok(reach::samples(&[], &named))
}

/// Returns the administrators who can log in and become root, each with all ways that were found.
fn who_gets_in(scene: &Scene<'_>, reach: &Reach) -> Result<BTreeMap<String, Vec<WayIn>>, HostError> {
    let sources = sources_now(scene, reach)?;
    let mut found = BTreeMap::new();
    for user in scene.administrators() {
        let admin = scene.admin(&user, &sources, reach)?;
        let asks = admin.right != Right::Free;
        let way = |way: &Way| {
            let by_key = way.settings.as_ref().is_ok_and(|settings| settings.methods() == Methods::Key);
            way.open.first().map(|port| WayIn { user: user.clone(), from: way.from, port: *port, asks, by_key })
        };
        let ways: Vec<WayIn> = admin.free_ways().filter_map(way).collect();
        if !ways.is_empty() {
            found.insert(user, ways);
        }
    }
    Ok(found)
}

/// Asks sshd or sudo. The inner error says that the host does not have the program, so that it lets nobody in either.
fn ask(host: &dyn ReadHost, question: &Effective<'_>) -> Result<Result<Output, String>, HostError> {
    match host.effective(question) {
        Ok(output) => Ok(Ok(output)),
        Err(HostError::Run { program, source })
            if [ErrorKind::NotFound, ErrorKind::Unsupported].contains(&source.kind()) =>
        {
            Ok(Err(format!("cannot run {program}: {source}")))
        }
        Err(error) => Err(error),
    }
}

/// Joins what is said of administrators, of which there may be many.
fn shown(mut lost: Vec<String>) -> String {
    let more = lost.len().saturating_sub(NAMED_MAX);
    lost.truncate(NAMED_MAX);
    if more > 0 {
        lost.push(format!("and {more} more"));
    }
    lost.join("; ")
}

fn message(lost: Vec<String>) -> String {
    format!(
        "after this plan no administrator could log in by SSH and become root: {}\n  \
         leave one of them a login shell, a key that sshd accepts, an open port of sshd and the right to become root; to \
         exchange one way in for another, add the new one first and take the old one away in a later commit",
        shown(lost)
    )
}
