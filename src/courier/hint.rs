// SPDX-License-Identifier: Apache-2.0
//! The poll hint: a small file on a web server that is rewritten when the repo changes, asked for before Git is.
//!
//! It only ever saves work. That it changed makes the courier ask Git; that it did not is believed for no longer than
//! `max_quiet`. A server that lies here can hold news back that long, as the Git server itself could (`freshness` notices).

use std::time::{Duration, Instant};

use tracing::debug;
use ureq::http::{HeaderMap, StatusCode, header};
use ureq::tls::RootCerts;

use crate::source::{Ask, Fetched};
use crate::web;

/// How long the server may take.
const TIME: Duration = Duration::from_secs(10);
/// How much of the file counts.
const MAX_BYTES: u64 = 4096;

/// What the last real fetch found, and what the hint was like right before it.
#[derive(Debug)]
pub(super) struct Remembered {
    ask: Ask,
    seen: Seen,
    fetched: Fetched,
    at: Instant,
}

/// What a hint was like: its validator (RFC 9110, section 8.8.3), or else its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Tag(String),
    Content(Vec<u8>),
}

impl Remembered {
    pub(super) fn new(ask: Ask, seen: Seen, fetched: Fetched) -> Self {
        Self { ask, seen, fetched, at: Instant::now() }
    }

    /// Whether the same was asked, not too long ago.
    pub(super) fn answers(&self, ask: &Ask) -> bool {
        self.ask == *ask && self.at.elapsed() < Duration::from_secs(ask.max_quiet)
    }

    /// Returns what was found if the hint is as it was then, or what the hint is like now; `None` if it cannot be had.
    pub(super) fn look(&self, url: &str) -> Result<Fetched, Option<Seen>> {
        match see(url, Some(&self.seen)) {
            None => Err(None),
            Some(seen) if seen == self.seen => Ok(self.fetched),
            Some(seen) => Err(Some(seen)),
        }
    }
}

/// Asks for the hint at `url`; `known` is what it was like before. Without an answer there is no hint.
pub(super) fn see(url: &str, known: Option<&Seen>) -> Option<Seen> {
    match ask_for(url, known) {
        Ok(seen) => Some(seen),
        Err(why) => {
            debug!("the poll hint is of no use: {why}");
            None
        }
    }
}

fn ask_for(url: &str, known: Option<&Seen>) -> Result<Seen, ureq::Error> {
    let agent = web::agent(TIME, RootCerts::PlatformVerifier).http_status_as_error(true).build().new_agent();
    let mut request = agent.get(url);
    if let Some(Seen::Tag(tag)) = known {
        request = request.header(header::IF_NONE_MATCH, tag);
    }
    let response = request.call()?;
    if let (StatusCode::NOT_MODIFIED, Some(known)) = (response.status(), known) {
        return Ok(known.clone());
    }
    if let Some(tag) = tag(response.headers()) {
        return Ok(Seen::Tag(tag));
    }
    Ok(Seen::Content(response.into_body().with_config().limit(MAX_BYTES).read_to_vec()?))
}

fn tag(headers: &HeaderMap) -> Option<String> {
    headers.get(header::ETAG)?.to_str().ok().map(str::to_owned)
}
