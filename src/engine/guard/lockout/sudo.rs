// SPDX-License-Identifier: Apache-2.0
//! Whom sudo lets become root: sudoers(5), read by sudo's own `cvtsudoers`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::host::{Effective, FileKind, HostError, ReadHost};

use super::ask;

const SUDOERS: &str = "/etc/sudoers";

/// Where sudo itself is looked for.
const SUDO: [&str; 3] = ["/usr/bin/sudo", "/bin/sudo", "/usr/local/bin/sudo"];

/// As deep as sudo follows `@include`.
const DEPTH_MAX: usize = 128;

/// The rules that sudo goes by, or why it goes by none.
#[derive(Clone, Debug)]
pub enum Sudo {
    Rules(Value),
    /// In words that follow "sudo".
    Useless(String),
}

/// How a user becomes root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Without being asked for a password.
    Free,
    /// With a password of his own.
    OwnPassword,
    /// With root's password.
    RootPassword,
    None,
}

/// The user for whom rules are looked through.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub name: &'a str,
    pub uid: u32,
    /// Names and numbers of all groups.
    pub groups: &'a BTreeSet<String>,
    pub gids: &'a BTreeSet<u32>,
    /// The host's name, for rules that name hosts.
    pub hostname: &'a str,
}

impl Sudo {
    /// Reads the rules.
    ///
    /// # Errors
    /// A file cannot be read, or sudo's program cannot be asked.
    pub fn read(host: &dyn ReadHost, hostname: &str) -> Result<Self, HostError> {
        let mut program = None;
        for path in SUDO {
            program = program.or(host.stat(Path::new(path))?.filter(|stat| stat.kind == FileKind::File));
        }
        match program {
            None => return Ok(Self::Useless("is not installed".to_owned())),
            Some(stat) if stat.owner.uid != 0 || stat.mode & 0o4111 != 0o4111 => {
                return Ok(Self::Useless(format!("has the mode {:04o} and cannot become root", stat.mode)));
            }
            Some(_) => {}
        }
        let mut text = Text::default();
        if let Err(why) = text.collect(Path::new(SUDOERS), hostname, host, 0)? {
            return Ok(Self::Useless(why));
        }
        let output = match ask(host, &Effective::Sudoers(&text.content))? {
            Ok(output) => output,
            Err(why) => return Ok(Self::Useless(format!("cannot be asked for its rules: {why}"))),
        };
        match serde_json::from_slice(&output.stdout) {
            Ok(rules) if output.success => Ok(Self::Rules(rules)),
            _ => Ok(Self::Useless(text.fault(&String::from_utf8_lossy(&output.stderr), &output.status))),
        }
    }

    /// Returns how the rules let this user become root.
    pub fn right(&self, asker: &Asker<'_>) -> Right {
        let Self::Rules(rules) = self else { return Right::None };
        let rules = Rules { rules, asker };
        match rules.last_word() {
            Some(Word { allowed: true, authenticate }) => rules.password(authenticate),
            _ => Right::None,
        }
    }
}

/// All rules as one text: what is included stands in the place of the line that includes it.
#[derive(Default)]
struct Text {
    content: Vec<u8>,
    /// Where each line is from.
    origins: Vec<(PathBuf, usize)>,
}

impl Text {
    /// Adds a file with all that it includes. The inner error says why sudo would go by no rules at all.
    fn collect(
        &mut self,
        path: &Path,
        hostname: &str,
        host: &dyn ReadHost,
        depth: usize,
    ) -> Result<Result<(), String>, HostError> {
        let shown = path.display();
        let Some(content) = host.read(path)? else { return Ok(Err(format!("finds no {shown}"))) };
        if let Some(why) = insecure(path, host)? {
            // sudo goes by no rules at all without the first file, and passes over one of the others.
            return Ok(if depth == 0 { Err(format!("does not read {shown}, which {why}")) } else { Ok(()) });
        }
        if depth > DEPTH_MAX {
            return Ok(Err(format!("finds {shown} included too often")));
        }
        for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
            let Some((name, is_directory)) = std::str::from_utf8(line).ok().and_then(include) else {
                self.content.extend([line, b"\n"].concat());
                self.origins.push((path.to_owned(), number));
                continue;
            };
            let included = Path::new("/etc").join(name.replace("%h", hostname));
            for file in if is_directory { in_directory(&included, host)? } else { vec![included] } {
                if let Err(why) = self.collect(&file, hostname, host, depth + 1)? {
                    return Ok(Err(why));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Puts what the program says of a line, `PATH:LINE:COLUMN: what`, in words that follow "sudo".
    fn fault(&self, said: &str, status: &str) -> String {
        let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or(status);
        let mut parts = first.splitn(4, ':').skip(1);
        let line = parts.next().and_then(|line| line.parse::<usize>().ok()).and_then(|line| line.checked_sub(1));
        let what = parts.nth(1).unwrap_or(first).trim().escape_debug();
        match line.and_then(|line| self.origins.get(line)) {
            Some((path, number)) => format!("cannot read its rules ({}:{number}: {what})", path.display()),
            None => format!("cannot read its rules ({what})"),
        }
    }
}

/// Returns what a line includes, and whether that is a directory.
fn include(line: &str) -> Option<(String, bool)> {
    let line = line.trim_start();
    let rest = line.strip_prefix(['@', '#'])?;
    let (word, name) = rest.split_once(char::is_whitespace)?;
    let is_directory = match word {
        "include" => false,
        "includedir" => true,
        _ => return None,
    };
    let name = name.trim().trim_matches('"').replace("\\ ", " ");
    (!name.is_empty()).then_some((name, is_directory))
}

/// Returns the files of a directory of rules: those with a dot or a `~` at the end are passed over.
fn in_directory(path: &Path, host: &dyn ReadHost) -> Result<Vec<PathBuf>, HostError> {
    let mut files = Vec::new();
    for name in host.list(path)?.unwrap_or_default() {
        let is_rule = |name: &OsStr| name.to_str().is_some_and(|name| !name.contains('.') && !name.ends_with('~'));
        let file = path.join(&name);
        if is_rule(&name) && host.stat(&file)?.is_some_and(|stat| stat.kind != FileKind::Directory) {
            files.push(file);
        }
    }
    Ok(files)
}

/// Says why sudo does not trust a file of rules.
fn insecure(path: &Path, host: &dyn ReadHost) -> Result<Option<String>, HostError> {
    let Some(stat) = host.stat(path)? else { return Ok(None) };
    Ok(match stat.kind {
        FileKind::Directory | FileKind::Special => Some("is no file".to_owned()),
        // What it leads to is another matter; that is rare enough.
        FileKind::Link => None,
        FileKind::File if stat.owner.uid != 0 => Some(format!("belongs to uid {}", stat.owner.uid)),
        FileKind::File if stat.mode & 0o002 != 0 => Some("anybody may write".to_owned()),
        FileKind::File if stat.mode & 0o020 != 0 && stat.owner.gid != 0 => Some("a group may write".to_owned()),
        FileKind::File => None,
    })
}

/// What the last rule that is about root and everything says.
struct Word {
    allowed: bool,
    /// Whether the rule asks for a password; `None` where it says nothing of that.
    authenticate: Option<bool>,
}

/// The rules, looked through for one user.
struct Rules<'a> {
    rules: &'a Value,
    asker: &'a Asker<'a>,
}

impl Rules<'_> {
    /// Of all rules about the user and this host that say something of all commands as root, the last counts.
    fn last_word(&self) -> Option<Word> {
        let mut last = None;
        for spec in list(self.rules, "User_Specs") {
            let about = self.lists(list(spec, "User_List"), &|member| self.is_user(member))
                && self.lists(list(spec, "Host_List"), &|member| self.is_host(member));
            if !about {
                continue;
            }
            for command in list(spec, "Cmnd_Specs") {
                if !self.as_root(command) {
                    continue;
                }
                for member in list(command, "Commands") {
                    if self.is_everything(member) {
                        let authenticate = option(command, "authenticate").and_then(Value::as_bool);
                        last = Some(Word { allowed: !is_negated(member), authenticate });
                    }
                }
            }
        }
        last
    }

    fn as_root(&self, command: &Value) -> bool {
        let users = list(command, "runasusers");
        if users.is_empty() {
            // Without a word on whom, root; with a word on groups alone, the user himself.
            return list(command, "runasgroups").is_empty();
        }
        let is_root = |member: &Value| {
            matches!(text(member, "username"), Some("ALL" | "root"))
                || member.get("userid").and_then(Value::as_u64) == Some(0)
                || self.in_alias("Runas_Aliases", member, "runasalias", &|member| {
                    matches!(text(member, "username"), Some("ALL" | "root"))
                })
        };
        self.lists(users, &is_root)
    }

    fn is_everything(&self, member: &Value) -> bool {
        let all = |member: &Value| text(member, "command") == Some("ALL");
        all(member) || self.in_alias("Command_Aliases", member, "cmndalias", &all)
    }

    fn is_user(&self, member: &Value) -> bool {
        let Asker { name, uid, groups, gids, .. } = self.asker;
        let id = |key: &str| member.get(key).and_then(Value::as_u64);
        text(member, "username").is_some_and(|user| user == "ALL" || user == *name)
            || id("userid") == Some(u64::from(*uid))
            || text(member, "usergroup").is_some_and(|group| groups.contains(group))
            || id("usergid").is_some_and(|gid| gids.iter().any(|own| u64::from(*own) == gid))
            || self.in_alias("User_Aliases", member, "useralias", &|member| self.is_user(member))
    }

    fn is_host(&self, member: &Value) -> bool {
        let is_name = |pattern: &str| {
            let name = self.asker.hostname;
            let short = name.split('.').next().unwrap_or(name);
            pattern == "ALL" || super::patterns::matches(pattern, name) || super::patterns::matches(pattern, short)
        };
        text(member, "hostname").is_some_and(is_name)
            || self.in_alias("Host_Aliases", member, "hostalias", &|member| self.is_host(member))
    }

    fn in_alias(&self, kind: &str, member: &Value, key: &str, is: &dyn Fn(&Value) -> bool) -> bool {
        let members = text(member, key).and_then(|name| self.rules.get(kind)?.get(name)?.as_array());
        members.is_some_and(|members| self.lists(members, is))
    }

    /// Of the members of a list that fit, the last counts.
    fn lists(&self, members: &[Value], is: &dyn Fn(&Value) -> bool) -> bool {
        members.iter().rev().find(|member| is(member)).is_some_and(|member| !is_negated(member))
    }

    /// Returns whose password is asked for.
    fn password(&self, authenticate: Option<bool>) -> Right {
        let mut asks = true;
        let (mut of_root, mut exempt) = (false, false);
        for defaults in list(self.rules, "Defaults") {
            let binding = list(defaults, "Binding");
            if !binding.is_empty() && !self.lists(binding, &|member| self.is_user(member) || self.is_host(member)) {
                continue;
            }
            asks = option(defaults, "authenticate").and_then(Value::as_bool).unwrap_or(asks);
            for key in ["rootpw", "targetpw", "runaspw"] {
                of_root = option(defaults, key).and_then(Value::as_bool).unwrap_or(of_root);
            }
            let group = option(defaults, "exempt_group").and_then(Value::as_str);
            exempt = group.map_or(exempt, |group| self.asker.groups.contains(group));
        }
        match authenticate.unwrap_or(asks && !exempt) {
            false => Right::Free,
            true if of_root => Right::RootPassword,
            true => Right::OwnPassword,
        }
    }
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn is_negated(member: &Value) -> bool {
    member.get("negated").and_then(Value::as_bool) == Some(true)
}

/// Returns the last value that the options of a rule or of defaults give the key.
fn option<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    list(value, "Options").iter().rev().find_map(|option| option.get(key))
}
