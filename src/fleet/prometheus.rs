// SPDX-License-Identifier: Apache-2.0
//! Asks a Prometheus, or what speaks its language, for instant vectors.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use ureq::tls::RootCerts;
use ureq::{Agent, Proxy};

use crate::model::Secret;
use crate::web::{self, NotAnAddress};

/// How long one question may take.
const LONGEST_TIME: Duration = Duration::from_secs(30);
/// The longest answer that is read: some 100,000 hosts.
const LONGEST_ANSWER: u64 = 256 << 20;
/// As much of a foreign error as is shown.
const LONGEST_WORD: usize = 300;

/// A Prometheus that can be asked.
#[derive(Debug)]
pub struct Prometheus {
    base: String,
    /// What it is shown so that it answers.
    token: Option<Secret>,
    agent: Agent,
}

/// Why the address of a Prometheus cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    // The text is not repeated where it may hold a password.
    #[error(
        "this is not the address of a Prometheus; write http://HOST:9090 or https://HOST, with a path if it has one"
    )]
    NotAnAddress,
    #[error("the address has a name or a password in it; give a token in a file instead")]
    Password,
    #[error("a token is only sent over https or within this machine, and {0} is neither")]
    OpenToken(String),
    #[error("the token is empty or has characters that a header cannot have")]
    BadToken,
}

/// Why a Prometheus gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("cannot ask {base}")]
    Ask {
        base: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("{base} answered {status}{said}")]
    Status { base: String, status: u16, said: String },
    #[error("{base} did not answer as Prometheus does")]
    Malformed {
        base: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{base} answered with a {found} where a vector was asked for")]
    NotAVector { base: String, found: String },
}

/// One series and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    /// The time for which it was asked, in seconds since 1970 by the clock of Prometheus.
    pub asked: f64,
    pub value: f64,
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    #[serde(default)]
    value: Option<(f64, String)>,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

impl Prometheus {
    /// Takes the address of a Prometheus: its scheme, host, port, and the path before `/api/v1`.
    ///
    /// # Errors
    /// It is no such address, or the token must not be sent there.
    pub fn at(address: &str, token: Option<&str>) -> Result<Self, AddressError> {
        let uri = web::address(address).map_err(|why| match why {
            NotAnAddress::Password => AddressError::Password,
            NotAnAddress::Url | NotAnAddress::Server => AddressError::NotAnAddress,
        })?;
        if uri.query().is_some() {
            return Err(AddressError::NotAnAddress);
        }
        let base = address.trim_end_matches('/').to_owned();
        let token = token.map(str::trim);
        if token.is_some_and(|token| token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(AddressError::BadToken);
        }
        if token.is_some() && !web::is_private(&uri) {
            return Err(AddressError::OpenToken(base));
        }
        // What stays within this machine must not go by way of another.
        let proxy = if web::is_this_machine(&uri) { None } else { Proxy::try_from_env() };
        let agent = web::agent(LONGEST_TIME, RootCerts::PlatformVerifier).proxy(proxy).build().new_agent();
        Ok(Self { base, token: token.map(Secret::new), agent })
    }

    /// Returns the series that an expression comes to now.
    ///
    /// # Errors
    /// There is no answer, or one that is an error or no vector.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>, QueryError> {
        let base = || self.base.clone();
        let ask = |source: ureq::Error| QueryError::Ask { base: base(), source: Box::new(source) };
        let mut request = self.agent.get(format!("{}/api/v1/query", self.base)).query("query", expression);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.expose()));
        }
        let mut response = request.call().map_err(ask)?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec().map_err(ask)?;
        if !status.is_success() {
            let said = serde_json::from_slice::<Failure>(&body).map(|failure| failure.error).unwrap_or_default();
            let said: String = said.chars().filter(|c| !c.is_control()).take(LONGEST_WORD).collect();
            let colon = if said.is_empty() { "" } else { ": " };
            return Err(QueryError::Status { base: base(), status: status.as_u16(), said: format!("{colon}{said}") });
        }
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|source| QueryError::Malformed { base: base(), source })?;
        if answer.data.kind != "vector" {
            let found = answer.data.kind.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
            return Err(QueryError::NotAVector { base: base(), found });
        }
        let samples = answer.data.result.into_iter().filter_map(|series| {
            let (asked, value) = series.value?;
            Some(Sample { labels: series.metric, asked, value: value.parse().ok()? })
        });
        Ok(samples.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_only_where_nobody_can_read_it_on_the_way() {
        for address in ["https://p.example.org", "http://127.0.0.1:9090", "http://[::1]:9090", "http://localhost:1/p/"]
        {
            assert!(Prometheus::at(address, Some("secret")).is_ok(), "{address}");
        }
        for address in ["http://p.example.org", "http://10.0.0.1:9090", "http://localhost.example.org"] {
            let error = Prometheus::at(address, Some("secret")).unwrap_err();
            assert_eq!(error, AddressError::OpenToken(address.to_owned()));
            assert!(Prometheus::at(address, None).is_ok(), "{address}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for address in
            ["", "p.example.org", "p.example.org:9090", "ftp://p", "file:///etc/passwd", "http://p?a=b", "http://"]
        {
            assert_eq!(Prometheus::at(address, None).unwrap_err(), AddressError::NotAnAddress, "{address}");
        }
        let error = Prometheus::at("https://bob:hunter2@p.example.org", None).unwrap_err();
        assert_eq!(error, AddressError::Password);
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn a_token_is_never_shown() {
        let prometheus = Prometheus::at("https://p.example.org", Some(" hunter2\n")).unwrap();
        assert!(!format!("{prometheus:?}").contains("hunter2"));
        for token in ["", " \n", "a b", "a\r\nX: y", "ä"] {
            assert_eq!(Prometheus::at("https://p", Some(token)).unwrap_err(), AddressError::BadToken, "{token:?}");
        }
    }
}
