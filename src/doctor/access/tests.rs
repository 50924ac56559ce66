// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, reason = "prepares a temporary root by hand")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::super::CheckResult;
use super::*;

struct Scene {
    root: tempfile::TempDir,
    host: RealHost,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = RealHost::open(root.path()).unwrap();
        Self { root, host }
    }

    fn put(&self, path: &str, content: &str, mode: u32) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn give(&self, name: &str, content: &str) {
        self.put(&format!("etc/hostwrit/credentials/{name}"), content, 0o600);
    }

    /// Makes a key, and returns its two halves.
    fn key(&self, passphrase: &str) -> (String, String) {
        let path = self.root.path().join("new");
        let _ = fs::remove_file(&path);
        let output = self
            .host
            .run("ssh-keygen", &["-q", "-t", "ed25519", "-N", passphrase, "-C", "x", "-f", path.to_str().unwrap()])
            .unwrap();
        assert!(output.success, "{output:?}");
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        (read(&path), read(&path.with_extension("pub")))
    }
}

fn at(remote: &str) -> Option<Place> {
    Some(crate::source::place(remote).unwrap())
}

/// Demands a result, what is said, and what is to be done.
#[track_caller]
fn demand(check: &Check, result: CheckResult, found: &str, advice: &str) {
    assert_eq!(check.result, result, "{check:?}");
    assert!(check.found.contains(found), "{check:?}");
    assert!(check.advice.as_deref().unwrap_or_default().contains(advice), "{check:?}");
}

use CheckResult::{Failed, Ok as Fine, Skipped, Warning};

const SSH: &str = "ssh://git@git.example.org/infra.git";

#[test]
fn a_key_is_there_can_be_used_and_is_nobody_elses() {
    let scene = Scene::new();
    let check = || credentials(&scene.host, at(SSH).as_ref());
    demand(&check(), Warning, "there is no /etc/hostwrit/credentials/ssh-key", "ssh-keygen -t ed25519");
    let (key, public) = scene.key("");
    scene.give("ssh-key", &key);
    demand(&check(), Fine, "can be used", "");
    scene.put("etc/hostwrit/credentials/ssh-key", &key, 0o640);
    demand(&check(), Failed, "mode 0640, so others can read it", "chmod 0600 /etc/hostwrit/credentials/ssh-key");
    for damaged in [public.as_str(), "secret", "", key.trim_end(), &key.replace('\n', "\r\n")] {
        scene.give("ssh-key", damaged);
        demand(&check(), Failed, "no private key that ssh can read", "as ssh-keygen wrote it");
        assert!(!format!("{:?}", check()).contains("secret"));
    }
    scene.give("ssh-key", &scene.key("correct horse").0);
    demand(&check(), Failed, "has a passphrase", "ssh-keygen -p -N ''");
}

#[test]
fn what_the_courier_has_from_elsewhere_or_from_yesterday_is_told() {
    let scene = Scene::new();
    let check = || credentials(&scene.host, at(SSH).as_ref());
    let (key, _) = scene.key("");
    let shown = "run/credentials/hostwrit-courier.service/ssh-key";
    scene.put(shown, "\n", 0o400);
    demand(&check(), Warning, "there is no", "register");
    scene.put(shown, &key, 0o600);
    demand(&check(), Fine, "from elsewhere", "");
    scene.give("ssh-key", &key);
    demand(&check(), Fine, "can be used", "");
    scene.give("ssh-key", &scene.key("").0);
    demand(&check(), Warning, "has changed since the courier was started", "systemctl restart hostwrit-courier");
}

#[test]
fn a_token_is_one_word_and_is_not_sent_for_all_to_read() {
    let scene = Scene::new();
    let check = |remote: &str| credentials(&scene.host, at(remote).as_ref());
    let remote = "https://git.example.org/infra.git";
    demand(&check(remote), Fine, "asked without a name", "");
    for token in ["", "\n", "two words", "two\nlines\n", "ä"] {
        scene.give("git-token", token);
        demand(&check(remote), Failed, "not one line without spaces", "USER:PASSWORD");
    }
    scene.give("git-token", "me:hunter2\n");
    demand(&check(remote), Fine, "can be used", "");
    demand(&check("http://git.example.org/infra.git"), Warning, "for everybody on the way to read", "use https://");
    scene.put("etc/hostwrit/credentials/git-token", "me:hunter2\n", 0o604);
    demand(&check(remote), Failed, "others can read it", "chmod 0600");
    assert!(!format!("{:?}", check(remote)).contains("hunter2"));
    demand(&check("/srv/infra.git"), Skipped, "nobody is asked", "");
    demand(&credentials(&scene.host, None), Skipped, "without a remote", "");
}

#[test]
fn a_server_is_known_by_its_name_and_port() {
    let scene = Scene::new();
    let check = |remote: &str| host_key(&scene.host, at(remote).as_ref());
    demand(
        &check(SSH),
        Failed,
        "there is neither",
        "ssh-keyscan git.example.org >>/etc/hostwrit/credentials/known-hosts",
    );
    scene.put("run/credentials/hostwrit-courier.service/known-hosts", "x", 0o400);
    demand(&check(SSH), Warning, "there is neither", "ssh-keyscan");
    let (_, key) = scene.key("");
    scene.put("etc/ssh/ssh_known_hosts", &format!("other.example.org {key}"), 0o644);
    demand(
        &check(SSH),
        Failed,
        "/etc/ssh/ssh_known_hosts has no key of git.example.org",
        "compare with one that you trust",
    );
    scene.give("known-hosts", &format!("git.example.org,192.0.2.1 {key}"));
    demand(&check(SSH), Fine, "has a key of git.example.org", "");
    let with_port = "ssh://git@git.example.org:2222/infra.git";
    demand(&check(with_port), Failed, "no key of [git.example.org]:2222", "ssh-keyscan -p 2222 git.example.org");
    scene.give("known-hosts", &format!("[git.example.org]:2222 {key}[git.example.org]:2222 {key}"));
    demand(&check(with_port), Fine, "has 2 keys of", "");
    scene.give("known-hosts", &format!("@revoked git.example.org {key}"));
    demand(&check(SSH), Failed, "has no key", "ssh-keyscan");
    demand(&check("https://git.example.org/i.git"), Skipped, "not reached by SSH", "");
}
