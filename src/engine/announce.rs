// SPDX-License-Identifier: Apache-2.0
//! Tells others what happens here, in a thread of its own: whoever is slow to listen holds up nothing.
//!
//! Reports go to the courier's spool, metrics to a file and to the courier. What the courier cannot take now is kept in
//! memory for a while; entries of the audit log are kept by the log itself until they were taken.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::audit::LOG;
use crate::host::{NewFile, ReadHost as _, RealHost, WriteHost as _};
use crate::metrics::{Metrics, Spool};
use crate::model::chain;
use crate::report::Kind;
use crate::source::wire::{Backlog, MAX_REQUEST, Request};
use crate::source::{Courier, HandOverError};

use super::Config;
use super::measure::{self, Counters};
use super::reports::{self, Told};
use super::status::Status;

/// How much of the audit log was handed over.
const EXPORTED: &str = "/var/lib/hostwrit/exported.json";
/// So much news may wait to be told; what is more is dropped, and said to be.
const MAX_NEWS: usize = 64;
/// So many batches are kept while the courier is away; the oldest goes first.
const MAX_WAITING: usize = 256;
/// When a courier that was away is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// So much of the audit log goes into one batch.
const MAX_BATCH: usize = MAX_REQUEST / 4;

/// Something to be told.
#[derive(Debug)]
pub enum News {
    /// A cycle ended after this time.
    Cycle(Box<Status>, Told, Duration),
    /// Drift was put right between two cycles.
    Repair(Box<Status>, Told),
    /// A pull called for no cycle; whether the remote answered.
    Pull(Box<Status>, bool),
    /// apt was asked which updates wait.
    Updates,
    Config(Box<Config>),
}

/// The thread that tells. It ends, once all is told that can be, when this is dropped.
#[derive(Debug)]
pub struct Announcer {
    news: Option<SyncSender<News>>,
    thread: Option<JoinHandle<()>>,
}

impl Announcer {
    /// Begins to tell others what this host's configuration says.
    pub fn start(host: Arc<RealHost>, config: Config) -> Self {
        let (news, receiver) = sync_channel(MAX_NEWS);
        let last = Status::read(host.as_ref()).ok().flatten();
        let counters = Counters::start(host.now(), last.as_ref());
        let mut voice = Voice { host, config, counters, metrics: None, waiting: VecDeque::new(), backlog: None };
        let thread = thread::Builder::new().name("announcer".to_owned()).spawn(move || voice.speak(&receiver));
        match thread {
            Ok(thread) => Self { news: Some(news), thread: Some(thread) },
            Err(error) => {
                warn!("nobody is told what happens here: {error}");
                Self { news: None, thread: None }
            }
        }
    }

    /// Has something told, soon.
    pub fn tell(&self, news: News) {
        if let Some(Err(TrySendError::Full(_))) = self.news.as_ref().map(|sender| sender.try_send(news)) {
            warn!("what happened here is told too slowly: a report was dropped");
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.news = None;
        if let Some(thread) = self.thread.take() {
            // It tells what it has, and then ends.
            let _ = thread.join();
        }
    }
}

struct Voice {
    host: Arc<RealHost>,
    config: Config,
    counters: Counters,
    metrics: Option<Metrics>,
    /// Requests that the courier has not taken yet.
    waiting: VecDeque<Request>,
    /// What had not arrived yet when the courier was last heard.
    backlog: Option<Backlog>,
}

/// What is remembered of the log's export.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Exported {
    bytes: u64,
}

impl Voice {
    fn speak(&mut self, news: &Receiver<News>) {
        loop {
            let next = match self.waiting.is_empty() {
                true => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => news.recv_timeout(AGAIN),
            };
            match next {
                Ok(news) => self.take(news),
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, news: News) {
        let now = self.host.now();
        match news {
            News::Config(config) => {
                self.config = *config;
                return;
            }
            News::Updates => {
                if let Some(metrics) = &mut self.metrics {
                    measure::note_updates(metrics, self.host.as_ref());
                }
            }
            News::Cycle(status, told, took) => {
                self.counters.count(&status, took, self.host.as_ref());
                self.metrics = Some(measure::gather(&status, &self.counters, self.host.as_ref()));
                self.report(&told);
            }
            News::Repair(status, told) => {
                self.counters.repaired(&status);
                self.metrics = Some(measure::gather(&status, &self.counters, self.host.as_ref()));
                self.report(&told);
            }
            News::Pull(status, answered) => {
                self.counters.pulled(&status, answered, now);
                if let Some(metrics) = &mut self.metrics {
                    measure::note_pull(metrics, &status, &self.counters, self.host.as_ref());
                }
            }
        }
        let unexported = self.export();
        self.flush();
        self.publish(unexported);
    }

    fn report(&mut self, told: &Told) {
        if self.config.reports.is_empty() {
            return;
        }
        match serde_json::to_vec(told) {
            Ok(batch) if batch.len() <= MAX_REQUEST => self.waiting.push_back(Request::Report(batch)),
            Ok(batch) => warn!("a report of {} bytes is too long and was dropped", batch.len()),
            Err(error) => warn!("a report cannot be written: {error}"),
        }
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
            warn!("the courier is away for too long: a report was dropped");
        }
    }

    /// Sends what waits, until the courier does not take any more.
    fn flush(&mut self) {
        let courier = Courier::of(self.host.root(), self.config.anchor.root.kind());
        while let Some(request) = self.waiting.front() {
            match courier.hand_over(request) {
                Ok(backlog) => self.backlog = Some(backlog),
                // It was understood and will not be taken the next time either.
                Err(HandOverError::Refused(why)) => warn!("a report was dropped: {why}"),
                Err(error) => {
                    debug!("reports wait: {}", chain(&error));
                    return;
                }
            }
            self.waiting.pop_front();
        }
    }

    /// Hands over new entries of the audit log if somebody wants them. Returns how many the courier has not taken, if anybody
    /// does.
    fn export(&mut self) -> Option<u64> {
        if !self.config.reports.iter().any(|outlet| outlet.only.contains(&Kind::Audit)) {
            return None;
        }
        let path = Path::new(EXPORTED);
        let exported: Exported =
            self.host.read(path).ok().flatten().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let size = self.host.stat(Path::new(LOG)).ok().flatten().map_or(0, |stat| stat.size);
        // A log that was put back from a backup is told again from where it begins.
        let begin = if exported.bytes <= size { exported.bytes } else { 0 };
        let log = self.host.read_from(Path::new(LOG), begin).ok().flatten().unwrap_or_default();
        let mut from = 0;
        let courier = Courier::of(self.host.root(), self.config.anchor.root.kind());
        while from < log.len() {
            let mut entries = Vec::new();
            let mut to = from;
            for line in log[from..].split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
                if to > from && to + line.len() > from + MAX_BATCH {
                    break;
                }
                to += line.len();
                let line = std::str::from_utf8(line).unwrap_or_default().trim_end_matches('\n');
                entries.extend(reports::of_audit(&self.config, line));
            }
            if to == from {
                break;
            }
            let batch = serde_json::to_vec(&Told { entries, whole: false }).unwrap_or_default();
            match courier.hand_over(&Request::Report(batch)) {
                Ok(backlog) => self.backlog = Some(backlog),
                Err(error) => {
                    debug!("entries of the audit log wait: {}", chain(&error));
                    break;
                }
            }
            from = to;
            // In the spool now: if this is not written they go there twice.
            let text = serde_json::to_vec(&Exported { bytes: begin + from as u64 }).unwrap_or_default();
            let file = NewFile { content: &text, owner: None, mode: 0o600, check: None };
            if let Err(error) = self.host.replace_file(path, &file) {
                warn!("cannot remember what was exported: {}", chain(&error));
                break;
            }
        }
        Some(log[from..].iter().filter(|byte| **byte == b'\n').count() as u64)
    }

    /// Leaves the metrics where the configuration wants them.
    fn publish(&mut self, unexported: Option<u64>) {
        let Some(metrics) = &mut self.metrics else { return };
        let settings = &self.config.metrics;
        let courier = Courier::of(self.host.root(), self.config.anchor.root.kind());
        if settings.textfile.is_none() && settings.listen.is_none() {
            return;
        }
        if !self.config.reports.is_empty() {
            // What was handed over long ago may have arrived since, or not.
            self.backlog = courier.hand_over(&Request::Backlog).ok().or(self.backlog);
        }
        metrics.spool = self.backlog.map(|Backlog { waiting, lost, .. }| Spool { waiting, lost });
        // What only the courier has is no further away than what it has not taken yet.
        metrics.audit_unexported =
            unexported.map(|here| here.saturating_add(self.backlog.map_or(0, |backlog| backlog.audit)));
        if settings.listen.is_some() {
            // Whoever reads this page reads it from the courier.
            metrics.courier_up = Some(true);
            let handed = courier.hand_over(&Request::Publish(metrics.render().into_bytes()));
            metrics.courier_up = Some(handed.is_ok());
            if let Err(error) = handed {
                debug!("metrics cannot be handed over: {}", chain(&error));
            }
        }
        if let Err(error) = measure::leave(&metrics.render(), settings, self.host.as_ref()) {
            warn!("cannot leave the metrics: {}", chain(&error));
        }
    }
}
