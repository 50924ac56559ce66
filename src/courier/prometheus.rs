// SPDX-License-Identifier: Apache-2.0
//! Asks a Prometheus for one number: whether a gate of a rollout is open.

use crate::fleet::prometheus::{AddressError, Prometheus, QueryError, Sample};
use crate::source::Query;

/// Why there is no number.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("prometheus of /etc/hostwrit/config.yaml cannot be used")]
    Address(#[from] AddressError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the query comes to {0} numbers, and must come to one, as sum(...), max(...) and count(...) do")]
    Count(usize),
}

/// Asks for the number that the query comes to now.
pub(super) fn ask(query: &Query) -> Result<f64, NoAnswer> {
    one(&Prometheus::at(&query.url, None)?.query(&query.query)?)
}

/// Of none as of many nobody can tell which was meant.
fn one(samples: &[Sample]) -> Result<f64, NoAnswer> {
    match samples {
        [sample] => Ok(sample.value),
        other => Err(NoAnswer::Count(other.len())),
    }
}
