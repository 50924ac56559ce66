// SPDX-License-Identifier: Apache-2.0
//! What it costs to authenticate a chain of signed commits, beside the bare signature checks and the peers.
//!
//! Cold is from the root; warm is one new commit on top of a pin. The bound does nothing but the mathematics: the same
//! payloads, signatures and keys, parsed already, on all cores. All is measured in the same run, several times in turn; what is
//! printed is the median. `make bench`; `HOSTWRIT_BENCH_CHAINS=100,1000` leaves out the longest chain.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "measures from outside")]

#[path = "authenticate/chain.rs"]
mod chain;
#[path = "authenticate/peers.rs"]
mod peers;

use std::time::{Duration, Instant, SystemTime};

use hostwrit::source::{HashKind, Limits, Mirror};
use hostwrit::trust::{Cache, authenticate};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use chain::{Chain, Scheme};

const ROUNDS: usize = 5;
/// `git log` starts two programs a commit, which takes minutes for a long chain.
const LONGEST_FOR_GIT: usize = 1_000;

fn main() {
    let sizes = std::env::var("HOSTWRIT_BENCH_CHAINS").unwrap_or_else(|_| "100,1000,10000".to_owned());
    let sizes: Vec<usize> = sizes.split(',').map(|size| size.trim().parse().expect("numbers with commas")).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "authenticating a chain of N commits, cold from the root; milliseconds of wall time (of the processor) on {cores} cores"
    );
    println!(
        "{:>16} {:>6}  {:>17}  {:>17}  {:>6}  {:>9}  {:>17}  {:>17}",
        "", "N", "bound", "authenticate", "ratio", "one new", "sq-git log", "git log %G?"
    );
    for scheme in [Scheme::OpenPgpEd25519, Scheme::Ssh, Scheme::OpenPgpRsa4096] {
        for &size in &sizes {
            let chain = Chain::new(scheme, size);
            let rounds = if size > 1_000 { 3 } else { ROUNDS };
            let (mut bounds, mut colds, mut warms, mut sqs) = (vec![], vec![], vec![], vec![]);
            for round in 0..rounds {
                bounds.push(spent(UsageWho::RUSAGE_SELF, || chain.bare_checks(cores)));
                if round == 0 {
                    colds.push(spent(UsageWho::RUSAGE_SELF, || cold(&chain)));
                }
                warms.push(warm(&chain));
                sqs.extend(
                    peers::sq_git(&chain).map(|mut log| spent(UsageWho::RUSAGE_CHILDREN, || peers::run(&mut log))),
                );
            }
            let git = (size <= LONGEST_FOR_GIT).then(|| peers::git_log(&chain)).flatten();
            let git = git.map(|mut log| spent(UsageWho::RUSAGE_CHILDREN, || peers::run(&mut log)));
            // sequoia remembers in the process what it verified, so only the first is cold.
            let (bound, cold) = (median(bounds), colds[0]);
            println!(
                "{scheme:>16} {size:>6}  {:>17}  {:>17}  {:>6.2}  {:>9.2}  {:>17}  {:>17}",
                show(Some(bound)),
                show(Some(cold)),
                cold.wall.as_secs_f64() / bound.wall.as_secs_f64(),
                ms(median(warms)),
                show((!sqs.is_empty()).then(|| median(sqs))),
                show(git),
            );
        }
    }
    println!(
        "sq-git reads keys and rights from each parent, as authenticate does; git asks only whether a key of the key ring signed."
    );
}

/// What something took. Ordered by wall time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spent {
    wall: Duration,
    cpu: Duration,
}

fn spent(who: UsageWho, work: impl FnOnce()) -> Spent {
    let used = || {
        let usage = getrusage(who).unwrap();
        Duration::from_micros((usage.user_time() + usage.system_time()).num_microseconds().try_into().unwrap())
    };
    let (before, start) = (used(), Instant::now());
    work();
    Spent { wall: start.elapsed(), cpu: used() - before }
}

fn show(spent: Option<Spent>) -> String {
    spent.map_or("-".to_owned(), |spent| format!("{:.1} ({:.1})", ms(spent.wall), ms(spent.cpu)))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort();
    values[values.len() / 2]
}

/// As a host without a pin does it: the store is opened anew, and nothing is known.
fn cold(chain: &Chain) {
    let mirror = open(chain);
    let tree =
        authenticate(&mirror, chain.anchor(), None, chain.tip(), SystemTime::now(), &mut Cache::default()).unwrap();
    assert_eq!(tree.signers().len(), chain.len());
}

/// As a host does it that proved the tip's parent before and kept its cache. Opening the store is start-up and not counted.
fn warm(chain: &Chain) -> Duration {
    let pin = chain.before_tip();
    let mut cache = Cache::default();
    authenticate(&open(chain), chain.anchor(), None, pin, SystemTime::now(), &mut cache).unwrap();
    let mirror = open(chain);
    let start = Instant::now();
    let tree = authenticate(&mirror, chain.anchor(), Some(pin), chain.tip(), SystemTime::now(), &mut cache).unwrap();
    let taken = start.elapsed();
    assert_eq!(tree.signers().len(), 1);
    taken
}

fn open(chain: &Chain) -> Mirror {
    Mirror::open(chain.path(), HashKind::Sha1, Limits::default()).unwrap()
}
