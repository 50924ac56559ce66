// SPDX-License-Identifier: Apache-2.0
//! What keeps this host from being kept as its repo says, and what to do about it.
//!
//! Each check looks at one thing, says what it found in one line, and depends on no other. Nothing is changed on the host:
//! the courier is asked to fetch, into its own mirror, for only that shows that a fetch works.

mod access;
mod certificates;
mod checks;
mod package;
mod proxy;
mod remote;

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::Config;
use crate::engine::config::ConfigError;
use crate::host::RealHost;
use crate::source::place;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// A stable word: `config`, `clock`, `remote` and the like.
    pub name: &'static str,
    pub result: CheckResult,
    /// What was found.
    pub found: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It keeps hostwrit from its work.
    Failed,
    /// It could not be looked at, or does not apply.
    Skipped,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, result: CheckResult::Ok, found: found.into(), advice: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, result: CheckResult::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    fn failed(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, result: CheckResult::Failed, found: found.into(), advice: Some(advice.into()) }
    }

    fn skipped(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, result: CheckResult::Skipped, found: found.into(), advice: None }
    }
}

/// Looks at everything, in the order in which it should be put right.
pub fn examine(host: &RealHost, read: &Result<Config, ConfigError>) -> Vec<Check> {
    let config = read.as_ref().ok();
    let mut found = vec![checks::rights(host), checks::config(host, read)];
    found.push(checks::directory(host, "state-directory", crate::engine::state::DIR));
    found.push(checks::directory(host, "log-directory", checks::LOG_DIR));
    found.extend([checks::state(host), checks::log(host), checks::clock(host)]);
    found.extend([checks::units(host), package::boot(host), package::package(host), checks::daemon(host)]);
    let place = config.and_then(|config| place(&config.remote));
    let via = proxy::of_courier(host, place.as_ref());
    let mut needs = [
        access::credentials(host, place.as_ref()),
        access::host_key(host, place.as_ref()),
        certificates::certificates(host, place.as_ref()),
        proxy::check(&via, place.as_ref()),
    ];
    let remote = remote::remote(host, config, via.server());
    forgive(&mut needs, &remote);
    found.extend(needs);
    found.push(remote);
    found.extend([checks::last_cycle(host, config), checks::pause(host)]);
    found
}

/// What the courier does very well without keeps hostwrit from nothing.
fn forgive(needs: &mut [Check], remote: &Check) {
    let works = remote.result == CheckResult::Ok;
    let failed = needs.iter_mut().filter(|check| works && check.result == CheckResult::Failed);
    failed.for_each(|check| check.result = CheckResult::Warning);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fetch_does_without_is_no_failure() {
        let results = |remote: &Check| {
            let mut needs =
                [Check::failed("host-key", "", "x"), Check::ok("proxy", ""), Check::skipped("certificates", "")];
            forgive(&mut needs, remote);
            needs.map(|check| check.result)
        };
        let (fine, skipped) = (CheckResult::Ok, CheckResult::Skipped);
        assert_eq!(results(&Check::ok("remote", "")), [CheckResult::Warning, fine, skipped]);
        assert_eq!(results(&Check::failed("remote", "", "x")), [CheckResult::Failed, fine, skipped]);
    }
}
