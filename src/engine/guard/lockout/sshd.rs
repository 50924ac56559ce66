// SPDX-License-Identifier: Apache-2.0
//! What sshd's configuration comes to, asked of sshd itself about a copy: sshd_config(5), `sshd -T`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::host::effective::STAGE;
use crate::host::{Effective, HostError, ReadHost};
use crate::resources::firewall::Range;

use super::ask;
use super::patterns::{self, Listed, listed, matches};

pub const CONFIG: &str = "/etc/ssh/sshd_config";

/// As deep as sshd follows `Include`.
const DEPTH_MAX: usize = 16;

/// More files than this are not copied.
const FILES_MAX: usize = 256;

/// The configuration as it would be, ready to be asked about.
#[derive(Debug, Default)]
pub struct Configuration {
    /// The copies; each `Include` names others of them by their place in [`STAGE`].
    files: Vec<Vec<u8>>,
    /// Whether what counts depends on who logs in.
    by_user: bool,
    /// Whether it depends on from where.
    by_address: bool,
    /// The networks that it names.
    pub nets: Vec<Range>,
    /// The directories and files that it includes from elsewhere.
    included: BTreeSet<String>,
}

/// The groups of each user for whom `Match Group` is to be decided.
pub type Groups = BTreeMap<String, BTreeSet<String>>;

impl Configuration {
    /// Reads the configuration with all that it includes; `None` if there is none.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(host: &dyn ReadHost, groups: &Groups) -> Result<Option<Self>, HostError> {
        let mut configuration = Self::default();
        let found = configuration.copy(Path::new(CONFIG), host, groups, 0)?;
        Ok(found.map(|_| configuration))
    }

    /// Copies a file and what it includes; returns the place of the copy.
    fn copy(
        &mut self,
        path: &Path,
        host: &dyn ReadHost,
        groups: &Groups,
        depth: usize,
    ) -> Result<Option<usize>, HostError> {
        if depth > DEPTH_MAX || self.files.len() >= FILES_MAX {
            return Ok(None);
        }
        let Some(content) = host.read(path)? else { return Ok(None) };
        let place = self.files.len();
        self.files.push(Vec::new());
        let mut copy = Vec::new();
        for line in content.split(|byte| *byte == b'\n') {
            let Ok(text) = std::str::from_utf8(line) else {
                copy.extend([line, b"\n"].concat());
                continue;
            };
            let words = words(text);
            let rewritten = match words.first().map(|word| word.to_ascii_lowercase()).as_deref() {
                Some("include") => Some(self.include(&words[1..], host, groups, depth)?),
                Some("match") => Some(self.matching(text, &words[1..], groups)),
                Some("allowusers" | "denyusers") => {
                    let hosts = words[1..].iter().filter_map(|word| word.rsplit_once('@'));
                    self.nets.extend(hosts.flat_map(|(_, hosts)| patterns::nets(hosts)));
                    None
                }
                _ => None,
            };
            copy.extend([rewritten.as_deref().unwrap_or(text).as_bytes(), b"\n"].concat());
        }
        self.files[place] = copy;
        Ok(Some(place))
    }

    /// Returns an `Include` of the copies.
    fn include(
        &mut self,
        patterns: &[String],
        host: &dyn ReadHost,
        groups: &Groups,
        depth: usize,
    ) -> Result<String, HostError> {
        let mut line = String::new();
        for pattern in patterns {
            let pattern = Path::new("/etc/ssh").join(pattern);
            self.included.extend(pattern.parent().and_then(Path::to_str).map(str::to_owned));
            for path in expand(&pattern, host)? {
                if let Some(place) = self.copy(&path, host, groups, depth + 1)? {
                    line.push_str(&format!(" {STAGE}/{place}"));
                }
            }
        }
        // One that finds nothing is passed over by sshd too.
        Ok(if line.is_empty() { String::new() } else { format!("Include{line}") })
    }

    /// Returns a `Match` in which groups are replaced by their members: sshd would go by the groups that there are now.
    fn matching(&mut self, line: &str, words: &[String], groups: &Groups) -> String {
        let Some(criteria) = criteria(words) else {
            // Something that sshd itself may judge, and whatever it is about shall be told to it.
            (self.by_user, self.by_address) = (true, true);
            return line.to_owned();
        };
        let mut rewritten = "Match".to_owned();
        for (mut criterion, value) in criteria {
            let Some(mut value) = value else {
                rewritten.push_str(&format!(" {criterion}"));
                continue;
            };
            match criterion.as_str() {
                "user" => self.by_user = true,
                "group" => {
                    self.by_user = true;
                    let members = groups.iter().filter(|(_, groups)| is_in(groups, &value));
                    let members: Vec<&str> = members.map(|(name, _)| name.as_str()).collect();
                    criterion = "user".to_owned();
                    value = if members.is_empty() { "!*".to_owned() } else { members.join(",") };
                }
                "address" => {
                    self.by_address = true;
                    self.nets.extend(patterns::nets(&value));
                }
                "host" => self.by_address = true,
                _ => {}
            }
            rewritten.push_str(&format!(" {criterion} \"{value}\""));
        }
        rewritten
    }

    /// Asks sshd what counts for this user from this address. The inner error is what sshd finds wrong.
    ///
    /// # Errors
    /// sshd cannot be asked.
    pub fn ask(&self, host: &dyn ReadHost, user: &str, address: IpAddr) -> Result<Result<Settings, String>, HostError> {
        let connection = (self.by_user || self.by_address).then_some((user, address));
        let question = Effective::Sshd { files: &self.files, connection };
        let output = match ask(host, &question)? {
            Ok(output) => output,
            Err(why) => return Ok(Err(why)),
        };
        if output.success {
            return Ok(Ok(Settings::of(&String::from_utf8_lossy(&output.stdout))));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or(&output.status);
        // What it says of its copies is of no use to anybody.
        Ok(Err(said.replace(&format!("{STAGE}/0"), CONFIG).escape_debug().to_string()))
    }

    /// Returns the copies, in the order of their places.
    #[cfg(test)]
    pub fn files(&self) -> &[Vec<u8>] {
        &self.files
    }

    /// Returns what of a user and an address the answer depends on.
    pub fn question<'q>(&self, user: &'q str, address: IpAddr) -> (Option<&'q str>, Option<IpAddr>) {
        (self.by_user.then_some(user), self.by_address.then_some(address))
    }
}

/// Returns the paths that the configuration names, as far as they are fixed: `/var/keys` of `/var/keys/%u`.
///
/// # Errors
/// A file cannot be read.
pub fn named_paths(host: &dyn ReadHost) -> Result<BTreeSet<String>, HostError> {
    let mut named = BTreeSet::new();
    let Some(configuration) = Configuration::read(host, &Groups::new())? else { return Ok(named) };
    for line in configuration.files.iter().flat_map(|file| file.split(|byte| *byte == b'\n')) {
        let words = words(&String::from_utf8_lossy(line));
        for path in words.iter().skip(1).filter(|word| word.starts_with('/')) {
            let fixed = path.split(['%', '*', '?', '[']).next().unwrap_or(path);
            let fixed =
                if fixed.len() < path.len() { fixed.rsplit_once('/').map_or("", |(above, _)| above) } else { fixed };
            named.insert(fixed.to_owned());
        }
    }
    named.extend(configuration.included);
    named.retain(|path| !path.is_empty() && !path.starts_with(STAGE));
    Ok(named)
}

/// Whether one of the groups is in the list, and none is excluded by it, as `Match Group` has it.
fn is_in(groups: &BTreeSet<String>, list: &str) -> bool {
    let found: Vec<Listed> = groups.iter().map(|group| listed(list, |pattern| matches(pattern, group))).collect();
    found.contains(&Listed::Yes) && !found.contains(&Listed::Excluded)
}

/// Splits a line into words, at spaces and at one `=` behind the keyword; quotation marks hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), false, false);
    for c in line.chars() {
        match c {
            '#' if !quoted && !begun => break,
            '"' => {
                quoted = !quoted;
                begun = true;
            }
            c if !quoted && (c.is_whitespace() || c == '=' && words.is_empty() && !word.is_empty()) => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            c if !quoted && c == '=' && words.len() == 1 && !begun => {}
            c => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// Returns the criteria of a `Match` in small letters, each with its value: `user bob`, `user=bob`, and `all` or, in OpenSSH 10,
/// `invalid-user` without one. `None` if the words are of no such form.
fn criteria(words: &[String]) -> Option<Vec<(String, Option<String>)>> {
    let mut criteria = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let (criterion, value) = match word.split_once('=') {
            Some((criterion, value)) => (criterion, Some(value)),
            None if ["all", "invalid-user"].iter().any(|alone| word.eq_ignore_ascii_case(alone)) => (word, None),
            None => (word, Some(words.next()?)),
        };
        if criterion.is_empty() || value.is_some_and(|value| value.is_empty() || value == "=") {
            return None;
        }
        criteria.push((criterion.to_ascii_lowercase(), value.map(str::to_owned)));
    }
    Some(criteria)
}

/// Returns the paths that a pattern of glob(7) stands for, sorted.
fn expand(pattern: &Path, host: &dyn ReadHost) -> Result<Vec<PathBuf>, HostError> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.components().skip(1) {
        let Some(part) = part.as_os_str().to_str() else { return Ok(Vec::new()) };
        if !part.contains(['*', '?', '[']) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut below = Vec::new();
        for directory in &found {
            let is_hidden = |name: &str| name.starts_with('.') && !part.starts_with('.');
            // Something else than a directory has nothing below it.
            let Ok(Some(names)) = host.list(directory) else { continue };
            let names = names.iter().filter_map(|name| name.to_str());
            let fitting = names.filter(|name| !is_hidden(name) && matches_glob(part, name));
            below.extend(fitting.map(|name| directory.join(name)));
        }
        found = below;
    }
    let mut there = Vec::new();
    for path in found {
        if host.stat(&path)?.is_some() {
            there.push(path);
        }
    }
    Ok(there)
}

/// As [`matches`], with sets of characters in brackets too.
fn matches_glob(pattern: &str, name: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('[') else { return matches(pattern, name) };
    let Some((set, after)) = rest.split_once(']') else { return matches(pattern, name) };
    let (set, negated) = match set.strip_prefix(['!', '^']) {
        Some(set) => (set, true),
        None => (set, false),
    };
    let set: Vec<char> = set.chars().collect();
    let holds = |c: char| match set.as_slice() {
        [from, '-', to] => (*from..=*to).contains(&c),
        set => set.contains(&c),
    };
    name.char_indices().any(|(at, c)| {
        holds(c) != negated && matches(before, &name[..at]) && matches_glob(after, &name[at + c.len_utf8()..])
    })
}

/// What counts for one connection, as `sshd -T` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, Vec<String>>);

impl Settings {
    pub fn of(text: &str) -> Self {
        let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines() {
            let (key, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            settings.entry(key.to_ascii_lowercase()).or_default().push(value.to_owned());
        }
        Self(settings)
    }

    /// Returns every value of the key.
    pub fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the value of the key; `none` and an unset key are the same.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).first().map(String::as_str).filter(|value| !value.is_empty() && *value != "none")
    }

    pub fn is(&self, key: &str, value: &str) -> bool {
        self.get(key).is_some_and(|now| now.eq_ignore_ascii_case(value))
    }

    /// Whether a key of this type counts.
    pub fn takes(&self, kind: &str) -> bool {
        let Some(accepted) = self.get("pubkeyacceptedalgorithms").or(self.get("pubkeyacceptedkeytypes")) else {
            return true;
        };
        let mut accepted = accepted.split(',');
        match kind {
            "ssh-rsa" => accepted.any(|name| ["ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"].contains(&name)),
            _ => accepted.any(|name| name == kind),
        }
    }

    /// Returns the ports on which others than the host itself reach sshd, by the family of `from`.
    pub fn ports(&self, from: IpAddr) -> BTreeSet<u16> {
        let listens = self.all("listenaddress").iter().filter_map(|address| {
            let (address, port) = address.split_whitespace().next()?.rsplit_once(':')?;
            let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
            let hears = !address.is_loopback() && address.is_ipv4() == from.is_ipv4();
            hears.then(|| port.parse().ok()).flatten()
        });
        listens.collect()
    }

    /// Says why sshd would not let this user in from this address, whatever key is shown; `None` if it would.
    pub fn obstacle(&self, user: &str, is_root: bool, groups: &BTreeSet<String>, from: IpAddr) -> Option<String> {
        let is_user = |pattern: &String| match pattern.rsplit_once('@') {
            Some((name, hosts)) => matches(name, user) && patterns::lists_address(hosts, from),
            None => matches(pattern, user),
        };
        let is_group = |pattern: &String| groups.iter().any(|group| matches(pattern, group));
        let named = |key: &str| self.all(key).join(" ");
        if self.is("refuseconnection", "yes") {
            return Some("RefuseConnection of sshd is yes".to_owned());
        }
        if let Some(pattern) = self.all("denyusers").iter().find(|pattern| is_user(pattern)) {
            return Some(format!("DenyUsers {pattern} of sshd shuts them out"));
        }
        if !self.all("allowusers").is_empty() && !self.all("allowusers").iter().any(is_user) {
            return Some(format!("AllowUsers of sshd has only {}", named("allowusers")));
        }
        if let Some(pattern) = self.all("denygroups").iter().find(|pattern| is_group(pattern)) {
            return Some(format!("DenyGroups {pattern} of sshd shuts them out"));
        }
        if !self.all("allowgroups").is_empty() && !self.all("allowgroups").iter().any(is_group) {
            return Some(format!("AllowGroups of sshd has only {}", named("allowgroups")));
        }
        if is_root
            && !["yes", "prohibit-password", "without-password"].iter().any(|word| self.is("permitrootlogin", word))
        {
            let value = self.get("permitrootlogin").unwrap_or("no");
            return Some(format!("PermitRootLogin of sshd is {value}"));
        }
        if !self.is("pubkeyauthentication", "yes") {
            return Some("PubkeyAuthentication of sshd is no".to_owned());
        }
        if let Some(command) = self.get("forcecommand") {
            return Some(format!("ForceCommand of sshd lets them run only {}", command.escape_debug()));
        }
        if let Some(directory) = self.get("chrootdirectory") {
            return Some(format!("ChrootDirectory of sshd keeps them in {}", directory.escape_debug()));
        }
        if self.is("permittty", "no") {
            return Some("PermitTTY of sshd is no".to_owned());
        }
        [("maxsessions", "MaxSessions"), ("maxauthtries", "MaxAuthTries")]
            .into_iter()
            .find(|(key, _)| self.is(key, "0"))
            .map(|(_, name)| format!("{name} of sshd is 0"))
    }

    /// Returns whether a key alone is enough, and if not, whether a key and a password are.
    pub fn methods(&self) -> Methods {
        let Some(lists) = self.get("authenticationmethods").filter(|lists| *lists != "any") else {
            return Methods::Key;
        };
        let steps =
            |list: &str| list.split(',').map(|step| step.split(':').next().unwrap_or(step).to_owned()).collect();
        let lists: Vec<Vec<String>> = lists.split_whitespace().map(steps).collect();
        let password = |step: &String| step == "password" || step == "keyboard-interactive";
        let of = |other: &dyn Fn(&String) -> bool| {
            lists.iter().any(|list| {
                list.iter().any(|step| step == "publickey")
                    && list.iter().all(|step| step == "publickey" || other(step))
            })
        };
        match () {
            () if of(&|_| false) => Methods::Key,
            () if of(&password) => Methods::KeyAndPassword,
            () => Methods::Other,
        }
    }
}

/// What `AuthenticationMethods` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    Key,
    KeyAndPassword,
    /// Something that hostwrit knows nothing of.
    Other,
}
