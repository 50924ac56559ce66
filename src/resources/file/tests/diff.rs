// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::host::Owner;

struct Host(Observed);

/// A host that sets owners, where user and group 33 are called `www`.
fn host() -> Host {
    struct Fixed;
    impl crate::host::ReadHost for Fixed {
        fn is_live(&self) -> bool {
            false
        }
        fn sets_owners(&self) -> bool {
            true
        }
        fn now(&self) -> std::time::SystemTime {
            std::time::SystemTime::UNIX_EPOCH
        }
        fn stat(&self, _: &std::path::Path) -> Result<Option<Stat>, crate::host::HostError> {
            Ok(None)
        }
        fn read(&self, path: &std::path::Path) -> Result<Option<Vec<u8>>, crate::host::HostError> {
            Ok(Some(match path.to_str() {
                Some("/etc/passwd") => b"root:x:0:0::/root:/bin/sh\nwww:x:33:33::/:/bin/false\n".to_vec(),
                _ => b"root:x:0:\nwww:x:33:\n".to_vec(),
            }))
        }
        fn read_link(&self, _: &std::path::Path) -> Result<Option<PathBuf>, crate::host::HostError> {
            Ok(None)
        }
        fn list(&self, _: &std::path::Path) -> Result<Option<Vec<OsString>>, crate::host::HostError> {
            Ok(None)
        }
        fn units(&self, _: &[&str]) -> Result<Vec<crate::host::UnitState>, crate::host::HostError> {
            Ok(Vec::new())
        }

        fn ruleset(&self, _: crate::host::Tables) -> Result<crate::host::Ruleset, crate::host::HostError> {
            unreachable!()
        }

        fn ruleset_generation(&self) -> Result<String, crate::host::HostError> {
            unreachable!()
        }
    }
    Host(Observed { sets_owners: true, names: Names::read(&Fixed).unwrap(), ..Observed::default() })
}

impl Host {
    fn has(mut self, path: &str, kind: FileKind, mode: u32, uid: u32, detail: Detail) -> Self {
        let stat = Stat { kind, mode, owner: Owner { uid, gid: uid }, size: 4 };
        self.0.entries.insert(path.to_owned(), Entry { stat, detail });
        self
    }

    fn file(self, path: &str, mode: u32, uid: u32, detail: Detail) -> Self {
        self.has(path, FileKind::File, mode, uid, detail)
    }

    fn directory(self, path: &str, names: &[&str]) -> Self {
        self.has(path, FileKind::Directory, 0o755, 0, Detail::Names(names.iter().map(OsString::from).collect()))
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.has(path, FileKind::Link, 0o777, 0, Detail::Target(target.into()))
    }

    #[track_caller]
    fn check(&self, desired: &[Declared<Desired>], owned: &Owned, expected: &[&str]) -> Vec<Step<Operation>> {
        let steps = File::diff(desired, &self.0, owned);
        assert_eq!(shown(&steps), expected);
        let mut reversed = desired.to_vec();
        reversed.reverse();
        assert_eq!(shown(&File::diff(&reversed, &self.0, owned)), expected, "the order of the repo does not matter");
        steps
    }
}

fn old(text: &str) -> Detail {
    Detail::Differs(Seen { digest: Some(Digest::of(text.as_bytes())), text: Some(text.to_owned()) })
}

fn none() -> Owned {
    Owned::default()
}

#[test]
fn a_file_that_is_not_there_is_added_and_claimed() {
    let desired = [want("/etc/motd", "content: hello\nowner: www\nmode: \"0600\"")];
    let steps = host().check(
        &desired,
        &none(),
        &["+ /etc/motd: type nothing -> file; content nothing -> 2cf24dba5fb0 (5 bytes); owner nothing -> www; \
           group nothing -> root; mode nothing -> 0600"],
    );
    assert!(steps[0].ownership.claims.contains("whole"));
    assert_eq!(steps[0].origin.as_ref().unwrap().line, 1);
    assert_eq!(steps[0].changes[1].origin.as_ref().unwrap().line, 2);
    assert_eq!(steps[0].changes[3].origin, None, "a default is written nowhere");
}

#[test]
fn what_agrees_needs_no_step() {
    host()
        .file("/etc/motd", 0o644, 33, Detail::Same)
        .directory("/srv", &["unmanaged"])
        .link("/etc/link", "motd")
        .file("/etc/other", 0o600, 5, Detail::Nothing)
        .check(
            &[
                want("/etc/motd", "content: hello\nowner: www\ngroup: \"33\""),
                want("/srv", "type: directory"),
                want("/etc/link", "type: link\ntarget: motd"),
                want("/etc/other", ""),
            ],
            &owned(&["/etc/motd", "/srv", "/etc/link"]),
            &[],
        );
}

#[test]
fn only_the_fields_that_differ_are_changed() {
    let steps = host().file("/etc/motd", 0o4755, 33, Detail::Same).check(
        &[want("/etc/motd", "content: hello\ngroup: www")],
        &none(),
        &["~ /etc/motd: owner www -> root; mode 4755 -> 0644"],
    );
    assert!(matches!(steps[0].operation.act, Act::Attributes(_)));
    assert!(steps[0].ownership.claims.is_empty(), "a file that was there is not owned");
}

#[test]
fn a_user_who_does_not_exist_yet_is_a_difference() {
    host().file("/etc/motd", 0o644, 0, Detail::Same).check(
        &[want("/etc/motd", "content: hello\nowner: new")],
        &none(),
        &["~ /etc/motd: owner root -> new"],
    );
}

#[test]
fn where_owners_cannot_be_set_they_are_not_compared() {
    let mut host = host().file("/etc/motd", 0o644, 1000, Detail::Same);
    host.0.sets_owners = false;
    host.check(&[want("/etc/motd", "content: hello\nowner: new")], &none(), &[]);
}

#[test]
fn a_changed_content_comes_with_a_diff_if_everybody_may_read_both() {
    let diff_of = |now: u32, then: &str, detail| {
        let host = host().file("/etc/motd", now, 0, detail);
        let desired = [want("/etc/motd", &format!("content: \"one\\nTWO\\n\"\nmode: \"{then}\""))];
        File::diff(&desired, &host.0, &none())[0].changes[0].clone().diff
    };
    assert_eq!(diff_of(0o644, "0644", old("one\ntwo\n")).as_deref(), Some("@@ -1,2 +1,2 @@\n one\n-two\n+TWO\n"));
    assert_eq!(diff_of(0o600, "0644", old("one\ntwo\n")), None);
    assert_eq!(diff_of(0o644, "0640", old("one\ntwo\n")), None);
    assert_eq!(diff_of(0o644, "0644", old("one\n\u{1b}[2Jtwo\n")), None, "an escape sequence is not shown");
    assert_eq!(diff_of(0o644, "0644", Detail::Differs(Seen { digest: None, text: None })), None);
    assert_eq!(diff_of(0o644, "0644", old(&"line\n".repeat(3000))), None, "too long to be read");
}

#[test]
fn a_changed_source_is_named_by_its_own_field() {
    let steps = host().file("/etc/motd", 0o600, 0, old("old\n")).check(
        &[want("/etc/motd", "source: motd\nmode: \"0600\"")],
        &none(),
        &["~ /etc/motd: source 01d09d19c213 (4 bytes) -> eb5bc570e033 (14 bytes)"],
    );
    assert!(matches!(steps[0].operation.act, Act::Write { .. }));
}

#[test]
fn types_are_replaced() {
    host()
        .link("/etc/a", "elsewhere")
        .file("/etc/b", 0o600, 0, Detail::Nothing)
        .file("/etc/c", 0o600, 0, Detail::Nothing)
        .link("/etc/d", "old")
        .check(
            &[
                want("/etc/a", "content: x"),
                want("/etc/b", "type: link\ntarget: new"),
                want("/etc/c", "type: directory"),
                want("/etc/d", "type: link\ntarget: new"),
            ],
            &none(),
            &[
                "~ /etc/a: type link -> file; content nothing -> 2d711642b726 (1 bytes); owner nothing -> root; \
                 group nothing -> root; mode nothing -> 0644",
                "~ /etc/b: type file -> link; target nothing -> new",
                "~ /etc/c: type file -> directory; owner nothing -> root; group nothing -> root; mode nothing -> 0755",
                "~ /etc/d: target old -> new",
            ],
        );
}

#[test]
fn without_content_a_missing_file_is_made_empty_and_another_type_is_refused() {
    let steps = host().link("/etc/b", "x").check(
        &[want("/etc/a", "mode: \"0600\""), want("/etc/b", "mode: \"0600\"")],
        &none(),
        &["+ /etc/a: type nothing -> file; mode nothing -> 0600", "~ /etc/b: type link -> file; mode nothing -> 0600"],
    );
    assert!(matches!(steps[0].operation.act, Act::Create(_)));
    assert!(matches!(steps[1].operation.act, Act::Refuse(_)));
}

#[test]
fn only_what_is_owned_or_declared_absent_is_removed() {
    let steps = host()
        .file("/etc/owned", 0o644, 0, Detail::Nothing)
        .file("/etc/absent", 0o644, 0, Detail::Nothing)
        .file("/etc/foreign", 0o644, 0, Detail::Nothing)
        .check(
            &[absent("/etc/absent"), absent("/etc/never")],
            &owned(&["/etc/owned", "/etc/gone"]),
            &["- /etc/owned: type file -> nothing", "- /etc/gone: ", "- /etc/absent: type file -> nothing"],
        );
    assert!(steps.iter().all(|step| step.ownership.gives_up.contains("whole")));
    assert_eq!(steps[0].origin, None);
    assert!(steps[2].origin.is_some());
}

#[test]
fn removals_go_from_the_leaves_up_and_before_everything_else() {
    host().directory("/a", &["b"]).directory("/a/b", &["c"]).file("/a/b/c", 0o644, 0, Detail::Nothing).check(
        &[want("/z/b", "content: x"), want("/z", "type: directory")],
        &owned(&["/a", "/a/b", "/a/b/c"]),
        &[
            "- /a/b/c: type file -> nothing",
            "- /a/b: type directory -> nothing",
            "- /a: type directory -> nothing",
            "+ /z: type nothing -> directory; owner nothing -> root; group nothing -> root; mode nothing -> 0755",
            "+ /z/b: type nothing -> file; content nothing -> 2d711642b726 (1 bytes); owner nothing -> root; \
             group nothing -> root; mode nothing -> 0644",
        ],
    );
}

#[test]
fn an_owned_directory_that_holds_more_is_left_and_given_up() {
    let steps = host().directory("/a", &["data", "mine"]).file("/a/mine", 0o644, 0, Detail::Nothing).check(
        &[],
        &owned(&["/a", "/a/mine"]),
        &["- /a/mine: type file -> nothing", "- /a: type directory -> left, for it is not empty"],
    );
    assert_eq!(steps[1].operation.act, Act::Leave);
    assert!(steps[1].ownership.gives_up.contains("whole"));

    host().directory("/a", &[]).check(
        &[want("/a/soon", "content: x\nowner: \"0\"")],
        &owned(&["/a"]),
        &[
            "- /a: type directory -> left, for it is not empty",
            "+ /a/soon: type nothing -> file; content nothing -> 2d711642b726 (1 bytes); owner nothing -> root; \
             group nothing -> root; mode nothing -> 0644",
        ],
    );
}

#[test]
fn an_exact_directory_loses_what_is_not_declared() {
    let steps = host()
        .directory("/etc/conf.d", &[".a.hostwrit-new", "a", "ab", "deep", "stray", "was-owned"])
        .file("/etc/conf.d/a", 0o644, 0, Detail::Same)
        .file("/etc/conf.d/deep/x", 0o644, 0, Detail::Same)
        .file("/etc/conf.d/was-owned", 0o644, 0, Detail::Nothing)
        .check(
            &[
                want("/etc/conf.d", "type: directory\nexact: true"),
                want("/etc/conf.d/a", "content: x"),
                want("/etc/conf.d/deep/x", "content: x"),
            ],
            &owned(&["/etc/conf.d/was-owned"]),
            &[
                "- /etc/conf.d/was-owned: type file -> nothing",
                "~ /etc/conf.d: exact .a.hostwrit-new, ab, stray -> removed",
            ],
        );
    assert!(matches!(&steps[1].operation.act, Act::Directory { strays, .. } if strays.len() == 3));
}

#[test]
fn an_exact_directory_keeps_what_users_have_in_it() {
    host().directory("/etc/sudoers.d", &["hostwrit-alice"]).check(
        &[want("/etc/sudoers.d", "type: directory\nexact: true")],
        &none(),
        &[],
    );
}

#[test]
fn what_cannot_be_looked_at_is_refused_alone_and_stays_owned() {
    let mut host = host();
    host.0.unknown = ["/a", "/b", "/c"].map(|path| (path.to_owned(), "why".to_owned())).into();
    let steps = host.check(
        &[want("/a", "content: x"), absent("/b"), want("/d", "type: link\ntarget: x")],
        &owned(&["/a", "/b", "/c"]),
        &[
            "- /c: type unknown -> nothing",
            "- /b: type unknown -> nothing",
            "~ /a: type unknown -> file",
            "+ /d: type nothing -> link; target nothing -> x",
        ],
    );
    for step in &steps[..3] {
        assert_eq!(step.operation.act, Act::Refuse("why".to_owned()));
        assert!(step.ownership.gives_up.is_empty());
    }
}

#[test]
fn nothing_is_written_through_a_declared_link() {
    let link = want("/srv/www", "type: link\ntarget: /etc");
    let steps = host().link("/srv/www", "/etc").check(
        &[link, want("/srv/www/cron.d/x", "content: x"), want("/srv/www2", "type: link\ntarget: x")],
        &none(),
        &[
            "+ /srv/www/cron.d/x: type nothing -> file; content nothing -> 2d711642b726 (1 bytes); \
             owner nothing -> root; group nothing -> root; mode nothing -> 0644",
            "+ /srv/www2: type nothing -> link; target nothing -> x",
        ],
    );
    assert_eq!(
        steps[0].operation.act,
        Act::Refuse(
            "/srv/www/cron.d/x lies below /srv/www, which the repo declares as a link; declare it under the link's target"
                .to_owned()
        )
    );
    assert!(matches!(steps[1].operation.act, Act::Link { .. }));
    assert_eq!(steps[1].action, Action::Add);
}

#[test]
fn what_somebody_else_makes_is_put_right_once_it_is_there() {
    let desired = [want("/etc/token", "mode: \"0600\"\nrenew: {every: 30d}")];
    host().check(&desired, &none(), &[]);
    host().file("/etc/token", 0o600, 33, Detail::Nothing).check(&desired, &none(), &[]);
    let steps = host().file("/etc/token", 0o644, 33, Detail::Nothing).check(
        &desired,
        &none(),
        &["~ /etc/token: mode 0644 -> 0600"],
    );
    assert!(steps[0].ownership.claims.is_empty(), "it was there");
    // Content from the repo is put there, whatever else is said of it.
    let written = [want("/etc/site.pem", "content: x\nrenew: {expiry: certificate}")];
    let steps = host().check(
        &written,
        &none(),
        &["+ /etc/site.pem: type nothing -> file; content nothing -> 2d711642b726 (1 bytes); owner nothing -> root; \
           group nothing -> root; mode nothing -> 0644"],
    );
    assert!(steps[0].ownership.claims.contains("whole"));
}

#[test]
fn what_somebody_else_makes_is_not_owned_once_it_was_seen_gone() {
    let desired = [want("/etc/token", "mode: \"0600\"\nrenew: {every: 30d}")];
    let owned = owned(&["/etc/token"]);
    let steps = host().check(&desired, &owned, &["- /etc/token: "]);
    assert!(steps[0].ownership.gives_up.contains("whole"));
    assert_eq!(steps[0].operation.act, Act::Leave, "another may have come meanwhile");
    host().file("/etc/token", 0o600, 33, Detail::Nothing).check(&desired, &owned, &[]);
}
