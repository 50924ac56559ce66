// SPDX-License-Identifier: Apache-2.0
//! Whether one administrator can log in and become root, judged by facts alone. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;

use super::keys;
use super::sshd::{Methods, Settings};
use super::sudo::Right;

/// All that is known of an administrator.
#[derive(Clone, Debug)]
pub struct Admin {
    pub name: String,
    /// `None` if there is no such user.
    pub account: Option<Account>,
    /// How the user becomes root; of no account for root.
    pub right: Right,
    /// Why sudo goes by no rules, in words that follow "sudo"; `None` if it does.
    pub sudo_fault: Option<String>,
    /// Whether root's password opens anything.
    pub root_password: bool,
    /// `/etc/nologin` or `/run/nologin`, if one is there: root alone may log in then.
    pub nologin: Option<&'static str>,
    pub now: SystemTime,
    /// From where the user might come.
    pub ways: Vec<Way>,
}

/// A user's account.
#[derive(Clone, Debug)]
pub struct Account {
    pub uid: u32,
    /// Why the shell lets nobody in, in words that follow its path; `None` if it does.
    pub shell_fault: Option<String>,
    pub shell: String,
    /// The day from which on the account counts no more, in days since 1970-01-01.
    pub expires: Option<i64>,
    pub today: i64,
    pub password: Password,
    pub groups: BTreeSet<String>,
}

/// What the password of an account opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Password {
    Usable,
    /// No password opens it, and sshd without PAM takes the whole account for locked.
    Locked,
    /// There is none.
    None,
}

/// One source, and what counts for the user from there.
#[derive(Clone, Debug)]
pub struct Way {
    pub from: IpAddr,
    /// What sshd says, or what it finds wrong with its configuration.
    pub settings: Result<Settings, String>,
    pub key_files: Vec<KeyFile>,
    /// The ports that a connection from there reaches, among those that sshd listens on.
    pub open: BTreeSet<u16>,
}

/// A file that sshd looks into for the user's keys.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// As `AuthorizedKeysFile` has it, or the path.
    pub shown: String,
    pub content: Option<Vec<u8>>,
    /// Why sshd does not read it, in words that follow "it does not read"; `None` if it does.
    pub fault: Option<String>,
}

impl Admin {
    /// Says what keeps the administrator from logging in and becoming root; `None` if nothing does.
    ///
    /// Of several sources that one is told of from which the user would come furthest.
    pub fn obstacle(&self) -> Option<String> {
        let account = match &self.account {
            None => return Some("there is no such user".to_owned()),
            Some(account) => account,
        };
        if let Some(why) = self.account_obstacle(account) {
            return Some(why);
        }
        let mut furthest: Option<(u8, String)> = None;
        for way in &self.ways {
            // One way without an obstacle is enough.
            let obstacle = self.way_obstacle(account, way)?;
            if furthest.as_ref().is_none_or(|(stage, _)| obstacle.0 > *stage) {
                furthest = Some(obstacle);
            }
        }
        Some(furthest.map_or_else(
            || "none of the sources that are declared for them reaches sshd now".to_owned(),
            |(_, why)| why,
        ))
    }

    /// Returns the ways on which nothing keeps the administrator from logging in and becoming root.
    pub fn free_ways(&self) -> impl Iterator<Item = &Way> {
        let account = self.account.as_ref().filter(|account| self.account_obstacle(account).is_none());
        account.into_iter().flat_map(|account| self.ways.iter().filter(|way| self.way_obstacle(account, way).is_none()))
    }

    fn account_obstacle(&self, account: &Account) -> Option<String> {
        if let Some(fault) = &account.shell_fault {
            return Some(format!("the shell {} {fault}", account.shell));
        }
        if account.expires.is_some_and(|day| day <= account.today) {
            return Some("the account has expired".to_owned());
        }
        if account.uid == 0 {
            return None;
        }
        if let Some(path) = self.nologin {
            return Some(format!("{path} is there, so that only root may log in"));
        }
        if let Some(fault) = &self.sudo_fault {
            return Some(format!("sudo {fault}"));
        }
        match self.right {
            Right::Free => None,
            Right::None => Some("no rule of sudo lets them become root".to_owned()),
            Right::OwnPassword if account.password == Password::Usable => None,
            Right::OwnPassword => Some("sudo asks for a password, and theirs is locked".to_owned()),
            Right::RootPassword if self.root_password => None,
            Right::RootPassword => Some("sudo asks for the password of root, and that is locked".to_owned()),
        }
    }

    /// Returns how far the user comes on this way, and what ends it.
    fn way_obstacle(&self, account: &Account, way: &Way) -> Option<(u8, String)> {
        let settings = match &way.settings {
            Ok(settings) => settings,
            Err(fault) => return Some((0, format!("sshd would not start: {fault}"))),
        };
        let ports = settings.ports(way.from);
        if ports.is_empty() {
            let what = if way.from.is_ipv4() { "IPv4" } else { "IPv6" };
            return Some((1, format!("sshd listens on no address of {what} that others reach")));
        }
        if way.open.is_empty() {
            let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            return Some((2, format!("port {ports} of sshd is not open to {}", way.from)));
        }
        if let Some(why) = settings.obstacle(&self.name, account.uid == 0, &account.groups, way.from) {
            return Some((3, why));
        }
        if settings.is("usepam", "no") && account.password == Password::Locked {
            return Some((3, "the account is locked, and without UsePAM that is for keys too".to_owned()));
        }
        match settings.methods() {
            Methods::Key => {}
            Methods::KeyAndPassword if account.password == Password::Usable => {}
            Methods::KeyAndPassword => {
                return Some((
                    4,
                    "AuthenticationMethods of sshd asks for a password too, and theirs is locked".to_owned(),
                ));
            }
            Methods::Other => return Some((4, "AuthenticationMethods of sshd takes no key".to_owned())),
        }
        self.key_obstacle(settings, way).map(|why| (5, why))
    }

    fn key_obstacle(&self, settings: &Settings, way: &Way) -> Option<String> {
        if settings.get("trustedusercakeys").is_some() {
            // A certificate needs no file of the user's; whether they have one is theirs to know.
            return None;
        }
        let mut seen = Vec::new();
        for file in &way.key_files {
            let shown = &file.shown;
            match (&file.content, &file.fault) {
                (None, _) => seen.push(format!("{shown} is not there")),
                (Some(_), Some(fault)) => seen.push(format!("it does not read {shown}: {fault}")),
                (Some(content), None) => match keys::obstacle(content, way.from, settings, self.now) {
                    None => return None,
                    Some(why) => seen.push(format!("{shown} {why}")),
                },
            }
        }
        // What is there and does not count says more than what is not there.
        let there = seen.iter().filter(|why| !why.ends_with("is not there"));
        let told: Vec<String> = match there.clone().next() {
            Some(_) => there.cloned().collect(),
            None => seen,
        };
        let files = if told.is_empty() { "AuthorizedKeysFile is none".to_owned() } else { told.join(", ") };
        Some(format!("no key that sshd accepts ({files})"))
    }
}
