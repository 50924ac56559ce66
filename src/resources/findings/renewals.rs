// SPDX-License-Identifier: Apache-2.0
//! Files that must be renewed: by when, and which of them soon.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::{Dated, ReadHost};
use crate::model::{Declared, ObjectId, chain};
use crate::resources::Resource as _;
use crate::resources::file::{self, Expiry, File, Renew};

use super::{Code, Finding, Found, expiry};

/// The largest file in which an expiry is looked for.
const READ_MAX: usize = 64 * 1024;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// When a file must have been renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Due {
    /// By when: RFC 3339, UTC.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String")]
    pub by: SystemTime,
    /// From when on it is told of: RFC 3339, UTC.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String")]
    pub warn: SystemTime,
}

mod rfc3339 {
    use std::time::SystemTime;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::shown(*time))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        humantime::parse_rfc3339(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Looks at the files of which the repo says when they must be renewed.
pub fn find(files: &[Declared<file::Desired>], host: &dyn ReadHost, found: &mut Found) {
    for declared in files {
        let Some((want, renew)) = declared.want.as_ref().and_then(|want| Some((want, want.renew.as_ref()?))) else {
            continue;
        };
        let object = ObjectId::new(File::KIND, &declared.name);
        let judged = look(Path::new(&declared.name), want, renew, host);
        found.due.extend(judged.due.map(|due| (object.clone(), due)));
        found.turns = found.turns.into_iter().chain(judged.turn).min();
        let finding =
            |(code, message)| Finding { code, object: Some(object.clone()), place: None, process: None, message };
        found.findings.extend(judged.said.into_iter().map(finding));
    }
}

/// What there is to say of a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Judged {
    /// `None` where it cannot be told.
    due: Option<Due>,
    said: Vec<(Code, String)>,
    /// When there is something else to say.
    turn: Option<SystemTime>,
}

fn look(path: &Path, want: &file::Desired, renew: &Renew, host: &dyn ReadHost) -> Judged {
    let unknown = |why: String| Judged { said: vec![(Code::RenewUnknown, why)], ..Judged::default() };
    // Where the age alone counts nobody need know what is in it.
    let most = if renew.expiry.is_some() { READ_MAX } else { 0 };
    match host.dated(path, most) {
        Ok(Some(dated)) => judge(renew, &dated, &|time| host.has_come(time), &|| host.now()),
        Ok(None) if want.is_brought() => {
            let why = "there is no such file, and the repo has no content for it; have whoever makes it put it there";
            unknown(why.to_owned())
        }
        // A step makes it.
        Ok(None) => Judged::default(),
        Err(error) => unknown(format!("{}; put a regular file there, or take renew out of the repo", chain(&error))),
    }
}

/// Why a file must be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Age { changed: SystemTime },
    Expiry(Expiry),
}

/// Judges what was read of a file. Pure but for the clock: whether a time has come, and the time or the begin of its day.
fn judge(renew: &Renew, dated: &Dated, has_come: &dyn Fn(SystemTime) -> bool, now: &dyn Fn() -> SystemTime) -> Judged {
    let mut judged = Judged::default();
    let mut ends: Vec<(SystemTime, Cause)> = Vec::new();
    match renew.every.map(|every| age(every, dated.changed, has_come)) {
        Some(Ok(end)) => ends.push((end, Cause::Age { changed: dated.changed })),
        Some(Err(why)) => judged.said.push((Code::RenewUnknown, why)),
        None => {}
    }
    match renew.expiry.map(|expiry| (expiry, content_end(expiry, dated))) {
        Some((expiry, Ok(end))) => ends.push((end, Cause::Expiry(expiry))),
        Some((_, Err(why))) => judged.said.push((Code::RenewUnknown, why)),
        None => {}
    }
    let Some((by, cause)) = ends.into_iter().min_by_key(|(end, _)| *end) else { return judged };
    let warn = by.checked_sub(renew.warn).map_or(UNIX_EPOCH, |warn| warn.max(UNIX_EPOCH));
    judged.due = Some(Due { by, warn });
    if has_come(by) {
        judged.said.push((Code::RenewOverdue, message(cause, by, now(), true)));
    } else if has_come(warn) {
        judged.said.push((Code::RenewSoon, message(cause, by, now(), false)));
        judged.turn = Some(by);
    } else {
        judged.turn = Some(warn);
    }
    judged
}

/// Returns when the file is too old.
fn age(every: Duration, changed: SystemTime, has_come: &dyn Fn(SystemTime) -> bool) -> Result<SystemTime, String> {
    // A clock may be a little wrong. A file of next year would not be due for longer than it may.
    if changed.checked_sub(DAY).is_some_and(|before| !has_come(before)) {
        let changed = shown(changed);
        return Err(format!(
            "by its own word it was last changed at {changed}, which is yet to come; put that right with touch"
        ));
    }
    Ok(changed.checked_add(every).unwrap_or(changed))
}

/// Returns when what is in the file ends.
fn content_end(kind: Expiry, dated: &Dated) -> Result<SystemTime, String> {
    if dated.size > READ_MAX as u64 {
        return Err(format!("it has {} bytes, and in no more than {READ_MAX} an expiry is looked for", dated.size));
    }
    let remedy = match kind {
        Expiry::Certificate => "put a sound one there, or take expiry: certificate out of the repo",
        Expiry::Jwt => "put one with exp there, or take expiry: jwt out of the repo",
    };
    expiry::of(kind, &dated.begin).map_err(|why| format!("{why}; {remedy}"))
}

/// Says what is due, and what would make it right. Nothing of the content is in it.
fn message(cause: Cause, by: SystemTime, now: SystemTime, is_over: bool) -> String {
    let days = days_of(by) - days_of(now);
    let when = match days {
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        -1 => "yesterday".to_owned(),
        days if days > 0 => format!("in {days} days"),
        days => format!("{} days ago", -days),
    };
    let by = shown(by);
    match (cause, is_over) {
        (Cause::Age { changed }, false) => {
            format!("it is of {} and must be replaced by {by}, {when}; put a new one in its place", shown(changed))
        }
        (Cause::Age { changed }, true) => {
            format!("it is of {} and had to be replaced by {by}, {when}; put a new one in its place", shown(changed))
        }
        (Cause::Expiry(Expiry::Certificate), false) => {
            format!("a certificate in it ends at {by}, {when}; put a renewed one in its place")
        }
        (Cause::Expiry(Expiry::Certificate), true) => {
            format!("a certificate in it ended at {by}, {when}; put a renewed one in its place")
        }
        (Cause::Expiry(Expiry::Jwt), false) => {
            format!("the token in it expires at {by}, {when}; put a new one in its place")
        }
        (Cause::Expiry(Expiry::Jwt), true) => {
            format!("the token in it expired at {by}, {when}; put a new one in its place")
        }
    }
}

fn seconds_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn days_of(time: SystemTime) -> i64 {
    i64::try_from(seconds_of(time) / DAY.as_secs()).unwrap_or(i64::MAX)
}

/// Returns the time as RFC 3339 has it, which knows neither what was before 1970 nor what comes after the year 9999.
fn shown(time: SystemTime) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds_of(time).min(expiry::LATEST));
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests;
