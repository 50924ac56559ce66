// SPDX-License-Identifier: Apache-2.0
//! Elasticsearch and OpenSearch: the bulk API, with `create`, which data streams ask for.
//!
//! The entry's id is the document's, so that an entry which is sent twice is there once.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, Request, Sink, Verdict, by_status, said};
use crate::report::entry::Sent;

#[derive(Debug)]
pub struct Elastic {
    path: String,
}

impl Elastic {
    pub fn new(index: &str) -> Self {
        // Without the filter, answers are as long as requests.
        Self {
            path: format!("/{index}/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason"),
        }
    }
}

#[derive(Deserialize)]
struct Reply {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Done,
}

#[derive(Deserialize)]
struct Done {
    status: u16,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "type", default)]
    what: String,
    #[serde(default)]
    reason: String,
}

impl Sink for Elastic {
    fn name(&self) -> &'static str {
        "elastic"
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn scheme(&self) -> &'static str {
        "ApiKey"
    }

    fn request(&self, entries: &[Sent]) -> Request {
        let mut body = Vec::new();
        for sent in entries {
            let entry = &sent.entry;
            let action = json!({"create": {"_id": sent.id}});
            let document = json!({
                "@timestamp": entry.time,
                "message": entry.message,
                "host": {"name": entry.host},
                "log": {"level": entry.severity},
                "event": {"id": sent.id, "action": entry.kind, "dataset": "hostwrit"},
                "hostwrit": {
                    "fleet": entry.fleet,
                    "commit": entry.commit,
                    "code": entry.code,
                    "object": entry.object,
                    "repeats": sent.repeats,
                    "fields": entry.fields,
                },
            });
            for line in [action, document] {
                body.extend_from_slice(line.to_string().as_bytes());
                body.push(b'\n');
            }
        }
        Request { content_type: "application/x-ndjson", headers: Vec::new(), body }
    }

    fn judge(&self, answer: &Answer) -> Verdict {
        let verdict = by_status(answer);
        if !matches!(verdict, Verdict::Taken { .. }) {
            return verdict;
        }
        let Ok(reply) = serde_json::from_slice::<Reply>(&answer.body) else {
            return Verdict::Later { why: "what answers is not Elasticsearch's bulk API".to_owned(), after: None };
        };
        let mut refused = 0;
        let mut why = None;
        for Item { create: Done { status, error } } in reply.items.into_iter().filter(|_| reply.errors) {
            // 409: it was there already.
            if status < 300 || status == 409 {
                continue;
            }
            let error = error.unwrap_or(Failure { what: String::new(), reason: String::new() });
            let text = format!("it answers {status} for an entry: {}: {}", said(&error.what), said(&error.reason));
            // Sent again whole: those that it has are answered with 409.
            if status == 429 || status >= 500 {
                return Verdict::Later { why: text, after: answer.retry_after };
            }
            refused += 1;
            why.get_or_insert(text);
        }
        Verdict::Taken { refused, why }
    }
}
