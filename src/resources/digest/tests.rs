// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::model::{Location, Origin};
use crate::resources::content::Content;
use crate::resources::file::{self, Account, Renew, What};
use crate::resources::group;
use crate::resources::service::{DesiredUnit, UnitName};
use crate::resources::user::{self, Expiry, Key, PasswordSpec};

fn digest(value: &impl Digestible) -> Digest {
    let mut sum = Sum(Sha256::new());
    value.add_to(&mut sum);
    Digest::from_bytes(sum.0.finish())
}

#[test]
fn what_stands_together_is_not_taken_for_what_stands_apart() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let lists = [words(&[]), words(&[""]), words(&["", ""]), words(&["ab", "c"]), words(&["a", "bc"])];
    let digests: BTreeSet<Digest> = lists.iter().map(digest).collect();
    assert_eq!(digests.len(), lists.len());
    assert_ne!(digest(&Some(None::<u32>)), digest(&None::<Option<u32>>));
    assert_ne!(digest(&vec![words(&["a"]), words(&[])]), digest(&vec![words(&[]), words(&["a"])]));
}

#[test]
fn a_path_counts_as_it_is_written() {
    assert_ne!(digest(&PathBuf::from("a//b")), digest(&PathBuf::from("a/b")));
    assert_ne!(digest(&PathBuf::from("a/")), digest(&PathBuf::from("a")));
}

#[test]
fn name_mode_and_absence_count_and_the_place_does_not() {
    let origin = |line| Origin {
        object: Location { file: "hosts/h.yaml".into(), line, column: 1 },
        fields: [("x".to_owned(), Location::file("profiles/p.yaml"))].into(),
    };
    let declared = |name: &str, mode, want| Declared { name: name.to_owned(), mode, want, origin: origin(1) };
    let base = declared("a", Mode::Enforce, Some(0_u32));
    let moved = Declared { origin: origin(2), ..base.clone() };
    assert_eq!(of_declared("file", &base), of_declared("file", &moved));
    let others = [
        of_declared("file", &base),
        of_declared("user", &base),
        of_declared("file", &declared("b", Mode::Enforce, Some(0))),
        of_declared("file", &declared("a", Mode::Observe, Some(0))),
        of_declared("file", &declared("a", Mode::Enforce, None)),
        of_declared("file", &declared("a", Mode::Enforce, Some(1))),
    ];
    assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), others.len());
}

/// Every one of the changes, made alone, gives a digest of its own.
fn each_changes_the_digest<D: Digestible + Clone>(base: &D, changes: &[fn(&mut D)]) {
    let changed = changes.iter().map(|change| {
        let mut value = base.clone();
        change(&mut value);
        value
    });
    let mut seen = BTreeMap::from([(digest(base), "no change".to_owned())]);
    for (number, value) in changed.enumerate() {
        if let Some(other) = seen.insert(digest(&value), format!("change {number}")) {
            panic!("change {number} and {other} have one digest");
        }
    }
    assert_eq!(digest(base), digest(&base.clone()));
}

fn content(text: &str) -> Content {
    Content::new(text.as_bytes().into())
}

fn key(comment: &str) -> Key {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXc1HnCTwVsnRfgWxrdiHZAK+1D8d6ZGtWrVfnOEXnI";
    Key::parse(&format!("{key} {comment}")).unwrap()
}

#[test]
fn every_field_of_a_group_counts() {
    each_changes_the_digest(
        &group::Desired { gid: Some(5), system: false },
        &[|group| group.gid = None, |group| group.gid = Some(6), |group| group.system = true],
    );
}

#[test]
fn every_field_of_a_user_counts() {
    let base = user::Desired {
        uid: Some(1000),
        group: Some("g".to_owned()),
        groups: Some(["a".to_owned(), "b".to_owned()].into()),
        comment: Some("c".to_owned()),
        home: Some("/home/u".to_owned()),
        shell: Some("/bin/sh".to_owned()),
        system: false,
        password: Some(PasswordSpec::Hash(Secret::new("$5$one"))),
        expires: Some(Expiry::On(1)),
        ssh_keys: Some(vec![key("a"), key("b")]),
        sudo: Some("ALL=ALL".to_owned()),
    };
    each_changes_the_digest(
        &base,
        &[
            |user| user.uid = Some(1001),
            |user| user.uid = None,
            |user| user.group = Some("h".to_owned()),
            |user| user.group = None,
            |user| user.groups = Some(["a".to_owned()].into()),
            |user| user.groups = Some(BTreeSet::new()),
            |user| user.groups = None,
            |user| user.comment = Some(String::new()),
            |user| user.comment = None,
            |user| user.home = Some("/home/v".to_owned()),
            |user| user.home = None,
            |user| user.shell = Some("/bin/zsh".to_owned()),
            |user| user.shell = None,
            |user| user.system = true,
            |user| user.password = Some(PasswordSpec::Hash(Secret::new("$5$two"))),
            |user| user.password = Some(PasswordSpec::Locked),
            |user| user.password = None,
            |user| user.expires = Some(Expiry::On(2)),
            |user| user.expires = Some(Expiry::Never),
            |user| user.expires = None,
            |user| user.ssh_keys = Some(vec![key("a")]),
            |user| user.ssh_keys = Some(vec![key("b"), key("a")]),
            |user| user.ssh_keys = Some(Vec::new()),
            |user| user.ssh_keys = None,
            |user| user.sudo = Some("ALL=(ALL) ALL".to_owned()),
            |user| user.sudo = None,
        ],
    );
}

#[test]
fn every_field_of_a_file_counts() {
    let check = || Some(vec!["true".to_owned()]);
    let base = file::Desired {
        what: What::File { content: Some(content("x")), check: check() },
        owner: Some(Account::Number(0)),
        group: Some(Account::Number(0)),
        mode: Some(0o644),
        renew: Some(Renew {
            every: Some(Duration::from_secs(60)),
            expiry: Some(file::Expiry::Jwt),
            warn: Duration::ZERO,
        }),
    };
    let file = |content: Option<&str>, check| What::File { content: content.map(self::content), check };
    let link = |target: &str| What::Link { target: target.into() };
    let whats = [
        file(Some("y"), check()),
        file(Some(""), check()),
        file(None, check()),
        file(Some("x"), None),
        file(Some("x"), Some(vec!["false".to_owned()])),
        What::Directory { exact: false },
        What::Directory { exact: true },
        link("x"),
        link("x/"),
    ];
    let mut digests: BTreeSet<Digest> =
        whats.iter().map(|what| digest(&file::Desired { what: what.clone(), ..base.clone() })).collect();
    digests.insert(digest(&base));
    assert_eq!(digests.len(), whats.len() + 1);
    each_changes_the_digest(
        &base,
        &[
            |file| file.owner = Some(Account::Number(1)),
            |file| file.owner = Some(Account::Name("0".to_owned())),
            |file| file.owner = None,
            |file| file.group = Some(Account::Number(1)),
            |file| file.group = Some(Account::Name("root".to_owned())),
            |file| file.group = None,
            |file| file.mode = Some(0o600),
            |file| file.mode = None,
            |file| file.renew = None,
            |file| file.renew.as_mut().unwrap().every = None,
            |file| file.renew.as_mut().unwrap().every = Some(Duration::from_secs(61)),
            |file| file.renew.as_mut().unwrap().expiry = None,
            |file| file.renew.as_mut().unwrap().expiry = Some(file::Expiry::Certificate),
            |file| file.renew.as_mut().unwrap().warn = Duration::from_secs(1),
        ],
    );
}

#[test]
fn every_field_of_a_service_counts() {
    let base = DesiredUnit {
        unit: UnitName::parse("a").unwrap(),
        file: Some(content("x")),
        drop_ins: [("d".to_owned(), content("x"))].into(),
        enabled: Some(true),
        masked: Some(false),
        running: Some(true),
        restart_when: vec!["file:/a".parse().unwrap()],
        reload_when: vec!["file:/b".parse().unwrap()],
    };
    each_changes_the_digest(
        &base,
        &[
            |unit| unit.unit = UnitName::parse("b").unwrap(),
            |unit| unit.file = Some(content("y")),
            |unit| unit.file = None,
            |unit| unit.drop_ins = [("d".to_owned(), content("y"))].into(),
            |unit| unit.drop_ins = [("e".to_owned(), content("x"))].into(),
            |unit| unit.drop_ins = BTreeMap::new(),
            |unit| unit.enabled = Some(false),
            |unit| unit.enabled = None,
            |unit| unit.masked = Some(true),
            |unit| unit.masked = None,
            |unit| unit.running = Some(false),
            |unit| unit.running = None,
            |unit| unit.restart_when = vec!["file:/b".parse().unwrap()],
            |unit| unit.restart_when = vec!["user:/a".parse().unwrap()],
            |unit| unit.restart_when = Vec::new(),
            |unit| unit.reload_when = vec!["file:/a".parse().unwrap()],
            |unit| unit.reload_when = Vec::new(),
            |unit| std::mem::swap(&mut unit.restart_when, &mut unit.reload_when),
        ],
    );
}
