// SPDX-License-Identifier: Apache-2.0
//! A web server in a few lines, which answers as it is told and remembers what it was asked.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use openssl::ssl::SslAcceptor;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Status, headers, body.
    Answer(u16, &'static str, String),
    /// Sends headers that never end, a byte at a time.
    Trickle,
    /// Sends a good status and a body that never ends, as fast as it can.
    Endless,
    /// Reads the request and closes.
    Close,
    /// Answers only after that time.
    After(Duration),
}

impl Act {
    pub fn status(status: u16) -> Self {
        Self::Answer(status, "", String::new())
    }

    pub fn body(status: u16, body: &str) -> Self {
        Self::Answer(status, "", body.to_owned())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub line: String,
    /// Names in lower case, sorted.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Shared {
    script: VecDeque<Act>,
    otherwise: Option<Act>,
    received: Vec<Received>,
}

pub struct Server {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Server {
    /// Answers 200 without a body.
    pub fn start() -> Self {
        Self::new(&[], Act::status(200), None)
    }

    /// Does what the script says, request by request, and then always the last of it.
    pub fn scripted(script: &[Act]) -> Self {
        let (last, script) = script.split_last().unwrap();
        Self::new(script, last.clone(), None)
    }

    pub fn new(script: &[Act], otherwise: Act, tls: Option<SslAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = script.iter().cloned().collect();
        let shared = Arc::new(Mutex::new(Shared { script, otherwise: Some(otherwise), received: Vec::new() }));
        let state = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, tls) = (Arc::clone(&state), tls.clone());
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    match tls {
                        None => serve(Plain(stream), &state),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream) {
                                serve(stream, &state);
                            }
                        }
                    }
                });
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().unwrap().received.clone()
    }

    /// Returns the only request that there was.
    pub fn the_request(&self) -> Received {
        let received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received.into_iter().next().unwrap()
    }

    pub fn otherwise(&self, act: Act) {
        let mut shared = self.shared.lock().unwrap();
        shared.script.clear();
        shared.otherwise = Some(act);
    }
}

/// So that `Read` and `Write` of a plain and of a TLS stream are used alike.
struct Plain(TcpStream);

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Serves one connection until either side ends it.
fn serve(stream: impl Read + Write, shared: &Mutex<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream) {
        let connect = request.line.starts_with("CONNECT ");
        let act = {
            let mut shared = shared.lock().unwrap();
            shared.received.push(request);
            let next = if connect { Some(Act::status(200)) } else { shared.script.pop_front() };
            next.or_else(|| shared.otherwise.clone()).unwrap()
        };
        if answer(stream.get_mut(), act).is_err() {
            return;
        }
    }
}

fn answer(stream: &mut impl Write, act: Act) -> std::io::Result<()> {
    let closed = || Err(std::io::ErrorKind::ConnectionAborted.into());
    match act {
        Act::Answer(status, headers, body) => {
            write!(stream, "HTTP/1.1 {status} Whatever\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())?;
            stream.flush()
        }
        Act::After(time) => {
            thread::sleep(time);
            answer(stream, Act::status(200))
        }
        Act::Close => closed(),
        Act::Trickle => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ")?;
            loop {
                stream.write_all(b"a")?;
                stream.flush()?;
                thread::sleep(Duration::from_millis(30));
            }
        }
        Act::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            loop {
                stream.write_all(chunk.as_bytes())?;
            }
        }
    }
}

fn read(stream: &mut BufReader<impl Read>) -> Option<Received> {
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    headers.sort();
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Received { line: first, headers, body })
}
