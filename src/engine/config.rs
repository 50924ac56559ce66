// SPDX-License-Identifier: Apache-2.0
//! `/etc/hostwrit/config.yaml`: everything that must not come from the infra repo.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{HostError, ReadHost};
use crate::manifest;
use crate::metrics::{MetricsSection, Settings};
use crate::model::git::Oid;
use crate::model::{Fault, Faults, Location};
use crate::report::{Outlet, ReportSpec};
use crate::source::Limits;
use crate::trust::{Anchor, KeyName, Revocations};
use crate::{web, yaml};

use super::fetching::FetchSection;

/// Where the configuration lives on the host.
pub const CONFIG: &str = "/etc/hostwrit/config.yaml";

/// No interval is longer: a host that pulls less often would be taken for lost.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a host may take to prove that a change has not cut it off.
const CONFIRM_WITHIN: RangeInclusive<Duration> = Duration::from_secs(20)..=Duration::from_secs(10 * 60);

/// What a host is given out of band.
#[derive(Clone, Debug)]
pub struct Config {
    pub anchor: Anchor,
    /// Where the infra repo is fetched from.
    pub remote: String,
    /// The host's name in the infra repo.
    pub host: String,
    /// Time between two pulls.
    pub interval: Duration,
    /// A random part of this is added to each interval, so that a fleet does not pull all at once.
    pub splay: Duration,
    /// The longest time between two observations of the whole host.
    pub full_check: Duration,
    /// A small file on a web server that changes when the repo does.
    pub poll_hint: Option<String>,
    /// How long the hint is believed before Git is asked all the same.
    pub max_quiet: Duration,
    /// The time in which a host must prove that a change has not cut it off.
    pub confirm_within: Duration,
    /// What a fetch may cost.
    pub fetch: Limits,
    /// The Prometheus that gates of a rollout are asked of.
    pub prometheus: Option<String>,
    /// A file of keys and commits that this host distrusts. Read in each cycle, into [`Anchor::revoked`].
    pub revocations: Option<PathBuf>,
    /// The SSH keys whose orders this host obeys.
    pub break_glass: Vec<KeyName>,
    /// Where metrics go.
    pub metrics: Settings,
    /// Who is told what happens here.
    pub reports: Vec<Outlet>,
}

/// The file as people write it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// The fleet's id; must equal the infra repo's and the policy's.
    fleet: String,
    /// Where the infra repo is fetched from: https://, ssh://, git:// or a path.
    remote: String,
    /// The ref that is obeyed. Default: refs/heads/main.
    #[serde(rename = "ref", default = "main")]
    git_ref: String,
    /// The host's name in the infra repo. Default: the short host name.
    host: Option<String>,
    /// Time between two pulls, such as 5m. Default: 5m.
    #[serde(default = "five_minutes")]
    interval: String,
    /// At most this is added to each interval at random. Default: 1m.
    #[serde(default = "one_minute")]
    splay: String,
    /// The longest time between two looks at the whole host, such as 1h. Default: 1h.
    #[serde(default = "one_hour")]
    full_check: String,
    /// The URL of a small file that is rewritten when the repo changes: asked first, and Git only when it changed.
    poll_hint: Option<String>,
    /// How long the hint is believed before Git is asked all the same. Default: 1h.
    #[serde(default = "one_hour")]
    max_quiet: String,
    /// The time in which this host must prove that a change to its firewall, SSH, sudo or network has not cut it off, from the first
    /// step on; else the change goes back. From 20s to 10m. Default: 2m.
    #[serde(default = "two_minutes")]
    confirm_within: String,
    /// What a fetch may cost this host.
    #[serde(default)]
    fetch: FetchSection,
    /// The URL of the Prometheus that gates of a rollout are asked of. Default: none, and gates stay closed.
    prometheus: Option<String>,
    trust: TrustSection,
    /// Where metrics go, for Prometheus. Default: nowhere.
    metrics: Option<MetricsSection>,
    /// Who is told what happens on this host. Default: nobody.
    #[serde(default)]
    reports: Vec<ReportSpec>,
}

/// Where authentication starts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TrustSection {
    /// The commit where authentication starts: 40 (or 64) hexadecimal digits.
    root: String,
    /// Whose signature on that commit counts, such as openpgp:FINGERPRINT.
    signers: Vec<String>,
    /// A file of keys and commits that this host distrusts whatever the repo says. If it is named it must be there.
    revocations: Option<PathBuf>,
    /// The SSH keys, such as ssh:SHA256:FINGERPRINT, whose signed orders may move the pin. Default: none.
    #[serde(default)]
    break_glass: Vec<String>,
}

fn main() -> String {
    "refs/heads/main".to_owned()
}

fn five_minutes() -> String {
    "5m".to_owned()
}

fn one_minute() -> String {
    "1m".to_owned()
}

fn two_minutes() -> String {
    "2m".to_owned()
}

fn one_hour() -> String {
    "1h".to_owned()
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("there is no {CONFIG}; docs/how-to/install.md shows one to start from")]
    Missing,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("{CONFIG} is not sound:\n{0}")]
    Unsound(Faults),
}

impl Config {
    /// Reads the host's configuration.
    ///
    /// # Errors
    /// There is none, it cannot be read, or it has faults: all of them.
    pub fn read(host: &dyn ReadHost) -> Result<Self, ConfigError> {
        let text = host.read(Path::new(CONFIG))?.ok_or(ConfigError::Missing)?;
        let name = || {
            let name = host.read(Path::new("/etc/hostname")).ok().flatten()?;
            let name = String::from_utf8(name).ok()?;
            name.trim().split('.').next().filter(|short| !short.is_empty()).map(str::to_owned)
        };
        Self::parse(CONFIG, &text, name()).map_err(ConfigError::Unsound)
    }

    /// Parses the text of a configuration file; `hostname` is the default of `host`.
    ///
    /// # Errors
    /// Every fault of the text.
    pub fn parse(file: &str, text: &[u8], hostname: Option<String>) -> Result<Self, Faults> {
        let read: ConfigFile = yaml::read(file, text)?;
        let mut faults = Faults::default();
        // The fields are few and named in the messages, so the file as a whole is place enough.
        let mut fault = |message: String, hint: &str| faults.push(Fault::new(Location::file(file), message).hint(hint));

        let root = Oid::from_hex(read.trust.root.as_bytes());
        if root.is_err() {
            fault(
                format!("trust.root: \"{}\" is not a commit", read.trust.root),
                "write the whole id, as `git rev-parse` prints it",
            );
        }
        let mut signers = Vec::new();
        for signer in &read.trust.signers {
            match signer.parse::<KeyName>() {
                Ok(signer) => signers.push(signer),
                Err(error) => fault(
                    format!("trust.signers: {error}"),
                    "write openpgp: or ssh:SHA256: and the key's whole fingerprint",
                ),
            }
        }
        if read.trust.signers.is_empty() {
            fault("trust.signers is empty".to_owned(), "name at least one signer of the root commit");
        }
        let mut break_glass = Vec::new();
        for key in &read.trust.break_glass {
            match key.parse::<KeyName>() {
                Ok(key @ KeyName::Ssh(_)) => break_glass.push(key),
                Ok(KeyName::OpenPgp(_)) => fault(
                    format!("trust.break_glass: \"{key}\" is an OpenPGP key"),
                    "name an SSH key: orders are signed with ssh-keygen",
                ),
                Err(error) => {
                    fault(format!("trust.break_glass: {error}"), "write ssh: and what `ssh-keygen -lf KEY.pub` prints")
                }
            }
        }
        if let Some(path) = read.trust.revocations.as_deref().filter(|path| !path.is_absolute()) {
            fault(
                format!("trust.revocations: \"{}\" is not an absolute path", path.display()),
                "write it in full, such as /etc/hostwrit/revoked.yaml",
            );
        }
        if !read.git_ref.starts_with("refs/") {
            fault(format!("ref: \"{}\" is not a full ref", read.git_ref), "write it in full: refs/heads/main");
        }
        // Without a colon it is a path, and a relative one would depend on where hostwrit was started.
        let relative = !read.remote.starts_with('/') && !read.remote.contains(':');
        if relative || read.remote.starts_with('-') {
            fault(format!("remote: \"{}\" is not a remote", read.remote), "write a URL or an absolute path");
        }
        if read.fleet.is_empty() {
            fault("fleet is empty".to_owned(), "write the id that hostwrit.yaml of the infra repo has");
        }
        let mut duration = |key: &str, text: &str| {
            humantime::parse_duration(text).unwrap_or_else(|error| {
                fault(
                    format!("{key}: \"{text}\" is not a duration: {error}"),
                    "write a number and a unit: 5m, 90s, 1h 30m",
                );
                Duration::ZERO
            })
        };
        let (interval, splay) = (duration("interval", &read.interval), duration("splay", &read.splay));
        let full_check = duration("full_check", &read.full_check);
        let max_quiet = duration("max_quiet", &read.max_quiet);
        let timeout = duration("fetch.timeout", &read.fetch.timeout);
        let confirm_within = duration("confirm_within", &read.confirm_within);
        for (key, value, text) in [
            ("interval", interval, &read.interval),
            ("splay", splay, &read.splay),
            ("full_check", full_check, &read.full_check),
            ("max_quiet", max_quiet, &read.max_quiet),
            ("fetch.timeout", timeout, &read.fetch.timeout),
        ] {
            if value > LONGEST {
                fault(format!("{key}: {text} is too long"), "write 30d at the most");
            }
        }
        if interval < Duration::from_secs(1) && humantime::parse_duration(&read.interval).is_ok() {
            fault(format!("interval: {} is too short", read.interval), "write 1s at the least");
        }
        if !CONFIRM_WITHIN.contains(&confirm_within) && humantime::parse_duration(&read.confirm_within).is_ok() {
            fault(
                format!("confirm_within: {} is too short or too long", read.confirm_within),
                "write from 20s, for a host needs time to prove something, to 10m, for it may be cut off so long",
            );
        }
        let fetch = read.fetch.limits(timeout, &mut fault);
        // The texts are not repeated: they may hold a password.
        for (key, url) in [("poll_hint", &read.poll_hint), ("prometheus", &read.prometheus)] {
            if let Some(Err(why)) = url.as_deref().map(web::address) {
                fault(format!("{key}: {why}"), "write an https:// or http:// URL without a name or a password");
            }
        }
        let reports = Outlet::all(read.reports, &mut fault);
        let host = read.host.or(hostname).unwrap_or_default();
        if host.is_empty() {
            fault("host is not set, and /etc/hostname does not name one".to_owned(), "add host: NAME");
        } else if !manifest::is_host_name(&host) {
            fault(
                format!("host: \"{host}\" cannot be the name of a host"),
                "write NAME of hosts/NAME.yaml in the infra repo",
            );
        }
        let metrics = read.metrics.unwrap_or_default();
        let metrics =
            metrics.settings(|message, hint| faults.push(Fault::new(Location::file(file), message).hint(hint)));
        match root {
            Ok(root) if faults.is_empty() => Ok(Self {
                anchor: Anchor {
                    fleet: read.fleet,
                    git_ref: read.git_ref,
                    root,
                    signers,
                    revoked: Revocations::default(),
                },
                remote: read.remote,
                host,
                interval,
                splay,
                full_check,
                poll_hint: read.poll_hint,
                max_quiet,
                confirm_within,
                fetch,
                prometheus: read.prometheus,
                revocations: read.trust.revocations,
                break_glass,
                metrics,
                reports,
            }),
            _ => Err(faults),
        }
    }
}
