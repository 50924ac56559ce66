// SPDX-License-Identifier: Apache-2.0
//! Servers, each in a process of its own, so that its processor time is its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::http_server;
use super::processes::Running;

/// The first argument that makes this program a web server with one small file.
pub const HINT: &str = "--serve-hint";

pub struct Server {
    pub name: &'static str,
    pub scheme: &'static str,
    pub port: u16,
    /// Of the repository in URLs.
    pub path: String,
    process: Running,
}

impl Server {
    /// Git's own server; not through `git daemon`, whose child would outlive it.
    pub fn git(repo: &Path) -> Self {
        let programs = Command::new("git").arg("--exec-path").output().unwrap().stdout;
        let mut daemon = Command::new(Path::new(String::from_utf8(programs).unwrap().trim()).join("git-daemon"));
        let port = free_port();
        daemon.args(["--export-all", "--reuseaddr", "--listen=127.0.0.1"]).arg(format!("--port={port}")).arg(repo);
        Self::start("git daemon", "git", port, repo.display().to_string(), daemon)
    }

    /// `git http-backend`, started for each request.
    pub fn http(repo: &Path) -> Self {
        let port = free_port();
        let mut server = Command::new(std::env::current_exe().unwrap());
        server.args([http_server::ARGUMENT, &format!("127.0.0.1:{port}")]).arg(repo);
        Self::start("http-backend", "http", port, "/.git".to_owned(), server)
    }

    /// One file and its tag.
    pub fn hint() -> Self {
        let port = free_port();
        let mut server = Command::new(std::env::current_exe().unwrap());
        server.args([HINT, &format!("127.0.0.1:{port}")]);
        Self::start("poll hint", "http", port, String::new(), server)
    }

    fn start(name: &'static str, scheme: &'static str, port: u16, path: String, mut command: Command) -> Self {
        let process = Running::start(&mut command);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::sleep(Duration::from_millis(20));
        }
        Self { name, scheme, port, path, process }
    }

    /// Returns the processor time of the server and of all that it started, once that has ended.
    pub fn cpu(&self) -> Duration {
        thread::sleep(Duration::from_millis(200));
        self.process.cpu()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Answers as any web server answers for a small file, over one connection after another.
pub fn serve_hint(address: &str) {
    const TAG: &str = "\"67419a02-28\"";
    let listener = TcpListener::bind(address).unwrap();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let known = head.iter().any(|line| line.to_lowercase() == format!("if-none-match: {TAG}"));
        let status = if known { "304 Not Modified" } else { "200 OK" };
        let (length, body) = if known { ("", "") } else { ("Content-Length: 2\r\n", "1\n") };
        // A connection that says nothing only asked whether anybody listens.
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nServer: bench\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
             Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nETag: {TAG}\r\n{length}Connection: close\r\n\r\n{body}"
        );
    }
}
