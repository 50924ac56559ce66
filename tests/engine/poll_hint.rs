// SPDX-License-Identifier: Apache-2.0
//! The poll hint saves work and decides nothing.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;

use hostwrit::model::git::Objects as _;
use hostwrit::source::{Ask, Courier, FetchError, Fetched, HashKind, Limits, Source as _};

use crate::site::Site;

static GO: AtomicBool = AtomicBool::new(false);

/// A web server with one file.
struct Web {
    url: String,
    file: Arc<Mutex<File>>,
}

#[derive(Default)]
struct File {
    /// `None`: the server closes each connection at once.
    content: Option<String>,
    with_tag: bool,
    asked: usize,
}

impl Web {
    fn with(content: &str, with_tag: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/infra.tip", listener.local_addr().unwrap());
        let file = Arc::new(Mutex::new(File { content: Some(content.to_owned()), with_tag, asked: 0 }));
        let shared = Arc::clone(&file);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut file = shared.lock().unwrap();
                file.asked += 1;
                let Some(content) = &file.content else { continue };
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let tag = format!("\"{content}\"");
                let known = head.iter().any(|line| line.to_lowercase() == format!("if-none-match: {tag}"));
                let answer = match (file.with_tag, known) {
                    (true, true) => format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\nConnection: close\r\n\r\n"),
                    (true, false) => {
                        format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    }
                    (false, _) => format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{content}",
                        content.len()
                    ),
                };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { url, file }
    }

    fn set(&self, content: Option<&str>) {
        self.file.lock().unwrap().content = content.map(str::to_owned);
    }

    fn asked(&self) -> usize {
        self.file.lock().unwrap().asked
    }
}

/// The program's courier.
struct Running {
    courier: Courier,
    process: Child,
}

impl Running {
    fn start(site: &Site) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostwrit"));
        command.args(["courier", "--directory"]).arg(site.path("/var/lib/hostwrit-courier"));
        let process = command.stdin(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::null()).spawn().unwrap();
        Self { courier: Courier::at(ours, HashKind::Sha1, Limits::default()), process }
    }

    fn fetch(&self, site: &Site, web: &Web, max_quiet: u64) -> Result<Fetched, FetchError> {
        let remote = site.repo.path().to_str().unwrap().to_owned();
        let git_ref = "refs/heads/main".to_owned();
        let limits = Limits::default();
        self.courier.fetch(&Ask { remote, git_ref, beside: None, hint: Some(web.url.clone()), max_quiet, limits }, &GO)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Takes the remote away, so that it is seen whether it is asked.
fn hide_remote(site: &Site) {
    fs::rename(site.repo.path(), site.repo.path().with_extension("hidden")).unwrap();
}

fn saves_work(with_tag: bool) {
    let site = Site::new(&[]);
    let (web, courier) = (Web::with("one", with_tag), Running::start(&site));
    let first = courier.fetch(&site, &web, 3600).unwrap();
    hide_remote(&site);
    assert_eq!(courier.fetch(&site, &web, 3600).unwrap(), first, "Git was asked although the hint is the same");
    assert_eq!(web.asked(), 2);
    web.set(Some("two"));
    assert!(courier.fetch(&site, &web, 3600).is_err(), "Git was not asked although the hint changed");
}

#[test]
fn a_hint_that_is_the_same_saves_asking_git() {
    saves_work(true);
}

#[test]
fn a_server_without_etag_is_compared_by_content() {
    saves_work(false);
}

#[test]
fn git_is_asked_when_the_hint_cannot_be_had() {
    let site = Site::new(&[]);
    let (web, courier) = (Web::with("one", true), Running::start(&site));
    courier.fetch(&site, &web, 3600).unwrap();
    web.set(None);
    courier.fetch(&site, &web, 3600).unwrap();
    hide_remote(&site);
    assert!(courier.fetch(&site, &web, 3600).is_err());
}

#[test]
fn git_is_asked_when_the_hint_was_quiet_for_too_long() {
    let site = Site::new(&[]);
    let (web, courier) = (Web::with("one", true), Running::start(&site));
    courier.fetch(&site, &web, 0).unwrap();
    hide_remote(&site);
    assert!(courier.fetch(&site, &web, 0).is_err());
}

#[test]
fn a_hint_that_stays_the_same_hides_a_new_commit_no_longer_than_that() {
    let site = Site::new(&[]);
    let (web, courier) = (Web::with("one", true), Running::start(&site));
    let first = courier.fetch(&site, &web, 3600).unwrap();
    let tip = site.host_file("files: {}\n");
    assert_eq!(courier.fetch(&site, &web, 3600).unwrap(), first);
    assert_eq!(courier.fetch(&site, &web, 0).unwrap().tip, tip);
}

#[test]
fn a_mirror_of_many_packs_is_fetched_anew() {
    let site = Site::new(&[]);
    let (web, courier) = (Web::with("one", true), Running::start(&site));
    let packs = || fs::read_dir(site.mirror().join("objects/pack")).unwrap().count() / 2;
    let mut most = 0;
    for number in 0..70 {
        let tip = site.host_file(&format!("vars: {{number: \"{number}\"}}\n"));
        assert_eq!(courier.fetch(&site, &web, 0).unwrap().tip, tip);
        assert!(courier.courier.object(&tip).is_ok());
        most = most.max(packs());
    }
    assert!(most > 60 && packs() < 10, "{most} packs at the most, {} at the end", packs());
}
