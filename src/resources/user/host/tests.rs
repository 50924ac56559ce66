// SPDX-License-Identifier: Apache-2.0
//! From plan to files and back, on a root directory of its own.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use proptest::prelude::*;

use crate::host::RealHost;
use crate::model::{ObjectId, Secret, Step};
use crate::resources::user::tests::{declared, ed25519, resolve};
use crate::resources::user::{Expiry, Spec};

use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const SHADOW: &str = "root:*:20000:0:99999:7:::\nnobody:*:20000:0:99999:7:::\n";
const GROUP: &str = "root:x:0:\nstaff:x:50:\nwww-data:x:33:\nnogroup:x:65534:\n";
const GSHADOW: &str = "root:*::\nstaff:!::\nwww-data:!::\nnogroup:!::\n";

/// A managed host below a temporary directory, and what hostwrit made there.
struct Fixture {
    dir: tempfile::TempDir,
    host: RealHost,
    owned: Owned,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for path in ["etc/skel/.config", "home", "tmp"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let host = RealHost::open(dir.path()).unwrap();
        let fixture = Self { dir, host, owned: Owned::default() };
        for (name, content) in [
            ("etc/passwd", PASSWD),
            ("etc/shadow", SHADOW),
            ("etc/group", GROUP),
            ("etc/gshadow", GSHADOW),
            ("etc/login.defs", "PASS_MIN_DAYS 0\nPASS_MAX_DAYS 99999\nPASS_WARN_AGE 7\n"),
            ("etc/skel/.profile", "umask 027\n"),
            ("etc/skel/.config/empty", ""),
        ] {
            fixture.write(name, content);
        }
        symlink(".profile", fixture.path("etc/skel/.login")).unwrap();
        fixture
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        std::fs::write(self.path(path), content).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn mode(&self, path: &str) -> u32 {
        std::fs::symlink_metadata(self.path(path)).unwrap().mode() & 0o7777
    }

    fn line(&self, file: &str, name: &str) -> String {
        let start = format!("{name}:");
        self.read(file).lines().find(|line| line.starts_with(&start)).unwrap_or("none").to_owned()
    }

    fn plan(&self, desired: &[Declared<Desired>]) -> Vec<Step<Operation>> {
        User::diff(desired, &User::observe(desired, &self.owned, &self.host).unwrap(), &self.owned)
    }

    /// Applies every step, twice, and expects the next plan to be empty and the files to be sound.
    fn converge(&mut self, desired: &[Declared<Desired>]) -> usize {
        let steps = self.plan(desired);
        for step in &steps {
            self.owned.claim(&step.object, &step.ownership);
            User::apply(&step.operation, &self.host).unwrap();
            User::apply(&step.operation, &self.host).expect("doing it twice does no harm");
            self.owned.give_up(&step.object, &step.ownership);
        }
        let again = self.plan(desired);
        assert!(again.is_empty(), "{again:?}");
        self.assert_sound();
        steps.len()
    }

    /// Has pwck(8) and grpck(8) judge the files: inside the root, which root alone can, else file by file, where they
    /// look up members and primary groups in the running system and so cannot judge those.
    fn assert_sound(&self) {
        let chroot = nix::unistd::geteuid().is_root();
        for (program, files) in [("pwck", ["passwd", "shadow"]), ("grpck", ["group", "gshadow"])] {
            let mut command = Command::new(format!("/usr/sbin/{program}"));
            command.arg("-r");
            let mut harmless = vec!["does not exist", "no changes", "program '/"];
            if chroot {
                command.arg("-R").arg(self.dir.path());
            } else {
                command.args(files.map(|name| self.path("etc").join(name)));
                harmless.extend(["no group", "no user", "delete member"]);
            }
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            let complaints: Vec<&str> =
                said.lines().filter(|line| !harmless.iter().any(|harmless| line.contains(harmless))).collect();
            assert!(complaints.is_empty(), "{program}: {complaints:?}\n{}", self.read("etc/passwd"));
        }
    }

    fn refusal(&self, desired: &[Declared<Desired>]) -> String {
        let step = &self.plan(desired)[0];
        User::apply(&step.operation, &self.host).unwrap_err().to_string()
    }
}

fn wants(name: &str, spec: Spec) -> Declared<Desired> {
    declared(name, Some(resolve(name, spec).unwrap()))
}

fn full() -> Spec {
    Spec {
        groups: Some(vec!["staff".into(), "www-data".into()]),
        comment: Some("Al".into()),
        password: Some(crate::resources::user::PasswordSpec::Hash(Secret::new(format!("$6$salt${}", "a".repeat(86))))),
        expires: Some("2027-12-31".into()),
        ssh_keys: Some(vec![ed25519(1, "al@example")]),
        sudo: Some("ALL=(ALL:ALL) ALL".into()),
        ..Spec::default()
    }
}

#[test]
fn a_new_user_is_there_whole() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.converge(&[wants("al", full())]), 1);

    assert_eq!(fixture.line("etc/passwd", "al"), "al:x:1000:1000:Al:/home/al:/bin/bash");
    let shadow = fixture.line("etc/shadow", "al");
    let fields: Vec<&str> = shadow.split(':').collect();
    assert_eq!((fields[1].len(), &fields[3..]), (94, ["0", "99999", "7", "", "21183", ""].as_slice()));
    assert!(fields[2].parse::<i64>().unwrap() > 20_000, "{shadow}");
    assert_eq!(fixture.line("etc/group", "al"), "al:x:1000:");
    assert_eq!(fixture.line("etc/group", "staff"), "staff:x:50:al");
    assert_eq!(fixture.line("etc/gshadow", "www-data"), "www-data:!::al");
    assert_eq!(fixture.read("home/al/.profile"), "umask 027\n");
    assert_eq!(std::fs::read_link(fixture.path("home/al/.login")).unwrap(), Path::new(".profile"));
    assert_eq!(fixture.read("home/al/.ssh/authorized_keys"), ed25519(1, "al@example") + "\n");
    assert_eq!(fixture.read("etc/sudoers.d/hostwrit-al"), "al ALL=(ALL:ALL) ALL\n");
    for (path, mode) in [
        ("home/al", 0o700),
        ("home/al/.ssh", 0o700),
        ("home/al/.ssh/authorized_keys", 0o600),
        ("etc/sudoers.d/hostwrit-al", 0o440),
    ] {
        assert_eq!(fixture.mode(path), mode, "{path}");
    }
    if fixture.host.sets_owners() {
        for path in
            ["home/al", "home/al/.profile", "home/al/.login", "home/al/.config/empty", "home/al/.ssh/authorized_keys"]
        {
            let found = std::fs::symlink_metadata(fixture.path(path)).unwrap();
            assert_eq!((found.uid(), found.gid()), (1000, 1000), "{path}");
        }
    }
    let object = ObjectId::new("user", "al");
    assert_eq!(fixture.owned.parts(&object).collect::<Vec<_>>(), ["group", "sudo", "whole"]);
}

#[test]
fn a_user_who_left_the_repo_leaves_no_trace_but_the_home() {
    let mut fixture = Fixture::new();
    fixture.converge(&[wants("al", full())]);
    assert_eq!(fixture.converge(&[]), 1);
    for (path, before) in
        [("etc/passwd", PASSWD), ("etc/shadow", SHADOW), ("etc/group", GROUP), ("etc/gshadow", GSHADOW)]
    {
        assert_eq!(fixture.read(path), before, "{path}");
    }
    assert!(!fixture.path("etc/sudoers.d/hostwrit-al").exists());
    assert_eq!(fixture.read("home/al/.profile"), "umask 027\n");
    assert_eq!(fixture.owned, Owned::default());
}

#[test]
fn a_user_who_comes_back_finds_the_home_that_was_kept() {
    let mut fixture = Fixture::new();
    fixture.converge(&[wants("al", Spec::default())]);
    fixture.converge(&[]);
    fixture.write("home/al/.profile", "mine\n");
    fixture.converge(&[wants("al", Spec::default())]);
    assert_eq!(fixture.read("home/al/.profile"), "mine\n");
}

#[test]
fn a_home_of_somebody_else_is_not_given_to_a_new_user() {
    let mut fixture = Fixture::new();
    if !fixture.host.sets_owners() {
        return;
    }
    std::fs::create_dir(fixture.path("home/al")).unwrap();
    std::os::unix::fs::chown(fixture.path("home/al"), Some(4711), Some(4711)).unwrap();
    let refusal = fixture.refusal(&[wants("al", Spec::default())]);
    assert!(refusal.contains("/home/al is there already and belongs to uid 4711"), "{refusal}");
    assert_eq!(fixture.read("etc/passwd"), PASSWD);
    fixture.converge(&[wants("al", Spec { uid: Some(4711), ..Spec::default() })]);
}

#[test]
fn a_group_that_took_the_number_meanwhile_moves_the_own_group() {
    let mut fixture = Fixture::new();
    let steps = fixture.plan(&[wants("al", Spec::default())]);
    fixture.write("etc/group", &format!("{GROUP}web:x:1000:\n"));
    fixture.write("etc/gshadow", &format!("{GSHADOW}web:!::\n"));
    User::apply(&steps[0].operation, &fixture.host).unwrap();
    assert_eq!(fixture.line("etc/passwd", "al"), "al:x:1000:1001::/home/al:/bin/bash");
    assert_eq!(fixture.converge(&[wants("al", Spec::default())]), 0);
}

#[test]
fn a_group_that_the_same_plan_makes_is_found_by_name_and_a_missing_one_named() {
    let fixture = Fixture::new();
    for spec in [
        Spec { group: Some("later".into()), ..Spec::default() },
        Spec { groups: Some(vec!["later".into()]), ..Spec::default() },
    ] {
        let refusal = fixture.refusal(&[wants("al", spec.clone())]);
        assert!(refusal.starts_with("the group later does not exist"), "{refusal}");
        assert_eq!(fixture.read("etc/passwd"), PASSWD);
    }
    let desired = [wants("al", Spec { group: Some("later".into()), ..Spec::default() })];
    let steps = fixture.plan(&desired);
    fixture.write("etc/group", &format!("{GROUP}later:x:1234:\n"));
    fixture.write("etc/gshadow", &format!("{GSHADOW}later:!::\n"));
    User::apply(&steps[0].operation, &fixture.host).unwrap();
    assert_eq!(fixture.line("etc/passwd", "al"), "al:x:1000:1234::/home/al:/bin/bash");
}

#[test]
fn a_number_of_another_user_is_refused() {
    let fixture = Fixture::new();
    let refusal = fixture.refusal(&[wants("al", Spec { uid: Some(65_534), ..Spec::default() })]);
    assert_eq!(refusal, "uid 65534 belongs to the user nobody; give al another one, or none");
}

#[test]
fn root_is_never_removed() {
    let fixture = Fixture::new();
    assert_eq!(fixture.refusal(&[declared("root", None)]), "will not remove root: uid 0 is root's");
    assert_eq!(fixture.read("etc/passwd"), PASSWD);
}

#[test]
fn a_password_is_locked_with_its_hash_kept_and_one_in_passwd_moves_to_shadow() {
    let mut fixture = Fixture::new();
    fixture.write("etc/passwd", &format!("{PASSWD}al:x:1000:50::/:/bin/sh\nbo:$6$s$h:1001:50::/:/bin/sh\n"));
    fixture.write("etc/shadow", &format!("{SHADOW}al:$6$s$h:19999:0:99999:7:::\n"));
    let locked = || Spec { password: Some(crate::resources::user::PasswordSpec::Locked), ..Spec::default() };
    assert_eq!(fixture.converge(&[wants("al", locked()), wants("bo", locked())]), 2);
    assert_eq!(fixture.line("etc/shadow", "al"), "al:!$6$s$h:19999:0:99999:7:::");
    assert!(fixture.line("etc/shadow", "bo").starts_with("bo:!$6$s$h:"));
    assert_eq!(fixture.line("etc/passwd", "bo"), "bo:x:1001:50::/:/bin/sh");
}

#[test]
fn a_new_uid_takes_the_home_along_and_nothing_of_others() {
    let mut fixture = Fixture::new();
    fixture.converge(&[wants("al", full())]);
    fixture.write("home/al/of-others", "");
    fixture.converge(&[wants("al", Spec { uid: Some(2000), ..full() })]);
    assert!(fixture.line("etc/passwd", "al").starts_with("al:x:2000:1000:"));
    if fixture.host.sets_owners() {
        let uid = |path: &str| std::fs::symlink_metadata(fixture.path(path)).unwrap().uid();
        assert_eq!(
            ["home/al", "home/al/.profile", "home/al/.login", "home/al/of-others"].map(uid),
            [2000, 2000, 2000, 0]
        );
    }
}

#[test]
fn keys_of_a_system_user_get_a_home() {
    let mut fixture = Fixture::new();
    let keys = || Some(vec![ed25519(1, "ci")]);
    let home = || Some("/srv/ci/home".to_owned());
    fixture.converge(&[wants("ci", Spec { system: Some(true), home: home(), ssh_keys: keys(), ..Spec::default() })]);
    assert_eq!(fixture.read("srv/ci/home/.ssh/authorized_keys"), ed25519(1, "ci") + "\n");
    assert!(!fixture.path("srv/ci/home/.profile").exists(), "no skeleton");
    // Lost later, it comes back.
    std::fs::remove_dir_all(fixture.path("srv/ci/home")).unwrap();
    assert_eq!(fixture.converge(&[wants("ci", Spec { ssh_keys: keys(), ..Spec::default() })]), 1);
    fixture.converge(&[wants("ci", Spec { ssh_keys: Some(Vec::new()), ..Spec::default() })]);
    assert_eq!(fixture.read("srv/ci/home/.ssh/authorized_keys"), "");
}

#[test]
fn a_second_file_of_keys_goes() {
    let mut fixture = Fixture::new();
    fixture.converge(&[wants("al", full())]);
    fixture.write("home/al/.ssh/authorized_keys2", &ed25519(9, "back door"));
    assert_eq!(fixture.converge(&[wants("al", full())]), 1);
    assert!(!fixture.path("home/al/.ssh/authorized_keys2").exists());
}

#[test]
fn a_link_in_place_of_the_ssh_directory_does_not_lead_root_elsewhere() {
    let mut fixture = Fixture::new();
    fixture.converge(&[wants("al", full())]);
    std::fs::remove_dir_all(fixture.path("home/al/.ssh")).unwrap();
    std::fs::create_dir(fixture.path("etc/cron.d")).unwrap();
    symlink("/etc/cron.d", fixture.path("home/al/.ssh")).unwrap();
    if fixture.host.sets_owners() {
        std::os::unix::fs::lchown(fixture.path("home/al/.ssh"), Some(1000), Some(1000)).unwrap();
    }
    let error = fixture.refusal(&[wants("al", full())]);
    assert!(error.contains("/home/al/.ssh"), "{error}");
    assert_eq!(std::fs::read_dir(fixture.path("etc/cron.d")).unwrap().count(), 0);
}

#[test]
fn what_a_link_in_place_of_the_keys_leads_to_is_neither_shown_nor_changed() {
    let mut fixture = Fixture::new();
    fixture.converge(&[wants("al", full())]);
    let keys = fixture.path("home/al/.ssh/authorized_keys");
    std::fs::remove_file(&keys).unwrap();
    let victim = ed25519(7, "secret-of-root");
    fixture.write("etc/victim", &victim);
    symlink("/etc/victim", &keys).unwrap();
    let steps = fixture.plan(&[wants("al", full())]);
    assert!(!format!("{steps:?}").contains("secret-of-root"));
    assert_eq!(fixture.converge(&[wants("al", full())]), 1);
    assert_eq!(fixture.read("etc/victim"), victim);
    assert!(std::fs::symlink_metadata(&keys).unwrap().is_file());
}

#[test]
fn lines_that_are_no_entries_stay_as_they_are() {
    let mut fixture = Fixture::new();
    let odd = "# comment\n\nbroken\n+@admins::::::\n+\n";
    fixture.write("etc/passwd", &format!("{PASSWD}{odd}"));
    let desired = [wants("al", Spec::default())];
    for step in fixture.plan(&desired) {
        User::apply(&step.operation, &fixture.host).unwrap();
    }
    let expected = format!("{PASSWD}# comment\n\nbroken\nal:x:1000:1000::/home/al:/bin/bash\n+@admins::::::\n+\n");
    assert_eq!(fixture.read("etc/passwd"), expected);
    fixture.owned = {
        let mut owned = Owned::default();
        let made = crate::model::ownership::OwnershipChange::claim_whole();
        owned.claim(&ObjectId::new("user", "al"), &made);
        owned
    };
    for step in fixture.plan(&[]) {
        User::apply(&step.operation, &fixture.host).unwrap();
    }
    assert_eq!(fixture.read("etc/passwd"), format!("{PASSWD}{odd}"));
}

#[test]
fn killed_before_any_of_the_files_the_next_run_ends_in_the_same_state() {
    let desired = [wants("al", full())];
    let mut whole = Fixture::new();
    whole.converge(&desired);
    // A directory in place of a backup stops the edit at that file, as a kill would.
    for blocked in ["gshadow-", "group-", "shadow-", "passwd-"] {
        let mut fixture = Fixture::new();
        let path = fixture.path("etc").join(blocked);
        std::fs::create_dir(&path).unwrap();
        for step in fixture.plan(&desired) {
            fixture.owned.claim(&step.object, &step.ownership);
            User::apply(&step.operation, &fixture.host).unwrap_err();
        }
        assert_eq!(fixture.line("etc/passwd", "al"), "none", "{blocked}");
        std::fs::remove_dir(&path).unwrap();
        fixture.converge(&desired);
        for file in ["etc/passwd", "etc/shadow", "etc/group", "etc/gshadow", "home/al/.ssh/authorized_keys"] {
            assert_eq!(fixture.read(file), whole.read(file), "{blocked}: {file}");
        }
    }
}

#[test]
fn a_shadow_file_that_may_not_be_read_is_named() {
    let fixture = Fixture::new();
    std::fs::set_permissions(fixture.path("etc/shadow"), std::fs::Permissions::from_mode(0o000)).unwrap();
    let result = User::observe(&[wants("al", Spec::default())], &Owned::default(), &fixture.host);
    if fixture.host.sets_owners() {
        assert!(result.is_ok(), "root reads everything");
    } else {
        assert_eq!(result.err().unwrap().to_string(), "cannot read /etc/shadow");
    }
    assert!(User::observe(&[], &Owned::default(), &fixture.host).is_ok(), "without users nobody asks");
}

/// The host below a temporary directory, but taken for the running system.
struct Live<'a>(&'a RealHost);

impl ReadHost for Live<'_> {
    fn is_live(&self) -> bool {
        true
    }

    fn sets_owners(&self) -> bool {
        self.0.sets_owners()
    }

    fn now(&self) -> std::time::SystemTime {
        self.0.now()
    }

    fn stat(&self, path: &Path) -> Result<Option<crate::host::Stat>, HostError> {
        self.0.stat(path)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        self.0.read(path)
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        self.0.read_link(path)
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<std::ffi::OsString>>, HostError> {
        self.0.list(path)
    }

    fn units(&self, names: &[&str]) -> Result<Vec<crate::host::UnitState>, HostError> {
        self.0.units(names)
    }

    fn ruleset(&self, tables: crate::host::Tables) -> Result<crate::host::Ruleset, HostError> {
        self.0.ruleset(tables)
    }

    fn ruleset_generation(&self) -> Result<String, HostError> {
        self.0.ruleset_generation()
    }
}

impl WriteHost for Live<'_> {
    fn replace_file(&self, path: &Path, file: &NewFile<'_>) -> Result<(), HostError> {
        self.0.replace_file(path, file)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        self.0.append(path, bytes)
    }

    fn make_dir(&self, path: &Path, owner: Option<Owner>, mode: u32) -> Result<(), HostError> {
        self.0.make_dir(path, owner, mode)
    }

    fn make_link(&self, path: &Path, target: &Path, owner: Option<Owner>) -> Result<(), HostError> {
        self.0.make_link(path, target, owner)
    }

    fn set_attributes(&self, path: &Path, owner: Option<Owner>, mode: Option<u32>) -> Result<(), HostError> {
        self.0.set_attributes(path, owner, mode)
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.0.remove(path)
    }

    fn remove_tree(&self, path: &Path) -> Result<(), HostError> {
        self.0.remove_tree(path)
    }

    fn edit_accounts(
        &self,
        edit: &mut dyn FnMut(crate::host::AccountFiles) -> Result<crate::host::AccountFiles, String>,
    ) -> Result<(), HostError> {
        self.0.edit_accounts(edit)
    }

    fn run_within(
        &self,
        limit: std::time::Duration,
        program: &str,
        args: &[&str],
    ) -> Result<crate::host::Output, HostError> {
        self.0.run_within(limit, program, args)
    }

    fn run_declared(
        &self,
        limit: std::time::Duration,
        program: &str,
        args: &[&str],
    ) -> Result<crate::host::Output, HostError> {
        self.0.run_declared(limit, program, args)
    }

    fn connect(&self, path: &Path) -> Result<(), HostError> {
        self.0.connect(path)
    }

    fn act_on_unit(&self, action: crate::host::UnitAction, unit: &str) -> Result<(), HostError> {
        self.0.act_on_unit(action, unit)
    }

    fn arm(&self, timer: &crate::host::Timer<'_>) -> Result<(), HostError> {
        self.0.arm(timer)
    }

    fn disarm(&self, name: &str) -> Result<(), HostError> {
        self.0.disarm(name)
    }

    fn load_ruleset(&self, commands: &str) -> Result<(), HostError> {
        self.0.load_ruleset(commands)
    }
}

#[test]
fn on_the_running_system_visudo_judges_a_rule_before_it_counts() {
    let fixture = Fixture::new();
    let live = Live(&fixture.host);
    let put = |rule: &str| put_sudo(&live, "al", rule);
    let refusal = put("ALL=(ALL) ALL").unwrap_err().to_string();
    assert_eq!(refusal, "there is no /etc/sudoers.d, so al cannot be given its rule; install sudo");

    std::fs::create_dir(fixture.path("etc/sudoers.d")).unwrap();
    let installed = Path::new("/usr/sbin/visudo").exists();
    match put("ALL=(ALL) ALL") {
        Ok(()) => assert!(installed),
        Err(error) => {
            assert!(!installed && error.to_string().contains("install sudo"), "{error}");
            return;
        }
    }
    let refusal = put("ALL=(ALL) ALL=").unwrap_err();
    assert!(matches!(&refusal, ApplyError::Host(HostError::Check { .. })), "{refusal}");
    assert_eq!(fixture.read("etc/sudoers.d/hostwrit-al"), "al ALL=(ALL) ALL\n");
    assert_eq!(std::fs::read_dir(fixture.path("etc/sudoers.d")).unwrap().count(), 1);
}

#[test]
fn a_user_whose_processes_run_is_neither_removed_nor_renumbered() {
    let mut fixture = Fixture::new();
    let desired = [wants("al", Spec { uid: Some(4711), ..Spec::default() })];
    fixture.converge(&desired);
    let status = |uid: u32| format!("Name:\tsleep\nUmask:\t0022\nUid:\t1\t1\t{uid}\t1\nGid:\t1\t1\t1\t1\n");
    std::fs::create_dir_all(fixture.path("proc/12")).unwrap();
    std::fs::create_dir_all(fixture.path("proc/self")).unwrap();
    fixture.write("proc/12/status", &status(4711));
    let live = Live(&fixture.host);
    let expected = "process 12 (sleep) runs as al; end the user's processes first";
    for desired in [declared("al", None), wants("al", Spec { uid: Some(4712), ..Spec::default() })] {
        let step = &fixture.plan(&[desired])[0];
        assert_eq!(User::apply(&step.operation, &live).unwrap_err().to_string(), expected);
        assert!(fixture.line("etc/passwd", "al").starts_with("al:x:4711:"));
    }
    fixture.write("proc/12/status", &status(471));
    let step = &fixture.plan(&[declared("al", None)])[0];
    User::apply(&step.operation, &live).unwrap();
    assert_eq!(fixture.line("etc/passwd", "al"), "none");
}

#[test]
fn processes_of_the_running_system_are_seen() {
    let host = RealHost::open(Path::new("/")).unwrap();
    let me = nix::unistd::getuid().as_raw();
    assert!(refuse_if_running(&host, "me", me).is_err());
    refuse_if_running(&host, "nobody has this number", 3_999_999_999).unwrap();
}

/// A user as the repo may want it, over few values so that they meet.
fn any_desired() -> impl Strategy<Value = Desired> {
    let account = (
        proptest::option::of(1000u32..1004),
        proptest::option::of(prop_oneof!["staff", "www-data"]),
        proptest::option::of(proptest::collection::btree_set("staff|www-data|nogroup", 0..3)),
        proptest::option::of("[A-Z][a-z, ]{0,5}"),
        proptest::option::of("/bin/(sh|bash)"),
        any::<bool>(),
    );
    let access = (
        prop_oneof![
            Just(None),
            Just(Some(PasswordSpec::Locked)),
            "[a-c]".prop_map(|salt| Some(PasswordSpec::Hash(Secret::new(format!("$6${salt}$h"))))),
        ],
        proptest::option::of(prop_oneof![Just(Expiry::Never), (1i64..9).prop_map(Expiry::On)]),
        proptest::option::of(proptest::collection::btree_set(1u8..4, 0..3)),
        proptest::option::of(Just("ALL=(ALL) ALL".to_owned())),
    );
    (account, access).prop_map(|(account, (password, expires, keys, sudo))| {
        let (uid, group, groups, comment, shell, system) = account;
        let key = |byte| crate::resources::user::Key::parse(&ed25519(byte, "k")).unwrap();
        let ssh_keys = keys.map(|keys| keys.into_iter().map(key).collect());
        Desired { uid, group, groups, comment, home: None, shell, system, password, expires, ssh_keys, sudo }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn after_apply_nothing_differs_and_what_is_not_ours_is_as_before(
        rounds in proptest::collection::vec(
            proptest::collection::btree_map("al|bo|cy", proptest::option::weighted(0.8, any_desired()), 0..3), 1..4)
    ) {
        let mut fixture = Fixture::new();
        fixture.write("etc/passwd", &format!("{PASSWD}dee:x:1004:50:D:/:/bin/sh\n# odd\n"));
        fixture.write("etc/shadow", &format!("{SHADOW}dee:!:1::::::\n"));
        for mut round in rounds {
            // Two users who ask for one number are a fault of the repo, or of who was there first.
            let mut uids: BTreeMap<u32, String> = Accounts::read_public(&fixture.host).unwrap().users
                .into_iter().map(|(name, user)| (user.uid, name)).collect();
            for (name, want) in &mut round {
                if let Some(want) = want && let Some(uid) = want.uid
                    && uids.entry(uid).or_insert_with(|| name.clone()) != name
                {
                    want.uid = None;
                }
            }
            // A home that was kept for one number is refused to another, and rightly.
            for name in ["al", "bo", "cy"].into_iter().filter(|name| fixture.line("etc/passwd", name) == "none") {
                let _ = std::fs::remove_dir_all(fixture.path("home").join(name));
            }
            let desired: Vec<_> = round.into_iter().map(|(name, want)| declared(&name, want)).collect();
            for step in fixture.plan(&desired) {
                fixture.owned.claim(&step.object, &step.ownership);
                User::apply(&step.operation, &fixture.host).unwrap();
                fixture.owned.give_up(&step.object, &step.ownership);
            }
            let again = fixture.plan(&desired);
            prop_assert!(again.is_empty(), "{:?}", again);
            let passwd = fixture.read("etc/passwd");
            prop_assert!(passwd.starts_with(PASSWD) && passwd.contains("dee:x:1004:50:D:/:/bin/sh\n# odd\n"));
            for object in fixture.owned.objects() {
                prop_assert!(desired.iter().any(|declared| declared.name == object.name()));
            }
        }
    }
}
