// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, reason = "looks at a temporary root")]
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::*;
use crate::host::{ReadHost as _, RealHost};
use crate::model::{Action, Location, Mode, Owned};
use crate::resources::Resource as _;
use crate::resources::firewall::{self, Network, Observed, Operation, Packet, Place, Protocol, admits};

struct Repo;

impl Contents for Repo {
    fn source(&self, path: &str) -> Result<Arc<[u8]>, String> {
        match path {
            "drop.txt" => Ok(b"; a comment\n198.51.100.0/24 ; SBL1\n\n 198.51.101.0/24\n2001:db8:bad::/48 # why\n"
                .as_slice()
                .into()),
            "bad.txt" => {
                let mut text = "0.0.0.0/0\n".to_owned();
                (0..7).for_each(|number| writeln!(text, "<p>{number}</p>").unwrap());
                Ok(text.as_bytes().into())
            }
            "binary" => Ok(b"\xff".as_slice().into()),
            _ => Err(format!("the repo has no file files/{path}")),
        }
    }

    fn template(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(path.to_owned())
    }

    fn addresses(&self, place: &Place) -> Result<Vec<Network>, String> {
        Err(place.to_string())
    }
}

fn origin() -> Origin {
    Origin { object: Location::file("hosts/web1.yaml"), fields: BTreeMap::new() }
}

fn resolved(name: &str, yaml: &str) -> Result<DesiredList, Faults> {
    let spec: Spec = crate::yaml::read("hosts/web1.yaml", yaml.as_bytes()).unwrap();
    <Blocklist as Filter>::resolve(name, spec, &origin(), &Repo)
}

fn messages(name: &str, yaml: &str) -> Vec<String> {
    resolved(name, yaml).unwrap_err().iter().map(|fault| fault.message.clone()).collect()
}

fn declared(yaml: &str) -> [Declared<DesiredList>; 1] {
    let want = Some(resolved("drop", yaml).unwrap());
    [Declared { name: "drop".to_owned(), mode: Mode::Enforce, want, origin: origin() }]
}

#[test]
fn a_list_is_read_line_by_line() {
    let list =
        resolved("spamhaus-drop", "{file: drop.txt, updated: 2026-11-28, max_age: 7d, when_old: refuse}").unwrap();
    assert_eq!(firewall::shown(&list.networks), "198.51.100.0/23, 2001:db8:bad::/48");
    assert_eq!(list.max_age, Some(7));
    assert_eq!(list.updated.unwrap().days(), 20_785, "date -d 2026-11-28 +%s, by 86400");
}

#[test]
fn days_are_counted_as_the_calendar_has_them() {
    for (text, days) in [("1970-01-01", 0), ("1972-03-01", 790), ("2000-02-29", 11_016), ("2001-01-01", 11_323)] {
        assert_eq!(text.parse::<Date>().unwrap().days(), days, "{text}");
    }
    for text in [
        "2026-02-29",
        "1900-02-29",
        "2026-13-01",
        "2026-00-01",
        "2026-01-32",
        "2026-1-1",
        "26-01-01",
        "",
        "2026-11-28T",
    ] {
        assert!(text.parse::<Date>().is_err(), "{text}");
    }
}

#[test]
fn faults_are_named_with_file_and_line() {
    let expected = [
        "\"Drop\" cannot be the name of a block list: it does not begin with a lower-case letter",
        "\"week\" is no age of a list",
        "\"yesterday\" is no day",
    ];
    assert_eq!(messages("Drop", "{updated: yesterday, max_age: week}"), expected);
    assert_eq!(messages("drop", "{file: drop.txt, max_age: 7d}"), ["nobody can tell how old the list is"]);
    assert_eq!(messages("drop", "{file: drop.txt, when_old: refuse}"), ["the list is never too old"]);
    assert_eq!(messages("drop", "{file: binary}"), ["files/binary is not text in UTF-8"]);
    assert_eq!(messages("drop", "{file: gone}"), ["the repo has no file files/gone"]);
    assert_eq!(
        messages("drop", "{file: bad.txt}"),
        [
            "files/bad.txt, line 1: a block list cannot hold all addresses",
            "files/bad.txt, line 2: \"<p>0</p>\" is neither an address nor a network",
            "files/bad.txt, line 3: \"<p>1</p>\" is neither an address nor a network",
            "files/bad.txt, line 4: \"<p>2</p>\" is neither an address nor a network",
            "files/bad.txt, line 5: \"<p>3</p>\" is neither an address nor a network",
            "files/bad.txt: 3 more lines are neither address nor network",
        ]
    );
}

#[test]
fn a_list_converges_and_what_is_on_it_does_not_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let host = RealHost::open(dir.path()).unwrap();
    host.ensure_dir("/var/lib/hostwrit".as_ref(), 0o700).unwrap();
    let owned = Owned::default();
    let desired = declared("{file: drop.txt}");
    let steps = Blocklist::diff(&desired, &Blocklist::observe(&desired, &owned, &host).unwrap(), &owned);
    assert_eq!(steps[0].changes[0].to, Shown::text("2 networks"));
    Blocklist::apply(&steps[0].operation, &host).unwrap();
    assert!(Blocklist::diff(&desired, &Blocklist::observe(&desired, &owned, &host).unwrap(), &owned).is_empty());
    let table = Table::read(&host.ruleset(Tables::Own).unwrap()).unwrap();
    let from =
        |source: &str| admits(&table, Packet { source: source.parse().unwrap(), protocol: Protocol::Tcp, port: 443 });
    assert!(!from("198.51.101.9") && !from("2001:db8:bad::9"));
    assert!(from("198.51.102.9") && from("2001:db8:600d::9"));
}

#[test]
fn a_list_that_is_too_old_is_not_loaded_if_so_said_and_what_was_loaded_stays() {
    let today = "2026-11-28".parse::<Date>().unwrap().days();
    let old = declared("{file: drop.txt, updated: 2026-11-20, max_age: 7d, when_old: refuse}");
    let steps = Blocklist::diff(&old, &Observed { today, ..Observed::default() }, &Owned::default());
    let [step] = steps.as_slice() else { panic!("{steps:?}") };
    let Operation::Refuse(why) = &step.operation else { panic!("{step:?}") };
    assert_eq!(why, "the list is 1 day older than it may be; update its file and its date, or raise max_age");
    assert_eq!(step.action, Action::Add);

    let other: Networks = ["203.0.113.0/24".parse::<Network>().unwrap()].into_iter().collect();
    let entries: BTreeMap<_, _> = [("drop".to_owned(), Some(other.clone()))].into();
    let table = Blocklist::table(&[("drop".to_owned(), other)].into());
    let observed = Observed { entries, table: table.clone(), today, ..Observed::default() };
    let steps = Blocklist::diff(&old, &observed, &Owned::default());
    let loads = steps.iter().find_map(|step| match &step.operation {
        Operation::Load(load) => Some(load),
        Operation::Refuse(_) => None,
    });
    assert_eq!(loads.unwrap().table, table, "only what is loaded at boot is put right");

    let warned = declared("{file: drop.txt, updated: 2026-11-20, max_age: 7d}");
    let steps = Blocklist::diff(&warned, &Observed { today, ..Observed::default() }, &Owned::default());
    assert!(matches!(steps[0].operation, Operation::Load(_)));
    assert_eq!(warned[0].want.as_ref().unwrap().too_old(today), Some(1));
    assert_eq!(warned[0].want.as_ref().unwrap().too_old(today - 1), None);
}
