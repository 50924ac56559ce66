// SPDX-License-Identifier: Apache-2.0
//! What the service manager is told: ready, reloading, stopping, one line of status, and that the daemon is alive.
//!
//! Alive means that the loop turns *and* that a cycle under way got on lately. A thread that only says "alive" would keep
//! a daemon running that does nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::status::{Health, Status};

/// A cycle that got on with nothing for so long is stuck. Longer than what it may take to wait for the run lock (1 min)
/// and then pull (5 min), or for one step (200 s for a unit), by far.
const STUCK: Duration = Duration::from_secs(15 * 60);

/// Speaks with the service manager, if there is one that listens.
#[derive(Debug)]
pub struct Notifier {
    pulse: Pulse,
    /// Twice as often as the service manager demands; `None` if it demands nothing.
    due: Option<Interval>,
    told_stuck: bool,
}

/// When a cycle last got on. Cheap to clone; the cycle's thread has one.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Option<Instant>>>);

impl Pulse {
    /// Notes that a cycle begins or got on.
    pub fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Notes that no cycle is under way.
    pub fn rest(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_stuck(&self, now: Instant) -> bool {
        let beat = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        beat.is_some_and(|beat| now.duration_since(beat) > STUCK)
    }
}

impl Notifier {
    /// Asks the environment what the service manager wants. Must be called within the runtime.
    pub fn from_env() -> Self {
        let due = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()).map(|limit| {
            let mut due = interval(limit / 2);
            due.set_missed_tick_behavior(MissedTickBehavior::Delay);
            due
        });
        Self { pulse: Pulse::default(), due, told_stuck: false }
    }

    /// Returns what a cycle's thread notes its progress with.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Waits until a sign of life is due; for ever if none is wanted.
    pub async fn due(&mut self) {
        match &mut self.due {
            Some(due) => drop(due.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Gives a sign of life, unless a cycle is stuck: the service manager then ends and restarts the daemon.
    pub fn live(&mut self) {
        if !self.pulse.is_stuck(Instant::now()) {
            self.told_stuck = false;
            tell(&[NotifyState::Watchdog]);
        } else if !self.told_stuck {
            self.told_stuck = true;
            tracing::error!(code = "stuck", "a cycle has not got on for {STUCK:?}; the watchdog may end it");
        }
    }

    /// Says that the daemon does its work.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready, NotifyState::Status("the first cycle is under way")]);
    }

    /// Says that the configuration is being read again; [`ready`](Self::reloaded) must follow.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// Says that the configuration was read again, or stays as it was.
    pub fn reloaded(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// Says that the daemon is about to end, in good order.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("the step under way is finished")]);
    }

    /// Says what a cycle came to.
    pub fn status(&self, status: &Status) {
        tell(&[NotifyState::Status(&line(status))]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Nobody may listen; that is no reason to do anything else.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}

/// Sums up a status in one line, as `systemctl status` shows it.
pub fn line(status: &Status) -> String {
    let commit = status.commit.as_deref().map_or("no commit", |commit| commit.get(..10).unwrap_or(commit));
    let word = match status.health {
        Health::Converged => "agrees with",
        Health::LastGood => "agrees with the last good",
        Health::Held => "is held before",
        Health::Failing => "does not agree with",
    };
    let mut line = format!("{} {word} {commit}, {} objects", status.host, status.objects);
    if let Some(pause) = &status.paused {
        line.push_str(&format!("; paused until {}", pause.until));
    }
    if let Some(maintenance) = &status.maintenance {
        line.push_str(&format!("; maintenance until {}", maintenance.until));
    }
    let mut codes: Vec<&str> = status.problems.iter().map(|trouble| trouble.code.as_str()).collect();
    codes.dedup();
    if !codes.is_empty() {
        line.push_str(&format!("; {}", codes.join(", ")));
    }
    // One line, whatever a name holds.
    line.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_stuck_when_it_does_not_get_on_and_never_when_none_is_under_way() {
        let pulse = Pulse::default();
        let later = Instant::now() + STUCK + Duration::from_secs(1);
        assert!(!pulse.is_stuck(later));
        pulse.beat();
        assert!(!pulse.is_stuck(Instant::now()));
        assert!(pulse.is_stuck(later + Duration::from_secs(1)));
        pulse.rest();
        assert!(!pulse.is_stuck(later + Duration::from_secs(1)));
    }

    #[test]
    fn a_status_is_one_line() {
        let status: Status = serde_json::from_value(serde_json::json!({
            "time": "t", "host": "web1", "fleet": "f", "kinds": {}, "remote": "r", "ref": "m", "commit": "0123456789abcdef", "health": "last-good",
            "objects": 3, "done": 0, "cause": null, "reported": [], "unmanaged": [],
            "problems": [{"code": "unsigned", "message": "a\nb"}, {"code": "stale\n", "message": "x"}],
        }))
        .unwrap();
        let line = line(&status);
        assert_eq!(line, "web1 agrees with the last good 0123456789, 3 objects; unsigned, stale\u{fffd}");
    }
}
