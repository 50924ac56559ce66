// SPDX-License-Identifier: Apache-2.0
//! What cvtsudoers of sudo 1.9.13 prints.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::sudo::{Asker, Right, Sudo};
use super::Host;

fn right(rules: Value, name: &str, groups: &[&str]) -> Right {
    let groups: BTreeSet<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    let asker = Asker { name, uid: 1000, groups: &groups, gids: &BTreeSet::from([27]), hostname: "web1.example.org" };
    Sudo::Rules(rules).right(&asker)
}

/// One rule for everything, with these parts replaced.
fn rule(parts: Value) -> Value {
    let mut spec = json!({
        "User_List": [{"username": "alice"}],
        "Host_List": [{"hostname": "ALL"}],
    });
    let mut command = json!({"runasusers": [{"username": "ALL"}], "Options": [], "Commands": [{"command": "ALL"}]});
    for (key, value) in parts.as_object().unwrap() {
        let target = if spec.get(key).is_some() { &mut spec } else { &mut command };
        target[key] = value.clone();
    }
    spec["Cmnd_Specs"] = json!([command]);
    spec
}

#[test]
fn rules_are_about_users_groups_numbers_and_aliases() {
    let aliases =
        json!({"OPS": [{"username": "bob"}, {"username": "alice"}], "NOT": [{"username": "alice", "negated": true}]});
    for (list, right_of) in [
        (json!([{"username": "alice"}]), Right::OwnPassword),
        (json!([{"username": "ALL"}]), Right::OwnPassword),
        (json!([{"username": "ALL"}, {"username": "alice", "negated": true}]), Right::None),
        (json!([{"username": "alice", "negated": true}, {"username": "ALL"}]), Right::OwnPassword),
        (json!([{"usergroup": "sudo"}]), Right::OwnPassword),
        (json!([{"usergroup": "wheel"}]), Right::None),
        (json!([{"userid": 1000}]), Right::OwnPassword),
        (json!([{"userid": 1001}]), Right::None),
        (json!([{"usergid": 27}]), Right::OwnPassword),
        (json!([{"useralias": "OPS"}]), Right::OwnPassword),
        (json!([{"useralias": "NOT"}]), Right::None),
        (json!([{"useralias": "GONE"}]), Right::None),
        (json!([{"netgroup": "ops"}]), Right::None),
    ] {
        let rules = json!({"User_Aliases": aliases, "User_Specs": [rule(json!({"User_List": list}))]});
        assert_eq!(right(rules, "alice", &["sudo"]), right_of, "{list}");
    }
}

#[test]
fn rules_are_about_hosts_targets_and_commands() {
    let aliases = json!({
        "Host_Aliases": {"WEB": [{"hostname": "web*"}]},
        "Runas_Aliases": {"ADMIN": [{"username": "root"}]},
        "Command_Aliases": {"EVERY": [{"command": "ALL"}]},
    });
    for (parts, right_of) in [
        (json!({"Host_List": [{"hostname": "web1"}]}), Right::OwnPassword),
        (json!({"Host_List": [{"hostname": "web1.example.org"}]}), Right::OwnPassword),
        (json!({"Host_List": [{"hostname": "db1"}]}), Right::None),
        (json!({"Host_List": [{"hostalias": "WEB"}]}), Right::OwnPassword),
        (json!({"runasusers": [{"username": "postgres"}]}), Right::None),
        (json!({"runasusers": [{"userid": 0}]}), Right::OwnPassword),
        (json!({"runasusers": [{"runasalias": "ADMIN"}]}), Right::OwnPassword),
        (json!({"runasusers": []}), Right::OwnPassword),
        (json!({"runasusers": [], "runasgroups": [{"usergroup": "adm"}]}), Right::None),
        (json!({"Commands": [{"command": "/bin/ls"}]}), Right::None),
        (json!({"Commands": [{"cmndalias": "EVERY"}]}), Right::OwnPassword),
        (json!({"Commands": [{"command": "ALL"}, {"command": "/bin/sh", "negated": true}]}), Right::OwnPassword),
        (json!({"Commands": [{"command": "ALL", "negated": true}]}), Right::None),
        (json!({"Options": [{"authenticate": false}]}), Right::Free),
    ] {
        let mut rules = aliases.clone();
        rules["User_Specs"] = json!([rule(parts.clone())]);
        assert_eq!(right(rules, "alice", &[]), right_of, "{parts}");
    }
}

#[test]
fn the_last_rule_counts() {
    let no = rule(json!({"Commands": [{"command": "ALL", "negated": true}]}));
    let free = rule(json!({"Options": [{"authenticate": false}]}));
    let group = rule(json!({"User_List": [{"usergroup": "sudo"}]}));
    for (specs, right_of) in [
        (vec![&free, &no], Right::None),
        (vec![&no, &free], Right::Free),
        (vec![&free, &group], Right::OwnPassword),
        (vec![&group, &free], Right::Free),
        (vec![], Right::None),
    ] {
        assert_eq!(right(json!({"User_Specs": specs}), "alice", &["sudo"]), right_of, "{specs:?}");
    }
}

#[test]
fn defaults_say_whose_password_is_asked_for() {
    for (defaults, right_of) in [
        (json!([{"Options": [{"authenticate": false}]}]), Right::Free),
        (json!([{"Binding": [{"username": "alice"}], "Options": [{"authenticate": false}]}]), Right::Free),
        (json!([{"Binding": [{"username": "bob"}], "Options": [{"authenticate": false}]}]), Right::OwnPassword),
        (json!([{"Binding": [{"command": "/bin/ls"}], "Options": [{"authenticate": false}]}]), Right::OwnPassword),
        (json!([{"Binding": [{"hostname": "web1"}], "Options": [{"rootpw": true}]}]), Right::RootPassword),
        (json!([{"Options": [{"targetpw": true}, {"targetpw": false}]}]), Right::OwnPassword),
        (json!([{"Options": [{"exempt_group": "sudo"}]}]), Right::Free),
        (json!([{"Options": [{"exempt_group": "adm"}]}]), Right::OwnPassword),
    ] {
        let rules = json!({"Defaults": defaults, "User_Specs": [rule(json!({}))]});
        assert_eq!(right(rules, "alice", &["sudo"]), right_of, "{defaults}");
    }
}

#[test]
fn a_rule_of_another_shape_gives_nobody_anything() {
    for rules in [json!(null), json!([]), json!({"User_Specs": [{"User_List": "alice"}]}), json!({"User_Specs": [[]]})]
    {
        assert_eq!(right(rules.clone(), "alice", &["sudo"]), Right::None, "{rules}");
    }
}

#[test]
fn files_that_sudo_does_not_trust_or_find_are_not_read() {
    let read = |host: &Host| Sudo::read(host, "web1").unwrap();
    let useless = |host: &Host| match read(host) {
        Sudo::Useless(why) => why,
        Sudo::Rules(_) => String::new(),
    };
    let host = Host::with_alice();
    assert_eq!(useless(&host), "");
    host.put("/etc/sudoers.d/open", 0o666, "nonsense\n");
    assert_eq!(useless(&host), "", "sudo passes over a file that anybody may write");
    host.put("/etc/sudoers.d/web1", 0o440, "nonsense\n");
    host.put("/etc/sudoers", 0o440, "\n#include sudoers.d/%h\n");
    assert_eq!(useless(&host), "cannot read its rules (/etc/sudoers.d/web1:1: syntax error)");
    host.put("/etc/sudoers", 0o440, "@include /etc/none\n");
    assert_eq!(useless(&host), "finds no /etc/none");
    host.put("/etc/sudoers", 0o440, "@include /etc/sudoers\n");
    assert_eq!(useless(&host), "finds /etc/sudoers included too often");
    std::fs::remove_file(host.path("/usr/bin/sudo")).unwrap();
    assert_eq!(useless(&host), "is not installed");
}
