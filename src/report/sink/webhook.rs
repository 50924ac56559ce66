// SPDX-License-Identifier: Apache-2.0
//! Any program that takes JSON by POST.

use super::{Request, Sink};
use crate::report::entry::Sent;

/// POSTs a JSON array of entries, as `schemas/report.json` describes it.
#[derive(Debug)]
pub struct Webhook;

impl Sink for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn path(&self) -> &str {
        ""
    }

    fn request(&self, entries: &[Sent]) -> Request {
        let body = serde_json::to_vec(entries).unwrap_or_default();
        Request { content_type: "application/json", headers: Vec::new(), body }
    }
}
