// SPDX-License-Identifier: Apache-2.0
//! Receivers: how each wants to be spoken to, and what its answers mean. Pure; [`super::client`] does the talking.

mod elastic;
mod loki;
mod otlp;
mod splunk;
mod webhook;

use std::fmt::Debug;
use std::time::Duration;

pub use elastic::Elastic;
pub use loki::Loki;
pub use otlp::Otlp;
pub use splunk::Splunk;
pub use webhook::Webhook;

use super::entry::Sent;

/// One sort of receiver.
pub trait Sink: Debug + Send + Sync {
    /// Returns the key that chooses it in the configuration.
    fn name(&self) -> &'static str;

    /// Returns what comes after the base URL; empty if the URL is complete as it is written.
    fn path(&self) -> &str;

    /// Returns what stands before the token in `Authorization`.
    fn scheme(&self) -> &'static str {
        "Bearer"
    }

    /// Puts entries, never none, into the receiver's words.
    fn request(&self, entries: &[Sent]) -> Request;

    /// Says what an answer means.
    fn judge(&self, answer: &Answer) -> Verdict {
        by_status(answer)
    }
}

/// The body of a POST, and the headers that go with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// What the receiver said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// The first part of it, at least.
    pub body: Vec<u8>,
}

/// What an answer means for the entries of its request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver is done with all of them. It will not have `refused` of them, and says why.
    Taken { refused: u64, why: Option<String> },
    /// The receiver will not have them as they are: smaller requests may show which one it does not like.
    Refused(String),
    /// It is not about the entries: the same request may be taken later.
    Later { why: String, after: Option<Duration> },
}

/// Judges by the status alone, as HTTP has it.
pub(super) fn by_status(answer: &Answer) -> Verdict {
    let why = answer.to_string();
    match answer.status {
        200..=299 => Verdict::Taken { refused: 0, why: None },
        // Somebody has to mend the address, the token or the receiver; the entries are not to blame.
        300..=399 | 401 | 403 | 404 | 405 | 407 | 408 | 421 | 423 | 425 | 429 | 500.. => {
            Verdict::Later { why, after: answer.retry_after }
        }
        _ => Verdict::Refused(why),
    }
}

/// The status, and the beginning of what the receiver says about it.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 200;
        write!(f, "it answers {}", self.status)?;
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.trim().chars().take(SHOWN).collect();
        if text.is_empty() { Ok(()) } else { write!(f, ": {}", text.escape_debug()) }
    }
}

/// Returns a word of a receiver's answer, cut down for messages.
fn said(text: &str) -> String {
    text.chars().take(200).collect::<String>().escape_debug().to_string()
}
