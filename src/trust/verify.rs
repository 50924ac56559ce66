// SPDX-License-Identifier: Apache-2.0
//! The mathematics of many signatures, on all cores.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use crate::model::Digest;

use super::commit::Commit;
use super::policy::PublicKey;
use super::refusal::Refusal;
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
    pub(super) is_known: bool,
}

impl Check {
    fn run(&self) -> Result<(), Refusal> {
        if self.is_known {
            return Ok(());
        }
        self.keys.iter().try_for_each(|key| self.signature.verify(&self.commit.payload, key))
    }
}

/// Verifies all, and returns the first that fails, with its place.
pub(super) fn all<'c>(checks: impl Iterator<Item = &'c Check>) -> Option<(usize, Refusal)> {
    let checks: Vec<&Check> = checks.collect();
    let first_failure = |start: usize, step: usize| {
        let mut mine = checks.iter().enumerate().skip(start).step_by(step);
        mine.find_map(|(place, check)| check.run().err().map(|refusal| (place, refusal)))
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    if threads == 1 || checks.len() < FEW {
        return first_failure(0, 1);
    }
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|start| {
                let first_failure = &first_failure;
                // Without a thread to spare the work is done here.
                thread::Builder::new().spawn_scoped(scope, move || first_failure(start, threads)).map_err(|_| start)
            })
            .collect();
        let own = first_failure(0, threads);
        let others = others.into_iter().map(|thread| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(start) => first_failure(start, threads),
        });
        others.chain([own]).flatten().min_by_key(|(place, _)| *place)
    })
}
