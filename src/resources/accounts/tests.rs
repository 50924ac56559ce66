// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;

const PASSWD_FILE: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
    # a comment\n\
    \n\
    broken line\n\
    nobody:x:many:65534::/:/bin/false\n\
    old:x:50:50\n\
    latin:x:60:60:J\xf6rg:/home/latin:/bin/sh:more\n\
    root:x:7:7:a second one::\n\
    +@admins::::::\n\
    +\n";

#[test]
fn entries_are_those_that_glibc_sees_and_the_first_of_two_counts() {
    let users = users(&Table::passwd(PASSWD_FILE));
    assert_eq!(users.keys().collect::<Vec<_>>(), ["latin", "old", "root"]);
    assert_eq!((users["root"].uid, users["old"].uid), (0, 50));
    assert_eq!((users["old"].home.as_str(), users["latin"].shell.as_str()), ("", "/bin/sh:more"));
}

#[test]
fn setting_a_field_leaves_all_other_bytes() {
    let mut table = Table::passwd(PASSWD_FILE);
    table.set("latin", passwd::UID, b"61");
    table.set("nobody", passwd::UID, b"1");
    let expected = String::from_utf8_lossy(PASSWD_FILE).replace("latin:x:60:60", "latin:x:61:60");
    let edited = table.into_bytes();
    assert_eq!(String::from_utf8_lossy(&edited), expected);
    assert!(edited.windows(4).any(|bytes| bytes == b"J\xf6rg"));
}

#[test]
fn a_new_entry_stands_before_those_of_nis_and_after_a_last_line_without_line_feed() {
    let mut table = Table::passwd(PASSWD_FILE);
    table.add("new:x:1:1:::");
    assert!(String::from_utf8_lossy(&table.into_bytes()).contains("::\nnew:x:1:1:::\n+@admins"));
    let mut table = Table::passwd(b"root:x:0:0:::");
    table.add("new:x:1:1:::");
    assert_eq!(table.into_bytes(), b"root:x:0:0:::\nnew:x:1:1:::\n");
}

#[test]
fn removing_a_name_removes_all_its_entries_and_nothing_else() {
    let mut table = Table::passwd(PASSWD_FILE);
    table.remove("root");
    table.remove("broken line");
    let text = String::from_utf8_lossy(PASSWD_FILE).into_owned();
    let left: String = text.split_inclusive('\n').filter(|line| !line.starts_with("root:")).collect();
    assert_eq!(String::from_utf8_lossy(&table.into_bytes()), left);
}

fn groups_edit(group: &str, gshadow: Option<&str>) -> Edit {
    Edit::new(AccountFiles {
        group: Some(group.as_bytes().to_vec()),
        gshadow: gshadow.map(|text| text.as_bytes().to_vec()),
        ..AccountFiles::default()
    })
}

fn finished(edit: Edit) -> (String, Option<String>) {
    let files = edit.finish();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (files.group.map(text).unwrap_or_default(), files.gshadow.map(text))
}

#[test]
fn memberships_change_in_both_files_and_the_order_of_others_stays() {
    let mut edit = groups_edit("a:x:1:zoe,al,bob\nb:x:2:\nc:x:3:al\n", Some("a:!::zoe,al,bob\nb:!:al:\nc:!::al\n"));
    edit.set_groups_of("al", &["b".to_owned(), "c".to_owned()].into()).unwrap();
    let (group, gshadow) = finished(edit);
    assert_eq!(group, "a:x:1:zoe,bob\nb:x:2:al\nc:x:3:al\n");
    assert_eq!(gshadow.unwrap(), "a:!::zoe,bob\nb:!:al:al\nc:!::al\n");
}

#[test]
fn a_missing_group_is_named_and_nothing_is_changed() {
    let mut edit = groups_edit("a:x:1:al\n", None);
    assert_eq!(edit.set_groups_of("al", &["nope".to_owned()].into()), Err("nope".to_owned()));
    assert_eq!(finished(edit), ("a:x:1:al\n".to_owned(), None));
}

#[test]
fn who_leaves_all_groups_is_no_administrator_either() {
    let mut edit = groups_edit("a:x:1:al\n", Some("a:!:al,bob:al\n"));
    edit.leave_all_groups("al");
    assert_eq!(finished(edit), ("a:x:1:\n".to_owned(), Some("a:!:bob:\n".to_owned())));
}

#[test]
fn names_are_those_that_useradd_takes() {
    for name in ["deploy", "_apt", "www-data", "a1", "host$", &"a".repeat(32)] {
        assert_eq!(fault_of_name(name), None, "{name}");
    }
    for name in ["", "$", "1a", "-a", "Bob", "a.b", "a b", "a:b", "a\nb", "ü", "a$b", "..", &"a".repeat(33)] {
        assert!(fault_of_name(name).is_some(), "{name}");
    }
    assert!(could_name_a_group("Debian-exim") && could_name_a_group("a.b"));
    for name in ["", "a,b", "a:b", "-a", "a b", "1000"] {
        assert!(!could_name_a_group(name), "{name}");
    }
}

#[test]
fn the_lowest_number_that_is_free_and_not_reserved_is_found() {
    let range = Range { first: 65_534, last: 65_537 };
    assert_eq!(range.lowest_free(&BTreeSet::new()), Some(65_534));
    assert_eq!(range.lowest_free(&[65_534].into()), Some(65_536));
    assert_eq!(range.lowest_free(&[65_534, 65_536, 65_537].into()), None);
}

#[test]
#[allow(clippy::disallowed_methods)]
fn names_are_found_both_ways_and_the_first_of_two_counts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0:::\ntoor:x:0:0:::\nal:x:5:5:::\nal:x:6:6:::\n").unwrap();
    std::fs::write(dir.path().join("etc/group"), "wheel:x:0:\nadm:x:4:al\nbad:x:y:\n").unwrap();
    let names = Names::read(&crate::host::RealHost::open(dir.path()).unwrap()).unwrap();
    assert_eq!((names.uid("toor"), names.uid("al"), names.uid("adm")), (Some(0), Some(5), None));
    assert_eq!((names.user(0), names.user(6), names.user(7)), (Some("root"), Some("al"), None));
    assert_eq!((names.gid("adm"), names.gid("bad"), names.group(0)), (Some(4), None, Some("wheel")));
}

proptest! {
    #[test]
    fn any_bytes_survive_reading_and_edits_of_others(
        before in proptest::collection::vec(any::<u8>(), 0..200),
        lines in proptest::collection::vec("[a-c+#:\\-]{0,6}(:[x0-9,a-c]{0,3}){0,8}", 0..8),
    ) {
        let mut bytes = before;
        bytes.extend_from_slice(lines.join("\n").as_bytes());
        for parse in [Table::passwd, Table::shadow, Table::group, Table::gshadow] {
            let table = parse(&bytes);
            prop_assert_eq!(table.clone().into_bytes(), bytes.clone());
            let mut edited = table.clone();
            edited.add("zed:x:1:1:::");
            prop_assert!(edited.has("zed"));
            edited.remove("zed");
            let mut expected = bytes.clone();
            if !expected.is_empty() && !expected.ends_with(b"\n") {
                expected.push(b'\n');
            }
            prop_assert_eq!(edited.into_bytes(), expected);
        }
    }
}
