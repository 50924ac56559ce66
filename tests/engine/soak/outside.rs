// SPDX-License-Identifier: Apache-2.0
//! What a host has to do with: an owner who changes keys, a remote that is away for a while, and a receiver of reports.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::fixture::{FLEET, Key};
use crate::site::Site;

/// Alice, and the keys that she has had.
pub struct Owner {
    key: Key,
    /// The one before, which is revoked.
    old: Option<Key>,
    version: u64,
    revoked: Vec<String>,
    keys: usize,
}

impl Owner {
    /// Gives Alice an SSH key beside the one that trust begins with.
    pub fn new(site: &Site) -> Self {
        let key = site.keys.ring.ssh_key("soak-0", "ed25519");
        let owner = Self { key, old: None, version: 2, revoked: Vec::new(), keys: 0 };
        owner.write_policy(site, &[&owner.key]);
        site.repo.commit("a second key", Some(&site.keys.alice));
        owner
    }

    /// Changes the host's file in the repo.
    pub fn order(&self, site: &Site, text: &str) {
        site.repo.write("hosts/web1.yaml", text);
        site.repo.commit("Change", Some(&self.key));
    }

    /// Adds a key, and with it revokes the one before.
    pub fn rotate(&mut self, site: &Site) {
        self.keys += 1;
        let new = site.keys.ring.ssh_key(&format!("soak-{}", self.keys), "ed25519");
        self.version += 1;
        self.write_policy(site, &[&self.key, &new]);
        site.repo.commit("a new key", Some(&self.key));
        let old = std::mem::replace(&mut self.key, new);
        self.version += 1;
        self.revoked.push(format!("{{key: \"{}\", since: 2026-01-01T00:00:00Z}}", old.name()));
        self.write_policy(site, &[&self.key]);
        site.repo.commit("the old key is revoked", Some(&self.key));
        self.old = Some(old);
    }

    /// Orders something with the key that was revoked, or with nobody's if none was yet; returns the commit before.
    pub fn order_wrongly(&self, site: &Site) -> String {
        let good = site.repo.id("HEAD").to_string();
        site.repo.write("hosts/web1.yaml", "files: {}\n");
        site.repo.commit("Not so", Some(self.old.as_ref().unwrap_or(&site.keys.mallory)));
        good
    }

    fn write_policy(&self, site: &Site, keys: &[&Key]) {
        let keys: Vec<String> = keys
            .iter()
            .map(|key| {
                let file = format!("keys/{}.pub", key.fingerprint.replace(['/', '+', ':'], "-"));
                site.repo.write(&format!("policy/{file}"), &site.keys.ring.public(key));
                file
            })
            .collect();
        site.repo.write(
            "policy/policy.yaml",
            &format!(
                "format: 1\nversion: {}\nfleet: {FLEET}\nref: refs/heads/main\nprincipals:\n  \
                 alice: {{openpgp: [keys/alice.asc], ssh: [{}]}}\nroles: {{owners: [alice]}}\nrules:\n  \
                 - {{change: [\"*\"], needs: {{role: owners}}}}\nrevoked: [{}]\n",
                self.version,
                keys.join(", "),
                self.revoked.join(", ")
            ),
        );
    }
}

/// Takes the remote away, or gives it back.
pub fn set_away(site: &Site, away: bool) {
    let (there, gone) = (site.repo.path().join(".git"), site.repo.path().join(".git-away"));
    let (from, to) = if away { (there, gone) } else { (gone, there) };
    fs::rename(from, to).unwrap();
}

/// A web server that takes reports.
pub struct Receiver {
    pub url: String,
    pub is_away: Arc<AtomicBool>,
    pub taken: Arc<AtomicUsize>,
}

impl Receiver {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (is_away, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (away, count) = (Arc::clone(&is_away), Arc::clone(&taken));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A courier that is killed leaves a request unfinished.
                if let Some(entries) = answer(&stream, away.load(Ordering::Relaxed)) {
                    count.fetch_add(entries, Ordering::Relaxed);
                }
            }
        });
        Self { url, is_away, taken }
    }
}

/// Answers one request; returns how many entries were taken.
fn answer(mut stream: &TcpStream, is_away: bool) -> Option<usize> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        length = line.strip_prefix("content-length:").map_or(length, |number| number.trim().parse().unwrap());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let status = if is_away { "503 Service Unavailable" } else { "200 OK" };
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").ok()?;
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
    (!is_away).then_some(entries.len())
}
