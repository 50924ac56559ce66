// SPDX-License-Identifier: Apache-2.0
//! Grafana Loki: one stream for each host and kind, one line of JSON for each entry.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Request, Sink};
use crate::report::entry::Sent;

#[derive(Debug)]
pub struct Loki {
    pub labels: BTreeMap<String, String>,
    pub tenant: Option<String>,
}

impl Sink for Loki {
    fn name(&self) -> &'static str {
        "loki"
    }

    fn path(&self) -> &str {
        "/loki/api/v1/push"
    }

    fn request(&self, entries: &[Sent]) -> Request {
        let mut streams: BTreeMap<BTreeMap<&str, &str>, Vec<[String; 2]>> = BTreeMap::new();
        for sent in entries {
            let entry = &sent.entry;
            let mut labels = BTreeMap::from([
                ("service_name", "hostwrit"),
                ("fleet", entry.fleet.as_str()),
                ("host", entry.host.as_str()),
                ("kind", entry.kind.as_str()),
            ]);
            labels.extend(self.labels.iter().map(|(label, value)| (label.as_str(), value.as_str())));
            let line = serde_json::to_string(sent).unwrap_or_default();
            // Loki takes the time as text.
            streams.entry(labels).or_default().push([sent.nanos().to_string(), line]);
        }
        let streams: Vec<_> =
            streams.iter().map(|(labels, values)| json!({"stream": labels, "values": values})).collect();
        Request {
            content_type: "application/json",
            headers: self.tenant.iter().map(|tenant| ("X-Scope-OrgID", tenant.clone())).collect(),
            body: json!({"streams": streams}).to_string().into_bytes(),
        }
    }
}
