// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::files::FileError;
use crate::resources::file::What;

struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        let top = ("hostwrit.yaml", "format: 1\nfleet: test\n");
        Self(files.into_iter().chain([top]).map(|(path, text)| (path.to_owned(), text.into())).collect())
    }

    fn compile(&self) -> Result<Desired, String> {
        compile_files(self, "h", &Facts::sample("h")).map_err(|faults| faults.to_string())
    }
}

impl RepoFiles for Files {
    fn paths(&self) -> Result<Vec<String>, FileError> {
        Ok(self.0.keys().cloned().collect())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        Ok(self.0.get(path).cloned())
    }
}

fn place(origin: &Origin, field: &str) -> String {
    origin.of(field).to_string()
}

#[test]
fn the_host_file_wins_field_by_field_and_each_field_keeps_its_place() {
    let desired = Files::of([
        ("hosts/h.yaml", "profiles: [a, b]\nusers:\n  u:\n    shell: /bin/zsh\n"),
        ("profiles/a.yaml", "users:\n  u:\n    shell: /bin/sh\n    groups:\n      - x\n      - y\n"),
        ("profiles/b.yaml", "users:\n  u: {shell: /bin/bash, comment: c}\n  v: {uid: 2000}\n"),
    ])
    .compile()
    .unwrap();
    let [u, v] = desired.users.as_slice() else { panic!("{:?}", desired.users) };
    let want = u.want.as_ref().unwrap();
    assert_eq!(want.shell.as_deref(), Some("/bin/zsh"));
    assert_eq!(want.groups, Some(["x".to_owned(), "y".to_owned()].into()));
    assert_eq!(want.comment.as_deref(), Some("c"));
    assert_eq!(u.origin.object.to_string(), "hosts/h.yaml:3");
    assert_eq!(place(&u.origin, "shell"), "hosts/h.yaml:4");
    assert_eq!(place(&u.origin, "groups"), "profiles/a.yaml:4", "the key, as the value begins on the next line");
    assert_eq!(place(&u.origin, "comment"), "profiles/b.yaml:2");
    assert_eq!(place(&u.origin, "uid"), "hosts/h.yaml:3", "an unset field is where the object is");
    assert_eq!(v.origin.object.to_string(), "profiles/b.yaml:3");
}

#[test]
fn lists_are_replaced_whole() {
    let desired = Files::of([
        ("hosts/h.yaml", "profiles: [a]\nusers: {u: {groups: [z]}}\n"),
        ("profiles/a.yaml", "users: {u: {groups: [x, y]}}\n"),
    ])
    .compile()
    .unwrap();
    assert_eq!(desired.users[0].want.as_ref().unwrap().groups, Some(["z".to_owned()].into()));
}

#[test]
fn the_host_may_decide_what_its_profiles_disagree_on() {
    let profiles = [("profiles/a.yaml", "users: {u: {shell: /a}}\n"), ("profiles/b.yaml", "users: {u: {shell: /b}}\n")];
    let with_host = |text| Files::of([("hosts/h.yaml", text), profiles[0], profiles[1]]).compile();
    assert!(with_host("profiles: [a, b]\n").unwrap_err().contains("set differently by two profiles"));
    assert!(with_host("profiles: [a, b]\nusers: {u: {shell: /c}}\n").is_ok());
    assert!(with_host("profiles: [a, b]\nusers: {u: {absent: true}}\n").is_ok());
}

#[test]
fn absent_at_the_host_wins_over_all_that_profiles_say() {
    let desired = Files::of([
        ("hosts/h.yaml", "profiles: [a]\nusers: {u: {absent: true}}\nfiles: {/x: {absent: false}}\n"),
        ("profiles/a.yaml", "users: {u: {shell: /bin/sh}}\nfiles: {/x: {absent: true}, /y: {absent: true}}\n"),
    ])
    .compile()
    .unwrap();
    assert!(desired.users[0].want.is_none());
    assert!(desired.files[0].want.is_some());
    assert!(desired.files[1].want.is_none());
}

#[test]
fn observe_sets_the_mode_and_leaves_the_permissions_to_the_file() {
    let text = "files: {/x: {content: a, mode: \"0600\", observe: true}, /y: {content: a, observe: false}}\n";
    let desired = Files::of([("hosts/h.yaml", text)]).compile().unwrap();
    assert_eq!(desired.files[0].mode, Mode::Observe);
    assert_eq!(desired.files[0].want.as_ref().unwrap().mode, Some(0o600));
    assert_eq!(desired.files[1].mode, Mode::Enforce);
}

#[test]
fn templates_see_variables_labels_and_facts() {
    let files = Files::of([
        ("hosts/h.yaml", "labels: {role: db}\nprofiles: [a]\nvars: {x: 2}\nfiles: {/f: {template: t.hbs}}\n"),
        ("profiles/a.yaml", "vars: {x: 1, y: [a, b]}\n"),
        ("templates/t.hbs", "{{vars.x}} {{vars.y.[1]}} {{labels.role}} {{facts.hostname}} {{facts.os.codename}}"),
    ]);
    let desired = files.compile().unwrap();
    let What::File { content: Some(content), .. } = &desired.files[0].want.as_ref().unwrap().what else { panic!() };
    assert_eq!(content.bytes(), b"2 b db h bookworm");
}

#[test]
fn an_unknown_host_is_met_with_the_names_of_those_that_exist() {
    let files = Files::of([("hosts/web1.yaml", ""), ("hosts/db1.yaml", "")]);
    let expected = "hosts/h.yaml: the repo has no host \"h\"\n  its hosts are db1, web1";
    assert_eq!(files.compile().unwrap_err(), expected);
    assert!(Files::of([]).compile().unwrap_err().contains("no hosts at all"));
    let many: BTreeMap<_, _> = (0..20).map(|n| (format!("hosts/hh{n}.yaml"), Vec::new())).collect();
    let faults = compile_files(&Files(many), "hh3x", &Facts::sample("h")).unwrap_err().to_string();
    assert!(faults.contains("did you mean \"hh3\"?"), "{faults}");
}

#[test]
fn hosts_labels_and_fleet_can_be_asked_for_alone() {
    let files = Files::of([("hosts/b.yaml", "labels: {role: db}\n"), ("hosts/a.yaml", "labels: {role: 1}\n")]);
    assert_eq!(hosts(&files).unwrap(), ["a", "b"]);
    assert_eq!(labels(&files, "b").unwrap()["role"], "db");
    assert!(labels(&files, "a").is_err());
    assert_eq!(fleet(&files).unwrap(), "test");
}

#[test]
fn a_repo_without_its_top_is_none() {
    let files = Files([("hosts/h.yaml".to_owned(), Vec::new())].into());
    assert!(files.compile().unwrap_err().starts_with("hostwrit.yaml: the file is missing\n"));
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_with_its_cause() {
    struct Broken;
    impl RepoFiles for Broken {
        fn paths(&self) -> Result<Vec<String>, FileError> {
            Ok(vec!["hosts/h.yaml".to_owned(), "hostwrit.yaml".to_owned()])
        }
        fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
            Err(FileError { path: path.to_owned(), source: "the disk is gone".into() })
        }
    }
    let faults = compile_files(&Broken, "h", &Facts::sample("h")).unwrap_err().to_string();
    assert!(faults.contains("hosts/h.yaml: the file cannot be read: the disk is gone"), "{faults}");
}

#[test]
fn no_name_in_a_file_leads_out_of_the_repo() {
    struct Disk;
    impl RepoFiles for Disk {
        fn paths(&self) -> Result<Vec<String>, FileError> {
            Ok(Vec::new())
        }
        fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
            let names =
                "profiles: [../../p, /p]\nfiles: {/a: {source: ../../../etc/shadow}, /b: {template: /etc/shadow}}\n";
            match path {
                "hostwrit.yaml" => Ok(Some(b"format: 1\nfleet: test\n".to_vec())),
                "hosts/h.yaml" => Ok(Some(names.into())),
                "hosts/i.yaml" => Ok(Some(names.split_once('\n').unwrap().1.into())),
                _ => panic!("{path} was read"),
            }
        }
    }
    let faults = compile_files(&Disk, "h", &Facts::sample("h")).unwrap_err().to_string();
    assert!(faults.contains("there is no profile \"../../p\"") && faults.contains("\"/p\""), "{faults}");
    let faults = compile_files(&Disk, "i", &Facts::sample("i")).unwrap_err().to_string();
    assert_eq!(faults.matches("is not a path below").count(), 2, "{faults}");
}

#[test]
fn compiling_is_deterministic() {
    let files = Files::of([
        ("hosts/h.yaml", "profiles: [a]\nusers: {z: {}, a: {}}\nservices: {s: {enabled: true}}\n"),
        ("profiles/a.yaml", "users: {m: {}}\nfiles: {/b: {content: x}, /a: {content: y}}\n"),
    ]);
    let one = format!("{:?}", files.compile().unwrap());
    assert_eq!(one, format!("{:?}", files.compile().unwrap()));
    let names: Vec<String> = files.compile().unwrap().objects().iter().map(|object| object.id.to_string()).collect();
    assert_eq!(names, ["user:a", "user:m", "user:z", "file:/a", "file:/b", "service:s"]);
}

/// Pieces of a host file, right and wrong.
fn nearly_a_host() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "users:",
        "  u:",
        "    uid: 5",
        "    groups: [a",
        "    absent: true",
        "files:",
        "  /x:",
        "    content: \"{{\"",
        "    template: t.hbs",
        "profiles: [p]",
        "vars: {a: &a [1], b: *a}",
        "labels: {x: y}",
        "services:",
        "  s:",
        "    unit: {content: x}",
        "    reload_when: [file:/x]",
        "-",
        "\t",
        "? x",
        "groups: []",
    ]);
    prop::collection::vec(line, 0..15).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_repo_makes_the_compiler_panic(host in nearly_a_host(), profile in nearly_a_host(), template in "[{}#/ a-z.]{0,40}") {
        let files = Files::of([("hosts/h.yaml", &host), ("profiles/p.yaml", &profile), ("templates/t.hbs", &template)]);
        let _ = files.compile();
        let _ = check(&files);
    }
}

#[test]
fn a_ring_that_no_host_is_in_is_named() {
    let rings = "rollout:\n  rings:\n    - {name: canary, hosts: {ring: canary}}\n    - {name: few, percent: 1}\n    - {name: all}\n";
    let mut files = Files::of([("hosts/h.yaml", "labels: {ring: canari}\n")]);
    files.0.insert("hostwrit.yaml".to_owned(), format!("format: 1\nfleet: test\n{rings}").into());
    let checked = check(&files);
    let of = |faults: &Faults| {
        faults.iter().map(ToString::to_string).filter(|text| text.contains("ring")).collect::<Vec<_>>()
    };
    assert_eq!(
        of(&checked.faults),
        [
            "hostwrit.yaml:5:14: no host is in ring \"canary\"\n  give a host the labels {ring: canary}, or remove the ring"
        ]
    );
    assert_eq!(
        of(&checked.warnings),
        ["hostwrit.yaml:6:14: no host is in ring \"few\"\n  a larger percent, or labels, would fill it"]
    );
    files.0.insert("hosts/h.yaml".to_owned(), "labels: {ring: canary}\n".into());
    assert_eq!(of(&check(&files).faults), [] as [String; 0]);
}

#[test]
fn a_gate_that_is_asked_too_early_is_warned_of() {
    let rings = "rollout:\n  rings:\n    - {name: canary, hosts: {ring: canary}, gate: {query: up, min: 1}}\n    - {name: all, gate: {query: up, min: 1}}\n";
    let mut files = Files::of([("hosts/h.yaml", "labels: {ring: canary}\n")]);
    let mut warnings = |rings: &str| {
        files.0.insert("hostwrit.yaml".to_owned(), format!("format: 1\nfleet: test\n{rings}").into());
        check(&files).warnings.iter().map(ToString::to_string).filter(|text| text.contains("gate")).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings(rings),
        [
            "hostwrit.yaml:6:25: ring \"all\" asks its gate before the rings before it can have followed\n  add after, such as 30m"
        ]
    );
    assert_eq!(warnings(&rings.replace("all,", "all, after: 1m,")), [] as [String; 0]);
}

#[test]
fn what_is_wrong_with_the_rings_is_a_fault_of_every_host() {
    let mut files = Files::of([("hosts/h.yaml", "groups: {ops: {}}\n")]);
    files.0.insert("hostwrit.yaml".to_owned(), "format: 1\nfleet: test\nrollout: {rings: []}\n".into());
    assert!(files.compile().unwrap_err().contains("hostwrit.yaml:3:10: rings is empty"));
}

const MAINTENANCE: &str =
    "maintenance: {from: \"2026-12-01T20:00:00Z\", until: 2026-12-01T22:00:00Z, reason: disk, except: [user:u]}\n";

#[test]
fn maintenance_of_a_profile_counts_unless_the_host_or_another_profile_says_otherwise() {
    let of = |host: &str, other: &str| {
        let (host, profile) = (format!("profiles: [a, b]\nusers: {{u: {{}}}}\n{host}"), MAINTENANCE);
        Files::of([("hosts/h.yaml", &host), ("profiles/a.yaml", profile), ("profiles/b.yaml", other)]).compile()
    };
    let other = MAINTENANCE.replace("disk", "net");
    let reason = |desired: Result<Desired, String>| desired.unwrap().maintenance.unwrap().reason;
    assert_eq!(reason(of("", "")), "disk");
    assert_eq!(reason(of("", MAINTENANCE)), "disk");
    assert_eq!(reason(of(&other, "")), "net");
    assert_eq!(reason(of(&MAINTENANCE.replace("disk", "own"), &other)), "own");
    let faults = of("", &other).unwrap_err();
    assert!(faults.contains("\"maintenance\" is set differently by two profiles"), "{faults}");
}

#[test]
fn maintenance_is_among_what_rights_go_by() {
    let with = |text: &str| {
        let files = Files::of([("hosts/h.yaml", &format!("users: {{u: {{}}}}\n{text}"))]);
        let state = compile_repo(&Repo::of(&files), "h", &Facts::sample("h")).unwrap().state();
        state.objects.get(&crate::model::Maintenance::object()).copied()
    };
    assert_eq!(with(""), None);
    let digests: BTreeSet<_> = ["", "22:30", "net", "[]"]
        .into_iter()
        .zip(["", "22:00", "disk", "[user:u]"])
        .map(|(to, from)| with(&MAINTENANCE.replace(if from.is_empty() { "?" } else { from }, to)).unwrap())
        .collect();
    assert_eq!(digests.len(), 4, "the end, the reason and the exceptions all count");
}
