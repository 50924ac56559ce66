// SPDX-License-Identifier: Apache-2.0
//! Who is logged in over SSH: org.freedesktop.login1(5) knows the sessions, and the journal with which key sshd let them in.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath};

use super::HostError;
use super::command::run;
use super::units::bus::{Bus, text};

/// A session that sshd has begun.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// By which `loginctl` knows it.
    pub id: String,
    pub user: String,
    /// When it began.
    pub since: SystemTime,
    /// The other side's name or address, where it is known.
    pub from: String,
    pub opened: Opened,
}

/// What opened a session, by the journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opened {
    /// The key with this fingerprint, as `ssh-keygen -l` prints it.
    Key(String),
    /// A password, a certificate or the like.
    Otherwise,
    /// The journal does not go back that far.
    Unknown,
}

/// Returns the sessions of these users that began before the time that stands with each, in order; none where no logind can be
/// asked.
pub(super) fn before(times: &BTreeMap<String, SystemTime>) -> Result<Vec<Session>, HostError> {
    let Some(bus) = Bus::open() else { return Ok(Vec::new()) };
    let listed = bus.runtime.block_on(list(&bus.connection, times));
    let mut sessions = Vec::new();
    for (session, leader) in listed.map_err(|error| HostError::Systemd(text(&error)))? {
        sessions.push(Session { opened: opened_by(leader)?, ..session });
    }
    sessions.sort();
    Ok(sessions)
}

/// Returns each with its first process, which has yet to be asked for.
async fn list(connection: &Connection, times: &BTreeMap<String, SystemTime>) -> zbus::Result<Vec<(Session, u32)>> {
    let manager = ManagerProxy::new(connection).await?;
    let listed = match manager.list_sessions().await {
        Err(error) if has_no(&error, "ServiceUnknown") => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut sessions = Vec::new();
    for (id, _, user, _, path) in listed {
        let Some(time) = times.get(&user) else { continue };
        match read(connection, &path).await {
            Ok(of) if of.service == "sshd" && of.since < *time => {
                sessions
                    .push((Session { id, user, since: of.since, from: of.from, opened: Opened::Unknown }, of.leader));
            }
            // It has ended meanwhile.
            Err(error) if has_no(&error, "UnknownObject") || has_no(&error, "NoSuchSession") => {}
            read => drop(read?),
        }
    }
    Ok(sessions)
}

/// What logind says of one session.
struct Properties {
    service: String,
    since: SystemTime,
    from: String,
    leader: u32,
}

async fn read(connection: &Connection, path: &OwnedObjectPath) -> zbus::Result<Properties> {
    let builder = LoginProxy::builder(connection).path(path).cache_properties(CacheProperties::No);
    let session = builder.build().await?;
    Ok(Properties {
        service: session.service().await?,
        since: UNIX_EPOCH + Duration::from_micros(session.timestamp().await?),
        from: session.remote_host().await?,
        leader: session.leader().await?,
    })
}

/// Whether D-Bus, or logind, says by this word that what was asked for is not there.
fn has_no(error: &zbus::Error, word: &str) -> bool {
    match error {
        zbus::Error::MethodError(name, ..) => name.as_str().ends_with(word),
        zbus::Error::FDO(error) => format!("{error:?}").starts_with(word),
        _ => false,
    }
}

/// Returns what the sshd of this process number took last, by its own words in the journal.
fn opened_by(leader: u32) -> Result<Opened, HostError> {
    let of_leader = format!("_PID={leader}");
    let arguments = ["--quiet", "--no-pager", "--boot", "--output=json", "--lines=20", &of_leader];
    let output = run("journalctl", &arguments)?;
    Ok(accepted(&String::from_utf8_lossy(&output.stdout)))
}

/// Finds the last `Accepted publickey for alice from 192.0.2.7 port 50022 ssh2: ED25519 SHA256:...` of sshd's own: what a
/// user's program writes there has another user's number.
fn accepted(journal: &str) -> Opened {
    #[derive(Deserialize)]
    struct Message {
        #[serde(rename = "MESSAGE")]
        text: String,
        #[serde(rename = "_UID")]
        uid: String,
    }
    let of = |line: &str| {
        let message: Message = serde_json::from_str(line).ok()?;
        let how = message.text.strip_prefix("Accepted ").filter(|_| message.uid == "0")?;
        // A certificate has its own fingerprint there, and its authority's behind it.
        let key = how.strip_prefix("publickey ").filter(|how| !how.contains("-CERT "));
        let key = key.and_then(|how| how.split(' ').find(|word| word.starts_with("SHA256:")));
        Some(key.map_or(Opened::Otherwise, |key| Opened::Key(key.to_owned())))
    };
    journal.lines().rev().find_map(of).unwrap_or(Opened::Unknown)
}

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Manager {
    /// Id, the user's number and name, seat and path of each.
    fn list_sessions(&self) -> zbus::Result<Vec<(String, u32, String, String, OwnedObjectPath)>>;
}

#[zbus::proxy(interface = "org.freedesktop.login1.Session", default_service = "org.freedesktop.login1")]
trait Login {
    /// The PAM service that began it.
    #[zbus(property)]
    fn service(&self) -> zbus::Result<String>;
    /// In microseconds since 1970.
    #[zbus(property)]
    fn timestamp(&self) -> zbus::Result<u64>;
    #[zbus(property)]
    fn remote_host(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn leader(&self) -> zbus::Result<u32>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_opened_a_session_is_what_sshd_says_last_and_nobody_else() {
        let line = |text: &str, uid: &str| format!("{{\"MESSAGE\":\"{text}\",\"_UID\":\"{uid}\",\"_PID\":\"7\"}}\n");
        let by = |how: &str| format!("Accepted {how} for alice from 192.0.2.7 port 50022 ssh2");
        let by_key = |key: &str| format!("{}: ED25519 {key}", by("publickey"));
        let log = [
            line(&by_key("SHA256:old"), "0"),
            line(&by_key("SHA256:new"), "0"),
            line(&by_key("SHA256:forged"), "1000"),
            line("pam_unix(sshd:session): session opened for user alice(uid=1000) by (uid=0)", "0"),
            "no JSON\n".to_owned(),
        ];
        assert_eq!(accepted(&log.concat()), Opened::Key("SHA256:new".to_owned()));
        assert_eq!(accepted(&line(&by("password"), "0")), Opened::Otherwise);
        let certificate = format!("{}: ED25519-CERT SHA256:a ID x (serial 0) CA ED25519 SHA256:b", by("publickey"));
        assert_eq!(accepted(&line(&certificate, "0")), Opened::Otherwise);
        assert_eq!(accepted(""), Opened::Unknown);
    }

    proptest! {
        #[test]
        fn whatever_the_journal_holds_nothing_ends_the_daemon(text in "[ -~\\n]{0,200}") {
            let _ = accepted(&text);
        }
    }
}
