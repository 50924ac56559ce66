// SPDX-License-Identifier: Apache-2.0
use super::*;

#[track_caller]
fn check_fault(name: &str, yaml: &str, expected: &str) {
    assert_eq!(resolved(name, yaml).unwrap_err().to_string(), expected);
}

#[test]
fn a_file_with_content_and_a_directory_belong_to_root() {
    let root = Some(Account::Number(0));
    for yaml in ["content: x", "source: motd", "template: site"] {
        let file = resolved("/etc/motd", yaml).unwrap();
        assert_eq!((file.owner, file.group, file.mode), (root.clone(), root.clone(), Some(0o644)));
    }
    let directory = resolved("/etc/conf.d", "type: directory").unwrap();
    assert_eq!((directory.owner, directory.group, directory.mode), (root.clone(), root, Some(0o755)));
}

#[test]
fn without_content_only_what_is_set_is_kept() {
    let file = resolved("/etc/motd", "owner: deploy").unwrap();
    assert_eq!((file.owner, file.group, file.mode), (Some(Account::Name("deploy".into())), None, None));
    let link = resolved("/etc/motd", "type: link\ntarget: /run/motd").unwrap();
    assert_eq!((link.owner, link.group, link.mode), (None, None, None));
    assert_eq!(link.what, What::Link { target: "/run/motd".into() });
}

#[test]
fn content_comes_from_the_object_the_files_or_the_templates() {
    let bytes = |yaml| match resolved("/etc/motd", yaml).unwrap().what {
        What::File { content: Some(content), .. } => content.bytes().to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(bytes("content: \"héllo\""), "héllo".as_bytes());
    assert_eq!(bytes("source: motd"), b"from the repo\n");
    assert_eq!(bytes("template: site"), b"rendered\n");
    check_fault("/etc/motd", "source: none", "hosts/web1.yaml:2:1: there is no files/none");
    check_fault(
        "/etc/motd",
        "content: x\nsource: motd",
        "hosts/web1.yaml:3:1: more than one of content, source and template is set\n  keep exactly one of the three",
    );
}

#[test]
fn every_path_has_one_name() {
    for (path, message) in [
        ("etc/motd", "\"etc/motd\" is not an absolute path"),
        ("", "\"\" is not an absolute path"),
        ("/", "the root directory cannot be declared"),
        ("/etc//motd", "\"/etc//motd\" is not written in the shortest way"),
        ("/etc/./motd", "\"/etc/./motd\" is not written in the shortest way"),
        ("/etc/../motd", "\"/etc/../motd\" is not written in the shortest way"),
        ("/etc/motd/", "\"/etc/motd/\" is not written in the shortest way"),
        ("//etc", "\"//etc\" is not written in the shortest way"),
        ("/etc/..", "\"/etc/..\" is not written in the shortest way"),
        ("/etc/a\0b", "\"/etc/a\\0b\" has a control character in it"),
        ("/etc/a\nb", "\"/etc/a\\nb\" has a control character in it"),
    ] {
        let faults = resolved(path, "content: x").unwrap_err();
        let fault = faults.iter().next().unwrap();
        assert_eq!(fault.message, message);
        assert_eq!(fault.at.line, 1, "the fault is where the object is named");
        assert!(fault.hint.is_some());
    }
    resolved("/etc/..motd", "content: x").unwrap();
    resolved(&format!("/etc/{}", "n".repeat(255)), "content: x").unwrap();
    resolved(&format!("/etc/{}", "n".repeat(256)), "content: x").unwrap_err();
}

#[test]
fn what_hostwrit_and_the_accounts_rest_on_cannot_be_declared() {
    for path in [
        "/etc/hostwrit",
        "/etc/hostwrit/config.yaml",
        "/var/lib/hostwrit/pin",
        "/var/log/hostwrit/audit",
        "/run/hostwrit/x",
        "/proc/sys/kernel/hostname",
        "/sys/x",
        "/dev/sda",
        "/dev",
        "/etc/passwd",
        "/etc/shadow-",
        "/etc/group.lock",
        "/etc/gshadow",
        "/etc/.pwd.lock",
        "/etc/sudoers.d/hostwrit-alice",
        "/etc/.motd.hostwrit-new",
    ] {
        assert_eq!(resolved(path, "content: x").unwrap_err().len(), 1, "{path}");
    }
    for path in
        ["/etc/hostwrit.d", "/etc/passwd.d", "/etc/group2", "/devices", "/etc/sudoers.d/alice", "/srv/etc/passwd"]
    {
        resolved(path, "content: x").unwrap();
    }
    check_fault(
        "/etc/shadow",
        "content: x",
        "hosts/web1.yaml:1:1: /etc/shadow is managed by users and groups\n  declare users and groups instead",
    );
}

#[test]
fn a_mode_has_four_octal_digits() {
    for (text, mode) in [("0644", 0o644), ("4755", 0o4755), ("04755", 0o4755), ("0000", 0), ("1777", 0o1777)] {
        let file = resolved("/etc/motd", &format!("content: x\nmode: \"{text}\"")).unwrap();
        assert_eq!(file.mode, Some(mode));
    }
    for text in ["", "0x1ff", "0888", "rw-r--r--", "+644", "00644x", "14755", "0o644"] {
        resolved("/etc/motd", &format!("content: x\nmode: \"{text}\"")).unwrap_err();
    }
    check_fault(
        "/etc/motd",
        "content: x\nmode: \"644\"",
        "hosts/web1.yaml:3:1: \"644\" is not a mode\n  write it with four octal digits, in quotes: \"0644\"",
    );
}

#[test]
fn an_owner_is_a_name_or_a_number() {
    let owner = |text: &str| resolved("/etc/motd", &format!("owner: \"{text}\"")).map(|file| file.owner.unwrap());
    assert_eq!(owner("33").unwrap(), Account::Number(33));
    assert_eq!(owner("www-data").unwrap(), Account::Name("www-data".into()));
    for text in ["", "a:b", "-1", "4294967295", "4294967296", "a b", "../x"] {
        owner(text).unwrap_err();
    }
    check_fault(
        "/etc/motd",
        "group: \"a:b\"",
        "hosts/web1.yaml:2:1: \"a:b\" is not the name of a group\n  name it, or give its number in quotes",
    );
}

#[test]
fn fields_of_another_type_are_faults_at_their_own_lines() {
    let faults =
        resolved("/srv/x", "type: directory\ncontent: x\ntarget: y\nvalidate: [\"true\", \"{}\"]").unwrap_err();
    assert_eq!(
        faults.to_string(),
        "hosts/web1.yaml:3:1: only a file has content, and this is a directory\n  remove content, or set type\n\
         hosts/web1.yaml:4:1: only a link has target, and this is a directory\n  remove target, or set type\n\
         hosts/web1.yaml:5:1: only a file has validate, and this is a directory\n  remove validate, or set type"
    );
    for yaml in
        ["exact: true", "target: x", "type: link\ntarget: x\nmode: \"0644\"", "type: link\ntarget: x\nexact: true"]
    {
        assert_eq!(resolved("/srv/x", yaml).unwrap_err().len(), 1, "{yaml}");
    }
    check_fault(
        "/srv/x",
        "type: link",
        "hosts/web1.yaml:1:1: a link needs a target\n  set target to the path that the link points to",
    );
}

#[test]
fn a_check_names_a_program_and_says_where_the_content_goes() {
    let check = |words: &str| resolved("/etc/sudoers", &format!("content: x\nvalidate: {words}"));
    for words in ["[visudo, -cf, \"{}\"]", "[/usr/sbin/visudo, \"--file={}\"]"] {
        check(words).unwrap();
    }
    for words in ["[]", "[visudo]", "[\"{}\"]", "[./visudo, \"{}\"]", "[bin/visudo, \"{}\"]", "[\"\", \"{}\"]"] {
        check(words).unwrap_err();
    }
    check_fault(
        "/etc/sudoers",
        "validate: [visudo, -cf, \"{}\"]",
        "hosts/web1.yaml:2:1: there is no content to validate\n  set content, source or template, or remove validate",
    );
}

#[test]
fn an_exact_directory_cannot_be_one_that_the_system_needs() {
    for path in ["/etc", "/usr", "/home", "/usr/bin", "/usr/lib", "/var/lib", "/var/log", "/usr/local"] {
        resolved(path, "type: directory\nexact: true").unwrap_err();
        resolved(path, "type: directory").unwrap();
    }
    for path in ["/etc/cron.d", "/usr/local/bin", "/srv/www", "/var/lib/app"] {
        resolved(path, "type: directory\nexact: true").unwrap();
    }
}

#[test]
fn all_faults_of_an_object_come_at_once() {
    let faults = resolved("etc/x", "mode: \"9\"\nowner: \":\"\ngroup: \":\"\nsource: none\ntarget: t").unwrap_err();
    let lines: Vec<u32> = faults.iter().map(|fault| fault.at.line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn renew_says_when() {
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let renew = |yaml: &str| resolved("/etc/token", yaml).unwrap().renew.unwrap();
    for (yaml, every, expiry, warn) in [
        ("{every: 30d}", Some(30 * day), None, 14 * day),
        ("{every: 12h, warn: 0s}", Some(day / 2), None, std::time::Duration::ZERO),
        ("{expiry: certificate}", None, Some(Expiry::Certificate), 14 * day),
        ("{expiry: jwt, every: 30d, warn: 5d}", Some(30 * day), Some(Expiry::Jwt), 5 * day),
        ("{expiry: jwt, warn: 3653d}", None, Some(Expiry::Jwt), 3653 * day),
    ] {
        assert_eq!(renew(&format!("renew: {yaml}")), Renew { every, expiry, warn }, "{yaml}");
    }
    assert_eq!(resolved("/etc/token", "").unwrap().renew, None);
    assert!(resolved("/etc/token", "renew: {every: 30d}").unwrap().is_brought());
    assert!(!resolved("/etc/token", "content: x\nrenew: {expiry: jwt}").unwrap().is_brought());
    assert!(!resolved("/etc/token", "mode: \"0600\"").unwrap().is_brought());
}

#[test]
fn renew_that_says_nothing_of_use_is_a_fault() {
    let when = "renew does not say when\n  write every: with a time such as 30d, or expiry: certificate or expiry: jwt";
    let length = |field: &str, text: &str| {
        format!("{field} \"{text}\" cannot be used\n  write a number and a unit, up to 3653d: 12h, 30d")
    };
    let always = |every: &str, warn: &str| {
        format!(
            "it must be renewed every {every} and is told of {warn} before, which is always\n  write a warn that is shorter \
             than every"
        )
    };
    for (yaml, what) in [
        ("{}", when.to_owned()),
        ("{warn: 5d}", when.to_owned()),
        ("{every: soon}", length("every", "soon")),
        ("{every: 59s}", length("every", "59s")),
        ("{every: 3654d}", length("every", "3654d")),
        ("{expiry: jwt, warn: 3654d}", length("warn", "3654d")),
        ("{every: 7d}", always("7d", "14d")),
        ("{every: 14d}", always("14d", "14d")),
        ("{every: 90m, warn: 2h}", always("1h 30m", "2h")),
    ] {
        check_fault("/etc/token", &format!("renew: {yaml}"), &format!("hosts/web1.yaml:2:1: {what}"));
    }
    check_fault(
        "/etc/token",
        "content: x\nrenew: {every: 30d}",
        "hosts/web1.yaml:3:1: hostwrit writes this file itself, so its age says nothing of the secret in it\n  \
         leave every out, and write expiry if the content says when it ends",
    );
    for (kind, named) in [("directory", "a directory"), ("link\ntarget: x", "a link")] {
        let line = if kind == "directory" { 3 } else { 4 };
        check_fault(
            "/etc/token",
            &format!("type: {kind}\nrenew: {{every: 30d}}"),
            &format!(
                "hosts/web1.yaml:{line}:1: only a file has renew, and this is {named}\n  remove renew, or set type"
            ),
        );
    }
}
