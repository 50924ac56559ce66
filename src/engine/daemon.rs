// SPDX-License-Identifier: Apache-2.0
//! When to run a cycle: at the start, every interval, and on SIGHUP. SIGTERM finishes the step that is under way.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::audit::OutcomeResult;
use crate::host::RealHost;

use super::apply::chain;
use super::config::ConfigError;
use super::status::{Health, Status};
use super::{Config, Cycle, CycleError, Report};

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Host(#[from] crate::host::HostError),
    #[error("cannot start the daemon's timers and signals")]
    Runtime(#[source] std::io::Error),
    #[error("a cycle ended in a way that is a fault of hostwrit")]
    Panicked(#[source] tokio::task::JoinError),
}

/// What woke the daemon.
enum Wake {
    Interval,
    Reload,
    Stop,
}

/// Keeps the host below `root` as the infra repo says, until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration is not sound at the start, or the runtime cannot be had. A cycle that fails ends nothing.
pub fn run(root: PathBuf) -> Result<(), DaemonError> {
    let host = Arc::new(RealHost::open(&root)?);
    let config = Config::read(host.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DaemonError::Runtime)?;
    runtime.block_on(keep(host, config))
}

async fn keep(host: Arc<RealHost>, mut config: Config) -> Result<(), DaemonError> {
    let listen = |kind| signal(kind).map_err(DaemonError::Runtime);
    let (mut terminate, mut interrupt, mut hangup) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?);
    info!(host = %config.host, remote = %crate::source::redact(&config.remote), "started");
    let mut last: Option<Status> = None;
    loop {
        let stop = Arc::new(AtomicBool::new(false));
        let mut cycle = tokio::task::spawn_blocking({
            let (host, config, stop) = (Arc::clone(&host), config.clone(), Arc::clone(&stop));
            move || reconcile(&config, &host, &stop)
        });
        let mut stopping = false;
        let status = loop {
            tokio::select! {
                ended = &mut cycle => break ended.map_err(DaemonError::Panicked)?,
                () = either(&mut terminate, &mut interrupt), if !stopping => {
                    info!("told to stop: the step under way is finished");
                    stop.store(true, Ordering::Relaxed);
                    stopping = true;
                }
            }
        };
        tell(&status, last.as_ref());
        last = Some(status);
        if stopping {
            break;
        }
        match wait(&config, &mut terminate, &mut interrupt, &mut hangup).await {
            Wake::Interval => {}
            Wake::Reload => match Config::read(host.as_ref()) {
                Ok(read) => {
                    info!("configuration read again");
                    config = read;
                }
                Err(fault) => error!("the configuration is not sound, the one before stays: {}", chain(&fault)),
            },
            Wake::Stop => break,
        }
    }
    info!("stopped");
    Ok(())
}

/// Runs one cycle and leaves its status.
fn reconcile(config: &Config, host: &RealHost, stop: &AtomicBool) -> Status {
    let cycle = Cycle::begin(config, host, stop).and_then(|cycle| {
        cycle.apply(&mut |step, outcome| match outcome.result {
            OutcomeResult::Done => info!(object = %step.object, action = ?step.action, "done"),
            _ => warn!(object = %step.object, "{}", outcome.message.as_deref().unwrap_or_default()),
        })
    });
    leave_status(config, host, &cycle)
}

/// Leaves the status of a cycle for `hostwrit status`.
pub fn leave_status(config: &Config, host: &RealHost, cycle: &Result<Report, CycleError>) -> Status {
    let status = Status::of(config, cycle, host);
    let left = host.ensure_dir(std::path::Path::new("/run/hostwrit"), 0o755).and_then(|()| status.write(host));
    if let Err(fault) = left {
        warn!("the status cannot be left for `hostwrit status`: {}", chain(&fault));
    }
    status
}

/// Says what is new since the last cycle; a cycle like the one before it is not worth a line.
fn tell(status: &Status, last: Option<&Status>) {
    let known = |code: &str, message: &str| {
        last.is_some_and(|last| last.problems.iter().any(|old| old.code == code && old.message == message))
    };
    for trouble in status.problems.iter().filter(|trouble| !known(&trouble.code, &trouble.message)) {
        warn!(code = %trouble.code, "{}", trouble.message);
    }
    let commit = status.commit.as_deref().unwrap_or("none");
    if status.done > 0 || last.is_none_or(|last| last.health != status.health || last.commit != status.commit) {
        match status.health {
            Health::Converged => info!(commit, steps = status.done, "converged"),
            Health::LastGood => warn!(commit, steps = status.done, "the last good state is enforced"),
            Health::Held => info!(commit, steps = status.held, "held by a pause"),
            Health::Failing => warn!(commit, steps = status.done, "not converged"),
        }
    }
}

async fn wait(config: &Config, terminate: &mut Signal, interrupt: &mut Signal, hangup: &mut Signal) -> Wake {
    tokio::select! {
        () = tokio::time::sleep(config.interval + some_of(config.splay)) => Wake::Interval,
        _ = hangup.recv() => Wake::Reload,
        () = either(terminate, interrupt) => Wake::Stop,
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Returns a random part of the duration. It spreads a fleet; it is no secret.
fn some_of(splay: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    splay.mul_f64(random.clamp(0.0, 1.0))
}
