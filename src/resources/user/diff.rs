// SPDX-License-Identifier: Apache-2.0
//! Compares declared users with those of the host. Pure.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use crate::model::ownership::{OwnershipChange, Parts, WHOLE};
use crate::model::{Action, Change, Declared, Location, ObjectId, Owned, Secret, Shown, Step};
use crate::resources::Resource;
use crate::resources::accounts::UserEntry;

use super::files::{diff_keys, diff_sudo};
use super::{
    Addition, Alteration, Desired, Expiry, Home, KeysFile, OWN_GROUP, Observed, Operation, PasswordSpec, PrimaryGroup,
    Removal, SUDO, SudoFile, User, day_begins, keys,
};

pub fn diff(desired: &[Declared<Desired>], observed: &Observed, owned: &Owned) -> Vec<Step<Operation>> {
    // A number that some declared user asks for is not given to another one.
    let mut taken = observed.accounts.uids();
    taken.extend(desired.iter().filter_map(|declared| declared.want.as_ref()?.uid));

    let mut steps = Vec::new();
    for declared in desired {
        let object = ObjectId::new(User::KIND, &declared.name);
        match (&declared.want, observed.accounts.users.get(&declared.name)) {
            (Some(want), None) => steps.push(add(object, declared, want, observed, &mut taken)),
            (Some(want), Some(user)) => steps.extend(alter(object, declared, want, user, observed)),
            (None, present) => {
                let left = owned.parts(&object).next().is_some() || has_sudo_rule(&declared.name, observed);
                if present.is_some() || left {
                    steps.push(remove(object, Some(&declared.origin.object), observed, owned));
                }
            }
        }
    }
    let declared: BTreeSet<&str> = desired.iter().map(|declared| declared.name.as_str()).collect();
    for object in owned.of_kind(User::KIND).filter(|object| !declared.contains(object.name())) {
        // One that is gone already gets its step too: else the record would make us remove a later user of that name.
        if owned.is_whole(object) {
            steps.push(remove(object.clone(), None, observed, owned));
        } else {
            steps.push(take_back(object.clone(), observed, owned));
        }
    }
    steps
}

fn has_sudo_rule(name: &str, observed: &Observed) -> bool {
    observed.accesses.get(name).is_some_and(|access| access.sudo.is_some())
}

fn add(
    object: ObjectId,
    declared: &Declared<Desired>,
    want: &Desired,
    observed: &Observed,
    taken: &mut BTreeSet<u32>,
) -> Step<Operation> {
    let name = &declared.name;
    let defaults = &observed.defaults;
    let (uids, gids) =
        if want.system { (defaults.system_uids, defaults.system_gids) } else { (defaults.uids, defaults.gids) };
    let chosen = if name == "root" { Some(0) } else { want.uid.or_else(|| uids.lowest_free(taken)) };
    taken.extend(chosen);
    let home = want.home.clone().unwrap_or_else(|| default_home(name));
    let shell = if want.system { "/usr/sbin/nologin" } else { "/bin/bash" };
    let shell = want.shell.clone().unwrap_or_else(|| shell.to_owned());
    let group = want.group.clone().unwrap_or_else(|| name.clone());
    let groups = want.groups.clone().unwrap_or_default();
    let has_keys = want.ssh_keys.as_ref().is_some_and(|keys| !keys.is_empty());

    let mut changes = Changes { origin: &declared.origin, list: Vec::new() };
    changes.push("uid", Shown::Nothing, chosen.into());
    changes.push("group", Shown::Nothing, Shown::text(&group));
    if !groups.is_empty() {
        changes.push("groups", Shown::Nothing, Shown::list(&groups));
    }
    if let Some(comment) = &want.comment {
        changes.push("comment", Shown::Nothing, Shown::text(comment));
    }
    changes.push("home", Shown::Nothing, Shown::text(&home));
    changes.push("shell", Shown::Nothing, Shown::text(&shell));
    match want.password {
        Some(PasswordSpec::Hash(_)) => changes.push("password", Shown::Nothing, Shown::Secret),
        Some(PasswordSpec::Locked) | None => changes.push("password", Shown::Nothing, Shown::text("locked")),
    }
    if let Some(expires) = want.expires {
        changes.push("expires", Shown::Nothing, Shown::Text(shown_day(expires.day())));
    }
    for key in want.ssh_keys.iter().flatten() {
        changes.push("ssh_keys", Shown::Nothing, Shown::text(key));
    }
    if let Some(rule) = &want.sudo {
        changes.push("sudo", Shown::Nothing, Shown::text(rule));
    }

    let mut ownership = OwnershipChange::claim_whole();
    if group == *name && want.group.is_none() && !observed.accounts.groups.contains_key(name) {
        ownership.claims.insert(OWN_GROUP.to_owned());
    }
    if want.sudo.is_some() {
        ownership.claims.insert(SUDO.to_owned());
    }
    let addition = |uid: u32| {
        Operation::Add(Box::new(Addition {
            name: name.clone(),
            uid,
            group: match &want.group {
                Some(group) => PrimaryGroup::Named(group.clone()),
                None => PrimaryGroup::Own { gid: uid, range: gids },
            },
            groups,
            comment: want.comment.clone().unwrap_or_default(),
            hash: match &want.password {
                Some(PasswordSpec::Hash(hash)) => hash.clone(),
                Some(PasswordSpec::Locked) | None => Secret::new("!"),
            },
            expires: want.expires.and_then(Expiry::day),
            today: observed.today,
            ages: if want.system { [None; 3] } else { defaults.ages },
            make_home: match (want.system, has_keys) {
                (false, _) => Some(Home::FromSkel),
                // sshd looks for the keys there.
                (true, true) => Some(Home::Empty),
                (true, false) => None,
            },
            keys: want.ssh_keys.as_ref().map(|keys| KeysFile {
                home: home.clone(),
                content: keys::render(keys),
                remove_second: true,
            }),
            sudo: match &want.sudo {
                Some(rule) => Some(SudoFile::Write { rule: rule.clone() }),
                None => has_sudo_rule(name, observed).then_some(SudoFile::Remove),
            },
            home,
            shell,
        }))
    };
    Step {
        object,
        action: Action::Add,
        changes: changes.list,
        origin: Some(declared.origin.object.clone()),
        ownership,
        operation: chosen.map_or_else(|| Operation::Unnumbered { name: name.clone() }, addition),
    }
}

/// Where useradd(8) puts a home directory.
pub fn default_home(name: &str) -> String {
    if name == "root" { "/root".to_owned() } else { format!("/home/{name}") }
}

fn alter(
    object: ObjectId,
    declared: &Declared<Desired>,
    want: &Desired,
    user: &UserEntry,
    observed: &Observed,
) -> Option<Step<Operation>> {
    let name = &declared.name;
    let mut changes = Changes { origin: &declared.origin, list: Vec::new() };
    let mut to = Alteration { name: name.clone(), today: observed.today, ..Alteration::default() };

    if let Some(uid) = want.uid.filter(|uid| *uid != user.uid) {
        changes.push("uid", Shown::text(user.uid), Shown::text(uid));
        to.uid = Some((user.uid, uid));
    }
    if let Some(group) = &want.group
        && observed.accounts.groups.get(group).is_none_or(|group| group.gid != user.gid)
    {
        let from = observed.accounts.group_name(user.gid).map_or_else(|| user.gid.to_string(), str::to_owned);
        changes.push("group", Shown::Text(from), Shown::text(group));
        to.group = Some(group.clone());
    }
    if let Some(groups) = &want.groups {
        let present = observed.accounts.groups_of(name);
        if *groups != present {
            changes.push("groups", Shown::list(&present), Shown::list(groups));
            to.groups = Some(groups.clone());
        }
    }
    to.comment = changes.text("comment", &user.comment, want.comment.as_ref());
    to.home = changes.text("home", &user.home, want.home.as_ref());
    to.shell = changes.text("shell", &user.shell, want.shell.as_ref());
    if let Some(password) = &want.password {
        alter_password(password, name, user, observed, &mut to, &mut changes);
    }
    if let Some(expires) = want.expires {
        let present = observed.accounts.shadow.get(name).and_then(|shadow| shadow.expires);
        if present != expires.day() {
            changes.push("expires", Shown::Text(shown_day(present)), Shown::Text(shown_day(expires.day())));
            to.expires = Some(expires);
        }
    }
    let ownership = alter_access(declared, want, user, observed, &mut to, &mut changes);
    (!changes.list.is_empty()).then(|| Step {
        object,
        action: Action::Alter,
        changes: changes.list,
        origin: Some(declared.origin.object.clone()),
        ownership,
        operation: Operation::Alter(Box::new(to)),
    })
}

fn alter_password(
    want: &PasswordSpec,
    name: &str,
    user: &UserEntry,
    observed: &Observed,
    to: &mut Alteration,
    changes: &mut Changes,
) {
    let shadowed = user.password.expose() == "x";
    let shadow = observed.accounts.shadow.get(name).map(|shadow| &shadow.hash);
    let present = if shadowed { shadow } else { Some(&user.password) };
    match want {
        PasswordSpec::Locked if !present.is_some_and(is_locked) => {
            changes.push("password", Shown::Secret, Shown::text("locked"));
            to.password = Some(PasswordSpec::Locked);
        }
        PasswordSpec::Hash(hash) if !shadowed || present != Some(hash) => {
            changes.list.push(Change::secret("password", Some(changes.origin.of("password"))));
            to.password = Some(want.clone());
        }
        PasswordSpec::Locked | PasswordSpec::Hash(_) => {}
    }
}

/// Whether no password fits this hash: neither `!` nor `*` begins one that crypt(3) could give.
pub fn is_locked(hash: &Secret) -> bool {
    hash.expose().starts_with(['!', '*'])
}

fn alter_access(
    declared: &Declared<Desired>,
    want: &Desired,
    user: &UserEntry,
    observed: &Observed,
    to: &mut Alteration,
    changes: &mut Changes,
) -> OwnershipChange {
    let mut ownership = OwnershipChange::default();
    let Some(access) = observed.accesses.get(&declared.name) else { return ownership };
    if let (Some(keys), Some(found)) = (&want.ssh_keys, &access.keys) {
        let uid = observed.sets_owners.then_some(user.uid);
        if let Some((file, list)) = diff_keys(keys, found, uid, declared.origin.of("ssh_keys")) {
            if !found.home_is_there {
                changes.push("home", Shown::text("missing"), Shown::text(&found.home));
                to.make_home = Some(found.home.clone());
            }
            changes.list.extend(list);
            to.keys = Some(file);
        }
    }
    let (rule, found) = (want.sudo.as_ref(), access.sudo.as_ref());
    let origin = declared.origin.of("sudo");
    if let Some((file, change)) = diff_sudo(&declared.name, rule, found, observed.sets_owners, origin) {
        match file {
            SudoFile::Write { .. } => ownership.claims.insert(SUDO.to_owned()),
            SudoFile::Remove => ownership.gives_up.insert(SUDO.to_owned()),
        };
        changes.list.push(change);
        to.sudo = Some(file);
    }
    ownership
}

fn remove(object: ObjectId, origin: Option<&Location>, observed: &Observed, owned: &Owned) -> Step<Operation> {
    let name = object.name();
    let group = ObjectId::new("group", name);
    // A group that was declared as such is the repo's to remove, not ours.
    let own_group = owned.has(&object, OWN_GROUP) && !owned.is_whole(&group);
    let mut changes = Vec::new();
    let mut change = |field, from: Shown, to: Shown| changes.push(Change::new(field, from, to, origin));
    if let Some(user) = observed.accounts.users.get(name) {
        change("uid", Shown::text(user.uid), Shown::Nothing);
        let groups = observed.accounts.groups_of(name);
        if !groups.is_empty() {
            change("groups", Shown::list(groups), Shown::Nothing);
        }
        change("home", Shown::text(&user.home), Shown::Text(format!("{} is kept", user.home)));
    }
    if own_group && observed.accounts.groups.contains_key(name) {
        change("group", Shown::text(name), Shown::Nothing);
    }
    if let Some((_, change)) = sudo_removal(name, observed, origin) {
        changes.push(change);
    }
    let parts: Parts = owned.parts(&object).map(str::to_owned).chain([WHOLE.to_owned()]).collect();
    Step {
        action: Action::Remove,
        changes,
        origin: origin.cloned(),
        ownership: OwnershipChange { claims: Parts::new(), gives_up: parts },
        operation: Operation::Remove(Removal { name: name.to_owned(), own_group }),
        object,
    }
}

/// Takes back what hostwrit gave a user whom it did not make and who left the repo.
fn take_back(object: ObjectId, observed: &Observed, owned: &Owned) -> Step<Operation> {
    let name = object.name().to_owned();
    Step {
        action: Action::Alter,
        changes: sudo_removal(&name, observed, None).map(|(_, change)| change).into_iter().collect(),
        origin: None,
        ownership: OwnershipChange {
            claims: Parts::new(),
            gives_up: owned.parts(&object).map(str::to_owned).collect(),
        },
        operation: Operation::Alter(Box::new(Alteration {
            name,
            today: observed.today,
            sudo: Some(SudoFile::Remove),
            ..Alteration::default()
        })),
        object,
    }
}

fn sudo_removal(name: &str, observed: &Observed, origin: Option<&Location>) -> Option<(SudoFile, Change)> {
    let found = observed.accesses.get(name)?.sudo.as_ref();
    let (file, mut change) = diff_sudo(name, None, found, observed.sets_owners, &Location::file(""))?;
    change.origin = origin.cloned();
    Some((file, change))
}

/// The changes of one user, each with the place where the repo sets the field.
struct Changes<'a> {
    origin: &'a crate::model::Origin,
    list: Vec<Change>,
}

impl Changes<'_> {
    fn push(&mut self, field: &str, from: Shown, to: Shown) {
        self.list.push(Change::new(field, from, to, Some(self.origin.of(field))));
    }

    /// Returns what a field of text shall be, if it is set and differs.
    fn text(&mut self, field: &str, from: &str, to: Option<&String>) -> Option<String> {
        let to = to.filter(|to| *to != from)?;
        self.push(field, Shown::text(from), Shown::text(to));
        Some(to.clone())
    }
}

fn shown_day(day: Option<i64>) -> String {
    let Some(day) = day else { return "never".to_owned() };
    // Past the year 9999 there is no way to write it.
    match day_begins(day).filter(|time| *time < UNIX_EPOCH + Duration::from_secs(253_402_300_800)) {
        Some(time) => {
            let date = humantime::format_rfc3339_seconds(time).to_string();
            date.split('T').next().unwrap_or_default().to_owned()
        }
        None => format!("day {day}"),
    }
}
