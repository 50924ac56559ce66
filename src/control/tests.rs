// SPDX-License-Identifier: Apache-2.0
//! A server, a daemon that only echoes, and everybody who might speak with it.
#![allow(clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::host::RealHost;

use super::protocol::{Code, REQUEST_MAX};
use super::server::{QUEUE, socket_path};
use super::{Answer, Ask, Demand, Live, Server, client};

/// Serves below a temporary root until dropped.
struct Daemon {
    root: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Daemon {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = Arc::new(RealHost::open(root.path()).unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let server = Server::listen(host).unwrap();
                let (sender, mut demands) = mpsc::channel(QUEUE);
                tokio::spawn(server.serve(sender));
                tokio::spawn(async move {
                    while let Some(demand) = demands.recv().await {
                        echo(demand);
                    }
                });
                ready.send(()).unwrap();
                let _ = stopped.await;
            });
        });
        is_ready.recv().unwrap();
        Self { root, stop: Some(stop), thread: Some(thread) }
    }

    fn ask(&self, ask: &Ask) -> Result<Answer, client::ClientError> {
        client::ask(self.root.path(), ask, Some(Duration::from_secs(10)), &mut |_| {})
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(socket_path(self.root.path())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes and returns what comes back before the server hangs up.
    fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let mut back = String::new();
        let _ = stream.read_to_string(&mut back);
        back
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn echo(demand: Demand) {
    match demand.ask {
        Ask::Status => {
            let daemon =
                Live { version: "1".to_owned(), pid: 1, since: String::new(), cycle_since: None, next_pull: None };
            demand.answers.send(Answer::Status {
                daemon: Box::new(daemon),
                status: Some(serde_json::json!({"health": "converged"})),
            });
        }
        Ask::Sync { wait: true } => {
            for number in 0..3 {
                let object = format!("file:/{number}");
                let (action, result) = ("add".to_owned(), "done".to_owned());
                demand.answers.send(Answer::Step { object, action, result, message: None });
            }
            demand.answers.send(Answer::Synced { status: serde_json::Value::Null });
        }
        // As a daemon that ends.
        Ask::Sync { wait: false } => {}
        Ask::Pause { seconds, reason, .. } => {
            demand.answers.send(Answer::Paused { until: format!("{seconds} {reason} {}", demand.by.uid) })
        }
        Ask::Why { .. } => demand.answers.send(Answer::Why { why: serde_json::Value::Null }),
        Ask::Resume { .. } => demand.answers.send(Answer::Resumed { was_paused: true }),
    }
}

#[test]
fn a_question_is_answered_with_what_happens_on_the_way() {
    let daemon = Daemon::start();
    assert!(matches!(daemon.ask(&Ask::Status).unwrap(), Answer::Status { .. }));
    let mut seen = Vec::new();
    let last =
        client::ask(daemon.root.path(), &Ask::Sync { wait: true }, None, &mut |answer| seen.push(answer.clone()));
    assert_eq!(last.unwrap(), Answer::Synced { status: serde_json::Value::Null });
    assert_eq!(seen.len(), 3);
    let pause = Ask::Pause { seconds: 5, reason: "a \"reason\"\n".to_owned(), claims: None };
    let own = nix::unistd::geteuid();
    assert_eq!(daemon.ask(&pause).unwrap(), Answer::Paused { until: format!("5 a \"reason\"\n {own}") });
    assert!(matches!(daemon.ask(&Ask::Sync { wait: false }).unwrap(), Answer::Refused { code: Code::Stopping, .. }));
}

#[test]
fn hostile_bytes_get_an_answer_and_harm_nobody() {
    let daemon = Daemon::start();
    let deep = [vec![b'['; REQUEST_MAX - 1], vec![b'\n']].concat();
    let long = vec![b'x'; 10 * REQUEST_MAX];
    let lines: [(&[u8], &str); 12] = [
        (b"\n", "malformed"),
        (b"{}\n", "malformed"),
        (b"[]\n", "malformed"),
        (b"null\n", "malformed"),
        (b"\xff\xfe\x00\n", "malformed"),
        (b"{\"version\":1}\n", "malformed"),
        (b"{\"version\":1,\"ask\":\"reboot\"}\n", "malformed"),
        (b"{\"version\":1,\"ask\":\"pause\",\"seconds\":-1,\"reason\":\"x\"}\n", "malformed"),
        (b"{\"version\":1,\"ask\":\"sync\",\"wait\":true,\"as\":\"root\"}\n", "malformed"),
        (b"{\"version\":99,\"ask\":\"reboot\"}\n", "version"),
        (&deep, "malformed"),
        (&long, "malformed"),
    ];
    for (line, code) in lines {
        let back = daemon.say(line);
        let text = String::from_utf8_lossy(&line[..line.len().min(60)]);
        // A request that is too long is not read to its end, so the kernel may throw the answer away.
        let lost = line.len() > REQUEST_MAX && back.is_empty();
        assert!(lost || back.contains(&format!("\"code\":\"{code}\"")), "{text}: {back}");
    }
    // Who hangs up in the middle.
    drop(daemon.connect());
    daemon.connect().write_all(b"{\"version\":1,").unwrap();
    assert!(matches!(daemon.ask(&Ask::Status).unwrap(), Answer::Status { .. }));
}

#[test]
fn who_sends_nothing_is_hung_up_on() {
    let daemon = Daemon::start();
    let start = Instant::now();
    assert_eq!(daemon.connect().read(&mut [0]).unwrap(), 0);
    assert!(start.elapsed() >= Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn silent_connections_keep_nobody_out_for_long() {
    let daemon = Daemon::start();
    let silent: Vec<UnixStream> = (0..100).map(|_| daemon.connect()).collect();
    // All seats of this user are taken, and he is told so, until the silent ones are hung up on.
    assert!(matches!(daemon.ask(&Ask::Status).unwrap(), Answer::Refused { code: Code::Busy, .. }));
    thread::sleep(Duration::from_secs(6));
    assert!(matches!(daemon.ask(&Ask::Status).unwrap(), Answer::Status { .. }));
    drop(silent);
}

#[test]
fn only_one_daemon_listens_and_what_a_dead_one_left_is_no_hindrance() {
    let daemon = Daemon::start();
    let root = daemon.root.path().to_owned();
    let listen = |root: &Path| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Server::listen(Arc::new(RealHost::open(root).unwrap())).map(drop) })
    };
    let taken = listen(&root).unwrap_err();
    assert!(std::error::Error::source(&taken).unwrap().to_string().contains("another process listens"), "{taken:?}");
    let kept = tempfile::tempdir().unwrap();
    listen(kept.path()).unwrap();
    assert!(socket_path(kept.path()).exists(), "the first one left its socket");
    let nobody = client::ask(kept.path(), &Ask::Status, None, &mut |_| {});
    assert!(matches!(nobody, Err(client::ClientError::NotRunning(_))));
    listen(kept.path()).unwrap();
}

#[test]
fn where_no_daemon_ever_ran_nobody_listens() {
    let root = tempfile::tempdir().unwrap();
    let error = client::ask(root.path(), &Ask::Status, None, &mut |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("the daemon does not run"), "{error}");
}
