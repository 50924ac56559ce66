// SPDX-License-Identifier: Apache-2.0
//! What people ask of the daemon, and what they may do without one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::site::{Site, ran};
use super::{is_valid, shown, site};

/// A daemon that pulls by itself once an hour.
struct Daemon(Child);

impl Daemon {
    fn start(site: &Site) -> Self {
        let config = site.get("/etc/hostwrit/config.yaml").unwrap();
        site.put("/etc/hostwrit/config.yaml", &format!("{config}interval: 1h\nsplay: 0s\n"));
        let mut command = site.command(&["daemon"]);
        let daemon = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let begin = Instant::now();
        while site.run(&["status", "--json"]).stdout == "null\n" {
            assert!(begin.elapsed() < Duration::from_secs(60), "no cycle ends");
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // In good order, for a courier that it started ends with it.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Returns what is shown without who runs the tests.
fn without_names(text: &str) -> String {
    let word = |line: &str, before: &str, after: &str| {
        let (head, rest) = line.split_once(before)?;
        Some(format!("{head}{before}NAME{after}{}", rest.split_once(after)?.1))
    };
    let line =
        |line: &str| word(line, " by ", ": ").or_else(|| word(line, " by ", " until ")).unwrap_or(line.to_owned());
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn without_a_daemon_a_pause_is_made_by_hand_and_a_pull_is_not() {
    let site = site();
    site.converge();
    insta::assert_snapshot!(shown(&site.run(&["sync", "--wait"])), @r"
    --- stderr
    Error: the daemon does not run: nobody listens on ROOT/run/hostwrit/control.sock; `hostwrit apply` does the same without it
    --- exit code 1
    ");
    insta::assert_snapshot!(shown(&site.run(&["resume"])), @r"
    This host was not paused.
    --- exit code 0
    ");
    insta::assert_snapshot!(shown(&site.run(&["pause", "--for", "2h", "--reason", "ticket 4711"])), @r"
    Paused until TIME (for 2h).
    --- exit code 0
    ");
    site.put("/etc/motd", "drift\n");
    insta::assert_snapshot!(without_names(&shown(&site.run(&["apply"]))), @r"
    1 step of COMMIT1 held: web1 stays as it is while it is paused.
    --- stderr
    Warning: paused by NAME: ticket 4711
      nothing is changed before that; `hostwrit resume` ends it
    --- exit code 6
    ");
    insta::assert_snapshot!(without_names(&shown(&site.run(&["status"]))), @r"
    web1 is paused, and something is held
      commit      COMMIT1
      remote      REPO refs/heads/main
      objects     3
      last cycle  TIME, 0 steps
      paused      until TIME by NAME: ticket 4711
      held        1 step
      differ, only reported
        file:/etc/issue
    --- exit code 0
    ");
    let status = is_valid("status", &site.run(&["status", "--json"]).stdout);
    assert_eq!((&status["health"], &status["held"]), (&"held".into(), &1.into()));
    assert_eq!(status["paused"]["reason"], "ticket 4711");
    site.host_file("{}\n");
    assert_eq!(site.run(&["apply"]).code, 6);
    let status = site.run(&["status"]).stdout;
    let told = status.contains("  commit      COMMIT1\n") && status.contains("  held        1 step of COMMIT2\n");
    assert!(told, "{status}");
    insta::assert_snapshot!(shown(&site.run(&["resume"])), @r"
    Resumed.
    --- exit code 0
    ");
    site.converge();
}

#[test]
fn a_pause_has_an_end_and_a_reason() {
    let site = site();
    insta::assert_snapshot!(shown(&site.run(&["pause", "--for", "31d", "--reason", "x"])), @r"
    --- stderr
    Error: a pause lasts one second at the least and 30 days at the most
    --- exit code 2
    ");
    insta::assert_snapshot!(shown(&site.run(&["pause", "--for", "1h", "--reason", " "])), @r"
    --- stderr
    Error: a pause has a reason: one line of 1 to 500 characters, none of them a control character
    --- exit code 2
    ");
    for args in [
        &["pause"][..],
        &["pause", "--for", "1h"],
        &["pause", "--reason", "x"],
        &["pause", "--for", "x", "--reason", "x"],
    ] {
        assert_eq!(site.run(args).code, 2, "{args:?}");
    }
}

#[test]
fn the_daemon_pulls_pauses_and_resumes_when_it_is_asked_to() {
    let site = site();
    let daemon = Daemon::start(&site);
    site.agrees();
    let status = is_valid("status", &site.run(&["status", "--json"]).stdout);
    assert_eq!(status["daemon"]["pid"], daemon.0.id());
    assert!(status["daemon"]["next_pull"].is_string(), "{status}");
    assert!(site.run(&["status"]).stdout.contains("  daemon      runs since 2"));

    insta::assert_snapshot!(shown(&site.run(&["sync", "--wait"])), @r"
    web1 agrees with COMMIT1: 3 objects, nothing to do.
    --- exit code 0
    ");
    site.host_file("files:\n  /etc/motd: {content: \"better\\n\"}\n");
    insta::assert_snapshot!(shown(&site.run(&["sync", "--wait"])), @r"
    - user:deploy
    ~ file:/etc/motd
    2 steps done: web1 agrees with COMMIT2.
    --- exit code 0
    ");
    assert_eq!(site.get("/etc/motd").unwrap(), "better\n");
    site.put("/etc/motd", "drift\n");
    assert_eq!(site.run(&["sync", "--wait"]).code, 0, "drift is repaired although the remote has nothing new");
    assert_eq!(site.get("/etc/motd").unwrap(), "better\n");

    insta::assert_snapshot!(shown(&site.run(&["pause", "--for", "1h", "--reason", "work"])), @r"
    Paused until TIME (for 1h).
    --- exit code 0
    ");
    site.put("/etc/motd", "drift\n");
    // It sees that, and would have put it right by now.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(site.get("/etc/motd").unwrap(), "drift\n");
    insta::assert_snapshot!(without_names(&shown(&site.run(&["sync", "--wait"]))), @r"
    1 step of COMMIT2 held: web1 stays as it is while it is paused.
    --- stderr
    Warning: paused by NAME: work
    --- exit code 6
    ");
    assert_eq!((site.get("/etc/motd").unwrap().as_str(), site.events("paused")), ("drift\n", 1));
    insta::assert_snapshot!(shown(&site.run(&["resume"])), @r"
    Resumed.
    --- exit code 0
    ");
    assert_eq!(site.run(&["sync", "--wait"]).code, 0);
    assert_eq!((site.get("/etc/motd").unwrap().as_str(), site.events("resumed")), ("better\n", 1));

    // It wakes by itself when a pause ends.
    assert_eq!(site.run(&["pause", "--for", "2s", "--reason", "work"]).code, 0);
    site.put("/etc/motd", "drift\n");
    let begin = Instant::now();
    while site.get("/etc/motd").unwrap() != "better\n" {
        assert!(begin.elapsed() < Duration::from_secs(20), "the pause does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());

    site.repo.commit("unsigned", None);
    let refused = site.run(&["sync", "--wait"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!(site.run(&["sync"]).code, 0);
    drop(daemon);
    assert_eq!(ran(&mut site.command(&["audit", "verify"])).code, 0);
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let site = site();
    let found = |site: &Site| -> serde_json::Value { is_valid("doctor", &site.run(&["doctor", "--json"]).stdout) };
    let result = |found: &serde_json::Value, name: &str| {
        let check = found.as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
        assert_eq!(check["result"] == "ok" || check["result"] == "skipped", check["advice"].is_null(), "{check}");
        check["result"].as_str().unwrap().to_owned()
    };
    let new = found(&site);
    assert_eq!((result(&new, "state"), result(&new, "remote")), ("warning".to_owned(), "ok".to_owned()));
    assert_eq!(site.get("/var/lib/hostwrit/state.json"), None, "looking changes nothing");

    site.converge();
    insta::assert_snapshot!(without_room(&shown(&site.run(&["doctor"]))), @r"
    ok       config           web1 of infra.example.org follows refs/heads/main of REPO
    ok       state-directory  N MiB left in /var/lib/hostwrit
    ok       log-directory    N MiB left in /var/log/hostwrit/audit
    ok       state            the last good commit is COMMIT1
    ok       log              intact, 7 entries
    ok       clock            TIME
    skipped  units            nothing runs below another root
    skipped  boot             nothing is started below another root
    skipped  package          no package is at work below another root
    warning  daemon           the daemon does not run: nobody listens on ROOT/run/hostwrit/control.sock
        systemctl start hostwrit; until then this host is kept only by `hostwrit apply`
    skipped  credentials      nobody is asked for one on the way to the remote
    skipped  host-key         the remote is not reached by SSH
    skipped  certificates     the remote is not reached by HTTPS
    skipped  proxy            the remote is not reached by HTTP
    ok       remote           refs/heads/main is at COMMIT1
    ok       last-cycle       the host agreed at TIME
    ok       pause            this host is not paused
    --- exit code 0
    ");
    site.run(&["pause", "--for", "1h", "--reason", "x"]);
    assert_eq!(result(&found(&site), "pause"), "warning");
    site.run(&["resume"]);

    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    site.put("/etc/hostwrit/config.yaml", &config.replace(site.repo.path().to_str().unwrap(), "/none/such"));
    site.put(hostwrit::audit::LOG, &site.log().replacen("planned", "plonned", 1));
    site.run(&["apply"]);
    let bad = site.run(&["doctor"]);
    assert_eq!(bad.code, 1, "{bad:?}");
    let bad = found(&site);
    for (name, wanted) in [("remote", "failed"), ("log", "failed"), ("last-cycle", "warning"), ("state", "ok")] {
        assert_eq!(result(&bad, name), wanted, "{name}: {bad}");
    }
    // Nobody is there, so it fails at once; what the courier would have needed is told apart from that.
    let repo = site.repo.path().to_str().unwrap().to_owned();
    site.put("/etc/hostwrit/config.yaml", &config.replace(&repo, "ssh://git@127.0.0.1:9/infra.git"));
    let bad = found(&site);
    for (name, wanted) in [("credentials", "warning"), ("host-key", "failed"), ("certificates", "skipped")] {
        assert_eq!(result(&bad, name), wanted, "{name}: {bad}");
    }
    site.put("/etc/default/hostwrit", "https_proxy=http://127.0.0.1:9\n");
    site.put("/etc/hostwrit/config.yaml", &config.replace(&repo, "https://git.example.org/infra.git"));
    let bad = found(&site);
    for (name, wanted) in [("credentials", "ok"), ("host-key", "skipped"), ("certificates", "failed"), ("proxy", "ok")]
    {
        assert_eq!(result(&bad, name), wanted, "{name}: {bad}");
    }
    let config = site.path("/etc/hostwrit/config.yaml");
    site.put(
        "/etc/hostwrit/config.yaml",
        &format!("{}metrics: {{listen: 127.0.0.1:9731}}\n", site.get("/etc/hostwrit/config.yaml").unwrap()),
    );
    assert_eq!(result(&found(&site), "config"), "ok");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    let closed = site.run(&["doctor"]).stdout;
    assert!(closed.contains("the courier cannot read /etc/hostwrit/config.yaml, so it neither reports"), "{closed}");
    assert!(closed.contains("    chmod 0644 /etc/hostwrit/config.yaml"), "{closed}");
    site.put("/etc/hostwrit/config.yaml", "fleet: [\n");
    let bad = found(&site);
    assert_eq!((result(&bad, "config"), result(&bad, "remote")), ("failed".to_owned(), "skipped".to_owned()));
}

/// Returns what is shown without how much room this machine has, and without who runs the tests.
fn without_room(text: &str) -> String {
    let line = |line: &str| match (line.find(" MiB left"), line.contains("  rights  ")) {
        (Some(end), _) => {
            let start = line[..end].rfind(' ').unwrap();
            format!("{} N{}", &line[..start], &line[end..])
        }
        (None, true) => String::new(),
        _ => line.to_owned(),
    };
    text.lines().map(line).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_daemon_says_why_as_the_command_by_itself_does() {
    let site = site();
    site.converge();
    let alone = site.run(&["why", "file:/etc/motd", "--json"]);
    assert_eq!(alone.code, 0, "{alone:?}");
    let ask_for = |object: &str| site.run(&["why", object]);
    let unknown = ["file:/etc/nothing", "user:nobody"];
    let told = unknown.map(|object| ask_for(object).stderr);
    let daemon = Daemon::start(&site);
    // A cycle leaves its status before the daemon knows what it enforces.
    let until = Instant::now() + Duration::from_secs(60);
    let asked = loop {
        let asked = ask(&site, r#"{"version":1,"ask":"why","object":"file:/etc/motd"}"#);
        if asked["answer"] == "why" {
            break asked;
        }
        assert!(Instant::now() < until, "{asked}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let by_itself: serde_json::Value = serde_json::from_str(&alone.stdout).unwrap();
    assert_eq!(asked["why"]["declared"], by_itself["declared"]);
    assert_eq!(site.run(&["why", "file:/etc/motd", "--json"]).stdout, alone.stdout);
    for (object, told) in unknown.into_iter().zip(told) {
        let asked = ask_for(object);
        assert_eq!((asked.code, &asked.stderr), (1, &told));
        assert!(told.contains(&format!("does not declare {object} for web1")), "{told}");
    }
    drop(daemon);
}

/// Asks the daemon by hand.
fn ask(site: &Site, line: &str) -> serde_json::Value {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(site.path("/run/hostwrit/control.sock")).unwrap();
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}
