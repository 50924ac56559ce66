// SPDX-License-Identifier: Apache-2.0
//! SSH sessions that last although their user's key was taken away or the account has ended: whoever stole a key and is in
//! stays in.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::host::{HostError, Opened, ReadHost, Session};
use crate::model::{Declared, ObjectId};
use crate::resources::Resource as _;
use crate::resources::accounts::Accounts;
use crate::resources::user::{Desired, User};

use super::{Code, Finding};

/// After any session begins: 2106.
const FAR: Duration = Duration::from_secs(u32::MAX as u64);

/// Returns the sessions of declared users that could not be begun now.
///
/// # Errors
/// The host cannot be read.
pub fn outlived(users: &[Declared<Desired>], host: &dyn ReadHost) -> Result<Vec<Finding>, HostError> {
    let says_who_gets_in = |want: &Desired| want.ssh_keys.is_some() || want.expires.is_some();
    if !users.iter().filter_map(|user| user.want.as_ref()).any(says_who_gets_in) {
        return Ok(Vec::new());
    }
    let accounts = Accounts::read_public(host)?;
    let mut times = BTreeMap::new();
    for user in users {
        let (Some(want), Some(account)) = (&user.want, accounts.users.get(&user.name)) else { continue };
        if has_ended(want, host) {
            times.insert(user.name.clone(), UNIX_EPOCH + FAR);
        } else if want.ssh_keys.is_some()
            // What is no file is a difference, and the plan tells it.
            && let Ok(Some(keys)) = host.dated(&Path::new(&account.home).join(".ssh/authorized_keys"), 0)
        {
            // Not when its content changed, by its own word: whoever is in by a stolen key could set that back.
            times.insert(user.name.clone(), keys.touched);
        }
    }
    let sessions = host.sessions_before(&times)?;
    let wanted = |session: &Session| users.iter().find(|user| user.name == session.user)?.want.as_ref();
    let found = |session: &Session| of_session(session, wanted(session)?, has_ended(wanted(session)?, host));
    Ok(sessions.iter().filter_map(found).collect())
}

fn has_ended(want: &Desired, host: &dyn ReadHost) -> bool {
    want.expires.is_some_and(|expires| expires.has_come(host))
}

/// Judges a session that began before the keys of its user were last changed, or whose account has ended.
fn of_session(session: &Session, want: &Desired, has_ended: bool) -> Option<Finding> {
    let is_theirs = |key: &str| want.ssh_keys.iter().flatten().any(|theirs| theirs.fingerprint() == key);
    let why = match &session.opened {
        _ if has_ended => "the account has ended since".to_owned(),
        Opened::Key(key) if !is_theirs(key) => format!("it was opened with {key}, which is no key of theirs now"),
        Opened::Unknown => "the keys have changed since, and which one opened it is not known".to_owned(),
        Opened::Key(_) | Opened::Otherwise => return None,
    };
    let since = humantime::format_rfc3339_seconds(session.since);
    Some(Finding {
        code: Code::LiveSession,
        object: Some(ObjectId::new(User::KIND, &session.user)),
        place: Some(format!("SSH session {} from {}", session.id, session.from)),
        process: None,
        message: format!(
            "SSH session {id} from {} has lasted since {since}, and {why}; loginctl terminate-session {id} ends it",
            session.from,
            id = session.id,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::user::Key;

    fn key() -> Key {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIA8rskiY262hIdqG9uZyeXH7CwnkDun+ZgTncrMQJ2t alice";
        Key::parse(line).unwrap()
    }

    fn session(opened: Opened) -> Session {
        let since = humantime::parse_rfc3339("2026-11-28T08:00:00Z").unwrap();
        Session { id: "7".to_owned(), user: "alice".to_owned(), since, from: "192.0.2.7".to_owned(), opened }
    }

    #[test]
    fn a_session_is_found_where_its_key_is_not_the_users_any_more() {
        let want = Desired { ssh_keys: Some(vec![key()]), ..Desired::default() };
        let said = |opened| of_session(&session(opened), &want, false).map(|finding| finding.to_string());
        assert_eq!(
            said(Opened::Key("SHA256:stolen".to_owned())).unwrap(),
            "user:alice: SSH session 7 from 192.0.2.7 has lasted since 2026-11-28T08:00:00Z, and it was opened with \
             SHA256:stolen, which is no key of theirs now; loginctl terminate-session 7 ends it [live-session]"
        );
        assert!(said(Opened::Unknown).unwrap().contains("which one opened it is not known"));
        assert_eq!(said(Opened::Key(key().fingerprint())), None);
        assert_eq!(said(Opened::Otherwise), None, "no key opened it, so none was taken from it");
    }

    #[test]
    fn every_session_of_an_account_that_has_ended_is_found() {
        let want = Desired { ssh_keys: Some(vec![key()]), ..Desired::default() };
        for opened in [Opened::Key(key().fingerprint()), Opened::Otherwise, Opened::Unknown] {
            let found = of_session(&session(opened), &want, true).unwrap();
            assert!(found.message.contains("the account has ended since"), "{found}");
        }
    }
}
