// SPDX-License-Identifier: Apache-2.0
//! A part's steps are the whole plan's steps for its objects, whatever is declared, owned and on the host.

#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use crate::host::{HostError, ReadHost, RealHost, Stat, Touched, UnitState};
use crate::model::ownership::OwnershipChange;
use crate::model::{Location, Mode, Origin, Step};
use crate::resources::service::{DesiredUnit, UnitName};
use crate::resources::triggers::{Reaction, Trigger};
use crate::resources::{Concerned, Content, Operation, Watchlist, diff, file, group, observe, user};

use super::*;

const PATHS: [&str; 10] = ["/a", "/a/b", "/a/b/c", "/a/d", "/a/d/e", "/f", "/f/g", "/f/g/h", "/f/g/h/i", "/j"];
const ACCOUNTS: [&str; 3] = ["ada", "bob", "eve"];
const SERVICES: [&str; 2] = ["one", "two"];

/// What is at one path of the host: nothing, a file, a directory or a link.
type OnHost = u8;

#[derive(Clone, Debug)]
struct Case {
    host: Vec<OnHost>,
    files: Vec<Option<(u8, bool)>>,
    users: Vec<Option<Option<u32>>>,
    groups: Vec<Option<Option<u32>>>,
    on_host: Vec<(bool, bool)>,
    services: Vec<Option<(Vec<usize>, bool, bool)>>,
    running: Vec<bool>,
    owned: Vec<bool>,
    pending: Vec<bool>,
    seeds: Vec<prop::sample::Index>,
    touched: Vec<usize>,
}

fn cases() -> impl Strategy<Value = Case> {
    let numbers = || prop::collection::vec(prop::option::of(prop::option::of(1000_u32..1004)), ACCOUNTS.len());
    let service = (prop::collection::vec(0..PATHS.len(), 0..3), any::<bool>(), any::<bool>());
    (
        (
            prop::collection::vec(0_u8..4, PATHS.len()),
            prop::collection::vec(prop::option::weighted(0.7, (0_u8..7, prop::bool::weighted(0.1))), PATHS.len()),
            numbers(),
            numbers(),
            prop::collection::vec(any::<(bool, bool)>(), ACCOUNTS.len()),
        ),
        (
            prop::collection::vec(prop::option::weighted(0.8, service), SERVICES.len()),
            prop::collection::vec(any::<bool>(), SERVICES.len()),
            prop::collection::vec(prop::bool::weighted(0.4), PATHS.len() + 2 * ACCOUNTS.len()),
            prop::collection::vec(prop::bool::weighted(0.2), SERVICES.len()),
            prop::collection::vec(any::<prop::sample::Index>(), 1..3),
            prop::collection::vec(0..PATHS.len(), 0..3),
        ),
    )
        .prop_map(
            |((host, files, users, groups, on_host), (services, running, owned, pending, seeds, touched))| Case {
                host,
                files,
                users,
                groups,
                on_host,
                services,
                running,
                owned,
                pending,
                seeds,
                touched,
            },
        )
}

fn declared<D>(name: &str, want: Option<D>, mode: Mode) -> Declared<D> {
    let origin = Origin { object: Location::file("hosts/web1.yaml"), fields: BTreeMap::new() };
    Declared { name: name.to_owned(), mode, want, origin }
}

fn content(text: &str) -> Content {
    Content::new(text.as_bytes().into())
}

impl Case {
    fn desired(&self) -> Desired {
        let mut desired = Desired::default();
        for (path, (sort, observe)) in PATHS.iter().zip(&self.files).filter_map(|(path, file)| Some((path, (*file)?))) {
            let what = match sort {
                0 => None,
                1 => Some(file::What::Directory { exact: true }),
                2 => Some(file::What::Directory { exact: false }),
                3 => Some(file::What::Link { target: "/j".into() }),
                4 | 6 => Some(file::What::File { content: None, check: None }),
                _ => Some(file::What::File { content: Some(content("as declared")), check: None }),
            };
            let every = Some(Duration::from_secs(60));
            let renew = (sort == 6).then_some(file::Renew { every, expiry: None, warn: Duration::ZERO });
            let want = what.map(|what| file::Desired { what, owner: None, group: None, mode: None, renew });
            let mode = if observe { Mode::Observe } else { Mode::Enforce };
            desired.files.push(declared(path, want, mode));
        }
        for (place, name) in ACCOUNTS.iter().enumerate() {
            if let Some(uid) = self.users[place] {
                let keys = Some(Vec::new());
                let want = user::Desired { uid, ssh_keys: keys, ..user::Desired::default() };
                desired.users.push(declared(name, Some(want), Mode::Enforce));
            }
            if let Some(gid) = self.groups[place] {
                desired.groups.push(declared(name, Some(group::Desired { gid, system: false }), Mode::Enforce));
            }
        }
        for (name, service) in SERVICES.iter().zip(&self.services) {
            let Some((causes, restart, with_file)) = service else { continue };
            let causes: Vec<ObjectId> = causes.iter().map(|place| ObjectId::new(File::KIND, PATHS[*place])).collect();
            let (restart_when, reload_when) = if *restart { (causes, Vec::new()) } else { (Vec::new(), causes) };
            let want = DesiredUnit {
                unit: UnitName::parse(name).unwrap(),
                file: with_file.then(|| content("[Service]\n")),
                drop_ins: BTreeMap::new(),
                enabled: None,
                masked: None,
                running: Some(true),
                restart_when,
                reload_when,
            };
            desired.services.push(declared(name, Some(want), Mode::Enforce));
        }
        desired
    }

    fn owned(&self) -> Owned {
        let mut owned = Owned::default();
        let files = PATHS.iter().map(|path| ObjectId::new(File::KIND, *path));
        let users = ACCOUNTS.iter().map(|name| ObjectId::new(User::KIND, *name));
        let groups = ACCOUNTS.iter().map(|name| ObjectId::new(Group::KIND, *name));
        for (object, _) in files.chain(users).chain(groups).zip(&self.owned).filter(|(_, owned)| **owned) {
            owned.claim(&object, &OwnershipChange::claim_whole());
        }
        owned
    }

    fn pending(&self) -> Pending {
        let because = ObjectId::new(File::KIND, "/j");
        let trigger = Trigger { reaction: Reaction::Restart, because };
        let owed = SERVICES.iter().zip(&self.pending).filter(|(_, pending)| **pending);
        Pending(owed.map(|(name, _)| (ObjectId::new(Service::KIND, *name), trigger.clone())).collect())
    }

    /// Puts onto the host what the case says: below something that is no directory there is nothing.
    fn set_up(&self) -> Host {
        let dir = tempfile::tempdir().unwrap();
        for (path, kind) in PATHS.iter().zip(&self.host) {
            let path = dir.path().join(&path[1..]);
            if !fs::symlink_metadata(path.parent().unwrap()).is_ok_and(|parent| parent.is_dir()) {
                continue;
            }
            match kind {
                0 => {}
                1 => fs::write(path, "as it is").unwrap(),
                2 => fs::create_dir(path).unwrap(),
                _ => std::os::unix::fs::symlink("/elsewhere", path).unwrap(),
            }
        }
        let (mut passwd, mut groups) = (String::new(), String::new());
        for (place, (name, (user, group))) in ACCOUNTS.iter().zip(&self.on_host).enumerate() {
            let number = 1001 + place;
            if *user {
                passwd += &format!("{name}:x:{number}:{number}::/home/{name}:/bin/sh\n");
            }
            if *group {
                groups += &format!("{name}:x:{number}:\n");
            }
        }
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
        fs::write(dir.path().join("etc/group"), groups).unwrap();
        let real = RealHost::open(dir.path()).unwrap();
        Host { real, running: self.running.clone(), _dir: dir }
    }
}

/// A temporary root on which units run.
struct Host {
    real: RealHost,
    running: Vec<bool>,
    _dir: tempfile::TempDir,
}

impl ReadHost for Host {
    fn is_live(&self) -> bool {
        true
    }

    fn sets_owners(&self) -> bool {
        false
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>, HostError> {
        self.real.stat(path)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        self.real.read(path)
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        self.real.read_link(path)
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<OsString>>, HostError> {
        self.real.list(path)
    }

    fn units(&self, names: &[&str]) -> Result<Vec<UnitState>, HostError> {
        let state = |name: &&str| {
            let place = SERVICES.iter().position(|service| name.strip_suffix(".service") == Some(service));
            let runs = place.is_some_and(|place| self.running[place]);
            UnitState {
                name: (*name).to_owned(),
                load: "loaded".to_owned(),
                active: Some(if runs { "active" } else { "inactive" }.to_owned()),
                file_state: "disabled".to_owned(),
                needs_reload: false,
            }
        };
        Ok(names.iter().map(state).collect())
    }

    fn ruleset(&self, tables: crate::host::Tables) -> Result<crate::host::Ruleset, HostError> {
        self.real.ruleset(tables)
    }

    fn ruleset_generation(&self) -> Result<String, HostError> {
        self.real.ruleset_generation()
    }
}

/// Returns the part that the daemon would look at, with what is declared put away and had back.
fn around(
    objects: BTreeSet<ObjectId>,
    with_reactions: bool,
    desired: &Desired,
    owned: &Owned,
    pending: &Pending,
) -> Part {
    let dir = tempfile::tempdir().unwrap();
    let scratch = RealHost::open(dir.path()).unwrap().scratch(Path::new("/scratch")).unwrap();
    let shelf = Shelf::of(desired.clone(), scratch).unwrap();
    Part::around(objects, with_reactions, &shelf, &Record::of(owned, &BTreeSet::new()), pending).unwrap()
}

/// Returns what would be done, in words that hold all of it, sorted.
fn steps(desired: &Desired, owned: &Owned, pending: &Pending, host: &Host) -> Vec<(ObjectId, String)> {
    let observed = observe(desired, owned, host).unwrap();
    let difference = diff(desired, &observed, owned, pending, None);
    let shown = |kind: &str, steps: Vec<Step<Operation>>| {
        steps.into_iter().map(|step| (step.object.clone(), format!("{kind} {step:?}"))).collect::<Vec<_>>()
    };
    let mut all = shown("enforced", difference.enforced);
    all.extend(shown("reported", difference.reported));
    all.sort();
    all
}

fn of(mut steps: Vec<(ObjectId, String)>, objects: &BTreeSet<ObjectId>) -> Vec<(ObjectId, String)> {
    steps.retain(|(object, _)| objects.contains(object));
    steps
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_part_has_the_steps_of_the_whole_plan_for_its_objects(case in cases()) {
        let (desired, owned, pending, host) = (case.desired(), case.owned(), case.pending(), case.set_up());
        let mut all: Vec<ObjectId> = desired.objects().into_iter().map(|object| object.id).collect();
        all.extend(owned.objects().cloned());
        prop_assume!(!all.is_empty());
        let seeds: BTreeSet<ObjectId> = case.seeds.iter().map(|seed| seed.get(&all).clone()).collect();

        let whole = steps(&desired, &owned, &pending, &host);
        let part = around(seeds.clone(), true, &desired, &owned, &pending);
        prop_assert!(seeds.is_subset(&part.objects));
        let planned = steps(&part.desired, &part.owned, &part.pending, &host);
        prop_assert_eq!(of(whole.clone(), &part.objects), planned);

        // Without what reacts to them the objects themselves differ, or do not, in the same way.
        let bare = around(seeds, false, &desired, &owned, &pending);
        let no_service = |steps: Vec<(ObjectId, String)>| {
            steps.into_iter().filter(|(object, _)| object.kind() != Service::KIND).collect::<Vec<_>>()
        };
        let planned = steps(&bare.desired, &bare.owned, &bare.pending, &host);
        prop_assert_eq!(no_service(of(whole, &bare.objects)), no_service(planned));
    }

    /// What differs after a change at some paths, and did not before, is concerned by those paths.
    #[test]
    fn whatever_a_touched_path_makes_differ_is_concerned(case in cases()) {
        let (desired, owned, pending, host) = (case.desired(), case.owned(), case.pending(), case.set_up());
        let before = steps(&desired, &owned, &pending, &host);
        let watchlist = Watchlist::of(&desired, &owned, &host).unwrap();
        let mut touched = BTreeSet::new();
        for path in case.touched.iter().map(|place| PATHS[*place]) {
            let real = host.real.root().join(&path[1..]);
            if real.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                fs::remove_dir_all(real).unwrap();
            } else if fs::remove_file(&real).is_err() && real.parent().unwrap().is_dir() {
                fs::write(real, "new").unwrap();
            }
            touched.insert(Touched::Path(path.into()));
        }
        let Concerned::Objects(concerned) = watchlist.touched_by(&touched) else { panic!("paths concern objects") };
        let part = around(concerned, true, &desired, &owned, &pending);
        let after = steps(&desired, &owned, &pending, &host);
        for step in after.iter().filter(|step| !before.contains(step)) {
            prop_assert!(part.objects.contains(&step.0), "{} is not concerned by {touched:?}", step.0);
        }
    }
}

#[test]
fn a_watchlist_names_the_directories_to_watch_and_filters_what_is_told() {
    let mut desired = Desired::default();
    let want = |what| Some(file::Desired { what, owner: None, group: None, mode: None, renew: None });
    desired.files.push(declared("/etc/app", want(file::What::Directory { exact: true }), Mode::Enforce));
    desired.files.push(declared(
        "/srv/www/index",
        want(file::What::File { content: None, check: None }),
        Mode::Enforce,
    ));
    let host = Case {
        host: vec![0; PATHS.len()],
        files: Vec::new(),
        users: Vec::new(),
        groups: Vec::new(),
        on_host: Vec::new(),
        services: Vec::new(),
        running: Vec::new(),
        owned: Vec::new(),
        pending: Vec::new(),
        seeds: Vec::new(),
        touched: Vec::new(),
    }
    .set_up();
    let watchlist = Watchlist::of(&desired, &Owned::default(), &host).unwrap();
    use crate::host::Depth::{Contents, Names};
    let directories: Vec<_> = watchlist.directories().into_iter().collect();
    let expected = [("/", Names), ("/etc", Contents), ("/etc/app", Contents), ("/srv", Names), ("/srv/www", Contents)];
    assert_eq!(directories, expected.map(|(path, depth)| (PathBuf::from(path), depth)));
    for (path, concerned) in [
        ("/etc/app", true),
        ("/etc/app/stray", true),
        ("/etc/app/stray/below", false),
        ("/etc/other", false),
        ("/srv", true),
        ("/srv/www/index", true),
        ("/srv/www/other", false),
    ] {
        assert_eq!(watchlist.concerns(Path::new(path)), concerned, "{path}");
    }
}

#[test]
fn a_watchlist_learns_where_a_home_is_now_and_forgets_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    let put = |home: &str| {
        fs::write(dir.path().join("etc/passwd"), format!("ada:x:1001:1001::{home}:/bin/sh\n")).unwrap();
    };
    put("/home/ada");
    fs::write(dir.path().join("etc/group"), "").unwrap();
    let host = RealHost::open(dir.path()).unwrap();
    let mut desired = Desired::default();
    let want = user::Desired { ssh_keys: Some(Vec::new()), ..user::Desired::default() };
    desired.users.push(declared("ada", Some(want), Mode::Enforce));
    desired.ports.push(declared("22/tcp", None, Mode::Enforce));
    let at_hand = desired.clone();
    let exact = file::What::Directory { exact: true };
    let want = file::Desired {
        what: exact,
        owner: Some(file::Account::Name("ada".into())),
        group: None,
        mode: None,
        renew: None,
    };
    desired.files.push(declared("/etc/app", Some(want), Mode::Enforce));

    let nothing = Owned::default();
    let before = Watchlist::of(&desired, &nothing, &host).unwrap();
    assert_eq!(before.moved(&at_hand, &nothing, &host).unwrap(), None);
    // Written otherwise, it is the same place.
    put("/home//ada/");
    assert_eq!(before.moved(&at_hand, &nothing, &host).unwrap(), None);
    put("/srv/ada");
    let after = before.moved(&at_hand, &nothing, &host).unwrap().unwrap();
    assert_eq!(after, Watchlist::of(&desired, &nothing, &host).unwrap());
    let port = Concerned::Objects([ObjectId::new(Port::KIND, "22/tcp")].into());
    assert_eq!(after.touched_by(&BTreeSet::from([Touched::Ruleset])), port);
    let touched = |list: &Watchlist, path: &str| list.touched_by(&BTreeSet::from([Touched::Path(path.into())]));
    let ada = Concerned::Objects([ObjectId::new(User::KIND, "ada")].into());
    assert_eq!(touched(&after, "/srv/ada/.ssh/authorized_keys"), ada);
    assert_eq!(touched(&after, "/home/ada/.ssh/authorized_keys"), Concerned::Objects(BTreeSet::new()));
    assert_eq!(touched(&after, "/etc/app/stray"), Concerned::Objects([ObjectId::new(File::KIND, "/etc/app")].into()));
    // Another number is noted: owners are compared by it.
    assert!(!after.is_renumbered(&host).unwrap());
    fs::write(dir.path().join("etc/passwd"), "ada:x:1002:1001::/srv/ada:/bin/sh\n").unwrap();
    assert!(after.is_renumbered(&host).unwrap());
    assert!(!after.moved(&at_hand, &nothing, &host).unwrap().unwrap().is_renumbered(&host).unwrap());
}

#[test]
fn all_of_a_filter_are_looked_at_together_and_the_packet_filter_concerns_all_filters() {
    let mut desired = Desired::default();
    desired.ports.extend(["22/tcp", "443/tcp"].map(|name| declared(name, None, Mode::Enforce)));
    desired.egress.push(declared("53/udp", None, Mode::Enforce));
    desired.files.push(declared("/etc/motd", None, Mode::Enforce));
    let mut owned = Owned::default();
    for object in [ObjectId::new(Port::KIND, "80/tcp"), ObjectId::new(Blocklist::KIND, "old")] {
        owned.claim(&object, &OwnershipChange::claim_whole());
    }
    let objects = |kind: &'static str, names: &[&str]| names.iter().map(|name| ObjectId::new(kind, *name)).collect();
    let ports: BTreeSet<ObjectId> = objects(Port::KIND, &["22/tcp", "443/tcp", "80/tcp"]);
    let egress: BTreeSet<ObjectId> = objects(Egress::KIND, &["53/udp"]);
    let lists: BTreeSet<ObjectId> = objects(Blocklist::KIND, &["old"]);
    for kind in [&ports, &egress, &lists] {
        let part = around(kind.iter().take(1).cloned().collect(), true, &desired, &owned, &Pending::default());
        assert_eq!(part.objects, *kind);
        assert_eq!(part.owned, owned.only(kind));
        let named: BTreeSet<ObjectId> = part.desired.objects().into_iter().map(|object| object.id).collect();
        assert_eq!(named, kind.difference(&owned.objects().cloned().collect()).cloned().collect());
    }

    let dir = tempfile::tempdir().unwrap();
    let host = RealHost::open(dir.path()).unwrap();
    let watchlist = Watchlist::of(&desired, &owned, &host).unwrap();
    let concerned = watchlist.touched_by(&BTreeSet::from([Touched::Ruleset]));
    assert!(watchlist.has_ruleset());
    assert_eq!(concerned, Concerned::Objects([ports, egress, lists].into_iter().flatten().collect()));
    desired = Desired { files: desired.files, ..Desired::default() };
    let watchlist = Watchlist::of(&desired, &Owned::default(), &host).unwrap();
    assert!(!watchlist.has_ruleset());
    assert_eq!(watchlist.touched_by(&BTreeSet::from([Touched::Ruleset])), Concerned::Objects(BTreeSet::new()));
}
