// SPDX-License-Identifier: Apache-2.0
//! Getting entries there: in batches, again after a failure, each sink at its own pace.

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::chain;

use super::client::{Client, SendError};
use super::config::Outlet;
use super::sink::Verdict;
use super::spool::{Counters, Spool};

/// One request has no more.
const BATCH_ENTRIES: usize = 500;
const BATCH_BYTES: usize = 512 * 1024;

/// A sink gets so many requests at once after a rest, and one a second for long.
const BURST: f64 = 10.0;

/// With nothing to send and nobody to wake it, it looks around this often.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// The first wait after a failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);
/// A receiver may ask for more patience than that, up to this.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// Sends what waits in a spool.
#[derive(Debug)]
pub struct Shipper {
    spool: Spool,
    credentials: Option<PathBuf>,
    lanes: Vec<Lane>,
}

/// One sink and its pace.
#[derive(Debug)]
struct Lane {
    outlet: Outlet,
    failures: u32,
    not_before: Option<SystemTime>,
    /// How many requests may be made now, and when that was true.
    allowed: f64,
    counted: Option<SystemTime>,
    /// How many entries the next batch has at the most; less while the receiver dislikes one of them.
    size: usize,
    problem: Option<String>,
    sent: u64,
}

/// What one run came to. The courier tells the steward, for status and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipped {
    pub sinks: Vec<SinkState>,
    /// Entries of the audit log that still wait for some sink.
    pub waiting_audit: u64,
    /// When it is worth while to run again although nothing new was pushed; `None` if nothing waits.
    #[serde(skip)]
    pub next: Option<SystemTime>,
}

/// How one sink stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkState {
    pub name: String,
    /// Entries that this run delivered.
    pub sent: u64,
    /// Entries that still wait.
    pub waiting: u64,
    /// Since the spool knows the sink.
    pub totals: Counters,
    /// Why entries wait, or were refused in this run.
    pub problem: Option<String>,
}

impl Shipped {
    /// Returns how many entries this run delivered, to all sinks together.
    pub fn sent(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.sent).sum()
    }

    /// Returns how many entries still wait, for all sinks together.
    pub fn waiting(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.waiting).sum()
    }

    /// Returns how many entries were lost for want of room since the spool was made, for all sinks together.
    pub fn lost(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.totals.lost).sum()
    }
}

impl Shipper {
    /// Returns what sends `spool`, which was opened with the same outlets, on; credentials are read from the directory
    /// that systemd names.
    pub fn new(outlets: Vec<Outlet>, spool: Spool) -> Self {
        Self::with_credentials(outlets, spool, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from))
    }

    /// As [`Self::new`], with credentials from another directory.
    pub fn with_credentials(outlets: Vec<Outlet>, spool: Spool, credentials: Option<PathBuf>) -> Self {
        Self { spool, credentials, lanes: outlets.into_iter().map(Lane::new).collect() }
    }

    /// Sends what is due. Takes no longer than the slowest sink that has something to do: about one `timeout` of a sink
    /// that does not answer, since its first failure ends its part of the run.
    pub fn run_once(&mut self, now: SystemTime) -> Shipped {
        let waits = self.spool.by_sink();
        let waiting = |lane: &Lane| waits.get(&lane.outlet.name).map_or(0, |(waiting, _)| *waiting);
        let (spool, credentials) = (&self.spool, self.credentials.as_deref());
        for lane in &mut self.lanes {
            lane.sent = 0;
        }
        let mut due: Vec<(usize, &mut Lane)> =
            self.lanes.iter_mut().enumerate().filter(|(_, lane)| waiting(lane) > 0 && lane.is_due(now)).collect();
        // A thread for each, so that none waits for another; none if there is but one.
        if let [(sink, lane)] = &mut due[..] {
            lane.run(*sink, spool, credentials, now);
        } else {
            thread::scope(|scope| {
                for (sink, lane) in due {
                    let run = move || lane.run(sink, spool, credentials, now);
                    // If there is no thread to be had, the entries wait for the next run.
                    let _ = thread::Builder::new().name("report".to_owned()).spawn_scoped(scope, run);
                }
            });
        }
        self.state(now)
    }

    /// Sends whatever comes, until nobody can wake it any more.
    ///
    /// Whoever pushes wakes it; it wakes by itself when a wait is over. `watch` is told what each run came to.
    pub fn run(&mut self, wake: &Receiver<()>, mut watch: impl FnMut(&Shipped)) {
        loop {
            let shipped = self.run_once(SystemTime::now());
            watch(&shipped);
            let left = shipped.next.map(|next| next.duration_since(SystemTime::now()).unwrap_or_default());
            if wake.recv_timeout(left.unwrap_or(IDLE)) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            // One run serves all who have pushed so far.
            while wake.try_recv().is_ok() {}
        }
    }

    /// Says how the sinks stand, without sending anything.
    pub fn state(&self, now: SystemTime) -> Shipped {
        let stand = self.spool.by_sink();
        let one = |lane: &Lane| {
            let (waiting, totals) = stand.get(&lane.outlet.name).copied().unwrap_or_default();
            let name = lane.outlet.name.clone();
            SinkState { name, sent: lane.sent, waiting, totals, problem: lane.problem.clone() }
        };
        let sinks: Vec<SinkState> = self.lanes.iter().map(one).collect();
        let waiting = self.lanes.iter().zip(&sinks).filter(|(_, sink)| sink.waiting > 0);
        let next = waiting.map(|(lane, _)| lane.due_at(now)).min();
        Shipped { sinks, waiting_audit: self.spool.waiting_audit(), next }
    }
}

impl Lane {
    fn new(outlet: Outlet) -> Self {
        let (failures, not_before, allowed, counted) = (0, None, BURST, None);
        Self { outlet, failures, not_before, allowed, counted, size: BATCH_ENTRIES, problem: None, sent: 0 }
    }

    fn is_due(&self, now: SystemTime) -> bool {
        // Later than it can have been set: the clock was set back.
        self.not_before.is_none_or(|then| then <= now || then > now + LONGEST_ASKED)
    }

    fn due_at(&self, now: SystemTime) -> SystemTime {
        let soonest = now + Duration::from_secs(1);
        self.not_before.filter(|_| !self.is_due(now)).map_or(soonest, |then| then.max(soonest))
    }

    /// Sends until nothing is left, something fails or enough is sent for now.
    fn run(&mut self, sink: usize, spool: &Spool, credentials: Option<&Path>, now: SystemTime) {
        let rested = self.counted.and_then(|then| now.duration_since(then).ok()).unwrap_or_default();
        self.allowed = (self.allowed + rested.as_secs_f64()).min(BURST);
        self.counted = Some(now);
        let client = match Client::new(&self.outlet, credentials) {
            Ok(client) => client,
            Err(error) => return self.wait(chain(&error), None, now),
        };
        let mut refusal = None;
        while self.allowed >= 1.0 {
            let batch = match spool.batch(sink, self.size, BATCH_BYTES) {
                Ok(batch) => batch,
                Err(error) => return self.wait(chain(&error), None, now),
            };
            let count = batch.entries.len();
            if count == 0 {
                break;
            }
            self.allowed -= 1.0;
            let verdict = match client.send(self.outlet.sink.request(&batch.entries), now) {
                Ok(answer) => self.outlet.sink.judge(&answer),
                Err(error) => {
                    if matches!(error, SendError::Timeout(_)) {
                        // On a slow line less may get through in time.
                        self.size = (count / 2).max(1);
                    }
                    Verdict::Later { why: chain(&error), after: None }
                }
            };
            let (refused, why) = match verdict {
                Verdict::Taken { refused, why } => (refused.min(count as u64), why),
                Verdict::Later { why, after } => return self.wait(why, after, now),
                Verdict::Refused(_) if count > 1 => {
                    // One of them may be to blame, and the others shall not be lost with it.
                    self.size = count / 2;
                    continue;
                }
                Verdict::Refused(why) => (1, Some(why)),
            };
            let sent = count as u64 - refused;
            self.sent += sent;
            self.size = (self.size * 2).min(BATCH_ENTRIES);
            refusal = why.or(refusal);
            if let Err(error) = spool.done(sink, batch.end, sent, refused) {
                return self.wait(chain(&error), None, now);
            }
        }
        self.failures = 0;
        self.not_before = None;
        self.say(refusal.map(|why| format!("entries were refused: {why}")));
    }

    fn wait(&mut self, why: String, asked: Option<Duration>, now: SystemTime) {
        let own = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        // Between a half and all of it, so that a fleet does not come back all at once.
        let random = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
        let own = own.mul_f64(0.5 + random / 2.0);
        self.not_before = Some(now + own.max(asked.unwrap_or_default().min(LONGEST_ASKED)));
        self.say(Some(why));
    }

    /// Notes what is wrong, and tells the journal when that changes.
    fn say(&mut self, problem: Option<String>) {
        let sink = &self.outlet.name;
        match (&problem, &self.problem) {
            (Some(new), old) if old.as_ref() != Some(new) => tracing::warn!(sink, "reports: {new}"),
            (None, Some(_)) => tracing::info!(sink, "reports: delivered again"),
            _ => {}
        }
        self.problem = problem;
    }
}
