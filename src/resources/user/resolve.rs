// SPDX-License-Identifier: Apache-2.0
//! Checks a user as the repo writes it, and completes it.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use crate::model::{Fault, Faults, Origin};
use crate::resources::accounts;

use super::{Desired, Expiry, Key, PasswordSpec, Spec};

pub fn resolve(name: &str, spec: Spec, origin: &Origin) -> Result<Desired, Faults> {
    let mut check = Check { origin, faults: Faults::default() };
    if let Some(why) = accounts::fault_of_name(name) {
        check.fault(None, why, accounts::NAME_HINT);
    }
    if let Some(why) = spec.uid.and_then(|uid| accounts::fault_of_number("uid", uid, name == "root")) {
        check.fault(Some("uid"), why, accounts::NUMBER_HINT);
    }
    if let Some(group) = &spec.group {
        check.group("group", group);
    }
    let groups = spec.groups.map(|groups| check.groups(groups));
    if let Some(comment) = &spec.comment
        && comment.contains(|c: char| c == ':' || c.is_control())
    {
        let why = "the comment has a colon, a line break or another control character in it";
        check.fault(Some("comment"), why, "leave those out: the comment is one field of a line of /etc/passwd");
    }
    for (field, path) in [("home", &spec.home), ("shell", &spec.shell)] {
        if let Some(path) = path {
            check.path(field, path);
        }
    }
    if let Some(PasswordSpec::Hash(hash)) = &spec.password
        && let Err((why, hint)) = check_hash(hash.expose())
    {
        check.fault(Some("password"), why, hint);
    }
    let expires = spec.expires.and_then(|expires| check.expiry(&expires));
    let ssh_keys = spec.ssh_keys.map(|lines| check.keys(&lines));
    let sudo = spec.sudo.map(|rule| check.sudo(name, &rule));
    let desired = Desired {
        uid: spec.uid,
        group: spec.group,
        groups,
        comment: spec.comment,
        home: spec.home,
        shell: spec.shell,
        system: spec.system.unwrap_or(false),
        password: spec.password,
        expires,
        ssh_keys,
        sudo,
    };
    check.faults.or(desired)
}

/// Collects what is wrong, each where it was written.
struct Check<'a> {
    origin: &'a Origin,
    faults: Faults,
}

impl Check<'_> {
    fn fault(&mut self, field: Option<&str>, why: impl Into<String>, hint: &str) {
        let at = field.map_or(&self.origin.object, |field| self.origin.of(field));
        self.faults.push(Fault::new(at.clone(), why).hint(hint));
    }

    fn group(&mut self, field: &str, group: &str) {
        if !accounts::could_name_a_group(group) {
            let why = format!("\"{}\" cannot be the name of a group", group.escape_debug());
            self.fault(Some(field), why, "write the group's name, not its number, as /etc/group has it");
        }
    }

    fn groups(&mut self, groups: Vec<String>) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        for group in groups {
            self.group("groups", &group);
            if seen.contains(&group) {
                self.fault(Some("groups"), format!("the group {group} is listed twice"), "list it once");
            }
            seen.insert(group);
        }
        seen
    }

    fn path(&mut self, field: &str, path: &str) {
        let shown = path.escape_debug();
        if path.contains(|c: char| c == ':' || c.is_control()) {
            let why = format!("the {field} \"{shown}\" has a colon, a line break or another control character in it");
            self.fault(Some(field), why, "leave those out: it is one field of a line of /etc/passwd");
        } else if !path.starts_with('/') {
            self.fault(Some(field), format!("the {field} \"{shown}\" is not an absolute path"), "let it begin with /");
        } else if path != "/" && path[1..].split('/').any(|part| matches!(part, "" | "." | "..")) {
            let why = format!("the {field} \"{shown}\" has an empty part, . or .. in it");
            self.fault(Some(field), why, "write it straight, without a / at the end");
        }
    }

    fn expiry(&mut self, text: &str) -> Option<Expiry> {
        if text == "never" {
            return Some(Expiry::Never);
        }
        let day = day(text);
        if day.is_none() {
            let why = format!("\"{}\" is not a day after 1970-01-01", text.escape_debug());
            self.fault(Some("expires"), why, "write it as YYYY-MM-DD, such as 2027-12-31, or write never");
        }
        day.map(Expiry::On)
    }

    fn keys(&mut self, lines: &[String]) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            match Key::parse(line) {
                Ok(key) if keys.iter().any(|other| other.blob() == key.blob()) => {
                    self.fault(Some("ssh_keys"), format!("the key {key} is listed twice"), "list it once");
                }
                Ok(key) => keys.push(key),
                Err(why) => self.fault(Some("ssh_keys"), format!("key {}: {why}", index + 1), why.hint()),
            }
        }
        keys
    }

    fn sudo(&mut self, name: &str, rule: &str) -> String {
        let rule = rule.trim();
        let example = "write what follows the user's name in sudoers(5), such as ALL=(ALL:ALL) ALL";
        if name.ends_with('$') {
            self.fault(Some("sudo"), "a machine account cannot have a sudo rule", "leave sudo out");
        } else if rule.contains(char::is_control) {
            self.fault(Some("sudo"), "the sudo rule has a line break or another control character in it", example);
        } else if rule.ends_with('\\') {
            self.fault(Some("sudo"), "the sudo rule ends in a backslash, so it would take in the next line", example);
        } else if rule.starts_with(',') {
            // `NAME ,bob ALL=...` would give bob what only NAME is declared to have.
            self.fault(Some("sudo"), "the sudo rule begins with a comma, so it would name more users", example);
        } else if !rule.contains('=') || rule.starts_with('=') {
            self.fault(Some("sudo"), format!("\"{}\" is not a sudo rule", rule.escape_debug()), example);
        }
        rule.to_owned()
    }
}

/// Returns the day in days since 1970-01-01.
fn day(text: &str) -> Option<i64> {
    let midnight = (text.len() == 10).then(|| humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok()).flatten()?;
    let seconds = midnight.duration_since(UNIX_EPOCH).ok()?.as_secs();
    // shadow(5) warns of day 0: some take it for "never".
    i64::try_from(seconds / 86_400).ok().filter(|day| *day > 0)
}

/// Whether crypt(5) could have given this. Nothing of it is repeated: it may be a password.
fn check_hash(hash: &str) -> Result<(), (&'static str, &'static str)> {
    const MAKE: &str = "make one with mkpasswd -m yescrypt";
    let mut parts = hash.split('$');
    let in_alphabet = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/'));
    let (Some(""), Some(method)) = (parts.next(), parts.next()) else {
        return Err(if hash.starts_with(['!', '*']) {
            ("this locks the account, and is no hash", "write password: locked")
        } else {
            (
                "this is no hash of crypt(5); if it is a password, all who can read the repo know it by now",
                "change that password, and write the hash of the new one: mkpasswd -m yescrypt makes it",
            )
        });
    };
    let parts: Vec<&str> = parts.collect();
    let whole = match (method, parts.as_slice()) {
        ("1" | "md5" | "sha1" | "2" | "2x" | "3", _) => {
            return Err(("the hash is of a method that is broken or out of use", MAKE));
        }
        ("y" | "gy", [cost, salt, sum]) => !cost.is_empty() && in_alphabet(salt) && sum.len() == 43 && in_alphabet(sum),
        ("7", [settings, sum]) => in_alphabet(settings) && sum.len() == 43 && in_alphabet(sum),
        ("2a" | "2b" | "2y", [cost, sum]) => cost.len() == 2 && sum.len() == 53 && in_alphabet(sum),
        ("5", [salt, sum]) => in_alphabet(salt) && sum.len() == 43 && in_alphabet(sum),
        ("6", [salt, sum]) => in_alphabet(salt) && sum.len() == 86 && in_alphabet(sum),
        ("5", [rounds, salt, sum]) if rounds.starts_with("rounds=") => {
            in_alphabet(salt) && sum.len() == 43 && in_alphabet(sum)
        }
        ("6", [rounds, salt, sum]) if rounds.starts_with("rounds=") => {
            in_alphabet(salt) && sum.len() == 86 && in_alphabet(sum)
        }
        ("y" | "gy" | "7" | "2a" | "2b" | "2y" | "5" | "6", _) => false,
        _ => return Err(("the hash is of a method that crypt(5) does not know", MAKE)),
    };
    // The whole text goes into a line of /etc/shadow.
    let clean = hash.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b':' | b'!' | b'*' | b'\\' | b';'));
    if whole && clean { Ok(()) } else { Err(("the hash is damaged or cut off", MAKE)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_1970_on_and_must_exist() {
        assert_eq!(day("1970-01-02"), Some(1));
        assert_eq!(day("2026-11-22"), Some(20_779));
        assert_eq!(day("2028-02-29"), Some(21_243));
        for text in [
            "1970-01-01",
            "2027-02-29",
            "2027-13-01",
            "1969-12-31",
            "2027-1-1",
            "tomorrow",
            "2027-01-01T",
            "",
            "éé-01-01é",
        ] {
            assert_eq!(day(text), None, "{text}");
        }
    }

    #[test]
    fn hashes_of_crypt_pass_and_others_are_refused() {
        let sum = |length: usize| "a".repeat(length);
        for hash in [
            format!("$y$j9T$F5Jx5fExrKuPp53xLKQ..1${}", sum(43)),
            format!("$6$salt${}", sum(86)),
            format!("$6$rounds=5000$salt${}", sum(86)),
            format!("$5$salt${}", sum(43)),
            format!("$2b$12${}", sum(53)),
        ] {
            assert_eq!(check_hash(&hash), Ok(()), "{hash}");
        }
        let cut = format!("$6$salt${}", sum(85));
        let broken = format!("$6$rounds=1:0$salt${}", sum(86));
        for hash in
            ["hunter2", "!", "*", "", "$1$salt$aaaaaaaaaaaaaaaaaaaaaa", "$6$", "$x$a$b", "abJnggxhB/yWI", &cut, &broken]
        {
            assert!(check_hash(hash).is_err(), "{hash}");
        }
    }
}
