// SPDX-License-Identifier: Apache-2.0
//! What systemd says of units as it happens, over D-Bus.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_core::Stream as _;
use tokio::sync::{Notify, watch};
use zbus::MessageStream;
use zbus::message::Type;

use super::bus::ManagerProxy;
use crate::host::Touched;

/// After a lost connection: twice as long each time, up to the longest. A host without a bus asks no oftener.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

const MANAGER: &str = "/org/freedesktop/systemd1";
const UNIT: &str = "/org/freedesktop/systemd1/unit/";
const DBUS: &str = "org.freedesktop.DBus";

/// Signals of the bus wait in our memory, and calls with them: so many that a call never waits for them in vain.
const QUEUED_MAX: usize = 4096;

/// Which units were touched since somebody last asked. However often that was, each stands here once.
#[derive(Debug, Default)]
pub struct Bell {
    touched: Mutex<BTreeSet<Touched>>,
    rung: Notify,
}

impl Bell {
    fn ring(&self, touched: Touched) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(touched);
        self.rung.notify_one();
    }

    /// Waits until something was touched. May be dropped at any time.
    pub async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Returns what was touched since the last time.
    pub fn take(&self) -> BTreeSet<Touched> {
        std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells of the units whose names `units` holds, until the other end of `units` is gone.
///
/// While the system bus cannot be had nothing is told. When it can be, all units count as touched.
pub async fn listen(mut units: watch::Receiver<BTreeSet<String>>, bell: std::sync::Arc<Bell>) {
    let mut wait = FIRST_WAIT;
    loop {
        // Without units nobody is asked for anything.
        while units.borrow_and_update().is_empty() {
            if units.changed().await.is_err() {
                return;
            }
        }
        match follow(&mut units, &bell, &mut wait).await {
            Ok(()) => return,
            Err(error) => tracing::debug!("systemd's signals cannot be heard, trying again in {wait:?}: {error}"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Listens on one connection; returns when nobody asks for units any more.
async fn follow(units: &mut watch::Receiver<BTreeSet<String>>, bell: &Bell, wait: &mut Duration) -> zbus::Result<()> {
    let connection = zbus::connection::Builder::system().method_timeout(super::bus::CALL_LIMIT).build().await?;
    let mut stream = MessageStream::from(&connection);
    stream.set_max_queued(QUEUED_MAX.try_into().unwrap_or(stream.max_queued()));
    let mut stream = pin!(stream);
    let manager = ManagerProxy::new(&connection).await?;
    // systemd keeps silent unless somebody has asked it to speak.
    manager.subscribe().await?;
    let bus = zbus::fdo::DBusProxy::new(&connection).await?;
    for member in ["UnitFilesChanged", "Reloading"] {
        let rule = format!(
            "type='signal',sender='org.freedesktop.systemd1',path='{MANAGER}',\
             interface='org.freedesktop.systemd1.Manager',member='{member}'"
        );
        bus.add_match_rule(rule.as_str().try_into()?).await?;
    }
    // systemd itself may end and come back, as when it is upgraded; and the bus says when it does.
    let rule = format!("type='signal',sender='{DBUS}',member='NameOwnerChanged',arg0='org.freedesktop.systemd1'");
    bus.add_match_rule(rule.as_str().try_into()?).await?;
    let mut heard = Heard::default();
    let wanted = units.borrow_and_update().clone();
    heard.set(wanted, &manager, &bus).await?;
    *wait = FIRST_WAIT;
    // What happened before is not known.
    bell.ring(Touched::Units);
    loop {
        tokio::select! {
            changed = units.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let wanted = units.borrow_and_update().clone();
                heard.set(wanted, &manager, &bus).await?;
            }
            message = poll_fn(|context| stream.as_mut().poll_next(context)) => {
                let Some(message) = message else {
                    return Err(zbus::Error::Failure("the connection to the system bus broke".to_owned()));
                };
                if let Some(touched) = heard.what(&message?) {
                    bell.ring(touched);
                }
            }
        }
    }
}

/// The units that the bus was asked about.
#[derive(Default)]
struct Heard {
    /// The unit that each path of the bus stands for. systemd knows a unit by its main name, so an alias has a second path.
    paths: BTreeMap<String, String>,
}

impl Heard {
    async fn set(
        &mut self,
        wanted: BTreeSet<String>,
        manager: &ManagerProxy<'_>,
        bus: &zbus::fdo::DBusProxy<'_>,
    ) -> zbus::Result<()> {
        let mut paths = BTreeMap::new();
        for unit in wanted {
            if let Ok(path) = manager.get_unit(&unit).await {
                paths.insert(path.as_str().to_owned(), unit.clone());
            }
            paths.insert(path_of(&unit), unit);
        }
        for path in self.paths.keys().filter(|path| !paths.contains_key(*path)) {
            bus.remove_match_rule(rule_of(path).as_str().try_into()?).await?;
        }
        for path in paths.keys().filter(|path| !self.paths.contains_key(*path)) {
            bus.add_match_rule(rule_of(path).as_str().try_into()?).await?;
        }
        self.paths = paths;
        Ok(())
    }

    fn what(&self, message: &zbus::Message) -> Option<Touched> {
        let header = message.header();
        if header.message_type() != Type::Signal {
            return None;
        }
        match header.member()?.as_str() {
            "PropertiesChanged" => Some(Touched::Unit(self.paths.get(header.path()?.as_str())?.clone())),
            "UnitFilesChanged" | "NameOwnerChanged" => Some(Touched::Units),
            // Told at the begin, with true, and at the end.
            "Reloading" => message.body().deserialize::<bool>().is_ok_and(|begins| !begins).then_some(Touched::Units),
            _ => None,
        }
    }
}

fn rule_of(path: &str) -> String {
    format!(
        "type='signal',sender='org.freedesktop.systemd1',path='{path}',\
         interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',arg0='org.freedesktop.systemd1.Unit'"
    )
}

/// Returns the path under which systemd shows the unit on the bus: its name, with all but letters and digits escaped.
fn path_of(unit: &str) -> String {
    let mut path = UNIT.to_owned();
    for (place, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || place > 0 && byte.is_ascii_digit() {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn units_have_the_paths_that_systemd_gives_them() {
        for (unit, path) in [
            ("nginx.service", "nginx_2eservice"),
            ("backup@home.timer", "backup_40home_2etimer"),
            ("a-b_c.service", "a_2db_5fc_2eservice"),
            ("0day.service", "_30day_2eservice"),
        ] {
            assert_eq!(path_of(unit), format!("/org/freedesktop/systemd1/unit/{path}"));
        }
    }
}
