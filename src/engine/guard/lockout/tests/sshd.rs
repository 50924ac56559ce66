// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeSet;

use super::super::patterns::net;
use super::super::sshd::{Configuration, Groups, Methods, Settings, named_paths};
use super::Host;
use crate::host::Effective;
use crate::host::effective::STAGE;

/// The copies that sshd would be asked about.
fn copies(host: &Host) -> Vec<String> {
    let groups = Groups::from([
        ("alice".to_owned(), BTreeSet::from(["sudo".to_owned(), "alice".to_owned()])),
        ("bob".to_owned(), BTreeSet::from(["users".to_owned()])),
    ]);
    let configuration = Configuration::read(host, &groups).unwrap().unwrap();
    configuration.files().iter().map(|file| String::from_utf8(file.clone()).unwrap()).collect()
}

#[test]
fn includes_name_the_copies_and_groups_become_their_members() {
    let host = Host::with_alice();
    host.put(
        "/etc/ssh/sshd_config",
        0o644,
        "# Include /nowhere\nInclude sshd_config.d/*.conf /srv/[ab]x\nPort=22\ninclude /none/*\n\
         Match Group \"sudo,!root\" Address 10.0.0.0/8\n  X11Forwarding no\nMatch group nobody\nMatch all\n",
    );
    host.put("/etc/ssh/sshd_config.d/.hidden.conf", 0o644, "Port 1\n");
    host.put("/etc/ssh/sshd_config.d/aa.conf", 0o644, "Port 2\n");
    host.put("/srv/ax", 0o644, "Port 3\nInclude /srv/cx\n");
    host.put("/srv/cx", 0o644, "Port 4\n");
    let copies = copies(&host);
    assert_eq!(
        copies[0],
        format!(
            "# Include /nowhere\nInclude {STAGE}/1 {STAGE}/2 {STAGE}/3\nPort=22\n\n\
             Match user \"alice\" address \"10.0.0.0/8\"\n  X11Forwarding no\nMatch user \"!*\"\nMatch all\n\n"
        )
    );
    assert_eq!(copies[1], "Port 2\n\n");
    assert_eq!(copies[2], "UsePAM yes\n\n");
    assert_eq!(copies[3], format!("Port 3\nInclude {STAGE}/4\n\n"));
}

#[test]
fn every_form_of_match_is_understood() {
    let host = Host::with_alice();
    let read = |text: &str| {
        host.put("/etc/ssh/sshd_config", 0o644, text);
        copies(&host).swap_remove(0)
    };
    assert_eq!(read("Match Group=sudo address=10.0.0.0/8\n"), "Match user \"alice\" address \"10.0.0.0/8\"\n\n");
    assert_eq!(read("Match ALL\nMatch invalid-user\n"), "Match all\nMatch invalid-user\n\n");
    assert_eq!(read("Match Invalid-User group users\n"), "Match invalid-user user \"bob\"\n\n");

    let from = "10.0.0.1".parse().unwrap();
    let asked = |text: &str| {
        host.put("/etc/ssh/sshd_config", 0o644, text);
        let configuration = Configuration::read(&host, &Groups::new()).unwrap().unwrap();
        let (user, address) = configuration.question("alice", from);
        (user.is_some(), address.is_some())
    };
    assert_eq!(asked("Match user=bob\n"), (true, false));
    assert_eq!(asked("Match user bob invalid-user\n"), (true, false));
    // What is understood in no way stays as it is, and sshd is told everything.
    for text in ["Match user = bob\n", "Match user\n", "Match =bob\n"] {
        assert_eq!(read(text), format!("{text}\n"));
        assert_eq!(asked(text), (true, true), "{text}");
    }
}

#[test]
fn a_configuration_that_includes_itself_ends() {
    let host = Host::with_alice();
    host.put("/etc/ssh/sshd_config", 0o644, "Include /etc/ssh/sshd_config\n");
    assert!(copies(&host).len() < 30);
}

#[test]
fn places_and_networks_that_the_configuration_names_are_known() {
    let host = Host::with_alice();
    host.put(
        "/etc/ssh/sshd_config",
        0o644,
        "AuthorizedKeysFile /var/keys/%u .ssh/k\nInclude /srv/a*.conf\nAllowUsers alice@10.0.0.0/8,!10.1.0.0/16 bob\n\
         Match Address 192.0.2.0/24,2001:db8::/32\n",
    );
    let paths = named_paths(&host).unwrap();
    assert!(["/var/keys", "/srv"].iter().all(|path| paths.contains(*path)), "{paths:?}");
    let configuration = Configuration::read(&host, &Groups::new()).unwrap().unwrap();
    let nets = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "2001:db8::/32"].map(|text| net(text).unwrap());
    assert_eq!(configuration.nets, nets);
    let from = "10.0.0.1".parse().unwrap();
    assert_eq!(configuration.question("alice", from), (None, Some(from)));
}

#[test]
fn what_sshd_prints_is_understood() {
    let settings = Settings::of(
        "port 22\nport 2222\nlistenaddress [::]:22\nlistenaddress 0.0.0.0:2222\nlistenaddress 127.0.0.1:22\n\
         allowusers alice\nallowusers bob@10.0.0.0/8\nallowgroups group two\nforcecommand none\nbanner\n",
    );
    let port = |port| BTreeSet::from([port]);
    assert_eq!(settings.ports("10.0.0.1".parse().unwrap()), port(2222));
    assert_eq!(settings.ports("::2".parse().unwrap()), port(22));
    assert_eq!(settings.all("allowusers"), ["alice", "bob@10.0.0.0/8"]);
    assert_eq!(settings.all("allowgroups"), ["group two"]);
    assert_eq!((settings.get("forcecommand"), settings.get("banner"), settings.get("nothing")), (None, None, None));
    assert!(settings.takes("ssh-ed25519"), "without a word on it, every key counts");
}

#[test]
fn methods_that_a_key_is_enough_for_are_told_from_others() {
    for (methods, meaning) in [
        ("any", Methods::Key),
        ("publickey", Methods::Key),
        ("publickey,publickey", Methods::Key),
        ("password publickey", Methods::Key),
        ("publickey,password", Methods::KeyAndPassword),
        ("publickey,keyboard-interactive:pam", Methods::KeyAndPassword),
        ("password", Methods::Other),
        ("publickey,hostbased", Methods::Other),
    ] {
        assert_eq!(Settings::of(&format!("authenticationmethods {methods}\n")).methods(), meaning, "{methods}");
    }
}

#[test]
fn a_host_that_does_not_run_answers_nothing() {
    let host = Host::with_alice();
    let error = crate::host::ReadHost::effective(&host.real, &Effective::Sudoers(b"")).unwrap_err();
    assert_eq!(crate::model::chain(&error), "cannot run cvtsudoers: this is not the running system");
}
