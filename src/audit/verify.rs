// SPDX-License-Identifier: Apache-2.0
//! Proves a log intact. Shares no code with the writer: it reads the text as plain JSON and does its own hashing.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// What a proof found.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Verified {
    /// Number of entries.
    pub entries: u64,
    /// Digest of the last entry: write it down elsewhere, and a later cut or rewrite can be proven.
    pub head: String,
    /// Intents without an outcome: the process was killed there, or is still at work.
    pub open_intents: Vec<u64>,
    /// Writes that a crash cut off, each recorded by the entry after it.
    pub recovered: u64,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a log.
#[derive(Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Problem {
    /// Counts from 1.
    pub line: u64,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// The digest before the first entry.
const NOTHING: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Checks the text of a log from its first line to its last, and that it holds the entry that the host remembers.
pub fn verify_on_host(text: &[u8], seq: u64, remembered: &str) -> Verified {
    let mut verified = verify(text);
    let found = (1..).zip(text.split(|&byte| byte == b'\n')).find(|(_, line)| {
        serde_json::from_slice::<Value>(line).is_ok_and(|entry| entry.get("seq").and_then(Value::as_u64) == Some(seq))
    });
    match found {
        Some((_, line)) if digest(line) == remembered => {}
        Some((line, _)) => {
            let what = format!("this host wrote another entry {seq}: the log was rewritten");
            verified.problems.push(Problem { line, what });
        }
        None => {
            let what = format!("the log ends at entry {}, but this host wrote entry {seq}", verified.entries);
            let line = u64::try_from(text.split(|&byte| byte == b'\n').count()).unwrap_or(u64::MAX);
            verified.problems.push(Problem { line, what });
        }
    }
    verified
}

/// Checks the text of a log from its first line to its last.
pub fn verify(text: &[u8]) -> Verified {
    let mut verified = Verified { head: NOTHING.to_owned(), ..Verified::default() };
    let mut intents: BTreeMap<u64, u64> = BTreeMap::new();
    // Lines that are no entries: the number of the first, where it begins, and where the last one ends.
    let mut torn: Option<(u64, usize, usize)> = None;
    let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    let unended = lines.pop().filter(|rest| !rest.is_empty());

    let mut next = 0;
    for (number, line) in (1..).zip(lines) {
        let (start, end) = (next, next + line.len());
        next = end + 1;
        let mut problem = |what: String| verified.problems.push(Problem { line: number, what });
        let entry = serde_json::from_slice::<Value>(line).ok();
        let Some((entry, seq)) = entry.as_ref().and_then(|entry| Some((entry, entry.get("seq")?.as_u64()?))) else {
            let (first, from, _) = torn.unwrap_or((number, start, end));
            torn = Some((first, from, end));
            continue;
        };
        let text_of = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        if text_of("prev") != verified.head {
            problem(format!(
                "the entry before it was changed, removed or put here: this one was written after {}, and what stands \
                 there now is {}",
                text_of("prev"),
                verified.head
            ));
        }
        if seq != verified.entries + 1 {
            problem(format!("entry {seq} stands where entry {} should", verified.entries + 1));
        }
        if let Some((line, from, to)) = torn.take() {
            let rest = &text[from..to];
            let recorded = text_of("event") == "recovered"
                && text_of("digest") == digest(rest)
                && entry.get("bytes").and_then(Value::as_u64) == Some(rest.len() as u64);
            if recorded {
                verified.recovered += 1;
            } else {
                problem(format!("line {line} before it is not an entry, and this entry does not account for it"));
            }
        } else if text_of("event") == "recovered" {
            problem("it accounts for the rest of a write that is no longer there".to_owned());
        }
        match text_of("event") {
            "intent" => drop(intents.insert(seq, number)),
            "outcome" => {
                let intent = entry.get("intent").and_then(Value::as_u64);
                if intent.and_then(|intent| intents.remove(&intent)).is_none() {
                    problem("an outcome without an open intent".to_owned());
                }
            }
            "cut" => problem(format!(
                "hostwrit did not find entry {} as it had left it: entries up to that one were removed or rewritten",
                entry.get("remembered").and_then(Value::as_u64).unwrap_or_default()
            )),
            "" => problem("an entry without an event".to_owned()),
            _ => {}
        }
        verified.entries = seq;
        verified.head = digest(line);
    }
    let last = u64::try_from(text.split(|&byte| byte == b'\n').count()).unwrap_or(u64::MAX);
    if let Some((line, ..)) = torn {
        let what = "not an entry, and no entry after it accounts for it".to_owned();
        verified.problems.push(Problem { line, what });
    }
    if unended.is_some() {
        let what = "the last line is not ended: a write was cut off; the next apply will record it".to_owned();
        verified.problems.push(Problem { line: last, what });
    }
    verified.open_intents = intents.into_keys().collect();
    verified
}

fn digest(line: &[u8]) -> String {
    let hex: String = openssl::sha::sha256(line).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
