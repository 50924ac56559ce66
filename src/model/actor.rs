// SPDX-License-Identifier: Apache-2.0
//! Who on the host asked for something.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A local user who asked hostwrit for something. All but `claims` is what the kernel says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// The user that the asking process ran as.
    pub uid: u32,
    /// That user's name in `/etc/passwd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Who logged in (the kernel's login uid, which sudo and su do not change), where the kernel knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// What the asking process says of itself, such as `SUDO_USER`. Anybody who may ask can claim anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<String>,
}

/// Claims are cut to this many characters.
const CLAIM_MAX: usize = 64;

impl Actor {
    /// Looks up what is known of a process's user. `passwd` is the text of `/etc/passwd`, `login_uid` that of
    /// `/proc/PID/loginuid`.
    pub fn of(uid: u32, passwd: &str, login_uid: Option<&str>, claims: Option<String>) -> Self {
        let login = login_uid.and_then(|text| text.trim().parse().ok()).filter(|&uid: &u32| uid != u32::MAX);
        Self {
            uid,
            user: name_of(uid, passwd),
            login: login.map(|uid| name_of(uid, passwd).unwrap_or_else(|| format!("uid {uid}"))),
            claims: claims.map(|claim| {
                claim.chars().take(CLAIM_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
            }),
        }
    }
}

/// Returns the name of a user by the text of `/etc/passwd`.
pub fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let mut fields = passwd.lines().map(|line| line.split(':'));
    fields.find_map(|mut fields| {
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (!name.is_empty() && number.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => f.write_str(user)?,
            None => write!(f, "uid {}", self.uid)?,
        }
        match (&self.login, &self.claims) {
            (Some(login), _) if Some(login) != self.user.as_ref() => write!(f, " (logged in as {login})"),
            (None, Some(claims)) if Some(claims) != self.user.as_ref() => write!(f, " (says to be {claims})"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbroken\nalice:x:1000:1000::/home/alice:/bin/bash\n";

    #[test]
    fn the_kernels_login_counts_more_than_a_claim() {
        let actor = Actor::of(0, PASSWD, Some("1000\n"), Some("bob".to_owned()));
        assert_eq!(actor.to_string(), "root (logged in as alice)");
        let actor = Actor::of(0, PASSWD, Some("4294967295"), Some("bob".to_owned()));
        assert_eq!((actor.login.as_deref(), actor.to_string().as_str()), (None, "root (says to be bob)"));
        let actor = Actor::of(7, PASSWD, None, None);
        assert_eq!(actor.to_string(), "uid 7");
    }

    #[test]
    fn a_claim_can_neither_steer_a_terminal_nor_fill_the_log() {
        let actor = Actor::of(0, PASSWD, None, Some("\u{1b}[2J".to_owned() + &"x".repeat(1000)));
        let claims = actor.claims.unwrap();
        assert!(claims.chars().count() == CLAIM_MAX && !claims.contains('\u{1b}'), "{claims}");
    }
}
