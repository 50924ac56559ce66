// SPDX-License-Identifier: Apache-2.0
//! When to pull, and when a pull calls for a cycle. SIGTERM finishes the step that is under way.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::audit::OutcomeResult;
use crate::host::{ReadHost as _, RealHost};
use crate::memory;
use crate::resources::findings::Finding;
use crate::source::{Courier, FetchError, Fetched, Source as _};

use super::alarm::Alarm;
use super::announce::{Announcer, News};
use super::config::ConfigError;
use super::demands::{Demands, Errand, Wish};
use super::drift::{Drift, Next};
use super::enforced::Enforced;
use super::notify::{Notifier, Pulse};
use super::reports::{self, Told};
use super::schedule::until_next_pull;
use super::status::{Health, Status};
use super::updates::Lookout;
use super::{Config, Cycle, CycleError, Report, cycle};
use crate::model::chain;

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
    Asked,
    Interval,
    Reload,
    Stop,
}

/// What a cycle left when all was done: a pull that finds the same needs no other cycle until something is due.
struct Settled {
    /// What the remote had; `None` if it could not be asked.
    fetched: Option<Fetched>,
    /// When the whole host is looked at again.
    until: Instant,
    /// When what is signed becomes too old, it is this host's turn to follow a commit, or something must be renewed.
    next: Option<SystemTime>,
}

impl Settled {
    fn by(report: &Report, fetched: Option<Fetched>, config: &Config, now: SystemTime) -> Option<Self> {
        let turn = report.hold().and_then(|hold| hold.until());
        let turns = [report.stale_from, report.maintenance_turns, turn, report.found.turns];
        let next = turns.into_iter().flatten().filter(|next| *next > now).min();
        let settled = Self { fetched, until: Instant::now() + config.full_check, next };
        // What a pause holds back is to be done when it ends, and what a gate holds back when that opens.
        let waits = report.pause.is_some() || report.hold().is_some_and(|hold| hold.until().is_none());
        // What was just started or stopped may not listen yet, or still do.
        let is_moving = !report.outcomes.is_empty() && !report.found.findings.is_empty();
        // Whoever gives himself a way in wants to know that it counts.
        let is_shut = report.alarms.iter().any(|alarm| matches!(alarm, Alarm::NoWayIn(_)));
        (report.converged() && report.is_well() && !waits && !is_moving && !is_shut).then_some(settled)
    }

    fn holds(&self, fetched: &Result<Fetched, FetchError>, now: SystemTime) -> bool {
        let is_due = Instant::now() >= self.until || self.next.is_some_and(|next| now >= next);
        self.fetched.as_ref() == fetched.as_ref().ok() && !is_due
    }
}

/// Keeps the host below `root` as the infra repo says, until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration is not sound at the start, or the runtime cannot be had. A cycle that fails ends nothing.
pub fn run(root: PathBuf) -> Result<(), DaemonError> {
    let host = Arc::new(RealHost::open(&root)?);
    let config = Config::read(host.as_ref())?;
    // With the thread of a pull goes the memory that its allocator kept for it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::ZERO)
        .build()
        .map_err(DaemonError::Runtime)?;
    runtime.block_on(keep(host, config))
}

async fn keep(host: Arc<RealHost>, mut config: Config) -> Result<(), DaemonError> {
    let listen = |kind| signal(kind).map_err(DaemonError::Runtime);
    let (mut terminate, mut interrupt, mut hangup) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?);
    info!(host = %config.host, remote = %crate::source::redact(&config.remote), "started");
    let (mut demands, mut notifier) = (Demands::open(&host), Notifier::from_env());
    notifier.ready();
    let mut last: Option<Status> = None;
    let mut settled: Option<Settled> = None;
    // Pulls in a row that the remote did not answer.
    let mut failures = 0;
    let mut drift = Drift::new(Arc::clone(&host));
    let announcer = Announcer::start(Arc::clone(&host), config.clone());
    let mut lookout = Lookout::new(Arc::clone(&host));
    loop {
        let stop = Arc::new(AtomicBool::new(false));
        let mut pull = tokio::task::spawn_blocking({
            let (host, config, stop) = (Arc::clone(&host), config.clone(), Arc::clone(&stop));
            let (errand, pulse, watched) = (demands.begin(host.now()), notifier.pulse(), drift.commit());
            let is_touched = drift.take_touched();
            let settled = settled.take().filter(|_| !errand.asked && !is_touched);
            move || pull(&config, &host, &stop, settled, watched, errand, &pulse)
        });
        let mut stopping = false;
        let mut is_unsettled = false;
        let pulled = loop {
            tokio::select! {
                ended = &mut pull => break ended.map_err(DaemonError::Panicked)?,
                // The remote may be slow; the host is not left alone meanwhile.
                next = drift.next() => is_unsettled |= note(next, &drift, last.as_mut(), &host, &config, &announcer),
                () = either(&mut terminate, &mut interrupt), if !stopping => {
                    info!("told to stop: the step under way is finished");
                    notifier.stopping();
                    stop.store(true, Ordering::Relaxed);
                    stopping = true;
                }
                demand = demands.next() => {
                    if demands.take(demand) == Wish::Hold {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                () = notifier.due() => notifier.live(),
            }
        };
        match pulled {
            Pulled::Cycle(ended) => {
                let Ended { mut status, settled: left, enforced, told, took } = *ended;
                drift.after_cycle(enforced, status.told_of());
                demands.enforce(drift.enforced().cloned(), &config.host);
                status.drift(&drift.fought(), drift.blind());
                write(&status, &host);
                announcer.tell(News::Cycle(Box::new(status.clone()), told, took));
                tell(&status, last.as_ref());
                let unanswered = status.problems.iter().any(|problem| problem.code == "fetch-failed");
                failures = if unanswered { failures + 1 } else { 0 };
                (last, settled) = (Some(status), left);
                lookout.look();
                host.forget_ruleset();
                memory::give_back();
            }
            Pulled::Nothing(left, error) => {
                settled = Some(left);
                let answered = error.is_none();
                failures = if answered { 0 } else { failures + 1 };
                if let Some(status) = &mut last {
                    if status.pulled_again(error, host.as_ref()) {
                        write(status, &host);
                    }
                    announcer.tell(News::Pull(Box::new(status.clone()), answered));
                }
            }
        }
        notifier.pulse().rest();
        if let Some(status) = &last {
            demands.end(status);
            notifier.status(status);
        }
        if stopping {
            break;
        }
        if is_unsettled {
            settled = None;
        }
        let planned = until_next_pull(config.interval, config.splay, failures, random());
        let next_pull = Instant::now() + demands.rest(planned, host.now());
        let wake = loop {
            tokio::select! {
                wake = wait(next_pull, &mut terminate, &mut interrupt, &mut hangup) => break wake,
                () = attend(&mut demands, &mut notifier) => break Wake::Asked,
                () = lookout.answered() => announcer.tell(News::Updates),
                next = drift.next() => {
                    let asks_for_cycle = matches!(next, Next::Cycle);
                    if note(next, &drift, last.as_mut(), &host, &config, &announcer) {
                        settled = None;
                    }
                    last.iter().for_each(|status| demands.learn(status));
                    if asks_for_cycle {
                        break Wake::Interval;
                    }
                }
            }
        };
        match wake {
            Wake::Interval | Wake::Asked => {}
            Wake::Reload => {
                notifier.reloading();
                match Config::read(host.as_ref()) {
                    Ok(read) => {
                        info!("configuration read again");
                        config = read;
                        settled = None;
                        announcer.tell(News::Config(Box::new(config.clone())));
                    }
                    Err(fault) => error!("the configuration is not sound, the one before stays: {}", chain(&fault)),
                }
                notifier.reloaded();
            }
            Wake::Stop => {
                notifier.stopping();
                break;
            }
        }
    }
    drift.stop().await;
    info!("stopped");
    Ok(())
}

/// Enters what happened between two cycles into the status; returns whether the next pull must look at the whole host.
fn note(
    next: Next,
    drift: &Drift,
    status: Option<&mut Status>,
    host: &RealHost,
    config: &Config,
    announcer: &Announcer,
) -> bool {
    let Next::Repaired(repaired) = next else { return true };
    if let Some(status) = status {
        status.repaired(&repaired, host);
        status.drift(&drift.fought(), drift.blind());
        write(status, host);
        let told = reports::of_repair(config, &repaired, status);
        announcer.tell(News::Repair(Box::new(status.clone()), told));
    }
    !repaired.converged()
}

/// What came of a pull.
enum Pulled {
    /// Nothing called for a cycle; why the remote did not answer, if it did not.
    Nothing(Settled, Option<FetchError>),
    Cycle(Box<Ended>),
}

/// What a cycle left.
struct Ended {
    status: Status,
    settled: Option<Settled>,
    enforced: Option<Enforced>,
    /// What others are told of it.
    told: Told,
    took: Duration,
}

/// Asks the remote, and runs a cycle unless all is as it was. `watched` is the commit whose objects are watched.
fn pull(
    config: &Config,
    host: &RealHost,
    stop: &AtomicBool,
    settled: Option<Settled>,
    watched: Option<String>,
    mut errand: Errand,
    pulse: &Pulse,
) -> Pulled {
    pulse.beat();
    errand.carry_out(host);
    let courier = || Courier::of(host.root(), config.anchor.root.kind());
    let mut ask = cycle::ask(config);
    // Whoever asks for a pull knows better than a hint that there is nothing.
    ask.hint = ask.hint.filter(|_| !errand.asked);
    // Where systemd listens for no courier this one has its directory to itself. It must be gone before the run lock is
    // waited for: who holds that, a command by hand, may be waiting for the directory.
    let fetched = courier().fetch(&ask, stop);
    if let Some(settled) = settled.filter(|settled| settled.holds(&fetched, host.now())) {
        return Pulled::Nothing(settled, fetched.err());
    }
    pulse.beat();
    let found = fetched.as_ref().ok().copied();
    let mut enforced = None;
    let source = courier();
    let begun = Instant::now();
    let cycle = Cycle::begin(config, host, &source, stop).and_then(|cycle| {
        let mut report = cycle.apply_fetched(fetched, &mut |step, outcome| {
            pulse.beat();
            errand.tell(step, outcome);
            match outcome.result {
                OutcomeResult::Done => info!(object = %step.object, action = ?step.action, "done"),
                _ => warn!(object = %step.object, "{}", outcome.message.as_deref().unwrap_or_default()),
            }
        })?;
        enforced = enforced_by(&cycle, &mut report, host, watched).unwrap_or_else(|fault| {
            warn!("drift is seen at full checks alone: {}", chain(&fault));
            None
        });
        Ok(report)
    });
    let settled = cycle.as_ref().ok().and_then(|report| Settled::by(report, found, config, host.now()));
    let status = leave_status(config, host, &cycle);
    let told = reports::of_cycle(config, &cycle, &status);
    Pulled::Cycle(Box::new(Ended { status, settled, enforced, told, took: begun.elapsed() }))
}

/// Returns what the host is held to from now on, unless that is what is watched already.
fn enforced_by(
    cycle: &Cycle<'_>,
    report: &mut Report,
    host: &RealHost,
    watched: Option<String>,
) -> Result<Option<Enforced>, CycleError> {
    // Nothing is put right during a pause, and the cycle after it says what is enforced then.
    if report.is_held() {
        return Ok(None);
    }
    let desired = match report.enforced.take() {
        Some(desired) => desired,
        None if watched.as_ref() == Some(&report.plan.commit) => return Ok(None),
        // The host agreed, so nothing had to be read.
        None => cycle.last_good()?,
    };
    Enforced::of(desired, host).map(Some)
}

/// Leaves the status of a cycle for `hostwrit status`.
pub fn leave_status(config: &Config, host: &RealHost, cycle: &Result<Report, CycleError>) -> Status {
    let status = Status::of(config, cycle, host);
    write(&status, host);
    status
}

fn write(status: &Status, host: &RealHost) {
    let left = host.ensure_dir(std::path::Path::new("/run/hostwrit"), 0o755).and_then(|()| status.write(host));
    if let Err(fault) = left {
        warn!("the status cannot be left for `hostwrit status`: {}", chain(&fault));
    }
}

/// Says what is new since the last cycle; a cycle like the one before it is not worth a line.
fn tell(status: &Status, last: Option<&Status>) {
    let known = |code: &str, message: &str| {
        last.is_some_and(|last| last.problems.iter().any(|old| old.code == code && old.message == message))
    };
    for trouble in status.problems.iter().filter(|trouble| !known(&trouble.code, &trouble.message)) {
        warn!(code = %trouble.code, "{}", trouble.message);
    }
    let is_found = |finding: &Finding| last.is_some_and(|last| last.findings.iter().any(|old| old.is_like(finding)));
    for finding in status.findings.iter().filter(|finding| !is_found(finding)) {
        warn!(code = %finding.code, "{finding}");
    }
    let commit = status.commit.as_deref().unwrap_or("none");
    if status.done > 0 || last.is_none_or(|last| last.health != status.health || last.commit != status.commit) {
        match status.health {
            Health::Converged => info!(commit, steps = status.done, "converged"),
            Health::LastGood => warn!(commit, steps = status.done, "the last good state is enforced"),
            Health::Held if status.paused.is_some() => info!(commit, steps = status.held, "held by a pause"),
            Health::Held if status.rollout.is_some() => info!(commit, steps = status.held, "held by the rollout"),
            Health::Held
                if status.held_commit.is_none() && status.put_back.is_none() && status.maintenance.is_some() =>
            {
                info!(commit, steps = status.held, "held by maintenance");
            }
            Health::Held => warn!(commit, steps = status.held, "held: the last good state is enforced"),
            Health::Failing => warn!(commit, steps = status.done, "not converged"),
        }
    }
}

/// Speaks with those who ask, and gives signs of life, until somebody wants a cycle.
async fn attend(demands: &mut Demands, notifier: &mut Notifier) {
    while !demands.wants_cycle() {
        tokio::select! {
            demand = demands.next() => drop(demands.take(demand)),
            () = notifier.due() => notifier.live(),
        }
    }
}

async fn wait(next_pull: Instant, terminate: &mut Signal, interrupt: &mut Signal, hangup: &mut Signal) -> Wake {
    tokio::select! {
        () = tokio::time::sleep_until(next_pull.into()) => Wake::Interval,
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

/// Returns a random number between 0 and 1. It spreads a fleet; it is no secret.
fn random() -> f64 {
    (RandomState::new().hash_one(0) as f64 / u64::MAX as f64).clamp(0.0, 1.0)
}
