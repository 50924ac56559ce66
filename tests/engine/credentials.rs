// SPDX-License-Identifier: Apache-2.0
//! The credentials of a host that is built below another root, where no unit shows them to the courier.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::site::{Site, ran};

/// Stands for ssh: writes down how it was called, and does on this machine what it was asked to do on the other.
const SSH: &str = "#!/bin/sh\necho \"$*\" >>\"$0.log\"\nuntil [ \"$1\" = git@git.example.org ]; do shift; done\nshift\nexec sh -c \"$*\"\n";

#[test]
fn an_image_is_built_with_the_credentials_in_it_or_those_that_are_named() {
    let site = Site::new(&[("hosts/web1.yaml", "files:\n  /etc/motd: {content: \"hi\\n\"}\n")]);
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    let path = site.repo.path().display().to_string();
    site.put("/etc/hostwrit/config.yaml", &config.replace(&path, &format!("ssh://git@git.example.org{path}")));
    let programs = tempfile::tempdir().unwrap();
    let ssh = programs.path().join("ssh");
    fs::write(&ssh, SSH).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("ssh-key"), "another key").unwrap();
    let plan = || {
        let mut command = site.command(&["plan"]);
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", programs.path().display()));
        command
    };
    let called = || fs::read_to_string(ssh.with_extension("log")).unwrap_or_default();

    let none = ran(&mut plan());
    assert_eq!(none.code, 3, "{none:?}");
    assert!(!called().contains(" -i "), "{}", called());
    site.put("/etc/hostwrit/credentials/ssh-key", "a key");
    assert_eq!(ran(&mut plan()).code, 3);
    let key = site.path("/etc/hostwrit/credentials/ssh-key");
    assert!(called().contains(&format!(" -i {} ", key.display())), "{}", called());
    assert_eq!(ran(plan().env("CREDENTIALS_DIRECTORY", elsewhere.path())).code, 3);
    let last = called().lines().last().unwrap_or_default().to_owned();
    assert!(last.contains(&format!(" -i {} ", elsewhere.path().join("ssh-key").display())), "{last}");
}
