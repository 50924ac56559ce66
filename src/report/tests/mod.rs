// SPDX-License-Identifier: Apache-2.0
mod config;
mod delivery;
mod formats;
mod kill;
mod refusals;
mod repeats;
mod secrets;
mod server;
mod spool;

use std::path::Path;
use std::time::{Duration, SystemTime};

use server::Server;

use super::{Caps, Entry, Kind, Outlet, ReportSpec, Shipped, Shipper, Spool};

/// Reads a list of reports as the configuration has it.
fn outlets(text: &str) -> Result<Vec<Outlet>, Vec<String>> {
    let specs: Vec<ReportSpec> = crate::yaml::read("config.yaml", text.as_bytes())
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let mut faults = Vec::new();
    let outlets = Outlet::all(specs, &mut |message, hint| faults.push(format!("{message}; {hint}")));
    if faults.is_empty() { Ok(outlets) } else { Err(faults) }
}

fn now() -> SystemTime {
    humantime::parse_rfc3339("2026-03-01T12:00:00Z").unwrap()
}

fn entry(kind: Kind, message: &str) -> Entry {
    Entry::new(kind, "2026-03-01T11:59:00Z", "infra.example.org", "web1", message)
}

/// A spool and a shipper for one list of reports.
struct Post {
    dir: tempfile::TempDir,
    outlets: Vec<Outlet>,
    spool: Spool,
    shipper: Shipper,
}

impl Post {
    fn of(reports: &str) -> Self {
        Self::with(reports, Caps::default())
    }

    fn with(reports: &str, caps: Caps) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let credentials = dir.path().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        let outlets = outlets(reports).unwrap();
        let (spool, shipper) = open(dir.path(), &outlets, caps);
        Self { dir, outlets, spool, shipper }
    }

    /// Opens everything anew, as after a restart.
    fn again(self) -> Self {
        self.close().open()
    }

    fn close(self) -> Closed {
        Closed { dir: self.dir, outlets: self.outlets }
    }

    fn credential(&self, name: &str, secret: &str) {
        std::fs::write(self.dir.path().join("credentials").join(name), secret).unwrap();
    }

    fn push(&self, kind: Kind, message: &str) {
        self.spool.push(&entry(kind, message)).unwrap();
    }

    fn ship(&mut self) -> Shipped {
        self.shipper.run_once(now())
    }

    /// Ships when every wait is over.
    fn ship_later(&mut self, minutes: u64) -> Shipped {
        self.shipper.run_once(now() + Duration::from_secs(60 * minutes))
    }

    fn problem(shipped: &Shipped) -> &str {
        shipped.sinks[0].problem.as_deref().unwrap_or_default()
    }
}

/// What is left when the process has ended.
struct Closed {
    dir: tempfile::TempDir,
    outlets: Vec<Outlet>,
}

impl Closed {
    fn open(self) -> Post {
        let (spool, shipper) = open(self.dir.path(), &self.outlets, Caps::default());
        Post { dir: self.dir, outlets: self.outlets, spool, shipper }
    }
}

fn open(dir: &Path, outlets: &[Outlet], caps: Caps) -> (Spool, Shipper) {
    let spool = Spool::open(&dir.join("spool"), outlets, caps).unwrap();
    let shipper = Shipper::with_credentials(outlets.to_vec(), spool.clone(), Some(dir.join("credentials")));
    (spool, shipper)
}

/// A webhook without anything to it, at the server.
fn webhook(server: &Server) -> String {
    format!("- {{webhook: {{url: {}/hook}}, proxy: none, timeout: 2s}}\n", server.url())
}

/// Returns the messages that a webhook received, request by request.
fn messages(server: &Server) -> Vec<Vec<String>> {
    let text = |entry: &serde_json::Value| entry["message"].as_str().unwrap().to_owned();
    let of = |request: server::Received| request.json().as_array().unwrap().iter().map(text).collect();
    server.received().into_iter().map(of).collect()
}
