// SPDX-License-Identifier: Apache-2.0
//! What may be asked, and what is answered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::ObjectId;

/// Version of the protocol; both sides must speak the same.
pub const VERSION: u32 = 1;

/// A request is no longer than this, in bytes, with its newline.
pub const REQUEST_MAX: usize = 4096;

/// An answer is no longer than this, in bytes, with its newline.
pub const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// What somebody asks of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// What the daemon is doing, and what the last cycle came to.
    Status,
    /// What put an object on this host.
    Why { object: ObjectId },
    /// Pull now; with `wait`, answer when a cycle that began after the question has ended.
    Sync { wait: bool },
    /// Change nothing for so many seconds.
    Pause {
        seconds: u64,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claims: Option<String>,
    },
    /// End the pause.
    Resume {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claims: Option<String>,
    },
}

impl Ask {
    /// Returns the word that stands for it in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Why { .. } => "why",
            Self::Sync { .. } => "sync",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
        }
    }

    /// Returns what the asking process says of itself.
    pub fn claims(&self) -> Option<&str> {
        match self {
            Self::Status | Self::Why { .. } | Self::Sync { .. } => None,
            Self::Pause { claims, .. } | Self::Resume { claims } => claims.as_deref(),
        }
    }
}

/// What the daemon says. All but `step` end the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    Status {
        daemon: Box<Live>,
        /// The status of the last cycle as schemas/status.json has it; `null` before the first one has ended.
        status: Option<serde_json::Value>,
    },
    /// Where the object comes from, as schemas/why.json has it.
    Why { why: serde_json::Value },
    /// The daemon pulls now.
    Pulling,
    /// A step was carried out, or not. Only while a `sync` waits.
    Step {
        object: String,
        action: String,
        /// `done`, `failed` or `skipped`.
        result: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// The cycle that a `sync` waited for has ended with this status.
    Synced { status: serde_json::Value },
    /// The pause is in force and in the log.
    Paused { until: String },
    /// No pause is in force; `was_paused` says whether one was.
    Resumed { was_paused: bool },
    /// It was not done.
    Refused { code: Code, message: String },
}

impl Answer {
    /// Returns the answer to what is not done.
    pub fn refused(code: Code, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into() }
    }

    /// Whether nothing comes after it.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Step { .. })
    }
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request cannot be understood.
    Malformed,
    /// The other side speaks another version.
    Version,
    /// The user may not ask this.
    Forbidden,
    /// Too many ask at the same time.
    Busy,
    /// The daemon is about to end.
    Stopping,
    /// It was tried and failed.
    Failed,
}

/// What the daemon is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Live {
    /// Version of the program that runs.
    pub version: String,
    pub pid: u32,
    /// Since when it runs: RFC 3339, UTC.
    pub since: String,
    /// When the cycle that is under way began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle_since: Option<String>,
    /// When it pulls next if nothing else wakes it; absent while a cycle is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_pull: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    #[serde(flatten)]
    ask: &'a Ask,
}

/// Returns the line that asks this.
pub fn request_line(ask: &Ask) -> Vec<u8> {
    line(&Request { version: VERSION, ask })
}

/// Returns the line that answers this.
pub fn answer_line(answer: &Answer) -> Vec<u8> {
    line(answer)
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and lists only: there is nothing in it that JSON cannot hold.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Reads a request that somebody sent.
///
/// # Errors
/// The answer that says what is wrong with it.
pub fn parse_request(line: &[u8]) -> Result<Ask, Answer> {
    let malformed = |why: &dyn std::fmt::Display| {
        Answer::refused(Code::Malformed, format!("this is no request: {why}; docs/reference/control.md has the form"))
    };
    let mut value: serde_json::Value = serde_json::from_slice(line).map_err(|error| malformed(&error))?;
    let Versioned { version } = serde::Deserialize::deserialize(&value).map_err(|error| malformed(&error))?;
    if version != VERSION {
        let text = format!("this daemon speaks version {VERSION} of the control protocol, not {version}");
        return Err(Answer::refused(Code::Version, text));
    }
    if let Some(fields) = value.as_object_mut() {
        fields.remove("version");
    }
    serde_json::from_value(value).map_err(|error| malformed(&error))
}
