// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::super::shelf::{Shelf, ShelfError, Sort};
use super::*;
use crate::host::{RealHost, Scratch};

fn scratch() -> Scratch {
    let dir = tempfile::tempdir().unwrap();
    let scratch = RealHost::open(dir.path()).unwrap().scratch(Path::new("/scratch")).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it has no name");
    scratch
}

fn wants() -> impl Strategy<Value = Option<Desired>> {
    let content = prop::option::of(prop::collection::vec(any::<u8>(), 0..200)).prop_map(|content| What::File {
        content: content.map(|bytes| Content::new(bytes.into())),
        check: Some(vec!["visudo".to_owned(), "{}".to_owned()]),
    });
    let what = prop_oneof![
        content,
        any::<bool>().prop_map(|exact| What::Directory { exact }),
        "[a-zé/]{1,8}".prop_map(|target| What::Link { target: target.into() }),
    ];
    let account =
        || prop::option::of(prop_oneof!["[a-z]{1,8}".prop_map(Account::Name), any::<u32>().prop_map(Account::Number)]);
    let expiry = prop::option::of(prop_oneof![Just(Expiry::Certificate), Just(Expiry::Jwt)]);
    let renew = (prop::option::of(any::<Duration>()), expiry, any::<Duration>())
        .prop_map(|(every, expiry, warn)| Renew { every, expiry, warn });
    let want = (what, account(), account(), prop::option::of(0_u32..0o7777), prop::option::of(renew))
        .prop_map(|(what, owner, group, mode, renew)| Desired { what, owner, group, mode, renew });
    prop::option::of(want)
}

fn files() -> impl Strategy<Value = Vec<Declared<Desired>>> {
    let declared = |(name, want, observe): (String, Option<Desired>, bool)| {
        let at = |line| Location { file: "hosts/web1.yaml".into(), line, column: 3 };
        let origin = Origin { object: at(7), fields: BTreeMap::from([("mode".to_owned(), at(8))]) };
        Declared { name, mode: if observe { Mode::Observe } else { Mode::Enforce }, want, origin }
    };
    let files = prop::collection::vec(("(/[a-cé\\-]{1,2}){1,3}", wants(), any::<bool>()).prop_map(declared), 0..12);
    files.prop_map(|mut files| {
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files.dedup_by(|a, b| a.name == b.name);
        files.reverse();
        files
    })
}

proptest! {
    #[test]
    fn what_is_put_away_comes_back_as_it_was(files in files()) {
        let shelf = Shelf::of(&files, scratch()).unwrap();
        for declared in &files {
            let back = shelf.get(&declared.name).unwrap().unwrap();
            prop_assert_eq!(format!("{declared:?}"), format!("{back:?}"));
            prop_assert_eq!(&declared.want, &back.want);
            let sort = match declared.want.as_ref().map(|want| &want.what) {
                None | Some(What::Directory { exact: true }) => Sort::Whole,
                Some(What::Link { .. }) => Sort::Link,
                _ => Sort::Other,
            };
            prop_assert_eq!(shelf.sort(&declared.name), Some(sort));
        }
        for prefix in ["", "/a", "/a/", "/b/c", "/é/"] {
            let mut names: Vec<&str> = files.iter().map(|declared| declared.name.as_str()).collect();
            names.retain(|name| name.starts_with(prefix));
            names.sort();
            prop_assert_eq!(shelf.paths(prefix).collect::<Vec<_>>(), names);
        }
        prop_assert!(shelf.get("/nobody").unwrap().is_none());
        prop_assert_eq!(shelf.sort("/nobody"), None);
    }
}

#[test]
fn what_comes_back_otherwise_is_refused() {
    let origin = Origin { object: Location::file("hosts/web1.yaml"), fields: BTreeMap::new() };
    let what = What::File { content: Some(Content::new(b"as declared"[..].into())), check: None };
    let want = Some(Desired { what, owner: None, group: None, mode: Some(0o644), renew: None });
    let file = Declared { name: "/etc/motd".to_owned(), mode: Mode::Enforce, want, origin };
    let length = {
        let scratch = scratch();
        let file_of = scratch.file().try_clone().unwrap();
        let _shelf = Shelf::of(std::slice::from_ref(&file), scratch).unwrap();
        file_of.metadata().unwrap().len()
    };
    for place in 0..length {
        let scratch = scratch();
        let file_of = scratch.file().try_clone().unwrap();
        let shelf = Shelf::of(std::slice::from_ref(&file), scratch).unwrap();
        let mut byte = [0];
        file_of.read_exact_at(&mut byte, place).unwrap();
        file_of.write_all_at(&[byte[0] ^ 1], place).unwrap();
        match shelf.get("/etc/motd") {
            Err(ShelfError::Damaged { path }) => assert_eq!(path, "/etc/motd"),
            // Where it is declared is shown and decides nothing.
            Ok(Some(back)) => assert_eq!(back.want, file.want, "byte {place}"),
            other => panic!("byte {place}: {other:?}"),
        }
        file_of.set_len(length - 1).unwrap();
        assert!(matches!(shelf.get("/etc/motd"), Err(ShelfError::Host(_))));
    }
}
