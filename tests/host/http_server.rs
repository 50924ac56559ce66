// SPDX-License-Identifier: Apache-2.0
//! Git's smart HTTP: `git http-backend` behind the least of an HTTP server.
//!
//! It runs in the fabric as a process of its own: this test program with [`ARGUMENT`] or [`PRIVATE`].

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use openssl::base64;
use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};

/// The first argument that makes this program a server; the address and the folder of the repos follow.
pub const ARGUMENT: &str = "--serve-http";
/// The first argument that makes this program a server with TLS; also the files of its certificate and key follow, and
/// the `USER:PASSWORD` that it asks for.
#[allow(dead_code, reason = "the benches need none")]
pub const PRIVATE: &str = "--serve-https";

/// Serves the repos in `folder` to everybody until it is killed.
pub fn serve(address: &str, folder: &str) -> io::Result<()> {
    let folder = folder.to_owned();
    listen(address, move |mut stream| answer(&mut stream, &folder, None))
}

/// Serves the repos in `folder`, over TLS, to who has the `token`, until it is killed.
#[allow(dead_code, reason = "the benches need none")]
pub fn serve_private(address: &str, folder: &str, certificate: &str, key: &str, token: &str) -> io::Result<()> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    acceptor.set_certificate_chain_file(certificate)?;
    acceptor.set_private_key_file(key, SslFiletype::PEM)?;
    let (acceptor, folder) = (acceptor.build(), folder.to_owned());
    let wanted = format!("Basic {}", base64::encode_block(token.as_bytes()));
    listen(address, move |stream| {
        let mut stream = acceptor.accept(stream).map_err(io::Error::other)?;
        answer(&mut stream, &folder, Some(&wanted))?;
        // Only so does the client know that nothing was cut off.
        stream.shutdown().map(drop).map_err(io::Error::other)
    })
}

fn listen(address: &str, answer: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> io::Result<()> {
    let (listener, answer) = (TcpListener::bind(address)?, Arc::new(answer));
    println!("listening");
    for stream in listener.incoming() {
        let (stream, answer) = (stream?, Arc::clone(&answer));
        std::thread::spawn(move || {
            if let Err(error) = answer(stream) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

/// Answers one request, of somebody who shows what is `wanted`; closing the connection tells him where the body ends.
fn answer(stream: &mut (impl Read + Write), folder: &str, wanted: Option<&str>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let request = line(&mut reader)?;
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HashMap::new();
    loop {
        let line = line(&mut reader)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    if header("expect").eq_ignore_ascii_case("100-continue") {
        reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        loop {
            let size = line(&mut reader)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            (&mut reader).take(size).read_to_end(&mut body)?;
            line(&mut reader)?;
            if size == 0 {
                break;
            }
        }
    } else if let Ok(length) = header("content-length").parse() {
        (&mut reader).take(length).read_to_end(&mut body)?;
    }
    let stream = reader.into_inner();
    // What stands beside the repos, such as a package, is for everybody.
    let beside = path.strip_prefix('/').filter(|name| !name.contains('/')).map(|name| Path::new(folder).join(name));
    if let Some(content) = beside.and_then(|file| fs::read(file).ok()) {
        eprintln!("{request}");
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/octet-stream";
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n", content.len())?;
        return stream.write_all(&content);
    }
    if wanted.is_some_and(|wanted| header("authorization") != wanted) {
        eprintln!("{request}: who are you?");
        let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"infra\"";
        return write!(stream, "{head}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    }
    eprintln!("{request}");

    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // The backend reads its whole input before it answers at length, so one thread does for both.
    backend.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(&body))?;
    let mut output = BufReader::new(backend.stdout.take().ok_or_else(|| io::Error::other("no output"))?);
    let mut head = String::new();
    let mut status = "200 OK".to_owned();
    loop {
        let line = line(&mut output)?;
        match line.split_once(':') {
            None => break,
            Some(("Status", text)) => text.trim().clone_into(&mut status),
            Some(_) => head += &format!("{line}\r\n"),
        }
    }
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n{head}\r\n")?;
    io::copy(&mut output, stream)?;
    backend.wait()?;
    Ok(())
}

/// Reads a line and returns it without its end.
fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
