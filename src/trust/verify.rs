// SPDX-License-Identifier: Apache-2.0
//! The mathematics of many signatures, on all cores, while the next commits are read.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use crate::model::Digest;

use super::commit::Commit;
use super::policy::PublicKey;
use super::refusal::{Code, Refusal};
use super::signature::GitSignature;

/// Fewer than this are not worth a thread.
const FEW: usize = 16;

/// One signature, and the keys of which every one must have made it: the same key as several policies have it.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) commit: Arc<Commit>,
    pub(super) signature: GitSignature,
    pub(super) keys: Vec<PublicKey>,
    /// What the cache knows the answer by.
    pub(super) question: Digest,
    /// What came out; there from the start where the cache knew.
    pub(super) result: OnceLock<Result<(), (Code, String)>>,
}

impl Check {
    /// Verifies, or waits for whoever is at it.
    pub(super) fn run(&self) -> Result<(), Refusal> {
        let verify = || self.keys.iter().try_for_each(|key| self.signature.verify(&self.commit.payload, key));
        let result =
            self.result.get_or_init(|| verify().map_err(|refusal| (refusal.code(), refusal.detail().to_owned())));
        result.clone().map_err(|(code, detail)| Refusal::new(code, detail))
    }
}

/// Threads that verify what they are given, in that order.
pub(super) struct Workers {
    queue: Option<Sender<Arc<Check>>>,
    is_over: Arc<AtomicBool>,
}

/// What still waits in the queue when the work ends early is left.
impl Drop for Workers {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Workers {
    /// Has a check begun soon, by whichever thread is free.
    pub(super) fn take(&self, check: &Arc<Check>) {
        if let Some(queue) = &self.queue {
            // It cannot fail while there are threads, and without one the check is done by whoever asks for its result.
            let _ = queue.send(Arc::clone(check));
        }
    }
}

/// Does `work` with a thread for each further core, if there are enough signatures to be worth it.
pub(super) fn with_workers<R>(signatures: usize, work: impl FnOnce(&Workers) -> R) -> R {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    if cores == 1 || signatures < FEW {
        return work(&Workers { queue: None, is_over: Arc::default() });
    }
    thread::scope(|scope| {
        let (queue, checks) = channel();
        let (checks, is_over) = (Arc::new(Mutex::new(checks)), Arc::<AtomicBool>::default());
        for _ in 1..cores {
            let (checks, is_over) = (Arc::clone(&checks), Arc::clone(&is_over));
            // Without a thread to spare the work is done here.
            let _ = thread::Builder::new().spawn_scoped(scope, move || {
                while let Some(check) = next(&checks).filter(|_| !is_over.load(Ordering::Relaxed)) {
                    let _ = check.run();
                }
            });
        }
        // The queue ends with the work, and with it the threads.
        let workers = Workers { queue: Some(queue), is_over };
        work(&workers)
    })
}

fn next(checks: &Mutex<Receiver<Arc<Check>>>) -> Option<Arc<Check>> {
    checks.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Sees that all are verified, and returns the first that fails, with its place.
pub(super) fn all(checks: &[&Check]) -> Option<(usize, Refusal)> {
    // From the end, for the threads come from the beginning.
    for check in checks.iter().rev() {
        let _ = check.run();
    }
    checks.iter().enumerate().find_map(|(place, check)| check.run().err().map(|refusal| (place, refusal)))
}
