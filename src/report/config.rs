// SPDX-License-Identifier: Apache-2.0
//! `reports:` of the configuration: who is told what, and how they are reached.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use ureq::http::Uri;

use crate::web::{self, NotAnAddress};

use super::entry::Kind;
use super::sink::{Elastic, Loki, Otlp, Sink, Splunk, Webhook};

/// An entry names its sinks in 31 bits, and nobody has so many.
const MAX_SINKS: usize = 16;
const REPEAT_AFTER: &str = "6h";
const TIMEOUT: &str = "10s";

/// One receiver of reports. Exactly one of webhook, loki, splunk, elastic and otlp says what it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportSpec {
    /// Its name in messages and metrics. Default: what it is, such as loki.
    name: Option<String>,
    webhook: Option<WebhookSpec>,
    loki: Option<LokiSpec>,
    splunk: Option<SplunkSpec>,
    elastic: Option<ElasticSpec>,
    otlp: Option<OtlpSpec>,
    /// What proves to the receiver who we are.
    token: Option<TokenSpec>,
    /// A PEM file: only certificates of these authorities are accepted. Default: those of the system.
    ca: Option<PathBuf>,
    /// http://HOST:PORT, or none. Default: what the environment says (https_proxy, no_proxy and the like).
    proxy: Option<String>,
    /// The kinds of entries that it gets. Default: all but audit.
    only: Option<Vec<Kind>>,
    /// A state that lasts is told again after this time. Default: 6h.
    repeat_after: Option<String>,
    /// How long one request may take, all in all. Default: 10s.
    timeout: Option<String>,
}

/// A secret: a systemd credential of hostwrit-courier.service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CredentialSpec {
    /// The credential's name.
    credential: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TokenSpec {
    /// The credential's name.
    credential: String,
    /// Sends this name and the token as its password (basic authentication).
    user: Option<String>,
    /// Sends the token as the value of this header.
    header: Option<String>,
}

/// POSTs a JSON array of entries.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WebhookSpec {
    /// Where to.
    url: Option<String>,
    /// The same, where the URL itself is a secret.
    secret_url: Option<CredentialSpec>,
    /// The key that signs each request.
    secret: Option<CredentialSpec>,
}

/// Grafana Loki's push API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LokiSpec {
    /// Loki's base URL.
    url: String,
    /// Labels beside service_name, fleet, host and kind.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// The tenant (X-Scope-OrgID).
    tenant: Option<String>,
}

/// Splunk's HTTP Event Collector.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SplunkSpec {
    /// The collector's base URL.
    url: String,
    /// Default: the index of the token.
    index: Option<String>,
    /// Default: hostwrit.
    sourcetype: Option<String>,
}

/// The bulk API of Elasticsearch and OpenSearch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ElasticSpec {
    /// The cluster's base URL.
    url: String,
    /// The data stream or index. Default: logs-hostwrit-default.
    index: Option<String>,
}

/// Logs over OTLP/HTTP, as JSON.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OtlpSpec {
    /// The collector's base URL.
    url: String,
}

/// A receiver, checked.
#[derive(Debug, Clone)]
pub struct Outlet {
    pub name: String,
    pub only: BTreeSet<Kind>,
    pub repeat_after: Duration,
    pub(super) timeout: Duration,
    pub(super) url: Place,
    pub(super) sink: std::sync::Arc<dyn Sink>,
    pub(super) token: Option<Token>,
    /// Name of the credential whose value signs each request.
    pub(super) sign_with: Option<String>,
    pub(super) ca: Option<PathBuf>,
    pub(super) proxy: Proxy,
}

/// Where the URL stands.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Here(String),
    Credential(String),
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub credential: String,
    pub way: TokenWay,
}

#[derive(Debug, Clone)]
pub(super) enum TokenWay {
    /// As the receiver's own documentation has it.
    Usual,
    User(String),
    Header(String),
}

#[derive(Debug, Clone)]
pub(super) enum Proxy {
    Environment,
    None,
    Url(String),
}

/// Takes what is wrong, and what would be right.
type Fault<'f> = &'f mut dyn FnMut(String, &str);

impl Outlet {
    /// Checks the list; every fault goes to `fault`, and the result counts only if there was none.
    pub fn all(specs: Vec<ReportSpec>, fault: Fault<'_>) -> Vec<Self> {
        if specs.len() > MAX_SINKS {
            fault(format!("reports: there are {}", specs.len()), &format!("name {MAX_SINKS} at the most"));
        }
        let mut outlets: Vec<Self> = Vec::new();
        for (at, spec) in specs.into_iter().take(MAX_SINKS).enumerate() {
            // Counted from 1, as people do.
            let at = format!("reports, number {}", at + 1);
            let Some(outlet) = spec.check(&at, fault) else { continue };
            if outlets.iter().any(|other| other.name == outlet.name) {
                fault(
                    format!("{at}: there is another one called {}", outlet.name),
                    "give it a name of its own: name: NAME",
                );
            }
            outlets.push(outlet);
        }
        outlets
    }
}

impl ReportSpec {
    fn check(self, at: &str, fault: Fault<'_>) -> Option<Outlet> {
        let mut found: Vec<(Place, std::sync::Arc<dyn Sink>)> = Vec::new();
        let mut sign_with = None;
        if let Some(webhook) = self.webhook {
            sign_with = webhook.secret.map(|secret| secret.credential);
            let place = match (webhook.url, webhook.secret_url) {
                (Some(url), None) => Place::Here(url),
                (None, Some(secret)) => Place::Credential(secret.credential),
                _ => {
                    fault(format!("{at}: a webhook has one URL"), "write either url: or secret_url:");
                    return None;
                }
            };
            found.push((place, std::sync::Arc::new(Webhook)));
        }
        if let Some(loki) = self.loki {
            for label in loki.labels.keys().filter(|label| !is_label(label)) {
                fault(
                    format!("{at}: \"{label}\" cannot be a label"),
                    "labels have letters, digits and _, and do not begin with a digit",
                );
            }
            let sink = Loki { labels: loki.labels, tenant: loki.tenant };
            found.push((Place::Here(loki.url), std::sync::Arc::new(sink)));
        }
        if let Some(splunk) = self.splunk {
            let sourcetype = splunk.sourcetype.unwrap_or_else(|| "hostwrit".to_owned());
            let sink = Splunk { index: splunk.index, sourcetype };
            found.push((Place::Here(splunk.url), std::sync::Arc::new(sink)));
        }
        if let Some(elastic) = self.elastic {
            let index = elastic.index.unwrap_or_else(|| "logs-hostwrit-default".to_owned());
            if !is_index(&index) {
                fault(
                    format!("{at}: \"{index}\" cannot be an index"),
                    "indexes have lower-case letters, digits, - _ and ., and begin with a letter or digit",
                );
            }
            found.push((Place::Here(elastic.url), std::sync::Arc::new(Elastic::new(&index))));
        }
        if let Some(otlp) = self.otlp {
            found.push((Place::Here(otlp.url), std::sync::Arc::new(Otlp)));
        }
        let count = found.len();
        let Some((url, sink)) = found.pop().filter(|_| count == 1) else {
            let hint = "write one of webhook:, loki:, splunk:, elastic: and otlp:; a second receiver is a second item";
            fault(format!("{at}: it names {count} receivers"), hint);
            return None;
        };
        let name = self.name.unwrap_or_else(|| sink.name().to_owned());
        if !is_name(&name) {
            fault(
                format!("{at}: \"{name}\" cannot be a name"),
                "names have lower-case letters, digits and -, 40 at the most",
            );
        }
        if let Place::Here(url) = &url {
            let secrets = self.token.is_some() || sign_with.is_some();
            if let Err((wrong, hint)) = check_url(url, secrets) {
                fault(format!("{at}: url {wrong}"), hint);
            } else if sink.name() != "webhook" && url.contains('?') {
                fault(format!("{at}: url has a question mark"), "write the base URL; what follows it is known");
            }
        }
        let token = self.token.and_then(|token| check_token(token, at, fault));
        let secret_url = if let Place::Credential(name) = &url { Some(name) } else { None };
        for credential in token.iter().map(|token| &token.credential).chain(&sign_with).chain(secret_url) {
            if !is_credential(credential) {
                fault(
                    format!("{at}: \"{credential}\" cannot be the name of a credential"),
                    "write the name that LoadCredential= gives it, without a path",
                );
            }
        }
        if let Some(path) = self.ca.as_deref().filter(|path| !path.is_absolute()) {
            fault(
                format!("{at}: ca: \"{}\" is not an absolute path", path.display()),
                "write it in full, such as /etc/ssl/certs/ca.pem",
            );
        }
        let proxy = match self.proxy.as_deref() {
            None => Proxy::Environment,
            Some("none") => Proxy::None,
            Some(url) => {
                if let Err((wrong, _)) = check_url(url, false) {
                    fault(format!("{at}: proxy {wrong}"), "write http://HOST:PORT, or none");
                }
                Proxy::Url(url.to_owned())
            }
        };
        let only = self
            .only
            .map_or_else(|| Kind::ALL.into_iter().filter(|kind| *kind != Kind::Audit).collect(), BTreeSet::from_iter);
        if only.is_empty() {
            fault(format!("{at}: only is empty"), "name at least one kind, or leave it out");
        }
        let mut duration = |key: &str, text: Option<String>, default: &str, longest: Duration| {
            let text = text.unwrap_or_else(|| default.to_owned());
            match humantime::parse_duration(&text) {
                Ok(duration) if duration <= longest => duration,
                Ok(_) => {
                    let hint = format!("write {} at the most", humantime::format_duration(longest));
                    fault(format!("{at}: {key}: {text} is too long"), &hint);
                    longest
                }
                Err(error) => {
                    let wrong = format!("{at}: {key}: \"{text}\" is not a duration: {error}");
                    fault(wrong, "write a number and a unit: 10s, 6h");
                    longest
                }
            }
        };
        let day = Duration::from_secs(24 * 60 * 60);
        let repeat_after = duration("repeat_after", self.repeat_after, REPEAT_AFTER, 30 * day);
        let timeout = duration("timeout", self.timeout, TIMEOUT, Duration::from_secs(120));
        if timeout < Duration::from_millis(100) {
            fault(format!("{at}: timeout is too short"), "write 100ms at the least");
        }
        Some(Outlet { name, only, repeat_after, timeout, url, sink, token, sign_with, ca: self.ca, proxy })
    }
}

fn check_token(token: TokenSpec, at: &str, fault: Fault<'_>) -> Option<Token> {
    let way = match (token.user, token.header) {
        (None, None) => TokenWay::Usual,
        (Some(user), None) if !user.is_empty() && !user.contains(':') && !user.contains(char::is_control) => {
            TokenWay::User(user)
        }
        (Some(user), None) => {
            let hint = "it is not empty and has no colon and no control characters";
            fault(format!("{at}: token: \"{}\" cannot be a user", user.escape_debug()), hint);
            return None;
        }
        (None, Some(header)) => {
            if ureq::http::HeaderName::from_bytes(header.as_bytes()).is_err() {
                let hint = "write it as the receiver's documentation has it, such as api-key";
                fault(format!("{at}: token: \"{}\" cannot be a header", header.escape_debug()), hint);
            }
            TokenWay::Header(header)
        }
        (Some(_), Some(_)) => {
            fault(format!("{at}: token has both user and header"), "write one of them");
            return None;
        }
    };
    Some(Token { credential: token.credential, way })
}

/// Says what is wrong with a URL, without repeating it: it may be secret.
pub(super) fn check_url(url: &str, secrets: bool) -> Result<Uri, (String, &'static str)> {
    let uri = web::address(url).map_err(|why| match why {
        NotAnAddress::Url | NotAnAddress::Server => (why.to_string(), "write https://HOST/"),
        NotAnAddress::Password => (why.to_string(), "use token: {credential: NAME, user: USER}"),
    })?;
    if secrets && !web::is_private(&uri) {
        return Err(("would send a secret in the clear".to_owned(), "write https://"));
    }
    Ok(uri)
}

fn is_label(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_index(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.len() <= 255
        && text.bytes().all(inside)
}

fn is_name(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 40 && text.bytes().all(inside)
}

fn is_credential(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.starts_with('.') && !text.is_empty() && text.len() <= 255 && text.bytes().all(inside)
}
