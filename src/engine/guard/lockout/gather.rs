// SPDX-License-Identifier: Apache-2.0
//! Gathers the facts by which administrators are judged, of a host as it is or as a plan would leave it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::host::{FileKind, HostError, ReadHost, Stat, UnitState};
use crate::resources::accounts::{Accounts, UserEntry};
use crate::resources::firewall::Range;

use super::admin::{Account, Admin, KeyFile, Password, Way};
use super::reach::Reach;
use super::sshd::{CONFIG, Configuration, Settings};
use super::sudo::{Asker, Right, Sudo};

/// The units that run sshd, by distribution.
const UNITS: [&str; 4] = ["ssh.service", "sshd.service", "ssh.socket", "sshd.socket"];

const NOLOGIN: [&str; 2] = ["/etc/nologin", "/run/nologin"];

/// The shells that let nobody in.
const NO_SHELLS: [&str; 2] = ["nologin", "false"];

/// What sshd says depends on these.
type Question = (Option<String>, Option<IpAddr>);

/// A host that is looked at.
pub struct Scene<'h> {
    host: &'h dyn ReadHost,
    accounts: Accounts,
    sudo: Sudo,
    hostname: String,
    configuration: Option<Configuration>,
    /// Why sshd lets nobody in, whoever it is.
    server_fault: Option<String>,
    answers: RefCell<BTreeMap<Question, Result<Settings, String>>>,
}

impl<'h> Scene<'h> {
    /// Reads what does not depend on who logs in.
    ///
    /// # Errors
    /// The host cannot be read or asked.
    pub fn of(host: &'h dyn ReadHost) -> Result<Self, HostError> {
        let accounts = Accounts::read(host)?;
        let name = host.read(Path::new("/proc/sys/kernel/hostname"))?.unwrap_or_default();
        let hostname = String::from_utf8_lossy(&name).trim().to_owned();
        let groups = accounts.users.keys().map(|name| (name.clone(), groups_of(&accounts, name).0)).collect();
        let sudo = Sudo::read(host, &hostname)?;
        let configuration = Configuration::read(host, &groups)?;
        let mut scene =
            Self { host, accounts, sudo, hostname, configuration, server_fault: None, answers: RefCell::default() };
        scene.server_fault = scene.find_server_fault()?;
        Ok(scene)
    }

    /// Returns the names of all who may become root: root's own, and those that sudo lets.
    pub fn administrators(&self) -> BTreeSet<String> {
        let users = self.accounts.users.iter();
        users.filter(|(name, user)| self.right(name, user) != Right::None).map(|(name, _)| name.clone()).collect()
    }

    /// Returns the networks that sshd's configuration and the keys of these users name.
    ///
    /// # Errors
    /// A file of keys cannot be read.
    pub fn nets(&self, users: &BTreeSet<String>) -> Result<Vec<Range>, HostError> {
        let mut nets = self.configuration.as_ref().map(|configuration| configuration.nets.clone()).unwrap_or_default();
        for user in users.iter().filter_map(|name| self.accounts.users.get(name)) {
            let path = Path::new(&user.home).join(".ssh/authorized_keys");
            if let Some(content) = self.read_regular(&path)? {
                nets.extend(super::keys::sources(&content));
            }
        }
        Ok(nets)
    }

    /// Returns all that is known of a user who might come from these addresses.
    ///
    /// # Errors
    /// The host cannot be read or asked.
    pub fn admin(&self, name: &str, sources: &[IpAddr], reach: &Reach) -> Result<Admin, HostError> {
        let user = self.accounts.users.get(name);
        let mut ways = Vec::new();
        for from in user.iter().flat_map(|_| sources) {
            let settings = self.settings(name, *from)?;
            let (mut key_files, mut open) = (Vec::new(), BTreeSet::new());
            if let (Some(user), Ok(settings)) = (user, &settings) {
                key_files = self.key_files(name, user, settings)?;
                open = settings.ports(*from).into_iter().filter(|port| reach.admits(*from, *port)).collect();
            }
            ways.push(Way { from: *from, settings, key_files, open });
        }
        let mut nologin = None;
        for path in NOLOGIN {
            nologin = nologin.or(self.host.stat(Path::new(path))?.map(|_| path));
        }
        Ok(Admin {
            name: name.to_owned(),
            account: user.map(|user| self.account(name, user)).transpose()?,
            right: user.map_or(Right::None, |user| self.right(name, user)),
            sudo_fault: match &self.sudo {
                Sudo::Useless(why) => Some(why.clone()),
                Sudo::Rules(_) => None,
            },
            root_password: self.password("root") == Password::Usable,
            nologin,
            now: self.host.now(),
            ways,
        })
    }

    /// Whether sshd can be reached from there, whoever it is.
    ///
    /// # Errors
    /// sshd cannot be asked.
    pub fn hears(&self, from: IpAddr, reach: &Reach) -> Result<bool, HostError> {
        let ports = self.settings("root", from)?.map(|settings| settings.ports(from)).unwrap_or_default();
        Ok(ports.into_iter().any(|port| reach.admits(from, port)))
    }

    fn settings(&self, user: &str, from: IpAddr) -> Result<Result<Settings, String>, HostError> {
        if let Some(fault) = &self.server_fault {
            return Ok(Err(fault.clone()));
        }
        let Some(configuration) = &self.configuration else { return Ok(Err(format!("{CONFIG} is not there"))) };
        let (who, whence) = configuration.question(user, from);
        let question = (who.map(str::to_owned), whence);
        if let Some(answer) = self.answers.borrow().get(&question) {
            return Ok(answer.clone());
        }
        let answer = match configuration.ask(self.host, user, from)? {
            Ok(settings) => self.with_host_key(settings)?,
            Err(fault) => Err(fault),
        };
        self.answers.borrow_mut().insert(question, answer.clone());
        Ok(answer)
    }

    /// Checks that sshd has a key of its own: it was asked on the host as it is, where there may still be one.
    fn with_host_key(&self, settings: Settings) -> Result<Result<Settings, String>, HostError> {
        for path in settings.all("hostkey") {
            let found = self.read_regular(Path::new(path))?;
            let stat = self.host.stat(Path::new(path))?;
            // sshd takes no key that others may read, but for the group that some distributions have for it.
            let is_private = |stat: Stat| stat.mode & 0o037 == 0 && (stat.mode & 0o040 == 0 || stat.owner.gid != 0);
            if found.is_some_and(|key| key.starts_with(b"-----BEGIN")) && stat.is_some_and(is_private) {
                return Ok(Ok(settings));
            }
        }
        Ok(Err("it has no host key that it can use".to_owned()))
    }

    /// Says why sshd lets nobody in: it does not run, will not after a reboot, or lacks its own user.
    fn find_server_fault(&self) -> Result<Option<String>, HostError> {
        let mut states = Vec::new();
        for state in self.host.units(&UNITS)? {
            let path = Path::new("/etc/systemd/system").join(&state.name);
            let is_link = self.host.stat(&path)?.is_some_and(|stat| stat.kind == FileKind::Link);
            let masked = is_link && self.host.read_link(&path)?.is_some_and(|target| target == Path::new("/dev/null"));
            states.push((state, masked));
        }
        // One may be another name of the other, so each that there is must be well.
        let of = |suffix: &str| -> Vec<&(UnitState, bool)> {
            states.iter().filter(|(state, _)| state.name.ends_with(suffix) && state.load != "not-found").collect()
        };
        let (services, sockets) = (of(".service"), of(".socket"));
        let fault = |units: &[&(UnitState, bool)]| units.iter().find_map(|(state, masked)| unit_fault(state, *masked));
        let fault = match (services.is_empty(), sockets.is_empty()) {
            (true, true) => Some("no unit ssh or sshd is there".to_owned()),
            (false, true) => fault(&services),
            (true, false) => fault(&sockets),
            (false, false) => fault(&services).filter(|_| fault(&sockets).is_some()),
        };
        let lacks_user = !self.accounts.users.contains_key("sshd");
        Ok(fault.or(lacks_user.then(|| "there is no user sshd".to_owned())))
    }

    fn right(&self, name: &str, user: &UserEntry) -> Right {
        if user.uid == 0 {
            return Right::Free;
        }
        let (groups, gids) = groups_of(&self.accounts, name);
        self.sudo.right(&Asker { name, uid: user.uid, groups: &groups, gids: &gids, hostname: &self.hostname })
    }

    fn password(&self, name: &str) -> Password {
        let hash = match (self.accounts.users.get(name), self.accounts.shadow.get(name)) {
            (Some(user), _) if user.password.expose() != "x" => &user.password,
            (_, Some(shadow)) => &shadow.hash,
            _ => return Password::None,
        };
        match hash.expose() {
            hash if hash.starts_with('!') => Password::Locked,
            hash if hash.is_empty() || hash.starts_with('*') => Password::None,
            _ => Password::Usable,
        }
    }

    fn account(&self, name: &str, user: &UserEntry) -> Result<Account, HostError> {
        let since = self.host.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shell = if user.shell.is_empty() { "/bin/sh".to_owned() } else { user.shell.clone() };
        Ok(Account {
            uid: user.uid,
            shell_fault: self.shell_fault(&shell)?,
            shell,
            expires: self.accounts.shadow.get(name).and_then(|shadow| shadow.expires),
            today: i64::try_from(since.as_secs() / 86_400).unwrap_or(0),
            password: self.password(name),
            groups: groups_of(&self.accounts, name).0,
        })
    }

    fn shell_fault(&self, shell: &str) -> Result<Option<String>, HostError> {
        let path = Path::new(shell);
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| NO_SHELLS.contains(&name)) {
            return Ok(Some("lets nobody in".to_owned()));
        }
        match self.host.stat(&real_path(path, self.host)?)? {
            Some(stat) if stat.kind == FileKind::File && stat.mode & 0o111 != 0 => {}
            _ => return Ok(Some("is no program".to_owned())),
        }
        let Some(shells) = self.host.read(Path::new("/etc/shells"))? else { return Ok(None) };
        let shells = String::from_utf8_lossy(&shells);
        let is_listed = shells.lines().any(|line| line.trim() == shell);
        Ok((!is_listed).then(|| "is not in /etc/shells".to_owned()))
    }

    /// Returns the files that `AuthorizedKeysFile` means for the user.
    fn key_files(&self, name: &str, user: &UserEntry, settings: &Settings) -> Result<Vec<KeyFile>, HostError> {
        let mut files = Vec::new();
        for shown in settings.get("authorizedkeysfile").unwrap_or_default().split_whitespace() {
            let uid = user.uid.to_string();
            let expanded = expand(shown, &[('h', &user.home), ('u', name), ('U', &uid), ('%', "%")]);
            let path = Path::new(&user.home).join(expanded);
            let real = real_path(&path, self.host)?;
            let content = self.read_regular(&real)?;
            let fault = match &content {
                Some(_) => self.key_file_fault(&real, name, user, settings.is("strictmodes", "yes"))?,
                None => None,
            };
            let shown = if Path::new(shown).is_absolute() { path.display().to_string() } else { format!("~/{shown}") };
            files.push(KeyFile { shown, content, fault });
        }
        Ok(files)
    }

    /// Says why sshd does not read the file: it reads as the user, and with `StrictModes` nobody else may write to it or to
    /// the directories up to the home, or to the root where it is elsewhere.
    fn key_file_fault(
        &self,
        file: &Path,
        name: &str,
        user: &UserEntry,
        strict: bool,
    ) -> Result<Option<String>, HostError> {
        let home = real_path(Path::new(&user.home), self.host)?;
        let gids = groups_of(&self.accounts, name).1;
        let mut is_within = strict;
        for path in file.ancestors() {
            let Some(stat) = self.host.stat(path)? else { continue };
            let shown = path.display();
            let bit = if path == file { 4 } else { 1 };
            if user.uid != 0 && !may(stat, user.uid, &gids, bit) {
                return Ok(Some(format!("{shown} is closed to them (mode {:04o})", stat.mode)));
            }
            if is_within && stat.owner.uid != 0 && stat.owner.uid != user.uid {
                return Ok(Some(format!("{shown} belongs to uid {}", stat.owner.uid)));
            }
            if is_within && (stat.mode & 0o002 != 0 || stat.mode & 0o020 != 0 && !self.is_private(stat)) {
                return Ok(Some(format!("others may write to {shown} (mode {:04o})", stat.mode)));
            }
            is_within &= path != home;
        }
        Ok(None)
    }

    /// Whether the file's group is its owner's alone; Debian's sshd lets that group write.
    fn is_private(&self, stat: Stat) -> bool {
        let owner = self.accounts.users.iter().find(|(_, user)| user.uid == stat.owner.uid);
        let group = self.accounts.groups.values().find(|group| group.gid == stat.owner.gid);
        let (Some((owner, _)), Some(group)) = (owner, group) else { return false };
        let others = self.accounts.users.iter().filter(|(name, _)| *name != owner);
        group.members.iter().all(|member| member == owner) && others.into_iter().all(|(_, user)| user.gid != group.gid)
    }

    /// Returns the content of a regular file, following links; what else is there counts for nothing.
    fn read_regular(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        let path = real_path(path, self.host)?;
        match self.host.stat(&path)? {
            Some(stat) if stat.kind == FileKind::File => self.host.read(&path),
            _ => Ok(None),
        }
    }
}

/// Says why a unit does not run, or will not after the next boot.
fn unit_fault(state: &UnitState, masked: bool) -> Option<String> {
    let name = &state.name;
    if masked || state.load == "masked" || state.file_state.starts_with("masked") {
        return Some(format!("{name} is masked"));
    }
    match state.active.as_deref() {
        None | Some("active" | "activating" | "reloading") => {}
        Some(other) => return Some(format!("{name} is {other}")),
    }
    ["disabled", "bad", ""].contains(&state.file_state.as_str()).then(|| format!("{name} does not start at boot"))
}

/// Returns the names and numbers of all groups of a user.
fn groups_of(accounts: &Accounts, user: &str) -> (BTreeSet<String>, BTreeSet<u32>) {
    let mut names = accounts.groups_of(user);
    let primary = accounts.users.get(user).map(|user| user.gid);
    names.extend(primary.and_then(|gid| accounts.group_name(gid)).map(str::to_owned));
    let gids =
        names.iter().filter_map(|name| accounts.groups.get(name)).map(|group| group.gid).chain(primary).collect();
    (names, gids)
}

/// Whether the user may do with a file what the bit stands for: 4 to read it, 1 to go through it.
fn may(stat: Stat, uid: u32, gids: &BTreeSet<u32>, bit: u32) -> bool {
    let shift = match () {
        () if stat.owner.uid == uid => 6,
        () if gids.contains(&stat.owner.gid) => 3,
        () => 0,
    };
    stat.mode >> shift & bit != 0
}

/// Puts values in the place of `%h` and the like.
fn expand(text: &str, values: &[(char, &str)]) -> String {
    let mut expanded = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            expanded.push(c);
            continue;
        }
        let key = chars.next();
        expanded.extend(values.iter().find(|(name, _)| Some(*name) == key).map(|(_, value)| *value));
    }
    expanded
}

/// Returns the path without symbolic links in it. A way that goes round in circles ends where it was.
fn real_path(path: &Path, host: &dyn ReadHost) -> Result<PathBuf, HostError> {
    const LINKS_MAX: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        let mut link = None;
        for part in above {
            match host.stat(part)? {
                None => break,
                Some(stat) if stat.kind == FileKind::Link => {
                    link = Some(part);
                    break;
                }
                Some(_) => {}
            }
        }
        let Some(link) = link else { return Ok(path) };
        let Some(target) = host.read_link(link)? else { return Ok(path) };
        let rest = path.strip_prefix(link).unwrap_or(Path::new("")).to_owned();
        let joined = link.parent().unwrap_or(Path::new("/")).join(target);
        path = if rest.as_os_str().is_empty() { without_dots(&joined) } else { without_dots(&joined).join(rest) };
    }
    Ok(path)
}

fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(clean.pop()),
            std::path::Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}
