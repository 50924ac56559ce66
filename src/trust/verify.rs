// SPDX-License-Identifier: Apache-2.0
//! The mathematics of many signatures, on all cores, while the commits are read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use crate::model::Digest;

use super::commit::Commit;
use super::policy::{Policy, PublicKey};
use super::refusal::{Code, Refusal};
use super::signature::GitSignature;

/// Fewer than this are not worth a thread.
const FEW: usize = 16;

/// What a refusal is made of, to be given to several threads.
type Fault = (Code, String);

fn fault(refusal: &Refusal) -> Fault {
    (refusal.code(), refusal.detail().to_owned())
}

fn refusal((code, detail): &Fault) -> Refusal {
    Refusal::new(*code, detail.clone())
}

/// A commit with its signature, which whoever needs it first reads and verifies, once.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) commit: Arc<Commit>,
    claim: OnceLock<Result<Claim, Fault>>,
    verified: OnceLock<(PublicKey, Result<(), Fault>)>,
}

/// What a commit says of who signed what. Nothing is verified yet.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) signature: GitSignature,
    /// SHA-256 of what was signed.
    pub(super) payload: Digest,
}

impl Signed {
    pub(super) fn new(commit: Arc<Commit>) -> Self {
        Self { commit, claim: OnceLock::new(), verified: OnceLock::new() }
    }

    /// Returns what the commit claims.
    pub(super) fn claim(&self) -> Result<&Claim, Refusal> {
        let read = || {
            let text = self.commit.signature.as_deref();
            let text = text.ok_or_else(|| Refusal::new(Code::Unsigned, "it carries no signature"))?;
            Ok(Claim { signature: GitSignature::parse(text)?, payload: Digest::of(&self.commit.payload) })
        };
        let claim = self.claim.get_or_init(|| read().map_err(|refused: Refusal| fault(&refused)));
        claim.as_ref().map_err(refusal)
    }

    /// Verifies that `key` made the signature, or waits for whoever is at it.
    pub(super) fn verify(&self, key: &PublicKey) -> Result<(), Refusal> {
        let claim = self.claim()?;
        let verify = || claim.signature.verify(&self.commit.payload, key);
        let (by, result) = self.verified.get_or_init(|| (key.clone(), verify().map_err(|refused| fault(&refused))));
        if by == key { result.as_ref().copied().map_err(refusal) } else { verify() }
    }
}

/// One signature, and the keys of which every one must have made it: the same key as several policies have it.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) signed: Arc<Signed>,
    pub(super) keys: Vec<PublicKey>,
    /// What the cache knows the answer by.
    pub(super) question: Digest,
    pub(super) is_known: bool,
}

impl Check {
    /// Verifies, unless the cache knew.
    pub(super) fn run(&self) -> Result<(), Refusal> {
        if self.is_known { Ok(()) } else { self.keys.iter().try_for_each(|key| self.signed.verify(key)) }
    }
}

/// A thread for each further core, once there is enough to be worth it. They verify what they are given, the newest
/// commits first: the judge comes from the oldest.
#[derive(Default)]
pub(super) struct Workers {
    queue: Arc<Queue>,
    given: Cell<usize>,
    threads: RefCell<Vec<JoinHandle<()>>>,
}

/// Something to be verified ahead of time.
enum Job {
    /// With the key that a policy has, which may not be the one that counts in the end.
    Foreseen(Arc<Signed>, Arc<Policy>),
    Needed(Arc<Signed>, PublicKey),
}

impl Job {
    fn run(&self) {
        // The judge comes to the same result, and says what it means.
        let _ = match self {
            Self::Needed(signed, key) => signed.verify(key),
            Self::Foreseen(signed, policy) => signed.claim().and_then(|claim| {
                policy.holder(&claim.signature.key()).map_or(Ok(()), |holder| signed.verify(holder.key))
            }),
        };
    }
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    todo: VecDeque<Job>,
    /// How many threads wait for one.
    idle: usize,
    is_over: bool,
}

impl Queue {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job> {
        let waits = |jobs: &mut Jobs| jobs.todo.is_empty() && !jobs.is_over;
        let mut jobs = self.jobs();
        jobs.idle += 1;
        jobs = self.changed.wait_while(jobs, waits).unwrap_or_else(PoisonError::into_inner);
        jobs.idle -= 1;
        // What still waits when the work ends early is left.
        if jobs.is_over { None } else { jobs.todo.pop_front() }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.jobs().is_over = true;
        self.queue.changed.notify_all();
        for thread in self.threads.take() {
            // Whatever became of it, the judge has verified all that counts.
            let _ = thread.join();
        }
    }
}

impl Workers {
    /// Takes a commit that will be needed, with the policy that probably knows its signer. They come newest first.
    pub(super) fn foresee(&self, signed: &Arc<Signed>, policy: &Arc<Policy>) {
        self.give(|todo| todo.push_back(Job::Foreseen(Arc::clone(signed), Arc::clone(policy))));
    }

    /// Takes a check that is needed. They come oldest first.
    pub(super) fn take(&self, check: &Check) {
        let is_done = check.is_known || check.signed.verified.get().is_some();
        if let Some(key) = check.keys.first().filter(|_| !is_done) {
            self.give(|todo| todo.push_front(Job::Needed(Arc::clone(&check.signed), key.clone())));
        }
    }

    fn give(&self, put: impl FnOnce(&mut VecDeque<Job>)) {
        let mut jobs = self.queue.jobs();
        put(&mut jobs.todo);
        let is_awaited = jobs.idle > 0;
        drop(jobs);
        if is_awaited {
            self.queue.changed.notify_one();
        }
        self.given.set(self.given.get() + 1);
        if self.given.get() == FEW {
            for _ in 1..thread::available_parallelism().map_or(1, NonZero::get) {
                let queue = Arc::clone(&self.queue);
                let work = move || {
                    while let Some(job) = queue.next() {
                        job.run();
                    }
                };
                // Without a thread to spare the judge does it all.
                self.threads.borrow_mut().extend(thread::Builder::new().spawn(work));
            }
        }
    }
}
