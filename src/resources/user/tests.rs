// SPDX-License-Identifier: Apache-2.0
//! What is wrong with a declared user, and what differs from the host: no host at all.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use openssl::base64;

use crate::host::{AccountFiles, FileKind, Owner, Stat};
use crate::model::ownership::OwnershipChange;
use crate::model::{Action, Location, Mode, ObjectId, Shown};

use super::files::{Found, FoundKeys};
use super::*;

/// A key that is whole, though nobody has the other half.
pub fn key_line(kind: &str, byte: u8, comment: &str) -> String {
    let mut blob = Vec::new();
    for field in [kind.as_bytes(), &[byte; 32]] {
        blob.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend_from_slice(field);
    }
    format!("{kind} {} {comment}", base64::encode_block(&blob))
}

pub fn ed25519(byte: u8, comment: &str) -> String {
    key_line("ssh-ed25519", byte, comment)
}

fn at(line: u32) -> Location {
    Location { file: "hosts/a.yaml".into(), line, column: 3 }
}

pub fn declared(name: &str, want: Option<Desired>) -> Declared<Desired> {
    let origin = Origin { object: at(1), fields: BTreeMap::new() };
    Declared { name: name.to_owned(), mode: Mode::Enforce, want, origin }
}

struct NoContents;

impl Contents for NoContents {
    fn source(&self, _: &str) -> Result<Arc<[u8]>, String> {
        Err("none".into())
    }

    fn template(&self, _: &str) -> Result<Arc<[u8]>, String> {
        Err("none".into())
    }

    fn addresses(
        &self,
        place: &crate::resources::firewall::Place,
    ) -> Result<Vec<crate::resources::firewall::Network>, String> {
        Err(format!("there is no {place}"))
    }
}

pub fn resolve(name: &str, spec: Spec) -> Result<Desired, Faults> {
    User::resolve(name, spec, &Origin { object: at(1), fields: BTreeMap::new() }, &NoContents)
}

fn one_fault(spec: Spec) -> String {
    let faults = resolve("al", spec).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults}");
    let fault = faults.iter().next().unwrap();
    assert!(fault.hint.is_some(), "{fault}");
    fault.message.clone()
}

#[test]
fn every_fault_is_reported_and_where_it_was_written() {
    let fields = ["uid", "group", "home", "expires"].into_iter().zip([11, 12, 13, 14]);
    let origin = Origin { object: at(10), fields: fields.map(|(field, line)| (field.to_owned(), at(line))).collect() };
    let spec = Spec {
        uid: Some(65_535),
        group: Some("a,b".into()),
        home: Some("home".into()),
        expires: Some("2027-02-30".into()),
        ..Spec::default()
    };
    let faults = User::resolve("Al", spec, &origin, &NoContents).unwrap_err();
    let mut text = String::new();
    for fault in faults.iter() {
        writeln!(text, "{}: {}", fault.at.line, fault.message).unwrap();
    }
    insta::assert_snapshot!(text, @r#"
    10: "Al" cannot be the name of a user or group
    11: uid 65535 is reserved: it stands for "no such number"
    12: "a,b" cannot be the name of a group
    13: the home "home" is not an absolute path
    14: "2027-02-30" is not a day after 1970-01-01
    "#);
}

#[test]
fn fields_that_could_break_a_line_of_the_account_files_are_refused() {
    for bad in ["a:b", "a\nroot::0:0::/:/bin/sh", "a\u{7}"] {
        assert!(one_fault(Spec { comment: Some(bad.into()), ..Spec::default() }).contains("comment"), "{bad:?}");
        for path in [format!("/{bad}"), "/a/../b".to_owned(), "/a//b".to_owned(), "/a/".to_owned(), String::new()] {
            assert!(one_fault(Spec { home: Some(path.clone()), ..Spec::default() }).contains("home"), "{path:?}");
            assert!(one_fault(Spec { shell: Some(path.clone()), ..Spec::default() }).contains("shell"), "{path:?}");
        }
        assert!(one_fault(Spec { groups: Some(vec![bad.into()]), ..Spec::default() }).contains("group"), "{bad:?}");
    }
    assert!(one_fault(Spec { uid: Some(0), ..Spec::default() }).contains("root"));
    let twice = Spec { groups: Some(vec!["a".into(), "a".into()]), ..Spec::default() };
    assert_eq!(one_fault(twice), "the group a is listed twice");
}

#[test]
fn a_pasted_private_key_is_called_that_and_not_repeated() {
    let pasted = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----";
    for line in [pasted, "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE", "PuTTY-User-Key-File-3: ssh-ed25519"] {
        let faults = resolve("al", Spec { ssh_keys: Some(vec![line.into()]), ..Spec::default() }).unwrap_err();
        let text = faults.to_string();
        assert!(text.contains("private key") && text.contains("ssh-keygen"), "{text}");
        assert!(!text.contains("b3Blb"), "{text}");
    }
}

#[test]
fn a_password_in_place_of_a_hash_is_not_repeated() {
    let spec = Spec { password: Some(PasswordSpec::Hash(Secret::new("hunter2"))), ..Spec::default() };
    let text = resolve("al", spec).unwrap_err().to_string();
    assert!(text.contains("no hash of crypt(5)") && !text.contains("hunter2"), "{text}");
}

#[test]
fn keys_are_read_as_sshd_reads_them() {
    let good = ed25519(1, "al@example");
    let with_options = format!("from=\"10.0.0.0/8\",command=\"echo \\\"a b\\\"\" {good}");
    let kinds = ["ssh-rsa", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com"];
    for line in [good.clone(), format!("  {good} more words "), with_options, format!("restrict {good}")]
        .into_iter()
        .chain(kinds.map(|kind| key_line(kind, 1, "")))
    {
        assert!(Key::parse(&line).is_ok(), "{line}");
    }
    let blob = good.split(' ').nth(1).unwrap();
    for (line, expected) in [
        (String::new(), keys::NotAKey::Comment),
        (format!("# {good}"), keys::NotAKey::Comment),
        (format!("{good}\n{good}"), keys::NotAKey::ControlCharacter),
        (format!("command=\"x {good}"), keys::NotAKey::Quote),
        ("alice".to_owned(), keys::NotAKey::Type),
        (format!("alice {blob}"), keys::NotAKey::Type),
        (key_line("ssh-dss", 1, ""), keys::NotAKey::Dsa),
        (format!("ssh-rsa {blob}"), keys::NotAKey::OtherType),
        ("ssh-ed25519".to_owned(), keys::NotAKey::Blob),
        (format!("ssh-ed25519 {}", &blob[..blob.len() - 4]), keys::NotAKey::Blob),
        (format!("ssh-ed25519 {}", &blob[..blob.len() - 3]), keys::NotAKey::Blob),
        (format!("ssh-ed25519 {}", blob.replace('A', "!")), keys::NotAKey::Blob),
    ] {
        assert_eq!(Key::parse(&line), Err(expected), "{line}");
    }
    let twice = vec![good.clone(), format!("restrict {good} again")];
    assert!(one_fault(Spec { ssh_keys: Some(twice), ..Spec::default() }).contains("listed twice"));
}

#[test]
fn a_fingerprint_is_that_of_ssh_keygen() {
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl github.com";
    let key = Key::parse(line).unwrap();
    assert_eq!(key.to_string(), "ssh-ed25519 SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU (github.com)");
}

#[test]
fn a_sudo_rule_is_one_line_for_one_user() {
    for bad in ["ALL=(ALL) ALL\nbob ALL=(ALL) ALL", "ALL=(ALL) ALL \\", ", bob ALL=(ALL) ALL", "= ALL", "ALL", ""] {
        assert!(one_fault(Spec { sudo: Some(bad.into()), ..Spec::default() }).contains("sudo rule"), "{bad:?}");
    }
    let good = resolve("al", Spec { sudo: Some(" ALL=(ALL:ALL) ALL ".into()), ..Spec::default() }).unwrap();
    assert_eq!(good.sudo.as_deref(), Some("ALL=(ALL:ALL) ALL"));
}

/// A host with root, the users al (1000) and bo (1001, password set, member of staff), and no login.defs.
fn host() -> Observed {
    let files = AccountFiles {
        passwd: Some(
            b"root:x:0:0:root:/root:/bin/bash\nal:x:1000:1000:Al:/home/al:/bin/bash\n\
              bo:x:1001:1001::/home/bo:/bin/sh\n"
                .to_vec(),
        ),
        shadow: Some(b"root:*:1::::::\nal:!:1::::::\nbo:$6$s$h:1:::::20000:\n".to_vec()),
        group: Some(b"root:x:0:\nstaff:x:50:bo\nwww-data:x:33:\nal:x:1000:\nbo:x:1001:\n".to_vec()),
        gshadow: None,
    };
    Observed { accounts: Accounts::of(&files), sets_owners: true, today: 20_000, ..Observed::default() }
}

/// Returns a plan as people would see it.
fn shown(steps: &[Step<Operation>]) -> String {
    let shown = |value: &Shown| match value {
        Shown::Nothing => "-".to_owned(),
        Shown::Secret => "[secret]".to_owned(),
        Shown::Text(text) => text.clone(),
    };
    let mut text = String::new();
    for step in steps {
        writeln!(text, "{} {}", step.action.sign(), step.object).unwrap();
        for change in &step.changes {
            writeln!(text, "    {}: {} -> {}", change.field, shown(&change.from), shown(&change.to)).unwrap();
        }
    }
    text
}

fn plan(desired: &[Declared<Desired>], observed: &Observed) -> String {
    shown(&User::diff(desired, observed, &Owned::default()))
}

fn altered(want: Desired) -> String {
    let text = plan(&[declared("bo", Some(want))], &host());
    text.strip_prefix("~ user:bo\n").unwrap_or(&text).trim().to_owned()
}

#[test]
fn a_new_user_gets_the_defaults_of_useradd() {
    insta::assert_snapshot!(plan(&[declared("cy", Some(Desired::default()))], &host()), @r"
    + user:cy
        uid: - -> 1002
        group: - -> cy
        home: - -> /home/cy
        shell: - -> /bin/bash
        password: - -> locked
    ");
    let system = Desired { system: true, ..Desired::default() };
    insta::assert_snapshot!(plan(&[declared("cy", Some(system))], &host()), @r"
    + user:cy
        uid: - -> 101
        group: - -> cy
        home: - -> /home/cy
        shell: - -> /usr/sbin/nologin
        password: - -> locked
    ");
}

#[test]
fn a_new_user_is_shown_whole_but_for_its_hash() {
    let want = resolve(
        "cy",
        Spec {
            uid: Some(2000),
            group: Some("staff".into()),
            groups: Some(vec!["www-data".into(), "later".into()]),
            comment: Some("Cy".into()),
            home: Some("/srv/cy".into()),
            shell: Some("/bin/sh".into()),
            password: Some(PasswordSpec::Hash(Secret::new(format!("$6$salt${}", "a".repeat(86))))),
            expires: Some("2027-12-31".into()),
            ssh_keys: Some(vec![ed25519(1, "cy@example")]),
            sudo: Some("ALL=(ALL:ALL) ALL".into()),
            ..Spec::default()
        },
    )
    .unwrap();
    let desired = [declared("cy", Some(want))];
    insta::assert_snapshot!(plan(&desired, &host()), @r"
    + user:cy
        uid: - -> 2000
        group: - -> staff
        groups: - -> later, www-data
        comment: - -> Cy
        home: - -> /srv/cy
        shell: - -> /bin/sh
        password: - -> [secret]
        expires: - -> 2027-12-31
        ssh_keys: - -> ssh-ed25519 SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA (cy@example)
        sudo: - -> ALL=(ALL:ALL) ALL
    ");
    let steps = User::diff(&desired, &host(), &Owned::default());
    assert!(!format!("{steps:?}").contains("aaaaaaaa"), "a hash is never shown");
    assert_eq!(steps[0].ownership.claims, ["sudo".to_owned(), "whole".to_owned()].into());
}

#[test]
fn numbers_that_others_ask_for_are_not_given_away() {
    let desired = [
        declared("c", Some(Desired::default())),
        declared("d", Some(Desired { uid: Some(1002), ..Desired::default() })),
        declared("e", Some(Desired::default())),
    ];
    let steps = User::diff(&desired, &host(), &Owned::default());
    let uids: Vec<u32> = steps
        .iter()
        .map(|step| match &step.operation {
            Operation::Add(user) => user.uid,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(uids, [1003, 1002, 1004]);
}

#[test]
fn only_fields_that_are_set_and_differ_are_altered() {
    let groups = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let expires = |expires| Desired { expires: Some(expires), ..Desired::default() };
    for (want, expected) in [
        (Desired::default(), ""),
        (Desired { uid: Some(1001), shell: Some("/bin/sh".into()), ..Desired::default() }, ""),
        (Desired { uid: Some(7), ..Desired::default() }, "uid: 1001 -> 7"),
        (Desired { group: Some("bo".into()), ..Desired::default() }, ""),
        (Desired { group: Some("staff".into()), ..Desired::default() }, "group: bo -> staff"),
        (Desired { group: Some("later".into()), ..Desired::default() }, "group: bo -> later"),
        (Desired { groups: groups(&["staff"]), ..Desired::default() }, ""),
        (Desired { groups: groups(&[]), ..Desired::default() }, "groups: staff -> none"),
        (Desired { groups: groups(&["a", "staff"]), ..Desired::default() }, "groups: staff -> a, staff"),
        (Desired { comment: Some("Bo".into()), ..Desired::default() }, "comment:  -> Bo"),
        (Desired { password: Some(PasswordSpec::Locked), ..Desired::default() }, "password: [secret] -> locked"),
        (Desired { password: Some(PasswordSpec::Hash(Secret::new("$6$s$h"))), ..Desired::default() }, ""),
        (
            Desired { password: Some(PasswordSpec::Hash(Secret::new("$6$s$i"))), ..Desired::default() },
            "password: [secret] -> [secret]",
        ),
        (expires(Expiry::Never), "expires: 2024-10-04 -> never"),
        (expires(Expiry::On(20_000)), ""),
        (expires(Expiry::On(20_001)), "expires: 2024-10-04 -> 2024-10-05"),
        (Desired { system: true, ..Desired::default() }, ""),
    ] {
        assert_eq!(altered(want.clone()), expected, "{want:?}");
    }
}

#[test]
fn a_mark_that_no_password_fits_counts_as_locked() {
    let locked = Desired { password: Some(PasswordSpec::Locked), ..Desired::default() };
    for name in ["root", "al"] {
        assert_eq!(plan(&[declared(name, Some(locked.clone()))], &host()), "");
    }
    let mut open = host();
    open.accounts.shadow.remove("al");
    assert_ne!(plan(&[declared("al", Some(locked))], &open), "");
}

fn stat(kind: FileKind, mode: u32, uid: u32) -> Stat {
    Stat { kind, mode, owner: Owner { uid, gid: uid }, size: 0 }
}

/// The host above, where bo's keys were found as given.
fn with_keys(content: &str) -> Observed {
    let keys = FoundKeys {
        home: "/home/bo".into(),
        home_is_there: true,
        directory: Some(stat(FileKind::Directory, 0o700, 1001)),
        file: Some(Found { stat: stat(FileKind::File, 0o600, 1001), content: content.as_bytes().to_vec() }),
        second: None,
    };
    Observed { accesses: [("bo".to_owned(), Access { keys: Some(keys), sudo: None })].into(), ..host() }
}

fn wants_keys(lines: &[String]) -> Declared<Desired> {
    declared("bo", Some(resolve("bo", Spec { ssh_keys: Some(lines.to_vec()), ..Spec::default() }).unwrap()))
}

#[test]
fn keys_that_go_and_come_are_named_one_by_one() {
    let (a, b, c) = (ed25519(1, "a"), ed25519(2, "b"), ed25519(3, "c"));
    let desired = [wants_keys(&[a.clone(), format!("restrict {b}")])];
    assert_eq!(plan(&desired, &with_keys(&format!("{a}\nrestrict {b}\n"))), "");
    let found = format!("{c}\n{b}\n# a secret in a comment\n");
    insta::assert_snapshot!(plan(&desired, &with_keys(&found)), @r"
    ~ user:bo
        ssh_keys: ssh-ed25519 SHA256:gnDfULwoGkHCZ0cpikt5ZjeLoa9Yyo7dmFepI3UZQWc (c) -> -
        ssh_keys: ssh-ed25519 SHA256:baqJQcVDEweKmw1OiZxGooCG2MGxYtwsQQzzOstxmiA (b) -> ssh-ed25519 SHA256:baqJQcVDEweKmw1OiZxGooCG2MGxYtwsQQzzOstxmiA (b) with options
        ssh_keys: - -> ssh-ed25519 SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA (a)
        ssh_keys: 1 line that is no key -> -
    ");
    insta::assert_snapshot!(plan(&desired, &with_keys(&format!("restrict {b}\n{a}\n"))), @r"
    ~ user:bo
        ssh_keys: the same keys, written otherwise -> as declared
    ");
}

#[test]
fn who_could_write_the_keys_and_a_second_file_of_keys_are_drift() {
    let a = ed25519(1, "a");
    let desired = [wants_keys(std::slice::from_ref(&a))];
    let mut observed = with_keys(&format!("{a}\n"));
    let keys = observed.accesses.get_mut("bo").unwrap().keys.as_mut().unwrap();
    keys.directory = Some(stat(FileKind::Directory, 0o777, 1001));
    keys.file.as_mut().unwrap().stat.owner.uid = 1000;
    keys.second =
        Some(Found { stat: stat(FileKind::File, 0o600, 1001), content: ed25519(9, "back door").into_bytes() });
    insta::assert_snapshot!(plan(&desired, &observed), @r"
    ~ user:bo
        ssh_keys: authorized_keys2: ssh-ed25519 SHA256:xcTb/ZL8NmQsvo9k2j/c7dIyp7nvDnswfPZHlzcZwz0 (back door) -> -
        ssh_keys: ~/.ssh: directory 0777 of 1001 -> ~/.ssh: directory 0700 of 1001
        ssh_keys: ~/.ssh/authorized_keys: file 0600 of 1000 -> ~/.ssh/authorized_keys: file 0600 of 1001
    ");
    observed.accesses.get_mut("bo").unwrap().keys.as_mut().unwrap().second = None;
    let owners_count = plan(&desired, &observed);
    observed.sets_owners = false;
    assert_eq!(owners_count.matches("ssh_keys").count(), 2);
    assert_eq!(plan(&desired, &observed).matches("ssh_keys").count(), 1, "an ordinary user cannot set owners");
}

#[test]
fn no_keys_and_no_file_agree() {
    let mut observed = with_keys("");
    assert_eq!(plan(&[wants_keys(&[])], &observed), "");
    let keys = observed.accesses.get_mut("bo").unwrap().keys.as_mut().unwrap();
    keys.file = None;
    keys.directory = Some(stat(FileKind::Directory, 0o755, 0));
    assert_eq!(plan(&[wants_keys(&[])], &observed), "");
}

fn with_sudo(content: &str, mode: u32) -> Observed {
    let sudo = Found { stat: stat(FileKind::File, mode, 0), content: content.as_bytes().to_vec() };
    Observed { accesses: [("bo".to_owned(), Access { keys: None, sudo: Some(sudo) })].into(), ..host() }
}

#[test]
fn a_sudo_rule_is_given_repaired_and_taken_away() {
    let rule =
        |rule: Option<&str>| [declared("bo", Some(Desired { sudo: rule.map(str::to_owned), ..Desired::default() }))];
    let ours = "bo ALL=(ALL) ALL\n";
    assert_eq!(plan(&rule(Some("ALL=(ALL) ALL")), &with_sudo(ours, 0o440)), "");
    for (desired, observed, expected) in [
        (rule(Some("ALL=(ALL) ALL")), with_sudo(ours, 0o644), "file 0644 of 0:0 -> file 0440 of 0:0"),
        (rule(Some("ALL=(ALL) ALL")), with_sudo("bo ALL=NONE\n", 0o440), "ALL=NONE -> ALL=(ALL) ALL"),
        (rule(None), with_sudo(ours, 0o440), "ALL=(ALL) ALL -> -"),
    ] {
        assert_eq!(plan(&desired, &observed), format!("~ user:bo\n    sudo: {expected}\n"));
    }
    let given = User::diff(&rule(Some("ALL=(ALL) ALL")), &with_sudo("", 0o440), &Owned::default());
    assert_eq!(given[0].ownership.claims, ["sudo".to_owned()].into(), "the user itself is not ours");
}

fn owning(name: &str, parts: &[&str]) -> Owned {
    let mut owned = Owned::default();
    let claims = parts.iter().map(|part| (*part).to_owned()).collect();
    owned.claim(&ObjectId::new("user", name), &OwnershipChange { claims, ..OwnershipChange::default() });
    owned
}

#[test]
fn an_owned_user_who_left_the_repo_is_removed_and_the_home_kept() {
    let steps = User::diff(&[], &host(), &owning("bo", &["whole", "group"]));
    insta::assert_snapshot!(shown(&steps), @r"
    - user:bo
        uid: 1001 -> -
        groups: staff -> -
        home: /home/bo -> /home/bo is kept
        group: bo -> -
    ");
    assert_eq!(steps[0].ownership.gives_up, ["group".to_owned(), "whole".to_owned()].into());
}

#[test]
fn of_a_user_who_is_not_ours_only_the_rule_that_we_gave_is_taken_back() {
    let steps = User::diff(&[], &with_sudo("bo ALL=(ALL) ALL\n", 0o440), &owning("bo", &["sudo"]));
    assert_eq!(shown(&steps), "~ user:bo\n    sudo: ALL=(ALL) ALL -> -\n");
    assert_eq!(User::diff(&[], &host(), &Owned::default()).len(), 0);
}

#[test]
fn declared_absence_removes_any_user_and_then_asks_for_nothing() {
    let steps = User::diff(&[declared("bo", None)], &host(), &Owned::default());
    assert_eq!(steps[0].action, Action::Remove);
    assert!(matches!(&steps[0].operation, Operation::Remove(removal) if !removal.own_group), "the group is not ours");
    assert_eq!(plan(&[declared("nobody-here", None)], &host()), "");
}

#[test]
fn an_owned_user_whom_somebody_else_removed_leaves_the_record() {
    let steps = User::diff(&[], &host(), &owning("gone", &["whole"]));
    assert_eq!((steps.len(), steps[0].action, steps[0].changes.len()), (1, Action::Remove, 0));
}

#[test]
fn a_full_range_is_said_when_the_step_is_carried_out() {
    let mut observed = host();
    observed.defaults.uids = Range { first: 1000, last: 1001 };
    let steps = User::diff(&[declared("cy", Some(Desired::default()))], &observed, &Owned::default());
    assert!(matches!(&steps[0].operation, Operation::Unnumbered { name } if name == "cy"));
}
