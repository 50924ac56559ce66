// SPDX-License-Identifier: Apache-2.0
//! The HTTP client of the Git library: the one that all others here use too, with OpenSSL and the certificates of the system.
//!
//! The library asks a server what it can do (GET), and then for refs and packs (POST); gitprotocol-http(5). Only the first
//! question may be passed on by the server that was asked.

#[cfg(test)]
mod tests;

use std::any::Any;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gix::protocol::transport::client::AuthenticationRequired;
use gix::protocol::transport::client::blocking_io::http::{GetResponse, Http, PostBodyDataKind, PostResponse};
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::tls::RootCerts;
use ureq::typestate::WithBody;
use ureq::{Agent, Body, BodyReader, RequestBuilder, ResponseExt as _};

use crate::web;

use super::fetch::user_info;

/// How often the first question may be passed on.
const REDIRECTS: u32 = 10;

/// A client for one exchange with a server.
pub(super) struct Client {
    agent: Agent,
    /// Where the first question was answered, if the server sent us there.
    moved_to: Option<String>,
}

impl Client {
    /// No request takes longer than `time`, whatever the server does.
    pub(super) fn new(time: Duration) -> Self {
        let agent = web::agent(time, RootCerts::PlatformVerifier).max_redirects_will_error(false).build().new_agent();
        Self { agent, moved_to: None }
    }
}

impl Http for Client {
    type Headers = Box<dyn BufRead + Send>;
    type ResponseBody = Box<dyn BufRead + Send>;
    type PostBody = Question;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Self::Headers, Self::ResponseBody>> {
        let uri = address(url).map_err(gix::Error::from_error)?;
        let request = with_headers(self.agent.get(&uri), headers)
            .config()
            .max_redirects(REDIRECTS)
            // The client would not tell two servers on one host apart. Who asks again who is there is answered by the library.
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .https_only(uri.scheme_str() == Some("https"))
            .build();
        let response = request.call().map_err(gix::Error::from_error)?;
        if *response.get_uri() != uri {
            let asked = url.strip_prefix(base_url).unwrap_or(url);
            self.moved_to = Some(base_of(response.get_uri(), asked).map_err(gix::Error::from_error)?);
        }
        let (headers, body) = taken_apart(response);
        Ok(GetResponse { headers: Box::new(Late::new(|| headers.map(Cursor::new))), body: Box::new(body) })
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Self::Headers, Self::ResponseBody, Self::PostBody>> {
        let request = with_headers(self.agent.post(address(url).map_err(gix::Error::from_error)?), headers);
        let question = Question(Arc::new(Mutex::new(Asked::Written { request, text: Vec::new() })));
        let (first, second) = (question.clone(), question.clone());
        Ok(PostResponse {
            post_body: question,
            headers: Box::new(Late::new(move || first.headers().map(Cursor::new))),
            body: Box::new(Late::new(move || second.answer())),
        })
    }

    fn configure(&mut self, _config: &dyn Any) -> gix::Result {
        // What counts is in hostwrit's own configuration, and not in that of a store.
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.moved_to.clone()
    }
}

/// Reads an address, without the user and the password that may be in it: who is there is said in a header.
fn address(url: &str) -> Result<Uri, ureq::http::uri::InvalidUri> {
    match user_info(url) {
        Some(user) => url.replacen(&format!("{user}@"), "", 1).parse(),
        None => url.parse(),
    }
}

/// Returns the address of the repo whose server answered at `uri` to what was `asked` below that address.
fn base_of(uri: &Uri, asked: &str) -> io::Result<String> {
    let uri = uri.to_string();
    uri.strip_suffix(asked).map(str::to_owned).ok_or_else(|| {
        io::Error::other(format!("the server sends to {uri}, which is not {asked} of a repo; correct the remote"))
    })
}

/// Adds headers as the library writes them, "NAME: VALUE".
fn with_headers<B>(
    request: RequestBuilder<B>,
    headers: impl IntoIterator<Item = impl AsRef<str>>,
) -> RequestBuilder<B> {
    headers.into_iter().fold(request, |request, line| {
        let (name, value) = line.as_ref().split_once(':').unwrap_or((line.as_ref(), ""));
        request.header(name, value.trim())
    })
}

/// Returns the one header that the library looks at, or why the server gives no answer; and the answer.
fn taken_apart(response: Response<Body>) -> (io::Result<Vec<u8>>, Incoming) {
    let headers = match response.status() {
        status if status.is_success() => {
            let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
            Ok([b"Content-Type: ", kind, b"\n"].concat())
        }
        // The library takes this for a question who is there.
        StatusCode::UNAUTHORIZED => {
            let asks = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
            let www_authenticate = asks.map(|how| how.as_bytes().into()).collect();
            Err(io::Error::new(io::ErrorKind::PermissionDenied, AuthenticationRequired { www_authenticate }))
        }
        status => Err(io::Error::other(format!("Received HTTP status {}", status.as_u16()))),
    };
    (headers, BufReader::new(response.into_body().into_reader()))
}

/// What a server answers, while it comes in.
type Incoming = BufReader<BodyReader<'static>>;

/// A question that is sent when its answer is wanted: until then the library writes its text, which is short.
#[derive(Clone)]
pub(super) struct Question(Arc<Mutex<Asked>>);

enum Asked {
    Written { request: RequestBuilder<WithBody>, text: Vec<u8> },
    Answered(Incoming),
    Over,
}

impl Question {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends it, and returns the headers of the answer.
    fn headers(&self) -> io::Result<Vec<u8>> {
        let mut asked = self.lock();
        let Asked::Written { request, text } = std::mem::replace(&mut *asked, Asked::Over) else {
            return Err(io::Error::other("a Git server was asked once and its answer awaited twice"));
        };
        let (headers, body) = taken_apart(request.send(&text[..]).map_err(ureq::Error::into_io)?);
        *asked = Asked::Answered(body);
        headers
    }

    /// Returns the answer; the library looks at the headers before.
    fn answer(&self) -> io::Result<Incoming> {
        match std::mem::replace(&mut *self.lock(), Asked::Over) {
            Asked::Answered(body) => Ok(body),
            Asked::Written { .. } | Asked::Over => Err(io::Error::other("a Git server gave no answer")),
        }
    }
}

impl Write for Question {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.lock() {
            Asked::Written { text, .. } => text.write(bytes),
            Asked::Answered(_) | Asked::Over => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that is there as soon as it is read from.
enum Late<R> {
    Closed(Option<Box<dyn FnOnce() -> io::Result<R> + Send>>),
    Open(R),
}

impl<R> Late<R> {
    fn new(open: impl FnOnce() -> io::Result<R> + Send + 'static) -> Self {
        Self::Closed(Some(Box::new(open)))
    }

    fn opened(&mut self) -> io::Result<&mut R> {
        if let Self::Closed(open) = self {
            let open = open.take().ok_or(io::ErrorKind::UnexpectedEof)?;
            *self = Self::Open(open()?);
        }
        match self {
            Self::Open(reader) => Ok(reader),
            Self::Closed(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl<R: BufRead> Read for Late<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.opened()?.read(buffer)
    }
}

impl<R: BufRead> BufRead for Late<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.opened()?.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Self::Open(reader) = self {
            reader.consume(amount);
        }
    }
}
