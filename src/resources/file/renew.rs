// SPDX-License-Identifier: Apache-2.0
//! What must be renewed: a file that must be replaced after a time, or before what is in it ends.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Fault, Faults, Origin};
use crate::resources::digest::{Digestible, Sum, digest_every_field};

/// How long before somebody is told, where the repo does not say.
const DEFAULT_WARN: Duration = Duration::from_secs(14 * 24 * 60 * 60);

const SHORTEST: Duration = Duration::from_secs(60);

/// Ten years.
const LONGEST: Duration = Duration::from_secs(3653 * 24 * 60 * 60);

/// When a file must be renewed, as the repo writes it: `every`, `expiry`, or both, of which the earlier counts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RenewSpec {
    /// How long after its last change it must have been replaced, from 1m to 3653d. Not for a file that has its content from the repo.
    pub every: Option<String>,
    /// What in it says when it ends.
    pub expiry: Option<Expiry>,
    /// How long before that it is told of. Default: 14d.
    pub warn: Option<String>,
}

/// What in a file says when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expiry {
    /// The certificates in it, as PEM: the first of them to end.
    Certificate,
    /// The claim `exp` of the JSON Web Token that it is. No signature is verified.
    Jwt,
}

impl Digestible for Expiry {
    fn add_to(&self, sum: &mut Sum) {
        sum.variant(match self {
            Self::Certificate => 0,
            Self::Jwt => 1,
        });
    }
}

/// When a file must be renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// So long after its last change.
    pub every: Option<Duration>,
    pub expiry: Option<Expiry>,
    pub warn: Duration,
}

digest_every_field!(Renew { every, expiry, warn });

/// Checks what the repo says. `has_content`: the repo has the content of the file as well.
pub(super) fn resolve(spec: &RenewSpec, has_content: bool, origin: &Origin, faults: &mut Faults) -> Option<Renew> {
    let mut wrong = |what: String, hint: &str| {
        faults.push(Fault::new(origin.of("renew").clone(), what).hint(hint.to_owned()));
    };
    let mut length = |field: &str, text: &Option<String>, least: Duration| {
        let text = text.as_deref()?;
        let length = humantime::parse_duration(text).ok().filter(|length| (least..=LONGEST).contains(length));
        if length.is_none() {
            let what = format!("{field} \"{}\" cannot be used", text.escape_debug());
            wrong(what, "write a number and a unit, up to 3653d: 12h, 30d");
        }
        length
    };
    let every = length("every", &spec.every, SHORTEST);
    let warn = length("warn", &spec.warn, Duration::ZERO).unwrap_or(DEFAULT_WARN);
    if spec.every.is_none() && spec.expiry.is_none() {
        wrong(
            "renew does not say when".to_owned(),
            "write every: with a time such as 30d, or expiry: certificate or expiry: jwt",
        );
    }
    if spec.every.is_some() && has_content {
        wrong(
            "hostwrit writes this file itself, so its age says nothing of the secret in it".to_owned(),
            "leave every out, and write expiry if the content says when it ends",
        );
    }
    if let Some(every) = every.filter(|every| *every <= warn) {
        let (every, warn) = (Length(every), Length(warn));
        wrong(
            format!("it must be renewed every {every} and is told of {warn} before, which is always"),
            "write a warn that is shorter than every",
        );
    }
    Some(Renew { every, expiry: spec.expiry, warn })
}

/// A length of time as people write it.
struct Length(Duration);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.as_secs() / 86_400, self.0.as_secs() % 86_400) {
            (days, 0) => write!(f, "{days}d"),
            _ => humantime::format_duration(self.0).fmt(f),
        }
    }
}
