// SPDX-License-Identifier: Apache-2.0
//! The checks that need no network.

use std::path::Path;
use std::time::{Duration, SystemTime};

use humantime::{format_duration, format_rfc3339_seconds, parse_rfc3339};

use crate::audit::{LOG, verify};
use crate::control::client::{self, ClientError};
use crate::control::{Answer, Ask};
use crate::engine::config::{CONFIG, ConfigError};
use crate::engine::pause::Kept;
use crate::engine::status::{Health, Status};
use crate::engine::{Config, State};
use crate::host::{ReadHost, RealHost, UnitState, WriteHost};
use crate::model::chain;

use super::Check;

/// Where the audit log lies.
pub const LOG_DIR: &str = "/var/log/hostwrit/audit";

/// Less room than this is too little for a plan's intents.
const TOO_LITTLE: u64 = 16 << 20;
/// Less room than this is soon too little.
const LITTLE: u64 = 128 << 20;

pub fn rights(host: &RealHost) -> Check {
    const NAME: &str = "rights";
    if nix::unistd::geteuid().is_root() {
        Check::ok(NAME, "this is root")
    } else if host.is_live() {
        Check::failed(NAME, "this is not root, so most of what follows cannot be looked at", "run it as root")
    } else {
        Check::ok(NAME, "this is not root, which another root directory does not need")
    }
}

pub fn config(host: &RealHost, read: &Result<Config, ConfigError>) -> Check {
    const NAME: &str = "config";
    match read {
        // It reads whom to tell by itself, with no more rights than anybody.
        Ok(config) if is_for_the_courier(config) && !is_open_to_all(host) => {
            let found = format!("the courier cannot read {CONFIG}, so it neither reports nor answers for metrics");
            Check::failed(NAME, found, format!("chmod 0644 {CONFIG}, then systemctl restart hostwrit-courier"))
        }
        Ok(config) => {
            let (fleet, remote) = (&config.anchor.fleet, crate::source::redact(&config.remote));
            Check::ok(NAME, format!("{} of {fleet} follows {} of {remote}", config.host, config.anchor.git_ref))
        }
        Err(error) => {
            Check::failed(NAME, chain(error), format!("correct {CONFIG}; docs/reference/config.md has each key"))
        }
    }
}

fn is_for_the_courier(config: &Config) -> bool {
    !config.reports.is_empty() || config.metrics.listen.is_some()
}

fn is_open_to_all(host: &RealHost) -> bool {
    let mode = |path: &Path| host.stat(path).ok().flatten().map_or(0, |stat| stat.mode);
    let path = Path::new(CONFIG);
    mode(path) & 0o004 != 0 && path.ancestors().skip(1).all(|above| mode(above) & 0o001 != 0)
}

pub fn directory(host: &RealHost, name: &'static str, path: &str) -> Check {
    let stat = match host.stat(Path::new(path)) {
        Ok(Some(stat)) => stat,
        Ok(None) => {
            return Check::warning(name, format!("there is no {path} yet"), "the first `hostwrit apply` makes it");
        }
        Err(error) => {
            return Check::failed(name, chain(&error), format!("look at {path} and the directories above it"));
        }
    };
    let room = match host.room(Path::new(path)) {
        Ok(room) => room,
        Err(error) => return Check::failed(name, chain(&error), format!("look at {path}")),
    };
    let left = format!("{} MiB left in {path}", room.bytes >> 20);
    if let Some(why) = room.refuses {
        let advice = "look at its owner, and whether the file system is mounted read-only";
        Check::failed(name, format!("{path} cannot be written: {why}"), advice)
    } else if room.bytes < TOO_LITTLE || room.files.is_some_and(|files| files < 16) {
        Check::failed(name, left, "make room: without a log and a state nothing is changed")
    } else if stat.mode & 0o077 != 0 {
        Check::warning(name, format!("{path} has mode {:04o}", stat.mode), format!("chmod 0700 {path}"))
    } else if room.bytes < LITTLE {
        Check::warning(name, left, "make room before there is too little")
    } else {
        Check::ok(name, left)
    }
}

pub fn state(host: &RealHost) -> Check {
    const NAME: &str = "state";
    match State::read(host) {
        Ok(State { pin: Some(pin), applying, .. }) if applying => {
            let advice = "nothing, if an apply is under way; else the next one finishes what was begun";
            Check::warning(NAME, format!("an apply for {pin} has not ended"), advice)
        }
        Ok(State { pin: Some(pin), held: Some(held), .. }) if held.commit == pin => {
            let advice = "sign a commit on top: docs/how-to/when-a-commit-is-held.md";
            Check::warning(NAME, held.to_string(), advice)
        }
        Ok(State { pin: Some(pin), .. }) => Check::ok(NAME, format!("the last good commit is {pin}")),
        Ok(_) => Check::warning(NAME, "no commit was accepted yet", "run `hostwrit apply`, or start the daemon"),
        Err(error) => Check::failed(NAME, chain(&error), "do what the message says"),
    }
}

pub fn log(host: &RealHost) -> Check {
    const NAME: &str = "log";
    let text = match host.read(Path::new(LOG)) {
        Ok(Some(text)) => text,
        Ok(None) => {
            return Check::warning(NAME, format!("there is no {LOG} yet"), "the first `hostwrit apply` makes it");
        }
        Err(error) => {
            return Check::failed(NAME, chain(&error), format!("look at {LOG}: without a log nothing is changed"));
        }
    };
    let head = State::read(host).ok().and_then(|state| state.log).filter(|head| head.seq > 0);
    let verified = match head {
        Some(head) => verify::verify_on_host(&text, head.seq, &head.digest.to_string()),
        None => verify::verify(&text),
    };
    match verified.problems.as_slice() {
        [] => Check::ok(NAME, format!("intact, {} entries", verified.entries)),
        [first, others @ ..] => {
            let advice =
                "somebody or something changed it: `hostwrit audit verify` says where; compare with what you shipped";
            Check::failed(NAME, format!("{first} (and {} more problems)", others.len()), advice)
        }
    }
}

pub fn clock(host: &RealHost) -> Check {
    let newest = State::read(host).ok().and_then(|state| state.freshness.newest());
    let ended = Status::read(host).ok().flatten().and_then(|status| parse_rfc3339(&status.time).ok());
    let asked = host.is_live().then(|| host.run("timedatectl", &["show", "--property=NTPSynchronized", "--value"]));
    let is_kept = match asked {
        Some(Ok(output)) if output.stdout.starts_with(b"no") => Some(false),
        Some(Ok(output)) if output.stdout.starts_with(b"yes") => Some(true),
        _ => None,
    };
    of_clock(host.now(), newest, ended, is_kept)
}

/// `newest` is the newest time that a trusted key has signed for, `ended` when the last cycle did; whether a time server keeps
/// the clock is not always known.
fn of_clock(now: SystemTime, newest: Option<SystemTime>, ended: Option<SystemTime>, is_kept: Option<bool>) -> Check {
    const NAME: &str = "clock";
    let shown = format_rfc3339_seconds(now);
    let is_behind = |time: &SystemTime, most: Duration| time.duration_since(now).is_ok_and(|behind| behind > most);
    if let Some(newest) = newest.filter(|newest| is_behind(newest, HOUR)) {
        let found = format!("{shown} is before {}, which a trusted key has signed for", format_rfc3339_seconds(newest));
        return Check::failed(NAME, found, "set the clock, and have it kept: systemctl enable --now systemd-timesyncd");
    }
    if let Some(ended) = ended.filter(|ended| is_behind(ended, Duration::from_secs(60))) {
        let found = format!("{shown} is before {}, when the last cycle ended", format_rfc3339_seconds(ended));
        return Check::warning(NAME, found, "the clock was set back: look at what keeps it");
    }
    match is_kept {
        Some(false) => {
            let advice = "install and start systemd-timesyncd or chrony, and see that its servers answer";
            Check::warning(NAME, format!("{shown}, and nothing keeps it right"), advice)
        }
        Some(true) => Check::ok(NAME, format!("{shown}, kept by a time server")),
        None => Check::ok(NAME, shown.to_string()),
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);

pub fn units(host: &RealHost) -> Check {
    const NAME: &str = "units";
    if !host.is_live() {
        return Check::skipped(NAME, "nothing runs below another root");
    }
    match host.units(&["hostwrit.service", "hostwrit-courier.socket"]) {
        Ok(units) => of_units(&units),
        Err(error) => Check::failed(NAME, chain(&error), "look at the service manager: systemctl status"),
    }
}

fn of_units(units: &[UnitState]) -> Check {
    const NAME: &str = "units";
    let missing: Vec<&str> = units.iter().filter(|unit| unit.load != "loaded").map(|unit| &*unit.name).collect();
    let down: Vec<&str> =
        units.iter().filter(|unit| unit.active.as_deref() != Some("active")).map(|unit| &*unit.name).collect();
    let off: Vec<&str> = units
        .iter()
        .filter(|unit| !matches!(unit.file_state.as_str(), "enabled" | "static" | "enabled-runtime"))
        .map(|unit| &*unit.name)
        .collect();
    if !missing.is_empty() {
        let found = format!("{} cannot be loaded or is not there", missing.join(", "));
        Check::warning(NAME, found, "install the package, or the units by hand (docs/how-to/install.md)")
    } else if !down.is_empty() {
        let down = down.join(" ");
        Check::failed(NAME, format!("not active: {down}"), format!("systemctl start {down}; systemctl status {down}"))
    } else if !off.is_empty() {
        let off = off.join(" ");
        Check::warning(NAME, format!("not started at boot: {off}"), format!("systemctl enable {off}"))
    } else {
        Check::ok(NAME, "active, and started at boot")
    }
}

pub fn daemon(host: &RealHost) -> Check {
    const NAME: &str = "daemon";
    match client::ask(host.root(), &Ask::Status, Some(Duration::from_secs(5)), &mut |_| {}) {
        Ok(Answer::Status { daemon, .. }) if daemon.version != env!("CARGO_PKG_VERSION") => {
            let found = format!("version {} runs, and {} is installed", daemon.version, env!("CARGO_PKG_VERSION"));
            Check::warning(NAME, found, "systemctl restart hostwrit")
        }
        Ok(Answer::Status { daemon, .. }) => Check::ok(NAME, format!("answers, runs since {}", daemon.since)),
        Ok(_) => Check::failed(NAME, "it answers something else", "systemctl restart hostwrit"),
        Err(error @ ClientError::NotRunning(_)) => Check::warning(
            NAME,
            chain(&error),
            "systemctl start hostwrit; until then this host is kept only by `hostwrit apply`",
        ),
        Err(error) => Check::failed(NAME, chain(&error), "look at what it does: journalctl -u hostwrit"),
    }
}

pub fn last_cycle(host: &RealHost, config: Option<&Config>) -> Check {
    const NAME: &str = "last-cycle";
    match Status::read(host) {
        Ok(Some(status)) => of_status(&status, config.map(|config| config.interval + config.splay), host.now()),
        Ok(None) => Check::warning(
            NAME,
            "no cycle has ended since the host started",
            "run `hostwrit apply`, or start the daemon",
        ),
        Err(error) => Check::failed(NAME, chain(&error), "look at /run/hostwrit/status.json"),
    }
}

fn of_status(status: &Status, interval: Option<Duration>, now: SystemTime) -> Check {
    const NAME: &str = "last-cycle";
    let heard = parse_rfc3339(status.pulled.as_deref().unwrap_or(&status.time)).ok();
    let age = heard.and_then(|heard| now.duration_since(heard).ok()).map(|age| Duration::from_secs(age.as_secs()));
    let mut codes: Vec<&str> = status.problems.iter().map(|trouble| trouble.code.as_str()).collect();
    codes.dedup();
    let codes = codes.join(", ");
    let advice = "`hostwrit status` says more, docs/how-to/when-a-commit-is-refused.md what to do";
    match (status.health, age, interval) {
        (Health::Failing, ..) => Check::failed(NAME, format!("the host does not agree: {codes}"), advice),
        (Health::LastGood, ..) => Check::warning(NAME, format!("the last good commit is enforced: {codes}"), advice),
        (_, Some(age), Some(interval)) if age > interval * 3 + HOUR / 4 => {
            let found = format!("the last pull was {} ago", format_duration(age));
            Check::warning(NAME, found, "look at what the daemon does: journalctl -u hostwrit")
        }
        (Health::Held, ..) if !codes.is_empty() => {
            Check::warning(NAME, format!("what there is to do is held: {codes}"), advice)
        }
        (Health::Held, ..) => Check::ok(NAME, "what there is to do is held by a pause or the rollout"),
        (Health::Converged, ..) if !codes.is_empty() => {
            Check::warning(NAME, format!("the host agrees, but: {codes}"), advice)
        }
        (Health::Converged, ..) => Check::ok(NAME, format!("the host agreed at {}", status.time)),
    }
}

pub fn pause(host: &RealHost) -> Check {
    const NAME: &str = "pause";
    match Kept::read(host, host.now()) {
        Ok(Kept::Nothing | Kept::Ended(_)) => Check::ok(NAME, "this host is not paused"),
        Ok(Kept::InForce(pause)) => Check::warning(NAME, pause.to_string(), "`hostwrit resume` ends it"),
        Ok(Kept::Unreadable(why)) => {
            Check::warning(NAME, format!("it cannot be understood: {why}"), "`hostwrit resume` removes it")
        }
        Err(error) => Check::failed(NAME, chain(&error), "look at /var/lib/hostwrit/pause.json"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::CheckResult;
    use super::*;

    fn unit(name: &str, load: &str, active: &str, file_state: &str) -> UnitState {
        UnitState {
            name: name.to_owned(),
            load: load.to_owned(),
            active: Some(active.to_owned()),
            file_state: file_state.to_owned(),
            needs_reload: false,
        }
    }

    #[test]
    fn a_clock_that_is_behind_or_is_not_kept_is_told_with_what_to_do() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let now = at(1_000_000);
        let demand = |check: Check, result: CheckResult, found: &str, advice: &str| {
            assert_eq!(check.result, result, "{check:?}");
            assert!(check.found.starts_with("1970-01-12T13:46:40Z") && check.found.contains(found), "{check:?}");
            assert!(check.advice.as_deref().unwrap_or_default().contains(advice), "{check:?}");
        };
        let behind = of_clock(now, Some(at(1_003_601)), None, Some(true));
        demand(behind, CheckResult::Failed, "before 1970-01-12T14:46:41Z, which a trusted key", "set the clock");
        let set_back = of_clock(now, Some(at(1_003_600)), Some(at(1_000_061)), Some(true));
        demand(set_back, CheckResult::Warning, "before 1970-01-12T13:47:41Z, when the last cycle", "was set back");
        demand(
            of_clock(now, None, Some(at(1_000_060)), Some(false)),
            CheckResult::Warning,
            "nothing keeps it",
            "chrony",
        );
        demand(of_clock(now, Some(now), Some(now), Some(true)), CheckResult::Ok, "kept by a time server", "");
        demand(of_clock(now, None, None, None), CheckResult::Ok, "", "");
    }

    #[test]
    fn units_are_there_run_and_are_started_at_boot() {
        let check = |load, active, file_state| of_units(&[unit("a.service", load, active, file_state)]).result;
        assert_eq!(check("loaded", "active", "enabled"), CheckResult::Ok);
        assert_eq!(check("loaded", "active", "disabled"), CheckResult::Warning);
        assert_eq!(check("loaded", "failed", "enabled"), CheckResult::Failed);
        assert_eq!(check("not-found", "inactive", ""), CheckResult::Warning);
    }

    #[test]
    fn a_host_that_is_not_heard_of_is_told_from_one_that_is() {
        let status = |health: &str, codes: &[&str]| -> Status {
            let problems: Vec<_> = codes.iter().map(|code| serde_json::json!({"code": code, "message": ""})).collect();
            serde_json::from_value(serde_json::json!({
                "time": "1970-01-01T00:00:00Z", "pulled": null, "host": "h", "fleet": "f", "kinds": {}, "remote": "r", "ref": "m", "commit": null,
                "health": health, "objects": 0, "done": 0, "cause": null, "problems": problems, "reported": [],
                "unmanaged": [],
            }))
            .unwrap()
        };
        let interval = Some(Duration::from_secs(300));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let result = |health, codes: &[&str], now| of_status(&status(health, codes), interval, at(now)).result;
        assert_eq!(result("converged", &[], 600), CheckResult::Ok);
        assert_eq!(result("converged", &[], 3600), CheckResult::Warning);
        assert_eq!(result("converged", &["stale"], 600), CheckResult::Warning);
        assert_eq!(result("held", &[], 600), CheckResult::Ok);
        assert_eq!(result("last-good", &["fetch-failed"], 600), CheckResult::Warning);
        assert_eq!(result("failing", &["step-failed"], 600), CheckResult::Failed);
    }
}
