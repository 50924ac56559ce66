// SPDX-License-Identifier: Apache-2.0
//! Asks a Prometheus for one number: whether a gate of a rollout is open.

use std::time::Duration;

use serde::Deserialize;

use crate::source::Query;

use super::hint::agent;

/// How long it may take.
const TIME: Duration = Duration::from_secs(10);
/// An answer of one number is far shorter.
const MAX_BYTES: u64 = 64 * 1024;

/// Why there is no number. The address is not in it: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("Prometheus cannot be asked")]
    Http(#[source] Box<ureq::Error>),
    #[error("Prometheus answers with something else than its API does")]
    Malformed(#[source] serde_json::Error),
    #[error("the query has {0} numbers for an answer, and must have one: sum(...), max(...) or count(...) makes it so")]
    Count(usize),
    #[error("the query has text or ranges for an answer, and must have one number")]
    NoNumber,
}

/// What `/api/v1/query` answers.
#[derive(Deserialize)]
struct Reply {
    data: Data,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Sample>),
    Scalar(Value),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Sample {
    value: Value,
}

/// A time and a number, which is text since JSON has neither NaN nor infinity.
#[derive(Deserialize)]
struct Value(#[expect(dead_code, reason = "the time says nothing new")] f64, String);

/// Asks for the number that the query has for an answer now.
pub(super) fn ask(query: &Query) -> Result<f64, AskError> {
    let url = format!("{}/api/v1/query", query.url.trim_end_matches('/'));
    let http = |error| AskError::Http(Box::new(error));
    let response = agent(TIME).get(&url).query("query", &query.query).call().map_err(http)?;
    let text = response.into_body().with_config().limit(MAX_BYTES).read_to_vec().map_err(http)?;
    number(&text)
}

fn number(text: &[u8]) -> Result<f64, AskError> {
    let reply: Reply = serde_json::from_slice(text).map_err(AskError::Malformed)?;
    let Value(_, number) = match reply.data {
        Data::Scalar(value) => value,
        Data::Vector(samples) => {
            let count = samples.len();
            match samples.into_iter().next().filter(|_| count == 1) {
                Some(sample) => sample.value,
                // Of none as of many nobody can tell which was meant.
                None => return Err(AskError::Count(count)),
            }
        }
        Data::Other => return Err(AskError::NoNumber),
    };
    number.parse().map_err(|_| AskError::NoNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(data: &str) -> Result<f64, String> {
        number(format!("{{\"status\":\"success\",\"data\":{data}}}").as_bytes()).map_err(|error| error.to_string())
    }

    fn vector(samples: &str) -> Result<f64, String> {
        told(&format!("{{\"resultType\":\"vector\",\"result\":[{samples}]}}"))
    }

    #[test]
    fn one_number_is_an_answer() {
        let sample = "{\"metric\":{\"job\":\"x\"},\"value\":[1435781451.781,\"2.5\"]}";
        assert_eq!(vector(sample).unwrap(), 2.5);
        assert_eq!(told("{\"resultType\":\"scalar\",\"result\":[1435781451,\"-1\"]}").unwrap(), -1.0);
        assert!(vector(&sample.replace("2.5", "NaN")).unwrap().is_nan());
        assert_eq!(vector(&sample.replace("2.5", "+Inf")).unwrap(), f64::INFINITY);
        assert!(vector(&format!("{sample},{sample}")).unwrap_err().contains("2 numbers"));
    }

    #[test]
    fn nothing_else_is() {
        assert!(vector("").unwrap_err().contains("0 numbers"));
        assert!(vector("{\"value\":[1,\"x\"]}").unwrap_err().contains("one number"));
        for data in ["{\"resultType\":\"matrix\",\"result\":[]}", "{\"resultType\":\"string\",\"result\":[1,\"2\"]}"] {
            told(data).unwrap_err();
        }
        for text in [
            "",
            "{}",
            "[]",
            "<html>",
            "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"x\"}",
            "{\"data\":1}",
        ] {
            assert!(matches!(number(text.as_bytes()), Err(AskError::Malformed(_))), "{text}");
        }
    }
}
