// SPDX-License-Identifier: Apache-2.0
//! Fetching from a web server that runs `git http-backend`, and from those that do otherwise.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Usual,
    /// It knows version 0 of the protocol only, in which the first answer has the refs.
    Old,
    /// It sends whoever asks for `/moved` to another place, once for each question.
    Moved,
    /// It answers the next `POST` so: status, type and content.
    Once(&'static str, &'static str, &'static str),
}

/// A web server for the repositories below a directory.
struct Web {
    url: String,
    manner: Arc<Mutex<Manner>>,
    methods: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn serve(scene: &Scene) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let web = Self { url, manner: Arc::new(Mutex::new(Manner::Usual)), methods: Arc::default() };
        let (manner, methods) = (Arc::clone(&web.manner), Arc::clone(&web.methods));
        let root = scene.dir.path().to_owned();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that hangs up is its own affair.
                let _ = Answer { root: &root, manner: &manner, methods: &methods }.write(stream.unwrap());
            }
        });
        web
    }

    fn remote(&self) -> String {
        format!("{}/remote/.git", self.url)
    }

    fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// Returns what was asked since this was called last.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.methods.lock().unwrap())
    }
}

struct Answer<'a> {
    root: &'a PathBuf,
    manner: &'a Mutex<Manner>,
    methods: &'a Mutex<Vec<String>>,
}

impl Answer<'_> {
    fn write(&self, mut stream: TcpStream) -> io::Result<()> {
        let request = Request::read(&stream)?;
        self.methods.lock().unwrap().push(request.method.clone());
        let mut manner = self.manner.lock().unwrap();
        let is_post = request.method == "POST";
        match *manner {
            Manner::Once(status, kind, content) if is_post => {
                *manner = Manner::Usual;
                let length = content.len();
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\n");
                write!(stream, "{head}Content-Length: {length}\r\n\r\n{content}")
            }
            Manner::Moved if request.path.starts_with("/moved/") => {
                let place = request.target.replacen("/moved/", "/remote/.git/", 1);
                write!(stream, "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {place}\r\n\r\n")
            }
            Manner::Old => stream.write_all(&request.answer(self.root, "")?),
            _ => stream.write_all(&request.answer(self.root, request.header("git-protocol"))?),
        }
    }
}

struct Request {
    method: String,
    target: String,
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let line = |reader: &mut BufReader<&TcpStream>| {
            let mut line = String::new();
            reader.read_line(&mut line).map(|_| line.trim_end().to_owned())
        };
        let first = line(&mut reader)?;
        let mut headers = HashMap::new();
        while let Some((name, value)) = line(&mut reader)?.split_once(": ") {
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let mut body = Vec::new();
        if headers.contains_key("transfer-encoding") {
            loop {
                let length = u64::from_str_radix(&line(&mut reader)?, 16).unwrap();
                reader.by_ref().take(length).read_to_end(&mut body)?;
                line(&mut reader)?;
                if length == 0 {
                    break;
                }
            }
        } else if let Some(length) = headers.get("content-length") {
            reader.by_ref().take(length.parse().unwrap()).read_to_end(&mut body)?;
        }
        let mut words = first.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let path = target.split('?').next().unwrap().to_owned();
        Ok(Self { method, target, path, headers, body })
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn answer(&self, root: &Path, protocol: &str) -> io::Result<Vec<u8>> {
        let mut backend = Command::new("git")
            .args(["-c", "safe.directory=*", "http-backend"])
            .env("GIT_PROJECT_ROOT", root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_PROTOCOL", protocol)
            .env("REQUEST_METHOD", &self.method)
            .env("PATH_INFO", &self.path)
            .env("QUERY_STRING", self.target.split_once('?').map_or("", |(_, query)| query))
            .env("CONTENT_TYPE", self.header("content-type"))
            .env("CONTENT_LENGTH", self.body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", self.header("content-encoding"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        backend.stdin.take().unwrap().write_all(&self.body)?;
        let output = backend.wait_with_output()?.stdout;
        let status = match output.strip_prefix(b"Status: ") {
            Some(rest) => String::from_utf8_lossy(rest).lines().next().unwrap().to_owned(),
            None => "200 OK".to_owned(),
        };
        Ok([format!("HTTP/1.1 {status}\r\nConnection: close\r\n").as_bytes(), &output].concat())
    }
}

fn fetch(mirror: &Mirror, remote: &str) -> Oid {
    mirror.fetch(remote, MAIN, None, &GO).unwrap_or_else(|error| panic!("{remote}: {}", words(&error))).tip
}

#[test]
fn a_ref_is_fetched_over_http() {
    let scene = Scene::new();
    let (web, mirror) = (Web::serve(&scene), scene.mirror(Limits::default()));
    let first = fetch(&mirror, &web.remote());
    assert!(mirror.object(&first).is_ok());
    let error = mirror.fetch(&format!("{}/nothing.git", web.url), MAIN, None, &GO).unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{}", words(&error));
}

#[test]
fn a_poll_is_one_request() {
    let scene = Scene::new();
    let (web, mirror) = (Web::serve(&scene), scene.mirror(Limits::default()));
    let first = fetch(&mirror, &web.remote());
    assert_eq!(web.asked(), ["GET", "POST", "POST"], "what it can do, its refs, their objects");
    assert_eq!(fetch(&mirror, &web.remote()), first);
    assert_eq!(web.asked(), ["POST"], "its refs");
    let second = scene.commit("two");
    assert_eq!(fetch(&mirror, &web.remote()), second);
    assert_eq!(web.asked(), ["POST", "POST"], "its refs, their objects");
    assert!(mirror.object(&second).is_ok());
    scene.git(&["reset", "--quiet", "--hard", &first.to_string()]);
    assert_eq!(fetch(&mirror, &web.remote()), first, "rewound");
    assert_eq!(web.asked(), ["POST"]);
}

#[test]
fn a_second_ref_costs_no_further_request() {
    let scene = Scene::new();
    let (web, mirror) = (Web::serve(&scene), scene.mirror(Limits::default()));
    let asked = |beside| {
        mirror.fetch(&web.remote(), MAIN, beside, &GO).unwrap();
        web.asked()
    };
    asked(None);
    assert_eq!(asked(Some(HEARTBEAT)), ["POST"], "there is none");
    scene.git(&["update-ref", HEARTBEAT, "HEAD"]);
    assert_eq!(asked(Some(HEARTBEAT)), ["POST"], "there is one");
}

#[test]
fn what_one_server_can_do_says_nothing_of_another() {
    let scene = Scene::new();
    let (web, mirror) = (Web::serve(&scene), scene.mirror(Limits::default()));
    fetch(&mirror, &web.remote());
    let other = Web::serve(&scene);
    fetch(&mirror, &other.remote());
    assert_eq!(other.asked(), ["GET", "POST"]);
    fetch(&mirror, &other.remote());
    assert_eq!(other.asked(), ["POST"]);
}

#[test]
fn an_answer_that_has_refs_in_it_is_never_remembered() {
    let scene = Scene::new();
    let (web, mirror) = (Web::serve(&scene), scene.mirror(Limits::default()));
    web.set(Manner::Old);
    fetch(&mirror, &web.remote());
    for content in ["two", "three"] {
        let tip = scene.commit(content);
        web.asked();
        assert_eq!(fetch(&mirror, &web.remote()), tip);
        assert_eq!(web.asked()[0], "GET");
    }
}

#[test]
fn a_server_that_forgot_what_it_could_do_is_asked_again() {
    let scene = Scene::new();
    let (web, mirror) = (Web::serve(&scene), scene.mirror(Limits::default()));
    fetch(&mirror, &web.remote());
    web.set(Manner::Old);
    let tip = scene.commit("two");
    web.asked();
    assert_eq!(fetch(&mirror, &web.remote()), tip);
    assert_eq!(web.asked()[..2], ["POST", "GET"]);
    assert_eq!(fetch(&mirror, &web.remote()), tip);
    assert_eq!(web.asked(), ["GET"], "version 0 has the refs in the first answer");
}

#[test]
fn whatever_is_no_answer_leads_the_usual_way() {
    let scene = Scene::new();
    let (web, mirror) = (Web::serve(&scene), scene.mirror(Limits::default()));
    const RESULT: &str = "application/x-git-upload-pack-result";
    let first = fetch(&mirror, &web.remote());
    web.asked();
    for manner in [
        Manner::Once("500 Internal Server Error", "text/plain", "no"),
        Manner::Once("401 Unauthorized", "text/plain", "who are you?"),
        Manner::Once("403 Forbidden", "text/plain", "no"),
        Manner::Once("404 Not Found", "text/plain", "no"),
        Manner::Once("302 Found\r\nLocation: /elsewhere", "text/plain", ""),
        Manner::Once("200 OK", "text/html", "<html>Sign in</html>"),
        Manner::Once("200 OK", "text/html", "0000"),
        Manner::Once("200 OK", RESULT, ""),
        Manner::Once("200 OK", RESULT, "garbage"),
        Manner::Once("200 OK", RESULT, "ffff"),
        Manner::Once("200 OK", RESULT, "000"),
        Manner::Once("200 OK", RESULT, "0000"),
        Manner::Once("200 OK", RESULT, "0010ERR sorry\n0000"),
        Manner::Once("200 OK", RESULT, "001312345678 refs/x0000"),
    ] {
        web.set(manner);
        assert_eq!(fetch(&mirror, &web.remote()), first, "{manner:?}");
        assert_eq!(web.asked(), ["POST", "GET", "POST"], "{manner:?}");
        assert_eq!(fetch(&mirror, &web.remote()), first, "{manner:?}");
        assert_eq!(web.asked(), ["POST"], "{manner:?}: it can do what it could");
    }
}

#[test]
fn a_server_that_sends_to_another_is_asked_each_time() {
    let scene = Scene::new();
    let (web, mirror) = (Web::serve(&scene), scene.mirror(Limits::default()));
    web.set(Manner::Moved);
    let remote = format!("{}/moved", web.url);
    fetch(&mirror, &remote);
    web.asked();
    let tip = scene.commit("two");
    assert_eq!(fetch(&mirror, &remote), tip);
    assert_eq!(web.asked(), ["GET", "GET", "POST", "POST"]);
}
