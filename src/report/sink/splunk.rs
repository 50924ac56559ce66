// SPDX-License-Identifier: Apache-2.0
//! Splunk's HTTP Event Collector: events as JSON objects, one after the other.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, Request, Sink, Verdict, by_status, said};
use crate::report::entry::Sent;

#[derive(Debug)]
pub struct Splunk {
    pub index: Option<String>,
    pub sourcetype: String,
}

/// `code` 0 is success; the others come with a status that says enough.
#[derive(Deserialize)]
struct Reply {
    code: i64,
    #[serde(default)]
    text: String,
}

impl Sink for Splunk {
    fn name(&self) -> &'static str {
        "splunk"
    }

    fn path(&self) -> &str {
        "/services/collector/event"
    }

    fn scheme(&self) -> &'static str {
        "Splunk"
    }

    fn request(&self, entries: &[Sent]) -> Request {
        let mut body = Vec::new();
        for sent in entries {
            let nanos = sent.nanos();
            let mut event = json!({
                // Seconds; as text, so that no digit is lost.
                "time": format!("{}.{:06}", nanos / 1_000_000_000, nanos / 1_000 % 1_000_000),
                "host": sent.entry.host,
                "source": "hostwrit",
                "sourcetype": self.sourcetype,
                "event": sent,
            });
            if let Some(index) = &self.index {
                event["index"] = index.as_str().into();
            }
            body.extend_from_slice(event.to_string().as_bytes());
            body.push(b'\n');
        }
        Request { content_type: "application/json", headers: Vec::new(), body }
    }

    fn judge(&self, answer: &Answer) -> Verdict {
        let verdict = by_status(answer);
        if !matches!(verdict, Verdict::Taken { .. }) {
            return verdict;
        }
        // So say receivers that are not Splunk but speak its language.
        if matches!(answer.body.trim_ascii(), b"OK" | b"\"OK\"") {
            return verdict;
        }
        // A page of a proxy is no receipt.
        match serde_json::from_slice::<Reply>(&answer.body) {
            Ok(Reply { code: 0, .. }) => verdict,
            Ok(Reply { code, text }) => {
                Verdict::Later { why: format!("it answers code {code}: {}", said(&text)), after: None }
            }
            Err(_) => Verdict::Later { why: "what answers is not Splunk's collector".to_owned(), after: None },
        }
    }
}
