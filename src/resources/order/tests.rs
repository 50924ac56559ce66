// SPDX-License-Identifier: Apache-2.0

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::ownership::OwnershipChange;
use crate::model::{Change, Declared, Location, Mode, Origin, Owned};
use crate::resources::service::{self, Service};
use crate::resources::triggers::{Reaction, Trigger};
use crate::resources::{Contents, file};

struct NoContents;

impl Contents for NoContents {
    fn source(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(path.to_owned())
    }

    fn template(&self, path: &str) -> Result<Arc<[u8]>, String> {
        Err(path.to_owned())
    }

    fn addresses(
        &self,
        place: &crate::resources::firewall::Place,
    ) -> Result<Vec<crate::resources::firewall::Network>, String> {
        Err(format!("there is no {place}"))
    }
}

/// What a file step does plays no part in the order, only its path and whether it removes.
fn some_file_operation() -> Operation {
    let origin = Origin { object: Location::file("x.yaml"), fields: BTreeMap::new() };
    let spec = serde_json::from_str(r#"{"content": "x"}"#).unwrap();
    let want = File::resolve("/x", spec, &origin, &NoContents).unwrap();
    let desired = [Declared { name: "/x".to_owned(), mode: Mode::Enforce, want: Some(want), origin }];
    Operation::File(File::diff(&desired, &file::Observed::default(), &Owned::default()).remove(0).operation)
}

fn service(unit: &str, act: Act) -> Operation {
    let unit = UnitName::parse(unit).unwrap();
    Operation::Service(service::Operation { unit, act, needs: Vec::new() })
}

/// Returns the step that a line such as `+ file:/etc/motd` or `start app` stands for.
fn step(line: &str) -> Step<Operation> {
    let (word, name) = line.split_once(' ').unwrap();
    let act = match word {
        "configure" => Some(Act::Configure { write: Vec::new(), remove: Vec::new() }),
        "mask" => Some(Act::Mask(true)),
        "enable" => Some(Act::Enable(true)),
        "start" => Some(Act::Run(true)),
        "stop" => Some(Act::Run(false)),
        "restart" => {
            let because = "file:/x".parse().unwrap();
            Some(Act::React(Trigger { reaction: Reaction::Restart, because }))
        }
        "drop" => Some(Act::Remove { whole: true, files: Vec::new() }),
        _ => None,
    };
    let (object, operation) = match act {
        Some(act) => (ObjectId::new(Service::KIND, name), service(name, act)),
        None => {
            let object: ObjectId = name.parse().unwrap();
            let name = object.name().to_owned();
            let operation = match (object.kind(), word) {
                ("group", "-") => Operation::Group(group::Operation::Remove { name }),
                ("group", _) => Operation::Group(group::Operation::Add { name, gid: 1000 }),
                ("user", "-") => Operation::User(user::Operation::Remove(user::Removal { name, own_group: false })),
                ("user", _) => Operation::User(user::Operation::Unnumbered { name }),
                ("file", _) => some_file_operation(),
                (kind, _) => panic!("{kind}"),
            };
            (object, operation)
        }
    };
    let action = match word {
        "-" | "drop" => Action::Remove,
        "+" => Action::Add,
        _ => Action::Alter,
    };
    let ownership = OwnershipChange::default();
    Step { object, action, changes: Vec::new(), origin: None, ownership, operation }
}

fn sorted(lines: &[&str]) -> Vec<String> {
    // Each step carries its own line, to be told apart by.
    let mut steps: Vec<_> = lines.iter().map(|line| step(line)).collect();
    for (step, line) in steps.iter_mut().zip(lines) {
        step.changes.push(Change::new(line, Shown::Nothing, Shown::Nothing, None));
    }
    sort(&mut steps);
    steps.into_iter().map(|mut step| step.changes.remove(0).field).collect()
}

const ORDERED: [&str; 20] = [
    "drop old",
    "stop idle",
    "- user:gone",
    "- file:/etc/conf/deep",
    "- file:/etc/conf",
    "- group:gone",
    "+ group:new",
    "+ user:new",
    "+ file:/etc/conf/deep/er",
    "~ file:/etc/conf-d",
    "~ file:/etc/motd",
    "configure app",
    "mask other",
    "enable app",
    "- file:/srv/gone/below",
    "- file:/srv/gone",
    "start app",
    "start web",
    "restart db",
    "restart mail",
];

#[test]
fn steps_go_in_one_order_whatever_order_they_came_in() {
    assert_eq!(sorted(&ORDERED), ORDERED);
    let mut turned = ORDERED;
    turned.reverse();
    // Steps of units in one phase keep the order that they came in; all else is fixed.
    let expected: Vec<&str> = [
        &["stop idle", "drop old"],
        &ORDERED[2..11],
        &["enable app", "mask other", "configure app"],
        &ORDERED[14..16],
        &["start web", "start app", "restart mail", "restart db"],
    ]
    .concat();
    assert_eq!(sorted(&turned), expected);
}

#[test]
fn a_group_goes_last_unless_its_number_may_be_wanted() {
    assert_eq!(sorted(&["- group:a", "+ user:b"]), ["+ user:b", "- group:a"]);
    assert_eq!(sorted(&["+ group:b", "- group:a"]), ["- group:a", "+ group:b"]);
}

#[test]
fn a_file_needs_what_is_above_it_and_the_accounts_that_it_gets() {
    let mut step = step("+ file:/srv/shop/index.html");
    step.changes = vec![
        Change::new("owner", Shown::Nothing, Shown::text("deploy"), None),
        Change::new("group", Shown::text("root"), Shown::text("www"), None),
        Change::new("mode", Shown::Nothing, Shown::text("0644"), None),
    ];
    let needs: Vec<String> = needs(&step).iter().map(ToString::to_string).collect();
    assert_eq!(needs, ["user:deploy", "group:www", "file:/srv/shop", "file:/srv", "file:/"]);
}

#[test]
fn removals_need_nothing() {
    for line in ["- file:/srv/x", "- user:x", "- group:x", "drop x", "stop x"] {
        assert_eq!(needs(&step(line)), [], "{line}");
    }
}

proptest! {
    #[test]
    fn no_path_is_made_before_one_in_its_way_is_gone(
        steps in prop::collection::btree_map("(/[ab]){1,4}", any::<bool>(), 0..12),
    ) {
        let lines: Vec<String> = steps
            .iter()
            .map(|(path, removes)| format!("{} file:{path}", if *removes { '-' } else { '+' }))
            .collect();
        let order = sorted(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        for (place, later) in order.iter().enumerate() {
            let (word, path) = later.split_once(" file:").unwrap();
            for earlier in &order[..place] {
                let (earlier_word, earlier_path) = earlier.split_once(" file:").unwrap();
                let below = Path::new(path).starts_with(earlier_path);
                let above = Path::new(earlier_path).starts_with(path);
                // Never a removal after something was made on the same way; parents first, or last when they go.
                prop_assert!(!(word == "-" && earlier_word == "+" && (below || above)), "{order:?}");
                prop_assert!(!(word == "-" && earlier_word == "-" && below), "{order:?}");
                prop_assert!(!(word == "+" && earlier_word == "+" && above), "{order:?}");
            }
        }
    }
}
