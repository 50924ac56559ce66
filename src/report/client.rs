// SPDX-License-Identifier: Apache-2.0
//! One POST to one receiver, with deadlines and caps. No message of this module has a URL, a header or a body of ours:
//! each may be secret.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};
use ureq::{Agent, Timeout};

use super::config::{Outlet, Place, Proxy, TokenWay, check_url};
use super::sink::{Answer, Request};
use crate::model::Secret;
use crate::web;

/// No more of an answer is read.
const MAX_ANSWER: u64 = 1024 * 1024;
const MAX_CREDENTIAL: usize = 16 * 1024;
const MAX_CA: u64 = 4 * 1024 * 1024;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("there is no credential \"{0}\": add LoadCredential={0}:FILE to hostwrit-courier.service")]
    NoCredential(String),
    #[error("cannot read the credential \"{name}\"")]
    Credential { name: String, source: std::io::Error },
    #[error("the credential \"{name}\" {wrong}")]
    CredentialIs { name: String, wrong: String },
    #[error("cannot read {path}")]
    Ca { path: PathBuf, source: std::io::Error },
    #[error("{0} has no certificate in it; it must be a PEM file")]
    CaIsEmpty(PathBuf),
    #[error("the proxy that is configured is none")]
    Proxy,
    #[error("it did not {0} in time")]
    Timeout(&'static str),
    #[error("its name is not known to DNS")]
    Name,
    #[error("cannot connect: {0}")]
    Connection(std::io::Error),
    #[error("no secure connection: {0}")]
    Tls(String),
    #[error("the proxy does not let us through")]
    Through,
    #[error("it does not speak HTTP as it should")]
    Protocol,
    #[error("cannot make the request: {0}")]
    Request(&'static str),
}

/// A receiver that can be spoken to: credentials are read, and the certificates to trust.
pub(super) struct Client {
    agent: Agent,
    uri: Uri,
    authorization: Option<(HeaderName, HeaderValue)>,
    sign_with: Option<Secret>,
    /// What must not be repeated when the receiver does.
    secrets: Vec<Secret>,
    /// A receiver at a secret address may repeat any part of it.
    silent: bool,
}

impl Client {
    /// Reads what is needed; `credentials` is the directory that systemd gave.
    pub fn new(outlet: &Outlet, credentials: Option<&Path>) -> Result<Self, SendError> {
        let read = |name: &str| read_credential(credentials, name);
        let mut secrets = Vec::new();
        let base = match &outlet.url {
            Place::Here(url) => url.clone(),
            Place::Credential(name) => {
                let url = read(name)?;
                check_url(url.expose(), true)
                    .map_err(|(wrong, _)| SendError::CredentialIs { name: name.clone(), wrong })?;
                url.expose().to_owned()
            }
        };
        let uri = join(&base, outlet.sink.path()).parse().map_err(|_| SendError::Request("the URL is not one"))?;
        let mut authorization = None;
        if let Some(token) = &outlet.token {
            let secret = read(&token.credential)?;
            let (header, value) = match &token.way {
                TokenWay::Usual => ("authorization", format!("{} {}", outlet.sink.scheme(), secret.expose())),
                TokenWay::User(user) => {
                    let pair = openssl::base64::encode_block(format!("{user}:{}", secret.expose()).as_bytes());
                    secrets.push(Secret::new(&pair));
                    ("authorization", format!("Basic {pair}"))
                }
                TokenWay::Header(header) => (header.as_str(), secret.expose().to_owned()),
            };
            let name = HeaderName::from_bytes(header.as_bytes()).map_err(|_| SendError::Request("no such header"))?;
            let mut value = HeaderValue::from_str(&value).map_err(|_| SendError::CredentialIs {
                name: token.credential.clone(),
                wrong: "has characters that a header cannot carry".to_owned(),
            })?;
            value.set_sensitive(true);
            authorization = Some((name, value));
            secrets.push(secret);
        }
        let sign_with = outlet.sign_with.as_deref().map(read).transpose()?;
        secrets.extend(sign_with.clone());
        let silent = matches!(outlet.url, Place::Credential(_));
        Ok(Self { agent: agent(outlet)?, uri, authorization, sign_with, secrets, silent })
    }

    /// Sends a request and waits for the answer, as long as the receiver's `timeout` allows.
    pub fn send(&self, request: Request, now: SystemTime) -> Result<Answer, SendError> {
        let mut post = self.agent.post(&self.uri).content_type(request.content_type);
        if let Some((name, value)) = &self.authorization {
            post = post.header(name, value);
        }
        for (name, value) in request.headers {
            post = post.header(name, value);
        }
        if let Some(secret) = &self.sign_with {
            let time = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
            let signature =
                signature(secret, &time, &request.body).map_err(|_| SendError::Request("it cannot be signed"))?;
            post = post.header("x-hostwrit-time", time).header("x-hostwrit-signature", signature);
        }
        let mut response = post.send(&request.body[..]).map_err(plain)?;
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| delay(value, now));
        let mut body = Vec::new();
        // What was read until the answer broke off or the cap was reached may be enough; the sink judges.
        let _ = response.body_mut().as_reader().take(MAX_ANSWER).read_to_end(&mut body);
        if self.silent {
            body.clear();
        }
        for secret in &self.secrets {
            body = without(body, secret);
        }
        Ok(Answer { status: response.status().as_u16(), retry_after, body })
    }
}

fn agent(outlet: &Outlet) -> Result<Agent, SendError> {
    let roots = match &outlet.ca {
        None => RootCerts::PlatformVerifier,
        Some(path) => RootCerts::new_with_certs(&authorities(path)?),
    };
    let config = web::agent(outlet.timeout, roots).max_idle_connections(1);
    let config = match &outlet.proxy {
        Proxy::Environment => config,
        Proxy::None => config.proxy(None),
        Proxy::Url(url) => config.proxy(Some(ureq::Proxy::new(url).map_err(|_| SendError::Proxy)?)),
    };
    Ok(config.build().new_agent())
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, SendError> {
    let failed = |source| SendError::Ca { path: path.to_owned(), source };
    let mut pem = Vec::new();
    fs::File::open(path).map_err(failed)?.take(MAX_CA).read_to_end(&mut pem).map_err(failed)?;
    let certificate = |item| if let Ok(PemItem::Certificate(found)) = item { Some(found) } else { None };
    let found: Vec<Certificate<'static>> = parse_pem(&pem).filter_map(certificate).collect();
    if found.is_empty() { Err(SendError::CaIsEmpty(path.to_owned())) } else { Ok(found) }
}

fn read_credential(dir: Option<&Path>, name: &str) -> Result<Secret, SendError> {
    let dir = dir.ok_or_else(|| SendError::NoCredential(name.to_owned()))?;
    let text = fs::read(dir.join(name)).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => SendError::NoCredential(name.to_owned()),
        _ => SendError::Credential { name: name.to_owned(), source },
    })?;
    let wrong = |wrong: &str| SendError::CredentialIs { name: name.to_owned(), wrong: wrong.to_owned() };
    if text.len() > MAX_CREDENTIAL {
        return Err(wrong("is longer than 16 KiB"));
    }
    let text = String::from_utf8(text).map_err(|_| wrong("is not text"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err(wrong("is empty")) } else { Ok(Secret::new(text)) }
}

/// Returns the URL of an API below a base URL, which may name the API already.
fn join(base: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    let api = path.split('?').next().unwrap_or_default();
    match base.strip_suffix(api).filter(|_| !api.is_empty()) {
        Some(base) => format!("{base}{path}"),
        None if path.is_empty() => base.to_owned(),
        None => format!("{base}{path}"),
    }
}

/// Returns the HMAC of the time, a full stop and the body, so that neither can be put with another.
fn signature(secret: &Secret, time: &str, body: &[u8]) -> Result<String, openssl::error::ErrorStack> {
    let key = PKey::hmac(secret.expose().as_bytes())?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    signer.update(time.as_bytes())?;
    signer.update(b".")?;
    signer.update(body)?;
    let hex: String = signer.sign_to_vec()?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256={hex}"))
}

/// Reads `Retry-After`: seconds, or a date as HTTP writes it.
fn delay(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    // Sun, 06 Nov 1994 08:49:37 GMT
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, clock, "GMT"] = parts[..] else { return None };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? + 1;
    let then = humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{clock}Z")).ok()?;
    Some(then.duration_since(now).unwrap_or(Duration::ZERO))
}

/// Returns a body in which nothing repeats the secret.
fn without(body: Vec<u8>, secret: &Secret) -> Vec<u8> {
    let secret = secret.expose().as_bytes();
    if !body.windows(secret.len()).any(|window| window == secret) {
        return body;
    }
    String::from_utf8_lossy(&body).replace(&*String::from_utf8_lossy(secret), "[secret]").into_bytes()
}

/// Says what went wrong in words of our own: those of the library may repeat a URL.
fn plain(error: ureq::Error) -> SendError {
    match error {
        ureq::Error::Timeout(which) => SendError::Timeout(match which {
            Timeout::Resolve => "resolve",
            Timeout::Connect => "connect",
            _ => "answer",
        }),
        ureq::Error::HostNotFound => SendError::Name,
        ureq::Error::Io(source) => SendError::Connection(source),
        ureq::Error::NativeTls(source) => SendError::Tls(source.to_string()),
        ureq::Error::Tls(what) => SendError::Tls(what.to_owned()),
        ureq::Error::InvalidProxyUrl => SendError::Proxy,
        ureq::Error::ConnectProxyFailed(_) => SendError::Through,
        ureq::Error::ConnectionFailed => SendError::Connection(std::io::ErrorKind::NotConnected.into()),
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => SendError::Request("a header or the URL is not one"),
        _ => SendError::Protocol,
    }
}
