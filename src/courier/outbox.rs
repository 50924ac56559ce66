// SPDX-License-Identifier: Apache-2.0
//! What goes out besides questions to the remote: reports, by way of the spool, and metrics for those who ask.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde::Deserialize;
use tracing::{info, warn};

use crate::metrics::Listen;
use crate::metrics::serve::{self, Published};
use crate::model::chain;
use crate::report::{Caps, Entry, Outlet, Shipped, Shipper, Spool};
use crate::source::wire::{Answer, Backlog};

/// Whom the courier tells what it is given, and where metrics can be asked for.
#[derive(Debug, Default)]
pub struct Settings {
    pub outlets: Vec<Outlet>,
    pub listen: Option<Listen>,
    /// A socket file for metrics lies below this.
    pub root: PathBuf,
}

/// The spool and the page, each with a thread that gives it away.
#[derive(Debug)]
pub(super) struct Outbox {
    spool: Option<(Spool, Mutex<Sender<()>>)>,
    lost: Arc<Mutex<u64>>,
    published: Arc<Published>,
}

/// What the steward has to say.
#[derive(Debug, Deserialize)]
struct Batch {
    entries: Vec<Entry>,
    whole: bool,
}

impl Outbox {
    /// Opens the spool below `directory` and the socket for metrics. What cannot be opened is said, and done without:
    /// fetching matters more.
    pub(super) fn open(directory: &Path, settings: Settings) -> Self {
        let lost = Arc::<Mutex<u64>>::default();
        let published = Arc::<Published>::default();
        if let Some(listen) = settings.listen {
            let page = Arc::clone(&published);
            match listen.open(&settings.root) {
                Ok(listener) => begin("metrics", move || serve::serve(&listener, &page)),
                Err(error) => warn!("{}", chain(&error)),
            }
        }
        if settings.outlets.is_empty() {
            return Self { spool: None, lost, published };
        }
        let spool = match Spool::open(&directory.join("spool"), &settings.outlets, Caps::default()) {
            Ok(spool) => spool,
            Err(error) => {
                warn!("nothing is reported: {}", chain(&error));
                return Self { spool: None, lost, published };
            }
        };
        let (wake, woken) = channel();
        let mut shipper = Shipper::new(settings.outlets, spool.clone());
        let total = Arc::clone(&lost);
        let mut told = Vec::new();
        begin("shipper", move || {
            shipper.run(&woken, |shipped| {
                *total.lock().unwrap_or_else(PoisonError::into_inner) = shipped.lost();
                tell(shipped, &mut told);
            });
        });
        Self { spool: Some((spool, Mutex::new(wake))), lost, published }
    }

    /// Puts a batch of entries into the spool.
    pub(super) fn spool(&self, batch: &[u8]) -> Answer {
        let Ok(batch) = serde_json::from_slice::<Batch>(batch) else {
            return Answer::Failed("the entries cannot be read".to_owned());
        };
        let Some((spool, wake)) = &self.spool else {
            return Answer::Failed("nobody is told anything: see reports in the configuration, and restart".to_owned());
        };
        if let Err(error) = spool.push_cycle(&batch.entries, batch.whole) {
            return Answer::Failed(chain(&error));
        }
        // The shipper lives as long as this does.
        let _ = wake.lock().unwrap_or_else(PoisonError::into_inner).send(());
        self.taken()
    }

    /// Answers with this page from now on.
    pub(super) fn publish(&self, page: &[u8]) -> Answer {
        match self.published.put(page) {
            Ok(()) => self.taken(),
            Err(error) => Answer::Failed(error.to_string()),
        }
    }

    /// Says what has not arrived anywhere yet.
    pub(super) fn taken(&self) -> Answer {
        let count = |of: fn(&Spool) -> u64| self.spool.as_ref().map_or(0, |(spool, _)| of(spool));
        let lost = *self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        Answer::Taken(Backlog { waiting: count(Spool::waiting), audit: count(Spool::waiting_audit), lost })
    }
}

/// Says what is wrong with a receiver, and when it is well again, once.
fn tell(shipped: &Shipped, told: &mut Vec<(String, String)>) {
    for sink in &shipped.sinks {
        let before = told.iter().position(|(name, _)| *name == sink.name);
        match (&sink.problem, before) {
            (Some(problem), Some(before)) if told[before].1 == *problem => {}
            (Some(problem), before) => {
                warn!("reports to {}: {problem}", sink.name);
                before.map(|before| told.remove(before));
                told.push((sink.name.clone(), problem.clone()));
            }
            (None, Some(before)) => {
                info!("reports to {} arrive again", sink.name);
                told.remove(before);
            }
            (None, None) => {}
        }
    }
}

fn begin(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(work) {
        warn!("cannot start the thread {name}: {error}");
    }
}
