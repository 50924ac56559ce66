// SPDX-License-Identifier: Apache-2.0
//! One administrator, judged by facts.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::super::admin::{Account, Admin, KeyFile, Password, Way};
use super::super::sshd::Settings;
use super::super::sudo::Right;
use super::KEY;

const SETTINGS: &str = "listenaddress 0.0.0.0:22\npubkeyauthentication yes\nusepam yes\npermitrootlogin no\n\
                        authenticationmethods any\npubkeyacceptedalgorithms ssh-ed25519,rsa-sha2-512\n";

fn way(from: &str, settings: &str) -> Way {
    Way {
        from: from.parse().unwrap(),
        settings: Ok(Settings::of(settings)),
        key_files: vec![KeyFile { shown: "~/.ssh/authorized_keys".into(), content: Some(KEY.into()), fault: None }],
        open: BTreeSet::from([22]),
    }
}

fn alice() -> Admin {
    Admin {
        name: "alice".to_owned(),
        account: Some(Account {
            uid: 1000,
            shell_fault: None,
            shell: "/bin/bash".to_owned(),
            expires: None,
            today: 20_000,
            password: Password::Usable,
            groups: BTreeSet::from(["sudo".to_owned()]),
        }),
        right: Right::OwnPassword,
        sudo_fault: None,
        root_password: false,
        nologin: None,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * 86_400),
        ways: vec![way("10.0.0.1", SETTINGS)],
    }
}

/// What is said of alice after a change; empty if she can log in.
fn said(change: impl FnOnce(&mut Admin)) -> String {
    let mut admin = alice();
    change(&mut admin);
    admin.obstacle().unwrap_or_default()
}

fn account(change: impl FnOnce(&mut Account)) -> String {
    said(|admin| change(admin.account.as_mut().unwrap()))
}

#[test]
fn accounts_and_rights() {
    assert_eq!(said(|_| {}), "");
    assert_eq!(said(|admin| admin.account = None), "there is no such user");
    assert_eq!(
        account(|account| account.shell_fault = Some("lets nobody in".into())),
        "the shell /bin/bash lets nobody in"
    );
    assert_eq!(account(|account| account.expires = Some(20_000)), "the account has expired");
    assert_eq!(account(|account| account.expires = Some(20_001)), "");
    assert_eq!(
        said(|admin| admin.nologin = Some("/run/nologin")),
        "/run/nologin is there, so that only root may log in"
    );
    assert_eq!(said(|admin| admin.sudo_fault = Some("is not installed".into())), "sudo is not installed");
    assert_eq!(said(|admin| admin.right = Right::None), "no rule of sudo lets them become root");
    assert_eq!(
        account(|account| account.password = Password::Locked),
        "sudo asks for a password, and theirs is locked"
    );
    assert_eq!(account(|account| account.password = Password::None), "sudo asks for a password, and theirs is locked");
    let of_root = "sudo asks for the password of root, and that is locked";
    assert_eq!(said(|admin| admin.right = Right::RootPassword), of_root);
    assert_eq!(said(|admin| (admin.right, admin.root_password) = (Right::RootPassword, true)), "");
}

#[test]
fn a_locked_password_leaves_the_key_unless_there_is_no_pam() {
    let locked = |settings: &str| {
        said(|admin| {
            admin.right = Right::Free;
            admin.account.as_mut().unwrap().password = Password::Locked;
            admin.ways = vec![way("10.0.0.1", settings)];
        })
    };
    assert_eq!(locked(SETTINGS), "");
    let without_pam = SETTINGS.replace("usepam yes", "usepam no");
    assert_eq!(locked(&without_pam), "the account is locked, and without UsePAM that is for keys too");
    let both = SETTINGS.replace("methods any", "methods publickey,password");
    assert_eq!(locked(&both), "AuthenticationMethods of sshd asks for a password too, and theirs is locked");
    assert_eq!(said(|admin| admin.ways = vec![way("10.0.0.1", &both)]), "");
}

#[test]
fn settings_of_sshd() {
    for (extra, why) in [
        ("allowusers bob", "AllowUsers of sshd has only bob"),
        ("allowusers al*", ""),
        ("allowusers alice@192.0.2.0/24", "AllowUsers of sshd has only alice@192.0.2.0/24"),
        ("allowusers alice@10.0.0.0/8", ""),
        ("denyusers a*", "DenyUsers a* of sshd shuts them out"),
        ("denyusers alice@192.0.2.1", ""),
        ("allowgroups ops", "AllowGroups of sshd has only ops"),
        ("allowgroups ops\nallowgroups su*", ""),
        ("denygroups sudo", "DenyGroups sudo of sshd shuts them out"),
        ("forcecommand /bin/x", "ForceCommand of sshd lets them run only /bin/x"),
        ("chrootdirectory /srv", "ChrootDirectory of sshd keeps them in /srv"),
        ("permittty no", "PermitTTY of sshd is no"),
        // As sshd of OpenSSH 10.0 says it.
        ("refuseconnection no", ""),
        ("refuseconnection yes", "RefuseConnection of sshd is yes"),
        ("maxsessions 0", "MaxSessions of sshd is 0"),
    ] {
        let settings = format!("{SETTINGS}{extra}\n");
        assert_eq!(said(|admin| admin.ways = vec![way("10.0.0.1", &settings)]), why, "{extra}");
    }
    let replaced = |from: &str, to: &str| said(|admin| admin.ways = vec![way("10.0.0.1", &SETTINGS.replace(from, to))]);
    assert_eq!(replaced("pubkeyauthentication yes", "pubkeyauthentication no"), "PubkeyAuthentication of sshd is no");
    assert_eq!(replaced("0.0.0.0:22", "127.0.0.1:22"), "sshd listens on no address of IPv4 that others reach");
    assert_eq!(replaced("0.0.0.0:22", "[::]:22"), "sshd listens on no address of IPv4 that others reach");
    let kinds = "no key that sshd accepts (~/.ssh/authorized_keys holds a key of the type ssh-ed25519, which \
                 PubkeyAcceptedAlgorithms leaves out)";
    assert_eq!(replaced("ssh-ed25519,", ""), kinds);
}

#[test]
fn root_needs_no_sudo_and_a_word_of_sshd() {
    for (word, why) in [
        ("no", "PermitRootLogin of sshd is no"),
        ("forced-commands-only", "PermitRootLogin of sshd is forced-commands-only"),
        ("prohibit-password", ""),
        ("without-password", ""),
        ("yes", ""),
    ] {
        let root = said(|admin| {
            admin.account.as_mut().unwrap().uid = 0;
            admin.right = Right::None;
            admin.sudo_fault = Some("is not installed".into());
            admin.nologin = Some("/etc/nologin");
            let settings = SETTINGS.replace("permitrootlogin no", &format!("permitrootlogin {word}"));
            admin.ways = vec![way("10.0.0.1", &settings)];
        });
        assert_eq!(root, why, "{word}");
    }
}

#[test]
fn lines_of_authorized_keys() {
    for (options, why) in [
        ("", ""),
        ("no-agent-forwarding,environment=\"A=b, c\" ", ""),
        ("from=\"10.0.0.0/8,!10.0.0.2\" ", ""),
        ("from=\"192.0.2.1\" ", "holds a key that counts only from 192.0.2.1"),
        ("from=\"*,!10.0.0.1\" ", "holds a key that counts only from *,!10.0.0.1"),
        ("command=\"/bin/backup, now\" ", "holds a key that may only run a command"),
        ("COMMAND=\"x\" ", "holds a key that may only run a command"),
        ("restrict ", "holds a key that gets no terminal"),
        ("restrict,pty ", ""),
        ("no-pty ", "holds a key that gets no terminal"),
        ("expiry-time=\"20241004\" ", "holds a key that expired at 20241004"),
        ("expiry-time=\"20241005Z\" ", ""),
        ("expiry-time=\"202410040001\" ", ""),
        ("expiry-time=\"soon\" ", "holds a key that expired at soon"),
    ] {
        let keys = format!("# a comment\n\n{options}{KEY} alice\n");
        let said = said(|admin| admin.ways[0].key_files[0].content = Some(keys.into_bytes()));
        let wanted = if why.is_empty() {
            String::new()
        } else {
            format!("no key that sshd accepts (~/.ssh/authorized_keys {why})")
        };
        assert_eq!(said, wanted, "{options}");
    }
    let second = format!("restrict {KEY}\n{KEY}\n");
    assert_eq!(said(|admin| admin.ways[0].key_files[0].content = Some(second.into())), "", "any key will do");
    let no_key = said(|admin| admin.ways[0].key_files[0].content = Some("hello\n".into()));
    assert_eq!(no_key, "no key that sshd accepts (~/.ssh/authorized_keys holds a line that is no key)");
}

#[test]
fn files_of_keys() {
    let files = |files: Vec<KeyFile>| said(|admin| admin.ways[0].key_files = files);
    let file = |shown: &str, content: Option<&str>, fault: Option<&str>| KeyFile {
        shown: shown.into(),
        content: content.map(Into::into),
        fault: fault.map(Into::into),
    };
    let open = file("~/a", Some(KEY), Some("others may write to /home (mode 0777)"));
    assert_eq!(
        files(vec![open.clone(), file("~/b", None, None)]),
        "no key that sshd accepts (it does not read ~/a: others may write to /home (mode 0777))"
    );
    assert_eq!(files(vec![open, file("~/b", Some(KEY), None)]), "");
    assert_eq!(
        files(vec![file("~/a", None, None), file("~/b", None, None)]),
        "no key that sshd accepts (~/a is not there, ~/b is not there)"
    );
    assert_eq!(files(Vec::new()), "no key that sshd accepts (AuthorizedKeysFile is none)");
    let certificates = format!("{SETTINGS}trustedusercakeys /etc/ssh/ca.pub\n");
    assert_eq!(
        said(|admin| {
            admin.ways = vec![way("10.0.0.1", &certificates)];
            admin.ways[0].key_files = Vec::new();
        }),
        "",
        "a certificate needs no file"
    );
}

#[test]
fn one_source_is_enough_and_the_best_one_is_told_of() {
    let closed = Way { open: BTreeSet::new(), ..way("192.0.2.1", SETTINGS) };
    assert_eq!(said(|admin| admin.ways = vec![closed.clone()]), "port 22 of sshd is not open to 192.0.2.1");
    assert_eq!(said(|admin| admin.ways.insert(0, closed.clone())), "");
    let denied = way("10.0.0.2", &format!("{SETTINGS}denyusers alice\n"));
    assert_eq!(said(|admin| admin.ways = vec![denied, closed]), "DenyUsers alice of sshd shuts them out");
    assert_eq!(
        said(|admin| admin.ways = Vec::new()),
        "none of the sources that are declared for them reaches sshd now"
    );
    let broken = Way { settings: Err("line 1: nonsense".into()), ..way("10.0.0.1", SETTINGS) };
    assert_eq!(said(|admin| admin.ways = vec![broken]), "sshd would not start: line 1: nonsense");
}
