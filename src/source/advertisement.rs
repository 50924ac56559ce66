// SPDX-License-Identifier: Apache-2.0
//! What a Git server said over HTTP that it can do, remembered, so that a poll is one exchange.
//!
//! Git asks a server at every fetch what it can do (`GET info/refs`), and then which refs it has (`POST git-upload-pack`).
//! In version 2 of the protocol (gitprotocol-v2(5)) the first answer names no refs, and each request stands for itself: the Git
//! library is given the answer of the last time in the place of a new one. Which refs there are, it always asks.

use std::any::Any;
use std::io::{self, BufRead, Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::http::{
    GetResponse, Http, PostBodyDataKind, PostResponse, Transport,
};

use super::http;
/// The longest advertisement that is remembered. Real ones have some hundred bytes.
const MAX_TEXT: usize = 64 * 1024;
/// How an advertisement of version 2 begins. Everything else may name refs, which would then be the same for ever.
const BEGINNINGS: [&[u8]; 2] = [b"000eversion 2\n", b"001e# service=git-upload-pack\n0000000eversion 2\n"];

/// What one server said that it can do. Copies share what is remembered.
#[derive(Clone, Default)]
pub struct Advertised(Arc<Mutex<Option<Advertisement>>>);

#[derive(Clone)]
pub(super) struct Advertisement {
    remote: gix::Url,
    text: Vec<u8>,
    /// The server asked who is there.
    pub(super) asks_who: bool,
}

impl Advertised {
    /// Returns what the server of `remote` said the last time, if it counts.
    pub(super) fn by(&self, remote: &gix::Url) -> Option<Advertisement> {
        self.lock().clone().filter(|advertisement| advertisement.remote == *remote)
    }

    /// Remembers what was heard, if it may be: it came from `remote` itself, and says nothing about refs.
    pub(super) fn remember(&self, remote: &gix::Url, heard: &Heard, asks_who: bool) {
        let text = heard.text();
        *self.lock() = text.map(|text| Advertisement { remote: remote.clone(), text, asks_who });
    }

    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Advertisement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a server said in this exchange.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Hearing>>);

#[derive(Default)]
struct Hearing {
    /// Of whom it was asked.
    asked: String,
    text: Vec<u8>,
    /// The question was answered by another server, to which the first one sent us.
    is_from_elsewhere: bool,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Hearing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> Option<Vec<u8>> {
        let heard = self.lock();
        let counts = !heard.is_from_elsewhere
            && heard.text.len() <= MAX_TEXT
            && BEGINNINGS.iter().any(|beginning| heard.text.starts_with(beginning));
        counts.then(|| heard.text.clone())
    }
}

/// Returns the way to the server at `url`, which is not asked what it can do if that is `known`; what it says to it is `heard`.
/// No request takes longer than `time`.
pub(super) fn connect(
    url: gix::Url,
    version: Protocol,
    time: Duration,
    known: Option<&Advertisement>,
    heard: &Heard,
) -> Transport<Client> {
    let known = known.map(|advertisement| advertisement.text.clone());
    let client = Client { http: http::Client::new(time), known, heard: heard.clone() };
    Transport::new_http(client, url, version, false)
}

/// The HTTP client of the Git library, but for the one question.
pub(super) struct Client {
    http: http::Client,
    known: Option<Vec<u8>>,
    heard: Heard,
}

impl Http for Client {
    type Headers = Box<dyn BufRead + Send>;
    type ResponseBody = Box<dyn BufRead + Send>;
    type PostBody = <http::Client as Http>::PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Self::Headers, Self::ResponseBody>> {
        if let Some(known) = &self.known {
            let headers = b"Content-Type: application/x-git-upload-pack-advertisement\n";
            let body = Box::new(Cursor::new(known.clone()));
            return Ok(GetResponse { headers: Box::new(Cursor::new(headers)), body });
        }
        let response = self.http.get(url, base_url, headers)?;
        *self.heard.lock() = Hearing { asked: base_url.to_owned(), ..Hearing::default() };
        let body = Listening { body: response.body, heard: self.heard.clone() };
        Ok(GetResponse { headers: response.headers, body: Box::new(body) })
    }

    fn post(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        body: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Self::Headers, Self::ResponseBody, Self::PostBody>> {
        if self.known.is_none() {
            let mut heard = self.heard.lock();
            heard.is_from_elsewhere |= heard.asked != base_url;
        }
        self.http.post(url, base_url, headers, body)
    }

    fn configure(&mut self, config: &dyn Any) -> gix::Result {
        self.http.configure(config)
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.http.redirected_base_url()
    }
}

/// Notes down what is read.
struct Listening<B> {
    body: B,
    heard: Heard,
}

impl<B: BufRead> Read for Listening<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.len().min(buffer.len());
        let (buffer, _) = buffer.split_at_mut(length);
        self.body.read_exact(buffer)?;
        self.heard.note(buffer);
        Ok(length)
    }
}

impl<B: BufRead> BufRead for Listening<B> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.body.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // It was filled before by whoever consumes.
        if let Ok(buffer) = self.body.fill_buf() {
            self.heard.note(buffer.get(..amount).unwrap_or(buffer));
        }
        self.body.consume(amount);
    }
}

impl Heard {
    /// Adds what was read; of what is too long, no more than shows that it is.
    fn note(&self, bytes: &[u8]) {
        let mut heard = self.lock();
        let room = (MAX_TEXT + 1).saturating_sub(heard.text.len());
        heard.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &[u8]) -> Heard {
        let heard = Heard::default();
        text.chunks(1000).for_each(|chunk| heard.note(chunk));
        heard
    }

    #[test]
    fn only_an_answer_without_refs_is_remembered() {
        let tip = "1234567890123456789012345678901234567890";
        for (text, counts) in [
            ("000eversion 2\n0000".to_owned(), true),
            ("001e# service=git-upload-pack\n0000000eversion 2\n0000".to_owned(), true),
            (String::new(), false),
            ("000eversion 1\n".to_owned(), false),
            (format!("003d{tip} refs/heads/main\0000eversion 2\n0000"), false),
            (format!("001e# service=git-upload-pack\n0000003d{tip} refs/heads/main\0000eversion 2\n0000"), false),
            (" 000eversion 2\n0000".to_owned(), false),
        ] {
            assert_eq!(heard(text.as_bytes()).text().is_some(), counts, "{text}");
        }
    }

    #[test]
    fn an_answer_that_does_not_end_is_neither_held_nor_remembered() {
        let mut text = b"000eversion 2\n".to_vec();
        text.resize(MAX_TEXT, b'x');
        assert!(heard(&text).text().is_some());
        text.resize(20 * MAX_TEXT, b'x');
        let heard = heard(&text);
        assert_eq!(heard.lock().text.len(), MAX_TEXT + 1);
        assert!(heard.text().is_none());
    }

    #[test]
    fn what_is_listened_to_is_passed_on() {
        for size in [1, 3, 100] {
            let heard = Heard::default();
            let mut listening = Listening { body: &b"one two\nthree"[..], heard: heard.clone() };
            let mut line = String::new();
            listening.read_line(&mut line).unwrap();
            let mut rest = Vec::new();
            let mut buffer = vec![0; size];
            loop {
                let length = listening.read(&mut buffer).unwrap();
                if length == 0 {
                    break;
                }
                rest.extend_from_slice(&buffer[..length]);
            }
            assert_eq!((line.as_str(), &rest[..]), ("one two\n", &b"three"[..]));
            assert_eq!(heard.lock().text, b"one two\nthree");
        }
    }
}
