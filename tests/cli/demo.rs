// SPDX-License-Identifier: Apache-2.0

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::site::{Ran, list, ran};

/// Plays the demo with a home and a temporary directory of its own, and demands that nothing but DIR is touched.
fn play(user: Option<u32>) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["home", "tmp", "demo"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::os::unix::fs::chown(dir.path().join(name), user, user).unwrap();
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_hostwrit"));
    let mut command = match user {
        None => Command::new(binary),
        Some(user) => {
            // The program may lie where an ordinary user cannot get.
            let copy = dir.path().join("hostwrit");
            std::fs::copy(binary, &copy).unwrap();
            let mut command = Command::new("setpriv");
            let id = user.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(copy);
            command
        }
    };
    command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", dir.path().join("home")).env("TMPDIR", dir.path().join("tmp"));
    let ran = ran(command.args(["demo"]).arg(dir.path().join("demo")));
    assert_eq!(list(&dir.path().join("home")), []);
    assert_eq!(list(&dir.path().join("tmp")), []);
    assert!(list(&dir.path().join("demo")).len() > 50);
    ran
}

fn tells_the_story(ran: &Ran) {
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    for part in ["1 step done", "== A commit that nobody signed", "(not-authorized)", "chained and intact"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\x1b'));
}

#[test]
fn the_demo_touches_nothing_outside_its_directory() {
    tells_the_story(&play(None));
}

#[test]
fn an_ordinary_user_can_play_the_demo() {
    // An ordinary user plays it in the test above already.
    if nix::unistd::geteuid().is_root() {
        let ran = play(Some(65534));
        tells_the_story(&ran);
        assert!(ran.stdout.contains("You are not root"));
    }
}

#[test]
fn the_demo_refuses_a_directory_in_use() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine"), "mine").unwrap();
    let ran = ran(Command::new(env!("CARGO_BIN_EXE_hostwrit")).arg("demo").arg(dir.path()));
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("is not empty"), "{ran:?}");
    assert_eq!(list(dir.path()).len(), 1);
}
