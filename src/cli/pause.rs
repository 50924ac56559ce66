// SPDX-License-Identifier: Apache-2.0
//! `pause` and `resume`: through the daemon if it runs, else by root's own hand under the run lock.

use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Args;

use crate::control::client::{self, ClientError};
use crate::control::{Answer, Ask};
use crate::engine::Pause;
use crate::engine::pause::PauseError;
use crate::host::{ReadHost, RealHost};
use crate::model::Actor;

use super::{CommandError, Exit, output};

/// Change nothing on this host for a time: pull, prove and plan go on, and what would be done is held
///
/// A step that is under way is finished. The pause ends by itself, at most 30 days later, and outlives a reboot. It is
/// recorded in the audit log with who asked for it and why. A second pause takes the place of the first.
#[derive(Debug, Args)]
#[command(name = "pause")]
pub struct PauseCommand {
    /// How long, such as 30m, 2h or 1day
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    length: Duration,
    /// Why, for whoever finds the host paused
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// End a pause
#[derive(Debug, Args)]
pub struct Resume {}

impl PauseCommand {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let host = RealHost::open(root)?;
        // What is wrong with it is said before anybody is asked.
        let pause = Pause::new(self.length, &self.reason, me(&host), host.now())?;
        let ask = Ask::Pause { seconds: self.length.as_secs(), reason: pause.reason.clone(), claims: claims() };
        let until = match ask_daemon(root, &ask)? {
            Some(Answer::Paused { until }) => until,
            Some(other) => return Err(unexpected(other)),
            None => {
                pause.begin(&host)?;
                pause.until
            }
        };
        output::answer(format!("Paused until {until}{}.", left(&until, host.now())));
        Ok(Exit::Done)
    }
}

impl Resume {
    pub fn run(&self, root: &Path) -> Result<Exit, CommandError> {
        let host = RealHost::open(root)?;
        let was_paused = match ask_daemon(root, &Ask::Resume { claims: claims() })? {
            Some(Answer::Resumed { was_paused }) => was_paused,
            Some(other) => return Err(unexpected(other)),
            None => Pause::end(&host, me(&host))?.is_some(),
        };
        output::answer(if was_paused { "Resumed." } else { "This host was not paused." });
        Ok(Exit::Done)
    }
}

impl From<PauseError> for CommandError {
    fn from(error: PauseError) -> Self {
        let exit = match error {
            PauseError::Length | PauseError::Reason => Exit::Usage,
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

/// Asks the daemon; `None` if none runs.
fn ask_daemon(root: &Path, ask: &Ask) -> Result<Option<Answer>, CommandError> {
    // The step under way is finished first, which may take minutes.
    match client::ask(root, ask, None, &mut |_| {}) {
        Ok(answer) => Ok(Some(answer)),
        Err(ClientError::NotRunning(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the error for an answer that does not do what was asked.
pub fn unexpected(answer: Answer) -> CommandError {
    match answer {
        Answer::Refused { message, .. } => CommandError::new(Exit::Failed, message),
        _ => CommandError::new(Exit::Failed, "the daemon answered something else; is it of another version?"),
    }
}

/// Returns who runs this command, for a host whose daemon does not run.
fn me(host: &RealHost) -> Actor {
    let text = |path: &str| {
        let bytes = host.read(Path::new(path)).ok().flatten();
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let passwd = text("/etc/passwd").unwrap_or_default();
    let login = text("/proc/self/loginuid");
    Actor::of(nix::unistd::geteuid().as_raw(), &passwd, login.as_deref(), claims())
}

/// Returns who sudo says had called it. Whoever can run this can write anything there.
fn claims() -> Option<String> {
    std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty())
}

fn left(until: &str, now: SystemTime) -> String {
    let left = humantime::parse_rfc3339(until).ok().and_then(|until| until.duration_since(now).ok());
    left.map_or_else(String::new, |left| {
        // Minutes are enough for people, and half of one is neither here nor there.
        let minutes = (left.as_secs() + 30) / 60 * 60;
        let left = if minutes == 0 { left.as_secs() } else { minutes };
        format!(" (for {})", humantime::format_duration(Duration::from_secs(left)))
    })
}
