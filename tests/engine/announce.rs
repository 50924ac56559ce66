// SPDX-License-Identifier: Apache-2.0
//! What the daemon and its courier tell others.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hostwrit::source::SOCKET;
use serde_json::Value;

use crate::site::Site;

/// A process that ends with the test.
pub(super) struct Process(pub(super) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn start(site: &Site, args: &[&str], stdin: Stdio) -> Process {
    let mut command = site.command(args);
    Process(command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// As systemd starts it: with the listening socket as standard input.
pub(super) fn courier(site: &Site, listener: &UnixListener) -> Process {
    let directory = site.path("/var/lib/hostwrit-courier");
    let listener = OwnedFd::from(listener.try_clone().unwrap());
    start(site, &["courier", "--directory", directory.to_str().unwrap()], Stdio::from(listener))
}

/// A receiver of reports that keeps what it gets.
fn receiver() -> (String, Arc<Mutex<Vec<Value>>>) {
    receiver_that(Arc::new(AtomicBool::new(true)))
}

/// A receiver that takes nothing until it is up.
fn receiver_that(is_up: Arc<AtomicBool>) -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let got = Arc::<Mutex<Vec<Value>>>::default();
    let kept = Arc::clone(&got);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                    break;
                }
                if let Some((name, value)) =
                    line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                {
                    length = value.trim().parse().unwrap_or_else(|_| panic!("{name}: {value}"));
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let status = match is_up.load(Ordering::Relaxed) {
                true => {
                    kept.lock().unwrap().extend(serde_json::from_slice::<Vec<Value>>(&body).unwrap());
                    "200 OK"
                }
                false => "503 Service Unavailable",
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, got)
}

pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn page(site: &Site) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = UnixStream::connect(site.path("/run/hostwrit/metrics.sock")) {
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

#[test]
fn reports_metrics_and_the_log_go_out_and_a_dead_courier_delays_them_only() {
    let site = Site::new(&[("hosts/web1.yaml", "files:\n  /etc/motd: {content: \"good\\n\"}\n")]);
    let (url, got) = receiver();
    site.put("/run/hostwrit/.keep", "");
    site.put("/var/lib/prometheus/.keep", "");
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    let more = format!(
        "interval: 1s\nsplay: 0s\nfull_check: 1s\nreports:\n  - webhook: {{url: {url}}}\n    only: [cycle, changed, drift, audit]\n\
         metrics: {{textfile: /var/lib/prometheus/hostwrit.prom, listen: \"unix:/run/hostwrit/metrics.sock\"}}\n"
    );
    site.put("/etc/hostwrit/config.yaml", &format!("{config}{more}"));
    let listener = UnixListener::bind(site.path(SOCKET)).unwrap();
    let first = courier(&site, &listener);
    let _daemon = start(&site, &["daemon"], Stdio::null());
    let has = |kind: &str, text: &str| {
        let got = got.lock().unwrap();
        got.iter().any(|entry| entry["kind"] == kind && entry.to_string().contains(text))
    };

    eventually("the first cycle is reported", || has("changed", "file:/etc/motd") && has("cycle", "converged"));
    eventually("the audit log is reported", || has("audit", "converged"));
    eventually("the metrics can be asked for", || page(&site).contains("hostwrit_health{state=\"converged\"} 1"));
    eventually("objects are counted by kind", || {
        page(&site).contains("hostwrit_objects{kind=\"file\",state=\"declared\"} 1")
    });
    eventually("the metrics are in the file", || {
        site.get("/var/lib/prometheus/hostwrit.prom").is_some_and(|page| page.contains("hostwrit_courier_up 1"))
    });

    drop(first);
    site.put("/etc/motd", "bad\n");
    eventually("drift is repaired without a courier", || site.get("/etc/motd").as_deref() == Some("good\n"));
    assert!(!has("drift", "file:/etc/motd"));
    fs::remove_file(site.path("/run/hostwrit/metrics.sock")).unwrap();
    let _second = courier(&site, &listener);
    eventually("what happened meanwhile is reported", || has("drift", "file:/etc/motd"));

    // What was exported is the log, to the byte and in its order; twice at the most, never with a gap.
    let lines: Vec<String> = site.log().lines().map(str::to_owned).collect();
    eventually("the whole log is there", || {
        let got = got.lock().unwrap();
        let exported: Vec<&str> = got.iter().filter_map(|entry| entry["fields"]["line"].as_str()).collect();
        lines.iter().all(|line| exported.contains(&line.as_str()))
    });
}

/// Returns how many entries of the audit log no other machine has, as the page says.
fn unexported(site: &Site) -> Option<u64> {
    page(site).lines().find_map(|line| line.strip_prefix("hostwrit_audit_unexported_entries ")?.parse().ok())
}

#[test]
fn entries_of_the_log_that_wait_for_a_receiver_count_as_not_exported() {
    let site = Site::new(&[("hosts/web1.yaml", "files:\n  /etc/motd: {content: \"good\\n\"}\n")]);
    let is_up = Arc::new(AtomicBool::new(false));
    let (url, got) = receiver_that(Arc::clone(&is_up));
    site.put("/run/hostwrit/.keep", "");
    let config = site.get("/etc/hostwrit/config.yaml").unwrap();
    let more = format!(
        "interval: 1s\nsplay: 0s\nreports:\n  - webhook: {{url: {url}}}\n    only: [audit]\n\
         metrics: {{listen: \"unix:/run/hostwrit/metrics.sock\"}}\n"
    );
    site.put("/etc/hostwrit/config.yaml", &format!("{config}{more}"));
    let listener = UnixListener::bind(site.path(SOCKET)).unwrap();
    let _courier = courier(&site, &listener);
    let _daemon = start(&site, &["daemon"], Stdio::null());
    let written = || site.log().lines().count() as u64;
    let handed_over = || {
        let exported = site.get("/var/lib/hostwrit/exported.json")?;
        serde_json::from_str::<Value>(&exported).ok()?["bytes"].as_u64()
    };
    eventually("the courier has all", || handed_over().is_some_and(|bytes| bytes == site.log().len() as u64));
    eventually("none of it has arrived", || unexported(&site) == Some(written()));
    is_up.store(true, Ordering::Relaxed);
    // No cycle comes in between: a pull that finds nothing tells it.
    eventually("all has arrived", || unexported(&site) == Some(0));
    assert_eq!(got.lock().unwrap().len() as u64, written());
}
