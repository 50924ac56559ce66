// SPDX-License-Identifier: Apache-2.0
//! What steward and courier say to each other: frames of a tag, a length and so many bytes.
//!
//! The steward asks and the courier answers, one after the other. Both sides are the same program, so there is no version to agree on;
//! after an upgrade both are restarted. Still neither relies on the other for more than an answer: lengths are capped
//! before anything is read, and whatever does not fit ends the connection.

use std::io::{self, Read};

use crate::model::git::{ObjectType, Oid, RawObject};

use super::{Ask, Fetched, HashKind, Probe, Query};

/// The longest request; a report is the longest there is.
pub const MAX_REQUEST: usize = 1024 * 1024;
/// The longest text that says what went wrong.
pub const MAX_WORDS: usize = 4096;

/// What the steward asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Ask the remote. The ids of the fleet are of this type.
    Fetch(HashKind, Ask),
    Object(Oid),
    /// Ask a Prometheus.
    Number(Query),
    /// Try whether a service answers.
    Probe(Probe),
    /// Spool this for those who are told what happens here: a batch of entries, as JSON.
    Report(Vec<u8>),
    /// Give this page of metrics to those who ask.
    Publish(Vec<u8>),
    /// Say how much of what was reported has not arrived yet.
    Backlog,
}

/// What the courier answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Fetched(Fetched),
    Object(RawObject),
    Number(f64),
    /// The service answers as it should.
    Probed,
    /// There is no such object.
    Missing,
    /// The object has more bytes than the courier's limit, which this is.
    TooLarge(u64),
    /// It was taken, and this is how the spool is now.
    Taken(Backlog),
    /// Why it could not be done.
    Failed(String),
}

/// What no receiver has of what was reported, as the courier counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// So many entries wait in the spool.
    pub waiting: u64,
    /// So many of these are of the audit log.
    pub audit: u64,
    /// So many were lost, for want of room or because they were refused.
    pub lost: u64,
}

/// A frame that does not say what it should.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

impl Request {
    /// Returns the frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Fetch(hash, ask) => {
                let body = [hash.to_string().as_bytes(), b" ", &serde_json::to_vec(ask).unwrap_or_default()].concat();
                frame(b'f', &body)
            }
            Self::Object(id) => frame(b'o', id.to_hex().to_string().as_bytes()),
            Self::Number(query) => frame(b'n', &serde_json::to_vec(query).unwrap_or_default()),
            Self::Probe(probe) => frame(b'p', &serde_json::to_vec(probe).unwrap_or_default()),
            Self::Report(entries) => frame(b'r', entries),
            Self::Publish(page) => frame(b'm', page),
            Self::Backlog => frame(b'b', b""),
        }
    }

    /// Reads the frame with this tag and body.
    ///
    /// # Errors
    /// It is no request.
    pub fn parse(tag: u8, body: &[u8]) -> Result<Self, Malformed> {
        match tag {
            b'f' => {
                let at = body.iter().position(|byte| *byte == b' ').ok_or(Malformed("no type of hash"))?;
                let hash = std::str::from_utf8(&body[..at]).ok().and_then(|name| name.parse().ok());
                let ask = serde_json::from_slice(&body[at + 1..]).map_err(|_| Malformed("not what to fetch"))?;
                Ok(Self::Fetch(hash.ok_or(Malformed("no known type of hash"))?, ask))
            }
            b'o' => Oid::from_hex(body).map(Self::Object).map_err(|_| Malformed("no object id")),
            b'n' => serde_json::from_slice(body).map(Self::Number).map_err(|_| Malformed("no query")),
            b'p' => serde_json::from_slice(body).map(Self::Probe).map_err(|_| Malformed("nothing that can be tried")),
            b'r' => Ok(Self::Report(body.to_vec())),
            b'm' => Ok(Self::Publish(body.to_vec())),
            b'b' if body.is_empty() => Ok(Self::Backlog),
            _ => Err(Malformed("an unknown request")),
        }
    }
}

impl Answer {
    /// Returns the frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Fetched(Fetched { tip, beside }) => {
                let beside = beside.map_or("-".to_owned(), |beside| beside.to_string());
                frame(b'F', format!("{tip} {beside}").as_bytes())
            }
            Self::Object(RawObject { kind, data }) => {
                let head = format!("{kind} ");
                let mut bytes = head_of(b'O', head.len() + data.len());
                bytes.extend_from_slice(head.as_bytes());
                bytes.extend_from_slice(data);
                bytes
            }
            Self::Number(number) => frame(b'N', number.to_string().as_bytes()),
            Self::Probed => frame(b'P', b""),
            Self::Missing => frame(b'M', b""),
            Self::TooLarge(limit) => frame(b'L', limit.to_string().as_bytes()),
            Self::Taken(Backlog { waiting, audit, lost }) => {
                frame(b'T', format!("{waiting} {audit} {lost}").as_bytes())
            }
            Self::Failed(words) => {
                let end = (0..=words.len().min(MAX_WORDS)).rev().find(|end| words.is_char_boundary(*end));
                frame(b'E', &words.as_bytes()[..end.unwrap_or(0)])
            }
        }
    }

    /// Reads the frame with this tag and body, in which ids are of type `hash`.
    ///
    /// # Errors
    /// It is no answer.
    pub fn parse(tag: u8, mut body: Vec<u8>, hash: HashKind) -> Result<Self, Malformed> {
        let id = |hex: &str| {
            let id = Oid::from_hex(hex.as_bytes()).ok().filter(|id| id.kind() == hash);
            id.ok_or(Malformed("an object id that is none"))
        };
        let text = |body: Vec<u8>| String::from_utf8(body).map_err(|_| Malformed("text that is not UTF-8"));
        match tag {
            b'F' => {
                let body = text(body)?;
                let (tip, beside) = body.split_once(' ').ok_or(Malformed("half of what was fetched"))?;
                let beside = if beside == "-" { None } else { Some(id(beside)?) };
                Ok(Self::Fetched(Fetched { tip: id(tip)?, beside }))
            }
            b'O' => {
                let at = body.iter().take(8).position(|byte| *byte == b' ').ok_or(Malformed("an object of no type"))?;
                let kind = ObjectType::from_bytes(&body[..at]).map_err(|_| Malformed("an object of no known type"))?;
                body.drain(..=at);
                Ok(Self::Object(RawObject { kind, data: body }))
            }
            b'N' => text(body)?.parse().map(Self::Number).map_err(|_| Malformed("a number that is none")),
            b'P' if body.is_empty() => Ok(Self::Probed),
            b'M' if body.is_empty() => Ok(Self::Missing),
            b'L' => text(body)?.parse().map(Self::TooLarge).map_err(|_| Malformed("a limit that is no number")),
            b'T' => {
                let body = text(body)?;
                let numbers: Result<Vec<u64>, _> = body.split(' ').map(str::parse).collect();
                let Ok([waiting, audit, lost]) = numbers.as_deref() else {
                    return Err(Malformed("numbers that are none"));
                };
                Ok(Self::Taken(Backlog { waiting: *waiting, audit: *audit, lost: *lost }))
            }
            // It ends up in logs and on terminals.
            b'E' => Ok(Self::Failed(text(body)?.replace(char::is_control, " "))),
            _ => Err(Malformed("an unknown answer")),
        }
    }
}

fn head_of(tag: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + length);
    bytes.push(tag);
    // Nothing that is sent comes near to 4 GiB; what did would be refused by its reader.
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = head_of(tag, body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// Reads a frame with a body of at most `limit` bytes; `None` where the other side has closed the connection.
///
/// # Errors
/// The connection broke, in the middle of a frame too, or the frame is longer.
pub fn read_frame(stream: &mut impl Read, limit: usize) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut tag = [0];
    if stream.read(&mut tag)? == 0 {
        return Ok(None);
    }
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > limit {
        let why = format!("a frame of {length} bytes, where {limit} are allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    // It takes memory for what comes, not for what was announced.
    let mut body = Vec::new();
    stream.by_ref().take(length as u64).read_to_end(&mut body)?;
    if body.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some((tag[0], body))) }
}
