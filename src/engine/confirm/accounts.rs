// SPDX-License-Identifier: Apache-2.0
//! Puts entries of the account files back, and leaves what others have changed meanwhile. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::AccountFiles;

use super::notes::{AccountFile, Accounts, Bytes, NotesError};

/// The entries that a change concerned, by file.
pub(super) type Entries = BTreeMap<AccountFile, BTreeSet<Bytes>>;

/// Returns the entries in which the files differ.
pub(super) fn concerned(before: &AccountFiles, after: &AccountFiles) -> Entries {
    let files = [
        (AccountFile::Passwd, &before.passwd, &after.passwd),
        (AccountFile::Shadow, &before.shadow, &after.shadow),
        (AccountFile::Group, &before.group, &after.group),
        (AccountFile::Gshadow, &before.gshadow, &after.gshadow),
    ];
    let mut entries = Entries::new();
    for (file, before, after) in files {
        let (before, after) = (by_name(before.as_deref()), by_name(after.as_deref()));
        let differing = before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name));
        let names: BTreeSet<Bytes> = differing.map(|name| Bytes::new(name)).collect();
        if !names.is_empty() {
            entries.insert(file, names);
        }
    }
    entries
}

/// Returns the files with these entries as they were.
pub(super) fn restore(now: AccountFiles, was: &Accounts, entries: &Entries) -> Result<AccountFiles, NotesError> {
    let file = |file, now: Option<Vec<u8>>, was: &Option<Bytes>| {
        let (Some(names), Some(was)) = (entries.get(&file), was) else {
            // A file that was not there is left, for its removal would say more than that an entry is gone.
            return Ok(now);
        };
        let names = names.iter().map(Bytes::to_vec).collect::<Result<BTreeSet<_>, NotesError>>()?;
        Ok::<_, NotesError>(Some(restore_file(&now.unwrap_or_default(), &was.to_vec()?, &names)))
    };
    Ok(AccountFiles {
        passwd: file(AccountFile::Passwd, now.passwd, &was.passwd)?,
        shadow: file(AccountFile::Shadow, now.shadow, &was.shadow)?,
        group: file(AccountFile::Group, now.group, &was.group)?,
        gshadow: file(AccountFile::Gshadow, now.gshadow, &was.gshadow)?,
    })
}

/// Takes the lines of `names` from `was` and all others from `now`. A line comes back behind the one that it stood behind, so
/// that where nobody else has changed anything, or the order of lines, the file is the same to the byte.
fn restore_file(now: &[u8], was: &[u8], names: &BTreeSet<Vec<u8>>) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = lines(now).filter(|line| !names.contains(name(line))).collect();
    let mut place = 0;
    for line in self::lines(was) {
        if names.contains(name(line)) {
            lines.insert(place, line);
            place += 1;
        } else if let Some(further) = lines[place..].iter().position(|other| content(other) == content(line)) {
            place += further + 1;
        }
    }
    let last = lines.len().saturating_sub(1);
    let mut file = Vec::with_capacity(now.len().max(was.len()));
    for (at, line) in lines.into_iter().enumerate() {
        file.extend_from_slice(line);
        // The last line of a file may lack its end, and no other.
        if at != last && !line.ends_with(b"\n") {
            file.push(b'\n');
        }
    }
    file
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split_inclusive(|byte| *byte == b'\n')
}

/// Returns the line without its end.
fn content(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Returns what stands before the first colon.
fn name(line: &[u8]) -> &[u8] {
    content(line).split(|byte| *byte == b':').next().unwrap_or_default()
}

fn by_name(file: Option<&[u8]>) -> BTreeMap<&[u8], Vec<&[u8]>> {
    let mut entries: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for line in lines(file.unwrap_or_default()) {
        entries.entry(name(line)).or_default().push(line);
    }
    entries
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passwd(text: &str) -> AccountFiles {
        AccountFiles { passwd: Some(text.as_bytes().to_vec()), ..AccountFiles::default() }
    }

    fn back(before: &str, after: &str, now: &str) -> String {
        let (before, after) = (passwd(before), passwd(after));
        let restored = restore(passwd(now), &Accounts::from(&before), &concerned(&before, &after)).unwrap();
        String::from_utf8(restored.passwd.unwrap()).unwrap()
    }

    #[test]
    fn what_we_changed_goes_back_and_what_others_changed_stays() {
        let before = "root:x:0\nalice:x:1000\nbob:x:1001\n";
        let after = "root:x:0\nalice:!:1000\ncarol:x:1002\n";
        assert_eq!(back(before, after, after), before);
        assert_eq!(back(before, after, before), before, "nothing was changed yet");
        let now = "root:x:0\nnews:x:9\nalice:!:1000\ncarol:x:1002\ndave:x:1003\n";
        assert_eq!(back(before, after, now), "root:x:0\nalice:x:1000\nbob:x:1001\nnews:x:9\ndave:x:1003\n");
    }

    #[test]
    fn the_first_and_the_only_line_come_back_too() {
        assert_eq!(back("a:1\nb:2\n", "b:2\n", "b:2\n"), "a:1\nb:2\n");
        assert_eq!(back("a:1\n", "", ""), "a:1\n");
        assert_eq!(back("", "a:1\n", "a:1\n"), "");
        assert_eq!(back("a:1", "a:1\nb:2\n", "a:1\nb:2\n"), "a:1");
        assert_eq!(back("a:1", "a:1\nb:2\n", "a:1\nb:2\nc:3\n"), "a:1\nc:3\n");
    }

    fn file() -> impl Strategy<Value = String> {
        proptest::collection::vec("[a-d+#]:?[xy]{0,2}", 0..8).prop_map(|lines| lines.join("\n"))
    }

    /// Returns the lines of `text` that going from `before` to `after` does not concern.
    fn unconcerned<'t>(text: &'t str, before: &str, after: &str) -> Vec<&'t str> {
        let entries = concerned(&passwd(before), &passwd(after));
        let names = entries.get(&AccountFile::Passwd);
        let is_concerned = |line: &str| names.is_some_and(|names| names.contains(&Bytes::new(name(line.as_bytes()))));
        text.lines().filter(|line| !is_concerned(line)).collect()
    }

    proptest! {
        #[test]
        fn a_file_that_nobody_else_changed_comes_back_to_the_byte(before in file(), after in file()) {
            // No change puts the lines that it does not concern into another order.
            prop_assume!(unconcerned(&before, &before, &after) == unconcerned(&after, &before, &after));
            prop_assert_eq!(back(&before, &after, &after), before);
        }

        #[test]
        fn doing_it_twice_does_no_harm(before in file(), after in file(), now in file()) {
            let once = back(&before, &after, &now);
            prop_assert_eq!(back(&before, &after, &once), once);
        }
    }
}
