// SPDX-License-Identifier: Apache-2.0

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::site::{Ran, program, ran};
use super::{is_valid, shown};

const NOW: f64 = 1_763_850_000.0;
const COMMIT: &str = "4eba289bc64d885684246d34080b7eea6fba4566";

/// What answers as a Prometheus would, and remembers what it was asked.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each request by what `answer` makes of its head: all that follows `HTTP/1.1 `.
    fn new(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let head = head_of(&mut stream);
                let _ = write!(stream, "HTTP/1.1 {}", answer(&head));
                heads.lock().unwrap().push(head);
            }
        });
        Self { address, asked }
    }

    /// Has these series now, and these within the last day.
    fn of(now: Vec<Value>, earlier: Vec<Value>) -> Self {
        Self::new(move |head| vector(if head.contains("last_over_time") { &earlier } else { &now }))
    }

    fn fleet(&self, dir: &Path, args: &[&str]) -> Ran {
        fleet(dir, &[&["--prometheus", &self.address], args].concat(), &[])
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn ok(body: &str) -> String {
    format!("200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn vector(series: &[Value]) -> String {
    ok(&json!({"status": "success", "data": {"resultType": "vector", "result": series}}).to_string())
}

fn fleet(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command: Command = program(&["fleet"]);
    command.current_dir(dir).args(args);
    command.envs(variables.iter().copied());
    ran(&mut command)
}

fn series(name: &str, instance: &str, labels: &[(&str, &str)], value: f64) -> Value {
    let mut metric = json!({"__name__": format!("hostwrit_{name}"), "instance": instance, "job": "node"});
    labels.iter().for_each(|(label, value)| metric[*label] = json!(value));
    json!({"metric": metric, "value": [NOW, value.to_string()]})
}

/// The series of one host whose daemon last pulled so many seconds ago.
fn host(name: &str, state: &str, age: f64) -> Vec<Value> {
    let one = |metric: &str, labels: &[(&str, &str)], value| series(metric, &format!("{name}:9100"), labels, value);
    vec![
        one("host_info", &[("host", name), ("fleet", "f"), ("ref", "refs/heads/main")], 1.0),
        one("commit_info", &[("commit", COMMIT)], 1.0),
        one("health", &[("state", state)], 1.0),
        one("health", &[("state", "other")], 0.0),
        one("alive_timestamp_seconds", &[], NOW - age),
        one("last_success_timestamp_seconds", &[], NOW - age - 7200.0),
        one("start_timestamp_seconds", &[], NOW - 90_000.0),
    ]
}

fn problem(host: &str, code: &str, sort: &str, number: f64) -> Value {
    series("problems", &format!("{host}:9100"), &[("code", code), ("sort", sort)], number)
}

fn nowhere() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn hosts_are_listed_with_what_is_wrong_beside_them() {
    let mut now = [
        host("web1", "converged", 42.0),
        host("web2", "failing", 180.0),
        host("db1", "last-good", 60.0),
        host("old", "converged", 200_000.0),
    ]
    .concat();
    now.push(problem("web2", "step-failed", "step", 3.0));
    now.push(problem("db1", "not-authorized", "refusal", 1.0));
    now.push(series("findings", "web2:9100", &[("code", "not-listening")], 1.0));
    now.push(series("findings", "web1:9100", &[("code", "published-port")], 2.0));
    now.push(series("findings", "web1:9100", &[("code", "foreign-drop")], 0.0));
    now.push(series("held", "web1:9100", &[("by", "pause")], 1.0));
    now.push(series("held", "web1:9100", &[("by", "guard")], 0.0));
    now.push(series("reboot_needed", "web1:9100", &[], 1.0));
    now.push(series("pending_updates", "web1:9100", &[("sort", "security")], 3.0));
    now.push(series("pending_updates", "web1:9100", &[("sort", "other")], 5.0));
    now.push(series("pending_updates", "web2:9100", &[("sort", "security")], 0.0));
    let earlier = [host("gone1", "converged", 0.0)[0].clone(), host("web1", "converged", 0.0)[0].clone()];
    let server = Server::of(now, earlier.to_vec());
    let dir = nowhere();
    insta::assert_snapshot!(shown(&server.fleet(dir.path(), &[])), @r"
    HOST   COMMIT      AGE  STATE      FINDINGS
    db1    4eba289bc6  1m   last-good  not-authorized, last agreed 2h ago
    gone1  -           -    gone       told of itself within the last day
    old    4eba289bc6  2d   silent     last agreed 2d ago
    web1   4eba289bc6  42s  converged  published-port (2), held by pause, reboot needed, 3 security updates
    web2   4eba289bc6  3m   failing    step-failed (3), not-listening, last agreed 2h ago
    --- stderr
    5 hosts on 1 commit: 1 converged, 1 last-good, 1 failing, 1 silent, 1 gone.
    --- exit code 1
    ");
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "as many questions as it takes for one host");
    assert!(asked.iter().all(|head| head.starts_with("GET /api/v1/query?query=")), "{asked:?}");
    assert!(!asked.concat().to_lowercase().contains("authorization"));

    let json = server.fleet(dir.path(), &["--json"]);
    let value = is_valid("fleet", &json.stdout);
    assert_eq!((json.code, value["hosts"].as_array().unwrap().len()), (1, 5));
    assert_eq!(value["hosts"][3]["findings"], json!({"published-port": 2}));
}

#[test]
fn in_a_clone_the_hosts_of_the_repo_that_nobody_knows_are_listed() {
    let dir = nowhere();
    fs::create_dir_all(dir.path().join("hosts/deeper")).unwrap();
    fs::write(dir.path().join("hostwrit.yaml"), "format: 1\nfleet: f\n").unwrap();
    for name in ["web1", "db1"] {
        fs::write(dir.path().join(format!("hosts/{name}.yaml")), "").unwrap();
    }
    let mut now = [host("web1", "converged", 42.0), host("web9", "converged", 42.0)].concat();
    let other = [("host", "db1"), ("fleet", "other"), ("ref", "refs/heads/main")];
    now.push(series("host_info", "elsewhere:9100", &other, 1.0));
    let server = Server::of(now, Vec::new());
    let inside = server.fleet(&dir.path().join("hosts/deeper"), &[]);
    insta::assert_snapshot!(shown(&inside), @r"
    HOST  COMMIT      AGE  STATE      FINDINGS
    db1   -           -    missing    in the repo, and Prometheus does not know it
    web1  4eba289bc6  42s  converged
    web9  4eba289bc6  42s  converged
    --- stderr
    Warning: web9 tells of itself, and the repo has no such host
    3 hosts on 1 commit: 2 converged, 1 missing.
    --- exit code 1
    ");
    let named = server.fleet(nowhere().path(), &[dir.path().to_str().unwrap()]);
    assert_eq!(named.stdout, inside.stdout);
    let all = server.fleet(nowhere().path(), &[]);
    assert!(all.stdout.contains("FLEET") && all.stdout.contains("other  db1"), "{}", all.stdout);

    fs::write(dir.path().join("hostwrit.yaml"), "format: 1\n").unwrap();
    assert_eq!(server.fleet(dir.path(), &[]).code, 5);
}

#[test]
fn the_exit_code_says_what_the_worst_is() {
    let with = |state: &str, problems: &[(&str, &str)]| {
        let mut now = [host("web1", state, 42.0), host("web2", "converged", 42.0)].concat();
        now.extend(problems.iter().map(|(code, sort)| problem("web1", code, sort, 1.0)));
        Server::of(now, Vec::new()).fleet(nowhere().path(), &[]).code
    };
    assert_eq!(with("converged", &[]), 0);
    assert_eq!(with("converged", &[("stale", "other")]), 0);
    assert_eq!(with("last-good", &[("unsigned", "refusal")]), 4);
    assert_eq!(with("last-good", &[("unsound", "refusal")]), 5);
    assert_eq!(with("held", &[]), 6);
    assert_eq!(with("last-good", &[("fetch-failed", "fetch")]), 1);
    assert_eq!(with("failing", &[("unsigned", "refusal"), ("step-failed", "step")]), 1);
    let nobody = Server::of(Vec::new(), Vec::new()).fleet(nowhere().path(), &["--fleet", "f"]);
    assert_eq!((nobody.code, nobody.stderr.as_str()), (1, "Prometheus knows no such host.\n"));
    let slow = Server::of(host("web1", "converged", 600.0), Vec::new());
    assert_eq!(slow.fleet(nowhere().path(), &["--silent-after", "5m"]).code, 1);
}

#[test]
fn a_token_is_shown_to_prometheus_and_to_nobody_else() {
    let dir = nowhere();
    fs::write(dir.path().join("token"), "hunter2\n").unwrap();
    let server = Server::of(host("web1", "converged", 42.0), Vec::new());
    let from_file = server.fleet(dir.path(), &["--token-file", "token"]);
    let from_environment = fleet(
        dir.path(),
        &["--token-env", "SECRET"],
        &[("SECRET", "hunter2"), ("HOSTWRIT_PROMETHEUS", &server.address)],
    );
    for ran in [from_file, from_environment] {
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(!format!("{ran:?}").contains("hunter2"));
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|head| head.to_lowercase().contains("\r\nauthorization: bearer hunter2\r\n")));

    let open = fleet(dir.path(), &["--prometheus", "http://prometheus.example.org", "--token-file", "token"], &[]);
    assert_eq!(open.code, 2);
    assert!(open.stderr.contains("only sent over https") && !open.stderr.contains("hunter2"), "{}", open.stderr);
}

#[test]
fn what_cannot_be_asked_is_said_in_words() {
    let dir = nowhere();
    insta::assert_snapshot!(shown(&fleet(dir.path(), &[], &[])), @r"
    --- stderr
    Error: no Prometheus is named: give --prometheus URL, or set HOSTWRIT_PROMETHEUS
    --- exit code 2
    ");
    insta::assert_snapshot!(shown(&fleet(dir.path(), &["--prometheus", "prometheus:9090"], &[])), @r"
    --- stderr
    Error: this is not the address of a Prometheus; write http://HOST:9090 or https://HOST, with a path if it has one
    --- exit code 2
    ");
    insta::assert_snapshot!(
        shown(&fleet(dir.path(), &["--prometheus", "http://u:hunter2@prometheus:9090"], &[])), @r"
    --- stderr
    Error: the address has a name or a password in it; give a token in a file instead
    --- exit code 2
    ");
    let missing = ["--prometheus", "http://127.0.0.1:1", "--token-file", "nothing-here"];
    assert_eq!(fleet(dir.path(), &missing, &[]).code, 2);

    let error = r#"{"status":"error","errorType":"bad_data","error":"no such thing"}"#;
    let wordy = format!("400 Bad Request\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{error}", error.len());
    let redirect = "302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let answers: &[(String, &str)] = &[
        (wordy, "answered 400: no such thing"),
        (redirect.to_owned(), "answered 302"),
        ("503 Away\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(), "answered 503"),
        (ok("<html>"), "did not answer as Prometheus does"),
        (ok(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#), "answered with a matrix"),
        (ok(r#"{"status":"success"}"#), "did not answer as Prometheus does"),
        ("200 OK\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n{}".to_owned(), "cannot ask http://127.0.0.1"),
        (String::new(), "cannot ask http://127.0.0.1"),
    ];
    for (answer, words) in answers {
        let answer = answer.clone();
        let server = Server::new(move |_| answer.clone());
        let ran = server.fleet(dir.path(), &[]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
}

#[test]
fn labels_of_others_do_not_steer_the_terminal() {
    let now: Vec<Value> = host("web1\u{1b}[2J", "converged", 42.0);
    let ran = Server::of(now, Vec::new()).fleet(nowhere().path(), &[]);
    assert!(!ran.stdout.contains('\u{1b}') && ran.stdout.contains("web1"), "{}", ran.stdout);
}
