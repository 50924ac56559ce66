// SPDX-License-Identifier: Apache-2.0
//! Messages to the journal in its own form, so that `journalctl HOSTWRIT_CODE=unsigned` finds what it should.
//!
//! The form is systemd's "Native Journal Protocol": one datagram, one field a line.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

use nix::sys::stat::fstat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const SOCKET: &str = "/run/systemd/journal/socket";

/// A value is cut to so many bytes: a datagram that is too large would be lost whole.
const VALUE_MAX: usize = 32 * 1024;

/// Sends each event to the journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: String,
    /// What the first event with a field `host` says goes along with all later ones.
    host: OnceLock<String>,
}

impl Journal {
    /// Connects to the journal if it is where stderr leads to.
    pub fn of_stderr() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = fstat(io::stderr()).ok()?;
        (stream == format!("{}:{}", stderr.st_dev, stderr.st_ino)).then(|| Self::at(SOCKET)).flatten()
    }

    fn at(path: &str) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        // A journal that does not read must not stop the daemon.
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, path: path.to_owned(), host: OnceLock::new() })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some((_, host)) = fields.others.iter().find(|(name, _)| *name == "host") {
            let _ = self.host.set(host.clone());
        } else if let Some(host) = self.host.get() {
            fields.others.push(("host", host.clone()));
        }
        let priority = priority(*event.metadata().level());
        let message = fields.line();
        let datagram = datagram(priority, event.metadata().target(), &message, &fields.others);
        if self.socket.send_to(&datagram, &self.path).is_err() {
            // The journal reads stderr, too, and knows this prefix.
            let _ = writeln!(io::stderr(), "<{priority}>{}", message.replace('\n', "\n  "));
        }
    }
}

/// The numbers of syslog.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn datagram(priority: u8, target: &str, message: &str, others: &[(&str, String)]) -> Vec<u8> {
    let mut text = Vec::new();
    put(&mut text, "MESSAGE", message);
    put(&mut text, "PRIORITY", &priority.to_string());
    put(&mut text, "SYSLOG_IDENTIFIER", "hostwrit");
    put(&mut text, "HOSTWRIT_TARGET", target);
    for (name, value) in others {
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .take(50) // The journal takes 64.
            .collect();
        put(&mut text, &format!("HOSTWRIT_{name}"), value);
    }
    text
}

/// A value with a line end has its length before it: nothing in it can pose as another field.
fn put(text: &mut Vec<u8>, name: &str, value: &str) {
    let end = (0..=VALUE_MAX.min(value.len())).rev().find(|&end| value.is_char_boundary(end)).unwrap_or(0);
    let value = &value[..end];
    text.extend(name.as_bytes());
    if value.contains('\n') {
        text.push(b'\n');
        text.extend((value.len() as u64).to_le_bytes());
    } else {
        text.push(b'=');
    }
    text.extend(value.as_bytes());
    text.push(b'\n');
}

/// What an event says.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    /// Returns the message with its fields, as it stands on a terminal.
    fn line(&self) -> String {
        let mut line = self.message.clone();
        for (name, value) in self.others.iter().filter(|(name, _)| *name != "host") {
            let _ = write!(line, " {name}={value}");
        }
        line
    }

    fn add(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn fields_can_be_asked_for_and_the_host_goes_along() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        journal.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let layer = Journal::at(path.to_str().unwrap()).unwrap();
        let receive = || {
            let mut bytes = vec![0; 100_000];
            let length = journal.recv(&mut bytes).unwrap();
            bytes.truncate(length);
            String::from_utf8_lossy(&bytes).into_owned()
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(host = %"web1", "started");
            let first = receive();
            assert!(first.starts_with("MESSAGE=started\nPRIORITY=6\nSYSLOG_IDENTIFIER=hostwrit\n"), "{first}");
            tracing::warn!(code = "unsigned", commit = ?Some(1), "refused");
            let second = receive();
            assert!(second.starts_with("MESSAGE=refused code=unsigned commit=Some(1)\nPRIORITY=4\n"), "{second}");
            for field in ["\nHOSTWRIT_CODE=unsigned\n", "\nHOSTWRIT_COMMIT=Some(1)\n", "\nHOSTWRIT_HOST=web1\n"] {
                assert!(second.contains(field), "{second}");
            }
            tracing::error!("{}", "x".repeat(10 * VALUE_MAX));
            assert!(receive().len() < 2 * VALUE_MAX, "it is cut, not lost");
        });
    }

    #[test]
    fn no_text_can_pose_as_another_field() {
        let sent = datagram(4, "t", "evil\nPRIORITY=0\n_UID=0", &[("a-b", "x\nMESSAGE=y".to_owned())]);
        let message = b"evil\nPRIORITY=0\n_UID=0";
        let expected = [b"MESSAGE\n", &(message.len() as u64).to_le_bytes()[..], message, b"\nPRIORITY=4\n"].concat();
        assert!(sent.starts_with(&expected), "{}", String::from_utf8_lossy(&sent));
        let value = b"x\nMESSAGE=y";
        let expected = [b"HOSTWRIT_A_B\n", &(value.len() as u64).to_le_bytes()[..], value, b"\n"].concat();
        assert!(sent.ends_with(&expected), "{}", String::from_utf8_lossy(&sent));
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        let mut text = Vec::new();
        put(&mut text, "A", &"\u{20ac}".repeat(VALUE_MAX));
        assert!(String::from_utf8(text).unwrap().len() <= VALUE_MAX + 3);
    }
}
