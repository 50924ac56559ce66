// SPDX-License-Identifier: Apache-2.0
//! OpenTelemetry: logs over OTLP/HTTP, in its JSON form.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Request, Sink, Verdict, by_status, said};
use crate::report::entry::{Sent, Severity};

#[derive(Debug)]
pub struct Otlp;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    #[serde(default)]
    partial_success: Option<Partial>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Partial {
    /// 64 bits are text in this JSON, and numbers are allowed.
    #[serde(default)]
    rejected_log_records: Value,
    #[serde(default)]
    error_message: String,
}

impl Sink for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn path(&self) -> &str {
        "/v1/logs"
    }

    fn request(&self, entries: &[Sent]) -> Request {
        // One host in practice; entries of several are told apart all the same.
        let mut resources: BTreeMap<(&str, &str), Vec<Value>> = BTreeMap::new();
        for sent in entries {
            resources.entry((&sent.entry.fleet, &sent.entry.host)).or_default().push(record(sent));
        }
        let resource = |((fleet, host), records): ((&str, &str), Vec<Value>)| {
            json!({
                "resource": {"attributes": [
                    text("service.name", "hostwrit"),
                    text("service.namespace", fleet),
                    text("service.version", env!("CARGO_PKG_VERSION")),
                    text("host.name", host),
                ]},
                "scopeLogs": [{
                    "scope": {"name": "hostwrit", "version": env!("CARGO_PKG_VERSION")},
                    "logRecords": records,
                }],
            })
        };
        let resources: Vec<Value> = resources.into_iter().map(resource).collect();
        Request {
            content_type: "application/json",
            headers: Vec::new(),
            body: json!({"resourceLogs": resources}).to_string().into_bytes(),
        }
    }

    fn judge(&self, answer: &Answer) -> Verdict {
        match answer.status {
            200 => {}
            // The specification has 429, 502, 503 and 504 sent again, and no other 5xx.
            500 | 501 | 505.. => return Verdict::Refused(answer.to_string()),
            _ => return by_status(answer),
        }
        let reply = serde_json::from_slice::<Reply>(&answer.body).ok();
        let Some(partial) = reply.and_then(|reply| reply.partial_success) else {
            return Verdict::Taken { refused: 0, why: None };
        };
        let rejected = &partial.rejected_log_records;
        let refused = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0);
        // Never sent again: nobody says which ones they were.
        let why = (refused > 0).then(|| format!("it rejects {refused} entries: {}", said(&partial.error_message)));
        Verdict::Taken { refused, why }
    }
}

fn record(sent: &Sent) -> Value {
    let entry = &sent.entry;
    // The numbers of OpenTelemetry's log data model.
    let number = match entry.severity {
        Severity::Info => 9,
        Severity::Warning => 13,
        Severity::Error => 17,
    };
    let mut attributes = vec![text("log.record.uid", &sent.id), text("hostwrit.kind", entry.kind.as_str())];
    let object = entry.object.as_ref().map(ToString::to_string);
    let named = [("commit", &entry.commit), ("code", &entry.code), ("object", &object)];
    let named = named.into_iter().filter_map(|(key, value)| Some(text(&format!("hostwrit.{key}"), value.as_ref()?)));
    attributes.extend(named);
    if sent.repeats > 0 {
        attributes.push(json!({"key": "hostwrit.repeats", "value": {"intValue": sent.repeats.to_string()}}));
    }
    let fields = entry.fields.iter();
    attributes.extend(fields.map(|(key, value)| json!({"key": format!("hostwrit.{key}"), "value": any(value)})));
    let nanos = sent.nanos().to_string();
    json!({
        "timeUnixNano": nanos,
        "observedTimeUnixNano": nanos,
        "severityNumber": number,
        "severityText": entry.severity.as_str().to_uppercase(),
        "eventName": format!("hostwrit.{}", entry.kind.as_str()),
        "body": {"stringValue": entry.message},
        "attributes": attributes,
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Returns a JSON value as an `AnyValue`.
fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(value) => json!({"boolValue": value}),
        Value::Number(number) => match number.as_i64() {
            Some(number) => json!({"intValue": number.to_string()}),
            None => json!({"doubleValue": number}),
        },
        Value::String(value) => json!({"stringValue": value}),
        Value::Array(items) => json!({"arrayValue": {"values": items.iter().map(any).collect::<Vec<_>>()}}),
        Value::Object(fields) => {
            let pair = |(key, value): (&String, &Value)| json!({"key": key, "value": any(value)});
            json!({"kvlistValue": {"values": fields.iter().map(pair).collect::<Vec<_>>()}})
        }
    }
}
