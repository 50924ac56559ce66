// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods)]

mod admin;
mod plans;
mod simulation;
mod sshd;
mod sudo;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::host::effective::STAGE;
use crate::host::{Effective, HostError, Output, Owner, ReadHost, RealHost, Ruleset, Stat, Tables, UnitState};
use crate::model::{Declared, Location, Mode, Origin, Step};
use crate::resources::{Contents, Desired, Operation, Resource, firewall};

/// A ruleset without tables.
const EMPTY: &str = r#"{"nftables": []}"#;

/// Half a key, and the whole of what the tests need.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9L1W1HW0dTZ5LxJrRXAjb0vqW0bUzmRgPyrUCMhYkq";

/// A temporary directory that is taken for the running system. Below `/home/NAME` all belongs to NAME, the rest to root.
struct Host {
    real: RealHost,
    dir: tempfile::TempDir,
    units: BTreeMap<&'static str, (&'static str, &'static str)>,
    /// What the packet filter has, as `nft --json` lists it.
    ruleset: String,
    /// How often sshd was asked.
    asked: Cell<usize>,
}

impl Host {
    /// A host on which alice logs in by her key and becomes root by the group sudo, without a password.
    fn with_alice() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let real = RealHost::open(dir.path()).unwrap();
        let units = BTreeMap::from([("ssh.service", ("active", "enabled"))]);
        let host = Self { real, dir, units, ruleset: EMPTY.to_owned(), asked: Cell::new(0) };
        host.put(
            "/etc/passwd",
            0o644,
            "root:x:0:0::/root:/bin/bash\nsshd:x:100:100::/run/sshd:/usr/sbin/nologin\n\
             alice:x:1000:1000::/home/alice:/bin/bash\nbob:x:1001:1001::/home/bob:/bin/bash\n",
        );
        host.put("/etc/shadow", 0o640, "root:*:1::::::\nalice:!:1::::::\nbob:$y$hash:1::::::\n");
        host.put("/etc/group", 0o644, "root:x:0:\nsudo:x:27:alice\nusers:x:100:\nalice:x:1000:\nbob:x:1001:\n");
        host.put("/etc/shells", 0o644, "/bin/bash\n/bin/sh\n");
        host.put("/bin/bash", 0o755, "");
        host.put("/usr/bin/sudo", 0o4755, "");
        host.put("/etc/sudoers", 0o440, "%sudo ALL=(ALL) NOPASSWD: ALL\n@includedir /etc/sudoers.d\n");
        host.put("/etc/sudoers.d/README", 0o440, "");
        host.put("/etc/ssh/sshd_config", 0o644, "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin no\n");
        host.put("/etc/ssh/sshd_config.d/zz.conf", 0o644, "UsePAM yes\n");
        host.put("/etc/ssh/host_key", 0o600, "-----BEGIN OPENSSH PRIVATE KEY-----\n");
        host.put("/home/alice/.ssh/authorized_keys", 0o600, &format!("{KEY} alice\n"));
        host.put("/home/bob/.ssh/authorized_keys", 0o600, &format!("{KEY} bob\n"));
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn put(&self, path: &str, mode: u32, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

impl ReadHost for Host {
    fn is_live(&self) -> bool {
        true
    }

    fn sets_owners(&self) -> bool {
        true
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * 86_400)
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>, HostError> {
        let number = match path.strip_prefix("/home").ok().and_then(|below| below.iter().next()) {
            Some(name) if name == "alice" => 1000,
            Some(name) if name == "bob" => 1001,
            _ => 0,
        };
        Ok(self.real.stat(path)?.map(|stat| Stat { owner: Owner { uid: number, gid: number }, ..stat }))
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        self.real.read(path)
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        self.real.read_link(path)
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<OsString>>, HostError> {
        self.real.list(path)
    }

    fn units(&self, names: &[&str]) -> Result<Vec<UnitState>, HostError> {
        let state = |name: &&str| {
            let known = self.units.get(*name);
            UnitState {
                name: (*name).to_owned(),
                load: if known.is_some() { "loaded" } else { "not-found" }.to_owned(),
                active: known.map(|(active, _)| (*active).to_owned()),
                file_state: known.map_or(String::new(), |(_, file_state)| (*file_state).to_owned()),
                needs_reload: false,
            }
        };
        Ok(names.iter().map(state).collect())
    }

    fn ruleset(&self, _: Tables) -> Result<Ruleset, HostError> {
        Ok(Ruleset::new(self.ruleset.clone()))
    }

    fn ruleset_generation(&self) -> Result<String, HostError> {
        Ok(String::new())
    }

    /// Answers as sshd and cvtsudoers do to what these tests write; the real ones answer in tests/host.
    fn effective(&self, question: &Effective<'_>) -> Result<Output, HostError> {
        let answer = match question {
            Effective::Sshd { files, connection } => {
                self.asked.set(self.asked.get() + 1);
                read_sshd(files, connection.map(|(user, _)| user))
            }
            Effective::Sudoers(text) => read_sudoers(std::str::from_utf8(text).unwrap()),
        };
        let (success, stdout, stderr) = match answer {
            Ok(stdout) => (true, stdout, String::new()),
            Err(stderr) => (false, String::new(), stderr),
        };
        Ok(Output { success, status: "exit status: 1".into(), stdout: stdout.into(), stderr: stderr.into() })
    }
}

/// The first value of a key counts; `Match user "a,b"` holds to the end of its file.
fn read_sshd(files: &[Vec<u8>], user: Option<&str>) -> Result<String, String> {
    fn read(
        file: usize,
        files: &[Vec<u8>],
        user: Option<&str>,
        found: &mut Vec<(String, String)>,
    ) -> Result<(), String> {
        let mut counts = true;
        for line in std::str::from_utf8(&files[file]).unwrap().lines().filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(' ').ok_or(format!("{STAGE}/{file} line 1: no value: {line}"))?;
            match key.to_ascii_lowercase().as_str() {
                "include" => {
                    for path in value.split(' ') {
                        let place = path.strip_prefix(&format!("{STAGE}/")).expect("a copy").parse().unwrap();
                        read(place, files, user, found)?;
                    }
                }
                "match" => {
                    let list = value.strip_prefix("user ").expect("only users").trim_matches('"');
                    counts = user.is_some_and(|user| list.split(',').any(|name| name == user));
                }
                key if ["allowusers", "denygroups", "port"].contains(&key) && counts => {
                    found.extend(value.split(' ').map(|value| (key.to_owned(), value.to_owned())));
                }
                key if counts && found.iter().all(|(present, _)| present != key) => {
                    found.push((key.to_owned(), value.to_owned()));
                }
                _ => {}
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    read(0, files, user, &mut found)?;
    for (key, value) in [
        ("listenaddress", "0.0.0.0:22"),
        ("listenaddress", "[::]:22"),
        ("pubkeyauthentication", "yes"),
        ("authorizedkeysfile", ".ssh/authorized_keys .ssh/authorized_keys2"),
        ("strictmodes", "yes"),
        ("hostkey", "/etc/ssh/host_key"),
        ("permitrootlogin", "prohibit-password"),
        ("pubkeyacceptedalgorithms", "ssh-ed25519,rsa-sha2-512"),
    ] {
        if key == "listenaddress" || found.iter().all(|(present, _)| present != key) {
            found.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(found.into_iter().map(|(key, value)| format!("{key} {value}\n")).collect())
}

/// Knows lines of the form `WHO ALL=(ALL) [NOPASSWD:] ALL`.
fn read_sudoers(text: &str) -> Result<String, String> {
    let mut specs = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
        let fault = || format!("{STAGE}/0:{number}:1: syntax error\n{line}\n");
        let (who, rest) = line.split_once(" ALL=(ALL) ").ok_or_else(fault)?;
        let who = match who.strip_prefix('%') {
            Some(group) => serde_json::json!({"usergroup": group}),
            None => serde_json::json!({"username": who}),
        };
        let (options, command) = match rest.strip_prefix("NOPASSWD: ") {
            Some(command) => (serde_json::json!([{"authenticate": false}]), command),
            None => (serde_json::json!([]), rest),
        };
        let command = match command.strip_prefix('!') {
            Some(command) => serde_json::json!({"command": command, "negated": true}),
            None => serde_json::json!({"command": command}),
        };
        specs.push(serde_json::json!({
            "User_List": [who],
            "Host_List": [{"hostname": "ALL"}],
            "Cmnd_Specs": [{"runasusers": [{"username": "ALL"}], "Options": options, "Commands": [command]}],
        }));
    }
    Ok(serde_json::json!({"User_Specs": specs}).to_string())
}

struct NoContents;

impl Contents for NoContents {
    fn source(&self, path: &str) -> Result<std::sync::Arc<[u8]>, String> {
        Err(format!("there is no files/{path}"))
    }

    fn template(&self, path: &str) -> Result<std::sync::Arc<[u8]>, String> {
        Err(format!("there is no templates/{path}"))
    }

    fn addresses(&self, place: &firewall::Place) -> Result<Vec<firewall::Network>, String> {
        Err(format!("there is no {place}"))
    }
}

fn declared<R: Resource>(name: &str, yaml: &str) -> Declared<R::Desired> {
    let origin = Origin { object: Location::file("hosts/web1.yaml"), fields: BTreeMap::new() };
    let want = (yaml != "absent: true").then(|| {
        let spec: R::Spec = crate::yaml::read("hosts/web1.yaml", yaml.as_bytes()).unwrap();
        R::resolve(name, spec, &origin, &NoContents).unwrap()
    });
    Declared { name: name.to_owned(), mode: Mode::Enforce, want, origin }
}

/// A kind, a name, and the fields as the repo writes them.
type Object<'a> = (&'a str, &'a str, &'a str);

/// Returns the steps that make the host have these objects, and what they lead to.
fn steps(host: &Host, objects: &[Object<'_>]) -> (Vec<Step<Operation>>, Desired) {
    use crate::resources::{
        blocklist::Blocklist, egress::Egress, file::File, group::Group, port::Port, service::Service, user::User,
    };
    let mut desired = Desired::default();
    for (kind, name, yaml) in objects {
        match *kind {
            "group" => desired.groups.push(declared::<Group>(name, yaml)),
            "user" => desired.users.push(declared::<User>(name, yaml)),
            "file" => desired.files.push(declared::<File>(name, yaml)),
            "port" => desired.ports.push(declared::<Port>(name, yaml)),
            "egress" => desired.egress.push(declared::<Egress>(name, yaml)),
            "blocklist" => desired.blocklists.push(declared::<Blocklist>(name, yaml)),
            "service" => desired.services.push(declared::<Service>(name, yaml)),
            other => panic!("no kind {other}"),
        }
    }
    let steps = crate::engine::Plan::make("c", &desired, &crate::engine::State::default(), host).unwrap().steps;
    assert!(!steps.is_empty(), "{objects:?} change nothing");
    (steps, desired)
}

/// Returns the ruleset that the host has when it has carried out these steps.
fn loaded(host: &Host, objects: &[Object<'_>]) -> String {
    let (steps, _) = steps(host, objects);
    let load = steps.iter().find_map(|step| match &step.operation {
        Operation::Port(firewall::Operation::Load(load)) => Some(load),
        _ => None,
    });
    format!(r#"{{"nftables": [{}]}}"#, load.expect("a port is declared").table.objects().join(","))
}
