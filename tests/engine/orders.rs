// SPDX-License-Identifier: Apache-2.0
//! Orders: who may give them, for what, once; and what a host does that has obeyed one.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostwrit::engine::{Cycle, State};
use hostwrit::model::git::Oid;
use hostwrit::trust::order::{Kind, NAMESPACE};
use hostwrit::trust::{Code, KeyName, Order, Refusal};
use humantime::format_rfc3339_seconds;
use tempfile::TempDir;

use super::faulty_host::{Fault, FaultyHost};
use super::fixture::FLEET;
use super::site::{HOST, Site};

const STATE: &str = "/var/lib/hostwrit/state.json";
const COMMIT: &str = "3f2c9e0d1a4b5c6d7e8f90123456789abcdef012";

/// A key that gives orders.
struct Pen {
    dir: TempDir,
    name: KeyName,
}

impl Pen {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "offline", "-f"])
            .arg(dir.path().join("key"))
            .status()
            .unwrap();
        assert!(made.success());
        let listed = Command::new("ssh-keygen").arg("-lf").arg(dir.path().join("key.pub")).output().unwrap().stdout;
        let listed = String::from_utf8(listed).unwrap();
        let name = format!("ssh:{}", listed.split(' ').nth(1).unwrap()).parse().unwrap();
        Self { dir, name }
    }

    /// Writes the order and its signature, and returns where the order is.
    fn write(&self, text: &str, namespace: &str) -> PathBuf {
        let path = self.dir.path().join("order.yaml");
        std::fs::write(&path, text).unwrap();
        let _ = std::fs::remove_file(self.dir.path().join("order.yaml.sig"));
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
            .arg(self.dir.path().join("key"))
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(signed.success());
        path
    }

    fn sign(&self, text: &str, namespace: &str) -> Vec<u8> {
        self.write(text, namespace);
        std::fs::read(self.dir.path().join("order.yaml.sig")).unwrap()
    }
}

/// Returns an order that counts for an hour from `begin`.
fn order(kind: &str, commit: &str, nonce: &str, begin: SystemTime) -> String {
    let time = |time| format_rfc3339_seconds(time).to_string();
    let (not_before, not_after) = (time(begin), time(begin + Duration::from_secs(3600)));
    format!(
        "order: {kind}\nfleet: {FLEET}\nhost: {HOST}\ncommit: {commit}\nnonce: {nonce}\nnot_before: {not_before}\n\
         not_after: {not_after}\nreason: \"the keys are at the bottom of the sea\"\n"
    )
}

fn moment() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn verify(pen: &Pen, text: &str, now: SystemTime) -> Result<Order, Refusal> {
    Order::verify(text.as_bytes(), &pen.sign(text, NAMESPACE), std::slice::from_ref(&pen.name), FLEET, HOST, now)
}

#[test]
fn an_order_says_what_was_signed() {
    let pen = Pen::new();
    let order = verify(&pen, &order("re-pin", COMMIT, "8c0f-1234", moment()), moment()).unwrap();
    assert_eq!((order.kind(), order.commit().to_string().as_str()), (Kind::RePin, COMMIT));
    assert_eq!((order.nonce(), order.key()), ("8c0f-1234", &pen.name));
    assert_eq!(order.not_after(), moment() + Duration::from_secs(3600));
    assert_eq!(order.reason(), "the keys are at the bottom of the sea");
}

#[test]
fn every_fault_of_an_order_has_its_code() {
    let pen = Pen::new();
    let good = order("break-glass", COMMIT, "8c0f-1234", moment());
    let hour = Duration::from_secs(3600);
    verify(&pen, &good, moment()).unwrap();
    verify(&pen, &good, moment() + hour).unwrap();

    let end = "not_after: 2027-01-15T09:00:00Z";
    assert!(good.contains(end), "{good}");
    verify(&pen, &good.replace(end, "not_after: 2027-01-15T12:00:00Z"), moment()).unwrap();
    let cases = [
        (good.replace(FLEET, "other.example.org"), Code::OrderElsewhere),
        (good.replace("host: web1", "host: web2"), Code::OrderElsewhere),
        (good.replace(end, "not_after: 2027-01-15T12:00:01Z"), Code::OrderExpired),
        (good.replace(end, "not_after: 2027-01-15T07:59:59Z"), Code::OrderExpired),
        (good.replace(end, "not_after: tomorrow"), Code::OrderMalformed),
        (good.replace("8c0f-1234", "8c0f-12"), Code::OrderMalformed),
        (good.replace("8c0f-1234", "8c0f_1234"), Code::OrderMalformed),
        (good.replace("8c0f-1234", &"a".repeat(65)), Code::OrderMalformed),
        (good.replace(COMMIT, &COMMIT[..39]), Code::OrderMalformed),
        (good.replace(COMMIT, &COMMIT.to_uppercase()), Code::OrderMalformed),
        (good.replace("break-glass", "suspend"), Code::OrderMalformed),
        (good.replace("the keys are at the bottom of the sea", " "), Code::OrderMalformed),
        (format!("{good}more: true\n"), Code::OrderMalformed),
        (format!("{good}host: web1\n"), Code::OrderMalformed),
        (format!("{good}#{}", " ".repeat(20_000)), Code::OrderMalformed),
    ];
    for (text, code) in cases {
        let refusal = verify(&pen, &text, moment()).unwrap_err();
        assert_eq!(refusal.code(), code, "{refusal}\n{text}");
    }
    for now in [moment() - Duration::from_secs(1), moment() + hour + Duration::from_secs(1)] {
        assert_eq!(verify(&pen, &good, now).unwrap_err().code(), Code::OrderExpired);
    }
}

#[test]
fn only_a_listed_key_that_signed_just_this_as_an_order_counts() {
    let (pen, other) = (Pen::new(), Pen::new());
    let text = order("re-pin", COMMIT, "8c0f-1234", moment());
    let verify = |text: &str, signature: &[u8], keys: &[KeyName]| {
        Order::verify(text.as_bytes(), signature, keys, FLEET, HOST, moment()).map(drop)
    };
    let good = pen.sign(&text, NAMESPACE);
    verify(&text, &good, &[other.name.clone(), pen.name.clone()]).unwrap();
    let refused = |text: &str, signature: &[u8], keys: &[KeyName]| {
        let refusal = verify(text, signature, keys).unwrap_err();
        assert_eq!(refusal.code(), Code::OrderSigner, "{refusal}");
    };
    refused(&text, &good, &[]);
    refused(&text, &good, std::slice::from_ref(&other.name));
    refused(&text.replace("web1", "web2"), &good, std::slice::from_ref(&pen.name));
    refused(&text, &pen.sign(&text, "git"), std::slice::from_ref(&pen.name));
    refused(&text, &pen.sign(&text, "hostwrit-order@v2"), std::slice::from_ref(&pen.name));
    refused(&text, b"", std::slice::from_ref(&pen.name));
    // An order that nobody may give is not even read.
    refused("{", &other.sign("{", NAMESPACE), std::slice::from_ref(&pen.name));
}

fn motd(text: &str) -> String {
    format!("files:\n  /etc/motd: {{content: \"{text}\\n\"}}\n")
}

/// A host that obeys orders of the pen and has accepted two commits.
struct Scene {
    site: Site,
    pen: Pen,
    first: Oid,
    second: Oid,
}

impl Scene {
    fn new() -> Self {
        let (site, pen) = (Site::new(&[("hosts/web1.yaml", &motd("one"))]), Pen::new());
        let config = site.get("/etc/hostwrit/config.yaml").unwrap();
        site.put("/etc/hostwrit/config.yaml", &format!("{config}  break_glass: [\"{}\"]\n", pen.name));
        site.converge();
        let first = site.repo.id("HEAD");
        let second = site.host_file(&motd("two"));
        site.converge();
        Self { site, pen, first, second }
    }

    /// Gives an order for a commit that begins now.
    fn order(&self, kind: &str, commit: &Oid, nonce: &str) -> super::site::Ran {
        let begin = SystemTime::now() - Duration::from_secs(60);
        let path = self.pen.write(&order(kind, &commit.to_string(), nonce, begin), NAMESPACE);
        self.site.run(&["trust", "obey", path.to_str().unwrap()])
    }

    fn go_back(&self, commit: &Oid) {
        self.site.repo.git(&["reset", "--quiet", "--hard", &commit.to_string()]);
    }

    fn motd(&self) -> String {
        self.site.get("/etc/motd").unwrap()
    }

    /// Counts the whole entries of the log that tell of an order.
    fn ordered(&self) -> usize {
        let log = self.site.log();
        let entries = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        entries.filter(|entry| entry["event"] == "ordered").count()
    }

    /// Pushes a commit that mallory signed.
    fn stranger(&self, text: &str) -> Oid {
        self.site.repo.write("hosts/web1.yaml", &motd(text));
        self.site.repo.commit("by mallory", Some(&self.site.keys.mallory))
    }
}

#[test]
fn a_re_pin_lets_a_host_go_back_once() {
    let scene = Scene::new();
    scene.go_back(&scene.first);
    assert_eq!(scene.site.run(&["apply"]).code, 4);

    let obeyed = scene.order("re-pin", &scene.first, "nonce-of-the-first");
    assert_eq!(obeyed.code, 0, "{obeyed:?}");
    assert_eq!(scene.motd(), "two\n", "an order changes nothing but the pin");
    scene.site.converge();
    assert_eq!(scene.motd(), "one\n");
    assert!(!scene.site.run(&["status"]).stdout.contains("break-glass"));
    assert_eq!(scene.site.get("/etc/hostwrit/pin").unwrap(), format!("{}\n", scene.first));

    let again = scene.order("re-pin", &scene.first, "nonce-of-the-first");
    assert_eq!(again.code, 4, "{again:?}");
    assert!(again.stderr.contains("order-used"), "{again:?}");
    assert_eq!(scene.site.events("ordered"), 1);
    // From there on it goes forward, and only forward.
    scene.site.host_file(&motd("three"));
    scene.site.converge();
    scene.go_back(&scene.first);
    assert_eq!(scene.site.run(&["apply"]).code, 4);
    assert_eq!(scene.motd(), "three\n");
}

#[test]
fn an_order_is_used_up_whatever_is_lost_of_state_and_log() {
    for lost in [STATE, hostwrit::audit::LOG] {
        let scene = Scene::new();
        scene.go_back(&scene.first);
        assert_eq!(scene.order("re-pin", &scene.first, "nonce-one").code, 0);
        std::fs::remove_file(scene.site.path(lost)).unwrap();
        let again = scene.order("re-pin", &scene.first, "nonce-one");
        assert!(again.stderr.contains("order-used"), "{lost}: {again:?}");
        assert_eq!(scene.site.run(&["apply"]).code, 0, "and it stays obeyed");
        assert_eq!(scene.motd(), "one\n");
    }
}

#[test]
fn a_re_pin_to_a_commit_that_is_not_proven_is_refused() {
    let scene = Scene::new();
    let strange = scene.stranger("strange");
    assert_eq!(scene.site.run(&["plan"]).code, 4);
    let state = scene.site.get(STATE).unwrap();
    let obeyed = scene.order("re-pin", &strange, "nonce-one");
    assert_eq!(obeyed.code, 4, "{obeyed:?}");
    assert!(obeyed.stderr.contains("unknown-signer"), "{obeyed:?}");
    assert_eq!(scene.site.get(STATE).unwrap(), state);
    assert_eq!(scene.site.events("ordered"), 0);
}

#[test]
fn break_glass_makes_a_commit_count_and_is_shown_until_one_counts_by_itself() {
    let scene = Scene::new();
    let strange = scene.stranger("strange");
    assert_eq!(scene.site.run(&["apply"]).code, 4);
    let obeyed = scene.order("break-glass", &strange, "nonce-one");
    assert_eq!(obeyed.code, 0, "{obeyed:?}");
    for _ in 0..2 {
        scene.site.converge();
        assert_eq!(scene.motd(), "strange\n");
        let status = scene.site.run(&["status"]).stdout;
        assert!(status.contains("[break-glass]") && status.contains("bottom of the sea"), "{status}");
    }
    let why = scene.site.run(&["why", "file:/etc/motd"]).stdout;
    assert!(why.contains("by the break-glass nonce-one of ssh:SHA256:"), "{why}");
    // The log alone is enough to know it.
    std::fs::remove_file(scene.site.path(STATE)).unwrap();
    scene.site.converge();
    assert!(scene.site.run(&["status"]).stdout.contains("[break-glass]"));

    // Another by the same stranger does not count for it.
    let more = scene.stranger("stranger still");
    assert_eq!(scene.site.run(&["apply"]).code, 4);
    assert_eq!(scene.motd(), "strange\n");
    scene.go_back(&strange);
    assert_ne!(more, strange);
    scene.site.host_file(&motd("by alice"));
    scene.site.converge();
    assert_eq!(scene.motd(), "by alice\n");
    assert!(!scene.site.run(&["status"]).stdout.contains("break-glass"));
}

#[test]
fn break_glass_does_not_make_an_unsound_or_absent_commit_count() {
    let scene = Scene::new();
    scene.site.repo.write("hosts/web1.yaml", "files: [");
    let unsound = scene.site.repo.commit("unsound", None);
    let obeyed = scene.order("break-glass", &unsound, "nonce-one");
    assert_eq!(obeyed.code, 5, "{obeyed:?}");
    let absent = scene.order("break-glass", &COMMIT.parse().unwrap(), "nonce-two");
    assert_eq!(absent.code, 4, "{absent:?}");
    assert!(absent.stderr.contains("object-missing"), "{absent:?}");
    assert_eq!(scene.site.events("ordered"), 0);
    scene.go_back(&scene.second);
    scene.site.agrees();
}

#[test]
fn an_order_is_obeyed_without_the_remote_if_the_commit_is_there() {
    let scene = Scene::new();
    let config = scene.site.get("/etc/hostwrit/config.yaml").unwrap();
    scene.site.put("/etc/hostwrit/config.yaml", &config.replace("remote: /", "remote: /gone/"));
    let absent = scene.order("re-pin", &COMMIT.parse().unwrap(), "nonce-one");
    assert_eq!(absent.code, 1, "{absent:?}");
    assert!(absent.stderr.contains("the remote cannot be pulled"), "{absent:?}");
    assert_eq!(scene.order("re-pin", &scene.first, "nonce-one").code, 0);
    assert_eq!(scene.site.run(&["apply"]).code, 1);
    assert_eq!(scene.motd(), "one\n");
}

#[test]
fn an_expired_order_does_not_grow_young_with_a_clock_that_was_set_back() {
    let scene = Scene::new();
    let tomorrow = SystemTime::now() + Duration::from_secs(20 * 3600);
    let seconds = tomorrow.duration_since(UNIX_EPOCH).unwrap().as_secs();
    // As if a heartbeat of then had been seen, before the clock went back.
    let mut state: serde_json::Value = serde_json::from_str(&scene.site.get(STATE).unwrap()).unwrap();
    state["freshness"]["newest"] = seconds.into();
    scene.site.put(STATE, &state.to_string());
    let obeyed = scene.order("re-pin", &scene.first, "nonce-one");
    assert!(obeyed.stderr.contains("order-expired"), "{obeyed:?}");
}

#[test]
fn an_order_that_a_kill_cut_short_is_obeyed_wholly_or_not_at_all() {
    let scene = Scene::new();
    scene.go_back(&scene.first);
    let begin = SystemTime::now() - Duration::from_secs(60);
    let text = order("re-pin", &scene.first.to_string(), "nonce-one", begin);
    let signature = scene.pen.sign(&text, NAMESPACE);
    let prepared = scene.site.snapshot();
    for fault in [Fault::Fail, Fault::KillBefore, Fault::KillAfter, Fault::Tear] {
        for at in 1.. {
            scene.site.restore(&prepared);
            let struck = {
                let (real, config, stop) = (scene.site.open(), scene.site.config(), AtomicBool::new(false));
                let lock = real.lock(Duration::ZERO).unwrap();
                let mirror = scene.site.source();
                let host = FaultyHost::new(&real, fault, at);
                let obeyed = Cycle::of(&config, &host, &mirror, lock, &stop).obey(text.as_bytes(), &signature);
                assert!(host.struck() || obeyed.is_ok(), "{obeyed:?}");
                host.struck()
            };
            let ordered = scene.ordered() == 1;
            let applied = scene.site.run(&["apply"]);
            assert_eq!(applied.code, if ordered { 0 } else { 4 }, "{fault:?} at write {at}: {applied:?}");
            let again = scene.order("re-pin", &scene.first, "nonce-one");
            assert_eq!(again.code, if ordered { 4 } else { 0 }, "{fault:?} at write {at}: {again:?}");
            scene.site.converge();
            assert_eq!(scene.motd(), "one\n", "{fault:?} at write {at}");
            let state = State::read(&scene.site.open()).unwrap();
            assert_eq!(state.pin, Some(scene.first.to_string()));
            assert_eq!(scene.site.get("/etc/hostwrit/pin").unwrap(), format!("{}\n", scene.first));
            assert_eq!(scene.ordered(), 1);
            if !struck {
                assert!(at > 3, "only {at} writes");
                break;
            }
        }
    }
}
