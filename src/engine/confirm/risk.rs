// SPDX-License-Identifier: Apache-2.0
//! Which steps can cut a host off from those who administer it. Pure.

use std::path::Path;

use crate::model::{Action, ObjectId, Step};

/// Places that decide who may log in or become root, and how packets and names find their way.
const PLACES: &[&str] = &[
    "/etc/NetworkManager",
    "/etc/default/ssh",
    "/etc/firewalld",
    "/etc/group",
    "/etc/gshadow",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
    "/etc/iptables",
    "/etc/iproute2",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/login.defs",
    "/etc/modprobe.d",
    "/etc/netplan",
    "/etc/network",
    "/etc/nftables.conf",
    "/etc/nftables.d",
    "/etc/nologin",
    "/etc/nsswitch.conf",
    "/etc/pam.conf",
    "/etc/pam.d",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/etc/security",
    "/etc/shadow",
    "/etc/shells",
    "/etc/ssh",
    "/etc/sudo.conf",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/sysctl.conf",
    "/etc/sysctl.d",
    "/etc/systemd/network",
    "/etc/systemd/networkd.conf",
    "/etc/systemd/resolved.conf",
    "/etc/ufw",
    "/etc/wireguard",
    "/run/nologin",
];

/// Units without which nobody gets in, or nothing gets out, by the beginnings of their names.
const UNITS: &[&str] = &[
    "NetworkManager",
    "dbus",
    "dhcpcd",
    "firewalld",
    "ifup@",
    "netfilter-persistent",
    "networking",
    "nftables",
    "ssh",
    "systemd-logind",
    "systemd-networkd",
    "systemd-resolved",
    "ufw",
    "wg-quick@",
    "wpa_supplicant",
];

/// Those of them that are started again on the way back if they ran before the change, whatever has stopped them: a unit that
/// was started may have, by a `Conflicts=`.
pub const LIFELINES: [&str; 9] = [
    "NetworkManager.service",
    "dbus.service",
    "networking.service",
    "ssh.service",
    "ssh.socket",
    "sshd.service",
    "sshd.socket",
    "systemd-logind.service",
    "systemd-networkd.service",
];

/// Where the administrator's unit files are.
const UNIT_FILES: &str = "/etc/systemd/system";

/// What of a user decides whether they can log in and become root, as the steps of the kind name it.
const LOGIN: &[&str] = &["uid", "group", "groups", "home", "shell", "password", "expires", "ssh_keys", "sudo"];

/// Returns the objects whose steps can cut the host off, in the order of the plan.
pub fn risky<'p, O: 'p>(steps: impl IntoIterator<Item = &'p Step<O>>) -> Vec<ObjectId> {
    let mut objects = Vec::new();
    for step in steps {
        if is_risky(step) && !objects.contains(&step.object) {
            objects.push(step.object.clone());
        }
    }
    objects
}

/// Whether the object is a part of the packet filter.
pub(super) fn is_of_firewall(object: &ObjectId) -> bool {
    matches!(object.kind(), "port" | "egress" | "blocklist")
}

fn is_risky<O>(step: &Step<O>) -> bool {
    let touches = |fields: &[&str]| step.changes.iter().any(|change| fields.contains(&change.field.as_str()));
    match step.object.kind() {
        _ if is_of_firewall(&step.object) => true,
        "file" => is_risky_place(Path::new(step.object.name())),
        "service" => is_risky_unit(step.object.name()),
        // A user who comes on top takes nothing from the others, but for a rule in /etc/sudoers.d, which sudo reads for all.
        "user" if step.action == Action::Add => touches(&["sudo"]),
        "user" => step.action == Action::Remove || touches(LOGIN),
        "group" => step.action != Action::Add,
        _ => false,
    }
}

/// Whether what is at the path, below it or above it decides who gets in.
fn is_risky_place(path: &Path) -> bool {
    let is_key = path.iter().any(|part| part == ".ssh");
    // sshd refuses the keys of somebody whose home others may write to.
    let is_home = path == Path::new("/root") || path == Path::new("/home") || path.parent() == Some(Path::new("/home"));
    is_key || is_home || is_file_of_unit(path) || PLACES.iter().any(|place| path.starts_with(place)) || is_above(path)
}

/// Whether a place that counts lies below the path: a directory takes what is in it along.
fn is_above(path: &Path) -> bool {
    PLACES.iter().chain([&UNIT_FILES]).any(|place| Path::new(place).starts_with(path))
}

/// Whether the path is the file, a drop-in or a link of a unit that counts.
fn is_file_of_unit(path: &Path) -> bool {
    let is_of_systemd = path.starts_with(UNIT_FILES) || path.starts_with("/run/systemd/system");
    is_of_systemd && path.iter().skip(4).filter_map(|part| part.to_str()).any(is_risky_unit)
}

fn is_risky_unit(name: &str) -> bool {
    UNITS.iter().any(|unit| name.starts_with(unit))
}

#[cfg(test)]
mod tests {
    use crate::model::ownership::OwnershipChange;
    use crate::model::{Change, Shown};

    use super::*;

    fn step(object: &str, action: Action, fields: &[&str]) -> Step<()> {
        Step {
            object: object.parse().unwrap(),
            action,
            changes: fields.iter().map(|field| Change::new(field, Shown::Nothing, Shown::Nothing, None)).collect(),
            origin: None,
            ownership: OwnershipChange::default(),
            operation: (),
        }
    }

    #[test]
    fn steps_that_can_cut_a_host_off_are_risky() {
        use Action::{Add, Alter, Remove};
        for (object, action, fields) in [
            ("port:22/tcp", Add, &[][..]),
            ("port:443/tcp", Remove, &[]),
            ("egress:443/tcp", Alter, &["to"]),
            ("blocklist:spamhaus", Add, &[]),
            ("file:/etc/ssh/sshd_config", Alter, &["content"]),
            ("file:/etc/ssh/sshd_config.d/00-mine.conf", Add, &["content"]),
            ("file:/etc/ssh", Alter, &["mode"]),
            ("file:/etc", Alter, &["mode"]),
            ("file:/", Alter, &["mode"]),
            ("file:/etc/sudoers", Alter, &["mode"]),
            ("file:/etc/sudoers.d/ops", Remove, &[]),
            ("file:/etc/pam.d/sshd", Alter, &["content"]),
            ("file:/etc/security/access.conf", Alter, &["content"]),
            ("file:/etc/network/interfaces", Alter, &["content"]),
            ("file:/etc/netplan/50-cloud.yaml", Alter, &["content"]),
            ("file:/etc/systemd/network/10-host0.network", Alter, &["content"]),
            ("file:/etc/systemd/system/ssh.service.d/x.conf", Add, &["content"]),
            ("file:/etc/systemd/system/sshd.service", Add, &["type"]),
            ("file:/etc/systemd/system", Alter, &["exact"]),
            ("file:/etc/nftables.conf", Alter, &["content"]),
            ("file:/etc/resolv.conf", Alter, &["content"]),
            ("file:/etc/nsswitch.conf", Alter, &["content"]),
            ("file:/etc/nologin", Add, &["content"]),
            ("file:/etc/hosts.deny", Add, &["content"]),
            ("file:/home/alice", Alter, &["mode"]),
            ("file:/home/alice/.ssh/authorized_keys", Alter, &["content"]),
            ("file:/root", Alter, &["mode"]),
            ("user:alice", Remove, &[]),
            ("user:alice", Alter, &["shell"]),
            ("user:alice", Alter, &["comment", "ssh_keys"]),
            ("user:alice", Alter, &["password"]),
            ("user:alice", Alter, &["expires"]),
            ("user:alice", Alter, &["groups"]),
            ("user:alice", Add, &["uid", "sudo"]),
            ("group:sudo", Remove, &[]),
            ("group:ops", Alter, &["gid"]),
            ("service:ssh", Alter, &["running"]),
            ("service:ssh.socket", Alter, &["enabled"]),
            ("service:sshd", Alter, &["restart"]),
            ("service:systemd-networkd", Alter, &["restart"]),
            ("service:networking", Alter, &["masked"]),
            ("service:nftables", Add, &["enabled"]),
        ] {
            assert!(is_risky(&step(object, action, fields)), "{object} {action:?} {fields:?}");
        }
    }

    #[test]
    fn steps_that_cannot_are_not() {
        use Action::{Add, Alter};
        for (object, action, fields) in [
            ("file:/etc/motd", Alter, &["content"][..]),
            ("file:/etc/sshguard.conf", Add, &["content"]),
            ("file:/etc/systemd/system/shop.service", Add, &["content"]),
            ("file:/srv/ssh", Add, &["type"]),
            ("file:/home/alice/notes", Add, &["content"]),
            ("user:deploy", Add, &["uid", "groups", "ssh_keys"]),
            ("user:alice", Alter, &["comment"]),
            ("group:shop", Add, &["gid"]),
            ("service:nginx", Alter, &["running"]),
            ("service:my-ssh-report", Alter, &["running"]),
        ] {
            assert!(!is_risky(&step(object, action, fields)), "{object} {action:?} {fields:?}");
        }
    }

    #[test]
    fn an_object_is_named_once() {
        let steps = [
            step("service:ssh", Action::Alter, &["unit"]),
            step("file:/etc/motd", Action::Alter, &["content"]),
            step("service:ssh", Action::Alter, &["restart"]),
        ];
        assert_eq!(risky(&steps), [ObjectId::new("service", "ssh")]);
    }
}
